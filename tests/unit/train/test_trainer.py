"""The trainer protocol: whoever satisfies it trains below a learner, and two classes do."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import SimpleNamespace as Said
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

import pynq_train as pt
from pynq_train.graph import Graph
from pynq_train.graph.reference import FloatTrainer
from pynq_train.quant import ExponentPolicy, SgdStep
from pynq_train.run import Masters, Session, StepOutcome, Trainer
from pynq_train.run.batch import Batch, Images, floats
from pynq_train.run.session import new_policy
from pynq_train.schedule.plan import Plan
from pynq_train.train import hls, loop
from pynq_train.train.hls import HlsTrainer

Array = NDArray[Any]
Data = tuple[Array, Array]
PROTOCOL = {name: member for name, member in vars(Trainer).items() if not name.startswith("_")}
PROPERTIES = {name for name, member in PROTOCOL.items() if isinstance(member, property)}


class FloatBoard:
    """The smallest trainer: float32 in NumPy."""

    def __init__(self, learner: pt.Learner) -> None:
        self.plan: Plan = learner.plan
        self.policy: ExponentPolicy = new_policy(learner.plan, learner.masters, 0)
        self.prepared: list[tuple[int, bool]] = []
        self.broken = False
        self._graph = learner.graph
        self.write_masters(learner.masters)

    def prepare(self, images: Images, labels: Array | None, input_k: int) -> None:
        self.policy.input_k = input_k
        self.prepared.append((len(images), labels is not None))

    def train_step(self, images: Images, labels: Array, sgd: SgdStep,
                   then: Batch | None = None) -> StepOutcome:
        said = self._float.step(floats(images), labels, sgd.lr)
        if self.broken:
            raise pt.PynqTrainError("the board went away")
        return StepOutcome(said.loss * said.images, said.correct, said.images, 0, 0, {})

    def evaluate(self, images: Images, labels: Array | None = None
                 ) -> tuple[StepOutcome, np.ndarray[Any, np.dtype[np.float32]]]:
        logits = self._float.logits(floats(images))
        known = logits.argmax(1) if labels is None else labels
        loss, accuracy = self._float.evaluate(floats(images), known)
        count = len(images)
        return StepOutcome(loss * count, round(accuracy * count), count, 0, 0, {}), logits

    def read_masters(self) -> dict[str, Masters]:
        return {name: Masters.of(own) for name, own in self._float.params.items()}

    def write_masters(self, masters: Mapping[str, Masters]) -> None:
        self._float = FloatTrainer(self._graph, {n: own.params() for n, own in masters.items()},
                                   momentum=0.0)

    def protected(self, work: Callable[[], Any]) -> Any:
        saved = self._float.params
        try:
            return work()
        except BaseException:
            self._float = FloatTrainer(self._graph, saved, momentum=0.0)
            raise


def test_the_protocol_is_what_learner_and_loop_use() -> None:
    assert {"plan", "policy"} == PROPERTIES
    assert set(PROTOCOL) == PROPERTIES | {"prepare", "train_step", "evaluate", "widen",
                                          "read_masters", "write_masters", "protected"}


@pytest.mark.parametrize("kind", [Session, HlsTrainer])
def test_both_trainers_have_its_methods_with_its_signatures(kind: type) -> None:
    """Mypy checks the same where the learner opens them; both stand alone."""
    assert kind.__mro__[1:] == (object,)
    for name in set(PROTOCOL) - PROPERTIES:
        wanted, found = inspect.signature(PROTOCOL[name]), inspect.signature(getattr(kind, name))
        assert found == wanted, name


def test_a_third_trainer_trains_through_the_learner(net: Graph, data: Data) -> None:
    optimizer = pt.SGD(0.1, momentum=0.0)
    learner = pt.Learner(net, optimizer=optimizer, batch=8)
    board: Trainer = FloatBoard(learner)
    learner._trainer = board
    history = learner.fit(*data, epochs=2, validation_data=data, progress=False)
    twin = pt.fit_float(net, *data, epochs=2, optimizer=optimizer, batch=8)
    assert history.batch_losses == pytest.approx(twin.batch_losses, abs=1e-5)
    assert history.epochs[-1].val_accuracy == learner.evaluate(*data).accuracy
    assert isinstance(board, FloatBoard) and board.prepared[0] == (8, True)
    assert board.policy.input_k == np.frexp(np.abs(data[0]).max())[1]


def test_a_failed_step_of_any_trainer_changes_nothing(net: Graph, data: Data) -> None:
    learner = pt.Learner(net, optimizer=pt.SGD(0.1, momentum=0.0), batch=8)
    learner._trainer = board = FloatBoard(learner)
    before, board.broken = learner.masters, True
    with pytest.raises(pt.PynqTrainError, match="went away"):
        learner.fit(*data, progress=False)
    assert all(own.same_bits(before[name]) for name, own in learner.masters.items())


def test_a_narrower_range_is_for_new_networks_alone(net: Graph, data: Data) -> None:
    learner = pt.Learner(net, optimizer=pt.SGD(0.1, momentum=0.0), batch=8)
    learner._trainer = board = FloatBoard(learner)
    learner.fit(8 * data[0], data[1], progress=False)
    wide = board.policy.input_k
    learner.fit(*data, progress=False)
    assert board.policy.input_k == wide
    fresh = pt.Learner(net, optimizer=pt.SGD(0.1, momentum=0.0), batch=8)
    fresh._trainer = board = FloatBoard(fresh)
    fresh.evaluate(8 * data[0], data[1])
    fresh.fit(*data, progress=False)
    assert board.policy.input_k == wide - 3


def test_what_the_hls_trainer_says_of_a_step_and_an_evaluation(
        net: Graph, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is the kernel's: no cycles, no saturations, no counters."""
    class Network:
        def __init__(self, *_: object) -> None:
            self.rates: list[float] = []

        def step(self, images: Array, labels: Array, lr: float) -> Said:
            self.rates.append(lr)
            return Said(loss_sum=2.5, correct=3)

        def read(self) -> dict[str, object]:
            return {}

        def evaluate(self, images: Array, labels: Array) -> tuple[Said, Array]:
            said = Said(loss_sum=1.5, correct=int((labels == 0).sum()))
            return said, np.ones((len(images), 2), np.float32)

    monkeypatch.setattr(hls, "EfNetwork", Network)
    plan = pt.Learner(pt.Sequential((2, 8, 8), "small").conv(4, 3, padding=1).relu().pool()
                      .dense(3).build(), batch=4).plan
    trainer = HlsTrainer(plan, {}, cast(ExponentPolicy, None))
    images, labels = np.zeros((3, 2, 8, 8), np.float32), np.array([0, 1, 2])
    assert trainer.train_step(images, labels, SgdStep(0.25)) == StepOutcome(2.5, 3, 3, 0, 0, {})
    assert cast(Any, trainer)._network.rates == [0.25]
    outcome, logits = trainer.evaluate(images, labels)
    assert outcome == StepOutcome(1.5, 1, 3, 0, 0, {}) and logits.shape == (3, 2)
    assert trainer.evaluate(images)[0] == StepOutcome(1.5, 3, 3, 0, 0, {})


def test_an_epoch_takes_the_time_between_two_looks_at_the_clock(
        net: Graph, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = pt.Learner(net, optimizer=pt.SGD(0.1, momentum=0.0), batch=8)
    learner._trainer = FloatBoard(learner)
    clock = iter(range(0, 1000, 7))
    monkeypatch.setattr(loop, "time", Said(monotonic=lambda: float(next(clock))))
    history = learner.fit(*data, epochs=3, progress=False)
    assert [epoch.seconds for epoch in history.epochs] == [7.0] * 3
