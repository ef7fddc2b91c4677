"""The reshaped layout of the paper: channel tiles in which every tile of rows lies in one piece.

So a transfer of whole rows is one range of memory.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pynq_train.eftrain.csim.build import FIXED_FRACTION
from pynq_train.eftrain.design import Design
from pynq_train.graph.params import FloatArray

"""Feature maps and weights as NumPy has them: float32."""
Packed = NDArray[np.generic]
"""Numbers as the kernel has them: float32, or int16 with the fixed-point type."""


def encode(design: Design, values: FloatArray) -> Packed:
    """Return float values as the kernel's numbers, of the same shape.

    The fixed-point type rounds to nearest, halves up, and saturates.
    """
    if design.dtype.bits == 32:
        return np.ascontiguousarray(values, dtype=np.float32)
    scaled = np.floor(np.ldexp(np.asarray(values, np.float64), FIXED_FRACTION) + 0.5)
    return np.clip(scaled, -(1 << 15), (1 << 15) - 1).astype(np.int16)


def decode(design: Design, numbers: Packed) -> FloatArray:
    """Return the kernel's numbers as float32, of the same shape."""
    if design.dtype.bits == 32:
        return np.asarray(numbers, np.float32)
    return np.ldexp(np.asarray(numbers, np.float32), -FIXED_FRACTION).astype(np.float32)


def pack_map(design: Design, maps: FloatArray) -> Packed:
    """Return a feature map as the kernel has it.

    float32 ``(image, channel, row, col)`` becomes ``(image, channel tile, row, col, channel in
    tile)``; channels that fill the last tile are zero.
    """
    images, channels, rows, cols = maps.shape
    tiles = -(-channels // design.lanes)
    full = np.zeros((images, tiles * design.lanes, rows, cols), np.float32)
    full[:, :channels] = maps
    tiled = full.reshape(images, tiles, design.lanes, rows, cols)
    return encode(design, np.ascontiguousarray(tiled.transpose(0, 1, 3, 4, 2)))


def unpack_map(design: Design, packed: Packed, channels: int) -> FloatArray:
    """Return float32 ``(image, channel, row, col)`` of a packed map.

    The lanes behind ``channels`` are dropped.
    """
    images, tiles, rows, cols, lanes = packed.shape
    values = decode(design, packed).transpose(0, 1, 4, 2, 3)
    return np.ascontiguousarray(values.reshape(images, tiles * lanes, rows, cols)[:, :channels])


def pack_weights(design: Design, weight: FloatArray, bias: FloatArray | None) -> Packed:
    """Return weights ``(m, n, kernel, kernel)`` and biases ``(m,)`` as the kernel has them.

    Tiles ``[m tile, n tile, kr, kc, m, n]``, the biases behind them, zeros if ``bias`` is None.

    Returns:
        One row of numbers.
    """
    m, n, kernel, _ = weight.shape
    lanes = design.lanes
    m_tiles, n_tiles = -(-m // lanes), -(-n // lanes)
    full = np.zeros((m_tiles * lanes, n_tiles * lanes, kernel, kernel), np.float32)
    full[:m, :n] = weight
    tiled = full.reshape(m_tiles, lanes, n_tiles, lanes, kernel, kernel)
    behind = np.zeros(m_tiles * lanes, np.float32)
    if bias is not None:
        behind[:m] = bias
    return encode(design, np.concatenate([tiled.transpose(0, 2, 4, 5, 1, 3).ravel(), behind]))


def unpack_weights(design: Design, packed: Packed, shape: tuple[int, int, int, int]
                   ) -> tuple[FloatArray, FloatArray]:
    """Return weights and biases of what :func:`pack_weights` made.

    Returns:
        float32 weights of ``shape`` = ``(m, n, kernel, kernel)``, and biases ``(m,)``.
    """
    m, n, kernel, _ = shape
    lanes = design.lanes
    m_tiles, n_tiles = -(-m // lanes), -(-n // lanes)
    values = decode(design, packed)
    tiled, bias = values[: -m_tiles * lanes], values[-m_tiles * lanes :]
    full = tiled.reshape(m_tiles, n_tiles, kernel, kernel, lanes, lanes)
    weight = full.transpose(0, 4, 1, 5, 2, 3).reshape(m_tiles * lanes, n_tiles * lanes, kernel,
                                                      kernel)
    return np.ascontiguousarray(weight[:m, :n]), bias[:m].copy()
