"""Update and softmax units."""

from __future__ import annotations

from collections import deque

from pynq_train.hw.commands import RECORD_WORDS, Opcode
from pynq_train.hw.config import BURST_BEATS, CHANNELS_PER_WORD
from pynq_train.schedule.layout import ceil_div
from pynq_train.schedule.simulate.kernel import Clock, Signal, Steps
from pynq_train.schedule.simulate.memory import ReadPort, WritePort, Writer
from pynq_train.schedule.simulate.queue import GradQueue
from pynq_train.schedule.simulate.walk import Fields

FIFO_WORDS = 128
MATH_CYCLES = 18
READ_CYCLES = 10
"""From the start to the first address of the update unit; words pass two queues."""
ASK_CYCLES = 8
"""From words taken, whose room a burst needs, to its address."""
QUEUE_CYCLES = 5
WRITE_CYCLES = 8

class Stream:
    """Words of a linear range, requested burst by burst."""

    def __init__(self, clock: Clock, port: ReadPort) -> None:
        self._clock = clock
        self._port = port
        self.came: deque[int] = deque()
        self.signal = Signal(clock)

    def ask(self, cycle: int, beats: int) -> None:
        """Request one burst."""
        self._port.ask(cycle, beats, self)

    def arrive(self, cycle: int, beats: int) -> None:
        """One burst comes."""
        self._port.consumed(cycle + beats, beats)
        self.came.append(cycle + beats + QUEUE_CYCLES)
        self.signal.wake()

    def passed(self, row: int) -> int | None:
        """Nothing holds requests back."""
        return self._clock.now


class Update:
    """The update unit: blocks of one burst of masters.

    Attributes:
        active: something is updated.
        index: descriptor that is updated.
        left: its elements that are left.
    """

    def __init__(self, clock: Clock, port: ReadPort, masters: WritePort, copies: WritePort,
                 queue: GradQueue) -> None:
        self._clock = clock
        self._masters = masters
        self._copies = copies
        self._queue = queue
        self._g = Stream(clock, port)
        self._wv = Stream(clock, port)
        self._held = 0      # words of masters requested and not used
        self._used = Signal(clock)
        self._out = Writer(clock)
        self._copy = Writer(clock)
        self.active = False
        self.index = -1
        self.left = 0
        self.unread = 0
        self._per_word = 1

    def reads(self, fields: Fields, start: int) -> Steps:
        """Request masters, and with UPDATE sums, as far ahead as the queues hold them."""
        clock = self._clock
        if clock.now < start:
            yield start
        sums = fields["pre.opcode"] != Opcode.GRADIENT
        words = _words(fields)
        self.unread = words
        at = clock.now + READ_CYCLES
        while self.unread:
            size = min(self.unread, BURST_BEATS)
            while self._held + size > FIFO_WORDS:
                yield self._used
            self._held += size
            self.unread -= size
            at = max(at, clock.now + ASK_CYCLES)
            if sums:
                self._g.ask(at, size)
            self._wv.ask(at, size)

    def skip(self, sums: int) -> bool:
        """Pass over ``sums`` elements of a gradient, unless their masters have been requested."""
        words = sums // self._per_word
        if not self.active or self.unread < words:
            return False
        self.left -= sums
        self.unread -= words
        return True

    def run(self, fields: Fields, start: int, index: int) -> Steps:
        """Update a tensor; ends when its record is written."""
        clock, queue = self._clock, self._queue
        if clock.now < start:
            yield start
        gradient = fields["pre.opcode"] == Opcode.GRADIENT
        per_word = self._per_word = 2 if fields.get("u.u_plain", 0) else 1
        self.active, self.index = True, index
        self.left = _live(fields)
        at = clock.now
        copied = 0
        # Sums of channels that are padding are dropped, one per cycle, and move no masters.
        tile = fields.get("g.g_tile", 1) if gradient else 1
        rows = fields["u.u_rows"] if gradient else 1
        taken = passed = 0
        while self.left:
            size = min(self.left, BURST_BEATS * per_word)
            words = ceil_div(size, per_word)
            for stream, count in ((self._wv, words),) if gradient else (
                    (self._g, words), (self._wv, words)):
                while not stream.came:
                    yield stream.signal
                at = max(at, stream.came.popleft() - count)
            taken += size
            sums = taken * tile // rows - passed if gradient else size
            passed += sums
            if gradient:
                there = queue.available(sums)
                while there is None:
                    yield queue.came
                    there = queue.available(sums)
                at = max(at, there)
            while self._masters.full or self._copies.full:
                yield self._masters.room if self._masters.full else self._copies.room
            at = max(at, clock.now - sums) + sums
            if clock.now < at:
                yield at
            if gradient:
                queue.read(sums)
            self._held -= words
            self._used.wake()
            self._masters.push(clock.now + MATH_CYCLES + WRITE_CYCLES, words, self._out)
            self.left -= size
            if fields.get("u.u_copy", 0):
                copied += size // CHANNELS_PER_WORD
                while copied >= BURST_BEATS or (copied and not self.left):
                    beats = min(copied, BURST_BEATS)
                    self._copies.push(clock.now + MATH_CYCLES + WRITE_CYCLES, beats, self._copy)
                    copied -= beats
        for writer in (self._out, self._copy):
            while writer.open:
                yield writer.idle
        self._masters.push(clock.now + 14, RECORD_WORDS, self._out)
        while self._out.open:
            yield self._out.idle
        self.active = False
        yield clock.now + 2


def _live(fields: Fields) -> int:
    """Elements that are updated."""
    if fields["pre.opcode"] != Opcode.GRADIENT:
        return fields["u.u_count"]
    return fields["u.u_count"] * fields["u.u_rows"] // fields["g.g_tile"]


def _words(fields: Fields) -> int:
    return ceil_div(_live(fields), 2 if fields.get("u.u_plain", 0) else 1)


class Softmax:
    """The softmax unit: one image after the other, the next one read meanwhile."""

    NEXT_CYCLES = 5
    NORM_CYCLES = 9
    MAX_CYCLES = 4
    EXP_CYCLES = 12
    LOG_CYCLES = 5
    GRAD_CYCLES = 12
    DIVIDE_CYCLES = 19
    SQUARE_CYCLES = 12
    """Squared error: a word after its maximum is known."""
    SQUARE_END = 3

    def __init__(self, clock: Clock, port: ReadPort, writes: WritePort) -> None:
        self._clock = clock
        self._writes = writes
        self._stream = Stream(clock, port)
        self._writer = Writer(clock)

    def run(self, fields: Fields, start: int) -> Steps:
        """Loss and gradients of a mini-batch."""
        clock = self._clock
        if clock.now < start:
            yield start
        images, words = fields["f.f_batch"], ceil_div(fields["f.f_classes"], CHANNELS_PER_WORD)
        gradient, mse = bool(fields.get("f.f_grad", 0)), bool(fields.get("f.f_mse", 0))
        asked = 0
        for _ in range(min(2, images)):
            self._ask(words)
            asked += 1
        at = clock.now
        for image in range(images):
            at += self.NEXT_CYCLES if image else 0
            for _ in range(words + 1):
                while not self._stream.came:
                    yield self._stream.signal
                at = max(at, self._stream.came.popleft() - QUEUE_CYCLES)
            lanes = CHANNELS_PER_WORD * words
            at += self.MAX_CYCLES + lanes
            if not mse:
                at += self.EXP_CYCLES + self.NORM_CYCLES + self.LOG_CYCLES + lanes
                at += self.GRAD_CYCLES if gradient else 0
            for _ in range(words if mse or gradient else 0):
                at += self.SQUARE_CYCLES if mse else self.DIVIDE_CYCLES
                if clock.now < at:
                    yield at
                if gradient:
                    self._writes.push(clock.now + 8, 1, self._writer)
            at += self.SQUARE_END if mse else 0
            if clock.now < at:
                yield at
            if asked < images:
                self._ask(words)
                asked += 1
        while self._writer.open:
            yield self._writer.idle
        self._writes.push(clock.now + 10, RECORD_WORDS, self._writer)
        while self._writer.open:
            yield self._writer.idle
        yield clock.now + 2

    def _ask(self, words: int) -> None:
        for word in range(words + 1):
            self._stream.ask(self._clock.now + 4 + word, 1)
