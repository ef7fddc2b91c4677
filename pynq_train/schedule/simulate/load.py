"""The two loaders: X tiles into two slots, S words into the ring."""

from __future__ import annotations

from collections import deque

from pynq_train.hw.config import BURST_BEATS, RING_MARGIN
from pynq_train.schedule.simulate.kernel import Clock, Signal, Steps
from pynq_train.schedule.simulate.memory import ReadPort, WritePort, Writer
from pynq_train.schedule.simulate.walk import Burst, TileRead, Walk

LOOK_CYCLES = 5
"""From one tile to the next in the row walk."""
RECORD_ROWS = 31
"""Rows that requests are ahead of the data side."""
FIRST_ELEMENT = 5
"""From taking a tile to its first element, padding."""
X_READY_CYCLES = 4
"""From an element's word to the tile's announcement to compute."""
S_READY_CYCLES = 3
"""From an element's word to the chunk's announcement to compute."""
SUM_CYCLES = 22
"""Cycles in which the channel sums are written and nothing is added."""
_AHEAD = 16


class Loader:
    """What both loaders share: tiles to requests, words to elements.

    Attributes:
        tile: next tile to request.
        finished: last element of the descriptor's last tile, when known.
    """

    def __init__(self, clock: Clock, port: ReadPort) -> None:
        self._clock = clock
        self._port = port
        self.tile = 0
        self.walk: Walk | None = None
        self.done = Signal(clock)
        self._at = 0          # cycle of the last element
        self._metas: deque[tuple[Burst | None, TileRead, int, int]] = deque()
        self._rows: deque[tuple[int, int]] = deque()   # rows begun, by when
        self._base = 0        # rows of all tiles so far
        self._passed = (0, 0)

    # -- requests --------------------------------------------------------------------------------

    def _begin(self, take: int, tile: TileRead) -> None:
        """Request the bursts of a tile that is taken in ``take``."""
        base = self._base
        self._base += tile.rows
        idle = not self._metas
        for burst in tile.bursts or (None,):
            self._metas.append((burst, tile, take, base))
        if idle:
            self._head()
        for burst in tile.bursts:
            self._port.ask(take + burst.at, burst.beats, self, base + burst.row - RECORD_ROWS)
        if not tile.bursts and idle:
            self._settle()

    def _head(self) -> None:
        """Another burst is the oldest one: the rows before its first word need no words."""
        if self._metas:
            burst, _, _, base = self._metas[0]
            if burst is not None:
                self._rows.append((base + burst.opens, self._at + burst.zeros))

    def passed(self, row: int) -> int | None:
        """Cycle in which the data side has begun row ``row``."""
        if row <= self._passed[0]:
            return self._passed[1]
        while self._rows:
            self._passed = self._rows.popleft()
            if row <= self._passed[0]:
                return self._passed[1]
        return None

    # -- data side -------------------------------------------------------------------------------

    def arrive(self, cycle: int, beats: int) -> None:
        """Words of the oldest burst come from ``cycle`` on."""
        raise NotImplementedError

    def _take(self, burst: Burst, take: int, cycle: int, opens: bool) -> int:
        """Cycle of the last word of a burst that arrives in ``cycle``."""
        if opens:
            self._at = max(self._at, take + FIRST_ELEMENT - 1)
        return max(self._at + burst.cycles, cycle + burst.cycles - burst.zeros - 1)

    def _settle(self) -> None:
        raise NotImplementedError


class XLoader(Loader):
    """X tiles into two slots."""

    def __init__(self, clock: Clock, port: ReadPort) -> None:
        super().__init__(clock, port)
        self.occupied = 0
        self.free = Signal(clock)
        self.ready: deque[int] = deque()
        self.filled = Signal(clock)
        self._fresh = True

    def run(self, walk: Walk, start: int) -> Steps:
        """Load the tiles of a descriptor whose walk starts in ``start``."""
        self.walk, self.tile = walk, 0
        clock = self._clock
        at = start + LOOK_CYCLES
        if clock.now < start:
            yield start
        while self.tile < walk.tiles:
            while self.occupied >= 2:
                yield self.free
            self.occupied += 1
            at = max(at, clock.now)
            tile = walk.read(self.tile)
            self.tile += 1
            self._begin(at, tile)
            at += max(LOOK_CYCLES + walk.skips, tile.rows + 1)
            while self._port.waiting > _AHEAD:
                yield self._port.room
        while self._metas:
            yield self.done
        yield self._at + 3

    def release(self) -> None:
        """Compute has read a tile for the last time."""
        self.occupied -= 1
        self.free.wake()

    def arrive(self, cycle: int, beats: int) -> None:
        """Words of the oldest burst come from ``cycle`` on."""
        burst, tile, take, base = self._metas.popleft()
        assert burst is not None
        self._at = self._take(burst, take, cycle, burst is tile.bursts[0])
        self._rows.append((base + burst.closes, self._at))
        if burst is tile.bursts[-1]:
            self._end(tile, base)
        self._head()
        self._port.consumed(self._at, beats)
        self._settle()

    def _end(self, tile: TileRead, base: int) -> None:
        self._at += tile.tail
        self._rows.append((base + tile.rows, self._at))
        self.ready.append(self._at + X_READY_CYCLES)
        self.filled.wake()

    def _settle(self) -> None:
        """Tiles without a word."""
        while self._metas and self._metas[0][0] is None:
            _, tile, take, base = self._metas.popleft()
            self._at = max(self._at, take + FIRST_ELEMENT - 1)
            self._end(tile, base)
            self._head()
            self._port.pump()
        if not self._metas:
            self.done.wake()


class SLoader(Loader):
    """S words into the ring; in the weight gradient also the channel sums."""

    def __init__(self, clock: Clock, port: ReadPort, sums: WritePort, ring_words: int) -> None:
        super().__init__(clock, port)
        self._limit = ring_words - RING_MARGIN
        self._words = 0                      # pushed into the ring so far
        self._freed: deque[tuple[int, int]] = deque()
        self._room = (self._limit, 0)        # words that fit, from when on
        self._inbox: deque[tuple[int, int]] = deque()
        self._filled: deque[tuple[int, int]] = deque()
        self._sums = sums
        self._writer = Writer(clock)
        self._sum_tiles = 0
        self._hold = False
        self._in_row = 0
        self.filled = Signal(clock)

    def run(self, walk: Walk, start: int, sums: bool) -> Steps:
        """Load the tiles of a descriptor whose walk starts in ``start``."""
        self.walk, self.tile = walk, 0
        self._sum_tiles = walk.counts[0] * walk.counts[1] * walk.counts[2] if sums else 0
        self._hold = bool(sums) and walk.counts[3] == 1
        self._in_row = 0
        clock = self._clock
        at = start + LOOK_CYCLES
        if clock.now < start:
            yield start
        while self.tile < walk.tiles:
            at = max(at, clock.now)
            tile = walk.read(self.tile)
            self.tile += 1
            self._begin(at, tile)
            at += max(LOOK_CYCLES + walk.skips, tile.rows + 1)
            while self._port.waiting > _AHEAD:
                yield self._port.room
        while self._metas or self._inbox:
            yield self.done
        yield self._at + 3
        while self._writer.open:
            yield self._writer.idle

    def skip(self, tiles: int) -> None:
        """Pass over tiles: nothing but their number changes."""
        self.tile += tiles
        if self._sum_tiles:
            assert self.walk is not None
            self._in_row = (self._in_row + tiles) % (self._sum_tiles * self.walk.counts[3])

    def lead(self) -> int:
        """Words that the ring has got and compute has not given back."""
        return self._words - (self._freed[-1][0] if self._freed else self._room[0]) + self._limit

    def free(self, words: int, cycle: int) -> None:
        """Compute gives a chunk back in ``cycle``."""
        before = self._freed[-1][0] if self._freed else self._room[0]
        self._freed.append((before + words, cycle))
        if self._metas and (self._inbox or self._metas[0][0] is None):
            self._clock.at(max(cycle, self._clock.now), self._work)

    def available(self, words: int) -> int | None:
        """Cycle in which ``words`` of all words so far have been announced; None: not known."""
        filled = self._filled
        while filled and filled[0][0] < words:
            filled.popleft()
        if not filled:
            return None
        return filled[0][1] - (filled[0][0] - words) + S_READY_CYCLES

    def arrive(self, cycle: int, beats: int) -> None:
        """Words of the oldest burst come from ``cycle`` on."""
        self._inbox.append((cycle, beats))
        if len(self._inbox) == 1:
            self._work()

    def _settle(self) -> None:
        if not self._inbox:
            self._work()

    def _fits(self, words: int) -> int | None:
        """Cycle from which the ring takes words up to a total of ``words``."""
        while self._room[0] < words and self._freed:
            self._room = self._freed.popleft()
        return self._room[1] if self._room[0] >= words else None

    def _work(self) -> None:
        moved = False
        while self._metas:
            burst, tile, take, base = self._metas[0]
            if burst is not None and not self._inbox:
                break
            ends = burst is None or burst is tile.bursts[-1]
            words = (burst.ring if burst is not None else 0) + (tile.tail_ring if ends else 0)
            room = self._fits(self._words + words)
            if room is None:
                break
            self._metas.popleft()
            moved, taken = True, 0
            if burst is not None:
                cycle, beats = self._inbox.popleft()
                self._at = max(self._take(burst, take, cycle, burst is tile.bursts[0]), room)
                self._rows.append((base + burst.closes, self._at))
                taken += beats
            else:
                self._at = max(self._at, take + FIRST_ELEMENT - 1, room)
            if ends:
                self._at += tile.tail
                self._rows.append((base + tile.rows, self._at))
                self._sum()
            self._head()
            self._port.consumed(self._at, taken)
            self._words += words
            self._filled.append((self._words, self._at))
        if moved:
            self.filled.wake()
        if not self._metas:
            self.done.wake()

    def _sum(self) -> None:
        """The end of a tile: perhaps the channel sums are written."""
        if not self._sum_tiles:
            return
        assert self.walk is not None
        self._in_row += 1
        if self._in_row == self._sum_tiles:
            self._sums.push(self._at + 6 + BURST_BEATS, BURST_BEATS, self._writer)
            if self._hold:
                self._at += SUM_CYCLES
        if self._in_row == self._sum_tiles * self.walk.counts[3]:
            self._in_row = 0
