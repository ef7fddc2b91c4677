"""Picks of channels: merged, vanished into what reads them, or layers of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.check.verify import verify
from pynq_train.errors import BadInput, UnsupportedModel
from pynq_train.graph import (
    BatchNorm,
    Concat,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    Graph,
    Multiply,
    Op,
    PickChannels,
    Relu,
    Sigmoid,
)
from pynq_train.hw.words import ABSENT_WEIGHT
from pynq_train.layers import fuse, kinds
from pynq_train.layers.fuse import FusedLayer, edges
from pynq_train.run.masters import Masters
from pynq_train.schedule.specs.layout import gather_channels, spread_channels
from pynq_train.schedule.specs.spec import layer_specs


def layers_of(*ops: Op, shape: tuple[int, int, int] = (4, 8, 8)) -> dict[str, FusedLayer]:
    return {layer.name: layer for layer in fuse(Graph.build(shape, ops))}


def stem(out: int = 32) -> Conv:
    return Conv(out, 3, 1, 1, name="stem")


END = (GlobalAvgPool(name="mean"), Dense(3, name="d"))


@pytest.mark.parametrize(("channels", "words"), [
    ((), "at least one channel of the input"), ("ab", "at least one channel of the input"),
    ((0, -1), "an integer of at least 0"), ((0, 1.5), "an integer of at least 0"),
    ((0, 4), "channels 0 to 3 of the input, found 4")])
def test_channels_are_checked(channels: Any, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        Graph.build((4, 3, 3), [PickChannels(channels), Dense(2)])


def test_lists_and_saved_graphs() -> None:
    graph = Graph.build((4, 3, 3), [PickChannels(np.array([3, 1])), Dense(2)])  # type: ignore[arg-type]
    assert graph.ops[0] == PickChannels((3, 1), graph.ops[0].name)
    assert Graph.from_json(graph.to_json()) == graph


def test_picks_of_picks_are_one() -> None:
    found = layers_of(stem(8), PickChannels((7, 5, 3, 1), "p"), PickChannels((2, 0), "q"),
                      BatchNorm(name="n"), *END)
    assert list(found) == ["stem", "q", "n", "mean", "d"] and found["q"].copies == (3, 7)
    # What both read stays.
    found = layers_of(stem(8), PickChannels((7, 5, 3), "p"), PickChannels((2, 0), "q"),
                      Concat("j", ("p", "q")), *END)
    assert found["p"].copies == (7, 5, 3) and found["q"].copies == (3, 7)
    # Everything in order is nothing.
    found = layers_of(stem(4), PickChannels((3, 2, 1, 0), "p"), PickChannels((3, 2, 1, 0), "q"),
                      BatchNorm(name="n"), *END)
    assert list(found) == ["stem", "n", "mean", "d"]


def test_a_pick_vanishes_where_it_costs_more_than_it_spares() -> None:
    half, others = tuple(range(16)), tuple(range(16, 32))
    for kernel, gone in ((1, True), (3, False)):
        found = layers_of(stem(64), PickChannels(tuple(range(32)), "p"),
                          Conv(64, kernel, 1, "same", name="c"), *END)
        assert ("p" not in found) == gone
        assert found["c"].reads == (tuple(range(32)) if gone else None)
        assert found["c"].weight_shape == (64, 32, kernel, kernel)
        assert found["c"].fan_in == 32 * kernel**2
    # One reader that needs it is enough, or one that reads a channel twice.
    found = layers_of(stem(), PickChannels(half, "p"), Conv(16, 1, name="c"),
                      Conv(16, 3, 1, 1, name="g", groups=16, inputs=("p",)),
                      Concat("j", ("c", "g")), *END)
    assert found["p"].average and found["c"].reads is None
    found = layers_of(stem(), PickChannels((*half, 0), "p"), Conv(16, 1, name="c"), *END)
    assert "p" in found and found["c"].reads is None
    # Dense layers, behind a Flatten or on a vector.
    found = layers_of(stem(8), PickChannels((0, 2, 4), "p"), Flatten(), Dense(3, name="d"))
    assert found["d"].reads == (0, 2, 4) and found["d"].weight_shape == (3, 3 * 64)
    found = layers_of(stem(), GlobalAvgPool(name="m"), PickChannels(others, "p"),
                      Dense(3, name="d"))
    assert list(found) == ["stem", "m", "d"] and found["d"].reads == others


def test_vectors_stay_vectors() -> None:
    found = layers_of(stem(8), GlobalAvgPool(name="m"), PickChannels((5, 1, 2), "p"),
                      BatchNorm(name="n"), Dense(3, name="d"))
    assert found["p"].kind is kinds.DENSE and found["p"].weight_shape == (3, 8)
    weight = Masters.averaging(found["p"]).weight
    assert [int(row.argmax()) for row in weight] == [5, 1, 2] and weight.sum() == 3 << 28


def test_a_flattened_map_has_no_channels() -> None:
    with pytest.raises(UnsupportedModel, match=r"'p' .pickchannels. reads a flattened map"):
        layers_of(stem(8), Flatten("f"), PickChannels((0, 1), "p"), Dense(3))


def test_what_vanished_ends_where_its_source_does() -> None:
    """A network can be cut there: the whole map travels."""
    graph = Graph.build((4, 8, 8), [stem(), Relu(name="r"), PickChannels((1, 0), "p"),
                                    Conv(4, 1, name="c"), *END])
    known = edges(graph)
    assert known["p"].layer == known["r"].layer == 0


@pytest.mark.parametrize("kernel", [(), (2, 3)])
@pytest.mark.parametrize("pixels", [1, 6])
def test_weights_are_spread_over_all_channels(kernel: tuple[int, ...], pixels: int) -> None:
    reads, channels = (3, 0, 6), 7
    values = np.arange(2 * 3 * pixels * int(np.prod(kernel))).reshape(2, 3 * pixels, *kernel)
    spread = spread_channels(values, reads, channels, -1)
    assert spread.shape == (2, channels * pixels, *kernel)
    by_channel = spread.reshape(2, channels, pixels, *kernel)
    for at, channel in enumerate(reads):
        assert np.array_equal(by_channel[:, channel],
                              values.reshape(2, 3, pixels, *kernel)[:, at])
    assert all((by_channel[:, channel] == -1).all() for channel in (1, 2, 4, 5))
    assert np.array_equal(gather_channels(spread, reads, channels), values)


def test_absent_weights_stay_absent() -> None:
    graph = Graph.build((4, 6, 6), [stem(12), Relu(), PickChannels((9, 2, 5), "p"),
                                    Conv(5, 1, name="c"), Relu(), Dense(3, name="d")])
    x, y = np.random.default_rng(0).normal(size=(8, 4, 6, 6)), np.arange(8) % 3
    learner = pt.Learner(graph, batch=8)
    start = learner.params["c"].weight.copy()
    learner.fit(x.astype(np.float32), y, epochs=2, progress=False)
    assert (learner.params["c"].weight != start).any(axis=(0, 2, 3)).all()
    session = learner._open()
    spec = session.plan.specs[1]
    words = session.backend.read(session.plan.memory["c.wv"].offset, 8 * spec.weight_elements)
    packed = np.frombuffer(bytes(words), np.int64).reshape(1, spec.nb, 1, 1, 16, 4)
    weights = packed.astype(np.int32)[0, :, 0, 0, :5].transpose(1, 0, 2).reshape(5, -1)
    there = np.zeros(weights.shape, bool)
    there[:, [9, 2, 5]] = True
    assert np.array_equal(weights != ABSENT_WEIGHT, there)
    assert spec.macs == 8 * 36 * 5 * 3


def test_channels_that_fill_no_blocks_stand_apart() -> None:
    graph = Graph.build((4, 6, 6), [
        stem(5), Conv(3, 1, name="b", inputs=("input",)), Concat("j", ("stem", "b")),
        Conv(6, 1, name="c"), Concat("k", ("j", "c")), BatchNorm(name="n"), *END])
    layers = {layer.name: layer for layer in fuse(graph)}
    assert layers["j"].out_shape == (11, 6, 6)
    assert layers["c"].reads == (*range(5), 8, 9, 10) and "j.picked" not in layers
    assert layers["k.picked"].copies == (*range(5), 8, 9, 10, *range(12, 18))
    specs = layer_specs(fuse(graph), 2)
    assert {spec.name: spec.x.blocks for spec in specs}["c"] == 3


def test_logits_of_any_number() -> None:
    graph = Graph.build((4, 6, 6), [
        stem(8), Dense(3, name="a"), Dense(2, name="b", inputs=("stem",)), Concat("j", ("a", "b"))])
    layers = fuse(graph)
    assert layers[-1].name == "j.picked" and layers[-1].out_shape == (5, 1, 1)
    assert verify(graph, batch=3, steps=1, board="golden", seed=1).mismatches == 0


@pytest.mark.parametrize("between", [
    (Sigmoid(name="s"),), (Dense(8, name="w", inputs=("mean",)), Multiply("s", ("v", "w")))],
    ids=["curve", "product"])
def test_a_pick_of_a_changed_vector_is_a_vector(between: tuple[Op, ...]) -> None:
    """Behind a curve or a product of vectors: it can stand beside a vector."""
    graph = Graph.build((4, 8, 8), (
        stem(8), GlobalAvgPool(name="mean"), Dense(8, name="v"), *between,
        PickChannels((1, 1, 0), "p"), Concat("j", ("p", "v")), Dense(3, name="d")))
    assert {layer.name: layer for layer in fuse(graph)}["p"].kind == kinds.DENSE
    assert verify(graph, batch=3, steps=1, board="golden", seed=1).mismatches == 0
