"""A network: an input shape and a chain of operations, with shape inference and JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from pynq_train.errors import BadInput, UnsupportedModel
from pynq_train.graph.ops import (
    Conv,
    Dense,
    Flatten,
    MaxPool2x2,
    Op,
    Relu,
    Shape,
    op_from_dict,
    op_to_dict,
    require_int,
)

FORMAT = "pynq_train.graph"
FORMAT_VERSION = 1
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Graph:
    """A chain of operations over images of ``input_shape`` = ``(channels, rows, cols)``.

    Every operation has a unique name. Make one with :meth:`build` or :class:`Sequential`, which
    name the operations and check the whole; a Graph made directly is checked by :meth:`verify`.
    """

    input_shape: Shape
    ops: tuple[Op, ...]
    name: str = "network"

    @classmethod
    def build(
        cls, input_shape: Iterable[int], layers: Iterable[Op], name: str = "network"
    ) -> Graph:
        """Return a verified graph.

        Unnamed operations get the names ``conv1``, ``dense1``, ``relu1`` ... in order, and a
        ``Flatten`` is put before a ``Dense`` that reads a feature map.
        """
        first = shape = _check_shape(input_shape)
        layers = list(layers)
        for index, layer in enumerate(layers):
            if not isinstance(layer, Op):
                raise UnsupportedModel(f"layer {index + 1} of {name!r}",
                                       expected="Conv, Dense, Relu, MaxPool2x2 or Flatten",
                                       found=repr(layer))
        taken = {layer.name for layer in layers}
        counts: dict[str, int] = {}
        ops: list[Op] = []
        for layer in layers:
            needs_flatten = isinstance(layer, Dense) and shape[1:] != (1, 1)
            for op in (Flatten(), layer) if needs_flatten else (layer,):
                named = op if op.name else replace(op, name=_new_name(op.kind, counts, taken))
                named.verify()
                shape = named.out_shape(shape)
                ops.append(named)
        graph = cls(first, tuple(ops), name)
        graph.verify()
        return graph

    def verify(self) -> None:
        """Raise :class:`BadInput` with one clear sentence if anything is wrong."""
        _check_shape(self.input_shape)
        if not self.ops:
            raise BadInput(f"network {self.name!r} has no layers",
                           fix="add at least one Dense layer")
        seen: set[str] = set()
        for op in self.ops:
            if not _NAME.fullmatch(op.name):
                raise BadInput("name of a layer", expected="letters, digits, '_', '.', '-'",
                               found=repr(op.name))
            if op.name in seen:
                raise BadInput(f"two layers are named {op.name!r}", fix="give each its own name")
            seen.add(op.name)
            op.verify()
        _ = self.shapes

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """Output shape of every operation, in order."""
        out: list[Shape] = []
        shape = self.input_shape
        for op in self.ops:
            shape = op.out_shape(shape)
            out.append(shape)
        return tuple(out)

    @property
    def output_shape(self) -> Shape:
        """Shape of the last operation's output."""
        return self.shapes[-1]

    @property
    def classes(self) -> int:
        """Number of logits."""
        channels, rows, cols = self.output_shape
        return channels * rows * cols

    def to_dict(self) -> dict[str, Any]:
        """Return the graph as plain values for JSON."""
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "name": self.name,
            "input_shape": list(self.input_shape),
            "ops": [op_to_dict(op) for op in self.ops],
        }

    @classmethod
    def from_dict(cls, data: Any) -> Graph:
        """Rebuild and verify a graph saved by :meth:`to_dict`."""
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            found = data.get("format") if isinstance(data, dict) else type(data).__name__
            raise BadInput("saved graph", expected=f"format {FORMAT!r}", found=repr(found))
        if data.get("version") != FORMAT_VERSION:
            raise BadInput("saved graph", expected=f"version {FORMAT_VERSION}",
                           found=data.get("version"), fix="save it again with this release")
        missing = sorted({"name", "input_shape", "ops"} - set(data))
        if missing or not isinstance(data["ops"], list):
            raise BadInput("saved graph", expected="name, input_shape and a list of ops",
                           found="no " + ", ".join(missing) if missing else "no list of ops")
        ops = tuple(op_from_dict(entry) for entry in data["ops"])
        graph = cls(_check_shape(data["input_shape"]), ops, str(data["name"]))
        graph.verify()
        return graph

    def to_json(self) -> str:
        """Return the graph as one line of JSON."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> Graph:
        """Rebuild a graph from :meth:`to_json`."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise BadInput(f"saved graph is not valid JSON ({error})") from None
        return cls.from_dict(data)

    def summary(self) -> str:
        """Return one line per operation: name, kind, output shape."""
        lines = [f"{self.name}: input {_text(self.input_shape)}"]
        lines += [f"  {op.name:<12} {op.kind:<10} -> {_text(shape)}"
                  for op, shape in zip(self.ops, self.shapes)]
        return "\n".join(lines)


class Sequential:
    """Fluent builder: ``Sequential((1, 8, 8)).conv(16, 3, padding=1).relu().pool().dense(10)``.

    Every method returns the builder; :meth:`build` returns the verified :class:`Graph`.
    """

    def __init__(self, input_shape: Iterable[int], name: str = "network") -> None:
        self._input_shape = input_shape
        self._name = name
        self._layers: list[Op] = []

    def conv(
        self,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        padding: int | Literal["same"] = 0,
        bias: bool = True,
        name: str = "",
    ) -> Sequential:
        """Append a convolution (see :class:`~pynq_train.graph.ops.Conv`)."""
        return self.add(Conv(out_channels, kernel, stride, padding, bias, name))

    def dense(self, units: int, bias: bool = True, name: str = "") -> Sequential:
        """Append a fully connected layer."""
        return self.add(Dense(units, bias, name))

    def relu(self) -> Sequential:
        """Append a ReLU."""
        return self.add(Relu())

    def pool(self) -> Sequential:
        """Append 2x2 max pooling."""
        return self.add(MaxPool2x2())

    def flatten(self) -> Sequential:
        """Append a flattening (put before the first Dense by itself when left out)."""
        return self.add(Flatten())

    def add(self, op: Op) -> Sequential:
        """Append any operation."""
        self._layers.append(op)
        return self

    def build(self) -> Graph:
        """Return the verified graph."""
        return Graph.build(self._input_shape, self._layers, self._name)


def _new_name(kind: str, counts: dict[str, int], taken: set[str]) -> str:
    stem = "pool" if kind == MaxPool2x2.kind else kind
    while True:
        counts[kind] = counts.get(kind, 0) + 1
        label = f"{stem}{counts[kind]}"
        if label not in taken:
            return label


def _check_shape(shape: Any) -> Shape:
    try:
        values = tuple(shape)
    except TypeError:
        values = ()
    if len(values) != 3:
        raise BadInput("input_shape", expected="(channels, rows, cols)", found=repr(shape))
    labels = ("channels", "rows", "cols")
    checked = [require_int(f"input_shape {label}", v, 1) for label, v in zip(labels, values)]
    return (checked[0], checked[1], checked[2])


def _text(shape: Shape) -> str:
    return "x".join(str(v) for v in shape)
