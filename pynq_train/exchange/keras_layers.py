"""What each kind of Keras layer becomes; Keras has channels last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from pynq_train.exchange.activations import (
    KERAS_FUNCTIONS,
    KERAS_LAYERS,
    KERAS_REMEDY,
    Numbers,
    Reader,
)
from pynq_train.exchange.channels import WHOLE, equal_parts, pick, take
from pynq_train.exchange.curves import multiply
from pynq_train.exchange.draft import BATCH, Draft, Refused, Value
from pynq_train.exchange.group_norms import group_norm
from pynq_train.exchange.slopes import prelu
from pynq_train.exchange.transposed import conv_transpose, shared
from pynq_train.exchange.upsampling import bilinear, upsample
from pynq_train.exchange.values import without_softmax
from pynq_train.graph.ops import Add, BatchNorm, Concat, Dropout
from pynq_train.graph.params import FloatArray

_PACKAGES = ("keras", "tf_keras", "tensorflow", "torch", "jax")
"""Whose functions are what they are called."""


@dataclass(frozen=True)
class Layer:
    """A layer, what it reads, and whether no other layer reads it.

    ``place``: which of its outputs is meant; ``given``: what else it is called with.
    """

    keras: Any
    draft: Draft
    sources: list[Value]
    ends: bool
    place: int = 0
    given: tuple[Any, ...] = ()

    @property
    def value(self) -> Value:
        """The only input."""
        return self.sources[0]

    @property
    def label(self) -> str:
        """The layer's name."""
        return str(self.keras.name)

    @property
    def frozen(self) -> list[str]:
        """What does not learn."""
        return [] if getattr(self.keras, "trainable", True) else ["weight", "bias"]

    def weights(self) -> list[FloatArray]:
        """All arrays of the layer, as float32.

        Raises:
            Refused: they are not what the layer computes with.
        """
        if getattr(self.keras, "lora_enabled", False):
            raise Refused("has LoRA weights beside its own", "save the model and load it again, "
                          "which adds them up")
        if getattr(self.keras, "quantization_mode", None):
            raise Refused("has quantised weights", "use the float model")
        return [np.asarray(array, np.float32) for array in self.keras.get_weights()]

    def activated(self, value: Value) -> Value:
        """Append the layer's own activation to ``value``."""
        return _activate(self, value, f"{self.label}.act")


def _numbers(owner: Any) -> Numbers:
    """Return the numbers that a layer or a function has as attributes."""
    return lambda name, place, default=None: getattr(owner, name, default)


def _activate(layer: Layer, value: Value, label: str) -> Value:
    function = getattr(layer.keras, "activation", None)
    if function is None:
        return value
    name = getattr(function, "__name__", type(function).__name__)
    if name in KERAS_LAYERS and is_of_framework(type(function)):
        return layer.draft.add(KERAS_LAYERS[name](_numbers(function)), value, label=label)
    if not is_of_framework(function):
        raise Refused(f"has an activation {name!r} that is not Keras's", KERAS_REMEDY)
    if name == "linear":
        return value
    if name in KERAS_FUNCTIONS:
        return layer.draft.add(KERAS_FUNCTIONS[name](_numbers(function)), value, label=label)
    if name in ("softmax", "log_softmax"):
        return without_softmax(value, None, layer.ends, "layer")
    raise Refused(f"has activation {name!r}", KERAS_REMEDY)


def is_of_framework(function: Any) -> bool:
    """Return whether a function or class is Keras's or its backend's: others mean anything."""
    module = getattr(function, "__module__", None) or ""
    return module.partition(".")[0] in _PACKAGES


def _check_format(layer: Layer) -> None:
    if getattr(layer.keras, "data_format", "channels_last") != "channels_last":
        raise Refused("has channels first", "use data_format='channels_last'")


def _conv(layer: Layer) -> Value:
    kernel, *bias = layer.weights()
    # Keras has input and output channels behind rows and columns, or behind the length.
    return _any_conv(layer, kernel.swapaxes(-1, -2).transpose(
        *range(kernel.ndim - 2, kernel.ndim), *range(kernel.ndim - 2)), bias,
        int(layer.keras.groups))


def _depthwise(layer: Layer) -> Value:
    kernel, *bias = layer.weights()
    return _any_conv(layer, _by_channel(kernel), bias, kernel.shape[-2])


def _prelu(layer: Layer) -> Value:
    (slopes,) = layer.weights()
    if slopes.size != slopes.shape[-1]:
        raise Refused(f"has slopes of shape {slopes.shape}: one for each pixel",
                      "use shared_axes=[1, 2]")
    return prelu(layer.draft, layer.value, slopes, label=layer.label,
                 owner=(id(layer.keras), 0), frozen=layer.frozen)


def _separable(layer: Layer) -> Value:
    _check_format(layer)
    first, second, *bias = layer.weights()
    k = layer.keras
    between = layer.draft.conv(
        layer.value, _by_channel(first), None, kernel=list(k.kernel_size), stride=list(k.strides),
        padding=_padding(k), dilation=list(k.dilation_rate), groups=first.shape[2],
        label=f"{layer.label}.depthwise", owner=(id(k), 0), frozen=layer.frozen)
    out = layer.draft.conv(between, second.transpose(3, 2, 0, 1), bias[0] if bias else None,
                           kernel=1, stride=1, padding=0, dilation=1, groups=1, label=layer.label,
                           owner=(id(k), 1), frozen=layer.frozen)
    return layer.activated(out)


def _by_channel(kernel: FloatArray) -> FloatArray:
    """(kr, kc, n, times) -> (n * times, 1, kr, kc), and without kr likewise."""
    *sides, n, times = kernel.shape
    last = kernel.ndim - 2
    return kernel.transpose(last, last + 1, *range(last)).reshape(n * times, 1, *sides)


def _any_conv(layer: Layer, weight: FloatArray, bias: list[FloatArray], groups: int) -> Value:
    _check_format(layer)
    k, value, line = layer.keras, layer.value, weight.ndim == 3
    if line:
        value, weight = layer.draft.line(value), weight[:, :, None]
    out = layer.draft.conv(value, weight, bias[0] if bias else None,
                           kernel=_sides(k.kernel_size), stride=_sides(k.strides),
                           padding=_padding(k), dilation=list(k.dilation_rate), groups=groups,
                           label=layer.label, owner=id(k), frozen=layer.frozen)
    return layer.activated(replace(out, joined=line))


def _transposed(layer: Layer) -> Value:
    _check_format(layer)
    k, value = layer.keras, layer.value
    weight, *bias = layer.weights()
    line = weight.ndim == 3
    if line:
        value, weight = layer.draft.line(value), weight[None]
    stride = _sides(k.strides)
    extra: list[int | None] = (
        [None, None] if k.output_padding is None else [*_sides(k.output_padding)])
    if line:
        extra[0] = None
    out = conv_transpose(
        layer.draft, value, weight.transpose(3, 2, 0, 1), bias[0] if bias else None, stride=stride,
        crops=[_crop(k, *axis) for axis in zip(weight.shape[:2], stride, extra)],
        dilation=list(k.dilation_rate) if hasattr(k, "dilation_rate") else 1,
        groups=int(getattr(k, "groups", 1)), label=layer.label, owner=id(k), frozen=layer.frozen)
    return layer.activated(replace(out, joined=line))


def _crop(keras: Any, kernel: int, stride: int, extra: int | None) -> tuple[int, int]:
    """Return what Keras cuts off of a transposed convolution along an axis, in front and behind."""
    if keras.padding == "valid":
        return 0, -(max(stride - kernel, 0) if extra is None else extra)
    total = kernel - (stride if extra is None else kernel % 2 + extra)
    return shared(total, in_front=False)


def _padding(keras: Any) -> Any:
    if keras.padding == "causal":  # of sequences: all zeros stand in front
        return (0, keras.kernel_size[0] - 1, 0, 0)
    return "same" if keras.padding == "same" else 0


def _sides(values: Any) -> list[int]:
    """Return rows and columns; of sequences, whose length is one number, of their one row."""
    sizes = [int(size) for size in (values if isinstance(values, (list, tuple)) else (values,))]
    return [1] * (2 - len(sizes)) + sizes


def _dense(layer: Layer) -> Value:
    kernel, *bias = layer.weights()
    own, value = bias[0] if bias else None, layer.value
    if value.flat:
        return layer.activated(layer.draft.dense(
            value, kernel.T, own, label=layer.label, owner=id(layer.keras), frozen=layer.frozen))
    # Of a map Keras takes each pixel by itself: that is a convolution of 1x1.
    line = value.joined
    out = layer.draft.conv(
        layer.draft.line(value) if line else value, kernel.T[:, :, None, None], own, kernel=1,
        stride=1, padding=0, dilation=1, groups=1, label=layer.label, owner=id(layer.keras),
        frozen=layer.frozen)
    return layer.activated(replace(out, joined=line))


def _norm(layer: Layer) -> Value:
    k = layer.keras
    axis = k.axis[0] if isinstance(k.axis, (list, tuple)) else k.axis
    if axis % (len(layer.value.dims) + 1) != len(layer.value.dims):
        raise Refused(f"normalises axis {axis}", "normalise channels, axis=-1")
    arrays = layer.weights()
    mean, variance = arrays[-2:]
    gamma = arrays.pop(0) if k.scale else np.ones_like(mean)
    beta = arrays.pop(0) if k.center else np.zeros_like(mean)
    still = not getattr(k, "trainable", True)  # Keras then uses running statistics in training too
    frozen = {*layer.frozen, *(() if k.scale else ("weight",)), *(() if k.center else ("bias",))}
    op = BatchNorm(round(1 - float(k.momentum), 9), float(k.epsilon), still)
    return layer.draft.norm(layer.value, op, gamma, beta, mean, variance, label=layer.label,
                            owner=id(k), frozen=sorted(frozen))


def _group_norm(layer: Layer) -> Value:
    k, count = layer.keras, len(layer.value.dims)
    if k.axis % (count + 1) != count:
        raise Refused(f"normalises axis {k.axis}", "normalise channels, axis=-1")
    return group_norm(layer.draft, layer.value, int(k.groups), float(k.epsilon),
                      *_gamma_beta(layer), label=layer.label, owner=id(k), frozen=_still(layer))


def _layer_norm(layer: Layer) -> Value:
    k, count = layer.keras, len(layer.value.dims)
    axes = k.axis if isinstance(k.axis, (list, tuple)) else (k.axis,)
    if sorted(axis % (count + 1) for axis in axes) != list(range(1, count + 1)):
        raise Refused(f"normalises over axes {tuple(axes)} of each pixel", "normalise rows, columns"
                      " and channels together: GroupNormalization(groups=1)")
    return group_norm(layer.draft, layer.value, 1, float(k.epsilon), *_gamma_beta(layer),
                      channel_axis=-1, label=layer.label, owner=id(k), frozen=_still(layer))


def _gamma_beta(layer: Layer) -> tuple[FloatArray | None, FloatArray | None]:
    """Return gamma and beta, None for one that the layer does not have."""
    arrays = iter(layer.weights())
    return (next(arrays) if layer.keras.scale else None,
            next(arrays) if layer.keras.center else None)


def _still(layer: Layer) -> list[str]:
    """Return which of gamma and beta do not learn."""
    k = layer.keras
    return sorted({*layer.frozen, *(() if k.scale else ("weight",)),
                   *(() if k.center else ("bias",))})


def _own_layer(read: Reader) -> Callable[[Layer], Value]:
    """Return what an activation that is a layer becomes."""
    return lambda layer: layer.draft.add(read(_numbers(layer.keras)), layer.value,
                                         label=layer.label)


def _pool(layer: Layer) -> Value:
    _check_format(layer)
    k, value, line = layer.keras, layer.value, layer.value.joined
    out = layer.draft.pool(layer.draft.line(value) if line else value,
                           largest=type(k).__name__.startswith("Max"), kernel=_sides(k.pool_size),
                           stride=_sides(k.strides), padding=_padding(k), label=layer.label,
                           counts_padding=False)
    return replace(out, joined=line)


def _global(layer: Layer) -> Value:
    _check_format(layer)
    out = layer.draft.global_mean(layer.value, layer.label)
    return out if getattr(layer.keras, "keepdims", False) else layer.draft.flatten(out, layer.label)


def _flatten(layer: Layer) -> Value:
    _check_format(layer)
    # Behind a Flatten Keras counts channels fastest: Dense layers need the map's shape.
    return layer.draft.flatten(layer.value, layer.label, last=True)


def _reshape(layer: Layer) -> Value:
    source = layer.value
    wanted = tuple(layer.keras.target_shape)
    if len(wanted) == 1:
        return _flatten(layer)
    if source.flat or source.shape[0] == 1 or wanted == (*source.dims[1:], source.dims[0]):
        # Keras has channels last, values here channels first.
        last = source if source.flat else replace(source, last=True)
        return replace(layer.draft.reshape(last, (BATCH, *wanted), layer.label), last=False)
    if source.groups is not None and wanted == source.shape[1:] + source.shape[:1]:
        return replace(source, groups=None)
    if len(wanted) == len(source.dims) + 1 and not source.flat and source.groups is None:
        *pixels, outer, inner = wanted
        if pixels == list(source.dims[1:]) and outer * inner == source.shape[0]:
            return replace(source, groups=(outer, inner))
    raise Refused(f"reshapes to {wanted}", "only flatten")


def _permute(layer: Layer) -> Value:
    source, axes = layer.value, [int(axis) for axis in layer.keras.dims]
    count = len(axes)
    # The two axes of the channels are the last ones, and stand in front here.
    if source.groups is not None and axes == [*range(1, count - 1), count, count - 1]:
        return layer.draft.permute(source, [1, 0, *range(2, count)], layer.label)
    if axes == list(range(1, count + 1)):
        return source
    raise Refused(f"puts axes in the order {tuple(axes)}",
                  "only change the two axes that channels are reshaped to")


def _item(layer: Layer) -> Value:
    """``x[..., 2:6]``: channels are the last axis."""
    source, (asked,) = layer.value, layer.given
    asked = asked if isinstance(asked, tuple) else (asked,)
    count = len(source.dims) + 1
    if any(one is ... for one in asked):
        at = next(at for at, one in enumerate(asked) if one is ...)
        asked = (*asked[:at], *[WHOLE] * (count - len(asked) + 1), *asked[at + 1:])
    index = [*asked, *[WHOLE] * (count - len(asked))]
    if index[0] != WHOLE or not all(isinstance(one, slice) for one in index):
        raise Refused("takes a part of a map by something else than ranges",
                      "take a range of channels: x[..., 0:4]")
    return take(layer.draft, source, [index[-1], *index[1:-1]], layer.label)


def _split(layer: Layer) -> Value:
    k, source = layer.keras, layer.value
    count = len(source.dims)
    if k.axis % (count + 1) != count:
        raise Refused(f"splits axis {k.axis}", "split channels, axis=-1")
    size, given = source.shape[0], k.indices_or_sections
    if isinstance(given, int):
        sizes = equal_parts(size, given)
    else:
        ends = [0, *given, size]
        sizes = [end - begin for begin, end in pairwise(ends)]
    first = sum(sizes[: layer.place])
    return pick(layer.draft, source, range(first, first + sizes[layer.place]),
                f"{layer.label}.{layer.place}")


def _by_channels(values: Any, source: Value) -> FloatArray:
    """Return numbers per channel, or one, for maps with channels first; or those of features."""
    array = np.asarray(values, np.float32).ravel()
    return array if source.flat else array.reshape(-1, 1, 1)


def _rescaling(layer: Layer) -> Value:
    k = layer.keras
    return layer.draft.normalise(layer.value, _by_channels(k.scale, layer.value),
                                 _by_channels(k.offset, layer.value))


def _normalization(layer: Layer) -> Value:
    k = layer.keras
    if getattr(k, "invert", False):
        raise Refused("normalises back", "prepare the images before the network")
    axis = getattr(k, "axis", None)
    axes = axis if isinstance(axis, (list, tuple)) else () if axis is None else (axis,)
    count = len(layer.value.dims)
    if any(one % (count + 1) != count for one in axes):
        raise Refused(f"normalises along axes {tuple(axes)}", "normalise channels, axis=-1")
    deviation = np.sqrt(np.asarray(k.variance, np.float64))
    times = 1 / np.maximum(deviation, 1e-7)  # Keras's epsilon
    return layer.draft.normalise(
        layer.value, _by_channels(times, layer.value),
        _by_channels(-np.asarray(k.mean, np.float64) * times, layer.value))


def _add(layer: Layer) -> Value:
    total = layer.sources[0]
    for at, other in enumerate(layer.sources[1:]):
        label = layer.label if at == len(layer.sources) - 2 else f"{layer.label}.{at + 1}"
        total = layer.draft.add(Add(), total, other, label=label)
    return total


def _two(layer: Layer) -> Value:
    if len(layer.sources) != 2 or layer.sources[0].shape != layer.sources[1].shape:
        raise Refused("adds something else than two maps of one shape", "use the Add layer")
    return _add(layer)


def _multiply(layer: Layer) -> Value:
    product = layer.sources[0]
    for at, other in enumerate(layer.sources[1:]):
        label = layer.label if at == len(layer.sources) - 2 else f"{layer.label}.{at + 1}"
        product = multiply(layer.draft, product, other, label)
    return product


def _concat(layer: Layer) -> Value:
    count = len(layer.sources[0].dims)
    if layer.keras.axis % (count + 1) != count:
        raise Refused(f"joins along axis {layer.keras.axis}", "join channels, axis=-1")
    if any(source.map_shape is not None for source in layer.sources):
        raise Refused("joins flattened maps", "join the maps before Flatten")
    return layer.draft.add(Concat(), *layer.sources, label=layer.label)


def _dropout(layer: Layer) -> Value:
    rate = float(layer.keras.rate)
    if rate == 0:
        return layer.value
    if type(layer.keras).__name__ != "Dropout" or layer.keras.noise_shape is not None:
        raise Refused("is no plain dropout", "use Dropout")
    return layer.draft.add(Dropout(rate), layer.value, label=layer.label)


def _zero_padding(layer: Layer) -> Value:
    _check_format(layer)
    pads = layer.keras.padding
    if layer.value.joined:
        before, behind = pads
        padded = layer.draft.pad(layer.draft.line(layer.value), 0, before, 0, behind)
        return replace(padded, joined=True)
    (top, bottom), (left, right) = pads
    return layer.draft.pad(layer.value, top, left, bottom, right)


def _upsample(layer: Layer) -> Value:
    _check_format(layer)
    how = layer.keras.interpolation
    if how not in ("nearest", "bilinear"):
        raise Refused(f"has interpolation {how!r}", "use interpolation 'nearest' or 'bilinear'")
    rows, cols = layer.keras.size
    if how == "bilinear":
        _, high, wide = layer.value.shape
        return bilinear(layer.draft, layer.value, high * rows, wide * cols, layer.label)
    return upsample(layer.draft, layer.value, rows, cols, layer.label)


def _softmax(layer: Layer) -> Value:
    return without_softmax(layer.value, layer.keras.axis, layer.ends, "layer")


def _activation(layer: Layer) -> Value:
    return _activate(layer, layer.value, layer.label)


LAYERS: dict[str, Callable[[Layer], Value]] = {
    **{kind: _own_layer(read) for kind, read in KERAS_LAYERS.items()},
    "Activation": _activation, "Add": _add, "AveragePooling2D": _pool,
    "BatchNormalization": _norm, "GroupNormalization": _group_norm,
    "LayerNormalization": _layer_norm,
    "Concatenate": _concat, "Conv2D": _conv, "Dense": _dense, "DepthwiseConv2D": _depthwise,
    "Dropout": _dropout, "SpatialDropout2D": _dropout, "Flatten": _flatten,
    "GlobalAveragePooling2D": _global,
    "Identity": lambda layer: layer.value, "MaxPooling2D": _pool, "Multiply": _multiply,
    "Normalization": _normalization, "PReLU": _prelu, "Permute": _permute, "Rescaling": _rescaling,
    "Reshape": _reshape,
    "SeparableConv2D": _separable, "Softmax": _softmax,
    "ZeroPadding2D": _zero_padding, "ZeroPadding1D": _zero_padding, "Conv1D": _conv,
    "DepthwiseConv1D": _depthwise, "MaxPooling1D": _pool, "AveragePooling1D": _pool,
    "GlobalAveragePooling1D": _global, "SpatialDropout1D": _dropout, "UpSampling2D": _upsample,
    "Conv2DTranspose": _transposed, "Conv1DTranspose": _transposed,
}
"""Kinds of layers that have a counterpart."""

OPERATIONS: dict[str, Callable[[Layer], Value]] = {
    "Add": _two, "Relu": _own_layer(KERAS_FUNCTIONS["relu"]),
    "Relu6": _own_layer(KERAS_FUNCTIONS["relu6"]), "Multiply": _multiply, "GetItem": _item,
    "Split": _split,
}
"""Functions of ``keras.ops``, and operators of tensors, that have a counterpart."""

READS_NUMBERS = frozenset(("GetItem",))
"""Kinds that are called with numbers beside what they read."""

INSTEAD = {
    **dict.fromkeys(("UnitNormalization", "RMSNormalization"),
                    "use BatchNormalization or GroupNormalization"),
    **dict.fromkeys(("LSTM", "GRU", "SimpleRNN", "Bidirectional"), "use convolutions over time"),
    "GlobalMaxPooling2D": "use GlobalAveragePooling2D",
}
"""What could replace some of the rest."""
