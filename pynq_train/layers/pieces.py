"""Bilinear enlargement as convolutions over parts of the maps: their windows and weights.

Between the pixels it is a transposed convolution with fixed weights. Outside of the map it repeats
the pixels of the border: there, and for the gradients of these pixels, weights are others. So each
axis of a map is cut into a first, a middle and a last *stretch*, and a map into up to nine
*pieces*, each a convolution of its own. A kernel of a piece is the product of those of its two
stretches.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pynq_train.arrays import Array
from pynq_train.graph.windows import Pair


@dataclass(frozen=True)
class Stretch:
    """A part of an axis: windows over the large map, one for each pixel of the small one.

    Attributes:
        small: first pixel of the small map; ``windows``: how many it takes.
        large: first pixel of the large map; ``size``: how many it takes.
        stride: from window to window.
        pad: pixels of the first window in front of the large map's.
        kernel: the weights of a window.
    """

    small: int
    windows: int
    large: int
    size: int
    stride: int
    pad: int
    kernel: tuple[float, ...]


@dataclass(frozen=True)
class Piece:
    """Part of a map: a stretch of its rows and one of its columns.

    Attributes:
        rows: along rows; ``cols``: along columns.
        first: number of weights of a channel in front of this piece's.
    """

    rows: Stretch
    cols: Stretch
    first: int

    @property
    def kernel(self) -> Pair:
        """Rows and columns of the kernel."""
        return Pair(len(self.rows.kernel), len(self.cols.kernel))

    @property
    def weights(self) -> Array:
        """The kernel, float64 ``[kr, kc]``."""
        return np.outer(self.rows.kernel, self.cols.kernel)


def triangle(factor: int) -> tuple[float, ...]:
    """Return the weights with which a pixel spreads where copies stand on pixels."""
    rising = [(place + 1) / factor for place in range(factor)]
    return (*rising, *rising[-2::-1])


def _middle(factor: int) -> tuple[float, ...]:
    """Return the weights with which a pixel spreads over the larger map."""
    if factor % 2:
        return triangle(factor)
    rising = [(2 * place + 1) / (2 * factor) for place in range(factor)]
    return (*rising, *rising[::-1])


def _before(factor: int) -> int:
    """Return how many weights of a pixel lie in front of its first copy."""
    return (factor - 1) // 2 if factor % 2 else factor // 2


def enlarging(size: int, factor: int) -> tuple[Stretch, ...]:
    """Return the stretches of the larger axis: all of a border's pixels are the border's."""
    border, kernel = factor // 2, _middle(factor)
    middle = size * factor - 2 * border
    ones = (1.0,) * border
    found = [Stretch(0, 1, 0, border, 1, 0, ones)]
    if middle:
        found.append(Stretch(0, size, border, middle, factor, _before(factor) + border, kernel))
    return (*found, Stretch(size - 1, 1, border + middle, border, 1, 0, ones))


def narrowing(size: int, factor: int) -> tuple[Stretch, ...]:
    """Return the stretches of the smaller axis, whose gradients are sums of windows."""
    if size == 1:
        return (Stretch(0, 1, 0, factor, 1, 0, (1.0,) * factor),)
    border, kernel, before = factor // 2, _middle(factor), _before(factor)
    first = (*(1.0,) * border, *kernel[before + border :])
    found = [Stretch(0, 1, 0, len(first), 1, 0, first)]
    if size > 2:
        found.append(Stretch(1, size - 2, factor - before, (size - 3) * factor + len(kernel),
                             factor, 0, kernel))
    return (*found, Stretch(size - 1, 1, size * factor - len(first), len(first), 1, 0, first[::-1]))


@dataclass(frozen=True)
class Pieces:
    """The pieces of a bilinear enlargement: of its output, and of the gradient of its input.

    Attributes:
        forward: those of the output.
        backward: those of the gradient.
    """

    forward: tuple[Piece, ...]
    backward: tuple[Piece, ...]

    @classmethod
    @lru_cache(maxsize=64)
    def of(cls, rows: int, cols: int, factor: int) -> Pieces:
        """Return the pieces for an input of ``rows`` x ``cols`` pixels."""
        at = 0
        made: list[tuple[Piece, ...]] = []
        for stretches in (enlarging, narrowing):
            some = []
            for down in stretches(rows, factor):
                for right in stretches(cols, factor):
                    some.append(Piece(down, right, at))
                    at += some[-1].kernel.area
            made.append(tuple(some))
        return cls(made[0], made[1])

    @property
    def all(self) -> tuple[Piece, ...]:
        """All of them, in the order of their weights."""
        return self.forward + self.backward

    @property
    def weights(self) -> Array:
        """The weights of a channel, one piece behind the other."""
        return np.concatenate([piece.weights.ravel() for piece in self.all])
