"""What each kind of ONNX node becomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from pynq_train.arrays import Array
from pynq_train.exchange.activations import ONNX, ONNX_INSTEAD, Reader
from pynq_train.exchange.draft import Draft, Pads, Refused, Value
from pynq_train.graph.ops import (
    Add,
    BatchNorm,
    Concat,
    Dense,
    Dropout,
    PadChannels,
)
from pynq_train.graph.params import LayerParams
from pynq_train.graph.shapes import Padding


class Node:
    """A node with its attributes, known inputs and constants."""

    def __init__(self, proto: Any, draft: Draft, values: dict[str, Value | None],
                 constants: dict[str, Array], helper: Any, ends: bool) -> None:
        self.kind: str = proto.op_type
        self.name: str = proto.name or (proto.output[0] if proto.output else "")
        self.output: str = proto.output[0]
        self.draft = draft
        self.ends = ends
        self._inputs = list(proto.input)
        self._values, self._constants = values, constants
        self._attributes = {entry.name: entry for entry in proto.attribute}
        self._helper = helper

    @property
    def reads_unknown(self) -> bool:
        """Whether an input comes from a refused node."""
        return any(name and self._values.get(name) is None and name not in self._constants
                   for name in self._inputs)

    @property
    def label(self) -> str:
        """Name for the operation: that of its weights without ``.weight``, else the node's."""
        for name in self._inputs[1:2]:
            if name in self._constants and name.endswith(".weight"):
                return name.removesuffix(".weight")
        return self.name

    def attribute(self, name: str, default: Any) -> Any:
        """Return an attribute as a Python value."""
        entry = self._attributes.get(name)
        if entry is None:
            return default
        # The shortest decimal of a float32 is what its writer meant: 0.1, not 0.10000000149.
        value = {1: lambda: float(str(np.float32(entry.f))),
                 2: lambda: entry.i, 3: lambda: entry.s.decode(),
                 4: lambda: self._helper.to_array(entry.t), 6: lambda: list(entry.floats),
                 7: lambda: list(entry.ints)}.get(entry.type)
        return value() if value else default

    def value(self, index: int = 0) -> Value:
        """Return a computed input."""
        value = self._values.get(self._inputs[index])
        if value is None:
            raise Refused("reads a constant", "compute it outside the network")
        return value

    def constant(self, index: int) -> Array | None:
        """Return a constant input, None if it is left out."""
        if index >= len(self._inputs) or not self._inputs[index]:
            return None
        name = self._inputs[index]
        if name not in self._constants:
            raise Refused(f"has a computed input {name!r}", "make it a constant of the model")
        return self._constants[name]

    def number(self, name: str, place: int, default: Any = None) -> Any:
        """Return the constant input ``place`` if there are so many inputs, else an attribute."""
        return self.attribute(name, default) if len(self) <= place else self.constant(place)

    def is_constant(self, index: int) -> bool:
        """Whether an input is a constant."""
        return self._inputs[index] in self._constants

    def __len__(self) -> int:
        """Return the number of inputs."""
        return len(self._inputs)


def _padding(node: Node) -> Padding | Pads:
    auto = node.attribute("auto_pad", "NOTSET")
    if auto == "SAME_UPPER":
        return "same"
    if auto not in ("NOTSET", "VALID"):
        raise Refused(f"has auto_pad {auto}", "use SAME_UPPER or explicit pads")
    pads = node.attribute("pads", [0, 0, 0, 0])
    if len(pads) != 4:
        raise Refused("is not two-dimensional", "use images of rows and columns")
    return (pads[0], pads[1], pads[2], pads[3])


def _conv(node: Node) -> Value:
    weight = _present(node, 1)
    if weight.ndim != 4:
        raise Refused("is not two-dimensional", "use images of rows and columns")
    return node.draft.conv(
        node.value(), weight, node.constant(2), kernel=list(weight.shape[2:]),
        stride=node.attribute("strides", [1, 1]), padding=_padding(node),
        dilation=node.attribute("dilations", [1, 1]), groups=node.attribute("group", 1),
        label=node.label)


def _gemm(node: Node) -> Value:
    if (node.attribute("alpha", 1.0), node.attribute("beta", 1.0),
            node.attribute("transA", 0)) != (1.0, 1.0, 0):
        raise Refused("has alpha, beta or transA", "scale the weights themselves")
    weight = _present(node, 1)
    return _dense(node, weight if node.attribute("transB", 0) else weight.T, node.constant(2))


def _matmul(node: Node) -> Value:
    return _dense(node, _present(node, 1).T, None)


def _dense(node: Node, weight: Array, bias: Array | None) -> Value:
    source = node.value()
    if not source.flat:
        raise Refused("multiplies a map that is not flattened", "put Flatten before it")
    if bias is not None:
        bias = np.broadcast_to(bias.reshape(-1), (len(weight),))
    params = LayerParams(np.ascontiguousarray(weight, np.float32),
                         None if bias is None else np.array(bias, np.float32))
    return node.draft.add(Dense(len(weight), bias is not None), source, label=node.label,
                          params=params)


def _norm(node: Node) -> Value:
    gamma, beta, mean, variance = (_present(node, i).astype(np.float32) for i in (1, 2, 3, 4))
    # ONNX keeps the part momentum of the old statistics, PyTorch and this package take it anew.
    op = BatchNorm(round(1 - node.attribute("momentum", 0.9), 9),
                   node.attribute("epsilon", 1e-5))
    return node.draft.add(op, node.value(), label=node.label,
                          params=LayerParams(gamma, beta, mean, variance))


def _activation(read: Reader) -> Callable[[Node], Value]:
    return lambda node: node.draft.add(read(node.number), node.value(), label=node.name)


def _pool(node: Node) -> Value:
    if node.attribute("ceil_mode", 0) and _ceil_matters(node):
        raise Refused("rounds sizes up (ceil_mode)", "use ceil_mode=0")
    dilations = node.attribute("dilations", [1, 1])
    if any(d != 1 for d in dilations):
        raise Refused(f"has dilations {dilations}", "use windows without dilation")
    return node.draft.pool(
        node.value(), largest=node.kind == "MaxPool", kernel=node.attribute("kernel_shape", [1]),
        stride=node.attribute("strides", [1, 1]), padding=_padding(node), label=node.name,
        counts_padding=bool(node.attribute("count_include_pad", 0)))


def _ceil_matters(node: Node) -> bool:
    kernel, strides = node.attribute("kernel_shape", [1]), node.attribute("strides", [1, 1])
    pads = node.attribute("pads", [0, 0, 0, 0])
    sizes = node.value().shape[1:]
    return any((sizes[i] + pads[i] + pads[i + 2] - kernel[i]) % strides[i] for i in (0, 1))


def _mean(node: Node) -> Value:
    axes = node.attribute("axes", None)
    if axes is None:
        constant = node.constant(1)
        axes = [] if constant is None else constant.tolist()
    if sorted(a % 4 for a in axes) != [2, 3]:
        raise Refused(f"reduces axes {axes}", "reduce rows and columns, axes (2, 3)")
    return node.draft.flatten(node.draft.global_mean(node.value(), node.name), node.name) if (
        not node.attribute("keepdims", 1)) else node.draft.global_mean(node.value(), node.name)


def _flatten(node: Node) -> Value:
    if node.attribute("axis", 1) != 1:
        raise Refused(f"flattens from axis {node.attribute('axis', 1)}", "flatten from axis 1")
    return node.draft.flatten(node.value(), node.name)


def _reshape(node: Node) -> Value:
    source = node.value()
    wanted = _present(node, 1).tolist()
    whole = int(np.prod(source.shape))
    if len(wanted) == 2 and (wanted[1] in (-1, whole) or wanted == [-1, whole]):
        return node.draft.flatten(source, node.name)
    if len(wanted) == 4 and wanted[1:] == [whole, 1, 1]:
        return node.draft.flatten(source, node.name)
    raise Refused(f"reshapes to {tuple(wanted)}", "only flatten, to (n, -1)")


def _squeeze(node: Node) -> Value:
    if node.value().shape[1:] != (1, 1):
        raise Refused("drops an axis of a map", "only drop rows and columns of size 1")
    return node.draft.flatten(node.value(), node.name)


def _unsqueeze(node: Node) -> Value:
    axes = node.attribute("axes", None)
    if axes is None:
        axes = _present(node, 1).tolist()
    if not node.value().flat or sorted(axes) not in ([2, 3], [-2, -1]):
        raise Refused(f"adds axes {axes}", "only turn a vector into a map of one pixel, (2, 3)")
    return replace(node.value(), flat=False)


def _add(node: Node) -> Value:
    for index in (0, 1):
        if node.is_constant(index):
            return node.draft.add_bias(node.value(1 - index), _present(node, index))
    return node.draft.add(Add(), node.value(0), node.value(1), label=node.name)


def _concat(node: Node) -> Value:
    sources = [node.value(i) for i in range(len(node))]
    axis = node.attribute("axis", 0)
    if axis != 1 and not (axis == -1 and all(s.flat for s in sources)):
        raise Refused(f"joins along axis {axis}", "join channels, axis 1")
    if len(sources) == 1:
        return sources[0]
    return node.draft.add(Concat(), *sources, label=node.name)


def _dropout(node: Node) -> Value:
    ratio = node.constant(1)
    rate = float(ratio) if ratio is not None else float(node.attribute("ratio", 0.5))
    return node.draft.add(Dropout(float(str(np.float32(rate)))), node.value(), label=node.name)


def _pad(node: Node) -> Value:
    source = node.value()
    pads = node.attribute("pads", None)
    if pads is None:
        pads = _present(node, 1).tolist()
    fill = node.constant(2) if len(node) > 2 else None
    if node.attribute("mode", "constant") != "constant" or (fill is not None and float(fill) != 0):
        raise Refused("pads with something else than zeros", "pad with zeros")
    axes = len(pads) // 2
    if axes not in (2, 4) or pads[0] or pads[axes] or min(pads) < 0:
        raise Refused(f"pads {pads}", "pad channels, rows and columns only")
    if pads[1] or pads[axes + 1]:
        if any(pads[2:axes]) or any(pads[axes + 2:]):
            raise Refused(f"pads {pads}", "pad channels by themselves")
        return node.draft.add(PadChannels(pads[1], pads[axes + 1]), source, label=node.name)
    if axes == 2:
        return source
    old = source.pads
    return Value(source.name, source.shape, (old[0] + pads[2], old[1] + pads[3], old[2] + pads[6],
                                             old[3] + pads[7]), source.flat)


def _softmax(node: Node) -> Value:
    if not node.ends:
        raise Refused("is not the last node", "remove it: softmax and loss follow by themselves")
    return node.value()


def _constant(node: Node) -> Array:
    for name in ("value", "value_float", "value_int", "value_floats", "value_ints"):
        value = node.attribute(name, None)
        if value is not None:
            return np.asarray(value)
    raise Refused("holds no numbers", "store the constant as a tensor")


def _identity(node: Node) -> Value | Array:
    return _present(node, 0) if node.is_constant(0) else node.value()


def _transpose(node: Node) -> Array:
    if not node.is_constant(0):
        raise Refused("", "export with channels first (NCHW), or use from_keras")
    return _present(node, 0).transpose(node.attribute("perm", None))


def _present(node: Node, index: int) -> Array:
    array = node.constant(index)
    if array is None:
        raise Refused("lacks its weights", "export the model with its weights")
    return array


NODES: dict[str, Callable[[Node], Value | Array]] = {
    **{kind: _activation(read) for kind, read in ONNX.items()},
    "Add": _add, "AveragePool": _pool, "BatchNormalization": _norm, "Concat": _concat,
    "Constant": _constant, "Conv": _conv, "Dropout": _dropout, "Flatten": _flatten, "Gemm": _gemm,
    "GlobalAveragePool": lambda node: node.draft.global_mean(node.value(), node.name),
    "Identity": _identity, "LogSoftmax": _softmax, "MatMul": _matmul,
    "MaxPool": _pool, "Pad": _pad, "ReduceMean": _mean,
    "Reshape": _reshape, "Softmax": _softmax, "Squeeze": _squeeze,
    "Transpose": _transpose, "Unsqueeze": _unsqueeze,
}
"""Kinds of nodes that have a counterpart."""

INSTEAD = {
    **ONNX_INSTEAD,
    "Mul": "leave gates and scales out, or fold the scale into the weights",
    "GlobalMaxPool": "use GlobalAveragePool",
    "ConvTranspose": "use a convolution",
    "InstanceNormalization": "use BatchNormalization", "GroupNormalization":
    "use BatchNormalization", "LayerNormalization": "use BatchNormalization",
    "LRN": "use BatchNormalization",
    "QuantizeLinear": "export the float model", "DequantizeLinear": "export the float model",
    "QLinearConv": "export the float model",
    "Shape": "flatten with flatten(x, 1), or export with a fixed batch",
    "LSTM": "use convolutions over time", "GRU": "use convolutions over time",
}
"""What could replace kinds of nodes that have no counterpart."""
