"""A call of fit, step by step: what is announced, kept and said; its trainer only takes notes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import BadInput
from pynq_train.graph import Graph
from pynq_train.run.batch import Batch
from pynq_train.run.session import new_policy
from pynq_train.run.trainer import StepOutcome

Data = tuple[np.ndarray, np.ndarray]
SGD = pt.SGD(0.05, schedule="constant")


class Notes:
    """A trainer that trains nothing; its loss is the number of the step."""

    def __init__(self, learner: pt.Learner) -> None:
        self.plan, self.masters = learner.plan, learner.masters
        self.policy = new_policy(learner.plan, learner.masters, 0)
        self.steps: list[tuple[Batch, list[int], Batch | None]] = []
        self.prepared: list[list[int]] = []
        self.fails_at = -1

    def prepare(self, images: Batch, labels: np.ndarray, input_k: int) -> None:
        self.prepared.append(numbers(images))
        self.policy.input_k = input_k

    def train_step(self, images: Batch, labels: np.ndarray, sgd: Any, then: Batch | None = None
                   ) -> StepOutcome:
        if len(self.steps) == self.fails_at:
            raise pt.PynqTrainError("planted")
        self.steps.append((images, labels.tolist(), then))
        return StepOutcome(float(len(images) * len(self.steps)), 3, len(images), 100, 0, {})

    def protected(self, work: Callable[[], Any]) -> Any:
        return work()

    def read_masters(self) -> Any:
        return self.masters

    def write_masters(self, masters: Any) -> None:
        self.masters = masters


def numbers(images: Any) -> list[int]:
    """The numbers of the images, which are their first pixels."""
    values = images if isinstance(images, np.ndarray) else images.values()
    return [round(float(one)) for one in values[:, 0, 0, 0]]


@pytest.fixture
def numbered() -> Data:
    """52 images that say their number, and labels that follow from it."""
    x = np.zeros((52, 1, 6, 6), np.float32)
    x[:, 0, 0, 0] = np.arange(52)
    return x, np.arange(52) % 3


def noted(net: Graph, **options: Any) -> tuple[pt.Learner, Any]:
    learner = pt.Learner(net, batch=8, optimizer=SGD, **options)
    learner._trainer = notes = Notes(learner)  # type: ignore[assignment]
    return learner, notes


@pytest.mark.filterwarnings("ignore")
def test_each_step_announces_the_images_of_the_next(net: Graph, numbered: Data) -> None:
    """The same batch is given then; the last one of an epoch announces nothing."""
    learner, notes = noted(net)
    learner.fit(*numbered, 2, progress=False)
    assert len(notes.steps) == 12
    for at, (_, _, then) in enumerate(notes.steps):
        assert then is (None if at % 6 == 5 else notes.steps[at + 1][0])
    for epoch in (notes.steps[:6], notes.steps[6:]):
        seen = [number for images, _, _ in epoch for number in numbers(images)]
        assert len(set(seen)) == len(seen) == 48
    for images, labels, _ in notes.steps:
        assert labels == [number % 3 for number in numbers(images)]
    assert numbers(notes.steps[0][0]) != numbers(notes.steps[6][0])
    assert notes.prepared == [numbers(notes.steps[0][0])]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fails_at", [0, 1, 5, 6, 8, 11])
def test_a_resumed_call_goes_on_where_it_was(net: Graph, numbered: Data, fails_at: int) -> None:
    whole, wanted = noted(net)
    whole.fit(*numbered, 2, progress=False)
    learner, notes = noted(net)
    notes.fails_at = fails_at
    with pytest.raises(pt.PynqTrainError, match="planted"):
        learner.fit(*numbered, 2, progress=False)
    assert learner.history.interrupted and learner.steps == fails_at
    notes.fails_at = -1
    during: list[bool] = []

    class Look(pt.callbacks.Callback):
        def on_step(self, learner: pt.Learner, outcome: Any) -> None:
            during.append(learner.history.interrupted)

    learner.state.run.callbacks = []  # type: ignore[union-attr]
    learner.fit(*numbered, 2, progress=False, resume=True, callbacks=[Look()])
    assert during == [False] * (12 - fails_at) and not learner.history.interrupted
    assert [numbers(images) for images, _, _ in notes.steps] == [
        numbers(images) for images, _, _ in wanted.steps]
    assert learner.history.batch_losses == whole.history.batch_losses == [
        float(step) for step in range(1, 13)]
    assert [epoch.loss for epoch in learner.history.epochs] == [3.5, 9.5]
    assert [epoch.cycles for epoch in learner.history.epochs] == [600, 600]
    assert [epoch.accuracy for epoch in learner.history.epochs] == [3 / 8, 3 / 8]
    assert learner.state.run is None and len(notes.prepared) == 1


@pytest.mark.filterwarnings("ignore")
def test_losses_are_those_of_the_last_call(net: Graph, numbered: Data) -> None:
    learner, _ = noted(net)
    learner.fit(*numbered, 2, progress=False)
    learner.fit(*numbered, 1, progress=False)
    assert learner.history.batch_losses == [float(step) for step in range(13, 19)]
    assert [epoch.epoch for epoch in learner.history.epochs] == [1, 2, 3]
    assert learner.steps == 18 and not learner.history.interrupted


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("count", [51, 53, 40])
def test_other_images_are_not_gone_on_with(net: Graph, numbered: Data, count: int) -> None:
    learner, notes = noted(net)
    notes.fails_at = 3
    with pytest.raises(pt.PynqTrainError):
        learner.fit(*numbered, 2, progress=False)
    x, y = (np.concatenate([one, one])[:count] for one in numbered)
    with pytest.raises(BadInput, match=f"resumed training: expected 52, found {count}"):
        learner.fit(x, y, 2, progress=False, resume=True)
    x, y = numbered[0].copy(), numbered[1]
    x[50] += 1
    with pytest.raises(BadInput, match="images and labels of the resumed training: expected chec"):
        learner.fit(x, y, 2, progress=False, resume=True)
    assert len(notes.steps) == 3


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("accumulate", [1, 2, 4])
def test_an_epoch_has_whole_updates(net: Graph, numbered: Data, accumulate: int) -> None:
    """Of 52 images 48, 48 and 32."""
    learner, notes = noted(net, accumulate=accumulate)
    learner.fit(*numbered, 1, progress=False)
    assert len(notes.steps) == 52 // (8 * accumulate) * accumulate


@pytest.mark.filterwarnings("ignore")
def test_a_callback_that_ends_a_training_is_not_the_only_one_that_sees_it(
        net: Graph, numbered: Data) -> None:
    seen: list[str] = []

    class Told(pt.callbacks.Callback):
        def __init__(self, name: str, ends: int) -> None:
            self.name, self.ends = name, ends

        def on_begin(self, learner: pt.Learner) -> None:
            seen.append(f"{self.name} begin")

        def on_epoch(self, learner: pt.Learner, epoch: Any) -> bool:
            seen.append(f"{self.name} {epoch.epoch}")
            return epoch.epoch == self.ends

        def on_end(self, learner: pt.Learner) -> None:
            seen.append(f"{self.name} end")

    learner, notes = noted(net)
    learner.fit(*numbered, 5, progress=False, callbacks=[Told("a", 2), Told("b", 9)])
    assert seen == ["a begin", "b begin", "a 1", "b 1", "a 2", "b 2", "a end", "b end"]
    assert len(notes.steps) == 12 and not learner.history.interrupted
    assert learner.state.run is None
