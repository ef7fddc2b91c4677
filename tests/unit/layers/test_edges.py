"""Edges of operations that were moved, merged or split on their way to layers."""

from __future__ import annotations

import pytest

from pynq_train.check.random_nets import random_net
from pynq_train.fleet.cut import legal_edges
from pynq_train.graph import (
    Add,
    Concat,
    Conv,
    Dense,
    Graph,
    GroupNorm,
    MaxPool2x2,
    Op,
    PickChannels,
    Relu,
)
from pynq_train.layers.fuse import edges, fuse

END = (Conv(8, 1, name="k"), Dense(3, name="d"))


def graph_of(*ops: Op) -> Graph:
    return Graph.build((3, 6, 6), [Conv(8, 3, 1, 1, name="x"), *ops, *END], "net")


@pytest.mark.parametrize(("graph", "wanted", "legal"), [
    (graph_of(GroupNorm(2, name="n")), {"n": ("n", "n")}, ("x", "n", "k")),
    (graph_of(Conv(8, 1, name="a"), Conv(8, 1, name="b", inputs=("x",)), Concat("j", ("a", "b")),
              Relu(name="r"), MaxPool2x2(name="p")),
     {"j": ("j", "p"), "r": ("j", "p"), "p": ("j", "p"), "a": ("a", "p"), "b": ("b", "p")},
     ("x", "p", "k")),
    (graph_of(Conv(8, 1, name="a"), Concat("j", ("a", "x")), Relu(name="r")),
     {"j": ("j", "j"), "r": ("r.map", "r")}, ("j", "r", "k")),
    (graph_of(Conv(8, 1, name="a"), Concat("j", ("x", "a")), Concat("same", ("x", "a")),
              Conv(8, 1, name="b", inputs=("j",)), Conv(8, 1, name="c", inputs=("same",)),
              Add("s", ("b", "c"))),
     {"j": ("j", "j"), "same": ("j", "same")}, ("j", "b", "c", "s", "k")),
    (graph_of(PickChannels((1, 2, 3), "p"), PickChannels((0, 2), "q")),
     {"p": ("x", "p"), "q": ("x", "q")}, ("x", "k"))],
    ids=["group norm", "moved tails", "map of its own", "made once", "picks"])
def test_edges(graph: Graph, wanted: dict[str, tuple[str, str]], legal: tuple[str, ...]) -> None:
    """Layer and end of some operations; where the network can be cut, in the caller's names."""
    names, found = [layer.name for layer in fuse(graph)], edges(graph)
    assert {name: (names[found[name].layer], found[name].end) for name in wanted} == wanted
    assert legal_edges(graph) == legal


@pytest.mark.parametrize("seed", [3, 7, 39, 42, 47, 93, 115])
def test_random_networks_have_edges_of_their_own_operations(seed: int) -> None:
    """All operations but those that only move the input, and no other names."""
    graph = random_net(seed).graph
    found, names = edges(graph), [op.name for op in graph.ops]
    assert set(found) <= set(names)
    assert {edge.end for edge in found.values()} <= set(names)
    missing = [op for op in graph.ops if op.name not in found]
    assert all(op.kind in ("flatten", "pickchannels") for op in missing)
    assert [name for name in names if name in found] == list(found)
