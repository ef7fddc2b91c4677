"""Where code is mutated, what is spared, and that a seed decides what is drawn."""

from __future__ import annotations

import importlib.util
import itertools
from collections import Counter
from pathlib import Path

import pytest

pytestmark = pytest.mark.needs("cosmic_ray", "coverage")
if importlib.util.find_spec("cosmic_ray") is not None:
    import cosmic_ray.plugins
    import parso
    from cosmic_ray.ast import ast_nodes
    from cosmic_ray.mutating import mutate_code

    from mutants.operators import OWN, operators
    from mutants.places import draw, mutated, mutations

CODE = '''"""Adds 1 + 2."""

from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Pair:
    """Two of 2."""

    left: "tuple[int, 4]" = (5, 6)

    def __repr__(self) -> str:
        return "x" * 7


@lru_cache(maxsize=8)
def total(a: "int | None", b: int = 9) -> "int | None":
    """Return a + b."""
    if a is None and b < 10:
        raise ValueError(f"found {a}, {31 + 32}")
    print(13)
    b += 14
    return max(a, b, key=abs)
'''


def texts(code: str) -> set[str]:
    """Return the lines that mutants of a code have and the code has not."""
    found = set()
    for place in mutations("code.py", code).values():
        for mutation in place:
            text = mutated(code, mutation)
            if text is not None:
                found |= {line.strip() for line in text.splitlines()} - {
                    line.strip() for line in code.splitlines()}
    return found


def test_what_is_mutated() -> None:
    """Defaults, conditions, statements, arguments and functions' names are."""
    found = {line.replace("  ", " ") for line in texts(CODE)}
    wanted = {"def total(a: \"int | None\", b: int = 10) -> \"int | None\":",
              "if a is None or b < 10:", "if a is not None and b < 10:",
              "if a is None and b <= 10:", "if not a is None and b < 10:",
              "pass", "return min(a, b, key=abs)", "return max(a, b, **{})"}
    assert wanted <= found
    assert any(line.startswith('left: "tuple[int, 4]" = ( 6, 6)') for line in texts(CODE))


@pytest.mark.parametrize("spared", ["frozen", "maxsize", '"x"', "31", "32", "print", "1 + 2"])
def test_what_is_spared(spared: str) -> None:
    """Docstrings, hints, texts, promises and caches are left alone."""
    lines = {line.strip() for line in CODE.splitlines() if spared in line}
    after = [{line.strip() for line in (mutated(CODE, mutation) or CODE).splitlines()}
             for place in mutations("code.py", CODE).values() for mutation in place]
    assert lines and all(lines <= found for found in after)


def test_occurrences_are_those_of_cosmic_ray() -> None:
    """Number and place agree with the library, which walks the tree once for each operator."""
    numbers = Counter()
    for name, operator in operators().items():
        numbers[name] = sum(1 for node in ast_nodes(parso.parse(CODE))
                            for _ in operator.mutation_positions(node))
    for place in mutations("code.py", CODE).values():
        for mutation in place:
            assert mutation.occurrence < numbers[mutation.operator]
            assert mutate_code(CODE, operators()[mutation.operator], mutation.occurrence) != CODE


def test_own_operators_do_what_their_examples_say() -> None:
    """Examples of our own operators, as cosmic-ray tests its own."""
    for kind in OWN.values():
        for example in kind.examples():
            found = mutate_code(example.pre_mutation_code, kind(), example.occurrence)
            assert found is not None and found.strip() == example.post_mutation_code.strip()


def test_libraries_operators_are_there() -> None:
    """cosmic-ray registers its operators with the installation."""
    assert len(cosmic_ray.plugins.operator_names()) > 100
    assert {"core/NumberReplacer", "core/AddNot", "house/SwapArguments"} <= set(operators())


def test_a_seed_decides_what_is_drawn(tmp_path: Path) -> None:
    """The first mutants of a seed are the same however many are taken; other seeds draw others."""
    (tmp_path / "code.py").write_text(CODE, encoding="utf-8")

    def first(count: int, seed: int) -> list[object]:
        return list(itertools.islice(draw(tmp_path, ["code.py"], seed), count))

    assert first(4, 1) == first(9, 1)[:4]
    assert first(9, 1) != first(9, 2)
    every = first(1000, 3)
    assert len({(m.line, m.operator, m.occurrence) for m in every}) == len(every) > 10


def test_statement_lines() -> None:
    """A mutant knows the lines of its statement, of a head only if it has a body."""
    code = "x = f(1,\n      2)\nif x < 3:\n    y = 4\nelif x < 5:\n    y = 6\n"
    lines = {code.splitlines()[m.line - 1].strip(): (m.first, m.last)
             for place in mutations("c.py", code).values() for m in place
             if m.operator == "core/NumberReplacer"}
    assert lines == {"x = f(1,": (1, 2), "2)": (1, 2), "if x < 3:": (3, 3), "y = 4": (4, 4),
                     "elif x < 5:": (5, 5), "y = 6": (6, 6)}
