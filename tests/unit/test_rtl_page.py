"""The tables of ``rtl/README.md`` name every RTL file, once, and no other."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "rtl" / "README.md"


def _named() -> list[str]:
    """Files in the first cells of the tables, relative to ``rtl``."""
    return re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def _engine() -> list[str]:
    return (ROOT / "rtl" / "pynq_train.f").read_text(encoding="utf-8").split()


def _overlays() -> list[str]:
    return [f"../{path.relative_to(ROOT).as_posix()}"
            for pattern in ("*.sv", "*.v") for path in (ROOT / "overlays").rglob(pattern)]


def test_the_tables_name_every_file_once() -> None:
    expected, found = sorted(_engine() + _overlays()), sorted(_named())
    assert found == expected, (
        f"rtl/README.md: expected one line for each file, found none or two for "
        f"{sorted(set(expected) - set(found))} and lines for unknown or repeated files "
        f"{[name for name in found if name not in expected or found.count(name) > 1]}; "
        "write a line for each new file")


def test_every_file_stands_in_its_folder() -> None:
    missing = [name for name in _named() if not (PAGE.parent / name).is_file()]
    assert missing == []
