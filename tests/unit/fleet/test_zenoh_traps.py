"""What zenoh does otherwise than one would think, and that the transport copes with it."""

from __future__ import annotations

import importlib
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fleet_kit import Fleet, free_address, until

from pynq_train.errors import BadInput, JoinRefused, MemberLost, MissingTool
from pynq_train.fleet.transport import zenoh_session
from pynq_train.fleet.transport.base import Beats
from pynq_train.fleet.transport.certificates import Credentials
from pynq_train.fleet.transport.zenoh_session import ZenohTransport
from pynq_train.fleet.wire import MOST_BYTES, Arrays, Values

zenoh = pytest.importorskip("zenoh")


@pytest.fixture
def fleet(fleet_of: Callable[[str], Fleet]) -> Fleet:
    return fleet_of("zenoh")


def echo(name: str, values: Values, arrays: Arrays) -> tuple[Values, Arrays]:
    return values, arrays


def test_settings_that_zenoh_has_otherwise(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shared memory breaks between architectures; nobody is looked for by multicast."""
    seen: list[Any] = []
    real_open = zenoh.open

    def seen_open(config: Any) -> Any:
        seen.append(config)
        return real_open(config)

    monkeypatch.setattr(zenoh, "open", seen_open)
    member = ZenohTransport(Credentials.of(keys, "b0"), Beats(2.0, 5))
    caller = ZenohTransport(Credentials.of(keys, "coordinator"), Beats(2.0, 5))
    try:
        listener = member.listen("b0", free_address(), lambda data, answer: answer(data))
        assert caller.connect("b0", listener.address).request(b"x", 10) == b"x"
    finally:
        caller.close()
        member.close()
    assert len(seen) == 2
    for config in seen:
        def get(key: str, config: Any = config) -> Any:
            return json.loads(config.get_json(key))

        assert get("transport/shared_memory/enabled") is False
        assert get("scouting/multicast/enabled") is False
        assert get("scouting/gossip/enabled") is False
        assert get("transport/link/protocols") == ["tls"]
        assert get("transport/link/tls/enable_mtls") is True
        assert get("transport/link/tx/lease") == 2000
        assert get("transport/link/tx/keep_alive") == 5
        assert MOST_BYTES < get("transport/link/rx/max_message_size") < 2 * MOST_BYTES


def test_zenohs_own_default_is_shared_memory() -> None:
    """If this changes, the setting may go."""
    assert json.loads(zenoh.Config().get_json("transport/shared_memory/enabled")) is True


def test_no_reply_is_an_error(fleet: Fleet) -> None:
    """A dead peer is an empty list of replies: nothing may take it for an answer."""
    transport = fleet.transport("b0")
    listener = transport.listen("b0", free_address(), lambda data, answer: None)
    caller = fleet.transport("coordinator")
    connection = caller.connect("b0", listener.address)
    found: list[object] = []

    def ask() -> None:
        try:
            found.append(connection.request(b"x", 60))
        except MemberLost as error:
            found.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(0.2)
    listener.close()
    asking.join(20)
    assert len(found) == 1 and isinstance(found[0], MemberLost)


@pytest.mark.parametrize("replies", [[], None])
def test_a_session_that_gives_no_reply_or_fails(replies: list[Any] | None, fleet: Fleet) -> None:
    address = fleet.member("b0", echo)
    connection = fleet.transport("coordinator").connect("b0", address)

    class Silent:
        def get(self, *arguments: Any, **options: Any) -> list[Any]:
            if replies is None:
                raise zenoh.ZError("session closed")
            return replies

        def close(self) -> None:
            real.close()

    real, connection._session = connection._session, Silent()  # type: ignore[attr-defined]
    with pytest.raises(MemberLost, match="member 'b0' is lost"):
        connection.request(b"x", 10)
    assert connection.lost


def test_a_session_that_cannot_be_closed_in_time(fleet: Fleet) -> None:
    """Its peer takes nothing any more: zenoh gives up after a while, with an error."""
    class Stuck:
        def __init__(self, session: Any) -> None:
            self._session = session

        def close(self) -> None:
            self._session.close()
            raise zenoh.ZError("close operation timed out!")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._session, name)

    address = free_address()
    listener = fleet.transport("b0").listen("b0", address, lambda data, answer: answer(data))
    connection = fleet.transport("coordinator").connect("b0", address)
    ends: tuple[Any, ...] = (connection, listener)
    for one in ends:
        one._session = Stuck(one._session)
        one.close()
        one.close()
    assert connection.lost


def test_a_request_that_was_answered_is_dropped(fleet: Fleet) -> None:
    """Its caller waits for the time-out otherwise."""
    joined = fleet.join("b0", fleet.member("b0", echo))
    begin = time.monotonic()
    for k in range(5):
        assert joined.ask("x", {"k": k}, seconds=30)[0] == {"k": k}
    assert time.monotonic() - begin < 25


def test_one_that_fails_to_be_answered_is_dropped_too(fleet: Fleet) -> None:
    dropped = []

    class Query:
        def __enter__(self) -> Query:
            return self

        def __exit__(self, *_: object) -> None:
            dropped.append(True)

        def reply(self, key: str, data: bytes) -> None:
            raise zenoh.ZError("session closed")

    address = free_address()
    listener = fleet.transport("b0").listen("b0", address, lambda data, answer: None)
    listener._answer(Query())(b"x")  # type: ignore[attr-defined]
    listener.close()
    assert dropped == [True]


def test_channels_are_bounded(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A callback would buffer whatever comes; a channel of 2 lets the sender wait."""
    made: list[tuple[str, int]] = []
    for kind in ("FifoChannel", "RingChannel"):
        real = getattr(zenoh.handlers, kind)

        def counted(size: int, real: Any = real, kind: str = kind) -> Any:
            made.append((kind, size))
            return real(size)

        monkeypatch.setattr(zenoh.handlers, kind, counted)
    joined = fleet.join("b0", fleet.member("b0", echo))
    joined.ask("x")
    assert {("FifoChannel", 2), ("RingChannel", 16)} == set(made) and len(made) >= 4


def test_a_member_of_another_name_is_not_taken_for_the_one_that_is_meant(fleet: Fleet) -> None:
    address = fleet.member("b0", echo)
    with pytest.raises(JoinRefused, match=r"do not trust each other .*ismatch"):
        fleet.join("b1", address)


def test_the_certificates_name_is_compared(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the peer behind zenoh's port is not the one that was looked at before."""
    monkeypatch.setattr(zenoh_session, "probe", lambda *arguments, **options: None)
    transport = fleet.transport("b1")
    listener = transport.listen("b0", free_address(), lambda data, answer: answer(data))
    with pytest.raises(JoinRefused, match="expected its name, found b1"):
        fleet.transport("coordinator").connect("b0", listener.address)
    with pytest.raises(MemberLost, match="no member of this name listens there"):
        fleet.transport("coordinator").connect("b2", listener.address)


def test_a_port_has_to_be_named(fleet: Fleet) -> None:
    with pytest.raises(BadInput, match="expected a port of 1 to 65535 with zenoh, found 0"):
        fleet.transport("b0").listen("b0", "127.0.0.1:0", lambda data, answer: None)


def test_without_zenoh(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zenoh", None)
    with pytest.raises(MissingTool, match=r"pip install 'pynq-train\[fleet\]', or use --transport"):
        ZenohTransport(Credentials.of(keys, "b0"))


def test_importing_the_fleet_imports_no_zenoh() -> None:
    before = sys.modules.pop("zenoh")
    try:
        importlib.reload(zenoh_session)
        assert "zenoh" not in sys.modules
    finally:
        sys.modules["zenoh"] = before


def test_sessions_are_closed(fleet: Fleet) -> None:
    begin = {thread.ident for thread in threading.enumerate()}
    joined = fleet.join("b0", fleet.member("b0", echo))
    joined.ask("x")
    fleet.stack.close()
    assert until(lambda: {thread.ident for thread in threading.enumerate()} <= begin, 10)
