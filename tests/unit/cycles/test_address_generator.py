"""Address generators of the cycle model: what they keep for the next tile, and what adds up."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from pynq_train.cycles.address_generator import FLAG_COLUMNS, PAGE_BYTES, AddressGenerator
from pynq_train.cycles.trace import Zeros
from pynq_train.hw.commands import TILE_LEVELS, LoadMode
from pynq_train.hw.words import BURST_BEATS, FLAG_UNPOOL_COLUMNS, SET_PIXELS, WORD_BYTES

NETS = 60


def drawn(mode: LoadMode, rng: np.random.Generator) -> tuple[Zeros, list[int]]:
    """Fields of a loader, and the counts of its tile loop: tiles that hang over every border."""
    pick = rng.integers
    flags = FLAG_COLUMNS.get(mode, FLAG_UNPOOL_COLUMNS)
    n = [int(pick(1, 30)), *(int(pick(1, 4)) for _ in range(3))]
    lim = [int(pick(1, flags + 9)), *(int(pick(1, 7)) for _ in range(3))]
    counts = [int(pick(1, 4)) for _ in range(3)] + [1] * (TILE_LEVELS - 3)
    fields = Zeros({"x.mode": int(mode), "x.align": int(pick(2)), "x.reuse": int(pick(3)),
                    "x.addr": WORD_BYTES * int(pick(1 << 16)),
                    "x.faddr": WORD_BYTES * int(pick(1 << 16))})
    for i in range(4):
        fields.update({f"x.n{i}": n[i], f"x.lim{i}": lim[i], f"x.c{i}": int(pick(-3, 3))})
    for i in range(3):
        # Half of the rows follow each other in memory.
        jump = WORD_BYTES * (n[0] if pick(2) else int(pick(-200, 200)))
        fields.update({f"x.drow{i}": jump, f"x.fdrow{i}": WORD_BYTES * int(pick(1, 9))})
    for t in range(3):
        # Addresses that lie alike in their pages: then only coordinates tell tiles apart.
        unit = PAGE_BYTES if pick(4) else WORD_BYTES
        fields.update({f"x.daddr{t}": unit * int(pick(-9, 9)),
                       f"x.fdaddr{t}": unit * int(pick(-9, 9))})
        for i in range(4):
            if not pick(3):
                fields[f"x.dc{4 * t + i}"] = int(pick(-2, 9 if i == 0 else 3))
    return fields, counts


def loaders(mode: LoadMode, rng: np.random.Generator) -> Iterator[tuple[Zeros, list[int]]]:
    for _ in range(NETS):
        yield drawn(mode, rng)


@pytest.mark.parametrize("mode", list(LoadMode))
def test_a_tile_is_read_alike_whatever_was_read_before(mode: LoadMode,
                                                       rng: np.random.Generator) -> None:
    kept = 0
    for fields, counts in loaders(mode, rng):
        walk = AddressGenerator(fields, "x", counts)
        for tile in range(walk.tiles):
            assert walk.read(tile) == AddressGenerator(fields, "x", counts).read(tile)
        kept += walk.tiles - len(walk._reads)
    assert kept > NETS // 2, "tiles that differ only in their address are calculated once"


@pytest.mark.parametrize("mode", list(LoadMode))
@pytest.mark.parametrize("axis", range(4))
@pytest.mark.parametrize("border", ["low", "high", "none"])
def test_tiles_with_nothing_in_common_but_their_place_in_a_page(
        mode: LoadMode, axis: int, border: str) -> None:
    """Those at a border hang over it by other widths, others begin at even and odd places."""
    n, lim = [6, 4, 5, 4], [30, 12, 11, 12]
    start = {"low": -4, "high": lim[axis] - n[axis], "none": 0}[border]
    # Rows of one tile end one page and begin the next.
    fields = Zeros({"x.mode": int(mode), "x.addr": PAGE_BYTES - 10 * WORD_BYTES,
                    "x.daddr0": PAGE_BYTES, "x.fdaddr0": PAGE_BYTES, f"x.dc{axis}": 1,
                    f"x.c{axis}": start})
    for i in range(4):
        fields.update({f"x.n{i}": n[i], f"x.lim{i}": lim[i]})
    for i in range(3):
        fields.update({f"x.drow{i}": WORD_BYTES * 3, f"x.fdrow{i}": WORD_BYTES * 3})
    counts = [5] + [1] * (TILE_LEVELS - 1)
    walk = AddressGenerator(fields, "x", counts)
    tiles = [walk.read(tile) for tile in range(walk.tiles)]
    assert tiles == [AddressGenerator(fields, "x", counts).read(tile)
                     for tile in range(walk.tiles)]
    assert border == "none" or len({sum(one.beats for one in tile.bursts) for tile in tiles}) > 2


def test_a_segment_is_written_alike_whatever_was_written_before(rng: np.random.Generator) -> None:
    for fields, counts in loaders(LoadMode.PLAIN, rng):
        for joins in (False, True):
            walk = AddressGenerator(fields, "x", counts, joins=joins)
            for tile in range(walk.tiles):
                alone = AddressGenerator(fields, "x", counts, joins=joins)
                assert walk.write(tile) == alone.write(tile)


@pytest.mark.parametrize("mode", list(LoadMode))
def test_what_a_tile_takes_adds_up(mode: LoadMode, rng: np.random.Generator) -> None:
    """An element takes a cycle, a flag word another one; what is put into the ring is all of it."""
    for fields, counts in loaders(mode, rng):
        walk = AddressGenerator(fields, "x", counts)
        for tile in range(walk.tiles):
            read, (addr, faddr, at) = walk.read(tile), walk._place(tile)
            low, high = max(at[0], 0), min(at[0] + walk.n[0], walk.lim[0])
            inside = sum(valid for _, _, valid, _ in walk._rows(addr, faddr, at))
            inside *= high > low
            flags = -(-high // FLAG_COLUMNS[mode]) if mode in FLAG_COLUMNS else 0
            stored = (high + 1) // 2 - low // 2 if mode == LoadMode.UNPOOL else high - low
            assert sum(burst.beats for burst in read.bursts) == inside * (flags + stored)
            plane = walk.n[0] * walk.n[1] * walk.n[2]
            pad = -plane % SET_PIXELS if walk.align else 0
            assert read.rows == walk.n[1] * walk.n[2] * walk.n[3]
            ring = sum(burst.ring for burst in read.bursts) + read.tail_ring
            assert ring == walk.n[3] * (plane + pad)
            cycles = sum(burst.cycles for burst in read.bursts) + read.tail
            assert cycles == walk.n[3] * plane + inside * flags
            starts = [burst.at for burst in read.bursts]
            assert starts == sorted(set(starts)), "an address per cycle"
            assert all(0 < burst.beats <= BURST_BEATS and burst.zeros <= burst.cycles
                       and burst.opens <= burst.closes <= read.rows for burst in read.bursts)


@pytest.mark.parametrize("joins", [False, True])
def test_what_a_segment_takes_adds_up(joins: bool, rng: np.random.Generator) -> None:
    for fields, counts in loaders(LoadMode.PLAIN, rng):
        walk = AddressGenerator(fields, "x", counts, joins=joins)
        for tile in range(walk.tiles):
            written, (addr, _, at) = walk.write(tile), walk._place(tile)
            words = sum(max(0, min(at[0] + walk.n[0], walk.lim[0]) - max(at[0], 0))
                        for _, _, valid, _ in walk._rows(addr, 0, at) if valid)
            assert sum(beats for beats, _ in written.bursts) == words
            assert all(0 < beats <= BURST_BEATS for beats, _ in written.bursts)
            ends = [end for _, end in written.bursts]
            assert ends == sorted(ends) and all(end <= written.cycles for end in ends)
            assert written.cycles >= words


def test_no_burst_crosses_a_page() -> None:
    """A run of three bursts that begins four words in front of one."""
    fields = Zeros({"x.addr": PAGE_BYTES - 4 * WORD_BYTES, "x.n0": 3 * BURST_BEATS,
                    "x.lim0": 3 * BURST_BEATS,
                    **{f"x.{name}{i}": 1 for name in ("n", "lim") for i in (1, 2, 3)}})
    walk = AddressGenerator(fields, "x", [1] * TILE_LEVELS)
    beats = [4, BURST_BEATS, BURST_BEATS, BURST_BEATS - 4]
    assert [burst.beats for burst in walk.read(0).bursts] == beats
    assert [count for count, _ in walk.write(0).bursts] == beats
