"""Losses of the learner: against the float twin, in checkpoints, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import BadInput, UnknownName
from pynq_train.graph import Graph
from pynq_train.quant import Loss

Data = tuple[np.ndarray, np.ndarray]
LOSSES = [{"label_smoothing": 0.1}, {"label_smoothing": 0.5}, {"loss": "mse"}]
OPTIMIZER = pt.SGD(lr=0.1, schedule="constant", warmup_steps=0)


@pytest.mark.parametrize("options", LOSSES)
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("batch", [4, 6])
def test_follows_the_float_twin(net: Graph, data: Data, batch: int, nesterov: bool,
                                options: dict[str, object]) -> None:
    sgd = pt.SGD(lr=0.1, weight_decay=1e-3, nesterov=nesterov)
    learner = pt.Learner(net, board="golden", optimizer=sgd, batch=batch, **options)  # type: ignore[arg-type]
    fixed = learner.fit(*data, epochs=3, validation_data=data, progress=False)
    twin = pt.fit_float(net, *data, epochs=3, optimizer=sgd, batch=batch, validation_data=data,
                        **options)  # type: ignore[arg-type]
    assert np.allclose(fixed.batch_losses, twin.batch_losses, atol=0.01)
    assert fixed.epochs[-1].val_loss == pytest.approx(twin.epochs[-1].val_loss, abs=0.01)
    assert fixed.epochs[-1].loss < 0.9 * fixed.epochs[0].loss
    other = pt.fit_float(net, *data, epochs=3, optimizer=sgd, batch=batch)
    assert not np.allclose(fixed.batch_losses, other.batch_losses, atol=0.01)


def test_nesterov_is_another_training(net: Graph, data: Data) -> None:
    histories = [pt.Learner(net, optimizer=pt.SGD(lr=0.1, nesterov=nesterov), batch=8).fit(
        *data, epochs=2, progress=False).batch_losses for nesterov in (False, True)]
    assert not np.allclose(*histories, atol=0.005)


@pytest.mark.parametrize("options", [*LOSSES, {"accumulate": 3}])
def test_a_checkpoint_keeps_it(net: Graph, data: Data, tmp_path: Path,
                               options: dict[str, object]) -> None:
    learner = pt.Learner(net, board="golden", optimizer=OPTIMIZER, batch=8, **options)  # type: ignore[arg-type]
    learner.fit(*data, epochs=1, progress=False)
    learner.save(tmp_path / "a.safetensors")
    again = pt.load(tmp_path / "a.safetensors")
    assert isinstance(again, pt.Learner)
    assert (again.loss, again.label_smoothing, again.accumulate) == (
        learner.loss, learner.label_smoothing, learner.accumulate)
    assert again.evaluate(*data) == learner.evaluate(*data)
    losses = [one.fit(*data, epochs=1, progress=False).batch_losses for one in (learner, again)]
    assert losses[0] == losses[1]


def test_another_loss_after_loading(net: Graph, tmp_path: Path) -> None:
    pt.Learner(net, batch=8, label_smoothing=0.1).save(tmp_path / "a.safetensors")
    again = pt.Learner.load(tmp_path / "a.safetensors", loss="mse")
    assert (again.loss, again.label_smoothing) == ("mse", 0.0)


def test_targets_add_up_to_one() -> None:
    for classes in (1, 2, 3, 10, 1000, 1024):
        for smoothing in (0.0, 0.1, 0.5, 0.999):
            fields = Loss("cross-entropy", smoothing, classes).fields(-12)
            assert fields["t_drop"] == (classes - 1) * fields["t_off"] < 1 << 16
            wanted = smoothing * 65536 / classes
            assert abs(fields["t_off"] - wanted) <= (0.5 if smoothing < 0.9 else 1)


@pytest.mark.parametrize("batch", [1, 2, 7, 128])
@pytest.mark.parametrize("classes", [2, 3, 10, 1000])
def test_squared_error_keeps_shifts_and_exponents_legal(batch: int, classes: int) -> None:
    loss = Loss("mse", 0.0, classes)
    for logits in range(-21, loss.logits_ceiling(batch) + 1):
        fields = loss.fields(logits)
        assert 0 <= fields["m_shift"] < 32 and fields["z_shift"] == -logits
        exponent = loss.gradient_exponent(batch, logits)
        assert exponent <= -8
        # Gradient of one unit of (logit - target): 2 / (classes * batch).
        unit = 2.0**(exponent - logits - fields["m_shift"]) * loss.fold(batch)
        assert unit == pytest.approx(2 / (classes * batch))


@pytest.mark.parametrize(("options", "text"), [
    ({"label_smoothing": 1.0}, "label_smoothing: expected a number of 0 to below 1, found 1.0"),
    ({"label_smoothing": -0.1}, "label_smoothing: expected a number of 0 to below 1, found -0.1"),
    ({"label_smoothing": "a"}, "label_smoothing: expected a number of 0 to below 1, found 'a'"),
    ({"loss": "mse", "label_smoothing": 0.1},
     "label_smoothing: expected 0: the squared error has no such targets, found 0.1; leave it out, "
     "or use loss='cross-entropy'"),
    ({"board": "hls-csim", "loss": "mse"},
     "hls-csim: loss: expected cross-entropy without label smoothing, found mse; leave loss and "
     "label_smoothing out"),
])
def test_refused(net: Graph, data: Data, options: dict[str, object], text: str) -> None:
    with pytest.raises(BadInput) as caught:
        pt.Learner(net, batch=8, **options).fit(*data, progress=False)  # type: ignore[arg-type]
    assert str(caught.value) == text


def test_unknown_loss(net: Graph) -> None:
    with pytest.raises(UnknownName, match="unknown loss 'hinge': expected one of binary-cross"):
        pt.Learner(net, loss="hinge")


@pytest.mark.parametrize(("values", "text"), [
    ({"momentum": 0, "nesterov": True}, "nesterov without momentum: expected momentum above 0, "
     "found 0; set momentum, for example 0.9, or leave nesterov out"),
    ({"nesterov": 1}, "nesterov: expected True or False, found 1"),
])
def test_refused_optimizers(values: dict[str, object], text: str) -> None:
    with pytest.raises(BadInput) as caught:
        pt.SGD(**values)  # type: ignore[arg-type]
    assert str(caught.value) == text
