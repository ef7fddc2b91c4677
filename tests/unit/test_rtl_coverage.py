"""Coverage of the RTL (``sim/coverage``): counts are added up, reasons held against them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from pynq_train.backends.vboard import build
from sim.bfm.simulators import Model
from sim.coverage import runs
from sim.coverage.__main__ import low
from sim.coverage.counts import Point, merged, points, summary
from sim.coverage.reasons import LineReason, problems, read


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


def test_bits_that_are_not_used_are_no_points(tmp_path: Path) -> None:
    """By their names: those of a part that is left open, gaps between fields. Lines count."""
    path, kept = tmp_path / "a.dat", ("pad[0]:0->1", "gap_q:0->1", "unused_count[3]:1->0")
    names = [*kept, "t_idx_unused[7]:0->1", "record.start_pad[3]:0->1", "cfg.y_pad2[0]:1->0",
             "param.gap0[2]:0->1"]
    path.write_text("\n".join([row("pt_a.sv", 1, "v_line/pt_a", "x_unused[0]", "top", 0),
                               *(row("pt_a.sv", 4, "v_toggle/pt_a", name, "top", 0)
                                 for name in names)]), encoding="latin-1")
    found = {(point.kind, point.name) for point in merged([path], frozenset({"pt_a.sv"}))}
    assert found == {("line", "3 x_unused[0]"), *(("toggle", f"3 {name}") for name in kept)}


def test_a_damaged_file_is_refused() -> None:
    """What is no point of coverage is no zero."""
    with pytest.raises(ValueError, match="expected a point of coverage, found 'C nonsense'"):
        list(points("C nonsense"))


DESIGN = {"pt_a.sv": "case (state)\n  A: x <= 1;\n  default: x <= 0;\ncase (other)\n"
                     "  default: x <= 0;\n"}
COUNTS = {
    Point("pt_a.sv", 2, "line", "5 case"): 4,
    Point("pt_a.sv", 3, "line", "9 case"): 0,
    Point("pt_a.sv", 5, "line", "9 case"): 3,
    Point("pt_a.sv", 5, "line", "9 else"): 0,
    Point("pt_a.sv", 1, "toggle", "2 word[7]:0->1"): 0,
}
LINES = (LineReason(("pt_a.sv",), "A: x <= 1;\ndefault:  x <= 0;", ("case",), "no such state"),
         LineReason(("pt_a.sv",), "case (other)\n  default: x <= 0;", ("else",), "always"))


def wrong(lines: tuple[LineReason, ...]) -> list[str]:
    """Problems of some reasons."""
    return list(problems(COUNTS, lines, DESIGN))


def test_what_is_not_reached_has_a_reason() -> None:
    """Lines by their text and branch; bits need none."""
    assert wrong(LINES) == []
    (text,) = wrong(LINES[1:])
    assert text.startswith("pt_a.sv:3: 'case' of 'default: x <= 0;' is not reached, and has no")
    assert len(wrong(())) == 2


def test_a_reason_for_what_is_reached_fails() -> None:
    """So does one for a branch or a line that there is not, or not only once."""
    def one(text: str, branch: str) -> str:
        (found,) = wrong((*LINES, LineReason(("pt_a.sv",), text, (branch,), "wrong")))
        return found

    assert "'case' has a reason why it is not reached, and was reached 4 times" in one(
        "A: x <= 1;", "case")
    assert "branch 'if', which is not counted there" in one("A: x <= 1;", "if")
    assert "once, found it 2 times" in one("default: x <= 0;", "case")
    assert "once, found it 0 times" in one("B: x <= 1;", "case")


def test_one_of_two_points_of_a_branch_is_not_reached() -> None:
    """Two points of a name on one line: both have to be reached."""
    counts = {Point("pt_a.sv", 2, "line", "5 if"): 4, Point("pt_a.sv", 2, "line", "9 if"): 0}
    assert len(list(problems(counts, (), DESIGN))) == 1


@pytest.mark.parametrize("change", [{"reason": ""}, {"files": []}, {"line": 3}])
def test_an_entry_that_says_nothing_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    """Every field has to be there, and no other."""
    entry = {"files": ["pt_a.sv"], "text": "x", "branches": ["case"], "reason": "why"}
    file = tmp_path / "unreached.json"
    file.write_text(json.dumps([entry]), encoding="utf-8")
    assert read(file)[0].reason == "why"
    file.write_text(json.dumps([{**entry, **change}]), encoding="utf-8")
    with pytest.raises(ValueError, match="expected an entry with branches, files, reason, text"):
        read(file)


def test_the_stored_reasons_fit_the_design() -> None:
    """Each line stands once in its file: what the RTL no longer has needs no reason."""
    design = {path.name: path.read_text(encoding="utf-8")
              for path in (runs.ROOT / "rtl").rglob("*.*v")}
    found = problems({}, read(), design)
    assert not [text for text in found if " a reason expects " in text]


def test_bars_are_of_all_files() -> None:
    """A file alone may be below."""
    assert low([("pt_a.sv", "line", 1, 2), ("all", "line", 98, 100), ("all", "toggle", 90, 100)]
               ) == []
    assert low([("all", "line", 979, 1000), ("all", "toggle", 899, 1000)]) == [
        "line: expected 98.0 % or more, found 97.90 %",
        "toggle: expected 90.0 % or more, found 89.90 %"]


def test_counts_are_kept_by_what_they_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Benches and models that are named in texts or imported, the design, tools; no other file."""
    monkeypatch.setattr(runs, "tools", lambda: "versions")
    bench = runs.ROOT / "tests" / "rtl" / "test_pt_norm.py"
    names = {path.name for path in runs.needed(bench)}
    assert names >= {"test_pt_norm.py", "cocotb_pt_norm.py", "descriptor_bench.py", "norm_model.py",
                     "conftest.py", "env.py", "simulators.py"}
    assert not names & {"test_pt_vector.py", "boards.py", "learner.py"}
    board = next(path for path in runs.suite() if path.parent.name == "system")
    assert "boards.py" in {path.name for path in runs.needed(board)}
    first = runs.key(bench)
    assert first == runs.key(bench) != runs.key(board)
    monkeypatch.setattr(runs, "tools", lambda: "newer versions")
    assert runs.key(bench) != first
    monkeypatch.setattr(runs, "tools", lambda: "versions")
    monkeypatch.setattr(runs, "_design", lambda: "another design")
    assert runs.key(bench) != first


def test_a_file_of_tests_runs_once_and_not_if_it_failed(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Counts get their name when all tests have passed; older ones of the file go."""
    monkeypatch.setattr(runs, "tools", lambda: "versions")
    monkeypatch.setattr(runs, "FOLDER", tmp_path)
    bench, ends, ran = runs.ROOT / "tests" / "rtl" / "test_pt_norm.py", [1, 0], []

    def pretend(command: list[str], **options: dict[str, str]) -> object:
        ran.append(command)
        (Path(options["env"][runs.COVERAGE]) / f"{len(ran)}.dat").touch()
        return type("Done", (), {"returncode": ends.pop(0)})

    monkeypatch.setattr(runs.subprocess, "run", pretend)
    (tmp_path / "test_pt_norm-0123456789abcdef").mkdir()
    assert not runs.run(bench) and not runs.folder(bench).exists()
    assert runs.run(bench)
    assert [path.name for path in runs.folder(bench).iterdir()] == ["2.dat"]
    assert runs.run(bench) and len(ran) == 2
    assert [path.name for path in tmp_path.iterdir()] == [runs.folder(bench).name]


def test_registers_of_counting_simulators_start_with_zero() -> None:
    """Of an option that stands twice Verilator takes the last; others keep random contents."""
    def initial(arguments: Sequence[str]) -> str:
        last = max(at for at, name in enumerate(arguments) if name == "--x-initial")
        return arguments[last + 1]

    assert initial(Model("top", (), coverage=True).verilator_args()) == "0"
    assert initial(Model("top", ()).verilator_args()) == "unique"
    assert initial((*build.VERILATOR_FLAGS, *build.COUNT_FLAGS)) == "0"
    assert initial(build.VERILATOR_FLAGS) == "unique"
