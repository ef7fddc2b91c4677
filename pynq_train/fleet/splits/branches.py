"""Horizontal splits: the first layers of a network as branches, each with a part of the channels.

The branches read the same images and nothing of each other: a convolution that reads the images
makes its part of the output channels from all of them, each later one reads its own branch alone.
On one board that is a grouped convolution (:func:`branched`), which saves nothing there; on
several boards each runs one branch, and the layers behind the cut read all of them side by side.
It is another network than the one without branches: it is trained as such.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pynq_train.errors import BadInput, UnsupportedModel
from pynq_train.graph.graph import Graph
from pynq_train.graph.ops import Conv, Op
from pynq_train.graph.wiring import FROM_INPUT
from pynq_train.hw.words import CHANNELS_PER_WORD
from pynq_train.layers import kinds
from pynq_train.layers.fuse import FusedLayer

_VECTOR = (1, 1)
"""Rows and columns of a vector."""


def check_ways(ways: int) -> None:
    """Raise :class:`BadInput` if a number of branches is no integer of 1 or more."""
    if type(ways) is not int or ways < 1:
        raise BadInput("ways", expected="an integer of 1 or more", found=repr(ways))


def branch_layers(layers: Sequence[FusedLayer], ways: int) -> tuple[FusedLayer, ...]:
    """Return the layers of one of several branches.

    Args:
        layers: the layers in front of the cut, each behind those that it reads.
        ways: how many branches there are.

    Raises:
        BadInput: ``ways`` does not divide the channels of a layer.
        UnsupportedModel: a layer joins a whole map and a branch's, or reads a part of a whole map.
    """
    check_ways(ways)
    whole: list[bool] = []  # maps that every branch has, with all their channels
    found = []
    for layer in layers:
        reads = [place == FROM_INPUT or whole[place] for place in layer.sources]
        if len(set(reads)) > 1:
            raise UnsupportedModel(f"layer {layer.name!r} joins a map that is split over the "
                                   "branches and one that is not", fix="cut in front of it")
        # A layer without weights does not split what is whole.
        whole.append(reads[0] and not layer.on_array)
        found.append(layer if whole[-1] else _part(layer, ways, reads[0]))
    return tuple(found)


def _part(layer: FusedLayer, ways: int, reads_whole: bool) -> FusedLayer:
    """Return a layer with its share of the channels; ``reads_whole``: it keeps all inputs."""
    if reads_whole and layer.groups > 1:
        raise UnsupportedModel(f"layer {layer.name!r} of {layer.groups} groups reads a map that "
                               "all branches have", fix="cut in front of it")
    if layer.reads is not None:
        raise UnsupportedModel(f"layer {layer.name!r} reads some channels of a map",
                               fix="cut in front of it")
    channels = [layer.out_channels]
    if not reads_whole:
        channels.append(layer.in_shape[0])
        if layer.groups > 1:
            channels.append(layer.groups)
        if layer.copies is not None:
            channels.append(_zeros_in_front(layer))
    for count in channels:
        if count % ways:
            raise BadInput(f"ways: layer {layer.name!r}", expected=f"a divisor of {count} channels",
                           found=ways)
    if layer.kind.joins and (layer.out_channels // ways) % CHANNELS_PER_WORD:
        raise UnsupportedModel(
            f"layer {layer.name!r} joins branches of {layer.out_channels // ways} channels",
            expected=f"multiples of {CHANNELS_PER_WORD}", fix="use fewer ways")

    def narrow(shape: tuple[int, int, int]) -> tuple[int, int, int]:
        return (shape[0] // ways, *shape[1:])

    return replace(
        layer, in_shape=layer.in_shape if reads_whole else narrow(layer.in_shape),
        out_shape_before_pool=narrow(layer.out_shape_before_pool),
        out_shape=narrow(layer.out_shape),
        groups=layer.groups // ways if layer.groups > 1 else 1,
        copies=None if layer.copies is None else _narrow_copies(layer, ways))


def _zeros_in_front(layer: FusedLayer) -> int:
    """Return the channels of zeros in front of the input's of a layer that only pads them.

    Raises:
        UnsupportedModel: it puts channels in another order.
    """
    assert layer.copies is not None
    n = layer.in_shape[0]
    before = layer.copies.index(0) if 0 in layer.copies else 0
    behind = len(layer.copies) - before - n
    if layer.copies != (-1,) * before + tuple(range(n)) + (-1,) * behind:
        raise UnsupportedModel(f"layer {layer.name!r} moves channels from one branch to another",
                               fix="cut in front of it")
    return before


def _narrow_copies(layer: FusedLayer, ways: int) -> tuple[int, ...]:
    """Return the channels of one of several branches of a layer that only pads them."""
    before, n = _zeros_in_front(layer) // ways, layer.in_shape[0] // ways
    behind = layer.out_channels // ways - before - n
    return (-1,) * before + tuple(range(n)) + (-1,) * behind


def closed(layers: Sequence[FusedLayer]) -> tuple[FusedLayer, ...]:
    """Return layers with a mean and a classifier of one class behind them, so that they are a
    network that has a plan; both are left out of what is counted."""
    shape, last = layers[-1].out_shape, len(layers)
    found = list(layers)
    taken = {layer.name for layer in layers}
    if shape[1:] != _VECTOR:
        vector = (shape[0], 1, 1)
        found.append(FusedLayer(kind=kinds.MEAN, name=_free("end_mean", taken), in_shape=shape,
                                out_shape_before_pool=vector, out_shape=vector,
                                sources=(last - 1,)))
    one = (1, 1, 1)
    found.append(FusedLayer(kind=kinds.DENSE, name=_free("end", taken),
                            in_shape=(shape[0], 1, 1), out_shape_before_pool=one, out_shape=one,
                            bias=True, sources=(len(found) - 1,)))
    return tuple(found)


def _free(name: str, taken: set[str]) -> str:
    """Return ``name``, or the next name like it that is not taken."""
    number, found = 1, name
    while found in taken:
        number, found = number + 1, f"{name}{number}"
    return found


def branched(graph: Graph, after: str, ways: int) -> Graph:
    """Return a network whose operations up to one are split into branches, as one graph.

    Convolutions up to there that do not read the images have ``ways`` groups, or those that they
    had. It has the arithmetic of ``ways`` branches on boards of their own, and is trained as any
    network.

    Args:
        graph: the network.
        after: name of the operation at which the branches end.
        ways: how many branches.

    Raises:
        BadInput: there is no such operation, ``ways`` does not divide the channels, or there is
            more than convolutions, normalisations, activations, sums and pooling in front.
    """
    check_ways(ways)
    names = [op.name for op in graph.ops]
    if after not in names:
        raise BadInput(f"unknown edge {after!r}", expected="one of " + ", ".join(names))
    inside: set[int] = set()
    waiting = [names.index(after)]
    while waiting:
        place = waiting.pop()
        if place != FROM_INPUT and place not in inside:
            inside.add(place)
            waiting += graph.sources[place]
    whole = {FROM_INPUT}
    ops: list[Op] = []
    for at, op in enumerate(graph.ops):
        sources = graph.sources[at]
        if at in inside:
            if isinstance(op, Conv) and not whole.issuperset(sources):
                if op.groups % ways and op.groups > 1:
                    raise BadInput(f"ways: operation {op.name!r}",
                                   expected=f"a divisor of {op.groups} groups", found=ways)
                # Groups of their own do not reach over a branch's end.
                op = replace(op, groups=max(op.groups, ways))
            if not isinstance(op, Conv) and whole.issuperset(sources):
                whole.add(at)
            _check_part(op, graph, at, ways, whole)
        ops.append(op)
    return Graph.build(graph.input_shape, ops, f"{graph.name}-{ways}-split-{after}")


def _check_part(op: Op, graph: Graph, at: int, ways: int, whole: set[int]) -> None:
    """Check that an operation can be split into branches."""
    if op.kind in ("dense", "flatten", "concat", "padchannels", "pickchannels"):
        raise BadInput(f"operation {op.name!r} of kind {op.kind}", expected="convolutions, "
                       "normalisations, activations, sums and pooling in front of the cut",
                       fix="cut in front of it")
    shapes = (graph.shapes[at], *(() if whole.issuperset(graph.sources[at])
                                  else graph.in_shapes[at]))
    for shape in shapes if at not in whole else ():
        if shape[0] % ways:
            raise BadInput(f"ways: operation {op.name!r}",
                           expected=f"a divisor of {shape[0]} channels", found=ways)
