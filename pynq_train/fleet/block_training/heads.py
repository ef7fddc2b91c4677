"""Heads: what a block that is trained by itself has behind its map, up to the logits.

They begin with a layer that cannot join the block's last one, so that the engine writes the map.
"""

from __future__ import annotations

from collections.abc import Callable

from pynq_train.errors import BadInput, UnknownName
from pynq_train.graph.activation import Relu
from pynq_train.graph.ops import AvgPool, BatchNorm, Conv, Dense, Flatten, GlobalAvgPool, Op, Shape
from pynq_train.hw.limits import MAX_STRIDE

_POOLED_SIDE = 14
"""Rows and columns that the head ``pooled`` has left at most."""
_MLP_PART = 4
"""The head ``mlp`` has one row or column left of so many, and at the end two."""
_MLP_LAYERS = 3


def head_ops(head: str, shape: Shape, classes: int, prefix: str, what: str) -> list[Op]:
    """Return the operations of a head.

    Args:
        head: one of :data:`HEADS`.
        shape: of the block's map, ``(channels, rows, cols)``.
        classes: logits.
        prefix: what the names of the operations begin with.
        what: the block, for messages.

    Raises:
        UnknownName: no such head.
        BadInput: the map is too small for it.
    """
    if not isinstance(head, str) or head not in _MAKERS:
        raise UnknownName.among("head", head, HEADS)
    make, least = _MAKERS[head]
    if min(shape[1:]) < least:
        fits = [name for name, (_, side) in _MAKERS.items() if min(shape[1:]) >= side]
        raise BadInput(f"{what}: head {head!r}", expected=f"a map of {least}x{least} or more",
                       found=f"{shape[1]}x{shape[2]}", fix="use " + " or ".join(map(repr, fits)))
    return [*make(shape, prefix), Dense(classes, name=f"{prefix}.fc")]


def _dense(shape: Shape, prefix: str) -> list[Op]:
    """Global average pooling: as many features as channels."""
    return [] if shape[1:] == (1, 1) else [GlobalAvgPool(f"{prefix}.pool")]


def _pooled(shape: Shape, prefix: str) -> list[Op]:
    """Average pooling over 2x2 pixels, again while the map is large; where things are stays."""
    ops: list[Op] = []
    while not ops or min(shape[1:]) > _POOLED_SIDE:
        pool = AvgPool(2, 2, name=f"{prefix}.pool{len(ops) + 1}")
        ops.append(pool)
        shape = pool.out_shape(shape)
    return [*ops, Flatten(f"{prefix}.flatten")]


def _conv(shape: Shape, prefix: str) -> list[Op]:
    """Two 3x3 convolutions of stride 2; the second one has twice the channels."""
    ops: list[Op] = []
    for number, channels in enumerate((shape[0], 2 * shape[0]), 1):
        ops += _normed(Conv(channels, 3, 2, 1, False, f"{prefix}.conv{number}"))
    return [*ops, Flatten(f"{prefix}.flatten")]


def _mlp(shape: Shape, prefix: str) -> list[Op]:
    """MLP-SR of decoupled greedy learning: 1x1 convolutions on a pooled map, then dense layers."""
    channels = shape[0]
    ops: list[Op] = []
    shape = _pool_to(ops, shape, -(-min(shape[1:]) // _MLP_PART), prefix)
    for number in range(1, _MLP_LAYERS + 1):
        ops += _normed(Conv(channels, 1, 1, 0, False, f"{prefix}.conv{number}"))
    shape = _pool_to(ops, shape, 2, prefix)
    ops.append(Flatten(f"{prefix}.flatten"))
    width = channels * shape[1] * shape[2]
    for number in range(1, _MLP_LAYERS + 1):
        ops += _normed(Dense(width, False, f"{prefix}.dense{number}"))
    return ops


def _pool_to(ops: list[Op], shape: Shape, side: int, prefix: str) -> Shape:
    """Append average pooling to ``side`` rows or columns, whichever are fewer; return the shape.

    Windows are those of adaptive pooling where all of these are equal. Else the last ones reach
    beyond the map. Where the step would be beyond the engine's, 2x2 windows go in front.
    """
    while min(shape[1:]) > side:
        least = min(shape[1:])
        step, most = least // side, -(-least // side)
        number = sum(isinstance(one, AvgPool) for one in ops) + 1
        name, kernel = f"{prefix}.pool{number}", least - (side - 1) * step
        if step > MAX_STRIDE:
            pool = AvgPool(2, 2, "same", name=name)
        elif kernel <= step + 1:
            pool = AvgPool(kernel, step, name=name)
        else:
            pool = AvgPool(most, most, "same", name=name)
        ops.append(pool)
        shape = pool.out_shape(shape)
    return shape


def _normed(op: Conv | Dense) -> list[Op]:
    return [op, BatchNorm(name=f"{op.name}.bn"), Relu(f"{op.name}.relu")]


_MAKERS: dict[str, tuple[Callable[[Shape, str], list[Op]], int]] = {
    "dense": (_dense, 1), "pooled": (_pooled, 2), "conv": (_conv, 4), "mlp": (_mlp, 5)}
"""What makes each head, and the smallest side of a map that it takes."""
HEADS = tuple(_MAKERS)
"""Names of the heads, the cheapest first."""
