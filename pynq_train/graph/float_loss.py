"""Losses in float32: value per image, and gradient of their mean."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pynq_train.errors import BadInput
from pynq_train.graph.params import FloatArray

Labels = npt.NDArray[np.int64]


def softmax_loss(logits: FloatArray, labels: Labels, smoothing: float = 0.0
                 ) -> tuple[FloatArray, FloatArray]:
    """Softmax cross-entropy with label smoothing, as in PyTorch.

    Args:
        logits: ``(images, classes)``.
        labels: ``(images,)``.
        smoothing: part of the target that is spread over all classes evenly, 0 to below 1.

    Returns:
        The loss per image ``(images,)`` and the gradient of their mean ``(images, classes)``.
    """
    classes = logits.shape[1]
    _check_range(labels, classes)
    shifted = logits - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    sums = exponentials.sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    losses = np.log(sums[:, 0]) - shifted[rows, labels]
    grad = np.divide(exponentials, sums, dtype=np.float32)
    if smoothing:
        even = np.log(sums[:, 0]) - shifted.mean(axis=1)
        losses = np.float32(1 - smoothing) * losses + np.float32(smoothing) * even
        grad -= np.float32(smoothing / classes)
    grad[rows, labels] -= np.float32(1 - smoothing)
    grad /= np.float32(len(labels))
    return losses, grad


def squared_error(outputs: FloatArray, targets: npt.NDArray[np.generic]
                  ) -> tuple[FloatArray, FloatArray]:
    """Mean squared error, as in PyTorch.

    Args:
        outputs: ``(images, classes)``.
        targets: float ``(images, classes)``, or labels ``(images,)`` for 1 at the label, else 0.

    Returns:
        The mean square per image ``(images,)`` and the gradient of their mean.
    """
    if targets.ndim == 1:
        labels = targets.astype(np.int64)
        _check_range(labels, outputs.shape[1])
        wanted = np.zeros_like(outputs)
        wanted[np.arange(len(labels)), labels] = 1
    else:
        wanted = targets.astype(np.float32)
    difference = outputs - wanted
    losses = np.square(difference).mean(axis=1, dtype=np.float32)
    return losses, difference * np.float32(2 / difference.size)


def _check_range(labels: Labels, classes: int) -> None:
    if labels.min() < 0 or labels.max() >= classes:
        raise BadInput("labels", expected=f"0..{classes - 1}",
                       found=f"{labels.min()}..{labels.max()}")
