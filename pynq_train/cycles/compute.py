"""The array: sweeps in order, with the slots that drains take from them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from pynq_train.cycles.address_generator import numbers
from pynq_train.cycles.kernel import Clock, Signal, Steps
from pynq_train.cycles.load import SLoader, XLoader
from pynq_train.hw.commands import TILE_LEVELS
from pynq_train.program.program import Fields

RELEASE_CYCLES = 7
"""From a tile's last step to the free X slot."""
FREE_CYCLES = 10
"""From a chunk's last set to the free ring words."""
HAND_OVER_CYCLES = 20
"""From a tile's last step to the drain."""
START_CYCLES = 2
"""From the end of the configuration to the first step."""
_WINDOW = 256
"""How far the array may be calculated ahead of the other units."""


@dataclass
class Waits:
    """Cycles that the array spent, by cause, in one descriptor."""

    busy: int = 0
    x: int = 0
    s: int = 0
    acc: int = 0
    start: int = 0

    def values(self) -> tuple[int, ...]:
        """All numbers, in the order of the fields."""
        return self.busy, self.x, self.s, self.acc, self.start

    def add(self, more: tuple[int, ...], times: int) -> None:
        """Add ``times`` times what happened in a period."""
        self.busy += times * more[0]
        self.x += times * more[1]
        self.s += times * more[2]
        self.acc += times * more[3]
        self.start += times * more[4]


class Grants:
    """Slots that drains have taken or will take: arithmetic progressions of cycles."""

    def __init__(self) -> None:
        self._runs: deque[list[int]] = deque()

    def add(self, first: int, step: int, count: int) -> None:
        """``count`` slots from ``first`` on, ``step`` cycles apart."""
        if count > 0:
            self._runs.append([first, step, count])

    def before(self, cycle: int) -> int:
        """Take the slots before ``cycle`` and return their number."""
        total = 0
        while self._runs:
            run = self._runs[0]
            first, step, count = run
            if first >= cycle:
                break
            part = min(count, (cycle - 1 - first) // step + 1)
            total += part
            if part == count:
                self._runs.popleft()
            else:
                run[0] += part * step
                run[2] -= part
                break
        return total


@dataclass
class Sweeps:
    """What compute needs of a descriptor."""

    counts: list[int]
    steps: int
    sweeps: int
    period: int
    chunk_sets: int
    chunk_words: int
    reuse: int
    reduce: int
    tiles: int = field(init=False)

    def __post_init__(self) -> None:
        self.tiles = 1
        for count in self.counts:
            self.tiles *= count

    @classmethod
    def of(cls, fields: Fields, sweep_min: int) -> Sweeps:
        """Read them from the descriptor's fields."""
        counts = numbers(fields, "pre.t", TILE_LEVELS)
        levels = numbers(fields, "c.l", 5)
        if fields.get("c.wu", 0):
            steps = levels[0] * levels[1] * levels[2] * levels[3]
            sweeps = levels[4]
        else:
            steps = levels[0]
            sweeps = levels[1] * levels[2] * levels[3] * levels[4]
        return cls(counts, steps, sweeps, max(steps, sweep_min), max(fields["c.s_sets"], 1),
                   fields["c.s_chunk"], fields.get("c.xreuse", 0), fields.get("c.red", 0))

    def inner(self, levels: int) -> int:
        """Iterations of the inner ``levels`` tile levels."""
        total = 1
        for count in self.counts[:levels]:
            total *= count
        return total


class Compute:
    """The array with its two accumulator halves.

    Attributes:
        tile: tile that is worked on.
        full: accumulator halves that are not released.
        began: cycle in which it had the first operands of the present descriptor.
    """

    def __init__(self, clock: Clock, x: XLoader, s: SLoader) -> None:
        self._clock = clock
        self._x = x
        self._s = s
        self.tile = 0
        self.full = 0
        self.began = 0
        self.released = Signal(clock)
        self.finished: deque[int] = deque()
        self.handed = Signal(clock)
        self.grants = Grants()
        self._words = 0
        self.at = 0
        self.ends: Callable[[int], None] = lambda tile: None

    def release(self) -> None:
        """The drain has read a half."""
        self.full -= 1
        self.released.wake()

    def run(self, work: Sweeps, start: int, waits: Waits) -> Steps:
        """Work through the tiles of a descriptor from cycle ``start`` on."""
        clock, grants = self._clock, self.grants
        at = max(self.at, start)
        waits.start += at - self.at
        if clock.now < at:
            yield at
        grants.before(at)
        inner_x, inner_red = work.inner(work.reuse), work.inner(work.reduce)
        period, steps = work.period, work.steps
        set_number = 0
        self.tile = 0
        fresh = True
        while self.tile < work.tiles:
            tile = self.tile
            if tile % inner_x == 0:
                while not self._x.ready:
                    yield self._x.filled
                ready = self._x.ready.popleft()
                if ready > at:
                    at = self._stall(at, ready, grants)
                    waits.x += at - self.at
                    self.at = at
            if tile % inner_red == 0:
                if self.full >= 2:
                    while self.full >= 2:
                        yield self.released
                    if clock.now > at:
                        at = self._stall(at, clock.now, grants)
                        waits.acc += at - self.at
                        self.at = at
                self.full += 1
            for _ in range(work.sweeps):
                if set_number == 0:
                    need = self._words + work.chunk_words
                    there = self._s.available(need)
                    while there is None:
                        yield self._s.filled
                        there = self._s.available(need)
                    if there > at:
                        at = self._stall(at, there, grants)
                        waits.s += at - self.at
                        self.at = at
                    self._words = need
                if fresh:
                    self.began, fresh = at + clock.skipped, False
                if at > clock.now + _WINDOW:
                    yield at - _WINDOW // 2
                set_number += 1
                if set_number == work.chunk_sets:
                    set_number = 0
                    self._s.free(work.chunk_words, at + FREE_CYCLES)
                end = at + period
                taken = grants.before(end)
                while taken:
                    end += taken
                    taken = grants.before(end)
                waits.busy += end - at
                at = self.at = end
            # Drains that were granted after these sweeps had been calculated delay them now.
            while clock.now < at - period + steps - 1:
                yield at - period + steps - 1
                late = grants.before(at)
                waits.busy += late
                at += late
            self.at = at
            self.tile = tile + 1
            if (tile + 1) % inner_x == 0:
                clock.at(clock.now + RELEASE_CYCLES, self._x.release)
            if (tile + 1) % inner_red == 0:
                self.finished.append(clock.now + HAND_OVER_CYCLES)
                self.handed.wake()
            self.ends(tile + 1)

    @staticmethod
    def _stall(at: int, until: int, grants: Grants) -> int:
        """Wait; drains that asked before the wait have delayed the array, later ones do not."""
        at += grants.before(at)
        if until <= at:
            return at
        grants.before(until)
        return until
