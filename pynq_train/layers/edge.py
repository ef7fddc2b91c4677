"""Which layer makes the map of an operation, also of one that was moved or merged into others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pynq_train.graph.graph import Graph
from pynq_train.graph.ops import Concat
from pynq_train.graph.wiring import FROM_INPUT
from pynq_train.layers.op_list import TAILS


@dataclass(frozen=True)
class Edge:
    """An operation of a network and the layer that runs it.

    Attributes:
        layer: position of the layer.
        end: operation whose output that layer yields: the operation itself, or one behind it.
    """

    layer: int
    end: str


def of_graph(graph: Graph, placed: Mapping[str, Edge]) -> dict[str, Edge]:
    """Return the edges of a graph's own operations, in their order.

    An activation or pooling that went in front of a concatenation is what the concatenation
    yields now; a concatenation of the same maps as another one is that one; everything else that
    runs nowhere belongs to what it reads. What reads nothing but the network's input has no edge.

    Args:
        graph: the network as it was given.
        placed: the edges of what it became, which may have other operations.
    """
    found: dict[str, Edge] = {}
    joins: dict[tuple[str, ...], str] = {}
    leaves: dict[str, tuple[str, ...]] = {}
    for op, places in zip(graph.ops, graph.sources):
        reads = [graph.name_at(place) for place in places if place != FROM_INPUT]
        if isinstance(op, Concat):
            own = tuple(leaf for place in places
                        for leaf in leaves.get(graph.name_at(place), (graph.name_at(place),)))
            leaves[op.name] = own
            joins.setdefault(own, op.name)
        if op.name in placed:
            found[op.name] = placed[op.name]
            continue
        if isinstance(op, Concat) and joins[own] != op.name:
            reads = [joins[own]]
        below = [found[name] for name in reads if name in found]
        if not below:
            continue
        at = max(below, key=lambda edge: edge.layer)
        found[op.name] = replace(at, end=op.name)
        if isinstance(op, TAILS):
            # Nobody reads the map in front of it, which is made nowhere.
            found.update({name: replace(edge, end=op.name) for name, edge in found.items()
                          if edge == at})
    _name_ends(graph, found)
    return found


def _name_ends(graph: Graph, found: dict[str, Edge]) -> None:
    """Let layers that end with an operation that was added end with the one that it stands for.

    That is what reads the map in the graph as it was given.
    """
    readers = {graph.name_at(place): op.name
               for op, places in zip(reversed(graph.ops), reversed(graph.sources))
               for place in places}
    names = {op.name for op in graph.ops}
    for op in reversed(graph.ops):
        edge = found.get(op.name)
        if edge is not None and edge.end not in names and op.name in readers:
            found[op.name] = replace(edge, end=found[readers[op.name]].end)
