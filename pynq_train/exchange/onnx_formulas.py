"""Activations that ONNX files spell out, such as GELU before operator set 20, as one node each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial, reduce
from typing import Any

import numpy as np

from pynq_train.arrays import Array
from pynq_train.exchange.formulas import Step, erf, formulas
from pynq_train.exchange.packages import need
from pynq_train.graph.activation import Activate, Relu
from pynq_train.graph.curves import (
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

_DOMAINS = ("", "ai.onnx")
_SCALAR_AXES = 2
"""Most axes of a constant that leaves the sizes of every value as they are."""
_TYPES = frozenset(("Identity", "Cast", "CastLike"))
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Pow": np.power,
    "Neg": np.negative, "Abs": np.abs, "Exp": np.exp, "Log": np.log, "Sqrt": np.sqrt, "Erf": erf,
    "Reciprocal": np.reciprocal, "Where": np.where, "Greater": np.greater, "Less": np.less,
    "GreaterOrEqual": np.greater_equal, "LessOrEqual": np.less_equal,
    "Softplus": lambda x: np.logaddexp(0, x), "Softsign": lambda x: x / (1 + np.abs(x)),
    **dict.fromkeys(_TYPES, lambda x: x)}
"""Kinds of nodes that compute element by element, with as many inputs."""
_MANY: dict[str, Callable[..., Any]] = {"Max": np.maximum, "Min": np.minimum, "Sum": np.add}
"""Kinds that join any number of inputs by one function."""
_ACTIVATIONS: dict[str, Callable[[Callable[[str, float], float]], Curve | None]] = {
    "Relu": lambda number: None, "Sigmoid": lambda number: Sigmoid(),
    "Tanh": lambda number: Tanh(), "HardSwish": lambda number: HardSwish(),
    "HardSigmoid": lambda number: HardSigmoid(number("alpha", 0.2), number("beta", 0.5)),
    "LeakyRelu": lambda number: LeakyRelu(number("alpha", 0.01)),
    "Elu": lambda number: Elu(number("alpha", 1.0))}
"""Activations with a node of their own."""


def join_formulas(nodes: Sequence[Any], constants: Mapping[str, Array],
                  outputs: Collection[str]) -> list[Any]:
    """Return nodes of a graph, with each activation that is spelled out as one node.

    The node is that of an operator set that has it, whatever the file's own one is.

    Args:
        nodes: ``NodeProto``, in the order of computation; they are not changed.
        constants: the constants that are known, by name.
        outputs: names of values that the graph yields: steps that yield one stay.
    """
    helper = need("onnx.helper", "reading ONNX files")
    known = {**constants, **_constants(nodes, helper)}
    steps = {node.output[0]: step for node in nodes
             if (step := _step(node, known, helper)) is not None}
    found = formulas(steps)
    joined = [node if (one := found.get(node.output[0] if node.output else "")) is None else
              _node(one.op, str(one.source), node, helper) for node in nodes]
    inner = {name for one in found.values() for name in one.inner}
    kept: list[Any] = []
    readers = Counter(name for node in joined for name in node.input)
    for node in reversed(joined):
        name = node.output[0] if node.output else ""
        if name in inner and name not in outputs and not readers[name]:
            readers.subtract(node.input)
        else:
            kept.append(node)
    return kept[::-1]


def _node(op: Activate | Curve, source: str, last: Any, helper: Any) -> Any:
    """Return the node of an activation that yields what the node ``last`` does."""
    kind, numbers = type(op).__name__, {}
    if isinstance(op, Activate) and not isinstance(op, Relu):
        kind, numbers = "Clip", {"min": op.activation.low, "max": op.activation.top}
    elif isinstance(op, LeakyRelu):
        numbers = {"alpha": op.slope}
    elif isinstance(op, Elu):
        numbers = {"alpha": op.alpha}
    elif isinstance(op, HardSigmoid):
        numbers = {"alpha": op.alpha, "beta": op.beta}
    elif isinstance(op, Silu):
        kind = "Swish"
    more = {"approximate": "tanh"} if isinstance(op, Gelu) and op.tanh else {}
    return helper.make_node(kind, [source], list(last.output), name=last.name, **numbers, **more)


def _step(node: Any, known: Mapping[str, Array], helper: Any) -> Step | None:
    """Return what a node computes element by element, None if it computes something else."""
    if node.domain not in _DOMAINS or len(node.output) != 1:
        return None
    kind, names = node.op_type, list(node.input)
    attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    known_alone = kind == "Clip" or kind in _ACTIVATIONS
    compute: Callable[..., Any]
    if kind == "Clip":
        names = [*names, "", ""][:3]
        names[1:] = [name or attributes.get(label, fill) for name, label, fill in zip(
            names[1:], ("min", "max"), (-np.inf, np.inf))]
        compute = _clip
    elif kind in _ACTIVATIONS:
        curve = _ACTIVATIONS[kind](lambda name, default: float(attributes.get(name, default)))
        compute = _relu if curve is None else curve.value
    elif kind in _MANY:
        compute = partial(_joined, _MANY[kind])
    elif kind in _FUNCTIONS:
        names = names[:1] if kind in _TYPES else names
        compute = _FUNCTIONS[kind]
    else:
        return None
    args = _args(names, known, whole=kind in ("Pow", "Cast", "CastLike"))
    return None if args is None else Step(args, compute, known_alone)


def _clip(x: Any, low: Any, top: Any) -> Any:
    return np.minimum(np.maximum(x, low), top)


def _relu(x: Any) -> Any:
    return np.maximum(x, 0)


def _joined(function: Callable[..., Any], *values: Any) -> Any:
    return reduce(function, values)


def _args(inputs: Sequence[Any], known: Mapping[str, Array], whole: bool = False
          ) -> tuple[Any, ...] | None:
    """Return what a node reads, None if there is a constant that is not one number.

    ``whole``: integers will do: elsewhere they say that sizes are computed.
    """
    args: list[Any] = []
    for one in inputs:
        array = known.get(one) if isinstance(one, str) else np.float64(one)
        if array is None:
            args.append(one)
        elif array.size != 1 or array.ndim > _SCALAR_AXES or array.dtype.kind not in (
                "fiu" if whole else "f"):
            return None
        else:
            args.append(float(array.ravel()[0]))
    return tuple(args) or None


def _constants(nodes: Sequence[Any], helper: Any) -> dict[str, Array]:
    """Return the numbers and tensors of Constant nodes, by name."""
    found: dict[str, Array] = {}
    to_array = need("onnx.numpy_helper", "reading ONNX files").to_array
    for node in nodes:
        if node.op_type != "Constant" or not node.attribute:
            continue
        value = helper.get_attribute_value(node.attribute[0])
        if node.attribute[0].name == "value":
            found[node.output[0]] = np.asarray(to_array(value))
        elif node.attribute[0].name in ("value_float", "value_floats"):
            found[node.output[0]] = np.asarray(value, np.float64)
    return found
