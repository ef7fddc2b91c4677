"""Parts of the mini-batch: fewer where maps are small, matched where array and vector unit meet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pynq_train.graph import zoo
from pynq_train.graph.graph import Graph, Sequential
from pynq_train.hw.boards import BOARDS, Board
from pynq_train.layers import fuse
from pynq_train.schedule import plan as planning
from pynq_train.schedule.lower.records import read_records
from pynq_train.schedule.passes import batch_split as splitting
from pynq_train.schedule.passes.batch_split import MOST, MOST_BACK, BatchSplit, choose_split
from pynq_train.schedule.passes.descriptors import Role
from pynq_train.schedule.passes.vector_order import image_parts
from pynq_train.schedule.plan import Plan, make_plan
from pynq_train.schedule.predict import predict
from pynq_train.schedule.specs.spec import LayerSpec

BOARD = BOARDS["pynq-z2"]
BATCH = 16


def split(graph: Graph, batch: int = BATCH) -> tuple[Plan, BatchSplit]:
    layers = fuse(graph)
    plan = make_plan(layers, batch, BOARD)
    return plan, choose_split(plan.specs, plan.sources, BOARD)


def shrinking() -> Graph:
    """Large maps in front, maps of 2x2 behind, all between normalisations."""
    net = Sequential((16, 32, 32), "shrinking")
    for channels, stride in ((16, 1), (16, 4), (64, 4), (64, 1), (64, 1)):
        net = net.conv(channels, 3, stride=stride, padding=1, bias=False).norm().relu()
    return net.global_pool().dense(10).build()


def test_small_maps_have_fewer_parts() -> None:
    plan, found = split(shrinking())
    of = {spec.name: at for at, spec in enumerate(plan.specs)}
    convs = [at for at, spec in enumerate(plan.specs) if spec.on_array and not spec.dense]
    large, small = convs[0], convs[-1]
    assert found.forward[large] > found.forward[small]
    assert found.leaving[convs[1]] > found.leaving[small]
    assert found.forward[of["fc1"] if "fc1" in of else len(of) - 1] == 1
    assert found.most <= max(MOST, MOST_BACK)


def test_layers_of_the_vector_unit_have_the_parts_of_their_neighbours() -> None:
    plan, found = split(shrinking())
    convs = [at for at, spec in enumerate(plan.specs) if spec.on_array]
    for at in convs[:-1]:
        behind = min(other for other in convs if other > at)
        for between in range(at + 1, behind):
            assert found.forward[between] == found.forward[behind]
            assert found.arriving[between] == found.leaving[behind]
            assert found.leaving[between] == found.leaving[at]


def test_networks_without_the_vector_unit_are_not_cut() -> None:
    _, found = split(zoo.get("1x"))
    assert found.most == 1


@pytest.mark.medium
def test_branches_have_the_most_parts_everywhere() -> None:
    _, found = split(zoo.get("resnet20"))
    assert set(found.forward) == {MOST}
    assert set(found.arriving) == set(found.leaving) == {MOST_BACK}


@pytest.mark.parametrize("batch", [1, 2, 7, 16])
def test_parts_cover_the_mini_batch_once(batch: int) -> None:
    plan, found = split(shrinking(), batch)
    for at, spec in enumerate(plan.specs):
        for role, parts, edge in ((Role.FORWARD, found.forward, True), (Role.NORM_SUMS, None, True),
                                  (Role.FORWARD_VECTOR, found.forward, True),
                                  (Role.BACKWARD, found.leaving, False),
                                  (Role.BACKWARD_SUMS, found.arriving, False),
                                  (Role.BACKWARD_VECTOR, found.leaving, False)):
            ranges = [descriptor.images for descriptor in plan.train
                      if descriptor.layer == at and descriptor.role == role
                       and descriptor.images is not None]
            if not ranges:
                continue
            wanted = parts[at] if parts else found.forward[at - 1]
            whole = spec.x.images
            assert tuple(sorted(set(ranges))) == image_parts(whole, min(wanted, whole), edge)


def step_cycles(plan: Plan) -> int:
    return predict(plan, plan.train).cycles


@pytest.mark.medium
def test_the_split_takes_fewer_predicted_cycles(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, found = split(shrinking())
    mine = step_cycles(plan)
    count = len(plan.specs)
    for forward, backward in ((MOST, MOST_BACK), (1, 1)):
        even = replace(found, forward=(forward,) * count, arriving=(backward,) * count,
                       leaving=(backward,) * count)
        monkeypatch.setattr(planning, "choose_split", lambda *_, even=even: even)
        assert mine < step_cycles(make_plan(plan.layers, BATCH, BOARD))


def test_a_layer_without_a_backward_pass_needs_no_tile_for_it(
        monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []
    cost = splitting._cost

    def noted(spec: LayerSpec, images: int, board: Board, back: bool) -> tuple[int, int]:
        asked.append((spec.name, back))
        return cost(spec, images, board, back)

    monkeypatch.setattr(splitting, "_cost", noted)
    plan, _ = split(shrinking())
    first, *others = (spec.name for spec in plan.specs if spec.on_array and not spec.dense)
    assert (first, True) not in asked and (first, False) in asked
    assert {(name, True) for name in others} <= set(asked)


def test_the_range_of_a_gradient_is_that_of_all_parts() -> None:
    """A step of the vector unit has a record for each part; the policy gets the OR of them."""
    plan, _ = split(shrinking())
    places: dict[int, list[int]] = {}
    for at, descriptor in enumerate(plan.train):
        if descriptor.role == Role.BACKWARD_VECTOR:
            places.setdefault(descriptor.node, []).append(at)
    cut = {step: found for step, found in places.items() if len(found) > 1}
    assert cut
    records = np.zeros((len(plan.train), 4), "<i8")
    for found in cut.values():
        records[found, 0] = [1 << 30 - number for number in range(len(found))]
    steps = read_records(plan, plan.train, records.view(np.uint8)).measures.nodes
    for step, found in cut.items():
        assert steps[step][0] == sum(1 << 30 - number for number in range(len(found)))
