"""Checked images and labels of a training or evaluation, prepared batch by batch."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynq_train.errors import BadInput, DataWarning, OutlierWarning, warn_once
from pynq_train.graph import Shape
from pynq_train.graph.image_format import UINT8_RANGE, ImageFormat, Normalisation
from pynq_train.graph.params import FloatArray
from pynq_train.images import (
    PIXEL_RANGES,
    as_array,
    check_dtype,
    check_finite,
    check_range,
    find_layout,
    images_together,
    to_network,
    values_of,
)
from pynq_train.run.batch import Batch, FloatBatch, PixelBatch, PixelTable

_CHECKED_BYTES = 1 << 22
"""Bytes whose checksum is taken together."""
_SAMPLE = 256
"""Images that show what is usual among the others."""
OUTLIER_TIMES = 512.0
"""A value so many times the largest one of a usual image leaves that 6 bits of 15 at most."""
LARGE = "large"
"""Kind of the warning of values that no exponent holds."""


class ImageSource:
    """Images as the user has them; small dtypes stay small until a batch is needed.

    Args:
        x: images in one of the layouts of :func:`~pynq_train.images.find_layout`, uint8 or floats;
            integers of other types where the format states a range. They may be mapped
            (``numpy.load(..., mmap_mode="r")``) and larger than memory: they are read in parts.
        input_shape: the network's.
        form: what the network was made for.
        warned: kinds of warnings that the caller has given already; new ones are added.

    Attributes:
        form: as given.
        value_range: smallest and largest value, in the units of the format's range.
        largest: largest magnitude of what the network sees.

    Raises:
        BadInput: dtype, shape, NaN or infinity, no images, or values far outside the range.
    """

    def __init__(self, x: Any, input_shape: Shape, form: ImageFormat,
                 warned: set[str] | None = None) -> None:
        array = as_array("images", x)
        self._together = images_together(4 * math.prod(input_shape))
        if array.ndim == 0:
            raise BadInput("images", expected="an array", found=type(x).__name__)
        if array.size == 0:
            raise BadInput("images", expected="at least one", found=f"shape {array.shape}")
        check_dtype(array, form)
        self._layout = find_layout(array.shape, input_shape, form.layout)
        self._given, self._x = array, self._layout.apply(array)
        self._table: PixelTable | None = None
        self._shape = input_shape
        self.form = form
        low, high, largest = np.inf, -np.inf, 0.0
        for part in self._extremes():
            values = values_of(part, form)
            low, high = min(low, float(values.min())), max(high, float(values.max()))
            with np.errstate(over="ignore", invalid="ignore"):  # is refused
                seen = to_network(values, form, input_shape[0])
            largest = max(largest, _largest(seen))
        self.value_range, self.largest = (low, high), largest
        check_range(low, high, form, array.dtype, set() if warned is None else warned)

    def _extremes(self) -> Iterator[NDArray[Any]]:
        """Yield images that have the smallest and the largest values of all, by channel.

        Raises:
            BadInput: NaN or infinity.
        """
        if self.dtype != np.uint8:
            for begin, part in self._parts():
                check_finite(part, begin)
                yield part
            return
        # What the network sees rises with the value: the extremes of bytes are those of all.
        low = high = self._x[0]
        for _, part in self._parts():
            low = np.minimum(low, np.minimum.reduce(part, axis=0))
            high = np.maximum(high, np.maximum.reduce(part, axis=0))
        yield np.stack([low.min(axis=(1, 2)), high.max(axis=(1, 2))], axis=1)[None, :, :, None]

    def _parts(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield number of the first, and images as the user has them, as many as memory holds."""
        for begin in range(0, len(self._x), self._together):
            yield begin, self._x[begin : begin + self._together]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values as the user has them."""
        return self._x.dtype

    @property
    def fingerprint(self) -> int:
        """CRC-32 of the images as the user has them, with dtype and shape."""
        return self.checksum(self._given)

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
        return to_network(values_of(self._x[index], self.form), self.form, self._shape[0])

    def some(self, index: NDArray[np.int64] | slice) -> Iterator[FloatArray]:
        """Yield the prepared images of these numbers, as many at a time as memory surely holds."""
        numbers = np.arange(*index.indices(len(self))) if isinstance(index, slice) else index
        for begin in range(0, len(numbers), self._together):
            yield self.take(numbers[begin : begin + self._together])

    def batch(self, index: NDArray[np.int64] | slice) -> Batch:
        """Return images of these numbers, which are prepared when they are needed."""
        return _SourceBatch(self, index)

    def pixels(self, index: NDArray[np.int64] | slice) -> NDArray[np.uint8]:
        """Return uint8 images as the user has them: ``(n, channels or 1, rows, cols)``."""
        if self._layout.single or isinstance(index, slice):
            return self._x[index]
        # Indices of the processor's size: NumPy does not make them fit into a Zynq-7000's 32 bits.
        return self._layout.apply(self._given.take(index.astype(np.intp), axis=0))

    def copies(self, index: NDArray[np.int64] | slice) -> bool:
        """Return whether :meth:`pixels` are a copy, and no part of the user's array."""
        return not (self._layout.single or isinstance(index, slice))

    def histogram(self) -> NDArray[np.int64]:
        """Return how often each value of uint8 images stands in each channel: ``(channels, 256)``.
        """
        times = np.zeros((self._x.shape[1], 256), np.int64)
        for _, part in self._parts():
            for channel, row in enumerate(times):
                row += np.bincount(part[:, channel].reshape(-1), minlength=256)
        return times.repeat(self._shape[0] // len(times), axis=0)

    @property
    def table(self) -> PixelTable:
        """What the network sees of uint8 values."""
        if self._table is None:
            values = np.arange(256, dtype=np.uint8)[:, None, None, None]
            seen = to_network(values_of(values, self.form), self.form, self._shape[0])
            self._table = PixelTable(seen[:, :, 0, 0])
        return self._table

    @property
    def place_of_largest(self) -> str:
        """Where the largest magnitude stands, for messages: image, channel, row, column."""
        begin = 0
        for chunk in self.chunks():
            magnitudes = np.abs(chunk)
            if magnitudes.max() >= self.largest:
                image, *rest = np.unravel_index(int(magnitudes.argmax()), chunk.shape)
                return f"image {begin + int(image)} at {tuple(map(int, rest))}"
            begin += len(chunk)
        return "an image"  # the caller's array has changed meanwhile

    def chunks(self) -> Iterator[FloatArray]:
        """Yield the prepared images in order, as many at a time as memory surely holds."""
        for begin, part in self._parts():
            yield self.take(slice(begin, begin + len(part)))


class _SourceBatch(PixelBatch):
    """Some images of a source, by their numbers."""

    def __init__(self, source: ImageSource, index: NDArray[np.int64] | slice) -> None:
        self._source, self._index = source, index
        self._count = len(range(*index.indices(len(source))) if isinstance(index, slice)
                          else index)

    def __len__(self) -> int:
        """Return the number of images."""
        return self._count

    def values(self) -> FloatArray:
        """Return the prepared images."""
        return self._source.take(self._index)

    def fill(self, exponent: int, out: NDArray[np.int16]) -> None:
        """Write the codes of an exponent; uint8 images go through a table."""
        if self._source.dtype == np.uint8:
            table, pixels = self._source.table, self._source.pixels(self._index)
            table.fill(exponent, pixels, out)
            if self._source.copies(self._index):
                self.table, self.pixels = table, pixels
            return
        begin = 0
        for part in self._source.some(self._index):
            FloatBatch(part).fill(exponent, out[begin : begin + len(part)])
            begin += len(part)

    def range_k(self, known: int) -> int:
        """Return the range of the images."""
        if self._source.dtype != np.uint8:
            return max(FloatBatch(part).range_k(known) for part in self._source.some(self._index))
        table = self._source.table
        if table.largest_k <= known:
            return known
        return table.range_k(self._source.pixels(self._index))


def _largest(seen: FloatArray) -> float:
    """Return the largest magnitude of what the network sees of images.

    Raises:
        BadInput: it is no finite number.
    """
    found = float(np.abs(seen).max())
    if not math.isfinite(found):
        raise BadInput("images", expected="finite float32 numbers behind mean and deviation",
                       found="NaN or infinity", fix="say a larger std=, or a smaller range or mean")
    return found


def check_equal(source: ImageSource, warned: set[str]) -> None:
    """Warn where all of some training images are equal: nothing can be learnt from them.

    Args:
        source: the images.
        warned: kinds of warnings given so far.
    """
    first = source.take(slice(0, 1))
    if len(source) > 1 and all((part == first).all() for part in source.chunks()):
        warn_once(DataWarning, f"images: expected images that differ, found {len(source)} equal "
                  "ones: nothing can be learnt from them; look at some, and at what made them",
                  warned, "equal")


def check_outliers(source: ImageSource, warned: set[str]) -> None:
    """Warn of training images that are all equal, and where a few values leave others few bits.

    All images have one exponent, which follows the largest value.

    Args:
        source: the images.
        warned: kinds of warnings given so far.
    """
    check_equal(source, warned)
    if source.dtype == np.uint8 or LARGE in warned:
        return
    index = np.unique(np.linspace(0, len(source) - 1, min(len(source), _SAMPLE)).astype(np.int64))
    each = np.concatenate([np.abs(part).reshape(len(part), -1).max(axis=1)
                           for part in source.some(index)])
    if not each.any():
        return
    typical = float(np.median(each[each > 0]))
    if source.largest > OUTLIER_TIMES * typical:
        bits = max(15 - math.ceil(math.log2(source.largest / typical)), 0)
        warn_once(OutlierWarning, f"images: expected values of one size, found {source.largest:.4g}"
                  f" in {source.place_of_largest}, where other images end at {typical:.4g}"
                  f"{'' if source.form.normalisation is None else ' (behind mean and deviation)'}: "
                  f"{bits} of 15 bits are left for these; remove or replace such samples, or clip "
                  "the images", warned)


def trained_format(source: ImageSource) -> ImageFormat:
    """Return the format of a model that was trained with ``source``.

    A stated range stays. Else it is that of the values: of pixels a whole one, so that a dark image
    does not narrow it.
    """
    form = source.form
    if form.input_range is not None and form.stated:
        return form
    if source.dtype == np.uint8:
        measured = UINT8_RANGE if form.input_range is None else form.input_range
    else:
        low, high = source.value_range
        if form.input_range is not None:
            low, high = min(low, form.input_range[0]), max(high, form.input_range[1])
        measured = (low, high)
        for least, most in PIXEL_RANGES:
            if least <= low and most / 4 < high <= most:
                measured = (least, most)
        if low == high:
            measured = (low - 1.0, high + 1.0)
    return replace(form, input_range=measured, stated=False)


def normalised(form: ImageFormat, x: Any, input_shape: Shape) -> ImageFormat:
    """Return a format with mean and deviation: its own, or those of the images ``x``."""
    if form.normalisation is not None:
        return form
    return replace(form, normalisation=measure_normalisation(x, input_shape, form))


def measure_normalisation(x: Any, input_shape: Shape, form: ImageFormat) -> Normalisation:
    """Return mean and deviation per channel of images; the deviation of a constant channel is 1."""
    source = ImageSource(x, input_shape, replace(form, normalisation=None, gain=1.0))
    count, total, squares = 0, np.zeros(input_shape[0]), np.zeros(input_shape[0])
    if source.dtype == np.uint8:
        values, times = source.table.seen.T.astype(np.float64), source.histogram()
        count = int(times[0].sum())
        total, squares = ((power * times).sum(axis=1) for power in (values, values * values))
    else:
        for chunk in source.chunks():
            wide = chunk.astype(np.float64)
            count += wide[:, 0].size
            total += wide.sum(axis=(0, 2, 3))
            squares += np.multiply(wide, wide, out=wide).sum(axis=(0, 2, 3))
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean * mean, 0))
    std = np.where(std > 1e-6, std, 1.0)
    return Normalisation(tuple(mean.tolist()), tuple(std.tolist()))
