"""Shifted copies of grey images: the same pictures as another place, pen or camera would give them.

A network adapts to them as it would to a new room; which images they are follows from the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynq_train.arrays import Array
from pynq_train.errors import BadInput, UnknownName
from pynq_train.graph.rng import hash_u64, normal_float32, stream_key
from pynq_train.graph.shapes import require_int

Images = NDArray[np.uint8]
_STREAM = 0x5F17
"""Names the random streams of shifts among those of a seed."""
WHITE = 255
NOISE = 64.0
"""Standard deviation of noise, in grey values."""
BRIGHTEST, CELLS = 170, 4
"""Largest grey value of a background, and its random values a side, between which it is smooth."""
_PIXELS_PER_STEP = 14
"""The pen becomes wider by a pixel on all sides for each so many rows of an image."""


def shifted(images: Any, shift: str, seed: int = 0) -> Images:
    """Return a shifted copy of grey images, of the same shape.

    Args:
        images: uint8, of shape (n, rows, cols) or (n, 1, rows, cols); strokes are bright.
        shift: ``pen`` (strokes wider by a fourteenth of the rows on each side, at least a pixel),
            ``inverted`` (dark on bright), ``noise`` (normal, of deviation 64, in each pixel) or
            ``background`` (a smooth grey pattern, another one behind each image).
        seed: of noise and backgrounds.

    Raises:
        UnknownName: no such shift.
        BadInput: the images have another type or shape, or the seed is no integer of 0 and up.
    """
    if shift not in SHIFTS:
        raise UnknownName.among("shift", shift, SHIFTS)
    require_int("seed", seed, 0)
    x = np.asarray(images)
    if x.dtype != np.uint8 or not x.size or not (
            x.ndim == 3 or (x.ndim == 4 and x.shape[1] == 1)):
        raise BadInput("images to shift", found=f"{x.dtype}, shape {x.shape}",
                       expected="grey ones: uint8, shape (n, rows, cols) or (n, 1, rows, cols)")
    flat = x.reshape(len(x), *x.shape[-2:])
    return _MAKERS[shift](flat, stream_key(seed, _STREAM)).reshape(x.shape)


def _pen(images: Images, key: int) -> Images:
    """Return images whose pixels are the brightest of their neighbours up, down and beside."""
    del key
    for _ in range(max(1, images.shape[1] // _PIXELS_PER_STEP)):
        wide = np.pad(images, ((0, 0), (1, 1), (1, 1)))
        parts = (wide[:, 1:-1, 1:-1], wide[:, :-2, 1:-1], wide[:, 2:, 1:-1], wide[:, 1:-1, :-2],
                 wide[:, 1:-1, 2:])
        images = np.maximum.reduce(parts)
    return images


def _inverted(images: Images, key: int) -> Images:
    """Return the negative."""
    del key
    return np.uint8(WHITE) - images


def _noise(images: Images, key: int) -> Images:
    """Return images with noise, clipped to grey values."""
    # A stream for each image: the first ones of many are those of few.
    noise = np.stack([normal_float32(stream_key(key, at), images[0].size)
                      for at in range(len(images))]).reshape(images.shape)
    grey: Array = np.clip(np.rint(images + np.float32(NOISE) * noise), 0, WHITE)
    return grey.astype(np.uint8)


def _background(images: Images, key: int) -> Images:
    """Return images before a smooth pattern, which shows where it is the brighter one."""
    rows, cols = images.shape[1:]
    down, across = _between(rows), _between(cols)
    out = np.empty_like(images)
    for at, image in enumerate(images):
        values = hash_u64(stream_key(key, at), 0, CELLS * CELLS) % np.uint64(BRIGHTEST + 1)
        grid = values.astype(np.float64).reshape(CELLS, CELLS)
        out[at] = np.maximum(image, np.rint(down @ grid @ across.T).astype(np.uint8))
    return out


def _between(size: int) -> NDArray[np.float64]:
    """Return weights (size, :data:`CELLS`) that interpolate a line of random values linearly."""
    place = np.linspace(0, CELLS - 1, size)
    weights: NDArray[np.float64] = np.maximum(
        0.0, 1.0 - np.abs(place[:, None] - np.arange(CELLS)))
    return weights


_MAKERS: Mapping[str, Callable[[Images, int], Images]] = {
    "pen": _pen, "inverted": _inverted, "noise": _noise, "background": _background}
SHIFTS = tuple(_MAKERS)
"""Names of all shifts."""
