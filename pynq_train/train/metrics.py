"""Figures of an evaluation, by what the loss is of: classes, pixels, yes or no, numbers."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pynq_train.arrays import Array
from pynq_train.graph.params import FloatArray
from pynq_train.quant.loss import BINARY, Loss
from pynq_train.train.targets import as_map


class Metrics:
    """Collects figures over the mini-batches of an evaluation.

    Args:
        loss: what is minimised.

    Attributes:
        confusion: int64 ``(classes, classes)``: samples of each class (row) taken for each class.
    """

    def __init__(self, loss: Loss) -> None:
        self._loss = loss
        classes = loss.classes
        labelled = not loss.numbers and loss.kind != BINARY
        self.confusion = np.zeros((classes, classes) if labelled else (0, 0), np.int64)
        # Of outputs that are yes or no: wanted and said, said alone, wanted alone; samples with all
        # right, and all samples.
        self._yes = np.zeros((3, classes), np.int64)
        self._whole = self._samples = 0
        self._square = self._absolute = self._total = self._total_square = 0.0
        self._count = 0

    def add(self, outputs: FloatArray, targets: Array) -> None:
        """Take note of outputs and their targets, as the loss takes them."""
        loss = self._loss
        found = as_map(outputs)
        if loss.numbers:
            wide = targets.astype(np.float64)
            error = found - wide
            self._square += float(np.square(error).sum())
            self._absolute += float(np.abs(error).sum())
            self._total += float(wide.sum())
            self._total_square += float(np.square(wide).sum())
            self._count += error.size
        elif loss.kind == BINARY:
            counted = targets != loss.ignore if loss.ignore is not None else np.ones_like(
                targets, dtype=np.bool_)
            said, wanted = found > 0, targets > 0.5
            axes = (0, 2, 3)
            self._yes += [(one & counted).sum(axis=axes) for one in (
                said & wanted, said & ~wanted, ~said & wanted)]
            right = ((said == wanted) | ~counted).reshape(len(found), -1).all(axis=1)
            self._whole += int(right.sum())
            self._samples += len(found)
        else:
            labels = targets.reshape(len(found), *found.shape[2:]).astype(np.intp)
            counted = np.ones(labels.shape, np.bool_) if loss.ignore is None else (
                labels != loss.ignore)
            np.add.at(self.confusion, (labels[counted], found.argmax(axis=1)[counted]), 1)

    def figures(self) -> dict[str, float]:
        """Return figures by name: those that fit the loss, none for a label for each image."""
        if self._loss.numbers:
            count = max(self._count, 1)
            spread = self._total_square - self._total * self._total / count
            found = {"rmse": math.sqrt(self._square / count), "mae": self._absolute / count}
            if spread > 0:
                found["r2"] = 1 - self._square / spread
            return found
        if self._loss.kind == BINARY:
            both, said, wanted = self._yes
            every = 2 * both + said + wanted
            f1 = np.where(every > 0, 2 * both / np.maximum(every, 1), np.nan)
            known = f1[~np.isnan(f1)]
            return {"all_right": self._whole / max(self._samples, 1),
                    "f1": float(known.mean()) if len(known) else 0.0}
        if self._loss.positions > 1:
            return {"mean_iou": mean_iou(self.confusion)}
        return {}


def mean_iou(confusion: NDArray[np.int64]) -> float:
    """Return the mean, over the classes that occur, of intersection over union."""
    right = np.diag(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - right
    seen = union > 0
    return float((right[seen] / union[seen]).mean()) if seen.any() else 0.0
