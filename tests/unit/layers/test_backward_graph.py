"""The backward graph of branches."""

from __future__ import annotations

import pytest

from pynq_train.graph import (
    Add,
    BatchNorm,
    Conv,
    Dense,
    GlobalAvgPool,
    Graph,
    MaxPool,
    Op,
    Relu,
    zoo,
)
from pynq_train.layers import fuse
from pynq_train.layers.backward_graph import (
    BackwardGraph,
    active_layers,
    build_backward_graph,
    inference_mode_norms,
)


def graph_of(*ops: Op, trainable: tuple[str, ...] = ()) -> tuple[list[str], BackwardGraph]:
    layers = fuse(Graph.build((3, 8, 8), ops))
    wanted = [not trainable or layer.name in trainable for layer in layers]
    return ([layer.name for layer in layers],
            build_backward_graph(layers, active_layers(layers, wanted)))


def text(names: list[str], graph: BackwardGraph) -> list[str]:
    """One line per step: ``kind layer: gradients it reads -> tensor it writes``."""
    return [f"{step.kind} {names[step.layer]}: " + " + ".join(
        ref.tensor + ("" if ref.mask is None else f" at {names[ref.mask]}")
        for ref in step.reads) + f" -> {step.target}" for step in graph.nodes]


def conv(name: str, *inputs: str) -> Conv:
    return Conv(8, 3, 1, 1, name=name, inputs=inputs)


def test_a_chain_hands_gradients_from_layer_to_layer() -> None:
    layers = fuse(zoo.one_x())
    graph = build_backward_graph(layers, active_layers(layers, [True] * len(layers)))
    assert [(str(step.kind), layers[step.layer].name, step.target) for step in graph.nodes] == [
        ("backward", "dense1", "conv6.dy"), *(("backward", f"conv{k}", f"conv{k - 1}.dy")
                                              for k in (6, 5, 4, 3, 2))]
    assert graph.of_layer[0].tensor == "conv1.dy"


def test_a_residual_adds_the_gradient_behind_its_relu() -> None:
    names, graph = graph_of(conv("a"), Relu(name="r"), conv("b"), BatchNorm(name="n"),
                          Add("s", ("n", "r")), Relu(), GlobalAvgPool("g"), Dense(2, name="d"))
    assert text(names, graph) == [
        "backward d: dlogits -> g.dy", "spread g: g.dy -> n.dy", "norm n: n.dy at n -> b.dy",
        "backward b: b.dy -> b.dx", "sum a: b.dx + n.dy at n -> a.dy"]


def test_a_sum_without_normalisation_gives_its_convolution_a_masked_copy() -> None:
    names, graph = graph_of(conv("a"), Relu(name="r"), conv("b"), Add("s", ("b", "r")), Relu(),
                          Dense(2, name="d"))
    assert text(names, graph) == [
        "backward d: dlogits -> s.dy", "mask b: s.dy at s -> b.dy", "backward b: b.dy -> b.dx",
        "sum a: b.dx + s.dy at s -> a.dy"]


def test_gradients_go_back_through_windows_without_a_mask() -> None:
    names, graph = graph_of(conv("a"), Relu(name="r"), MaxPool(3, 2, 1, "p"), conv("b"),
                          BatchNorm(name="n"), Add("s", ("n", "p")), Relu(), Dense(2, name="d"))
    assert text(names, graph) == [
        "backward d: dlogits -> n.dy", "norm n: n.dy at n -> b.dy", "backward b: b.dy -> b.dx",
        "sum p: b.dx + n.dy at n -> p.dy", "unpool p: p.dy -> a.dy"]
    names, graph = graph_of(conv("a"), MaxPool(3, 1, 1, "p"), Add("s", ("p", "a")), Relu(),
                          Dense(2, name="d"))
    assert text(names, graph) == [
        "backward d: dlogits -> s.dy", "mask p: s.dy at s -> p.dy", "unpool p: p.dy -> p.dx",
        "sum a: p.dx + s.dy at s -> a.dy"]


def test_two_masks_do_not_meet_in_one_sum() -> None:
    """The output of a is read by two residuals, each with a ReLU of its own."""
    names, graph = graph_of(
        conv("a"), Relu(name="r"), conv("b"), Add("s", ("b", "r")), Relu(name="t"),
        conv("c"), Add("u", ("c", "r")), Relu(), Dense(2, name="d"))
    assert text(names, graph)[-2:] == ["sum a: b.dx + u.dy at u -> a.t0",
                                      "sum a: a.t0 + s.dy at s -> a.dy"]
    names, graph = graph_of(
        conv("a"), conv("b", "a"), Relu(name="r"), conv("c", "a"), Relu(name="t"),
        Add("s", ("r", "t")), Relu(name="v"), Add("u", ("r", "v")), Relu(), Dense(2, name="d"))
    assert [line for line in text(names, graph) if line.split()[1] == "b:"][:2] == [
        "mask b: s.dy at s -> b.d0", "sum b: u.dy at u + b.d0 -> b.dy"]
    for step in graph.nodes:
        assert len({ref.mask for ref in step.reads} - {None}) <= 1


def test_nothing_goes_below_what_learns() -> None:
    names, graph = graph_of(conv("a"), BatchNorm(name="n"), Relu(name="r"), conv("b"), Relu(),
                          Dense(2, name="d"), trainable=("n",))
    assert text(names, graph) == [
        "backward d: dlogits -> b.dy", "backward b: b.dy -> n.dy", "norm n: n.dy at n -> "]


@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v1_025", "ds_cnn_s"])
def test_every_gradient_is_written_before_it_is_read(name: str) -> None:
    layers = fuse(zoo.get(name))
    graph = build_backward_graph(layers, active_layers(layers, [True] * len(layers)))
    written = {"dlogits"}
    for step in graph.nodes:
        assert {ref.tensor for ref in step.reads} <= written, step
        written.add(step.target)
    assert {ref.tensor for ref in graph.of_layer.values()} <= written
    assert set(graph.of_layer) == set(range(len(layers)))


@pytest.mark.parametrize(("trained", "keep"), [
    ("d", "n m"), ("b d", "n"), ("a d", ""), ("n d", ""), ("m d", "n"), ("a b n m d", "")])
def test_normalisations_keep_their_statistics_above_all_that_learns(trained: str, keep: str
                                                                    ) -> None:
    """What they read, or they themselves."""
    layers = fuse(Graph.build((4, 8, 8), [
        conv("a"), BatchNorm(name="n"), Relu(name="r"), conv("b"),
        BatchNorm(name="m"), Add("s", ("m", "r")), Relu(), GlobalAvgPool(), Dense(2, name="d")]))
    wanted = [layer.name in trained.split() for layer in layers]
    assert sum(wanted) == len(trained.split())
    found = inference_mode_norms(layers, wanted, active_layers(layers, wanted))
    assert [layer.name for layer, one in zip(layers, found) if one] == keep.split()


def test_a_map_that_is_added_moves_no_statistics() -> None:
    """Of the two branches only the one that a normalisation adds to its own learns."""
    layers = fuse(Graph.build((4, 8, 8), [
        conv("side"), conv("own", "input"), BatchNorm(name="n"), Add("s", ("n", "side")),
        GlobalAvgPool(), Dense(2, name="d")]))
    for trained, keep in (("side", True), ("own", False), ("d", True)):
        wanted = [layer.name == trained for layer in layers]
        found = inference_mode_norms(layers, wanted, active_layers(layers, wanted))
        assert [layer.name for layer, one in zip(layers, found) if one] == ["n"] * keep
