"""Model of the address generator and of the tile loaders, from docs/engine.md section 3."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product

from pynq_train.hw.commands import LoadMode, Opcode, pack_descriptor, pair

POSITIONS = 3 << 14
"""Buffer positions wrap here: 14 bits of q."""
LANES = 4


@dataclass(frozen=True)
class Row:
    """One row of a tile: coordinates, addresses in bytes, and its place in the loops."""

    first: int
    coords: tuple[int, int, int]
    valid: bool
    addr: int
    flag_addr: int
    index: tuple[int, int, int]
    next_level: int


@dataclass(frozen=True)
class Tile:
    """One loaded tile with the indices of its tile levels, inner to outer."""

    index: tuple[int, ...]
    rows: tuple[Row, ...]


@dataclass
class Loaded:
    """What a loader does: word addresses it reads and what it writes.

    Attributes:
        reads: byte offsets of the words read, in order.
        elements: (position, word, last of tile) of every element, in order.
        gaps: ring words skipped after each element.
        sums: (byte offset, 16 sums) of every block of channel sums.
    """

    reads: list[int] = field(default_factory=list)
    elements: list[tuple[int, int, bool]] = field(default_factory=list)
    gaps: list[int] = field(default_factory=list)
    sums: list[tuple[int, list[int]]] = field(default_factory=list)


def array(values: dict[str, int], section: str, name: str, count: int) -> list[int]:
    """Elements ``name0..`` of a section; missing ones are 0."""
    return [values.get(f"{section}.{name}{i}", 0) for i in range(count)]


def loop(counts: list[int]) -> Iterator[tuple[tuple[int, ...], int]]:
    """Indices (inner to outer) of every iteration, and the level that incremented to get there."""
    for outer in product(*(range(n) for n in reversed(counts))):
        index = tuple(reversed(outer))
        yield index, next((level for level, i in enumerate(index) if i), -1)


def tiles(values: dict[str, int], section: str, woff: list[int]) -> Iterator[Tile]:
    """Tiles that are loaded, in order."""
    get = {name: values.get(f"{section}.{name}", 0)
           for name in ("addr", "faddr", "reuse", "taps", "mode")}
    counts = array(values, "pre", "t", 5)
    n = array(values, section, "n", 4)
    addr, faddr = get["addr"], get["faddr"]
    coords = array(values, section, "c", 4)
    for index, moved in loop(counts):
        if moved >= 0:
            addr += values.get(f"{section}.daddr{moved}", 0)
            faddr += values.get(f"{section}.fdaddr{moved}", 0)
            coords = [c + values.get(f"{section}.dc{4 * moved + i}", 0)
                      for i, c in enumerate(coords)]
        if any(index[: get["reuse"]]):
            continue
        yield Tile(index, tuple(_rows(values, section, n, addr, faddr, coords, woff)))


def _rows(values: dict[str, int], section: str, n: list[int], addr: int, faddr: int,
          start: list[int], woff: list[int]) -> Iterator[Row]:
    lim = array(values, section, "lim", 4)
    unpool = values.get(f"{section}.mode", 0) == LoadMode.UNPOOL
    previous_y = 0
    iterations = list(loop(n[1:]))
    for number, (index, moved) in enumerate(iterations):
        if moved >= 0 and not (unpool and moved == 0 and previous_y % 2 == 0):
            addr += values.get(f"{section}.drow{moved}", 0)
            faddr += values.get(f"{section}.fdrow{moved}", 0)
        coords = tuple(start[i + 1] + index[i] for i in range(3))
        previous_y = coords[0]
        offset = 128 * woff[index[1]] if values.get(f"{section}.taps", 0) else 0
        following = iterations[number + 1][1] if number + 1 < len(iterations) else 3
        yield Row(start[0], (coords[0], coords[1], coords[2]),
                  all(0 <= c < bound for c, bound in zip(coords, lim[1:], strict=True)),
                  addr + offset, faddr, (index[0], index[1], index[2]), following)


def lanes(word: int) -> list[int]:
    """The four signed 16-bit lanes of a word."""
    parts = [word >> 16 * i & 0xFFFF for i in range(LANES)]
    return [p - 0x10000 if p & 0x8000 else p for p in parts]


def load(values: dict[str, int], section: str, woff: list[int], memory: Callable[[int], int],
         ring: int) -> Loaded:
    """Run a loader over a descriptor; ``ring`` is the S ring's write position before it."""
    out = Loaded()
    mode = values.get(f"{section}.mode", 0)
    n0 = values[f"{section}.n0"]
    lim0 = values[f"{section}.lim0"]
    pos = [q // 4 * 3 + q % 4 for q in array(values, section, "pos", 4)]
    counts = array(values, "pre", "t", 5)
    sums = [0] * 16
    sum_off = values.get(f"{section}.sum_off", 0)
    for tile in tiles(values, section, woff):
        position = 0
        summing = values.get(f"{section}.sum", 0) and tile.index[3] == 0
        for row in tile.rows:
            columns = [x for x in range(row.first, row.first + n0) if 0 <= x < lim0 and row.valid]
            fetched: dict[int, int] = {}
            flags: list[int] = []
            if columns:
                if mode != LoadMode.PLAIN:
                    words = (columns[-1] >> (4 if mode == LoadMode.MASK else 3)) + 1
                    offsets = [row.flag_addr + 8 * k for k in range(words)]
                    out.reads += offsets
                    flags = [memory(offset) for offset in offsets]
                shift = 1 if mode == LoadMode.UNPOOL else 0
                for at in range(columns[0] >> shift, (columns[-1] >> shift) + 1):
                    offset = row.addr + 8 * (at - (row.first >> shift))
                    out.reads.append(offset)
                    fetched[at] = memory(offset)
            for k in range(n0):
                x = row.first + k
                word = 0
                if x in columns:
                    word = _element(mode, x, row.coords[0], fetched, flags)
                if summing:
                    for lane, value in enumerate(lanes(word)):
                        sums[4 * row.index[2] + lane] += value
                end = k == n0 - 1 and row.next_level == 3
                out.elements.append((position % POSITIONS, word, end))
                ring += 1
                gap = 0
                level = 0 if k < n0 - 1 else row.next_level + 1
                if values.get(f"{section}.align", 0) and level >= 3:
                    gap = -ring % 4
                    ring += gap
                out.gaps.append(gap)
                if level < 4:
                    position += pos[level]
        if summing and all(tile.index[i] == counts[i] - 1 for i in range(3)):
            out.sums.append((sum_off, sums))
            sum_off += 128
            sums = [0] * 16
    return out


def _element(mode: int, x: int, y: int, fetched: dict[int, int], flags: list[int]) -> int:
    if mode == LoadMode.PLAIN:
        return fetched[x]
    if mode == LoadMode.MASK:
        bits = flags[x >> 4] >> 4 * (x % 16) & 0xF
        keep = [bits >> lane & 1 == 1 for lane in range(LANES)]
        word = fetched[x]
    else:
        entry = flags[x >> 3] >> 16 * ((x >> 1) % 4) & 0xFFFF
        here = 2 * (y & 1) + (x & 1)
        keep = [entry >> lane & 1 == 1 and entry >> (4 + 2 * lane) & 3 == here
                for lane in range(LANES)]
        word = fetched[x >> 1]
    return sum(word & 0xFFFF << 16 * lane for lane in range(LANES) if keep[lane])


def random_addr_gen(rng: random.Random, section: str, most_words: int) -> dict[str, int]:
    """Random fields of a loader's section with at most ``most_words`` elements."""
    mode = rng.choice(list(LoadMode))
    while True:
        n = [rng.choice([1, 2, 3, 5, 8, 16, 33, 70, rng.randint(1, 40)]),
             rng.randint(1, 6), rng.randint(1, 4), rng.randint(1, 4)]
        t = [rng.choice([1, 1, 2, 3]) for _ in range(5)]
        if n[0] * n[1] * n[2] * n[3] * t[0] * t[1] * t[2] * t[3] * t[4] <= most_words:
            break
    v: dict[str, int] = {"pre.opcode": Opcode.CONV, "pre.n_taps": 16}
    v.update({f"pre.t{i}": count for i, count in enumerate(t)})
    size = {f"{section}.{name}": value for name, value in (
        ("addr", 8 * rng.randrange(1 << 20)), ("faddr", 8 * rng.randrange(1 << 20)),
        ("mode", int(mode)), ("taps", rng.randint(0, 1) if section == "s" else 0),
        ("reuse", rng.choice([0, 1, 2, 3, 5]) if section == "x" else 0),
        ("sum", rng.randint(0, 1) if section == "s" else 0),
        ("align", rng.randint(0, 1) if section == "s" else 0))}
    v.update(size)
    if section == "s":
        v["s.sum_off"] = 128 * rng.randrange(1 << 16)
    step = 8 * n[0] if rng.random() < 0.5 else 8 * rng.randint(-400, 400)
    for i in range(3):
        v[f"{section}.drow{i}"] = step if i == 0 else rng.choice([step, 8 * rng.randint(-99, 99)])
        v[f"{section}.fdrow{i}"] = 8 * rng.randint(-99, 99)
    for t_level in range(5):
        v[f"{section}.daddr{t_level}"] = 8 * rng.randint(-5000, 5000)
        v[f"{section}.fdaddr{t_level}"] = 8 * rng.randint(-5000, 5000)
        for i in range(4):
            jump = rng.choice([0, 0, 0, rng.randint(-4, 5)])
            if i == 0 and rng.random() < 0.2:
                jump = rng.choice([16, 32, -16])
            v[f"{section}.dc{4 * t_level + i}"] = jump
    open_lim = rng.random() < 0.3
    for i in range(4):
        v[f"{section}.n{i}"] = n[i]
        v[f"{section}.c{i}"] = 0 if open_lim else rng.randint(-3, 4)
        v[f"{section}.lim{i}"] = 600 if open_lim else max(1, n[i] + rng.randint(-3, 10))
        v[f"{section}.pos{i}"] = pair(rng.choice([1, 3, 7, rng.randint(-3000, 3000)]))
    pack_descriptor(v)
    return v
