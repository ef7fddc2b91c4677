"""The engine's AXI ports: requests and bursts on their way to and from the memory.

Every port moves 8 bytes per cycle each way and pauses after a burst. The queues restate those of
``pt_axi_rd``, ``pt_axi_wr`` and their arbiters in ``rtl/axi``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from math import ceil
from typing import Any, Protocol

from pynq_train.cycles.dram import READ_FIFO_WORDS, Dram
from pynq_train.cycles.kernel import NEVER, Clock, Condition, Settled, Tally
from pynq_train.hw.limits import READ_QUEUE_WORDS

WRITE_QUEUE_WORDS = 64
"""Words that the engine's write queue of a port holds."""
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
        queued: its words that are not on their way to the memory, as of when the port last counted.
        open: its bursts that are, and are not acknowledged, likewise.
    """

    def __init__(self) -> None:
        self.queued = 0
        self.open = 0


class ReadPort:
    """One port's read side: requests in order, bursts outstanding, words to the reader.

    Attributes:
        waiting: requests that have not been issued.
        room: wakes when few requests wait.
        beats: words that have been read so far.
        due: issued bursts in order, each ``[cycle of its first word, beats, reader, beats left]``.
        free: time from which the port can show another word.
        shown: first and last time of the words that it shows, oldest first; empty when all have
            been shown.
        room_from: time from which the FIFO has room, as far as is known; None when ``shown`` has
            changed.
    """

    close_cycles = CLOSE_CYCLES

    def __init__(self, clock: Clock, dram: Dram) -> None:
        self._clock = clock
        self._dram = dram
        dram.readers.append(self)
        self.waiting = 0
        self.room = Condition(clock)
        self.beats = 0
        self._queue: deque[tuple[int, int, Reader, int]] = deque()
        self.due: deque[list[Any]] = deque()     # [ready, beats, reader, beats left]
        self.free = 0.0
        self.shown: deque[tuple[float, float]] = deque(maxlen=READ_FIFO_WORDS)
        self.room_from: float | None = None
        self._credits: deque[tuple[int, int]] = deque()
        self._open = 0
        # A place among the outstanding bursts that becomes free matters to requests that wait.
        self._closes: Tally[int] = Tally(clock, self._close, self._closed)
        self._most = dram.memory.outstanding_bursts
        self._latency = dram.memory.read_latency_cycles - 1
        self._pause = dram.memory.burst_cycles + 1
        self._credit = READ_QUEUE_WORDS
        self._issued = 0
        self._pump_at = NEVER

    def ask(self, earliest: int, beats: int, reader: Reader, row: int = -1) -> None:
        """Request a burst of ``beats`` words for ``reader``.

        It is issued in ``earliest`` or later and, with ``row`` >= 0, not before the reader has
        taken in that row: the reader's own queue of rows must not overflow.
        """
        self._queue.append((earliest, beats, reader, row))
        self.waiting += 1
        if self.waiting == 1:
            self.pump()
            if self.waiting:
                self._closes.watch()

    def consumed(self, cycle: int, beats: int) -> None:
        """Note that the reader has taken all words of a burst by the end of ``cycle``."""
        self._credits.append((cycle, beats))
        if self.waiting:
            self.pump()

    def pump(self) -> None:
        """Issue every request that may go in this cycle, and come back for the next one."""
        now = self._clock.now
        credits = self._credits
        # A word that leaves the queue in a cycle makes room for requests of the next one.
        while credits and credits[0][0] < now:
            self._credit += credits.popleft()[1]
        queue = self._queue
        while queue and (self._open < self._most or self._reopened()):
            at, beats, reader, row = queue[0]
            if at <= self._issued:
                at = self._issued + 1
            # A burst is requested only when the read queue is sure to hold all of it, so that the
            # engine never has to stop words that the memory sends.
            if beats > self._credit:
                if not credits:
                    return
                if at <= credits[0][0]:
                    at = credits[0][0] + 1
            if row >= 0:
                passed = reader.passed(row)
                if passed is None:
                    return
                if at < passed:
                    at = passed
            if at > now:
                self._come_back(at)
                return
            queue.popleft()
            self.waiting -= 1
            self._issue(now, beats, reader)
            # Loaders stop ahead of a long queue; they go on when it has become short, not at every
            # burst.
            if self.waiting == 8:
                self.room.wake()
        if not queue:
            self.room.wake()

    def _reopened(self) -> bool:
        """Return whether some of as many bursts as may be outstanding have ended meanwhile."""
        self._closes.settle()
        return self._open < self._most

    def _come_back(self, at: int) -> None:
        """Look again in cycle ``at``, which is in the future."""
        # One event at a time: a later one that is planned already would only look again for
        # nothing.
        if at < self._pump_at or self._pump_at <= self._clock.now:
            self._pump_at = at
            self._clock.at(at, self.pump)

    def _issue(self, now: int, beats: int, reader: Reader) -> None:
        """Send the address of a burst in cycle ``now``."""
        self._open += 1
        self._credit -= beats
        self._issued = now
        ready = now + self._latency
        self.due.append([ready, beats, reader, beats])
        if len(self.due) == 1:
            self._dram.poke(ready)

    def room_at(self, time: float) -> float:
        """Return the time, ``time`` or later, from which the port's FIFO has room for a word."""
        # A word is shown per cycle at most: as few words are left as there are cycles until the
        # port is free.
        if self.free - time <= READ_FIFO_WORDS:
            return time
        at = self.room_from
        if at is None:
            at = self.room_from = self._roomy()
        return at if at > time else time

    def _roomy(self) -> float:
        """Return the time from which all but ``READ_FIFO_WORDS`` words have been shown."""
        left = float(READ_FIFO_WORDS)
        for first, last in reversed(self.shown):
            words = last - first + 1
            if words >= left:
                return last - left + 1
            left -= words
        return 0.0

    def room_for(self, time: float) -> float:
        """Return how many words the port's FIFO has room for at ``time``."""
        room: float = READ_FIFO_WORDS
        if self.free <= time:
            return room
        for first, last in reversed(self.shown):
            if last <= time:
                break
            room -= last - (first - 1 if first > time else time)
        return room

    def ended(self, burst: list[Any], last: int) -> None:
        """Note that the last word of a burst taken from ``due`` is on the port in ``last``."""
        _, beats, reader, _ = burst
        self.free = last + self._pause
        self.beats += beats
        self._closes.add(last + self.close_cycles, 1, self.waiting > 0)
        reader.arrive(last - beats + 1 + QUEUE_CYCLES, beats)

    def _close(self, count: int) -> None:
        """Make places among the outstanding bursts free again."""
        self._open -= count

    def _closed(self, _: int) -> None:
        """Issue what has waited for such a place."""
        if self.waiting:
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
        self._turns: list[list[tuple[int, deque[tuple[int, int, Reader]]]]] = []
        self._last = 0

    def unit(self) -> int:
        """Add a unit to the port and return its number."""
        self._queues.append(deque())
        order = list(enumerate(self._queues))
        # Round robin: the unit behind the last one that was granted has the first choice.
        self._turns = [order[last + 1:] + order[:last + 1] for last in range(len(order))]
        return len(self._queues) - 1

    def ask_for(self, unit: int, earliest: int, beats: int, reader: Reader) -> None:
        """Request a burst of ``beats`` words for unit ``unit``, issued in ``earliest`` or later."""
        self._queues[unit].append((earliest, beats, reader))
        self.waiting += 1
        self.pump()
        if self.waiting:
            self._closes.watch()

    def pump(self) -> None:
        """Issue every request that may go in this cycle, and come back for the next one."""
        now, credits = self._clock.now, self._credits
        while credits and credits[0][0] < now:
            self._credit += credits.popleft()[1]
        while self.waiting and (self._open < self._most or self._reopened()):
            at = NEVER
            for turn in self._turns[self._last]:
                queue = turn[1]
                if queue:
                    earliest = queue[0][0]
                    if earliest < at:
                        at = earliest
                    if earliest <= now:
                        break
            if at < self._issued + RUN_CYCLES:
                at = self._issued + RUN_CYCLES
            # The queue at which the loop stopped is that of the unit whose request goes next, if
            # one may go by now.
            if queue and queue[0][0] <= now and queue[0][1] > self._credit:
                if not credits:
                    return
                if at <= credits[0][0]:
                    at = credits[0][0] + 1
            if at > now:
                self._come_back(at)
                return
            _, beats, reader = queue.popleft()
            self.waiting -= 1
            self._last = turn[0]
            self._issue(now, beats, reader)


class WritePort:
    """One port's write side: bursts whose words are complete, in order.

    Attributes:
        beats: words that the memory has stored so far.
        due: bursts in order, each ``[cycle of its last word, beats, writer, beats left]``.
        room: wakes when words have been sent.
        idle: wakes when nothing of some unit may be under way.
    """

    def __init__(self, clock: Clock, dram: Dram) -> None:
        self._clock = clock
        self._dram = dram
        dram.writers.append(self)
        self.beats = 0
        self._queue: deque[tuple[int, int, Writer]] = deque()
        self.due: deque[list[Any]] = deque()     # [ready, beats, writer, beats left]
        self._all = Writer()    # all units together
        self._words = 0         # sent so far
        self._sending: Tally[tuple[int, Writer]] = Tally(clock, self._count_sent, self._sent)
        self._acks: Tally[Writer] = Tally(clock, self._count_ack, self._acked)
        self.room = Settled(clock, self._sending)
        self.idle = Settled(clock, self._acks)
        self._most = dram.memory.outstanding_bursts
        self._latency = dram.memory.write_latency_cycles
        self._pause = dram.memory.burst_cycles
        self._free = 0
        self._pump_at = NEVER

    @property
    def full(self) -> bool:
        """Whether the queue holds as many words as it can."""
        return self.holds(self._all, WRITE_QUEUE_WORDS)

    def holds(self, writer: Writer, words: int) -> bool:
        """Return whether more than ``words`` words of a unit are not on their way to the memory."""
        if writer.queued > words:
            self._sending.settle()
        return writer.queued > words

    def has_sent(self, words: int) -> bool:
        """Return whether ``words`` words in all, as :meth:`push` has returned, are on their way."""
        if self._words < words:
            self._sending.settle()
        return self._words >= words

    def busy(self, writer: Writer) -> bool:
        """Whether some burst of the unit has been announced and is not acknowledged."""
        if writer.open:
            self._acks.settle()
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
            What :meth:`has_sent` is asked for: with so many words sent, the burst is in the port's
            queue.
        """
        writer.queued += beats
        self._all.queued += beats
        # Units are calculated ahead of the clock by different amounts, so a burst may come later
        # here than one that it precedes in the engine: it is sorted in from the end, which is near.
        queue, behind, words = self._queue, 0, 0
        while behind < len(queue) and queue[-1 - behind][0] > complete:
            behind += 1
            words += queue[-behind][1]
        queue.insert(len(queue) - behind, (complete, beats, writer))
        if len(queue) == behind + 1:
            self._pump()
            if queue:
                self._acks.watch()
        return self._words + self._all.queued - words - WRITE_QUEUE_WORDS

    def _pump(self) -> None:
        """Send every burst that is complete, as long as the memory takes more of them."""
        now = self._clock.now
        queue = self._queue
        while queue:
            if self._all.open >= self._most:
                self._acks.settle()
                if self._all.open >= self._most:
                    return
            complete, beats, writer = queue[0]
            if complete > now:
                if complete < self._pump_at or self._pump_at <= now:
                    self._pump_at = complete
                    self._clock.at(complete, self._pump)
                return
            queue.popleft()
            self._all.open += 1
            writer.open += 1
            end = (now + 1 if now >= self._free else self._free) + beats
            self._free = end + self._pause
            self.due.append([end - 1, beats, writer, beats])
            self._sending.add(end, (beats, writer), self.room.awaited)
            if len(self.due) == 1:
                self._dram.poke(end - 1)

    def _count_sent(self, burst: tuple[int, Writer]) -> None:
        """Count the words of a burst as sent."""
        beats, writer = burst
        self._words += beats
        self._all.queued -= beats
        writer.queued -= beats

    def _sent(self, _: tuple[int, Writer]) -> None:
        """Let those look again who wait for words to be sent."""
        self.room.wake()

    def stored(self, burst: list[Any], end: float) -> None:
        """Note that the memory has all words of a burst taken from ``due`` at ``end``."""
        _, beats, writer, _ = burst
        self.beats += beats
        # Bursts that wait for this answer may also wait for their words: which of both comes first
        # in its cycle decides when they go.
        waits = len(self._queue) > 0
        self._acks.add(ceil(end) + self._latency, writer, waits or self.idle.awaited)
        if waits:
            self._pump()

    def _count_ack(self, writer: Writer) -> None:
        """Count a burst as acknowledged."""
        self._all.open -= 1
        writer.open -= 1

    def _acked(self, writer: Writer) -> None:
        """Send what has waited for an acknowledgement, and let those look again who wait for it."""
        if self._queue:
            self._pump()
        if not writer.open:
            self.idle.wake()
