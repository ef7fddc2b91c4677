"""Coverage of the RTL by its benches: lines and toggles, counted by Verilator (``make coverage``).

Every file of tests in ``tests/rtl`` runs with simulators that count; its counts are kept in
``build/coverage/KEY`` by the contents of RTL, benches and tools, so that the same command goes on
where it was interrupted. A point of a module counts as reached if any instance in any run reached
it. Planted bugs are left out. What was not reached is written to ``build/coverage/missed.txt``.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sim.bfm.env import COVERAGE, ROOT, design_sources
from sim.bfm.simulators import tools

FOLDER = ROOT / "build" / "coverage"
# What the suite has to reach, in per cent.
BARS = {"line": 98.0, "toggle": 90.0}
_POINT = re.compile(r"^C '(.*)' (\d+)$")


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
    """Counts of several runs, added up, of the design's files alone."""
    counts: dict[Point, int] = defaultdict(int)
    for path in files:
        for point, count in points(path.read_text(encoding="latin-1")):
            if point.file in design:
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


def _key() -> str:
    """Hash of everything that the counts depend on."""
    digest = hashlib.sha256(tools().encode())
    folders = (ROOT / "rtl", ROOT / "sim", ROOT / "tests" / "rtl", ROOT / "pynq_train" / "hw")
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".sv", ".v", ".f", ".py"):
                digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _run(module: Path, folder: Path) -> bool:
    """Run a file of benches if its counts are not there; return whether all tests passed."""
    if folder.exists():
        return True
    half = folder.with_suffix(".half")
    half.mkdir(parents=True, exist_ok=True)
    for path in half.glob("*.dat"):
        path.unlink()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(module),
               "-k", "not planted and not without_bugs and not waves"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, COVERAGE: str(half)}, check=False)
    if done.returncode not in (0, 5):  # 5: a file of planted bugs has no other tests
        return False
    half.rename(folder)
    return True


def main(arguments: list[str] | None = None) -> int:
    """Run what is missing and print the figures; 1 if a bar is missed or a bench fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default="", help="part of the names of the benches' files")
    chosen = parser.parse_args(arguments)
    folder = FOLDER / _key()
    modules = [path for path in sorted((ROOT / "tests" / "rtl").glob("test_*.py"))
               if chosen.only in path.name]
    failed = [path.name for path in modules if not _run(path, folder / path.stem)]
    design = frozenset(Path(source).name for source in design_sources())
    counts = merged(sorted(folder.glob("test_*/*.dat")), design)
    for file, kind, reached, total in summary(counts):
        share = 100 * reached / total
        sys.stdout.write(f"{file:28s} {kind:6s} {reached:6d} of {total:6d}  {share:6.2f} %\n")
    missed = sorted(point for point, count in counts.items() if count == 0)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "missed.txt").write_text(
        "".join(f"{p.file}:{p.line} {p.kind} {p.name}\n" for p in missed), encoding="utf-8")
    sys.stdout.write(f"not reached: {len(missed)} points, {FOLDER / 'missed.txt'}\n")
    low = [f"{kind}: expected {BARS[kind]} % or more, found {100 * reached / total:.2f} %"
           for file, kind, reached, total in summary(counts)
           if file == "all" and reached < BARS[kind] / 100 * total]
    for text in [*low, *(f"{name}: a bench fails; run it with pytest" for name in failed)]:
        sys.stderr.write(f"{text}\n")
    return 1 if low or failed else 0


if __name__ == "__main__":
    sys.exit(main())
