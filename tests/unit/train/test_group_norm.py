"""Group, layer and instance normalisation: training against float32, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import BadInput, DoesNotFit, UnsupportedModel
from pynq_train.graph import (
    Add,
    BatchNorm,
    Concat,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    Graph,
    GroupNorm,
    LayerParams,
    MaxPool2x2,
    Relu,
    Relu6,
)
from pynq_train.graph.reference import FloatTrainer
from pynq_train.hw.boards import BOARDS
from pynq_train.layers import fuse, kinds
from pynq_train.layers.init import init_params
from pynq_train.schedule.plan import make_plan
from pynq_train.schedule.specs.trainable import select

GRAPH = Graph.build((1, 8, 8), [
    Conv(24, 3, 1, 1), GroupNorm(3), Relu(), Conv(24, 3, 1, 1, groups=24), GroupNorm(12), Relu6(),
    Conv(16, 1), GroupNorm(16, affine=False), Relu(), MaxPool2x2(), Conv(32, 3, 1, 1),
    GroupNorm(1, 1e-3), Relu(), GlobalAvgPool(), Dense(10)])
JOINED = Graph.build((1, 8, 8), [
    GroupNorm(1, affine=False), Conv(8, 3, 1, 1, name="a"), GroupNorm(2, name="n"),
    Relu(name="r"), Conv(8, 3, 1, 1, name="b"), Concat("c", ("r", "b")),
    GroupNorm(4, affine=False), Relu(), Conv(16, 1, name="f"), Add("g", ("c", "f")), GroupNorm(2),
    Relu(), GlobalAvgPool(), Dense(12), GroupNorm(1), Relu(), Dense(10)])
STEPS = 8


def drawn(graph: Graph, rng: np.random.Generator) -> dict[str, LayerParams]:
    """Start parameters, but gamma and beta that say something."""
    return {name: p if p.weight.ndim > 1 else LayerParams(
        np.float32(rng.uniform(0.5, 1.5, len(p.weight))),
        np.float32(rng.normal(0, 0.2, len(p.weight)))) for name, p in init_params(graph, 0).items()}


@pytest.mark.parametrize("batch", [1, 16])
@pytest.mark.parametrize("graph", [GRAPH, JOINED], ids=["series", "branches"])
def test_steps_follow_float32(graph: Graph, batch: int, tmp_path: Path,
                              rng: np.random.Generator) -> None:
    pytest.importorskip("sklearn")
    data = pt.load_digits().train
    x, y = data.x[: STEPS * batch], data.y[: STEPS * batch]
    params, optimizer = drawn(graph, rng), pt.SGD(lr=0.02, weight_decay=0.01)
    learner = pt.Learner(graph, optimizer=optimizer, batch=batch)
    learner.set_params(params)
    history = learner.fit(x, y, progress=False)
    twin = pt.fit_float(graph, x, y, optimizer=optimizer, batch=batch, params=params)
    np.testing.assert_allclose(history.batch_losses, twin.batch_losses, atol=0.01)
    assert all((learner.params[name].weight != own.weight).any() for name, own in params.items())
    logits = learner.logits(data.x[:batch])
    want = FloatTrainer(graph, learner.params).logits(data.x[:batch])
    np.testing.assert_allclose(logits, want, atol=0.004)
    # The comparison would see statistics of other groups, and of the mini-batch.
    other = Graph(graph.input_shape, tuple(
        replace(op, groups=1 if op.groups > 1 else 2) if isinstance(op, GroupNorm) and op.affine
        else op for op in graph.ops), graph.name)
    wrong = FloatTrainer(other, learner.params).logits(data.x[:batch])
    assert np.abs(wrong - want).max() > 0.015
    path = tmp_path / "model.safetensors"
    learner.save(path)
    np.testing.assert_array_equal(pt.load(path).logits(data.x[:batch]), logits)


def test_an_image_is_normalised_by_itself() -> None:
    """Its logits do not depend on its place in the mini-batch, bit for bit."""
    images = np.random.default_rng(3).normal(size=(6, 1, 8, 8)).astype(np.float32)
    learner = pt.Learner(GRAPH, batch=6)
    whole = learner.logits(images)
    np.testing.assert_array_equal(learner.logits(images[::-1])[::-1], whole)
    assert len({row.tobytes() for row in whole}) == len(images)


def test_layers() -> None:
    layers = fuse(GRAPH)
    assert [layer.name for layer in layers if layer.kind is kinds.GROUP_NORM] == [
        "gn1.stat", "gn2.stat", "gn3", "gn4.stat"]
    gammas = [layer for layer in layers if layer.scale]
    assert [layer.name for layer in gammas] == ["gn1", "gn2", "gn4"]
    assert gammas[0].weight_shape == (24,) and gammas[0].activation.has_flags
    norms = [layer.name for layer, one in zip(layers, select(layers, "norm")) if one.anything]
    assert norms == ["gn1", "gn2", "gn4"]
    assert set(init_params(layers, 0)) == {op.name for op in GRAPH.ops if isinstance(
        op, (Conv, Dense)) or (isinstance(op, GroupNorm) and op.affine)}
    memory = make_plan(layers, 4, BOARDS["pynq-z2"]).memory
    # A pair of words for each channel of each image's blocks or groups.
    sizes = {name: memory[f"{name}.table"].nbytes // 64
             for name in ("gn1.stat", "gn2.stat", "gn3", "gn4.stat")}
    assert sizes == {"gn1.stat": 4 * 3, "gn2.stat": 4 * 6, "gn3": 4 * 4, "gn4.stat": 4}
    assert "gn1.stat.running" not in memory and "gn1.stat.db" not in memory


def test_gamma_does_not_decay() -> None:
    """As that of a batch normalisation. The first step has the same gradients either way."""
    images = np.eye(8, dtype=np.float32)[:4, None, None].repeat(8, axis=2)
    learnt = []
    for decay in (0.0, 0.02):
        learner = pt.Learner(GRAPH, batch=4, trainable=["gn4.weight", "conv4.weight"],
                             optimizer=pt.SGD(lr=0.05, weight_decay=decay, momentum=0.0))
        learner.fit(images, np.zeros(4, np.int64), progress=False)
        learnt.append(learner.params)
    np.testing.assert_array_equal(learnt[0]["gn4"].weight, learnt[1]["gn4"].weight)
    assert (learnt[0]["conv4"].weight != learnt[1]["conv4"].weight).any()


@pytest.mark.parametrize(("groups", "channels", "text"), [
    (2, 12, r"expected 1, 2 or a multiple of 4, found 6; use 1 or 3 or 6 or "
            r"12 groups of 12 channels$"),
    (1, 6, r"found 6; use 3 or 6 groups of 6 channels, or a multiple of 4 channels$"),
    (2, 6, r"found 3; use 3 or 6 groups"),
    (1, 7, r"found 7; use 7 groups of 7 channels, or a multiple of 4"),
])
def test_groups_that_fill_no_words(groups: int, channels: int, text: str) -> None:
    graph = Graph.build((1, 4, 4), [Conv(channels, 3), GroupNorm(groups), Dense(2)])
    what = r"operation 'gn1' \(groupnorm\): channels of a group: .*"
    with pytest.raises(UnsupportedModel, match=what + text):
        fuse(graph)


def test_refused() -> None:
    with pytest.raises(BadInput, match="gn1: groups: expected a divisor of 8 channels, found 3"):
        Graph.build((1, 4, 4), [Conv(8, 3), GroupNorm(3), Dense(2)])
    with pytest.raises(BadInput, match=r"values of a group: expected 2 or more, found 1; use"):
        Graph.build((1, 3, 3), [Conv(8, 3), GroupNorm(8), Dense(2)])
    with pytest.raises(BadInput, match=r"groups: expected .*found 0"):
        Graph.build((1, 3, 3), [Conv(8, 3), GroupNorm(0), Dense(2)])
    flat = Graph.build((1, 4, 4), [Conv(8, 3), Flatten(), GroupNorm(1), Dense(2)])
    with pytest.raises(UnsupportedModel, match=r"'gn1' .*follows a Flatten; put it in front of"):
        fuse(flat)
    large = Graph.build((1, 512, 512), [Conv(8, 1), GroupNorm(2), Conv(4, 1), GlobalAvgPool(),
                                        Dense(2)])
    layers = fuse(large)
    with pytest.raises(DoesNotFit, match=r"values of a group in one of 4 sums: expected at most "
                                         r"131072.*found 262144; use more groups, or smaller maps"):
        make_plan(layers, 1, BOARDS["pynq-z2"], trainable=select(layers, "last-layer"))


def test_batch_normalisation_stays_apart() -> None:
    """Both in one network: one has running statistics, the other none."""
    graph = Graph.build((1, 6, 6), [Conv(8, 3), BatchNorm(), Relu(), Conv(8, 3), GroupNorm(2),
                                    Relu(), Dense(3)])
    params = init_params(graph, 0)
    assert params["bn1"].mean is not None and params["gn1"].mean is None
    learner = pt.Learner(graph, batch=4)
    rng = np.random.default_rng(0)
    learner.fit(rng.normal(size=(16, 1, 6, 6)).astype(np.float32), np.arange(16) % 3,
                progress=False)
    assert learner.params["bn1"].mean is not None and learner.params["bn1"].mean.any()
