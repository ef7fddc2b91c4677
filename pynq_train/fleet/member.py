"""A member: serves a handler to one coordinator at a time, and says how it is to anybody."""

from __future__ import annotations

import contextlib
import queue
import secrets
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pynq_train.errors import (
    BadInput,
    BadMessage,
    JoinRefused,
    MemberBusy,
    PynqTrainError,
    SessionEnded,
)
from pynq_train.files.schema import Items, Record, Text, Whole
from pynq_train.fleet.identity import Identity, check_version
from pynq_train.fleet.transport.base import Answer, Listener, Transport
from pynq_train.fleet.wire import (
    MOST_BYTES,
    REQUEST,
    Arrays,
    Message,
    Values,
    decode,
    encode,
    head_of,
)

JOIN, LEAVE, STATUS, ECHO = "fleet.join", "fleet.leave", "fleet.status", "fleet.echo"
"""Requests that every member answers; all others are the handler's."""

QUEUE = 2
"""Requests that wait at a member while it works on one."""
_JOIN_VALUES = Record({"protocol": Whole(0, 1 << 31), "version": Text(100),
                       "contracts": Items(Text(64), most=100)})
_REMEMBERED = 256
"""Numbers of requests by which one that comes twice is known."""


class Handler(Protocol):
    """What a member does for the coordinator that has joined it; one thread calls it."""

    def __call__(self, name: str, values: Values, arrays: Arrays, /) -> tuple[Values, Arrays]:
        """Answer a request.

        Args:
            name: what is asked for.
            values: plain values by name.
            arrays: arrays by name; they are the handler's.

        Returns:
            Values and arrays of the answer.
        """


@dataclass(frozen=True)
class Service:
    """A handler, and what to do when its coordinator has gone."""

    handle: Handler
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class _Work:
    data: bytes
    name: str
    session: str
    answer: Answer


class Member:
    """Answers requests that a transport brings.

    A coordinator that joins gets the number of a session, and whoever had one before has lost it:
    a coordinator that was killed and started again is let in at once, and the old one, should it
    still live, is told so. Each session has a service of its own.

    Args:
        identity: who this is.
        serve: makes the service of a session; called in the thread that then uses it.
        log: is told what happens, one sentence each.
        most_bytes: of a message.
    """

    def __init__(self, identity: Identity, serve: Callable[[], Service],
                 log: Callable[[str], None] = lambda text: None,
                 most_bytes: int = MOST_BYTES) -> None:
        self.identity = identity
        self._serve = serve
        self._log = log
        self._most_bytes = most_bytes
        self._queue: queue.Queue[_Work | None] = queue.Queue(QUEUE)
        self._lock = threading.Lock()
        self._session = ""
        self._done: deque[int] = deque(maxlen=_REMEMBERED)
        self._service: Service | None = None
        self._working_on = ""
        self._served = 0
        self._begun = time.monotonic()
        self._closing = threading.Event()
        self._worker = threading.Thread(target=self._work, daemon=True,
                                        name=f"member {identity.name}")
        self._worker.start()

    def listen(self, transport: Transport, address: str) -> Listener:
        """Let a transport bring requests from ``address``; see ``Transport.listen``."""
        return transport.listen(self.identity.name, address, self.admit)

    def admit(self, data: bytes, answer: Answer) -> None:
        """Take a request: answer it at once, or put it into the queue; never waits."""
        try:
            head = head_of(data, self._most_bytes)
            message = head.message
            if message.kind != REQUEST:
                raise BadMessage(f"message to member {self.identity.name!r}",
                                 expected=f"a {REQUEST}", found=message.kind)
        except BadMessage as error:
            answer(self._refusal(Message(REQUEST, ""), error))
            return
        try:
            if message.name == STATUS:
                answer(encode(message.answer(self._status())))
                return
            if message.name == JOIN:
                self._clear()
            if self._closing.is_set():
                raise SessionEnded(f"member {self.identity.name!r} is being stopped")
            self._queue.put_nowait(_Work(data, message.name, message.session, answer))
        except queue.Full:
            busy = MemberBusy(f"queue of member {self.identity.name!r}",
                              expected=f"at most {QUEUE} requests that wait", found=QUEUE + 1,
                              fix="wait for answers first")
            answer(self._refusal(message, busy))
        except PynqTrainError as error:
            answer(self._refusal(message, error))

    def _clear(self) -> None:
        """Answer all that waits: who joins now, begins anew."""
        while True:
            try:
                work = self._queue.get_nowait()
            except queue.Empty:
                return
            if work is not None:
                work.answer(self._refusal(Message(REQUEST, work.name, session=work.session),
                                          self._taken_over()))

    def _status(self) -> Values:
        with self._lock:
            return {"identity": self.identity.values(), "joined": bool(self._session),
                    "working_on": self._working_on, "waiting": self._queue.qsize(),
                    "served": self._served, "up_s": round(time.monotonic() - self._begun, 1)}

    def _work(self) -> None:
        """Answer requests in their order, until the member is closed."""
        while not self._closing.is_set():
            work = self._queue.get()
            if work is None:
                break
            with self._lock:
                self._working_on = work.name
            work.answer(self._reply(work))
            with self._lock:
                self._working_on = ""
                self._served += 1
        self._clear()
        self._end()

    def _reply(self, work: _Work) -> bytes:
        request = Message(REQUEST, work.name, session=work.session)
        try:
            request = decode(work.data, self._most_bytes)
            values, arrays = self._dispatch(request)
            return encode(request.answer(values, arrays), self._most_bytes)
        except PynqTrainError as error:
            return self._refusal(request, error)
        except Exception as error:  # a defect of the handler's: the member lives on
            text = f"{type(error).__name__}: {error}"
            self._log(f"{work.name} failed: {text}\n{traceback.format_exc()}")
            return encode(request.error("internal", text))

    def _dispatch(self, request: Message) -> tuple[Values, Arrays]:
        if request.name == ECHO:
            return {}, request.arrays
        if request.name == JOIN:
            return self._join(request.values), {}
        if not self._session or request.session != self._session or self._service is None:
            raise self._taken_over()
        # Requests of several threads may overtake each other, none may be carried out twice.
        old = len(self._done) == _REMEMBERED and request.number < min(self._done)
        if old or request.number in self._done:
            raise BadMessage(f"request to member {self.identity.name!r}", expected="a new number",
                             found=f"{request.number} again", fix="send no request twice")
        self._done.append(request.number)
        if request.name == LEAVE:
            self._end()
            return {}, {}
        return self._service.handle(request.name, request.values, request.arrays)

    def _join(self, values: Values) -> Values:
        """Let a coordinator in.

        Raises:
            JoinRefused: its version is another, or it does not know this engine's contract.
        """
        who = f"the coordinator that calls member {self.identity.name!r}"
        try:
            asked = _JOIN_VALUES.check(values, "fleet.join")
        except BadInput as error:
            raise BadMessage(str(error)) from None
        check_version(who, asked["protocol"], asked["version"])
        if self.identity.contract not in asked["contracts"]:
            raise JoinRefused(who, expected=f"the hardware contract {self.identity.contract[:8]}",
                              found=", ".join(one[:8] for one in asked["contracts"]) or "none",
                              fix="install the same release everywhere")
        self._end()
        self._service = self._serve()
        self._done.clear()
        with self._lock:
            self._session = secrets.token_hex(16)
        self._log("a coordinator has joined")
        return {"identity": self.identity.values(), "session": self._session}

    def _end(self) -> None:
        """End the session, if there is one, and close its service."""
        service, self._service = self._service, None
        with self._lock:
            self._session = ""
        if service is not None:
            self._log("the session has ended")
            service.close()

    def _taken_over(self) -> SessionEnded:
        return SessionEnded(f"member {self.identity.name!r} does not work for this coordinator "
                            "any more", expected="the session that it joined last",
                            fix="join it again, and put its segments up anew")

    def _refusal(self, request: Message, error: PynqTrainError) -> bytes:
        return encode(request.error(type(error).__name__, str(error)))

    def close(self, seconds: float = 10.0) -> None:
        """Stop: what waits is answered with an error; a second call does nothing.

        Args:
            seconds: that the request at work may still take.
        """
        self._closing.set()
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)  # wakes the worker where nothing else does
        self._worker.join(seconds)
