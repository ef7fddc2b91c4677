"""Limits of buffers and loops: what the schedule of a convolution descriptor may ask of the engine.

Every check replays the loops of ``docs/engine.md`` on index sets, not tile by tile. The engine
checks none of this: it would compute wrong numbers or stand still.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from pynq_train.arrays import Array
from pynq_train.errors import IllegalProgram
from pynq_train.hw.commands import LoadMode, Opcode, Pass, PixelMode
from pynq_train.hw.config import HwConfig
from pynq_train.hw.geometry import Work
from pynq_train.hw.limits import (
    FLAG_TILE_COLUMNS,
    MAX_COORDINATE,
    MAX_FLAG_COLUMNS,
    MAX_KERNEL,
    MAX_POOL_COLUMNS,
    MAX_PRODUCTS,
    MAX_STRIDE,
    RING_MARGIN,
)
from pynq_train.hw.words import (
    CHANNELS_PER_WORD,
    FLAG_MASK_PIXELS,
    FLAG_POOL_PIXELS,
    LANES,
    SET_PIXELS,
    ceil_div,
    round_up,
)
from pynq_train.program import activations
from pynq_train.program.access import numbers, tile_coords
from pynq_train.program.meaning import Meaning, has_work, sides
from pynq_train.program.program import Fields
from pynq_train.program.spans import affine, distinct, strides_of, unpair


class Limits:
    """Checks of one convolution descriptor.

    Args:
        label: name of the descriptor for messages.
        fields: its fields.
        taps: its tap table.
        config: the engine.
    """

    def __init__(self, label: str, fields: Fields, taps: Sequence[Fields],
                 config: HwConfig) -> None:
        self._label, self._f, self._taps, self._config = label, fields, taps, config
        self._tile, self._l = numbers(fields, "pre.t", 5), numbers(fields, "c.l", 5)
        self._y, self._q = numbers(fields, "y.y", 5), numbers(fields, "y.q", 4)
        self._wu, self._raw = bool(fields["c.wu"]), bool(fields["y.raw"])
        self._gradient = fields["pre.opcode"] == Opcode.GRADIENT
        self._stores = () if self._gradient else ("yw", "yf")

    def check(self) -> None:
        """Run all checks.

        Raises:
            IllegalProgram: the first limit that is broken.
        """
        self._geometry()
        self._counts()
        self._switches()
        self._levels()
        self._table = self._pixel_table()
        self._x_positions()
        self._s_sets()
        self._accumulators()
        if not self._gradient:
            self._staging()
            self._flag_staging()
        self._flag_columns()

    def _require(self, good: bool, what: str, expected: object, found: object,
                 fix: str | None = None) -> None:
        """Raise IllegalProgram unless ``good``."""
        if not good:
            raise IllegalProgram(f"{self._label}: {what}", expected=expected, found=found, fix=fix)

    def _at_most(self, what: str, found: int, limit: int) -> None:
        self._require(found <= limit, what, f"at most {limit}", found, "use a smaller tile")

    def _pairs(self, name: str, count: int) -> list[int]:
        """Return the positions of ternary pairs 0 .. count - 1 of a field."""
        try:
            return [unpair(value) for value in numbers(self._f, name, count)]
        except ValueError as error:
            raise IllegalProgram(f"{self._label}: {name}: {error}") from None

    def _geometry(self) -> None:
        """Check section g, load modes and sizes, and that sums cannot overflow."""
        f = self._f
        self._require(f["g.g_pass"] in list(Pass), "g_pass", "a pass", f["g.g_pass"])
        self._require(has_work(f), "sizes of the geometry", "1 or more", "a zero")
        self._require(f["g.g_tile"] == self._config.tm, "g_tile",
                      f"{self._config.tm}, the array's output lanes", f["g.g_tile"])
        for name, most in (("kernel", MAX_KERNEL), ("stride", MAX_STRIDE)):
            largest = max(sides(f, name))
            self._require(largest <= most, name, f"1..{most}", largest)
        kind = Pass(f["g.g_pass"])
        self._require(self._gradient == (kind == Pass.WEIGHT_GRADIENT), "g_pass",
                      "the weight gradient in GRADIENT descriptors only",
                      f"{kind.name} in {Opcode(f['pre.opcode']).name}")
        self._require(self._wu == self._raw == self._gradient,
                      "c.wu and y.raw", "both set in GRADIENT descriptors only",
                      f"{f['c.wu']} and {f['y.raw']} in {kind.name}")
        self._groups()
        self._require(f["g.g_phase"] < f["g.g_stride"], "row phase", "below the stride",
                      f["g.g_phase"])
        for name in ("x.mode", "s.mode", "g.g_mode"):
            self._require(f[name] in list(LoadMode), name, "a load mode", f[name])
        for name in ("x", "s", *self._stores):
            for level in range(4):
                size = f[f"{name}.lim{level}"]
                self._require(size <= MAX_COORDINATE, f"{name}.lim{level}",
                              f"at most {MAX_COORDINATE}", size)
        products = Meaning(f).products
        self._require(products <= MAX_PRODUCTS, "products in one sum",
                      f"at most {MAX_PRODUCTS}, so that 48 bits never overflow", products,
                      "split the reduction, or use a smaller mini-batch")

    def _groups(self) -> None:
        """Check a grouped convolution: blocks of channels along the diagonal of each m tile."""
        f, tm = self._f, self._config.tm
        group = f["g.g_group"]
        if group:
            self._require(tm % group == 0, "g_group", f"0, or a divisor of {tm}", group)
            self._require(f["g.g_m"] == f["g.g_n"], "g_n of a grouped convolution",
                          f"g_m ({f['g.g_m']})", f["g.g_n"])
            blocks = self._config.m_blocks
            self._require(f["g.g_nb"] == blocks, "g_nb of a grouped convolution",
                          f"{blocks}, the channel blocks of an m tile", f["g.g_nb"])

    def _counts(self) -> None:
        """Check that no loop is empty and that taps and compute level 2 agree."""
        stored = [name for name in self._stores if name == "yw" or self._f["y.flags"]]
        groups = [("pre.t", 5), ("pix.p", 3), ("c.l", 5), ("y.y", 5)]
        groups += [(f"{section}.n", 4) for section in ("x", "s", *stored)]
        groups += [] if self._raw else [("y.q", 4)]
        for name, count in groups:
            values = numbers(self._f, name, count)
            self._require(min(values) >= 1, f"counts {name}", "1 or more each", values)
        self._require(1 <= len(self._taps) == self._l[2] <= self._config.max_taps, "taps",
                      f"c.l2 of them, 1..{self._config.max_taps}",
                      f"{len(self._taps)} with c.l2 = {self._l[2]}")

    def _switches(self) -> None:
        """Check that switches that a unit lacks are off; post-processing is that of section g."""
        f = self._f
        off = [f"x.{name}" for name in ("taps", "sum", "align")]
        off += [f"{section}.{name}" for section in self._stores
                for name in ("mode", "reuse", "taps", "sum", "align")]
        for name in (*off, "s.reuse"):
            self._require(f[name] == 0, name, 0, f[name])
        self._require(not f["s.taps"] or f["s.n2"] <= len(self._taps), "s.n2",
                      f"at most the number of taps ({len(self._taps)})", f["s.n2"])
        forward = f["g.g_pass"] == Pass.FORWARD
        activations.check_convolution(f, self._require)
        agree = {"y.pool": "g.g_pool", "y.flags": "g.g_flags"}
        agree["s.sum" if self._gradient else "y.bias"] = "g.g_bias"
        for name, meaning in agree.items():
            self._require(f[name] == f[meaning], name, f"{meaning} ({f[meaning]})", f[name])
        post = [*activations.GEOMETRY, "y.pool", "y.flags"]
        if f["gc.work"] != Work.FORWARD:  # a transposed layer's output may have a bias
            post.append("y.bias")
        # The gradient of such a layer's input is a forward pass.
        gradient = not forward or f["gc.work"] == Work.BACKWARD
        self._require(not gradient or not any(f[name] for name in post),
                      "post-processing of a gradient", "none", "some")
        self._require(f["s.sum"] == 0 or self._gradient, "s.sum",
                      "set in the weight gradient only", 1)

    def _levels(self) -> None:
        """Check levels of reuse and reduction, and that array and drain count the same tiles."""
        f = self._f
        for name in ("c.red", "c.xreuse", "x.reuse", "y.segs"):
            self._require(f[name] <= 5, name, "0..5", f[name])
        self._require(f["c.xreuse"] == f["x.reuse"], "c.xreuse", f"x.reuse ({f['x.reuse']})",
                      f["c.xreuse"])
        red, segs = f["c.red"], f["y.segs"]
        tiles, stored = prod(self._tile[red:]), prod(self._y[segs:])
        self._require(tiles == stored, "accumulator tiles that the store unit takes",
                      f"those that are computed ({tiles})", stored)
        # Meaning has counted the products of the mathematics; here it is what the loops really add,
        # padding included.
        products = prod(self._tile[:red]) * (
            self._l[0] * self._l[4] if self._wu
            else CHANNELS_PER_WORD * self._l[1] * self._l[3] * self._taps_of_region())
        # Padded channels and pixels are counted here, so the bound has some slack.
        self._require(products <= 2 * MAX_PRODUCTS, "products that the loops add to one sum",
                      f"at most {MAX_PRODUCTS} without padding", products)

    def _taps_of_region(self) -> int:
        """Return the most taps that add to one accumulator region."""
        bases = [tap["abase"] for tap in self._taps]
        return max(bases.count(base) for base in set(bases))

    def _pixel_table(self) -> Array:
        """Return the positions of real pixels: int64 ``[table row, lane]``.

        -1 where a lane repeats lane 0.
        """
        f = self._f
        counts = numbers(f, "pix.p", 3)
        self._require(f["pix.pmode"] in list(PixelMode), "pix.pmode", "a pixel mode",
                      f["pix.pmode"])
        mode = PixelMode(f["pix.pmode"])
        self._require((mode == PixelMode.WINDOW) == self._wu, "pix.pmode",
                      "WINDOW in the weight gradient only", mode.name)
        positions = affine(0, counts, strides_of(counts, self._pairs("pix.dpos", 3)))
        if mode == PixelMode.GROUPS:
            table = np.full((ceil_div(len(positions), LANES), LANES), -1, np.int64)
            table.flat[: len(positions)] = positions
        elif mode == PixelMode.SINGLE:
            table = positions[:, None]
        else:
            (lane,) = self._pairs_of(f["pix.lane"])
            table = positions[:, None] + lane * np.arange(LANES)
        self._at_most("pixel table rows", len(table), self._config.table_rows)
        # The lanes of a row read in the same cycle: from different banks, and position mod 3 names
        # the bank. A common offset of all lanes changes nothing about that, so the table alone
        # decides.
        for one, two in ((0, 1), (0, 2), (1, 2)) if table.shape[1] == LANES else ():
            a, b = table[:, one], table[:, two]
            clash = (a % LANES == b % LANES) & (a >= 0) & (b >= 0)
            if clash.any():
                row = int(np.argmax(clash))
                self._require(False, f"bank rule: lanes {one} and {two} of pixel table row {row}",
                              f"positions that differ modulo {LANES}",
                              f"{int(a[row])} and {int(b[row])}",
                              "choose other pitches of the X tile")
        return table

    def _pairs_of(self, *values: int) -> list[int]:
        """Return the positions of ternary pairs."""
        try:
            return [unpair(value) for value in values]
        except ValueError as error:
            raise IllegalProgram(f"{self._label}: ternary pair: {error}") from None

    def _loaded(self) -> Array:
        """Return the X positions that the loader writes for a tile, sorted."""
        n = numbers(self._f, "x.n", 4)
        positions = affine(0, n, strides_of(n, self._pairs("x.pos", 4)))
        self._require(int(positions.min()) >= 0, "X positions", "0 or more",
                      int(positions.min()))
        self._at_most("words of an X tile", int(positions.max()) + 1, self._config.x_tile_words)
        unique = np.unique(positions)
        self._require(len(unique) == len(positions), "X positions of the elements of a tile",
                      "one each", f"{len(positions) - len(unique)} positions written twice")
        return unique

    def _x_positions(self) -> None:
        """Check that the positions that compute reads lie in the tile, and were loaded."""
        loaded = self._loaded()
        counts = self._l
        rows = affine(0, counts, strides_of(counts, numbers(self._f, "c.dj", 5)))
        # A weight gradient takes pixels in sets of four; rows behind the last pixel are read, and
        # multiplied with S words that s_valid makes zero.
        last = round_up(len(self._table), SET_PIXELS) if self._wu else len(self._table)
        self._require(int(rows.min()) >= 0 and int(rows.max()) < last,
                      "pixel table rows that compute reads", f"0..{last - 1}",
                      f"{int(rows.min())}..{int(rows.max())}")
        offsets = distinct(0, counts, strides_of(counts, self._pairs("c.dx", 5)))
        # A mute tap multiplies with zero: it must not read outside the memory, but may read what
        # was not loaded.
        for mute in (0, 1):
            voffs = self._pairs_of(*(tap["voff"] for tap in self._taps if tap["mute"] == mute))
            if not voffs:
                continue
            moves = np.unique(offsets[:, None] + np.array(voffs, np.int64))
            table = np.unique(self._table[self._table >= 0])
            low, high = int(table[0] + moves[0]), int(table[-1] + moves[-1])
            self._require(low >= 0 and high < self._config.x_tile_words,
                          "X positions that compute reads",
                          f"0..{self._config.x_tile_words - 1}", f"{low}..{high}")
            if mute:
                continue
            # In the window lanes 1 and 2 of a last group may lie beside the tile: their sums are
            # dropped by the drain.
            lanes = np.unique(self._table[:, 0]) if self._wu else table
            read = np.zeros(high + 1, bool)
            for move in moves:
                read[lanes + move] = True
            missing = np.setdiff1d(np.flatnonzero(read), loaded)
            self._require(not len(missing), "X positions that compute reads", "loaded ones",
                          f"{len(missing)} others, the first is {missing[:1]}")

    def _s_sets(self) -> None:
        """Check that sets and chunks of S words fit the ring and are all that the loader brings."""
        f, n = self._f, numbers(self._f, "s.n", 4)
        plane = n[0] * n[1] * n[2]
        words = n[3] * (round_up(plane, SET_PIXELS) if f["s.align"] else plane)
        sweeps = self._l[4] if self._wu else prod(self._l[1:])
        sets, chunk = f["c.s_sets"], f["c.s_chunk"]
        self._require(sets >= 1 and sweeps % sets == 0, "c.s_sets",
                      f"a divisor of the {sweeps} sweeps of a tile", sets)
        self._require(words % SET_PIXELS == 0, "words of an S tile", f"a multiple of {SET_PIXELS}",
                      words)
        self._require(sweeps // sets * chunk == words, "words of an S tile",
                      f"{sweeps // sets} chunks of {chunk}", words)
        self._at_most("words of an S chunk", chunk, self._config.s_ring_words - RING_MARGIN)
        # The last word of the last set: i = t = 3 (docs/engine.md 5, S sets).
        highest = (sets - 1) * f["c.s_step"] + (SET_PIXELS - 1) * (f["c.s_stride"] + 1)
        self._require(highest < chunk, "words of an S chunk that its sets read",
                      f"0..{chunk - 1}", f"0..{highest}")
        if self._wu:
            self._require(self._l[:2] == [SET_PIXELS, 1], "weight gradient: c.l0 and c.l1",
                          f"{SET_PIXELS} and 1", self._l[:2])
            pixels = len(self._table)
            self._require(pixels == f["c.s_valid"] <= SET_PIXELS * self._l[4], "c.s_valid",
                          f"the tile's {pixels} pixels, in c.l4 sets of {SET_PIXELS}",
                          f["c.s_valid"])

    def _accumulators(self) -> None:
        """Check that every group that is drained has been started, by exactly one tap."""
        f = self._f
        depth = self._config.acc_tile_groups
        if self._wu:
            groups = prod(self._l[:4])
            self._at_most("accumulator groups", groups, depth)
            self._require(f["y.groups"] == SET_PIXELS, "y.groups", SET_PIXELS, f["y.groups"])
            drained = prod(self._y[: f["y.segs"]]) * SET_PIXELS
            self._require(drained == groups, "accumulator groups drained",
                          f"those that are computed ({groups})", drained)
            return
        started = np.zeros(depth, np.int64)
        for number, tap in enumerate(self._taps):
            base = tap["abase"]
            self._at_most(f"accumulator groups of tap {number}", base + self._l[0], depth)
            # An accumulator is cleared by the first tap that adds to it: one that adds before would
            # be lost, and without one the sums of an older tile would stay.
            part = started[base : base + self._l[0]]
            if tap["first"]:
                part += 1
            self._require(bool((part == 1).all()), f"tap {number}: accumulators",
                          "started by exactly one tap, the first in the table",
                          "groups that were never started, or twice")
        self._require(prod(self._y[: f["y.segs"]]) == 1, "segments of a tile", 1,
                      prod(self._y[: f["y.segs"]]))
        pixels = prod(self._q[:3])
        groups = self._q[3] * (pixels if f["y.single"] else ceil_div(pixels, LANES))
        self._require(bool((started[:groups] == 1).all()) and groups <= depth,
                      "accumulator groups drained", "started ones", f"{groups} groups")
        single = f["pix.pmode"] == PixelMode.SINGLE
        self._require(bool(f["y.single"]) == single, "y.single",
                      f"as the pixel table has it ({int(single)})", f["y.single"])
        counts = [f["pix.p0"], f["pix.p1"], f["pix.p2"]]
        self._require(counts == self._q[:3], "pixels drained", f"those of the tile {counts}",
                      self._q[:3])

    def _read_staged(self, section: str, counts: Sequence[int]) -> Array:
        """Return the staging positions that a writer reads: sorted.

        Elements count that are valid in at least one tile.
        """
        f = self._f
        n = numbers(f, f"{section}.n", 4)
        jumps = [v - (1 << 16) if v >> 15 else v for v in numbers(f, f"{section}.pos", 4)]
        strides = strides_of(n, jumps)
        positions = np.zeros(1, np.int64)
        for level in range(4):
            index = np.arange(n[level], dtype=np.int64)
            first = np.unique(tile_coords(f, section, counts, level))
            at = first[:, None] + index
            index = index[((at >= 0) & (at < f[f"{section}.lim{level}"])).any(axis=0)]
            positions = (index[:, None] * strides[level] + positions).reshape(-1)
        return np.unique(positions)

    def _staged(self, what: str, staged: Array, section: str, limit: int) -> None:
        """Check that staged positions fit, and that the writer reads no others."""
        self._require(int(staged.min()) >= 0, what, "0 or more", int(staged.min()))
        self._at_most(what, int(staged.max()) + 1, limit)
        missing = np.setdiff1d(self._read_staged(section, self._y), staged)
        self._require(not len(missing), f"{what} that the writer reads", "staged ones",
                      f"{len(missing)} others, the first is {missing[:1]}")

    def _staging(self) -> None:
        """Check the staging positions of a segment's words."""
        f, q = self._f, self._q
        blocks = np.arange(self._config.m_blocks, dtype=np.int64)
        if f["y.pool"]:
            self._at_most("columns of a pooled tile", q[0], self._config.pool_columns)
            # A window is found by the parity of the tile's own rows and columns, so tiles begin at
            # even ones.
            for coord, what in ((0, "column"), (1, "row")):
                jumps = [f[f"y.ydc{4 * t + coord}"] for t in range(5)]
                starts = distinct(f[f"y.yc{coord}"], self._y, strides_of(self._y, jumps))
                odd = starts[starts % 2 == 1]
                self._require(not len(odd), f"first {what} of a pooled tile", "even", odd[:1])
            pooled = (q[0] // 2) * (q[1] // 2) * q[2]
            self._require(pooled > 0, "pooled pixels of a segment", "1 or more", 0)
            staged = (blocks[:, None] * f["y.yblk"] + np.arange(pooled)).reshape(-1)
        else:
            jumps = [v - (1 << 16) if v >> 15 else v for v in numbers(f, "y.ypos", 4)]
            places = affine(0, q, strides_of(q, jumps))
            staged = (blocks[:, None] * f["y.yblk"] + places).reshape(-1)
        unique = np.unique(staged)
        self._require(len(unique) == len(staged), "staged words of a segment",
                      "a position for each", f"{len(staged) - len(unique)} written twice")
        self._staged("staged words", unique, "yw", self._config.stage_segment_words)

    def _flag_staging(self) -> None:
        """Check the staging positions of a segment's flag words."""
        f, q = self._f, self._q
        if not f["y.flags"]:
            return
        if f["y.pool"]:
            words = ceil_div(q[0] // 2, FLAG_POOL_PIXELS) * (q[1] // 2) * q[2]
        else:
            words = ceil_div(q[0], FLAG_MASK_PIXELS) * q[1] * q[2]
        blocks = np.arange(self._config.m_blocks)
        staged = (blocks[:, None] * f["y.fblk"] + np.arange(words)).reshape(-1)
        self._staged("staged flag words", np.unique(staged), "yf",
                     self._config.flag_segment_words)

    def _flag_columns(self) -> None:
        """Check that tiles with flags start at column 0 or before, or at a whole flag word."""
        for section in ("x", "s"):
            if self._f[f"{section}.mode"] == LoadMode.PLAIN:
                continue
            first = tile_coords(self._f, section, self._tile, 0)
            bad = first[(first > 0) & (first % FLAG_TILE_COLUMNS != 0)]
            self._require(not len(bad), f"first column of a tile of {section} with flags",
                          f"0 or less, or a multiple of {FLAG_TILE_COLUMNS}", bad[:1])
            unpool = self._f[f"{section}.mode"] == LoadMode.UNPOOL
            self._at_most(f"columns of {section} with flags", self._f[f"{section}.lim0"],
                          MAX_POOL_COLUMNS if unpool else MAX_FLAG_COLUMNS)
