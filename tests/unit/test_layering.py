"""Imports between the packages of pynq_train point one way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "pynq_train"

# In the order in which data flows: each part may use those above it, and no others.
COMPILER = {"hw", "fixed", "graph", "layers", "quant", "program", "cycles", "schedule"}
MACHINE = {*COMPILER, "overlays", "backends", "run"}
BASE = {"errors", "arrays", "files", "version"}
"""Parts that all may use; they use each other alone."""
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "arrays": set(),
    "files": set(),
    "version": set(),
    "hw": set(),
    "fixed": set(),
    "graph": {"fixed"},
    "layers": {"graph", "fixed", "hw"},
    # Networks with adapters: changes of a graph, which the engine runs as any other.
    "rungs": {"graph", "layers", "hw"},
    "quant": {"graph", "layers", "fixed", "hw"},
    "program": {"hw", "fixed"},
    # The cycle model knows the engine and the fields of descriptors, not who made them.
    "cycles": {"hw", "program"},
    "schedule": COMPILER,
    "overlays": {"hw"},
    # Golden checks the scheduler, so it knows nothing of it.
    "backends": {"hw", "fixed", "program", "overlays"},
    "run": MACHINE,
    "check": {"rungs", *MACHINE},
    "data": {"graph", "images"},
    "images": {"graph"},
    "shifts": {"graph"},
    # Importers refuse what no engine runs (hw.limits, layers) while they know the foreign names.
    "exchange": {"graph", "layers", "hw"},
    # The baseline knows networks and boards, and nothing of our engine.
    "eftrain": {"graph", "layers", "hw"},
    "train": {"rungs", "data", "images", "exchange", "eftrain", *MACHINE},
    "adaptation": {"rungs", "train", *MACHINE},
    "fleet": {"check", "train", "data", "images", *MACHINE},
    # Arms are plans; what they are trained with is not its business.
    "select": MACHINE,
    "bench": {"eftrain", *MACHINE},
    "doctor": MACHINE,
    "selftest": {"doctor", *MACHINE},
    "notebooks": set(),
    # The command line uses public names: the face of the package, and public sub-packages.
    "cli": {"", "rungs", "adaptation", "check", "train", "fleet", "select", "bench", "doctor",
            "eftrain", "data", "images", "exchange", *MACHINE},
    # The face of the package re-exports; nothing but cli may import it.
    "": {"rungs", "adaptation", "check", "train", "fleet", "select", "data", "images", "exchange",
         *MACHINE},
}


def imported_names(path: Path) -> list[tuple[tuple[str, ...], str]]:
    """Return all (module below pynq_train, name) that a file imports, wherever it does."""
    found: list[tuple[tuple[str, ...], str]] = []
    here = ("pynq_train", *path.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        targets: list[tuple[str, ...]] = []
        if isinstance(node, ast.Import):
            targets = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else ()
            module = (*base, *(node.module.split(".") if node.module else ()))
            targets = [(*module, alias.name) for alias in node.names]
        found += [(target[1:-1], target[-1] if len(target) > 1 else "") for target in targets
                  if target[0] == "pynq_train"]
    return found


def imported_units(path: Path) -> set[str]:
    """Return the first-level units of pynq_train ("" for the package itself) a file imports."""
    units: set[str] = set()
    for module, name in imported_names(path):
        unit = module[0] if module else name
        exists = (PACKAGE / unit).is_dir() or (PACKAGE / f"{unit}.py").is_file()
        units.add(unit if unit and exists else "")
    return units


def imported_files(path: Path) -> set[Path]:
    """Return the files of pynq_train that a file imports, lazily or for type checks too.

    ``from pynq_train.a import b`` is an import of ``a/b.py`` if there is such a file, else of
    ``a.py`` or ``a/__init__.py``.
    """
    found: set[Path] = set()
    for module, name in imported_names(path):
        base = PACKAGE.joinpath(*module)
        for target in (base / f"{name}.py", base / name / "__init__.py",
                       base.with_suffix(".py"), base / "__init__.py"):
            if target.is_file() and (name or target.stem != ""):
                found.add(target)
                break
    return found - {path}


def circle(edges: dict[Path, set[Path]]) -> list[Path]:
    """Return files that import each other in a circle, in order; empty if there are none."""
    done: set[Path] = set()

    def walk(path: Path, trail: list[Path]) -> list[Path]:
        if path in trail:
            return trail[trail.index(path):]
        if path in done:
            return []
        for target in sorted(edges.get(path, ())):
            if found := walk(target, [*trail, path]):
                return found
        done.add(path)
        return []

    for start in sorted(edges):
        if found := walk(start, []):
            return found
    return []


def unit_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return {"__init__.py": "", "__main__.py": "cli"}.get(first, first.removesuffix(".py"))


def source_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", source_files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    unit = unit_of(path)
    assert unit in ALLOWED, f"{unit!r} is a new part of the package: add it to ALLOWED"
    wrong = imported_units(path) - ALLOWED[unit] - {unit, *BASE}
    assert not wrong, f"{unit or 'pynq_train'} may not import {sorted(wrong)}"


def test_the_check_sees_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "pynq_train"
    (package / "backends").mkdir(parents=True)
    (package / "graph").mkdir()
    bad = package / "backends" / "golden.py"
    bad.write_text("from ..graph import fuse\nimport pynq_train.graph.ops\nfrom .. import graph\n")
    monkeypatch.setitem(globals(), "PACKAGE", package)
    assert imported_units(bad) == {"graph"}


def test_no_file_imports_itself_through_others() -> None:
    edges = {path: imported_files(path) for path in source_files()}
    assert sum(map(len, edges.values())) > 500, "the check sees few imports: is it broken?"
    found = circle(edges)
    assert not found, "circle: " + " -> ".join(str(p.relative_to(PACKAGE)) for p in found)


@pytest.mark.parametrize("planted", [
    "from pynq_train.graph import b\n",
    "from pynq_train.graph.b import name\n",
    "from . import b\n",
    "def f():\n    from pynq_train.graph.b import name\n",
    "import typing\nif typing.TYPE_CHECKING:\n    from pynq_train.graph.b import name\n",
])
def test_the_check_sees_circles(planted: str, tmp_path: Path,
                                monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "pynq_train" / "graph"
    folder.mkdir(parents=True)
    monkeypatch.setitem(globals(), "PACKAGE", folder.parent)
    (folder / "a.py").write_text(planted)
    (folder / "b.py").write_text("from pynq_train.graph import c\n")
    (folder / "c.py").write_text("")
    paths = [folder / "a.py", folder / "b.py", folder / "c.py"]
    assert circle({path: imported_files(path) for path in paths}) == []
    (folder / "c.py").write_text("from pynq_train.graph.a import other\n")
    assert set(circle({path: imported_files(path) for path in paths})) == set(paths)
