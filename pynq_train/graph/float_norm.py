"""Batch normalisation in float32 on maps ``(image, row, col, channel)``, forward and backward.

Ioffe and Szegedy, "Batch Normalization", 2015. Sums over a channel are taken in float64, so that a
large mini-batch costs no precision.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pynq_train.graph.params import FloatArray, LayerParams


@dataclass(frozen=True)
class NormTrace:
    """What the forward pass keeps for the backward pass and the running statistics.

    Attributes:
        normal: the input, centred and scaled: (x - mean) / sqrt(variance + eps), in its shape.
        inverse: 1 / sqrt(variance + eps), one per channel.
        batch: mean and unbiased variance of the batch; None where the running ones were used.
    """

    normal: FloatArray
    inverse: FloatArray
    batch: tuple[FloatArray, FloatArray] | None
    """Mean and unbiased variance of the batch; None where the running ones were used."""


def forward(x: FloatArray, params: LayerParams, eps: float, by_batch: bool
            ) -> tuple[FloatArray, NormTrace]:
    """Return the output and what the backward pass needs.

    Args:
        x: the input, ``(image, row, col, channel)``.
        params: gamma and beta (``weight``, ``bias``), running mean and variance.
        eps: what is added to the variance.
        by_batch: normalise by the statistics of the batch, not by the running ones.
    """
    assert params.bias is not None and params.mean is not None and params.variance is not None
    batch = None
    mean, variance = params.mean, params.variance
    if by_batch:
        flat = x.reshape(-1, x.shape[-1])
        mean = flat.mean(axis=0, dtype=np.float64).astype(np.float32)
        variance = _squares(flat - mean) / np.float32(len(flat))
        # One value per channel has no unbiased variance: the plain one is kept.
        batch = mean, variance * np.float32(len(flat) / max(len(flat) - 1, 1))
    inverse = (1 / np.sqrt(variance.astype(np.float64) + eps)).astype(np.float32)
    normal = (x - mean) * inverse
    return normal * params.weight + params.bias, NormTrace(normal, inverse, batch)


def backward(g: FloatArray, trace: NormTrace, params: LayerParams
             ) -> tuple[FloatArray, LayerParams]:
    """Return the gradients of the input and of (gamma, beta).

    Args:
        g: gradient of the output, ``(image, row, col, channel)``.
        trace: of the forward pass.
        params: gamma.
    """
    flat, normal = g.reshape(-1, g.shape[-1]), trace.normal.reshape(-1, g.shape[-1])
    beta = flat.sum(axis=0, dtype=np.float64).astype(np.float32)
    gamma = (flat * normal).sum(axis=0, dtype=np.float64).astype(np.float32)
    scale = params.weight * trace.inverse
    if trace.batch is None:
        return g * scale, LayerParams(gamma, beta)
    count = np.float32(len(flat))
    # The batch's mean and variance depend on the input as well: both take a part of the gradient
    # away.
    spread = g - beta / count - trace.normal * (gamma / count)
    return spread * scale, LayerParams(gamma, beta)


def move_running(params: LayerParams, trace: NormTrace, momentum: float) -> None:
    """Move the running statistics, in place, by the part ``momentum`` towards the batch's."""
    if trace.batch is None:
        return
    part = np.float32(momentum)
    for running, batch in zip((params.mean, params.variance), trace.batch):
        assert running is not None
        running += part * (batch - running)


def _squares(centred: FloatArray) -> FloatArray:
    """Return the sum of squares per channel of ``(element, channel)``."""
    total: FloatArray = np.square(centred, dtype=np.float64).sum(axis=0).astype(np.float32)
    return total
