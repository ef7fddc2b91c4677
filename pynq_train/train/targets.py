"""What a learner is trained for: its loss with all options, and targets that suit it, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynq_train.arrays import Array, plain
from pynq_train.data import as_names
from pynq_train.errors import BadInput, UnknownName
from pynq_train.graph import Graph, Shape, Sigmoid
from pynq_train.graph.image_format import ImageFormat
from pynq_train.graph.params import FloatArray
from pynq_train.images import as_array, check_finite
from pynq_train.layers.ends import is_classifier
from pynq_train.layers.fuse import FusedLayer
from pynq_train.quant.loss import (
    BINARY,
    CROSS_ENTROPY,
    GRADIENT_BITS,
    LARGEST_GRADIENT_EXPONENT,
    LOSSES,
    MSE,
    Loss,
)
from pynq_train.schedule.plan import loss_at
from pynq_train.train.checkpoint import Checkpoint
from pynq_train.train.class_names import ClassNames
from pynq_train.train.images import ImageSource
from pynq_train.train.loss_options import MOST_DELTA, MOST_INDEX


@dataclass(frozen=True)
class Task:
    """A loss as its user says it.

    Attributes:
        kind: its name.
        smoothing: label smoothing.
        values: with ``mse``: targets are numbers, one for each output; else labels.
        weights: of the classes; empty for none.
        ignore: target that does not count, None for none.
        delta: of ``huber``.
    """

    kind: str = CROSS_ENTROPY
    smoothing: float = 0.0
    values: bool = False
    weights: tuple[float, ...] = ()
    ignore: int | None = None
    delta: float = 1.0

    @classmethod
    def of(cls, layers: Sequence[FusedLayer], kind: Any, smoothing: Any, weights: Any, ignore: Any,
           delta: Any, values: bool = False) -> Task:
        """Return the task of a network, with options as a user gives them.

        Raises:
            BadInput: an option is out of range.
        """
        return cls.of_shape(layers[-1].out_shape, is_classifier(layers), kind, smoothing, weights,
                            ignore, delta, values)

    @classmethod
    def of_shape(cls, shape: Shape, classifier: bool, kind: Any, smoothing: Any, weights: Any,
                 ignore: Any, delta: Any, values: bool = False) -> Task:
        """Return the task of outputs of a shape; ``classifier``: they may be logits."""
        if not isinstance(kind, str) or kind not in LOSSES:
            raise UnknownName.among("loss", kind, LOSSES)
        channels, rows, cols = shape
        # Where there are no classes, targets of the squared error are numbers.
        labelled = classifier and rows * cols == 1 and channels > 1
        ignore, delta = plain(ignore), plain(delta)
        if ignore is not None and (type(ignore) is not int or abs(ignore) > MOST_INDEX):
            raise BadInput("ignore_index", expected="None or an integer", found=repr(ignore)[:80])
        good = isinstance(delta, (int, float)) and not isinstance(delta, bool)
        if not good or not 0 < delta <= MOST_DELTA:
            raise BadInput("huber_delta", expected=f"a number above 0, at most {MOST_DELTA}",
                           found=repr(delta)[:80])
        return cls(kind, plain(smoothing), kind == MSE and (values or not labelled),
                   _weights(weights, channels), ignore, float(delta))

    def at(self, layers: Sequence[FusedLayer], batch: int) -> Loss:
        """Return it as a loss of mini-batches.

        Raises:
            UnknownName: there is no such loss.
            BadInput: an option that the loss does not have.
            UnsupportedModel: the network does not end with what the loss needs.
        """
        return loss_at(layers, batch, self.kind, smoothing=self.smoothing, values=self.values,
                       weights=self.weights, ignore=self.ignore, delta=self.delta)

    def loss_of(self, shape: Shape, aside: bool, batch: int) -> Loss:
        """Return it as a loss of outputs of a shape; ``aside``: no softmax unit reads them."""
        channels, rows, cols = shape
        return Loss(self.kind, self.smoothing, channels, rows * cols, self.values, self.weights,
                    self.ignore, self.delta, aside).start(batch)

    def to_state(self) -> dict[str, Any]:
        """Return plain values, for a checkpoint."""
        return {"values": self.values, "class_weights": list(self.weights),
                "ignore_index": self.ignore, "huber_delta": self.delta}

    @staticmethod
    def saved_values(saved: Checkpoint | None) -> bool:
        """Return whether the targets of a checkpoint's learner are numbers."""
        return saved is not None and bool(saved.state.get("loss_options", {}).get("values"))

    @staticmethod
    def options_of(state: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a learner for those values."""
        return {"class_weights": state["class_weights"] or None,
                "ignore_index": state["ignore_index"], "huber_delta": state["huber_delta"]}


def _weights(given: Any, classes: int) -> tuple[float, ...]:
    """Return one weight for each class, none for None.

    Raises:
        BadInput: another number of them; one that is negative or no finite number; all are 0.
    """
    if given is None:
        return ()
    expected = f"{classes} finite numbers of 0 or more, one for each class, not all 0"
    if isinstance(given, (str, bytes, Mapping)):
        raise BadInput("class_weights", expected=expected, found=repr(given)[:80])
    try:
        found = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        raise BadInput("class_weights", expected=expected, found=repr(given)[:80]) from None
    if found.shape != (classes,):
        raise BadInput("class_weights", expected=expected, found=f"shape {found.shape}")
    bad = np.flatnonzero(~(np.isfinite(found) & (found >= 0) & (found <= 1 << 20)))
    if len(bad):
        raise BadInput("class_weights", expected=expected,
                       found=f"{found[bad[0]]} for class {bad[0]}")
    if not found.any():
        raise BadInput("class_weights", expected=expected, found="zeros alone")
    return tuple(found.tolist())


@dataclass(frozen=True)
class Ends:
    """The end of a network as its targets see it.

    Attributes:
        task: what it is trained for.
        loss: the same for a mini-batch.
        shape: of its output.
        input_shape: of its input; an output of this shape are images, scaled as the input is.
    """

    task: Task
    loss: Loss
    shape: Shape
    input_shape: Shape

    @property
    def images(self) -> bool:
        """Whether targets are images like those of the input."""
        return self.loss.numbers and self.shape == self.input_shape

    def wants_numbers(self, y: Any) -> bool:
        """Return whether targets are numbers, where those of the squared error were labels so far.
        """
        if self.task.kind != MSE or self.task.values:
            return False
        array = as_array("labels", y)
        return array.dtype.kind in "uifb" and array.ndim > 1 and as_names("labels", array) is None

    def checked(self, y: Any, count: int, form: ImageFormat, names: ClassNames, *,
                learn: bool = False, foreign: bool = False) -> tuple[Array, ClassNames]:
        """Return targets as the loss takes them, and the names of classes that are known then.

        Args:
            y: targets as the user has them.
            count: images.
            form: of the images.
            names: names of classes that are known.
            learn, foreign: as for :meth:`ClassNames.numbered`.

        Raises:
            BadInput: they do not suit the loss; the text says what would.
        """
        if self.loss.numbers:
            return self._numbers(y, count, form), names
        if self.loss.kind == BINARY:
            return self._yes_or_no(y, count), names
        if self.loss.positions > 1:
            return self._by_pixel(y, count), names
        if self.task.ignore is None:
            labels, names = names.numbered(y, count, self.shape[0], learn=learn, foreign=foreign)
        else:
            labels, names = self._with_ignored(y, count, names, learn, foreign)
        return (labels[:, None, None] if self.loss.on_host else labels), names

    def _with_ignored(self, y: Any, count: int, names: ClassNames, learn: bool, foreign: bool
                      ) -> tuple[Array, ClassNames]:
        array = as_array("labels", y)
        ignored = np.zeros(array.shape, np.bool_)
        if array.dtype.kind in "ui":
            ignored = array == self.task.ignore
            self._check_counts(ignored)
            array = np.where(ignored, 0, array)
        labels, names = names.numbered(array, count, self.shape[0], learn=learn, foreign=foreign)
        return np.where(ignored, np.int64(self.task.ignore or 0), labels), names

    def _check_counts(self, ignored: NDArray[np.bool_]) -> None:
        if ignored.size and ignored.all():
            raise BadInput("labels", expected="some that count", found=f"ignore_index "
                           f"({self.task.ignore}) everywhere", fix="use another ignore_index")

    def _by_pixel(self, y: Any, count: int) -> Array:
        """Return a label for each pixel, int64 ``(n, rows, cols)``."""
        array = as_array("labels", y)
        classes, rows, cols = self.shape
        wanted = f"a class number for each pixel: integers of shape ({count}, {rows}, {cols})"
        if array.shape == (count, 1, rows, cols):
            array = array[:, 0]
        if array.dtype.kind not in "ui":
            raise BadInput("labels", expected=wanted, found=f"dtype {array.dtype}",
                           fix="number the classes from 0; for targets that are numbers say "
                               "loss='mse'" if array.dtype.kind == "f" else "number the classes")
        if array.shape != (count, rows, cols):
            raise BadInput("labels", expected=wanted, found=f"shape {array.shape}")
        labels = array.astype(np.int64)
        ignored = (np.zeros(labels.shape, np.bool_) if self.task.ignore is None
                   else labels == self.task.ignore)
        self._check_counts(ignored)
        wrong = np.argwhere(((labels < 0) | (labels >= classes)) & ~ignored)
        if len(wrong):
            image, row, col = wrong[0].tolist()
            raise BadInput(f"label of image {image}, row {row}, column {col}",
                           expected=f"0..{classes - 1} ({classes} classes)",
                           found=int(labels[image, row, col]), fix="number the classes from 0, or "
                           f"say ignore_index={int(labels[image, row, col])} for pixels that do "
                           "not count")
        return labels

    def _shaped(self, array: Array, count: int) -> Array:
        """Return targets of each output, ``(n, channels, rows, cols)``.

        Raises:
            BadInput: there are others.
        """
        channels, rows, cols = self.shape
        shapes: list[tuple[int, ...]] = [(count, *self.shape)]
        if rows * cols == 1:
            shapes.insert(0, (count, channels))
        if channels == 1:
            shapes.insert(0, (count,) if rows * cols == 1 else (count, rows, cols))
        if array.shape not in shapes:
            labels = array.ndim == 1 and array.dtype.kind in "ui"
            raise BadInput("targets", expected="a number for each output: shape "
                           + " or ".join(map(str, shapes)), found=f"shape {array.shape}",
                           fix="say loss='cross-entropy' to learn from labels" if labels else None)
        return array.reshape(count, *self.shape)

    def _yes_or_no(self, y: Any, count: int) -> Array:
        """Return probabilities that are wanted, float32 of the outputs' shape."""
        array = as_array("targets", y)
        if array.dtype.kind not in "uifb":
            raise BadInput("targets", expected="0 or 1 (or numbers between) for each output",
                           found=f"dtype {array.dtype}")
        check_finite(array, what="targets")
        found = self._shaped(array, count).astype(np.float32)
        ignored = (np.zeros(found.shape, np.bool_) if self.task.ignore is None
                   else found == self.task.ignore)
        self._check_counts(ignored)
        wrong = np.argwhere(((found < 0) | (found > 1)) & ~ignored)
        if len(wrong):
            raise BadInput(f"target of image {wrong[0][0]}", expected="0 to 1 for each output",
                           found=float(found[tuple(wrong[0])]),
                           fix="say loss='mse' for targets that are no probabilities")
        return found

    def _numbers(self, y: Any, count: int, form: ImageFormat) -> Array:
        """Return numbers that are wanted, float32 of the outputs' shape, as the network has them.
        """
        array = as_array("targets", y)
        if array.dtype.kind not in "uifb":
            raise BadInput("targets", expected="a number for each output",
                           found=f"dtype {array.dtype}",
                           fix="say loss='cross-entropy' to learn from names of classes")
        check_finite(array, what="targets")
        if self.images:
            found = self._pictures(array, count, form)
        else:
            found = self._shaped(array, count).astype(np.float32)
        largest = float(np.abs(found).max(initial=0.0))
        limit = self._limit()
        if largest > limit:
            scale = 2 ** math.ceil(math.log2(largest / limit))
            raise BadInput("targets", expected=f"numbers of at most {limit:g} in magnitude",
                           found=f"{largest:g}", fix=f"divide them by {scale}"
                           + ", or use a larger mini-batch" * self.loss.unbounded)
        return found

    def _pictures(self, array: Array, count: int, form: ImageFormat) -> FloatArray:
        try:
            source = ImageSource(array, self.input_shape, form)
        except BadInput as error:
            raise BadInput(f"targets, which are images as those of the input: {error}") from None
        if len(source) != count:
            raise BadInput("targets", expected=f"{count} images, one for each of the input",
                           found=len(source))
        return source.take(slice(0, count))

    def _limit(self) -> float:
        """Return the largest magnitude of a number that outputs and their gradients reach."""
        bits = GRADIENT_BITS
        if self.loss.unbounded:
            bits = min(bits, LARGEST_GRADIENT_EXPONENT + GRADIENT_BITS - self.loss.top)
        return math.ldexp(1.0, bits) - (bits == GRADIENT_BITS)

    def in_units(self, outputs: FloatArray, form: ImageFormat) -> FloatArray:
        """Return outputs in the units of the targets; vectors as ``(n, outputs)``."""
        if self.images and form.seen is not None:
            shape = (1, -1, *([1] * (outputs.ndim - 2)))
            mean, std = (np.asarray(each, np.float32).reshape(shape)
                         for each in (form.seen.mean, form.seen.std))
            found: FloatArray = outputs * std + mean
            return found
        return outputs


def without_sigmoid(graph: Graph, kind: Any) -> Graph:
    """Return a network without the sigmoid at its end, where the loss has it.

    Args:
        graph: the network.
        kind: name of the loss; it may be anything, since :meth:`Task.of` refuses it only later.
    """
    last = graph.ops[-1]
    if not isinstance(kind, str) or kind != BINARY or not isinstance(last, Sigmoid) or (
            graph.sources[-1] != (len(graph.ops) - 2,)):
        return graph
    return replace(graph, ops=graph.ops[:-1])


def as_map(outputs: FloatArray) -> FloatArray:
    """Return outputs with axes for rows and columns, also those of vectors."""
    return outputs[:, :, None, None] if outputs.ndim == 2 else outputs


def errors_of(loss: Loss, outputs: FloatArray, targets: Array) -> NDArray[np.float64]:
    """Return the mean error of each sample: squared, or Huber's.

    ``outputs``, ``targets``: ``(n, channels, rows, cols)``, as the network has them.
    """
    error = np.abs(outputs.astype(np.float64) - targets).reshape(len(outputs), -1)
    if loss.kind == MSE:
        each: NDArray[np.float64] = np.square(error)
    else:
        each = np.where(error <= loss.delta, error * error / 2,
                        loss.delta * (error - loss.delta / 2))
    found: NDArray[np.float64] = each.mean(axis=1)
    return found


def with_numbers(task: Task) -> Task:
    """Return a squared error whose targets are numbers."""
    return replace(task, values=True)
