"""Overlay files of virtual boards: a .hwh from the contract beside a placeholder bit file."""

from __future__ import annotations

from pathlib import Path

from pynq_train.files import write_atomic
from pynq_train.files.cache import cache_dir, make_folder
from pynq_train.hw import contract
from pynq_train.hw.boards import Board
from pynq_train.hw.emit import hwh


def overlay_file(board: Board, folder: Path | None = None) -> Path:
    """Write the overlay of a virtual board and return its bit file.

    The folder's name holds the contract hash: ``pynq`` caches metadata by the bit file.

    Args:
        board: the board.
        folder: where the files go (default: the cache directory).
    """
    digest = contract.contract_hash(board.config)
    folder = folder or cache_dir() / "overlays" / f"{board.name}-{digest[:16]}"
    make_folder(folder)
    bit = folder / "pynq_train.bit"
    _replace(bit.with_suffix(".hwh"), hwh.render(board))
    _replace(bit, f"virtual {board.name} {digest}\n")
    return bit


def _replace(path: Path, text: str) -> None:
    """Write a file in one step, unless it holds the text already."""
    data = text.encode()
    try:
        same = path.read_bytes() == data
    except OSError:
        same = False
    if not same:
        write_atomic(path, data)
