"""Address generators: which bursts a tile of a loader or a segment of a writer makes, and when.

An address generator steps through the rows of a tile (``docs/engine.md`` 3; ``pt_addr_gen``); rows
that follow each other in memory become one run (``pt_load_runs``), a run becomes bursts. Cycles in
a :class:`TileRead` count from the cycle in which the tile is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pynq_train.hw.commands import TILE_LEVELS, LoadMode
from pynq_train.hw.words import (
    BURST_BEATS,
    FLAG_MASK_PIXELS,
    FLAG_UNPOOL_COLUMNS,
    SET_PIXELS,
    WORD_BYTES,
)
from pynq_train.program.program import Fields
from pynq_train.program.spans import strides_of

PAGE_BYTES: Final = 4096
"""No AXI burst may cross a multiple of this."""
FIRST_ROW: Final = 2
"""From taking a tile to its first row."""
ISSUE_CYCLES: Final = 5
"""From the row that completes a run to the run's first address."""
NEW_RUN_CYCLES: Final = 2
"""From one run's first address to the next run's, at least."""
HOLD_WORDS: Final = 64
"""A run of this many words is not extended (``pt_load_runs``)."""
HOLD_ROWS: Final = 15
"""Rows for which a run is held back to see whether the next row continues it."""
FLAG_COLUMNS = {LoadMode.MASK: FLAG_MASK_PIXELS, LoadMode.UNPOOL: FLAG_UNPOOL_COLUMNS}
"""Columns of one flag word as a loader counts them."""


@dataclass(frozen=True)
class Burst:
    """One burst of a tile.

    Attributes:
        at: cycle of its address if nothing is in the way.
        beats: words.
        zeros: cycles of the data side before its first word.
        cycles: cycles of the data side up to its last word, ``zeros`` included.
        ring: words that these cycles put into the ring.
        row: last row of the run that it belongs to.
        opens: rows that the data side has begun when it needs the first word.
        closes: rows that it has begun with the last word.
    """

    at: int
    beats: int
    zeros: int
    cycles: int
    ring: int
    row: int
    opens: int
    closes: int


@dataclass(frozen=True)
class TileRead:
    """What loading a tile means for the port and for the data side.

    Attributes:
        bursts: its bursts in order.
        tail: cycles of the data side after the last burst: padding.
        tail_ring: words that these cycles put into the ring.
        rows: rows of the tile.
    """

    bursts: tuple[Burst, ...]
    tail: int
    tail_ring: int
    rows: int


@dataclass(frozen=True)
class SegmentWrite:
    """What storing a segment means for the port and for the staging memory.

    Attributes:
        bursts: of each burst its beats, and the cycles of reading up to its last word.
        cycles: cycles of reading the whole segment.
    """

    bursts: tuple[tuple[int, int], ...]
    cycles: int


def numbers_or_zeros(fields: Fields, name: str, count: int) -> list[int]:
    """Return elements 0 .. count - 1 of a field; those that are not there are zero."""
    return [fields[f"{name}{i}"] for i in range(count)]


def signed(value: int) -> int:
    """Return a 32-bit two's complement value as a signed number."""
    value &= 0xFFFF_FFFF
    return value - (1 << 32) if value >> 31 else value


class AddressGenerator:
    """The address generator of one loader or writer with the settings of one descriptor.

    Args:
        fields: the descriptor.
        name: its section: ``x``, ``s``, ``yw``, ``yf``.
        counts: iterations of its tile loop.
        taps: weight offsets of the taps.
        joins: writers: the port joins rows that follow each other (it does not when shared).

    Attributes:
        tiles: tiles that are really loaded, reused ones not counted.
        skips: iterations between two loaded tiles in which the tile is reused.
    """

    def __init__(self, fields: Fields, name: str, counts: Sequence[int],
                 taps: Sequence[int] = (), joins: bool = True) -> None:
        self.joins = joins
        self.counts = list(counts)
        self.reuse = fields[f"{name}.reuse"]
        self.mode = LoadMode(fields[f"{name}.mode"])
        self.align = bool(fields[f"{name}.align"])
        self.n = numbers_or_zeros(fields, f"{name}.n", 4)
        self.drow = [signed(v) for v in numbers_or_zeros(fields, f"{name}.drow", 3)]
        self.fdrow = [signed(v) for v in numbers_or_zeros(fields, f"{name}.fdrow", 3)]
        self.lim = numbers_or_zeros(fields, f"{name}.lim", 4)
        self.start = numbers_or_zeros(fields, f"{name}.c", 4)
        self.taps = list(taps) if fields[f"{name}.taps"] else []
        self._addr = fields[f"{name}.addr"]
        self._faddr = fields[f"{name}.faddr"]
        levels = range(TILE_LEVELS)
        self._move = strides_of(counts, [signed(fields[f"{name}.daddr{t}"])
                                         for t in levels])
        self._fmove = strides_of(counts, [signed(fields[f"{name}.fdaddr{t}"])
                                          for t in levels])
        self._cmove = [strides_of(counts, [fields[f"{name}.dc{4 * t + i}"] for t in levels])
                       for i in range(4)]
        self.tiles = 1
        for level in range(self.reuse, TILE_LEVELS):
            self.tiles *= self.counts[level]
        self.skips = 0
        if self.reuse:
            total = 1
            for level in range(self.reuse):
                total *= self.counts[level]
            self.skips = total - 1
        # Most tiles of a descriptor differ only in their addresses: what they do is calculated once
        # for each key that decides about it.
        self._reads: dict[tuple[int, ...], TileRead] = {}
        self._writes: dict[tuple[int, ...], SegmentWrite] = {}

    def index(self, tile: int) -> list[int]:
        """Return the index of each tile level for loaded tile number ``tile``."""
        result = [0] * TILE_LEVELS
        for level in range(self.reuse, TILE_LEVELS):
            tile, result[level] = divmod(tile, self.counts[level])
        return result

    def clip(self, level: int, index: int) -> tuple[int, ...]:
        """Return the valid spans of the four coordinates at one index of a tile level.

        All other levels are taken at index 0. Tiles with equal spans are cut off alike at the
        borders of the map, and so take the same time.
        """
        spans: list[int] = []
        for i in range(4):
            at = self.start[i] + index * self._cmove[i][level]
            low, high = max(0, -at), min(self.n[i], self.lim[i] - at)
            spans += (low, high) if high > low else (0, 0)
        return tuple(spans)

    def _place(self, tile: int) -> tuple[int, int, list[int]]:
        """Return byte address, flag address and coordinates of a tile's first element."""
        index = self.index(tile)
        addr = self._addr + sum(i * m for i, m in zip(index, self._move))
        faddr = self._faddr + sum(i * m for i, m in zip(index, self._fmove))
        at = [self.start[i] + sum(k * m for k, m in zip(index, self._cmove[i])) for i in range(4)]
        return addr, faddr, at

    def read(self, tile: int) -> TileRead:
        """Return the bursts of loaded tile number ``tile``."""
        addr, faddr, at = self._place(tile)
        first = max(at[0], 0)
        end = min(at[0] + self.n[0], self.lim[0])
        spans = []
        for i in (1, 2, 3):
            spans += [max(0, -at[i]), max(0, min(self.n[i], self.lim[i] - at[i]))]
        # What decides: the valid part of the tile, and where its addresses lie within a page, since
        # pages cut bursts. With flags also where its columns lie in the flag words, and with
        # unpooling the parity of its first row.
        edge = (end - 1, first & 1) if self.mode != LoadMode.PLAIN else (0, 0)
        key = (first - at[0], end - at[0], *edge, at[1] & 1, *spans, addr % PAGE_BYTES,
               faddr % PAGE_BYTES)
        found = self._reads.get(key)
        if found is None:
            found = self._reads[key] = self._read(addr % (1 << 32), faddr % (1 << 32), at)
        return found

    def _rows(self, addr: int, faddr: int, at: Sequence[int]
              ) -> list[tuple[int, int, bool, int]]:
        """Return row address, flag address, valid, level that increments next (1..3) per row."""
        rows = []
        unpool = self.mode == LoadMode.UNPOOL
        _, n1, n2, n3 = self.n
        inside = [[0 <= at[i] + k < self.lim[i] for k in range(self.n[i])] for i in (1, 2, 3)]
        for i3 in range(n3):
            for i2 in range(n2):
                tap = self.taps[i2] * 128 if self.taps else 0
                for i1 in range(n1):
                    valid = inside[0][i1] and inside[1][i2] and inside[2][i3]
                    level = 1 if i1 < n1 - 1 else 2 if i2 < n2 - 1 else 3
                    rows.append((addr + tap, faddr, valid, level))
                    # Two rows of the unpooled map read one stored row: the address moves on after
                    # the odd one only.
                    if not (unpool and level == 1 and (at[1] + i1) % 2 == 0):
                        addr += self.drow[level - 1]
                        faddr += self.fdrow[level - 1]
        return rows

    def _read(self, addr: int, faddr: int, at: Sequence[int]) -> TileRead:
        """Calculate the bursts of a tile at addresses ``addr``, ``faddr``, coordinates ``at``."""
        n0 = self.n[0]
        first, end = max(at[0], 0), min(at[0] + n0, self.lim[0])
        before, valid = (first - at[0], end - first) if end > first else (n0, 0)
        unpool = self.mode == LoadMode.UNPOOL
        # A stored word of an unpooled map gives two columns; an odd first or last column takes its
        # whole word.
        words = 0
        if valid:
            words = ((end - 1) >> 1) - (first >> 1) + 1 if unpool else valid
        # The row address belongs to element 0 even where that lies outside the map.
        skip = (first >> 1) - (at[0] >> 1) if unpool else before
        flags = 0
        if self.mode != LoadMode.PLAIN and valid:
            flags = (end - 1) // FLAG_COLUMNS[self.mode] + 1
        rows = self._rows(addr + WORD_BYTES * skip, faddr, at)
        starts = _bursts(_runs(rows, words, flags))
        return self._data_side(rows, starts, (flags, before, valid, words))

    def _data_side(self, rows: Sequence[tuple[int, int, bool, int]],
                   starts: Sequence[tuple[int, int, int]],
                   row: tuple[int, int, int, int]) -> TileRead:
        """Assign the cycles of the data side to the bursts that it waits for.

        The data side puts out an element per cycle: the zeros of padding without any word, the
        others as their words come. Bursts pay no heed to rows, so the elements of a row may belong
        to two bursts, and a burst may hold several rows.

        Args:
            rows: as :meth:`_rows` gives them.
            starts: cycle of the address, beats and last row of each burst.
            row: flag words, zeros in front, valid elements and data words of a valid row.
        """
        flags, before, valid, words = row
        n0, n1n2 = self.n[0], self.n[1] * self.n[2]
        pad = -(n0 * n1n2) % SET_PIXELS if self.align else 0
        per_word = valid / words if words else 0
        bursts: list[Burst] = []
        number = left = zeros = opens = 0
        cycles = ring = 0.0
        if starts:
            left = starts[0][1]
        opened = False

        def take(count: int, cost: float, in_ring: float, rows_begun: int) -> None:
            """Take ``count`` words, each ``cost`` cycles and ``in_ring`` words of the ring."""
            nonlocal number, left, zeros, cycles, ring, opened, opens
            while count:
                if not opened:
                    opened, zeros, opens = True, round(cycles), rows_begun
                part = min(count, left)
                cycles += part * cost
                ring += part * in_ring
                count -= part
                left -= part
                if not left:
                    start, beats, last_row = starts[number]
                    bursts.append(Burst(start, beats, zeros, round(cycles), round(ring), last_row,
                                        opens, rows_begun))
                    # With unpooling a burst may end within a word's two elements: the fraction is
                    # kept for the next burst, so that rounding never adds up.
                    cycles -= round(cycles)
                    ring -= round(ring)
                    number += 1
                    opened = False
                    left = starts[number][1] if number < len(starts) else 0

        for index, (_, _, inside, level) in enumerate(rows):
            if inside and valid:
                if flags:
                    take(flags, 1, 0, index + 1)
                cycles += before
                ring += before
                take(words, per_word, per_word, index + 1)
                after = n0 - before - valid
                cycles += after
                ring += after
            else:
                cycles += n0
                ring += n0
            if level == 3:
                ring += pad
        return TileRead(tuple(bursts), round(cycles), round(ring), len(rows))

    def write(self, segment: int) -> SegmentWrite:
        """Return the bursts of store segment number ``segment``."""
        addr, _, at = self._place(segment)
        spans = []
        for i in range(4):
            spans += [max(0, -at[i]), max(0, min(self.n[i], self.lim[i] - at[i]))]
        key = (*spans, addr % PAGE_BYTES)
        found = self._writes.get(key)
        if found is None:
            found = self._writes[key] = self._write(addr % (1 << 32), at)
        return found

    def _write(self, addr: int, at: Sequence[int]) -> SegmentWrite:
        """Calculate the bursts of a segment at byte address ``addr`` and coordinates ``at``."""
        before = max(0, -at[0])
        valid = max(0, min(self.n[0], self.lim[0] - at[0]) - before)
        bursts: list[tuple[int, int]] = []
        cycles = held = 0
        end = -1
        offset = 0

        def cut(length: int) -> None:
            """Send the first ``length`` held words as a burst."""
            nonlocal held, offset
            # ``cycles`` is when the last held word is read; the last one of this burst is read as
            # many cycles earlier as words stay held.
            bursts.append((length, cycles - held + length))
            held -= length
            offset += WORD_BYTES * length

        for row, _, inside, _ in self._rows(addr + WORD_BYTES * before, 0, at):
            if not (inside and valid):
                continue
            # Words are held until a burst is full, the page ends or the next row does not follow.
            if held and (row != end or not self.joins):
                cut(held)
            if not held:
                offset = row
                cycles += max(0, NEW_RUN_CYCLES - valid)
            cycles += before + valid
            held += valid
            end = row + WORD_BYTES * valid
            while held:
                room = (PAGE_BYTES - offset % PAGE_BYTES) // WORD_BYTES
                if room <= min(held, BURST_BEATS):
                    cut(room)
                elif held >= BURST_BEATS:
                    cut(BURST_BEATS)
                else:
                    break
        if held:
            cut(held)
        return SegmentWrite(tuple(bursts), cycles)


def _runs(rows: Sequence[tuple[int, int, bool, int]], words: int, flags: int
          ) -> list[tuple[int, int, int, int]]:
    """Join the rows of a tile to runs: (cycle, byte address, words, last row) of each.

    Args:
        rows: as ``AddressGenerator._rows`` gives them.
        words: data words of a valid row.
        flags: flag words in front of them.
    """
    runs: list[tuple[int, int, int, int]] = []
    cycle, length, held_rows, offset = FIRST_ROW, 0, 0, 0
    for index, (addr, faddr, inside, _) in enumerate(rows):
        wants: list[tuple[int, int]] = []
        if inside and words:
            wants = [(faddr, flags), (addr, words)] if flags else [(addr, words)]
        for want, count in wants or ((0, 0),):
            if length and (length >= HOLD_WORDS or held_rows >= HOLD_ROWS):
                runs.append((cycle, offset, length, index - 1))
                length = 0
            if count:
                if length and want == offset + WORD_BYTES * length and count < 1024:
                    length += count
                else:
                    if length:
                        runs.append((cycle, offset, length, index - (0 if flags else 1)))
                    offset, length, held_rows = want, count, -1
            cycle += 1
        held_rows += 1
    if length:
        runs.append((cycle, offset, length, len(rows) - 1))
    return runs


def _bursts(runs: Sequence[tuple[int, int, int, int]]) -> list[tuple[int, int, int]]:
    """Cut runs into bursts: (cycle of the address, beats, last row of its run) of each."""
    result = []
    last = -NEW_RUN_CYCLES
    for cycle, offset, length, row in runs:
        at = max(cycle + ISSUE_CYCLES, last + NEW_RUN_CYCLES)
        while length:
            beats = min(length, BURST_BEATS, (PAGE_BYTES - offset % PAGE_BYTES) // WORD_BYTES)
            result.append((at, beats, row))
            last = at
            at += 1
            offset += WORD_BYTES * beats
            length -= beats
    return result
