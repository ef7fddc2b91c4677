"""Float32 training of a network in NumPy: the reference that fixed-point training is compared with.

Feature maps are kept as ``(image, row, col, channel)``, so that a convolution is one matrix product
per chunk of images; arrays that callers pass or get are ``(image, channel, row, col)``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pynq_train.arrays import Array
from pynq_train.errors import BadInput
from pynq_train.graph import float_norm
from pynq_train.graph.flat import map_shape
from pynq_train.graph.float_loss import FloatLoss
from pynq_train.graph.float_ops import KERNELS, Backward, Forward, Mode, Site
from pynq_train.graph.graph import Graph
from pynq_train.graph.ops import BatchNorm, GroupNorm
from pynq_train.graph.params import FloatArray, LayerParams, check_graph_params
from pynq_train.graph.shapes import require_number
from pynq_train.graph.wiring import FROM_INPUT

Loss = Literal["cross-entropy", "mse", "huber", "binary-cross-entropy"]


@dataclass(frozen=True)
class FloatStep:
    """What one training step says; loss and right answers are those before its update.

    Attributes:
        loss: mean loss over the images.
        correct: number of right answers.
        images: number of images.
        answers: answers that ``correct`` counts the right ones of: images, or pixels, or outputs
            that are yes or no; 0 where answers are numbers.
        weight: what the mean loss divides by.
    """

    loss: float
    correct: int
    images: int
    answers: int = 0
    weight: float = 0.0


class FloatTrainer:
    """Forward, backward and SGD with momentum over a graph.

    Update: ``v = momentum * v + g + weight_decay * w; w -= lr * v``, with g the gradient of the
    mean loss; weight decay is not applied to biases nor to batch normalisations. With ``nesterov``
    it is ``w -= lr * (g + weight_decay * w + momentum * v)``.

    Args:
        graph: any verified graph.
        params: its parameters by layer name; copied.
        lr, momentum, weight_decay: of the update.
        loss: ``cross-entropy`` (of the softmax), ``mse`` (mean squared error of the outputs),
            ``huber`` or ``binary-cross-entropy``.
        label_smoothing: of the cross-entropy, 0 to below 1.
        seed: of dropout.
        nesterov: Nesterov momentum.
        class_weights: factor of each class's cross-entropy.
        ignore_index: target that does not count, of the cross-entropies.
        huber_delta: difference up to which Huber's loss is squared.

    Raises:
        BadInput: parameters that do not fit the graph.
    """

    def __init__(
        self,
        graph: Graph,
        params: Mapping[str, LayerParams],
        lr: float = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        loss: Loss = "cross-entropy",
        label_smoothing: float = 0.0,
        seed: int = 0,
        nesterov: bool = False,
        class_weights: Sequence[float] = (),
        ignore_index: int | None = None,
        huber_delta: float = 1.0,
    ) -> None:
        check_graph_params(graph, params)
        self._loss = FloatLoss(loss, label_smoothing, tuple(class_weights), ignore_index,
                               huber_delta)
        require_number("label_smoothing", label_smoothing, 0, 1)
        self.graph = graph
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.loss = loss
        self.label_smoothing = label_smoothing
        self.nesterov = nesterov
        self.seed = seed
        self.steps = 0
        self._params = {name: _copy(p) for name, p in params.items()}
        self._velocity = {name: LayerParams(np.zeros_like(p.weight), None if p.bias is None
                                            else np.zeros_like(p.bias))
                          for name, p in self._params.items()}
        self._sites = [Site(op, place, shapes, self._params.get(op.name),
                            map_shape(graph, graph.sources[place][0]))
                       for place, (op, shapes) in enumerate(zip(graph.ops, graph.in_shapes))]
        self._decayed = {op.name for op in graph.ops if not isinstance(op, (BatchNorm, GroupNorm))}

    @property
    def params(self) -> dict[str, LayerParams]:
        """Copies of the present parameters by layer name, float32."""
        return {name: _copy(p) for name, p in self._params.items()}

    def logits(self, x: npt.ArrayLike) -> FloatArray:
        """Return float32 logits ``(images, classes)`` of ``(images, channels, rows, cols)``.

        Raises:
            BadInput: the images do not have the network's input shape.
        """
        return self._forward(self._check(x), Mode(training=False))[0]

    def gradients(
        self, x: npt.ArrayLike, labels: npt.ArrayLike
    ) -> tuple[FloatStep, dict[str, LayerParams]]:
        """Return loss and right answers, and the gradient of the mean loss by layer name.

        Nothing changes: dropout is that of the next step, running statistics stay. Arguments are
        those of :meth:`step`.
        """
        result, grads, _ = self._differentiate(x, labels)
        return result, grads

    def step(
        self, x: npt.ArrayLike, labels: npt.ArrayLike, lr: float | None = None,
        factors: Mapping[str, tuple[float | None, float | None]] | None = None, parts: int = 1
    ) -> FloatStep:
        """Run one training step on a batch and return its loss.

        Args:
            x: images ``(images, channels, rows, cols)``.
            labels: class of each image, ``(images,)``, or of each pixel; or numbers for each
                output (:class:`~pynq_train.graph.float_loss.FloatLoss`).
            lr: learning rate of this step (default: the trainer's).
            factors: by layer name, factors of the rate of weights and bias; None for what is
                frozen. A layer that is left out is trained at the rate itself.
            parts: equal mini-batches that the batch is divided into, one after the other; their
                mean gradient makes the step.

        Raises:
            BadInput: images or labels have other shapes, or the batch cannot be divided.
        """
        result, grads = self._accumulate(x, labels, parts)
        peak = self.lr if lr is None else lr
        momentum, decay = np.float32(self.momentum), np.float32(self.weight_decay)
        for name, grad in grads.items():
            of_weight, of_bias = (factors or {}).get(name, (1.0, 1.0))
            own, speed = self._params[name], self._velocity[name]
            if of_weight is not None:
                velocity, weight = speed.weight, own.weight
                slope = grad.weight
                if decay and name in self._decayed:
                    slope = slope + decay * weight
                velocity *= momentum
                velocity += slope
                step = slope + momentum * velocity if self.nesterov else velocity
                weight -= np.float32(peak * of_weight) * step
            if grad.bias is None or own.bias is None or speed.bias is None or of_bias is None:
                continue
            velocity, bias = speed.bias, own.bias
            velocity *= momentum
            velocity += grad.bias
            step = grad.bias + momentum * velocity if self.nesterov else velocity
            bias -= np.float32(peak * of_bias) * step
        return result

    def evaluate(
        self, x: npt.ArrayLike, labels: npt.ArrayLike, batch: int = 256
    ) -> tuple[float, float]:
        """Return mean loss and accuracy (0..1) over all images, as the network infers.

        Args:
            x: images ``(images, channels, rows, cols)``.
            labels: as in :meth:`step`.
            batch: images that are computed at once.

        Raises:
            BadInput: there is no image, or not one label for each.
        """
        images, y = np.asarray(x), np.asarray(labels)
        if len(images) == 0 or len(y) != len(images) or not self._suits(y, len(y)):
            raise BadInput("evaluation data", expected="one label per image, at least one image",
                           found=f"{len(images)} images, labels of shape {y.shape}")
        loss, weight, correct, answers = 0.0, 0.0, 0, 0
        for begin in range(0, len(images), batch):
            found = self._loss_of(self.logits(images[begin : begin + batch]),
                                  y[begin : begin + batch])
            loss, weight = loss + found[0] * found[2], weight + found[2]
            correct, answers = correct + found[3], answers + found[4]
        return loss / weight if weight else 0.0, correct / answers if answers else math.nan

    # -- private ---------------------------------------------------------------------------------

    def _shapes(self, count: int) -> list[tuple[int, ...]]:
        """Return the shapes that the targets of ``count`` images should have.

        Beside these others are taken that say the same: with axes of one pixel; of a map one label
        for each image, among all its outputs.
        """
        channels, rows, cols = self.graph.output_shape
        vector = rows * cols == 1
        found: list[tuple[int, ...]] = []
        if self.loss in ("cross-entropy", "mse"):
            found.append((count,) if vector else (count, rows, cols))
        if self.loss != "cross-entropy":
            found.append((count, channels) if vector else (count, channels, rows, cols))
        return found

    def _suits(self, y: Array, count: int) -> bool:
        """Return whether targets have a shape that the loss can take."""
        shapes = self._shapes(count)
        also = [shape + (1, 1) for shape in shapes] if len(shapes[0]) < 3 else [(count,)]
        return y.shape in shapes + (also if self.loss in ("cross-entropy", "mse") else also[:1])

    def _loss_of(self, outputs: FloatArray, y: Array
                 ) -> tuple[float, FloatArray, float, int, int]:
        """Return loss and gradient of outputs ``(images, values)`` (:class:`FloatLoss`)."""
        shape: tuple[int, ...] = self.graph.output_shape
        if y.ndim == 1 and self.loss in ("cross-entropy", "mse"):
            shape = (self.graph.classes, 1, 1)
        elif self.loss in ("binary-cross-entropy", "huber") or (
                self.loss == "mse" and y.ndim in (2, 4)):
            y = y.reshape(len(y), *shape)
        return self._loss(outputs.reshape(len(outputs), *shape), y)

    def _check(self, x: npt.ArrayLike) -> FloatArray:
        """Return images as float32; BadInput unless they have the network's input shape."""
        images = np.asarray(x, dtype=np.float32)
        shape = self.graph.input_shape
        if images.ndim != 4 or images.shape[1:] != shape or len(images) == 0:
            raise BadInput("images", expected=f"shape (n, {', '.join(map(str, shape))})",
                           found=images.shape)
        return images

    def _accumulate(self, x: npt.ArrayLike, labels: npt.ArrayLike, parts: int
                    ) -> tuple[FloatStep, dict[str, LayerParams]]:
        """Return loss and mean gradient of ``parts`` mini-batches; move running statistics."""
        images, y = np.asarray(x), np.asarray(labels)
        if parts < 1 or len(images) % parts or len(images) != len(y):
            raise BadInput("images of a step", expected=f"a label each, a multiple of {parts}",
                           found=f"{len(images)} with {len(y)} labels")
        size = len(images) // parts
        loss, correct, answers = 0.0, 0, 0
        total: dict[str, LayerParams] = {}
        for begin in range(0, len(images), max(size, 1)):
            part = slice(begin, begin + size)
            result, grads, traces = self._differentiate(images[part], y[part])
            for site, trace in zip(self._sites, traces):
                if isinstance(site.op, BatchNorm):
                    float_norm.move_running(self._params[site.op.name], trace, site.op.momentum)
            self.steps += 1
            loss, correct = loss + result.loss / parts, correct + result.correct
            answers += result.answers
            total = {name: _mean_of(total.get(name), grad, parts) for name, grad in grads.items()}
        return FloatStep(loss, correct, len(y), answers), total

    def _differentiate(self, x: npt.ArrayLike, labels: npt.ArrayLike
                       ) -> tuple[FloatStep, dict[str, LayerParams], list[Any]]:
        """Return loss, gradients by layer name and what each operation kept of its forward pass."""
        images = self._check(x)
        y = np.asarray(labels)
        if not self._suits(y, len(images)):
            raise BadInput("labels", found=y.shape, expected=" or ".join(
                f"shape {shape}" for shape in self._shapes(len(images))))
        logits, traces = self._forward(images, Mode(True, self.seed, self.steps))
        loss, grad, weight, correct, answers = self._loss_of(logits, y)
        result = FloatStep(loss, correct, len(y), answers, weight)
        return result, self._backward(traces, grad), traces

    def _forward(self, images: FloatArray, mode: Mode) -> tuple[FloatArray, list[Any]]:
        """Return logits ``(images, classes)``, and what backward passes need of each operation."""
        maps = {FROM_INPUT: np.ascontiguousarray(images.transpose(0, 2, 3, 1))}
        last_reader = {place: at for at, sources in enumerate(self.graph.sources)
                       for place in sources}
        traces: list[Any] = []
        for at, (site, sources) in enumerate(zip(self._sites, self.graph.sources)):
            forward, _ = self._kernels(site)
            maps[at], trace = forward(site, [maps[place] for place in sources], mode)
            traces.append(trace if mode.training else None)
            # A map is dropped behind its last reader: most of a network's memory is maps.
            for place in set(sources):
                if last_reader[place] == at:
                    del maps[place]
        # Logits of a convolution with a map have the order of callers' arrays.
        out = maps[len(self._sites) - 1].transpose(0, 3, 1, 2)
        return np.ascontiguousarray(out).reshape(len(images), -1), traces

    def _kernels(self, site: Site) -> tuple[Forward, Backward]:
        """Return what computes an operation, forward and backward."""
        return KERNELS[type(site.op)]

    def _backward(self, traces: list[Any], grad: FloatArray) -> dict[str, LayerParams]:
        """Return the gradients of all parameters by layer name, first layer first.

        ``traces``: of the forward pass, ``grad``: of the logits.
        """
        channels, rows, cols = self.graph.output_shape
        shaped = grad.reshape(len(grad), channels, rows, cols).transpose(0, 2, 3, 1)
        pending = {len(self._sites) - 1: np.ascontiguousarray(shaped)}
        grads: dict[str, LayerParams] = {}
        for at in range(len(self._sites) - 1, -1, -1):
            site, sources = self._sites[at], self.graph.sources[at]
            _, backward = self._kernels(site)
            wanted = any(place != FROM_INPUT for place in sources)
            back = backward(site, traces[at], pending.pop(at), wanted)
            if back.params is not None:
                grads[site.op.name] = back.params
            for place, g in zip(sources, back.inputs):
                # A map that several operations read gets the sum of their gradients.
                if place != FROM_INPUT and g is not None:
                    pending[place] = pending[place] + g if place in pending else g
        return dict(reversed(grads.items()))


def _mean_of(sofar: LayerParams | None, grad: LayerParams, parts: int) -> LayerParams:
    """Return ``sofar``, None for nothing, plus a ``parts``-th of ``grad``."""
    if parts == 1:
        return grad
    share = np.float32(1 / parts)
    bias = None if grad.bias is None else grad.bias * share
    if sofar is None:
        return LayerParams(grad.weight * share, bias)
    if bias is not None and sofar.bias is not None:
        bias = bias + sofar.bias
    return LayerParams(sofar.weight + grad.weight * share, bias)


def _copy(params: LayerParams) -> LayerParams:
    """Return a copy of parameters as float32."""
    def copied(array: FloatArray | None) -> FloatArray | None:
        return None if array is None else np.array(array, dtype=np.float32)

    return LayerParams(np.array(params.weight, dtype=np.float32), copied(params.bias),
                       copied(params.mean), copied(params.variance))
