"""A campaign on a small project: what is killed, what survives, and that it goes on."""

from __future__ import annotations

import importlib.util
import itertools
import json
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.needs("cosmic_ray", "coverage"), pytest.mark.medium]
if importlib.util.find_spec("cosmic_ray") is not None:
    from mutants import python
    from mutants.places import mutations
    from mutants.records import TestsFail
    from mutants.report import Equivalent, report
    from mutants.run import run
    from mutants.session import KILLED, SURVIVED, TIMEOUT, Session
    from mutants.tree import Tree

ROOT = Path(__file__).resolve().parents[3]
CODE = """\
LIMIT = 8


def clamp(value: int) -> int:
    return LIMIT if value > LIMIT else value


def steps(value: int) -> int:
    count = 0
    while value > 0:
        value -= 1
        count += 1
    return count
"""
CLAMPED = "    assert [clamp(value) for value in (7, 8, 9)] == [7, 8, 8]\n"
STEPPED = "    assert (steps(0), steps(3)) == (0, 3)\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a package and tests that notice everything."""
    root = tmp_path / "project"
    for file, text in {
        "pynq_train/__init__.py": "", "pynq_train/quant/__init__.py": "",
        "pynq_train/quant/code.py": CODE,
        "pyproject.toml": ("[tool.pytest.ini_options]\n"
                           'markers = ["slow", "board", "rtl", "synth"]\n'),
        "tests/unit/quant/test_code.py": test_file(CLAMPED, STEPPED),
    }.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text, encoding="utf-8")
    (root / "mutants").symlink_to(ROOT / "mutants")
    return root


def test_file(clamped: str, stepped: str) -> str:
    """Return the project's tests with these bodies."""
    return ("from pynq_train.quant.code import clamp, steps\n\n\ndef test_clamp() -> None:\n"
            f"{clamped}\n\ndef test_steps() -> None:\n{stepped}")


test_file.__test__ = False  # type: ignore[attr-defined]


def plan(root: Path, count: int = 100) -> python.Plan:
    """Return a plan for the project."""
    return python.Plan(root, root / "build", ("quant",), count, 0, "not slow", jobs=2, seconds=60)


def outcomes(session: Session) -> dict[str, str]:
    """Return what became of each changed line."""
    return {mutant.after: mutant.outcome for mutant in session.mutants()}


def test_good_tests_kill(project: Path) -> None:
    """Every mutant is noticed but the equal ones; an endless loop is ended."""
    session = Session(project / "build" / "session.sqlite")
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mutants.trial.START_SECONDS", 6.0)
        python.campaign(plan(project), session, said.append)
    found = outcomes(session)
    assert len(said) == len(session.mutants()) > 8
    assert TIMEOUT in found.values()
    # Of equal values it does not matter which is taken.
    assert {after for after, outcome in found.items() if outcome == SURVIVED} <= {
        "return LIMIT if value >= LIMIT else value", "while value != 0:"}
    killed = [mutant for mutant in session.mutants() if mutant.outcome == KILLED]
    assert killed and all(mutant.by.startswith("tests/unit/quant/test_code.py::test_")
                          for mutant in killed)
    assert (project / "pynq_train/quant/code.py").read_text(encoding="utf-8") == CODE


def test_a_test_that_asserts_nothing_lets_mutants_live(project: Path) -> None:
    """Without its assertion the loop's mutants survive, and are tried again when it is back."""
    tests = project / "tests" / "unit" / "quant" / "test_code.py"
    tests.write_text(test_file(CLAMPED, "    steps(3)\n"), encoding="utf-8")
    session = Session(project / "build" / "session.sqlite")
    inside = [m for place in mutations("pynq_train/quant/code.py", CODE).values() for m in place
              if m.definition == "steps" and m.operator == "core/NumberReplacer"]
    session.add(python.mutant(project, mutation) for mutation in inside[:2])
    python.campaign(plan(project, 0), session, lambda line: None)
    assert set(outcomes(session).values()) == {SURVIVED}
    assert "survived: 2" in report(session.mutants(), [])
    tests.write_text(test_file(CLAMPED, STEPPED), encoding="utf-8")
    for mutant in session.mutants():
        session.set_result(mutant.name, "")
    python.campaign(plan(project, 0), session, lambda line: None)
    assert set(outcomes(session).values()) == {KILLED}


def test_an_interrupted_campaign_goes_on(project: Path) -> None:
    """What is known stays known; the rest is tried, in a session that is opened anew."""
    path = project / "build" / "session.sqlite"
    session = Session(path)
    said: list[str] = []

    def interrupt(line: str) -> None:
        said.append(line)
        if len(said) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        python.campaign(plan(project, 5), session, interrupt)
    session.close()
    session = Session(path)
    known = {mutant.name: mutant for mutant in session.mutants() if mutant.outcome}
    assert len(known) == 2
    python.campaign(plan(project, 5), session, said.append)
    assert len(session.mutants()) == 5 and len(said) == 5
    assert all(mutant.outcome for mutant in session.mutants())
    assert known.items() <= {mutant.name: mutant for mutant in session.mutants()}.items()


def test_tests_that_fail_anyway_are_refused(project: Path) -> None:
    """A failure that no mutant made would kill them all."""
    tests = project / "tests" / "unit" / "quant" / "test_code.py"
    tests.write_text(test_file("    assert clamp(1) == 2\n", STEPPED), encoding="utf-8")
    session = Session(project / "build" / "session.sqlite")
    with pytest.raises(TestsFail, match="expected tests that pass without a mutant"):
        python.campaign(plan(project, 3), session, lambda line: None)
    assert not any(mutant.outcome for mutant in session.mutants())


def test_mutants_move_with_their_text(project: Path) -> None:
    """Lines before a mutant do not matter; one whose text is gone is forgotten."""
    session = Session(project / "build" / "session.sqlite")
    session.add(itertools.islice(python.drawn(project, ("quant",), 0), 100))
    before = session.mutants()
    for mutant in before:
        session.set_result(mutant.name, KILLED, "a test")
    path = project / "pynq_train" / "quant" / "code.py"
    path.write_text('"""A 5."""\nOTHER = 3\n' + CODE.replace("value -= 1", "value = value - 1"),
                    encoding="utf-8")
    python.relocate(project, session)
    after = session.mutants()
    assert {mutant.before for mutant in before} - {mutant.before for mutant in after} == {
        "value -= 1"}
    assert all(mutant.outcome == KILLED for mutant in after)
    place = {(m.definition, m.before, m.after): int(m.place.split(":")[1]) for m in before}
    assert all(place[m.definition, m.before, m.after] + 2 == int(m.place.split(":")[1])
               for m in after)


def test_argued_equivalents_are_counted_apart(project: Path) -> None:
    """The report takes them from what survived."""
    session = Session(project / "build" / "session.sqlite")
    session.add(itertools.islice(python.drawn(project, ("quant",), 0), 2))
    one, other = session.mutants()
    session.set_result(one.name, SURVIVED)
    session.set_result(other.name, KILLED)
    lines = report(session.mutants(), [])
    assert "survived: 1" in lines and lines[-3].startswith(one.place)
    assert lines[2].split() == ["all", "1", "1", "0", "0", "0", "50.0", "%"]
    entry = Equivalent("pynq_train/quant/code.py", one.definition, one.before, one.after, "equal")
    lines = report(session.mutants(), [entry])
    assert "survived: 0" in lines
    assert lines[2].split() == ["all", "1", "0", "0", "1", "0", "100.0", "%"]


def test_tree_gives_the_file_back(project: Path) -> None:
    """A changed file is another for Python, and the old one afterwards."""
    tree = Tree(project / "build" / "tree")
    tree.refresh(project)
    file = tree.folder / "pynq_train" / "quant" / "code.py"
    stamps = [file.stat().st_mtime]
    for text in ("LIMIT = 1\n", "LIMIT = 2\n"):
        tree.change("pynq_train/quant/code.py", text)
        assert file.read_text(encoding="utf-8") == text
        stamps.append(file.stat().st_mtime)
        with pytest.raises(RuntimeError, match="is changed already"):
            tree.change("pynq_train/__init__.py", "")
        tree.restore()
        assert (file.read_text(encoding="utf-8"), file.stat().st_mtime) == (CODE, stamps[0])
    assert len({round(stamp) for stamp in stamps}) == 3


def test_a_command_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    """By the clock if it sleeps, by processor time if it computes."""
    sleeps = run([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, 0.5, 60)
    computes = run([sys.executable, "-c", "while True: pass"], tmp_path, 60, 1)
    assert (sleeps.code, computes.code) == (None, None)
    assert sleeps.seconds < 20 and computes.seconds < 50
    fails = run([sys.executable, "-c", "import sys; print(7); sys.exit(3)"], tmp_path, 60, 60)
    assert (fails.code, fails.output) == (3, "7\n")


def test_argued_file_is_of_this_code() -> None:
    """Each argued equivalent names lines that stand in its file."""
    from mutants.report import argued

    for entry in argued():
        lines = {line.strip() for line in (ROOT / entry.module).read_text("utf-8").splitlines()}
        assert set(entry.before.splitlines()) <= lines, entry
        assert len(entry.why) > 20, entry
    assert json.loads((ROOT / "mutants" / "equivalent.json").read_text("utf-8")) is not None
