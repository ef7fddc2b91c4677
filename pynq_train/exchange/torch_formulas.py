"""Activations that PyTorch code spells out, such as ``x * relu6(x + 3) / 6``."""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np

from pynq_train.exchange.formulas import Formula, Step, erf, formulas
from pynq_train.exchange.torch_call import array_of
from pynq_train.exchange.torch_hooks import checked_module
from pynq_train.exchange.windows import Refused
from pynq_train.graph.curves import HardSigmoid, Sigmoid


def _clip(x: Any, low: Any = -np.inf, top: Any = np.inf) -> Any:
    return np.minimum(np.maximum(x, low), top)


_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "pow": np.power,
    "neg": np.negative, "exp": np.exp, "sqrt": np.sqrt, "erf": erf, "abs": np.abs,
    "square": np.square, "reciprocal": np.reciprocal, "maximum": np.maximum,
    "minimum": np.minimum, "clamp": _clip}
_OTHER_NAMES = {"truediv": "div", "divide": "div", "true_divide": "div", "multiply": "mul",
                "subtract": "sub", "clip": "clamp", "negative": "neg", "iadd": "add", "isub": "sub",
                "imul": "mul", "itruediv": "div"}
_ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "relu": lambda x: np.maximum(x, 0), "relu6": lambda x: _clip(x, 0, 6),
    "sigmoid": Sigmoid().value, "tanh": np.tanh, "hardsigmoid": HardSigmoid().value}
"""Functions and modules, by name in lower case, that have a reader of their own."""
_NAMES = {"min": "low", "max": "top", "other": "", "exponent": "", "input": ""}
"""Arguments that may be given by name, and what they are called here; empty: the next place."""


def spelled_out(torch: Any, traced: Any) -> tuple[dict[Hashable, Formula], set[Hashable]]:
    """Return the activations that a traced module spells out, and nodes that only they read.

    Args:
        torch: the package.
        traced: the ``torch.fx.GraphModule``.
    """
    modules = dict(traced.named_modules())
    nodes = list(traced.graph.nodes)
    steps: dict[Any, Step] = {}
    changes: list[int] = []
    for at, node in enumerate(nodes):
        inplace = _in_place(node, modules)
        step = None if inplace and not _fresh(node, steps) else _step(torch, traced, node, modules)
        if step is not None:
            steps[node] = step
        elif inplace:
            changes.append(at)
    place = {node: at for at, node in enumerate(nodes)}
    found = {last: one for last, one in formulas(steps).items() if not any(
        place[one.source] < at < place[last] for at in changes)}
    inner = {node for one in found.values() for node in one.inner}
    dropped: set[Hashable] = set()
    for node in reversed(nodes):
        if node in inner and node not in found and all(
                user in dropped or (user in found and found[user].source is not node)
                for user in node.users):
            dropped.add(node)
    return found, dropped


def _kind(node: Any, modules: Mapping[str, Any]) -> str:
    """Return what a node calls, in lower case and without the sign of a change in place."""
    if node.op == "call_module":
        kind = type(modules[node.target])
        return kind.__name__.lower() if kind.__module__.startswith("torch.nn.") else ""
    if node.op not in ("call_function", "call_method"):
        return ""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    name = name.rstrip("_")
    return _OTHER_NAMES.get(name, name)


def _in_place(node: Any, modules: Mapping[str, Any]) -> bool:
    """Return whether a node changes what it reads, as far as can be seen of it alone."""
    if node.op == "call_module":
        return bool(getattr(modules[node.target], "inplace", False))
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    changes = name.endswith("_") or (node.op == "call_function" and name[:1] == "i"
                                     and getattr(operator, name, None) is node.target)
    # The argument may stand among others: only where it is False for sure nothing changes.
    return changes or bool(node.kwargs.get("inplace")) or any(one is True for one in node.args)


def _fresh(node: Any, steps: Mapping[Any, Step]) -> bool:
    """Return whether a node reads a result of arithmetic that nothing else reads."""
    read = node.all_input_nodes
    return len(read) == 1 and read[0] in steps and list(read[0].users) == [node]


def _step(torch: Any, traced: Any, node: Any, modules: Mapping[str, Any]) -> Step | None:
    """Return what a node computes element by element, None if it computes something else."""
    kind = _kind(node, modules)
    known = kind in _ACTIVATIONS
    if known and node.op == "call_module":
        try:
            checked_module(torch, modules[node.target])
        except Refused:  # hooks, which the importer names
            return None
    elif not known and (kind not in _ARITHMETIC or node.op == "call_module"):
        return None
    names = {name: value for name, value in node.kwargs.items() if name != "inplace"}
    given = node.args[:1] if known else node.args
    args, ends = [*given], {"low": -np.inf, "top": np.inf}
    for name, value in names.items():
        if name not in _NAMES:
            return None
        if _NAMES[name] and value is not None:
            ends[_NAMES[name]] = value
        elif not _NAMES[name]:
            args.append(value)
    if kind == "clamp":
        args = [*args, *[None] * (3 - len(args))]
        args[1:] = [fill if one is None else one for one, fill in zip(args[1:], ends.values())]
    numbers = [_number(traced, one) for one in args]
    if any(one is None for one in numbers) or not numbers:
        return None
    return Step(tuple(numbers), _ACTIVATIONS[kind] if known else _ARITHMETIC[kind], known)


def _number(traced: Any, value: Any) -> Hashable | None:
    """Return an argument as a number, or its node; None if it is anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if getattr(value, "op", None) != "get_attr":
        return value if hasattr(value, "op") else None
    tensor = operator.attrgetter(value.target)(traced)
    # A parameter that learns is no number.
    plain = getattr(tensor, "requires_grad", True) is False
    return (float(array_of(tensor).ravel()[0]) if plain and tensor.numel() == 1
            and tensor.dim() <= 2 else None)
