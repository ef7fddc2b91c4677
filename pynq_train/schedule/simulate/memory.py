"""Device memory and the engine's ports, burst by burst.

The memory moves data in one direction at a time; every port has 8 bytes per cycle each way and
pauses after a burst. Bursts that wait on several ports are served side by side.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import ceil
from typing import Protocol

from pynq_train.hw.config import WORD_BYTES
from pynq_train.schedule.simulate.kernel import NEVER, Clock, Signal

READ_QUEUE_WORDS = 256
WRITE_QUEUE_WORDS = 64
MEMORY_WRITE_WORDS = 128
OUTSTANDING = 8
"""Bursts of a port without an answer."""
_FETCH_AHEAD = 20
"""Beats that wait in a port's read FIFO when the memory fetches the next burst into it."""
_READ_IDLE = 4
"""Cycles without a read after which waiting writes get the memory."""
QUEUE_CYCLES = 4
"""From the port to the head of the engine's read queue."""


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


class Reader(Protocol):
    """Who asks a port for words."""

    def arrive(self, cycle: int, beats: int) -> None:
        """Words of the oldest burst come, one per cycle from ``cycle`` on."""
        ...

    def passed(self, row: int) -> int | None:
        """Cycle in which row ``row`` was taken in; None: not known yet."""
        ...


class Writer:
    """Counts what a unit has handed to a write port and what is acknowledged."""

    def __init__(self, clock: Clock) -> None:
        self.open = 0
        self.idle = Signal(clock)

    def acked(self) -> None:
        """One burst is written."""
        self.open -= 1
        if not self.open:
            self.idle.wake()


class Dram:
    """The memory behind all ports: who is served when, and in which direction."""

    def __init__(self, clock: Clock, memory: Memory) -> None:
        self.memory = memory
        self.readers: list[ReadPort] = []
        self.writers: list[WritePort] = []
        self._clock = clock
        self._rate = memory.bytes_per_cycle / WORD_BYTES
        self._writing = False
        self._since = -memory.quantum
        self._idle_from = 0
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
        if now < self._free:
            self.poke(ceil(self._free))
            return
        mine: list[ReadPort | WritePort] = []
        other = False
        soon = NEVER
        for port in self.readers:
            at = port.ready_at()
            if at <= now:
                if self._writing:
                    other = True
                else:
                    mine.append(port)
            elif at < soon:
                soon = at
        for writer in self.writers:
            at = writer.ready_at()
            if at <= now:
                if self._writing:
                    mine.append(writer)
                else:
                    other = True
            elif at < soon:
                soon = at
        if other:
            patience = 0 if self._writing else _READ_IDLE
            if now - self._since >= self.memory.quantum or (
                    not mine and now - self._idle_from >= patience):
                self._writing = not self._writing
                self._since = self._idle_from = now + 1 + self.memory.turn_cycles
                self._free = self._since
                self.poke(self._since)
                return
            if not mine:
                soon = min(soon, self._idle_from + patience)
        if mine:
            beats = sum(port.head_beats() for port in mine)
            end = max(self._free, now) + beats / self._rate if self._free > now - 1 else (
                now + beats / self._rate)
            for port in mine:
                port.serve(now, ceil(end))
            self._free = end
            self._idle_from = soon = ceil(end)
        if soon < NEVER:
            self.poke(soon)


class ReadPort:
    """One port's read side: requests in order, bursts outstanding, words to the readers."""

    def __init__(self, clock: Clock, dram: Dram) -> None:
        self._clock = clock
        self._dram = dram
        dram.readers.append(self)
        self.room = Signal(clock)
        self.beats = 0
        self._queue: deque[tuple[int, int, Reader, int]] = deque()
        self._due: deque[tuple[int, int, Reader]] = deque()
        self._credits: deque[tuple[int, int]] = deque()
        self._open = 0
        self._credit = READ_QUEUE_WORDS
        self._issued = 0
        self._free = 0
        self._pump_at = NEVER

    @property
    def waiting(self) -> int:
        """Requests that have not been issued."""
        return len(self._queue)

    def ask(self, earliest: int, beats: int, reader: Reader, row: int = -1) -> None:
        """Request a burst: from ``earliest`` on, and when the reader has taken in row ``row``."""
        self._queue.append((earliest, beats, reader, row))
        if len(self._queue) == 1:
            self.pump()

    def consumed(self, cycle: int, beats: int) -> None:
        """The reader has taken the words of a burst by ``cycle``."""
        self._credits.append((cycle, beats))
        if self._queue:
            self.pump()

    def pump(self) -> None:
        """Issue what can be issued."""
        now = self._clock.now
        credits = self._credits
        while credits and credits[0][0] < now:
            self._credit += credits.popleft()[1]
        queue = self._queue
        while queue and self._open < OUTSTANDING:
            earliest, beats, reader, row = queue[0]
            at = max(earliest, self._issued + 1)
            if beats > self._credit:
                if not credits:
                    return
                at = max(at, credits[0][0] + 1)
            if row >= 0:
                passed = reader.passed(row)
                if passed is None:
                    return
                at = max(at, passed)
            if at > now:
                if at < self._pump_at or self._pump_at <= now:
                    self._pump_at = at
                    self._clock.at(at, self.pump)
                return
            while credits and credits[0][0] < now:
                self._credit += credits.popleft()[1]
            if beats > self._credit:
                return
            queue.popleft()
            self._open += 1
            self._credit -= beats
            self._issued = now
            ready = now + self._dram.memory.read_latency - 1
            self._due.append((ready, beats, reader))
            if len(self._due) == 1:
                self._dram.poke(max(self.ready_at(), now))
            if len(queue) == 8:
                self.room.wake()
        if not queue:
            self.room.wake()

    def ready_at(self) -> int:
        """Cycle from which the memory may serve the oldest burst."""
        if not self._due:
            return NEVER
        return max(self._due[0][0], self._free - _FETCH_AHEAD)

    def head_beats(self) -> int:
        """Beats of the oldest burst."""
        return self._due[0][1]

    def serve(self, now: int, end: int) -> None:
        """The memory reads the oldest burst from ``now`` to ``end``."""
        _, beats, reader = self._due.popleft()
        last = max(max(now + 1, self._free) + beats, end + 1)
        self._free = last + self._dram.memory.burst_cycles
        self.beats += beats
        self._clock.at(last + 1, self._closed)
        reader.arrive(last - beats + QUEUE_CYCLES, beats)

    def _closed(self) -> None:
        self._open -= 1
        self.pump()


class WritePort:
    """One port's write side: bursts whose words are complete, in order."""

    def __init__(self, clock: Clock, dram: Dram) -> None:
        self._clock = clock
        self._dram = dram
        dram.writers.append(self)
        self.room = Signal(clock)
        self.beats = 0
        self._queue: deque[tuple[int, int, Writer]] = deque()
        self._due: deque[tuple[int, int, Writer]] = deque()
        self._acks: deque[Writer] = deque()
        self._open = 0
        self._stored = 0
        self._free = 0
        self._pump_at = NEVER
        self._queued = 0

    @property
    def full(self) -> bool:
        """The queue holds as many words as it can."""
        return self._queued > WRITE_QUEUE_WORDS

    def push(self, complete: int, beats: int, writer: Writer) -> None:
        """Write a burst whose last word reaches the queue in ``complete``."""
        writer.open += 1
        self._queued += beats
        self._queue.append((complete, beats, writer))
        if len(self._queue) == 1:
            self._pump()

    def _pump(self) -> None:
        now = self._clock.now
        queue = self._queue
        while queue and self._open < OUTSTANDING:
            complete, beats, writer = queue[0]
            if complete > now:
                if complete < self._pump_at or self._pump_at <= now:
                    self._pump_at = complete
                    self._clock.at(complete, self._pump)
                return
            if self._stored + beats > MEMORY_WRITE_WORDS:
                return
            queue.popleft()
            self._open += 1
            self._stored += beats
            end = max(now + 1, self._free) + beats
            self._free = end + self._dram.memory.burst_cycles
            self._due.append((end, beats, writer))
            self._clock.at(end, self._sent(beats))
            if len(self._due) == 1:
                self._dram.poke(end)

    def _sent(self, beats: int):  # type: ignore[no-untyped-def]
        def sent() -> None:
            self._queued -= beats
            self.room.wake()
        return sent

    def ready_at(self) -> int:
        """Cycle from which the memory may serve the oldest burst."""
        return self._due[0][0] if self._due else NEVER

    def head_beats(self) -> int:
        """Beats of the oldest burst."""
        return self._due[0][1]

    def serve(self, now: int, end: int) -> None:
        """The memory writes the oldest burst from ``now`` to ``end``."""
        _, beats, writer = self._due.popleft()
        self._stored -= beats
        self.beats += beats
        self._acks.append(writer)
        self._clock.at(end + self._dram.memory.write_latency, self._acked)
        self._pump()

    def _acked(self) -> None:
        self._open -= 1
        self._acks.popleft().acked()
        self._pump()
