"""Documents: lines that fit a screen, and links inside the project that lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 140
_SKIPPED = ("build",)
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


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
