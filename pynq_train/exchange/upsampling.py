"""Foreign enlargements of maps, and whether they are an upsampling by a whole factor.

Frameworks differ in where the pixels of a larger map lie between those of the smaller one, and to
which side halves go. Here both follow from the names that ONNX has for them; an enlargement is an
``Upsample`` if each of its pixels comes from the one that ``Upsample`` copies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pynq_train.exchange.draft import Draft, Refused, Value
from pynq_train.graph.ops import Upsample

_USE = "enlarge rows and columns by one whole factor, to the nearest pixel"
_PLACES: dict[str, Callable[[Any, int], Any]] = {
    "asymmetric": lambda at, factor: at / factor,
    "half_pixel": lambda at, factor: (at + 0.5) / factor - 0.5,
    "half_pixel_symmetric": lambda at, factor: (at + 0.5) / factor - 0.5,
    "pytorch_half_pixel": lambda at, factor: (at + 0.5) / factor - 0.5,
}
"""By ONNX's coordinate_transformation_mode: where pixel ``at`` of the larger map lies."""
_ROUNDINGS: dict[str, Callable[[Any], Any]] = {
    "floor": np.floor, "ceil": np.ceil,
    "round_prefer_floor": lambda place: np.ceil(place - 0.5),
    "round_prefer_ceil": lambda place: np.floor(place + 0.5),
}
"""By ONNX's nearest_mode: which pixel is taken."""


def upsample(draft: Draft, source: Value, rows: float, cols: float, label: str, *,
             places: str = "asymmetric", rounding: str = "floor") -> Value:
    """Append a nearest upsampling.

    Args:
        draft: the network so far.
        source: the map that is enlarged.
        rows: by which its rows are multiplied.
        cols: by which its columns are.
        label: what the foreign network calls it.
        places: ONNX's coordinate_transformation_mode.
        rounding: ONNX's nearest_mode.

    Raises:
        Refused: the factors are not one whole number, or other pixels are taken.
    """
    if rows != cols or rows != int(rows) or rows < 1:
        raise Refused(f"multiplies rows by {rows:g} and columns by {cols:g}", _USE)
    factor = int(rows)
    if factor == 1:
        return source
    if source.flat:
        raise Refused("enlarges a vector", "enlarge maps")
    if places not in _PLACES or rounding not in _ROUNDINGS:
        raise Refused(f"takes its pixels by {places} and {rounding}", _USE)
    size = max(source.shape[1:])
    at = np.arange(size * factor)
    taken = np.clip(_ROUNDINGS[rounding](_PLACES[places](at, factor)), 0, size - 1)
    if (taken != at // factor).any():
        raise Refused(f"takes its pixels by {places} and {rounding}, not each {factor} times", _USE)
    return draft.add(Upsample(factor), source, label=label)


def bilinear(draft: Draft, source: Value, rows: float, cols: float, label: str, *,
             places: str = "half_pixel") -> Value:
    """Append a bilinear upsampling.

    Args:
        draft: the network so far.
        source: the map that is enlarged.
        rows: the new number of rows.
        cols: the new number of columns.
        label: what the foreign network calls it.
        places: ONNX's coordinate_transformation_mode.

    Raises:
        Refused: the weights of pixels would not be the same all over the map, or are not those of
            ``Upsample``.
    """
    if source.flat or source.joined:
        raise Refused("enlarges a vector or a sequence linearly", "enlarge maps")
    sizes = source.shape[1:]
    if (rows, cols) == sizes:
        return source
    corners = places == "align_corners"
    if places not in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        raise Refused(f"takes its pixels by {places}", "use half_pixel (align_corners=False)")
    if corners:
        factors = {(new - 1) / (old - 1) if old > 1 else 0.0 for new, old in
                   zip((rows, cols), sizes)}
        instead = ("use align_corners=False, or a size of factor * (size - 1) + 1: with others "
                   "each pixel has weights of its own")
    else:
        factors = {new / old for new, old in zip((rows, cols), sizes)}
        instead = "enlarge rows and columns by one whole factor of 2 or more"
    factor = factors.pop()
    if factors or factor != int(factor) or factor < 2:
        how = " with align_corners" if corners else ""
        raise Refused(f"enlarges {sizes[0]}x{sizes[1]} to {rows:g}x{cols:g}{how}", instead)
    return draft.add(Upsample(int(factor), mode="bilinear", corners=corners), source, label=label)
