"""Names that files outside the package import from it exist.

Benches run inside simulators, benchmarks and examples by hand: a name that moved would be missed
only there, minutes or months later.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("tests", "benchmarks", "examples", "sim", "overlays")


def files() -> list[Path]:
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def exists(module: str, name: str) -> bool:
    """Whether ``from module import name`` works."""
    try:
        return hasattr(importlib.import_module(module), name) or bool(
            importlib.import_module(f"{module}.{name}"))
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("pynq_train"):
            raise  # a package that is not installed
        return False


def missing(source: str) -> list[str]:
    """Return what a file imports from pynq_train in vain, wherever it does."""
    wanted = [(node.module, alias.name) for node in ast.walk(ast.parse(source))
              if isinstance(node, ast.ImportFrom) and node.module is not None
              and node.module.split(".")[0] == "pynq_train" for alias in node.names]
    return [f"{module}.{name}" for module, name in wanted
            if name != "*" and not exists(module, name)]


def test_the_check_sees_missing_names() -> None:
    assert missing("def f():\n    from pynq_train.layers import fuse, fuze\n") == [
        "pynq_train.layers.fuze"]
    assert missing("from pynq_train.layerz import fuse") == ["pynq_train.layerz.fuse"]
    assert missing("from pynq_train import graph, zoo") == []


@pytest.mark.parametrize("path", files(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imported_names_exist(path: Path) -> None:
    assert not (found := missing(path.read_text(encoding="utf-8"))), f"expected {found}"
