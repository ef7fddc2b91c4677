"""Networks with nearest upsampling: training against float32, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from reference_models.float_course import bright_thirds, follow_float32

import pynq_train as pt
from pynq_train.bench.attribution import Share
from pynq_train.bench.step import share_of
from pynq_train.errors import IllegalProgram, UnsupportedModel
from pynq_train.graph import (
    Add,
    AvgPool,
    Conv,
    Dense,
    Graph,
    LayerParams,
    MaxPool,
    Relu,
    Upsample,
)
from pynq_train.graph.reference import FloatTrainer
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import Pass
from pynq_train.layers import fuse, init_params, kinds
from pynq_train.run.masters import Masters
from pynq_train.schedule.lower.conv import LayerAddresses
from pynq_train.schedule.passes.descriptors import Role
from pynq_train.schedule.plan import make_plan

GRAPH = Graph.build((2, 6, 8), [
    Conv(10, 3, 1, 1, name="a"), Relu(name="r"), AvgPool(2, 2, 0), Conv(10, 3, 1, 1, groups=10),
    Relu(), Conv(10, 1), Upsample(2, "up"), Add("sum", ("r", "up")), Relu("s"), Dense(3)])


def test_steps_follow_float32(rng: np.random.Generator) -> None:
    follow_float32(GRAPH, rng, lr=0.05, loss_error=0.02)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_copies_are_exact(factor: int, rng: np.random.Generator) -> None:
    """The mean of all copies is the mean of what was copied, whatever the factor is."""
    def logits(ops: list[pt.graph.Op]) -> np.ndarray:
        graph = Graph.build((2, 3, 5), [Conv(6, 1, name="a"), *ops, pt.GlobalAvgPool(),
                                        Dense(3, name="out")])
        params = init_params(Graph.build((2, 3, 5), [Conv(6, 1, name="a"), pt.GlobalAvgPool(),
                                                     Dense(3, name="out")]), 0)
        with pt.Learner(pt.Model(graph, params), batch=2) as learner:
            return learner.logits(x)

    x = rng.normal(size=(4, 2, 3, 5)).astype(np.float32)
    plain, copied = logits([]), logits([Upsample(factor)])
    np.testing.assert_allclose(copied, plain, atol=2e-3)
    assert np.abs(plain).max() > 0.05


@pytest.mark.parametrize(("factor", "corners"), [(2, False), (3, False), (4, False), (2, True),
                                                 (4, True)])
@pytest.mark.parametrize("shape", [(2, 1, 1), (2, 2, 3), (2, 4, 3)])
def test_bilinear_is_exact_up_to_rounding(shape: tuple[int, int, int], factor: int, corners: bool,
                                          rng: np.random.Generator) -> None:
    """Each pixel, also of borders and corners, and each gradient of one."""
    up = Upsample(factor, "up", mode="bilinear", corners=corners)
    ops = [Conv(5, 1, name="a"), up]
    _, rows, cols = Graph.build(shape, [*ops, Dense(2)]).shapes[1]
    # Each output of the dense layer is one pixel of one channel.
    graph = Graph.build(shape, [*ops, Dense(5 * rows * cols, False, "out")])
    params = init_params(graph, 0)
    params["out"] = LayerParams(np.eye(5 * rows * cols, dtype=np.float32), None)
    x = rng.normal(size=(3, *shape)).astype(np.float32)
    with pt.Learner(pt.Model(graph, params), batch=3) as learner:
        found = learner.logits(x)
    want = FloatTrainer(graph, params).logits(x)
    assert np.abs(found - want).max() < 2e-4 * np.abs(want).max()


@pytest.mark.parametrize("corners", [False, True])
def test_gradients_of_a_bilinear_one(corners: bool) -> None:
    """The layer in front of it moves as in float32: borders have weights of their own."""
    graph = Graph.build((2, 3, 4), [Conv(6, 3, padding=1, name="a"), Relu(),
                                    Upsample(3, "up", mode="bilinear", corners=corners),
                                    Conv(4, 3, 2, name="b"), Dense(3, name="out")])
    generator = np.random.default_rng(4)
    x, y = generator.normal(size=(8, 2, 3, 4)).astype(np.float32), np.arange(8) % 3
    params = init_params(graph, 3)
    twin = FloatTrainer(graph, params, lr=0.1)
    twin.step(x, y)
    sgd = pt.SGD(lr=0.1, momentum=0.9, schedule="constant", warmup_steps=0)
    learner = pt.Learner(pt.Model(graph, params), optimizer=sgd, batch=8)
    learner.calibrate(x)
    learner.fit(x, y, progress=False)
    moved = np.abs(twin.params["a"].weight - params["a"].weight).max()
    off = np.abs(learner.params["a"].weight - twin.params["a"].weight).max()
    assert moved > 1e-3 and off < 0.01 * moved


def test_pieces_of_a_bilinear_one() -> None:
    """A descriptor for each piece, and of the middle for each row phase."""
    graph = Graph.build((2, 5, 1), [Conv(20, 1), Upsample(2, "up", mode="bilinear"), Dense(3)])
    layers = fuse(graph)
    plan = make_plan(layers, 2, BOARDS["pynq-z2"])
    ran = [one.tiled.shape.spec.offsets.number for one in plan.train
           if one.layer == 1 and one.tiled is not None and one.role == Role.FORWARD
           and one.tiled.shape.spec.offsets is not None]
    assert sorted(set(ran)) == [0, 1, 2, 3, 4, 5] and len(ran) == 8
    back = [one for one in plan.train if one.layer == 1 and one.role == Role.BACKWARD]
    assert len(back) == 3 and layers[1].kind == kinds.BILINEAR


def test_what_runs_it() -> None:
    """The array runs it as windows over its output, one descriptor for each row of a window."""
    layers = fuse(GRAPH)
    up = next(layer for layer in layers if layer.name == "up")
    assert (up.kind, up.kernel, up.stride, up.groups) == (kinds.UPSAMPLE, (2, 2), (2, 2), 10)
    assert not up.has_parameters and up.macs_per_image == 10 * 6 * 8
    assert (Masters.averaging(up).weight == 1 << 28).all()
    plan = make_plan(layers, 2, BOARDS["pynq-z2"])
    at = layers.index(up)
    ran = [(one.role, one.tiled.shape.kind, one.tiled.shape.phase) for one in plan.train
           if one.layer == at and one.tiled is not None and one.images in (None, (0, 1))]
    assert ran == [(Role.FORWARD, Pass.BACKWARD, 0), (Role.FORWARD, Pass.BACKWARD, 1),
                   (Role.BACKWARD, Pass.FORWARD, 0)]
    labels = [one.tiled.shape.label for one in plan.train if one.layer == at and one.tiled]
    assert labels[0] == "forward phase 0" and labels[-1] == "backward"
    assert share_of(next(one for one in plan.train if one.layer == at)) is Share.FP
    assert "up.w16" in plan.memory and "up.wv" not in plan.memory


def test_what_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="expected a factor of 2 to 4, found 5; use several"):
        fuse(Graph.build((2, 4, 4), [Conv(4, 1), Upsample(5), Dense(3)]))
    with pytest.raises(UnsupportedModel, match=r"follows pool1.*in front of the pooling"):
        fuse(Graph.build((2, 4, 4), [Conv(4, 1), Upsample(2), MaxPool(3, 2), Relu(), Dense(3)]))
    for mode, corners, why in (("cubic", False, "mode: expected 'nearest' or 'bilinear', found"),
                               ("nearest", True, "corners: expected True or False, False with")):
        with pytest.raises(pt.BadInput, match=why):
            Graph.build((2, 4, 4), [Upsample(2, mode=mode, corners=corners), Dense(3)])
    with pytest.raises(pt.BadInput, match="factor"):
        Graph.build((2, 4, 4), [Upsample(1), Dense(3)])


@pytest.mark.parametrize("planted", [
    lambda at: at, lambda at: replace(at, x=at.dy, dx=at.y + 8, y=at.dx, dy=at.x)])
def test_the_verifier_sees_maps_in_the_wrong_place(planted: Any, monkeypatch: pytest.MonkeyPatch,
                                                   rng: np.random.Generator) -> None:
    """Its schedule has to write where its geometry says."""
    x, _ = bright_thirds(GRAPH, rng, 2)
    pt.Learner(GRAPH, batch=2).logits(x)
    monkeypatch.setattr(LayerAddresses, "mirrored", planted)
    with pytest.raises(IllegalProgram):
        pt.Learner(GRAPH, batch=2).logits(x)
