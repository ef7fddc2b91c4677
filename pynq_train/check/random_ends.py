"""Random ends of networks: maps, means, normalisations and single outputs in place of classes."""

from __future__ import annotations

from dataclasses import replace

from pynq_train.check.draw import Draw, RandomNet, activation
from pynq_train.graph import Graph
from pynq_train.graph.ops import (
    BatchNorm,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    MaxPool2x2,
    Op,
    Upsample,
)

_OF_VECTORS = (Flatten, Dense, GlobalAvgPool)
_STREAM = 0xE2D5
_OTHER = 60
"""Of 100 networks with branches so many end with something else."""
_MOST_SIDE = 6
"""Longest side of a map that is enlarged."""


def with_random_end(net: RandomNet, seed: int) -> RandomNet:
    """Return a random network, often with another end than the dense layer that it has.

    Most of these are maps: of a convolution behind the last map that there is, then nothing, an
    activation, a pooling, a mean, a normalisation or an upsampling. Others are one output, or
    outputs with an activation. The layer keeps its name.

    Args:
        net: the network.
        seed: names the end.
    """
    draw = Draw(seed, _STREAM)
    graph, last = net.graph, net.graph.ops[-1]
    # Chains stay what they are: in a run of them each kernel and stride comes once.
    if seed % 4 < 2 or not draw.chance(_OTHER) or not isinstance(last, Dense):
        return net
    place = _map_before(graph)
    # Normalisations of vectors are rare: they stay.
    if draw.chance(30) or any(isinstance(op, BatchNorm) for op in graph.ops[place + 1 :]):
        ops: list[Op] = list(graph.ops[:-1])
        single = draw.chance(60)
        ops.append(replace(last, units=1 if single else last.units))
        if not single or draw.chance(25):
            ops.append(activation(draw, 30)("behind", (last.name,)))
        return replace(net, graph=replace(graph, ops=tuple(ops)))
    shape = graph.input_shape if place < 0 else graph.shapes[place]
    trainable = net.trainable
    ops = list(graph.ops[: place + 1])
    source = "input" if place < 0 else ops[place].name
    ops.append(Conv(draw.between(1, 10), draw.one_of((1, 3)), 1, "same", last.bias, last.name, 1,
                    (source,)))
    if not isinstance(trainable, str):  # what is left out cannot be trained
        left = {op.name for op in ops}
        trainable = tuple(one for one in trainable if one.rpartition(".")[0] in left) or "all"
    elif trainable == "norm":
        trainable = "all"
    sides = shape[1:]
    behind: list[Op | None] = [None, None, GlobalAvgPool("behind", (last.name,)),
                               BatchNorm(name="behind", inputs=(last.name,)),
                               activation(draw, 30)("behind", (last.name,))]
    if min(sides) > 1:
        behind.append(MaxPool2x2("behind", (last.name,)))
    if max(sides) <= _MOST_SIDE:
        behind.append(Upsample(2, "behind", (last.name,)))
    chosen = draw.one_of(tuple(behind))
    if chosen is not None:
        ops.append(chosen)
    return replace(net, graph=replace(graph, ops=tuple(ops)), trainable=trainable)


def _map_before(graph: Graph) -> int:
    """Return the place of the last map of the network that all that is behind it comes from.

    -1 for the input.
    """
    place = len(graph.ops) - 1
    while place >= 0 and (isinstance(graph.ops[place], _OF_VECTORS)
                          or graph.shapes[place][1:] == (1, 1)):
        if len(graph.sources[place]) > 1:
            return place
        # Operations in between that stand on other branches belong to what was joined before.
        place = graph.sources[place][0]
    return place
