"""Segments as programs of their own: cuts, waits, memory, branches."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from pynq_train.cycles import Command, Engine
from pynq_train.errors import BadInput, UnknownName, UnsupportedModel
from pynq_train.fleet.cut import Cut
from pynq_train.fleet.segment_plan import SegmentPlan
from pynq_train.fleet.splits.branches import branch_layers, branched, closed
from pynq_train.fleet.splits.costs import FIRST_SLACK, SegmentCosts
from pynq_train.fleet.splits.cuts import (
    Crossing,
    cut_positions,
    edge_names,
    map_bytes,
)
from pynq_train.fleet.splits.slices import layer_slice
from pynq_train.graph import Graph, zoo
from pynq_train.graph.activation import Relu
from pynq_train.graph.ops import Add, BatchNorm, Concat, Conv, Dense, GlobalAvgPool, MaxPool, Op
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import WAIT_OF, Semaphore, unpack_descriptor
from pynq_train.hw.memory_timing import MemoryTiming
from pynq_train.layers import fuse
from pynq_train.layers.fuse import FusedLayer
from pynq_train.schedule.lower.program import ProgramImage, build_evaluation, build_training
from pynq_train.schedule.plan import make_plan
from pynq_train.schedule.predict import predict, predict_program

BOARD = BOARDS["pynq-z2"]


def residual(channels: int = 8) -> Graph:
    """Two convolutions with a skip past the second, normalised."""
    ops: list[Op] = [Conv(channels, 3, 1, 1, False, "stem"), BatchNorm(name="stem.bn"),
                     Relu("stem.relu"),
                     Conv(channels, 3, 1, 1, False, "b.conv"), BatchNorm(name="b.bn"),
                     Add("b.add", ("b.bn", "stem.relu")), Relu("b.relu"),
                     Conv(2 * channels, 3, 2, 1, False, "c.conv"), BatchNorm(name="c.bn"),
                     GlobalAvgPool("pool"), Dense(3, name="fc")]
    return Graph.build((3, 8, 8), ops, "residual")


def joined() -> Graph:
    """Two branches of a concatenation."""
    return Graph.build((3, 8, 8), [
        Conv(8, 3, 1, 1, name="stem"), Conv(4, 1, name="left"),
        Conv(8, 3, 1, 1, name="right", inputs=("stem",)), Concat("cat", ("left", "right")),
        Conv(8, 3, 1, 1, name="behind"), GlobalAvgPool("pool"), Dense(3, name="fc")], "joined")


def costs(graph: Graph, batch: int = 2) -> SegmentCosts:
    return SegmentCosts(fuse(graph), batch, BOARD, edge_names(graph))


def cuts_of(graph: Graph, batch: int = 1) -> tuple[Crossing, ...]:
    return costs(graph, batch).cuts


def waits(image: ProgramImage) -> list[set[tuple[int, int]]]:
    """By descriptor, the (semaphore, descriptors in front that signal it) that it waits for."""
    found = []
    for fields in image.fields:
        own = {(fields[f"pre.wait_{unit}_sem"], fields[f"pre.wait_{unit}"])
               for unit in set(WAIT_OF.values()) if fields.get(f"pre.wait_{unit}")}
        found.append(own)
    return found


def test_maps_that_cross() -> None:
    cuts = {cut.name: cut for cut in cuts_of(residual(), 2)}
    assert cuts["stem.relu"].maps == ("stem.bn",)
    assert cuts["b.conv"].maps == ("stem.bn", "b.conv")
    assert cuts["b.relu"].maps == ("b.bn",)
    assert cuts["b.conv"].nbytes == 2 * cuts["b.relu"].nbytes == 2 * 8 * 64 * 2 * 2
    assert cuts["pool"].nbytes == 16 * 2 * 2
    assert "fc" not in cuts
    assert map_bytes((3, 5, 5), 1) == 4 * 25 * 2  # device format: blocks of four channels


def test_a_concatenation_crosses_as_a_whole_or_not_at_all() -> None:
    cuts = {cut.name: cut for cut in cuts_of(joined())}
    assert "left" not in cuts and "right" not in cuts
    assert cuts["cat"].maps == ("cat",) and cuts["cat"].nbytes == 12 * 64 * 2


def test_images_that_are_read_behind_a_cut_cross_too() -> None:
    graph = Graph.build((4, 8, 8), [
        Conv(4, 3, 1, 1, name="one"), Conv(4, 1, name="two", inputs=("input",)),
        Add("sum", ("one", "two")), GlobalAvgPool("pool"), Dense(2, name="fc")])
    cut = cuts_of(graph)[0]
    assert set(cut.maps) == {"input", cut.name} and cut.nbytes == 2 * 4 * 64 * 2


def test_a_dropout_is_no_cut() -> None:
    names = [cut.name for cut in cuts_of(zoo.ds_cnn_s(dropout=0.5))]
    assert "drop" not in names and "pool" in names


def test_names_of_edges() -> None:
    graph = residual()
    cuts = cuts_of(graph)
    places = {cut.name: cut.position for cut in cuts}
    assert cut_positions(graph, cuts, ["b"]) == (places["b.relu"],)
    assert cut_positions(graph, cuts, ["c", "b.conv"]) == (places["b.conv"], places["c.bn"])
    with pytest.raises(UnknownName, match=re.escape("unknown edge 'd': expected one of b.conv")):
        cut_positions(graph, cuts, ["d"])
    with pytest.raises(BadInput, match=re.escape("cut after 'b.relu'")):
        cut_positions(graph, cuts, ["b.bn"])


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("graph", [residual(), joined()], ids=lambda g: g.name)
def test_a_slice_waits_for_its_own_descriptors_alone(graph: Graph, train: bool) -> None:
    """Each wait names exactly those descriptors in front that the whole program waited for."""
    plan = make_plan(fuse(graph), 8, BOARD)
    image = (build_training if train else build_evaluation)(plan)
    for first in range(len(plan.layers)):
        for end in range(first + 1, len(plan.layers) + 1):
            part = layer_slice(image, range(first, end))
            kept = [at for at, own in enumerate(image.descriptors) if first <= own.layer < end]
            assert part.descriptors == tuple(image.descriptors[at] for at in kept)
            for number, at in enumerate(kept):
                for unit in set(WAIT_OF.values()):
                    semaphore = image.fields[at].get(f"pre.wait_{unit}_sem", 0)
                    count = image.fields[at].get(f"pre.wait_{unit}", 0)
                    meant = [other for other in range(len(image.fields))
                             if image.fields[other]["pre.signal"] == semaphore][:count]
                    ours = len([other for other in meant if other in kept])
                    assert part.fields[number].get(f"pre.wait_{unit}", 0) == ours
                size = len(part.program) // part.count
                packed = unpack_descriptor(part.program[number * size:(number + 1) * size])
                assert packed["pre.number"] == number


def test_the_slice_of_all_layers_is_the_program() -> None:
    found = costs(residual())
    assert layer_slice(found.image, range(found.end)).program == found.image.program
    assert found.cycles(0, found.end) == predict(found.plan, found.plan.evaluate).cycles


def test_a_wait_for_what_is_not_there_stops_the_model() -> None:
    """The check above can fail: waits that are left as they were never end."""
    found = costs(residual())
    kept = [at for at, own in enumerate(found.image.descriptors) if own.layer >= 3]
    commands = [Command(found.image.fields[at], ()) for at in kept
                if found.image.descriptors[at].tiled is None]
    with pytest.raises(RuntimeError, match="waits for a signal"):
        Engine(commands, BOARD.config,
               MemoryTiming(BOARD.dram_bytes_per_cycle)).run()


@pytest.mark.parametrize(("graph", "after", "batch"), [
    (residual(), ("stem.relu", "b.conv"), 2), (residual(), ("b.conv", "c.bn"), 1),
    (joined(), ("cat",), 4), (zoo.get("lenet5"), ("pool1", "relu3"), 3)],
    ids=lambda value: getattr(value, "name", None))
def test_cycles_are_those_of_the_programs_that_segments_run(
        graph: Graph, after: tuple[str, ...], batch: int) -> None:
    found = costs(graph, batch)
    cut = Cut.of(graph, after)
    for number, (first, end) in enumerate(pairwise((0, *cut.ends))):
        segment = SegmentPlan.of(found.plan, cut, number)
        program = segment.programs()["evaluate"]
        ran = predict_program(program, BOARD, batch).cycles
        # Tensors stand at other places there, which may cost a burst here and there.
        assert found.cycles(first, end) == pytest.approx(ran, rel=0.002)
        assert found.memory_bytes(first, end) < segment.plan.memory.nbytes  # that of training


def test_segments_take_about_what_their_share_of_the_whole_takes() -> None:
    found = costs(zoo.get("1x"), 1)
    places = [0, *(cut.position for cut in found.cuts), found.end]
    parts = [found.cycles(a, b) for a, b in pairwise(places)]
    whole = found.cycles(0, found.end)
    # Alone, a segment begins with an empty engine: more than its share, by less than 2,000 cycles.
    assert whole < sum(parts) < whole + 2000 * len(parts)


def test_bounds_hold_and_tighten() -> None:
    found = costs(residual())
    for first in range(found.end):
        for end in range(first + 1, found.end + 1):
            if first and first not in [cut.position for cut in found.cuts]:
                continue
            bound = found.bound(first, end)
            exact = found.cycles(first, end)
            assert bound <= exact or found.slack > FIRST_SLACK
            assert found.bound(first, end) == exact and found.known(first, end)


@pytest.mark.medium
def test_bounds_hold_where_layers_work_side_by_side() -> None:
    """Parts of a mini-batch of eight: a layer ends when the next one has been at work for long."""
    found = costs(zoo.get("ds_cnn_s"), 4)
    for cut in found.cuts[1:8:2]:
        assert found.bound(0, cut.position) <= found.cycles(0, cut.position)
    assert found.slack == FIRST_SLACK


def test_memory_of_segments() -> None:
    found = costs(residual(), 1)
    whole = found.memory_bytes(0, found.end)
    cut = next(own for own in found.cuts if own.name == "b.relu")
    parts = [found.memory_bytes(0, cut.position), found.memory_bytes(cut.position, found.end)]
    assert max(parts) < whole < sum(parts) + cut.nbytes
    specs = {spec.name: spec for spec in found.plan.specs}
    assert parts[1] - found.memory_bytes(cut.position + 1, found.end) >= specs[
        "c.conv"].weight_bytes


# -- branches ------------------------------------------------------------------------------------

def shapes(layers: Sequence[FusedLayer]) -> list[tuple[int, int, int]]:
    return [(layer.in_shape[0], layer.out_channels, layer.groups) for layer in layers]


def test_branches_have_their_share_of_the_channels() -> None:
    layers = fuse(residual())
    assert shapes(branch_layers(layers[:4], 2)) == [(3, 4, 1), (4, 4, 1), (4, 4, 1), (4, 4, 1)]
    mobile = fuse(zoo.get("mobilenet_v1_025"))
    part = branch_layers(mobile[:6], 4)
    assert shapes(part) == [(1, 2, 1), (2, 2, 1), (2, 2, 2), (2, 2, 1), (2, 4, 1), (4, 4, 1)]
    assert branch_layers(layers, 1) == layers


def test_what_all_branches_have_is_not_split() -> None:
    """A pooling of the images: each branch has all of it, and its convolution reads all."""
    layers = fuse(Graph.build((4, 9, 9), [
        MaxPool(3, 2, 1, "shrink"), Conv(8, 3, 1, 1, name="one"), Conv(8, 3, 1, 1, name="two"),
        GlobalAvgPool("pool"), Dense(2, name="fc")]))
    assert shapes(branch_layers(layers[:3], 2)) == [(4, 4, 1), (4, 4, 1), (4, 4, 1)]


def test_groups_of_a_depthwise_network() -> None:
    graph = zoo.get("mobilenet_v1_025")
    convs = {op.name: op for op in branched(graph, "pw2.relu", 2).ops if isinstance(op, Conv)}
    assert [convs[name].groups for name in ("conv1", "dw1", "pw1", "dw2", "pw2", "dw3", "pw3")] == [
        1, 8, 2, 16, 2, 32, 1]
    layers, grouped = fuse(graph), fuse(branched(graph, "pw2.relu", 2))
    for part, whole in zip(branch_layers(layers[:10], 2), grouped):
        assert 2 * part.out_channels == whole.out_channels
        assert not whole.on_array or part.weight_shape[1:] == whole.weight_shape[1:]
    odd = Graph.build((4, 8, 8), [Conv(12, 3, 1, 1, name="one"), Conv(12, 3, 1, 1, groups=3,
                                  name="two"), GlobalAvgPool("pool"), Dense(2, name="fc")])
    with pytest.raises(BadInput, match="'two': expected a divisor of 3 groups, found 2"):
        branched(odd, "two", 2)


def test_branches_are_the_grouped_network_in_pieces() -> None:
    """The weights of all branches together are those of the grouped network, layer by layer."""
    graph = zoo.get("resnet20")
    layers, ways = fuse(graph), 4
    grouped = fuse(branched(graph, "a2.relu2", ways))
    cut = next(at for at, layer in enumerate(layers) if layer.name == "a2.conv2.bn") + 1
    for part, whole in zip(branch_layers(layers[:cut], ways), grouped):
        if whole.on_array:
            assert ways * part.weight_shape[0] == whole.weight_shape[0]
            assert part.weight_shape[1:] == whole.weight_shape[1:]
            assert whole.groups == (1 if whole.sources == (-1,) else ways)
        assert ways * part.out_channels == whole.out_channels
    assert [layer.weight_shape for layer in grouped[cut:]] == [
        layer.weight_shape for layer in layers[cut:]]


def test_what_no_branches_can_be_made_of() -> None:
    layers = fuse(residual())
    with pytest.raises(BadInput, match=re.escape("ways: layer 'stem': expected a divisor of 8 "
                                                 "channels, found 3")):
        branch_layers(layers, 3)
    with pytest.raises(BadInput, match=re.escape("expected an integer of 1 or more, found 0")):
        branch_layers(layers, 0)
    sum_at = next(at for at, layer in enumerate(layers) if len(layer.sources) == 2)
    skip = (*layers[:sum_at], replace(layers[sum_at], sources=(sum_at - 1, -1)))
    with pytest.raises(UnsupportedModel, match="joins a map that is split"):
        branch_layers(skip, 2)
    with pytest.raises(UnsupportedModel, match="multiples of 4"):
        branch_layers(fuse(joined()), 4)
    deep = fuse(Graph.build((4, 8, 8), [
        Conv(4, 3, 1, 1, name="one", groups=4), GlobalAvgPool("pool"), Dense(2, name="fc")]))
    with pytest.raises(UnsupportedModel, match="of 4 groups reads a map that all branches have"):
        branch_layers(deep, 2)


@pytest.mark.parametrize(("after", "ways", "words"), [
    ("c.bn", 3, "expected a divisor of 8 channels"), ("none", 2, "unknown edge 'none'"),
    ("fc", 2, "fix")])
def test_what_branched_refuses(after: str, ways: int, words: str) -> None:
    with pytest.raises(BadInput, match=words if words != "fix" else "cut in front of it"):
        branched(residual(), after, ways)


def test_closed_layers_have_a_plan() -> None:
    for graph in (residual(), zoo.get("mobilenet_v1_025")):
        layers = closed(branch_layers(fuse(graph)[:4], 2))
        plan = make_plan(layers, 1, BOARD)
        assert plan.classes == 1 and len({layer.name for layer in layers}) == len(layers)


def test_branch_cuts_and_cycles() -> None:
    found = costs(zoo.get("1x"), 1)
    cuts = found.branch_cuts(4)
    assert cuts == tuple(cut.position for cut in found.cuts)
    branch, end = found.branch(4), cuts[1]
    assert branch.cycles(0, end) < found.cycles(0, end)
    assert branch.memory_bytes(0, end) < found.memory_bytes(0, end)
    with pytest.raises(BadInput, match="expected a divisor of 16 channels, found 5"):
        found.branch_cuts(5)


def test_semaphores_of_waits_are_known() -> None:
    """What the tests above read from descriptors: every wait names a semaphore of the contract."""
    image = costs(residual()).image
    assert any(waits(image))
    assert {semaphore for own in waits(image) for semaphore, _ in own} <= set(map(int, Semaphore))
