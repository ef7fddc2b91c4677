"""A network: an input shape and operations that read each other, with shapes and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from pynq_train.arrays import plain_fields
from pynq_train.errors import BadInput, UnsupportedModel
from pynq_train.files import parse_json
from pynq_train.graph.activation import Relu, Relu6
from pynq_train.graph.op_json import op_from_dict, op_to_dict
from pynq_train.graph.ops import (
    OP_TYPES,
    BatchNorm,
    Conv,
    ConvTranspose,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    GroupNorm,
    MaxPool,
    MaxPool2x2,
    Op,
    Upsample,
)
from pynq_train.graph.shapes import Shape, require_int
from pynq_train.graph.windows import Padding, Side
from pynq_train.graph.wiring import FROM_INPUT, INPUT, check_all_read, check_name, resolve

FORMAT = "pynq_train.graph"
FORMAT_VERSION = 2
READABLE = (1, 2)
"""Versions that can be read: in 1 each operation reads the one before it."""


@dataclass(frozen=True)
class Graph:
    """Operations over images of ``input_shape`` = ``(channels, rows, cols)``.

    Every operation has a unique name and stands behind those that it reads; the last one's
    output is the network's. Make one with :meth:`build` or :class:`Sequential`, which name the
    operations and check the whole; a Graph made directly is checked by :meth:`verify`.
    """

    input_shape: Shape
    ops: tuple[Op, ...]
    name: str = "network"

    def __post_init__(self) -> None:
        """Take NumPy's scalars as numbers."""
        if isinstance(self.ops, (tuple, list)):
            ops = tuple(plain_fields(op) if isinstance(op, Op) else op for op in self.ops)
            object.__setattr__(self, "ops", ops)

    @classmethod
    def build(
        cls, input_shape: Iterable[int], layers: Iterable[Op], name: str = "network"
    ) -> Graph:
        """Return a verified graph.

        Unnamed operations get the names ``conv1``, ``dense1``, ``relu1`` ... in order, and a
        ``Flatten`` is put before a ``Dense`` that reads a feature map.

        Args:
            input_shape: ``(channels, rows, cols)`` of an image.
            layers: the operations, each behind those that it reads.
            name: name of the network.

        Raises:
            UnsupportedModel: something in ``layers`` is no operation.
            BadInput: an operation, a name or a shape does not fit.
        """
        first = _check_shape(input_shape)
        try:
            layers = [plain_fields(op) if isinstance(op, Op) else op for op in layers]
        except TypeError:
            raise BadInput("layers", expected="a list of operations", found=repr(layers)[:80]
                           ) from None
        for index, layer in enumerate(layers):
            if not isinstance(layer, Op):
                raise UnsupportedModel(f"layer {index + 1} of {name!r}",
                                       expected="one of " + ", ".join(
                                           cls.__name__ for cls in OP_TYPES.values()),
                                       found=repr(layer)[:80])
        taken = {layer.name for layer in layers}
        counts: dict[str, int] = {}
        ops: list[Op] = []
        shapes = {FROM_INPUT: first}
        places: dict[str, int] = {}

        def append(op: Op) -> None:
            """Name and check an operation and put it behind the others."""
            named = op if op.name else replace(op, name=_new_name(op.kind, counts, taken))
            named.verify()
            sources = resolve(named, len(ops), places)
            shapes[len(ops)] = named.out_shape(*(shapes[place] for place in sources))
            places[named.name] = len(ops)
            ops.append(named)

        for layer in layers:
            if isinstance(layer, Dense):
                read = resolve(layer, len(ops), places)
                if shapes[read[0]][1:] != (1, 1):
                    append(Flatten(inputs=layer.inputs))
                    layer = replace(layer, inputs=())
            append(layer)
        graph = cls(first, tuple(ops), name)
        graph.verify()
        return graph

    def verify(self) -> None:
        """Check names, operations, inputs and shapes.

        Raises:
            BadInput: the first thing that is wrong, in one sentence.
        """
        _check_shape(self.input_shape)
        if not self.ops:
            raise BadInput(f"network {self.name!r} has no layers",
                           fix="add at least one Dense layer")
        seen: set[str] = set()
        for op in self.ops:
            check_name(op.name)
            if op.name in seen:
                raise BadInput(f"two layers are named {op.name!r}", fix="give each its own name")
            seen.add(op.name)
            op.verify()
        check_all_read(self.ops, self.sources)
        _ = self.shapes

    @cached_property
    def sources(self) -> tuple[tuple[int, ...], ...]:
        """For every operation, the positions in :attr:`ops` that it reads; -1 is the input."""
        places: dict[str, int] = {}
        out: list[tuple[int, ...]] = []
        for at, op in enumerate(self.ops):
            out.append(resolve(op, at, places))
            places[op.name] = at
        return tuple(out)

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """Output shape ``(channels, rows, cols)`` of every operation, in order."""
        out: list[Shape] = []
        for op, sources in zip(self.ops, self.sources):
            out.append(op.out_shape(*(self._shape(out, place) for place in sources)))
        return tuple(out)

    @cached_property
    def in_shapes(self) -> tuple[tuple[Shape, ...], ...]:
        """For every operation, the shapes that it reads."""
        return tuple(tuple(self._shape(self.shapes, place) for place in sources)
                     for sources in self.sources)

    def _shape(self, shapes: Sequence[Shape], place: int) -> Shape:
        """Return the shape at a position, given those of all operations so far."""
        return self.input_shape if place == FROM_INPUT else shapes[place]

    def name_at(self, place: int) -> str:
        """Return the name of the operation at ``place``; ``"input"`` for -1."""
        return INPUT if place == FROM_INPUT else self.ops[place].name

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
        """Return a graph saved by :meth:`to_dict`, verified.

        Raises:
            BadInput: it is no saved graph, of another version, or something in it is wrong.
        """
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            found = data.get("format") if isinstance(data, dict) else type(data).__name__
            raise BadInput("saved graph", expected=f"format {FORMAT!r}", found=repr(found))
        if data.get("version") not in READABLE:
            raise BadInput("saved graph", expected="version " + " or ".join(map(str, READABLE)),
                           found=data.get("version"), fix="save it again with this release")
        missing = sorted({"name", "input_shape", "ops"} - set(data))
        if missing or not isinstance(data["ops"], list):
            raise BadInput("saved graph", expected="name, input_shape and a list of ops",
                           found="no " + ", ".join(missing) if missing else "no list of ops")
        if not isinstance(data["name"], str):
            raise BadInput("saved graph: name", expected="a text",
                           found=type(data["name"]).__name__)
        ops = tuple(op_from_dict(entry) for entry in data["ops"])
        graph = cls(_check_shape(data["input_shape"]), ops, data["name"])
        graph.verify()
        return graph

    def to_json(self) -> str:
        """Return the graph as one line of JSON."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> Graph:
        """Return a graph saved by :meth:`to_json`, verified.

        Raises:
            BadInput: as :meth:`from_dict`, or it is no JSON.
        """
        try:
            data = parse_json(text)
        except ValueError as error:
            raise BadInput(f"saved graph is not valid JSON ({error})") from None
        return cls.from_dict(data)

    def summary(self) -> str:
        """Return one line per operation: name, kind, output shape, inputs if not the one before."""
        lines = [f"{self.name}: input {_text(self.input_shape)}"]
        names, kinds = (max(map(len, column)) for column in zip(*((op.name, op.kind)
                                                                  for op in self.ops)))
        for at, (op, sources, shape) in enumerate(zip(self.ops, self.sources, self.shapes)):
            line = f"  {op.name:<{names}} {op.kind:<{kinds}} -> {_text(shape)}"
            if sources != (at - 1,):
                line += " from " + ", ".join(self.name_at(place) for place in sources)
            lines.append(line)
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
        kernel: Side,
        stride: Side = 1,
        padding: Padding = 0,
        *,
        bias: bool = True,
        name: str = "",
        groups: int = 1,
        dilation: Side = 1,
    ) -> Sequential:
        """Append a convolution (see :class:`~pynq_train.graph.ops.Conv`)."""
        return self.add(Conv(out_channels, kernel, stride, padding, bias, name, groups,
                             dilation=dilation))

    def conv_transpose(self, out_channels: int, kernel: Side, stride: Side = 1,
                       padding: Padding = 0, output_padding: Side = 0, *, bias: bool = True,
                       name: str = "", groups: int = 1) -> Sequential:
        """Append a transposed convolution (see :class:`~pynq_train.graph.ops.ConvTranspose`)."""
        return self.add(ConvTranspose(out_channels, kernel, stride, padding, output_padding, bias,
                                      name, groups))

    def dense(self, units: int, *, bias: bool = True, name: str = "") -> Sequential:
        """Append a fully connected layer."""
        return self.add(Dense(units, bias, name))

    def relu(self) -> Sequential:
        """Append a ReLU."""
        return self.add(Relu())

    def pool(self) -> Sequential:
        """Append 2x2 max pooling."""
        return self.add(MaxPool2x2())

    def norm(self, *, momentum: float = 0.1, eps: float = 1e-5, frozen: bool = False
             ) -> Sequential:
        """Append a batch normalisation (see :class:`~pynq_train.graph.ops.BatchNorm`)."""
        return self.add(BatchNorm(momentum, eps, frozen))

    def group_norm(self, groups: int, *, eps: float = 1e-5, affine: bool = True) -> Sequential:
        """Append a group normalisation (see :class:`~pynq_train.graph.norms.GroupNorm`)."""
        return self.add(GroupNorm(groups, eps, affine))

    def relu6(self) -> Sequential:
        """Append a ReLU that ends at 6."""
        return self.add(Relu6())

    def max_pool(self, kernel: Side, stride: Side, padding: Padding = 0) -> Sequential:
        """Append max pooling over windows that may overlap."""
        return self.add(MaxPool(kernel, stride, padding))

    def global_pool(self) -> Sequential:
        """Append global average pooling."""
        return self.add(GlobalAvgPool())

    def upsample(self, factor: int = 2) -> Sequential:
        """Append a nearest upsampling by a whole factor."""
        return self.add(Upsample(factor))

    def dropout(self, rate: float) -> Sequential:
        """Append dropout."""
        return self.add(Dropout(rate))

    def flatten(self) -> Sequential:
        """Append a flattening (put before the first Dense by itself when left out)."""
        return self.add(Flatten())

    def add(self, op: Op) -> Sequential:
        """Append any operation; one with ``inputs`` joins or begins a branch."""
        self._layers.append(op)
        return self

    def build(self) -> Graph:
        """Return the verified graph.

        Raises:
            UnsupportedModel, BadInput: as :meth:`Graph.build`.
        """
        return Graph.build(self._input_shape, self._layers, self._name)


_STEMS = {MaxPool2x2.kind: "pool", "maxpool": "pool", "avgpool": "pool", "globalavgpool": "pool",
          BatchNorm.kind: "bn", GroupNorm.kind: "gn"}
"""What generated names begin with, where it is not the kind."""


def check_graph(graph: Graph) -> None:
    """Raise :class:`BadInput` for what is given instead of a graph: a name, or a model."""
    if not isinstance(graph, Graph):
        raise BadInput("graph", expected="a Graph", found=repr(graph),
                       fix="use zoo.get(NAME) for a network of the zoo, .graph of a Model")


def _new_name(kind: str, counts: dict[str, int], taken: set[str]) -> str:
    """Return the next free name for an operation of a kind.

    ``counts``: the number so far by stem, which goes up. ``taken``: names that are given already.
    """
    stem = _STEMS.get(kind, kind)
    while True:
        counts[stem] = counts.get(stem, 0) + 1
        label = f"{stem}{counts[stem]}"
        if label not in taken:
            return label


def _check_shape(shape: Any) -> Shape:
    """Return ``shape`` as three positive integers.

    Raises:
        BadInput: it is not that.
    """
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
    """Return a shape as text: ``1x8x8``."""
    return "x".join(str(v) for v in shape)
