"""Accumulation: the mean gradient of several mini-batches makes one update."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import BadInput
from pynq_train.graph import Graph
from pynq_train.graph.reference import FloatTrainer
from pynq_train.layers import init_params
from pynq_train.quant import SgdStep
from pynq_train.run import Session, StepOutcome
from pynq_train.schedule.lower.step_block import plan_params

Data = tuple[np.ndarray, np.ndarray]
SGD = pt.SGD(lr=0.1, weight_decay=1e-3)


@pytest.mark.parametrize(("nesterov", "loss"), [(False, "cross-entropy"), (True, "mse")])
def test_float_parts_are_one_batch(net: Graph, data: Data, nesterov: bool, loss: str) -> None:
    whole, parts = (FloatTrainer(net, init_params(net, 1), 0.1, weight_decay=1e-2,
                                 loss=loss, nesterov=nesterov)  # type: ignore[arg-type]
                    for _ in range(2))
    x, y = data[0][:48], data[1][:48]
    for _ in range(3):
        one, other = whole.step(x, y), parts.step(x, y, parts=4)
        assert one.loss == pytest.approx(other.loss, rel=1e-5)
        assert (one.correct, one.images) == (other.correct, other.images)
    for name, own in whole.params.items():
        np.testing.assert_allclose(own.weight, parts.params[name].weight, atol=1e-5)
    with pytest.raises(BadInput, match="images of a step: expected a label each, a multiple of 5"):
        parts.step(x, y, parts=5)


@pytest.mark.parametrize("momentum", [0.9, 0.0])
@pytest.mark.parametrize(("batch", "accumulate"), [(4, 2), (4, 3), (6, 4)])
def test_follows_the_float_twin_with_the_large_batch(
        net: Graph, data: Data, batch: int, accumulate: int, momentum: float) -> None:
    sgd = pt.SGD(lr=0.1, momentum=momentum, weight_decay=1e-3)
    learner = pt.Learner(net, board="golden", optimizer=sgd, batch=batch, accumulate=accumulate)
    assert learner.plan.momentum
    history = learner.fit(*data, epochs=4, progress=False)
    large = batch * accumulate
    twin = pt.fit_float(net, *data, epochs=4, optimizer=sgd, batch=large)
    assert len(history.batch_losses) == 4 * (52 // large) * accumulate
    means = np.reshape(history.batch_losses, (-1, accumulate)).mean(axis=1)
    assert np.allclose(means, twin.batch_losses, atol=0.01)
    assert history.epochs[-1].images == 52 // large * large


def test_weights_move_in_the_last_part_only(net: Graph, data: Data) -> None:
    learner = pt.Learner(net, board="golden", optimizer=SGD, batch=4, accumulate=3)
    masters, ranges = [learner.masters], []

    class Watch(pt.callbacks.Callback):
        def on_step(self, learner: pt.Learner, outcome: StepOutcome) -> None:
            masters.append(learner.masters)
            ranges.append(outcome.images)

    learner.fit(*data, epochs=1, progress=False, callbacks=[Watch()])
    assert ranges == [4] * 12
    for step, (before, after) in enumerate(pairwise(masters)):
        moved = bool((before["conv1"].weight != after["conv1"].weight).any())
        assert moved == (step % 3 == 2), step
        assert (before["conv1"].weight_momentum != after["conv1"].weight_momentum).any()


@pytest.mark.parametrize("stop", [1, 2, 4])
def test_an_interrupted_update_goes_on_with_the_same_bits(
        net: Graph, data: Data, tmp_path: Path, stop: int,
        monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pt.Learner(net, board="golden", optimizer=SGD, batch=4, accumulate=3)
    whole.fit(*data, epochs=2, progress=False)
    original, count, path = Session.train_step, 0, tmp_path / "part.safetensors"

    def breaks(self: Session, *arguments: object) -> StepOutcome:
        nonlocal count
        if count == stop:
            raise RuntimeError("power failure")
        count += 1
        return original(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Session, "train_step", breaks)
        with pytest.raises(RuntimeError, match="power failure"):
            pt.Learner(net, board="golden", optimizer=SGD, batch=4, accumulate=3).fit(
                *data, epochs=2, progress=False, checkpoint=path, checkpoint_every=1)
    again = pt.Learner.load(path)
    assert again.steps == stop
    again.fit(*data, epochs=2, progress=False, resume=True)
    assert again.history.batch_losses == whole.history.batch_losses
    for name, own in whole.masters.items():
        assert own.same_bits(again.masters[name])
    other = pt.Learner.load(path, accumulate=2)
    with pytest.raises(BadInput, match=r"found accumulate=2 \(saved with 3\)"):
        other.fit(*data, progress=False, resume=True)


def test_fields_of_the_parts(net: Graph) -> None:
    plan, policy = (learner := pt.Learner(net, batch=8)).plan, learner._policy

    def fields(sgd: SgdStep) -> Mapping[str, int]:
        return plan_params(plan, policy.exponents(8), sgd).update_weights[0]

    plain = fields(SgdStep(0.1, 0.9, 1e-3))
    first, middle, last = (fields(SgdStep(0.1, 0.9, 1e-3, parts=3, part=part))
                           for part in range(3))
    assert {f["g_shift"] for f in (first, middle, last)} == {plain["g_shift"] + 1}
    assert first["momentum"] == plain["momentum"] and first["lr"] == 0
    assert first["decay"] == round(1e-3 * 3 / 2 * 2**20)
    assert middle["momentum"] == last["momentum"] == 1 << 16
    assert middle["decay"] == last["decay"] == middle["lr"] == 0
    rate = last["lr"] * 2.0**-last["lr_shift"]
    assert rate == pytest.approx(plain["lr"] * 2.0**-plain["lr_shift"] * 2 / 3, rel=1e-4)


@pytest.mark.parametrize("value", [0, 1.5, True])
def test_refused_counts(net: Graph, value: object) -> None:
    with pytest.raises(BadInput, match=r"accumulate: expected an integer of 1 to [0-9]+, found"):
        pt.Learner(net, accumulate=value)  # type: ignore[arg-type]


def test_refused_with_nesterov(net: Graph) -> None:
    text = ("nesterov with accumulation: expected one mini-batch for an update: Nesterov's step "
            "needs the mean gradient by itself, and the engine keeps the momentum alone, found 2; "
            "use nesterov=False, or accumulate=1")
    with pytest.raises(BadInput) as caught:
        pt.Learner(net, optimizer=pt.SGD(nesterov=True), accumulate=2)
    assert str(caught.value) == text
    learner = pt.Learner(net, accumulate=2)
    with pytest.raises(BadInput, match="nesterov with accumulation"):
        learner.optimizer = pt.SGD(nesterov=True)


def test_too_few_images(net: Graph, data: Data) -> None:
    learner = pt.Learner(net, batch=8, accumulate=8)
    with pytest.raises(BadInput, match=r"at least one mini-batch \(8 of 8\), found 52; use a"):
        learner.fit(*data, progress=False)
