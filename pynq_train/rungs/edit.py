"""Graphs that are being changed: operations with explicit inputs, and their parameters."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from pynq_train.arrays import Array
from pynq_train.errors import BadInput
from pynq_train.graph import Conv, Dense, Graph, LayerParams, Model, Op
from pynq_train.graph.rng import normal_float32, stream_key
from pynq_train.graph.shapes import Shape
from pynq_train.graph.wiring import FROM_INPUT, INPUT

_STREAM = 0xADA
"""Names the random stream of new weights among those of a seed."""


class Edit:
    """A model on its way to another one.

    Args:
        model: the model; it stays as it is.
        seed: of new weights.

    Attributes:
        shapes: shapes of all maps, by name of what makes them; new operations are added.
    """

    def __init__(self, model: Model, seed: int) -> None:
        graph = model.graph
        self._model, self._seed, self._drawn = model, seed, 0
        self._ops = [replace(op, inputs=tuple(graph.name_at(place) for place in places))
                     for op, places in zip(graph.ops, graph.sources)]
        self.shapes: dict[str, Shape] = {INPUT: graph.input_shape, **{
            op.name: shape for op, shape in zip(graph.ops, graph.shapes)}}
        self._params = dict(model.params)

    @property
    def ops(self) -> tuple[Op, ...]:
        """The operations in order, each with the names of its inputs."""
        return tuple(self._ops)

    def __getitem__(self, name: str) -> Op:
        """Return the operation of a name as it is now."""
        return self._ops[self._place(name)]

    def insert(self, behind: str, *ops: Op) -> str:
        """Put operations behind another one; return the name of the last.

        Args:
            behind: name of an operation; ``input`` for the front.
            ops: operations with names and inputs.

        Raises:
            BadInput: a name is taken.
        """
        at = -1 if behind == INPUT else self._place(behind)
        for number, op in enumerate(ops, 1):
            if op.name in self.shapes:
                raise BadInput(f"an adapter's name {op.name!r}", expected="one that is free",
                               found="a layer of the network",
                               fix="rename that layer")
            self.shapes[op.name] = op.out_shape(*(self.shapes[name] for name in op.inputs))
            self._ops.insert(at + number, op)
        return ops[-1].name

    def replace(self, name: str, *ops: Op) -> None:
        """Put operations in the place of another one; its parameters go.

        Its readers stay: one of the new operations has its name.
        """
        at = self._place(name)
        self._ops.pop(at)
        del self.shapes[name]
        self._params.pop(name, None)
        self.insert(self._ops[at - 1].name if at else INPUT, *ops)

    def rename(self, old: str, new: str) -> None:
        """Let all readers of ``old`` read ``new``."""
        self._ops = [replace(op, inputs=tuple(new if name == old else name for name in op.inputs))
                     for op in self._ops]

    def remove(self, name: str) -> None:
        """Drop an operation that nobody reads, with its parameters."""
        self._ops.pop(self._place(name))
        del self.shapes[name]
        self._params.pop(name, None)

    def set_params(self, name: str, weight: Array, bias: Array | None = None) -> None:
        """Give an operation its parameters, as float32."""
        self._params[name] = LayerParams(np.ascontiguousarray(weight, np.float32), None
                                         if bias is None else np.asarray(bias, np.float32))

    def params(self, name: str) -> LayerParams:
        """Return the parameters of an operation."""
        return self._params[name]

    def random(self, op: Conv | Dense, gain: float = 1.0) -> None:
        """Give a new operation random weights of variance ``gain`` / fan-in, and biases of 0."""
        shape = op.weight_shape(self.shapes[op.inputs[0]])
        self._drawn += 1
        values = normal_float32(stream_key(self._seed, _STREAM, self._drawn), math.prod(shape))
        scale = math.sqrt(gain / math.prod(shape[1:]))
        self.set_params(op.name, (values.astype(np.float64) * scale).reshape(shape),
                        np.zeros(shape[0]) if op.bias else None)

    def zeros(self, op: Conv | Dense) -> None:
        """Give a new operation weights and biases of 0."""
        shape = op.weight_shape(self.shapes[op.inputs[0]])
        self.set_params(op.name, np.zeros(shape), np.zeros(shape[0]) if op.bias else None)

    def finish(self) -> Model:
        """Return the changed model; what was frozen in the old one is said by no name here."""
        graph = self._model.graph
        plain = tuple(replace(op, inputs=()) if op.inputs == (
            self._ops[at - 1].name if at else INPUT,) else op for at, op in enumerate(self._ops))
        changed = Graph.build(graph.input_shape, plain, graph.name)
        names = {op.name for op in changed.ops}
        return replace(self._model, graph=changed, frozen=frozenset(), params={
            name: own for name, own in self._params.items() if name in names})

    def _place(self, name: str) -> int:
        return next(at for at, op in enumerate(self._ops) if op.name == name)


def classifiers(graph: Graph) -> tuple[str, ...]:
    """Return the operations that yield the logits: the last one, or what it adds or joins."""
    last = graph.ops[-1]
    if isinstance(last, (Conv, Dense)):
        return (last.name,)
    return tuple(graph.name_at(place) for place in graph.sources[-1] if place != FROM_INPUT)
