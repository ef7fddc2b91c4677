"""Images as people have them, and as a network takes them: layouts, dtypes, ranges.

docs/images.md has the rules. What they do not settle is refused: an image that is read in another
way than it was meant gives a wrong answer without a word.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pynq_train.arrays import Array
from pynq_train.errors import BadInput, DataWarning, warn_once
from pynq_train.graph.image_format import (
    BYTE_RANGE,
    CHANNELS_FIRST,
    CHANNELS_LAST,
    UINT8_RANGE,
    ImageFormat,
)
from pynq_train.graph.ops import Shape
from pynq_train.graph.params import FloatArray
from pynq_train.graph.shapes import require_int

PIXEL_RANGES = (UINT8_RANGE, BYTE_RANGE)
"""Ranges of pixels; one that a training has measured is taken for the one that holds it."""
PIL_MODES = ("1", "L", "RGB", "RGBA", "I", "I;16", "F")
"""Modes of Pillow's pictures whose arrays hold colours as they are seen."""
_OWN_MEANING = frozenset(("uint8", "bool"))
"""Types whose values mean something else where NumPy makes one array of them and others."""
_TYPE_OF_MODE = {"1": "bool", "L": "uint8", "RGB": "uint8", "RGBA": "uint8"}
_OTHER = "numbers of another type"
REFUSED_TIMES = 16.0
"""Values this many half ranges away from the middle of the range are refused."""
WARNED_TIMES = 3.0
"""Values this many half ranges away get a warning."""
LARGEST_VALUE = 32767
"""Largest magnitude of a 16-bit code, and of images and feature maps: exponents end at 0."""
_PART_BYTES = 1 << 21
"""Bytes of images, as float32, that are looked at together: a board has little memory."""
_MOST_TOGETHER = 2048
_BYTES_FROM, _UNITS = 64, 16
"""Ranges that end there or above are those of bytes; a deviation of so many ranges is of another.
"""
_DARK = 1 / 64
"""Images whose largest value is below this part of a range of pixels are taken for ones of 0..1."""


def as_array(what: str, values: Any) -> Array:
    """Return ``values`` as a NumPy array; ``what`` names them in the error's text.

    Raises:
        BadInput: they cannot be one: rows of several lengths, a tensor that wants gradients; or
            the array would not hold what they mean: masks, palettes, other spaces of colours.
    """
    _check_meaning(what, values)
    try:
        return np.asarray(values)
    except Exception as error:  # of NumPy, or of whatever class the values have
        raise BadInput(what, expected="an array of numbers",
                       found=str(error).splitlines()[0][:200] if str(error) else repr(error),
                       fix="convert them with numpy.asarray first") from None


def _check_meaning(what: str, values: Any) -> None:
    """Check that values lose nothing where they become an array; see :func:`as_array`."""
    parts = list(_parts(values))
    if any(map(np.ma.is_masked, parts)):
        raise BadInput(what, expected="an array without masked values", found="a masked array",
                       fix="say what stands there: images.filled(0)")
    for one in parts:
        mode = getattr(one, "mode", None)
        if hasattr(one, "getbands") and mode not in PIL_MODES:
            raise BadInput(what, expected=f"pictures of mode {', '.join(PIL_MODES)}",
                           found=f"mode {mode!r}", fix="convert them: picture.convert('RGB')")
    kinds = sorted({_kind(part) for part in parts} - {""})
    if len(kinds) > 1 and not _OWN_MEANING.isdisjoint(kinds):
        raise BadInput(what, expected="parts of one type, whose values mean the same",
                       found=" and ".join(kinds), fix="convert all of them to one of these")
    if isinstance(values, (str, bytes, os.PathLike)) or hasattr(values, "__next__"):
        raise BadInput(what, expected="an array of numbers", found=type(values).__name__,
                       fix="read or collect the images first: numpy.stack(list(images))")


def _parts(values: Any) -> Iterator[Any]:
    """Yield values, or what lists in lists hold of them; plain numbers are left out."""
    if not isinstance(values, (list, tuple)):
        yield values
    elif values and not isinstance(values[0], (int, float)):
        for one in values:
            yield from _parts(one)


def _kind(part: Any) -> str:
    """Return the type of a part of images, as far as it says how values are meant; empty for none.
    """
    if hasattr(part, "getbands"):
        return _TYPE_OF_MODE.get(part.mode, _OTHER)
    name = str(getattr(part, "dtype", "")).rpartition(".")[2]  # torch.uint8 is uint8
    return name if name in _OWN_MEANING or not name else _OTHER


def images_together(nbytes: int) -> int:
    """Return how many images are looked at together, if each has ``nbytes`` bytes as float32."""
    return max(1, min(_MOST_TOGETHER, _PART_BYTES // max(nbytes, 1)))


@dataclass(frozen=True)
class Layout:
    """How the axes of an array become ``(image, channel, row, column)``.

    Attributes:
        name: the axes as people write them, for messages.
        single: the array is one image, without an axis of images.
        axes: axis of channels, rows, columns in the array of one image; None: one channel without
            an axis (or rows and columns of 1).
    """

    name: str
    single: bool
    axes: tuple[int | None, int | None, int | None]

    def apply(self, array: Array) -> Array:
        """Return images ``(n, channels, rows, cols)``, a view, of ``array`` in this layout."""
        many = array[None] if self.single else array
        order, index = self._view
        return many.transpose(order)[index]

    @cached_property
    def _view(self) -> tuple[tuple[int, ...], tuple[slice | None, ...]]:
        """The order of the axes, and an index that adds those that are not there."""
        kept = [axis + 1 for axis in self.axes if axis is not None]
        added = [None if axis is None else slice(None) for axis in self.axes]
        return (0, *kept), (slice(None), *added)


_LAST, _LINE_LAST = (2, 0, 1), (1, None, 0)
_LAYOUTS = (
    Layout("(n, channels, rows, cols)", False, (0, 1, 2)),
    Layout("(n, rows, cols, channels)", False, _LAST),
    Layout("(n, rows, cols)", False, (None, 0, 1)),
    Layout("(channels, rows, cols)", True, (0, 1, 2)),
    Layout("(rows, cols, channels)", True, _LAST),
    Layout("(rows, cols)", True, (None, 0, 1)),
    Layout("(n, features)", False, (0, None, None)),
    Layout("(features,)", True, (0, None, None)),
    # Sequences: maps of one row.
    Layout("(n, channels, length)", False, (0, None, 1)),
    Layout("(n, length, channels)", False, _LINE_LAST),
    Layout("(channels, length)", True, (0, None, 1)),
    Layout("(length, channels)", True, _LINE_LAST),
    Layout("(n, length)", False, (None, None, 0)),
    Layout("(length,)", True, (None, None, 0)),
)


def find_layout(shape: tuple[int, ...], input_shape: Shape, axes: str = CHANNELS_FIRST
                ) -> Layout:
    """Return how an array of ``shape`` holds images for a network.

    Images have the network's rows and columns, and its channels or one, which is repeated.

    Args:
        shape: shape of the array.
        input_shape: (channels, rows, cols) of the network's input.
        axes: their order, ``channels first`` or ``channels last``, where their sizes leave a
            choice: that of the model's format.

    Raises:
        BadInput: it fits in no way, or in several that are not the same.
    """
    channels, rows, cols = input_shape
    found: dict[tuple[int, ...], list[Layout]] = {}
    for layout in _LAYOUTS:
        own = shape if layout.single else shape[1:]
        used = [axis for axis in layout.axes if axis is not None]
        # Rows of several channels are no sequences of one channel each.
        if len(own) != len(used) or (used == [0] and layout.axes[2] == 0 and channels > 1):
            continue
        sizes = [1 if axis is None else own[axis] for axis in layout.axes]
        if len(shape) == 1 and sizes[0] != channels:
            continue  # a single number is no vector of equal ones
        if sizes[0] in (1, channels) and sizes[1:] == [rows, cols]:
            count = 1 if layout.single else shape[0]
            found.setdefault((count, sizes[0]), []).append(layout)
    if not found:
        raise _no_layout(shape, input_shape)
    if len(found) > 1:
        first, *others = (ways[0] for ways in found.values())
        raise BadInput("images", found=f"shape {shape}, which is " + " or ".join(
            one.name for one in (first, *others)),
            expected=f"images of {channels}x{rows}x{cols} in one layout",
            fix="give a single image an axis more in front: image[None], and gray images one of "
                "channels: images[:, None]")
    # The same number of images of the same channels: where axes are of equal length, the model's
    # layout decides, or the first one of the list, as the documentation says.
    (ways,) = found.values()
    wanted = [way for way in ways if way.axes in (_LAST, _LINE_LAST)
              ] if axes == CHANNELS_LAST else []
    return [*wanted, *ways][0]


def _no_layout(shape: tuple[int, ...], input_shape: Shape) -> BadInput:
    """Return the error of an array that fits no layout."""
    channels, rows, cols = input_shape
    many = "1 channel" if channels == 1 else f"1 or {channels} channels"
    wanted = (f"shape (n, rows, cols), (n, rows, cols, channels) or (n, channels, rows, cols) "
              f"with {rows}x{cols} pixels and {many}, or one such image")
    if rows == 1:
        wanted += f", or (n, {channels}, {cols})"
    if rows == cols == 1:
        wanted += f", or (n, {channels})"
    return BadInput("images", expected=wanted, found=f"shape {tuple(shape)}",
                    fix="resize, crop or pad the images (pynq_train.pad_images)")


def check_dtype(array: Array, form: ImageFormat) -> None:
    """Check that the dtype of images has a meaning.

    Raises:
        BadInput: it is neither uint8 nor a float, and no range has been said; or it is no number.
    """
    kind = array.dtype.kind
    if kind not in "uifb":
        raise BadInput("images", expected="uint8 or floats", found=f"dtype {array.dtype}")
    if kind == "f" or array.dtype == np.uint8:
        return
    if form.input_range is None or not form.stated:
        raise BadInput("images", expected="uint8 (0..255) or floats, or a stated range",
                       found=f"dtype {array.dtype}, of which nobody has said the range",
                       fix="for pixels of 0..255: images.astype(numpy.uint8); else say "
                           "input_range=(LOW, HIGH) where the learner is made")


def values_of(array: Array, form: ImageFormat) -> FloatArray:
    """Return images as float32 values in the units of the format's range; no normalisation yet."""
    if array.dtype != np.uint8:
        return array.astype(np.float32)
    low, high = UINT8_RANGE if form.input_range is None else form.input_range
    if (low, high) == BYTE_RANGE:
        return array.astype(np.float32)
    values = array.astype(np.float32) / np.float32(255)
    if (low, high) == UINT8_RANGE:
        return values
    spread: FloatArray = values * np.float32(high - low) + np.float32(low)
    return spread


def to_network(values: FloatArray, form: ImageFormat, channels: int) -> FloatArray:
    """Return values ``(n, 1 or channels, rows, cols)`` as the network takes them, C-contiguous."""
    values = repeat_channels(values, channels)
    norm = form.seen
    if norm is not None:
        mean, std = (np.asarray(each, np.float32)[None, :, None, None]
                     for each in (norm.mean, norm.std))
        values = (values - mean) / std
    return np.ascontiguousarray(values)


def check_finite(array: Array, first_image: int = 0, what: str = "images") -> None:
    """Check that floats are finite in float32.

    ``first_image``: number of the array's first image, ``what``: what it is, for the text.

    Raises:
        BadInput: they are not; the text names the first bad place.
    """
    if array.dtype.kind != "f":
        return
    bad = ~(np.abs(array) <= np.finfo(np.float32).max)  # NaN compares false
    if bad.any():
        first = np.unravel_index(int(bad.argmax()), array.shape)
        image, *rest = (int(i) for i in first)
        where = ", ".join(map(str, (image + first_image, *rest)))
        raise BadInput(what, expected="finite float32 numbers",
                       found=f"{array[first]} at [{where}] ({int(bad.sum())} in all)",
                       fix="remove or replace these samples")


def check_range(low: float, high: float, form: ImageFormat, dtype: Any, warned: set[str]) -> None:
    """Check that values of images, ``low`` to ``high``, do not contradict the model's range.

    Args:
        low, high: smallest and largest value.
        form: what the model was made for.
        dtype: of the images; of uint8 ones every value is in the range.
        warned: kinds of warnings that have been given; another one is added.

    Raises:
        BadInput: values far outside the range.
    """
    if form.input_range is None or dtype == np.uint8:
        return
    least, most = form.input_range
    half = (most - least) / 2
    times = max(high - (least + half), least + half - low) / half
    made = (f"values of {least:g}..{most:g}, which the model "
            f"{'was made for' if form.stated else 'was trained with'}")
    found = f"{low:g}..{high:g}"
    if times > REFUSED_TIMES:
        fix = ("pass uint8 images, or divide by 255" if (least, most) == UINT8_RANGE
               and 1 < high <= 255 and low >= 0 else "scale the images, or say "
               "input_range=(LOW, HIGH) where the learner is made")
        raise BadInput("images", expected=made, found=found, fix=fix)
    if times > WARNED_TIMES:
        warn_once(DataWarning, f"images: expected {made}, found {found}: they are used as they "
                  "are", warned, "outside")
    elif most >= 64 and 0 <= low <= high <= most * _DARK and high > 0:
        warn_once(DataWarning, f"images: expected {made}, found {found}: if these are values of "
                  f"0..1, multiply them by {most:g}", warned, "dark")


def check_units(form: ImageFormat, warned: set[str]) -> None:
    """Warn where mean and deviation are those of pixels of 0..1 and the range 0..255, or back."""
    norm = form.normalisation
    if norm is None or form.input_range is None:
        return
    low, high = form.input_range
    small = high >= _BYTES_FROM and 0 < max(norm.mean) <= 1 and max(norm.std) <= 1
    large = min(norm.std) >= _UNITS * (high - low)
    if small or large:
        warn_once(DataWarning, "images: mean and std are in the units of input_range, expected "
                  f"numbers for {low:g}..{high:g}, found mean {max(norm.mean):g}, std "
                  f"{max(norm.std):g}; {'multiply' if small else 'divide'} them by 255, or say "
                  "another input_range", warned, "units")


def prepare_images(x: Any, input_shape: Shape, *, mean: float | Sequence[float] | None = None,
                   std: float | Sequence[float] | None = None,
                   input_range: Sequence[float] | None = None) -> FloatArray:
    """Return images as normalised float32 (n, channels, rows, cols) of the network's input shape.

    Args:
        x: images (n, rows, cols), (n, rows, cols, channels) or (n, channels, rows, cols), or one
            image; one channel is repeated.
        input_shape: (channels, rows, cols) of the network's input.
        mean: a number or one per channel; left out, nothing is subtracted (see
            :func:`~pynq_train.data.channel_stats`).
        std: a number or one per channel; left out, nothing is divided.
        input_range: over which uint8 images are spread (default: 0..1, division by 255); integers
            of other types need it.

    Raises:
        BadInput: dtype, shape or values do not fit.
    """
    if not isinstance(input_shape, (tuple, list)) or len(input_shape) != 3:
        raise BadInput("input_shape", expected="(channels, rows, cols)",
                       found=repr(input_shape)[:80])
    channels, rows, cols = (require_int("input_shape", size, 1) for size in input_shape)
    input_shape = (channels, rows, cols)
    form = ImageFormat.make(channels, input_range, mean, std)
    array = as_array("images", x)
    check_dtype(array, form)
    images = find_layout(array.shape, input_shape).apply(array)
    check_finite(array)
    return to_network(values_of(images, form), form, input_shape[0])


def pad_images(x: Array, rows: int, cols: int) -> Array:
    """Return images (n, channels, h, w) padded with zeros to ``rows`` x ``cols``, centred.

    Raises:
        BadInput: they are larger than that, or have other axes.
    """
    x = as_array("images", x)
    rows, cols = require_int("rows", rows, 1), require_int("cols", cols, 1)
    if x.ndim != 4:
        raise BadInput("images", expected="shape (n, channels, rows, cols)", found=x.shape)
    height, width = x.shape[2:]
    if height > rows or width > cols:
        raise BadInput("image size", expected=f"at most {rows}x{cols} pixels",
                       found=f"{height}x{width}", fix="crop or shrink the images")
    top, left = (rows - height) // 2, (cols - width) // 2
    pads = ((0, 0), (0, 0), (top, rows - height - top), (left, cols - width - left))
    return np.pad(x, pads) if (height, width) != (rows, cols) else x


def repeat_channels(x: Array, channels: int) -> Array:
    """Return one-channel images (n, 1, h, w) with their channel repeated to ``channels``.

    Raises:
        BadInput: they have neither 1 nor ``channels`` channels.
    """
    if x.shape[1] == channels:
        return x
    if x.shape[1] != 1:
        raise BadInput("image channels", expected=f"1 or {channels}", found=x.shape[1])
    return np.repeat(x, channels, axis=1)
