"""The virtual board as ``pynq`` sees it: metadata, buffers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pynq")

from fake_engine import FakeEngine, fake_board

from pynq_train.backends.vboard.memory import ContiguousMemory
from pynq_train.backends.vboard.overlay import overlay_file
from pynq_train.hw import contract, design, registers
from pynq_train.hw.boards import BOARDS, Board
from pynq_train.hw.design import INSTANCE, VLNV


@pytest.mark.parametrize("board", BOARDS.values(), ids=list(BOARDS))
def test_pynq_parses_the_generated_description(board: Board, tmp_path: Path) -> None:
    from pynq_train.backends.vboard.device import VirtualDevice

    device = VirtualDevice(board, lambda device: FakeEngine())
    parser = device.get_bitfile_metadata(str(overlay_file(board, tmp_path)))
    core = parser.ip_dict[INSTANCE]
    assert core["type"] == VLNV
    assert core["phys_addr"] == board.core_address
    assert core["parameters"]["CONTRACT_HASH"] == contract.contract_hash(board.config)
    assert int(core["parameters"]["TM"]) == board.config.tm
    found = {name: r["address_offset"] for name, r in core["registers"].items()}
    assert found == {r.name: r.offset for r in registers.REGISTERS}
    fields = core["registers"]["STATUS"]["fields"]
    assert {n: (f["bit_offset"], f["bit_width"]) for n, f in fields.items()} == {
        f.name: (f.lsb, f.bits) for f in registers.BY_NAME["STATUS"].fields
    }
    assert parser.interrupt_pins == {} and parser.interrupt_controllers == {}
    assert set(parser.ip_dict) - {design.processing_system(board).instance} == {INSTANCE}


def test_overlay_files_are_written_once(tmp_path: Path) -> None:
    bit = overlay_file(BOARDS["pynq-z2"], tmp_path)
    stamp = bit.stat().st_mtime_ns
    assert overlay_file(BOARDS["pynq-z2"], tmp_path) == bit
    assert bit.stat().st_mtime_ns == stamp
    assert bit.read_text() != overlay_file(BOARDS["pynq-z1"], tmp_path / "z1").read_text()


def test_environment_variable_selects_a_virtual_board(monkeypatch: pytest.MonkeyPatch) -> None:
    from pynq_train.backends.vboard.device import VIRTUAL_VARIABLE, VirtualDevice
    from pynq_train.errors import UnknownName

    monkeypatch.delenv(VIRTUAL_VARIABLE, raising=False)
    assert VirtualDevice._probe_() == []
    monkeypatch.setenv(VIRTUAL_VARIABLE, "kv260")
    assert [device.name for device in VirtualDevice._probe_()] == ["KV260"]
    monkeypatch.setenv(VIRTUAL_VARIABLE, "kv26")
    with pytest.raises(UnknownName, match="did you mean 'kv260'"):
        VirtualDevice._probe_()


def test_allocator_reuses_gaps() -> None:
    dram = ContiguousMemory(0x1000_0000, 5 * 4096)
    first, second, third = (dram.allocate(n) for n in (4096, 8000, 1))
    dram.release(second)
    assert dram.allocate(1) == first + 4096
    assert dram.allocate(4096) == first + 8192
    assert third == 0x1000_3000
    with pytest.raises(RuntimeError, match="8192 bytes asked, 4096 of 20480 free"):
        dram.allocate(8192)
    with pytest.raises(IndexError):
        dram.view(dram.base - 1, 1)


def test_buffers_hold_random_bytes_and_are_freed(tmp_path: Path) -> None:
    import pynq

    with fake_board(FakeEngine(), tmp_path) as board:
        device = board._device
        with pynq.allocate((1000,), np.uint8, target=device) as buffer:
            assert len(np.unique(buffer)) > 100
            assert device.dram.allocations == 2
        assert device.dram.allocations == 1
        buffer.freebuffer()
