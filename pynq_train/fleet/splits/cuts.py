"""What crosses the cuts of a network: names, maps and bytes of every place where it can be cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pynq_train.fleet.cut import Cut, legal_edges
from pynq_train.graph import Graph
from pynq_train.graph.wiring import FROM_INPUT, INPUT
from pynq_train.hw.words import CHANNELS_PER_WORD, WORD_BYTES, ceil_div
from pynq_train.layers.fuse import edges
from pynq_train.schedule.plan import Plan


@dataclass(frozen=True)
class Crossing:
    """What crosses a cut of the forward passes.

    Attributes:
        position: number of layers in front of the cut.
        name: the operation behind which it is (:mod:`pynq_train.fleet.cut`).
        maps: names of the layers whose outputs are read behind it; ``input`` for the images.
        nbytes: bytes of these maps in device format, those of the whole mini-batch.
    """

    position: int
    name: str
    maps: tuple[str, ...]
    nbytes: int


def map_bytes(shape: Sequence[int], batch: int) -> int:
    """Return the bytes of a map ``(channels, rows, cols)`` in device format."""
    channels, rows, cols = shape
    return ceil_div(channels, CHANNELS_PER_WORD) * rows * cols * WORD_BYTES * batch


def edge_names(graph: Graph) -> dict[int, str]:
    """Return the operations behind which a network can be cut, by the number of layers in front.

    Raises:
        UnsupportedModel: the engine does not run the network.
    """
    known = edges(graph)
    return {known[name].layer + 1: name for name in legal_edges(graph)}


def crossings(plan: Plan, names: Mapping[int, str]) -> tuple[Crossing, ...]:
    """Return what crosses each cut of a plan's network in an evaluation, in order.

    A cut inside a residual block has both maps. A map that no layer of the next segment reads
    counts too: it goes on from there. There is no cut behind a layer for which nothing runs in an
    evaluation, a dropout: it is the one before it.

    Args:
        plan: the plan.
        names: operations behind which it can be cut, by the number of layers in front.
    """
    runs = {descriptor.layer for descriptor in plan.evaluate}
    found = []
    for position, name in sorted(names.items()):
        if position - 1 not in runs and not plan.layers[position - 1].kind.joins:
            continue
        read = sorted({place for at in range(position, len(plan.layers))
                       for place in plan.evaluation_sources[at] if place < position
                       and at in runs})
        maps = tuple(INPUT if place == FROM_INPUT else plan.layers[place].name for place in read)
        nbytes = sum(map_bytes(plan.layers[0].in_shape if place == FROM_INPUT
                               else plan.layers[place].out_shape, plan.batch) for place in read)
        found.append(Crossing(position, name, maps, nbytes))
    return tuple(found)


def cut_positions(graph: Graph, cuts: Sequence[Crossing], after: Sequence[str]) -> tuple[int, ...]:
    """Return the numbers of layers in front of the cuts behind some operations, in order.

    Args:
        graph: the network.
        cuts: its cuts.
        after: names of operations, or of blocks: ``a1`` is the last cut behind an ``a1.`` and more.

    Raises:
        UnknownName, BadInput: as :meth:`pynq_train.fleet.cut.Cut.of`.
    """
    known = {op.name for op in graph.ops}
    names = []
    for name in after:
        inside = [own.name for own in cuts if own.name.startswith(f"{name}.")]
        names.append(inside[-1] if inside and name not in known else name)
    return Cut.of(graph, names).ends[:-1]
