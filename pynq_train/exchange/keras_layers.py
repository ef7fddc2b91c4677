"""What each kind of Keras layer becomes; Keras has channels last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pynq_train.exchange.activations import (
    KERAS_FUNCTIONS,
    KERAS_INSTEAD,
    KERAS_LAYERS,
    KERAS_REMEDY,
    Numbers,
    Reader,
)
from pynq_train.exchange.draft import Draft, Refused, Value
from pynq_train.graph.ops import Add, BatchNorm, Concat, Dense, Dropout
from pynq_train.graph.params import FloatArray, LayerParams


@dataclass(frozen=True)
class Layer:
    """A layer, what it reads, and whether no other layer reads it."""

    keras: Any
    draft: Draft
    sources: list[Value]
    ends: bool

    @property
    def value(self) -> Value:
        """The only input."""
        return self.sources[0]

    @property
    def label(self) -> str:
        """The layer's name."""
        return str(self.keras.name)

    def weights(self) -> list[FloatArray]:
        """All arrays of the layer, as float32."""
        return [np.asarray(array, np.float32) for array in self.keras.get_weights()]

    def activated(self, value: Value) -> Value:
        """Append the layer's own activation to ``value``."""
        return _activate(self, value, f"{self.label}.act")


def _numbers(owner: Any) -> Numbers:
    """Return the numbers that a layer or a function has as attributes."""
    return lambda name, place, default=None: getattr(owner, name, default)


def _activate(layer: Layer, value: Value, label: str) -> Value:
    function = getattr(layer.keras, "activation", None)
    name = getattr(function, "__name__", "linear" if function is None else type(function).__name__)
    if name == "linear":
        return value
    if name in KERAS_FUNCTIONS:
        return layer.draft.add(KERAS_FUNCTIONS[name](_numbers(function)), value, label=label)
    if name in ("softmax", "log_softmax"):
        if layer.ends:
            return value
        raise Refused("has a softmax that is not at the end",
                      "remove it: softmax and loss follow by themselves")
    raise Refused(f"has activation {name!r}", KERAS_REMEDY)


def _check_format(layer: Layer) -> None:
    if getattr(layer.keras, "data_format", "channels_last") != "channels_last":
        raise Refused("has channels first", "use data_format='channels_last'")


def _conv(layer: Layer) -> Value:
    kernel, *bias = layer.weights()
    return _any_conv(layer, kernel.transpose(3, 2, 0, 1), bias, int(layer.keras.groups))


def _depthwise(layer: Layer) -> Value:
    kernel, *bias = layer.weights()
    return _any_conv(layer, _by_channel(kernel), bias, kernel.shape[2])


def _separable(layer: Layer) -> Value:
    first, second, *bias = layer.weights()
    k = layer.keras
    between = layer.draft.conv(
        layer.value, _by_channel(first), None, kernel=list(k.kernel_size), stride=list(k.strides),
        padding=_padding(k), dilation=list(k.dilation_rate), groups=first.shape[2],
        label=f"{layer.label}.depthwise")
    out = layer.draft.conv(between, second.transpose(3, 2, 0, 1), bias[0] if bias else None,
                           kernel=1, stride=1, padding=0, dilation=1, groups=1, label=layer.label)
    return layer.activated(out)


def _by_channel(kernel: FloatArray) -> FloatArray:
    """(kr, kc, n, times) -> (n * times, 1, kr, kc)."""
    rows, cols, n, times = kernel.shape
    return kernel.transpose(2, 3, 0, 1).reshape(n * times, 1, rows, cols)


def _any_conv(layer: Layer, weight: FloatArray, bias: list[FloatArray], groups: int) -> Value:
    _check_format(layer)
    k = layer.keras
    out = layer.draft.conv(layer.value, weight, bias[0] if bias else None,
                           kernel=list(k.kernel_size), stride=list(k.strides), padding=_padding(k),
                           dilation=list(k.dilation_rate), groups=groups, label=layer.label)
    return layer.activated(out)


def _padding(keras: Any) -> Any:
    return "same" if keras.padding == "same" else 0


def _dense(layer: Layer) -> Value:
    kernel, *bias = layer.weights()
    if not layer.value.flat:
        raise Refused("reads a map that is not flattened", "put Flatten before it")
    params = LayerParams(np.ascontiguousarray(_rows_first(kernel, layer.value).T),
                         bias[0] if bias else None)
    out = layer.draft.add(Dense(kernel.shape[1], bool(bias)), layer.value, label=layer.label,
                          params=params)
    return layer.activated(out)


def _rows_first(kernel: FloatArray, source: Value) -> FloatArray:
    """Rows of a Dense kernel behind Flatten: (row, col, channel) -> (channel, row, col)."""
    if source.map_shape is None:
        return kernel
    channels, rows, cols = source.map_shape
    shaped = kernel.reshape(rows, cols, channels, -1).transpose(2, 0, 1, 3)
    return shaped.reshape(kernel.shape)


def _norm(layer: Layer) -> Value:
    k = layer.keras
    axis = k.axis[0] if isinstance(k.axis, (list, tuple)) else k.axis
    if axis not in (-1, 3) and not layer.value.flat:
        raise Refused(f"normalises axis {axis}", "normalise channels, axis=-1")
    arrays = layer.weights()
    mean, variance = arrays[-2:]
    gamma = arrays.pop(0) if k.scale else np.ones_like(mean)
    beta = arrays.pop(0) if k.center else np.zeros_like(mean)
    if layer.value.map_shape is not None:
        order = np.arange(mean.size).reshape(-1, 1)
        index = _rows_first(order.astype(np.float32), layer.value).astype(int).ravel()
        gamma, beta, mean, variance = (a[index] for a in (gamma, beta, mean, variance))
    op = BatchNorm(round(1 - float(k.momentum), 9), float(k.epsilon))
    return layer.draft.add(op, layer.value, label=layer.label,
                           params=LayerParams(gamma, beta, mean, variance))


def _own_layer(read: Reader) -> Callable[[Layer], Value]:
    """Return what an activation that is a layer becomes."""
    def handle(layer: Layer) -> Value:
        out = layer.draft.add(read(_numbers(layer.keras)), layer.value, label=layer.label)
        return replace(out, map_shape=layer.value.map_shape)

    return handle


def _pool(layer: Layer) -> Value:
    _check_format(layer)
    k = layer.keras
    return layer.draft.pool(layer.value, largest=type(k).__name__.startswith("Max"),
                            kernel=list(k.pool_size), stride=list(k.strides), padding=_padding(k),
                            label=layer.label, counts_padding=False)


def _global(layer: Layer) -> Value:
    _check_format(layer)
    out = layer.draft.global_mean(layer.value, layer.label)
    return out if getattr(layer.keras, "keepdims", False) else replace(out, flat=True)


def _flatten(layer: Layer) -> Value:
    _check_format(layer)
    source = layer.value
    out = layer.draft.flatten(source, layer.label)
    # Behind a Flatten Keras counts channels fastest: Dense layers need the map's shape.
    return out if out.name == source.name else replace(out, map_shape=source.shape)


def _reshape(layer: Layer) -> Value:
    source = layer.value
    wanted = tuple(layer.keras.target_shape)
    whole = int(np.prod(source.shape))
    if len(wanted) == 1:
        return _flatten(layer)
    if source.shape[1:] == (1, 1) and wanted in ((1, 1, whole), (1, 1, -1)):
        return replace(source, flat=False)
    raise Refused(f"reshapes to {wanted}", "only flatten")


def _add(layer: Layer) -> Value:
    if len({source.map_shape for source in layer.sources}) > 1:
        raise Refused("joins vectors of maps of different shapes", "join the maps before Flatten")
    total = layer.sources[0]
    for at, other in enumerate(layer.sources[1:]):
        label = layer.label if at == len(layer.sources) - 2 else f"{layer.label}.{at + 1}"
        total = layer.draft.add(Add(), total, other, label=label)
    return replace(total, map_shape=layer.sources[0].map_shape)


def _concat(layer: Layer) -> Value:
    flat = all(source.flat for source in layer.sources)
    if layer.keras.axis not in ((-1, 1) if flat else (-1, 3)):
        raise Refused(f"joins along axis {layer.keras.axis}", "join channels, axis=-1")
    if any(source.map_shape is not None for source in layer.sources):
        raise Refused("joins flattened maps", "join the maps before Flatten")
    return layer.draft.add(Concat(), *layer.sources, label=layer.label)


def _dropout(layer: Layer) -> Value:
    out = layer.draft.add(Dropout(float(layer.keras.rate)), layer.value, label=layer.label)
    return replace(out, map_shape=layer.value.map_shape)


def _zero_padding(layer: Layer) -> Value:
    _check_format(layer)
    (top, bottom), (left, right) = layer.keras.padding
    old = layer.value.pads
    return replace(layer.value, pads=(old[0] + top, old[1] + left, old[2] + bottom,
                                      old[3] + right))


def _softmax(layer: Layer) -> Value:
    if not layer.ends:
        raise Refused("is not the last layer", "remove it: softmax and loss follow by themselves")
    return layer.value


def _activation(layer: Layer) -> Value:
    return replace(_activate(layer, layer.value, layer.label), map_shape=layer.value.map_shape)


LAYERS: dict[str, Callable[[Layer], Value]] = {
    **{kind: _own_layer(read) for kind, read in KERAS_LAYERS.items()},
    "Activation": _activation, "Add": _add, "AveragePooling2D": _pool,
    "BatchNormalization": lambda layer: replace(_norm(layer), map_shape=layer.value.map_shape),
    "Concatenate": _concat, "Conv2D": _conv, "Dense": _dense, "DepthwiseConv2D": _depthwise,
    "Dropout": _dropout, "Flatten": _flatten, "GlobalAveragePooling2D": _global,
    "MaxPooling2D": _pool,
    "Reshape": _reshape, "SeparableConv2D": _separable, "Softmax": _softmax,
    "ZeroPadding2D": _zero_padding,
}
"""Kinds of layers that have a counterpart."""

INSTEAD = {
    **KERAS_INSTEAD,
    **dict.fromkeys(("LayerNormalization", "GroupNormalization", "UnitNormalization"),
                    "use BatchNormalization"),
    **dict.fromkeys(("LSTM", "GRU", "SimpleRNN", "Bidirectional"), "use convolutions over time"),
    **dict.fromkeys(("Rescaling", "Normalization"), "prepare the images before the network"),
    "GlobalMaxPooling2D": "use GlobalAveragePooling2D", "Conv1D": "use Conv2D",
    "Conv2DTranspose": "use Conv2D", "SpatialDropout2D": "use Dropout",
    "Multiply": "leave gates and scales out",
}
"""What could replace some of the rest."""
