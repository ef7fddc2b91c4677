"""The engine's AXI ports: requests and bursts on their way to and from the memory.

Every port moves 8 bytes per cycle each way and pauses after a burst. The queues restate those of
``pt_axi_rd``, ``pt_axi_wr`` and their arbiters in ``rtl/axi``.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Final, cast

from pynq_train.cycles.dram import Burst, Dram, ReadingPort, WritingPort
from pynq_train.cycles.kernel import NEVER, Action, Clock, Condition, Settled, Tally
from pynq_train.hw.limits import READ_QUEUE_WORDS

WRITE_QUEUE_WORDS: Final = 64
"""Words that the engine's write queue of a port holds."""
RUN_CYCLES: Final = 2
"""From the grant of one run to the next at a shared port."""
CLOSE_CYCLES: Final = 2
"""From a burst's last word to an address that takes its place among those outstanding."""
ARBITER_CYCLES: Final = 8
"""The same between runs in the arbiter of a shared port, on top of that."""
QUEUE_CYCLES: Final = 4
"""From the port to the head of the engine's read queue."""


class Reader:
    """The unit that asks a read port for words."""

    def arrive(self, cycle: int, beats: int) -> None:
        """Take note that the words of the oldest burst come, one per cycle from ``cycle`` on."""
        raise NotImplementedError

    def passed(self, row: int) -> int | None:
        """Return the cycle in which row ``row`` was taken in; None if it is not known yet.

        Without rows no request is held back.
        """
        raise NotImplementedError


class ReadBurst(Burst):
    """A burst for a reader.

    Attributes:
        earliest: cycle from which it may be issued.
        reader: who takes its words.
        row: row that the reader must have taken in before; negative: none.
        close: from its last word to an address that takes its place among those outstanding.
    """

    __slots__ = ("close", "earliest", "reader", "row")

    def __init__(self, earliest: int, beats: int, reader: Reader, row: int, close: int) -> None:
        super().__init__(beats)
        self.close = close
        self.earliest = earliest
        self.reader = reader
        self.row = row


class Writer:
    """A unit at a write port, as the port counts its bursts.

    Attributes:
        queued: its words that are not on their way to the memory, as of when the port last counted.
        open: its bursts that are, and are not acknowledged, likewise.
    """

    def __init__(self) -> None:
        self.queued = 0
        self.open = 0


class WriteBurst(Burst):
    """A burst of a writer.

    Attributes:
        complete: cycle in which its last word reaches the queue.
        writer: whose words they are.
    """

    __slots__ = ("complete", "writer")

    def __init__(self, complete: int, beats: int, writer: Writer) -> None:
        super().__init__(beats)
        self.complete = complete
        self.writer = writer


class ReadPort(ReadingPort):
    """One port's read side: requests in order, bursts outstanding, words to the reader.

    Attributes:
        waiting: requests that have not been issued.
        room: wakes when few requests wait.
        beats: words that have been read so far.
    """

    def __init__(self, clock: Clock, dram: Dram) -> None:
        super().__init__()
        self._clock = clock
        self._dram = dram
        dram.readers.append(self)
        self.waiting = 0
        self.room = Condition(clock)
        self.beats = 0
        self._queue: list[ReadBurst] = []
        self._freed: list[int] = []         # cycles in which words leave the read queue
        self._freed_words: list[int] = []   # how many each time
        self._open = 0
        # A place among the outstanding bursts that becomes free matters to requests that wait.
        self._closes: Tally[int] = Tally(clock, self._close, self._closed)
        self._most = dram.memory.outstanding_bursts
        self._latency = dram.memory.read_latency_cycles - 1
        self._pause = dram.memory.burst_cycles + 1
        self._credit = READ_QUEUE_WORDS
        self._issued = 0
        self._pump_at = NEVER
        self._action: Action = self.pump

    def ask(self, earliest: int, beats: int, reader: Reader, row: int = -1) -> None:
        """Request a burst of ``beats`` words for ``reader``.

        It is issued in ``earliest`` or later and, with ``row`` >= 0, not before the reader has
        taken in that row: the reader's own queue of rows must not overflow.
        """
        self._queue.append(ReadBurst(earliest, beats, reader, row, CLOSE_CYCLES))
        self.waiting += 1
        if self.waiting == 1:
            self.pump()
            if self.waiting:
                self._closes.watch()

    def consumed(self, cycle: int, beats: int) -> None:
        """Note that the reader has taken all words of a burst by the end of ``cycle``."""
        self._freed.append(cycle)
        self._freed_words.append(beats)
        if self.waiting:
            self.pump()

    def pump(self) -> None:
        """Issue every request that may go in this cycle, and come back for the next one."""
        now = self._clock.now
        freed = self._freed
        # A word that leaves the queue in a cycle makes room for requests of the next one.
        while freed and freed[0] < now:
            freed.pop(0)
            self._credit += self._freed_words.pop(0)
        queue = self._queue
        while queue and (self._open < self._most or self._reopened()):
            burst = queue[0]
            at = burst.earliest
            if at <= self._issued:
                at = self._issued + 1
            # A burst is requested only when the read queue is sure to hold all of it, so that the
            # engine never has to stop words that the memory sends.
            if burst.beats > self._credit:
                if not freed:
                    return
                if at <= freed[0]:
                    at = freed[0] + 1
            if burst.row >= 0:
                passed = burst.reader.passed(burst.row)
                if passed is None:
                    return
                if at < passed:
                    at = passed
            if at > now:
                self._come_back(at)
                return
            queue.pop(0)
            self.waiting -= 1
            self._issue(now, burst)
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
            self._clock.at(at, self._action)

    def _issue(self, now: int, burst: ReadBurst) -> None:
        """Send the address of a burst in cycle ``now``."""
        self._open += 1
        self._credit -= burst.beats
        self._issued = now
        ready = now + self._latency
        burst.ready = float(ready)
        due = self.due
        due.append(burst)
        if len(due) == 1:
            self._dram.poke(ready)

    def ended(self, burst: Burst, last: int) -> None:
        """Note that the last word of a burst taken from ``due`` is on the port in ``last``."""
        beats, own = burst.beats, cast(ReadBurst, burst)
        self.free = float(last + self._pause)
        self.beats += beats
        self._closes.add(last + own.close, 1, self.waiting > 0)
        own.reader.arrive(last - beats + 1 + QUEUE_CYCLES, beats)

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

    def __init__(self, clock: Clock, dram: Dram) -> None:
        super().__init__(clock, dram)
        self._queues: list[list[ReadBurst]] = []
        self._turns: list[list[int]] = []
        self._last = 0

    def unit(self) -> int:
        """Add a unit to the port and return its number."""
        self._queues.append([])
        order = list(range(len(self._queues)))
        # Round robin: the unit behind the last one that was granted has the first choice.
        self._turns = [order[last + 1:] + order[:last + 1] for last in range(len(order))]
        return len(self._queues) - 1

    def ask_for(self, unit: int, earliest: int, beats: int, reader: Reader,
                inside: bool = False) -> None:
        """Request a burst of ``beats`` words for unit ``unit``, issued in ``earliest`` or later.

        ``inside``: other bursts of the same run follow, which the arbiter remembers once, until its
        last word.
        """
        close = CLOSE_CYCLES if inside else CLOSE_CYCLES + ARBITER_CYCLES
        self._queues[unit].append(ReadBurst(earliest, beats, reader, -1, close))
        self.waiting += 1
        self.pump()
        if self.waiting:
            self._closes.watch()

    def pump(self) -> None:
        """Issue every request that may go in this cycle, and come back for the next one."""
        now, freed = self._clock.now, self._freed
        while freed and freed[0] < now:
            freed.pop(0)
            self._credit += self._freed_words.pop(0)
        while self.waiting and (self._open < self._most or self._reopened()):
            at = NEVER
            burst: ReadBurst | None = None    # what goes next, if something may go by now
            unit = 0
            for unit in self._turns[self._last]:
                queue = self._queues[unit]
                if queue:
                    earliest = queue[0].earliest
                    if earliest < at:
                        at = earliest
                    if earliest <= now:
                        burst = queue[0]
                        break
            if at < self._issued + RUN_CYCLES:
                at = self._issued + RUN_CYCLES
            if burst is not None and burst.beats > self._credit:
                if not freed:
                    return
                if at <= freed[0]:
                    at = freed[0] + 1
            if at > now or burst is None:
                self._come_back(at)
                return
            self._queues[unit].pop(0)
            self.waiting -= 1
            self._last = unit
            self._issue(now, burst)


class WritePort(WritingPort):
    """One port's write side: bursts whose words are complete, in order.

    Attributes:
        beats: words that the memory has stored so far.
        room: wakes when words have been sent.
        idle: wakes when nothing of some unit may be under way.
    """

    def __init__(self, clock: Clock, dram: Dram) -> None:
        super().__init__()
        self._clock = clock
        self._dram = dram
        dram.writers.append(self)
        self.beats = 0
        self._queue: list[WriteBurst] = []
        self._all = Writer()    # all units together
        self._words = 0         # sent so far
        self._sending: Tally[WriteBurst] = Tally(clock, self._count_sent, self._sent)
        self._acks: Tally[Writer] = Tally(clock, self._count_ack, self._acked)
        self.room = Settled(clock, self._sending)
        self.idle = Settled(clock, self._acks)
        self._most = dram.memory.outstanding_bursts
        self._latency = dram.memory.write_latency_cycles
        self._pause = dram.memory.burst_cycles
        self._free = 0
        self._pump_at = NEVER
        self._action: Action = self._pump

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
        for burst in self._queue:
            if burst.writer is writer:
                # A run is announced to the arbiter before its words, and counts as under way from
                # then on.
                return burst.complete - burst.beats - RUN_CYCLES <= self._clock.now
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
        while behind < len(queue) and queue[-1 - behind].complete > complete:
            behind += 1
            words += queue[-behind].beats
        queue.insert(len(queue) - behind, WriteBurst(complete, beats, writer))
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
            burst = queue[0]
            complete = burst.complete
            if complete > now:
                if complete < self._pump_at or self._pump_at <= now:
                    self._pump_at = complete
                    self._clock.at(complete, self._action)
                return
            queue.pop(0)
            self._all.open += 1
            burst.writer.open += 1
            end = (now + 1 if now >= self._free else self._free) + burst.beats
            self._free = end + self._pause
            burst.ready = float(end - 1)
            due = self.due
            due.append(burst)
            self._sending.add(end, burst, self.room.awaited)
            if len(due) == 1:
                self._dram.poke(end - 1)

    def _count_sent(self, burst: WriteBurst) -> None:
        """Count the words of a burst as sent."""
        self._words += burst.beats
        self._all.queued -= burst.beats
        burst.writer.queued -= burst.beats

    def _sent(self, _: WriteBurst) -> None:
        """Let those look again who wait for words to be sent."""
        self.room.wake()

    def stored(self, burst: Burst, end: float) -> None:
        """Note that the memory has all words of a burst taken from ``due`` at ``end``."""
        self.beats += burst.beats
        # Bursts that wait for this answer may also wait for their words: which of both comes first
        # in its cycle decides when they go.
        waits = len(self._queue) > 0
        self._acks.add(ceil(end) + self._latency, cast(WriteBurst, burst).writer,
                       waits or self.idle.awaited)
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
