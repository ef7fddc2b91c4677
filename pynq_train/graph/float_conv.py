"""Convolutions in float32 on maps ``(image, row, col, channel)``, forward and backward.

There is one matrix product per chunk of images over unfolded windows (Chellapilla et al., "High
Performance Convolutional Neural Networks for Document Processing", 2006). Depthwise convolutions
add shifted products instead: their matrices would have one column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided

from pynq_train.graph.ops import Conv, ConvTranspose
from pynq_train.graph.params import FloatArray
from pynq_train.graph.shapes import Shape
from pynq_train.graph.windows import ONE, Pair, Window

_CHUNK_VALUES = 1 << 19
"""Values of the unfolded input per matrix product: 2 MB, so that it stays in the cache."""


@dataclass(frozen=True)
class ConvSite:
    """A convolution at its place in a network; weights are ``W[m, n, kr, kc]``, n of a group.

    Attributes:
        kernel: rows and columns of the kernel.
        stride: rows and columns from window to window.
        groups: groups of channels.
        in_shape: ``(channels, rows, cols)`` of the input.
        out_shape: ``(channels, rows, cols)`` of the output.
        rows: the window along rows; ``cols``: along columns.
        dilation: rows and columns from pixel to pixel of a window. ``kernel`` is its whole reach:
            weights are zero between.
    """

    kernel: Pair
    stride: Pair
    groups: int
    in_shape: Shape
    out_shape: Shape
    rows: Window
    cols: Window
    dilation: Pair = ONE

    @classmethod
    def of(cls, op: Conv, shape: Shape) -> ConvSite:
        """Return the site of ``op`` that reads maps of ``shape``."""
        return cls(op.span_sides, op.stride_sides, op.groups, shape, op.out_shape(shape),
                   *op.windows(shape), op.dilation_sides)

    @classmethod
    def mirrored(cls, op: ConvTranspose, shape: Shape) -> ConvSite:
        """Return the convolution that ``op`` undoes, which reads maps like its output.

        ``shape`` is that of the map that ``op`` reads: ``op`` is the way of a gradient back.
        """
        return cls(op.kernel_sides, op.stride_sides, op.groups, op.out_shape(shape), shape,
                   *op.windows(shape))

    @property
    def depthwise(self) -> bool:
        """Whether every channel has one filter of its own."""
        return self.groups == self.in_shape[0] == self.out_shape[0] > 1

    def forward(self, x: FloatArray, weight: FloatArray) -> FloatArray:
        """Return the output ``(image, row, col, m)`` of ``(image, row, col, n)``, without bias."""
        padded, weight = self._pad(x), self._dilated(weight)
        if self.depthwise:
            return self._shifted(padded, weight)
        parts = [_correlate(padded[..., n], _matrix(weight[m]), self.kernel, self.stride,
                            self.rows.size, self.cols.size) for m, n in self._groups()]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=3)

    def weight_gradient(self, x: FloatArray, g: FloatArray) -> FloatArray:
        """Return the gradient of the weights, ``[m, n, kr, kc]``.

        ``x``: the input, ``g``: gradient of the output, ``(image, row, col, m)``.
        """
        padded = self._pad(x)
        if self.depthwise:
            taps = [np.einsum("irca,irca->a", self._tap(padded, r, c), g)
                    for r, c in np.ndindex(*self.kernel)]
            shaped = np.stack(taps, axis=1).reshape(-1, 1, *self.kernel)
            return self._taken(shaped.astype(np.float32))
        return self._taken(np.concatenate([self._unfolded_gradient(padded[..., n], g[..., m])
                                           for m, n in self._groups()]))

    def input_gradient(self, g: FloatArray, weight: FloatArray) -> FloatArray:
        """Return the gradient of the input, ``(image, row, col, n)``, from the output's, ``g``."""
        weight = self._dilated(weight)
        if self.depthwise:
            return self._spread_back(g, weight)
        parts = [self._turned_back(g[..., m], weight[m]) for m, _ in self._groups()]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=3)

    # -- private ---------------------------------------------------------------------------------

    def _dilated(self, weight: FloatArray) -> FloatArray:
        """Return weights with the zeros of a dilation between them."""
        if self.dilation == ONE:
            return weight
        out = np.zeros((*weight.shape[:2], *self.kernel), weight.dtype)
        out[:, :, :: self.dilation.rows, :: self.dilation.cols] = weight
        return out

    def _taken(self, gradient: FloatArray) -> FloatArray:
        """Return the gradient of the weights that a dilation leaves."""
        return np.ascontiguousarray(gradient[:, :, :: self.dilation.rows, :: self.dilation.cols])

    def _groups(self) -> list[tuple[slice, slice]]:
        """Return output and input channels of every group."""
        m, n = self.out_shape[0] // self.groups, self.in_shape[0] // self.groups
        return [(slice(i * m, i * m + m), slice(i * n, i * n + n)) for i in range(self.groups)]

    def _pad(self, x: FloatArray) -> FloatArray:
        """Return the input with the zeros of the window around it."""
        pads = ((0, 0), (self.rows.pad_before, self.rows.pad_after),
                (self.cols.pad_before, self.cols.pad_after), (0, 0))
        return np.pad(x, pads) if any(p != (0, 0) for p in pads) else x

    def _tap(self, padded: FloatArray, row: int, col: int) -> FloatArray:
        """Return the pixels under one kernel position: a NumPy view of the output's size."""
        down, right = self.stride
        return padded[:, row : row + down * (self.rows.size - 1) + 1 : down,
                      col : col + right * (self.cols.size - 1) + 1 : right]

    def _shifted(self, padded: FloatArray, weight: FloatArray) -> FloatArray:
        """Return the output of a depthwise convolution: one product for each kernel position."""
        out = self._tap(padded, 0, 0) * weight[:, 0, 0, 0]
        for r, c in np.ndindex(*self.kernel):
            if r or c:
                out += self._tap(padded, r, c) * weight[:, 0, r, c]
        return out

    def _spread_back(self, g: FloatArray, weight: FloatArray) -> FloatArray:
        """Return the input gradient of a depthwise convolution: every tap adds its share."""
        n, height, width = self.in_shape
        top, left = self.rows.pad_before, self.cols.pad_before
        padded = np.zeros((len(g), top + height + self.rows.pad_after,
                           left + width + self.cols.pad_after, n), dtype=np.float32)
        for r, c in np.ndindex(*self.kernel):
            tap = self._tap(padded, r, c)
            # In place: the tap is a view, so this adds to ``padded``.
            tap += g * weight[:, 0, r, c]
        return np.ascontiguousarray(padded[:, top : top + height, left : left + width])

    def _unfolded_gradient(self, padded: FloatArray, g: FloatArray) -> FloatArray:
        """Return the weight gradient of one group from its padded input and its output gradient."""
        images, rows, cols, channels = g.shape
        n = padded.shape[3]
        fan_in = n * self.kernel.area
        total = np.zeros((fan_in, channels), dtype=np.float32)
        for part in _chunks(images, rows * cols * fan_in):
            unfolded = _unfold(padded[part], self.kernel, self.stride, rows, cols)
            total += unfolded.T @ g[part].reshape(-1, channels)
        shaped = total.reshape(*self.kernel, n, channels)
        return np.ascontiguousarray(shaped.transpose(3, 2, 0, 1))

    def _turned_back(self, g: FloatArray, weight: FloatArray) -> FloatArray:
        """Return the input gradient of one group.

        The gradient with zeros between its elements (of a stride) is correlated with the weights
        turned by 180 degrees.
        """
        images, rows, cols, channels = g.shape
        _, height, width = self.in_shape
        k, (down, right) = self.kernel, self.stride
        spread = np.zeros((images, height + k.rows - 1, width + k.cols - 1, channels),
                          dtype=np.float32)
        # Padding is below the kernel's size, so neither is negative.
        top, left = k.rows - 1 - self.rows.pad_before, k.cols - 1 - self.cols.pad_before
        spread[:, top : top + down * (rows - 1) + 1 : down,
               left : left + right * (cols - 1) + 1 : right] = g
        turned = weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
        return _correlate(spread, _matrix(turned), k, ONE, height, width)


def _matrix(weight: FloatArray) -> FloatArray:
    """Return ``W[m, n, kr, kc]`` as a matrix (kr * kc * n, m), in the order of unfolded pixels."""
    return np.ascontiguousarray(weight.transpose(2, 3, 1, 0)).reshape(-1, len(weight))


def _unfold(x: FloatArray, kernel: Pair, stride: Pair, rows: int, cols: int) -> FloatArray:
    """Return the windows of padded maps as rows: (image * rows * cols, kernel area * channel).

    ``rows``, ``cols``: of the output.
    """
    images, _, _, channels = x.shape
    si, sr, sc, se = x.strides
    windows = as_strided(
        x,
        shape=(images, rows, cols, *kernel, channels),
        strides=(si, sr * stride.rows, sc * stride.cols, sr, sc, se),
        writeable=False,
    )
    return windows.reshape(images * rows * cols, kernel.area * channels)


def _chunks(images: int, values_per_image: int) -> list[slice]:
    """Return slices of images whose unfolded inputs fit the cache, at least one image each."""
    size = max(1, _CHUNK_VALUES // max(1, values_per_image))
    return [slice(begin, min(begin + size, images)) for begin in range(0, images, size)]


def _correlate(x: FloatArray, matrix: FloatArray, kernel: Pair, stride: Pair, rows: int,
               cols: int) -> FloatArray:
    """Return the correlation of padded maps with a matrix of weights (:func:`_matrix`)."""
    out = np.empty((len(x), rows, cols, matrix.shape[1]), dtype=np.float32)
    for part in _chunks(len(x), rows * cols * len(matrix)):
        unfolded = _unfold(x[part], kernel, stride, rows, cols)
        np.matmul(unfolded, matrix, out=out[part].reshape(-1, matrix.shape[1]))
    return out
