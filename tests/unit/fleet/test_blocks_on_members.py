"""Blocks whose boards are members of a fleet: the bits of one board, also when one is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fleet_kit import Fleet, free_address
from test_block_training import AFTER, HEADS, OPTIONS, all_bits, data, network

import pynq_train as pt
from pynq_train import fleet as fleets
from pynq_train.backends import RunRequest
from pynq_train.backends.names import GOLDEN
from pynq_train.errors import BadInput, MemberFailed, MemberLost, NoMemberLeft
from pynq_train.fleet import remote_backend
from pynq_train.fleet.identity import Identity
from pynq_train.fleet.member import Member, Service
from pynq_train.fleet.remote import Remote
from pynq_train.fleet.remote_backend import RemoteBackend
from pynq_train.fleet.service import BoardHost
from pynq_train.fleet.transport.base import Listener
from pynq_train.fleet.wire import Arrays, Values

CUT = AFTER[:1]
"""Two blocks: as many members as a test of seconds can have."""


def host(fleet: Fleet, name: str, lost_at: int = 0, runs: list[int] | None = None
         ) -> tuple[str, str]:
    """Start a golden member; it is cut off when it is asked for a run for the ``lost_at``-th time.

    ``runs``: what counts its runs.
    """
    board, listeners = BoardHost(GOLDEN), list[Listener]()
    seen = [0] if runs is None else runs

    def serve() -> Service:
        service = board.serve()

        def handle(asked: str, values: Values, arrays: Arrays) -> tuple[Values, Arrays]:
            seen[0] += asked == remote_backend.RUN
            if seen[0] == lost_at and asked == remote_backend.RUN:
                listeners[0].close()
            return service.handle(asked, values, arrays)

        return Service(handle, service.close)

    member = Member(Identity.of(name, GOLDEN), serve)
    fleet.stack.callback(member.close)
    listeners.append(member.listen(fleet.transport(name), free_address()))
    fleet.stack.callback(listeners[0].close)
    return name, listeners[0].address


@pytest.fixture
def fleet(fleet_of: Callable[[str], Fleet]) -> Fleet:
    return fleet_of("tls")


def trained(boards: Any, epochs: int = 2, **options: Any) -> fleets.TrainedBlocks:
    blocks = fleets.blocks(network(), CUT, head=HEADS[0])
    return fleets.train_blocks(blocks, *data(), epochs, boards=boards, **{**OPTIONS, **options})


@pytest.fixture(scope="module")
def in_turn() -> list[dict[str, Any]]:
    return all_bits(trained(GOLDEN))


def test_members_have_the_bits_of_one_board(fleet: Fleet, keys: Path,
                                            in_turn: list[dict[str, Any]]) -> None:
    members = dict([host(fleet, "b0"), host(fleet, "b1")])
    made = trained(pt.Members.at(CUT, members, keys=keys))
    with Remote.call(fleet.transport("coordinator"), "b0", members["b0"]) as caller:
        assert caller.status()["joined"]
        x, y = data()
        accuracy = [one.accuracy for one in made.evaluate(x, y)]
        assert all_bits(made) == in_turn
        assert not caller.status()["joined"], "the members are left"
    # They go on as learners of this machine.
    assert [one.accuracy for one in made.evaluate(x, y)] == accuracy
    made.close()


@pytest.mark.parametrize(("number", "lost_at"), [(0, 3), (1, 3), (0, 10), (1, 10)])
def test_a_spare_member_takes_a_block_over(number: int, lost_at: int, fleet: Fleet, keys: Path,
                                           tmp_path: Path, in_turn: list[dict[str, Any]]) -> None:
    """In the first epoch, which begins anew, or in the second one, which goes on."""
    members = dict(host(fleet, f"b{at}", lost_at if at == number else 0) for at in range(2))
    runs = [0]
    place = pt.Members.at(CUT, members, keys=keys, spares=dict([host(fleet, "b2", 0, runs)]))
    made = trained(place, checkpoint=tmp_path / "blocks")
    assert all_bits(made) == in_turn
    # Five steps an epoch, and those in which exponents are found.
    assert runs[0] == 5 if lost_at > 5 else runs[0] > 10


@pytest.mark.parametrize("options", [{"on_loss": "error"}, {"patience": 0.1}], ids=str)
def test_a_loss_that_ends_the_training_leaves_a_checkpoint(
        options: dict[str, Any], fleet: Fleet, keys: Path, tmp_path: Path,
        in_turn: list[dict[str, Any]]) -> None:
    members = dict([host(fleet, "b0"), host(fleet, "b1", 10)])
    place = pt.Members.at(CUT, members, keys=keys, **options)
    with pytest.raises(MemberLost) as caught:
        trained(place, checkpoint=tmp_path)
    assert isinstance(caught.value, NoMemberLeft) == ("patience" in options)
    assert not [one for one in threading.enumerate() if one.name.startswith("block ")]
    assert all_bits(trained(GOLDEN, checkpoint=tmp_path, resume=True)) == in_turn


def test_a_loss_without_a_checkpoint_is_an_error(fleet: Fleet, keys: Path) -> None:
    members = dict([host(fleet, "b0"), host(fleet, "b1", 5)])
    place = pt.Members.at(CUT, members, keys=keys, spares=dict([host(fleet, "b2")]))
    with pytest.raises(MemberLost, match="member 'b1' is lost"):
        trained(place)
    with fleet.join("b0", members["b0"]) as again:  # it was left, and may be joined
        assert again.status()["joined"]


def test_members_of_other_blocks(fleet: Fleet, keys: Path) -> None:
    members = dict([host(fleet, "b0"), host(fleet, "b1")])
    for after, options, found in ((AFTER[1:2], {}, "after relu3, 1"),
                                  (CUT, {"in_flight": 2}, "after drop, 2")):
        place = pt.Members.at(after, members, keys=keys, **options)  # type: ignore[arg-type]
        with pytest.raises(BadInput, match=r"members for blocks: expected some that are cut after "
                                           rf"drop, one mini-batch in flight, found {found}; name"):
            trained(place)


def test_the_arena_of_a_member(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_backend, "_CHUNK", 100)
    with fleet.join("b0", host(fleet, "b0")[1]) as remote:
        lent = RemoteBackend(remote, 1000, 20.0)
        with pytest.raises(MemberFailed, match=r"arena.read: expected an open arena, found none"):
            lent.read(0, 4)
        with lent:
            values = np.random.default_rng(1).integers(0, 256, 750, np.uint8)
            lent.write(130, values)
            assert np.array_equal(lent.read(0, 1000), np.concatenate(
                [np.zeros(130, np.uint8), values, np.zeros(120, np.uint8)]))
            assert lent.read(0, 0).size == 0 and lent.name == GOLDEN
            for call in (lambda: lent.read(990, 11), lambda: lent.write(999, b"ab")):
                with pytest.raises(BadInput, match="a span lies outside the arena"):
                    call()
            request = RunRequest(0, 1, 0, 10)
            with pytest.raises(BadInput, match="step mode over a link: expected a board of this"):
                lent.run_step_mode(request)
            called: list[int] = []
            with pytest.raises(MemberFailed, match="member 'b0'"):  # zeros are no descriptor
                lent.run(RunRequest(0, 1, 0, 10, meanwhile=lambda: called.append(1)))
            assert called == [1]
            for name, what, arrays in (
                    (remote_backend.WRITE, {"offset": 0}, {"data": np.zeros(2, np.int16)}),
                    (remote_backend.WRITE, {"offset": -1}, {"data": np.zeros(2, np.uint8)}),
                    (remote_backend.WRITE, {"offset": 999}, {"data": np.zeros(2, np.uint8)}),
                    (remote_backend.READ, {"offset": 0}, {}), (remote_backend.RUN, {}, {}),
                    (remote_backend.OPEN, {"nbytes": "all"}, {}),
                    (remote_backend.CLOSE, {"what": 1}, {})):
                with pytest.raises(MemberFailed):
                    remote.ask(name, what, arrays)
            assert remote.ask(remote_backend.READ, {"offset": 130, "nbytes": 750})[1][
                "data"].tolist() == values.tolist()
            remote.ask(remote_backend.OPEN, {"nbytes": 10})
            assert not lent.read(0, 10).any(), "a new arena has taken its place"
        with pytest.raises(MemberFailed, match="found none"):
            lent.read(0, 4)
        with pytest.raises(MemberFailed, match=r"unknown request 'arena\.sell'"):
            remote.ask("arena.sell")
