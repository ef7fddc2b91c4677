"""The one list of files that the IP of a board is built from.

``rtl/pynq_train.f`` names the engine's files in order. Synthesis, the check of whole designs and
the Vivado flow all take what :func:`ip_sources` makes of it.
"""

from __future__ import annotations

from pathlib import Path

from pynq_train.hw.boards import Board
from pynq_train.hw.config import ZYNQ7020, HwConfig, package_path
from pynq_train.hw.ip_ports import ip_path

BRIDGE = "overlays/rtl/pt_lite_bridge.sv"
"""Between the host port and the registers, inside the IP."""


def engine_sources(root: Path, config: HwConfig = ZYNQ7020) -> list[str]:
    """Return the engine's files in order, from the project's folder ``root``.

    The contract package is that of ``config``.
    """
    default = package_path(ZYNQ7020)
    lines = (root / "rtl" / "pynq_train.f").read_text(encoding="utf-8").split()
    paths = (f"rtl/{line}" for line in lines)
    return [package_path(config) if path == default else path for path in paths]


def ip_sources(root: Path, board: Board) -> list[str]:
    """Return the files of a board's IP in order, from the project's folder ``root``."""
    return [*engine_sources(root, board.config), BRIDGE, ip_path(board.family)]
