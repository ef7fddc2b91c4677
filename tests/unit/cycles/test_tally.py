"""What only counts is no action of the clock, and yet keeps its place among the actions."""

from __future__ import annotations

import pytest
from reference_models import recorded_cycles

from pynq_train.cycles.kernel import Clock, Settled, Steps, Tally
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.memory_timing import MemoryTiming
from pynq_train.schedule.lower.program import build_evaluation
from pynq_train.schedule.predict import Prediction, predict_program


class Bench:
    """A tally whose entries are noted, with the cycle, when they are counted or told of."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.counted: list[str] = []
        self.told: list[tuple[int, str]] = []
        self.tally: Tally[str] = Tally(self.clock, self.counted.append, self._tell)
        self.signal = Settled(self.clock, self.tally)

    def _tell(self, item: str) -> None:
        self.told.append((self.clock.now, item))
        self.signal.wake()


def test_entries_happen_at_their_place_among_the_actions_of_a_cycle() -> None:
    bench, seen = Bench(), []

    def look() -> None:
        bench.tally.settle()
        seen.append((bench.clock.now, "".join(bench.counted)))

    bench.clock.at(5, look)
    bench.tally.add(5, "a", False)
    bench.clock.at(5, look)
    bench.tally.add(7, "b", False)
    bench.clock.at(6, look)
    bench.clock.at(9, look)
    bench.clock.run()
    assert seen == [(5, ""), (5, "a"), (6, "a"), (9, "ab")]
    assert not bench.told, "nobody has waited"


def test_who_waits_is_told_of_each_entry_that_is_still_to_come() -> None:
    bench, woken = Bench(), []
    for cycle, item in ((3, "a"), (5, "b"), (8, "c")):
        bench.tally.add(cycle, item, False)

    def wait() -> Steps:
        yield 4
        while len(bench.counted) < 3:
            yield bench.signal
            woken.append((bench.clock.now, "".join(bench.counted)))

    bench.clock.start(wait())
    bench.clock.run()
    assert bench.told == [(5, "b"), (8, "c")]
    assert woken == [(5, "ab"), (8, "abc")]


def test_each_entry_is_counted_once_whether_it_is_an_action_or_not() -> None:
    bench = Bench()
    bench.tally.add(3, "a", False)
    bench.tally.add(4, "b", True)
    bench.clock.at(4, bench.tally.settle)
    bench.clock.at(5, bench.tally.watch)
    bench.clock.run()
    assert sorted(bench.counted) == ["a", "b"]
    assert bench.told == [(4, "b")]


def _predictions(seed: int, board_name: str, bursts: int) -> list[Prediction]:
    """Both programs of a random network, as the cycle model sees them."""
    plan, training = recorded_cycles.training(seed)
    board = BOARDS[board_name]
    memory = MemoryTiming(board.dram_bytes_per_cycle, read_latency_cycles=70,
                          turn_quantum_cycles=200, outstanding_bursts=bursts)
    return [predict_program(image, board, plan.batch, memory)
            for image in (training, build_evaluation(plan))]


@pytest.mark.parametrize(("seed", "board", "bursts"), [
    (11, "zcu104", 8), (18, "pynq-z2", 2), (14, "ultra96", 4), (19, "zcu104", 8)])
def test_a_prediction_is_the_same_as_if_all_of_it_were_actions(
        seed: int, board: str, bursts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Actions of one cycle in another order change the cycles of a program by hundreds."""
    monkeypatch.setenv("PYNQ_TRAIN_COMPILED", "0")    # whose methods nobody replaces
    quick = _predictions(seed, board, bursts)
    add = Tally.add
    monkeypatch.setattr(Tally, "add", lambda self, cycle, item, awaited: add(
        self, cycle, item, True))
    assert _predictions(seed, board, bursts) == quick
