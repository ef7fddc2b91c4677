"""Members: what they answer, whom they let in, and what they do with more than they can take."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fleet_kit import Fleet, free_address, until

from pynq_train.errors import (
    BadInput,
    BadMessage,
    DoesNotFit,
    JoinRefused,
    MemberBusy,
    MemberFailed,
    MemberLost,
    Overdue,
    SessionEnded,
    UnknownName,
)
from pynq_train.fleet import remote as remote_module
from pynq_train.fleet.identity import PROTOCOL, Identity, known_contracts
from pynq_train.fleet.member import JOIN, QUEUE, Member, Service
from pynq_train.fleet.remote import Remote
from pynq_train.fleet.transport.base import MOST_UNDER_WAY, Beats, host_and_port
from pynq_train.fleet.wire import ANSWER, REQUEST, Arrays, Message, Values, decode, encode
from pynq_train.version import VERSION


class Gate:
    """A handler that waits for the test; it is opened when the test ends."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.seen: list[str] = []

    def __call__(self, name: str, values: Values, arrays: Arrays) -> tuple[Values, Arrays]:
        self.seen.append(name)
        if name == "wait":
            assert self.open.wait(30)
        elif name == "refuse":
            raise DoesNotFit("the segment", expected="7 words", found=9)
        elif name == "fail":
            raise ZeroDivisionError("a defect")
        elif name == "odd":
            return {"x": object()}, {}
        return dict(values), {key: array * 2 for key, array in arrays.items()}


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open.set()


def test_a_member_answers(fleet: Fleet, gate: Gate, rng: np.random.Generator) -> None:
    joined = fleet.join("b0", fleet.member("b0", gate))
    assert joined.identity is not None and joined.identity.board == "golden"
    for size in (0, 1, 1000, 300_000):
        x = rng.integers(-9999, 9999, size).astype(np.int16)
        values, arrays = joined.ask("double", {"k": size}, {"x": x},
                                    expected={"x": ("int16", (size,))})
        assert values == {"k": size} and np.array_equal(arrays["x"], x * 2)
    assert not joined.lost


def test_errors_of_a_member_are_typed_and_it_lives_on(fleet: Fleet, gate: Gate) -> None:
    joined = fleet.join("b0", fleet.member("b0", gate))
    with pytest.raises(MemberFailed, match="member 'b0': the segment: expected 7 words") as caught:
        joined.ask("refuse")
    assert (caught.value.kind, caught.value.member) == ("DoesNotFit", "b0")
    with pytest.raises(MemberFailed, match="member 'b0': ZeroDivisionError: a defect"):
        joined.ask("fail")
    with pytest.raises(BadMessage, match="found object"):
        joined.ask("odd")
    assert joined.ask("echo", {"a": 1})[0] == {"a": 1}


def test_an_answer_of_other_shapes_is_refused(fleet: Fleet, gate: Gate) -> None:
    joined = fleet.join("b0", fleet.member("b0", gate))
    x = {"x": np.zeros((2, 3), np.int16)}
    for expected in ({"x": ("int16", (3, 2))}, {"x": ("int32", (2, 3))}, {}, {"y": ("int16", (2,))},
                     {"x": ("int16", (2, 3)), "y": ("int16", (1,))}):
        with pytest.raises(BadMessage, match=r"answer of member 'b0' to 'double': expected .*"
                                             r"found x int16\[2, 3\]; install the same release"):
            joined.ask("double", arrays=x, expected=expected)


def test_a_deadline_passes_and_the_late_answer_is_dropped(fleet: Fleet, gate: Gate) -> None:
    joined = fleet.join("b0", fleet.member("b0", gate))
    with pytest.raises(Overdue, match=r"member 'b0' lives but has not answered within 0.2 s"):
        joined.ask("wait", seconds=0.2)
    assert not joined.lost
    gate.open.set()
    for k in range(3):
        assert joined.ask("next", {"k": k})[0] == {"k": k}


def test_a_full_queue_is_an_error_and_status_is_answered_all_the_same(fleet: Fleet,
                                                                      gate: Gate) -> None:
    address = fleet.member("b0", gate)
    joined = fleet.join("b0", address)
    results: list[object] = []

    def ask(name: str) -> None:
        try:
            results.append(joined.ask(name)[0])
        except MemberBusy as error:
            results.append(error)

    threads = [threading.Thread(target=ask, args=("wait",)) for _ in range(1 + QUEUE)]
    for thread in threads:
        thread.start()
    with Remote.call(fleet.transport("coordinator"), "b0", address) as other:
        assert until(lambda: other.status()["waiting"] == QUEUE)
        assert other.status()["working_on"] == "wait"
    with pytest.raises(MemberBusy, match=f"queue of member 'b0': expected at most {QUEUE}"):
        joined.ask("one more")
    assert "one more" not in gate.seen
    gate.open.set()
    for thread in threads:
        thread.join(20)
    assert results == [{}] * (1 + QUEUE) and gate.seen == ["wait"] * (1 + QUEUE)


def test_a_connection_has_only_so_many_requests_under_way(fleet: Fleet, gate: Gate) -> None:
    joined = fleet.join("b0", fleet.member("b0", gate))
    connection = joined._connection
    status = encode(Message(REQUEST, "wait", session=joined._session, number=1))
    errors: list[Exception] = []

    def ask(number: int) -> None:
        data = encode(Message(REQUEST, "wait", session=joined._session, number=number))
        try:
            connection.request(data, 20)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=ask, args=(10 + k,)) for k in range(MOST_UNDER_WAY + 1)]
    for thread in threads:
        thread.start()
    # The member turns one away (its queue), the connection none or one.
    assert until(lambda: len(gate.seen) == 1)
    gate.open.set()
    for thread in threads:
        thread.join(20)
    assert all(isinstance(error, MemberBusy) for error in errors)
    connection.request(status, 20)


def test_who_joins_last_is_served_and_the_one_before_is_told(fleet: Fleet, gate: Gate) -> None:
    ended: list[str] = []
    address = fleet.member("b0", gate, close=lambda: ended.append("closed"))
    first = fleet.join("b0", address)
    assert first.ask("a", {"k": 1})[0] == {"k": 1}
    second = fleet.join("b0", address)
    assert ended == ["closed"]
    with pytest.raises(SessionEnded, match="does not work for this coordinator any more"):
        first.ask("b")
    assert second.ask("c", {"k": 2})[0] == {"k": 2}
    # A coordinator that has lost the member does not end the session of the next.
    first.close()
    assert second.ask("d", {"k": 3})[0] == {"k": 3}
    second.close()
    assert ended == ["closed"] * 2 and "b" not in gate.seen


def test_what_waits_of_an_old_session_is_answered_with_an_error(fleet: Fleet, gate: Gate) -> None:
    address = fleet.member("b0", gate)
    first = fleet.join("b0", address)
    found: list[object] = []

    def ask(name: str) -> None:
        try:
            found.append(first.ask(name)[0])
        except SessionEnded as error:
            found.append(error)

    def waiting() -> int:
        with Remote.call(fleet.transport("coordinator"), "b0", address) as other:
            return int(other.status()["waiting"])

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("wait", "late")]
    threads[0].start()
    assert until(lambda: "wait" in gate.seen)
    threads[1].start()
    assert until(lambda: waiting() == 1)
    joining = threading.Thread(target=lambda: fleet.join("b0", address))
    joining.start()
    assert until(lambda: len(found) == 1)
    gate.open.set()
    for thread in (*threads, joining):
        thread.join(20)
    assert isinstance(found[0], SessionEnded) and found[1] == {} and "late" not in gate.seen


def test_a_request_is_carried_out_once(fleet: Fleet, gate: Gate) -> None:
    joined = fleet.join("b0", fleet.member("b0", gate))
    data = encode(Message(REQUEST, "step", session=joined._session, number=7))
    assert decode(joined._connection.request(data, 10)).kind == ANSWER
    again = decode(joined._connection.request(data, 10))
    assert "expected a new number, found 7 again; send no request twice" in again.values["text"]
    assert gate.seen == ["step"]


def test_a_second_answer_is_dropped(fleet: Fleet) -> None:
    member = Member(Identity.of("b0", "golden"), lambda: Service(Gate()))
    fleet.stack.callback(member.close)

    def twice(data: bytes, answer: object) -> None:
        assert callable(answer)

        def both(out: bytes) -> None:
            answer(out)
            with contextlib.suppress(Exception):  # zenoh takes one answer alone
                answer(out)

        member.admit(data, both)

    listener = fleet.transport("b0").listen("b0", free_address(), twice)
    fleet.stack.callback(listener.close)
    joined = fleet.join("b0", listener.address)
    for k in range(5):
        assert joined.ask("a", {"k": k})[0] == {"k": k}


# ---- joining -------------------------------------------------------------------------------------
@pytest.mark.parametrize(("change", "text"), [
    ({"version": "9.9.9"}, f"another version: expected pynq_train {VERSION} .*found 9.9.9"),
    ({"protocol": PROTOCOL + 1}, f"another version: .*found {VERSION} .messages {PROTOCOL + 1}"),
    ({"contract": "0" * 64}, "expected the hardware contract [0-9a-f]{8}, found .*00000000|"
     "hardware contract 00000000, found"),
    ({"name": "b7"}, "member 'b0': expected an answer of its own, found one of 'b7'"),
])
def test_a_foreign_member_is_refused(change: dict[str, object], text: str, fleet: Fleet) -> None:
    identity = replace(Identity.of("b0", "golden"), **change)  # type: ignore[arg-type]
    member = Member(identity, lambda: Service(Gate()))
    fleet.stack.callback(member.close)
    listener = fleet.transport("b0").listen("b0", free_address(), member.admit)
    fleet.stack.callback(listener.close)
    with pytest.raises(JoinRefused, match=text):
        fleet.join("b0", listener.address)


@pytest.mark.parametrize(("change", "text"), [
    ({"version": "9.9.9"}, "member 'b0' has another version: expected .*found 9.9.9"),
    ({"protocol": PROTOCOL + 1}, "member 'b0' has another version"),
    ({"contract": "0" * 64}, "member 'b0' .golden.: expected the hardware contract .*found 0{8};"),
    ({"name": "b7"}, "member 'b0': expected an answer of its own, found one of 'b7'"),
])
def test_a_coordinator_refuses_a_foreign_member_that_would_let_it_in(
        change: dict[str, object], text: str, fleet: Fleet) -> None:
    identity = replace(Identity.of("b0", "golden"), **change)  # type: ignore[arg-type]

    def admit(data: bytes, answer: object) -> None:
        assert callable(answer)
        answer(encode(decode(data).answer({"identity": identity.values(), "session": "x"})))

    listener = fleet.transport("b0").listen("b0", free_address(), admit)
    fleet.stack.callback(listener.close)
    with pytest.raises(JoinRefused, match=text):
        fleet.join("b0", listener.address)


def test_a_member_refuses_a_foreign_coordinator(fleet: Fleet, gate: Gate) -> None:
    address = fleet.member("b0", gate)
    with Remote.call(fleet.transport("coordinator"), "b0", address) as caller:
        good = {"protocol": PROTOCOL, "version": VERSION, "contracts": known_contracts()}
        for change, text in (({"version": "0.0.1"}, "coordinator that calls member 'b0' has"),
                             ({"protocol": 77}, "messages 77"),
                             ({"contracts": ["ab" * 32]}, "contract [0-9a-f]{8}, found abababab")):
            with pytest.raises(JoinRefused, match=text):
                caller.ask(JOIN, {**good, **change})
        with pytest.raises(BadMessage, match=r"fleet.join: expected"):
            caller.ask(JOIN, {"protocol": PROTOCOL})
        with pytest.raises(SessionEnded, match="join it again"):
            caller.ask("forward")
    assert gate.seen == []


def test_a_member_that_says_nonsense_of_itself(fleet: Fleet) -> None:
    def admit(data: bytes, answer: object) -> None:
        assert callable(answer)
        answer(encode(decode(data).answer({"identity": 3, "session": "x", "joined": 1})))

    listener = fleet.transport("b0").listen("b0", free_address(), admit)
    fleet.stack.callback(listener.close)
    with pytest.raises(BadMessage, match="identity of a member: expected values by name"):
        fleet.join("b0", listener.address)
    with Remote.call(fleet.transport("coordinator"), "b0", listener.address) as caller, \
            pytest.raises(BadMessage, match=r"answer of member 'b0': expected .*working_on"):
        caller.status()


@pytest.mark.parametrize("wrong", ["kind", "name", "session", "number"])
def test_an_answer_to_another_question_is_refused(wrong: str, fleet: Fleet) -> None:
    changes: dict[str, Any] = {"kind": REQUEST, "name": "other", "session": "s", "number": 99}

    def admit(data: bytes, answer: object) -> None:
        assert callable(answer)
        answer(encode(replace(decode(data).answer({}), **{wrong: changes[wrong]})))

    listener = fleet.transport("b0").listen("b0", free_address(), admit)
    fleet.stack.callback(listener.close)
    with Remote.call(fleet.transport("coordinator"), "b0", listener.address) as caller, \
            pytest.raises(BadMessage, match="answer of member 'b0': expected one to 'x', number 0"):
        caller.ask("x")


@pytest.mark.parametrize("data", [b"", b"nonsense" * 99, encode(Message(ANSWER, "x"))])
def test_a_member_answers_nonsense_with_an_error(data: bytes, fleet: Fleet, gate: Gate) -> None:
    joined = fleet.join("b0", fleet.member("b0", gate))
    answer = decode(joined._connection.request(data, 10))
    assert (answer.kind, answer.values["kind"]) == ("error", "BadMessage")
    assert joined.ask("x", {"k": 1})[0] == {"k": 1}


def test_a_damaged_request_is_refused_by_its_digest(fleet: Fleet, gate: Gate) -> None:
    joined = fleet.join("b0", fleet.member("b0", gate))
    data = bytearray(encode(Message(REQUEST, "step", {}, {"x": np.zeros(9, np.int16)},
                                    joined._session, 3)))
    data[-1] ^= 4
    answer = decode(joined._connection.request(bytes(data), 10))
    assert "SHA-256" in answer.values["text"] and gate.seen == []


# ---- the end -------------------------------------------------------------------------------------
def test_a_member_that_is_closed_is_lost(fleet: Fleet, gate: Gate) -> None:
    transport = fleet.transport("b0")
    member = Member(Identity.of("b0", "golden"), lambda: Service(gate))
    fleet.stack.callback(member.close)
    listener = member.listen(transport, free_address())
    joined = fleet.join("b0", listener.address)
    listener.close()
    listener.close()
    with pytest.raises(MemberLost, match=r"member 'b0' is lost .*pynq-train fleet status"):
        joined.ask("x", seconds=20)
    assert until(lambda: joined.lost)
    with pytest.raises(MemberLost):
        joined.ask("x")
    with pytest.raises(MemberLost, match="'b0' is lost"):
        fleet.join("b0", listener.address)
    joined.close()


def test_a_member_that_is_being_stopped_says_so(fleet: Fleet, gate: Gate) -> None:
    transport = fleet.transport("b0")
    member = Member(Identity.of("b0", "golden"), lambda: Service(gate))
    listener = member.listen(transport, free_address())
    fleet.stack.callback(listener.close)
    joined = fleet.join("b0", listener.address)
    member.close()
    with pytest.raises(SessionEnded, match="is being stopped"):
        joined.ask("x")


def test_a_closed_connection_asks_nothing(fleet: Fleet, gate: Gate) -> None:
    joined = fleet.join("b0", fleet.member("b0", gate))
    joined.close()
    joined.close()
    assert joined.lost and gate.seen == []
    with pytest.raises(MemberLost):
        joined.ask("x")


# ---- arguments -----------------------------------------------------------------------------------
@pytest.mark.parametrize("address", ["", "host", "host:", ":7447", "host:x", "host:70000", "a:b:1",
                                     "[::1]", "host:-1", "host:\u0661"])
def test_malformed_addresses(address: str) -> None:
    with pytest.raises(BadInput, match="address of a member: expected HOST:PORT"):
        host_and_port(address)


@pytest.mark.parametrize(("address", "parts"), [
    ("localhost:1", ("localhost", 1)), ("[::1]:7447", ("::1", 7447)), ("10.0.0.1:0",
                                                                       ("10.0.0.1", 0))])
def test_addresses(address: str, parts: tuple[str, int]) -> None:
    assert host_and_port(address) == parts


@pytest.mark.parametrize("name", ["", "B0", "b_0", "-b", "b-", "b" * 64, "b/0", "ü", None])
def test_malformed_names(name: str) -> None:
    with pytest.raises(BadInput, match="name of a member: expected 1 to 63 small letters"):
        Identity.of(name, "golden")


def test_other_arguments(fleet: Fleet, gate: Gate) -> None:
    with pytest.raises(UnknownName, match="unknown board 'pynq-z9'"):
        Identity.of("b0", "pynq-z9")
    for lease, beats in ((0.0, 4), (1.5, 1), (float("nan"), 4), (100, 4)):
        with pytest.raises(BadInput, match=r"signs of life: expected a lease of 0.1 to 60 s"):
            Beats(lease, beats)
    joined = fleet.join("b0", fleet.member("b0", gate))
    for seconds in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(BadInput, match="deadline: expected a number of seconds above 0"):
            joined.ask("x", seconds=seconds)


def test_two_members_at_one_address(fleet: Fleet, gate: Gate) -> None:
    address = fleet.member("b0", gate)
    with pytest.raises(BadInput, match="free"):
        fleet.transport("b1").listen("b1", address, lambda data, answer: None)


def test_every_error_of_a_fleet_comes_back_as_what_it_was() -> None:
    assert set(remote_module._OWN) == {"BadMessage", "JoinRefused", "MemberBusy", "SessionEnded"}
