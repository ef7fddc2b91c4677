"""Eclipse zenoh between boards: one session and one mutual TLS link for each connection.

What zenoh does otherwise than one would think is handled here: its shared memory breaks between
architectures, a dead peer is an empty list of replies, a request that is not dropped lets its
caller wait, and callbacks buffer without bound.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
import time
from typing import Any

from pynq_train.errors import BadInput, JoinRefused, MissingTool
from pynq_train.fleet.transport.base import (
    MOST_UNDER_WAY,
    Admit,
    Beats,
    check_name,
    host_and_port,
    lost,
    overdue,
    too_many,
)
from pynq_train.fleet.transport.certificates import Credentials, probe
from pynq_train.fleet.wire import MOST_BYTES

_CHANNEL = 2
"""Requests that zenoh holds for a member that takes them at once, and replies for a caller."""
_CHANGES = 16
"""Last members that came and went; a request to one that has gone gets no reply in any case."""
_PREFIX = "pynq_train"
_HELLO_S = 2.0
_ATTEMPT_S = 1.0
_TRY_S = 0.05


class ZenohTransport:
    """The transport of eclipse-zenoh.

    Args:
        credentials: who this is, and whom it trusts.
        beats: how a dead or hung peer is noticed.
        most_bytes: of a message.

    Raises:
        MissingTool: zenoh is not installed.
    """

    def __init__(self, credentials: Credentials, beats: Beats | None = None,
                 most_bytes: int = MOST_BYTES) -> None:
        self._zenoh = _need_zenoh()
        self._credentials = credentials
        self._beats = beats or Beats()
        self._most_bytes = most_bytes
        self._open: list[_Listener | _Connection] = []

    def listen(self, name: str, address: str, admit: Admit) -> _Listener:
        """See :class:`~pynq_train.fleet.transport.base.Transport`."""
        check_name(name)
        host, port = host_and_port(address)
        if port == 0:
            raise BadInput(f"address {address}", expected="a port of 1 to 65535 with zenoh",
                           found=0)
        # Says it better than zenoh if a file is wrong.
        self._credentials.server()
        settings = self._settings("peer")
        settings["listen/endpoints"] = [f"tls/{address}"]
        settings["transport/link/tls/listen_certificate"] = str(self._credentials.certificate)
        settings["transport/link/tls/listen_private_key"] = str(self._credentials.key)
        try:
            session = self._session(settings)
        except self._zenoh.ZError as error:
            raise BadInput(f"cannot listen at {host}:{port} ({_short(error)})",
                           fix="choose an address of this machine and a free port") from None
        listener = _Listener(self._zenoh, session, name, address, admit)
        self._open.append(listener)
        return listener

    def connect(self, name: str, address: str, seconds: float = 5.0) -> _Connection:
        """See :class:`~pynq_train.fleet.transport.base.Transport`."""
        check_name(name)
        # Zenoh does not say why it could not connect; the same certificates by ssl do.
        probe(self._credentials, name, address, seconds)
        settings = self._settings("client")
        settings["connect/endpoints"] = [f"tls/{address}"]
        settings["connect/exit_on_failure"] = True
        settings["transport/link/tls/connect_certificate"] = str(self._credentials.certificate)
        settings["transport/link/tls/connect_private_key"] = str(self._credentials.key)
        session = self._opened(settings, name, address, seconds)
        try:
            connection = _Connection(self._zenoh, session, name)
        except BaseException:
            _close(self._zenoh, session)
            raise
        self._open.append(connection)
        return connection

    def _opened(self, settings: dict[str, Any], name: str, address: str, seconds: float) -> Any:
        """Return the session of a connection.

        Zenoh tries until its time is over, also where it is refused: it gets little at a time, and
        ssl is asked in between.

        Raises:
            MemberLost: there is no connection within ``seconds``.
            JoinRefused: the member refuses this side's certificate.
        """
        end = time.monotonic() + seconds
        while True:
            left = max(_ATTEMPT_S, end - time.monotonic())
            settings["connect/timeout_ms"] = round(1000 * min(left, _ATTEMPT_S))
            try:
                return self._session(settings)
            except self._zenoh.ZError as error:
                probe(self._credentials, name, address, _ATTEMPT_S, listen_s=_ATTEMPT_S)
                if time.monotonic() > end:
                    raise lost(name, _short(error)) from None

    def _settings(self, mode: str) -> dict[str, Any]:
        """Return what both sides have in common."""
        return {
            "mode": mode,
            "scouting/multicast/enabled": False,
            "scouting/gossip/enabled": False,
            "transport/shared_memory/enabled": False,
            "transport/link/protocols": ["tls"],
            "transport/link/tx/lease": round(1000 * self._beats.lease_s),
            "transport/link/tx/keep_alive": self._beats.per_lease,
            "transport/link/rx/max_message_size": self._most_bytes + (1 << 16),
            "transport/link/tls/root_ca_certificate": str(self._credentials.authority),
            "transport/link/tls/enable_mtls": True,
            # Boards change their addresses: the name in the certificate is compared below.
            "transport/link/tls/verify_name_on_connect": False,
        }

    def _session(self, settings: dict[str, Any]) -> Any:
        config = self._zenoh.Config()
        for key, value in settings.items():
            config.insert_json5(key, json.dumps(value))
        return self._zenoh.open(config)

    def close(self) -> None:
        """See :class:`~pynq_train.fleet.transport.base.Transport`."""
        while self._open:
            self._open.pop().close()


class _Listener:
    def __init__(self, zenoh: Any, session: Any, name: str, address: str, admit: Admit) -> None:
        self.address = address
        # Zenoh connects again by itself: a member that was started anew is not the one of before.
        instance = secrets.token_hex(8)
        self._key = f"{_PREFIX}/{name}/ask/{instance}"
        self._zenoh = zenoh
        self._session = session
        self._admit = admit
        self._token = session.liveliness().declare_token(f"{_PREFIX}/{name}/alive/{instance}")
        self._requests = session.declare_queryable(self._key, zenoh.handlers.FifoChannel(_CHANNEL))
        self._closed = False
        self._thread = threading.Thread(target=self._serve, daemon=True, name=f"zenoh {name}")
        self._thread.start()

    def _serve(self) -> None:
        """Hand requests over as they come; each is dropped once it is answered."""
        channel = self._requests.handler
        while not self._closed:
            try:
                query = channel.recv()
            except self._zenoh.ZError:
                return  # undeclared
            payload = query.payload
            self._admit(b"" if payload is None else payload.to_bytes(), self._answer(query))

    def _answer(self, query: Any) -> Any:
        def answer(data: bytes) -> None:
            # The session may have been closed: then nobody waits for this answer.
            with query, contextlib.suppress(self._zenoh.ZError):
                query.reply(self._key, data)

        return answer

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(self._zenoh.ZError):
            self._token.undeclare()
            self._requests.undeclare()
        _close(self._zenoh, self._session)
        self._thread.join(5.0)


class _Connection:
    def __init__(self, zenoh: Any, session: Any, name: str) -> None:
        self._zenoh = zenoh
        self._session = session
        self._name = name
        self._waiting = threading.BoundedSemaphore(MOST_UNDER_WAY)
        self._lost = False
        self._closed = False
        self._changes = session.liveliness().declare_subscriber(
            f"{_PREFIX}/{name}/alive/*", zenoh.handlers.RingChannel(_CHANGES), history=True)
        self._alive = self._greet()
        self._key = self._alive.replace("/alive/", "/ask/")

    def _greet(self) -> str:
        """See that the peer is the member that is meant; return the key of its being alive.

        Raises:
            MemberLost: no member of this name is there.
            JoinRefused: its certificate has another name.
        """
        end = time.monotonic() + _HELLO_S
        while (change := self._changes.try_recv()) is None:
            if time.monotonic() > end:
                raise lost(self._name, "no member of this name listens there")
            time.sleep(_TRY_S)
        names = [link.auth_identifier for link in self._session.info.links()]
        if names != [self._name]:
            raise JoinRefused(f"certificate of member {self._name!r}", expected="its name",
                              found=", ".join(map(str, names)) or "none",
                              fix="make it with 'pynq-train fleet keys'")
        return str(change.key_expr)

    @property
    def lost(self) -> bool:
        while not (self._lost or self._closed):
            change = self._changes.try_recv()
            if change is None:
                break
            self._lost = (change.kind == self._zenoh.SampleKind.DELETE
                          and str(change.key_expr) == self._alive)
        return self._lost or self._closed

    def request(self, data: bytes, seconds: float) -> bytes:
        if self.lost:
            raise lost(self._name, "it gives no sign of life")
        if not self._waiting.acquire(blocking=False):
            raise too_many(self._name)
        try:
            return self._request(data, seconds)
        finally:
            self._waiting.release()

    def _request(self, data: bytes, seconds: float) -> bytes:
        zenoh = self._zenoh
        end = time.monotonic() + seconds
        try:
            replies = list(self._session.get(
                self._key, zenoh.handlers.FifoChannel(_CHANNEL), payload=data, timeout=seconds,
                target=zenoh.QueryTarget.BEST_MATCHING, consolidation=zenoh.ConsolidationMode.NONE,
                congestion_control=zenoh.CongestionControl.BLOCK))
        except zenoh.ZError as error:
            self._lost = True
            raise lost(self._name, _short(error)) from None
        for reply in replies:
            if reply.ok is not None:
                return bytes(reply.ok.payload.to_bytes())
        # No reply at all is how zenoh says that nobody was there, or is any more.
        if replies and time.monotonic() >= end - _TRY_S:
            raise overdue(self._name, seconds)
        self._lost = True
        raise lost(self._name, "it gives no sign of life")

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            _close(self._zenoh, self._session)


def _close(zenoh: Any, session: Any) -> None:
    """Close a session; zenoh gives that up after a while if the peer takes nothing any more."""
    with contextlib.suppress(zenoh.ZError):
        session.close()


def _need_zenoh() -> Any:
    """Return the package zenoh.

    Raises:
        MissingTool: it is not installed.
    """
    try:
        import zenoh
    except ImportError:
        raise MissingTool("the transport zenoh needs the package eclipse-zenoh",
                          fix="pip install 'pynq-train[fleet]', or use --transport tls") from None
    return zenoh


def _short(error: object) -> str:
    """Return the beginning of what zenoh says, without places in its sources."""
    return str(error).split(" at /")[0][:150]
