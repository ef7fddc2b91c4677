"""Concatenations as placements: rewritten graphs, refusals, gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference_models.concat_nets import NETWORKS
from reference_models.dag_nets import batch, random_params

from pynq_train.errors import UnsupportedModel
from pynq_train.graph import (
    Add,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    Graph,
    MaxPool2x2,
    Multiply,
    Op,
    Relu,
)
from pynq_train.graph.activation import Activation
from pynq_train.graph.float_ops import KERNELS, Back
from pynq_train.graph.params import FloatArray
from pynq_train.graph.reference import FloatTrainer
from pynq_train.layers import fuse, nodes
from pynq_train.layers.backward_graph import active_layers, build_backward_graph
from pynq_train.layers.concat import Copy, Spaced, place_concats
from pynq_train.layers.picks import merge_picks


def _places(site: Any) -> list[int]:
    """Where the channels of each source begin, and the end of the last one."""
    sizes = [shape[0] for shape in site.in_shapes]
    firsts = [sum(-(-size // 4) * 4 for size in sizes[:at]) for at in range(len(sizes))]
    return [*firsts, firsts[-1] + sizes[-1]]


def _spaced(site: Any, xs: list[FloatArray], mode: Any) -> tuple[FloatArray, None]:
    places = _places(site)
    # Nobody may read what is between.
    out = np.full((*xs[0].shape[:3], places[-1]), 1e6, np.float32)
    for x, first in zip(xs, places):
        out[..., first : first + x.shape[3]] = x
    return out, None


def _spaced_back(site: Any, trace: None, g: FloatArray, wanted: bool) -> Back:
    return Back([g[..., first : first + shape[0]]
                 for shape, first in zip(site.in_shapes, _places(site))])


def graph_of(*ops: Op, shape: tuple[int, int, int] = (4, 8, 8)) -> Graph:
    return Graph.build(shape, ops, "net")


def conv(name: str, *inputs: str, out: int = 8, kernel: int = 1) -> Conv:
    return Conv(out, kernel, 1, "same", name=name, inputs=inputs)


def sources_of(graph: Graph) -> dict[str, tuple[str, ...]]:
    """Inputs of the concatenations of the rewritten graph."""
    return {op.name: op.inputs for op in place_concats(graph).ops if isinstance(op, Concat)}


HEAD = (GlobalAvgPool(name="mean"), Dense(3, name="d"))


@pytest.mark.parametrize("name", NETWORKS)
def test_rewriting_changes_no_number(name: str, rng: np.random.Generator,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KERNELS, Copy, (lambda site, xs, mode: (xs[0], None),
                                        lambda site, trace, g, wanted: Back([g])))
    monkeypatch.setitem(KERNELS, Spaced, (_spaced, _spaced_back))
    graph = NETWORKS[name]
    params = random_params(graph, rng)
    placed = merge_picks(place_concats(graph))
    assert any(isinstance(op, Copy) for op in placed.ops) == (name in (
        "input, twice and shared", "vectors", "vectors of any number"))
    x, y = batch(graph, rng, 3)
    one, other = (FloatTrainer(g, params).gradients(x, y) for g in (graph, placed))
    assert one[0].loss == pytest.approx(other[0].loss, rel=1e-5)
    for layer, grad in one[1].items():
        np.testing.assert_allclose(grad.weight, other[1][layer].weight, rtol=1e-3, atol=1e-5)


def test_a_graph_without_concatenations_stays() -> None:
    graph = graph_of(conv("a"), Relu(), *HEAD)
    assert place_concats(graph) is graph


def test_dense_blocks_read_the_maps_before_them() -> None:
    for name in ("dense block", "dense block of lists"):
        assert sources_of(NETWORKS[name]) == {"x0": ("stem", "l0"), "x1": ("x0", "l1"),
                                              "x2": ("x1", "l2")}


def test_a_concatenation_of_the_same_maps_is_made_once() -> None:
    graph = graph_of(conv("a"), conv("b", "a"), Concat("one", ("a", "b")), conv("c"),
                     Concat("two", ("a", "b")), conv("e", out=8), Add("s", ("c", "e")), *HEAD)
    assert sources_of(graph) == {"one": ("a", "b")}
    layers = {layer.name: layer for layer in fuse(graph)}
    names = list(layers)
    assert [names[at] for at in layers["e"].sources or ()] == ["one"]


def test_relu_and_pooling_go_in_front_where_all_branches_take_them() -> None:
    graph = graph_of(conv("a"), conv("b", "input"), Relu(name="br"), Concat("j", ("a", "br")),
                     MaxPool2x2(), *HEAD)
    layers = {layer.name: layer for layer in fuse(graph)}
    assert layers["a"].pool and layers["b"].pool and layers["b"].activation is Activation.RELU
    assert layers["a"].activation is Activation.NONE
    assert layers["j"].out_shape == (16, 4, 4) and len(layers) == 5


def test_relu_and_pooling_behind_other_branches_get_a_map() -> None:
    graph = graph_of(conv("a"), BatchNorm(name="n"), conv("b", "input"), Concat("j", ("n", "b")),
                     MaxPool2x2(name="p"), Relu(name="r"), *HEAD)
    layers = {layer.name: layer for layer in fuse(graph)}
    assert layers["p.map"].average and layers["p.map"].kernel == (1, 1)
    assert layers["p.map"].activation is Activation.RELU and layers["p.map"].pool


def test_what_cannot_be_written_in_place_is_copied() -> None:
    graph = graph_of(conv("a"), Relu(name="r"), GlobalAvgPool(name="m"), Dense(8, name="u"),
                     Concat("j", ("m", "u")), Dense(3, name="d"))
    assert sources_of(graph) == {"j": ("j.copy1", "u")}
    graph = graph_of(conv("a"), Concat("j", ("a", "a")), Concat("k", ("j", "a", "input")), *HEAD)
    assert sources_of(graph) == {"j": ("a", "j.copy1"), "k": ("j", "k.copy1", "k.copy2")}
    kinds = {op.name: type(op) for op in place_concats(graph).ops}
    assert kinds["j.copy1"] is Copy and kinds["k.copy1"] is Copy and kinds["k.copy2"] is AvgPool


@pytest.mark.parametrize(("ops", "words"), [
    ((conv("a"), Flatten("f"), conv("b", "input"), MaxPool2x2(name="p"), Flatten("g"),
      Concat("j", ("f", "g")), Dense(3)),
     r"operation 'j' \(concat\) joins flattened maps: expected maps with equal rows and columns, "
     r"found 8x8 and 4x4; put a Dense layer or GlobalAvgPool on each branch"),
    ((Conv(8, 8, name="a"), Dense(8, name="b", inputs=("input",)), Concat("j", ("a", "b")),
      Dense(3)),
     r"operation 'j' \(concat\) joins vectors with maps of one pixel: expected all of one kind, "
     r"found b \(vector\) and a \(map\); end every branch with Dense or GlobalAvgPool, or none"),
])
def test_refusals(ops: tuple[Op, ...], words: str) -> None:
    with pytest.raises(UnsupportedModel, match=words):
        fuse(graph_of(*ops))


@pytest.mark.parametrize("factors", [("a", "v"), ("v", "a")])
def test_a_scaled_map_is_joined_as_a_map(factors: tuple[str, str]) -> None:
    """Whichever factor comes first: map or vector."""
    graph = graph_of(conv("a"), GlobalAvgPool(name="m"), Dense(8, name="v"),
                     Multiply("s", factors), conv("b", "a"), Concat("j", ("b", "s", "s")), *HEAD)
    assert sources_of(graph) == {"j": ("b", "j.copy1", "j.copy2")}
    graph = graph_of(conv("a"), GlobalAvgPool(name="m"), Dense(8, name="v"),
                     Dense(8, name="w", inputs=("m",)), Multiply("s", ("v", "w")),
                     Conv(8, 8, name="b", inputs=("a",)), Concat("j", ("b", "s")),
                     Dense(3, name="d"))
    with pytest.raises(UnsupportedModel, match=r"found s \(vector\) and b \(map\)"):
        fuse(graph)


def test_no_sum_takes_a_vector_and_a_map() -> None:
    graph = graph_of(Conv(8, 1, name="c"), Conv(8, 8, name="a"),
                     Dense(8, name="b", inputs=("c",)), Add("s", ("a", "b")), Dense(3))
    with pytest.raises(UnsupportedModel, match=r"layer 's' adds a vector and a map of one pixel: "
                       r"expected two of one kind, found a \(map\) and b \(vector\); end both"):
        fuse(graph)


@pytest.mark.parametrize("before", [
    (GlobalAvgPool(name="v"),), (Dense(8, name="v"),),
    (GlobalAvgPool(name="m"), BatchNorm(name="v"))])
def test_a_vector_has_no_mean(before: tuple[Op, ...]) -> None:
    """Its pixels would be the images of the mini-batch: the engine would add these up."""
    graph = graph_of(Conv(4, 3, name="a"), *before, GlobalAvgPool(name="w"), Dense(3))
    with pytest.raises(UnsupportedModel, match=r"layer 'w' is the mean of a vector: expected a map "
                       r"before it, found [a-z0-9]+, whose values are one pixel each; leave it"):
        fuse(graph)


def test_gradients_of_a_concatenation_are_parts_of_its_own() -> None:
    """What else is handed to a source is added where its part stands."""
    layers = fuse(NETWORKS["dense block"])
    backward_graph = build_backward_graph(layers, active_layers(layers, [True] * len(layers)))
    lines = [f"{step.kind} {layers[step.layer].name}: "
             f"{' + '.join(ref.tensor for ref in step.reads)} -> {step.target}"
             for step in backward_graph.nodes]
    assert lines[2:9] == [
        "norm bn: bn.dy -> x2.dy", "view x1: x2.dy -> x1.dv", "view l2: x2.dy -> l2.dv",
        "backward l2: l2.dv -> l2.bn.dy", "norm l2.bn: l2.bn.dy -> l2.bn.dx",
        "sum x1: x1.dv + l2.bn.dx -> x1.dy", "view x0: x1.dy -> x0.dv"]
    assert backward_graph.of_layer[0].tensor == "stem.dy"


def test_a_gradient_that_others_read_is_copied_before_it_is_parted() -> None:
    layers = fuse(NETWORKS["sums of concatenations"])
    backward_graph = build_backward_graph(layers, active_layers(layers, [True] * len(layers)))
    at = next(step for step in backward_graph.nodes if step.target == "join.dy")
    assert at.kind == nodes.MASK and at.reads[0].tensor == "sum.dy"
    assert layers[at.reads[0].mask or 0].name == "sum"


def names_of(graph: Graph) -> list[str]:
    return [op.name for op in place_concats(graph).ops]


def test_new_operations_take_no_name_that_is_taken() -> None:
    """What is moved gets the number of its branch; where that is somebody's, another one."""
    plain = graph_of(conv("a"), conv("b", "input"), Concat("j", ("a", "b")), Relu(name="r"), *HEAD)
    assert names_of(plain) == ["a", "b", "r.0", "r.1", "j", "mean", "d"]
    taken = graph_of(conv("r.0"), conv("r.1", "input"), conv("r.1.2", "input"),
                     Concat("j", ("r.0", "r.1", "r.1.2")), Relu(name="r"), *HEAD)
    assert names_of(taken) == ["r.0", "r.1", "r.1.2", "r.0.2", "r.1.3", "r.2", "j", "mean", "d"]


def test_flattened_maps_are_joined_as_maps() -> None:
    graph = graph_of(conv("a"), Flatten("fa"), conv("b", "input"), Flatten("fb"),
                     Concat("j", ("fa", "fb")), Dense(3, name="d"))
    placed = place_concats(graph)
    assert [op.name for op in placed.ops] == ["a", "b", "j", "j.flat", "d"]
    assert placed.shapes[2] == (16, 8, 8) and placed.ops[3].inputs == ("j",)
    assert sources_of(graph) == {"j": ("a", "b")}
    again = graph_of(conv("a"), Flatten("j.flat"), conv("b", "input"), Flatten("fb"),
                     Concat("j", ("j.flat", "fb")), Dense(3, name="d"))
    assert "j.flat.2" in names_of(again)


def test_vectors_are_joined_without_another_flatten() -> None:
    graph = graph_of(GlobalAvgPool(name="m"), Dense(8, name="a"), Flatten("fm", ("m",)),
                     Concat("j", ("a", "fm")), Relu(name="r"), Dense(3, name="d"))
    placed = place_concats(graph)
    assert not any(isinstance(op, Flatten) for op in placed.ops)
    assert {type(op).__name__ for op in placed.ops} == {"GlobalAvgPool", "Dense", "Concat", "Copy",
                                                      "Relu"}


def test_maps_of_other_sizes_are_not_joined() -> None:
    graph = graph_of(conv("a"), Flatten("fa"), conv("b", "input"), MaxPool2x2(name="p"),
                     Flatten("fb"), Concat("j", ("fa", "fb")), Dense(3, name="d"))
    with pytest.raises(UnsupportedModel, match=r"joins flattened maps.*found 8x8 and 4x4"):
        place_concats(graph)
