"""Device memory of the boards, burst by burst.

The memory moves data in one direction at a time. Bursts that wait on several ports are served side
by side. The virtual board's memory (``sim/vboard/pt_axi_mem.hpp``) follows the same rules.
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
        """Return the cycles that its first burst needs at ``share`` words per cycle."""

    def serve(self, time: float, share: float, cycles: float) -> None:
        """Move words of the first burst, ``share`` per cycle, for ``cycles`` from ``time`` on."""


class ReadingPort(Port, Protocol):
    """A port that reads: words wait in its FIFO, which may be full."""

    def room_at(self, time: float) -> float:
        """Return the time from which the FIFO has room for a word, ``time`` or later."""


class Dram:
    """The memory behind all ports: who is served when, and in which direction.

    Ports that wait share the bandwidth evenly, until one of them has its burst, another one comes
    or the memory changes its direction. Times are fractions of cycles, since a share is a fraction
    of a word per cycle.

    Args:
        clock: the simulated time.
        memory: bandwidth, latencies and cost of a change of direction.
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
        """Look for work in ``cycle``, which is not in the past."""
        if cycle < self._next:
            self._next = cycle
            self._clock.at(cycle, self._decide)

    def _decide(self) -> None:
        """Serve, wait or change the direction, step by step, up to ``_AHEAD`` cycles from now."""
        now = self._clock.now
        # An event of an earlier poke that a sooner one has replaced.
        if now != self._next:
            return
        self._next = NEVER
        time = self._time if self._time > now else float(now)
        limit, quantum, rate = now + _AHEAD, self.memory.turn_quantum_cycles - 1, self._rate
        # Each round ends with one step: bursts are served until something changes, time jumps to
        # the next port that has work, or the direction changes. ``mine`` can be served now;
        # ``soon`` is when the next port of this direction joins them, ``wanted`` when the other
        # direction first has work.
        while time < limit:
            writing = self._writing
            mine: list[Any] = []
            soon = wanted = float(NEVER)
            for port in self.writers if writing else self.readers:
                if port.due:
                    at = port.due[0][0]
                    # A reading port whose FIFO is full cannot take a word, whatever waits.
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
            # While both directions have work, each keeps the memory for a quantum, so that the cost
            # of a change is paid once for many bursts.
            turn = self._age_from + quantum
            if not mine:
                idle = self._idle_from + (1 if writing else _READ_IDLE) - 1
                change = min(turn, idle)
                if wanted > change:
                    change = wanted
                # Nothing to do at ``time``. A direction that has run dry is held for some cycles
                # more: its ports often ask again at once.
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
                # A share of a burst may end within a cycle; whole cycles keep the loop going
                # forward.
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
