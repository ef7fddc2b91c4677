"""What a member does for its coordinator: segments on its board, or its board as it is."""

from __future__ import annotations

import json
from contextlib import ExitStack

from pynq_train.backends import open_backend
from pynq_train.backends.names import board_of
from pynq_train.errors import BadInput, UnknownName
from pynq_train.fleet import remote_backend, requests
from pynq_train.fleet.member import Service
from pynq_train.fleet.remote_backend import LentArena
from pynq_train.fleet.segment import Segment
from pynq_train.fleet.segment_plan import SegmentPlan
from pynq_train.fleet.wire import Arrays, Values
from pynq_train.layers import init_params
from pynq_train.run.masters import Masters
from pynq_train.run.tensors import from_tensors, to_tensors

_KEPT = 4
"""Plans that are kept from one session to the next: a coordinator that comes back asks again."""


class BoardHost:
    """Serves segments on a board to one coordinator after another.

    Args:
        board: backend of each segment.
    """

    def __init__(self, board: str) -> None:
        self._board = board
        self._plans: dict[str, SegmentPlan] = {}

    def serve(self) -> Service:
        """Return the service of a new session."""
        session = _Session(self)
        return Service(session.handle, session.close)

    @property
    def board(self) -> str:
        """Backend of each segment."""
        return self._board

    def plan(self, spec: requests.SegmentSpec) -> SegmentPlan:
        """Return the plan of a segment on this board.

        Raises:
            DoesNotFit: it is too large for it.
        """
        text = json.dumps(spec.values(0))
        if text not in self._plans:
            while len(self._plans) >= _KEPT:
                del self._plans[next(iter(self._plans))]
            self._plans[text] = spec.plan(board_of(self._board))
        return self._plans[text]


class _Session:
    """Segments of one coordinator."""

    def __init__(self, host: BoardHost) -> None:
        self._host = host
        self._open: dict[int, tuple[Segment, ExitStack]] = {}
        self._arena = LentArena(host.board, self._take_all_down)

    def handle(self, name: str, values: Values, arrays: Arrays) -> tuple[Values, Arrays]:
        """Answer a request; see :class:`~pynq_train.fleet.member.Handler`."""
        if name in remote_backend.NAMES:
            return self._arena.handle(name, values, arrays)
        if name == requests.OPEN:
            return self._put_up(values)
        if name == requests.READ:
            return {}, dict(to_tensors(
                self._segment(requests.key_of(name, values)).read_masters()))
        if name == requests.WRITE:
            return self._write(values, arrays)
        if name not in (requests.FORWARD, requests.BACKWARD, requests.EVALUATE):
            raise UnknownName.among("request", name, (
                requests.OPEN, requests.READ, requests.WRITE, requests.FORWARD,
                requests.BACKWARD, requests.EVALUATE, *remote_backend.NAMES))
        key, request = requests.from_input(name, values, arrays)
        segment = self._segment(key)
        run = {requests.FORWARD: segment.forward, requests.BACKWARD: segment.backward,
               requests.EVALUATE: segment.evaluate}[name]
        return requests.to_output(run(request))

    def _put_up(self, values: Values) -> tuple[Values, Arrays]:
        """Open a segment, in place of one of the same number; its masters are written later."""
        key, spec = requests.SegmentSpec.from_values(values)
        self._take_down(key)
        self._arena.close()
        part = self._host.plan(spec)
        with ExitStack() as stack:
            backend = stack.enter_context(
                open_backend(self._host.board, part.slots[0].memory.nbytes))
            start = {name: Masters.of(own)
                     for name, own in init_params(part.cut.layers, 0).items()}
            segment = Segment(part, backend, start, [0] * len(part.cut.layers))
            self._open[key] = segment, stack.pop_all()
        return {}, {}

    def _write(self, values: Values, arrays: Arrays) -> tuple[Values, Arrays]:
        key, exponents = requests.from_write(values)
        segment = self._segment(key)
        layers = segment.part.cut.layers
        if len(exponents) != len(layers):
            raise BadInput(requests.WRITE, expected=f"exponents of {len(layers)} layers",
                           found=len(exponents))
        try:
            masters = {layers[at].name: from_tensors(requests.WRITE, layers[at], arrays)
                       for at in segment.part.layers if layers[at].has_parameters}
        except KeyError as error:
            raise BadInput(requests.WRITE, expected=f"a tensor {error}", found="none") from None
        segment.write_masters(masters, exponents)
        return {}, {}

    def _segment(self, key: int) -> Segment:
        if key not in self._open:
            raise BadInput("number of a segment", found=key, fix="put it up first",
                           expected=f"one of {sorted(self._open)}")
        return self._open[key][0]

    def _take_down(self, key: int) -> None:
        if key in self._open:
            self._open.pop(key)[1].close()

    def close(self) -> None:
        """Take all segments and the arena down, and let go of the board."""
        self._arena.close()
        self._take_all_down()

    def _take_all_down(self) -> None:
        for key in list(self._open):
            self._take_down(key)
