"""Arms: cycles and bytes are those of the plan; what cannot be made is refused."""

from __future__ import annotations

from typing import Any

import pytest

from pynq_train.errors import BadInput, DoesNotFit, UnknownName
from pynq_train.graph import Graph, zoo
from pynq_train.hw.boards import BOARDS
from pynq_train.layers import fuse
from pynq_train.schedule.plan import make_plan
from pynq_train.schedule.predict import predict
from pynq_train.schedule.specs.trainable import select
from pynq_train.select import Cost, make_arms


def test_costs_are_those_of_the_plan(net: Graph) -> None:
    arms = make_arms({"mine": net}, ["pynq-z2", "kv260"], ["bias", "all"], batch=4)
    assert [arm.name for arm in arms] == ["mine/bias", "mine/all"]
    layers = fuse(net)
    for arm in arms:
        for board, cost in arm.costs.items():
            plan = make_plan(layers, 4, BOARDS[board], trainable=select(layers, arm.rung))
            run = predict(plan, plan.train)
            assert cost == Cost(run.cycles, plan.memory.nbytes, run.ms_per_image / 1e3)
    assert set(arms[0].costs) == {"pynq-z2", "kv260"}
    assert arms[0].costs["pynq-z2"].cycles < arms[1].costs["pynq-z2"].cycles


def test_networks_of_the_zoo_and_rungs_by_another_cost() -> None:
    """Rungs that a plan does not know come with a function that does."""
    asked = []

    def cost(graph: Graph, rung: str, board: str, batch: int) -> Cost:
        asked.append((graph.name, rung, board, batch))
        return Cost(1, 2, 3.0)

    arms = make_arms(["digits"], ["pynq-z2"], ["lora"], cost=cost)
    assert asked == [("digits", "lora", "pynq-z2", 8)]
    assert arms[0].rung == "lora" and arms[0].costs == {"pynq-z2": Cost(1, 2, 3.0)}


def test_a_board_that_an_arm_does_not_fit_is_left_out(net: Graph) -> None:
    def cost(graph: Graph, rung: str, board: str, batch: int) -> Cost:
        if board == "pynq-z2" or rung == "all":
            raise DoesNotFit(f"too large for {board}")
        return Cost(1, 1, 1.0)

    boards = ["pynq-z2", "kv260"]
    (arm,) = make_arms({"mine": net}, boards, ["bias"], cost=cost)
    assert set(arm.costs) == {"kv260"}
    with pytest.raises(DoesNotFit, match="too large for kv260"):
        make_arms({"mine": net}, boards, ["bias", "all"], cost=cost)


@pytest.mark.parametrize(("arguments", "error", "text"), [
    (([], ["pynq-z2"]), BadInput, "models: expected one or more, each named once, found none"),
    ((["digits"], []), BadInput, "boards: expected one or more"),
    ((["digits"], ["pynq-z2"], ["all", "all"]), BadInput, "rungs: .* found all, all"),
    ((["digits", "digits"], ["pynq-z2"]), BadInput, "models: .* found digits, digits"),
    ((["digit"], ["pynq-z2"]), UnknownName, "'digit'"),
    ((["digits"], ["pynq-z7"]), UnknownName, "unknown board 'pynq-z7'"),
    ((["digits"], ["pynq-z2"], ["norm"]), BadInput, "expected a network with normalisation"),
])
def test_refusals(arguments: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make_arms(*arguments)


def test_all_networks_plan() -> None:
    """The rungs that are taken by default mean something in every network."""
    from pynq_train.select.arms import RUNGS

    for name in zoo.names():
        layers = fuse(zoo.get(name))
        assert all(select(layers, rung) for rung in RUNGS)
