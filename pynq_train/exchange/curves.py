"""What activations by tables are called elsewhere: readers for each format, and the ONNX writer.

Gates that a format writes as a product, x * sigmoid(x), are put together in :func:`multiply`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pynq_train.exchange.draft import Draft, Value
from pynq_train.exchange.windows import Refused
from pynq_train.graph.curves import (
    SLOPE_LIMIT,
    Curve,
    Elu,
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Sigmoid,
    Silu,
    Tanh,
)
from pynq_train.graph.ops import Multiply

_KERAS3 = "keras.src.activations.activations"
"""Module of the functions of Keras 3; those of Keras 2 stand elsewhere."""
_SIXTH = 1 / 6
_ROUNDED = 1e-6
"""How far float32 puts a sixth from itself, and some more."""
Numbers = Callable[..., Any]
CurveReader = Callable[[Numbers], Curve]


def _slope(value: Any, what: str) -> float:
    """Return a slope as a number.

    Raises:
        Refused: no table holds it.
    """
    number = float(np.asarray(value))
    if not abs(number) < SLOPE_LIMIT:
        raise Refused(f"has {what} {number:g}", f"use one between -{SLOPE_LIMIT} and {SLOPE_LIMIT}")
    return number


def with_sixth(number: float) -> float:
    """Return a number, or the sixth that was meant: files hold one as float32."""
    return _SIXTH if abs(number - _SIXTH) < _ROUNDED else number


def leaky(*names: str, default: float) -> CurveReader:
    """Return the reader of a LeakyReLU whose slope has one of some names."""
    def read(number: Numbers) -> Curve:
        found = next((one for one in (number(name, 1) for name in names) if one is not None),
                     default)
        return LeakyRelu(_slope(found, "a slope of"))

    return read


def _elu(number: Numbers) -> Curve:
    return Elu(_slope(number("alpha", 1, 1.0), "an alpha of"))


def _gelu(number: Numbers) -> Curve:
    way = number("approximate", 1, "none")
    if way not in ("none", "tanh", False, True):
        raise Refused(f"approximates by {way!r}", "use 'none' or 'tanh'")
    return Gelu(way in ("tanh", True))


def _onnx_hard_sigmoid(number: Numbers) -> Curve:
    alpha = _slope(number("alpha", 1, 0.2), "an alpha of")
    return HardSigmoid(with_sixth(alpha), float(number("beta", 2, 0.5)))


def _keras_hard_sigmoid(number: Numbers) -> Curve:
    return HardSigmoid() if number("__module__", 0, "") == _KERAS3 else HardSigmoid(0.2, 0.5)


def _swish(number: Numbers) -> Curve:
    if float(number("alpha", 1, 1.0)) != 1:
        raise Refused(f"has an alpha of {number('alpha', 1, 1.0)}", "use 1")
    return Silu()


def _plain(own: type[Curve]) -> CurveReader:
    return lambda number: own()


ONNX: dict[str, CurveReader] = {
    "LeakyRelu": leaky("alpha", default=0.01), "Elu": _elu, "Sigmoid": _plain(Sigmoid),
    "Tanh": _plain(Tanh), "HardSigmoid": _onnx_hard_sigmoid, "HardSwish": _plain(HardSwish),
    "Gelu": _gelu, "Swish": _swish}
"""Kinds of nodes."""

TORCH_MODULES: dict[str, CurveReader] = {
    "LeakyReLU": leaky("negative_slope", default=0.01), "ELU": _elu, "Sigmoid": _plain(Sigmoid),
    "Tanh": _plain(Tanh), "SiLU": _plain(Silu), "Hardswish": _plain(HardSwish),
    "Hardsigmoid": _plain(HardSigmoid), "GELU": _gelu}
"""Modules of ``torch.nn``."""
_TORCH = {"leaky_relu": TORCH_MODULES["LeakyReLU"], "elu": _elu, "sigmoid": _plain(Sigmoid),
          "tanh": _plain(Tanh), "silu": _plain(Silu), "hardswish": _plain(HardSwish),
          "hardsigmoid": _plain(HardSigmoid), "gelu": _gelu}
TORCH_FUNCTIONS: dict[str, CurveReader] = {
    **_TORCH, **{f"{name}_": _TORCH[name] for name in ("leaky_relu", "elu", "sigmoid", "tanh")}}
"""Functions of ``torch`` and ``torch.nn.functional``."""
TORCH_METHODS: dict[str, CurveReader] = {
    name: _TORCH[name.rstrip("_")] for name in ("sigmoid", "sigmoid_", "tanh", "tanh_")}
"""Methods of tensors."""
TORCH_INPLACE = {"leaky_relu": 2, "elu": 2, "silu": 1, "hardswish": 1, "hardsigmoid": 1}
"""Place of the argument ``inplace`` in functions."""

KERAS_FUNCTIONS: dict[str, CurveReader] = {
    "leaky_relu": leaky("negative_slope", default=0.2), "elu": lambda number: Elu(),
    "sigmoid": _plain(Sigmoid), "tanh": _plain(Tanh), "silu": _plain(Silu), "swish": _plain(Silu),
    "hard_silu": _plain(HardSwish), "hard_swish": _plain(HardSwish),
    "hard_sigmoid": _keras_hard_sigmoid, "gelu": lambda number: Gelu()}
"""Functions that a layer may have as ``activation``."""
KERAS_LAYERS: dict[str, CurveReader] = {
    "LeakyReLU": leaky("negative_slope", "alpha", default=0.3), "ELU": _elu}
"""Layers of their own."""


def multiply(draft: Draft, first: Value, second: Value, label: str) -> Value:
    """Append the product of two values; a gate of a value itself becomes one activation.

    Raises:
        Refused: one is a vector, the other a map, which the foreign network does not join by
            channels.
    """
    for value, gate in ((first, second), (second, first)):
        op = draft.maker(gate)
        if op is None or op.inputs != (value.name,):
            continue
        if isinstance(op, Sigmoid):
            return draft.add(Silu(), value, label=label)
        if isinstance(op, HardSigmoid) and with_sixth(op.alpha) == _SIXTH and op.beta == 0.5:
            return draft.add(HardSwish(), value, label=label)
    if first.flat != second.flat:
        raise Refused("multiplies a map and a vector", "give the vector the axes (n, c, 1, 1)")
    return draft.add(Multiply(), first, second, label=label)


def write_onnx(writer: Any, op: Curve, inputs: list[str]) -> None:
    """Append the nodes of an activation by a table to an ONNX file of operator set 13."""
    (x,), name = inputs, op.name

    def number(label: str, value: float) -> str:
        """Add a constant; return its name."""
        made: str = writer.constant(f"{name}/{label}", np.array(value, np.float32))
        return made

    if isinstance(op, LeakyRelu):
        writer.raw("LeakyRelu", [x], name, alpha=op.slope)
    elif isinstance(op, Elu):
        writer.raw("Elu", [x], name, alpha=op.alpha)
    elif isinstance(op, (Sigmoid, Tanh)):
        writer.raw(type(op).__name__, [x], name)
    elif isinstance(op, HardSigmoid):
        writer.raw("HardSigmoid", [x], name, alpha=op.alpha, beta=op.beta)
    elif isinstance(op, HardSwish):
        writer.raw("HardSigmoid", [x], f"{name}/gate", alpha=_SIXTH, beta=0.5)
        writer.raw("Mul", [x, f"{name}/gate"], name)
    elif isinstance(op, Silu):
        writer.raw("Sigmoid", [x], f"{name}/gate")
        writer.raw("Mul", [x, f"{name}/gate"], name)
    elif isinstance(op, Gelu):
        inner = x
        if op.tanh:
            writer.raw("Mul", [x, x], f"{name}/square")
            writer.raw("Mul", [f"{name}/square", x], f"{name}/cube")
            writer.raw("Mul", [f"{name}/cube", number("bend", 0.044715)], f"{name}/bent")
            writer.raw("Add", [x, f"{name}/bent"], f"{name}/sum")
            inner = f"{name}/sum"
        by = number("by", math.sqrt(2 / math.pi) if op.tanh else math.sqrt(0.5))
        writer.raw("Mul", [inner, by], f"{name}/inner")
        writer.raw("Tanh" if op.tanh else "Erf", [f"{name}/inner"], f"{name}/odd")
        writer.raw("Add", [f"{name}/odd", number("one", 1)], f"{name}/twice")
        writer.raw("Mul", [x, f"{name}/twice"], f"{name}/double")
        writer.raw("Mul", [f"{name}/double", number("half", 0.5)], name)
    else:
        raise NotImplementedError(f"no ONNX nodes for {op.kind}")
