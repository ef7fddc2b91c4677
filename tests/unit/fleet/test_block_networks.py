"""Where a network can be cut into blocks, and what heads they get."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

import pynq_train as pt
from pynq_train import fleet
from pynq_train.check.random_nets import random_net
from pynq_train.errors import BadInput, UnknownName
from pynq_train.fleet.block_training.block import block_edges
from pynq_train.graph import zoo
from pynq_train.graph.ops import AvgPool, Flatten
from pynq_train.layers.fuse import edges, fuse
from pynq_train.layers.init import parameter_count


def residual() -> pt.Graph:
    """Return a network with a skip, a normalisation, a dropout and a concatenation."""
    return pt.Graph.build((1, 8, 8), [
        pt.Conv(8, 3, 1, 1, False, "conv1"), pt.BatchNorm(name="bn1"), pt.Relu("relu1"),
        pt.Conv(8, 3, 1, 1, False, "conv2"), pt.Add("add", ("conv2", "relu1")), pt.Relu("relu2"),
        pt.Dropout(0.25, "drop"), pt.Conv(4, 3, 1, 1, name="left"),
        pt.Conv(8, 1, name="right", inputs=("drop",)), pt.Concat("cat", ("left", "right")),
        pt.Conv(8, 3, 1, 1, name="conv3"), pt.Relu("relu3"), pt.GlobalAvgPool("mean"),
        pt.Dense(4, name="dense")], "residual")


def test_blocks_together_are_the_network() -> None:
    """Each operation is in one block, with its shape; what a block reads is the map before it."""
    graph = residual()
    blocks = fleet.blocks(graph, ["cat", "relu2"], head=["dense", "mlp"])
    assert [one.after for one in blocks] == ["relu2", "cat", ""]
    assert [one.head for one in blocks] == ["dense", "mlp", ""]
    shapes = dict(zip((op.name for op in graph.ops), graph.shapes))
    names = [op.name for one in blocks for op in one.graph.ops if op.name in one.own]
    assert names == [op.name for op in graph.ops]
    for one in blocks:
        assert one.graph.classes == 4
        assert one.layer is None or edges(one.graph)[one.after].end == one.after
        for op, shape in zip(one.graph.ops, one.graph.shapes):
            assert op.name not in one.own or shape == shapes[op.name]
    for before, one in pairwise(blocks):
        assert one.graph.input_shape == shapes[before.after]
    assert sum(one.parameters for one in blocks) == parameter_count(graph)


@pytest.mark.parametrize(("name", "head"), [
    *((name, head) for name in ("digits", "lenet5") for head in ("dense", "pooled", "conv", "mlp")),
    ("resnet20", "conv"), ("mobilenet_v1_025", "mlp")])
def test_every_edge_of_a_known_network_has_a_block_or_a_reason(name: str, head: str) -> None:
    """The engine runs each block, and writes the map that goes on."""
    graph, made = zoo.get(name), 0
    for edge in block_edges(graph):
        try:
            first, last = fleet.blocks(graph, [edge], head=head)
        except BadInput as error:
            assert "or more, found" in str(error)
            continue
        made += 1
        assert fuse(last.graph)
        assert first.layer is not None
        assert edges(first.graph)[first.after].end == first.after
        assert fuse(last.graph)[0].in_shape == fuse(first.graph)[first.layer].out_shape
        assert first.parameters + last.parameters == parameter_count(graph)
    assert made or (name, head) == ("digits", "mlp")


@pytest.mark.parametrize("seed", range(8))
def test_random_networks_fall_into_blocks(seed: int) -> None:
    """All places at once; the shapes of what goes on are those of the whole network."""
    graph = random_net(seed).graph
    after = block_edges(graph)
    shapes = dict(zip((op.name for op in graph.ops), graph.shapes))
    blocks = fleet.blocks(graph, after, head="dense")
    assert len(blocks) == len(after) + 1
    for before, one in pairwise(blocks):
        assert one.graph.input_shape == shapes[before.after]
        assert fuse(before.graph)


def test_sizes_of_the_heads_behind_the_first_pair_of_mobilenet() -> None:
    """16 maps of 28x28: 2x2 windows and a dense layer have 14 * 14 * 16 * 10 + 10 parameters."""
    found = {head: fleet.blocks("mobilenet_v1_025", ["pw1.relu"], head=head)[0].head_parameters
             for head in ("dense", "pooled", "conv", "mlp")}
    convolutions = 9 * 16 * 16 + 2 * 16 + 9 * 16 * 32 + 2 * 32
    assert found == {"dense": 170, "pooled": 31370, "conv": convolutions + 7 * 7 * 32 * 10 + 10,
                     "mlp": 3 * (16 * 16 + 32) + 3 * (64 * 64 + 128) + 650}


@pytest.mark.parametrize("side", [*range(5, 20), 28, 33, 47, 112])
def test_windows_of_the_mlp_head_cover_the_map(side: int) -> None:
    """As many as a quarter of the rows, then two; the engine takes all windows."""
    graph = pt.Graph.build((2, side, side), [
        pt.Conv(4, 3, 1, 1, name="conv"), pt.Relu("relu"), pt.Conv(4, 1, name="other"),
        pt.Dense(3, name="fc")])
    block = fleet.blocks(graph, ["relu"], head="mlp")[0]
    assert fuse(block.graph)
    shapes = dict(zip((op.name for op in block.graph.ops), block.graph.shapes))
    assert shapes["head.conv1"] == (4, -(-side // 4), -(-side // 4))
    flatten = next(op for op in block.graph.ops if isinstance(op, Flatten))
    assert shapes[flatten.name] == (16, 1, 1)
    size = side
    for op in block.graph.ops:
        if isinstance(op, AvgPool):
            kernel, stride = op.kernel_sides.rows, op.stride_sides.rows
            assert op.kernel_sides.cols == kernel and op.stride_sides.cols == stride
            out = (size - kernel) // stride + 1
            if op.padding == "same":
                assert kernel == stride
                out = -(-size // stride)
            else:
                assert (out - 1) * stride + kernel == size
                assert stride <= kernel <= stride + 1
            size = out
    assert size == 2


def test_names_of_a_head_are_free() -> None:
    """A network may have operations that are named as those of a head."""
    graph = pt.Graph.build((1, 8, 8), [
        pt.Conv(4, 3, 1, 1, name="head.fc"), pt.Relu("head.pool"),
        pt.Conv(4, 3, 1, 1, name="conv"), pt.Dense(3, name="fc")])
    block = fleet.blocks(graph, ["head.pool"], head="dense")[0]
    assert block.head_parameters == 4 * 3 + 3


def no_classes() -> pt.Graph:
    return pt.Graph.build((1, 8, 8), [pt.Conv(4, 3, name="conv"), pt.Dense(1)], "one")


@pytest.mark.parametrize(("model", "options", "error", "text"), [
    ("digits", {"after": ["pool9"]}, UnknownName,
     "unknown edge 'pool9': expected one of flatten1, pool1, pool2; did you mean 'pool2'?"),
    ("nets", {"after": []}, UnknownName, "unknown network 'nets'"),
    ("digits", {"after": ["conv1"]}, BadInput, "runs together with 'pool1'; cut after 'pool1'"),
    ("digits", {"after": "pool1"}, BadInput, "after: expected a list of names"),
    ("digits", {"after": ["pool1"], "head": "cnn"}, UnknownName,
     "unknown head 'cnn': expected one of conv, dense, mlp, pooled"),
    ("digits", {"after": ["pool1"], "head": ["conv", "mlp"]}, BadInput,
     "head: expected one name, or 1, one for each cut, found 2: conv, mlp"),
    ("digits", {"after": ["pool2"], "head": "conv"}, BadInput,
     "block 0 of 'digits', after 'pool2': head 'conv': expected a map of 4x4 or more, found 2x2; "
     "use 'dense' or 'pooled'"),
    ("digits", {"after": ["pool1"], "head": "mlp"}, BadInput,
     "expected a map of 5x5 or more, found 4x4; use 'dense' or 'pooled' or 'conv'"),
    (no_classes(), {"after": ["conv"]}, BadInput,
     "network 'one': classes: expected 2 or more, found 1"),
    (residual(), {"after": ["conv2"]}, BadInput,
     "a block of 'residual' that ends after 'conv2': expected one map that goes on, that of the "
     "cut, found 'relu1', which 'add' reads; end blocks after relu2, drop, cat, mean"),
    (residual(), {"after": ["conv1"]}, BadInput,
     "a block of 'residual' that begins after 'conv1': expected layers that the engine runs as a "
     "network, found operation 'bn1' (batchnorm) follows the input, which is not supported; end "
     "blocks after relu2, drop, cat, mean"),
    (residual(), {"after": ["left"]}, BadInput, "no concatenation across it"),
    (7, {"after": []}, BadInput, "model: expected a Graph, a Model or the name of a network")])
def test_what_is_no_block(model: Any, options: dict[str, Any], error: type[Exception],
                          text: str) -> None:
    with pytest.raises(error) as found:
        fleet.blocks(model, **options)
    assert text in str(found.value)
    assert "\n" not in str(found.value)
