"""What activations are called elsewhere: a table of readers for each format, and the ONNX writer.

The importers hand on all that a foreign node says; which of its numbers (bounds, slopes) matter is
the reader's business. So a new activation, with numbers or without, is entries here alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from pynq_train.exchange import curves
from pynq_train.exchange.windows import Refused
from pynq_train.graph.activation import Relu, Relu6
from pynq_train.graph.ops import ACTIVATIONS, Activate, Curve
from pynq_train.graph.params import FloatArray


class Numbers(Protocol):
    """The numbers of a foreign node, layer or call."""

    def __call__(self, name: str, place: int, default: Any = None) -> Any:
        """Return what is called ``name``, or is input or argument ``place``; else the default."""


class OnnxWriter(Protocol):
    """Collects the nodes of an ONNX file."""

    def constant(self, name: str, array: FloatArray) -> str:
        """Add a constant; return its name."""

    def raw(self, kind: str, inputs: list[str], name: str, output: str = "",
            **attributes: Any) -> None:
        """Append a node."""


Reader = Callable[[Numbers], Activate | Curve]
"""Makes the operation of a foreign activation, or raises Refused."""


def between(low: float | None, top: float | None) -> Activate | None:
    """Return the operation that keeps values within bounds (None or infinite: no bound).

    None if there is no such operation.
    """
    bounds = tuple(None if bound is None or abs(bound) == float("inf") else bound
                   for bound in (low, top))
    return next((op() for op in ACTIVATIONS
                 if (op.activation.low, op.activation.top) == bounds), None)


def write_onnx(writer: OnnxWriter, op: Activate | Curve, inputs: list[str]) -> None:
    """Append the node of an activation to an ONNX file, or its nodes."""
    if isinstance(op, Curve):
        curves.write_onnx(writer, op, inputs)
        return
    for name, kind in _ONNX.items():
        if isinstance(op, kind):
            writer.raw(name, inputs, op.name)
            return
    bounds = {"low": op.activation.low, "high": op.activation.top}
    writer.raw("Clip", inputs + [
        "" if value is None else writer.constant(f"{op.name}.{label}", np.array(value, np.float32))
        for label, value in bounds.items()], op.name)


def _readers(names: Mapping[str, type[Activate]]) -> dict[str, Reader]:
    """Return readers of activations without numbers, by name."""
    def reader(kind: type[Activate]) -> Reader:
        return lambda number: kind()

    return {name: reader(kind) for name, kind in names.items()}


def _tops() -> str:
    """The upper bounds that there are, for texts: ``6``, or ``6 or 1`` if there are two."""
    return " or ".join(f"{op.activation.top:g}" for op in ACTIVATIONS
                       if op.activation.top is not None)


def _use(names: Mapping[str, type[Activate]]) -> str:
    """Return the remedy that names all activations of a format."""
    return "use " + " or ".join(names)


def _onnx_clip(number: Numbers) -> Activate:
    low, high = number("min", 1), number("max", 2)
    op = between(*(None if bound is None else float(bound) for bound in (low, high)))
    if op is None:
        raise Refused(f"clips to {low} .. {high}", f"clip to 0 .. {_tops()}")
    return op


def _hardtanh(number: Numbers) -> Activate:
    low, top = number("min_val", 1, -1.0), number("max_val", 2, 1.0)
    op = between(low, top)
    if op is None:
        raise Refused(f"clips to {low} .. {top}", _use(_TORCH))
    return op


def _keras_relu(number: Numbers) -> Activate | Curve:
    if float(number("threshold", 2) or 0):
        raise Refused("has a threshold", "use a plain ReLU")
    if float(number("negative_slope", 1) or 0):
        if number("max_value", 0) is not None:
            raise Refused("has a slope and an end", "use a ReLU with one of them")
        return curves.leaky("negative_slope", default=0)(number)
    top = number("max_value", 0)
    op = between(0, None if top is None else float(top))
    if op is None:
        raise Refused(f"ends at {float(top)}", f"use max_value={_tops()} or none")
    return op


_ONNX = {"Relu": Relu}
ONNX: dict[str, Reader] = {**_readers(_ONNX), "Clip": _onnx_clip, **curves.ONNX}
"""Kinds of nodes."""
ONNX_INSTEAD = {"Selu": "use Elu", "Mish": "use x * Sigmoid(x)"}
"""What could replace kinds of nodes that have no counterpart."""

_TORCH = {"ReLU": Relu, "ReLU6": Relu6}
TORCH_MODULES: dict[str, Reader] = {**_readers(_TORCH), "Hardtanh": _hardtanh,
                                    **curves.TORCH_MODULES}
"""Modules of ``torch.nn``."""
TORCH_FUNCTIONS: dict[str, Reader] = {**_readers({"relu": Relu, "relu_": Relu, "relu6": Relu6}),
                                      "hardtanh": _hardtanh, **curves.TORCH_FUNCTIONS}
"""Functions of ``torch`` and ``torch.nn.functional``."""
TORCH_METHODS: dict[str, Reader] = {**_readers({"relu": Relu, "relu_": Relu}),
                                    **curves.TORCH_METHODS}
"""Methods of tensors."""
TORCH_INSTEAD = {"selu": "use ELU", "mish": "use SiLU"}
"""What could replace the rest, by name in lower case."""

_KERAS = {"relu": Relu, "relu6": Relu6}
KERAS_FUNCTIONS: dict[str, Reader] = {**_readers(_KERAS), **curves.KERAS_FUNCTIONS}
"""Functions that a layer may have as ``activation``."""
KERAS_REMEDY = _use(_KERAS)
"""What could replace other functions."""
KERAS_LAYERS: dict[str, Reader] = {"ReLU": _keras_relu, **curves.KERAS_LAYERS}
"""Layers of their own."""
