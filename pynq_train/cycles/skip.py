"""Repeated periods: the end of a pass whose tiles take the same time is counted, not simulated.

Most passes repeat: after a few tiles every further one takes the same cycles. Then the positions of
all units are moved on by a number of iterations, and the cycles that these would take are added to
``Clock.skipped``. The clock itself stays: whatever is planned for a cycle remains right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pynq_train.cycles.address_generator import AddressGenerator
from pynq_train.cycles.compute import Compute, Sweeps
from pynq_train.cycles.kernel import Clock
from pynq_train.cycles.load import SLoader, XLoader
from pynq_train.cycles.ports import ReadPort, WritePort
from pynq_train.cycles.queue import GradQueue
from pynq_train.cycles.scalar import Update
from pynq_train.cycles.store import Segments, Store
from pynq_train.cycles.trace import Trace
from pynq_train.cycles.vector import Vector
from pynq_train.hw.commands import TILE_LEVELS, Unit

FEWEST = 5
"""Iterations of a level below which nothing is skipped."""
EQUAL = 2
"""Periods in a row that must take the same time."""
TOLERANCE = 1e-3
"""Part of a period by which periods that count as equal may differ."""


DRIFT_WORDS = 8
"""What the fill of the S ring may change in the periods that count as equal."""
_State = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""Words of the ports, waits of the array, fill of the buffers."""


class _Level:
    """What was seen at the last iterations of one tile level of the descriptor at work."""

    def __init__(self) -> None:
        self.times: list[int] = []
        self.states: list[_State] = []

    def clear(self) -> None:
        """Forget all iterations: they no longer follow each other."""
        self.times.clear()
        self.states.clear()


class Skippable(Protocol):
    """The engine as the skipper sees it: units whose positions it moves on."""

    clock: Clock
    traces: list[Trace]
    x: XLoader
    s: SLoader
    compute: Compute
    store: Store
    queue: GradQueue
    update: Update
    vector: Vector
    at_work: dict[Unit, int]

    @property
    def ports(self) -> Sequence[ReadPort | WritePort]:
        """All ports, those that read first."""

    def conv(self, index: int) -> tuple[AddressGenerator, AddressGenerator, Sweeps, Segments]:
        """Return X and S address generator, sweeps and segments of a convolution descriptor."""


class Skipper:
    """Watches the tiles of the array and skips what repeats."""

    def __init__(self, engine: Skippable) -> None:
        self._engine = engine
        self._levels = [_Level() for _ in range(TILE_LEVELS)]
        self._index = 0
        self._same: dict[tuple[int, int], tuple[int, int]] = {}

    def begin(self, index: int) -> None:
        """Note that compute starts descriptor ``index``."""
        self._index = index
        self._same.clear()
        for level in self._levels:
            level.clear()

    def ended(self, tiles: int) -> None:
        """Note that the array has done ``tiles`` tiles of the descriptor; skip if they repeat."""
        engine = self._engine
        work = engine.conv(self._index)[2]
        inner = 1
        for level, count in enumerate(work.counts):
            # An iteration of this level ends only with whole iterations of the levels inside it.
            if tiles % inner:
                return
            seen = self._levels[level]
            position = tiles // inner % count
            if count >= FEWEST:
                # The outer level has moved: borders may differ, so nothing before counts.
                if position == 0:
                    seen.clear()
                else:
                    seen.times.append(engine.clock.total)
                    seen.states.append(self._state())
                    if len(seen.times) > EQUAL + 1:
                        del seen.times[0], seen.states[0]
                    if len(seen.times) == EQUAL + 1 and self._try(level, inner, position):
                        for other in self._levels[: level + 1]:
                            other.clear()
                        return
            inner *= count

    def _state(self) -> _State:
        """Return what must repeat or is to be counted on: beats, waits, fill of the buffers."""
        engine = self._engine
        beats = tuple(port.beats for port in engine.ports)
        fill = (engine.s.lead(), engine.x.occupied, engine.compute.full, engine.store.data.taken,
                engine.queue.used)
        return beats, engine.traces[self._index].waits.values(), fill

    def _try(self, level: int, inner: int, position: int) -> bool:
        """Skip iterations of a level if its last periods were equal; return whether that was done.

        Args:
            level: the tile level.
            inner: tiles of one of its iterations.
            position: index of the level that comes next.
        """
        engine, times = self._engine, self._levels[level].times
        period = times[-1] - times[0]
        steps = [times[k + 1] - times[k] for k in range(EQUAL)]
        if max(steps) - min(steps) > max(1, TOLERANCE * steps[-1]) or not self._quiet():
            return False
        # Equal times are not enough: a buffer that fills a little in each period would make a later
        # one slower. Only the S ring may drift, by less than would matter.
        fills = [state[2] for state in self._levels[level].states]
        if any(fill[1:] != fills[0][1:] for fill in fills) or (
                max(fill[0] for fill in fills) - min(fill[0] for fill in fills) > DRIFT_WORDS):
            return False
        work = engine.conv(self._index)[2]
        if level < work.reduce and fills[-1][-1]:
            return False    # the update unit goes on with sums of an earlier tile
        # Tiles at the border of a map are cut off and take other times: skip only among tiles that
        # are cut off alike, and only if all periods seen were of these.
        first, end = self._equal(level, position - 1)
        if position - EQUAL < first:
            return False
        units = self._units(level, inner)
        count = work.counts[level]
        outer = (engine.compute.tile // inner) // count
        # Every unit must be in the same stretch of equal tiles, and stay in it: the one that is
        # farthest ahead decides how many iterations are left.
        times_more = end - position - 1
        for unit, at, per in units:
            if engine.at_work.get(unit) != self._index or at // (per * count) != outer:
                return False
            times_more = min(times_more, end - at // per % count - 1)
        if times_more < 2 or not self._skip_sums(level, times_more):
            return False
        self._skip(level, inner, times_more, round(period * times_more / EQUAL))
        return True

    def _quiet(self) -> bool:
        """Return whether nothing but this descriptor is at work."""
        update = self._engine.update
        if self._engine.vector.active:
            return False    # its descriptor is not repeated with the tiles
        return not update.active or (update.index == self._index)

    def _units(self, level: int, inner: int) -> list[tuple[Unit, int, int]]:
        """Return the units that move with a level: (unit, position, items per iteration)."""
        engine = self._engine
        x, _, work, segments = engine.conv(self._index)
        result = [(Unit.S, engine.s.tile, inner)]
        if level >= x.reuse:
            per = 1
            for count in work.counts[x.reuse:level]:
                per *= count
            result.append((Unit.X, engine.x.tile, per))
        if level >= work.reduce:
            per = segments.per_tile
            for count in work.counts[work.reduce:level]:
                per *= count
            result.append((Unit.STORE, engine.store.segment, per))
            result.append((Unit.STORE, engine.store.data.segment, per))
            if segments.flags:
                result.append((Unit.STORE, engine.store.flags.segment, per))
        return result

    def _equal(self, level: int, index: int) -> tuple[int, int]:
        """Return the indices first, end of the level around ``index`` that are cut off like it."""
        found = self._same.get((level, index))
        if found is not None:
            return found
        x, s, work, segments = self._engine.conv(self._index)
        generators = [(x, level), (s, level)]
        # The store unit has tile levels of its own: those outside the reduction.
        place = level - work.reduce + (3 if segments.per_tile > 1 else 0)
        if level >= work.reduce:
            stored = (segments.writes, segments.flag_writes)
            generators += [(generator, place) for generator in stored if generator]
        count = work.counts[level]

        def clips(at: int) -> tuple[tuple[int, ...], ...]:
            return tuple(generator.clip(where, at) for generator, where in generators)

        own, first, end = clips(index), index, index + 1
        while first and clips(first - 1) == own:
            first -= 1
        while end < count and clips(end) == own:
            end += 1
        for at in range(first, end):
            self._same[level, at] = (first, end)
        return first, end

    def _skip_sums(self, level: int, count: int) -> bool:
        """Pass over the update unit's work in ``count`` iterations; False: not so much is left."""
        engine = self._engine
        _, _, work, segments = engine.conv(self._index)
        if not segments.queued or level < work.reduce:
            return True
        first = engine.store.segment
        per = segments.per_tile
        for size in work.counts[work.reduce:level]:
            per *= size
        sums = engine.queue.lane_sums * sum(segments.kept(first + i) for i in range(count * per))
        return engine.update.skip(sums)

    def _skip(self, level: int, inner: int, count: int, cycles: int) -> None:
        """Pass over ``count`` iterations of a level, which would take ``cycles`` cycles.

        Beats and waits grow by ``count`` times what the last period added.
        """
        engine = self._engine
        engine.clock.skipped += cycles
        seen = self._levels[level]
        (beats, waits, _), (now_beats, now_waits, _) = seen.states[-2], seen.states[-1]
        for port, before, after in zip(engine.ports, beats, now_beats):
            port.beats += count * (after - before)
        engine.traces[self._index].waits.add(
            tuple(b - a for a, b in zip(waits, now_waits)), count)
        engine.compute.tile += count * inner
        for unit, _, per in self._units(level, inner):
            if unit == Unit.X:
                engine.x.tile += count * per
        engine.s.skip(count * inner)
        segments = engine.conv(self._index)[3]
        work = engine.conv(self._index)[2]
        if level >= work.reduce:
            per = segments.per_tile
            for size in work.counts[work.reduce:level]:
                per *= size
            engine.store.skip(count * per, segments)
