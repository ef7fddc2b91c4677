"""Group normalisation in float32 on maps ``(image, row, col, channel)``, forward and backward.

Sums over a group are taken in float64, as those of ``float_norm``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynq_train.graph.params import FloatArray, LayerParams

_VALUES = (1, 3)
"""Axes of the values of a group in ``(image, pixel, group, channel)``."""


@dataclass(frozen=True)
class GroupTrace:
    """What the forward pass keeps for the backward pass.

    Attributes:
        normal: the input, centred and scaled, in its shape.
        inverse: 1 / sqrt(variance + eps), ``(image, 1, group, 1)``.
    """

    normal: FloatArray
    inverse: FloatArray


def forward(x: FloatArray, groups: int, eps: float, params: LayerParams | None
            ) -> tuple[FloatArray, GroupTrace]:
    """Return the output and what the backward pass needs.

    Args:
        x: the input, ``(image, row, col, channel)``.
        groups: groups of channels.
        eps: what is added to the variance.
        params: gamma and beta, None without.
    """
    split = _split(x, groups)
    centred = split - _mean(split)
    inverse = (1 / np.sqrt(_mean(np.square(centred, dtype=np.float64)) + eps)).astype(np.float32)
    normal = (centred.astype(np.float32) * inverse).reshape(x.shape)
    if params is None:
        return normal, GroupTrace(normal, inverse)
    assert params.bias is not None
    return normal * params.weight + params.bias, GroupTrace(normal, inverse)


def backward(g: FloatArray, trace: GroupTrace, params: LayerParams | None
             ) -> tuple[FloatArray, LayerParams | None]:
    """Return the gradients of the input and of (gamma, beta), None without these.

    Args:
        g: gradient of the output, ``(image, row, col, channel)``.
        trace: of the forward pass.
        params: gamma and beta, None without.
    """
    own = None
    if params is not None:
        axes = (0, 1, 2)
        own = LayerParams((g * trace.normal).sum(axis=axes, dtype=np.float64).astype(np.float32),
                          g.sum(axis=axes, dtype=np.float64).astype(np.float32))
        g = g * params.weight
    groups = trace.inverse.shape[2]
    split, normal = _split(g, groups), _split(trace.normal, groups)
    # Mean and variance depend on the input as well: both take a part of the gradient away.
    spread = split - _mean(split) - normal * _mean(split * normal)
    return (spread * trace.inverse).astype(np.float32).reshape(g.shape), own


def _split(x: FloatArray, groups: int) -> FloatArray:
    """Return a map as ``(image, pixel, group, channel of the group)``."""
    images, rows, cols, channels = x.shape
    return x.reshape(images, rows * cols, groups, channels // groups)


def _mean(split: NDArray[Any]) -> NDArray[Any]:
    """Return the mean of each image's group, in float64."""
    return split.mean(axis=_VALUES, keepdims=True, dtype=np.float64)
