"""Counts of lines and toggles of the RTL (``sim/coverage.py``): read, added up, compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.coverage import Point, merged, points, summary


def row(file: str, line: int, page: str, name: str, hierarchy: str, count: int) -> str:
    """A point as Verilator writes it."""
    fields = {"f": f"/some/where/{file}", "l": str(line), "n": "3", "page": page, "o": name,
              "h": hierarchy}
    text = "".join(f"\x01{key}\x02{value}" for key, value in fields.items())
    return f"C '{text}' {count}"


FIRST = "\n".join([
    "# SystemC::Coverage-3",
    row("pt_a.sv", 10, "v_line/pt_a", "block", "top.a0", 0),
    row("pt_a.sv", 10, "v_line/pt_a", "block", "top.a1", 2),
    row("pt_a.sv", 12, "v_branch/pt_a", "if", "top.a0", 0),
    row("pt_a.sv", 4, "v_toggle/pt_a", "x[0]:0->1", "top.a0", 0),
    row("bench.sv", 1, "v_line/bench", "block", "top", 0),
])
SECOND = "\n".join([
    row("pt_a.sv", 12, "v_branch/pt_a", "if", "top.a0", 0),
    row("pt_a.sv", 4, "v_toggle/pt_a", "x[0]:0->1", "top.a0", 7),
])


def test_points_of_all_instances_and_runs_count_together(tmp_path: Path) -> None:
    """Any instance in any run reaches a point; files that are no design do not count."""
    paths = [tmp_path / "a.dat", tmp_path / "b.dat"]
    for path, text in zip(paths, (FIRST, SECOND)):
        path.write_text(text + "\n", encoding="latin-1")
    counts = merged(paths, frozenset({"pt_a.sv"}))
    assert counts == {
        Point("pt_a.sv", 10, "line", "3 block"): 2,
        Point("pt_a.sv", 12, "line", "3 if"): 0,
        Point("pt_a.sv", 4, "toggle", "3 x[0]:0->1"): 7,
    }
    assert summary(counts) == [
        ("pt_a.sv", "line", 1, 2), ("pt_a.sv", "toggle", 1, 1),
        ("all", "line", 1, 2), ("all", "toggle", 1, 1)]


def test_a_damaged_file_is_refused() -> None:
    """What is no point of coverage is no zero."""
    with pytest.raises(ValueError, match="expected a point of coverage, found 'C nonsense'"):
        list(points("C nonsense"))
