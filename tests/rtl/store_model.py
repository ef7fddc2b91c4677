"""Random descriptors of the store unit and what they must leave (docs/engine.md section 6)."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from addr_gen_model import array, loop, tiles

from pynq_train.hw.commands import (
    PARAM_INDEX,
    SECTION_OF_UNIT,
    SECTIONS,
    Opcode,
    Unit,
    pack_descriptor,
    pack_params,
)

HALF_GROUPS = 256
STAGE_SLOT_WORDS = 4096
ROWS_M = 16
LANES_P = 3
M48 = (1 << 48) - 1
BIAS_OFF = 1 << 28
RECORD_OFF = 1 << 29
FLAG_OFF = 1 << 27
DATA_OFF = 1 << 20
PLACES = 8
"""Descriptors that follow each other write to different places."""

Group = list[list[int]]
"""48-bit sums of one accumulator group: [p][m]."""


def jumps(strides: list[int], counts: list[int]) -> list[int]:
    """Jump deltas of an affine variable."""
    return [stride - sum((counts[k] - 1) * strides[k] for k in range(level))
            for level, stride in enumerate(strides)]


def rne(value: int, shift: int) -> int:
    """Round ``value / 2**shift`` to the nearest integer, halves to even; exact for shift <= 0."""
    if shift <= 0:
        return value << -shift
    low, whole = value & ((1 << shift) - 1), value >> shift
    half = 1 << (shift - 1)
    return whole + (low > half or (low == half and whole & 1 == 1))


def wrap48(value: int) -> int:
    """Two's complement of 48 bit."""
    value &= (1 << 48) - 1
    return value - (1 << 48) if value >> 47 else value


@dataclass
class Case:
    """One descriptor: its kind, fields, step-block entry, accumulator tiles, bias masters."""

    kind: str
    values: dict[str, int]
    shift: int
    bias_shift: int
    tiles: list[list[Group]]
    limit: int = 1 << 15
    memory: dict[int, int] = field(default_factory=dict)
    words: int = 0


class Model:
    """The store unit, word by word.

    Attributes:
        memory: what it wrote, without words 2 and 3 of the record.
        segments: raw segments: kept lanes (bit p) and sums by (ch, p, m).
    """

    def __init__(self, case: Case) -> None:
        """Run the descriptor."""
        self.case, self.v = case, case.values
        self.memory: dict[int, int] = {}
        self.measure = self.saturations = 0
        v = self.v
        self.y = array(v, "y", "y", 5)
        self.segments: list[tuple[int, dict[tuple[int, int, int], int]]] = []
        store = dict(v)
        store.update({f"pre.t{i}": n for i, n in enumerate(self.y)})
        data_tiles = [] if v.get("y.raw") else list(tiles(store, "yw", []))
        flag_tiles = (list(tiles(store, "yf", []))
                      if v.get("y.flags") and not v.get("y.raw") else [])
        coords = array(v, "y", "yc", 4)
        bias_off = v.get("y.bias_off", 0)
        tile = iter(case.tiles)
        base = 0
        for number, (index, moved) in enumerate(loop(self.y)):
            if moved >= 0:
                coords = [c + v.get(f"y.ydc{4 * moved + i}", 0) for i, c in enumerate(coords)]
                bias_off += v.get(f"y.dbias{moved}", 0)
            if not any(index[: v.get("y.segs", 0)]):
                self.groups = next(tile)
                base = 0
            self.stage: dict[int, int] = {}
            self.flags: dict[int, int] = {}
            if v.get("y.raw"):
                base = self._raw(base, coords[0])
                continue
            base = self._pixels(base, coords, bias_off)
            self._write("yw", data_tiles[number], self.stage)
            if flag_tiles:
                self._write("yf", flag_tiles[number], self.flags)
        if not v.get("y.raw"):
            self.memory[v["pre.rec_off"]] = self.measure
            self.memory[v["pre.rec_off"] + 8] = self.saturations

    def _write(self, section: str, tile: Any, stage: dict[int, int]) -> None:
        pos = array(self.v, section, "pos", 4)
        n0, lim0 = self.v[f"{section}.n0"], self.v[f"{section}.lim0"]
        at = 0
        for row in tile.rows:
            for k in range(n0):
                if row.valid and 0 <= row.first + k < lim0:
                    off = (row.addr + 8 * k) & 0xFFFFFFFF
                    assert off not in self.memory, "generator: word written twice"
                    self.memory[off] = stage[at % 65536]
                    self.case.words += 1
                if k < n0 - 1:
                    at += pos[0]
            if row.next_level < 3:
                at += pos[row.next_level + 1]

    def _raw(self, base: int, column: int) -> int:
        keep = sum(int(0 <= column + p < self.v["y.ylim0"]) << p for p in range(LANES_P))
        self.segments.append((keep, {
            (ch, p, m): self.groups[base + ch][p][m] & M48
            for ch, p, m in product(range(4), range(LANES_P), range(ROWS_M))}))
        return base + 4

    def _pixels(self, base: int, coords: list[int], bias_off: int) -> int:
        v = self.v
        q = array(v, "y", "q", 4)
        ypos = array(v, "y", "ypos", 4)
        lim = array(v, "y", "ylim", 4)
        yblk, fblk = v["y.yblk"], v.get("y.fblk", 0)
        pool, relu, single = v.get("y.pool", 0), v.get("y.relu", 0), v.get("y.single", 0)
        pixels = q[0] * q[1] * q[2]
        phase_groups = pixels if single else -(-pixels // 3)
        bias = [0] * ROWS_M
        if v.get("y.bias"):
            for m in range(ROWS_M):
                master = self.case.memory[bias_off + 8 * m] & 0xFFFFFFFF
                master -= (master >> 31) << 32
                bias[m] = wrap48(rne(master, -self.case.bias_shift))
        position = 0
        at = coords[:3]
        outputs: dict[tuple[int, int, int], list[int]] = {}
        self.inside: dict[tuple[int, int, int, int], bool] = {}
        for k, (index, moved) in enumerate(loop(q)):
            if moved >= 0:
                position += ypos[moved]
                at = [c + v.get(f"y.{name}{moved}", 0)
                      for c, name in zip(at, ("dcol", "dline", "dimg"), strict=True)]
            k %= pixels
            group = base + index[3] * phase_groups + (k if single else k // 3)
            sums = self.groups[group][0 if single else k % 3]
            values = []
            for m in range(ROWS_M):
                total = wrap48(sums[m] + bias[m])
                y = rne(total, self.case.shift)
                stored = all(0 <= c < bound for c, bound in zip(
                    [*at, coords[3] + m // 4], lim, strict=True))
                self.inside[(index[0], index[1], index[2], m // 4)] = stored
                if stored:
                    self.measure |= total if total >= 0 else ~total
                    self.saturations += abs(y) > 32767
                y = max(-32767, min(32767, y))
                y = max(y, 0) if relu else y
                values.append(min(y, self.case.limit) if v.get("y.clip") else y)
            outputs[(index[0], index[1], index[2])] = values
            if not pool:
                for b in range(4):
                    self.stage[(position + b * yblk) % STAGE_SLOT_WORDS] = word16(
                        values[4 * b: 4 * b + 4])
        if pool:
            self._pool(q, outputs, yblk, relu)
        if v.get("y.flags"):
            self._pack(q, outputs, fblk, pool, relu)
        return base + q[3] * phase_groups

    def _pooled(self, outputs: dict[tuple[int, int, int], list[int]], c: int, r: int, i: int,
                m: int) -> tuple[int, int]:
        four = [outputs[(2 * c + (n & 1), 2 * r + (n >> 1), i)][m] for n in range(4)]
        return max(four), four.index(max(four))

    def _pool(self, q: list[int], outputs: dict[tuple[int, int, int], list[int]], yblk: int,
              relu: int) -> None:
        places = product(range(q[2]), range(q[1] // 2), range(q[0] // 2))
        for count, (i, r, c) in enumerate(places):
            values = [self._pooled(outputs, c, r, i, m)[0] for m in range(ROWS_M)]
            for b in range(4):
                self.stage[count + b * yblk] = word16(values[4 * b: 4 * b + 4])

    def _pack(self, q: list[int], outputs: dict[tuple[int, int, int], list[int]], fblk: int,
              pool: int, relu: int) -> None:
        v = self.v
        cols, rows = (q[0] // 2, q[1] // 2) if pool else (q[0], q[1])
        per, bits = (4, 16) if pool else (16, 4)
        count = 0
        for i, r in product(range(q[2]), range(rows)):
            for first in range(0, cols, per):
                for b in range(4):
                    word = 0
                    for k in range(min(per, cols - first)):
                        entry = 0
                        c, row = (2 * (first + k) + 1, 2 * r + 1) if pool else (first + k, r)
                        if not self.inside[(c, row, i, b)]:  # no flags outside the tensor
                            continue
                        for lane in range(4):
                            if pool:
                                y, where = self._pooled(outputs, first + k, r, i, 4 * b + lane)
                                entry |= where << (4 + 2 * lane)
                            else:
                                y = outputs[(first + k, r, i)][4 * b + lane]
                            cut = v.get("y.clip") and y == self.case.limit
                            entry |= int((y > 0 or not relu) and not cut) << lane
                        word |= entry << bits * k
                    self.flags[count + b * fblk] = word
                count += 1


def word16(values: list[int]) -> int:
    """Pack four 16-bit lanes."""
    return sum((value & 0xFFFF) << 16 * lane for lane, value in enumerate(values))


def set_addr_gen(v: dict[str, int], name: str, n: list[int], strides: list[int], c: list[int],
             lim: list[int], byte: list[int], levels: list[list[int]], y: list[int],
             off: int) -> None:
    """Fields of an address generator of the store unit.

    ``byte``: byte strides of the coordinates; ``levels[t]``: their steps at store level t.
    """
    pos = jumps(strides, n)
    drow = jumps(byte[1:], n[1:])
    addr = off + sum(coord * stride for coord, stride in zip(c, byte, strict=True))
    v[f"{name}.addr"] = addr
    tile = [sum(step * stride for step, stride in zip(level, byte, strict=True))
            for level in levels]
    for t, delta in enumerate(jumps(tile, y)):
        v[f"{name}.daddr{t}"] = delta
    for i in range(4):
        v[f"{name}.n{i}"] = n[i]
        v[f"{name}.c{i}"] = c[i]
        v[f"{name}.lim{i}"] = lim[i]
        v[f"{name}.pos{i}"] = pos[i] & 0xFFFF
        for t, delta in enumerate(jumps([level[i] for level in levels], y)):
            v[f"{name}.dc{4 * t + i}"] = delta
    for i in range(3):
        v[f"{name}.drow{i}"] = drow[i]


def random_sum(rng: random.Random, bits: int) -> int:
    """Signed value of up to ``bits`` bits, small ones often (ties)."""
    if rng.random() < 0.1:
        return rng.randint(-2, 2) << max(bits - 3, 0)
    return rng.randint(-(1 << bits), 1 << bits)


def random_case(rng: random.Random, kind: str, large: bool, number: int = 0) -> Case:
    """Random descriptor of ``kind`` raw, plain, single, phases, pool."""
    place = number % PLACES
    bias_off, data_off = BIAS_OFF + (place << 24), DATA_OFF + (place << 23)
    v: dict[str, int] = {"pre.opcode": Opcode.CONV,
                         "pre.rec_off": RECORD_OFF + 32 * (PLACES * rng.randrange(1000) + place)}
    raw, pool = kind == "raw", kind == "pool"
    segs = rng.choice([0, 0, 1, 2])
    # Store levels: each one moves one coordinate.
    moves = rng.sample([0, 1, 2, 3, None], 5)
    while True:
        least = 2 if pool else 1
        q = [rng.randint(least, rng.choice([5, 20, 40])), rng.randint(least, 6),
             rng.randint(1, 4), rng.randint(2, 4) if kind == "phases" else 1]
        if large:
            q[:3] = [rng.randint(20, 40), rng.randint(5, 8), rng.randint(2, 3)]
        y = [rng.choice([1, 1, 2, 3]) for _ in range(5)]
        if large:
            y = [rng.choice([1, 2, 2]) for _ in range(5)]
        for t, move in enumerate(moves):
            if move is None:
                y[t] = 1
        pixels = q[0] * q[1] * q[2]
        per = 4 if raw else q[3] * (pixels if kind == "single" else -(-pixels // 3))
        tile_segments = 1
        for t in range(segs):
            tile_segments *= y[t]
        segments = tile_segments
        for t in range(segs, 5):
            segments *= y[t]
        if (per * tile_segments <= HALF_GROUPS and segments <= 40
                and 4 * pixels * q[3] <= STAGE_SLOT_WORDS
                and segments * per <= (1600 if large else 500)):
            break
    v.update({f"y.y{t}": n for t, n in enumerate(y)})
    v["y.segs"] = segs
    bits = rng.choice([8, 15, 20, 30, 46])
    tile_list = [[[[random_sum(rng, bits) for _ in range(ROWS_M)] for _ in range(LANES_P)]
                  for _ in range(per * tile_segments)]
                 for _ in range(segments // tile_segments)]
    shift = rng.choice([0, bits - 15, bits - 13, 47, rng.randint(0, 47)])
    case = Case(kind, v, max(0, min(47, shift)), rng.randint(-40, 14), tile_list)
    if raw:
        _random_raw(rng, v)
        return case
    v.update({"y.single": int(kind == "single"), "y.pool": int(pool),
              "y.relu": rng.randint(0, 1), "y.bias": rng.randint(0, 1),
              "y.flags": int(kind in ("plain", "pool") and rng.random() < 0.7)})
    own = random.Random(f"{case.shift} {case.bias_shift} {q}")
    v["y.clip"] = v["y.relu"] & own.randint(0, 1)
    case.limit = own.choice((0, 1, 1 << own.randint(0, 15), own.randint(1, 32767), 65535))
    for i in range(4):
        v[f"y.q{i}"] = q[i]
    cols, blocks = q[0] * q[3], 4
    size = [cols, q[1], q[2], blocks]
    levels = [[size[i] if move == i else 0 for i in range(4)] for move in moves]
    tiles_of = [1, 1, 1, 1]
    for t, move in enumerate(moves):
        if move is not None:
            tiles_of[move] = y[t]
    start = [0, 0, 0, 0]
    if kind in ("plain", "single") and not v["y.flags"] and rng.random() < 0.3:
        start = [rng.randint(-2, 3) for _ in range(4)]
    lim = [max(1, start[i] + size[i] * tiles_of[i] - rng.choice([0, 0, 1, 2, size[i] // 2]))
           for i in range(4)]
    for i in range(4):
        v[f"y.yc{i}"] = start[i]
        v[f"y.ylim{i}"] = lim[i]
        for t, delta in enumerate(jumps([level[i] for level in levels], y)):
            v[f"y.ydc{4 * t + i}"] = delta
    for name, strides in (("dcol", [q[3], 0, 0, 1]), ("dline", [0, 1, 0, 0]),
                          ("dimg", [0, 0, 1, 0])):
        for i, delta in enumerate(jumps(strides, q)):
            v[f"y.{name}{i}"] = delta
    for i, delta in enumerate(jumps([q[3], cols, cols * q[1], 1], q)):
        v[f"y.ypos{i}"] = delta & 0xFFFF
    # Stored tensor: [image][block][row][column] of the limits.
    shrink = 2 if pool else 1
    n = [cols // shrink, q[1] // shrink, q[2], blocks]
    area = n[0] * n[1] * n[2]
    yblk = area + rng.randint(0, min(9, (STAGE_SLOT_WORDS - 4 * area) // 3))
    v["y.yblk"] = yblk
    out_size = [n[0], n[1], size[2], size[3]]
    out_lim = lim if not pool else [max(1, n[0] * tiles_of[0] - rng.randint(0, 1)),
                                    max(1, n[1] * tiles_of[1] - rng.randint(0, 1)), lim[2], lim[3]]
    out_levels = [[out_size[i] if move == i else 0 for i in range(4)] for move in moves]
    gap = rng.choice([0, 0, 1])
    row = 8 * (out_lim[0] + gap)
    block = row * (out_lim[1] + gap)
    byte = [8, row, block * (out_lim[3] + gap), block]
    set_addr_gen(v, "yw", n, [1, n[0], n[0] * n[1], yblk], start, out_lim, byte, out_levels, y,
             data_off)
    if v["y.flags"]:
        per_word = 4 if pool else 16
        words = -(-n[0] // per_word)
        fblk = words * n[1] * n[2] + rng.randint(0, 3)
        v["y.fblk"] = fblk
        f_size = [words, n[1], n[2], 4]
        f_lim = [max(1, words * tiles_of[0] - rng.randint(0, 1)), out_lim[1], lim[2], lim[3]]
        f_levels = [[f_size[i] if move == i else 0 for i in range(4)] for move in moves]
        row = 8 * f_lim[0]
        block = row * f_lim[1]
        set_addr_gen(v, "yf", f_size, [1, words, words * n[1], fblk], [0, 0, 0, 0], f_lim,
                 [8, row, block * f_lim[3], block], f_levels, y, FLAG_OFF + (place << 22))
    v["y.bias_off"] = bias_off
    bias_strides = [128 * rng.choice([0, 1, 3, 10]) for _ in range(5)]
    for t, delta in enumerate(jumps(bias_strides, y)):
        v[f"y.dbias{t}"] = delta
    last = sum(stride * (count - 1) for stride, count in zip(bias_strides, y, strict=True))
    for off in range(bias_off, bias_off + last + 128, 8):
        case.memory[off] = rng.getrandbits(32) << 32 | (
            rng.randrange(-(1 << 31), 1 << 31) >> rng.choice([0, 0, 8, 20])) & 0xFFFFFFFF
    return case


def _random_raw(rng: random.Random, v: dict[str, int]) -> None:
    v["y.raw"] = 1
    v["y.groups"] = 4
    v["y.yc0"], v["y.ylim0"] = rng.randint(-2, 4), rng.choice([1, 2, 3, 3, 5, 11])
    strides = [rng.choice([0, 0, 1, 3]) for _ in range(5)]
    for t, delta in enumerate(jumps(strides, [v[f"y.y{t}"] for t in range(5)])):
        v[f"y.ydc{4 * t}"] = delta
    # What raw must ignore.
    for i in range(1, 4):
        v[f"y.yc{i}"], v[f"y.ylim{i}"] = rng.randint(-9, 9), rng.randint(1, 9)
    v.update({f"y.{name}": rng.randint(0, 1) for name in ("relu", "bias", "flags", "pool")})


def words_of(case: Case) -> list[tuple[int, int]]:
    """Configuration words of the store unit."""
    data = struct.unpack("<128Q", pack_descriptor(case.values))
    first = SECTIONS[SECTION_OF_UNIT[Unit.STORE][0]].first
    last = SECTIONS[SECTION_OF_UNIT[Unit.STORE][-1]]
    index = [*range(SECTIONS["pre"].words), *range(first, last.first + last.words)]
    words = [(i, data[i]) for i in index]
    params = struct.unpack("<2Q", pack_params(Opcode.CONV, {"shift": case.shift,
                                                            "bias_shift": case.bias_shift,
                                                            "limit": case.limit}))
    return words + [(PARAM_INDEX + i, word) for i, word in enumerate(params)]


def pixels_of(case: Case) -> int:
    """Pixels of a segment, all phases."""
    total = 1
    for n in array(case.values, "y", "q", 4):
        total *= n
    return total
