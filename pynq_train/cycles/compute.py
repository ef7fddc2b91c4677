"""The array: sweeps in order, with the slots that drains take from them.

``docs/engine.md`` 5 defines sweeps; ``pt_issue`` issues their steps in hardware.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from pynq_train.cycles.address_generator import numbers_or_zeros
from pynq_train.cycles.kernel import Clock, Condition, Steps
from pynq_train.cycles.load import SLoader, XLoader
from pynq_train.hw.commands import TILE_LEVELS
from pynq_train.program.program import Fields

RELEASE_CYCLES: Final = 7
"""From a tile's last step to the X slot being free."""
FREE_CYCLES: Final = 10
"""From a chunk's last S set to its ring words being free."""
HAND_OVER_CYCLES: Final = 20
"""From a tile's last step to the drain."""
START_CYCLES: Final = 2
"""From the end of the configuration to the first step."""
_WINDOW: Final = 256
"""How far the array may be calculated ahead of the other units."""


@dataclass
class Waits:
    """Cycles that the array spent in one descriptor, by cause.

    Attributes:
        busy: steps, idle slots of short sweeps and slots of drains.
        x: waits for an X tile.
        s: waits for a chunk of S words.
        acc: waits for a free accumulator half.
        start: from the end of the descriptor before to the first tile.
    """

    busy: int = 0
    x: int = 0
    s: int = 0
    acc: int = 0
    start: int = 0

    def values(self) -> tuple[int, ...]:
        """Return all numbers, in the order of the fields."""
        return self.busy, self.x, self.s, self.acc, self.start

    def add(self, more: tuple[int, ...], times: int) -> None:
        """Add ``times`` times ``more``, the numbers of a period in the order of :meth:`values`."""
        self.busy += times * more[0]
        self.x += times * more[1]
        self.s += times * more[2]
        self.acc += times * more[3]
        self.start += times * more[4]


class Grants:
    """Array slots that drains have taken or will take, as arithmetic progressions of cycles.

    A drain reads an accumulator group in the same pipeline as a step: in its cycle the array does
    no step.
    """

    def __init__(self) -> None:
        self._runs: list[list[int]] = []

    def add(self, first: int, step: int, count: int) -> None:
        """Reserve ``count`` slots from cycle ``first`` on, ``step`` cycles apart."""
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
            # Terms first + k * step with k * step <= cycle - 1 - first.
            part = min(count, (cycle - 1 - first) // step + 1)
            total += part
            if part == count:
                self._runs.pop(0)
            else:
                run[0] += part * step
                run[2] -= part
                break
        return total


@dataclass
class Sweeps:
    """What compute needs of a descriptor.

    Attributes:
        counts: iterations of the tile levels, inner to outer.
        steps: steps of a sweep.
        sweeps: sweeps of a tile.
        period: cycles of a sweep without drains: its steps, or the shortest period of the hardware.
        chunk_sets: S sets, one per sweep, of a chunk of S words.
        chunk_words: words of a chunk.
        reuse: inner tile levels over which an X tile stays.
        reduce: inner tile levels that add to one accumulator tile.
        tiles: iterations of all tile levels.
    """

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
        """Read them from the descriptor's fields; ``sweep_min``: shortest period in cycles."""
        counts = numbers_or_zeros(fields, "pre.t", TILE_LEVELS)
        levels = numbers_or_zeros(fields, "c.l", 5)
        if fields["c.wu"]:
            steps = levels[0] * levels[1] * levels[2] * levels[3]
            sweeps = levels[4]
        else:
            steps = levels[0]
            sweeps = levels[1] * levels[2] * levels[3] * levels[4]
        return cls(counts, steps, sweeps, max(steps, sweep_min), max(fields["c.s_sets"], 1),
                   fields["c.s_chunk"], fields["c.xreuse"], fields["c.red"])

    def inner(self, levels: int) -> int:
        """Return the iterations of the inner ``levels`` tile levels together."""
        total = 1
        for count in self.counts[:levels]:
            total *= count
        return total


class Compute:
    """The array with its two accumulator halves.

    It is calculated ahead of the clock, up to ``_WINDOW`` cycles, because a sweep needs nothing
    from the other units once its operands are there.

    Args:
        clock: the simulated time.
        x: loader whose tiles it reads.
        s: loader whose ring words it reads.

    Attributes:
        tile: tile that is worked on.
        full: accumulator halves that are not released.
        began: cycle in which it had the first operands of the present descriptor.
        released: wakes when a half is free again.
        finished: cycles from which the drain can take the finished accumulator tiles, in order.
        handed: wakes when there is another one.
        grants: slots of the drains.
        at: cycle up to which the array is calculated.
        ends: called with the number of finished tiles of the descriptor after each of them.
    """

    def __init__(self, clock: Clock, x: XLoader, s: SLoader) -> None:
        self._clock = clock
        self._x = x
        self._s = s
        self.tile = 0
        self.full = 0
        self.began = 0
        self.released = Condition(clock)
        self.finished: list[int] = []
        self.handed = Condition(clock)
        self.grants = Grants()
        self._words = 0
        self.at = 0
        self.ends: Callable[[int], None] = lambda tile: None

    def release(self) -> None:
        """Free a half: the drain has read all of it."""
        self.full -= 1
        self.released.wake()

    def run(self, work: Sweeps, start: int, waits: Waits) -> Steps:
        """Work through the tiles of a descriptor from cycle ``start`` on."""
        clock, grants = self._clock, self.grants
        at = max(self.at, start)
        waits.start += at - self.at
        if clock.now < at:
            yield at
        # Drains between two descriptors take slots that nobody misses.
        grants.before(at)
        inner_x, inner_red = work.inner(work.reuse), work.inner(work.reduce)
        period, steps = work.period, work.steps
        set_number = 0
        self.tile = 0
        fresh = True
        while self.tile < work.tiles:
            tile = self.tile
            # The first iteration over a reused X tile waits for it, the last one gives it back
            # (below); the iterations between find it there.
            if tile % inner_x == 0:
                while not self._x.ready:
                    yield self._x.filled
                ready = self._x.ready.pop(0)
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
            # One S set per sweep. The first set of a chunk waits for the whole chunk, because the
            # sets of a chunk are spread over all of its words.
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
                # Let the others catch up: a drain that asks for a slot must not find the array
                # calculated too far beyond it.
                if at > clock.now + _WINDOW:
                    yield at - _WINDOW // 2
                set_number += 1
                if set_number == work.chunk_sets:
                    set_number = 0
                    self._s.free(work.chunk_words, at + FREE_CYCLES)
                end = at + period
                taken = grants.before(end)
                # A slot makes the sweep longer, and in the cycles that it gets longer there may be
                # more slots.
                while taken:
                    end += taken
                    taken = grants.before(end)
                waits.busy += end - at
                at = self.at = end
            # Drains that were granted after these sweeps had been calculated delay them now.
            # A tile ends with its last step, not with the idle slots behind it: these only delay
            # the next sweep.
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
        """Return the cycle in which the array goes on when it waits until ``until``.

        Drains that asked before the wait have delayed the array; those that come in it find it
        idle.
        """
        at += grants.before(at)
        if until <= at:
            return at
        grants.before(until)
        return until
