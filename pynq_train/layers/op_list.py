"""The operations of a graph as a list that is rewritten: all of them have their inputs' names."""

from __future__ import annotations

from dataclasses import replace

from pynq_train.graph.graph import Graph
from pynq_train.graph.ops import Activate, MaxPool2x2, Op
from pynq_train.graph.wiring import INPUT

TAILS = (Activate, MaxPool2x2)
"""What may stand behind the first operation of a layer of the array."""


class OpList:
    """The operations of a graph in order, for rewriting: each has the names of its inputs."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.ops: list[Op] = [
            replace(op, inputs=tuple(graph.name_at(place) for place in places))
            for op, places in zip(graph.ops, graph.sources)]
        self.shapes = {INPUT: graph.input_shape,
                       **{op.name: shape for op, shape in zip(graph.ops, graph.shapes)}}

    def __getitem__(self, name: str) -> Op | None:
        """Return the operation of a name, None for the input."""
        return next((op for op in self.ops if op.name == name), None)

    def readers(self, name: str) -> int:
        """Return how often an operation is read."""
        return sum(op.inputs.count(name) for op in self.ops)

    def new_name(self, name: str) -> str:
        """Return ``name``, or with a number behind it if it is taken."""
        found, number = name, 1
        while self[found] is not None:
            number += 1
            found = f"{name}.{number}"
        return found

    def rename(self, old: str, new: str) -> None:
        """Let all readers of ``old`` read ``new``."""
        self.ops = [replace(op, inputs=tuple(new if name == old else name for name in op.inputs))
                    for op in self.ops]

    def put(self, old: Op, *new: Op) -> None:
        """Put operations in the place of another one."""
        at = self.ops.index(old)
        self.ops[at:at + 1] = new

    def head(self, name: str) -> tuple[Op | None, list[Op]]:
        """Return the operation that begins the layer of ``name``, and what stands behind it there.

        What stands behind it comes last operation first.
        """
        tail: list[Op] = []
        op = self[name]
        while isinstance(op, TAILS):
            tail.append(op)
            op = self[op.inputs[0]]
        return op, tail

    def finish(self) -> Graph:
        """Return the operations as a graph."""
        return Graph(self.graph.input_shape, tuple(self.ops), self.graph.name)
