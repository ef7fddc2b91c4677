"""Ports of the cycle model: units take turns, and each is idle when all of its own is written."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pynq_train.cycles.dram import READ_FIFO_WORDS, Dram
from pynq_train.cycles.kernel import NEVER, Clock, Steps
from pynq_train.cycles.ports import (
    ARBITER_CYCLES,
    ReadBurst,
    Reader,
    ReadPort,
    SharedReadPort,
    WritePort,
    Writer,
)
from pynq_train.hw.limits import READ_QUEUE_WORDS
from pynq_train.hw.memory_timing import MemoryTiming

MEMORY = MemoryTiming(16)
BURST = 16


class Unit(Reader):
    """Takes every word at once and notes when its bursts came."""

    def __init__(self, port: SharedReadPort, name: str, log: list[tuple[int, str]]) -> None:
        self._port, self._name, self._log = port, name, log
        self.number = port.unit()

    def arrive(self, cycle: int, beats: int) -> None:
        self._port.consumed(cycle + beats, beats)
        self._log.append((cycle, self._name))

    def passed(self, row: int) -> int | None:
        return row


def test_units_at_a_read_port_take_turns() -> None:
    clock = Clock()
    port = SharedReadPort(clock, Dram(clock, MEMORY))
    log: list[tuple[int, str]] = []
    first, second = Unit(port, "a", log), Unit(port, "b", log)
    for _ in range(12):
        port.ask_for(first.number, 0, BURST, first)
    for _ in range(4):
        port.ask_for(second.number, 0, BURST, second)
    clock.run()
    assert "".join(name for _, name in sorted(log)) == "babababa" + "a" * 8
    cycles = [cycle for cycle, _ in sorted(log)]
    assert np.diff(cycles).min() >= BURST + MEMORY.burst_cycles


def test_a_unit_is_idle_when_its_own_writes_are_acknowledged() -> None:
    clock = Clock()
    port = WritePort(clock, Dram(clock, MEMORY))
    ends: dict[str, int] = {}
    early, late, nobody = Writer(), Writer(), Writer()

    def push(at: int, complete: int, writer: Writer) -> Steps:
        yield at
        port.push(complete, BURST, writer)

    def wait(name: str, at: int, writer: Writer) -> Steps:
        yield at
        yield from port.wait_idle(writer)
        ends[name] = clock.now

    clock.start(push(0, 30, early))
    clock.start(push(45, 80, late))     # announced before the first is acknowledged
    clock.start(wait("early", 40, early))
    clock.start(wait("late", 75, late))
    clock.start(wait("nobody", 40, nobody))
    clock.run()
    # The last words leave the port in cycles 30 + 16 and 80 + 16; their answers come later.
    assert ends["nobody"] == 40
    assert 30 + BURST + MEMORY.write_latency_cycles < ends["early"] < 80 + BURST
    assert 80 + BURST + MEMORY.write_latency_cycles < ends["late"] < 80 + 4 * BURST


def test_runs_leave_in_the_order_in_which_their_words_are_there() -> None:
    clock = Clock()
    port = WritePort(clock, Dram(clock, MEMORY))
    slow, quick = Writer(), Writer()
    sent: list[tuple[int, int]] = []

    def watch() -> Steps:
        while slow.queued or quick.queued:
            yield port.room
            sent.append((slow.queued, quick.queued))

    port.push(60, BURST, slow)
    port.push(20, BURST, quick)
    clock.start(watch())
    clock.run()
    assert sent == [(BURST, 0), (0, 0)]


@pytest.mark.parametrize("bursts", [1, 2, 8])
def test_bursts_that_a_memory_takes_bound_a_port(bursts: int) -> None:
    """Far from the memory, a port moves as many bursts per latency as may be outstanding."""
    latency, count = 1000, 40
    for writes in (False, True):
        clock = Clock()
        timing = replace(MEMORY, outstanding_bursts=bursts, read_latency_cycles=latency,
                         write_latency_cycles=latency)
        dram = Dram(clock, timing)
        if writes:
            port, writer = WritePort(clock, dram), Writer()
            for _ in range(count):
                port.push(0, BURST, writer)
            clock.start(port.wait_idle(writer))
        else:
            log: list[tuple[int, str]] = []
            reads = SharedReadPort(clock, dram)
            unit = Unit(reads, "a", log)
            for _ in range(count):
                reads.ask_for(unit.number, 0, BURST, unit)
        clock.run()
        assert clock.now == pytest.approx(latency * count / bursts, rel=0.15)


class Slow(Reader):
    """Takes words when it is told to, and rows in cycles that are given."""

    def __init__(self, *rows: int | None) -> None:
        self.came: list[int] = []
        self.rows = rows

    def arrive(self, cycle: int, beats: int) -> None:
        self.came.append(cycle)

    def passed(self, row: int) -> int | None:
        return self.rows[row]


class Noted(ReadPort):
    """Notes the cycles in which it issues."""

    issues: list[int]

    def _issue(self, now: int, burst: ReadBurst) -> None:
        self.issues.append(now)
        super()._issue(now, burst)


class NotedShared(SharedReadPort):
    """Likewise, with an arbiter in front."""

    issues: list[int]

    def _issue(self, now: int, burst: ReadBurst) -> None:
        self.issues.append(now)
        super()._issue(now, burst)


FULL = READ_QUEUE_WORDS // BURST
"""Bursts that the read queue of a port holds."""


@pytest.mark.parametrize("shared", [False, True])
def test_a_full_read_queue_holds_requests_back(shared: bool) -> None:
    """A burst is requested in the cycle behind that in which the last of its room is made."""
    clock, reader = Clock(), Slow()
    dram = Dram(clock, MEMORY)
    port = NotedShared(clock, dram) if shared else Noted(clock, dram)
    port.issues = []
    if isinstance(port, NotedShared):
        port.unit()
    for _ in range(FULL + 3):
        if isinstance(port, NotedShared):
            port.ask_for(0, 0, BURST, reader)
        else:
            port.ask(0, BURST, reader)

    def take() -> Steps:
        yield 5000
        assert len(port.issues) == FULL and len(reader.came) == FULL
        port.consumed(5100, BURST - 1)
        yield 5200
        assert len(port.issues) == FULL, "a word is lacking still"
        port.consumed(5300, 1)
        yield 5400
        assert port.issues[FULL:] == [5301]
        port.consumed(5350, 2 * BURST)  # room that was made before now
        yield 5500

    clock.start(take())
    clock.run()
    apart = 2 if shared else 1
    assert port.issues[:4] == [apart, 2 * apart, 3 * apart, 4 * apart]
    assert port.issues[FULL:] == [5301, 5400, 5400 + apart]


def test_rows_that_are_not_taken_in_hold_requests_back() -> None:
    clock, reader = Clock(), Slow(7, 300, 200)
    port = Noted(clock, Dram(clock, MEMORY))
    port.issues = []
    for row in (0, 1, 2, -1):
        port.ask(10, BURST, reader, row)
    clock.run()
    assert port.issues == [10, 300, 301, 302] and not port.waiting
    unknown = Slow(None)
    port.ask(500, BURST, unknown, 0)
    port.ask(500, BURST, unknown)
    clock.run()
    assert port.waiting == 2, "in order, as soon as somebody knows"
    unknown.rows = (600,)
    clock.at(clock.now, port.pump)
    clock.run()
    assert port.issues[4:] == [600, 601]


def test_room_of_a_fifo_is_that_of_its_newest_words() -> None:
    clock = Clock()
    port = ReadPort(clock, Dram(clock, MEMORY))
    port.free, port.shown = 101.0, type(port.shown)([(60.0, 69.0), (81.0, 100.0)])
    assert port.room_at(80.0) == 80.0, "as few words are left as there are cycles"
    assert port.room_at(69.0) == 69.0
    assert port.room_at(60.0) == 60.0, "30 words in all: there is room in any case"
    port.shown.appendleft((10.0, 50.0))
    port.room_from = None
    # Of 32 words the last 20 and 10 are newer than cycle 60: two more, those of 49 and 50.
    assert port.room_at(40.0) == 49.0
    assert port.room_at(49.5) == 49.5
    assert [port.room_for(time) for time in (101.0, 100.0, 99.0, 81.0, 80.0, 75.0, 68.0)] == [
        READ_FIFO_WORDS - words for words in (0, 0, 1, 19, 20, 20, 21)]


def test_a_clock_without_actions_has_no_next_one() -> None:
    clock = Clock()
    assert clock.next() == NEVER
    clock.at(5, lambda: None)
    clock.at(3, lambda: None)
    assert clock.next() == 3
    clock.run()
    assert clock.next() == NEVER and clock.now == 5


def test_the_arbiter_remembers_a_run_of_many_bursts_once() -> None:
    """Inside a run a burst's place is free again as at a port without an arbiter."""
    def first_behind(inside: bool) -> int:
        clock, reader = Clock(), Slow()
        port = NotedShared(clock, Dram(clock, MEMORY))
        port.issues = []
        port.unit()
        most = MEMORY.outstanding_bursts
        for _ in range(most + 1):
            port.ask_for(0, 0, 1, reader, inside)
        clock.run()
        return port.issues[most]

    assert first_behind(False) - first_behind(True) == ARBITER_CYCLES
