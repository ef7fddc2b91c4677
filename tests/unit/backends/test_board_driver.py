"""The PYNQ driver against a mock device: exact register transactions, caches, errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pynq")

from fake_engine import (
    BUSY,
    CLEAR,
    HALTED,
    RESUME,
    SOFT_RESET,
    START,
    Z2,
    FakeEngine,
    fake_board,
)

from pynq_train.backends import Backend, RunRequest, open_backend
from pynq_train.errors import (
    BadInput,
    DoesNotFit,
    HardwareFault,
    StaleOverlay,
    Timeout,
    UnknownName,
)
from pynq_train.hw.boards import Board
from pynq_train.hw.registers import Status

REQUEST = RunRequest(
    program_offset=0x100, descriptor_count=2, step_block_offset=0x4000, expected_cycles=1000
)
BASE = 0x1000_0000


def test_register_transactions_of_open_and_run(tmp_path: Path) -> None:
    engine = FakeEngine()
    with fake_board(engine, tmp_path) as board:
        assert isinstance(board, Backend)
        assert engine.writes() == [("ARENA_LO", BASE), ("ARENA_HI", 0), ("ARENA_BYTES", 1 << 16)]
        result = board.run(REQUEST)
        assert engine.writes() == [
            ("ARENA_LO", BASE), ("ARENA_HI", 0), ("ARENA_BYTES", 1 << 16), ("MODE", 0),
            ("PROGRAM_OFF", 0x100), ("STEP_OFF", 0x4000), ("PROGRAM_COUNT", 2), ("CTRL", START),
            ("CTRL", CLEAR),
        ]  # fmt: skip
        board.run(REQUEST)
        assert engine.writes() == [("PROGRAM_COUNT", 2), ("CTRL", START), ("CTRL", CLEAR)]
        assert result.cycles == 1000
        assert set(result.counters) >= {"busy_cycles", "stall_x", "read_beats0", "write_beats3"}
    assert not engine.closed and engine.writes() == []


def test_profile_is_a_mode_of_the_run(tmp_path: Path) -> None:
    engine = FakeEngine()
    with fake_board(engine, tmp_path) as backend:
        for profile, mode in ((True, 4), (False, 0)):
            engine.writes()
            backend.run(RunRequest(0x100, 2, 0x40, 1000, profile=profile))
            assert ("MODE", mode) in engine.writes()
        engine.writes()
        list(backend.run_step_mode(RunRequest(0x100, 2, 0x40, 1000, profile=True)))
        assert ("MODE", 5) in engine.writes()


def test_identity_is_read_before_anything_is_written(tmp_path: Path) -> None:
    engine = FakeEngine()
    with fake_board(engine, tmp_path):
        names = [name for name, _ in engine.log]
    assert names[:4] == ["read ID", "read ABI", "read HASH", "write ARENA_LO"]


@pytest.mark.parametrize(
    ("register", "word"), [("ID", "ID register"), ("ABI", "ABI version"), ("HASH", "contract")]
)
def test_stale_overlay_is_refused(register: str, word: str, tmp_path: Path) -> None:
    engine = FakeEngine()
    engine.values[register] ^= 1
    with pytest.raises(StaleOverlay, match=word), fake_board(engine, tmp_path):
        pass
    assert engine.writes() == []


def test_step_mode_yields_every_descriptor(tmp_path: Path) -> None:
    engine = FakeEngine()
    with fake_board(engine, tmp_path) as board:
        engine.writes()
        assert list(board.run_step_mode(REQUEST)) == [0, 1]
        writes = engine.writes()
        assert ("MODE", 1) in writes
        assert [v for name, v in writes if name == "CTRL"] == [START, RESUME, CLEAR]


def test_leaving_step_mode_resets_the_engine(tmp_path: Path) -> None:
    engine = FakeEngine()
    with fake_board(engine, tmp_path) as board:
        steps = board.run_step_mode(REQUEST)
        assert next(steps) == 0
        assert engine.values["STATUS"] == BUSY | HALTED
        steps.close()
        assert engine.writes()[-4] == ("CTRL", SOFT_RESET)


def test_time_out_counts_simulated_cycles_and_dumps_registers(tmp_path: Path) -> None:
    engine = FakeEngine()
    engine.run_cycles = 10**12
    with fake_board(engine, tmp_path, poll_cycles=1000) as board:
        with pytest.raises(Timeout, match=r"208000 cycles at most \(1000 predicted\).*STATUS=0x1"):
            board.run(REQUEST)
        assert 208_000 < engine.cycles < 215_000
        assert engine.writes()[-4:] == [("CTRL", SOFT_RESET), ("ARENA_LO", BASE), ("ARENA_HI", 0),
                                        ("ARENA_BYTES", 1 << 16)]


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (Status.OUTSIDE_ARENA, r"descriptor 7 addresses memory outside the arena \(write port 1\)"),
        (Status.SLAVE_ERROR, "descriptor 7 got an AXI slave error"),
        (Status.DECODE_ERROR, "descriptor 7 addressed memory that does not exist"),
        (Status.ILLEGAL_DESCRIPTOR, "descriptor 7 is not a legal descriptor"),
    ],
)
def test_status_codes_become_named_errors(status: Status, text: str, tmp_path: Path) -> None:
    with fake_board(FakeEngine(lambda e: e.fail(status, 5, 7)), tmp_path) as board:
        with pytest.raises(HardwareFault, match=text) as caught:
            board.run(REQUEST)
        assert "ERROR_INDEX=0x7" in str(caught.value)
        with pytest.raises(HardwareFault):
            list(board.run_step_mode(REQUEST))


def test_every_status_code_has_a_text() -> None:
    from pynq_train.backends.fault import FAULTS

    assert set(FAULTS) == set(Status) - {Status.OK}


def test_arena_larger_than_contiguous_memory(tmp_path: Path) -> None:
    with (
        pytest.raises(DoesNotFit, match=f"found {128 << 20} of {128 << 20}"),
        fake_board(FakeEngine(), tmp_path, arena_bytes=200 << 20),
    ):
        pass


def test_arena_is_freed_at_close(tmp_path: Path) -> None:
    with fake_board(FakeEngine(), tmp_path) as board:
        dram = board._device.dram
        assert dram.allocations == 1
    assert dram.allocations == 0
    board.close()
    with pytest.raises(BadInput, match="not open"):
        board.read(0, 8)


def test_memory_reaches_the_device_only_through_runs(tmp_path: Path) -> None:
    seen = {}

    def work(engine: FakeEngine) -> None:
        arena = board._device.dram.view(BASE, 1 << 16)
        seen["input"] = bytes(arena[100:104])
        arena[64:72] = 9  # beside what the host wrote, in other cache lines
        arena[1024:1032] = 5

    with fake_board(FakeEngine(work), tmp_path) as board:
        board.write(100, b"abcd")
        assert bytes(board._device.dram.view(BASE + 100, 4)) != b"abcd"
        assert bytes(board.read(100, 4)) == b"abcd"
        board.run(REQUEST)
        assert seen["input"] == b"abcd"
        assert (board.read(1024, 8) == 5).all()
        board.write(100, np.arange(4, dtype=np.uint8))  # shares a line with bytes 64..71
        board.run(REQUEST)
        assert (board.read(64, 8) == 9).all()
        assert seen["input"] == bytes(range(4))


def test_a_driver_without_flush_or_invalidate_sees_old_bytes(tmp_path: Path) -> None:
    with fake_board(FakeEngine(), tmp_path) as board:
        buffer, device = board._buffer, board._device
        in_dram = device.dram.view(BASE, 64)
        buffer[:64] = 1
        in_dram[:] = 2
        assert (buffer[:64] == 1).all()
        buffer[:64].invalidate()
        assert (buffer[:64] == 2).all()
        buffer[:64] = 3
        assert (in_dram == 2).all()
        buffer[:64].flush()
        assert (in_dram == 3).all()


def test_bad_spans_and_requests(tmp_path: Path) -> None:
    with fake_board(FakeEngine(), tmp_path) as board:
        for span in ((-1, 4), (0, (1 << 16) + 1), (1 << 16, 1)):
            with pytest.raises(BadInput, match="outside the arena"):
                board.read(*span)
        with pytest.raises(BadInput, match="outside the arena"):
            board.write((1 << 16) - 1, b"ab")
        with pytest.raises(BadInput, match="outside the arena"):
            board.run(RunRequest(0, 65, 0, 1))
        with pytest.raises(BadInput, match="prediction of its cycles"):
            board.run(RunRequest(0, 1, 0, 0))


def test_device_span_refuses_what_is_not_device_memory(tmp_path: Path) -> None:
    from pynq_train.backends.core import device_span

    with fake_board(FakeEngine(), tmp_path) as board:
        buffer = board._buffer
        assert device_span(buffer[128:256], 128) == BASE + 128
        with pytest.raises(TypeError, match="ndarray"):
            device_span(np.zeros(4))
        with pytest.raises(ValueError, match="computed from"):
            device_span(buffer + 1)
        with pytest.raises(ValueError, match="contiguous"):
            device_span(buffer[::2])
        with pytest.raises(ValueError, match="multiple of 128"):
            device_span(buffer[8:16], 128)
        with pytest.raises(ValueError, match="28 address bits"):
            device_span(buffer, 128, 28)


def test_register_map_clocks_and_unmapped_addresses(tmp_path: Path) -> None:
    import pynq

    with fake_board(FakeEngine(), tmp_path) as board:
        assert int(board._core.register_map.ARENA_BYTES) == 1 << 16
        if not pynq.__version__.startswith("3.0"):  # whose clocks look at the host's processor
            assert pynq.Clocks.fclk0_mhz == pytest.approx(Z2.clock_mhz)
        with pytest.raises(RuntimeError, match="a real board would hang"):
            pynq.MMIO(0x5000_0000, 0x1000, device=board._device).read(0)


@pytest.mark.parametrize("board", [
    replace(Z2, clock_mhz=90.909091), replace(Z2, clock_mhz=83.333333),
    replace(Z2, preset=replace(Z2.preset, pll_multiplier=32)),
], ids=["1000 / 11", "1000 / 12", "1600 / 16"])  # fmt: skip
def test_the_clock_follows_divisors_and_pll(
        board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Divisors of the description, on the PLL that the boot loader sets, give the board's clock."""
    import pynq

    from pynq_train.doctor.examine import clock_mhz

    if pynq.__version__.startswith("3.0"):
        pytest.skip("the clocks of pynq 3.0 look at the host's processor")
    if "_real_instance" in vars(pynq.Clocks):  # the clocks of the first device of this process
        del pynq.Clocks._real_instance
    monkeypatch.setattr(pynq.Clocks, "device", None, raising=False)
    with fake_board(FakeEngine(), tmp_path, board=board):
        assert clock_mhz() == pytest.approx(board.clock_mhz, rel=1e-3)


def test_unknown_boards_are_named() -> None:
    with pytest.raises(UnknownName, match="did you mean 'pynq-z2'"):
        open_backend("pynq-z3", 1 << 16)


def test_real_boards_need_an_overlay() -> None:
    with pytest.raises(BadInput, match="virtual:pynq-z2"):
        open_backend("pynq-z2", 1 << 16)
