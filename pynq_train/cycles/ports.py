"""The engine's AXI ports: requests and bursts on their way to and from the memory.

Every port moves 8 bytes per cycle each way and pauses after a burst. The queues restate those of
``pt_axi_rd``, ``pt_axi_wr`` and their arbiters in ``rtl/axi``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from math import ceil
from typing import Any, Protocol

from pynq_train.cycles.dram import Dram
from pynq_train.cycles.kernel import NEVER, Action, Clock, Condition
from pynq_train.hw.limits import READ_QUEUE_WORDS

WRITE_QUEUE_WORDS = 64
"""Words that the engine's write queue of a port holds."""
READ_FIFO_WORDS = 32
"""Words that the memory has read and the port has not shown yet."""
_LEAST = 1e-6
"""Words: less is a rounding error."""
RUN_CYCLES = 2
"""From the grant of one run to the next at a shared port."""
CLOSE_CYCLES = 2
"""From a burst's last word to an address that takes its place among those outstanding."""
ARBITER_CYCLES = 8
"""The same between runs in the arbiter of a shared port, on top of that."""
QUEUE_CYCLES = 4
"""From the port to the head of the engine's read queue."""


class Reader(Protocol):
    """The unit that asks a read port for words."""

    def arrive(self, cycle: int, beats: int) -> None:
        """Take note that the words of the oldest burst come, one per cycle from ``cycle`` on."""
        ...

    def passed(self, row: int) -> int | None:
        """Return the cycle in which row ``row`` was taken in; None if it is not known yet."""
        ...


class Writer:
    """A unit at a write port, as the port counts its bursts.

    Attributes:
        queued: its words that are not on their way to the memory.
        open: its bursts that are, and are not acknowledged.
    """

    def __init__(self) -> None:
        self.queued = 0
        self.open = 0


class ReadPort:
    """One port's read side: requests in order, bursts outstanding, words to the reader.

    Attributes:
        room: wakes when few requests wait.
        beats: words that have been read so far.
        due: issued bursts in order, each ``[cycle of its first word, beats, reader, beats left]``.
    """

    close_cycles = CLOSE_CYCLES

    def __init__(self, clock: Clock, dram: Dram) -> None:
        self._clock = clock
        self._dram = dram
        dram.readers.append(self)
        self.room = Condition(clock)
        self.beats = 0
        self._queue: deque[tuple[int, int, Reader, int]] = deque()
        self.due: deque[list[Any]] = deque()     # [ready, beats, reader, beats left]
        self._shown: deque[tuple[float, float]] = deque(maxlen=READ_FIFO_WORDS)   # cycles of words
        self._credits: deque[tuple[int, int]] = deque()
        self._open = 0
        self._most = dram.memory.outstanding_bursts
        self._credit = READ_QUEUE_WORDS
        self._issued = 0
        self._free = 0.0
        self._pump_at = NEVER

    @property
    def waiting(self) -> int:
        """Number of requests that have not been issued."""
        return len(self._queue)

    def ask(self, earliest: int, beats: int, reader: Reader, row: int = -1) -> None:
        """Request a burst of ``beats`` words for ``reader``.

        It is issued in ``earliest`` or later and, with ``row`` >= 0, not before the reader has
        taken in that row: the reader's own queue of rows must not overflow.
        """
        self._queue.append((earliest, beats, reader, row))
        if len(self._queue) == 1:
            self.pump()

    def consumed(self, cycle: int, beats: int) -> None:
        """Note that the reader has taken all words of a burst by the end of ``cycle``."""
        self._credits.append((cycle, beats))
        if self._queue:
            self.pump()

    def pump(self) -> None:
        """Issue every request that may go in this cycle, and come back for the next one."""
        now = self._clock.now
        credits = self._credits
        # A word that leaves the queue in a cycle makes room for requests of the next one.
        while credits and credits[0][0] < now:
            self._credit += credits.popleft()[1]
        queue = self._queue
        while queue and self._open < self._most:
            earliest, beats, reader, row = queue[0]
            at = max(earliest, self._issued + 1)
            # A burst is requested only when the read queue is sure to hold all of it, so that the
            # engine never has to stop words that the memory sends.
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
                # One event at a time: a later one that is planned already would only look again for
                # nothing.
                if at < self._pump_at or self._pump_at <= now:
                    self._pump_at = at
                    self._clock.at(at, self.pump)
                return
            queue.popleft()
            self._issue(now, beats, reader)
            # Loaders stop ahead of a long queue; they go on when it has become short, not at every
            # burst.
            if len(queue) == 8:
                self.room.wake()
        if not queue:
            self.room.wake()

    def _issue(self, now: int, beats: int, reader: Reader) -> None:
        """Send the address of a burst in cycle ``now``."""
        self._open += 1
        self._credit -= beats
        self._issued = now
        ready = now + self._dram.memory.read_latency_cycles - 1
        self.due.append([ready, beats, reader, beats])
        if len(self.due) == 1:
            self._dram.poke(ready)

    def room_at(self, time: float) -> float:
        """Return the time, ``time`` or later, from which the port's FIFO has room for a word."""
        # A word is shown per cycle at most: as few words are left as there are cycles until the
        # port is free.
        if self._free - time <= READ_FIFO_WORDS:
            return time
        left = float(READ_FIFO_WORDS)
        # Walk back from the newest word: there is room when all but READ_FIFO_WORDS of them have
        # been shown.
        for first, last in reversed(self._shown):
            if last - first + 1 >= left:
                return max(time, last - left + 1)
            left -= last - first + 1
        return time

    def _room(self, time: float) -> float:
        """Return how many words the port's FIFO has room for at ``time``."""
        room: float = READ_FIFO_WORDS
        if self._free <= time:
            return room
        for first, last in reversed(self._shown):
            if last <= time:
                break
            room -= last - (first - 1 if first > time else time)
        return room

    def need(self, time: float, share: float) -> float:
        """Return the cycles for the rest of the oldest burst at ``share`` words per cycle."""
        # The port shows one word per cycle. A memory that is faster fills the FIFO first, then the
        # port alone sets the pace.
        left: float = self.due[0][3]
        return left / share if share <= 1 else max(left / share, left - self._room(time))

    def serve(self, time: float, share: float, cycles: float) -> None:
        """Let the memory read words of the oldest burst for ``cycles`` cycles from ``time`` on."""
        head = self.due[0]
        words = share * cycles
        if share > 1:
            words = min(words, max(self._room(time), 0) + cycles)
        # Rest of a rounding error: the burst is complete.
        if words > head[3] - _LEAST:
            words = head[3]
        first = self._free if self._free > time + 1 else time + 1
        last = max(time + cycles, first + words - 1)
        self._free = last + 1
        self._shown.append((last - words + 1, last))
        head[3] -= words
        if not head[3]:
            self.due.popleft()
            self._end(head[1], head[2], ceil(last))

    def _end(self, beats: int, reader: Reader, last: int) -> None:
        """Note that the last beat of a burst is on the port in cycle ``last``."""
        self._free = last + 1 + self._dram.memory.burst_cycles
        self.beats += beats
        self._clock.at(last + self.close_cycles, self._closed)
        reader.arrive(last - beats + 1 + QUEUE_CYCLES, beats)

    def _closed(self) -> None:
        """Make a place among the outstanding bursts free again."""
        self._open -= 1
        self.pump()


class SharedReadPort(ReadPort):
    """A read port with an arbiter in front: units take turns, run by run (``pt_rd_arb``).

    The arbiter remembers ``OUTSTANDING_BURSTS`` runs from their grant to the word that leaves the
    port's queue, so that a place among them is taken for longer than at a port without one.
    """

    close_cycles = CLOSE_CYCLES + ARBITER_CYCLES

    def __init__(self, clock: Clock, dram: Dram) -> None:
        super().__init__(clock, dram)
        self._queues: list[deque[tuple[int, int, Reader]]] = []
        self._last = 0

    def unit(self) -> int:
        """Add a unit to the port and return its number."""
        self._queues.append(deque())
        return len(self._queues) - 1

    def ask_for(self, unit: int, earliest: int, beats: int, reader: Reader) -> None:
        """Request a burst of ``beats`` words for unit ``unit``, issued in ``earliest`` or later."""
        self._queues[unit].append((earliest, beats, reader))
        self.pump()

    def consumed(self, cycle: int, beats: int) -> None:
        """Note that the reader has taken all words of a burst by the end of ``cycle``."""
        self._credits.append((cycle, beats))
        self.pump()

    def pump(self) -> None:
        """Issue every request that may go in this cycle, and come back for the next one."""
        now, credits, queues = self._clock.now, self._credits, self._queues
        while credits and credits[0][0] < now:
            self._credit += credits.popleft()[1]
        while self._open < self._most:
            soon, pick, count = NEVER, -1, len(queues)
            # Round robin: the unit behind the last one that was granted has the first choice.
            for step in range(1, count + 1):
                unit = (self._last + step) % count
                queue = queues[unit]
                if queue:
                    earliest = queue[0][0]
                    if earliest < soon:
                        soon = earliest
                    if earliest <= now:
                        pick = unit
                        break
            if soon == NEVER:
                return
            at = max(soon, self._issued + RUN_CYCLES)
            if pick >= 0 and queues[pick][0][1] > self._credit:
                if not credits:
                    return
                at = max(at, credits[0][0] + 1)
            if at > now:
                if at < self._pump_at or self._pump_at <= now:
                    self._pump_at = at
                    self._clock.at(at, self.pump)
                return
            _, beats, reader = queues[pick].popleft()
            self._last = pick
            self._issue(now, beats, reader)


class WritePort:
    """One port's write side: bursts whose words are complete, in order.

    Attributes:
        beats: words that the memory has stored so far.
        due: bursts in order, each ``[cycle of its last word, beats, writer, beats left]``.
        queued: words of the bursts that are not on their way to the memory.
        sent: words that are, or were.
        room: wakes when words have been sent.
        idle: wakes when nothing of some unit may be under way.
    """

    def __init__(self, clock: Clock, dram: Dram) -> None:
        self._clock = clock
        self._dram = dram
        dram.writers.append(self)
        self.room = Condition(clock)
        self.beats = 0
        self._queue: deque[tuple[int, int, Writer]] = deque()
        self.due: deque[list[Any]] = deque()     # [ready, beats, writer, beats left]
        self.idle = Condition(clock)
        self.sent = 0
        self._open = 0
        self._most = dram.memory.outstanding_bursts
        self._free = 0
        self._pump_at = NEVER
        self.queued = 0

    @property
    def full(self) -> bool:
        """Whether the queue holds as many words as it can."""
        return self.queued > WRITE_QUEUE_WORDS

    def busy(self, writer: Writer) -> bool:
        """Whether some burst of the unit has been announced and is not acknowledged."""
        if writer.open:
            return True
        for complete, beats, unit in self._queue:
            if unit is writer:
                # A run is announced to the arbiter before its words, and counts as under way from
                # then on.
                return complete - beats - RUN_CYCLES <= self._clock.now
        return False

    def wait_idle(self, writer: Writer) -> Iterator[Condition]:
        """Wait until nothing of the unit is under way."""
        while self.busy(writer):
            yield self.idle

    def push(self, complete: int, beats: int, writer: Writer) -> int:
        """Write a burst whose last word reaches the queue in cycle ``complete``.

        Runs of several units go in the order in which their words are there.

        Returns:
            The value of ``sent`` from which the burst is in the port's queue.
        """
        writer.queued += beats
        self.queued += beats
        # Units are calculated ahead of the clock by different amounts, so a burst may come later
        # here than one that it precedes in the engine: it is sorted in from the end, which is near.
        queue, behind, words = self._queue, 0, 0
        while behind < len(queue) and queue[-1 - behind][0] > complete:
            behind += 1
            words += queue[-behind][1]
        queue.insert(len(queue) - behind, (complete, beats, writer))
        if len(queue) == behind + 1:
            self._pump()
        return self.sent + self.queued - words - WRITE_QUEUE_WORDS

    def _pump(self) -> None:
        """Send every burst that is complete, as long as the memory takes more of them."""
        now = self._clock.now
        queue = self._queue
        while queue and self._open < self._most:
            complete, beats, writer = queue[0]
            if complete > now:
                if complete < self._pump_at or self._pump_at <= now:
                    self._pump_at = complete
                    self._clock.at(complete, self._pump)
                return
            queue.popleft()
            self._open += 1
            writer.open += 1
            end = max(now + 1, self._free) + beats
            self._free = end + self._dram.memory.burst_cycles
            self.due.append([end - 1, beats, writer, beats])
            self._clock.at(end, self._sent(beats, writer))
            if len(self.due) == 1:
                self._dram.poke(end - 1)

    def _sent(self, beats: int, writer: Writer) -> Action:
        """Return the action that counts the words of a burst as sent."""

        def sent() -> None:
            self.queued -= beats
            self.sent += beats
            writer.queued -= beats
            self.room.wake()
        return sent

    def need(self, time: float, share: float) -> float:
        """Return the cycles for the rest of the oldest burst at ``share`` words per cycle."""
        left: float = self.due[0][3]
        return left / share

    def serve(self, time: float, share: float, cycles: float) -> None:
        """Let the memory write words of the oldest burst for ``cycles`` cycles from ``time`` on."""
        head = self.due[0]
        words = share * cycles
        if words > head[3] - _LEAST:
            words = head[3]
        head[3] -= words
        if not head[3]:
            self.due.popleft()
            self.beats += head[1]
            self._clock.at(ceil(time + cycles) + self._dram.memory.write_latency_cycles,
                           self._acked(head[2]))
            self._pump()

    def _acked(self, writer: Writer) -> Action:
        """Return the action that counts a burst as acknowledged."""

        def acked() -> None:
            self._open -= 1
            writer.open -= 1
            self._pump()
            if not writer.open:
                self.idle.wake()
        return acked
