"""Several mini-batches of an update in the segments at once equal accumulation on one board."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import BadInput, HardwareFault
from pynq_train.fleet import flight
from pynq_train.fleet.boards import SplitLearner
from pynq_train.fleet.build import SegmentPlans
from pynq_train.fleet.cut import Cut
from pynq_train.fleet.pipeline import Pipeline
from pynq_train.fleet.segment import Segment, SegmentInput, SegmentOutput
from pynq_train.layers import init_params
from pynq_train.quant import SgdStep
from pynq_train.run.masters import Masters
from pynq_train.run.session import new_policy

NET = pt.Graph.build((1, 8, 8), [
    pt.Conv(8, 3, 1, 1, False, "conv1"), pt.BatchNorm(name="bn1"), pt.Relu("relu1"),
    pt.Conv(8, 3, 1, 1, False, "conv2"), pt.BatchNorm(name="bn2"),
    pt.Add("add", ("bn2", "relu1")), pt.Relu("relu2"), pt.Dropout(0.25, "drop"),
    pt.GlobalAvgPool("mean"), pt.Dense(4, name="dense")], "flown")
AFTER = ("relu1", "relu2")


def images(number: int, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels of a step."""
    rng = np.random.default_rng(number)
    return (scale * rng.normal(size=(4, 1, 8, 8))).astype(np.float32), rng.integers(0, 4, 4)


def opened(stack: ExitStack, slots: int) -> Pipeline:
    """Return the network in three segments, with exponents for its images."""
    plans = SegmentPlans.of(Cut.of(NET, AFTER), "golden", 4, slots=slots)
    masters = {name: Masters.of(own) for name, own in init_params(NET, 1).items()}
    pipeline = plans.open(stack, masters, new_policy(plans.whole, masters, 4), fill_seed=3)
    pipeline.prepare(*images(0), 4)
    return pipeline


def same(one: Pipeline, other: Pipeline) -> bool:
    """Return whether masters and exponents of two are equal."""
    mine, theirs = one.read_masters(), other.read_masters()
    return (one.policy.to_dict() == other.policy.to_dict()
            and all(own.same_bits(theirs[name]) for name, own in mine.items()))


def update(number: int, parts: int, **more: Any) -> list[tuple[np.ndarray, np.ndarray, SgdStep]]:
    """Return the steps of an update; later images are larger: ranges grow within it."""
    return [(*images(parts * number + part, 1 + 0.3 * part), SgdStep(
        0.1, 0.9, 1e-3, parts=parts, part=part, seed=2, step=parts * number + part, **more))
        for part in range(parts)]


def flights(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which each flight adds how it ended."""
    found: list[str] = []
    check = flight.Flight.check

    def noted(self: flight.Flight, step: int, block: Any) -> None:
        try:
            check(self, step, block)
        except flight.OtherExponents:
            found.append("back")
            raise
        found.append("ok")

    monkeypatch.setattr(flight.Flight, "check", noted)
    return found


@pytest.mark.parametrize("slots", [2, 3, 4])
def test_updates_in_flight_have_the_bits_of_one_after_the_other(
        slots: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Growing ranges, a dropout, normalisations, momentum, decay; nothing has to go back."""
    ended = flights(monkeypatch)
    with ExitStack() as stack:
        good, other = opened(stack, 1), opened(stack, slots)
        for number in range(5):
            steps = update(number, slots)
            mine = [good.protected(partial(good.train_step, *one)) for one in steps]
            assert other.protected(partial(other.train_together, steps)) == mine
            assert same(good, other)
        histories = [len(one) for one in good.policy.feature]
    assert max(histories) == min(16, 5 * slots + 1)
    assert set(ended) == {"ok"}
    assert len(ended) >= 4 * slots


def test_a_bound_of_all_gradients_makes_them_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clipping scales every update by what the widest gradient of the network says."""
    ended = flights(monkeypatch)
    with ExitStack() as stack:
        good, other = opened(stack, 1), opened(stack, 3)
        for number in range(2):
            steps = update(number, 3, clip=-6)
            for one in steps:
                good.train_step(*one)
            other.train_together(steps)
        assert same(good, other)
    assert ended == []


def test_exponents_of_another_turn_are_found_and_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a segment had begun before the ranges that it needs were known."""
    ended = flights(monkeypatch)
    known = flight.Flight._known

    def late(self: flight.Flight, step: int, half: str, segment: int) -> list[flight.Answer]:
        whole = half == "backward" and segment == 0  # what the coordinator asks for in the end
        return known(self, step, half, segment) if whole or segment == 2 else []

    with ExitStack() as stack:
        good, other = opened(stack, 1), opened(stack, 3)
        monkeypatch.setattr(flight.Flight, "_known", late)
        for number in range(6):
            steps = [(4.0 ** min(part, number % 2) * x, y, sgd)
                     for part, (x, y, sgd) in enumerate(update(number, 3))]
            for one in steps:
                good.train_step(*one)
            other.protected(partial(other.train_together, steps))
            assert same(good, other)
    assert "back" in ended


def test_segments_work_at_the_same_time() -> None:
    """Two of them wait for each other: one after the other they would never meet."""
    with ExitStack() as stack:
        pipeline = opened(stack, 3)
        for step in update(0, 3):
            pipeline.train_step(*step)
        meeting = threading.Barrier(2, timeout=60)
        first, middle = pipeline.stages[:2]
        assert isinstance(first, Segment)
        assert isinstance(middle, Segment)

        def met(stage: Segment, slot: int) -> None:
            run = stage.forward

            def forward(request: SegmentInput) -> SegmentOutput:
                if request.slot == slot:
                    meeting.wait()
                return run(request)

            stage.forward = forward  # type: ignore[method-assign]

        met(first, 2)
        met(middle, 1)
        outcomes = pipeline.train_together(update(1, 3))
        assert len(outcomes) == 3


@pytest.mark.parametrize("half", ["forward", "backward"])
def test_a_segment_that_fails_in_flight_leaves_nothing_half_done(half: str) -> None:
    """Others have moved on; all go back, and the same update goes through then."""
    with ExitStack() as stack:
        good, other = opened(stack, 1), opened(stack, 3)
        for number in range(2):
            for one in update(number, 3):
                good.train_step(*one)
        other.protected(lambda: other.train_together(update(0, 3)))
        stage = other.stages[1]
        run, left = getattr(stage, half), [1]

        def failing(request: SegmentInput) -> SegmentOutput:
            answer: SegmentOutput = run(request)
            if request.slot == 1 and left:
                left.pop()
                raise HardwareFault("the link was cut")
            return answer

        setattr(stage, half, failing)
        with pytest.raises(HardwareFault, match="the link was cut"):
            other.protected(lambda: other.train_together(update(1, 3)))
        other.protected(lambda: other.train_together(update(1, 3)))
        assert not left
        assert same(good, other)


def test_steps_that_are_no_parts_of_one_update_are_refused() -> None:
    """Weights would move between them."""
    with ExitStack() as stack:
        pipeline = opened(stack, 2)
        with pytest.raises(BadInput, match=r"in flight: expected up to 2 .*found 3, parts 0 of 3"):
            pipeline.train_together(update(0, 3))
        with pytest.raises(BadInput, match="parts 0 of 2, 0 of 2"):
            pipeline.train_together([update(0, 2)[0]] * 2)


def test_a_learner_with_mini_batches_in_flight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                               ) -> None:
    """fit, checkpoints between its groups, an end in the middle of one, and going on."""
    ended = flights(monkeypatch)
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(46, 8, 8)).astype(np.float32), rng.integers(0, 4, 46)
    options: dict[str, Any] = {"batch": 4, "accumulate": 3, "seed": 4,
                               "optimizer": pt.SGD(0.05, momentum=0.9)}
    whole = pt.Learner(NET, **options)
    whole.fit(x, y, 2, progress=False)

    class Stop(pt.callbacks.Callback):
        """Ends the training in its fifth step, the middle of a group."""

        def on_step(self, learner: Any, outcome: Any) -> None:
            """End it; the steps of the group are counted, all of them."""
            if len(learner.history.batch_losses) >= 5:
                raise KeyboardInterrupt

    parts = pt.split(NET, AFTER, in_flight=3, **options)
    with pytest.raises(KeyboardInterrupt):
        parts.fit(x, y, 2, progress=False, callbacks=[Stop()], checkpoint=tmp_path / "on the way",
                  checkpoint_every=2)
    assert parts.steps == 6
    parts.save(tmp_path / "stopped")
    for board in ("golden", pt.Boards(("drop",), "golden", 2)):
        again = pt.load(tmp_path / "stopped", board=board)
        again.fit(x, y, 2, progress=False, resume=True, callbacks=[pt.callbacks.Callback()])
        assert again.history.batch_losses == whole.history.batch_losses
        assert all(own.same_bits(again.masters[name]) for name, own in whole.masters.items())
    early = SplitLearner.load(tmp_path / "on the way", board=pt.Boards(AFTER, "golden", 3))
    assert early.steps == 3
    assert "ok" in ended
    with pytest.raises(BadInput, match="in_flight"):
        pt.split(NET, AFTER, in_flight=0, **options)
