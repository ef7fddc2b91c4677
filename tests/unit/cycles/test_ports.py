"""Ports of the cycle model: units take turns, and each is idle when all of its own is written."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pynq_train.cycles.dram import Dram
from pynq_train.cycles.kernel import Clock, Steps
from pynq_train.cycles.ports import SharedReadPort, WritePort, Writer
from pynq_train.hw.memory_timing import MemoryTiming

MEMORY = MemoryTiming(16)
BURST = 16


class Unit:
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
        else:
            log: list[tuple[int, str]] = []
            reads = SharedReadPort(clock, dram)
            unit = Unit(reads, "a", log)
            for _ in range(count):
                reads.ask_for(unit.number, 0, BURST, unit)
        clock.run()
        assert clock.now == pytest.approx(latency * count / bursts, rel=0.15)
