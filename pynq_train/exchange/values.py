"""What a foreign network computes, and how it sees it: as a vector, channels first or last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pynq_train.exchange.windows import Pads, Refused
from pynq_train.graph.params import FloatArray
from pynq_train.graph.shapes import Shape

NO_PADS: Pads = (0, 0, 0, 0)
BATCH = (1 << 31) - 1
"""Stands for the number of images where a foreign network computes with it: no other size is it."""


@dataclass(frozen=True)
class Value:
    """Something that the foreign network computes.

    Attributes:
        name: the operation that yields it.
        shape: its ``(channels, rows, cols)``.
        pads: zeros that the next convolution or pooling shall put around it.
        flat: the foreign network sees a vector.
        map_shape: the map that was flattened, where the foreign network counts channels fastest.
        last: the foreign network sees ``(rows, cols, channels)``.
        joined: the foreign network sees ``(channels, rows * cols)``.
        positive: no value is below zero.
        turned: it is the input, which the foreign network has in another order of axes.
        scaled: it is the input, behind so many additions and multiplications of constants.
        before: what was flattened.
        groups: the foreign network sees the channels as two axes, of so many.
    """

    name: str
    shape: Shape
    pads: Pads = NO_PADS
    flat: bool = False
    map_shape: Shape | None = None
    last: bool = False
    joined: bool = False
    positive: bool = False
    turned: bool = False
    scaled: int = 0
    before: Value | None = None
    groups: tuple[int, int] | None = None

    @property
    def dims(self) -> tuple[int, ...]:
        """Sizes that the foreign network sees, without that of the mini-batch."""
        channels, rows, cols = self.shape
        rows, cols = rows + self.pads[0] + self.pads[2], cols + self.pads[1] + self.pads[3]
        if self.flat:
            return (channels * rows * cols,)
        if self.groups is not None:
            return (*self.groups, rows * cols) if self.joined else (*self.groups, rows, cols)
        if self.joined:
            return (channels, rows * cols)
        return (rows, cols, channels) if self.last else (channels, rows, cols)

    @property
    def counts_otherwise(self) -> bool:
        """Whether the foreign network counts its elements in another order: channels fastest."""
        channels, rows, cols = self.shape
        return self.map_shape is not None or (self.last and channels > 1 and rows * cols > 1)

    @property
    def seen_as(self) -> tuple[bool, Shape | None, bool, bool]:
        """How the foreign network sees the elements: fields flat to joined."""
        return self.flat, self.map_shape, self.last, self.joined

    @property
    def layout(self) -> tuple[Shape | None, bool, bool]:
        """What must be equal in values that are joined element by element."""
        return self.map_shape, self.last, self.joined


def channels_first(array: FloatArray, source: Value, axis: int) -> FloatArray:
    """Return ``array`` with one axis in the order of ``source`` here: (channel, row, col).

    The foreign network counts it as (row, col, channel) if ``source`` has a ``map_shape``.
    """
    if source.map_shape is None:
        return array
    channels, rows, cols = source.map_shape
    order = np.arange(channels * rows * cols).reshape(rows, cols, channels)
    return np.take(array, order.transpose(2, 0, 1).ravel(), axis)


def per_channel(array: FloatArray, source: Value) -> FloatArray | None:
    """Return one value per channel of an array that is added to ``source``; None if it has more.

    The array is broadcast as NumPy does it.
    """
    dims = source.dims
    axis = len(dims) - 1 if source.last else 0
    sizes = (1,) * (len(dims) - array.ndim) + array.shape
    if len(sizes) == len(dims) + 1 and sizes[0] == 1:
        sizes = sizes[1:]
    if len(sizes) != len(dims) or any(size != 1 for at, size in enumerate(sizes) if at != axis):
        return None
    if sizes[axis] not in (1, dims[axis]):
        return None
    return np.array(np.broadcast_to(array.ravel(), source.shape[:1]))


def without_softmax(value: Value, axis: int | None, ends: bool, part: str) -> Value:
    """Return what a softmax reads: at the end it goes, since loss and softmax follow by themselves.

    Args:
        value: what it reads.
        axis: over which axis it goes, that of the mini-batch counted; None if it does not say.
        ends: nothing reads it.
        part: what the foreign network calls its pieces.

    Raises:
        Refused: it is not the last one, or does not go over the classes of each image.
    """
    if not ends:
        raise Refused(f"is not the last {part}", "remove it: softmax and loss follow by themselves")
    sizes = (1, *value.dims)
    place = None if axis is None else axis + len(sizes) * (axis < 0)
    if place is not None and not (0 < place < len(sizes)
                                  and sizes[place] == int(np.prod(sizes))):
        raise Refused(f"goes over axis {axis} of what has {len(sizes)} axes, not over the classes "
                      "of an image", "take the axis of the classes, that is axis 1 behind a dense "
                      "layer")
    return value


def text_of(sizes: Sequence[int]) -> str:
    """Return sizes for people, with ``n`` for the number of images."""
    return f"({', '.join('n' if size == BATCH else str(size) for size in sizes)})"
