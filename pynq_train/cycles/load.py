"""The two loaders: X tiles into two slots, S words into the ring (``pt_tile_load``).

A loader has two halves. The address generator requests bursts as far ahead as the buffers allow;
the data side turns their words into elements, one per cycle, padding and zeros included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pynq_train.cycles.address_generator import AddressGenerator, Burst, TileRead
from pynq_train.cycles.kernel import Clock, Condition, Steps
from pynq_train.cycles.ports import Reader, ReadPort, WritePort, Writer
from pynq_train.hw.limits import RING_MARGIN
from pynq_train.hw.words import BURST_BEATS

LOOK_CYCLES: Final = 5
"""Cycles of the address generator from one tile to the next."""
RECORD_ROWS: Final = 31
"""Rows that the address generator may be ahead of the data side: the FIFO between them."""
FIRST_ELEMENT: Final = 5
"""From taking a tile to its first element, where that is padding."""
X_READY_CYCLES: Final = 4
"""From the word of a tile's last element to its announcement to compute."""
S_READY_CYCLES: Final = 3
"""From the word of a chunk's last element to its announcement to compute."""
SUM_CYCLES: Final = 22
"""Cycles in which the channel sums are written and nothing is added."""
_AHEAD: Final = 16
"""Requests that may wait in the port before a loader stops to make more."""


@dataclass
class Sums:
    """Channel sums (the bias gradient) of one weight gradient: where its data side stands.

    Attributes:
        tiles: tiles whose elements are added before the sums are written.
        rows: so often an m tile passes these tiles, once per n tile; the first time is summed.
        seen: tiles of the m tile so far.
    """

    tiles: int
    rows: int
    seen: int = 0


class _BurstPart:
    """A burst that is under way, or a tile that has none because all of it is padding.

    Attributes:
        burst: the burst, None for a tile without one.
        tile: its tile.
        take: cycle in which the tile was taken.
        base: number of the tile's first row, counted over all tiles of the loader.
        sums: channel sums of its descriptor.
        opens: the tile begins with it.
        closes: the tile ends with it.
    """

    __slots__ = ("base", "burst", "closes", "opens", "sums", "take", "tile")

    def __init__(self, burst: Burst | None, tile: TileRead, take: int, base: int,
                 sums: Sums | None, opens: bool, closes: bool) -> None:
        self.burst = burst
        self.tile = tile
        self.take = take
        self.base = base
        self.sums = sums
        self.opens = opens
        self.closes = closes


class Loader(Reader):
    """What both loaders share: tiles to requests, words to elements.

    Args:
        clock: the simulated time.
        port: its read port.

    Attributes:
        tile: next tile to request.
    """

    def __init__(self, clock: Clock, port: ReadPort) -> None:
        self._clock = clock
        self._port = port
        self.tile = 0
        self._at = 0          # cycle of the last element
        self._parts: list[_BurstPart] = []
        self._rows: list[int] = []     # rows begun
        self._by: list[int] = []       # by when
        self._passed = self._passed_by = 0
        self._base = 0        # rows of all tiles so far
        self._begun = self._ended = 0   # tiles
        self._targets: list[int] = []
        self._done = Condition(clock)

    # -- requests --------------------------------------------------------------------------------

    def request(self, generator: AddressGenerator, start: int, sums: Sums | None = None) -> Steps:
        """Request the tiles of a descriptor whose fields are complete in cycle ``start``.

        Args:
            generator: the descriptor's address generator.
            start: cycle from which it may begin.
            sums: channel sums to take, None if there are none.
        """
        self.tile = 0
        clock = self._clock
        at = start + LOOK_CYCLES
        while self.tile < generator.tiles:
            yield from self._claim()
            at = max(at, clock.now)
            tile = generator.read(self.tile)
            self.tile += 1
            self._begin(at, tile, sums)
            # The next tile is looked for while the rows of this one go out, one per cycle; each
            # iteration that reuses the tile takes a cycle of the search.
            at += max(LOOK_CYCLES + generator.skips, tile.rows + 1)
            while self._port.waiting > _AHEAD:
                yield self._port.room
        self._targets.append(self._begun)

    def finish(self) -> Steps:
        """Wait until the oldest descriptor's last element is written."""
        while self._ended < self._targets[0]:
            yield self._done
        self._targets.pop(0)
        yield self._at + 3

    def _claim(self) -> Steps:
        """Wait for a place for the next tile; the X loader needs a slot."""
        yield from ()

    def _begin(self, take: int, tile: TileRead, sums: Sums | None) -> None:
        """Request the bursts of a tile that is taken in ``take``."""
        base = self._base
        self._base += tile.rows
        self._begun += 1
        idle = not self._parts
        # A tile without bursts stands in the queue too, so that its padding comes in order.
        bursts = tile.bursts or (None,)
        last = len(bursts) - 1
        for number, burst in enumerate(bursts):
            self._parts.append(_BurstPart(burst, tile, take, base, sums, not number,
                                          number == last))
        if idle:
            self._head()
        for each in tile.bursts:
            # The run is given to the port only when the data side is at most RECORD_ROWS rows
            # behind its last row.
            self._port.ask(take + each.at, each.beats, self, base + each.row - RECORD_ROWS)
        if not tile.bursts and idle:
            self._settle()

    def _head(self) -> None:
        """Begin with the oldest burst: rows in front of its first word need no words."""
        if self._parts:
            part = self._parts[0]
            if part.burst is not None:
                self._rows.append(part.base + part.burst.opens)
                self._by.append(self._at + part.burst.zeros)

    def passed(self, row: int) -> int | None:
        """Return the cycle in which the data side has begun row ``row``; None if not known yet."""
        if row <= self._passed:
            return self._passed_by
        while self._rows:
            self._passed = self._rows.pop(0)
            self._passed_by = self._by.pop(0)
            if row <= self._passed:
                return self._passed_by
        return None

    # -- data side -------------------------------------------------------------------------------

    def arrive(self, cycle: int, beats: int) -> None:
        """Take note that the words of the oldest burst come from ``cycle`` on."""
        raise NotImplementedError

    def _take(self, part: _BurstPart, cycle: int) -> None:
        """Move on to the last word of a part that arrives in ``cycle``, and to its tile's end."""
        if part.opens:
            self._at = max(self._at, part.take + FIRST_ELEMENT - 1)
        burst = part.burst
        if burst is not None:
            # Either the data side is the slower one, an element per cycle since the last burst; or
            # it has written the zeros in front and waits for the words.
            self._at = burst.cycles + max(self._at, cycle - burst.zeros - 1)
            self._rows.append(part.base + burst.closes)
            self._by.append(self._at)
        if part.closes:
            self._at += part.tile.tail
            self._rows.append(part.base + part.tile.rows)
            self._by.append(self._at)
            self._ended += 1
            if self._targets and self._ended >= self._targets[0]:
                self._done.wake()

    def _settle(self) -> None:
        """Do what needs no words: tiles that are all padding."""
        raise NotImplementedError


class XLoader(Loader):
    """X tiles into two slots: one is computed on while the other is loaded.

    Attributes:
        occupied: slots that are being loaded or read.
        ready: cycles in which loaded tiles are announced to compute, in order.
        filled: wakes when there is another one.
    """

    def __init__(self, clock: Clock, port: ReadPort) -> None:
        super().__init__(clock, port)
        self.occupied = 0
        self.ready: list[int] = []
        self.filled = Condition(clock)
        self._free = Condition(clock)

    def _claim(self) -> Steps:
        while self.occupied >= 2:
            yield self._free
        self.occupied += 1

    def release(self) -> None:
        """Free a slot: compute has read its tile for the last time."""
        self.occupied -= 1
        self._free.wake()

    def arrive(self, cycle: int, beats: int) -> None:
        """Take note that the words of the oldest burst come from ``cycle`` on."""
        self._next(cycle)
        self._port.consumed(self._at, beats)
        self._settle()

    def _next(self, cycle: int) -> None:
        """Finish the oldest part, whose words come from ``cycle`` on."""
        part = self._parts.pop(0)
        self._take(part, cycle)
        if part.closes:
            self.ready.append(self._at + X_READY_CYCLES)
            self.filled.wake()
        self._head()

    def _settle(self) -> None:
        """Do the tiles at the head of the queue that are all padding."""
        while self._parts and self._parts[0].burst is None:
            self._next(self._clock.now)
            self._port.pump()


class SLoader(Loader):
    """S words into the ring; in the weight gradient also the channel sums.

    The ring holds one stream of words. Places are counted from the start of the program, without
    wrapping: words pushed so far, and words that fit because compute has given others back.

    Args:
        clock: the simulated time.
        port: its read port.
        sums: write port of the channel sums.
        ring_words: words of the ring.

    Attributes:
        filled: wakes when words have been pushed.
    """

    def __init__(self, clock: Clock, port: ReadPort, sums: WritePort, ring_words: int) -> None:
        super().__init__(clock, port)
        self._limit = ring_words - RING_MARGIN
        self._words = 0                      # pushed into the ring so far
        self._freed: list[tuple[int, int]] = []
        self._room = (self._limit, 0)        # words that fit, from when on
        self._before = 0                     # words that fitted before that
        self._inbox: list[tuple[int, int]] = []
        self._filled: list[tuple[int, int]] = []
        self._port_of_sums = sums
        self._writer = Writer()
        self._sums: Sums | None = None
        self.filled = Condition(clock)

    def finish(self) -> Steps:
        """Wait until the oldest descriptor's words and channel sums are written."""
        yield from super().finish()
        yield from self._port_of_sums.wait_idle(self._writer)

    def skip(self, tiles: int) -> None:
        """Pass over ``tiles`` tiles: nothing but their number changes."""
        self.tile += tiles
        if self._sums:
            self._sums.seen = (self._sums.seen + tiles) % (self._sums.tiles * self._sums.rows)

    def lead(self) -> int:
        """Return how many words the ring has got and compute has not given back."""
        return self._words - (self._freed[-1][0] if self._freed else self._room[0]) + self._limit

    def free(self, words: int, cycle: int) -> None:
        """Note that compute gives a chunk of ``words`` words back in ``cycle``."""
        before = self._freed[-1][0] if self._freed else self._room[0]
        self._freed.append((before + words, cycle))
        if self._parts and (self._inbox or self._parts[0].burst is None):
            self._clock.at(max(cycle, self._clock.now), self._settle)

    def available(self, words: int) -> int | None:
        """Return the cycle in which the first ``words`` words since the start are announced.

        None if it is not known yet.
        """
        filled = self._filled
        while filled and filled[0][0] < words:
            filled.pop(0)
        if not filled:
            return None
        # Words were pushed one per cycle up to the last one of this entry, so one that stands k
        # words before it came k cycles earlier.
        return filled[0][1] - (filled[0][0] - words) + S_READY_CYCLES

    def arrive(self, cycle: int, beats: int) -> None:
        """Take note that the words of the oldest burst come from ``cycle`` on."""
        self._inbox.append((cycle, beats))
        if len(self._inbox) == 1:
            self._settle()

    def _fits(self, words: int) -> tuple[int, int] | None:
        """Return the cycle from which the ring has room up to a total of ``words`` words.

        With it comes the total that had room before that cycle. None: compute has not given enough
        back.
        """
        before = self._before
        for total, cycle in (self._room, *self._freed):
            if total >= words:
                return cycle, before
            before = total
        return None

    def _push(self, words: int) -> None:
        """Count words that enter the ring."""
        self._words += words
        while self._room[0] < self._words:
            self._before = self._room[0]
            self._room = self._freed.pop(0)

    def _settle(self) -> None:
        """Do the oldest parts as far as their words are there and the ring has room."""
        moved = False
        while self._parts:
            part = self._parts[0]
            burst = part.burst
            if burst is not None and not self._inbox:
                break
            # The sums have one register each: a new descriptor must not add to them before those of
            # the last one are in memory.
            if part.sums is not self._sums:
                if self._port_of_sums.busy(self._writer):     # the sums of the descriptor before
                    self._port_of_sums.idle.wait(self._settle)
                    break
                self._sums = part.sums
            words = self._words + (burst.ring if burst is not None else 0)
            end = words + (part.tile.tail_ring if part.closes else 0)
            room = self._fits(words)
            last_room = room if end == words else self._fits(end)
            if room is None or last_room is None:
                break
            self._parts.pop(0)
            moved = True
            cycle, beats = self._inbox.pop(0) if burst is not None else (0, 0)
            self._at = max(self._at, room[0] - (burst.cycles if burst is not None else 0))
            self._take(part, cycle)
            if end > words:     # padding goes on word by word as far as there is room
                self._at = max(self._at, last_room[0] + end - last_room[1])
            if part.closes:
                self._sum(part)
            self._push(end - self._words)
            self._filled.append((self._words, self._at))
            self._head()
            self._port.consumed(self._at, beats)
        if moved:
            self.filled.wake()

    def _sum(self, part: _BurstPart) -> None:
        """Count the end of a tile; behind the last one that is summed write the channel sums."""
        sums = part.sums
        if sums is None:
            return
        sums.seen += 1
        if sums.seen == sums.tiles:
            self._port_of_sums.push(self._at + 6 + BURST_BEATS, BURST_BEATS, self._writer)
            # The next tile is summed as well, and must not begin while the sums leave.
            if sums.rows == 1:
                self._at += SUM_CYCLES
        if sums.seen == sums.tiles * sums.rows:
            sums.seen = 0
