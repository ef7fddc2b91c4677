"""Constants that nodes of an ONNX file compute of other constants, as exporters leave them behind.

They are computed by the reference evaluation of the package ``onnx``: weights that are reshaped or
scaled, and the sizes for which ``x.view(x.size(0), -1)`` becomes five nodes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pynq_train.arrays import Array
from pynq_train.exchange.packages import need
from pynq_train.exchange.windows import Refused

MAX_ELEMENTS = 1 << 27
"""Most values of a computed constant: a small file can ask for any number."""

_OF_INPUTS = frozenset((
    "Abs", "Add", "Cast", "CastLike", "Ceil", "Clip", "Concat", "Div", "Equal", "Exp", "Flatten",
    "Floor", "Gather", "Greater", "Identity", "Less", "Max", "Min", "Mod", "Mul", "Neg", "Not",
    "Pow", "Reciprocal", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Relu",
    "Reshape", "Round", "Shape", "Sign", "Size", "Slice", "Split", "Sqrt", "Squeeze", "Sub",
    "Transpose", "Unsqueeze", "Where"))
"""Kinds whose result is not larger than their inputs broadcast together."""
_GROWING = frozenset(("ConstantOfShape", "Expand", "Range", "Tile"))
"""Kinds whose size is one of their inputs."""


def computed(proto: Any, opsets: Any, inputs: dict[str, Array]) -> dict[str, Array]:
    """Return the outputs of a node whose inputs are constants.

    Args:
        proto: the node.
        opsets: the ``opset_import`` of its file.
        inputs: the constants that it reads, by name.

    Raises:
        Refused: a kind that computes no constants here, too many values, or inputs that the node
            cannot read.
    """
    kind = proto.op_type
    if kind not in _OF_INPUTS | _GROWING:
        raise Refused("computes a constant", "export with constant folding (do_constant_folding)")
    if _elements(kind, [inputs[name] for name in proto.input if name]) > MAX_ELEMENTS:
        raise Refused("computes a constant of too many values",
                      f"use {MAX_ELEMENTS} values at most")
    onnx = need("onnx", "reading ONNX files")
    reference = need("onnx.reference", "reading ONNX files with computed constants")
    helper, float_kind = onnx.helper, onnx.TensorProto.FLOAT
    entries = [[helper.make_tensor_value_info(name, float_kind, None) for name in names if name]
               for names in (list(inputs), proto.output)]
    model = helper.make_model(helper.make_graph([proto], "constant", *entries),
                              opset_imports=list(opsets))
    try:
        with np.errstate(all="ignore"):
            found = reference.ReferenceEvaluator(model).run(None, inputs)
    except Exception as error:  # whatever wrong sizes and types lead to in each kind's own code
        lines = str(error).splitlines() or [type(error).__name__]
        raise Refused(f"cannot be computed ({lines[0]})", "export it again") from None
    return {name: np.asarray(array) for name, array in
            zip((name for name in proto.output if name), found)}


def _elements(kind: str, inputs: list[Array]) -> float:
    """Return the most values that the result has."""
    if kind in ("ConstantOfShape", "Expand", "Tile") and inputs:
        sizes = [abs(float(size)) for size in inputs[-1].ravel()]
        before = max(inputs[0].size, 1) if kind != "ConstantOfShape" else 1
        return math.prod(max(size, 1) for size in sizes) * before
    if kind == "Range" and len(inputs) == 3:
        begin, end, step = (float(one.ravel()[0]) if one.size else 0 for one in inputs)
        return abs(end - begin) / abs(step) if step else math.inf
    if kind in ("Concat", "Gather"):
        if kind == "Gather" and len(inputs) > 1:
            return float(inputs[0].size) * max(inputs[1].size, 1)
        return float(sum(one.size for one in inputs))
    try:
        return float(math.prod(np.broadcast_shapes(*(one.shape for one in inputs))))
    except ValueError:
        return float(max((one.size for one in inputs), default=0))
