"""A slow, literal interpreter of the schedule fields of ``docs/engine.md``.

It reads descriptors, taps and step block from a memory image and executes convolution and
GRADIENT descriptors from their address generators, pixel table, sweeps, S sets, accumulators,
post-processing,
staging and writers, or gradient queue and update; section ``g`` is not looked at. Nothing is
imported but the field definitions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from reference_models.engine_parts import (
    MASK32,
    MASK48,
    AddressGenerator,
    Affine,
    Memory,
    Violation,
    lanes,
    load_tile,
    nest,
    rne,
    sign16,
    signed48,
    unpair,
)
from reference_models.update_model import update_masters

from pynq_train.hw.commands import (
    DESCRIPTOR_BYTES,
    Opcode,
    PixelMode,
    unpack_descriptor,
    unpack_params,
    unpack_tap,
)
from pynq_train.hw.config import ZYNQ7020, HwConfig
from pynq_train.hw.limits import RING_MARGIN


class ConvModel:
    """Executes one CONV or GRADIENT descriptor."""

    def __init__(self, mem: Memory, d: dict[str, int], taps: list[dict[str, int]],
                 params: dict[str, int], config: HwConfig) -> None:
        self.mem, self.d, self.taps, self.params, self.config = mem, d, taps, params, config
        self.t = [d[f"pre.t{i}"] for i in range(5)]
        self.stats = {"x_words": 0, "s_words": 0, "steps": 0, "sweeps": 0}

    def run(self) -> None:
        if len(self.taps) > self.config.max_taps or len(self.taps) != self.d["c.l2"]:
            raise Violation("taps")
        self.build_table()
        tiles = self.compute(self.x_tiles(), self.s_tiles())
        self.stats["words_read"] = self.mem.words_read
        if self.d["pre.opcode"] == Opcode.GRADIENT:
            record = update_masters(self.mem, self.d, self.params, self.queue(tiles),
                                    self.config.tm)
        else:
            record = self.store(tiles)
        for i, value in enumerate((*record, 0, 0)):
            self.mem.store(self.d["pre.rec_off"] + 8 * i, value)
        self.stats["words_written"] = self.mem.words_written

    # -- section 4
    def build_table(self) -> None:
        d = self.d
        p = [d[f"pix.p{i}"] for i in range(3)]
        at = Affine(0, [unpair(d[f"pix.dpos{i}"]) for i in range(3)])
        positions = []
        for _, level in nest(p):
            positions.append(at.value)
            if level >= 0:
                at.step(level)
        mode = PixelMode(d["pix.pmode"])
        if mode == PixelMode.WINDOW:
            lane = unpair(d["pix.lane"])
            table = [[q + k * lane for k in range(3)] for q in positions]
        elif mode == PixelMode.SINGLE:
            table = [[q, q, q] for q in positions]
        else:
            table = [positions[a:a + 3] for a in range(0, len(positions), 3)]
            table = [row + [row[0]] * (3 - len(row)) for row in table]
        if len(table) > self.config.table_rows:
            raise Violation("pixel table too long")
        if mode != PixelMode.SINGLE:
            for number, row in enumerate(table):
                real = min(3, len(positions) - 3 * number) if mode == PixelMode.GROUPS else 3
                if len({q % 3 for q in row[:real]}) != real:
                    raise Violation(f"bank conflict in table row {number}: {row}")
        self.table = np.array(table)

    # -- section 3
    def x_tiles(self) -> Iterator[np.ndarray]:
        w = AddressGenerator(self.d, "x", self.t, self.taps)
        limit = self.config.x_tile_words
        for index, level in nest(self.t):
            if all(i == 0 for i in index[:w.reuse]):
                tile = np.full((limit + 64, 4), 11111, np.int64)
                at = Affine(0, [unpair(p) for p in w.pos])
                for _, row_level, _, word in load_tile(self.mem, w):
                    if not 0 <= at.value < limit:
                        raise Violation(f"X position {at.value}")
                    tile[at.value] = lanes(word)
                    self.stats["x_words"] += 1
                    if row_level == -2:
                        at.step(0)
                    elif row_level >= 0:
                        at.step(row_level + 1)
                yield tile
            if level >= 0:
                w.step(level)

    def s_tiles(self) -> Iterator[list[list[int]]]:
        w = AddressGenerator(self.d, "s", self.t, self.taps)
        if w.reuse:
            raise Violation("S is never reused")
        sums = [[0] * 4 for _ in range(4)]
        sum_off = self.d["s.sum_off"]
        for index, level in nest(self.t):
            ring: list[list[int]] = []
            for row, row_level, _, word in load_tile(self.mem, w):
                values = lanes(word)
                ring.append(values)
                self.stats["s_words"] += 1
                if w.sum and index[3] == 0:
                    for lane in range(4):
                        sums[row[2]][lane] += values[lane]
                if w.align and row_level in (2, -1):
                    while len(ring) % 4:
                        ring.append([22222] * 4)
            if len(ring) % 4:
                raise Violation("S tile is not aligned")
            last = all(index[i] == self.t[i] - 1 for i in range(3))
            if w.sum and index[3] == 0 and last:
                for i, value in enumerate(itertools.chain(*sums)):
                    self.mem.store(sum_off + 8 * i, value)
                sum_off += 128
                sums = [[0] * 4 for _ in range(4)]
            yield ring
            if level >= 0:
                w.step(level)

    # -- section 5
    def compute(self, x_tiles: Iterator[np.ndarray],
                s_tiles: Iterator[list[list[int]]]) -> list[np.ndarray]:
        d = self.d
        counts = [d[f"c.l{i}"] for i in range(5)]
        red, reuse, wu = d["c.red"], d["c.xreuse"], d["c.wu"]
        if reuse != d["x.reuse"]:
            raise Violation("xreuse differs from x.reuse")
        finished = []
        acc = None
        for index, _ in nest(self.t):
            if all(i == 0 for i in index[:reuse]):
                x = next(x_tiles)
            first = all(i == 0 for i in index[:red])
            if first:
                acc = np.full((self.config.acc_tile_groups, 16, 3), 333333333, np.int64)
            assert acc is not None
            self.tile(counts, wu, x, next(s_tiles), acc, first)
            if all(index[i] == self.t[i] - 1 for i in range(red)):
                finished.append(acc)
        return finished

    def s_set(self, ring: list[list[int]], chunk: int, number: int) -> np.ndarray:
        d = self.d
        base = chunk + number * d["c.s_step"]
        s = np.zeros((16, 4), np.int64)
        for i in range(4):
            for t in range(4):
                word = ring[base + i * d["c.s_stride"] + t]
                if d["c.s_valid"] and 4 * number + t >= d["c.s_valid"]:
                    word = [0] * 4
                if d["c.s_col"]:
                    s[4 * i:4 * i + 4, t] = word
                else:
                    s[4 * i + t] = word
        return s

    def tile(self, counts: list[int], wu: int, x: np.ndarray, ring: list[list[int]],
             acc: np.ndarray, first_tile: bool) -> None:
        d = self.d
        j = Affine(0, [d[f"c.dj{i}"] for i in range(5)])
        o = Affine(0, [unpair(d[f"c.dx{i}"]) for i in range(5)])
        chunk = number = a = 0
        if d["c.s_chunk"] > self.config.s_ring_words - RING_MARGIN:
            raise Violation("chunk larger than the ring")
        new_sweep = True
        window: list[np.ndarray] = []
        for index, level in nest(counts):
            tap = self.taps[index[2]]
            if new_sweep:
                if number == d["c.s_sets"]:
                    chunk, number = chunk + d["c.s_chunk"], 0
                s = self.s_set(ring, chunk, number)
                number += 1
                self.stats["sweeps"] += 1
                a = 0 if wu else tap["abase"]
            self.stats["steps"] += 1
            row = self.table[j.value] if j.value < len(self.table) else None
            if row is None and not (wu and j.value >= d["c.s_valid"]):
                raise Violation(f"table row {j.value}")
            where = (row if row is not None else np.zeros(3, np.int64)) + o.value
            where = where + unpair(tap["voff"])
            if where.min() < 0 or where.max() >= self.config.x_tile_words:
                raise Violation(f"X position {where}")
            if wu:
                window.append(x[where])
                if len(window) == 4:
                    start = first_tile and index[4] == 0
                    w = np.stack(window)
                    for ch in range(4):
                        self.add(acc, a + ch, s @ w[:, :, ch], start)
                    window = []
                    a += 4
            else:
                start = bool(tap["first"]) and index[1] == 0 and index[3] == 0 and first_tile
                value = s @ x[where].T
                self.add(acc, a, value * 0 if tap["mute"] else value, start)
                a += 1
            new_sweep = level == 4 if wu else level > 0
            if level >= 0:
                j.step(level)
                o.step(level)
        if number != d["c.s_sets"] or chunk + d["c.s_chunk"] != len(ring):
            raise Violation(f"S chunks: {chunk}+{d['c.s_chunk']} of {len(ring)}, set {number}")

    def add(self, acc: np.ndarray, a: int, value: np.ndarray, start: bool) -> None:
        if not 0 <= a < self.config.acc_tile_groups:
            raise Violation(f"accumulator group {a}")
        acc[a] = value if start else acc[a] + value

    # -- section 6
    def queue(self, tiles: list[np.ndarray]) -> list[int]:
        """Sums that the gradient queue gives out."""
        d = self.d
        if not d["y.raw"]:
            raise Violation("GRADIENT without raw drains")
        if 3 * 16 * d["y.groups"] > self.config.grad_words:
            raise Violation("segment larger than the gradient queue")
        y = [d[f"y.y{i}"] for i in range(5)]
        coord = Affine(d["y.yc0"], [d[f"y.ydc{4 * t}"] for t in range(5)])
        left, group, sums = iter(tiles), 0, []
        for index, level in nest(y):
            if all(i == 0 for i in index[:d["y.segs"]]):
                acc, group = next(left), 0
            for p in range(3):
                if 0 <= coord.value + p < d["y.ylim0"]:
                    sums += [signed48(int(acc[group + ch, m, p]))
                             for m in range(16) for ch in range(d["y.groups"])]
            group += d["y.groups"]
            if level >= 0:
                coord.step(level)
        if next(left, None) is not None:
            raise Violation("accumulator tiles are left")
        return sums

    def store(self, tiles: list[np.ndarray]) -> tuple[int, int]:
        """Drain, write, return measure and saturations."""
        d = self.d
        if d["y.raw"]:
            raise Violation("raw drains outside GRADIENT")
        y = [d[f"y.y{i}"] for i in range(5)]
        coords = [Affine(d[f"y.yc{i}"], [d[f"y.ydc{4 * t + i}"] for t in range(5)])
                  for i in range(4)]
        bias = Affine(d["y.bias_off"], [d[f"y.dbias{t}"] for t in range(5)])
        data, flag = AddressGenerator(d, "yw", y, []), None
        if d["y.flags"]:
            flag = AddressGenerator(d, "yf", y, [])
        queue, acc = iter(tiles), None
        self.measure = self.saturations = 0
        for index, level in nest(y):
            if all(i == 0 for i in index[:d["y.segs"]]):
                acc = next(queue)
            assert acc is not None
            stage: dict[int, int] = {}
            flags: dict[int, int] = {}
            self.drain(acc, [c.value for c in coords], bias.value, stage, flags)
            if max(stage, default=0) >= self.config.stage_segment_words:
                raise Violation("staging")
            if max(flags, default=0) >= self.config.flag_segment_words:
                raise Violation("flag staging")
            self.write(data, stage)
            if flag is not None:
                self.write(flag, flags)
            if level >= 0:
                for variable in (*coords, bias, data, *([flag] if flag else [])):
                    variable.step(level)
        if next(queue, None) is not None:
            raise Violation("accumulator tiles are left")
        return self.measure, self.saturations

    def write(self, w: AddressGenerator, stage: dict[int, int]) -> None:
        at = 0
        deltas = [sign16(p) for p in w.pos]
        for _, level, addr, _, valid in w.rows():
            for k in range(w.n[0]):
                if valid and 0 <= w.coords[0].value + k < w.lim[0]:
                    if at not in stage:
                        raise Violation(f"staged word {at} is missing")
                    self.mem.store(addr + 8 * k, stage[at])
                if k < w.n[0] - 1:
                    at += deltas[0]
            if level >= 0:
                at += deltas[level + 1]

    def drain(self, acc: np.ndarray, base: list[int], bias_off: int, stage: dict[int, int],
              flags: dict[int, int]) -> None:
        d = self.d
        q = [d[f"y.q{i}"] for i in range(4)]
        pixels = q[0] * q[1] * q[2]
        per = pixels if d["y.single"] else -(-pixels // 3)
        moves = [[d[f"y.{name}{i}"] for i in range(4)] for name in ("dcol", "dline", "dimg")]
        at = [Affine(base[i], moves[i]) for i in range(3)]
        place = Affine(0, [sign16(d[f"y.ypos{i}"]) for i in range(4)])
        pool: dict[tuple[int, int], list[list[int]]] = {}
        done = 0
        flag_done = 0
        fill: dict[int, int] = {}
        pooled = bool(d["y.pool"])
        if pooled and q[0] > self.config.pool_columns:
            raise Violation("pooled columns")
        for index, level in nest(q):
            col, row, image, phase = index
            k = (image * q[1] + row) * q[0] + col
            group = phase * per + (k if d["y.single"] else k // 3)
            lane = 0 if d["y.single"] else k % 3
            inside = all(0 <= at[i].value < d[f"y.ylim{i}"] for i in range(3))
            finished = False
            for block in range(4):
                words = []
                stored = inside and 0 <= base[3] + block < d["y.ylim3"]
                for m in range(4 * block, 4 * block + 4):
                    words.append(self.post(int(acc[group, m, lane]), bias_off + 8 * m, stored))
                if pooled:
                    pool.setdefault((col // 2, block), []).append(words)
                    quad = pool[(col // 2, block)]
                    if row % 2 and col % 2:
                        bits, best = 0, []
                        for i in range(4):
                            values = [four[i] for four in quad]
                            top = max(values)
                            best.append(top)
                            bits |= int(self.live(top)) << i
                            bits |= values.index(top) << 4 + 2 * i
                        bits = bits if inside else 0
                        stage[done + block * d["y.yblk"]] = self.pack(best)
                        fill[block] = fill.get(block, 0) | bits << 16 * (col // 2 % 4)
                        finished = True
                        del pool[(col // 2, block)]
                    if col == q[0] - 1 and q[0] % 2:
                        pool.pop((col // 2, block), None)
                    if row % 2 == 0 and row == q[1] - 1:
                        pool.pop((col // 2, block), None)
                else:
                    stage[place.value + block * d["y.yblk"]] = self.pack(words)
                    bits = sum(int(self.live(v) and inside) << i for i, v in enumerate(words))
                    fill[block] = fill.get(block, 0) | bits << 4 * (col % 16)
            if pooled:
                done += finished
                end = row % 2 and (col == q[0] - 1 or col % 8 == 7)
                if end and not fill:
                    end = False
            else:
                end = col % 16 == 15 or col == q[0] - 1
            if end:
                for block in range(4):
                    flags[flag_done + block * d["y.fblk"]] = fill[block]
                fill = {}
                flag_done += 1
            if level >= 0:
                for variable in (*at, place):
                    variable.step(level)

    @staticmethod
    def pack(values: list[int]) -> int:
        return sum((v & 0xFFFF) << 16 * i for i, v in enumerate(values))

    def post(self, acc: int, bias_at: int, stored: bool) -> int:
        d = self.d
        total = signed48(acc)
        if d["y.bias"]:
            low = self.mem.load(bias_at) & MASK32
            low = low - (1 << 32) if low >> 31 else low
            shift = self.params["bias_shift"]
            total = signed48(total + (low << shift if shift >= 0 else rne(low, -shift)))
        value = rne(total, self.params["shift"])
        clipped = max(-32767, min(32767, value))
        if stored:
            self.measure |= (total ^ (total >> 47)) & MASK48
            self.saturations += clipped != value
        clipped = max(clipped, 0) if d["y.relu"] else clipped
        return min(clipped, self.params["limit"]) if d["y.clip"] else clipped

    def live(self, value: int) -> bool:
        """Mask bit of a stored value."""
        if self.d["y.clip"] and value == self.params["limit"]:
            return False
        return value > 0 or not self.d["y.relu"]


def run_conv(arena: np.ndarray, offset: int, step_off: int,
             config: HwConfig = ZYNQ7020) -> dict[str, int]:
    """Execute the CONV or GRADIENT descriptor at ``offset`` of the memory image."""
    d = unpack_descriptor(arena[offset:offset + DESCRIPTOR_BYTES].tobytes())
    opcode = Opcode(d["pre.opcode"])
    if opcode not in (Opcode.CONV, Opcode.GRADIENT):
        raise ValueError(f"expected a CONV or GRADIENT descriptor, found {opcode.name}")
    at = d["pre.taps_off"]
    taps = [unpack_tap(arena[at + 8 * i:at + 8 * i + 8].tobytes())
            for i in range(d["pre.n_taps"])]
    at = step_off + 16 * d["pre.param"]
    params = unpack_params(opcode, arena[at:at + 16].tobytes())
    model = ConvModel(Memory(arena), d, taps, params, config)
    model.run()
    return model.stats
