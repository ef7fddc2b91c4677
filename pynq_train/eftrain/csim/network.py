"""A network that the kernel trains: one call per layer and pass, loss and order on the host.

This is how EF-Train runs: the processor starts every pass, computes softmax and its gradient, and
all maps and weights lie in memory between the layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pynq_train.eftrain.chips import FP32, XC7Z020, Chip, DataType
from pynq_train.eftrain.csim.kernel import Kernel, Work
from pynq_train.eftrain.csim.layout import (
    Packed,
    pack_map,
    pack_weights,
    unpack_map,
    unpack_weights,
)
from pynq_train.eftrain.predict import conv_shape
from pynq_train.eftrain.search import search
from pynq_train.errors import UnsupportedModel
from pynq_train.graph.activation import Activation
from pynq_train.graph.params import FloatArray, LayerParams
from pynq_train.layers.fuse import FusedLayer

Labels = NDArray[np.int64]
KNOWN_ACTIVATIONS = (Activation.NONE, Activation.RELU)
"""Activations that the kernel has."""
_KNOWN = frozenset(("kind", "name", "in_shape", "out_shape_before_pool", "out_shape", "kernel",
                    "stride", "pad_top", "pad_left", "activation", "pool", "bias"))
"""Properties of a layer that the kernel knows."""


@dataclass(frozen=True)
class EfStep:
    """What a step or an evaluation says.

    Attributes:
        loss_sum: sum of the cross-entropy over the images, in nats.
        correct: images whose largest logit is that of the label.
    """

    loss_sum: float
    correct: int


@dataclass
class _Trace:
    """What the backward pass needs of one layer.

    Attributes:
        x: its packed input.
        index: which element of each window the pooling took; None without pooling.
    """

    x: Packed
    index: NDArray[np.uint16] | None


class EfNetwork:
    """Forward, backward and plain SGD over fused layers.

    Args:
        layers: the layers.
        params: their weights by name.
        batch: largest mini-batch; the build is searched for it.
        chip: chip that the build is for.
        dtype: type of all numbers.
        source: folder of other kernel sources than those of the package.

    Raises:
        UnsupportedModel: a layer does something that the kernel does not.
    """

    def __init__(self, layers: Sequence[FusedLayer], params: Mapping[str, LayerParams], batch: int,
                 chip: Chip = XC7Z020, dtype: DataType = FP32, source: Path | None = None) -> None:
        self.layers = tuple(layers)
        for index, layer in enumerate(layers):
            _check(layer, index)
        self.design = search(layers, chip, dtype, batch, dense=True)
        self.kernel = Kernel(self.design, source)
        self._works = [Work(layer.name, conv_shape(layer), layer.pad_top, layer.pad_left,
                            layer.activation is Activation.RELU, layer.bias) for layer in layers]
        self._weights: dict[str, Packed] = {}
        self.write(params)

    def write(self, params: Mapping[str, LayerParams]) -> None:
        """Set all weights, given by layer name."""
        for work in self._works:
            own = params[work.name]
            self._weights[work.name] = pack_weights(
                self.design, own.weight.reshape(_weight_shape(work)), own.bias)

    def read(self) -> dict[str, LayerParams]:
        """Return all weights by layer name."""
        found = {}
        for layer, work in zip(self.layers, self._works):
            weight, bias = unpack_weights(self.design, self._weights[work.name],
                                          _weight_shape(work))
            found[work.name] = LayerParams(weight.reshape(layer.weight_shape),
                                           bias if layer.bias else None)
        return found

    def logits(self, images: FloatArray) -> FloatArray:
        """Return float32 ``(images, classes)`` for images ``(images, channels, rows, cols)``."""
        return self._forward(images)[0]

    def evaluate(self, images: FloatArray, labels: Labels) -> tuple[EfStep, FloatArray]:
        """Return loss and right answers, and the logits ``(images, classes)``."""
        logits = self.logits(images)
        return _softmax(logits, labels)[0], logits

    def step(self, images: FloatArray, labels: Labels, rate: float) -> EfStep:
        """Run one training step: ``w -= rate * gradient of the mean loss``."""
        logits, traces = self._forward(images)
        said, gradient = _softmax(logits, labels)
        loss = pack_map(self.design, gradient[:, :, None, None])
        for index in range(len(self.layers) - 1, -1, -1):
            layer, work, trace = self.layers[index], self._works[index], traces[index]
            if trace.index is not None:
                loss = self.kernel.unpool(loss, trace.index, *layer.out_shape_before_pool[1:])
            old = self._weights[work.name]
            if index:  # weights of the forward pass, before they are updated
                masked = self.layers[index - 1].activation.has_flags
                below = self.kernel.backward(work, loss, old, trace.x if masked else None)
            self._weights[work.name] = self.kernel.update(work, trace.x, loss, old, rate)
            if index:
                loss = self._fit(below, work, self.layers[index - 1].out_shape)
        return said

    def _forward(self, images: FloatArray) -> tuple[FloatArray, list[_Trace]]:
        """Return logits ``(images, classes)``, and what the backward pass needs of each layer."""
        shape = self.layers[0].in_shape
        x = pack_map(self.design, np.asarray(images, np.float32).reshape(-1, *shape))
        traces = []
        for layer, work in zip(self.layers, self._works):
            x = self._flat(x, layer, work)
            trace = _Trace(x, None)
            x = self.kernel.forward(work, x, self._weights[work.name])
            if layer.pool:
                x, trace.index = self.kernel.pool(x)
            traces.append(trace)
        classes = self.layers[-1].out_channels
        return unpack_map(self.design, x, classes).reshape(len(x), classes), traces

    def _flat(self, x: Packed, layer: FusedLayer, work: Work) -> Packed:
        """Return a packed map as the channels of a dense layer: (channel, row, col) in order."""
        if not layer.kind.fully_connected or layer.in_shape[1:] == (1, 1):
            return x
        values = unpack_map(self.design, x, layer.in_shape[0])
        return pack_map(self.design, values.reshape(len(x), work.shape.n, 1, 1))

    def _fit(self, loss: Packed, work: Work, below: tuple[int, int, int]) -> Packed:
        """Return the packed loss of a layer's input in the shape of the map that it came from."""
        if (work.shape.n, work.shape.in_rows, work.shape.in_cols) == below:
            return loss
        values = unpack_map(self.design, loss, work.shape.n)
        return pack_map(self.design, values.reshape(len(loss), *below))


def _check(layer: FusedLayer, index: int) -> None:
    """Refuse properties of layers that were added without this engine in mind.

    Raises:
        UnsupportedModel: a field that it does not know has another value than its default, or
            layer ``index`` reads another one than the layer before it.
    """
    for field in fields(layer):
        value = getattr(layer, field.name)
        wanted = (index - 1,) if field.name == "sources" else field.default
        if field.name not in _KNOWN and value != wanted:
            raise UnsupportedModel(f"{layer.name}: {field.name} on the EF-Train kernel",
                                   expected=f"{wanted!r}: it runs convolutions, dense "
                                   "layers, ReLU and 2x2 max pooling", found=repr(value),
                                   fix="use another board")
    if layer.activation not in KNOWN_ACTIVATIONS:
        raise UnsupportedModel(f"{layer.name}: activation on the EF-Train kernel",
                               expected=" or ".join(map(str, KNOWN_ACTIVATIONS)),
                               found=str(layer.activation), fix="use another board")


def _weight_shape(work: Work) -> tuple[int, int, int, int]:
    """Return ``(m, n, kernel, kernel)``."""
    shape = work.shape
    return shape.m, shape.n, shape.kernel, shape.kernel


def _softmax(logits: FloatArray, labels: Labels) -> tuple[EfStep, FloatArray]:
    """Return the loss, and the gradient of its mean, float32 ``(images, classes)``."""
    rows = np.arange(len(labels))
    # The same softmax, but no power overflows.
    shifted = logits - logits.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    sums = powers.sum(axis=1, keepdims=True)
    losses = np.log(sums[:, 0]) - shifted[rows, labels]
    gradient = powers / sums
    gradient[rows, labels] -= 1
    said = EfStep(float(losses.sum()), int((logits.argmax(axis=1) == labels).sum()))
    return said, (gradient / np.float32(len(labels))).astype(np.float32)
