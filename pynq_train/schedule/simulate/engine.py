"""The engine at work on a program: sequencer, configuration bus, units, semaphores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pynq_train.hw.commands import (
    PARAM_WORDS,
    SECTION_OF_UNIT,
    SECTIONS,
    UNITS_OF,
    Opcode,
    Semaphore,
    Unit,
)
from pynq_train.hw.config import BURST_BEATS, WORD_BYTES, HwConfig
from pynq_train.schedule.simulate.compute import START_CYCLES, Compute, Sweeps, Waits
from pynq_train.schedule.simulate.kernel import Clock, Signal, Steps
from pynq_train.schedule.simulate.load import SLoader, XLoader
from pynq_train.schedule.simulate.memory import Dram, Memory, ReadPort, WritePort
from pynq_train.schedule.simulate.scalar import Softmax, Stream, Update
from pynq_train.schedule.simulate.skip import Skipper
from pynq_train.schedule.simulate.store import Bias, Segments, Stage, Store
from pynq_train.schedule.simulate.walk import Fields, Walk, numbers

SLOTS = 4
SCAN_PHASE = 1
"""Which unit is looked at when: the sequencer looks at unit (cycle + phase) modulo units."""
BUS_CYCLES = 4
"""From the look at a unit to its start, words of the configuration not counted."""
FETCH_CYCLES = 7
PARAM_CYCLES = 6
RETIRE_CYCLES = 2
END_CYCLES = 1


@dataclass(frozen=True)
class Command:
    """One descriptor: its fields and its taps' weight offsets."""

    fields: Fields
    taps: tuple[int, ...] = ()

    @property
    def opcode(self) -> Opcode:
        """What it asks for."""
        return Opcode(self.fields["pre.opcode"])


@dataclass
class Trace:
    """What became of one descriptor.

    Attributes:
        start: cycle in which its first unit starts.
        end: cycle in which it retires.
        x_beats: words that the X port moved while the array worked on it.
        waits: how the array spent its time.
    """

    start: int = 0
    end: int = 0
    x_beats: int = 0
    waits: Waits = field(default_factory=Waits)

    @property
    def x_port_cycles(self) -> int:
        """Cycles that the X port needs for its words."""
        return self.x_beats + self.x_beats // BURST_BEATS * 2


def _words_of(unit: Unit, command: Command) -> int:
    own = sum(SECTIONS[name].words for name in SECTION_OF_UNIT[unit])
    taps = len(command.taps) if unit in (Unit.S, Unit.C) else 0
    return SECTIONS["pre"].words + own + PARAM_WORDS + taps


class Engine:
    """Everything on the chip and the memory, for one run of a program."""

    def __init__(self, commands: Sequence[Command], config: HwConfig, memory: Memory) -> None:
        self.clock = clock = Clock()
        self.commands = commands
        self.traces = [Trace() for _ in commands]
        self._config = config
        dram = Dram(clock, memory)
        self.reads = [ReadPort(clock, dram) for _ in range(config.ports)]
        self.writes = [WritePort(clock, dram) for _ in range(config.ports)]
        self.x = XLoader(clock, self.reads[0])
        self.s = SLoader(clock, self.reads[1], self.writes[1], config.s_ring_words)
        self.compute = Compute(clock, self.x, self.s)
        self.store = Store(clock, self.compute, Bias(clock, self.reads[2]),
                           Stage(clock, self.writes[0]), Stage(clock, self.writes[1]),
                           self.writes[1])
        self.update = Update(clock, self.reads[3], self.writes[3], self.writes[3])
        self.softmax = Softmax(clock, self.reads[2], self.writes[2])
        self.at_work: dict[Unit, int] = {}
        self._fetched = 0
        self._retired = 0
        self._counts = dict.fromkeys(Semaphore, 0)
        self._pending = [set(UNITS_OF[c.opcode]) for c in commands]
        self._filled = Signal(clock)
        self._moved = Signal(clock)
        self._bus_free = 0
        self._tables = 0
        self._table_free = Signal(clock)
        self._table_ready: list[int] = []
        self._table_came = Signal(clock)
        self._skipper = Skipper(self)
        self._convs: dict[int, tuple[Walk, Walk, Sweeps, Segments]] = {}

    def run(self) -> int:
        """Run the program and return its cycles."""
        self.clock.start(self._fetch())
        for unit in Unit:
            self.clock.start(self._unit(unit))
        self.clock.run()
        if self._retired != len(self.commands):
            raise RuntimeError(f"the model stopped at descriptor {self._retired}: it waits for a "
                               "signal that no earlier descriptor gives")
        return self.traces[-1].end + END_CYCLES

    def conv(self, index: int) -> tuple[Walk, Walk, Sweeps, Segments]:
        """The parts of a convolution descriptor."""
        found = self._convs.get(index)
        if found is None:
            command = self.commands[index]
            counts = numbers(command.fields, "pre.t", 5)
            found = self._convs[index] = (
                Walk(command.fields, "x", counts), Walk(command.fields, "s", counts, command.taps),
                Sweeps.of(command.fields, self._config.sweep_min_cycles),
                Segments.of(command.fields))
        return found

    # -- sequencer -------------------------------------------------------------------------------

    def _fetch(self) -> Steps:
        clock, stream = self.clock, Stream(self.clock, self.reads[2])
        last = SECTIONS["u"]
        for command in self.commands:
            while self._fetched - self._retired >= SLOTS:
                yield self._moved
            left = last.first + last.words
            asked = 0
            at = clock.now + FETCH_CYCLES
            while left:
                stream.ask(at + asked, min(left, BURST_BEATS))
                left -= min(left, BURST_BEATS)
                asked += 1
            while not stream.came:
                yield stream.signal
            head = stream.came.popleft() - BURST_BEATS
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
                at = max(at, stream.came.popleft() - 5)
            yield max(at, clock.now)
            yield clock.now + 1
            self._fetched += 1
            self._filled.wake()

    def _unit(self, unit: Unit) -> Steps:
        clock = self.clock
        for index, command in enumerate(self.commands):
            if unit not in UNITS_OF[command.opcode]:
                continue
            while self._fetched <= index:
                yield self._filled
            wait = {Unit.S: "s", Unit.Y: "y", Unit.X: "x", Unit.U: "x", Unit.F: "x"}.get(unit)
            if wait is not None:
                semaphore = Semaphore(command.fields.get(f"pre.wait_{wait}_sem", 0))
                while self._counts[semaphore] < command.fields.get(f"pre.wait_{wait}", 0):
                    yield self._moved
            if unit == Unit.PIX:
                while self._tables >= 2:
                    yield self._table_free
                self._tables += 1
            while True:
                # The sequencer looks at one unit per cycle.
                at = max(clock.now, self._bus_free)
                yield at + (unit - at - SCAN_PHASE) % len(Unit)
                if clock.now >= self._bus_free:
                    break
            words = _words_of(unit, command)
            self._bus_free = clock.now + words + 2
            self.at_work[unit] = index
            start = clock.now + BUS_CYCLES + words
            if not self.traces[index].start:
                self.traces[index].start = clock.total
            yield from self._work(unit, index, start)
            self._pending[index].discard(unit)
            if not self._pending[index]:
                clock.at(clock.now + RETIRE_CYCLES, self._retire)

    def _retire(self) -> None:
        while self._retired < len(self.commands) and not self._pending[self._retired]:
            self.traces[self._retired].end = self.clock.total
            signal = self.commands[self._retired].fields.get("pre.signal", 0)
            self._counts[Semaphore(signal)] += 1
            self._retired += 1
        self._moved.wake()

    # -- units -----------------------------------------------------------------------------------

    def _work(self, unit: Unit, index: int, start: int) -> Steps:
        command = self.commands[index]
        fields = command.fields
        if unit == Unit.U:
            yield from self.update.run(fields, start)
        elif unit == Unit.F:
            yield from self.softmax.run(fields, start, self.writes[2])
        elif unit == Unit.PIX:
            pixels = numbers(fields, "pix.p", 3)
            yield start + 1 + pixels[0] * pixels[1] * pixels[2]
            self._table_ready.append(index)
            self._table_came.wake()
        elif unit == Unit.X:
            yield from self.x.run(self.conv(index)[0], start)
        elif unit == Unit.S:
            yield from self.s.run(self.conv(index)[1], start, bool(fields.get("s.sum", 0)))
        elif unit == Unit.C:
            while index not in self._table_ready:
                yield self._table_came
            yield from self._compute(index, max(start, self.clock.now) + START_CYCLES)
        else:
            yield from self.store.run(self.conv(index)[3], start)

    def _compute(self, index: int, start: int) -> Steps:
        work = self.conv(index)[2]
        self._skipper.begin(index)
        self.compute.ends = self._skipper.ended
        beats = self.reads[0].beats
        yield from self.compute.run(work, start, self.traces[index].waits)
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
