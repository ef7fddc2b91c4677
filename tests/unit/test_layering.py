"""Imports between the packages of pynq_train point one way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "pynq_train"

HOST_SIDE = {"hw", "fixed", "graph", "quant", "program", "schedule", "backends", "data",
             "overlays", "exchange", "files"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "files": set(),
    "hw": set(),
    "fixed": set(),
    "graph": {"fixed"},
    "data": {"graph"},
    "exchange": {"graph", "files"},
    "quant": {"graph", "fixed", "hw"},
    "program": {"hw", "fixed"},
    "schedule": {"quant", "graph", "hw", "program"},
    "overlays": {"hw"},
    "notebooks": set(),
    "backends": {"hw", "fixed", "program", "overlays"},
    # The baseline knows networks and boards, and nothing of our engine.
    "eftrain": {"graph", "hw"},
    "train": {"eftrain", *HOST_SIDE},
    "bench": {"train", "eftrain", *HOST_SIDE},
    "doctor": {"train", *HOST_SIDE},
    "selftest": {"train", "doctor", *HOST_SIDE},
    # The command line uses public names: the face of the package, and public sub-packages.
    "cli": {"", "train", "bench", "doctor", "eftrain", *HOST_SIDE},
    # The face of the package re-exports; nothing but cli may import it.
    "": {"train", *HOST_SIDE},
}


def imported_units(path: Path) -> set[str]:
    """Return the first-level units of pynq_train (\"\" for the package itself) a file imports."""
    units: set[str] = set()
    here = ("pynq_train", *path.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        targets: list[tuple[str, ...]] = []
        if isinstance(node, ast.Import):
            targets = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else ()
            module = (*base, *(node.module.split(".") if node.module else ()))
            targets = [(*module, alias.name) for alias in node.names]
        for target in targets:
            if target[0] == "pynq_train":
                unit = target[1] if len(target) > 1 else ""
                exists = (PACKAGE / unit).is_dir() or (PACKAGE / f"{unit}.py").is_file()
                units.add(unit if unit and exists else "")
    return units


def unit_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return {"__init__.py": "", "__main__.py": "cli"}.get(first, first.removesuffix(".py"))


def source_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", source_files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    unit = unit_of(path)
    assert unit in ALLOWED, f"{unit!r} is a new part of the package: add it to ALLOWED"
    wrong = imported_units(path) - ALLOWED[unit] - {unit, "errors"}
    assert not wrong, f"{unit or 'pynq_train'} may not import {sorted(wrong)}"


def test_the_check_sees_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "pynq_train"
    (package / "backends").mkdir(parents=True)
    (package / "graph").mkdir()
    bad = package / "backends" / "golden.py"
    bad.write_text("from ..graph import fuse\nimport pynq_train.graph.ops\nfrom .. import graph\n")
    monkeypatch.setitem(globals(), "PACKAGE", package)
    assert imported_units(bad) == {"graph"}
