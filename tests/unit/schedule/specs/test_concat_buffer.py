"""Concat buffers in memory: where their sources stand, what waits for them, what proves it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from reference_models.concat_nets import NETWORKS

from pynq_train.errors import IllegalProgram
from pynq_train.graph import zoo
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import pack_descriptor
from pynq_train.layers import fuse, kinds, nodes
from pynq_train.program import Program, verify_program
from pynq_train.quant import ExponentPolicy
from pynq_train.quant.groups import groups_of
from pynq_train.schedule.lower.program import build_training
from pynq_train.schedule.memory.arena import Allocator
from pynq_train.schedule.memory.strided_regions import StridedRegions
from pynq_train.schedule.passes import usage
from pynq_train.schedule.passes.descriptors import Role
from pynq_train.schedule.plan import Plan, make_plan
from pynq_train.schedule.specs.concat_buffer import (
    ConcatView,
    barriers_of,
    concat_views,
    image_pitch_blocks,
)
from pynq_train.schedule.specs.layout import MapLayout

BATCH = 4


def plan_of(name: str) -> Plan:
    return make_plan(fuse(NETWORKS[name]), BATCH, BOARDS["pynq-z2"], turns=False)


def check(plan: Plan) -> None:
    image = build_training(plan)
    verify_program(Program.make(image.name, image.program, image.taps, plan.memory,
                                plan.memory.nbytes, plan.board.config))


def test_sources_stand_in_the_concat_buffer_block_by_block() -> None:
    plan = plan_of("inception with norms")
    names = [spec.name for spec in plan.specs]
    slots = {names[at]: slot for at, slot in concat_views(plan.layers).items()}
    join = names.index("join")
    assert slots == {"a.bn": ConcatView(join, 0), "b.bn": ConcatView(join, 2),
                     "c.bn": ConcatView(join, 5),
                     "d.bn": ConcatView(join, 6)}
    plane, whole = 7 * 6 * 8, plan.memory["join.y"]
    assert whole.nbytes == BATCH * 7 * plane
    for name, slot in slots.items():
        own, spec = plan.memory[f"{name}.y"], plan.specs[names.index(name)]
        assert own.offset == whole.offset + slot.block * plane
        assert spec.y.image_stride == 7 * plane
        gradient = plan.memory[f"{name}.dv"]
        assert gradient.offset == plan.memory["join.dy"].offset + slot.block * plane
    # What the vector unit takes together with them has their step: it stands side by side.
    buffer = plan.memory["frame0"]
    assert buffer.nbytes == whole.nbytes
    places = [(plan.memory[f"{name}.y"].offset - buffer.offset) // plane for name in "bacd"]
    assert places == [0, 3, 5, 6], "the largest first"
    assert plan.memory["a.dy"].offset == plan.memory["a.bn.dv"].offset, "nobody reads it later"


def test_a_dense_block_is_one_map() -> None:
    plan = plan_of("dense block of lists")
    at = plan.memory.offset
    assert at("stem.y") == at("x0.y") == at("x1.y") == at("x2.y")
    assert at("stem.dy") == at("x0.dy") == at("x2.dy") and at("l2.dv") == at("l2.y") - at(
        "x2.y") + at("x2.dy")
    assert plan.memory["x2.y"].nbytes == BATCH * 5 * 6 * 5 * 8
    assert len({plan.specs[i].y.image_stride for i, layer in enumerate(plan.layers)
                if layer.out_shape[1:] == (6, 5)}) == 1


def test_maps_of_networks_without_concatenations_have_no_gaps() -> None:
    layers = fuse(zoo.resnet20())
    assert image_pitch_blocks(layers) == tuple(-(-layer.out_channels // 4) for layer in layers)
    plan = make_plan(layers, 2, BOARDS["pynq-z2"])
    assert not plan.memory.views and not concat_views(layers)


def test_frames_take_maps_of_one_step() -> None:
    to = Allocator()
    regions = StridedRegions(to)
    thin = [MapLayout.feature(2, channels, 3, 3).spread(5) for channels in (8, 12, 4, 20)]
    for number, layout in enumerate(thin):
        regions.add(f"t{number}", layout, "map")
    regions.add("other", MapLayout.feature(2, 8, 3, 3).spread(6), "map")
    regions.add("gradient", thin[2], "gradient map")
    regions.finish()
    memory = to.finish()
    assert [region.symbol for region in memory] == ["t3", "frame0", "frame1", "frame2", "frame3"]
    plane = 3 * 3 * 8
    skips = [memory[f"t{number}"].offset - memory["frame0"].offset for number in range(2)]
    assert skips == [3 * plane, 0] and memory["t2"].offset == memory["frame1"].offset
    assert memory["t1"].nbytes == 5 * plane + 3 * plane
    with pytest.raises(ValueError, match="view 'late' ends behind 't3'"):
        to.view("late", "t3", 8, thin[3].nbytes)
        to.finish()


def test_array_and_vector_unit_meet_in_a_descriptor() -> None:
    """Only where both write to a map that the array reads."""
    found = [kinds.CONV, kinds.NORM, kinds.CONV, kinds.CONCAT, kinds.CONV]
    sources = [(-1,), (0,), (1,), (1, 2), (3,)]
    assert barriers_of(found, sources) == {3}
    alone = [kinds.CONV, kinds.CONV, kinds.CONCAT, kinds.CONV]
    assert barriers_of(alone, [(-1,), (0,), (0, 1), (2,)]) == set()
    assert barriers_of([*found[:4], kinds.NORM, kinds.CONV], [*sources[:4], (3,), (4,)]) == set()
    plan = plan_of("sums of concatenations")
    assert all(e.role != Role.CONCAT_BARRIER for e in plan.train)
    plan = plan_of("tails behind")
    barriers = [e.layer for e in plan.train if e.role == Role.CONCAT_BARRIER]
    assert [plan.specs[layer].name for layer in barriers] == ["join"]
    assert "join" in plan.memory
    check(plan)


def test_a_reader_waits_for_every_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that knows of the first source alone is refused."""
    plan = plan_of("fire")
    whole = usage._parts
    monkeypatch.setattr(usage, "_parts", lambda plan: {
        name: parts[:1] for name, parts in whole(plan).items()})
    with pytest.raises(IllegalProgram, match=r"hazard at f0\.y"):
        check(plan)


def test_a_reader_that_waits_for_the_array_alone_is_refused() -> None:
    plan = plan_of("tails behind")
    without = tuple(e for e in plan.train if e.role != Role.CONCAT_BARRIER)
    with pytest.raises((IllegalProgram, ValueError), match=r"hazard|producers of several kinds"):
        check(replace(plan, train=without))


def test_images_of_a_map_do_not_overlap() -> None:
    plan = plan_of("inception with norms")
    image = build_training(plan)
    at = next(i for i, e in enumerate(image.descriptors) if e.role == Role.FORWARD_VECTOR)
    fields = [dict(f) for f in image.fields]
    fields[at]["v.v_step"] -= 7 * 7 * 6 * 8 - 8
    program = b"".join(pack_descriptor(f) for f in fields)
    with pytest.raises(IllegalProgram, match=r"v_step: expected 672 or more, a multiple of 8: "
                                             r"images do not overlap, found 8"):
        verify_program(Program.make(image.name, program, image.taps, plan.memory,
                                    plan.memory.nbytes, plan.board.config))


def test_sources_share_the_exponent_of_the_concat_buffer() -> None:
    draw = np.random.default_rng(3)
    for name in ("inception", "dense block", "sums of concatenations", "vectors", "logits"):
        plan = plan_of(name)
        layers = plan.quant_layers
        policy = ExponentPolicy.start(layers, plan.backward_graph, [1] * len(layers))
        groups = groups_of([layer.kind for layer in layers], plan.sources)
        assert len(set(groups)) < len(groups)
        for _ in range(4):
            policy.feature = [[int(draw.integers(-40, 16))] for _ in layers]
            found = policy.exponents(BATCH)
            for at, group in enumerate(groups):
                assert found.layers[at].y == found.layers[group].y, (name, layers[at].name)
                assert found.layers[at].y >= found.layers[at].forward_sum
            for step in plan.backward_graph.nodes:
                if step.kind == nodes.VIEW:
                    assert found.gradients[step.target] == found.gradients[step.reads[0].tensor]


def test_what_has_no_exponent_of_its_own_is_no_source() -> None:
    with pytest.raises(ValueError, match="layer 0 cannot share the exponent of concatenation 1"):
        groups_of([kinds.MEAN, kinds.CONCAT], [(-1,), (0,)])
