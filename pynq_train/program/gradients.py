"""Proof that a GRADIENT descriptor's drain gives the update unit the sums of its weights in order.

The drained lanes are replayed in the order in which the gradient queue gives them out. For each,
the addresses of the operands that were multiplied into it must be those of the weight that the
update unit has at that place: ``[m tile][n block][kr][kc]``. Addresses are compared for all pixels
of the first tile of a reduction; that the other tiles read the tensor is the business of
:mod:`pynq_train.program.meaning`.

A sum that lands at a wrong weight would be added to it without any error: no limit and no memory
access shows it, so it is proved here.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from pynq_train.arrays import Array
from pynq_train.errors import IllegalProgram
from pynq_train.hw.commands import LoadMode
from pynq_train.hw.config import HwConfig
from pynq_train.hw.words import LANES, SET_PIXELS, WORD_BYTES, round_up
from pynq_train.program.access import numbers, row_offsets
from pynq_train.program.meaning import Meaning
from pynq_train.program.program import Fields
from pynq_train.program.spans import affine, strides_of, unpair

REDUCED = 3
"""Inner tile levels of the reduction: rows, columns, images."""
_MASK32 = (1 << 32) - 1


def check_gradient(label: str, fields: Fields, taps: Sequence[Fields], config: HwConfig) -> None:
    """Check one GRADIENT descriptor that :class:`pynq_train.program.limits.Limits` lets pass.

    Args:
        label: name of the descriptor for messages.
        fields: its fields.
        taps: its tap table.
        config: the engine.

    Raises:
        IllegalProgram: the sums that it drains are not those of its weights, in their order.
    """
    _GradientChecks(label, fields, taps, config).check()


class _GradientChecks:
    """The checks of one GRADIENT descriptor."""

    def __init__(self, label: str, fields: Fields, taps: Sequence[Fields],
                 config: HwConfig) -> None:
        self._label, self._f, self._taps, self._config = label, fields, taps, config
        self._blocks, self._lane_sums = config.m_blocks, SET_PIXELS * config.tm
        self._tile, self._pixels = numbers(fields, "pre.t", 5), numbers(fields, "pix.p", 3)

    def check(self) -> None:
        """Run all checks; the first that fails raises IllegalProgram."""
        f = self._f
        self._require(f["g.g_w"] == 0, "g_w", "0: the sums do not go to memory", f["g.g_w"])
        self._require(f["c.red"] == REDUCED, "c.red",
                      f"{REDUCED}, the rows, columns and images of the reduction", f["c.red"])
        least = min(f["g.g_m"], self._config.tm)
        self._require(least <= f["u.u_rows"] <= self._config.tm, "u_rows",
                      f"{least}..{self._config.tm}: every weight is updated", f["u.u_rows"])
        segment = LANES * self._lane_sums
        self._require(segment <= self._config.grad_words, "sums of a segment",
                      f"at most {self._config.grad_words}, the gradient queue", segment)
        count = Meaning(f).weight_count
        self._require(f["u.u_count"] == count, "u_count",
                      f"{count}, the weights of its geometry with their padding", f["u.u_count"])
        segments, lanes = np.nonzero(self._kept())
        self._require(len(lanes) * self._lane_sums == count, "sums that the drain keeps",
                      f"u_count ({count})", len(lanes) * self._lane_sums,
                      "let coordinate 0 of the drain name the lanes that are weights")
        self._require(not any(tap["mute"] for tap in self._taps), "taps", "none is mute", "some")
        self._ring()
        self._order(segments, lanes)

    def _require(self, good: bool, what: str, expected: object, found: object,
                 fix: str | None = None) -> None:
        """Raise IllegalProgram unless ``good``."""
        if not good:
            raise IllegalProgram(f"{self._label}: {what}", expected=expected, found=found, fix=fix)

    def _kept(self) -> Array:
        """Return whether the queue keeps the sums of a lane: bool ``[segment, lane]``."""
        f, y = self._f, numbers(self._f, "y.y", 5)
        first = affine(f["y.yc0"], y, strides_of(y, [f[f"y.ydc{4 * t}"] for t in range(5)]))
        coordinate = first[:, None] + np.arange(LANES)
        return (coordinate >= 0) & (coordinate < f["y.ylim0"])

    def _ring(self) -> None:
        """Check that S sets take a tile's pixels in order, its channel blocks as quarters.

        The number of sets, and the padding of a block, follow from the limits of the S ring.
        """
        f, pixels = self._f, prod(self._pixels)
        padded = round_up(pixels, SET_PIXELS)
        want = {"s.n0": self._pixels[0], "s.n1": self._pixels[1], "s.n2": self._pixels[2],
                "s.n3": self._blocks, "c.s_col": 1, "c.s_stride": padded, "c.s_step": SET_PIXELS}
        for name, value in want.items():
            self._require(f[name] == value, name, f"{value}, as the pixels of a tile stand in the "
                          "S ring", f[name])

    def _order(self, segments: Array, lanes: Array) -> None:
        """Check the addresses of both operands of every kept lane.

        Args:
            segments: segment of each kept lane, in the order of the queue.
            lanes: its lane.
        """
        f, meaning = self._f, Meaning(self._f)
        g = meaning.g
        per_tile = prod(numbers(f, "y.y", 5)[: f["y.segs"]])
        tile, segment = segments // per_tile, segments % per_tile
        chunk, m_tile = tile % self._tile[3], tile // self._tile[3]
        (rows, cols), blocks = meaning.kernel, g["nb"]
        # The weight that the update unit has at each place, by m tile, n block, row and column of
        # the kernel; the sums of a lane are the dimensions inside these.
        rest, col = np.divmod(np.arange(len(lanes)), cols)
        rest, row = np.divmod(rest, rows)
        weight = (rest // blocks, rest % blocks, row, col)

        strides = numbers(f, "g.g_y_strides", 4)
        start = f["s.addr"] + self._moved("s", chunk, m_tile)
        # S operand: the output gradient of the m tile. Its first pixel is enough, since _ring has
        # shown the order of the others.
        for block, offset in enumerate(self._s_blocks()):
            self._compare("output gradient", weight, start + offset,
                          g["y"] + (self._blocks * weight[0] + block) * strides[1])

        places = self._places()
        used = np.zeros(places.shape[1:], bool)
        used[segment, lanes] = True
        missing = used & (places < 0).any(axis=0)
        if missing.any():
            first = int(np.argmax(missing[segment, lanes]))
            self._require(False, "X positions of the drained sums", "loaded ones",
                          f"others, for {_name(weight, first)}")
        # X operand: the input, moved by the place of the weight in the kernel. The first pixel
        # gives the start, all others must lie as the geometry says.
        strides = numbers(f, "g.g_x_strides", 4)
        image, line, column = np.indices(self._pixels[::-1]).reshape(3, -1)
        pixel = (image * strides[0] + meaning.stride[0] * line * strides[2]
                 + meaning.stride[1] * column * strides[3])
        # Lanes that are not used read anywhere; index 0 keeps the arrays whole.
        offsets = self._offsets()[np.where(used, places, 0)]
        spread = ((offsets - offsets[0] - pixel[:, None, None]) & _MASK32 != 0).any(axis=0)
        start = f["x.addr"] + self._moved("x", chunk, m_tile) + offsets[0, segment, lanes]
        tile_block = self._blocks * weight[0] * (g["group"] > 0)
        self._compare("input", weight, start, g["x"] + (tile_block + weight[1]) * strides[1]
                      + (row - g["pad_top"]) * strides[2] + (col - g["pad_left"]) * strides[3])
        self._require(not (spread & used).any(), "pixels of the drained sums",
                      "those of the geometry in every lane", "others in some",
                      "let the pixel table and the X tile follow the strides of the input")

    def _moved(self, name: str, chunk: Array, m_tile: Array) -> Array:
        """Return what an operand's address has moved in the first tile of a reduction."""
        strides = strides_of(self._tile, numbers(self._f, f"{name}.daddr", 5))
        reuse = self._f[f"{name}.reuse"]
        return ((strides[3] if reuse <= 3 else 0) * chunk
                + (strides[4] if reuse <= 4 else 0) * m_tile)

    def _s_blocks(self) -> Array:
        """Return the byte offset of each channel block of the S tile from the first one."""
        f, n = self._f, numbers(self._f, "s.n", 4)
        none, block = np.zeros(self._blocks, np.int64), np.arange(self._blocks, dtype=np.int64)
        # Unpooling takes the jump from row to row after odd rows only.
        last = (n[1] - 1 + (f["s.c1"] & 1)) // 2 if f["s.mode"] == LoadMode.UNPOOL else n[1] - 1
        return row_offsets((none, none, block), n, numbers(f, "s.drow", 3), none, none + last)

    def _places(self) -> Array:
        """Return the element of the X tile that is read: ``[pixel, segment, lane]``; -1: none."""
        f, levels = self._f, numbers(self._f, "c.l", 5)
        n = numbers(f, "x.n", 4)
        positions = affine(0, n, strides_of(n, [unpair(v) for v in numbers(f, "x.pos", 4)]))
        # Inverse of the loader's order: which element stands at a position of the X tile.
        element = np.full(int(positions.max()) + 1, -1, np.int64)
        element[positions] = np.arange(len(positions))
        table = affine(0, self._pixels,
                       strides_of(self._pixels, [unpair(v) for v in numbers(f, "pix.dpos", 3)]))
        rows = strides_of(levels, numbers(f, "c.dj", 5))
        moves = strides_of(levels, [unpair(v) for v in numbers(f, "c.dx", 5)])
        pixel = np.arange(len(table))[:, None]
        step, tap = np.divmod(np.arange(levels[2] * levels[3]), levels[2])

        def at(strides: Sequence[int]) -> Array:
            """Value of an affine variable in each step: ``[pixel, segment]``."""
            return (strides[0] * (pixel % SET_PIXELS) + strides[4] * (pixel // SET_PIXELS)
                    + strides[2] * tap + strides[3] * step)

        voff = np.array([unpair(entry["voff"]) for entry in self._taps], np.int64)
        row = at(rows)
        there = (row >= 0) & (row < len(table))
        base = table[np.where(there, row, 0)] + at(moves)
        place = (base + voff[tap])[:, :, None] + unpair(f["pix.lane"]) * np.arange(LANES)
        inside = there[:, :, None] & (place >= 0) & (place < len(element))
        return np.where(inside, element[np.where(inside, place, 0)], -1)

    def _offsets(self) -> Array:
        """Return the byte offset of each element of the X tile from its first."""
        n = numbers(self._f, "x.n", 4)
        outer = strides_of(n[1:], numbers(self._f, "x.drow", 3))
        return affine(0, n, [WORD_BYTES, *outer])

    def _compare(self, what: str, weight: tuple[Array, ...], found: Array,
                 expected: Array) -> None:
        """Compare addresses modulo 2**32, as the engine adds them; name the first that differs."""
        wrong = (found - expected) & _MASK32 != 0
        if wrong.any():
            at = int(np.argmax(wrong))
            self._require(False, f"drained sums: {what} of {_name(weight, at)}",
                          f"the address {int(expected[at])}", int(found[at]),
                          "drain the lanes in the order of the weights in memory")


def _name(weight: tuple[Array, ...], at: int) -> str:
    """Return the name of the weight of one kept lane."""
    m_tile, block, row, col = (int(index[at]) for index in weight)
    return f"weight m tile {m_tile}, n block {block}, row {row}, column {col}"
