"""Networks from ONNX files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pynq_train.errors import BadInput, UnsupportedModel
from pynq_train.exchange.draft import Draft, Refused, Value
from pynq_train.exchange.onnx_nodes import INSTEAD, NODES, Node
from pynq_train.exchange.packages import need
from pynq_train.graph.model import Model
from pynq_train.graph.shapes import Shape

_OTHERWISE = "replace it by supported operations: " + ", ".join(sorted(NODES))

_MISFITS = (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError)


def from_onnx(path: str | os.PathLike[str]) -> Model:
    """Return the network of an ONNX file, with its weights.

    The file has one input ``(n, channels, rows, cols)`` or ``(n, features)`` and one output of
    logits; a Softmax at the end is left out, since loss and softmax follow by themselves. A
    batch normalisation keeps its running statistics. Needs the package ``onnx``, on a PC.

    Raises:
        BadInput: no such file, or not an ONNX file.
        UnsupportedModel: names every node that has no counterpart and what could replace it.
        MissingTool: the package ``onnx`` is not installed.
    """
    onnx = need("onnx", "reading ONNX files")
    name = os.fspath(path)
    if Path(name).is_dir():
        raise BadInput(f"model file {name!r} cannot be read (Is a directory)",
                       fix="check the path")
    if not Path(name).is_file():
        raise BadInput(f"model file {name!r} does not exist", fix="check the path")
    try:
        proto = onnx.load(name)
        onnx.checker.check_model(proto)
    except Exception as error:  # protobuf's and the checker's own classes
        lines = str(error).splitlines() or [type(error).__name__]
        raise BadInput(f"model file {name!r} is damaged or not a model", expected="an ONNX file",
                       found=lines[0], fix="export it again") from None
    return from_proto(proto, Path(name).stem)


def from_proto(proto: Any, name: str) -> Model:
    """Return the network of an ONNX ``ModelProto``; see :func:`from_onnx`."""
    numpy_helper = need("onnx.numpy_helper", "reading ONNX files")
    graph = proto.graph
    constants = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    inputs = [entry for entry in graph.input if entry.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise UnsupportedModel(f"network {name!r}", expected="one input and one output",
                               found=f"{len(inputs)} and {len(graph.output)}")
    draft = Draft(_input_shape(name, inputs[0]), name)
    values: dict[str, Value | None] = {inputs[0].name: draft.input}
    last = {text: at for at, node in enumerate(graph.node) for text in node.input}
    for at, proto_node in enumerate(graph.node):
        node = Node(proto_node, draft, values, constants, numpy_helper,
                    ends=all(text not in last for text in proto_node.output))
        try:
            if node.kind not in NODES or proto_node.domain not in ("", "ai.onnx"):
                raise Refused("", INSTEAD.get(node.kind, _OTHERWISE))
            if node.reads_unknown:  # follows a refused node: its turn comes when that is mended
                values[node.output] = None
                continue
            made = NODES[node.kind](node)
        except Refused as refused:
            draft.refuse(node.name or f"node {at}", node.kind, refused)
            made = None
        except _MISFITS as error:  # of NumPy, to weights and attributes that contradict each other
            text = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            draft.refuse(node.name or f"node {at}", node.kind, Refused(
                f"has values that do not fit ({text})", "export it again"))
            made = None
        if isinstance(made, Value) or made is None:
            values[node.output] = made
        else:
            constants[node.output] = made
    return draft.finish(values.get(graph.output[0].name))


def _input_shape(name: str, entry: Any) -> Shape:
    dims = [d.dim_value if d.HasField("dim_value") else 0
            for d in entry.type.tensor_type.shape.dim]
    if len(dims) == 2 and dims[1] > 0:
        return (dims[1], 1, 1)
    if len(dims) == 4 and min(dims[1:]) > 0:
        return (dims[1], dims[2], dims[3])
    raise UnsupportedModel(f"input {entry.name!r} of network {name!r}",
                           expected="shape (n, channels, rows, cols) or (n, features) with fixed "
                           "sizes but n", found=tuple(dims), fix="export it with fixed sizes")
