"""Cycle model of the vector unit: what holds without the RTL."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pynq_train.cycles import unit_cycles
from pynq_train.cycles.vector import block_cycles
from pynq_train.hw.commands import Opcode
from pynq_train.hw.memory_timing import MemoryTiming
from pynq_train.hw.norm import NormProgram

ENGINE_PAGE = Path(__file__).resolve().parents[3] / "docs" / "engine.md"
MEMORY = MemoryTiming(16)


def maps(words: int, **modes: int) -> dict[str, int]:
    """Fields of a VECTOR descriptor of one image and two blocks."""
    return {"pre.opcode": int(Opcode.VECTOR), "v.v_images": 1, "v.v_blocks": 2,
            "v.v_words": words, "v.m_words": -(-words // 16),
            **{f"v.{name}": value for name, value in modes.items()}}


def test_cycles_of_normalisation_are_those_of_the_page() -> None:
    text = ENGINE_PAGE.read_text(encoding="utf-8")
    for program in NormProgram:
        found = re.search(rf"\b{program.name} (\d+)[,.]", text)
        assert found is not None and int(found.group(1)) == block_cycles(program)


@pytest.mark.parametrize(("modes", "words_per_cycle"), [
    ({"v_sums": 1}, 16 / 18), ({"v_write": 1}, 0.75), ({"v_b": 1, "v_write": 1}, 0.6)])
def test_long_maps_take_what_port_or_memory_take(modes: dict[str, int],
                                                 words_per_cycle: float) -> None:
    """A port pauses two cycles after a burst; the memory moves two words per cycle and turns."""
    short, long = (unit_cycles(maps(words, **modes), MEMORY) for words in (2000, 6000))
    assert long - short == pytest.approx(2 * 4000 / words_per_cycle, rel=0.08)


def test_the_next_block_is_loaded_while_one_is_computed() -> None:
    fields = {"pre.opcode": int(Opcode.NORM), "n.n_program": int(NormProgram.FORWARD),
              "n.n_parts": 3}
    few, many = (unit_cycles({**fields, "n.n_blocks": blocks}, MEMORY) for blocks in (2, 12))
    assert many - few == 10 * block_cycles(NormProgram.FORWARD)
