"""Forward and backward of every operation in float32, on maps ``(image, row, col, channel)``.

A vector is ``(image, 1, 1, unit)``. A forward function returns its output and what its backward
function needs; neither changes an array that it was given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pynq_train.fixed import keep_map
from pynq_train.graph import float_group_norm, float_norm
from pynq_train.graph.float_conv import ConvSite
from pynq_train.graph.float_pool import PoolSite
from pynq_train.graph.ops import (
    ACTIVATIONS,
    CURVES,
    Add,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    ConvTranspose,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    GroupNorm,
    MaxPool,
    MaxPool2x2,
    Multiply,
    Op,
    PadChannels,
    PickChannels,
    Upsample,
)
from pynq_train.graph.params import FloatArray, LayerParams
from pynq_train.graph.shapes import Shape

Maps = list[FloatArray]


@dataclass(frozen=True)
class Site:
    """An operation at its place in the network; ``params`` are its live arrays.

    ``map_shape``: shape of the map that its input was flattened from, None if it was not.
    """

    op: Any
    place: int
    in_shapes: tuple[Shape, ...]
    params: LayerParams | None
    map_shape: Shape | None = None


@dataclass(frozen=True)
class Mode:
    """What a forward pass is for: ``training`` keeps traces, draws masks and batch statistics."""

    training: bool
    seed: int = 0
    step: int = 0


@dataclass(frozen=True)
class Back:
    """Result of a backward function: gradients of the inputs (None if unwanted) and parameters."""

    inputs: list[FloatArray | None]
    params: LayerParams | None = None


Forward = Callable[[Site, Maps, Mode], tuple[FloatArray, Any]]
Backward = Callable[[Site, Any, FloatArray, bool], Back]


def _biased(out: FloatArray, params: LayerParams) -> FloatArray:
    """Add the bias, if there is one, to an output whose last axis are the channels."""
    if params.bias is not None:
        out += params.bias
    return out


def _conv(site: Site, xs: Maps, mode: Mode) -> tuple[FloatArray, Any]:
    params = _of(site)
    out = ConvSite.of(site.op, site.in_shapes[0]).forward(xs[0], params.weight)
    return _biased(out, params), xs[0]


def _conv_back(site: Site, x: FloatArray, g: FloatArray, wanted: bool) -> Back:
    params, place = _of(site), ConvSite.of(site.op, site.in_shapes[0])
    grads = LayerParams(place.weight_gradient(x, g), _bias_gradient(params, g))
    return Back([place.input_gradient(g, params.weight) if wanted else None], grads)


def _conv_transpose(site: Site, xs: Maps, mode: Mode) -> tuple[FloatArray, Any]:
    params = _of(site)
    out = ConvSite.mirrored(site.op, site.in_shapes[0]).input_gradient(xs[0], params.weight)
    return _biased(out, params), xs[0]


def _conv_transpose_back(site: Site, x: FloatArray, g: FloatArray, wanted: bool) -> Back:
    params, place = _of(site), ConvSite.mirrored(site.op, site.in_shapes[0])
    grads = LayerParams(place.weight_gradient(g, x), _bias_gradient(params, g))
    return Back([place.forward(g, params.weight) if wanted else None], grads)


def _dense(site: Site, xs: Maps, mode: Mode) -> tuple[FloatArray, Any]:
    params = _of(site)
    x = xs[0].reshape(len(xs[0]), -1)
    return _biased(x @ params.weight.T, params)[:, None, None, :], x


def _dense_back(site: Site, x: FloatArray, g: FloatArray, wanted: bool) -> Back:
    params = _of(site)
    flat = g.reshape(len(g), -1)
    grads = LayerParams(flat.T @ x, _bias_gradient(params, g))
    return Back([(flat @ params.weight)[:, None, None, :] if wanted else None], grads)


def _norm(site: Site, xs: Maps, mode: Mode) -> tuple[FloatArray, Any]:
    by_batch = mode.training and not site.op.frozen
    return float_norm.forward(xs[0], _of(site), site.op.eps, by_batch)


def _norm_back(site: Site, trace: float_norm.NormTrace, g: FloatArray, wanted: bool) -> Back:
    grad, params = float_norm.backward(g, trace, _of(site))
    return Back([grad], params)


def _group_norm(site: Site, xs: Maps, mode: Mode) -> tuple[FloatArray, Any]:
    return float_group_norm.forward(xs[0], site.op.groups, site.op.eps, site.params)


def _group_norm_back(site: Site, trace: float_group_norm.GroupTrace, g: FloatArray, wanted: bool
                     ) -> Back:
    grad, params = float_group_norm.backward(g, trace, site.params)
    return Back([grad], params)


def _activate(site: Site, xs: Maps, mode: Mode) -> tuple[FloatArray, Any]:
    out = site.op.activation.forward(xs[0])
    return out, out


def _activate_back(site: Site, out: FloatArray, g: FloatArray, wanted: bool) -> Back:
    return Back([site.op.activation.backward(g, out)])


def _curve(site: Site, xs: Maps, mode: Mode) -> tuple[FloatArray, Any]:
    return site.op.forward(xs[0]), xs[0]


def _curve_back(site: Site, x: FloatArray, g: FloatArray, wanted: bool) -> Back:
    return Back([site.op.backward(g, x)])


def _max_pool(site: Site, xs: Maps, mode: Mode) -> tuple[FloatArray, Any]:
    return PoolSite.of(site.op, site.in_shapes[0]).maxima(xs[0], mode.training)


def _max_pool_back(site: Site, index: Any, g: FloatArray, wanted: bool) -> Back:
    return Back([PoolSite.of(site.op, site.in_shapes[0]).maxima_backward(g, index)])


def _avg_pool(site: Site, xs: Maps, mode: Mode) -> tuple[FloatArray, Any]:
    return PoolSite.of(site.op, site.in_shapes[0]).means(xs[0]), None


def _avg_pool_back(site: Site, trace: None, g: FloatArray, wanted: bool) -> Back:
    return Back([PoolSite.of(site.op, site.in_shapes[0]).means_backward(g)])


def _upsample(site: Site, xs: Maps, mode: Mode) -> tuple[FloatArray, Any]:
    if site.op.mode == "nearest":
        return xs[0].repeat(site.op.factor, axis=1).repeat(site.op.factor, axis=2), None
    return _mixed(xs[0], *(site.op.weights(size) for size in site.in_shapes[0][1:])), None


def _upsample_back(site: Site, trace: None, g: FloatArray, wanted: bool) -> Back:
    channels, rows, cols = site.in_shapes[0]
    f = site.op.factor
    if site.op.mode != "nearest":
        return Back([_mixed(g, site.op.weights(rows).T, site.op.weights(cols).T)])
    return Back([g.reshape(len(g), rows, f, cols, f, channels).sum(axis=(2, 4))])


def _mixed(x: FloatArray, rows: FloatArray, cols: FloatArray) -> FloatArray:
    """Return maps whose rows and columns are sums of others, with the weights of two matrices."""
    lines = np.tensordot(rows, x, axes=(1, 1)).transpose(1, 0, 2, 3)
    mixed = np.tensordot(cols, lines, axes=(1, 2)).transpose(1, 2, 0, 3)
    return np.ascontiguousarray(mixed)


def _global_pool(site: Site, xs: Maps, mode: Mode) -> tuple[FloatArray, Any]:
    return xs[0].mean(axis=(1, 2), keepdims=True), None


def _global_pool_back(site: Site, trace: None, g: FloatArray, wanted: bool) -> Back:
    channels, rows, cols = site.in_shapes[0]
    share = g * np.float32(1 / (rows * cols))
    return Back([np.broadcast_to(share, (len(g), rows, cols, channels))])


def _add(site: Site, xs: Maps, mode: Mode) -> tuple[FloatArray, Any]:
    return xs[0] + xs[1], None


def _add_back(site: Site, trace: None, g: FloatArray, wanted: bool) -> Back:
    return Back([g, g])


def _multiply(site: Site, xs: Maps, mode: Mode) -> tuple[FloatArray, Any]:
    return xs[0] * xs[1], xs


def _multiply_back(site: Site, xs: Maps, g: FloatArray, wanted: bool) -> Back:
    def of(own: FloatArray, other: FloatArray) -> FloatArray:
        """Return the gradient of one input; that of a vector is summed over the pixels."""
        grad = g * other
        return grad if own.shape == g.shape else grad.sum(axis=(1, 2), keepdims=True)

    return Back([of(xs[0], xs[1]), of(xs[1], xs[0])])


def _concat(site: Site, xs: Maps, mode: Mode) -> tuple[FloatArray, Any]:
    return np.concatenate(xs, axis=3), None


def _concat_back(site: Site, trace: None, g: FloatArray, wanted: bool) -> Back:
    ends = np.cumsum([shape[0] for shape in site.in_shapes])[:-1]
    return Back([np.ascontiguousarray(part) for part in np.split(g, ends, axis=3)])


def _pad_channels(site: Site, xs: Maps, mode: Mode) -> tuple[FloatArray, Any]:
    return np.pad(xs[0], ((0, 0), (0, 0), (0, 0), (site.op.before, site.op.after))), None


def _pad_channels_back(site: Site, trace: None, g: FloatArray, wanted: bool) -> Back:
    first = site.op.before
    return Back([np.ascontiguousarray(g[..., first:first + site.in_shapes[0][0]])])


def _pick_channels(site: Site, xs: Maps, mode: Mode) -> tuple[FloatArray, Any]:
    return np.take(xs[0], site.op.channels, axis=3), None


def _pick_channels_back(site: Site, trace: None, g: FloatArray, wanted: bool) -> Back:
    back = np.zeros((*g.shape[:3], site.in_shapes[0][0]), g.dtype)
    # One by one: a channel that is picked twice gets both gradients.
    for at, channel in enumerate(site.op.channels):
        back[..., channel] += g[..., at]
    return Back([back])


def _dropout(site: Site, xs: Maps, mode: Mode) -> tuple[FloatArray, Any]:
    if not mode.training or site.op.rate == 0:
        return xs[0], np.float32(1)
    images, rows, cols, channels = xs[0].shape
    # Random bits belong to channels of pixels: a flattened map has those of the map.
    shape = site.map_shape or (channels, rows, cols)
    kept = keep_map(site.op.rate, mode.seed, mode.step, site.place, (images, *shape))
    scale = np.float32(1 / (1 - site.op.rate))
    factors = kept.reshape(images, channels, rows, cols).transpose(0, 2, 3, 1) * scale
    return xs[0] * factors, factors


def _dropout_back(site: Site, factors: FloatArray, g: FloatArray, wanted: bool) -> Back:
    return Back([g * factors])


def _flatten(site: Site, xs: Maps, mode: Mode) -> tuple[FloatArray, Any]:
    flat = np.ascontiguousarray(xs[0].transpose(0, 3, 1, 2))
    return flat.reshape(len(flat), 1, 1, -1), None


def _flatten_back(site: Site, trace: None, g: FloatArray, wanted: bool) -> Back:
    shaped = g.reshape(len(g), *site.in_shapes[0])
    return Back([np.ascontiguousarray(shaped.transpose(0, 2, 3, 1))])


KERNELS: dict[type[Op], tuple[Forward, Backward]] = {
    Conv: (_conv, _conv_back),
    ConvTranspose: (_conv_transpose, _conv_transpose_back),
    Dense: (_dense, _dense_back),
    BatchNorm: (_norm, _norm_back),
    GroupNorm: (_group_norm, _group_norm_back),
    **dict.fromkeys(ACTIVATIONS, (_activate, _activate_back)),
    **dict.fromkeys(CURVES, (_curve, _curve_back)),
    MaxPool2x2: (_max_pool, _max_pool_back),
    MaxPool: (_max_pool, _max_pool_back),
    AvgPool: (_avg_pool, _avg_pool_back),
    GlobalAvgPool: (_global_pool, _global_pool_back),
    Upsample: (_upsample, _upsample_back),
    Add: (_add, _add_back),
    Multiply: (_multiply, _multiply_back),
    Concat: (_concat, _concat_back),
    PadChannels: (_pad_channels, _pad_channels_back),
    PickChannels: (_pick_channels, _pick_channels_back),
    Dropout: (_dropout, _dropout_back),
    Flatten: (_flatten, _flatten_back),
}
"""(forward, backward) by operation. ``wanted`` tells backward whether the input's gradient is."""


def _of(site: Site) -> LayerParams:
    assert site.params is not None
    return site.params


def _bias_gradient(params: LayerParams, g: FloatArray) -> FloatArray | None:
    return None if params.bias is None else g.sum(axis=(0, 1, 2))
