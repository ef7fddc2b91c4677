"""Checked images and labels of a training or evaluation, prepared batch by batch."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynq_train.data import as_array, images_together, prepare_images
from pynq_train.errors import BadInput
from pynq_train.graph import Shape
from pynq_train.graph.params import FloatArray

_CHECKED_BYTES = 1 << 22
"""Bytes whose checksum is taken together."""


@dataclass(frozen=True)
class Normalisation:
    """Mean and deviation per channel that are taken from, and divide, every image."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def to_dict(self) -> dict[str, list[float]]:
        """Return plain values, for a checkpoint."""
        return {key: list(value) for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Any) -> Normalisation:
        """Rebuild from :meth:`to_dict`; :class:`BadInput` if it is malformed."""
        try:
            return cls(tuple(float(v) for v in data["mean"]), tuple(float(v) for v in data["std"]))
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"saved normalisation is malformed ({error})") from None


class ImageSource:
    """Images as the user has them; small dtypes stay small until a batch is needed.

    Args:
        x: ``(n, rows, cols)``, ``(n, rows, cols, channels)`` or ``(n, channels, rows, cols)``;
            uint8 is divided by 255, small images are padded, one channel is repeated. It may be
            mapped (``numpy.load(..., mmap_mode="r")``) and larger than memory: it is read in parts.
        input_shape: the network's.
        normalisation: applied to every image, None to leave them as they are.

    Raises:
        BadInput: dtype, shape, NaN or infinity, no images.
    """

    def __init__(self, x: Any, input_shape: Shape, normalisation: Normalisation | None) -> None:
        self._x = as_array("images", x)
        self._shape = input_shape
        self._together = images_together(4 * math.prod(input_shape))
        self.normalisation = normalisation
        if self._x.ndim == 0 or len(self._x) == 0:
            raise BadInput("images", expected="at least one", found=f"shape {self._x.shape}")
        largest = 0.0
        for chunk in self.chunks():
            largest = max(largest, float(np.abs(chunk).max()))
        self.largest = largest

    @property
    def fingerprint(self) -> int:
        """CRC-32 of the images as the user has them, with dtype and shape."""
        return self.checksum(self._x)

    @staticmethod
    def checksum(array: NDArray[Any]) -> int:
        """Return the CRC-32 of an array's dtype, shape and elements."""
        total = zlib.crc32(f"{array.dtype.str} {array.shape}".encode())
        each = max(array.nbytes // max(len(array), 1), 1)
        step = max(_CHECKED_BYTES // each, 1)
        for begin in range(0, len(array), step):
            total = zlib.crc32(array[begin : begin + step].tobytes(), total)
        return total

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._x)

    def take(self, index: NDArray[np.int64] | slice) -> FloatArray:
        """Return prepared images: float32 ``(n, channels, rows, cols)``."""
        norm = self.normalisation
        if norm is None:
            return prepare_images(self._x[index], self._shape)
        return prepare_images(self._x[index], self._shape, mean=norm.mean, std=norm.std)

    def chunks(self) -> Iterator[FloatArray]:
        """Yield the prepared images in order, as many at a time as memory surely holds."""
        for begin in range(0, len(self._x), self._together):
            yield self.take(slice(begin, begin + self._together))


def measure_normalisation(x: Any, input_shape: Shape) -> Normalisation:
    """Return mean and deviation per channel of images; the deviation of a constant channel is 1."""
    source = ImageSource(x, input_shape, None)
    count, total, squares = 0, np.zeros(input_shape[0]), np.zeros(input_shape[0])
    for chunk in source.chunks():
        wide = chunk.astype(np.float64)
        count += wide[:, 0].size
        total += wide.sum(axis=(0, 2, 3))
        squares += np.multiply(wide, wide, out=wide).sum(axis=(0, 2, 3))
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean * mean, 0))
    std = np.where(std > 1e-6, std, 1.0)
    return Normalisation(tuple(mean.tolist()), tuple(std.tolist()))
