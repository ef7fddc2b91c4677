"""Segments on members: the bits of one board, also when members are lost on the way."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
import pytest
from fleet_kit import Fleet, free_address
from training_kit import data, digest, start_masters, train, train_whole, whole_session

from pynq_train.backends.names import GOLDEN
from pynq_train.check.options import Options
from pynq_train.check.random_nets import random_net
from pynq_train.errors import (
    BadInput,
    BadMessage,
    DoesNotFit,
    HardwareFault,
    MemberFailed,
    MemberLost,
    NoMemberLeft,
    Overdue,
)
from pynq_train.fleet import requests
from pynq_train.fleet.build import SegmentPlans
from pynq_train.fleet.crew import Crew, Seat
from pynq_train.fleet.cut import Cut, legal_edges
from pynq_train.fleet.identity import Identity
from pynq_train.fleet.member import Member, Service
from pynq_train.fleet.remote import Remote
from pynq_train.fleet.service import BoardHost
from pynq_train.fleet.training import FleetTrainer, OnLoss
from pynq_train.fleet.transport.base import Beats
from pynq_train.fleet.wire import Arrays, Values
from pynq_train.graph import Graph, zoo
from pynq_train.quant.policy import INPUT_START
from pynq_train.run.masters import Masters
from pynq_train.run.session import new_policy


@dataclass
class Bench:
    """A network on one golden board, and over members of this process."""

    fleet: Fleet
    net: Graph
    after: tuple[str, ...]
    batch: int
    seed: int = 0
    addresses: dict[str, str] = field(default_factory=dict)
    wrap: Callable[[str, Service], Service] = lambda name, service: service

    def masters(self) -> dict[str, Masters]:
        return start_masters(self.net, self.seed)

    def whole(self, steps: int) -> list[str]:
        return train_whole(self.net, self.batch, self.seed, steps)

    def start(self, *names: str) -> list[Seat]:
        """Start golden members."""
        for name in names:
            host = BoardHost(GOLDEN)
            member = Member(Identity.of(name, GOLDEN),
                            lambda name=name, host=host: self.wrap(  # type: ignore[misc]
                                name, host.serve()))
            self.fleet.stack.callback(member.close)
            listener = member.listen(self.fleet.transport(name), free_address())
            self.fleet.stack.callback(listener.close)
            self.addresses[name] = listener.address
        return [Seat(name, self.addresses[name]) for name in names]

    def trainer(self, seats: list[Seat], spares: list[Seat] | None = None,
                on_loss: OnLoss = "replan", seconds: float = 60.0, patience_s: float = 1.0
                ) -> FleetTrainer:
        crew = Crew(self.fleet.transport("coordinator"), seats, spares or [],
                    patience_s=patience_s)
        crew.join()
        self.fleet.stack.callback(crew.close)
        plans = SegmentPlans.of(Cut.of(self.net, self.after), crew.boards, self.batch)
        masters = self.masters()
        return FleetTrainer(plans, crew, masters, new_policy(plans.whole, masters, INPUT_START),
                            on_loss=on_loss, seconds=seconds)


@pytest.fixture
def bench(fleet_of: Callable[[str], Fleet]) -> Iterator[Bench]:
    fleet = fleet_of("in_process")
    fleet.hub.beats = Beats(0.3)
    yield Bench(fleet, zoo.get("digits"), ("pool1",), 4)


@pytest.mark.parametrize("kind", ["in_process", "tls", "zenoh"])
def test_members_have_the_bits_of_one_board(kind: str, fleet_of: Callable[[str], Fleet]) -> None:
    bench = Bench(fleet_of(kind), zoo.get("digits"), ("pool1", "pool2"), 4)
    trainer = bench.trainer(bench.start("b0", "b1", "b2"))
    assert train(trainer, 0, 3) == bench.whole(3)
    assert trainer.losses == []


@pytest.mark.parametrize("seed", [5])
def test_random_networks_over_members(seed: int, fleet_of: Callable[[str], Fleet]) -> None:
    drawn = random_net(seed)
    after = legal_edges(drawn.graph)[:3]
    bench = Bench(fleet_of("in_process"), drawn.graph, after, drawn.batch, seed)
    trainer = bench.trainer(bench.start("b0", "b1", "b2", "b3")[:len(after) + 1])
    assert train(trainer, seed, 2) == bench.whole(2)


# ---- losses --------------------------------------------------------------------------------------
@pytest.mark.parametrize("fault", ["kill", "hang"])
@pytest.mark.parametrize("name", ["b0", "b1"])
def test_a_spare_member_takes_over_and_changes_no_bit(fault: str, name: str, bench: Bench) -> None:
    seats, spares = bench.start("b0", "b1"), bench.start("b2")

    def before(step: int) -> None:
        if step == 2:
            getattr(bench.fleet.hub, fault)(bench.addresses[name])

    trainer = bench.trainer(seats, spares)
    assert train(trainer, 0, 4, before) == bench.whole(4)
    assert trainer.losses == [name]


@pytest.mark.parametrize("request_name", [requests.FORWARD, requests.BACKWARD, requests.READ,
                                          requests.EVALUATE])
@pytest.mark.parametrize("name", ["b0", "b1"])
def test_a_member_that_is_lost_in_the_middle_of_a_request(name: str, request_name: str,
                                                          bench: Bench) -> None:
    """It has carried the request out, half or whole: the coordinator cannot know."""
    seen: list[str] = []
    hub = bench.fleet.hub

    def wrap(member: str, service: Service) -> Service:
        def handle(asked: str, values: Values, arrays: Arrays) -> tuple[Values, Arrays]:
            answer = service.handle(asked, values, arrays)
            if member == name:
                seen.append(asked)
            if member == name and seen.count(request_name) == (
                    1 if request_name == requests.EVALUATE else 3):
                hub.kill(bench.addresses[name])
            return answer

        return Service(handle, service.close)

    bench.wrap = wrap
    trainer = bench.trainer(bench.start("b0", "b1"), bench.start("b2"))
    assert train(trainer, 0, 3) == bench.whole(3)
    assert trainer.losses == [name]


def test_a_member_that_is_lost_when_its_weights_are_read(bench: Bench) -> None:
    """After 16 steps, outside of any of them: the weights of before, and 16 steps again."""
    hub, reads = bench.fleet.hub, [0]

    def wrap(member: str, service: Service) -> Service:
        def handle(asked: str, values: Values, arrays: Arrays) -> tuple[Values, Arrays]:
            if member == "b1" and asked == requests.READ:
                reads[0] += 1
                hub.kill(bench.addresses["b1"])
            return service.handle(asked, values, arrays)

        return Service(handle, service.close)

    bench.wrap = wrap
    trainer = bench.trainer(bench.start("b0", "b1"), bench.start("b2"))
    options = Options.of(0)
    with ExitStack() as stack:
        whole = whole_session(stack, bench.net, bench.batch, 0)
        for one in (trainer, whole):
            one.prepare(*data(one.plan, 0, 0), INPUT_START)
            for step in range(18):
                one.train_step(*data(one.plan, 0, step), options.sgd(0, step, one.plan.batch))
        assert reads == [1] and trainer.losses == ["b1"]
        assert digest(trainer) == digest(whole)


def test_the_weights_are_lost_with_nobody_before_the_first_step(bench: Bench) -> None:
    trainer = bench.trainer(bench.start("b0", "b1"), bench.start("b2"))
    bench.fleet.hub.kill(bench.addresses["b1"])
    assert train(trainer, 0, 2) == bench.whole(2)
    assert trainer.losses == ["b1"]


def test_members_lost_one_after_another(bench: Bench) -> None:
    trainer = bench.trainer(bench.start("b0", "b1"), bench.start("b2", "b3"))

    def before(step: int) -> None:
        if step < 2:
            bench.fleet.hub.kill(bench.addresses[f"b{step}"])

    assert train(trainer, 0, 3, before) == bench.whole(3)
    assert trainer.losses == ["b0", "b1"]


def test_two_members_lost_at_once(bench: Bench) -> None:
    trainer = bench.trainer(bench.start("b0", "b1"), bench.start("b2", "b3"))

    def before(step: int) -> None:
        if step == 1:
            for name in ("b0", "b1"):
                bench.fleet.hub.kill(bench.addresses[name])

    assert train(trainer, 0, 3, before) == bench.whole(3)
    assert sorted(trainer.losses) == ["b0", "b1"]


def test_a_loss_is_an_error_where_that_was_chosen(bench: Bench) -> None:
    trainer = bench.trainer(bench.start("b0", "b1"), bench.start("b2"), on_loss="error")
    whole = bench.whole(2)

    def before(step: int) -> None:
        if step == 1:
            bench.fleet.hub.kill(bench.addresses["b1"])

    with pytest.raises(MemberLost, match="member 'b1' is lost") as caught:
        train(trainer, 0, 2, before)
    assert caught.value.member == "b1" and trainer.losses == []
    assert json.dumps(trainer.policy.to_dict()) and whole


def test_nobody_is_left(bench: Bench) -> None:
    trainer = bench.trainer(bench.start("b0", "b1"), patience_s=0.1)

    def before(step: int) -> None:
        if step == 1:
            bench.fleet.hub.kill(bench.addresses["b0"])

    with pytest.raises(NoMemberLeft, match=r"segment 0 has no member any more .lost 'b0', no other "
                                           r"can be joined; the last says: .*load a checkpoint"):
        train(trainer, 0, 2, before)


# ---- fewer segments ------------------------------------------------------------------------------
@pytest.mark.parametrize(("lost", "left"), [
    ({1: ["b0"]}, 2), ({2: ["b1"]}, 2), ({1: ["b2"]}, 2), ({1: ["b0"], 3: ["b2"]}, 1),
    ({2: ["b0", "b1"]}, 1), ({0: ["b1"]}, 2)], ids=str)
def test_a_network_goes_on_with_fewer_segments(lost: dict[int, list[str]], left: int, bench: Bench
                                               ) -> None:
    bench.after = ("pool1", "pool2")
    trainer = bench.trainer(bench.start("b0", "b1", "b2"), on_loss="fewer", patience_s=0.1)

    def before(step: int) -> None:
        for name in lost.get(step, ()):
            bench.fleet.hub.kill(bench.addresses[name])

    assert train(trainer, 0, 4, before) == bench.whole(4)
    assert sorted(trainer.losses) == sorted(name for names in lost.values() for name in names)
    assert len(trainer._pipeline.parts) == len(trainer._crew.seats) == left


@pytest.mark.parametrize("asked", [requests.OPEN, requests.BACKWARD, requests.WRITE])
def test_another_member_is_lost_while_segments_are_joined(asked: str, bench: Bench) -> None:
    bench.after, hub, armed = ("pool1", "pool2"), bench.fleet.hub, list[bool]()

    def wrap(member: str, service: Service) -> Service:
        def handle(name: str, values: Values, arrays: Arrays) -> tuple[Values, Arrays]:
            if armed and member == "b2" and name == asked:
                hub.kill(bench.addresses["b2"])
            return service.handle(name, values, arrays)

        return Service(handle, service.close)

    def before(step: int) -> None:
        if step == 1:
            armed.append(True)
            hub.kill(bench.addresses["b0"])

    bench.wrap = wrap
    trainer = bench.trainer(bench.start("b0", "b1", "b2"), on_loss="fewer", patience_s=0.1)
    assert train(trainer, 0, 3, before) == bench.whole(3)
    assert trainer.losses == ["b0", "b2"]


def test_a_spare_member_is_taken_before_segments_are_joined(bench: Bench) -> None:
    trainer = bench.trainer(bench.start("b0", "b1"), bench.start("b2"), on_loss="fewer")
    bench.fleet.hub.kill(bench.addresses["b1"])
    assert train(trainer, 0, 2) == bench.whole(2)
    assert [seat.name for seat in trainer._crew.seats] == ["b0", "b2"]


def test_segments_that_fit_no_board_together(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is there anything to join with once one segment is left."""
    trainer = bench.trainer(bench.start("b0", "b1"), on_loss="fewer", patience_s=0.1)
    train(trainer, 0, 1)
    bench.fleet.hub.kill(bench.addresses["b1"])
    with monkeypatch.context() as patch:
        def large(*rest: object, **options: object) -> SegmentPlans:
            raise DoesNotFit("segment 0 on a board", expected="8 bytes", found=9)

        patch.setattr(SegmentPlans, "of", large)
        with pytest.raises(NoMemberLeft, match=r"segment 1 cannot be joined with one beside it "
                                               r".*expected 8 bytes, found 9.*checkpoint"):
            trainer.read_masters()
    alone = bench.trainer(bench.start("c0", "c1"), on_loss="fewer", patience_s=0.1)
    train(alone, 0, 1)
    for name in ("c0", "c1"):
        bench.fleet.hub.kill(bench.addresses[name])
    with pytest.raises(NoMemberLeft, match=r"segment 0 cannot be joined with one beside it "
                                           r".*no other can be joined"):
        alone.read_masters()


# ---- members that come back ----------------------------------------------------------------------
def test_a_member_that_comes_back_takes_its_segment_over_again(bench: Bench) -> None:
    trainer = bench.trainer(bench.start("b0", "b1"), patience_s=20)
    hub = bench.fleet.hub

    def before(step: int) -> None:
        if step == 1:
            address = bench.addresses["b1"]
            hub.kill(address)
            host = BoardHost(GOLDEN)
            member = Member(Identity.of("b1", GOLDEN), host.serve)
            bench.fleet.stack.callback(member.close)
            hub.listen("b1", address, member.admit)

    assert train(trainer, 0, 3, before) == bench.whole(3)
    assert trainer.losses == ["b1"]


def test_a_member_that_does_not_come_to_an_end_is_not_waited_for_again(bench: Bench) -> None:
    release = threading.Event()
    bench.fleet.stack.callback(release.set)

    def wrap(member: str, service: Service) -> Service:
        def handle(asked: str, values: Values, arrays: Arrays) -> tuple[Values, Arrays]:
            if member == "b1" and asked == requests.BACKWARD:
                assert release.wait(60)
            return service.handle(asked, values, arrays)

        return Service(handle, service.close)

    bench.wrap = wrap
    seats = bench.start("b0", "b1")
    trainer = bench.trainer(seats, on_loss="error", seconds=3.0)
    with pytest.raises(Overdue, match="member 'b1' lives but has not answered within 3 s"):
        train(trainer, 0, 1)
    with Remote.call(bench.fleet.hub, "b1", bench.addresses["b1"]) as caller:
        assert caller.status()["waiting"] == 0, "it was asked for more"
    release.set()


# ---- what goes wrong otherwise -------------------------------------------------------------------
def altered(change: Callable[[str, Values, Arrays], tuple[Values, Arrays]], only: str
            ) -> Callable[[str, Service], Service]:
    """Members whose answers to one kind of request are changed."""
    def wrap(member: str, service: Service) -> Service:
        def handle(asked: str, values: Values, arrays: Arrays) -> tuple[Values, Arrays]:
            answer = service.handle(asked, values, arrays)
            return change(asked, *answer) if asked == only else answer

        return Service(handle, service.close)

    return wrap


@pytest.mark.parametrize(("only", "change", "error", "text"), [
    (requests.FORWARD, lambda v, a: (v, {k: x[:, :1] if k.startswith("map/") else x
                                         for k, x in a.items()}),
     HardwareFault, r"answer of segment 0 \(forward\): map .*expected int16"),
    (requests.FORWARD, lambda v, a: (v, {k: x[:-1] if k == "records" else x
                                         for k, x in a.items()}),
     HardwareFault, "records: expected"),
    (requests.FORWARD, lambda v, a: (v, {k: x for k, x in a.items() if k == "records"}),
     BadMessage, "maps of segment.forward: expected an exponent for each"),
    (requests.FORWARD, lambda v, a: ({**v, "cycles": -1}, a), BadMessage, "cycles: expected an"),
    (requests.FORWARD, lambda v, a: (v, {**a, "records": a["records"].astype(np.int32)}),
     BadMessage, "records: expected an array of int64"),
    (requests.READ, lambda v, a: (v, {k: x[:1] for k, x in a.items()}), BadMessage,
     "masters in the answer of member 'b0': tensor"),
    (requests.READ, lambda v, a: (v, {}), BadMessage, "masters in the answer of member 'b0'"),
], ids=["shape", "records", "no map", "cycles", "dtype", "masters", "no masters"])
def test_a_member_that_answers_with_something_else(
        only: str, change: Callable[[Values, Arrays], tuple[Values, Arrays]],
        error: type[Exception], text: str, bench: Bench) -> None:
    bench.wrap = altered(lambda asked, values, arrays: change(values, arrays), only)
    trainer = bench.trainer(bench.start("b0", "b1"))
    with pytest.raises(error, match=text):
        train(trainer, 0, 1)


def test_boards_and_members_have_to_fit(bench: Bench) -> None:
    with pytest.raises(BadInput, match="boards of 3 segments: expected 3, one for each, found 2"):
        bench.after = ("pool1", "pool2")
        bench.trainer(bench.start("b0", "b1"))
    crew = Crew(bench.fleet.transport("coordinator"), bench.start("b2", "b3")).join()
    bench.fleet.stack.callback(crew.close)
    masters = bench.masters()
    plans = SegmentPlans.of(Cut.of(bench.net, ("pool1",)), ["golden", "virtual:pynq-z2"], 4)
    policy = new_policy(plans.whole, masters, INPUT_START)
    with pytest.raises(BadInput, match="boards of the members: expected golden, virtual:pynq-z2,"):
        FleetTrainer(plans, crew, masters, policy)
    with pytest.raises(BadInput, match="on_loss: expected one of 'error', 'replan', 'fewer', "
                                       "found 'hope'"):
        FleetTrainer(plans, crew, masters, policy, on_loss="hope")  # type: ignore[arg-type]


@pytest.mark.parametrize(("seats", "text"), [
    ([Seat("b0", "h:1"), Seat("b0", "h:2")], "members: expected each name once, found b0, b0"),
    ([Seat("b0", "h:1"), Seat("b1", "h:1")], "members: expected each address once"),
    ([Seat("b_0", "h:1")], "name of a member"), ([Seat("b0", "h")], "address of a member"),
])
def test_malformed_crews(seats: list[Seat], text: str, bench: Bench) -> None:
    with pytest.raises(BadInput, match=text):
        Crew(bench.fleet.hub, seats)


def test_a_crew_that_cannot_be_joined_whole_is_left_again(bench: Bench) -> None:
    seats = bench.start("b0", "b1")
    bench.fleet.hub.kill(bench.addresses["b1"])
    crew = Crew(bench.fleet.transport("coordinator"), seats)
    with pytest.raises(MemberLost, match="'b1' is lost"):
        crew.join()
    assert crew.remotes == []


def test_malformed_requests_are_refused_by_the_member(bench: Bench) -> None:
    (seat,) = bench.start("b0")
    joined = bench.fleet.join(seat.name, seat.address)
    part = SegmentPlans.of(Cut.of(bench.net, ("pool1",)), GOLDEN, 4).parts[0]
    good = requests.SegmentSpec.of(part).values(0)
    for change, text in (
            ({"after": ["nowhere"]}, "unknown edge 'nowhere'"), ({"number": 2}, "a segment of 2"),
            ({"trainable": [[True, True]]}, "layers"), ({"loss": "hinge"}, "one of"),
            ({"batch": 0}, "batch"), ({"graph": {"ops": 3}}, "graph"), ({"slots": 0}, "slots"),
            ({"key": -1}, "key"), ({"batch": 1 << 20}, "images")):
        with pytest.raises(MemberFailed, match=text):
            joined.ask(requests.OPEN, {**good, **change})
    with pytest.raises(MemberFailed, match=r"segment: expected one of .., found 0; put"):
        joined.ask(requests.READ, {"key": 0})
    joined.ask(requests.OPEN, good)
    for name, values, text in (
            (requests.WRITE, requests.write_values(0, [0]), "exponents of"),
            (requests.WRITE, requests.write_values(0, [0] * len(part.cut.layers)), "a tensor"),
            (requests.FORWARD, {"key": 0, "slot": 0, "exponents": {}, "map_exponents": {}},
             "block: expected an array of int64, found none"),
            ("segment.explode", {}, "unknown request 'segment.explode'")):
        with pytest.raises(MemberFailed, match=text):
            joined.ask(name, values)
