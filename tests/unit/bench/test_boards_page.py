"""``docs/boards.md`` follows from stored figures, the boards and the cycle model."""

from __future__ import annotations

import re

import pytest

from benchmarks import boards as page
from pynq_train.hw.boards import BOARDS, Board

WORDS = {"measured", "simulated", "predicted", "synthesised", "assumed"}


def _stated(board: Board, net: str) -> tuple[float, int] | None:
    """What the page says is predicted, where the cycle model would take long."""
    if net in ("digits", "lenet5"):
        return page.predicted(board, net)
    text = page.PAGE.read_text(encoding="utf-8")
    line = rf"^\| {board.name} \| {net} \| \d+ \| ([\d.]+) \| ([\d.]+) MiB \| predicted"
    found = re.search(line, text, re.MULTILINE)
    return (float(found.group(1)), round(float(found.group(2)) * (1 << 20))) if found else None


def test_the_page_is_current() -> None:
    assert page.render(_stated) == page.PAGE.read_text(encoding="utf-8"), (
        "docs/boards.md differs: run python -m benchmarks.boards")


@pytest.mark.slow
def test_all_predictions_are_current() -> None:
    assert page.render() == page.PAGE.read_text(encoding="utf-8"), (
        "docs/boards.md differs: run python -m benchmarks.boards")


def test_every_line_says_what_it_rests_on() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    starts = tuple(f"| {name} |" for name in BOARDS)
    lines = [line for line in text.splitlines() if line.startswith(starts)]
    assert len(lines) >= 7 * len(BOARDS)
    kinds = {line.rstrip(" |").split("| ")[-1] for line in lines}
    assert kinds <= WORDS - {"measured"}, "measured lines need a board's record first"
