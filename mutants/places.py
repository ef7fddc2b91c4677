"""Where Python code can be mutated, and mutants drawn from there at random."""

from __future__ import annotations

import ast
import random
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import parso
from cosmic_ray.ast import ast_nodes
from cosmic_ray.ast.ast_query import ASTQuery
from cosmic_ray.mutating import mutate_code

from mutants.operators import Node, operators

TEXTS = ("__repr__", "__str__")
"""Functions that make texts for people."""
_SPEAKERS = ("print", "warn", "log", "logger", "logging", "warnings")
# Without these a program is as right as with them: they promise, cache or hint.
_PROMISES = ("dataclass", "dataclasses", "cache", "lru_cache", "functools", "overload",
             "abstractmethod", "runtime_checkable", "override", "final")
_GUARDS = ("TYPE_CHECKING", "__name__")
_LEAVES = {"operator", "keyword", "number", "name"}
_NODES = {"comparison", "if_stmt", "while_stmt", "assert_stmt", "test", "ternary", "factor",
          "not_test", "except_clause", "decorator", "for_stmt", "arglist", "argument",
          "expr_stmt", "atom_expr", "power"}


@dataclass(frozen=True)
class Mutation:
    """A fault: an operator and the number of the place that it meets, in a file.

    Attributes:
        module: the file, relative to the project, with ``/``.
        operator: name of the operator, as in ``operators.operators``.
        occurrence: which of the places of that operator in the file, from 0.
        line: line of the place, from 1.
        first: first line of the statement around it (of its head, if it has a body).
        last: last line of that.
        definition: the function or class around it; empty outside.
    """

    module: str
    operator: str
    occurrence: int
    line: int
    first: int
    last: int
    definition: str


def mutations(module: str, source: str) -> dict[tuple[int, ...], list[Mutation]]:
    """Return what can be mutated in a file, by place (line and column of begin and end).

    Left out are docstrings, type hints, texts (f-strings, what ``raise`` says, ``__repr__``,
    ``__str__``, printing and logging) and decorators that only promise something or cache.
    """
    found: dict[tuple[int, ...], list[Mutation]] = defaultdict(list)
    numbers: Counter[str] = Counter()
    for node in ast_nodes(parso.parse(source)):
        if node.type not in _LEAVES and node.type not in _NODES:
            continue
        spans = [(name, span) for name, operator in operators().items()
                 for span in operator.mutation_positions(node)]
        if not spans:
            continue
        spared = is_spared(node)
        first, last = _statement(node)
        definition = ASTQuery(node).get_definition_name() or ""
        for name, (start, end) in spans:
            if not spared:
                found[(*start, *end)].append(Mutation(
                    module, name, numbers[name], start[0], first, last, definition))
            numbers[name] += 1
    return dict(found)


def mutated(source: str, mutation: Mutation) -> str | None:
    """Return the file's text with the fault; None if that is no Python, or no other program."""
    text = mutate_code(source, operators()[mutation.operator], mutation.occurrence)
    if text is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            after = ast.dump(ast.parse(text))
            compile(text, mutation.module, "exec")
    except (SyntaxError, ValueError):
        return None
    return None if after == ast.dump(ast.parse(source)) else text


def draw(root: Path, modules: Iterable[str], seed: int) -> Iterator[Mutation]:
    """Yield mutants in random order: places with equal chance, then one of the place's operators.

    The first ``n`` of a seed are the same for every larger ``n``.

    Args:
        root: folder of the project.
        modules: files, relative to it.
        seed: seed of the order.
    """
    generator = random.Random(seed)
    places: list[list[Mutation]] = []
    sources: dict[str, str] = {}
    for module in sorted(modules):
        sources[module] = (root / module).read_text(encoding="utf-8")
        found = mutations(module, sources[module])
        places += [found[place] for place in sorted(found)]
    generator.shuffle(places)
    for choices in places:
        order = sorted(choices, key=lambda mutation: (mutation.operator, mutation.occurrence))
        generator.shuffle(order)
        for mutation in order:
            if mutated(sources[mutation.module], mutation) is not None:
                yield mutation
                break


def is_spared(node: Node) -> bool:
    """Say whether a node is a type hint, a text for people, or only promises something."""
    if node.type in ("atom_expr", "power") and _first_name(node) in _SPEAKERS:
        return True  # the whole call, left out
    child = node
    while child.parent is not None:
        parent = child.parent
        if _spares(parent, child):
            return True
        child = parent
    return node.type == "decorator" and _first_name(node.children[1]) in _PROMISES


def _spares(parent: Node, child: Node) -> bool:
    """Say whether a node spares what stands below one of its children."""
    if parent.type in ("raise_stmt", "fstring", "tfpdef"):
        return True
    if parent.type == "annassign":
        return child is parent.children[1]
    if parent.type == "funcdef":
        return child is parent.annotation or parent.name.value in TEXTS
    if parent.type == "decorator":
        return _first_name(parent.children[1]) in _PROMISES
    if parent.type in ("atom_expr", "power"):
        return _first_name(parent) in _SPEAKERS
    if parent.type == "if_stmt":
        return _first_name(parent.children[1]) in _GUARDS
    return False


def _first_name(node: Node) -> str:
    return node.get_first_leaf().value


def _statement(node: Node) -> tuple[int, int]:
    """Return the first and last line of a statement, or of the head of one with a body."""
    child = node
    while child.parent is not None and child.parent.type not in ("suite", "file_input"):
        if child.parent.type == "simple_stmt":
            child = child.parent
            break
        child = child.parent
    bodies = [part for part in getattr(child, "children", ()) if part.type == "suite"]
    if not bodies:
        return child.start_pos[0], child.get_last_leaf().start_pos[0]
    # Of 'if a: ... elif b: ...' the head whose condition the node stands in.
    begin = child.start_pos[0]
    for body in bodies:
        if node.start_pos < body.start_pos:
            return begin, max(begin, body.start_pos[0] - 1 if body.start_pos[1] == 0
                              else body.start_pos[0])
        begin = body.end_pos[0]
    return node.start_pos[0], node.end_pos[0]
