"""Group normalisations made of what the engine has.

The engine takes statistics of an image's group of channels as it takes those of a channel over the
mini-batch (``schedule.lower.vector``), but then has neither gamma nor beta. So a normalisation
becomes two operations: one that normalises, and a convolution of one weight, gamma, and a bias,
beta, for each channel. The latter keeps the name, and with it the parameters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from pynq_train.errors import UnsupportedModel
from pynq_train.graph.flat import map_shape
from pynq_train.graph.graph import Graph
from pynq_train.graph.norms import GroupNorm
from pynq_train.graph.ops import AvgPool, Concat, Conv, Op
from pynq_train.graph.wiring import FROM_INPUT
from pynq_train.hw.words import CHANNELS_PER_WORD
from pynq_train.layers.concat import place_concats
from pynq_train.layers.picks import is_vector


@dataclass(frozen=True)
class Scale(Conv):
    """Gamma and beta of a normalisation. Made here only, never saved."""

    kind: ClassVar[str] = "scale"


def rewritten(graph: Graph) -> Graph:
    """Return a graph that computes the same, of operations that the engine has or are placement.

    Raises:
        UnsupportedModel: as :func:`split_group_norms` and :func:`~.concat.place_concats`.
    """
    return place_concats(split_group_norms(graph))


def check_group(op: GroupNorm, channels: int) -> None:
    """Check that the engine can take the statistics of a normalisation's groups.

    Raises:
        UnsupportedModel: it cannot: the channels of a group fill neither whole words nor a half of
            one or a quarter.
    """
    size = channels // op.groups
    if size in (1, 2) or size % CHANNELS_PER_WORD == 0:
        return
    fits = [groups for groups in range(1, channels + 1) if channels % groups == 0
            and (channels // groups in (1, 2) or channels // groups % CHANNELS_PER_WORD == 0)]
    raise UnsupportedModel(
        f"operation {op.name!r} ({op.kind}): channels of a group",
        expected=f"1, 2 or a multiple of {CHANNELS_PER_WORD}", found=size,
        fix=f"use {' or '.join(map(str, fits))} groups of {channels} channels"
        + ("" if channels % CHANNELS_PER_WORD == 0 else
           f", or a multiple of {CHANNELS_PER_WORD} channels"))


def split_group_norms(graph: Graph) -> Graph:
    """Return a graph that computes the same, and whose group normalisations have no parameters.

    Copies stand in front of those that read the images or a vector (its copy is a map of one
    pixel), and of those that could read or write a map with gaps between its images: a part of a
    concatenation, or what is used together with one. A graph without group normalisations is
    returned as it is.

    Raises:
        UnsupportedModel: the engine does not take such groups, or a map was flattened in front.
    """
    if not any(isinstance(op, GroupNorm) for op in graph.ops):
        return graph
    taken = {op.name for op in graph.ops}
    gaps = any(isinstance(op, Concat) for op in graph.ops)
    ops: list[Op] = []

    def new(name: str) -> str:
        found, number = name, 1
        while found in taken:
            number += 1
            found = f"{name}.{number}"
        taken.add(found)
        return found

    for op, places, shapes in zip(graph.ops, graph.sources, graph.in_shapes):
        reads = tuple(graph.name_at(place) for place in places)
        if not isinstance(op, GroupNorm):
            ops.append(replace(op, inputs=reads))
            continue
        channels = shapes[0][0]
        check_group(op, channels)
        if map_shape(graph, places[0]):
            raise UnsupportedModel(f"operation {op.name!r} ({op.kind}) follows a Flatten",
                                   fix="put it in front of the Flatten")
        if gaps or places[0] == FROM_INPUT or is_vector(graph, places[0]):
            copy = AvgPool(1, 1, 0, new(f"{op.name}.copy"), reads)
            ops.append(copy)
            reads = (copy.name,)
        if op.affine:
            normal = replace(op, affine=False, name=new(f"{op.name}.stat"), inputs=reads)
            ops += [normal, Scale(channels, 1, name=op.name, groups=channels,
                                  inputs=(normal.name,))]
        elif gaps:
            normal = replace(op, name=new(f"{op.name}.stat"), inputs=reads)
            ops += [normal, AvgPool(1, 1, 0, op.name, (normal.name,))]
        else:
            ops.append(replace(op, inputs=reads))
    return Graph(graph.input_shape, tuple(ops), graph.name)
