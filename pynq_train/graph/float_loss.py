"""Losses in float32: value per image, and gradient of their mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pynq_train.errors import BadInput, UnknownName
from pynq_train.graph.params import FloatArray

Labels = npt.NDArray[np.int64]
LOSSES = ("cross-entropy", "mse", "huber", "binary-cross-entropy")
"""Losses by name."""


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


@dataclass(frozen=True)
class FloatLoss:
    """A loss in float32, as PyTorch has it.

    Attributes:
        kind: ``cross-entropy``, ``mse``, ``huber`` or ``binary-cross-entropy``.
        smoothing: label smoothing of the cross-entropy.
        weights: factor of each class's loss, of the cross-entropies; empty: 1.
        ignore: target that does not count, of the cross-entropies; None: all do.
        delta: of ``huber``.

    Raises:
        UnknownName: there is no such loss.
    """

    kind: str = "cross-entropy"
    smoothing: float = 0.0
    weights: tuple[float, ...] = ()
    ignore: int | None = None
    delta: float = 1.0

    def __post_init__(self) -> None:
        """Refuse unknown names."""
        if not isinstance(self.kind, str) or self.kind not in LOSSES:
            raise UnknownName.among("loss", self.kind, LOSSES)

    def __call__(self, outputs: FloatArray, targets: npt.NDArray[np.generic]
                 ) -> tuple[float, FloatArray, float, int, int]:
        """Return the mean loss of what counts, its gradient, and what was right.

        Args:
            outputs: ``(images, channels, rows, cols)``.
            targets: labels ``(images, rows, cols)``, also ``(images,)`` of vectors; or numbers of
                the shape of the outputs.

        Returns:
            Loss, gradient of the shape of the outputs, what the mean divides by, right answers,
            and all answers that count (0 where answers are numbers).

        Raises:
            BadInput: labels of no class.
        """
        if self.kind == "cross-entropy":
            return self._labels(outputs, targets)
        if self.kind == "binary-cross-entropy":
            return self._binary(outputs, targets.astype(np.float32))
        if targets.ndim != outputs.ndim:
            return self._one_hot(outputs, targets.astype(np.int64))
        error = outputs - targets.astype(np.float32)
        if self.kind == "mse":
            each, slope = np.square(error), error * np.float32(2 / error.size)
        else:
            size, delta = np.abs(error), np.float32(self.delta)
            each = np.where(size <= delta, error * error / 2, delta * (size - delta / 2))
            slope = np.clip(error, -delta, delta) * np.float32(1 / error.size)
        return float(each.mean(dtype=np.float64)), slope, float(error.size), 0, 0

    def _labels(self, outputs: FloatArray, targets: npt.NDArray[np.generic]
                ) -> tuple[float, FloatArray, float, int, int]:
        classes = outputs.shape[1]
        rows = outputs.transpose(0, 2, 3, 1).reshape(-1, classes)
        labels = targets.astype(np.int64).reshape(-1)
        counted = np.ones(len(labels), np.bool_) if self.ignore is None else labels != self.ignore
        own = np.where(counted, labels, 0)
        losses, grad = softmax_loss(rows, own, self.smoothing)
        right = (rows.argmax(axis=1) == labels) & counted

        def back(rows: FloatArray) -> FloatArray:
            shaped = rows.reshape(outputs.shape[0], *outputs.shape[2:], classes)
            return np.ascontiguousarray(shaped.transpose(0, 3, 1, 2))

        if not self.weights and self.ignore is None:
            count = len(labels)
            return float(losses.mean()), back(grad), float(count), int(right.sum()), count
        grad *= np.float32(len(labels))
        factor = np.ones(classes) if not self.weights else np.array(self.weights)
        each = factor[own] * counted
        total = float(each.sum())
        scale = (each / total if total else each).astype(np.float32)[:, None]
        return (float((losses * each).sum() / total) if total else 0.0, back(grad * scale), total,
                int(right.sum()), int(counted.sum()))

    def _binary(self, outputs: FloatArray, targets: FloatArray
                ) -> tuple[float, FloatArray, float, int, int]:
        counted = (np.ones(targets.shape, np.bool_) if self.ignore is None
                   else targets != self.ignore)
        wanted = np.where(counted, targets, 0)
        each = np.logaddexp(0, outputs) - wanted * outputs
        slope = 0.5 * (1 + np.tanh(0.5 * outputs)) - wanted
        factor = np.ones(outputs.shape[1]) if not self.weights else np.array(self.weights)
        scale = factor[:, None, None] * counted
        total = float(counted.sum())
        right = ((outputs > 0) == (wanted > 0.5)) & counted
        return (float((each * scale).sum() / total) if total else 0.0,
                (slope * scale / max(total, 1.0)).astype(np.float32), total, int(right.sum()),
                int(total))

    def _one_hot(self, outputs: FloatArray, labels: Labels
                 ) -> tuple[float, FloatArray, float, int, int]:
        """Return the squared error of 1 at the label and 0 elsewhere, of vectors."""
        losses, grad = squared_error(outputs[:, :, 0, 0], labels.reshape(-1))
        right = int((outputs[:, :, 0, 0].argmax(axis=1) == labels.reshape(-1)).sum())
        return (float(losses.mean()), grad[:, :, None, None], float(len(labels)), right,
                len(labels))


def _check_range(labels: Labels, classes: int) -> None:
    if labels.min() < 0 or labels.max() >= classes:
        raise BadInput("labels", expected=f"0..{classes - 1}",
                       found=f"{labels.min()}..{labels.max()}")
