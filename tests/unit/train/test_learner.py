"""The learner on the golden backend."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import BadInput, DoesNotFit, UnknownName
from pynq_train.graph import Graph, LayerParams
from pynq_train.graph.reference import FloatTrainer
from pynq_train.run import Masters
from pynq_train.run.session import Session
from pynq_train.train import EpochResult

Data = tuple[np.ndarray, np.ndarray]
OPTIMIZER = pt.SGD(lr=0.1, weight_decay=1e-3)


def learner(net: Graph, batch: int = 8, **more: object) -> pt.Learner:
    return pt.Learner(net, optimizer=OPTIMIZER, batch=batch, **more)  # type: ignore[arg-type]


def same(one: dict[str, Masters], other: dict[str, Masters]) -> bool:
    return all(own.same_bits(other[name]) for name, own in one.items())


@pytest.mark.parametrize("batch", [4, 6])
def test_follows_the_float_twin(net: Graph, data: Data, batch: int) -> None:
    fixed = learner(net, batch).fit(*data, epochs=4, progress=False)
    twin = pt.fit_float(net, *data, epochs=4, optimizer=OPTIMIZER, batch=batch)
    assert np.allclose(fixed.batch_losses, twin.batch_losses, atol=0.01)
    assert fixed.epochs[-1].loss < 0.5 * fixed.epochs[0].loss


def test_evaluation_matches_float_weights(net: Graph, data: Data) -> None:
    trained = learner(net)
    trained.fit(*data, epochs=4, progress=False)
    twin = FloatTrainer(net, trained.params)
    logits = trained.logits(data[0])
    assert logits.shape == (52, 3)
    assert np.allclose(logits, twin.logits(data[0]), atol=0.01)
    loss, accuracy = trained.evaluate(*data)
    wanted = twin.evaluate(*data)
    assert loss == pytest.approx(wanted[0], abs=0.01) and accuracy == wanted[1]
    assert (trained.predict(data[0]) == logits.argmax(axis=1)).all()
    assert accuracy == pytest.approx((trained.predict(data[0]) == data[1]).mean())


def test_evaluation_does_not_change_the_training(net: Graph, data: Data) -> None:
    plain, evaluated = learner(net), learner(net)
    plain.fit(*data, epochs=3, progress=False)
    evaluated.fit(*data, epochs=3, progress=False, validation_data=data)
    assert same(plain.masters, evaluated.masters)
    assert evaluated.history.epochs[-1].val_accuracy is not None


def test_an_untrained_network_can_be_evaluated(net: Graph, data: Data) -> None:
    fresh = learner(net)
    wanted = FloatTrainer(net, fresh.params).logits(data[0])
    assert np.allclose(fresh.logits(data[0]), wanted, atol=0.01)


def test_calibration_keeps_weights_and_momentum(net: Graph, data: Data) -> None:
    trained = learner(net)
    trained.fit(*data, epochs=1, progress=False)
    before = trained.masters
    session = trained._open()
    assert session.calibrate(data[0][:8], data[1][:8]) >= 1
    assert same(before, trained.masters)
    used = session.policy.exponents(8)
    session.train_step(data[0][:8], data[1][:8], OPTIMIZER.at(0, 1))
    assert not same(before, trained.masters)
    for layer in used.layers:
        assert layer.y > -21


def test_saved_learner_goes_on_with_the_same_bits(net: Graph, data: Data, tmp_path: Path) -> None:
    whole = learner(net)
    whole.fit(*data, epochs=2, progress=False)
    whole.fit(*data, epochs=2, progress=False)
    first = learner(net)
    first.fit(*data, epochs=2, progress=False)
    first.save(tmp_path / "model.safetensors")
    second = pt.load(tmp_path / "model.safetensors")
    assert second.graph == net and second.optimizer == OPTIMIZER and second.steps == first.steps
    second.fit(*data, epochs=2, progress=False)
    assert same(whole.masters, second.masters)
    assert [e.loss for e in second.history.epochs] == [e.loss for e in whole.history.epochs]


class _InterruptAt:
    """Presses Ctrl-C ``times`` times when step ``step`` begins."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: int, times: int = 1) -> None:
        self.count = 0
        original = Session.train_step

        def train_step(session: Session, *args: object) -> object:
            self.count += 1
            outcome = original(session, *args)  # type: ignore[arg-type]
            if self.count == step:
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)  # os.kill may merge two of them
            return outcome

        monkeypatch.setattr(Session, "train_step", train_step)


def test_interrupted_training_resumes_with_the_same_bits(
        net: Graph, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = learner(net)
    whole.fit(*data, epochs=3, progress=False)
    stopped = learner(net)
    _InterruptAt(monkeypatch, 9)
    history = stopped.fit(*data, epochs=3, progress=False)
    assert history.interrupted and stopped.steps == 9 and len(history.epochs) == 1
    stopped.save(tmp_path / "part.safetensors")
    stopped = pt.load(tmp_path / "part.safetensors")
    history = stopped.fit(*data, epochs=3, progress=False, resume=True)
    assert not history.interrupted and stopped.steps == whole.steps
    assert same(whole.masters, stopped.masters)
    assert [(e.loss, e.accuracy, e.images) for e in history.epochs] == [
        (e.loss, e.accuracy, e.images) for e in whole.history.epochs]


def test_a_second_ctrl_c_keeps_the_last_finished_step(
        net: Graph, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = signal.getsignal(signal.SIGINT)  # ignored in a shell's background job
    wanted = learner(net)
    _InterruptAt(monkeypatch, 4)
    wanted.fit(*data, epochs=1, progress=False)
    monkeypatch.undo()
    stopped = learner(net)
    _InterruptAt(monkeypatch, 5, times=2)
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(*data, epochs=1, progress=False)
    assert stopped.steps == 4 and same(wanted.masters, stopped.masters)
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_failed_step_leaves_the_weights(net: Graph, data: Data,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    trained = learner(net)
    trained.fit(*data, epochs=1, progress=False)
    before = trained.masters
    policies = []
    original = Session.train_step

    def broken(session: Session, *args: object) -> object:
        policies.append(session.policy.to_dict())
        original(session, *args)  # type: ignore[arg-type]
        raise pt.PynqTrainError("the board went away")

    monkeypatch.setattr(Session, "train_step", broken)
    with pytest.raises(pt.PynqTrainError):
        trained.fit(*data, epochs=1, progress=False)
    assert same(before, trained.masters)
    assert trained._trainer is not None and policies == [trained._trainer.policy.to_dict()]
    assert trained.history.interrupted


@pytest.mark.parametrize(("options", "text"), [
    ({"batch": 4}, "batch=4 (saved with 8)"),
    ({"trainable": ["dense1"]}, "trainable=['dense1'] (saved with 'all')"),
    ({"batch": 4, "accumulate": 2}, "batch=4 (saved with 8), accumulate=2 (saved with 1)"),
    ({"batch": 8, "trainable": "all"}, "")])
def test_a_run_that_other_options_cannot_resume(
        net: Graph, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        options: dict[str, Any], text: str) -> None:
    stopped = learner(net)
    with monkeypatch.context() as patch:
        _InterruptAt(patch, 4)
        stopped.fit(*data, epochs=2, progress=False)
    stopped.save(tmp_path / "part.safetensors")
    again = pt.load(tmp_path / "part.safetensors", board="golden", **options)
    if text:
        with pytest.raises(BadInput) as caught:
            again.fit(*data, epochs=2, progress=False, resume=True)
        assert f"expected those that it was saved with, found {text}; load it" in str(caught.value)
        again.fit(*data, epochs=1, progress=False)  # a new training has nothing to do with it
        with pytest.raises(BadInput, match="nothing to resume"):
            again.fit(*data, epochs=1, progress=False, resume=True)
    else:
        assert len(again.fit(*data, epochs=2, progress=False, resume=True).epochs) == 2


def test_nothing_to_resume(net: Graph, data: Data) -> None:
    with pytest.raises(BadInput, match="nothing to resume"):
        learner(net).fit(*data, resume=True)


def test_float_weights_can_be_taken_over(net: Graph, data: Data) -> None:
    twin = FloatTrainer(net, learner(net).params, lr=0.1)
    for _ in range(30):
        twin.step(data[0][:40], data[1][:40])
    taken = learner(net)
    taken.set_params(twin.params)
    assert np.allclose(taken.logits(data[0]), twin.logits(data[0]), atol=0.02)
    wrong = {name: LayerParams(p.weight[:1], p.bias) for name, p in twin.params.items()}
    with pytest.raises(BadInput, match=r"conv1: weight: expected shape \(4, 1, 3, 3\)"):
        taken.set_params(wrong)


def test_normalisation_is_part_of_the_model(net: Graph, data: Data, tmp_path: Path) -> None:
    raw = np.clip(data[0][:, 0] * 60 + 90, 0, 255).astype(np.uint8)
    trained = learner(net, normalise=True)
    trained.fit(raw, data[1], epochs=2, progress=False)
    assert trained.normalisation is not None and 0.2 < trained.normalisation.mean[0] < 0.6
    trained.save(tmp_path / "n.safetensors")
    assert pt.load(tmp_path / "n.safetensors").evaluate(raw, data[1]) == trained.evaluate(
        raw, data[1])


def test_functions_see_epochs_and_another_batch(net: Graph, data: Data, tmp_path: Path) -> None:
    seen: list[EpochResult] = []
    trained = learner(net)
    trained.fit(*data, epochs=2, progress=False, callbacks=[seen.append])
    assert [e.epoch for e in seen] == [1, 2] and seen[0].images == 48
    assert seen[1].text().startswith("epoch 2: loss 0.") or "epoch 2: loss 1." in seen[1].text()
    trained.save(tmp_path / "b.safetensors")
    other = pt.load(tmp_path / "b.safetensors", batch=5)
    assert other.batch == 5
    assert other.evaluate(*data).accuracy == trained.evaluate(*data).accuracy


@pytest.mark.parametrize(("change", "text"), [
    ({"y": np.zeros(3, np.int64)}, r"labels: expected one per image, shape \(52,\), found \(3,\)"),
    ({"y": np.full(52, 3)}, r"label of image 0: expected 0..2 \(3 classes\), found 3"),
    ({"y": np.zeros(52)}, "labels: expected integer labels, found dtype float64"),
    ({"x": np.zeros((52, 1, 9, 9))}, r"images: expected shape .* with 6x6 pixels and 1 channel.*"
                                     r"found shape \(52, 1, 9, 9\)"),
    ({"x": np.full((52, 1, 6, 6), np.nan)}, "images: expected finite float32 numbers"),
    ({"x": np.zeros((0, 1, 6, 6))}, "images: expected at least one"),
    ({"x": np.zeros((52, 1, 6, 6), complex)}, "images: expected uint8 or floats"),
    ({"epochs": 0}, "epochs: expected an integer of 1 or more, found 0"),
])
def test_bad_data_is_refused(net: Graph, data: Data, change: dict[str, object], text: str) -> None:
    arguments: dict[str, object] = {"x": data[0], "y": data[1], "epochs": 1, "progress": False}
    with pytest.raises(BadInput, match=text):
        learner(net).fit(**{**arguments, **change})  # type: ignore[arg-type]


def test_fewer_images_than_a_batch(net: Graph, data: Data) -> None:
    with pytest.raises(BadInput, match=r"at least one mini-batch \(8\), found 5; use a smaller"):
        learner(net).fit(data[0][:5], data[1][:5])


def test_momentum_may_fall_but_not_rise_from_none(net: Graph, data: Data, tmp_path: Path) -> None:
    """A plan without momentum has bare weights in memory; a new learner gets the room."""
    plain = pt.Learner(net, optimizer=pt.SGD(momentum=0.0), batch=8)
    plain.fit(*data, epochs=1, progress=False)
    with pytest.raises(BadInput, match=r"momentum: expected 0: this learner was made without "
                       r"momentum.*found 0.5; save it and load it with the new optimizer"):
        plain.optimizer = pt.SGD(momentum=0.5)
    assert plain.optimizer.momentum == 0.0
    plain.optimizer = pt.SGD(lr=0.3, momentum=0.0)
    plain.fit(*data, epochs=1, progress=False)
    plain.save(tmp_path / "plain.safetensors")
    heavy = pt.load(tmp_path / "plain.safetensors", optimizer=pt.SGD(momentum=0.5))
    assert same(plain.masters, heavy.masters) and heavy.plan.momentum
    heavy.fit(*data, epochs=1, progress=False)
    assert np.any(heavy.masters["conv1"].weight_momentum)
    heavy.optimizer = pt.SGD(momentum=0.0)
    heavy.fit(*data, epochs=1, progress=False)


def test_training_without_momentum_is_that_of_momentum_zero(net: Graph, data: Data) -> None:
    """Bare weights and masters whose momentum is never used get the same bits."""
    plain = pt.Learner(net, optimizer=pt.SGD(momentum=0.0), batch=8)
    full = pt.Learner(net, optimizer=pt.SGD(momentum=0.9), batch=8)
    full.optimizer = pt.SGD(momentum=0.0)
    for one in (plain, full):
        one.fit(*data, epochs=2, progress=False)
    assert full.plan.momentum and not plain.plan.momentum
    for name, own in plain.masters.items():
        assert np.array_equal(own.weight, full.masters[name].weight)
        assert not own.weight_momentum.any() and full.masters[name].weight_momentum.any()


def test_bad_arguments_are_refused(net: Graph) -> None:
    with pytest.raises(UnknownName, match="unknown board 'pynq-z3'"):
        pt.Learner(net, board="pynq-z3")
    with pytest.raises(UnknownName, match=r"unknown network 'dgits'.*did you mean 'digits'"):
        pt.Learner("dgits")
    with pytest.raises(BadInput, match="model: expected a Graph, a Model or the name of a network"):
        pt.Learner(3)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="seed: expected an integer"):
        pt.Learner(net, seed=1.5)  # type: ignore[arg-type]
    with pytest.raises(DoesNotFit, match="use a mini-batch of at most 128 images"):
        pt.Learner("1x", batch=256)
