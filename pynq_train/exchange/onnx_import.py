"""Networks from ONNX files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pynq_train.arrays import Array
from pynq_train.errors import BadInput, UnsupportedModel
from pynq_train.exchange.draft import Draft, Refused, Value
from pynq_train.exchange.file_kinds import ONNX, refuse_other_kinds
from pynq_train.exchange.onnx_constants import computed
from pynq_train.exchange.onnx_formulas import join_formulas
from pynq_train.exchange.onnx_group_norms import join_group_norms
from pynq_train.exchange.onnx_metadata import with_metadata
from pynq_train.exchange.onnx_nodes import INSTEAD, NODES, Node, computes_with_batch
from pynq_train.exchange.packages import need
from pynq_train.files import path_text
from pynq_train.files.read import check_regular
from pynq_train.graph.model import Model
from pynq_train.graph.shapes import Shape

_OTHERWISE = "replace it by supported operations: " + ", ".join(sorted(NODES))
_READ_SIZES = frozenset(("Reshape", "Shape", "Slice"))
"""Kinds of nodes that may read the number of images."""
_DOMAINS = ("", "ai.onnx")
_MISFITS = (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError)


def from_onnx(path: str | os.PathLike[str], *,
              input_range: Sequence[float] | None = None,
              mean: float | Sequence[float] | None = None,
              std: float | Sequence[float] | None = None, layout: str | None = None,
              calibrate: Any = None) -> Model:
    """Return the network of an ONNX file, with its weights.

    The file has one input ``(n, channels, rows, cols)`` or ``(n, features)`` and one output of
    logits; an input ``(n, rows, cols, channels)`` that is transposed first will do. A Softmax at
    the end is left out, since loss and softmax follow by themselves. What nodes compute of
    constants is a constant. A batch normalisation keeps its running statistics. What the file's
    metadata say of the images counts (docs/images.md). Needs the package ``onnx``, on a PC.

    Args:
        path: the file.
        input_range, mean, std, layout, calibrate: the images that it was made for, and typical
            ones: see :meth:`~pynq_train.graph.model.Model.with_images`.

    Raises:
        BadInput: no such file, or not an ONNX file; or odd numbers of the images.
        UnsupportedModel: names every node that has no counterpart and what could replace it.
        MissingTool: the package ``onnx`` is not installed.

    Warns:
        ModelWarning: two nodes have the same weights, or the metadata say something of the images
            that the network does not hold to.
    """
    name = path_text(path, "model file")
    refuse_other_kinds(name, ONNX)
    check_regular(name, "model file")
    onnx = need("onnx", "reading ONNX files")
    try:
        proto = onnx.load(name)
        known = {entry.domain for entry in proto.opset_import}
        checked = onnx.ModelProto()
        checked.CopyFrom(proto)
        # Nodes of others are refused by name below: a file that has them is not damaged.
        for domain in {node.domain for node in proto.graph.node} - known - set(_DOMAINS):
            checked.opset_import.append(onnx.helper.make_opsetid(domain, 1))
        onnx.checker.check_model(checked)
    except Exception as error:  # protobuf's and the checker's own classes
        lines = str(error).splitlines() or [type(error).__name__]
        raise BadInput(f"model file {name!r} is damaged or not a model", expected="an ONNX file",
                       found=lines[0], fix="export it again") from None
    return from_proto(proto, Path(name).stem).with_images(
        input_range=input_range, mean=mean, std=std, layout=layout, calibrate=calibrate)


def from_proto(proto: Any, name: str) -> Model:
    """Return the network of an ONNX ``ModelProto``; see :func:`from_onnx`."""
    helper = need("onnx.numpy_helper", "reading ONNX files")
    graph = proto.graph
    constants: dict[str, Array] = {}
    for entry in graph.initializer:
        try:
            constants[entry.name] = helper.to_array(entry)
        except _MISFITS as error:
            raise BadInput(f"model file of network {name!r}: tensor {entry.name!r} is damaged",
                           expected=f"values of shape {tuple(entry.dims)}",
                           found=str(error).splitlines()[0][:200], fix="export it again") from None
    if graph.sparse_initializer:
        raise UnsupportedModel(f"network {name!r}", expected="weights as dense tensors",
                               found=f"{len(graph.sparse_initializer)} sparse ones",
                               fix="store them as dense tensors")
    inputs = [entry for entry in graph.input if entry.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise UnsupportedModel(f"network {name!r}", expected="one input and one output",
                               found=f"{len(inputs)} and {len(graph.output)}",
                               fix="export the part that yields the logits by itself")
    shape, axes, images = _input_shape(name, inputs[0])
    draft = Draft(shape, name, flat=axes == 2, line=axes == 3, images=images)
    values: dict[str, Value | None] = {inputs[0].name: draft.input}
    nodes = join_formulas(join_group_norms(graph, constants), constants,
                          {entry.name for entry in graph.output})
    readers = Counter(text for node in nodes for text in node.input)
    opset = max((entry.version for entry in proto.opset_import if entry.domain in _DOMAINS),
                default=1)
    shapes: dict[str, tuple[int, ...]] | None = None
    for at, proto_node in enumerate(nodes):
        node = Node(proto_node, draft, values, constants, helper, readers, opset,
                    graph.output[0].name)
        refusal: Refused | None = None
        try:
            made = _made(node, proto.opset_import, constants)
        except Refused as refused:
            refusal = refused
        except _MISFITS as error:  # of NumPy, to weights and attributes that contradict each other
            text = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            refusal = Refused(f"has values that do not fit ({text})", "export it again")
        if refusal is not None:
            draft.refuse(node.name or f"node {at}", node.kind, refusal)
            if shapes is None:
                shapes = _inferred(proto)
            made = {name: draft.stand_in(shapes.get(name)) for name in proto_node.output}
        for output, one in made.items():
            if isinstance(one, np.ndarray):
                constants[output] = one
            else:
                values[output] = one
    return with_metadata(draft.finish(values.get(graph.output[0].name)), proto)


def _made(node: Node, opsets: Any, constants: dict[str, Array]
          ) -> Mapping[str, Value | Array | None]:
    """Return what a node yields by name: values, constants, or None behind a refused node.

    Raises:
        Refused: it has no counterpart.
    """
    if node.proto.domain in _DOMAINS and node.reads_constants:
        return computed(node.proto, opsets, {text: constants[text] for text in node.proto.input
                                             if text})
    if node.kind not in NODES or node.proto.domain not in _DOMAINS:
        raise Refused("", INSTEAD.get(node.kind, _OTHERWISE))
    if node.reads_unknown:  # follows a refused node: its turn comes when that is mended
        return dict.fromkeys(node.proto.output)
    if node.kind not in _READ_SIZES and any(
            computes_with_batch(constants[text]) for text in node.proto.input
            if text in constants and constants[text].dtype.kind in "iu"):
        raise Refused("computes with the number of images", "let it not depend on the mini-batch")
    try:
        made = NODES[node.kind](node)
    except (ValueError, TypeError, IndexError, KeyError, ArithmeticError, AttributeError) as error:
        # The checker of onnx knows which attributes there are, not how long they must be.
        raise Refused(f"is malformed ({error})", "export it again") from None
    return made if isinstance(made, dict) else {node.output: made}


def _inferred(proto: Any) -> dict[str, tuple[int, ...]]:
    """Return sizes without the mini-batch's by name, of what ONNX's own inference knows."""
    inference = need("onnx.shape_inference", "reading ONNX files")
    try:
        graph = inference.infer_shapes(proto).graph
    except Exception:  # its own classes: then nodes behind refused ones are not checked
        return {}
    found = {}
    for entry in (*graph.value_info, *graph.output):
        dims = entry.type.tensor_type.shape.dim
        if len(dims) > 1 and all(dim.HasField("dim_value") for dim in dims[1:]):
            found[entry.name] = tuple(int(dim.dim_value) for dim in dims[1:])
    return found


def _input_shape(name: str, entry: Any) -> tuple[Shape, int, int | None]:
    """Return channels, rows and columns; how many axes it has; the number of images if fixed."""
    dims = [d.dim_value if d.HasField("dim_value") else 0
            for d in entry.type.tensor_type.shape.dim]
    if len(dims) in (2, 3, 4) and min(dims[1:]) > 0:
        channels, rows, cols = (dims[1], 1, dims[2]) if len(dims) == 3 else (*dims[1:], 1, 1)[:3]
        return (channels, rows, cols), len(dims), dims[0] or None
    raise UnsupportedModel(f"input {entry.name!r} of network {name!r}",
                           expected="shape (n, channels, rows, cols), (n, channels, length) or "
                           "(n, features) with fixed sizes but n", found=tuple(dims),
                           fix="export it with fixed sizes")
