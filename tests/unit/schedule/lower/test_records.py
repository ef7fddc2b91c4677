"""Records of a run: ranges are those of all parts and slices, saturations their sum."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from pynq_train.backends.names import board_of
from pynq_train.errors import BadInput
from pynq_train.graph import (
    Add,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    GlobalAvgPool,
    Graph,
    MaxPool,
    Relu,
)
from pynq_train.layers import fuse, nodes
from pynq_train.schedule.lower.records import RunRecords, read_records
from pynq_train.schedule.passes.batch_split import BatchSplit
from pynq_train.schedule.passes.descriptors import Descriptor, Role
from pynq_train.schedule.plan import Plan, make_plan


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Grouped (slices), a residual, both kinds of pooling, a dropout; three parts of all passes."""
    monkeypatch.setattr("pynq_train.schedule.plan.choose_split", lambda specs, *_: BatchSplit(
        (3,) * len(specs), (3,) * len(specs), (3,) * len(specs)))
    graph = Graph.build((2, 9, 9), [
        Conv(24, 3, name="stem"), BatchNorm(name="sbn"), Relu(name="s"),
        Conv(24, 3, 1, 1, groups=2, name="grouped"), BatchNorm(name="dbn"),
        Add("sum", ("dbn", "s")), Relu("r"), MaxPool(3, 2, name="pool"),
        Conv(9, 2, 1, 1, name="tail"), Relu("t"), Dropout(0.5, "drop"), GlobalAvgPool("mean"),
        Dense(5, name="last")])
    return make_plan(fuse(graph), 7, board_of("golden"))


def said(plan: Plan, descriptors: tuple[Descriptor, ...], measures: list[int], counts: list[int]
         ) -> RunRecords:
    rows = np.zeros((len(descriptors), 4), "<i8")
    rows[:, 0], rows[:, 1] = measures, counts
    return read_records(plan, descriptors, rows.view(np.uint8))


def groups_of(plan: Plan, descriptors: tuple[Descriptor, ...]
              ) -> dict[tuple[str, int], list[int]]:
    """Descriptors that work on one tensor, by the record's field and layer (or node)."""
    found: dict[tuple[str, int], list[int]] = defaultdict(list)
    for at, one in enumerate(descriptors):
        field = {Role.FORWARD: "forward", Role.FORWARD_VECTOR: "forward",
                 Role.BACKWARD: "backward", Role.WEIGHT_GRADIENT: "weights",
                 Role.BACKWARD_VECTOR: "nodes", Role.UNPOOL: "nodes"}.get(one.role)
        if field:
            found[field, one.node if field == "nodes" else one.layer].append(at)
    return found


def measure_of(records: RunRecords, field: str, at: int) -> int | None:
    values = getattr(records.measures, field)
    return values[at][0] if field == "nodes" else values[at]


@pytest.mark.parametrize("training", [True, False])
def test_every_part_counts(plan: Plan, training: bool) -> None:
    descriptors = plan.train if training else plan.evaluate
    several = set()
    for (field, at), places in groups_of(plan, descriptors).items():
        for place in places:  # each of them alone has the largest value
            measures, counts = [0] * len(descriptors), [0] * len(descriptors)
            for number, other in enumerate(places):
                measures[other], counts[other] = 1 + number % 3, 2
            measures[place] |= 1 << 30
            records = said(plan, descriptors, measures, counts)
            wanted = 0
            for other in places:
                wanted |= measures[other]
            assert measure_of(records, field, at) == wanted, (field, at, place)
            assert records.measures.forward.count(0) >= len(plan.specs) - 1
            assert sum(records.saturations.values()) == 2 * len(places)
        if len(places) > 1:
            several.add((field, descriptors[places[0]].role))
    assert {("forward", Role.FORWARD), ("forward", Role.FORWARD_VECTOR)} <= several
    if training:
        assert {("backward", Role.BACKWARD), ("nodes", Role.BACKWARD_VECTOR),
                ("weights", Role.WEIGHT_GRADIENT), ("nodes", Role.UNPOOL)} <= several


def test_coefficients_stand_by_themselves(plan: Plan) -> None:
    """The two measures of a normalisation's gradient do not mix, whichever comes last."""
    for at, one in enumerate(plan.train):
        if one.role not in (Role.NORM_COEFFICIENTS, Role.BACKWARD_NORM):
            continue
        measures = [1] * len(plan.train)
        measures[at] = 1 << 40
        found = said(plan, plan.train, measures, [0] * len(plan.train)).measures
        if one.role == Role.NORM_COEFFICIENTS:
            assert {layer for layer, bits in found.coefficients.items() if bits >> 40} == {
                one.layer}
            assert all(written >> 40 == 0 for written, _ in found.nodes.values())
        else:
            assert {number for number, (_, bits) in found.nodes.items() if bits >> 40} == {
                one.node}
            assert all(written >> 40 == 0 for written, _ in found.nodes.values())
            assert plan.backward_graph.nodes[one.node].kind == nodes.NORM


def test_loss_and_answers_are_those_of_the_softmax(plan: Plan) -> None:
    at = [one.role for one in plan.train].index(Role.SOFTMAX)
    measures, counts = list(range(len(plan.train))), [1] * len(plan.train)
    measures[at], counts[at] = 12345, 6
    found = said(plan, plan.train, measures, counts)
    assert (found.loss_sum, found.correct) == (12345, 6)
    assert found.measures.weights[-1] is not None
    evaluated = said(plan, plan.evaluate, [3] * len(plan.evaluate), [0] * len(plan.evaluate))
    assert set(evaluated.measures.weights) == set(evaluated.measures.backward) == {None}


def test_a_record_for_each_descriptor(plan: Plan) -> None:
    with pytest.raises(BadInput, match=r"records: expected .* of 4 words"):
        read_records(plan, plan.train, np.zeros(32 * (len(plan.train) - 1), np.uint8))
