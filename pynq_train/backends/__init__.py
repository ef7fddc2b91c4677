"""Backends: golden (NumPy), virtual boards (the RTL, simulated) and PYNQ boards."""

from __future__ import annotations

from pathlib import Path

from pynq_train.backends.base import Backend, RunRequest, RunResult
from pynq_train.backends.fault import EngineState
from pynq_train.backends.names import VIRTUAL, backend_names
from pynq_train.errors import UnknownName
from pynq_train.hw.boards import BOARDS
from pynq_train.overlays import built_board, find_overlay

__all__ = ["Backend", "EngineState", "RunRequest", "RunResult", "open_backend"]


def open_backend(name: str, arena_size_bytes: int, *, overlay: str | Path | None = None) -> Backend:
    """Open a backend by name; use it in a ``with`` statement or ``close`` it.

    Args:
        name: ``golden``, a board (``pynq-z2``) or a virtual board (``virtual:pynq-z2``).
        arena_size_bytes: device memory to acquire.
        overlay: bit file of a real board (default: as ``pynq_train.overlays`` finds it).

    Raises:
        UnknownName: no such backend.
        BadInput: the board's overlay is missing or damaged.
        StaleOverlay, DoesNotFit, MissingTool: as ``Backend.open``.
    """
    if name == "golden":
        from pynq_train.backends.golden import GoldenBackend

        return GoldenBackend(arena_size_bytes).open()
    virtual = name.startswith(VIRTUAL)
    board = BOARDS.get(name[len(VIRTUAL) :] if virtual else name)
    if board is None:
        raise UnknownName.among("board", name, backend_names())
    if virtual:
        from pynq_train.backends.vboard import VirtualBoardBackend

        return VirtualBoardBackend(board, arena_size_bytes).open()
    from pynq_train.backends.board import BoardBackend

    if overlay is not None:
        return BoardBackend(board, arena_size_bytes, Path(overlay)).open()
    return BoardBackend(built_board(board), arena_size_bytes, find_overlay(board)).open()
