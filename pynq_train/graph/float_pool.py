"""Pooling in float32 on maps ``(image, row, col, channel)``, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pynq_train.graph.params import FloatArray
from pynq_train.graph.pooling import AvgPool, MaxPool, MaxPool2x2
from pynq_train.graph.shapes import Shape
from pynq_train.graph.windows import Pair, Window

Index = npt.NDArray[Any]  # of unsigned integers: NumPy 1.21 cannot subscript those when it runs


@dataclass(frozen=True)
class PoolSite:
    """Windows of a pooling over an input of ``in_shape``."""

    kernel: Pair
    stride: Pair
    in_shape: Shape
    rows: Window
    cols: Window

    @classmethod
    def of(cls, op: MaxPool2x2 | MaxPool | AvgPool, shape: Shape) -> PoolSite:
        """Return the site of ``op`` reading ``shape``."""
        window = MaxPool(2, 2) if isinstance(op, MaxPool2x2) else op
        return cls(window.kernel_sides, window.stride_sides, shape, *window.windows(shape))

    def maxima(self, x: FloatArray, keep: bool) -> tuple[FloatArray, Index | None]:
        """Return the maxima and, if ``keep``, the place of each in its window (row-major)."""
        taps = self._taps(self._pad(x, -np.inf))
        out = next(taps)[1].copy()
        index = np.zeros(out.shape, np.min_scalar_type(self.kernel.area)) if keep else None
        for place, tap in taps:
            if index is not None:
                # A later equal one loses.
                np.copyto(index, index.dtype.type(place), where=tap > out)
            np.maximum(out, tap, out=out)
        return out, index

    def maxima_backward(self, g: FloatArray, index: Index) -> FloatArray:
        """Return the input's gradient: each output's goes to its maximum."""
        padded = self._blank(len(g))
        apart = all(step >= size for step, size in zip(self.stride, self.kernel))
        for place, tap in self._taps(padded):
            if apart:  # no pixel lies in two windows
                np.multiply(g, index == place, out=tap)
            else:
                tap += g * (index == place)
        return self._inside(padded)

    def means(self, x: FloatArray) -> FloatArray:
        """Return the sums of the windows divided by their size, padding counted as zeros."""
        taps = self._taps(self._pad(x, 0.0))
        out = next(taps)[1].copy()
        for _, tap in taps:
            out += tap
        out *= np.float32(1 / self.kernel.area)
        return out

    def means_backward(self, g: FloatArray) -> FloatArray:
        """Return the input's gradient: each output's is spread over its window."""
        padded = self._blank(len(g))
        share = g * np.float32(1 / self.kernel.area)
        for _, tap in self._taps(padded):
            tap += share
        return self._inside(padded)

    # -- private ---------------------------------------------------------------------------------

    def _taps(self, padded: FloatArray) -> Iterator[tuple[int, FloatArray]]:
        """Views of the pixels at each place of the windows, of the size of the output."""
        down, right = self.stride
        for place in range(self.kernel.area):
            row, col = divmod(place, self.kernel.cols)
            yield place, padded[:, row : row + down * (self.rows.size - 1) + 1 : down,
                                col : col + right * (self.cols.size - 1) + 1 : right]

    def _pad(self, x: FloatArray, value: float) -> FloatArray:
        pads = ((0, 0), (self.rows.pad_before, self.rows.pad_after),
                (self.cols.pad_before, self.cols.pad_after), (0, 0))
        if all(p == (0, 0) for p in pads):
            return x
        return np.pad(x, pads, constant_values=value)

    def _blank(self, images: int) -> FloatArray:
        channels, height, width = self.in_shape
        return np.zeros((images, self.rows.pad_before + height + self.rows.pad_after,
                         self.cols.pad_before + width + self.cols.pad_after, channels),
                        dtype=np.float32)

    def _inside(self, padded: FloatArray) -> FloatArray:
        top, left = self.rows.pad_before, self.cols.pad_before
        _, height, width = self.in_shape
        return np.ascontiguousarray(padded[:, top : top + height, left : left + width])
