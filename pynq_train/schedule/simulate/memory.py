"""Device memory and the engine's ports, burst by burst.

The memory moves data in one direction at a time; every port has 8 bytes per cycle each way and
pauses after a burst. Bursts that wait on several ports are served side by side.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import ceil
from typing import Any, Protocol

from pynq_train.hw.config import WORD_BYTES
from pynq_train.schedule.simulate.kernel import NEVER, Clock, Signal

READ_QUEUE_WORDS = 256
WRITE_QUEUE_WORDS = 64
MEMORY_WRITE_WORDS = 128
OUTSTANDING = 8
"""Bursts of a port without an answer."""
READ_FIFO_WORDS = 32
_FETCH_AHEAD = 30
"""Beats that wait in a port's read FIFO when the memory fetches the next burst into it."""
_READ_IDLE = 4
"""Cycles without a read after which waiting writes get the memory."""
_JOIN = 16
"""Bursts that wait within so many cycles may meet in the memory."""
CLOSE_CYCLES = 2
"""From a burst's last word to an address that takes its place among those outstanding."""
ARBITER_CYCLES = 8
"""The same between runs in the arbiter of a shared port, on top of that."""
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


class ReadPort:
    """One port's read side: requests in order, bursts outstanding, words to the readers.

    ``shared``: an arbiter stands in front of the port. It remembers ``OUTSTANDING`` runs from their
    grant to the word that leaves the port's queue.
    """

    def __init__(self, clock: Clock, dram: Dram, shared: bool = False) -> None:
        self._close = CLOSE_CYCLES + (ARBITER_CYCLES if shared else 0)
        self._clock = clock
        self._dram = dram
        self.number = len(dram.readers)
        dram.readers.append(self)
        self.room = Signal(clock)
        self.beats = 0
        self._queue: deque[tuple[int, int, Reader, int]] = deque()
        self.due: deque[list[Any]] = deque()     # [ready, beats, reader, beats left]
        self._shown: deque[list[int]] = deque()   # spans of cycles with a beat on the port
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
            self.due.append([ready, beats, reader, beats])
            if len(self.due) == 1:
                self._dram.poke(max(self.ready_at(), now))
            if len(queue) == 8:
                self.room.wake()
        if not queue:
            self.room.wake()

    def ready_at(self) -> int:
        """Cycle from which the memory may serve the oldest burst."""
        if not self.due:
            return NEVER
        return max(self.due[0][0], self._free - _FETCH_AHEAD)

    def due_at(self) -> int:
        """Cycle from which the oldest burst waits for its words."""
        return self.due[0][0] if self.due else NEVER

    def head_beats(self) -> int:
        """Beats of the oldest burst."""
        return self.due[0][1]

    def serve(self, now: int) -> None:
        """The memory reads the oldest burst from ``now`` on."""
        _, beats, reader, _ = self.due.popleft()
        last = max(now + 1, self._free) + beats - 1
        self._shown.append([last - beats + 1, last])
        if len(self._shown) > 4:
            self._shown.popleft()
        self._end(beats, reader, last)

    def _end(self, beats: int, reader: Reader, last: int) -> None:
        """The last beat of a burst is on the port in ``last``."""
        self._free = last + 1 + self._dram.memory.burst_cycles
        self.beats += beats
        self._clock.at(last + self._close, self._closed)
        reader.arrive(last - beats + 1 + QUEUE_CYCLES, beats)

    # Beat by beat.

    @property
    def begun(self) -> bool:
        """Some words of the oldest burst have been read, and not all."""
        return bool(self.due) and self.due[0][3] < self.due[0][1]

    def can(self, now: int) -> bool:
        """The memory can read a word for this port."""
        if not self.due or self.due[0][0] > now:
            return False
        if self._free - now <= READ_FIFO_WORDS:
            return True
        shown, count = self._shown, 0
        while shown and shown[0][1] <= now:
            shown.popleft()
        for first, last in shown:
            count += last - (first - 1 if first > now else now)
        return count < READ_FIFO_WORDS

    def beat(self, now: int) -> None:
        """The memory reads one word."""
        head = self.due[0]
        at = max(now + 1, self._free)
        self._free = at + 1
        if self._shown and self._shown[-1][1] == at - 1:
            self._shown[-1][1] = at
        else:
            self._shown.append([at, at])
        head[3] -= 1
        if not head[3]:
            self.due.popleft()
            self._end(head[1], head[2], at)

    def _closed(self) -> None:
        self._open -= 1
        self.pump()


class WritePort:
    """One port's write side: bursts whose words are complete, in order.

    Attributes:
        queued: words of the bursts that the memory has not taken.
    """

    def __init__(self, clock: Clock, dram: Dram) -> None:
        self._clock = clock
        self._dram = dram
        self.number = len(dram.writers)
        dram.writers.append(self)
        self.room = Signal(clock)
        self.beats = 0
        self._queue: deque[tuple[int, int, Writer]] = deque()
        self.due: deque[list[Any]] = deque()     # [ready, beats, writer, beats left]
        self._acks: deque[Writer] = deque()
        self._open = 0
        self._stored = 0
        self._free = 0
        self._pump_at = NEVER
        self.queued = 0

    @property
    def full(self) -> bool:
        """The queue holds as many words as it can."""
        return self.queued > WRITE_QUEUE_WORDS

    def push(self, complete: int, beats: int, writer: Writer) -> None:
        """Write a burst whose last word reaches the queue in ``complete``."""
        writer.open += 1
        self.queued += beats
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
            self.due.append([end - 1, beats, writer, beats])
            self._clock.at(end, self._sent(beats))
            if len(self.due) == 1:
                self._dram.poke(end - 1)

    def _sent(self, beats: int):  # type: ignore[no-untyped-def]
        def sent() -> None:
            self.queued -= beats
            self.room.wake()
        return sent

    def ready_at(self) -> int:
        """Cycle from which the memory may serve the oldest burst."""
        return self.due[0][0] if self.due else NEVER

    def can(self, now: int) -> bool:
        """The memory can write a word of this port."""
        return bool(self.due) and self.due[0][0] <= now

    def beat(self, now: int) -> None:
        """The memory writes one word."""
        head = self.due[0]
        self._stored -= 1
        head[3] -= 1
        if not head[3]:
            self.due.popleft()
            self.beats += head[1]
            self._acks.append(head[2])
            self._clock.at(now + self._dram.memory.write_latency + 1, self._acked)
            self._pump()

    def _acked(self) -> None:
        self._open -= 1
        self._acks.popleft().acked()
        self._pump()
