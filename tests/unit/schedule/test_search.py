"""The design-space search: budgets are kept, and every board's configuration fits its board."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pynq_train.hw.boards import BOARDS
from pynq_train.hw.config import CONFIGS, ZYNQ7020
from pynq_train.schedule import search


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
    assert text.count("<- chosen") == 1 and "220 DSP, 126 BRAM36" in text
