"""Parts of the literal engine interpreter: loops, integers, memory, address generators."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pynq_train.hw.commands import LoadMode

MASK32 = (1 << 32) - 1
MASK48 = (1 << 48) - 1


class Violation(AssertionError):
    """A schedule breaks a rule of the engine."""


def signed48(value: int) -> int:
    value &= MASK48
    return value - (1 << 48) if value >> 47 else value


def rne(value: int, shift: int) -> int:
    """Right shift rounding to nearest, ties to even."""
    if shift <= 0:
        return value << -shift
    floor = value >> shift
    rest, half = value - (floor << shift), 1 << (shift - 1)
    return floor + (1 if rest > half or (rest == half and floor & 1) else 0)


def sign16(value: int) -> int:
    return value - (1 << 16) if value >> 15 else value


def unpair(value: int) -> int:
    q = value >> 2
    r = value & 3
    if r == 3:
        raise Violation("ternary pair with remainder 3")
    return 3 * (q - (1 << 14) if q >> 13 else q) + r


class Affine:
    """A variable moved by jump deltas."""

    def __init__(self, start: int, deltas: list[int]) -> None:
        self.value, self.deltas = start, deltas

    def step(self, level: int) -> None:
        self.value += self.deltas[level]


def nest(counts: list[int]) -> Iterator[tuple[tuple[int, ...], int]]:
    """Yield (indices inner to outer, level that increments next or -1 at the end)."""
    if min(counts) < 1:
        raise Violation(f"loop counts {counts}")
    index = [0] * len(counts)
    while True:
        level = next((i for i, c in enumerate(counts) if index[i] < c - 1), -1)
        yield tuple(index), level
        if level < 0:
            return
        index[level] += 1
        for i in range(level):
            index[i] = 0


class Memory:
    """The arena; every access is checked against its end."""

    def __init__(self, arena: np.ndarray) -> None:
        self.arena = arena
        self.words = arena.view(np.uint64)
        self.words_read = 0
        self.words_written = 0

    def load(self, addr: int) -> int:
        addr &= MASK32
        if addr % 8 or addr + 8 > self.arena.nbytes:
            raise Violation(f"read of word at {addr:#x}")
        self.words_read += 1
        return int(self.words[addr >> 3])

    def store(self, addr: int, value: int) -> None:
        addr &= MASK32
        if addr % 8 or addr + 8 > self.arena.nbytes:
            raise Violation(f"write of word at {addr:#x}")
        self.words_written += 1
        self.words[addr >> 3] = np.uint64(value & ((1 << 64) - 1))


class AddressGenerator:
    """Address generator of section ``name``: tile state, then rows (section 3)."""

    def __init__(self, d: dict[str, int], name: str, counts: list[int],
                 taps: list[dict[str, int]]) -> None:
        def get(field: str, n: int) -> list[int]:
            return [d[f"{name}.{field}{i}"] for i in range(n)]

        self.n, self.lim, self.c0 = get("n", 4), get("lim", 4), get("c", 4)
        self.drow, self.pos = get("drow", 3), get("pos", 4)
        self.mode = LoadMode(d[f"{name}.mode"])
        self.use_taps, self.taps = d[f"{name}.taps"], taps
        self.align, self.sum = d[f"{name}.align"], d[f"{name}.sum"]
        self.reuse = d[f"{name}.reuse"]
        self.addr = Affine(d[f"{name}.addr"], get("daddr", 5))
        self.coords = [Affine(self.c0[k], [d[f"{name}.dc{4 * t + k}"] for t in range(5)])
                       for k in range(4)]
        self.faddr = Affine(0, [0] * 5)
        self.fdrow = [0] * 3
        if name in ("x", "s"):
            self.faddr = Affine(d[f"{name}.faddr"], get("fdaddr", 5))
            self.fdrow = get("fdrow", 3)
        self.counts = counts

    def step(self, level: int) -> None:
        for variable in (self.addr, self.faddr, *self.coords):
            variable.step(level)

    def rows(self) -> Iterator[tuple[tuple[int, ...], int, int, int, bool]]:
        """Yield (row indices, level that increments, address, flag address, valid)."""
        addr, faddr = self.addr.value, self.faddr.value
        c = [v.value for v in self.coords]
        for index, level in nest(self.n[1:]):
            at = [c[k + 1] + index[k] for k in range(3)]
            valid = all(0 <= at[k] < self.lim[k + 1] for k in range(3))
            extra = self.taps[index[1]]["woff"] * 128 if self.use_taps else 0
            yield index, level, addr + extra, faddr, valid
            if level >= 0:
                if level == 0 and self.mode == LoadMode.UNPOOL and at[0] % 2 == 0:
                    continue
                addr += self.drow[level]
                faddr += self.fdrow[level]


def load_tile(mem: Memory, w: AddressGenerator) -> Iterator[tuple[tuple[int, ...], int, int, int]]:
    """Yield (row indices, level, k, word) of a tile, level -2 inside a row."""
    c0, c1 = w.coords[0].value, w.coords[1].value
    if w.mode != LoadMode.PLAIN and not (c0 <= 0 or c0 % 16 == 0):
        raise Violation(f"flags with first column {c0}")
    for index, level, addr, faddr, valid in w.rows():
        row = c1 + index[0]
        for k in range(w.n[0]):
            x, word = c0 + k, 0
            if valid and 0 <= x < w.lim[0]:
                if w.mode == LoadMode.UNPOOL:
                    word = mem.load(addr + 8 * ((x >> 1) - (c0 >> 1)))
                    flag = mem.load(faddr + 8 * (x >> 3)) >> 16 * ((x >> 1) % 4)
                    keep = [bool(flag >> lane & 1)
                            and flag >> 4 + 2 * lane & 3 == 2 * (row & 1) + (x & 1)
                            for lane in range(4)]
                else:
                    word = mem.load(addr + 8 * k)
                    keep = [True] * 4
                    if w.mode == LoadMode.MASK:
                        flag = mem.load(faddr + 8 * (x >> 4)) >> 4 * (x % 16)
                        keep = [bool(flag >> lane & 1) for lane in range(4)]
                for lane in range(4):
                    if not keep[lane]:
                        word &= ~(0xFFFF << 16 * lane)
            yield index, level if k == w.n[0] - 1 else -2, k, word


def lanes(word: int) -> list[int]:
    return [sign16(word >> 16 * i & 0xFFFF) for i in range(4)]
