"""The design-space search: budgets are kept, and every board's configuration fits its board."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from pynq_train.hw.boards import BOARDS
from pynq_train.hw.config import CONFIGS, ZYNQ7020
from pynq_train.hw.resources import resources
from pynq_train.schedule import search

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "configurations.md").read_text("utf-8")


@pytest.mark.parametrize("name", BOARDS)
def test_the_configuration_of_a_board_keeps_its_budget(name: str) -> None:
    board = BOARDS[name]
    assert board.config in CONFIGS.values()
    assert search.fits(board.config, board)


def test_what_is_too_large_is_left_out() -> None:
    board = BOARDS["pynq-z2"]
    assert not search.fits(replace(ZYNQ7020, tm=32), board)
    assert not search.fits(replace(ZYNQ7020, acc_groups=1024), board)


def test_variants_vary_every_buffer_for_both_widths() -> None:
    found = list(search.variants(ZYNQ7020))
    assert len(found) == len(set(found)) == 2 * (1 + 4 * 2 + 3)
    assert {config.tm for config in found} == {16, 32}


def test_more_multipliers_and_memory_never_score_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MIX", (("lenet5", 32), ("1x", 32)))
    board = BOARDS["zcu104"]
    small = search.score(replace(ZYNQ7020, x_bank_words=1024, acc_groups=128), board)
    assert search.score(ZYNQ7020, board) < small


def test_the_table_marks_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MIX", (("lenet5", 32),))
    monkeypatch.setattr(search, "DEPTHS", {"stage_words": (4096, 8192)})
    text = search.table(BOARDS["pynq-z2"])
    assert text.count("<- chosen") == 1 and "220 DSP, 134 BRAM36" in text


@pytest.mark.medium
@pytest.mark.parametrize("name", ["pynq-z2", "ultra96", "kv260", "zcu104"])
def test_the_page_shows_the_search(name: str) -> None:
    assert search.table(BOARDS[name]) in PAGE, (
        "docs/configurations.md differs: run python -m pynq_train.schedule.search")


@pytest.mark.parametrize("name", CONFIGS)
def test_the_page_says_what_a_configuration_takes(name: str) -> None:
    row = re.search(rf"^\| `{name}` \|.*\| ([\d.]+) \| ([\d.]+) \|$", PAGE, re.MULTILINE)
    assert row is not None
    taken = resources(CONFIGS[name])
    assert (float(row.group(1)), float(row.group(2))) == (taken.dsp, taken.bram36)
