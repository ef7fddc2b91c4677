"""Registers that somebody else writes, engines that work or rest unasked, answers unasked for."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pynq")

from fake_engine import BUSY, DONE, FAILED, SOFT_RESET, START, FakeEngine, fake_board

from pynq_train.backends import RunRequest
from pynq_train.backends.run_registers import WRITABLE
from pynq_train.errors import HardwareFault
from pynq_train.hw import registers

REQUEST = RunRequest(program_offset=0x100, descriptor_count=2, step_block_offset=0x4000,
                     expected_cycles=1000)
STRAY = 1 << 4


def write(engine: FakeEngine, name: str, value: int) -> None:
    engine.write32(registers.offset(name), value)


@pytest.mark.parametrize("name", WRITABLE)
def test_writes_of_somebody_else_between_runs_are_announced_and_overwritten(
        name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    engine = FakeEngine()
    with fake_board(engine, tmp_path) as board:
        board.run(REQUEST)
        wanted = {name: engine.values[name] for name in WRITABLE}
        assert not caplog.records
        write(engine, name, wanted[name] ^ 0x100)
        if name == registers.ARMED_BY:  # the second write disarms
            with pytest.raises(HardwareFault, match="the program was not started"):
                board.run(REQUEST)
            board.run(REQUEST)
        else:
            board.run(REQUEST)
            assert f"expected {name}=0x{wanted[name]:x}, found {name}=0x{wanted[name] ^ 0x100:x}" \
                in caplog.text
        assert {name: engine.values[name] for name in WRITABLE} == wanted
        caplog.clear()
        board.run(REQUEST)
        assert not caplog.records


@pytest.mark.parametrize("name", WRITABLE)
def test_a_write_behind_the_comparison_starts_nothing(name: str, tmp_path: Path) -> None:
    """START is disarmed: a typed error, and the next run works."""
    engine = FakeEngine()
    started: list[int] = []
    engine.work = lambda e: started.append(e.values["PROGRAM_OFF"])
    with fake_board(engine, tmp_path) as board:
        board.run(REQUEST)
        whole = engine.write32

        def write32(at: int, value: int) -> None:
            if at == registers.offset("CTRL") and value == START:
                whole(registers.offset(name), 0x4711)
            whole(at, value)

        engine.write32 = write32  # type: ignore[method-assign]
        with pytest.raises(HardwareFault, match=r"the program was not started: .* found none of 2 "
                           r"descriptors in flight, .*; end what else writes") as caught:
            board.run(REQUEST)
        assert registers.decode("STATUS", caught.value.state.status)["ERROR"] == \
            registers.Status.NOT_ARMED
        engine.write32 = whole  # type: ignore[method-assign]
        assert len(started) == 1
        assert board.run(REQUEST).cycles == 1000
        assert len(started) == 2 and engine.values["PROGRAM_OFF"] == REQUEST.program_offset


def test_a_start_between_runs_is_announced(tmp_path: Path, caplog: pytest.LogCaptureFixture
                                           ) -> None:
    """The engine refuses it; the next run works, and the one behind it says nothing."""
    engine = FakeEngine()
    started: list[int] = []
    engine.work = lambda e: started.append(e.values["PROGRAM_OFF"])
    with fake_board(engine, tmp_path) as board:
        board.run(REQUEST)
        write(engine, "CTRL", START)
        assert engine.values["STATUS"] & FAILED
        assert board.run(REQUEST).cycles == 1000
        assert "somebody else has written START to the engine, which refused it" in caplog.text
        assert len(started) == 2
        caplog.clear()
        board.run(REQUEST)
        assert not caplog.records
        engine.stuck = True
        write(engine, "CTRL", START)
        with pytest.raises(HardwareFault, match=r"has run without being told to"):
            board.run(REQUEST)


def test_registers_that_hold_nothing(tmp_path: Path) -> None:
    engine = FakeEngine()
    with fake_board(engine, tmp_path) as board:
        whole = engine.read32
        engine.read32 = lambda at: (  # type: ignore[method-assign]
            whole(at) & ~(0x4000 if at == registers.offset("STEP_OFF") else 0))
        with pytest.raises(HardwareFault, match=r"do not hold what is written: expected "
                           r"STEP_OFF=0x4000, found STEP_OFF=0x0; end what else writes"):
            board.run(REQUEST)
        engine.read32 = whole  # type: ignore[method-assign]
        assert board.run(REQUEST).cycles == 1000


def test_all_registers_are_written_anew_behind_a_fault(tmp_path: Path) -> None:
    engine = FakeEngine()
    with fake_board(engine, tmp_path) as board:
        board.run(REQUEST)
        engine.writes()
        board.run(REQUEST)
        assert [name for name, _ in engine.writes()] == ["PROGRAM_COUNT", "CTRL", "CTRL"]
        engine.run_cycles = 10**12
        with pytest.raises(HardwareFault):
            board.run(REQUEST)
        engine.run_cycles = 1000
        engine.writes()
        board.run(REQUEST)
        assert {name for name, _ in engine.writes()} == {*WRITABLE, "CTRL"}


@pytest.mark.parametrize("state", [BUSY, DONE])
def test_an_engine_that_works_unasked(state: int, tmp_path: Path) -> None:
    engine = FakeEngine()
    with fake_board(engine, tmp_path) as board:
        board.run(REQUEST)
        engine.values["STATUS"] = state
        engine.writes()
        with pytest.raises(HardwareFault, match=r"has run without being told to: expected "
                           r"STATUS=0x0 before a run, found .*STATUS=.*last checkpoint") as caught:
            board.run(REQUEST)
        assert caught.value.state.status & (BUSY | DONE)
        written = engine.writes()
        assert ("CTRL", SOFT_RESET) in written and ("CTRL", START) not in written
        assert board.run(REQUEST).cycles == 1000


@pytest.mark.parametrize("command", ["SOFT_RESET", "CLEAR"])
def test_a_run_that_somebody_else_ends(command: str, tmp_path: Path) -> None:
    """At once, not at the time-out."""
    engine = FakeEngine(lambda e: write(e, "CTRL", registers.masks("CTRL")[command]))
    with fake_board(engine, tmp_path) as board:
        with pytest.raises(HardwareFault, match="rests before its program has ended"):
            board.run(REQUEST)
        engine.work = lambda e: None
        assert board.run(REQUEST).cycles == 1000


def test_a_run_of_another_length(tmp_path: Path) -> None:
    engine = FakeEngine(lambda e: e.values.update(RETIRED=1))
    with fake_board(engine, tmp_path) as board, \
            pytest.raises(HardwareFault, match=r"2 descriptors retired, found .* 1 of 2"):
        board.run(REQUEST)


def test_answers_that_nobody_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Between runs a warning, with a run's end an error."""
    engine = FakeEngine()
    word = registers.encode("STRAYS", PORTS=0b10_0010, COUNT=3)
    with fake_board(engine, tmp_path) as board:
        board.run(REQUEST)
        engine.values.update(STATUS=STRAY, STRAYS=word)
        assert board.run(REQUEST).cycles == 1000
        assert ("3 answers of the memory that nobody had asked for came between runs and were "
                "dropped (read1, write1)") in caplog.text
        engine.work = lambda e: e.values.update(STATUS=DONE | STRAY, STRAYS=word)
        with pytest.raises(HardwareFault, match=r"when the memory gave an answer that nobody had "
                           r"asked for: .*STRAYS=0x30022.*; run it again"):
            board.run(REQUEST)
        engine.work = lambda e: e.fail(registers.Status.STRAY_ANSWER, 5, 1)
        with pytest.raises(HardwareFault, match=r"1 was at work when .*\(write port 1\)"):
            board.run(REQUEST)


@pytest.mark.parametrize("error", [OSError, RuntimeError])
def test_pynq_cannot_reach_the_engine(error: type[Exception], tmp_path: Path) -> None:
    """A typed error, whichever access fails, and the next run works."""
    engine = FakeEngine()
    with fake_board(engine, tmp_path) as board:
        board.run(REQUEST)
        engine.log.clear()
        board.run(REQUEST)
        accesses = len(engine.log)
        whole = engine.read32
        for number in range(accesses):
            left = [number]

            def read32(at: int, left: list[int] = left) -> int:
                left[0] -= 1
                if left[0] == -1:
                    raise error("injected")
                return whole(at)

            engine.read32 = read32  # type: ignore[method-assign]
            try:
                board.run(REQUEST)
            except HardwareFault as fault:
                assert "cannot be reached" in str(fault) and "injected" in str(fault)
            else:
                assert left[0] >= 0, "the access failed, and nobody told"
            engine.read32 = whole  # type: ignore[method-assign]
            assert board.run(REQUEST).cycles == 1000
