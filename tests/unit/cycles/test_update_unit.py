"""The update unit of the cycle model: what it passes over, and what it waits for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pynq_train.cycles.dram import Dram
from pynq_train.cycles.kernel import Clock, Steps
from pynq_train.cycles.ports import SharedReadPort, WritePort
from pynq_train.cycles.queue import GradQueue
from pynq_train.cycles.scalar import COPIES_HELD, MASTERS_HELD, Update, _Lanes
from pynq_train.hw.commands import RECORD_WORDS, Opcode
from pynq_train.hw.memory_timing import MemoryTiming
from pynq_train.hw.words import BURST_BEATS

MEMORY = MemoryTiming(16)
SLOW = replace(MEMORY, write_latency_cycles=600, outstanding_bursts=1)


def fields(count: int, **more: int) -> dict[str, int]:
    return {"pre.opcode": int(Opcode.UPDATE), "u.u_plain": 0, "u.u_count": count, "u.u_copy": 1,
            "u.u_rows": 1, **more}


class Bench:
    """An update unit with a memory of its own for each port."""

    def __init__(self, masters: MemoryTiming = MEMORY, copies: MemoryTiming = MEMORY) -> None:
        self.clock = clock = Clock()
        self.read = SharedReadPort(clock, Dram(clock, MEMORY))
        self.masters = WritePort(clock, Dram(clock, masters))
        self.copies = WritePort(clock, Dram(clock, copies))
        self.queue = GradQueue(clock, 512, 64)
        self.unit = Update(clock, self.read, self.masters, self.copies, self.queue)

    def run(self, given: dict[str, int]) -> tuple[int, int]:
        """Run an update; return the most words of masters and copies that ever waited."""
        seen: list[tuple[int, int]] = []

        def watch() -> Steps:
            while self.unit.active or not seen:
                self.masters.holds(self.unit._out, 0)       # counts what has been sent meanwhile
                self.copies.holds(self.unit._copy, 0)
                seen.append((self.unit._out.queued, self.unit._copy.queued))
                yield self.clock.now + 1

        self.clock.start(self.unit.reads(given))
        self.clock.start(self.unit.run(given, 7))
        self.clock.start(watch())
        self.clock.run()
        assert not self.unit.active and self.unit.index == 7
        return max(out for out, _ in seen), max(copy for _, copy in seen)


@pytest.mark.parametrize("plain", [0, 1])
@pytest.mark.parametrize("copy", [0, 1])
@pytest.mark.parametrize("count", [4, 64, 100, 1000])
def test_each_word_of_an_update_moves_once(count: int, copy: int, plain: int) -> None:
    bench = Bench()
    bench.run(fields(count, **{"u.u_plain": plain, "u.u_copy": copy}))
    words = -(-count // (1 + plain))
    assert bench.masters.beats == words + RECORD_WORDS
    assert bench.copies.beats == copy * count // 4
    assert bench.read.beats == 2 * words, "masters and sums"


@pytest.mark.parametrize(("slow", "most"), [("masters", MASTERS_HELD), ("copies", COPIES_HELD)])
def test_results_have_room_behind_them(slow: str, most: int) -> None:
    """The unit stops before its pipeline does, whichever port is the slow one."""
    bench = Bench(**{slow: SLOW})
    out, copy = bench.run(fields(1600))
    # A run of the unit more than what is held: of masters a word each, of copies a burst of theirs.
    found = out if slow == "masters" else copy
    assert most - BURST_BEATS < found <= most + BURST_BEATS
    quick = Bench()
    assert max(quick.run(fields(1600))) < most
    assert bench.clock.now > 2 * quick.clock.now


def test_what_can_be_passed_over() -> None:
    """Whole lanes of sums whose masters have not been asked for, while something is updated."""
    given = fields(640, **{"pre.opcode": int(Opcode.GRADIENT), "u.u_rows": 3})
    unit = Bench().unit
    assert not unit.skip(0), "nothing is updated"
    unit._lanes = lanes = _Lanes(given, 64)
    assert (lanes.sums, lanes.live, lanes.total) == (64, 12, 120)
    assert not unit.skip(64)
    unit.active = True
    assert not unit.skip(11 * 64) and unit._done == 0
    assert unit.skip(3 * 64) and (unit._done, unit._asked) == (36, 36)
    unit._asked += 24
    assert not unit.skip(6 * 64), "60 weights are left, 72 wanted"
    assert unit.skip(5 * 64) and (unit._done, unit._asked) == (96, 120)
    assert unit.skip(0)


@pytest.mark.parametrize(("count", "rows", "total"), [
    (640, 3, 120), (64, 16, 64), (70, 3, 18), (76, 3, 24), (100, 3, 24), (12, 3, 12), (13, 3, 12)])
def test_weights_of_a_lane_are_its_first_sums(count: int, rows: int, total: int) -> None:
    lanes = _Lanes(fields(count, **{"pre.opcode": int(Opcode.GRADIENT), "u.u_rows": rows}), 64)
    assert lanes.total == total
    done = 0
    sizes = []
    while done < total:
        sizes.append(lanes.run(done))
        done += sizes[-1]
        assert lanes.dropped(done) == (64 - 4 * rows if done % (4 * rows) == 0 else 0)
    assert done == total and max(sizes) <= BURST_BEATS
