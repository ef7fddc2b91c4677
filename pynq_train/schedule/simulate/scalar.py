"""Update and softmax units."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator

from pynq_train.hw.commands import RECORD_WORDS
from pynq_train.hw.config import BURST_BEATS, CHANNELS_PER_WORD
from pynq_train.schedule.layout import ceil_div
from pynq_train.schedule.simulate.kernel import Clock, Signal
from pynq_train.schedule.simulate.memory import ReadPort, WritePort, Writer
from pynq_train.schedule.simulate.walk import Fields

FIFO_WORDS = 128
COPY_WORDS = 32
MATH_CYCLES = 12
READ_CYCLES = 10
"""From the start to the first address of the update unit; words pass two queues."""
QUEUE_CYCLES = 5
WRITE_CYCLES = 8

Steps = Generator["int | Signal", None, None]


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
    """The update unit: blocks of 16 elements."""

    def __init__(self, clock: Clock, port: ReadPort, masters: WritePort, copies: WritePort) -> None:
        self._clock = clock
        self._masters = masters
        self._copies = copies
        self._g = Stream(clock, port)
        self._wv = Stream(clock, port)
        self._out = Writer(clock)
        self._copy = Writer(clock)
        self.active = False
        self.left = 0

    def run(self, fields: Fields, start: int) -> Steps:
        """Update a tensor; ends when its record is written."""
        clock = self._clock
        if clock.now < start:
            yield start
        self.active = True
        count = fields["u.u_count"]
        self.left = count
        blocks = ceil_div(count, BURST_BEATS)
        asked = min(blocks, FIFO_WORDS // BURST_BEATS)
        sizes = [BURST_BEATS] * (blocks - 1) + [count - BURST_BEATS * (blocks - 1)]
        for block in range(asked):
            self._g.ask(clock.now + READ_CYCLES, sizes[block])
            self._wv.ask(clock.now + READ_CYCLES, sizes[block])
        at = clock.now
        copied = 0
        for size in sizes:
            for stream in (self._g, self._wv):
                while not stream.came:
                    yield stream.signal
                at = max(at, stream.came.popleft() - size)
            while self._masters.full:
                yield self._masters.room
            at = max(at, clock.now - size)
            at += size
            if clock.now < at:
                yield at
            if asked < blocks:
                self._g.ask(clock.now + 2, sizes[asked])
                self._wv.ask(clock.now + 2, sizes[asked])
                asked += 1
            self._masters.push(clock.now + MATH_CYCLES + WRITE_CYCLES, size, self._out)
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


class Softmax:
    """The softmax unit: one image after the other, the next one read meanwhile."""

    NEXT_CYCLES = 5
    NORM_CYCLES = 9
    MAX_CYCLES = 4
    EXP_CYCLES = 12
    LOG_CYCLES = 5
    GRAD_CYCLES = 12
    DIVIDE_CYCLES = 19

    def __init__(self, clock: Clock, port: ReadPort, writes: WritePort) -> None:
        self._clock = clock
        self._writes = writes
        self._stream = Stream(clock, port)
        self._writer = Writer(clock)

    def run(self, fields: Fields, start: int, records: WritePort) -> Steps:
        """Loss and gradients of a mini-batch."""
        clock = self._clock
        if clock.now < start:
            yield start
        images, words = fields["f.f_batch"], ceil_div(fields["f.f_classes"], CHANNELS_PER_WORD)
        gradient = bool(fields.get("f.f_grad", 0))
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
            at += (self.MAX_CYCLES + self.EXP_CYCLES + self.NORM_CYCLES + self.LOG_CYCLES
                   + 2 * lanes)
            if gradient:
                at += self.GRAD_CYCLES
                for _ in range(words):
                    at += self.DIVIDE_CYCLES
                    if clock.now < at:
                        yield at
                    self._writes.push(clock.now + 8, 1, self._writer)
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
