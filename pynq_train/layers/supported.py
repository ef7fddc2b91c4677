"""Which operations the engine runs, and what can stand in for the others.

``graph`` is mathematics and knows no hardware: a kernel of 20 is a fine convolution there. What the
units limit is refused here, before layers are made; importers (``exchange``) refuse the same while
they still know the foreign names, from the same constants of ``hw``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from pynq_train.errors import UnsupportedModel
from pynq_train.graph.graph import Graph
from pynq_train.graph.ops import AvgPool, Conv, ConvTranspose, MaxPool, Op, Upsample
from pynq_train.graph.params import LayerParams
from pynq_train.hw.limits import (
    MAX_KERNEL,
    MAX_POOL_KERNEL,
    MAX_POOL_STRIDE,
    MAX_STRIDE,
)

_MOST_GAIN = 1 << 10
"""By which images are multiplied at most where weights are larger than masters: others are refused.
"""
MASTER_RANGE = 8
"""Weights, biases, gamma and beta are kept as masters Q3.28: up to this, of either sign."""

_ARRAY = range(1, MAX_KERNEL + 1), range(1, MAX_STRIDE + 1)
_TILE = 16
"""Channels of a tile of the array, at least."""
_GROUP_SIZES = tuple(size for size in range(1, _TILE + 1) if _TILE % size == 0)
"""Channels of the groups of a transposed convolution."""
_WINDOWS: dict[type[Op], tuple[range, range]] = {
    Conv: _ARRAY, ConvTranspose: _ARRAY, AvgPool: _ARRAY,
    MaxPool: (range(1, MAX_POOL_KERNEL + 1), range(1, MAX_POOL_STRIDE + 1)),
}
"""Kernels and strides that the engine takes, by operation."""


def check_supported(graph: Graph) -> None:
    """Check that the engine runs every operation of a graph by itself.

    Whether each can stand where it stands, ``fuse`` finds out.

    Raises:
        UnsupportedModel: it does not; all such operations are named, and what could replace them.
    """
    refused: dict[type[Op], list[str]] = {}
    for op, shapes in zip(graph.ops, graph.in_shapes):
        if isinstance(op, ConvTranspose):
            check_transposed_groups(op, shapes[0][0])
        if isinstance(op, Upsample) and op.factor > MAX_STRIDE:
            raise UnsupportedModel(
                f"operation {op.name!r} (upsample)", expected=f"a factor of 2 to {MAX_STRIDE}",
                found=op.factor, fix="use several behind each other: their factors multiply")
        if isinstance(op, (Conv, ConvTranspose, AvgPool, MaxPool)):
            kernels, strides = _WINDOWS[type(op)]
            if not (set(op.span_sides) <= set(kernels) and set(op.stride_sides) <= set(strides)):
                refused.setdefault(type(op), []).append(op.name)
    if refused:
        count = sum(map(len, refused.values()))
        raise UnsupportedModel(
            f"network {graph.name!r} has {count} operation{'s' if count > 1 else ''} that the "
            "engine does not run: " + "; ".join(
                f"{', '.join(names)} ({kind.kind} with such windows): use {_instead(kind)}"
                for kind, names in refused.items()))


def check_transposed_groups(op: ConvTranspose, channels: int) -> None:
    """Check that the engine runs the groups of a transposed convolution of ``channels`` inputs.

    One descriptor runs over tiles of 16 channels, inputs and outputs of the same numbers: a group
    fills whole tiles together with others, or there is one.

    Raises:
        UnsupportedModel: it does not.
    """
    size = channels // op.groups
    if op.groups > 1 and (op.out_channels != channels or _TILE % size):
        raise UnsupportedModel(
            f"operation {op.name!r} (convtranspose)",
            expected=f"one group, or groups of {_choices(_GROUP_SIZES)} channels with as many "
            "inputs as outputs",
            found=f"{op.groups} groups of {size} inputs and {op.out_channels // op.groups} outputs",
            fix="use one group, or one group for each channel")


def _instead(kind: type[Op]) -> str:
    kernels, strides = map(_choices, _WINDOWS[kind])
    gaps = " (with the gaps of a dilation)" if kind is Conv else ""
    return f"a kernel of {kernels}{gaps} and a stride of {strides}"


def _choices(values: Sequence[int]) -> str:
    """``2 or 3``, ``1, 2 or 3``, or the ends of a longer range: ``1 to 11``."""
    if isinstance(values, range) and len(values) > 3:
        return f"{values[0]} to {values[-1]}"
    *others, last = map(str, values)
    return f"{', '.join(others)} or {last}"


def value_problems(name: str, params: LayerParams) -> list[str]:
    """Return what is wrong with the numbers of layer ``name``, each with a way round.

    Masters hold -8 to 8; running means and variances may be of any size.
    """
    found = []
    for part in ("weight", "bias", "mean", "variance"):
        array = getattr(params, part)
        if array is None or not array.size:
            continue
        largest = float(np.abs(array).max())
        if not np.isfinite(largest):
            found.append(f"{name} ({part}) holds NaN or infinity: train it again, with a smaller "
                         "rate")
        elif part in ("weight", "bias") and largest > MASTER_RANGE:
            factor = 2 ** int(np.frexp(largest / MASTER_RANGE)[1])
            found.append(
                f"{name} ({part}) holds {largest:.4g}, and the engine's masters -{MASTER_RANGE} to "
                f"{MASTER_RANGE}: divide its weights and biases by {factor} and multiply the "
                f"weights behind it, or the images before it, by {factor}; or train with weight "
                "decay")
    return found


def with_room(readers: Sequence[str], params: Mapping[str, LayerParams]
              ) -> tuple[dict[str, LayerParams], float]:
    """Return parameters whose layers ``readers`` fit the masters, and what the images are times.

    These layers alone read the images: weights divided by a power of two and images multiplied by
    it give the same outputs, to the bit of float32.
    """
    largest = max((float(np.abs(params[name].weight).max()) for name in readers
                   if params[name].weight.size), default=0.0)
    if not MASTER_RANGE < largest <= MASTER_RANGE * _MOST_GAIN:
        return dict(params), 1.0
    gain = 2.0 ** int(np.ceil(np.log2(largest / MASTER_RANGE)))
    return {**params, **{name: replace(params[name], weight=(params[name].weight / np.float64(gain))
                                       .astype(np.float32)) for name in readers}}, gain


def check_values(what: str, params: Mapping[str, LayerParams]) -> None:
    """Check that the engine can hold all numbers of a network.

    Raises:
        UnsupportedModel: it cannot; ``what`` names the network, and all such layers are named.
    """
    found = [problem for name, own in params.items() for problem in value_problems(name, own)]
    if found:
        raise UnsupportedModel(f"{what} has {len(found)} parameter{'s' * (len(found) > 1)} that "
                               "the engine does not hold: " + "; ".join(found))
