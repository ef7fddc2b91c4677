"""Images of a mini-batch on their way into device memory."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pynq_train.arrays import Array
from pynq_train.hw.words import CHANNELS_PER_WORD
from pynq_train.run.formats import quantise, range_of

Codes = NDArray[np.int16]


class Batch(Protocol):
    """Images that become numbers when they are needed."""

    def __len__(self) -> int:
        """Return the number of images."""

    def values(self) -> NDArray[np.float32]:
        """Return the images as the network sees them: float32 ``(n, channels, rows, cols)``."""

    def fill(self, exponent: int, out: Codes) -> None:
        """Write the images' codes of an exponent as the engine reads them.

        Args:
            exponent: of the codes.
            out: C-contiguous ``(n, channel blocks, rows, cols, 4)``; channels that pad a block
                become zero.
        """

    def range_k(self, known: int) -> int:
        """Return ``k``: all elements are below ``2**k`` in magnitude; ``known`` where they are
        surely below ``2**known``."""


Images = Array | Batch
"""What a trainer takes: a batch, or float32 ``(n, channels, rows, cols)``."""


class FloatBatch:
    """A batch that is there as float32 ``(n, channels, rows, cols)``."""

    def __init__(self, images: Array) -> None:
        self._images = images

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._images)

    def values(self) -> NDArray[np.float32]:
        """Return the images."""
        return self._images

    def fill(self, exponent: int, out: Codes) -> None:
        """Write the codes of an exponent (:meth:`Batch.fill`)."""
        codes = quantise(self._images, exponent)
        channels = codes.shape[1]
        for channel in range(out.shape[1] * CHANNELS_PER_WORD):
            block, lane = divmod(channel, CHANNELS_PER_WORD)
            out[:, block, :, :, lane] = codes[:, channel] if channel < channels else 0

    def range_k(self, known: int) -> int:
        """Return the range of the images (:meth:`Batch.range_k`)."""
        return range_of(float(np.abs(self._images).max()))


def as_batch(images: Images) -> Batch:
    """Return images as a batch."""
    return FloatBatch(images) if isinstance(images, np.ndarray) else images


def floats(images: Images) -> NDArray[np.float32]:
    """Return images as float32 ``(n, channels, rows, cols)``."""
    return images if isinstance(images, np.ndarray) else images.values()


class PixelTable:
    """Codes of uint8 pixels, by channel: what the network sees of each of the 256 values.

    Args:
        seen: float32 ``(256, channels)``: what it sees of value ``v`` in a channel.
    """

    def __init__(self, seen: NDArray[np.float32]) -> None:
        self.seen = seen
        self.largest_k = range_of(float(np.abs(seen).max()))
        self._codes: dict[int, NDArray[np.int64]] = {}
        self._looked_up: dict[bool, list[list[tuple[int, NDArray[np.int64]]]]] = {}
        self._shape: tuple[int, ...] = ()
        self._at, self._more = np.empty(0, np.intp), np.empty(0, np.int64)

    def range_k(self, planes: NDArray[np.uint8]) -> int:
        """Return the range of pixels ``(n, channels or 1, rows, cols)``."""
        # What is seen rises with the value: the extremes of the one are those of the other.
        ends = [self.seen[end(planes, axis=(0, 2, 3)), np.arange(self.seen.shape[1])]
                for end in (np.min, np.max)]
        return range_of(float(np.abs(ends).max()))

    def _words(self, exponent: int) -> NDArray[np.int64]:
        """Return the words with the code of each value in a channel's lane: ``(channels, 256)``."""
        found = self._codes.get(exponent)
        if found is None:
            codes = quantise(self.seen, exponent).astype(np.int64) & 0xFFFF
            lanes = 16 * (np.arange(codes.shape[1]) % CHANNELS_PER_WORD)
            self._codes.clear()  # a training has one exponent
            self._looked_up.clear()
            found = self._codes[exponent] = np.ascontiguousarray((codes << lanes).T)
        return found

    def _rows(self, exponent: int, alike: bool) -> list[list[tuple[int, NDArray[np.int64]]]]:
        """Return what makes the words of each block of channels: planes, and their words by value.

        ``alike``: there is one plane for all channels.
        """
        table = self._words(exponent)
        found = self._looked_up.get(alike)
        if found is None:
            channels = range(0, table.shape[0], CHANNELS_PER_WORD)
            found = self._looked_up[alike] = [
                [(0, np.bitwise_or.reduce(table[first : first + CHANNELS_PER_WORD]))] if alike else
                [*enumerate(table)][first : first + CHANNELS_PER_WORD] for first in channels]
        return found

    def _room(self, planes: NDArray[np.uint8]) -> int:
        """Return how many images are looked up together, and have room for them."""
        if planes.shape != self._shape:
            # What is in the processor's cache need not come from memory again.
            step = min(max(_PIXELS_TOGETHER // math.prod(planes.shape[2:]), 1), len(planes))
            if self._at.shape != (step, *planes.shape[2:]):
                self._at = np.empty((step, *planes.shape[2:]), np.intp)
                self._more = np.empty(self._at.shape, np.int64)
            self._shape = planes.shape
        return len(self._at)

    def fill(self, exponent: int, planes: NDArray[np.uint8], out: Codes) -> None:
        """Write the codes of pixels ``(n, channels or 1, rows, cols)`` (:meth:`Batch.fill`)."""
        words, step = out.view(np.int64)[..., 0], self._room(planes)
        for block, rows in enumerate(self._rows(exponent, planes.shape[1] == 1)):
            for first in range(0, len(planes), step):
                part = planes[first : first + step]
                into, at = words[first : first + step, block], self._at[: len(part)]
                for number, (plane, row) in enumerate(rows):
                    at[...] = part[:, plane]
                    # No index needs wrapping; "raise" would look at each, and copy what it finds.
                    if not number:
                        row.take(at, out=into, mode="wrap")
                    else:
                        into |= row.take(at, out=self._more[: len(part)], mode="wrap")


class PixelBatch:
    """What a batch of uint8 images has besides: pixels may be kept in place of their codes.

    Attributes:
        table: their codes.
        pixels: what the last :meth:`Batch.fill` has looked up, ``(n, channels or 1, rows, cols)``,
            if nobody else can change it; else None.
    """

    table: PixelTable
    pixels: NDArray[np.uint8] | None = None


_PIXELS_TOGETHER = 1 << 14
"""Pixels that are looked up together: their indices and words take 256 KB."""
