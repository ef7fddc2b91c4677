"""The engine at work on a program: sequencer, configuration bus, units and semaphores.

``docs/engine.md`` 7 and 8 define the order of descriptors, ``pt_sequencer`` does it in hardware.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pynq_train.cycles.address_generator import AddressGenerator, numbers_or_zeros
from pynq_train.cycles.compute import START_CYCLES, Compute, Sweeps
from pynq_train.cycles.dram import Dram
from pynq_train.cycles.kernel import Clock, Condition, Steps
from pynq_train.cycles.load import SLoader, Sums, XLoader
from pynq_train.cycles.ports import ReadPort, SharedReadPort, WritePort
from pynq_train.cycles.queue import GradQueue
from pynq_train.cycles.scalar import Softmax, Stream, Update
from pynq_train.cycles.skip import Skipper
from pynq_train.cycles.store import Bias, Segments, Stage, Store
from pynq_train.cycles.trace import Command, Trace
from pynq_train.cycles.vector import Vector
from pynq_train.hw.commands import (
    PARAM_WORDS,
    SECTION_OF_UNIT,
    SECTIONS,
    TAPPED,
    UNITS_OF,
    WAIT_OF,
    Opcode,
    Semaphore,
    Unit,
)
from pynq_train.hw.config import FETCH_AHEAD, FETCH_REST_CYCLES, HwConfig
from pynq_train.hw.memory_timing import MemoryTiming
from pynq_train.hw.words import BURST_BEATS, CHANNELS_PER_WORD, WORD_BYTES


@dataclass(frozen=True)
class EngineBuild:
    """What differs between builds of the engine.

    Attributes:
        slots: descriptors under way at once.
        early: units take the next descriptor's fields while they work on the present one.
        own_order: semaphores count in the order of their own descriptors, not at retirement.
        copy_port: number of the write port of the 16-bit weight copies.
    """

    slots: int
    early: bool
    own_order: bool
    copy_port: int


FIRST = EngineBuild(4, False, False, 3)
OVERLAPPED = EngineBuild(16, True, True, 2)
BUILD = OVERLAPPED
"""The build that predictions are made for."""
EARLY_UNITS = frozenset({Unit.X, Unit.S, Unit.COMPUTE, Unit.STORE})
"""Units that can hold the fields of a second descriptor (see :attr:`EngineBuild.early`)."""
RECORDER = {Opcode.CONV: Unit.STORE, Opcode.GRADIENT: Unit.UPDATE, Opcode.UPDATE: Unit.UPDATE,
            Opcode.SOFTMAX: Unit.SOFTMAX, Opcode.VECTOR: Unit.VECTOR, Opcode.NORM: Unit.VECTOR,
            Opcode.POOL: Unit.VECTOR}
"""Which unit writes the record of an opcode."""
RECORD_CYCLES = 28
"""From the beginning of a record to its acknowledgement."""
SCAN_PHASE = 7
"""Which unit is looked at when: the sequencer looks at unit (cycle + phase) modulo units."""
BUS_CYCLES = 4
"""From the look at a unit to its start, words of the configuration not counted."""
FETCH_CYCLES = 7
"""From the decision to fetch a descriptor to the address of its first burst."""
PARAM_CYCLES = 6
"""From a descriptor's prefix to the address of its step-block entry."""
RETIRE_CYCLES = 2
"""From the end of a descriptor's last unit to its count at a semaphore."""
END_CYCLES = 1
"""From the retirement of the last descriptor to the end of the run."""


class Line:
    """The queue of descriptors inside a unit: what is left to do for them is done in order.

    Attributes:
        busy: descriptors that the unit has been given and has not finished.
    """

    def __init__(self, clock: Clock) -> None:
        self.busy = 0
        self._entered = self._left = 0
        self._free = Condition(clock)

    def enter(self) -> Steps:
        """Wait for the descriptors in front."""
        number = self._entered
        self._entered += 1
        while self._left < number:
            yield self._free

    def leave(self) -> None:
        """Let the next descriptor go on: the oldest one is through."""
        self._left += 1
        self._free.wake()


def _words_of(unit: Unit, command: Command) -> int:
    """Return how many words the configuration bus carries to a unit for a descriptor."""
    own = sum(SECTIONS[name].words for name in SECTION_OF_UNIT[unit])
    taps = len(command.taps) if unit in TAPPED else 0
    return SECTIONS["pre"].words + own + PARAM_WORDS + taps


class Engine:
    """Everything on the chip and the memory, for one run of a program.

    Args:
        commands: descriptors of the program in order.
        config: sizes of the engine's buffers.
        memory: timing of the device memory.
        build: build of the engine (default: :data:`BUILD`).

    Attributes:
        traces: what became of each descriptor, filled during the run.
        at_work: descriptor that each unit has started last, by its index.
    """

    def __init__(self, commands: Sequence[Command], config: HwConfig, memory: MemoryTiming,
                 build: EngineBuild | None = None) -> None:
        self.clock = clock = Clock()
        self.commands = commands
        self.traces = [Trace() for _ in commands]
        self._config = config
        self._build = build or BUILD
        dram = Dram(clock, memory)
        x, s, side, elementwise = (ReadPort(clock, dram), ReadPort(clock, dram),
                                   SharedReadPort(clock, dram), SharedReadPort(clock, dram))
        self.reads = (x, s, side, elementwise)
        self.writes = [WritePort(clock, dram) for _ in range(config.ports)]
        self.queue = GradQueue(clock, config.grad_words, CHANNELS_PER_WORD * config.tm)
        self.x = XLoader(clock, x)
        self.s = SLoader(clock, s, self.writes[1], config.s_ring_words)
        self.compute = Compute(clock, self.x, self.s)
        self.store = Store(clock, self.compute, Bias(clock, side, config.tm),
                           (Stage(clock, self.writes[0]), Stage(clock, self.writes[1])),
                           self.writes[1], self.queue)
        self.update = Update(clock, elementwise, self.writes[3],
                             self.writes[self._build.copy_port], self.queue)
        self.softmax = Softmax(clock, side, self.writes[2])
        self.vector = Vector(clock, elementwise, side, self.writes[3])
        self._program = Stream(clock, side)
        self.at_work: dict[Unit, int] = {}
        self._fetched = 0
        self._retired = 0
        self._on_retired: Callable[[], object] | None = None
        self._counts = dict.fromkeys(Semaphore, 0)
        self._counted = dict.fromkeys(Semaphore, 0)   # descriptors that each has passed
        self._pending = [set(UNITS_OF[c.opcode]) for c in commands]
        self._filled = Condition(clock)
        self._moved = Condition(clock)
        self._bus_free = 0
        self._waiting: dict[Unit, list[tuple[int, int]]] = {unit: [] for unit in Unit}
        self._taken = {unit: Condition(clock) for unit in Unit}
        self._given = {unit: Condition(clock) for unit in Unit}
        self._lines: dict[Unit, Line] = {unit: Line(clock) for unit in Unit}
        self._stored = 0
        self._tables = 0
        self._table_free = Condition(clock)
        self._table_ready: list[int] = []
        self._table_came = Condition(clock)
        self._skipper = Skipper(self)
        self._convs: dict[int, tuple[AddressGenerator, AddressGenerator, Sweeps, Segments]] = {}

    def run(self, retired: Callable[[], object] | None = None) -> int:
        """Run the program and return its cycles.

        ``retired`` is called for each descriptor that has retired: large programs take a while.

        Raises:
            RuntimeError: a descriptor waits for a semaphore that nothing in front of it signals.
        """
        self._on_retired = retired
        self.clock.start(self._fetch())
        for unit in Unit:
            self.clock.start(self._configure(unit))
            self.clock.start(self._work_off(unit))
        self.clock.run()
        if self._retired != len(self.commands):
            raise RuntimeError(f"the model stopped at descriptor {self._retired}: it waits for a "
                               "signal that no earlier descriptor gives")
        return self.traces[-1].end + END_CYCLES

    def conv(self, index: int) -> tuple[AddressGenerator, AddressGenerator, Sweeps, Segments]:
        """Return X and S address generator, sweeps and segments of a convolution descriptor."""
        found = self._convs.get(index)
        if found is None:
            command = self.commands[index]
            counts = numbers_or_zeros(command.fields, "pre.t", 5)
            found = self._convs[index] = (
                AddressGenerator(command.fields, "x", counts),
                AddressGenerator(command.fields, "s", counts, command.taps),
                Sweeps.of(command.fields, self._config.sweep_min_cycles),
                Segments.of(command.fields, self._config.tm))
        return found

    # -- sequencer -------------------------------------------------------------------------------

    def _fetch(self) -> Steps:
        """Fetch descriptors, one after the other, as far ahead as there are slots."""
        clock, stream = self.clock, self._program
        last, rested = SECTIONS["u"], 0
        for command in self.commands:
            while self._fetched - self._retired >= self._build.slots:
                yield self._moved
            # With enough descriptors inside, the next fetch can wait: at the start of a program it
            # would only take memory bandwidth away from the first layers.
            if self._fetched - self._retired >= FETCH_AHEAD and clock.now < rested:
                clock.at(rested, self._moved.wake)
                while self._fetched - self._retired >= FETCH_AHEAD and clock.now < rested:
                    yield self._moved
            left = last.first + last.words
            asked = 0
            at = clock.now + FETCH_CYCLES
            while left:
                stream.ask(at + asked, min(left, BURST_BEATS), left > BURST_BEATS)
                left -= min(left, BURST_BEATS)
                asked += 1
            while not stream.came:
                yield stream.signal
            # The prefix, in the first burst, says where the step-block entry and the taps are, so
            # they are requested before the rest of the descriptor is there.
            head = stream.came.pop(0) - BURST_BEATS
            yield max(head, clock.now)
            stream.ask(clock.now + PARAM_CYCLES, PARAM_WORDS)
            asked += 1
            taps = len(command.taps)
            while taps:
                stream.ask(clock.now + PARAM_CYCLES + 2, min(taps, BURST_BEATS))
                taps -= min(taps, BURST_BEATS)
                asked += 1
            at = clock.now
            for _ in range(asked - 1):
                while not stream.came:
                    yield stream.signal
                at = max(at, stream.came.pop(0) - 5)
            yield max(at, clock.now)
            yield clock.now + 1
            self._fetched += 1
            rested = clock.now + FETCH_REST_CYCLES
            self._filled.wake()

    def _configure(self, unit: Unit) -> Steps:
        """Give a unit its descriptors over the configuration bus."""
        clock, waiting = self.clock, self._waiting[unit]
        early = self._build.early and unit in EARLY_UNITS
        for index, command in enumerate(self.commands):
            if unit not in UNITS_OF[command.opcode]:
                continue
            while self._fetched <= index:
                yield self._filled
            # The pixel table and compute obey no semaphore: they work on what the loaders bring.
            wait = WAIT_OF.get(unit)
            if wait is not None:
                semaphore = Semaphore(command.fields[f"pre.wait_{wait}_sem"])
                while self._counts[semaphore] < command.fields[f"pre.wait_{wait}"]:
                    yield self._moved
            while waiting or (not early and self._lines[unit].busy):
                yield self._taken[unit]
            # Two pixel tables: one is read by compute while the other is filled.
            if unit == Unit.PIX:
                while self._tables >= 2:
                    yield self._table_free
                self._tables += 1
            while True:
                # The sequencer looks at one unit per cycle.
                at = max(clock.now, self._bus_free)
                yield at + (unit - at - SCAN_PHASE) % len(Unit)
                # Another unit may have taken the bus while this one waited for its turn: then it
                # waits for the next.
                if clock.now >= self._bus_free:
                    break
            words = _words_of(unit, command)
            self._bus_free = clock.now + words + 2
            waiting.append((index, clock.now + BUS_CYCLES + words))
            self._lines[unit].busy += 1
            self._given[unit].wake()

    def _work_off(self, unit: Unit) -> Steps:
        """Let a unit work through the descriptors that it was given."""
        clock, waiting = self.clock, self._waiting[unit]
        for index, command in enumerate(self.commands):
            if unit not in UNITS_OF[command.opcode]:
                continue
            while not waiting:
                yield self._given[unit]
            start = waiting[0][1]
            if clock.now < start:
                yield start
            waiting.pop(0)
            self._taken[unit].wake()
            self.at_work[unit] = index
            trace = self.traces[index]
            if not trace.start:
                trace.start = clock.total
            if unit == RECORDER.get(command.opcode):
                trace.stamps = clock.total, 0
            yield from self._work(unit, index, start)

    def _end(self, unit: Unit, index: int) -> None:
        """Note that a unit has finished a descriptor; with the last unit it retires."""
        if unit == RECORDER.get(self.commands[index].opcode):
            trace = self.traces[index]
            trace.stamps = trace.stamps[0], self.clock.total - RECORD_CYCLES
        self._lines[unit].busy -= 1
        self._taken[unit].wake()
        self._pending[index].discard(unit)
        if not self._pending[index]:
            self.clock.at(self.clock.now + RETIRE_CYCLES, self._retire)

    def _behind(self, unit: Unit, index: int, rest: Steps) -> None:
        """Run what a unit has left of a descriptor, in order, while it begins the next one."""
        def steps() -> Steps:
            yield from self._lines[unit].enter()
            yield from rest
            self._end(unit, index)
            self._lines[unit].leave()
        self.clock.start(steps())

    def _retire(self) -> None:
        """Count finished descriptors: retire the oldest ones, and signal their semaphores."""
        while self._retired < len(self.commands) and not self._pending[self._retired]:
            self.traces[self._retired].end = self.clock.total
            self._retired += 1
            if self._on_retired is not None:
                self._on_retired()
        for semaphore in Semaphore:
            at = self._counted[semaphore]
            last = len(self.commands) if self._build.own_order else self._retired
            # A semaphore counts its own descriptors in order. With ``own_order`` it passes over
            # those of other semaphores, finished or not.
            while at < last:
                mine = self.commands[at].fields["pre.signal"] == semaphore
                if mine and self._pending[at]:
                    break
                self._counts[semaphore] += mine
                at += 1
            self._counted[semaphore] = at
        self._moved.wake()

    # -- units -----------------------------------------------------------------------------------

    def _work(self, unit: Unit, index: int, start: int) -> Steps:
        """Let a unit do one descriptor, whose fields are complete in cycle ``start``."""
        fields = self.commands[index].fields
        if unit == Unit.UPDATE:
            self.clock.start(self.update.reads(fields))
            yield from self.update.run(fields, index)
            self._end(unit, index)
        elif unit == Unit.SOFTMAX:
            yield from self.softmax.run(fields)
            self._end(unit, index)
        elif unit == Unit.VECTOR:
            yield from self.vector.run(fields)
            self._end(unit, index)
        elif unit == Unit.PIX:
            pixels = numbers_or_zeros(fields, "pix.p", 3)
            yield start + 1 + pixels[0] * pixels[1] * pixels[2]
            self._table_ready.append(index)
            self._table_came.wake()
            self._end(unit, index)
        # Loaders and store unit begin the next descriptor while words of this one are still on
        # their way: what is left runs behind, in a process of its own.
        elif unit == Unit.X:
            yield from self.x.request(self.conv(index)[0], start)
            self._behind(unit, index, self.x.finish())
        elif unit == Unit.S:
            generator = self.conv(index)[1]
            sums = None
            if fields["s.sum"]:
                counts = generator.counts
                sums = Sums(counts[0] * counts[1] * counts[2], counts[3])
            yield from self.s.request(generator, start, sums)
            self._behind(unit, index, self.s.finish())
        elif unit == Unit.COMPUTE:
            while index not in self._table_ready:
                yield self._table_came
            yield from self._compute(index, self.clock.now + START_CYCLES)
            self._end(unit, index)
        else:
            segments = self.conv(index)[3]
            self._behind(unit, index, self.store.back(segments, self._stored))
            self._stored += 1
            yield from self.store.front(segments, start)

    def _compute(self, index: int, start: int) -> Steps:
        """Let the array do one descriptor, and count what it did in the descriptor's trace."""
        work = self.conv(index)[2]
        self._skipper.begin(index)
        self.compute.ends = self._skipper.ended
        beats = self.reads[0].beats
        yield from self.compute.run(work, start, self.traces[index].waits)
        self.traces[index].array = self.compute.began, self.clock.total
        self.traces[index].x_beats = self.reads[0].beats - beats
        self._table_ready.remove(index)
        self._tables -= 1
        self._table_free.wake()

    @property
    def ports(self) -> list[ReadPort | WritePort]:
        """All ports, both ways."""
        return [*self.reads, *self.writes]

    @property
    def bytes_read(self) -> int:
        """Bytes read so far."""
        return WORD_BYTES * sum(port.beats for port in self.reads)

    @property
    def bytes_written(self) -> int:
        """Bytes written so far."""
        return WORD_BYTES * sum(port.beats for port in self.writes)
