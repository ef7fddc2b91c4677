"""Documents: lines fit a screen; links, paths, file names and commands are those of the project."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pynq_train.cli.main import parser

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 140
_SKIPPED = ("build",)
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_QUOTED = re.compile(r"`([\w./*-]+)`")
_FILE = re.compile(r".*\.(py|sv|hpp|cpp|md|sh|toml|ipynb|svg)")
_TEST = re.compile(r"`([\w./-]+\.py)::(\w+)`")
_IN_SOURCE = re.compile(r"``((?:docs|overlays|pynq_train|rtl|sim|tests)/[\w./-]+)``")
_COMMAND = re.compile(r"(?:^ *|`)(?:pynq-train|python -m pynq_train) ([a-z]+)\b([^`#\n]*)", re.M)
_MAKE = re.compile(r"(?:^ *|`|&& )make ([a-z][a-z-]*)", re.M)
_SOURCES = ("pynq_train", "rtl", "hls/src")
"""Folders that texts leave out where they speak of nothing else."""
_MADE = ("build", "vectors", "_i", "_d", "dcol")
"""First parts of what is no path of the project: made when something runs, or names of signals."""
_EXAMPLES = ("tests/rtl/test_NAME.py",)
"""Files that a reader writes."""


def documents() -> list[Path]:
    """All Markdown files of the project, built and hidden folders left out."""
    return [path for path in sorted(ROOT.rglob("*.md"))
            if not any(part.startswith(".") or part in _SKIPPED
                       for part in path.relative_to(ROOT).parts)]


@pytest.mark.parametrize("path", documents(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_lines_fit(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    long = [number for number, line in enumerate(lines, 1) if len(line) > LONGEST]
    assert not long, (f"{path.relative_to(ROOT)}: expected at most {LONGEST} characters, found "
                      f"more in lines {long}; break them, or make a list of the table")


@pytest.mark.parametrize("path", documents(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    targets = _LINK.findall(path.read_text(encoding="utf-8"))
    missing = [target for target in targets
               if "://" not in target and not (path.parent / target).exists()]
    assert not missing, f"{path.relative_to(ROOT)} links to {missing}, which do not exist"


def current() -> list[Path]:
    """Documents that speak of the project as it is: the changelog speaks of older ones too."""
    return [path for path in documents() if path.name != "CHANGELOG.md"]


@pytest.mark.parametrize("path", current(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_paths_exist(path: Path) -> None:
    """Quoted paths lead from the project, from its sources or from the document somewhere."""
    folders = (ROOT, path.parent, *(ROOT / name for name in _SOURCES))
    quoted = {name for name in _QUOTED.findall(path.read_text(encoding="utf-8"))
              if "/" in name and not name.startswith("/")
              and name.split("/")[0] not in _MADE and name not in _EXAMPLES}
    missing = [name for name in sorted(quoted)
               if not any(list(folder.glob(name)) for folder in folders)]
    assert not missing, f"{path.relative_to(ROOT)} names {missing}, which do not exist"


@pytest.mark.parametrize("path", current(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_quoted_tests_exist(path: Path) -> None:
    """``FILE::TEST`` names a test of that file."""
    missing = [f"{file}::{test}"
               for file, test in _TEST.findall(path.read_text(encoding="utf-8"))
               if f"def {test}(" not in (ROOT / file).read_text(encoding="utf-8")]
    assert not missing, f"{path.relative_to(ROOT)} names {missing}, which do not exist"


def test_paths_in_docstrings_exist() -> None:
    """What a docstring of the package quotes as a path is one."""
    missing = [f"{source.relative_to(ROOT)}: {name}"
               for source in sorted((ROOT / "pynq_train").rglob("*.py"))
               for name in _IN_SOURCE.findall(source.read_text(encoding="utf-8"))
               if not (ROOT / name).exists()]
    assert not missing, f"paths that do not exist: {missing}"


@pytest.mark.parametrize("path", current(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_file_names_exist(path: Path) -> None:
    """A quoted file name without a folder is that of some file of the project."""
    names = {file.name for folder in ("docs", "examples", "hls", "overlays", "pynq_train", "rtl",
                                      "scripts", "sim", "tests", "benchmarks")
             for file in (ROOT / folder).rglob("*")} | {file.name for file in ROOT.iterdir()}
    missing = [name for name in _QUOTED.findall(path.read_text(encoding="utf-8"))
               if "/" not in name and "*" not in name and _FILE.fullmatch(name)
               and name not in names]
    assert not missing, f"{path.relative_to(ROOT)} names {missing}, which do not exist"


@pytest.mark.parametrize("path", current(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_commands_exist(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Commands of pynq-train have the options that they are given; make has the targets."""
    text = path.read_text(encoding="utf-8")
    for command, rest in _COMMAND.findall(text):
        with pytest.raises(SystemExit):
            parser().parse_args([command, "--help"])
        shown = capsys.readouterr().out
        if "ACTION" in shown:  # a command of several: its options are those of the action
            action = (rest.split() or ["nothing"])[0]
            if action == "nothing" or action.startswith(("-", "|", "`")):
                continue
            with pytest.raises(SystemExit):
                parser().parse_args([command, action, "--help"])
            shown = capsys.readouterr().out
        known = set(re.findall(r"--[a-z-]+", shown))
        unknown = set(re.findall(r"--[a-z-]+", rest)) - known
        assert not unknown, (f"{path.relative_to(ROOT)}: pynq-train {command} has no options "
                             f"{sorted(unknown)}; it has {sorted(known)}")
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    missing = set(_MAKE.findall(text)) - set(targets)
    assert not missing, f"{path.relative_to(ROOT)}: make has no targets {sorted(missing)}"
