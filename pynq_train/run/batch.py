"""Images of a mini-batch on their way into device memory."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pynq_train.arrays import Array
from pynq_train.hw.words import CHANNELS_PER_WORD, ceil_div
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
            found = self._codes[exponent] = np.ascontiguousarray((codes << lanes).T)
        return found

    def fill(self, exponent: int, planes: NDArray[np.uint8], out: Codes) -> None:
        """Write the codes of pixels ``(n, channels or 1, rows, cols)`` (:meth:`Batch.fill`)."""
        words, table = out.view(np.int64).squeeze(axis=-1), self._words(exponent)
        channels, alike = table.shape[0], planes.shape[1] == 1
        # Some images at a time: what is in the processor's cache need not come from memory again.
        step = min(max(_PIXELS_TOGETHER // math.prod(planes.shape[2:]), 1), len(planes))
        if self._at.shape != (step, *planes.shape[2:]):
            self._at = np.empty((step, *planes.shape[2:]), np.intp)
            self._more = np.empty(self._at.shape, np.int64)
        for block in range(ceil_div(channels, CHANNELS_PER_WORD)):
            lanes = range(CHANNELS_PER_WORD * block,
                          min(CHANNELS_PER_WORD * (block + 1), channels))
            rows = [np.bitwise_or.reduce(table[lanes.start : lanes.stop])] if alike else [
                table[lane] for lane in lanes]
            for first in range(0, len(planes), step):
                part = planes[first : first + step]
                into, at = words[first : first + step, block], self._at[: len(part)]
                for number, row in enumerate(rows):
                    np.copyto(at, part[:, 0 if alike else lanes[number]])
                    # No index needs wrapping; "raise" would look at each, and copy what it finds.
                    if not number:
                        row.take(at, out=into, mode="wrap")
                    else:
                        into |= row.take(at, out=self._more[: len(part)], mode="wrap")


_PIXELS_TOGETHER = 1 << 14
"""Pixels that are looked up together: their indices and words take 256 KB."""
