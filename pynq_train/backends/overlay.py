"""The overlay as a ``pynq.Overlay`` that finds its own files.

Imports ``pynq``: import this module only where a board is used.
"""

from __future__ import annotations

from typing import Any

from pynq import Device, Overlay

from pynq_train.backends.core import PtCore
from pynq_train.backends.vboard.device import VirtualDevice  # before pynq looks for devices
from pynq_train.errors import BadInput, UnknownName
from pynq_train.hw.boards import BOARDS, Board
from pynq_train.hw.design import VLNV
from pynq_train.overlays import board_of_image, find_overlay


class TrainOverlay(Overlay):
    """The engine of the board this runs on, or of the virtual board of PYNQ_TRAIN_VIRTUAL.

    Args:
        board: name of a board (default: that of the device).
        device: ``pynq`` device (default: the active one).
        options: as ``pynq.Overlay``.

    Raises:
        UnknownName: no such board.
        BadInput: the overlay is missing; the text says where it is looked for and how to get it.
        StaleOverlay: the overlay that was found belongs to another version of this package.
    """

    def __init__(self, board: str | None = None, *, device: Any = None, **options: Any) -> None:
        device = device if device is not None else Device.active_device
        super().__init__(str(_bit_file(device, _board(board, device))), device=device, **options)

    @property
    def engine(self) -> PtCore:
        """The engine's driver, found by type.

        Raises:
            BadInput: the overlay holds none.
        """
        for name, description in self.ip_dict.items():
            if description["type"] == VLNV:
                core = getattr(self, name)
                assert isinstance(core, PtCore)
                return core
        raise BadInput("the overlay holds no engine", expected=f"an IP of type {VLNV}",
                       fix="load the overlay of this package")


def _board(name: str | None, device: Any) -> Board:
    """Return the board ``name``, by default that of the device; UnknownName if there is none."""
    if name is not None:
        if name not in BOARDS:
            raise UnknownName.among("board", name, BOARDS)
        return BOARDS[name]
    board = board_of_image(device.name)
    if board is None:
        raise UnknownName.among("board", device.name, (b.pynq_name for b in BOARDS.values()))
    return board


def _bit_file(device: Any, board: Board) -> Any:
    """Return the bit file of a board; that of a virtual board is written first."""
    if isinstance(device, VirtualDevice):
        from pynq_train.backends.vboard.overlay import overlay_file

        return overlay_file(board)
    return find_overlay(board)
