"""``docs/boards.md`` follows from stored figures, the boards and the cycle model."""

from __future__ import annotations

import dataclasses
import re

import pytest

from benchmarks import boards as page
from pynq_train.bench import bench_step
from pynq_train.graph import zoo
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


@pytest.mark.medium
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


def test_every_board_is_simulated_and_predicted() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    for board in BOARDS:
        for net in page.SIMULATED_NETS:
            for basis in ("predicted", "simulated"):
                line = rf"^\| {board} \| {net} \| \d+ \| ([\d.]+) \| [\d.]+ MiB \| {basis} \|$"
                assert re.search(line, text, re.MULTILINE), f"{board}, {net}: no {basis} line"


def test_counts_are_shared_by_boards_that_are_alike_only() -> None:
    assert {name: page.counted_as(board) for name, board in BOARDS.items()} == {
        "pynq-z1": "pynq-z1", "pynq-z2": "pynq-z1", "pynq-z2-small": "pynq-z2-small",
        "ultra96": "ultra96", "aup-zu3": "ultra96",
        "kv260": "kv260", "zcu104": "zcu104"}
    assert set(page.simulated()) == {page.counted_as(board) for board in BOARDS.values()}
    faster = dataclasses.replace(BOARDS["pynq-z2"], dram_bytes_per_cycle=39, name="faster")
    assert page.counted_as(faster) == "ultra96"


@pytest.mark.slow
@pytest.mark.rtl
@pytest.mark.xdist_group("vboard")
@pytest.mark.parametrize("board", page.simulated())
def test_the_stored_counts_are_those_of_the_rtl(board: str) -> None:
    for net in ("digits", "lenet5"):
        stored = page.simulated()[board][net]
        counted = bench_step(zoo.get(net), stored["batch"], BOARDS[board]).whole.total
        assert counted == stored["cycles"], (
            f"{board}, {net}: run python -m benchmarks.boards --simulate {board}")
