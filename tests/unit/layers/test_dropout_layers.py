"""Dropout in graphs: fused layers, flattened maps, gradients' way, refusals."""

from __future__ import annotations

import pytest

from pynq_train.errors import BadInput, UnsupportedModel
from pynq_train.graph import BatchNorm, Concat, Conv, Dense, Dropout, Flatten, Graph, Relu
from pynq_train.graph.activation import Activation
from pynq_train.layers import fuse
from pynq_train.layers.backward_graph import active_layers, build_backward_graph
from pynq_train.layers.fuse import Drop


def test_layers_and_their_shapes() -> None:
    found = fuse(Graph.build((3, 6, 6), [
        Dropout(0.1, "i"), Conv(5, 3, name="c"), Relu(), Dropout(0.2, "d"), Flatten(),
        Dropout(0.3, "e"), Relu(), Dense(2, name="l")]))
    assert [(str(layer.kind), layer.name) for layer in found] == [
        ("drop", "i"), ("conv", "c"), ("drop", "d"), ("drop", "e"), ("dense", "l")]
    assert found[0].sources == (-1,) and found[0].drop == Drop(0.1, 0)
    assert found[3].drop == Drop(0.3, 5) and found[3].activation is Activation.RELU
    assert found[2].activation is Activation.NONE
    # Flattening moves nothing: all of these see the map.
    assert {layer.in_shape for layer in found[2:]} == {(5, 4, 4)}
    assert found[2].drop is not None and found[2].drop.least == round(0.2 * 65536)


def test_a_dropout_behind_a_concatenation_keeps_its_place_in_the_network() -> None:
    graph = Graph.build((3, 6, 6), [
        Conv(8, 1, name="a"), Relu(name="ar"), Conv(8, 3, 1, 1, name="b", inputs=("input",)),
        Concat("joined", ("ar", "b")), Relu("r"), Conv(4, 1, name="c"),
        Conv(5, 1, name="e", inputs=("r",)), Concat("again", ("c", "e")),
        Dropout(0.5, "d"), Dense(2, name="l")])
    fused = fuse(graph)
    assert {layer.name for layer in fused} - {op.name for op in graph.ops}, "something is copied"
    assert [layer.drop.place for layer in fused if layer.drop] == [8]


def test_gradients_pass_where_elements_were_kept() -> None:
    layers = fuse(Graph.build((1, 6, 6), [Conv(4, 3, name="c"), Relu(), Dropout(0.5, "d"),
                                          Dense(2, name="l")]))
    backward_graph = build_backward_graph(layers, active_layers(layers, [True] * 3))
    assert [(str(step.kind), step.layer, step.target) for step in backward_graph.nodes] == [
        ("backward", 2, "d.dy"), ("drop", 1, "c.dy")]
    assert backward_graph.nodes[1].reads[0].mask == 1


@pytest.mark.parametrize(("layers", "text"), [
    ([Conv(4, 3), Flatten(), Dropout(0.5), BatchNorm(), Dense(2)], r"bn1.*follows a Flatten"),
    ([Conv(4, 3), Dense(2), Dropout(0.5)], r"'dropout1' must yield the outputs"),
])
def test_refusals(layers: list[object], text: str) -> None:
    with pytest.raises(UnsupportedModel, match=text):
        fuse(Graph.build((1, 6, 6), layers))  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [1.0, -0.1, float("nan"), "half"])
def test_rates_out_of_range(rate: float) -> None:
    with pytest.raises(BadInput, match=r"rate: expected a number of 0 to below 1, found"):
        Graph.build((1, 6, 6), [Dropout(rate), Dense(2)])
