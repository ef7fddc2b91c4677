"""Resource formulas against the stored figures of synthesis."""

from __future__ import annotations

import pytest

from pynq_train.hw.boards import BOARDS, Board
from pynq_train.hw.resources import resources
from sim import synth

HALF_BLOCKS = 1.0
"""RAMB36 between formulas and Yosys, which packs some halves otherwise."""


@pytest.mark.parametrize("board", BOARDS.values(), ids=list(BOARDS))
def test_formulas_count_what_yosys_infers(board: Board) -> None:
    figures, found = synth.stored()[synth.key(board)], resources(board.config)
    assert figures["dsp"] == found.dsp
    assert abs(found.bram36 - figures["bram36"]) <= HALF_BLOCKS
