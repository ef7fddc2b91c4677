"""The examination on golden dressed up as a board: every hardware check passing and failing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from pynq_train import overlays
from pynq_train.backends.base import RunRequest, RunResult, check_contract
from pynq_train.backends.golden import GoldenBackend
from pynq_train.cli.main import main
from pynq_train.doctor import Check, Host, Patient, State, examine, loop_back
from pynq_train.doctor.loopback import arena_bytes, map_plan
from pynq_train.errors import DoesNotFit, Mismatch, UnknownName
from pynq_train.graph import zoo
from pynq_train.hw import contract, registers
from pynq_train.hw.boards import BOARDS
from pynq_train.schedule.plan import make_plan

module = import_module("pynq_train.doctor.examine")
Z2 = BOARDS["pynq-z2"]
ON_Z2 = Host((3, 10, 4), "1.21.5", "3.0.1", "Pynq-Z2", 0, "/usr", 100 << 20)
NAMES = ["python", "numpy", "pynq", "board", "rights", "memory", "overlay", "engine", "clock",
         "bandwidth", "loop-back", "step"]


class Dressed(GoldenBackend):
    """Golden with cycles and counters, and a fault behind each run."""

    def __init__(self, nbytes: int, fault: Callable[[Dressed, RunRequest], None] | None = None,
                 cycles: int = 90_000, idle: tuple[str, ...] = ()) -> None:
        super().__init__(nbytes)
        self.fault, self.cycles, self.idle = fault, cycles, idle

    def run(self, request: RunRequest) -> RunResult:
        super().run(request)
        if self.fault is not None:
            self.fault(self, request)
        names = [f"{way}_beats{port}" for way in ("read", "write") for port in range(4)]
        return RunResult(self.cycles, {n: 0 if n in self.idle else 16_000 for n in names})

    def flip(self, offset: int) -> None:
        self.write(offset, self.read(offset, 1) ^ 1)


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Installs an overlay and a backend for the PYNQ-Z2; options as ``Dressed``."""
    folder = tmp_path / "pynq-z2"
    folder.mkdir()
    for kind in ("bit", "hwh"):
        (folder / f"pynq_train.{kind}").write_text(kind)
    (folder / "manifest.json").write_text(json.dumps({
        "board": "pynq-z2", "configuration": "zynq7020", "clock_mhz": 100.0, "vivado": "2024.1",
        "contract_hash": contract.contract_hash(Z2.config), "setup_slack_ns": 0.1,
        "hold_slack_ns": 0.1, "bit_sha256": overlays.sha256(folder / "pynq_train.bit"),
        "hwh_sha256": overlays.sha256(folder / "pynq_train.hwh")}))
    monkeypatch.setenv(overlays.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setattr(module, "clock_mhz", lambda: 100.0)

    def install(**options: Any) -> None:
        monkeypatch.setattr(module, "open_backend",
                            lambda name, nbytes: Dressed(nbytes, **options).open())

    install()
    return install


def answers(host: Host = ON_Z2, name: str = "pynq-z2", batch: int = 4) -> dict[str, Check]:
    found = list(examine(Patient(name, zoo.get("digits"), batch, host)))
    assert [answer.name for answer in found] == NAMES
    return {answer.name: answer for answer in found}


def only_wrong(found: dict[str, Check]) -> Check:
    (one,) = [answer for answer in found.values() if answer.state == State.WRONG]
    assert one.fix
    return one


def test_a_board_that_is_fit(board: Callable[..., None]) -> None:
    found = answers()
    assert {answer.state for answer in found.values()} == {State.OK}
    assert found["engine"].found == (
        f"contract 0x{contract.hash_word(Z2.config):08x} (configuration zynq7020), "
        f"ABI {registers.ABI_VERSION}")
    assert found["clock"].found == "100 MHz"
    assert "1024000 bytes copied in 90000 cycles: 1138 MB/s, predicted" in found["bandwidth"].found
    assert found["loop-back"].found == "565248 bytes copied through all ports, all equal"
    assert found["step"].found.endswith("bytes equal to golden")


def test_nothing_is_opened_while_something_is_wrong(board: Callable[..., None],
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "open_backend", None)
    found = answers(replace(ON_Z2, user=1000))
    assert only_wrong(found).name == "rights"
    for name in NAMES[7:]:
        assert found[name].text().endswith("something above must be put right first")


def test_memory(board: Callable[..., None]) -> None:
    need = make_plan(module.fuse(zoo.get("digits")), 4, Z2).memory.nbytes
    assert only_wrong(answers(replace(ON_Z2, free_bytes=need - 1))).name == "memory"
    huge = list(examine(Patient("pynq-z2", zoo.get("1x"), 4096, ON_Z2)))
    (one,) = [answer for answer in huge if answer.state == State.WRONG]
    assert one.name == "memory" and one.fix.startswith("use a mini-batch of at most")


def test_overlay(board: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "pynq-z2" / "pynq_train.bit").write_text("cut")
    damaged = only_wrong(answers())
    assert damaged.name == "overlay" and "is not the file that was built" in damaged.found
    assert damaged.fix == "copy all files of the build again"
    (tmp_path / "pynq-z2" / "pynq_train.bit").unlink()
    missing = only_wrong(answers())
    assert missing.found.startswith("no overlay for pynq-z2 is installed: expected")
    assert "make overlay BOARD=pynq-z2" in missing.fix


def test_engine_of_another_contract(board: Callable[..., None],
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(name: str, nbytes: int) -> object:
        values = {"ID": registers.ID_VALUE, "ABI": registers.ABI_VERSION, "HASH": 0x1234}
        check_contract(values.__getitem__, Z2.config, name)
        raise AssertionError

    monkeypatch.setattr(module, "open_backend", opened)
    found = answers()
    one = only_wrong(found)
    assert one.name == "engine" and one.found.endswith("found 0x00001234")
    assert one.fix == "rebuild the overlay, or install the package that it came with"
    assert found["step"].text() == "skipped  step       the board could not be opened"


def test_whatever_opening_raises_is_told(board: Callable[..., None],
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(name: str, nbytes: int) -> object:
        raise ModuleNotFoundError("No module named 'pycparser.plyparser'")

    monkeypatch.setattr(module, "open_backend", opened)
    one = only_wrong(answers())
    assert one.found == "ModuleNotFoundError: No module named 'pycparser.plyparser'"
    assert one.fix == "report this line, with the ones above"

    def full(name: str, nbytes: int) -> object:
        raise DoesNotFit("pynq-z2: no contiguous memory", fix="use a smaller batch")

    monkeypatch.setattr(module, "open_backend", full)
    assert only_wrong(answers()).fix == "use a smaller batch"


def test_clock(board: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "clock_mhz", lambda: 142.857)
    one = only_wrong(answers())
    assert one.name == "clock"
    assert one.found == "expected 100 MHz, for which the engine was built, found 142.857 MHz"
    assert one.fix == "reload the overlay; do not set pynq.Clocks.fclk0_mhz"

    def unread() -> float:
        raise RuntimeError("Architecture not supported for Clocks")

    monkeypatch.setattr(module, "clock_mhz", unread)
    assert only_wrong(answers()).name == "clock"
    assert answers(name="virtual:pynq-z2")["clock"].state == State.SKIPPED


def test_bandwidth(board: Callable[..., None]) -> None:
    board(cycles=900_000)
    one = only_wrong(answers())
    assert one.name == "bandwidth" and "in 900000 cycles: 114 MB/s, predicted" in one.found
    assert one.fix.startswith("end other users of the memory")
    board(cycles=0)
    assert answers()["bandwidth"].text() == "skipped  bandwidth  pynq-z2 counts no cycles here"


@pytest.mark.parametrize("port", ["read_beats1", "write_beats3"])
def test_a_port_that_moves_nothing(board: Callable[..., None], port: str) -> None:
    board(idle=(port,))
    one = only_wrong(answers())
    label = port.replace("_beats", " port ")
    assert one.name == "loop-back" and one.found == f"{label}: no word came through"
    assert one.fix == "build the overlay again: a memory port is not connected"


def test_a_changed_byte_of_a_copy(board: Callable[..., None]) -> None:
    target = map_plan(Z2).memory["copy.y"]

    def fault(backend: Dressed, request: RunRequest) -> None:
        if request.descriptor_count == 1:
            backend.flip(target.offset + 12_345)

    board(fault=fault)
    found = answers()
    one = only_wrong(found)
    assert one.name == "loop-back"
    assert one.found.startswith("the copy of a map differs in 1 of 524288 bytes, first byte 12345")
    assert found["bandwidth"].text() == "skipped  bandwidth  the copy below failed"


@pytest.mark.parametrize(("symbol", "what"), [
    ("masters", "the copy of numbers"), ("codes", "the copy of their high halves")])
def test_a_changed_byte_of_the_update(symbol: str, what: str) -> None:
    from pynq_train.doctor.loopback import _number_memory

    region = _number_memory()[symbol]

    def fault(backend: Dressed, request: RunRequest) -> None:
        backend.flip(region.end - 1)

    with Dressed(arena_bytes(Z2), fault) as backend:
        wanted = f"{what} differs in 1 of {region.nbytes} bytes, first byte {region.nbytes - 1}"
        with pytest.raises(Mismatch, match=wanted):
            loop_back(backend, Z2)


def test_a_step_that_differs(board: Callable[..., None]) -> None:
    plan = make_plan(module.fuse(zoo.get("digits")), 4, Z2)
    at = plan.memory["conv1.w16"].offset + 6

    def fault(backend: Dressed, request: RunRequest) -> None:
        if request.descriptor_count > 1:
            backend.flip(at)

    board(fault=fault)
    one = only_wrong(answers())
    assert one.name == "step" and "differ from golden, first byte 6 of conv1.w16" in one.found
    assert one.fix == "run 'pynq-train verify' on this board: it names the descriptor"


def test_only_boards_are_examined() -> None:
    with pytest.raises(UnknownName, match="unknown board 'golden'"):
        Patient("golden", zoo.get("digits"))


def test_command_on_a_pc_without_a_board(capsys: pytest.CaptureFixture[str],
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BOARD", "XILINX_XRT", overlays.FOLDER_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    assert main(["doctor", "--board", "pynq-z2"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(NAMES) + 1
    assert "run this on the board, or use --board virtual:pynq-z2" in lines[3]
    assert lines[-1].startswith("pynq-z2: put right what is wrong: board, rights, ")
    assert main(["doctor", "--board", "pynq-z3"]) == 2
    assert "did you mean 'pynq-z2'?" in capsys.readouterr().err


def test_command_on_a_board_that_is_fit(board: Callable[..., None],
                                        capsys: pytest.CaptureFixture[str],
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Host, "here", classmethod(lambda cls: ON_Z2))
    monkeypatch.setenv("BOARD", "Pynq-Z2")
    assert main(["doctor", "--net", "digits", "--batch", "4"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "pynq-z2 is fit to train"
