"""Batch normalisations that keep their running statistics in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import overload

from pynq_train.errors import BadInput
from pynq_train.graph.graph import Graph
from pynq_train.graph.model import Model
from pynq_train.graph.ops import BatchNorm


@overload
def freeze_norms(network: Graph, names: str | Sequence[str] = "*") -> Graph: ...


@overload
def freeze_norms(network: Model, names: str | Sequence[str] = "*") -> Model: ...


def freeze_norms(network: Graph | Model, names: str | Sequence[str] = "*") -> Graph | Model:
    """Return a network whose batch normalisations use and keep their running statistics.

    They do so in training too, whatever the mini-batch is, as those of PyTorch do in evaluation
    mode. Gamma and beta still learn, where ``trainable`` says so. For networks that are trained
    already; in a new one the running statistics say nothing.

    Args:
        network: a graph, or a model, whose weights stay.
        names: a name or pattern (``fnmatch``), or several: which of them (default: all).

    Raises:
        BadInput: it is no network, or there is no normalisation of such a name.
    """
    if not isinstance(network, (Graph, Model)):
        raise BadInput("network", expected="a Graph or a Model", found=type(network).__name__,
                       fix="use zoo.get(NAME) for a network of the zoo")
    graph = network if isinstance(network, Graph) else network.graph
    norms = [op.name for op in graph.ops if isinstance(op, BatchNorm)]
    patterns = (names,) if isinstance(names, str) else tuple(names)
    chosen: set[str] = set()
    for pattern in patterns:
        found = {name for name in norms if fnmatchcase(name, pattern)}
        if not found:
            raise BadInput(f"normalisations called {pattern!r}", expected=f"some of "
                           f"{', '.join(norms)}" if norms else "a network with BatchNorm",
                           found="none")
        chosen |= found
    ops = tuple(replace(op, frozen=True) if isinstance(op, BatchNorm) and op.name in chosen else op
                for op in graph.ops)
    changed = Graph(graph.input_shape, ops, graph.name)
    if isinstance(network, Graph):
        return changed
    return replace(network, graph=changed)
