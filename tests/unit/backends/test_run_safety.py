"""What the driver does when the engine does not: state of errors, reset, reload, the lock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pynq")

from fake_engine import BUSY, SOFT_RESET, Z2, FakeEngine, fake_board

from pynq_train.backends import EngineState, RunRequest
from pynq_train.backends.board import RESET_CYCLES, BoardBackend
from pynq_train.backends.lock import BoardLock, default_lock_file
from pynq_train.backends.vboard.overlay import overlay_file
from pynq_train.errors import BadInput, BoardBusy, DoesNotFit, HardwareFault, Timeout
from pynq_train.hw.commands import Opcode, pack_descriptor
from pynq_train.hw.registers import Status

REQUEST = RunRequest(program_offset=0x100, descriptor_count=2, step_block_offset=0x4000,
                     expected_cycles=1000, names=("forward of conv1", "forward of conv2"))


def load(board: BoardBackend) -> None:
    board.write(0x100, pack_descriptor({"pre.opcode": Opcode.CONV}))
    board.write(0x100 + 1024, pack_descriptor({"pre.opcode": Opcode.GRADIENT}))


def endless() -> FakeEngine:
    engine = FakeEngine()
    engine.run_cycles = 10**12
    return engine


def test_a_late_run_tells_what_was_in_flight(tmp_path: Path) -> None:
    with fake_board(endless(), tmp_path) as board:
        load(board)
        with pytest.raises(Timeout, match=r"descriptor 0 of 2 in flight \(CONV, forward of conv1"
                           ) as caught:
            board.run(REQUEST)
    state = caught.value.state
    assert isinstance(state, EngineState)
    assert (state.descriptor, state.opcode, state.what) == (0, "CONV", "forward of conv1")
    assert state.status & BUSY and "READ_BEATS0" in state.registers


def test_a_fault_tells_what_was_in_flight(tmp_path: Path) -> None:
    with fake_board(FakeEngine(lambda e: e.fail(Status.SLAVE_ERROR, 5, 1)), tmp_path) as board:
        load(board)
        with pytest.raises(HardwareFault, match=r"descriptor 1 of 2 in flight \(GRADIENT, forward "
                           r"of conv2\)") as caught:
            board.run(REQUEST)
    assert caught.value.state.descriptor == 1


def test_descriptors_without_names_or_opcodes(tmp_path: Path) -> None:
    with fake_board(FakeEngine(lambda e: e.fail(Status.ILLEGAL_DESCRIPTOR, 8, 1)), tmp_path) as b:
        load(b)
        b.write(0x100 + 1024, bytes([99]))
        with pytest.raises(HardwareFault, match=r"in flight \(opcode 99\)"):
            b.run(RunRequest(0x100, 2, 0x4000, 1000))


@pytest.mark.parametrize("step", [False, True])
def test_a_reset_without_effect_loads_the_overlay_again(tmp_path: Path, step: bool) -> None:
    engine, spare = endless(), FakeEngine()
    engine.stuck = True
    with fake_board(engine, tmp_path, spare=spare, poll_cycles=1000) as board:
        load(board)
        board.write(0x2000, b"kept")
        with pytest.raises(Timeout):
            list(board.run_step_mode(REQUEST)) if step else board.run(REQUEST)
        assert engine.closed and engine.writes()[-1] == ("CTRL", SOFT_RESET)
        assert RESET_CYCLES < engine.cycles - 208_000 < 2 * RESET_CYCLES
        address = board._buffer.device_address
        assert spare.writes() == [("ARENA_LO", address), ("ARENA_HI", 0),
                                  ("ARENA_BYTES", 1 << 16)]
        assert bytes(board.read(0x2000, 4)) == b"kept"
        assert board.run(REQUEST).cycles == 1000


def test_registers_that_do_not_answer(tmp_path: Path) -> None:
    engine, spare = endless(), FakeEngine()
    with fake_board(engine, tmp_path, spare=spare) as board:
        load(board)
        engine.work = lambda e: None
        board._time = _Stopping(board._time, engine)
        with pytest.raises(Timeout, match=r"registers of the engine do not answer.*descriptor 0 of "
                           r"2 in flight \(CONV, forward of conv1\)") as caught:
            board.run(REQUEST)
        assert caught.value.state.registers == {}
        assert isinstance(caught.value.__cause__, Timeout)
        assert board.run(REQUEST).cycles == 1000


class _Stopping:
    """Time in which the clock stops at the first pause."""

    def __init__(self, inner: object, engine: FakeEngine) -> None:
        self.inner, self.engine = inner, engine

    def now(self) -> float:
        return self.inner.now()  # type: ignore[attr-defined, no-any-return]

    def sleep(self, seconds: float) -> None:
        self.engine.silent = True


@pytest.mark.parametrize("error", [RuntimeError, OSError, KeyError, ValueError])
def test_an_overlay_that_cannot_be_loaded_is_tried_at_the_next_run(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    engine, spare = endless(), FakeEngine()
    engine.stuck = True
    with fake_board(engine, tmp_path, spare=spare) as board:
        load(board)
        whole = BoardBackend._load

        def broken(self: BoardBackend) -> None:
            raise error("no device")

        monkeypatch.setattr(BoardBackend, "_load", broken)
        with pytest.raises(Timeout, match=r"did not finish.*could not be brought back.*no device.*"
                           r"the next run loads the overlay first"):
            board.run(REQUEST)
        assert board._core is None
        for _ in range(2):
            with pytest.raises(HardwareFault, match=rf"overlay .* cannot be loaded: found "
                               rf"{error.__name__}: .*no device.*; run it again"):
                board.run(REQUEST)
        monkeypatch.setattr(BoardBackend, "_load", whole)
        assert board.run(REQUEST).cycles == 1000


def test_closing_while_the_engine_works_stops_it_first(tmp_path: Path) -> None:
    engine = endless()
    with fake_board(engine, tmp_path) as board:
        board._start(REQUEST, step=False)
        board.close()
        assert ("CTRL", SOFT_RESET) in engine.writes()
        board.close()
    with pytest.raises(BadInput, match="not open"):
        board.run(REQUEST)
    with pytest.raises(BadInput, match="not open"):
        board.write(0, b"x")


def test_a_step_run_left_open_may_end_after_the_board(tmp_path: Path) -> None:
    engine = FakeEngine()
    with fake_board(engine, tmp_path) as board:
        load(board)
        steps = board.run_step_mode(REQUEST)
        assert next(steps) == 0
    assert ("CTRL", SOFT_RESET) in engine.writes()
    steps.close()
    assert engine.writes() == []


def test_what_the_user_gets_is_never_device_memory(tmp_path: Path) -> None:
    with fake_board(FakeEngine(), tmp_path) as board:
        board.write(0, bytes(range(64)))
        given = board.read(0, 64)
        assert type(given) is np.ndarray and given.base is None and given.flags.owndata
        given[:] = 0
        assert bytes(board.read(0, 64)) == bytes(range(64))
        given = board.read(0, 64)
    assert bytes(given) == bytes(range(64))


def test_exhausted_memory_is_named_and_a_later_try_works(tmp_path: Path) -> None:
    with fake_board(FakeEngine(), tmp_path) as board:
        device = board._device
    other = device.dram.allocate(Z2.cma_bytes - 4096)
    again = BoardBackend(Z2, 1 << 16, overlay_file(Z2, tmp_path), device)
    with pytest.raises(DoesNotFit, match=r"expected 65536 free bytes, found 4096 of 134217728"):
        again.open()
    device.dram.release(other)
    with again.open() as board:
        board.write(0, b"a")
    assert device.dram.allocations == 0


# -- the lock ------------------------------------------------------------------------------------

def test_two_learners_on_one_board_are_refused(tmp_path: Path) -> None:
    engine = FakeEngine()
    with fake_board(engine, tmp_path) as board:
        load(board)
        second = BoardBackend(Z2, 1 << 16, overlay_file(Z2, tmp_path), board._device)
        with pytest.raises(BoardBusy, match=rf"pynq-z2 is in use: .*process {os.getpid()} \(this "
                           r"one\).*close\(\) the other learner"):
            second.open()
        second.close()
        assert not engine.closed and board.run(REQUEST).cycles == 1000
        lock = board._device.lock_file
        assert lock.read_text() == f"{os.getpid()}\n"
        board.open()  # it is: nothing to do
    assert not lock.exists()
    with second.open() as board:
        board.write(0, b"a")


_CHILD = """
import sys, time
from pathlib import Path
from pynq_train.backends.lock import BoardLock
lock = BoardLock(Path(sys.argv[1])); lock.acquire("pynq-z2"); print("held", flush=True)
time.sleep(600)
"""


def test_two_processes_on_one_board_and_a_killed_one(tmp_path: Path) -> None:
    path = tmp_path / "board.lock"
    child = subprocess.Popen([sys.executable, "-c", _CHILD, str(path)], stdout=subprocess.PIPE,
                             text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    try:
        assert child.stdout is not None and child.stdout.readline() == "held\n"
        with pytest.raises(BoardBusy, match=rf"process {child.pid}, which holds .*board\.lock; "
                           "end that process"):
            BoardLock(path).acquire("pynq-z2")
        child.send_signal(signal.SIGKILL)
        child.wait(60)
        assert path.exists()  # left behind
        lock = BoardLock(path)
        lock.acquire("pynq-z2")
        assert path.read_text() == f"{os.getpid()}\n"
        lock.release()
        lock.release()
        assert not path.exists()
    finally:
        child.kill()
        child.wait(60)


def test_a_lock_that_was_removed_is_not_shared(tmp_path: Path) -> None:
    path = tmp_path / "board.lock"
    first, second = BoardLock(path), BoardLock(path)
    first.acquire("a")
    path.unlink()
    second.acquire("a")
    first.release()
    assert path.exists()  # the second's
    second.release()


def test_lock_files(tmp_path: Path) -> None:
    assert default_lock_file().name == "pynq_train-board.lock"
    with pytest.raises(BadInput, match=r"cannot be opened.*No such file"):
        BoardLock(tmp_path / "missing" / "x.lock").acquire("a")
    (tmp_path / "link.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadInput, match="cannot be opened"):
        BoardLock(tmp_path / "link.lock").acquire("a")
