"""Device memory, burst by burst.

The memory moves data in one direction at a time. Bursts that wait on several ports are served side
by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from pynq_train.hw.config import WORD_BYTES
from pynq_train.schedule.simulate.kernel import NEVER, Clock

if TYPE_CHECKING:
    from pynq_train.schedule.simulate.ports import ReadPort, WritePort

_READ_IDLE = 4
"""Cycles without a read after which waiting writes get the memory."""
_JOIN = 16
"""Bursts that wait within so many cycles may meet in the memory."""


@dataclass(frozen=True)
class Memory:
    """Timing of the device memory; the defaults are those of the virtual boards.

    Attributes:
        bytes_per_cycle: bandwidth, reads and writes together.
        read_latency: from the address to the first beat of a read.
        write_latency: from the last beat to the answer of a write.
        burst_cycles: pause of a port after each burst.
        turn_cycles: cost of a change between reading and writing.
        quantum: longest stay in one direction while the other waits.
    """

    bytes_per_cycle: int
    read_latency: int = 40
    write_latency: int = 20
    burst_cycles: int = 2
    turn_cycles: int = 4
    quantum: int = 64


class Dram:
    """The memory behind all ports: who is served when, and in which direction.

    While only reads are under way, bursts are served whole; with writes among them beat by beat.
    """

    def __init__(self, clock: Clock, memory: Memory) -> None:
        self.memory = memory
        self.readers: list[ReadPort] = []
        self.writers: list[WritePort] = []
        self._clock = clock
        self._rate = memory.bytes_per_cycle / WORD_BYTES
        self._writing = False
        self._age_from = -memory.quantum
        self._idle_from = 0
        self._seen = 0
        self._credit = 0
        self._turn = 0
        self._free = 0.0
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
        readers = [port for port in self.readers if port.due]
        writers = [port for port in self.writers if port.due]
        if self._writing or writers or any(port.begun for port in readers) or (
                sum(port.due[0][0] <= now + _JOIN for port in readers) > self._rate):
            if now < self._free:
                self.poke(ceil(self._free))
            else:
                self._beats(now, readers, writers)
        else:
            self._bursts(now)

    def _bursts(self, now: int) -> None:
        """Reads only, on so few ports that each can have a word in every cycle."""
        end = self._free if self._free > now - 1 else float(now)
        soon = NEVER
        for port in self.readers:
            at = port.ready_at()
            if at <= now:
                end += port.head_beats() / self._rate
                port.serve(now)
                at = max(port.ready_at(), now + 1)
            if at < soon:
                soon = at
        if end > self._free:
            self._free = end
            self._idle_from = ceil(end)
        if soon < NEVER:
            self.poke(soon)

    def _beats(self, now: int, readers: list[ReadPort], writers: list[WritePort]) -> None:
        """Reads and writes: cycle by cycle, up to the next event elsewhere or a burst's end."""
        memory, began = self.memory, now
        rate, quantum, ports = memory.bytes_per_cycle, memory.quantum - 1, len(self.readers)
        credit, most, last = self._credit, rate + WORD_BYTES - 1, 2 * rate // WORD_BYTES
        until = self._clock.next()
        while True:
            writing = self._writing
            mine: list[Any] = [port for port in (writers if writing else readers)
                               if port.can(now)]
            if mine:
                self._idle_from = now + 1
            patience = 1 if writing else _READ_IDLE
            if (now - self._age_from >= quantum or now + 1 - self._idle_from >= patience) and any(
                    port.can(now) for port in (readers if writing else writers)):
                self._writing = not writing
                self._age_from = self._idle_from = now + 1 + memory.turn_cycles
                self._credit = 0
                self.poke(self._age_from)
                return
            if mine:
                if now > began:
                    for port in mine:
                        if port.due[0][3] <= last:
                            self._credit = credit
                            self.poke(now)
                            return
                credit += rate
                if credit > most:
                    credit = most
                while credit >= WORD_BYTES and mine:
                    if len(mine) == 1:
                        port = mine[0]
                    else:
                        port = min(mine, key=lambda p: (p.number - self._turn) % ports)
                    self._turn = (port.number + 1) % ports
                    credit -= WORD_BYTES
                    port.beat(now)
                    if not port.can(now):
                        mine.remove(port)
            elif not any(port.can(now) for port in (readers if writing else writers)):
                soon = min(min((port.due[0][0] for port in readers if port.due), default=NEVER),
                           min((port.due[0][0] for port in writers if port.due), default=NEVER))
                self._credit = credit
                if soon < NEVER:
                    self.poke(max(soon, now + 1))
                return
            now += 1
            if now >= until or self._clock.next() <= now:
                self._credit = credit
                self.poke(now)
                return
