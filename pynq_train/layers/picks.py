"""Picks of channels made cheap: one behind the other is one, and most vanish into what reads them.

A pick by itself is a 1x1 convolution whose weights, 0 and 1, never learn. A convolution over all
channels, or a dense layer, that reads a pick can read the whole map instead: the weights for
channels that are not picked are absent, and the others stand where the channels are.
"""

from __future__ import annotations

from dataclasses import replace

from pynq_train.graph.flat import map_shape
from pynq_train.graph.graph import Graph
from pynq_train.graph.ops import (
    Activate,
    Add,
    BatchNorm,
    Concat,
    Conv,
    Curve,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Multiply,
    PickChannels,
)
from pynq_train.graph.wiring import FROM_INPUT
from pynq_train.hw.words import CHANNELS_PER_WORD, ceil_div
from pynq_train.layers.op_list import OpList

_TILE, _PIXELS = 16, 3
"""Output channels and pixels that the array computes together; only what is cheaper follows."""
_KEEPS_KIND = (BatchNorm, Activate, Add, Concat, Curve, Dropout, Flatten, Multiply, PickChannels)
"""Operations whose output is a vector where what they read is one."""


def merge_picks(graph: Graph) -> Graph:
    """Return a graph without picks that read picks, pick everything in order, or are not read.

    A graph without picks is returned as it is.
    """
    if not any(isinstance(op, PickChannels) for op in graph.ops):
        return graph
    ops = OpList(graph)
    for name in [op.name for op in ops.ops]:
        op = ops[name]
        if not isinstance(op, PickChannels):
            continue
        source = ops[op.inputs[0]]
        if isinstance(source, PickChannels):
            merged = replace(op, channels=tuple(source.channels[at] for at in op.channels),
                             inputs=source.inputs)
            ops.put(op, merged)
            op = merged
        if op.channels == tuple(range(ops.shapes[op.inputs[0]][0])) and op is not ops.ops[-1]:
            ops.ops.remove(op)
            ops.rename(op.name, op.inputs[0])
    last = ops.ops[-1]
    ops.ops = [op for op in ops.ops if op is last or ops.readers(op.name)
               or not isinstance(op, PickChannels)]
    return ops.finish()


def is_vector(graph: Graph, place: int) -> bool:
    """Return whether the value at a place stands in memory as a dense map: features by mini-batch.
    """
    while place != FROM_INPUT and isinstance(graph.ops[place], _KEEPS_KIND):
        # A product with a vector is of the kind of the other factor, whichever comes first.
        places, shapes = graph.sources[place], graph.in_shapes[place]
        place = next((one for one, shape in zip(places, shapes) if shape[1:] != (1, 1)), places[0])
    return place != FROM_INPUT and isinstance(graph.ops[place], (Dense, GlobalAvgPool))


def vanishing(graph: Graph) -> frozenset[int]:
    """Return the positions of the picks that run nowhere: all that reads one can do without it.

    That is what multiplies all channels with weights of its own, and where the channels that are
    read in vain cost less than the pick.
    """
    readers: dict[int, list[int]] = {}
    for at, sources in enumerate(graph.sources):
        for place in sources:
            readers.setdefault(place, []).append(at)
    found = set()
    for at, op in enumerate(graph.ops):
        if not isinstance(op, PickChannels) or map_shape(graph, graph.sources[at][0]):
            continue
        if len(set(op.channels)) < len(op.channels):
            continue  # a channel that is read twice would have two weights at one place
        (channels, rows, cols), = graph.in_shapes[at]
        blocks = ceil_div(channels, CHANNELS_PER_WORD)
        in_vain = blocks - ceil_div(len(op.channels), CHANNELS_PER_WORD)
        # In cycles, roughly: a pick moves a word in each, forward and backward, and the array takes
        # a block of channels, a tile of outputs and some pixels, in three passes.
        own = 2 * max(blocks, blocks * ceil_div(len(op.channels), _TILE) // _PIXELS) * rows * cols
        more = 0
        behind = [(one, False) for one in readers.get(at, ())]
        while behind and more <= own:
            place, flat = behind.pop()
            reader = graph.ops[place]
            if isinstance(reader, Flatten) and readers.get(place):
                behind += [(one, True) for one in readers[place]]
            elif isinstance(reader, Dense):
                more += in_vain * ceil_div(reader.units, _TILE) * rows * cols
            elif isinstance(reader, Conv) and reader.groups == 1 and not flat:
                _, *size = graph.shapes[place]
                more += (in_vain * ceil_div(reader.out_channels, _TILE)
                         * reader.span_sides.area * size[0] * size[1])
            else:
                more = own + 1
        if more <= own and readers.get(at):
            found.add(at)
    return frozenset(found)
