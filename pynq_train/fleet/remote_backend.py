"""A member's board as a backend: its arena is written and read, and programs run, by messages.

Segments are asked for halves of a step and keep their own host's work. A block is a whole network
of its own: here the coordinator does that work, and the member lends nothing but its board.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from pynq_train.backends import Backend, RunRequest, RunResult, open_backend
from pynq_train.backends.base import Data, as_bytes, check_span
from pynq_train.errors import BadInput, BadMessage
from pynq_train.files.schema import Flag, Record, Table, Whole
from pynq_train.fleet.crew import board_of_member
from pynq_train.fleet.remote import Remote
from pynq_train.fleet.wire import MOST_BYTES, Arrays, Values

OPEN, CLOSE = "arena.open", "arena.close"
READ, WRITE, RUN = "arena.read", "arena.write", "arena.run"
NAMES = (OPEN, CLOSE, READ, WRITE, RUN)
"""Requests to an arena."""
_CHUNK = MOST_BYTES // 4
"""Bytes of a message that reads or writes."""
_BYTES = Whole(0, 1 << 40)
_COUNT = Whole(0, 1 << 62)
_OPEN, _NONE = Record({"nbytes": _BYTES}), Record({})
_READ, _WRITE = Record({"offset": _BYTES, "nbytes": _BYTES}), Record({"offset": _BYTES})
_RUN = Record({"program": _BYTES, "descriptors": Whole(1, 1 << 31), "step_block": _BYTES,
               "expected_cycles": Whole(1, 1 << 62), "profile": Flag(), "counters": Flag()})
_RESULT = Record({"cycles": _COUNT, "counters": Table(_COUNT)})


class LentArena:
    """The member's side: one arena on its board, which its coordinator uses.

    Args:
        board: name of the backend.
        make_room: is called before an arena is opened: a board has one use at a time.
    """

    def __init__(self, board: str, make_room: Callable[[], None]) -> None:
        self._board, self._make_room = board, make_room
        self._backend: Backend | None = None

    def handle(self, name: str, values: Values, arrays: Arrays) -> tuple[Values, Arrays]:
        """Answer a request.

        Raises:
            BadInput: it is malformed, or reaches beyond the arena, or none is open.
            PynqTrainError: the board fails.
        """
        if name == OPEN:
            nbytes = _OPEN.check(values, name)["nbytes"]
            self._make_room()
            self.close()
            self._backend = open_backend(self._board, nbytes)
            return {}, {}
        if name == CLOSE:
            _NONE.check(values, name)
            self.close()
            return {}, {}
        if self._backend is None:
            raise BadInput(name, expected="an open arena", found="none", fix="open one first")
        if name == READ:
            got = _READ.check(values, name)
            return {}, {"data": self._backend.read(got["offset"], got["nbytes"])}
        if name == WRITE:
            data = arrays.get("data")
            if data is None or data.dtype != np.uint8:
                raise BadInput(f"{name}: data", expected="an array of uint8",
                               found="none" if data is None else data.dtype)
            self._backend.write(_WRITE.check(values, name)["offset"], data)
            return {}, {}
        got = _RUN.check(values, name)
        result = self._backend.run(RunRequest(
            got["program"], got["descriptors"], got["step_block"], got["expected_cycles"],
            profile=got["profile"], counters=got["counters"]))
        return {"cycles": int(result.cycles), "counters": {
            key: int(value) for key, value in result.counters.items()}}, {}

    def close(self) -> None:
        """Give the board back, if it is held."""
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.close()


class RemoteBackend:
    """The coordinator's side; it satisfies :class:`~pynq_train.backends.base.Backend`.

    Args:
        remote: the member, joined.
        nbytes: size of the arena.
        seconds: to the deadline of each request.
    """

    def __init__(self, remote: Remote, nbytes: int, seconds: float) -> None:
        self.name, self.arena_size_bytes = board_of_member(remote), nbytes
        self._remote, self._seconds = remote, seconds

    def open(self) -> Backend:
        """Let the member open an arena, in place of one that it had.

        Raises:
            FleetError: the member is lost, or its board has no such arena.
        """
        self._ask(OPEN, {"nbytes": self.arena_size_bytes})
        return self

    def close(self) -> None:
        """Let the member give its board back, unless it is lost."""
        if not self._remote.lost:
            self._ask(CLOSE, {})

    def __enter__(self) -> Backend:
        return self.open()

    def __exit__(self, *error: object) -> None:
        self.close()

    def write(self, offset: int, data: Data) -> None:
        """Copy data into the arena.

        Raises:
            BadInput: the span lies outside the arena.
            FleetError: the member is lost, or fails.
        """
        flat = as_bytes(data)
        check_span(offset, len(flat), self.arena_size_bytes)
        for begin in range(0, len(flat), _CHUNK):
            self._ask(WRITE, {"offset": offset + begin}, {"data": flat[begin:begin + _CHUNK]})

    def read(self, offset: int, nbytes: int) -> NDArray[np.uint8]:
        """Return a copy of a part of the arena; raises as :meth:`write`."""
        check_span(offset, nbytes, self.arena_size_bytes)
        found = np.empty(nbytes, np.uint8)
        for begin in range(0, nbytes, _CHUNK):
            count = min(_CHUNK, nbytes - begin)
            _, arrays = self._remote.ask(READ, {"offset": offset + begin, "nbytes": count},
                                         seconds=self._seconds,
                                         expected={"data": ("uint8", (count,))})
            found[begin:begin + count] = arrays["data"]
        return found

    def run(self, request: RunRequest) -> RunResult:
        """Run a program to its end.

        Raises:
            FleetError: the member is lost, its board fails, or it answers nonsense.
        """
        if request.meanwhile is not None:
            request.meanwhile()
        values = self._ask(RUN, {
            "program": int(request.program_offset), "descriptors": int(request.descriptor_count),
            "step_block": int(request.step_block_offset),
            "expected_cycles": int(request.expected_cycles), "profile": request.profile,
            "counters": request.counters})
        try:
            got = _RESULT.check(values, f"answer of member {self._remote.name!r}")
        except BadInput as error:
            raise BadMessage(str(error)) from None
        return RunResult(got["cycles"], got["counters"])

    def run_step_mode(self, request: RunRequest) -> Iterator[int]:
        """Refuse: a descriptor at a time is a matter of boards of this machine.

        Raises:
            BadInput: always.
        """
        raise BadInput("step mode over a link", expected="a board of this machine",
                       found=f"member {self._remote.name!r}", fix="use golden or a virtual board")

    def _ask(self, name: str, values: Values, arrays: Arrays | None = None) -> Values:
        return self._remote.ask(name, values, arrays, seconds=self._seconds)[0]
