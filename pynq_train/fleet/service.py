"""What a member does for its coordinator on its board."""

from __future__ import annotations

from pynq_train.errors import UnknownName
from pynq_train.fleet.member import Service
from pynq_train.fleet.wire import Arrays, Values


def board_service(board: str) -> Service:
    """Return the service of a session on a board."""
    known: dict[str, object] = {}

    def handle(name: str, values: Values, arrays: Arrays) -> tuple[Values, Arrays]:
        raise UnknownName.among("request", name, known)

    return Service(handle)
