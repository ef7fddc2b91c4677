"""Lines and toggles of the RTL that the test suite reaches (``make coverage``).

Every file of benches runs with simulators that count, and so do tests on whole virtual boards; the
counts of a file are kept in ``build/coverage`` by the contents of RTL, tests and tools, so that the
same command goes on where it was interrupted. A point of a module counts as reached if any instance
in any run reached it. Planted bugs are left out. What was not reached is written to
``build/coverage/missed.txt``; each line of it has a reason in ``unreached.json``, and no other has
one.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sim.bfm.env import ROOT, design_sources
from sim.coverage.counts import merged, summary
from sim.coverage.reasons import problems, read
from sim.coverage.runs import FOLDER, folder, run, suite

# What the suite has to reach, in per cent.
BARS = {"line": 98.0, "toggle": 90.0}


def main(arguments: list[str] | None = None) -> int:
    """Run what is missing, print the figures; 1 if a bar is missed, a test fails, a reason is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default="", help="part of the names of the files of tests; "
                        "no bars and no reasons then")
    chosen = parser.parse_args(arguments)
    modules = [path for path in suite() if chosen.only in path.name]
    wrong = [f"{path.name}: a test fails; run it with pytest" for path in modules if not run(path)]
    design = {Path(source).name: (ROOT / source).read_text(encoding="utf-8")
              for source in design_sources()}
    counts = merged([dat for path in modules for dat in sorted(folder(path).glob("*.dat"))],
                    frozenset(design))
    figures = summary(counts)
    for file, kind, reached, total in figures:
        share = 100 * reached / total
        sys.stdout.write(f"{file:28s} {kind:6s} {reached:6d} of {total:6d}  {share:6.2f} %\n")
    missed = sorted(point for point, count in counts.items() if count == 0)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "missed.txt").write_text(
        "".join(f"{p.file}:{p.line} {p.kind} {p.name}\n" for p in missed), encoding="utf-8")
    sys.stdout.write(f"not reached: {len(missed)} points, {FOLDER / 'missed.txt'}\n")
    if not chosen.only and not wrong:
        wrong = [*low(figures), *problems(counts, read(), design)]
    for text in wrong:
        sys.stderr.write(f"{text}\n")
    return 1 if wrong else 0


def low(figures: list[tuple[str, str, int, int]]) -> list[str]:
    """Kinds of which less was reached than has to be, a line of text each."""
    return [f"{kind}: expected {BARS[kind]} % or more, found {100 * reached / total:.2f} %"
            for file, kind, reached, total in figures
            if file == "all" and reached < BARS[kind] / 100 * total]


if __name__ == "__main__":
    sys.exit(main())
