"""Size budgets of source files."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUDGETS = {".py": 600, ".sv": 500, ".v": 500, ".tcl": 500}
FOLDERS = ("pynq_train", "rtl", "sim", "overlays", "mutants", "tests")


def sources() -> list[Path]:
    found = []
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            generated = "gen" in path.relative_to(ROOT).parts
            if path.suffix in BUDGETS and not generated and "obj_dir" not in path.parts:
                found.append(path)
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_file_is_within_budget(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    budget = BUDGETS[path.suffix]
    assert lines <= budget, f"{path.relative_to(ROOT)} has {lines} lines, budget {budget}: split it"
