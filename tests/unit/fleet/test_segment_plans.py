"""What is cut where: edges, routes, arenas and programs of segments."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from pynq_train.backends.names import board_of
from pynq_train.errors import BadInput, IllegalProgram
from pynq_train.fleet.cut import Carried, Cut, Routes, legal_edges
from pynq_train.fleet.proof import verify_cut
from pynq_train.fleet.segment import DeviceMap, map_shape
from pynq_train.fleet.segment_plan import BACKWARD, FORWARD, HALVES, SegmentPlan
from pynq_train.graph import (
    Add,
    BatchNorm,
    Concat,
    Conv,
    Dense,
    Dropout,
    GlobalAvgPool,
    Graph,
    Relu,
    Sequential,
    zoo,
)
from pynq_train.layers.fuse import edges, fuse
from pynq_train.program import Program, verify_program
from pynq_train.schedule.memory.arena import Allocator
from pynq_train.schedule.plan import Plan, make_plan
from pynq_train.schedule.specs.trainable import select


def planned(graph: Graph, batch: int = 2, trainable: str = "all") -> Plan:
    """Return the plan of a whole network."""
    layers = fuse(graph)
    return make_plan(layers, batch, board_of("golden"), trainable=select(layers, trainable))


def block() -> Graph:
    """Return a residual block with a way in and out."""
    return Graph.build((1, 6, 6), [
        Conv(4, 3, 1, 1, False, "conv1"), BatchNorm(name="bn1"), Relu("relu1"),
        Conv(4, 3, 1, 1, False, "conv2"), BatchNorm(name="bn2"), Relu("relu2"),
        Conv(4, 3, 1, 1, False, "conv3"), BatchNorm(name="bn3"), Add("add", ("bn3", "relu1")),
        Relu("relu3"), GlobalAvgPool("mean"), Dense(3, name="dense")], "block")


def test_edges_say_what_runs_together() -> None:
    """Flattening moves nothing: behind it is behind what it reads."""
    found = edges(zoo.get("digits"))
    assert {name: (one.layer, one.end) for name, one in found.items()} == {
        "conv1": (0, "pool1"), "relu1": (0, "pool1"), "pool1": (0, "pool1"),
        "conv2": (1, "pool2"), "relu2": (1, "pool2"), "pool2": (1, "pool2"),
        "flatten1": (1, "flatten1"), "dense1": (2, "dense1")}
    dropped = Graph.build((1, 4, 4), [Conv(4, 3, 1, 1, name="conv"), Dropout(0.0, "none"),
                                      Dense(3, name="dense")], "dropped")
    assert edges(dropped)["none"].layer == 0


def test_every_edge_that_is_named_can_be_cut_and_no_other() -> None:
    """What is refused is not listed, and the other way round."""
    joined = Graph.build((1, 6, 6), [
        Conv(4, 3, 1, 1, name="in"), Relu("relu"), Conv(4, 3, 1, 1, name="left"),
        Conv(4, 3, 1, 1, name="right", inputs=("relu",)), Concat("cat", ("left", "right")),
        Conv(4, 1, name="out"), Dense(3, name="dense")], "joined")
    for net in (joined, block(), zoo.get("digits")):
        legal = legal_edges(net)
        for name, edge in edges(net).items():
            if any(edge.layer == edges(net)[one].layer and edge.end == name for one in legal):
                assert Cut.of(net, [name]).ends == (edge.layer + 1, len(fuse(net)))
            else:
                with pytest.raises(BadInput, match=f"a cut of '{net.name}' after '{name}'"):
                    Cut.of(net, [name])
    assert legal_edges(joined) == ("relu", "cat", "out")


def test_order_of_names_does_not_matter() -> None:
    """Segments are in the order of the network."""
    one, other = Cut.of(block(), ["conv3", "relu1"]), Cut.of(block(), ["relu1", "conv3"])
    assert one == other
    assert one.after == ("relu1", "conv3")
    assert [one.segment_of(at) for at in range(8)] == [0, 0, 1, 1, 1, 2, 2, 2]
    assert [list(one.layers_of(number)) for number in range(3)] == [[0, 1], [2, 3, 4], [5, 6, 7]]
    assert Cut.of(block(), []).ends == (8,)


def test_a_cut_inside_a_block_carries_both_maps() -> None:
    """Forward the branch and the skip; backward two gradients, one of them with its flags."""
    plan = planned(block())
    routes = Routes.of(plan, Cut.of(block(), ["conv3"]))
    later = frozenset({1})
    assert routes.forward == (Carried("bn1.y", 1, "map", 0, later),
                              Carried("conv3.y", 4, "map", 0, later))
    assert routes.evaluate == routes.forward
    back = {(one.symbol, one.kind, one.maker, one.readers) for one in routes.backward}
    assert back == {("conv3.dy", "gradient map", 1, frozenset({0})),
                    ("bn3.dy", "gradient map", 1, frozenset({0})),
                    ("bn3.flags", "flags", 1, frozenset({0}))}


def test_gradients_are_summed_where_the_last_of_them_is_made() -> None:
    """Behind the map that block and skip read one gradient travels, not two."""
    plan = planned(block())
    routes = Routes.of(plan, Cut.of(block(), ["relu1"]))
    assert [(one.symbol, one.maker) for one in routes.backward] == [("bn1.dy", 1)]
    # Three segments: the skip's gradient waits in the middle one for that of the branch.
    routes = Routes.of(plan, Cut.of(block(), ["relu1", "relu2"]))
    assert [(one.symbol, one.maker, sorted(one.readers)) for one in routes.backward] == [
        ("bn2.dy", 2, [1]), ("bn3.dy", 2, [1]), ("bn3.flags", 2, [1]), ("bn1.dy", 1, [0])]
    assert [(one.symbol, sorted(one.readers)) for one in routes.forward] == [
        ("bn1.y", [1, 2]), ("bn2.y", [2])]


def test_a_gradient_is_masked_where_the_flags_are() -> None:
    """Not where the gradient is made: flags only travel backward."""
    net = Graph.build((1, 6, 6), [
        Conv(4, 3, 1, 1, name="conv1"), Relu("relu1"), Conv(4, 3, 1, 1, name="conv2"),
        Conv(4, 3, 1, 1, name="conv3", inputs=("relu1",)), Add("add", ("conv2", "conv3")),
        Relu("relu2"), Conv(4, 3, 1, 1, name="left"),
        Conv(4, 3, 1, 1, name="right", inputs=("relu2",)), Add("sum", ("left", "right")),
        GlobalAvgPool("mean"), Dense(3, name="dense")], "masked")
    cut = Cut.of(net, ["relu2"])
    routes = Routes.of(planned(net), cut)
    assert [(one.symbol, one.maker, sorted(one.readers)) for one in routes.backward] == [
        ("add.dy", 1, [0])]
    assert verify_cut(net, ["relu2"], batch=2, steps=2, seed=0).differences == []


def test_segments_share_out_all_descriptors_and_no_weights() -> None:
    """Each descriptor of a step belongs to one segment; so do masters."""
    net = zoo.get("resnet20")
    plan, cut = planned(net, 1), Cut.of(net, ["a1.conv2", "b2.relu2"])
    parts = [SegmentPlan.of(plan, cut, number) for number in range(3)]
    for half in HALVES:
        own = [one for part in parts for one in part.descriptors[half]]
        whole = plan.evaluate if half == "evaluate" else plan.train
        assert len(own) == len(set(map(id, own)))
        assert {id(one) for one in own} <= {id(one) for one in whole}
    assert sum(len(part.plan.train) for part in parts) == len(plan.train)
    masters = [{one.symbol for one in part.plan.memory if one.kind in ("masters", "weights")}
               for part in parts]
    assert set.union(*masters) == {one.symbol for one in plan.memory
                                   if one.kind in ("masters", "weights")}
    assert sum(map(len, masters)) == len(set.union(*masters))
    assert max(part.plan.memory.nbytes for part in parts) < 0.6 * plan.memory.nbytes


def test_slots_have_maps_of_their_own_and_common_weights() -> None:
    """No byte of a map, flag or program of one slot is one of another's."""
    cut = Cut.of(block(), ["relu2"])
    part = SegmentPlan.of(planned(block()), cut, 0, slots=3)
    common = {"masters", "weights", "running statistics"}
    kept: list[tuple[int, int]] = []
    for slot, plan in enumerate(part.slots):
        first = part.slots[0].memory
        for region in plan.memory:
            if region.kind in common:
                assert region == first[region.symbol]
            elif region.kind in ("map", "flags", "gradient map", "statistics", "program",
                                 "step block"):
                kept.append((region.offset, region.end))
        assert ("evaluate.program" in plan.memory) == (slot == 0)
        assert set(part.programs(slot)) == {FORWARD, BACKWARD, *(["evaluate"] * (slot == 0))}
    assert all(end <= begin for (_, end), (begin, _) in pairwise(sorted(kept)))


def test_the_verifier_asks_who_has_written_flags() -> None:
    """The forward half of the same segment, or another segment; nobody: refused."""
    cut = Cut.of(block(), ["conv3"])
    part = SegmentPlan.of(planned(block()), cut, 0)
    made = {name: Program.make(name, one.program, one.taps, part.plan.memory,
                               part.plan.memory.nbytes, part.plan.board.config)
            for name, one in part.programs().items()}
    flags = [part.plan.memory["bn3.flags"]]
    verify_program(made[BACKWARD], made[FORWARD], flags)
    for before, given in ((None, flags), (made[FORWARD], ()), (made["evaluate"], flags),
                          (made[FORWARD], [replace(flags[0], nbytes=flags[0].nbytes - 8)])):
        with pytest.raises(IllegalProgram, match="flags that the forward pass of one layer"):
            verify_program(made[BACKWARD], before, given)


def test_frozen_segments_have_no_way_back() -> None:
    """Below the lowest trained layer nothing travels backward."""
    net = Sequential((1, 8, 8), "frozen").conv(4, 3, padding=1).relu().conv(
        4, 3, padding=1).relu().dense(3).build()
    plan = planned(net, trainable="last-layer")
    cut = Cut.of(net, ["relu1", "relu2"])
    parts = [SegmentPlan.of(plan, cut, number) for number in range(3)]
    assert [len(part.descriptors[BACKWARD]) for part in parts[:2]] == [0, 0]
    assert parts[0].routes.backward == ()
    assert parts[0].programs().keys() == {FORWARD, "evaluate"}


def test_parts_of_an_arena() -> None:
    """Tensors that share a region, or are parts of one, stay where they are in it."""
    to = Allocator()
    to.add("first", 200, "map")
    to.add("whole", 300, "map")
    to.view("part", "whole", 64, 100)
    to.view("inner", "part", 8, 16)
    to.add("weights", 100, "weights")
    to.add("turns", 50, "flags")
    to.share("guest", "turns")
    memory = to.finish()
    some = memory.only(["inner", "guest", "nobody"])
    assert sorted(some.regions) == ["turns", "whole"]
    assert some["inner"].offset - some["whole"].offset == 72
    assert some["guest"] == some["turns"]
    assert "first" not in some
    assert some.nbytes == 384 + 128
    assert sorted(memory.kinds(["map"]).regions) == ["first", "whole"]
    assert sorted(memory.kinds(["map"], other=True).regions) == ["turns", "weights"]
    both = memory.kinds(["weights"]).beside(some.moved(128))
    assert both["inner"].offset == some["inner"].offset + 128
    assert both.nbytes == some.nbytes + 128


def test_a_map_says_its_values() -> None:
    """Codes times a power of two; shapes follow from what travels."""
    assert DeviceMap(np.array([3, -2], np.int16), -1).values().tolist() == [1.5, -1.0]
    plan = planned(block())
    for one, shape in ((Carried("bn1.y", 1, "map", 0, frozenset()), (2, 1, 6, 6, 4)),
                       (Carried("dense.y", 7, "map", 0, frozenset()), (1, 1, 1, 2, 4)),
                       (Carried("bn1.flags", 1, "flags", 0, frozenset()), (6,))):
        assert map_shape(plan, one)[0] == shape
