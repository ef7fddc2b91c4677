"""How an overlay is found, and what is said when it is missing, damaged or of another version."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pynq_train import overlays
from pynq_train.backends import open_backend
from pynq_train.backends.names import board_of
from pynq_train.errors import BadInput, StaleOverlay, UnknownName
from pynq_train.hw import contract
from pynq_train.hw.boards import BOARDS
from pynq_train.overlays import (
    Build,
    board_of_image,
    built_board,
    find_overlay,
    sha256,
    this_machine,
)

Z2 = BOARDS["pynq-z2"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(overlays.FOLDER_VARIABLE, str(tmp_path))
    # Whatever this machine has built lies elsewhere.
    monkeypatch.setattr(overlays, "_PACKAGE", _package(tmp_path / "site" / "a" / "b", {}))
    (tmp_path / "pynq-z2").mkdir()
    return tmp_path / "pynq-z2"


def _package(path: Path, builds: dict[str, Any]) -> Path:
    path.mkdir(parents=True)
    (path / "manifest.json").write_text(json.dumps({"builds": builds}))
    return path


def _install(folder: Path, **changes: Any) -> dict[str, Any]:
    for kind in ("bit", "hwh"):
        (folder / f"pynq_train.{kind}").write_text(kind)
    values = {
        "board": "pynq-z2", "configuration": "zynq7020", "clock_mhz": 100.0, "vivado": "2024.1",
        "contract_hash": contract.contract_hash(Z2.config), "setup_slack_ns": 0.1,
        "hold_slack_ns": 0.1, "bit_sha256": sha256(folder / "pynq_train.bit"),
        "hwh_sha256": sha256(folder / "pynq_train.hwh"), **changes,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(values))
    return values


def test_a_complete_build_is_found(folder: Path) -> None:
    _install(folder)
    assert find_overlay(Z2) == folder / "pynq_train.bit"


def test_a_missing_overlay_says_how_to_build_it(folder: Path) -> None:
    with pytest.raises(BadInput, match=re.escape(
            f"no overlay for pynq-z2 is installed: expected {folder / 'pynq_train.bit'}, found no "
            "such file; no bitstream of it has been released: build it on a PC with Vivado (make "
            "overlay BOARD=pynq-z2) and copy build/overlays/pynq-z2 to "
            f"{folder}, or use 'virtual:pynq-z2'")):
        open_backend("pynq-z2", 1 << 20)


def test_a_released_overlay_says_where_to_get_it(
        folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {**_install(folder), "url": "https://example.org/pynq-z2.zip"}
    for file in folder.iterdir():
        file.unlink()
    package = _package(folder.parent / "p" / "q" / "r", {"pynq-z2": values})
    monkeypatch.setattr(overlays, "_PACKAGE", package)
    with pytest.raises(BadInput, match=re.escape(
            f"download https://example.org/pynq-z2.zip into {folder}, or use 'virtual:pynq-z2'")):
        find_overlay(Z2)
    # The released manifest vouches for files that lie there without one of their own.
    _install(folder)
    (folder / "manifest.json").unlink()
    assert find_overlay(Z2) == folder / "pynq_train.bit"


@pytest.mark.parametrize("kind", ["bit", "hwh"])
def test_a_damaged_or_missing_file_is_refused(kind: str, folder: Path) -> None:
    digest = _install(folder)[f"{kind}_sha256"]
    path = folder / f"pynq_train.{kind}"
    path.write_text("damaged")
    with pytest.raises(BadInput, match=re.escape(
            f"{path} is not the file that was built: expected SHA-256 {digest}, found "
            f"{sha256(path)}; copy all files of the build again")):
        find_overlay(Z2)
    if kind == "hwh":
        path.unlink()
        with pytest.raises(BadInput, match=r"expected SHA-256 \w+, found no such file"):
            find_overlay(Z2)


@pytest.mark.parametrize(("changes", "found"), [
    ({"contract_hash": "0" * 64}, "found pynq-z2 with contract 0000000000000000"),
    ({"board": "pynq-z1"}, "found pynq-z1 with contract"),
])  # fmt: skip
def test_another_version_is_refused(changes: dict[str, str], found: str, folder: Path) -> None:
    _install(folder, **changes)
    with pytest.raises(StaleOverlay, match="was built for another version of this package: "
                       f"expected pynq-z2 with contract {contract.contract_hash(Z2.config)[:16]}, "
                       f"{found}"):
        find_overlay(Z2)


@pytest.mark.parametrize("clock", [90.909091, 83.333333])
def test_a_fall_back_clock_is_the_board_s(clock: float, folder: Path) -> None:
    """Time-outs and seconds of plans follow the clock that the overlay was built for."""
    _install(folder, clock_mhz=clock)
    assert find_overlay(Z2) == folder / "pynq_train.bit"
    assert built_board(Z2) == replace(Z2, clock_mhz=clock) == board_of("pynq-z2")
    assert board_of("virtual:pynq-z2") is Z2


def test_the_clock_that_was_asked_for_changes_nothing(folder: Path) -> None:
    assert built_board(Z2) is Z2, "no overlay"
    _install(folder)
    assert built_board(Z2) is Z2


@pytest.mark.parametrize("clock", [62.5, 142.857, 99.0])
def test_another_clock_is_refused(clock: float, folder: Path) -> None:
    _install(folder, clock_mhz=clock)
    with pytest.raises(StaleOverlay, match="was built for another clock: expected one of 100, "
                       f"90.9091, 83.3333 MHz, found {clock:g} MHz"):
        find_overlay(Z2)
    assert built_board(Z2) is Z2


def test_a_bit_file_of_unknown_origin_is_refused(folder: Path) -> None:
    _install(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(BadInput, match=r"nothing tells what .*pynq_train\.bit is"):
        find_overlay(Z2)
    (folder / "manifest.json").write_text("[]")
    with pytest.raises(BadInput, match="is no manifest: expected a JSON object, found list"):
        find_overlay(Z2)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(BadInput, match="cannot be read: expected a JSON file"):
        find_overlay(Z2)
    (folder / "manifest.json").write_text('{"bord": 1}')
    with pytest.raises(BadInput, match="does not describe a build: expected bit_sha256, board, "):
        find_overlay(Z2)


def test_the_released_manifest_is_readable() -> None:
    assert all(isinstance(build, Build) for build in overlays.released().values())
    assert set(overlays.released()) <= set(BOARDS)


def test_boards_by_the_name_of_their_image(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {name for name, board in BOARDS.items() if board_of_image(board.pynq_name) is not board
            } == {"pynq-z2-small"}, "an image stands for the first board of its name"
    assert board_of_image("Pynq-Z2") is Z2
    assert board_of_image("nothing") is None
    monkeypatch.delenv(overlays.VIRTUAL_VARIABLE, raising=False)
    monkeypatch.setenv("BOARD", "Pynq-Z2")
    assert board_of_image() is Z2 and this_machine() == "pynq-z2"
    monkeypatch.delenv("BOARD")
    assert board_of_image() is None and this_machine() == "virtual:pynq-z2"


def test_a_virtual_board_may_be_chosen_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOARD", "Pynq-Z2")
    monkeypatch.setenv(overlays.VIRTUAL_VARIABLE, "ultra96")
    assert this_machine() == "virtual:ultra96"
    monkeypatch.setenv(overlays.VIRTUAL_VARIABLE, "ultra69")
    with pytest.raises(UnknownName, match="did you mean 'ultra96'"):
        this_machine()
    monkeypatch.delenv(overlays.VIRTUAL_VARIABLE)
    assert this_machine() == "pynq-z2"
