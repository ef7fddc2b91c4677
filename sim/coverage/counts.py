"""Files of counts that Verilator writes: read, added up, in shares."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_POINT = re.compile(r"^C '(.*)' (\d+)$")
_STILL = re.compile(r"(_unused|_pad|\.gap)\d*(\[|:|\.)")
"""Names of bits that nothing drives or reads: what a part leaves open, gaps between fields."""


@dataclass(frozen=True, order=True)
class Point:
    """A line, or a bit that rises or falls.

    Attributes:
        file: name of the design file.
        line: its line.
        kind: ``line`` or ``toggle``.
        name: column, and which branch of a line or which bit of a signal.
    """

    file: str
    line: int
    kind: str
    name: str


def points(text: str) -> Iterator[tuple[Point, int]]:
    """Points of one file of counts (``coverage.dat``), each with how often it was reached.

    Raises:
        ValueError: a line is no point of coverage.
    """
    for row in text.splitlines():
        if row.startswith("#"):
            continue
        match = _POINT.match(row)
        if not match:
            raise ValueError(f"expected a point of coverage, found {row[:80]!r}; "
                             "delete build/coverage and begin again")
        fields = dict(part.split("\x02", 1) for part in match[1].split("\x01") if part)
        kind = fields["page"].split("/")[0].removeprefix("v_")
        if kind == "branch":
            kind = "line"
        yield Point(Path(fields["f"]).name, int(fields["l"]), kind,
                    f"{fields.get('n', '')} {fields.get('o', '')}".strip()), int(match[2])


def merged(files: Iterable[Path], design: frozenset[str]) -> dict[Point, int]:
    """Counts of several runs, added up, of the design's files alone.

    Toggles of bits that are not used by their names (``..._unused``, ``..._pad``, ``gap...``) are
    no points.
    """
    counts: dict[Point, int] = defaultdict(int)
    for path in files:
        for point, count in points(path.read_text(encoding="latin-1")):
            if point.file in design and not (point.kind == "toggle" and _STILL.search(point.name)):
                counts[point] += count
    return dict(counts)


def summary(counts: dict[Point, int]) -> list[tuple[str, str, int, int]]:
    """Per file and kind how many points were reached, of how many; ``all`` comes last."""
    rows: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for point, count in counts.items():
        for file in (point.file, "all"):
            row = rows[file, point.kind]
            row[0] += count > 0
            row[1] += 1
    ordered = sorted(rows.items(), key=lambda item: (item[0][0] == "all", item[0]))
    return [(file, kind, reached, total) for (file, kind), (reached, total) in ordered]
