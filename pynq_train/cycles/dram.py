"""Device memory, burst by burst.

The memory moves data in one direction at a time. Bursts that wait on several ports are served side
by side.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

from pynq_train.cycles.kernel import NEVER, Clock
from pynq_train.hw.memory_timing import MemoryTiming
from pynq_train.hw.words import WORD_BYTES

_AHEAD = 16
"""Cycles that the memory is calculated ahead of the units: no read comes sooner, few writes do."""
_READ_IDLE = 4
"""Cycles without a read after which waiting writes get the memory."""


class Port(Protocol):
    """What the memory knows of a port.

    Attributes:
        due: its bursts in order, each beginning with the cycle from which it may be served.
    """

    due: deque[list[Any]]

    def need(self, time: float, share: float) -> float:
        """Cycles that its first burst needs at ``share`` words per cycle."""

    def serve(self, time: float, share: float, cycles: float) -> None:
        """Move words for ``cycles`` cycles."""


class ReadingPort(Port, Protocol):
    """A port with a buffer, which may be full."""

    def room_at(self, time: float) -> float:
        """From when on the buffer has room for a word."""


class Dram:
    """The memory behind all ports: who is served when, and in which direction.

    Ports that wait share the bandwidth evenly, until one of them has its burst, another one comes
    or the memory changes its direction.
    """

    def __init__(self, clock: Clock, memory: MemoryTiming) -> None:
        self.memory = memory
        self.readers: list[ReadingPort] = []
        self.writers: list[Port] = []
        self._clock = clock
        self._rate = memory.bytes_per_cycle / WORD_BYTES
        self._writing = False
        self._age_from = float(-memory.turn_quantum_cycles)
        self._idle_from = 0.0
        self._time = 0.0      # calculated so far
        self._next = NEVER

    def poke(self, cycle: int) -> None:
        """Look for work in ``cycle``."""
        if cycle < self._next:
            self._next = cycle
            self._clock.at(cycle, self._decide)

    def _decide(self) -> None:
        now = self._clock.now
        if now != self._next:
            return
        self._next = NEVER
        time = self._time if self._time > now else float(now)
        limit, quantum, rate = now + _AHEAD, self.memory.turn_quantum_cycles - 1, self._rate
        while time < limit:
            writing = self._writing
            mine: list[Any] = []
            soon = wanted = float(NEVER)
            for port in self.writers if writing else self.readers:
                if port.due:
                    at = port.due[0][0]
                    if at <= time and not writing:
                        at = port.room_at(time)  # type: ignore[attr-defined]
                    if at <= time:
                        mine.append(port)
                    elif at < soon:
                        soon = at
            for port in self.readers if writing else self.writers:
                if port.due:
                    at = port.due[0][0]
                    if at <= time and writing:
                        at = port.room_at(time)  # type: ignore[attr-defined]
                    if at < wanted:
                        wanted = at
            turn = self._age_from + quantum
            if not mine:
                idle = self._idle_from + (1 if writing else _READ_IDLE) - 1
                change = min(turn, idle)
                if wanted > change:
                    change = wanted
                if change > time:
                    soon = min(soon, change)
                    if soon >= NEVER:
                        self._time = time
                        return
                    time = soon
                    continue
            elif wanted <= time and time >= turn:
                change = time
            else:
                share = rate / len(mine)
                stop = (turn if turn > wanted else wanted) - time
                cycles = min(soon - time, stop)
                for port in mine:
                    need = port.need(time, share)
                    if need < cycles:
                        cycles = need
                if cycles < 1:
                    cycles = 1
                for port in mine:
                    port.serve(time, share, cycles)
                time += cycles
                self._idle_from = time
                continue
            self._writing = not writing
            time = self._idle_from = self._age_from = time + 1 + self.memory.turn_cycles
        self._time = time
        self.poke(int(time))
