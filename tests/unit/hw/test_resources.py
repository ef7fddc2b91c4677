"""Resource formulas: the figures of the page on the engine, and how they follow a configuration."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from pynq_train.errors import DoesNotFit
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.config import WIDE32, ZYNQ7020, HwConfig
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


@pytest.mark.parametrize(("config", "said"), [
    (WIDE32, "configuration wide32 is too large for pynq-z2: expected 220 DSPs at most, found 410"),
    (replace(ZYNQ7020, name="deep", x_bank_words=8192),
     "configuration deep is too large for pynq-z2: expected 134 block memories of 36 kbit at most, "
     "found 145.5"),
])  # fmt: skip
def test_a_board_refuses_what_exceeds_its_budget(config: HwConfig, said: str) -> None:
    """No plan can be made for such a board: there is none."""
    with pytest.raises(DoesNotFit, match=said):
        replace(BOARDS["pynq-z2"], config=config)
    assert replace(BOARDS["zcu104"], config=config).config is config


def test_the_small_configuration_leaves_a_third_of_the_block_memories() -> None:
    small, usual = BOARDS["pynq-z2-small"], BOARDS["pynq-z2"]
    assert resources(small.config).bram36 < 0.67 * small.budget.bram36
    assert small.clock_mhz == usual.clock_mhz / 2
    # Bytes per second of the memory stay.
    assert small.dram_bytes_per_cycle * small.clock_mhz == (
        usual.dram_bytes_per_cycle * usual.clock_mhz)


def test_deeper_memories_take_more() -> None:
    base = resources(ZYNQ7020).bram36
    assert resources(replace(ZYNQ7020, x_bank_words=8192)).bram36 == base + 3 * (14.5 - 7.5)
    assert resources(replace(ZYNQ7020, grad_words=8192)).bram36 == base + 4 * (3 - 5.5)
    assert resources(replace(ZYNQ7020, stage_words=4096)).bram36 == base + 7.5 - 14.5
