"""Sparse update: of some layers a tile of output channels learns, the others stay as they are.

Such a layer becomes convolutions side by side, whose outputs stand in one map: nothing is moved for
that, the weight gradient runs on the tile alone, and the masters beside it are not touched.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from pynq_train.errors import BadInput
from pynq_train.graph import Concat, Conv, Dense, Model, Op
from pynq_train.rungs.blocks import convolutions
from pynq_train.rungs.edit import Edit, classifiers

PART = ".part"
"""What stands between a layer's name and the number of one of its parts."""
_SHARE = 3
"""The sparse update begins behind this part of the convolutions: two of three."""


def sparse(model: Model, tile: int) -> tuple[Model, tuple[str, ...]]:
    """Return a model of whose last third of convolutions one tile of output channels learns each.

    It is the tile with the largest weights. All biases from the first of these layers on learn as
    well, and the classifier.

    Args:
        model: the network.
        tile: output channels of a tile.

    Returns:
        The model, and the names of what learns.

    Raises:
        BadInput: no convolution has more than one tile.
    """
    mixing = convolutions(model.graph)
    chosen = [op for op in mixing[-max(2, len(mixing) // _SHARE):] if op.out_channels > tile]
    heads = classifiers(model.graph)
    chosen = [op for op in chosen if op.name not in heads]
    if not chosen:
        raise BadInput("trainable='sparse'", fix="use trainable='last-block'",
                       expected=f"convolutions of more than {tile} channels, one tile, among the "
                       "last ones", found=", ".join(f"{op.name}: {op.out_channels}"
                                                    for op in mixing) or "none")
    edit = Edit(model, 0)
    learning: list[str] = []
    names = [op.name for op in model.graph.ops]
    first = names.index(chosen[0].name)
    for op in chosen:
        learning.append(_split(edit, op, tile))
    biases = [f"{op.name}.bias" for op in edit.ops
              if isinstance(op, (Conv, Dense)) and op.bias and op.name not in (*heads, *learning)
              and names.index(op.name.split(PART)[0]) >= first]
    return edit.finish(), (*learning, *biases, *heads)


def _split(edit: Edit, op: Conv, tile: int) -> str:
    """Put convolutions of some channels each in the place of one; return the one that learns."""
    own = edit.params(op.name)
    count = -(-op.out_channels // tile)
    weight = own.weight.astype(np.float64)
    power = [float((weight[at * tile:(at + 1) * tile] ** 2).sum()) for at in range(count)]
    best = int(np.argmax(power)) * tile
    bounds = sorted({0, best, min(best + tile, op.out_channels), op.out_channels})
    inputs = edit[op.name].inputs
    parts: list[Op] = []
    for number, (low, high) in enumerate(pairwise(bounds)):
        name = f"{op.name}{PART}{number}"
        parts.append(replace(op, out_channels=high - low, name=name, inputs=inputs))
    edit.replace(op.name, *parts, Concat(op.name, tuple(part.name for part in parts)))
    for part, low, high in zip(parts, bounds, bounds[1:]):
        edit.set_params(part.name, own.weight[low:high],
                        None if own.bias is None else own.bias[low:high])
    return next(part.name for part, low in zip(parts, bounds) if low == best)
