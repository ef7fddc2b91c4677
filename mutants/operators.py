"""Faults that cosmic-ray lacks: a statement left out, arguments swapped or dropped, min for max."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise
from typing import Any

import cosmic_ray.plugins
import parso
from cosmic_ray.operators.operator import Example, Operator
from parso.python.tree import Name

Node = Any
"""A node of parso's tree: what it has depends on its ``type``."""
Position = tuple[int, int]
Span = tuple[Position, Position]


class RemoveStatement(Operator):
    """Leave out a statement that is run for its effect: a call, or an assignment in place."""

    def mutation_positions(self, node: Node) -> Iterator[Span]:
        """Yield the statement's place if ``node`` is one."""
        if node.parent is not None and node.parent.type == "simple_stmt" and _has_effect(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Node, index: int) -> Node:
        """Return ``pass`` in the statement's stead."""
        return Name("pass", node.start_pos, prefix=node.get_first_leaf().prefix)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Return what cosmic-ray shows and tests."""
        return (Example("x[0] = 1\n", "pass\n"), Example("x += 1\n", "pass\n"),
                Example("f(x)\n", "pass\n"))


class SwapMinMax(Operator):
    """Take the largest for the smallest, and the other way round."""

    _OTHER: Mapping[str, str] = {"min": "max", "max": "min", "minimum": "maximum",
                                 "maximum": "minimum", "any": "all", "all": "any"}

    def mutation_positions(self, node: Node) -> Iterator[Span]:
        """Yield the place of a function's name that is called."""
        if node.type == "name" and node.value in self._OTHER and _is_called(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Node, index: int) -> Node:
        """Return the other name."""
        node.value = self._OTHER[node.value]
        return node

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Return what cosmic-ray shows and tests."""
        return (Example("min(x, y)", "max(x, y)"), Example("np.maximum(x, y)", "np.minimum(x, y)"))


class SwapArguments(Operator):
    """Swap two neighbouring positional arguments of a call."""

    def mutation_positions(self, node: Node) -> Iterator[Span]:
        """Yield the place of each first argument of such a pair."""
        for left, _ in _pairs(node):
            yield left.start_pos, left.end_pos

    def mutate(self, node: Node, index: int) -> Node:
        """Exchange the pair with that number."""
        left, right = _pairs(node)[index]
        texts = left.get_code(include_prefix=False), right.get_code(include_prefix=False)
        for child, text in zip((left, right), texts[::-1]):
            place = node.children.index(child)
            prefix = child.get_first_leaf().prefix
            node.children[place] = Name(text, child.start_pos, prefix=prefix)
        return node

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Return what cosmic-ray shows and tests."""
        return (Example("f(x, y)", "f(y, x)"), Example("f(x, y, z)", "f(x, z, y)", occurrence=1))


class DropArgument(Operator):
    """Leave out a keyword argument of a call."""

    def mutation_positions(self, node: Node) -> Iterator[Span]:
        """Yield the argument's place if ``node`` is one."""
        if (node.type == "argument" and node.parent.type == "arglist"
                and getattr(node.children[1], "value", "") == "="):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Node, index: int) -> Node:
        """Return the empty dictionary, unpacked: no argument."""
        return Name("**{}", node.start_pos, prefix=node.get_first_leaf().prefix)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Return what cosmic-ray shows and tests."""
        return (Example("f(x, axis=0)", "f(x, **{})"),)


OWN: dict[str, type[Operator]] = {
    f"house/{operator.__name__}": operator
    for operator in (RemoveStatement, SwapMinMax, SwapArguments, DropArgument)
}

# Like for like: '+' for '&' is an error of types that anything notices.
_ARITHMETIC = {
    "Add": ("Sub",), "Sub": ("Add",), "Mul": ("Add", "FloorDiv"), "Div": ("Mul",),
    "FloorDiv": ("Mul", "Mod"), "Mod": ("FloorDiv",), "Pow": ("Mul",),
    "RShift": ("LShift",), "LShift": ("RShift",), "BitOr": ("BitAnd",), "BitAnd": ("BitOr",),
    "BitXor": ("BitOr",),
}
_COMMUTATIVE = ("min", "max", "minimum", "maximum", "gcd", "lcm", "array_equal")
_ORDERED = ("Eq", "NotEq", "Lt", "LtE", "Gt", "GtE")


def _wanted(name: str) -> bool:
    """Say whether an operator of cosmic-ray makes faults that somebody could make."""
    kind, _, pair = name.removeprefix("core/").partition("_")
    before, _, after = pair.partition("_")
    if kind == "ReplaceBinaryOperator":
        return after in _ARITHMETIC[before]
    if kind == "ReplaceComparisonOperator":
        # Whether equal numbers are one object is an accident of the interpreter.
        identity = {before, after} == {"Is", "IsNot"}
        return identity or (before in _ORDERED and after in _ORDERED)
    if kind == "ReplaceUnaryOperator":
        return before == "Delete" or after in ("UAdd", "USub")
    return True


@cache
def operators() -> Mapping[str, Operator]:
    """Return all operators by name: cosmic-ray's without arguments, and our own."""
    found = {}
    for name in cosmic_ray.plugins.operator_names():
        kind = cosmic_ray.plugins.get_operator(name)
        if not kind.arguments() and _wanted(name):
            found[name] = kind()
    return found | {name: kind() for name, kind in OWN.items()}


def _has_effect(node: Node) -> bool:
    if node.type in ("atom_expr", "power"):
        return node.children[-1].type == "trailer" and node.children[-1].children[0].value == "("
    if node.type != "expr_stmt" or node.children[1].type == "annassign":
        return False
    plain = getattr(node.children[1], "value", "") == "="
    return not plain or node.children[0].type in ("atom_expr", "power")


def _is_called(node: Node) -> bool:
    after = node.get_next_leaf()
    return after is not None and after.value == "(" and node.parent.type in (
        "atom_expr", "power", "trailer")


def _pairs(node: Node) -> list[tuple[Node, Node]]:
    """Return neighbouring positional arguments of a call that differ and whose order matters."""
    if node.type != "arglist" or node.parent.type != "trailer":
        return []
    if node.parent.get_previous_leaf().value in _COMMUTATIVE:
        return []
    plain = [child for child in node.children
             if not (isinstance(child, parso.python.tree.Operator) and child.value == ",")]
    return [(left, right) for left, right in pairwise(plain)
            if "argument" not in (left.type, right.type)
            and left.get_code().strip() != right.get_code().strip()]
