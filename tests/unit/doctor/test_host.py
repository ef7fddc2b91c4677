"""Checks of software and rights: what is said when they pass, and when they do not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pynq_train.backends.board import how_to_install_pynq
from pynq_train.doctor import Check, Host, State, host
from pynq_train.hw.boards import BOARDS

Z2, U96 = BOARDS["pynq-z2"], BOARDS["ultra96"]
ON_Z2 = Host((3, 10, 4), "1.21.5", "3.0.1", "Pynq-Z2", 0, "/usr", 100 << 20)
ON_PC = Host((3, 11, 7), "1.26.4", "3.1.2", "", 1000, "", None)


def test_lines() -> None:
    assert Check("python", State.OK, "3.10.4").text() == "ok       python     3.10.4"
    assert Check("rights", State.WRONG, "found none", "be root").text() == (
        "WRONG    rights     found none; be root")
    assert Check("step", State.SKIPPED, "no board").text() == "skipped  step       no board"


def test_a_board_in_order() -> None:
    answers = [check() for check in host.host_checks(ON_Z2, Z2, False)]
    assert [(a.name, a.state, a.found) for a in answers] == [
        ("python", State.OK, "3.10.4"), ("numpy", State.OK, "1.21.5"),
        ("pynq", State.OK, "3.0.1"), ("board", State.OK, "Pynq-Z2, xc7z020clg400-1"),
        ("rights", State.OK, "root, XILINX_XRT=/usr")]  # fmt: skip
    assert not any(a.fix for a in answers)


def test_a_pc_with_a_virtual_board_in_order() -> None:
    answers = [check() for check in host.host_checks(ON_PC, Z2, True)]
    assert {a.state for a in answers} == {State.OK}
    assert "this machine is no PYNQ board" in answers[3].found
    assert answers[4].found == "a virtual board needs none"
    assert "this machine is a Pynq-Z2" in host.check_board(ON_Z2, Z2, True).found


@pytest.mark.parametrize("version", [(3, 9, 18), (3, 15, 0)])
def test_python(version: tuple[int, ...]) -> None:
    answer = host.check_python(replace(ON_Z2, python=version))
    assert answer.state == State.WRONG and answer.found == (
        f"expected 3.10 or newer, below 3.15, found {'.'.join(map(str, version))}")
    assert answer.fix == "use the Python of the board's PYNQ image, or 3.10 to 3.14 on a PC"


@pytest.mark.parametrize("version", ["1.20.3", "3.0.1", "3.1.0rc1"])
def test_numpy(version: str) -> None:
    answer = host.check_numpy(replace(ON_Z2, numpy=version))
    assert answer.state == State.WRONG and answer.found.endswith(f"below 3, found {version}")
    assert answer.fix == "run: pip install 'numpy>=1.21,<3'"


def test_pynq() -> None:
    new = replace(ON_Z2, pynq="4.0.0")
    answer = host.check_pynq(new, Z2, False)
    assert answer.state == State.WRONG
    assert answer.found == "expected 3.0 or newer, below 4 for the Pynq-Z2, found 4.0.0"
    assert answer.fix == "use the PYNQ image 3.0 or 3.1 of this board"
    assert host.check_pynq(new, U96, False).state == State.OK
    assert host.check_pynq(new, Z2, True).state == State.OK
    old = host.check_pynq(replace(ON_Z2, pynq="2.7.0"), U96, False)
    assert old.state == State.WRONG and "below 5" in old.found
    none = replace(ON_Z2, pynq=None)
    assert host.check_pynq(none, Z2, False).fix == (
        "run this with the Python of the board's PYNQ image")
    assert host.check_pynq(none, Z2, True).fix == how_to_install_pynq()


@pytest.mark.parametrize("version", ["1.21.5", "1.26.4", "2.0.0", "2.5.5"])
def test_numpy_of_boards_and_of_pcs(version: str) -> None:
    assert host.check_numpy(replace(ON_PC, numpy=version)).state == State.OK


def test_new_pythons_install_pynq_without_what_it_asks_for() -> None:
    assert how_to_install_pynq((3, 12)) == "run: pip install pynq-train[sim]"
    assert how_to_install_pynq((3, 13)).startswith(
        "run: pip install pynq-train[sim] && pip install --no-deps pynq==")


def test_board() -> None:
    none = host.check_board(ON_PC, Z2, False)
    assert none.state == State.WRONG
    assert none.found.startswith("expected a Pynq-Z2, found no PYNQ board: neither $BOARD nor ")
    assert none.fix == "run this on the board, or use --board virtual:pynq-z2"
    other = host.check_board(ON_Z2, U96, False)
    assert other.found == "expected a Ultra96, found a Pynq-Z2"
    assert other.fix == "use --board pynq-z2"
    small = host.check_board(ON_Z2, BOARDS["pynq-z2-small"], False)
    assert small.state == State.OK, "another overlay of the same board"
    strange = host.check_board(replace(ON_Z2, image="RFSoC2x2"), Z2, False)
    assert strange.state == State.WRONG and strange.fix == "this board has no overlay here"


@pytest.mark.parametrize("changed", [{"user": 1000}, {"xrt": ""}])
def test_rights(changed: dict[str, object]) -> None:
    answer = host.check_rights(replace(ON_Z2, **changed), False)  # type: ignore[arg-type]
    assert answer.state == State.WRONG and "expected user root and the PYNQ environment" in (
        answer.found)
    assert answer.fix.startswith("run it in Jupyter, or under: sudo -i")


def test_memory() -> None:
    need = 90 << 20
    assert host.check_memory(ON_Z2, Z2, False, need, "1x, batch 512,").text() == (
        "ok       memory     1x, batch 512, needs 90.0 MiB of 100.0 MiB free contiguous memory")
    tight = host.check_memory(replace(ON_Z2, free_bytes=need - 1), Z2, False, need, "1x")
    assert tight.state == State.WRONG
    assert tight.found == "1x needs 90.0 MiB of contiguous memory, 90.0 MiB are free"
    assert tight.fix.startswith("use a smaller batch, or free other buffers")
    blind = host.check_memory(replace(ON_Z2, free_bytes=None), Z2, False, need, "1x")
    assert blind.state == State.SKIPPED
    assert host.check_memory(ON_PC, Z2, True, Z2.cma_bytes, "1x").state == State.OK
    assert host.check_memory(ON_PC, Z2, True, Z2.cma_bytes + 1, "1x").state == State.WRONG


def test_facts_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOARD", "Pynq-Z1")
    monkeypatch.setenv("XILINX_XRT", "/opt")
    here = Host.here()
    assert here.image == "Pynq-Z1" and here.xrt == "/opt" and here.python >= (3, 10)
    monkeypatch.delenv("BOARD")
    tree = tmp_path / "pynq_board"
    tree.write_bytes(b"KV260\0")
    monkeypatch.setattr(host, "_DEVICE_TREE", tree)
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemFree: 5 kB\nCmaTotal: 131072 kB\nCmaFree:  1024 kB\n")
    monkeypatch.setattr(host, "_MEMINFO", meminfo)
    assert Host.here().image == "KV260" and Host.here().free_bytes == 1 << 20
    monkeypatch.setattr(host, "_MEMINFO", tmp_path / "none")
    assert Host.here().free_bytes is None


@pytest.mark.parametrize(("text", "wanted"), [
    ("1.21.5", (1, 21, 5)), ("2.1.0rc1", (2, 1, 0)), ("3.0.1.dev5", (3, 0, 1)), ("x", ())])
def test_numbers_of_versions(text: str, wanted: tuple[int, ...]) -> None:
    assert host.version_numbers(text) == wanted
