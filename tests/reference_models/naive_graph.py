"""Graphs in float64 with plain loops over windows, written from the definitions.

Maps are ``(image, channel, row, col)``. Independent of ``pynq_train.graph.float_*``.
"""

from __future__ import annotations

import math

import numpy as np

from pynq_train.fixed.counter_hash import block_int
from pynq_train.graph import Graph, LayerParams
from pynq_train.graph import ops as o
from pynq_train.graph.activation import Relu, Relu6

Array = np.ndarray


def run(graph: Graph, params: dict[str, LayerParams], x: Array, training: bool = True,
        seed: int = 0, step: int = 0) -> Array:
    """Return the logits ``(image, class)``."""
    values: dict[str, Array] = {"input": x.astype(np.float64)}
    before = "input"
    maps: dict[str, tuple[int, ...]] = {}  # of flattened values: the shape that they had
    for place, op in enumerate(graph.ops):
        names = op.inputs or (before,)
        args = [values[name] for name in names]
        if isinstance(op, o.Flatten):
            maps[op.name] = maps.get(names[0], args[0].shape)
        elif isinstance(op, (o.Dropout, Relu, Relu6, o.Curve)) and names[0] in maps:
            maps[op.name] = maps[names[0]]
        if isinstance(op, o.Dropout) and training:
            shape = args[0].shape
            mask = _mask(op.rate, maps.get(names[0], shape), (seed, step, place))
            args = [args[0] * mask.reshape(shape)]
        values[op.name] = _apply(op, params.get(op.name), args, training)
        before = op.name
    return values[before].reshape(len(x), -1)


def _apply(op: o.Op, p: LayerParams | None, args: list[Array], training: bool) -> Array:
    x = args[0]
    if isinstance(op, o.Conv):
        return _conv(op, p, x)
    if isinstance(op, o.ConvTranspose):
        return _conv_transpose(op, p, x)
    if isinstance(op, o.Dense):
        assert p is not None
        out = x.reshape(len(x), -1) @ np.float64(p.weight).T
        return (out if p.bias is None else out + p.bias)[:, :, None, None]
    if isinstance(op, o.BatchNorm):
        assert p is not None and p.bias is not None
        mean, var = p.mean, p.variance
        if training and not op.frozen:
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
        mean, var, gamma, beta = (np.float64(v)[:, None, None]
                                  for v in (mean, var, p.weight, p.bias))
        return (x - mean) / np.sqrt(var + op.eps) * gamma + beta
    if isinstance(op, o.GroupNorm):
        out = np.empty_like(x)
        size = x.shape[1] // op.groups
        for image in range(len(x)):
            for first in range(0, x.shape[1], size):
                own = x[image, first : first + size]
                out[image, first : first + size] = (own - own.mean()) / np.sqrt(own.var() + op.eps)
        if p is None:
            return out
        assert p.bias is not None
        return out * np.float64(p.weight)[:, None, None] + np.float64(p.bias)[:, None, None]
    if isinstance(op, o.MaxPool2x2):
        return _windows(o.MaxPool(2, 2), x, -np.inf).max((4, 5))
    if isinstance(op, o.MaxPool):
        return _windows(op, x, -np.inf).max((4, 5))
    if isinstance(op, o.AvgPool):
        return _windows(op, x, 0.0).mean((4, 5))
    if isinstance(op, o.Dropout):
        return x  # masked, in training
    if isinstance(op, o.Upsample) and op.mode == "bilinear":
        return _bilinear(op, x)
    if isinstance(op, o.Curve):
        return np.array([_curve(op, float(value)) for value in x.ravel()]).reshape(x.shape)
    simple = {
        Relu: lambda: np.maximum(x, 0), Relu6: lambda: np.minimum(np.maximum(x, 0), 6),
        o.GlobalAvgPool: lambda: x.mean((2, 3), keepdims=True), o.Add: lambda: args[0] + args[1],
        o.Multiply: lambda: args[0] * args[1],
        o.Concat: lambda: np.concatenate(args, 1),
        o.PadChannels: lambda: np.concatenate([np.zeros((len(x), n, *x.shape[2:])) if n >= 0 else x
                                               for n in (op.before, -1, op.after)], 1),
        o.PickChannels: lambda: x[:, list(op.channels)],
        o.Upsample: lambda: x[:, :, np.arange(op.factor * x.shape[2]) // op.factor][
            :, :, :, np.arange(op.factor * x.shape[3]) // op.factor],
        o.Flatten: lambda: x.reshape(len(x), -1, 1, 1)}
    return simple[type(op)]()


def _curve(op: o.Curve, x: float) -> float:
    """One value of an activation, from its definition."""
    sigmoid = 1 / (1 + math.exp(-x))
    return {
        "leakyrelu": lambda: x if x >= 0 else op.slope * x,
        "elu": lambda: x if x >= 0 else op.alpha * (math.exp(x) - 1), "sigmoid": lambda: sigmoid,
        "tanh": lambda: math.tanh(x), "silu": lambda: x * sigmoid,
        "gelu": lambda: 0.5 * x * (1 + (math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
                                        if op.tanh else math.erf(x / math.sqrt(2)))),
        "hardsigmoid": lambda: min(max(op.alpha * x + op.beta, 0.0), 1.0),
        "hardswish": lambda: x * min(max(x + 3, 0.0), 6.0) / 6}[op.kind]()


def _windows(op: o.Conv | o.MaxPool | o.AvgPool, x: Array, fill: float) -> Array:
    """(image, channel, row, col, kernel row, kernel col)."""
    rows, cols = op.windows(x.shape[1:])
    (k, kc), (s, sc) = op.kernel_sides, op.stride_sides
    d, dc = op.dilation_sides if isinstance(op, o.Conv) else (1, 1)
    padded = np.full((*x.shape[:2], x.shape[2] + 2 * d * k + s, x.shape[3] + 2 * dc * kc + sc),
                     fill)
    padded[:, :, rows.pad_before : rows.pad_before + x.shape[2],
           cols.pad_before : cols.pad_before + x.shape[3]] = x
    out = np.empty((*x.shape[:2], rows.size, cols.size, k, kc))
    for r in range(rows.size):
        for c in range(cols.size):
            out[:, :, r, c] = padded[:, :, r * s : r * s + d * k : d,
                                     c * sc : c * sc + dc * kc : dc]
    return out


def _conv(op: o.Conv, p: LayerParams | None, x: Array) -> Array:
    assert p is not None
    windows, weight = _windows(op, x, 0.0), np.float64(p.weight)
    m, n = op.out_channels // op.groups, x.shape[1] // op.groups
    parts = [np.einsum("inrcab,mnab->imrc", windows[:, g * n : (g + 1) * n],
                       weight[g * m : (g + 1) * m]) for g in range(op.groups)]
    out = np.concatenate(parts, 1)
    return out if p.bias is None else out + np.float64(p.bias)[:, None, None]


def _conv_transpose(op: o.ConvTranspose, p: LayerParams | None, x: Array) -> Array:
    """Each pixel adds its kernel, then borders are cut off, or added as zeros."""
    assert p is not None
    weight, (k, kc), (s, sc) = np.float64(p.weight), op.kernel_sides, op.stride_sides
    images, n, rows, cols = x.shape
    out, high, wide = op.out_shape(x.shape[1:])
    m = out // op.groups
    whole = np.zeros((images, out, rows * s + k + high, cols * sc + kc + wide))
    for i, c, r, q in np.ndindex(*x.shape):
        group = c // (n // op.groups)
        whole[i, group * m : group * m + m, r * s : r * s + k, q * sc : q * sc + kc] += (
            x[i, c, r, q] * weight[c])
    if op.padding == "same":
        top, left = max(k - s, 0) // 2, max(kc - sc, 0) // 2
    else:
        pads = op.padding if isinstance(op.padding, tuple) else (op.padding,) * 2
        top, left = (one[0] if isinstance(one, tuple) else one for one in pads)
    cut = whole[:, :, top : top + high, left : left + wide]
    return cut if p.bias is None else cut + np.float64(p.bias)[:, None, None]


def _bilinear(op: o.Upsample, x: Array) -> Array:
    """Each pixel from the four around its place; a place outside is moved to the border."""
    _, high, wide = op.out_shape(x.shape[1:])
    out = np.zeros((*x.shape[:2], high, wide))
    for r, c in np.ndindex(high, wide):
        places = [at / op.factor if op.corners else (at + 0.5) / op.factor - 0.5 for at in (r, c)]
        near = [min(max(place, 0.0), size - 1.0) for place, size in zip(places, x.shape[2:])]
        low = [int(place) for place in near]
        for down, right in np.ndindex(2, 2):
            share = abs(1 - down - (near[0] - low[0])) * abs(1 - right - (near[1] - low[1]))
            row, col = min(low[0] + down, x.shape[2] - 1), min(low[1] + right, x.shape[3] - 1)
            out[:, :, r, c] += share * x[:, :, row, col]
    return out


def _mask(rate: float, shape: tuple[int, ...], place: tuple[int, int, int]) -> Array:
    out = np.zeros(shape)
    blocks = -(-shape[1] // 4)
    for i, n, r, c in np.ndindex(*shape):
        number = ((i * blocks + n // 4) * shape[2] + r) * shape[3] + c
        word = block_int(*place, number)[n % 4 // 2]
        bits = word >> 16 * (n % 2) & 0xFFFF
        out[i, n, r, c] = 0 if bits < round(rate * 65536) else 1 / (1 - rate)
    return out


def softmax_loss(logits: Array, labels: Array, smoothing: float = 0.0) -> float:
    """Mean cross-entropy with smoothed targets."""
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    target = np.full(logits.shape, smoothing / logits.shape[1])
    target[np.arange(len(labels)), labels] += 1 - smoothing
    return float(-(target * log_p).sum(1).mean())
