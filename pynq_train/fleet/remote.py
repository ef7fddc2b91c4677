"""A coordinator's side of one member: joins it, asks it, checks what it answers."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import TracebackType

from pynq_train.errors import (
    BadInput,
    BadMessage,
    FleetError,
    JoinRefused,
    MemberBusy,
    MemberFailed,
    SessionEnded,
)
from pynq_train.files.schema import Record, Text, Whole
from pynq_train.fleet.identity import PROTOCOL, Identity, known_contracts
from pynq_train.fleet.member import ECHO, JOIN, LEAVE, STATUS
from pynq_train.fleet.transport.base import Connection, Transport
from pynq_train.fleet.wire import (
    ANSWER,
    ERROR,
    MOST_BYTES,
    REQUEST,
    Arrays,
    Message,
    Values,
    decode,
    encode,
)
from pynq_train.fleet.wire.plain import Plain
from pynq_train.version import VERSION

Expected = Mapping[str, tuple[str, tuple[int, ...]]]
"""Type and shape of each array of an answer."""

_OWN: dict[str, type[FleetError]] = {
    kind.__name__: kind for kind in (BadMessage, JoinRefused, MemberBusy, SessionEnded)}
"""Errors of the fleet itself, which are the same on both sides."""
_ERROR = Record({"kind": Text(200), "text": Text(5000)})
_STATUS = Record({"identity": Plain(), "joined": Plain(), "working_on": Text(200),
                  "waiting": Whole(0, 1 << 20), "served": Whole(0, 1 << 62), "up_s": Plain()},
                 open=True)
_JOINED = Record({"identity": Plain(), "session": Text(64)}, open=True)
_DEFAULT_S = 60.0


class Remote:
    """A member as its coordinator sees it.

    Made by :meth:`join`, or by :meth:`call` for status and echo alone. Several threads may ask at
    the same time; the member answers in the order in which requests reach it.

    Args:
        name: of the member.
        connection: to it.
        most_bytes: of a message.
    """

    def __init__(self, name: str, connection: Connection, most_bytes: int = MOST_BYTES) -> None:
        self.name = name
        self.identity: Identity | None = None
        self._connection = connection
        self._most_bytes = most_bytes
        self._session = ""
        self._number = 0
        self._lock = threading.Lock()

    @classmethod
    def call(cls, transport: Transport, name: str, address: str, seconds: float = 5.0) -> Remote:
        """Connect to a member without joining it.

        Raises:
            MemberLost: nobody answers there within ``seconds``.
            JoinRefused: certificates or names do not fit.
        """
        return cls(name, transport.connect(name, address, seconds))

    @classmethod
    def join(cls, transport: Transport, name: str, address: str, seconds: float = 10.0) -> Remote:
        """Connect to a member, and become the coordinator that it works for.

        Raises:
            MemberLost: nobody answers there within ``seconds``.
            JoinRefused: certificates, names, versions or hardware contracts do not fit.
        """
        found = cls.call(transport, name, address, seconds)
        try:
            values, _ = found.ask(JOIN, {"protocol": PROTOCOL, "version": VERSION,
                                         "contracts": known_contracts()}, seconds=seconds)
            joined = found._checked(_JOINED, values)
            identity = Identity.from_values(joined["identity"])
            identity.check(name)
        except BaseException:
            found.close()
            raise
        found.identity, found._session = identity, joined["session"]
        return found

    def __enter__(self) -> Remote:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Leave the member."""
        self.close()

    @property
    def lost(self) -> bool:
        """Whether the member is known to be dead, hung or cut off; it stays so."""
        return self._connection.lost

    def ask(self, name: str, values: Values | None = None, arrays: Arrays | None = None, *,
            seconds: float = _DEFAULT_S, expected: Expected | None = None
            ) -> tuple[Values, Arrays]:
        """Ask the member, return its answer.

        Args:
            name: what is asked for.
            values: plain values by name.
            arrays: arrays by name.
            seconds: to the deadline.
            expected: types and shapes of the answer's arrays; None: any.

        Raises:
            MemberLost: the member is dead, hung or cut off; it may have done what was asked.
            Overdue: there is no answer by the deadline.
            MemberBusy: its queue is full; it has not done what was asked.
            MemberFailed: it could not do it; the text is its own.
            SessionEnded: another coordinator has taken it over.
            BadMessage: the request is too large, or the answer malformed or of other shapes.
        """
        if not 0 < seconds < 1e9:
            raise BadInput("deadline", expected="a number of seconds above 0", found=seconds)
        with self._lock:
            number = self._number
            self._number += 1
        request = Message(REQUEST, name, values or {}, arrays or {}, self._session, number)
        answer = decode(self._connection.request(encode(request, self._most_bytes), seconds),
                        self._most_bytes)
        if answer.kind == ERROR:
            raise self._error(answer)
        told = (answer.kind, answer.name, answer.session, answer.number)
        if told != (ANSWER, name, request.session, number):
            raise BadMessage(f"answer of member {self.name!r}", expected=f"one to {name!r}, "
                             f"number {number}", found=f"{answer.kind} {answer.name[:80]!r}, "
                             f"number {answer.number}")
        if expected is not None:
            self._check_shapes(name, answer.arrays, expected)
        return answer.values, answer.arrays

    def status(self, seconds: float = 5.0) -> Values:
        """Return how the member is, with its identity; it answers while it works, too."""
        values, _ = self.ask(STATUS, seconds=seconds)
        found = self._checked(_STATUS, values)
        Identity.from_values(found["identity"])
        return found

    def echo(self, arrays: Arrays, seconds: float = _DEFAULT_S) -> Arrays:
        """Return arrays after their way to the member and back."""
        return self.ask(ECHO, arrays=arrays, seconds=seconds)[1]

    def close(self) -> None:
        """Leave the member, if it still hears, and close the connection."""
        try:
            if self._session and not self.lost:
                self.ask(LEAVE, seconds=2.0)
        except FleetError:
            pass  # It ends the session when the next coordinator joins.
        finally:
            self._session = ""
            self._connection.close()

    def _error(self, answer: Message) -> FleetError:
        """Return the error that a member has answered with."""
        found = self._checked(_ERROR, answer.values)
        kind = _OWN.get(found["kind"])
        if kind is not None:
            return kind(found["text"])
        return MemberFailed(f"member {self.name!r}: {found['text']}", member=self.name,
                            kind=found["kind"])

    def _checked(self, schema: Record, values: Values) -> Values:
        try:
            return schema.check(values, f"answer of member {self.name!r}")
        except BadInput as error:
            raise BadMessage(str(error)) from None

    def _check_shapes(self, name: str, arrays: Arrays, expected: Expected) -> None:
        found = {key: (array.dtype.name, array.shape) for key, array in arrays.items()}
        if found != dict(expected):
            raise BadMessage(f"answer of member {self.name!r} to {name!r}",
                             expected=_listed(expected), found=_listed(found),
                             fix="install the same release everywhere")


def _listed(arrays: Expected) -> str:
    """Return types and shapes as text."""
    return ", ".join(f"{name} {dtype}{list(shape)}"
                     for name, (dtype, shape) in sorted(arrays.items())) or "no arrays"
