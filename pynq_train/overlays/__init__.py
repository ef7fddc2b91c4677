"""Bitstreams: which exist, where they lie, and what to do when one is missing.

A build is a folder with ``pynq_train.bit``, ``pynq_train.hwh`` and ``manifest.json``, as
``make overlay`` leaves it. ``manifest.json`` of this package lists the released builds by board.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pynq_train.errors import BadInput, StaleOverlay, UnknownName
from pynq_train.files import parse_json
from pynq_train.hw import contract, design
from pynq_train.hw.boards import BOARDS, Board

FOLDER_VARIABLE = "PYNQ_TRAIN_OVERLAYS"
"""Environment variable with a folder that holds one folder per board."""

VIRTUAL_VARIABLE = "PYNQ_TRAIN_VIRTUAL"
"""Environment variable with the board that unchanged notebooks and scripts simulate."""

MANIFEST = "manifest.json"
"""Name of the file that describes builds."""
_PACKAGE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Build:
    """One build of an overlay.

    Attributes:
        board: board.
        configuration: configuration of the engine.
        contract_hash: contract that its engine decodes.
        clock_mhz: clock of the engine that the processing system really gives, in MHz.
        setup_slack_ns, hold_slack_ns: worst slacks of the routed design, in ns.
        vivado: version of Vivado.
        bit_sha256, hwh_sha256: digests of the two files.
        url: where the folder's files can be downloaded from; empty: nowhere.
        strategy: directives of placement, physical optimisation and routing that met the timing.
    """

    board: str
    configuration: str
    contract_hash: str
    clock_mhz: float
    setup_slack_ns: float
    hold_slack_ns: float
    vivado: str
    bit_sha256: str
    hwh_sha256: str
    url: str = ""
    strategy: str = ""

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: Path) -> Build:
        """Return the build that a manifest describes; ``where`` is named in the error's text.

        Raises:
            BadInput: keys are missing or unknown.
        """
        known = {field.name for field in fields(cls)}
        try:
            return cls(**values)
        except TypeError as error:
            raise BadInput(f"{where} does not describe a build", expected=", ".join(sorted(known)),
                           found=", ".join(sorted(values)),
                           fix="build the overlay again with 'make overlay'") from error


def released() -> dict[str, Build]:
    """Return the released builds by board; empty as long as there is none.

    Raises:
        BadInput: the manifest cannot be read.
    """
    path = _PACKAGE / MANIFEST
    return {name: Build.from_dict(values, path) for name, values in _read(path)["builds"].items()}


def folders(board: Board) -> list[Path]:
    """Return the folders in which the overlay of a board is looked for, the first one first.

    The folder of :data:`FOLDER_VARIABLE`, then the installed package, then what ``make overlay``
    leaves in a checkout.
    """
    chosen = os.environ.get(FOLDER_VARIABLE)
    first = [Path(chosen) / board.name] if chosen else []
    built = _PACKAGE.parents[1] / "build" / "overlays" / board.name
    return [*first, _PACKAGE / board.name, built]


def find_overlay(board: Board) -> Path:
    """Return the bit file of a board, checked: complete, as built, and of this package's contract.

    Raises:
        BadInput: it is missing, incomplete or damaged.
        StaleOverlay: its engine decodes another contract.
    """
    where = folders(board)
    name = f"{design.NAME}.bit"
    bit = next((folder / name for folder in where if (folder / name).is_file()), None)
    if bit is None:
        raise BadInput(
            f"no overlay for {board.name} is installed", expected=where[0] / name,
            found="no such file", fix=_how_to_get(board, where[0]),
        )  # fmt: skip
    build = installed_build(bit, board)
    for path, digest in ((bit, build.bit_sha256), (bit.with_suffix(".hwh"), build.hwh_sha256)):
        found = sha256(path) if path.is_file() else "no such file"
        if found != digest:
            raise BadInput(f"{path} is not the file that was built", expected=f"SHA-256 {digest}",
                           found=found, fix="copy all files of the build again")
    wanted = contract.contract_hash(board.config)
    if build.board != board.name or build.contract_hash != wanted:
        raise StaleOverlay(
            f"{bit} was built for another version of this package",
            expected=f"{board.name} with contract {wanted[:16]}",
            found=f"{build.board} with contract {build.contract_hash[:16]}",
            fix=_how_to_get(board, where[0]),
        )
    if not design.is_clock_of(board, build.clock_mhz):
        choices = ", ".join(f"{choice:g}" for choice in design.clock_choices(board))
        raise StaleOverlay(f"{bit} was built for another clock", expected=f"one of {choices} MHz",
                           found=f"{build.clock_mhz:g} MHz", fix=_how_to_get(board, where[0]))
    return bit


def built_board(board: Board) -> Board:
    """Return ``board`` at the clock that its installed overlay was built for.

    Without a usable overlay it is the board as it is asked for: opening it says what is wrong.
    """
    try:
        clock_mhz = installed_build(find_overlay(board), board).clock_mhz
    except (BadInput, StaleOverlay):
        return board
    return board if design.same_clock(clock_mhz, board.clock_mhz) else replace(
        board, clock_mhz=clock_mhz)


def board_of_image(name: str | None = None) -> Board | None:
    """Return the board that a PYNQ image calls ``name``; None if that is no known one.

    ``name``: default is the environment variable ``BOARD``, which PYNQ images set.
    """
    name = name if name is not None else os.environ.get("BOARD", "")
    # Of boards that share a name the first one counts.
    known = {board.pynq_name.lower(): board for board in reversed(list(BOARDS.values()))}
    return known.get(name.lower())


def this_machine() -> str:
    """Return the name of the backend to use here: the board of a PYNQ image, else a virtual board.

    ``PYNQ_TRAIN_VIRTUAL=ultra96`` chooses that virtual board, on any machine; without it a PC gets
    the PYNQ-Z2.

    Raises:
        UnknownName: the variable names no board.
    """
    virtual = os.environ.get(VIRTUAL_VARIABLE)
    if virtual:
        if virtual not in BOARDS:
            raise UnknownName.among("board", virtual, BOARDS)
        return f"virtual:{virtual}"
    board = board_of_image()
    return board.name if board is not None else "virtual:pynq-z2"


def sha256(path: Path) -> str:
    """Return the SHA-256 digest of a file as hexadecimal text."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def installed_build(bit: Path, board: Board) -> Build:
    """Return what is known of a board's bit file: the manifest beside it, or the released build.

    Raises:
        BadInput: nothing is known of it.
    """
    beside = bit.with_name(MANIFEST)
    if beside.is_file():
        return Build.from_dict(_read(beside), beside)
    build = released().get(board.name)
    if build is None:
        raise BadInput(f"nothing tells what {bit} is", expected=beside, found="no such file",
                       fix="copy all files of the build again")
    return build


def _how_to_get(board: Board, folder: Path) -> str:
    """Return the advice for a missing overlay: download, build, or use the virtual board."""
    build = released().get(board.name)
    virtual = f"or use 'virtual:{board.name}'"
    if build is not None and build.url:
        return f"download {build.url} into {folder}, {virtual}"
    return (f"no bitstream of it has been released: build it on a PC with Vivado (make overlay "
            f"BOARD={board.name}) and copy build/overlays/{board.name} to {folder}, {virtual}")


def _read(path: Path) -> dict[str, Any]:
    """Return the values of a manifest.

    Raises:
        BadInput: it cannot be read, or is no JSON object.
    """
    try:
        values = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read", expected="a JSON file", found=str(error),
                       fix="install the package again, or copy the build again") from error
    if not isinstance(values, dict):
        raise BadInput(f"{path} is no manifest", expected="a JSON object",
                       found=type(values).__name__, fix="copy the build again")
    return values
