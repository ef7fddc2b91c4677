"""A transport within one process, for tests: bytes are handed over, faults are switched on."""

from __future__ import annotations

import threading
import time

from pynq_train.errors import BadInput
from pynq_train.fleet.transport.base import (
    MOST_UNDER_WAY,
    Admit,
    Beats,
    check_name,
    lost,
    overdue,
    too_many,
)

_SLICE_S = 0.02


class InProcess:
    """Members and coordinators of one process; addresses are any texts.

    Args:
        beats: when a member that hangs is taken for lost.
    """

    def __init__(self, beats: Beats | None = None) -> None:
        self.beats = beats or Beats()
        self._listeners: dict[str, _Listener] = {}

    def listen(self, name: str, address: str, admit: Admit) -> _Listener:
        """See :class:`~pynq_train.fleet.transport.base.Transport`."""
        check_name(name)
        if address in self._listeners and not self._listeners[address].closed:
            raise BadInput(f"address {address!r}", expected="a free one", found="a member's")
        listener = _Listener(name, address, admit)
        self._listeners[address] = listener
        return listener

    def connect(self, name: str, address: str, seconds: float = 5.0) -> _Connection:
        """See :class:`~pynq_train.fleet.transport.base.Transport`."""
        listener = self._listeners.get(address)
        if listener is None or listener.closed or listener.name != name:
            raise lost(name, f"nobody of this name listens at {address}")
        return _Connection(listener, self.beats)

    def kill(self, address: str) -> None:
        """Let the member of an address be gone from now on: what a dead process looks like."""
        self._listeners[address].close()

    def hang(self, address: str) -> None:
        """Let the member of an address give no sign of life from now on."""
        self._listeners[address].hung_since = time.monotonic()

    def close(self) -> None:
        """See :class:`~pynq_train.fleet.transport.base.Transport`."""
        for listener in self._listeners.values():
            listener.close()


class _Listener:
    def __init__(self, name: str, address: str, admit: Admit) -> None:
        self.name = name
        self.address = address
        self.admit = admit
        self.closed = False
        self.hung_since: float | None = None

    def close(self) -> None:
        self.closed = True


class _Connection:
    def __init__(self, listener: _Listener, beats: Beats) -> None:
        self._listener = listener
        self._beats = beats
        self._waiting = threading.BoundedSemaphore(MOST_UNDER_WAY)
        self._lost = False

    @property
    def lost(self) -> bool:
        since = self._listener.hung_since
        hung = since is not None and time.monotonic() - since > self._beats.lease_s
        self._lost = self._lost or self._listener.closed or hung
        return self._lost

    def request(self, data: bytes, seconds: float) -> bytes:
        if not self._waiting.acquire(blocking=False):
            raise too_many(self._listener.name)
        try:
            return self._request(data, seconds)
        finally:
            self._waiting.release()

    def _request(self, data: bytes, seconds: float) -> bytes:
        answers: list[bytes] = []
        come = threading.Event()

        def take(answer: bytes) -> None:
            silent = self._listener.closed or self._listener.hung_since is not None
            if not answers and not silent:
                answers.append(answer)
                come.set()

        end = time.monotonic() + seconds
        if not self.lost and self._listener.hung_since is None:
            self._listener.admit(data, take)
        while not come.wait(_SLICE_S):
            if self.lost:
                raise lost(self._listener.name, "it gives no sign of life")
            if time.monotonic() > end:
                raise overdue(self._listener.name, seconds)
        return answers[0]

    def close(self) -> None:
        self._lost = True
