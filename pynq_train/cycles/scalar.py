"""Update and softmax units (``docs/engine.md`` 7), and the reader that both share."""

from __future__ import annotations

from typing import Final

from pynq_train.cycles.kernel import Clock, Condition, Steps
from pynq_train.cycles.ports import WRITE_QUEUE_WORDS, Reader, SharedReadPort, WritePort, Writer
from pynq_train.cycles.queue import GradQueue
from pynq_train.hw.commands import RECORD_WORDS, Opcode
from pynq_train.hw.limits import UPDATE_QUEUE_WORDS
from pynq_train.hw.words import BURST_BEATS, CHANNELS_PER_WORD, ceil_div
from pynq_train.program.program import Fields

READ_CYCLES: Final = 10
"""From the start to the first address of the update unit."""
ASK_CYCLES: Final = 4
"""From the arithmetic of words whose room a burst needs to the burst's address."""
RUN_CYCLES: Final = 2
"""From one run to the next."""
QUEUE_CYCLES: Final = 5
"""Words pass two queues."""
MASTER_CYCLES: Final = 40
"""From the last word of a run to its place in the port's queue; ``COPY_CYCLES``: of copies."""
COPY_CYCLES: Final = 43
MASTERS_HELD: Final = UPDATE_QUEUE_WORDS + WRITE_QUEUE_WORDS
"""Words behind the arithmetic and in the port's queue; ``COPIES_HELD``: of copies."""
COPIES_HELD: Final = 32 + WRITE_QUEUE_WORDS
RECORD_CYCLES: Final = 7
"""From the end of all writes of the update unit to its record."""


class Stream(Reader):
    """Words of a linear range, requested burst by burst at a shared port.

    Attributes:
        came: of each burst the cycle in which its last word is there, in order.
        signal: wakes when there is another one.
    """

    def __init__(self, clock: Clock, port: SharedReadPort) -> None:
        self._clock = clock
        self._port = port
        self._unit = port.unit()
        self.came: list[int] = []
        self.signal = Condition(clock)

    def ask(self, cycle: int, beats: int, inside: bool = False) -> None:
        """Request one burst of ``beats`` words in ``cycle`` or later.

        ``inside``: as of :meth:`.SharedReadPort.ask_for`.
        """
        self._port.ask_for(self._unit, cycle, beats, self, inside)

    def arrive(self, cycle: int, beats: int) -> None:
        """Take note that the words of one burst come from ``cycle`` on."""
        self._port.consumed(cycle + beats, beats)
        self.came.append(cycle + beats + QUEUE_CYCLES)
        self.signal.wake()

    def passed(self, row: int) -> int | None:
        """Hold no request back."""
        return self._clock.now


class _Lanes:
    """How a tensor of the update unit is cut into runs, and how it stands in the gradient queue.

    Attributes:
        sums: sums of a lane of the queue; without a queue those of a burst.
        live: sums of a lane that are weights; the rest is dropped, one per cycle.
        per_word: weights in a word of masters: two without momentum.
        total: weights of the tensor that are updated.
    """

    def __init__(self, fields: Fields, lane_sums: int) -> None:
        self.per_word = 2 if fields["u.u_plain"] else 1
        if fields["pre.opcode"] == Opcode.GRADIENT:
            self.sums = lane_sums
            self.live = CHANNELS_PER_WORD * fields["u.u_rows"]
        else:
            self.sums = self.live = BURST_BEATS * self.per_word
        self.total = fields["u.u_count"] // self.sums * self.live + min(
            fields["u.u_count"] % self.sums, self.live)

    def run(self, done: int) -> int:
        """Return the weights of the run behind the first ``done`` ones."""
        return min(BURST_BEATS * self.per_word, self.live - done % self.live, self.total - done)

    def dropped(self, done: int) -> int:
        """Return the sums that are dropped behind weight ``done``."""
        return 0 if done % self.live else self.sums - self.live


class Update:
    """The update unit: it takes runs of masters and sums, and writes masters and 16-bit copies.

    Args:
        clock: the simulated time.
        port: shared read port of masters and of sums in memory.
        masters: write port of the masters.
        copies: write port of the 16-bit copies.
        queue: the gradient queue.

    Attributes:
        active: something is updated.
        index: descriptor that is updated.
    """

    def __init__(self, clock: Clock, port: SharedReadPort, masters: WritePort, copies: WritePort,
                 queue: GradQueue) -> None:
        self._clock = clock
        self._masters = masters
        self._copies = copies
        self._queue = queue
        self._g = Stream(clock, port)
        self._wv = Stream(clock, port)
        self._held = 0      # words of masters requested and not used
        self._used = Condition(clock)
        self._out = Writer()
        self._copy = Writer()
        self.active = False
        self.index = -1
        self._asked = self._done = 0    # weights
        self._lanes: _Lanes | None = None

    def reads(self, fields: Fields) -> Steps:
        """Request masters, and with UPDATE sums too, as far ahead as the queues hold them."""
        clock = self._clock
        sums = fields["pre.opcode"] != Opcode.GRADIENT
        lanes = _Lanes(fields, self._queue.lane_sums)
        self._asked = 0
        at = clock.now + READ_CYCLES - RUN_CYCLES
        while self._asked < lanes.total:
            size = ceil_div(lanes.run(self._asked), lanes.per_word)
            # A burst is requested when the queue is sure to have room for it: the port must not be
            # blocked for its other units.
            while self._held > UPDATE_QUEUE_WORDS - BURST_BEATS:
                yield self._used
            self._held += size
            self._asked += lanes.run(self._asked)
            at = max(at + RUN_CYCLES, clock.now + ASK_CYCLES)
            if sums:
                self._g.ask(at, size)
            self._wv.ask(at, size)

    def skip(self, sums: int) -> bool:
        """Pass over ``sums`` sums of a gradient; return whether that was possible.

        It is not once their masters have been requested: these words would come for nothing.
        """
        lanes = self._lanes
        if not self.active or lanes is None:
            return False
        weights = sums // lanes.sums * lanes.live
        if lanes.total - self._asked < weights:
            return False
        self._done += weights
        self._asked += weights
        return True

    def run(self, fields: Fields, index: int) -> Steps:
        """Update the tensor of descriptor ``index``; ends when its record is written."""
        clock, queue = self._clock, self._queue
        gradient = fields["pre.opcode"] == Opcode.GRADIENT
        copy = bool(fields["u.u_copy"])
        lanes = self._lanes = _Lanes(fields, self._queue.lane_sums)
        self.active, self.index = True, index
        self._done = copied = 0
        at = clock.now
        while self._done < lanes.total:
            size = lanes.run(self._done)
            words = ceil_div(size, lanes.per_word)
            for stream in (self._wv,) if gradient else (self._g, self._wv):
                while not stream.came:
                    yield stream.signal
                # The arithmetic takes the words of a burst as they come, one per cycle.
                at = max(at, stream.came.pop(0) - words)
            if gradient:
                there = queue.available(size)
                while there is None:
                    yield queue.came
                    there = queue.available(size)
                at = max(at, there)
            # The pipeline does not stop: a run enters it when its results have room behind it.
            while self._masters.holds(self._out, MASTERS_HELD - words):
                yield self._masters.room
            while self._copies.holds(self._copy, COPIES_HELD):
                yield self._copies.room
            # One weight per cycle, whatever a word holds.
            at = max(at, clock.now - size) + size
            if clock.now < at:
                yield at
            self._held -= words
            self._used.wake()
            self._masters.push(clock.now + MASTER_CYCLES, words, self._out)
            self._done += size
            dropped = lanes.dropped(self._done) if gradient else 0
            if gradient:
                queue.read(size + dropped)
                at += dropped
            if copy:
                copied += size // CHANNELS_PER_WORD
                # Copies leave in whole bursts; where weights are left out, the memory range has a
                # gap.
                if dropped or copied >= BURST_BEATS or self._done == lanes.total:
                    self._copies.push(clock.now + COPY_CYCLES, copied, self._copy)
                    copied = 0
        yield clock.now + MASTER_CYCLES    # the last results are on their way to the ports
        while self._masters.busy(self._out) or self._copies.busy(self._copy):
            yield (self._masters if self._masters.busy(self._out) else self._copies).idle
        self._masters.push(clock.now + RECORD_CYCLES, RECORD_WORDS, self._out)
        yield clock.now + RECORD_CYCLES
        yield from self._masters.wait_idle(self._out)
        self.active = False
        yield clock.now + 2


class Softmax:
    """The softmax unit: one image after the other, the next one read meanwhile.

    The constants are cycles of its steps: three passes over the classes, a lane per cycle, and the
    fixed delays between them. Pass 3 takes ``DIVIDE_CYCLES`` per word.
    """

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

    def __init__(self, clock: Clock, port: SharedReadPort, writes: WritePort) -> None:
        self._clock = clock
        self._writes = writes
        self._stream = Stream(clock, port)
        self._writer = Writer()

    def run(self, fields: Fields) -> Steps:
        """Compute losses and gradients of a mini-batch; ends when the record is written."""
        clock = self._clock
        images, words = fields["f.f_batch"], ceil_div(fields["f.f_classes"], CHANNELS_PER_WORD)
        gradient, mse = bool(fields["f.f_grad"]), bool(fields["f.f_mse"])
        asked = 0
        # Two images are held: one is computed while the next one comes.
        for _ in range(min(2, images)):
            self._ask(words)
            asked += 1
        at = clock.now
        for image in range(images):
            at += self.NEXT_CYCLES if image else 0
            for _ in range(words + 1):
                while not self._stream.came:
                    yield self._stream.signal
                at = max(at, self._stream.came.pop(0) - QUEUE_CYCLES)
            # Every pass goes through all lanes, those that pad the last word too.
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
        yield clock.now + 8
        yield from self._writes.wait_idle(self._writer)
        self._writes.push(clock.now + 10, RECORD_WORDS, self._writer)
        yield clock.now + 10
        yield from self._writes.wait_idle(self._writer)
        yield clock.now + 2

    def _ask(self, words: int) -> None:
        """Request the logits of an image, word by word, and its label."""
        for word in range(words + 1):
            self._stream.ask(self._clock.now + 4 + word, 1)
