"""Reasons for lines that no test reaches (``unreached.json``), held against what was counted.

An entry names design files, the text of a line, which of its branches are not reached, and why;
where the text stands several times in a file, lines before it tell which one (``\\n`` between
them). Toggles have no reasons: what rests of them are single bits, mostly the upper ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sim.coverage.counts import Point

PATH = Path(__file__).with_name("unreached.json")


@dataclass(frozen=True)
class LineReason:
    """Why branches of a line are not reached.

    Attributes:
        files: names of the design files in which the line stands.
        text: the line, and lines before it where it alone stands there more than once.
        branches: what Verilator calls the branches: ``else``, ``case``, ``cond_then``, ...
        reason: why no test gets there.
    """

    files: tuple[str, ...]
    text: str
    branches: tuple[str, ...]
    reason: str


def read(path: Path = PATH) -> tuple[LineReason, ...]:
    """Read a file of reasons.

    Raises:
        ValueError: an entry lacks a field, or has an empty or unknown one.
    """
    return tuple(map(_entry, json.loads(path.read_text(encoding="utf-8"))))


def problems(counts: Mapping[Point, int], reasons: Iterable[LineReason], design: Mapping[str, str]
             ) -> Iterator[str]:
    """What is wrong, a line of text each: nothing if exactly what is not reached has a reason.

    Args:
        counts: how often each point was reached.
        reasons: the file.
        design: texts of the design files by name.
    """
    places: dict[tuple[str, int, str], int] = {}
    for point, count in counts.items():
        if point.kind == "line":
            place = point.file, point.line, branch(point)
            places[place] = min(count, places.get(place, count))
    reasoned = set()
    for entry in reasons:
        for file in entry.files:
            found = _places(design.get(file, ""), entry.text)
            if len(found) != 1:
                yield (f"{file}: a reason expects {entry.text!r} once, found it {len(found)} "
                       "times; correct the text, or put the lines before it in front")
                continue
            for name in entry.branches:
                place = file, found[0], name
                reasoned.add(place)
                if place not in places:
                    yield (f"{file}:{found[0]}: a reason names the branch {name!r}, which is not "
                           "counted there; take it out")
                elif places[place]:
                    yield (f"{file}:{found[0]}: {name!r} has a reason why it is not reached, "
                           f"and was reached {places[place]} times; take the reason out")
    for (file, line, name), count in sorted(places.items()):
        if not count and (file, line, name) not in reasoned:
            text = design[file].splitlines()[line - 1].strip()
            yield (f"{file}:{line}: {name!r} of {text!r} is not reached, and has no reason; write "
                   f"a test, or the reason into {PATH.name}")


def branch(point: Point) -> str:
    """Which branch of its line a point is."""
    return point.name.split(" ", 1)[1]


def _places(text: str, wanted: str) -> list[int]:
    """Numbers of the lines at which a text ends, however its words are spaced."""
    lines, parts = ([" ".join(line.split()) for line in one.split("\n")] for one in (text, wanted))
    return [at + len(parts) for at in range(len(lines) - len(parts) + 1)
            if lines[at : at + len(parts)] == parts]


def _entry(found: Mapping[str, Any]) -> LineReason:
    """An entry of the file."""
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value
                              for name, value in found.items()}
    names = {field.name for field in fields(LineReason)}
    if set(values) != names or not all(values.values()):
        raise ValueError(f"expected an entry with {', '.join(sorted(names))}, none of them empty, "
                         f"found {found}; correct it in {PATH.name}")
    return LineReason(**values)
