"""What a training has reached so far."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pynq_train.data import class_name
from pynq_train.errors import BadInput
from pynq_train.files.schema import MOST_TEXT, Items, Maybe, Number, Record, Table, Whole

EPOCHS_KEPT = 256
"""Epochs that a checkpoint holds, the last ones: a learner may train for years."""
TENSOR_BYTES = 1 << 16
"""Characters of JSON that the ``tensors`` of these epochs may take; older ones are left out."""
LOSSES_KEPT = 16_384
"""Losses of single steps that a checkpoint holds, the last ones."""
_MOST = (1 << 62) - 1
_COUNT, _ANY = Whole(0, _MOST), Number(any_float=True)
EPOCHS = Items(Record({
    "epoch": Whole(1, _MOST), "loss": _ANY, "accuracy": Maybe(Number(0, 1)),
    "val_loss": Maybe(_ANY), "val_accuracy": Maybe(Number(0, 1)), "images": _COUNT,
    "cycles": _COUNT, "saturations": _COUNT, "seconds": Number(0), "tensors": Table(Record({
        "range": Whole(-1 << 16, 1 << 16), "saturations": _COUNT})),
    "clipped": Table(_COUNT, MOST_TEXT)},
    optional=("tensors", "clipped")), most=1 << 20)
"""Saved epochs. Files of earlier releases hold all of them."""
TALLY = Record({"loss": _ANY, "correct": _COUNT, "images": _COUNT, "cycles": _COUNT,
                "saturations": _COUNT, "seconds": Number(0), "tensors": Table(_COUNT, MOST_TEXT),
                "answers": Maybe(_COUNT)}, optional=("answers",))
"""Saved sums of the epoch under way."""


_ACCURACIES = "accuracy", "val_accuracy"


def percent(share: float, digits: int = 1) -> str:
    """Return ``, accuracy 12.3 %``; nothing for NaN."""
    return "" if math.isnan(share) else f", accuracy {100 * share:.{digits}f} %"


def _read(entry: Any) -> dict[str, Any]:
    """Return a saved epoch; the accuracy of numbers is NaN."""
    values = dict(entry)
    if values.get("accuracy") is None and "accuracy" in values:
        values["accuracy"] = math.nan
        if values.get("val_loss") is not None:
            values["val_accuracy"] = math.nan
    return values


class _Scores(NamedTuple):
    loss: float
    accuracy: float


class Evaluation(_Scores):
    """Mean cross-entropy in nats, and the share of right answers (0..1): ``loss, accuracy``.

    Attributes:
        again: images that were run again, since they left the ranges known before.
        confusion: int64 ``(classes, classes)``: images of each class (row) that were taken for
            each class (column); without any where answers were not looked at.
        class_names: names of the classes from 0 on, as far as they are known.
        figures: more of them by name, where they fit the loss: ``mean_iou`` of pixels; ``rmse``,
            ``mae`` and ``r2`` of numbers; ``f1`` and ``all_right`` of outputs that are yes or no.
            The accuracy of numbers is NaN.
    """

    again: int
    confusion: NDArray[np.int64]
    class_names: tuple[str, ...]
    figures: dict[str, float]

    def __new__(cls, loss: float, accuracy: float, again: int = 0,
                confusion: NDArray[np.int64] | None = None, class_names: tuple[str, ...] = (),
                figures: Mapping[str, float] | None = None) -> Evaluation:
        """Return the pair of loss and accuracy."""
        self = super().__new__(cls, loss, accuracy)
        self.again, self.class_names, self.figures = again, class_names, dict(figures or {})
        self.confusion = np.zeros((0, 0), np.int64) if confusion is None else confusion
        return self

    def by_class(self) -> dict[str, tuple[int, int]]:
        """Return (images, right answers) of each class that occurs, by its name or number."""
        return {class_name(self.class_names, at): (int(row.sum()), int(row[at]))
                for at, row in enumerate(self.confusion) if row.any()}

    def text(self) -> str:
        """Return lines for people: figures; each class, what it was mostly taken for where wrong.
        """
        lines = [f"{name} {value:.4g}" for name, value in self.figures.items()]
        width = max(map(len, self.by_class()), default=0)
        for at, row in enumerate(self.confusion):
            images, right = int(row.sum()), int(row[at])
            if images:
                line = f"{class_name(self.class_names, at):{width}}  {right} of {images} right"
                others = row.copy()
                others[at] = 0
                if others.any():
                    taken = class_name(self.class_names, int(others.argmax()))
                    line += f", {others.max()} taken for {taken}"
                lines.append(line)
        return "\n".join(lines)


@dataclass(frozen=True)
class EpochResult:
    """One epoch.

    Attributes:
        epoch: number of the epoch, from 1 over the learner's life.
        loss: mean training loss in nats, while the weights moved.
        accuracy: share of right answers in training, while the weights moved; NaN where answers
            are numbers.
        val_loss: loss on the validation data after the epoch, None without such data.
        val_accuracy: accuracy likewise.
        images: training images seen.
        cycles: engine cycles of the training steps (0 if the backend has no clock).
        saturations: saturated elements of all tensors.
        seconds: wall clock, validation included.
        tensors: by tensor (``conv1.y``, ``conv1.dy``, ``conv1.w``): ``range`` k, the largest
            magnitude of the last steps is below 2**k, and ``saturations`` of the epoch.
        clipped: by layer, where there are any: weights and biases that stand at the limit of their
            format at the end of the epoch, or whose momentum does.
    """

    epoch: int
    loss: float
    accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    images: int
    cycles: int
    saturations: int
    seconds: float
    tensors: dict[str, dict[str, int]] = field(default_factory=dict)
    clipped: dict[str, int] = field(default_factory=dict)

    def text(self) -> str:
        """Return one line for people: loss and, where there is any, accuracy in percent."""
        line = f"epoch {self.epoch}: loss {self.loss:.4f}{percent(self.accuracy, 2)}"
        if self.val_loss is not None and self.val_accuracy is not None:
            line += f", validation loss {self.val_loss:.4f}{percent(self.val_accuracy, 2)}"
        return line


@dataclass
class History:
    """Epochs of a learner, oldest first.

    ``interrupted`` says that the last call of ``fit`` was ended by Ctrl-C; ``batch_losses`` holds
    the mean loss of every step of that call.
    """

    epochs: list[EpochResult] = field(default_factory=list)
    interrupted: bool = False
    batch_losses: list[float] = field(default_factory=list)

    def __repr__(self) -> str:
        """Return one line: how many epochs, and what the last one reached."""
        text = f"{len(self.epochs)} epochs"
        if self.epochs:
            text += f", {self.epochs[-1].text()}"
        return f"<History: {text}{', interrupted' if self.interrupted else ''}>"

    def to_list(self) -> list[dict[str, Any]]:
        """Return the last epochs as plain values, for a checkpoint.

        At most :data:`EPOCHS_KEPT`, and ``tensors`` of as many of them as :data:`TENSOR_BYTES`
        allow, of the last one always.
        """
        out: list[dict[str, Any]] = []
        left = TENSOR_BYTES
        for epoch in reversed(self.epochs[-EPOCHS_KEPT:]):
            values = asdict(epoch)
            for name in _ACCURACIES:  # no number of JSON
                values[name] = None if math.isnan(values[name] or 0.0) else values[name]
            left -= len(json.dumps(values["tensors"]))
            if left < 0 and out:
                values["tensors"] = {}
            out.append(values)
        return out[::-1]

    @classmethod
    def from_list(cls, data: Any) -> History:
        """Rebuild from :meth:`to_list`; :class:`BadInput` if it is malformed."""
        try:
            return cls([EpochResult(**_read(entry)) for entry in data])
        except (TypeError, ValueError) as error:
            raise BadInput(f"saved history is malformed ({error})") from None


@dataclass
class Tally:
    """Running sums of the epoch in progress; part of a checkpoint."""

    loss: float = 0.0
    correct: int = 0
    images: int = 0
    cycles: int = 0
    saturations: int = 0
    seconds: float = 0.0
    tensors: dict[str, int] = field(default_factory=dict)
    answers: int | None = None

    def add(self, loss: float, correct: int, images: int, cycles: int = 0,
            saturations: Mapping[str, int] | None = None, answers: int | None = None) -> None:
        """Add a step: summed loss, right answers, images, cycles, saturations by tensor.

        ``answers``: what right ones are counted of; None: one for each image.
        """
        if answers is not None:
            self.answers = (self.answers or 0) + answers
        self.loss += loss
        self.correct += correct
        self.images += images
        self.cycles += cycles
        for tensor, count in (saturations or {}).items():
            self.saturations += count
            self.tensors[tensor] = self.tensors.get(tensor, 0) + count

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Tally:
        """Rebuild from ``asdict``; :class:`BadInput` if it is malformed."""
        try:
            return cls(**dict(data))
        except TypeError as error:
            raise BadInput(f"saved training state is malformed ({error})") from None

    @property
    def accuracy(self) -> float:
        """Share of right answers; NaN where answers are numbers."""
        answers = max(self.images, 1) if self.answers is None else self.answers
        return self.correct / answers if answers else math.nan

    def result(self, epoch: int, validation: Evaluation | None,
               tensors: dict[str, dict[str, int]] | None = None,
               clipped: dict[str, int] | None = None) -> EpochResult:
        """Return the result of the epoch: means over its images."""
        images = max(self.images, 1)
        return EpochResult(
            epoch, self.loss / images, self.accuracy,
            validation.loss if validation else None, validation.accuracy if validation else None,
            self.images, self.cycles, self.saturations, self.seconds, tensors or {},
            clipped or {})
