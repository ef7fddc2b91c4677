"""Names of backends, and the board that each one plans for."""

from __future__ import annotations

from pynq_train.errors import UnknownName
from pynq_train.hw.boards import BOARDS, Board
from pynq_train.overlays import built_board

VIRTUAL = "virtual:"
"""Prefix of a virtual board."""
HLS_CSIM = "hls-csim"
"""Name of the board that is the EF-Train kernel, compiled by a C++ compiler."""
GOLDEN = "golden"
"""The NumPy model: it has no board."""
GOLDEN_BOARD = "pynq-z2"
"""Board whose plan the golden backend runs, and whose chip the EF-Train kernel is built for."""

def backend_names() -> list[str]:
    """Return all names that ``open_backend`` takes."""
    return [GOLDEN, *sorted(BOARDS), *(VIRTUAL + name for name in sorted(BOARDS))]


def board_of(name: str) -> Board:
    """Return the board that a backend name plans for; a real board at the clock of its overlay.

    Raises:
        UnknownName: no such backend; the text lists them.
    """
    known = [*backend_names(), HLS_CSIM]
    if name not in known:
        raise UnknownName.among("board", name, known)
    if name in BOARDS:
        return built_board(BOARDS[name])
    hostless = name in (GOLDEN, HLS_CSIM)
    return BOARDS[GOLDEN_BOARD if hostless else name.removeprefix(VIRTUAL)]
