"""The store unit: drain, post-processing into staging slots, writers, bias, result record.

``docs/engine.md`` 6 defines it; ``pt_drain`` and ``pt_store_ctrl`` do it in hardware.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pynq_train.cycles.address_generator import (
    AddressGenerator,
    SegmentWrite,
    numbers_or_zeros,
)
from pynq_train.cycles.compute import Compute
from pynq_train.cycles.kernel import Action, Clock, Condition, Steps
from pynq_train.cycles.ports import Reader, SharedReadPort, WritePort, Writer
from pynq_train.cycles.queue import GradQueue
from pynq_train.hw.commands import RECORD_WORDS, TILE_LEVELS, Opcode
from pynq_train.hw.words import CHANNELS_PER_WORD, LANES, ceil_div
from pynq_train.program.program import Fields
from pynq_train.program.spans import strides_of

SINGLE_CYCLES: Final = 5
"""Cycles in which a group of one pixel is taken.

From one request to the next in the same place of the drain it takes 20; there are four places.
"""
GROUP_SLOTS: Final = 4
"""Accumulator groups that the drain holds or has requested."""
FIRST_PICK: Final = 15
"""From the start of a segment to its first word, if the group comes at once."""
RELEASE_CYCLES: Final = 2
"""From the last group of a segment to the next segment, or to the free accumulators."""
POST_CYCLES: Final = 7
"""From the last word of a segment to the full staging slot."""
WRITE_START: Final = 3
"""From the full slot to the first word read."""
WRITE_QUEUE: Final = 5
"""From reading a word to its place in the port's queue."""
QUEUE_PUSH: Final = 3
"""From the last word of a segment to its sums at the head of the gradient queue."""
RECORD_START: Final = 2
"""From the end of all writes to the first word of the record."""
BIAS_CYCLES: Final = 10
"""From the last bias master of a segment to the first word that may use it."""
SLOTS: Final = 2
"""Slots of a staging memory, and segments whose biases are requested ahead."""


@dataclass
class Segments:
    """What the store unit needs of a descriptor.

    Attributes:
        count: segments.
        per_tile: segments of an accumulator tile.
        groups: accumulator groups of a segment.
        cycles: cycles in which a group is taken.
        words: words that leave the drain per segment, one per cycle.
        queued: the sums go to the gradient queue.
        flags: flags are written.
        bias: the bias is added.
        writes: address generator of the stored tensor; None: nothing is stored.
        flag_writes: address generator of the flags, None without.
    """

    count: int
    per_tile: int
    groups: int
    cycles: int
    words: int
    queued: bool
    flags: bool
    bias: bool
    writes: AddressGenerator | None
    flag_writes: AddressGenerator | None
    _counts: list[int]
    _first: int
    _moves: list[int]
    _limit: int

    @classmethod
    def of(cls, fields: Fields, m_tile: int) -> Segments:
        """Read them from the descriptor's fields; ``m_tile``: output channels of the array."""
        counts = numbers_or_zeros(fields, "y.y", TILE_LEVELS)
        segs, raw = fields["y.segs"], bool(fields["y.raw"])
        queued = fields["pre.opcode"] == Opcode.GRADIENT
        total = per_tile = 1
        for level, count in enumerate(counts):
            total *= count
            per_tile *= count if level < segs else 1
        q = numbers_or_zeros(fields, "y.q", 4)
        pixels = q[0] * q[1] * q[2]
        blocks = m_tile // CHANNELS_PER_WORD
        # A group holds a pixel per lane, and a pixel leaves in one word per channel block.
        cycles = LANES * blocks
        if raw:
            groups = fields["y.groups"]
            cycles *= 1 if queued else 4
            words = cycles * groups
        else:
            groups = q[3] * ceil_div(pixels, LANES)
            words = pixels * q[3] * blocks
            if fields["y.single"]:
                groups, cycles = q[3] * pixels, SINGLE_CYCLES
                words = cycles * groups
        flags = bool(fields["y.flags"]) and not raw
        moves = strides_of(counts, [fields[f"y.ydc{4 * t}"] for t in range(TILE_LEVELS)])
        return cls(total, per_tile, groups, cycles, words, queued, flags,
                   bool(fields["y.bias"]) and not raw,
                   None if queued else AddressGenerator(fields, "yw", counts),
                   AddressGenerator(fields, "yf", counts, joins=False) if flags else None,
                   counts, fields["y.yc0"], moves, fields["y.ylim0"])

    def kept(self, segment: int) -> int:
        """Return how many lanes of a segment have sums that are weights; the rest is dropped."""
        at = self._first
        for count, move in zip(self._counts, self._moves):
            segment, index = divmod(segment, count)
            at += index * move
        return sum(0 <= at + lane < self._limit for lane in range(LANES))


class Stage:
    """A staging memory with two slots, and the writer that empties them.

    Args:
        clock: the simulated time.
        port: its write port.

    Attributes:
        port: its write port.
        taken: slots that are being filled or read.
        free: wakes when a slot is free.
        full: cycles in which slots are full, in order.
        filled: wakes when there is another one.
        writer: the unit as the port counts it.
        segment: segment that is written.
        active: a descriptor is at work.
        idle: wakes when none is any more.
    """

    def __init__(self, clock: Clock, port: WritePort) -> None:
        self._clock = clock
        self.port = port
        self.taken = 0
        self.free = Condition(clock)
        self.full: list[int] = []
        self.filled = Condition(clock)
        self.writer = Writer()
        self.segment = 0
        self.active = False
        self.idle = Condition(clock)

    def run(self, generator: AddressGenerator, count: int) -> Steps:
        """Write the ``count`` segments of a descriptor whose address generator is ``generator``."""
        clock, port, writer = self._clock, self.port, self.writer
        self.segment, self.active = 0, True
        at = clock.now
        while self.segment < count:
            while not self.full:
                yield self.filled
            at = max(at, self.full.pop(0) + WRITE_START)
            work: SegmentWrite = generator.write(self.segment)
            shift = at
            for beats, cycles in work.bursts:
                # Words that the queue does not take stay in the slot: the rest of the segment is
                # read later by as much.
                if port.full:
                    before = clock.now
                    while port.full:
                        yield port.room
                    shift = max(shift, clock.now - cycles + beats) if clock.now > before else shift
                port.push(max(shift + cycles + WRITE_QUEUE, clock.now), beats, writer)
            at = shift + work.cycles
            if clock.now < at:
                yield at
            self.segment += 1
            self.taken -= 1
            self.free.wake()
            at += 1
        self.active = False
        self.idle.wake()


class Bias(Reader):
    """Masters of the biases, requested two segments ahead.

    Args:
        clock: the simulated time.
        port: the shared read port.
        words: words of a segment: one per output lane of the array.

    Attributes:
        ready: cycles in which the masters of the next segments are there.
        came: wakes when there are more of them.
        asked: segments of the descriptor whose masters have been requested.
    """

    def __init__(self, clock: Clock, port: SharedReadPort, words: int) -> None:
        self._clock = clock
        self._port = port
        self._unit = port.unit()
        self._words = words
        self.ready: list[int] = []
        self.came = Condition(clock)
        self.asked = 0

    def ask(self) -> None:
        """Request the masters of one more segment, as one run."""
        self._port.ask_for(self._unit, self._clock.now + 4, self._words, self)

    def arrive(self, cycle: int, beats: int) -> None:
        """Take note that the masters of a segment come from ``cycle`` on."""
        self._port.consumed(cycle + beats, beats)
        self.ready.append(cycle + beats + BIAS_CYCLES)
        self.came.wake()

    def passed(self, row: int) -> int | None:
        """Hold no request back."""
        return self._clock.now


class Store:
    """Drain and what follows it.

    Args:
        clock: the simulated time.
        compute: the array whose accumulators are drained.
        bias: reader of the bias masters.
        stages: staging of the stored tensor, and of its flags.
        records: write port of the records.
        queue: the gradient queue.

    Attributes:
        segment: segment that is drained.
        data: staging of the stored tensor.
        flags: staging of its flags.
    """

    def __init__(self, clock: Clock, compute: Compute, bias: Bias, stages: tuple[Stage, Stage],
                 records: WritePort, queue: GradQueue) -> None:
        self._clock = clock
        self._compute = compute
        self._bias = bias
        self.data, self.flags = stages
        self._records = records
        self._queue = queue
        self.segment = 0
        self._writer = Writer()
        self._drained = 0        # descriptors
        self._end = Condition(clock)
        self._picked = 0

    def front(self, work: Segments, start: int) -> Steps:
        """Drain the segments of a descriptor whose fields are complete in cycle ``start``."""
        self.segment = 0
        if work.bias:
            self._bias.asked = min(SLOTS, work.count)
            for _ in range(self._bias.asked):
                self._bias.ask()
        yield from self._drain(work, start)
        self._drained += 1
        self._end.wake()

    def back(self, work: Segments, number: int) -> Steps:
        """Write what descriptor ``number`` of the unit stores, then its record."""
        clock = self._clock
        if work.writes is not None:
            clock.start(self.data.run(work.writes, work.count))
        if work.flag_writes is not None:
            clock.start(self.flags.run(work.flag_writes, work.count))
        while self._drained <= number:
            yield self._end
        # A GRADIENT stores nothing here; its record is that of the update unit.
        if work.queued:
            return
        for stage in (self.data, self.flags):
            while stage.active:
                yield stage.idle
        yield clock.now + WRITE_QUEUE
        # All words must be acknowledged before the record, which tells the host that they are
        # there.
        for stage in (self.data, self.flags):
            yield from stage.port.wait_idle(stage.writer)
        self._records.push(clock.now + RECORD_START + RECORD_WORDS, RECORD_WORDS, self._writer)
        yield clock.now + RECORD_START + RECORD_WORDS
        yield from self._records.wait_idle(self._writer)

    def skip(self, segments: int, work: Segments) -> None:
        """Pass over ``segments`` segments: nothing but their number changes."""
        self.segment += segments
        self._bias.asked += segments
        if work.writes is not None:
            self.data.segment += segments
        if work.flags:
            self.flags.segment += segments

    def _drain(self, work: Segments, start: int) -> Steps:
        """Take the accumulator groups of all segments, each when all that it needs is there."""
        clock, compute, grants = self._clock, self._compute, self._compute.grants
        cycles, at = work.cycles, start
        while self.segment < work.count:
            opens = self.segment % work.per_tile == 0
            closes = (self.segment + 1) % work.per_tile == 0
            if opens:
                while not compute.finished:
                    yield compute.handed
                at = max(at, compute.finished.pop(0))
            picked = self._picked
            # Words leave one per cycle and segment after segment: not before those of the segment
            # in front have left, nor before the first group can be there.
            first = max(at + FIRST_PICK, picked)
            if first > clock.now:
                yield min(first, max(at, clock.now))
            # The first groups are requested before the segment may leave: all places of the drain
            # are filled, or become free as the groups of the segment in front leave.
            ahead = min(GROUP_SLOTS, work.groups)
            for group in range(ahead):
                grants.add(max(at + 1 + 3 * group, picked - cycles * (GROUP_SLOTS - group)), 1, 1)
            yield from self._gate(work)
            if work.bias:
                while not self._bias.ready:
                    yield self._bias.came
                first = max(first, self._bias.ready.pop(0))
            first = max(first, clock.now)
            if first > clock.now:
                yield first
            # The other groups: one whenever the drain has sent the words of one and has a place for
            # the next.
            grants.add(first + cycles, cycles, work.groups - ahead)
            picked = self._picked = first + work.words
            more = work.groups - ahead
            # When the next segment may ask: after the last request of this one.
            at = first + cycles * more + RELEASE_CYCLES if more else max(at + 3 * ahead + 2,
                                                                         picked - 3 * cycles)
            self._hand_on(work, picked)
            # The last group has been read into the drain; its words are still to leave.
            if closes:
                clock.at(max(at, clock.now), compute.release)
            if work.bias:
                clock.at(picked, self._next_bias(work))
            self.segment += 1
            yield max(at, clock.now)
        yield self._picked + (QUEUE_PUSH if work.queued else POST_CYCLES)

    def _gate(self, work: Segments) -> Steps:
        """Wait for room behind the drain: a segment that has begun to leave never stops."""
        if work.queued:
            while not self._queue.room:
                yield self._queue.freed
            return
        while self.data.taken >= SLOTS:
            yield self.data.free
        while work.flags and self.flags.taken >= SLOTS:
            yield self.flags.free

    def _hand_on(self, work: Segments, picked: int) -> None:
        """Give a segment, whose last word leaves the drain in cycle ``picked``, to what follows."""
        clock = self._clock
        if work.queued:
            self._queue.take(work.kept(self.segment), picked + QUEUE_PUSH)
            return
        self.data.taken += 1
        if work.flags:
            self.flags.taken += 1
        cycle = picked + POST_CYCLES

        def full() -> None:
            self.data.full.append(cycle)
            self.data.filled.wake()
            if work.flags:
                self.flags.full.append(cycle)
                self.flags.filled.wake()

        clock.at(cycle, full)

    def _next_bias(self, work: Segments) -> Action:
        """Return the action that requests the masters of the segment after the next."""

        def ask() -> None:
            if self._bias.asked < work.count:
                self._bias.asked += 1
                self._bias.ask()
        return ask
