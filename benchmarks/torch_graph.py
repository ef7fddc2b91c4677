"""Any graph as a PyTorch function of its parameters. Needs torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch.nn import functional

from pynq_train.fixed import keep_map
from pynq_train.graph import Graph, LayerParams
from pynq_train.graph import ops as o
from pynq_train.graph.activation import Relu, Relu6
from pynq_train.graph.curves import Elu, Gelu, HardSigmoid, LeakyRelu
from pynq_train.graph.flat import map_shape
from pynq_train.graph.params import FloatArray

Tensors = dict[tuple[str, str], torch.Tensor]


def tensors_of(params: Mapping[str, LayerParams], dtype: torch.dtype = torch.float64) -> Tensors:
    """Return leaves by (layer, field); running statistics need no gradient."""
    out = {}
    for name, p in params.items():
        for field in ("weight", "bias", "mean", "variance"):
            array = getattr(p, field)
            if array is not None:
                leaf = torch.tensor(array, dtype=dtype)
                out[name, field] = leaf.requires_grad_(field in ("weight", "bias"))
    return out


def params_of(tensors: Tensors) -> dict[str, LayerParams]:
    """Return the present values as float32 parameters by layer name."""
    fields: dict[str, dict[str, FloatArray]] = {}
    for (name, field), tensor in tensors.items():
        fields.setdefault(name, {})[field] = tensor.detach().numpy().astype(np.float32)
    return {name: LayerParams(own["weight"], own.get("bias"), own.get("mean"), own.get("variance"))
            for name, own in fields.items()}


def run(graph: Graph, tensors: Tensors, x: torch.Tensor, training: bool, seed: int = 0,
        step: int = 0) -> torch.Tensor:
    """Return the logits: :func:`outputs` of the last operation, ``(n, classes)``."""
    return outputs(graph, tensors, x, training, seed, step)[graph.ops[-1].name].flatten(1)


def outputs(graph: Graph, tensors: Tensors, x: torch.Tensor, training: bool, seed: int = 0,
            step: int = 0) -> dict[str, torch.Tensor]:
    """Return the outputs of all operations by their names.

    In training the running statistics in ``tensors`` move as PyTorch moves them. Dropout takes the
    masks of ``seed`` and ``step`` from ``fixed.keep_map``.
    """
    values = {"input": x}
    before = "input"
    for place, op in enumerate(graph.ops):
        args = [values[name] for name in (op.inputs or (before,))]
        if isinstance(op, o.Dropout):
            values[op.name] = args[0]
            if training:
                channels, rows, cols = (map_shape(graph, graph.sources[place][0])
                                        or args[0].shape[1:])
                kept = keep_map(op.rate, seed, step, place, (len(x), channels, rows, cols))
                factors = torch.tensor(kept / (1 - op.rate), dtype=x.dtype)
                values[op.name] = args[0] * factors.reshape(args[0].shape)
            before = op.name
            continue
        own = {field: t for (name, field), t in tensors.items() if name == op.name}
        values[op.name] = _apply(op, args, own, training)
        before = op.name
    return values


def _curve(op: o.Curve, x: torch.Tensor) -> torch.Tensor:
    if isinstance(op, LeakyRelu):
        return functional.leaky_relu(x, op.slope)
    if isinstance(op, Elu):
        return functional.elu(x, op.alpha)
    if isinstance(op, Gelu):
        return functional.gelu(x, approximate="tanh" if op.tanh else "none")
    if isinstance(op, HardSigmoid):
        return torch.clamp(op.alpha * x + op.beta, 0, 1)
    functions: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "sigmoid": torch.sigmoid, "tanh": torch.tanh, "silu": functional.silu,
        "hardswish": functional.hardswish}
    return functions[op.kind](x)


def _apply(op: o.Op, args: list[torch.Tensor], own: dict[str, torch.Tensor], training: bool
           ) -> torch.Tensor:
    x = args[0]
    if isinstance(op, o.Conv):
        return functional.conv2d(_pad(op, x, 0.0), own["weight"], own.get("bias"), op.stride,
                                 dilation=op.dilation, groups=op.groups)
    if isinstance(op, o.ConvTranspose):
        return _transposed(op, x, own)
    if isinstance(op, o.Dense):
        return functional.linear(x.flatten(1), own["weight"], own.get("bias"))[:, :, None, None]
    if isinstance(op, o.BatchNorm):
        return functional.batch_norm(x, own["mean"], own["variance"], own["weight"], own["bias"],
                                     training and not op.frozen, op.momentum, op.eps)
    if isinstance(op, o.Curve):
        return _curve(op, x)
    if isinstance(op, o.GroupNorm):
        return functional.group_norm(x, op.groups, own.get("weight"), own.get("bias"), op.eps)
    if isinstance(op, (o.MaxPool, o.MaxPool2x2)):
        if isinstance(op, o.MaxPool2x2):
            return functional.max_pool2d(x, 2)
        return functional.max_pool2d(_pad(op, x, -torch.inf), op.kernel, op.stride)
    if isinstance(op, o.AvgPool):
        return functional.avg_pool2d(_pad(op, x, 0.0), op.kernel, op.stride)
    if isinstance(op, Relu):
        return functional.relu(x)
    if isinstance(op, Relu6):
        return functional.relu6(x)
    if isinstance(op, o.GlobalAvgPool):
        return functional.adaptive_avg_pool2d(x, 1)
    if isinstance(op, o.Upsample):
        if op.mode == "nearest":
            return functional.interpolate(x, scale_factor=op.factor, mode="nearest")
        return functional.interpolate(x, op.out_shape((x.shape[1], x.shape[2], x.shape[3]))[1:],
                                      mode="bilinear", align_corners=op.corners)
    if isinstance(op, o.Add):
        return args[0] + args[1]
    if isinstance(op, o.Multiply):
        return args[0] * args[1]
    if isinstance(op, o.Concat):
        return torch.cat(args, 1)
    if isinstance(op, o.PadChannels):
        return functional.pad(x, (0, 0, 0, 0, op.before, op.after))
    if isinstance(op, o.PickChannels):
        return x[:, list(op.channels)]
    if isinstance(op, o.Flatten):
        return x.flatten(1)[:, :, None, None]
    raise AssertionError(f"no PyTorch counterpart of {op}")


def _transposed(op: o.ConvTranspose, x: torch.Tensor, own: dict[str, torch.Tensor]
                ) -> torch.Tensor:
    """All that the pixels reach, and more, of which what is in front and behind is cut off."""
    shape = (x.shape[1], x.shape[2], x.shape[3])
    rows, cols = op.windows(shape)
    _, high, wide = op.out_shape(shape)
    whole = functional.conv_transpose2d(x, own["weight"], None, op.stride, groups=op.groups)
    whole = functional.pad(whole, (0, wide, 0, high))
    cut = whole[:, :, rows.pad_before :, cols.pad_before :][:, :, :high, :wide]
    return cut if "bias" not in own else cut + own["bias"][:, None, None]


def _pad(op: o.Conv | o.MaxPool | o.AvgPool, x: torch.Tensor, value: float) -> torch.Tensor:
    rows, cols = op.windows((x.shape[1], x.shape[2], x.shape[3]))
    return functional.pad(x, (cols.pad_before, cols.pad_after, rows.pad_before, rows.pad_after),
                          value=value)
