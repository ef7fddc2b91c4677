"""Vector unit: feature maps word by word; normalisation and pooling, which take turns with it.

``docs/engine.md`` 7 says what the three descriptors do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain, repeat
from typing import Final

from pynq_train.cycles.dram import Dram
from pynq_train.cycles.kernel import Clock, Condition, Steps
from pynq_train.cycles.pool import runs, stretches
from pynq_train.cycles.ports import Reader, SharedReadPort, WritePort, Writer
from pynq_train.cycles.trace import Zeros
from pynq_train.hw.commands import RECORD_WORDS, Opcode
from pynq_train.hw.limits import MAP_QUEUE_WORDS
from pynq_train.hw.memory_timing import MemoryTiming
from pynq_train.hw.norm import GROUPED, PROGRAMS, NormOp, NormProgram
from pynq_train.hw.words import BURST_BEATS, CHANNELS_PER_WORD
from pynq_train.program.program import Fields

SECOND_QUEUE_WORDS: Final = 128
"""Words that the queue of map b holds."""
SIDE_QUEUE_WORDS: Final = 32
"""Words that the queues of flags and of coefficients hold."""
OUT_QUEUE_WORDS: Final = 64
"""Words of results that wait in front of the port."""
BLOCK_WORDS: Final = 8
"""Words of coefficients, sums or statistics of one channel block."""
FIRST_CYCLES: Final = 5
"""From the start to the first request."""
QUEUE_CYCLES: Final = 7
"""From the port to the arithmetic."""
MATH_CYCLES: Final = 7
"""From the operands of a word to its result."""
OUT_CYCLES: Final = 6
"""From the queue of results to the port."""
EMPTY_CYCLES: Final = 13
"""Between the last word of a channel block and its sums."""
FACTOR_CYCLES: Final = 3
"""From a word to a factor of its own: a curve's slope, or the other map."""
RECORD_CYCLES: Final = 2
"""From the end of all writes to the record."""
POOL_FIRST_CYCLES: Final = 6
"""From the start to the first step of a pooling pass."""
POOL_MATH_CYCLES: Final = 7
"""From a step of a pooling pass to its results."""
POOL_EMPTY_CYCLES: Final = 13
"""Between the last step of a pooling pass and its record."""
ALU_CYCLES: Final = 7
"""From the operands of an instruction to an instruction that uses its result."""
NORM_START_CYCLES: Final = 2
"""From the start of a normalisation to its first request."""
NORM_LOAD_CYCLES: Final = 2
"""From the last word of a block to the start of its micro-program."""
_IDLE_PROGRAM_CYCLES: Final = 3
"""From the order to start a program to its first instruction, and from its end to the results."""


_RESULTS = {NormProgram.FORWARD: (8, 8, 8), NormProgram.FORWARD_FROZEN: (8, 8),
            NormProgram.BACKWARD: (8, 4, 4), NormProgram.BACKWARD_FROZEN: (8, 4, 4),
            NormProgram.FORWARD_GROUP: (8, 8), NormProgram.BACKWARD_GROUP: (8,)}
"""Words of the runs that a normalisation writes for a channel block."""


class _Input(Reader):
    """A stream of words, requested run by run as far ahead as its queue holds them.

    Words are counted from the start of the descriptor.

    Args:
        clock: the simulated time.
        port: its shared read port.
        unit: its number at the port.
        depth: words that its queue holds.
    """

    def __init__(self, clock: Clock, port: SharedReadPort, unit: int, depth: int) -> None:
        self._clock = clock
        self._port = port
        self._unit = unit
        self._depth = depth
        self._came: list[int] = []      # words, as far as the bursts have come
        self._behind: list[int] = []    # cycle behind that in which the last of them is there
        self.signal, self._used = Condition(clock), Condition(clock)
        self.there = 0
        self._asked = self._taken = 0

    def begin(self, runs: Iterable[int], start: int, depth: int | None = None) -> None:
        """Request the runs of a descriptor, in words, from cycle ``start`` on.

        ``depth``: words of the queue from now on, if not as before.
        """
        self._came.clear()
        self._behind.clear()
        self._depth = depth or self._depth
        self.there = self._asked = self._taken = 0
        self._clock.start(self._ask(runs, start))

    def _ask(self, runs: Iterable[int], start: int) -> Steps:
        """Request one run after the other, each when the queue has room for it."""
        at, clock = start, self._clock
        for size in runs:
            while self._asked - self._taken > self._depth - BURST_BEATS:
                yield self._used
            # Streams of one port ask in turn.
            if at <= clock.now:
                at = clock.now + 1
            yield at
            self._asked += size
            self._port.ask_for(self._unit, at, size, self)
            at += 2

    def arrive(self, cycle: int, beats: int) -> None:
        """Take note that the words of one burst come from ``cycle`` on."""
        self._port.consumed(cycle + beats, beats)
        self.there += beats
        self._came.append(self.there)
        self._behind.append(cycle + beats + QUEUE_CYCLES)
        self.signal.wake()

    def passed(self, row: int) -> int | None:
        """Hold no request back."""
        return self._clock.now

    def wait(self, count: int) -> Iterator[Condition]:
        """Wait until the burst with the ``count``-th word of the descriptor is known."""
        while self.there < count:
            yield self.signal

    def cycle(self, count: int) -> int:
        """Return the cycle behind that in which the ``count``-th word is there."""
        # Words of a burst come one per cycle up to its last one; the callers ask for rising counts.
        came = self._came
        while came[0] < count:
            came.pop(0)
            self._behind.pop(0)
        return self._behind[0] - (came[0] - count)

    def take(self, count: int) -> None:
        """Note that the words up to the ``count``-th have left the queue."""
        self._taken = count
        if self._asked - count <= self._depth - BURST_BEATS:
            self._used.wake()


class _Output:
    """Runs of results on their way to memory."""

    def __init__(self, clock: Clock, port: WritePort) -> None:
        self._clock = clock
        self._port = port
        self.writer = Writer()

    def room(self) -> Iterator[Condition]:
        """Wait until the port takes words."""
        while self._port.holds(self.writer, OUT_QUEUE_WORDS):
            yield self._port.room

    def push(self, cycle: int, words: int) -> int:
        """Send the words of one run, the last of which leaves the unit in ``cycle``.

        Returns:
            What :meth:`taken` waits for.
        """
        at, sent = max(cycle, self._clock.now) + OUT_CYCLES, 0
        for beats in _bursts(words):
            sent = self._port.push(at, beats, self.writer)
        return sent

    def taken(self, sent: int) -> Iterator[Condition]:
        """Wait until a run that has been pushed is in the port's queue."""
        while not self._port.has_sent(sent):
            yield self._port.room

    def idle(self) -> Steps:
        """Wait until everything is written."""
        yield self._clock.now + OUT_CYCLES
        yield from self._port.wait_idle(self.writer)


@cache
def _bursts(words: int) -> tuple[int, ...]:
    """Return the sizes of the bursts of a run of ``words`` words."""
    whole, rest = divmod(words, BURST_BEATS)
    return (BURST_BEATS,) * whole + ((rest,) if rest else ())


class Vector:
    """The vector unit with normalisation and pooling, one descriptor after the other.

    Args:
        clock: the simulated time.
        a: shared read port of map a and of all that normalisation reads.
        b: shared read port of map b, flags, argmax indices and coefficients.
        writes: its write port.

    Attributes:
        active: a descriptor is at work.
    """

    def __init__(self, clock: Clock, a: SharedReadPort, b: SharedReadPort,
                 writes: WritePort) -> None:
        self._clock = clock
        at_a, at_b = a.unit(), b.unit()
        self._a = _Input(clock, a, at_a, MAP_QUEUE_WORDS)
        self._b = _Input(clock, b, at_b, SECOND_QUEUE_WORDS)
        self._mask = _Input(clock, b, at_b, SIDE_QUEUE_WORDS)
        self._table = _Input(clock, b, at_b, SIDE_QUEUE_WORDS)
        self._load = _Input(clock, a, at_a, MAP_QUEUE_WORDS)
        self._out = _Output(clock, writes)
        self.active = False

    def run(self, fields: Fields) -> Steps:
        """Do one descriptor; ends when its record is written."""
        self.active = True
        if fields["pre.opcode"] == Opcode.NORM:
            yield from self._norm(fields)
        elif fields["pre.opcode"] == Opcode.POOL:
            yield from self._pool(fields)
        else:
            yield from self._maps(fields)
        yield from self._out.idle()
        self._out.push(self._clock.now + RECORD_CYCLES, RECORD_WORDS)
        yield from self._out.idle()
        self.active = False
        yield self._clock.now + 2

    def _maps(self, f: Fields) -> Steps:
        """Do a VECTOR descriptor, a chunk of at most a burst of words at a time."""
        clock, out = self._clock, self._out
        images, blocks, words = f["v.v_images"], f["v.v_blocks"], f["v.v_words"]
        rows = f["v.m_words"]
        planes = images * blocks
        spread, reduce = f["v.v_spread"], f["v.v_reduce"]
        sums, write = f["v.v_sums"], f["v.v_write"]
        flags = f["v.v_flags"] and write
        masked = (f["v.v_mask_a"] or f["v.v_mask_b"]) and not f["v.v_flags"]
        table = f["v.v_table"] or f["v.v_btable"]
        factor, segments = f["v.v_factor"], 1 << f["v.k_log"] if f["v.k_log"] else 0
        late = FACTOR_CYCLES if factor else 0
        at = clock.now + FIRST_CYCLES
        self._a.begin(_planes(planes, words), at)
        lone = self._b if f["v.v_b"] and spread else None
        used = [self._a]
        if table:
            self._table.begin(_planes(blocks, BLOCK_WORDS), at)
        if segments:
            self._table.begin(_planes(segments // BLOCK_WORDS, BLOCK_WORDS), at)
        if masked:
            self._mask.begin(_planes(planes, rows), at)
        if f["v.v_b"]:
            if lone is None:
                used.append(self._b)
            self._b.begin(_planes(blocks, images) if spread else _planes(planes, words), at)
        # The unit takes a word of each map per cycle, so a chunk ends when the last word of the
        # slowest stream is there. Blocks are the outer loop: a block's coefficients are loaded
        # once.
        taken = plane = 0
        for count in range(BLOCK_WORDS, segments + 1, BLOCK_WORDS):
            # All of a curve's segments come before the first word.
            yield from self._table.wait(count)
            at = max(at + BLOCK_WORDS, self._table.cycle(count))
            if clock.now < at:
                yield at
            self._table.take(count)
        for block in range(blocks):
            if table:
                count = BLOCK_WORDS * (block + 1)
                yield from self._table.wait(count)
                at = max(at + BLOCK_WORDS, self._table.cycle(count))
                self._table.take(count)
            for image in range(images):
                left = words
                for chunk, size in enumerate(_bursts(words)):
                    left -= size
                    taken += size
                    end = at + size
                    for one in used:
                        while one.there < taken:
                            yield one.signal
                        there = one.cycle(taken)
                        if there > end:
                            end = there
                    if lone is not None:
                        # With spread one word of b serves a whole plane: it must be there before
                        # the plane's first word, and stays until its last one.
                        yield from lone.wait(plane + 1)
                        end = max(end, lone.cycle(plane + 1) + size)
                    if masked:
                        # A flag word has 16 pixels, as many as a chunk has words.
                        flag = plane * rows + chunk + 1
                        yield from self._mask.wait(flag)
                        end = max(end, self._mask.cycle(flag) + size)
                    at = end
                    if write:
                        yield from out.room()
                        if at < clock.now:
                            at = clock.now
                        if not reduce:
                            out.push(at + MATH_CYCLES + late, size)
                    if flags and (chunk % BURST_BEATS == BURST_BEATS - 1 or not left):
                        out.push(at + MATH_CYCLES, chunk % BURST_BEATS + 1)
                    if clock.now < at:
                        yield at
                    for one in used:
                        one.take(taken)
                    if lone is not None and not left:
                        lone.take(plane + 1)
                    if masked:
                        self._mask.take(flag)
                plane += 1
                if reduce and write and (image % BURST_BEATS == BURST_BEATS - 1
                                         or image == images - 1):
                    out.push(at + MATH_CYCLES + late, image % BURST_BEATS + 1)
            # The sums of a block are complete, and coefficients may change, when the pipeline is
            # empty.
            at += EMPTY_CYCLES + late
            if sums:
                at += BLOCK_WORDS - 1
                out.push(at, BLOCK_WORDS)
        if clock.now < at:
            yield at

    def _pool(self, f: Fields) -> Steps:
        """Do a POOL descriptor, stretch by stretch."""
        clock, out = self._clock, self._out
        images, back, keep = f["p.p_images"], f["p.p_back"], f["p.p_argmax"]
        self._a.begin(_planes(images, f["p.i_words"]), clock.now + FIRST_CYCLES)
        used = [(self._a, 0)]
        if back:
            self._mask.begin(_planes(images, f["p.w_words"]), clock.now + FIRST_CYCLES)
            used.append((self._mask, 0))
        at = clock.now + POOL_FIRST_CYCLES
        results = places = 0
        for part in stretches(f):
            end = at + part.cycles
            for number, count in enumerate((part.read, part.places)[:len(used)]):
                one, taken = used[number]
                if count > taken:
                    yield from one.wait(count)
                    end = max(end, one.cycle(count) + 1)
                    one.take(count)
                    used[number] = one, count
            at = end
            yield from out.room()
            at = max(at, clock.now)
            for size in runs(part.written, results, f["p.o_words"]):
                results += size
                out.push(at + POOL_MATH_CYCLES, size)
            for size in runs(part.places, places, f["p.w_words"]) if keep else ():
                places += size
                out.push(at, size)
            if clock.now < at:
                yield at
        if clock.now < at + POOL_EMPTY_CYCLES:
            yield at + POOL_EMPTY_CYCLES

    def _norm(self, f: Fields) -> Steps:
        """Do a NORM descriptor, channel block by channel block."""
        clock, out, load = self._clock, self._out, self._load
        program, blocks = NormProgram(f["n.n_program"]), f["n.n_blocks"]
        parts = 0 if program == NormProgram.FORWARD_FROZEN else f["n.n_parts"]
        runs = [BLOCK_WORDS] * parts
        if program not in GROUPED:
            runs += [CHANNELS_PER_WORD, CHANNELS_PER_WORD]
        if program != NormProgram.FORWARD_GROUP:
            runs.append(BLOCK_WORDS)
        results = _RESULTS[program]
        whole = sum(runs)
        at = clock.now + NORM_START_CYCLES
        # Two blocks are requested ahead.
        depth = 2 * whole + BURST_BEATS - BLOCK_WORDS
        load.begin((size for _ in range(blocks) for size in runs), at, depth)
        for block in range(blocks):
            count = whole * (block + 1)
            yield from load.wait(count)
            at = max(at, load.cycle(count) + NORM_LOAD_CYCLES) + program_cycles(program)
            if clock.now < at:
                yield at
            load.take(count)
            for words in results:
                # The results are written one word per cycle; the next run waits for the port to
                # take this one.
                at += words + 1
                yield from out.taken(out.push(at, words))
                at = max(at, clock.now)
        if clock.now < at:
            yield at


def unit_cycles(fields: Fields, memory: MemoryTiming) -> int:
    """Return the cycles of one VECTOR or NORM descriptor that has the memory for itself.

    They count from the start of the unit, its configuration not included, to the end of its writes.
    ``fields``: the descriptor; ``memory``: timing of the device memory.
    """
    clock = Clock()
    dram = Dram(clock, memory)
    unit = Vector(clock, SharedReadPort(clock, dram), SharedReadPort(clock, dram),
                  WritePort(clock, dram))
    clock.start(unit.run(Zeros(fields)))
    clock.run()
    return clock.now


def _planes(count: int, words: int) -> Iterable[int]:
    """Return the bursts of ``count`` planes of ``words`` words; a burst never crosses planes."""
    return chain.from_iterable(repeat(_bursts(words), count))


@cache
def program_cycles(program: NormProgram) -> int:
    """Return the cycles of a micro-program on one channel block, from its start to its results.

    An instruction issues its four channels in consecutive cycles; it waits for registers that an
    instruction before it still computes.
    """
    ready: dict[int, int] = {}
    at = 0
    for i in PROGRAMS[program]:
        if i.op == NormOp.END:
            break
        # It also waits for its own destination: results of two instructions must not come out of
        # order. FIX and PUT write output words, of which nothing is read.
        needs = [i.dst] if i.op not in (NormOp.FIX, NormOp.PUT) else []
        if i.op >= NormOp.MUL:
            needs.append(i.a)
        if i.op in (NormOp.MUL, NormOp.ADD, NormOp.SUB):
            needs.append(i.b)
        at = max([at, *(ready.get(r, 0) for r in needs)])
        if i.op not in (NormOp.FIX, NormOp.PUT):
            ready[i.dst] = at + ALU_CYCLES
        at += CHANNELS_PER_WORD
    return at + ALU_CYCLES + _IDLE_PROGRAM_CYCLES


def block_cycles(program: NormProgram) -> int:
    """Return the cycles of a normalisation per channel block if it never waits for memory."""
    return program_cycles(program) + sum(words + 1 for words in _RESULTS[program])
