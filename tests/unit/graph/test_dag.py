"""Graphs with branches: wiring, shapes of every operation, JSON of both versions, refusals."""

from __future__ import annotations

import json

import pytest

from pynq_train.errors import BadInput, UnsupportedModel
from pynq_train.graph import (
    Add,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Graph,
    MaxPool,
    Op,
    Relu,
    Relu6,
    Sequential,
)
from pynq_train.graph.activation import Activation
from pynq_train.layers import fuse


def residual() -> Graph:
    return Graph.build((3, 8, 8), [
        Conv(8, 3, padding=1, bias=False, name="stem"), BatchNorm(), Relu(name="r"),
        Conv(8, 3, padding=1, name="body"), BatchNorm(frozen=True),
        Add(inputs=("bn2", "r")), Relu6(),
        Conv(16, 3, 2, 1, groups=8, name="dw"), MaxPool(3, 2, 1, inputs=("relu61",)),
        Concat(inputs=("dw", "pool1", "pool1")), AvgPool(2, 2), Dropout(0.25), GlobalAvgPool(),
        Dense(5)], "residual")


def test_shapes_and_sources() -> None:
    graph = residual()
    assert [op.name for op in graph.ops] == [
        "stem", "bn1", "r", "body", "bn2", "add1", "relu61", "dw", "pool1", "concat1", "pool2",
        "dropout1", "pool3", "dense1"]
    assert graph.sources[:3] == ((-1,), (0,), (1,))
    assert graph.sources[5] == (4, 2) and graph.sources[8:10] == ((6,), (7, 8, 8))
    assert graph.shapes[9:] == ((32, 4, 4), (32, 2, 2), (32, 2, 2), (32, 1, 1), (5, 1, 1))
    assert graph.in_shapes[9] == ((16, 4, 4), (8, 4, 4), (8, 4, 4))


def test_summary_names_the_inputs_that_are_not_the_operation_before() -> None:
    lines = residual().summary().splitlines()
    assert lines[6].split() == ["add1", "add", "->", "8x8x8", "from", "bn2,", "r"]
    assert "from" not in lines[1] + lines[2]


def test_json_round_trip_keeps_branches() -> None:
    graph = residual()
    assert Graph.from_json(graph.to_json()) == graph
    assert json.loads(graph.to_json())["version"] == 2


def test_version_1_still_loads() -> None:
    saved = {"format": "pynq_train.graph", "version": 1, "name": "old", "input_shape": [1, 8, 8],
             "ops": [{"op": "conv", "out_channels": 4, "kernel": 3, "stride": 1, "padding": "same",
                      "bias": True, "name": "conv1"}, {"op": "relu", "name": "relu1"},
                     {"op": "maxpool2x2", "name": "pool1"}, {"op": "flatten", "name": "flatten1"},
                     {"op": "dense", "units": 3, "bias": False, "name": "dense1"}]}
    assert Graph.from_dict(saved) == (Sequential((1, 8, 8), "old").conv(4, 3, 1, "same").relu()
                                      .pool().dense(3, bias=False).build())


def test_flatten_takes_over_the_inputs_of_a_dense_layer() -> None:
    graph = Graph.build((1, 4, 4), [Conv(2, 3, name="a"), Conv(2, 3, name="b", inputs=("input",)),
                                    Concat(inputs=("a", "b")), Dense(2)])
    assert graph.ops[3] == Flatten("flatten1") and graph.sources[3:] == ((2,), (3,))
    both = Graph.build((1, 4, 4), [Conv(2, 4, name="a"), Dense(2, name="d", inputs=("input",)),
                                   Add(inputs=("a", "d"))])
    assert both.ops[1].inputs == ("input",) and both.sources[2] == (1,)


def test_pooling_sizes() -> None:
    assert MaxPool(3, 2, 1).out_shape((4, 7, 8)) == (4, 4, 4)
    assert MaxPool(3, 2, "same").out_shape((4, 7, 8)) == (4, 4, 4)
    assert AvgPool(3, 1).out_shape((4, 7, 8)) == (4, 5, 6)


A = Conv(4, 3, name="a")
BAD: list[tuple[list[Op], str]] = [
    ([A, Add(inputs=("a", "b"))],
     r"an input of operation 'add1': expected the name of an operation before it, or 'input', "
     r"found 'b'; list operations after those that they read"),
    ([Conv(4, 3, inputs=("a",)), A], "found 'a'"),
    ([A, Add()], r"add1: inputs of add: expected 2 names, found none"),
    ([A, Add(inputs=("a", "a", "a"))], r"expected 2 names, found a, a, a"),
    ([A, Concat(inputs=("a",))], r"concat1: inputs of concat: expected 2 or more names, found a"),
    ([A, Relu(inputs=("a", "a"))], r"relu1: inputs of relu: expected 1 names"),
    ([A, Relu(inputs="a")], r"relu1: inputs: expected a tuple of names"),  # type: ignore[arg-type]
    ([A, Relu(inputs=("input",))], r"operations that no other reads: a; remove them"),
    ([Conv(4, 3, name="input")], "'input' means the network's input; choose another name"),
    ([A, Add(inputs=("a", "input"))],
     r"add1: the inputs of Add: expected two equal shapes, found \(4, 6, 6\) and \(2, 8, 8\)"),
    ([A, Concat(inputs=("a", "input"))],
     r"concat1: the inputs of Concat: expected equal rows and columns, found 6x6 and 8x8"),
    ([Conv(4, 3, groups=3)], "conv1: groups: expected a divisor of 4 output channels, found 3"),
    ([Conv(4, 3, groups=4)], "conv1: groups: expected a divisor of 2 input channels, found 4"),
    ([MaxPool(3, 2, 2)], r"pool1: padding: expected an integer in 0\.\.1, found 2"),
    ([AvgPool((2, 3, 4), 2)], r"pool1: kernel: expected one integer, or two"),  # type: ignore[arg-type]
    ([AvgPool(9, 2)], r"pool1: the 9x9 window does not fit: .*found 8x8"),
    ([Dropout(1.0)], r"dropout1: rate: expected a number of 0 to below 1, found 1\.0"),
    ([BatchNorm(momentum=True)], r"bn1: momentum: expected a number of 0 to below 1, found True"),
    ([BatchNorm(frozen=1)], r"bn1: frozen: expected True or False"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("layers", "text"), BAD, ids=[t for _, t in BAD])
def test_bad_graph(layers: list[Op], text: str) -> None:
    with pytest.raises(BadInput, match=text):
        Graph.build((2, 8, 8), layers)


def test_a_graph_made_directly_is_checked_too() -> None:
    with pytest.raises(BadInput, match="found 'late'"):
        Graph((1, 8, 8), (Relu("r", ("late",)), Relu("late"))).verify()


def test_fuse_lists_everything_that_the_engine_does_not_run() -> None:
    graph = Graph.build((4, 20, 20), [
        Conv(8, 3, name="a"), MaxPool(5, 1, name="p"), MaxPool(3, 4, name="q"), Dense(5)], "two")
    with pytest.raises(UnsupportedModel) as caught:
        fuse(graph)
    text = str(caught.value)
    assert text.startswith("network 'two' has 2 operations that the engine does not run: ")
    assert "p, q (maxpool with such windows): use a kernel of 1, 2 or 3" in text


@pytest.mark.parametrize(("inputs", "outputs", "groups"), [(6, 6, 2), (4, 8, 4), (64, 64, 2)])
def test_fuse_takes_any_groups(inputs: int, outputs: int, groups: int) -> None:
    layers = fuse(Graph.build((inputs, 3, 3), [Conv(outputs, 3, groups=groups), Dense(2)]))
    assert layers[0].groups == groups
    assert layers[0].weight_shape == (outputs, inputs // groups, 3, 3)


def test_fuse_puts_a_sum_behind_the_later_of_its_normalisations() -> None:
    graph = Graph.build((3, 8, 8), [
        Conv(8, 3, padding=1, name="a"), Relu(name="r"), Conv(8, 3, padding=1, name="b"),
        BatchNorm(name="bn"), Add(inputs=("bn", "r")), Relu6(), GlobalAvgPool(), Dense(3)])
    layers = fuse(graph)
    assert [(str(layer.kind), layer.name) for layer in layers] == [
        ("conv", "a"), ("conv", "b"), ("norm", "bn"), ("mean", "pool1"), ("dense", "dense1")]
    assert layers[2].sources == (1, 0) and layers[2].activation is Activation.RELU6
    assert all(layer.sources == (at - 1,) for at, layer in enumerate(layers)
               if layer.name != "bn")


def test_fuse_keeps_a_sum_whose_parts_have_other_readers() -> None:
    graph = Graph.build((3, 8, 8), [
        Conv(8, 3, padding=1, name="a"), Relu(name="r"), Conv(8, 3, padding=1, name="b"),
        Add(inputs=("b", "r")), GlobalAvgPool(), Dense(3)])
    layers = fuse(graph)
    assert [(str(layer.kind), layer.sources) for layer in layers[:3]] == [
        ("conv", (-1,)), ("conv", (0,)), ("add", (1, 0))]


def test_fuse_takes_inputs_that_name_the_operation_before() -> None:
    plain = Sequential((2, 8, 8)).conv(4, 3).relu().dense(3).build()
    named = Graph((2, 8, 8), (Conv(4, 3, name="conv1", inputs=("input",)),
                              Relu("relu1", ("conv1",)), Flatten("flatten1", ("relu1",)),
                              Dense(3, name="dense1")))
    assert fuse(named) == fuse(plain)
