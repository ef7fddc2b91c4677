"""Resource formulas: the figures of the page on the engine, and how they follow a configuration."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from pynq_train.hw.boards import BOARDS
from pynq_train.hw.config import ZYNQ7020
from pynq_train.hw.resources import resources

ENGINE_PAGE = Path(__file__).resolve().parents[3] / "docs" / "engine.md"


def test_formulas_agree_with_the_engine_page() -> None:
    text = ENGINE_PAGE.read_text(encoding="utf-8")
    table = text[text.index("| memory | words x bits | RAMB36 |"):]
    figures = [float(cell) for cell in re.findall(r"\| ([\d.]+) \|$", table, re.MULTILINE)]
    found = resources(ZYNQ7020)
    assert len(figures) >= 10 and sum(figures) == found.bram36
    by_name = {memory.name: memory.bram36 for memory in found.memories}
    assert figures[:4] == [by_name[n] for n in ("accumulators", "X banks", "staging",
                                               "gradient queue")]
    dsps = re.search(r"DSPs: (\d+) array, (\d+) update, (\d+) softmax, (\d+) vector, "
                     r"(\d+) normalisation", text)
    assert dsps is not None and sum(map(int, dsps.groups())) == found.dsp


def test_every_board_has_room() -> None:
    for board in BOARDS.values():
        found = resources(board.config)
        assert found.dsp <= board.budget.dsp


def test_deeper_memories_take_more() -> None:
    base = resources(ZYNQ7020).bram36
    assert resources(replace(ZYNQ7020, x_bank_words=8192)).bram36 == base + 3 * (16 - 8)
    assert resources(replace(ZYNQ7020, grad_words=8192)).bram36 == base - 4 * 3
    assert resources(replace(ZYNQ7020, stage_words=4096)).bram36 == base - 8
