"""What section ``g`` says that a convolution touches, to compare with what it really touches.

Section ``g`` is the geometry of a layer: golden computes from it, the engine never reads it. The
verifier proves that the other sections, which the engine obeys, touch the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from pynq_train.hw.commands import LoadMode, Pass
from pynq_train.hw.words import (
    CHANNELS_PER_WORD,
    FLAG_MASK_PIXELS,
    FLAG_POOL_PIXELS,
    WORD_BYTES,
    ceil_div,
    round_up,
)
from pynq_train.program.access import numbers
from pynq_train.program.program import Fields
from pynq_train.program.spans import Spans, affine


def strided_words(start: int, counts: Sequence[int], strides: Sequence[int]) -> Spans:
    """Return the words of a strided array, the last axis along a row; strides in bytes."""
    *outer, count = counts
    *steps, stride = strides
    # Rows without gaps are one interval each: far fewer than words.
    if stride == WORD_BYTES:
        starts = affine(start, outer, steps)
        return Spans.of(starts, starts + WORD_BYTES * count)
    starts = affine(start, counts, strides)
    return Spans.of(starts, starts + WORD_BYTES)


def sides(fields: Fields, name: str) -> tuple[int, int]:
    """Return (rows, columns) of what section ``g`` calls ``name``: ``kernel`` or ``stride``."""
    rows = fields[f"g.g_{name}"]
    return rows, rows + fields[f"g.g_{name}_wider"]


class Meaning:
    """Byte sets of the tensors of a convolution descriptor.

    Args:
        fields: its fields.

    Attributes:
        kind: its pass.
        g: section ``g``, names without the prefix; offsets are those of the first image taken.
        kernel: rows and columns of the kernel; ``stride``: from window to window.
    """

    def __init__(self, fields: Fields) -> None:
        self._f = fields
        self.kind = Pass(fields["g.g_pass"])
        self.kernel, self.stride = sides(fields, "kernel"), sides(fields, "stride")
        g = {name[4:]: value for name, value in fields.items() if name.startswith("g.g_")}
        # Section g names image 0 of the mini-batch: here the first image that is taken counts.
        for name in ("x", "y", "flag"):
            g[name] += fields["gc.first"] * g[f"{name}_strides0"]
        self.g = g
        pooled = g["pool"] or g["mode"] == LoadMode.UNPOOL
        self._rows = g["out_rows"] // 2 if pooled else g["out_rows"]
        self._cols = g["out_cols"] // 2 if pooled else g["out_cols"]
        self._flag_words = ceil_div(self._cols, FLAG_POOL_PIXELS if pooled else FLAG_MASK_PIXELS)

    @property
    def products(self) -> int:
        """Products in one sum; padded channels are zero and do not count."""
        g = self.g
        if self.kind == Pass.WEIGHT_GRADIENT:
            return g["images"] * g["out_rows"] * g["out_cols"]
        channels = g["tile"] if g["group"] else g["n"] if self.kind == Pass.FORWARD else g["m"]
        return channels * prod(self.kernel)

    def x(self, phase: bool = False) -> Spans:
        """Return the bytes of the layer's input, or of its gradient.

        ``phase``: only the rows of the descriptor's row phase, those with (row + pad_top) % stride
        == phase.
        """
        g, strides = self.g, numbers(self._f, "g.g_x_strides", 4)
        start, rows = g["x"], g["in_rows"]
        step = 1
        if phase:
            step = self.stride[0]
            first = (g["phase"] - g["pad_top"]) % step
            start, rows = start + first * strides[2], max(0, ceil_div(rows - first, step))
        counts = (g["images"], ceil_div(g["n"], CHANNELS_PER_WORD), rows, g["in_cols"])
        return strided_words(start, counts, (strides[0], strides[1], strides[2] * step, strides[3]))

    def y(self) -> Spans:
        """Return the bytes of the layer's output, or of its gradient, at pooled size."""
        g = self.g
        counts = (g["images"], ceil_div(g["m"], CHANNELS_PER_WORD), self._rows, self._cols)
        return strided_words(g["y"], counts, numbers(self._f, "g.g_y_strides", 4))

    def flags(self) -> Spans:
        """Return the bytes of the layer's flags."""
        g = self.g
        counts = (g["images"], ceil_div(g["m"], CHANNELS_PER_WORD), self._rows, self._flag_words)
        return strided_words(g["flag"], counts,
                             (*numbers(self._f, "g.g_flag_strides", 3), WORD_BYTES))

    @property
    def weight_count(self) -> int:
        """Weights of the layer, those included that pad m tiles and n blocks."""
        g = self.g
        return round_up(g["m"], g["tile"]) * g["nb"] * CHANNELS_PER_WORD * prod(self.kernel)

    def weights(self) -> Spans:
        """Return the bytes of the 16-bit weights."""
        return Spans.one(self.g["w"], 2 * self.weight_count)

    def biases(self) -> Spans:
        """Return the bytes of the bias masters, or of the sums of the bias gradient."""
        g = self.g
        channels = g["n"] if self.kind == Pass.BACKWARD else g["m"]
        return Spans.one(g["b"], round_up(channels, g["tile"]) * WORD_BYTES)

    def expected(self) -> dict[str, tuple[Spans, bool]]:
        """Return, by access: the bytes that it may touch, and whether it must touch all of them.

        The update unit's tensors are not in section ``g``; :mod:`pynq_train.program.gradients`
        checks that it gets the sums of all weights, in their order in memory.
        """
        g = self.g
        if self.kind == Pass.FORWARD:
            result = {"streamed operand": (self.x(), False), "S operand": (self.weights(), False),
                      "stored tensor": (self.y(), True)}
            if g["bias"]:
                result["biases"] = (self.biases(), True)
            if g["flags"]:
                result["stored flags"] = (self.flags(), True)
            return result
        name = "streamed operand" if self.kind == Pass.BACKWARD else "S operand"
        result = {name: (self.y(), False)}
        # What is stored must be whole; of what is read, a stride or padding may leave parts out.
        if g["mode"] != LoadMode.PLAIN:
            result[f"flags of the {name}"] = (self.flags(), False)
        if self.kind == Pass.BACKWARD:
            result["S operand"] = (self.weights(), False)
            result["stored tensor"] = (self.x(phase=True), True)
            if g["bias"]:
                result["biases"] = (self.biases(), True)
            return result
        result["streamed operand"] = (self.x(), False)
        if g["bias"]:
            result["channel sums"] = (self.biases(), True)
        return result


def has_work(fields: Fields) -> bool:
    """Return whether all sizes of the geometry are positive."""
    names = ("m", "n", "images", "nb", "in_rows", "in_cols", "out_rows", "out_cols")
    windows = (*sides(fields, "kernel"), *sides(fields, "stride"))
    return min(windows) > 0 and all(fields[f"g.g_{name}"] > 0 for name in names)
