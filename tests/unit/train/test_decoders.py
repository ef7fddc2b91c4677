"""Networks with transposed convolutions: training against float32, what runs, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from reference_models.float_course import follow_float32

import pynq_train as pt
from pynq_train.errors import BadInput, DoesNotFit, UnsupportedModel
from pynq_train.graph import (
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    ConvTranspose,
    Dense,
    GlobalAvgPool,
    Graph,
    MaxPool2x2,
    Relu,
)
from pynq_train.graph.reference import FloatTrainer
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import Pass
from pynq_train.layers import fuse, init_params, kinds
from pynq_train.schedule.passes.descriptors import Role
from pynq_train.schedule.plan import make_plan

GRAPH = Graph.build((2, 6, 8), [
    Conv(8, 3, 1, 1, name="a"), Relu("r"), MaxPool2x2(), Conv(20, 3, 1, 1), Relu(),
    ConvTranspose(12, 2, 2, name="up"), Relu("u"), Concat("join", ("u", "r")), Conv(6, 3, 1, 1),
    BatchNorm(), Relu(), ConvTranspose(6, 3, (1, 2), 1, (0, 1), name="wide", groups=6),
    AvgPool((1, 2), (1, 2)), Dense(3)], "decoder")


def moved(graph: Graph, trainable: str | list[str]) -> dict[str, tuple[float, float]]:
    """By parameter, of one step: how far float32 moves it, and how far the engine's is from that.
    """
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(8, *graph.input_shape)).astype(np.float32), np.arange(8) % 3
    params = init_params(graph, 3)
    twin = FloatTrainer(graph, params, lr=0.1)
    twin.step(x, y)
    sgd = pt.SGD(lr=0.1, momentum=0.9, schedule="constant", warmup_steps=0)
    learner = pt.Learner(pt.Model(graph, params), optimizer=sgd, batch=8, trainable=trainable)
    learner.calibrate(x)
    learner.fit(x, y, progress=False)
    found = {}
    for name in learner.params:
        for part in ("weight", "bias"):
            before, after, want = (getattr(some[name], part)
                                   for some in (params, learner.params, twin.params))
            if before is not None:
                found[f"{name}.{part}"] = (float(np.abs(want - before).max()),
                                           float(np.abs(after - want).max()))
    return found


def test_steps_follow_float32(rng: np.random.Generator) -> None:
    follow_float32(GRAPH, rng, lr=0.03, loss_error=0.03)


@pytest.mark.parametrize("op", [
    ConvTranspose(20, 3, 2, 1, 1, name="up"), ConvTranspose(5, (4, 1), (3, 2), ((2, 0), 0),
                                                            name="up"),
    ConvTranspose(6, 2, 3, "same", name="up", groups=3),
    ConvTranspose(17, 3, padding=2, name="up")])
def test_every_parameter_learns(op: ConvTranspose) -> None:
    """Weights and biases move as in float32: biases have sums of their own, over the output."""
    graph = Graph.build((2, 4, 5), [Conv(6, 3, padding=1), Relu(), op, Relu(), GlobalAvgPool(),
                                    Dense(3)])
    for name, (far, off) in moved(graph, "all").items():
        assert far > 1e-4 and off < 0.02 * far + 1e-5, f"{name}: {off} of {far}"


@pytest.mark.parametrize(("trainable", "still"), [(["up.bias"], "up.weight"),
                                                  (["up.weight"], "up.bias")])
def test_half_of_it_learns(trainable: list[str], still: str) -> None:
    graph = Graph.build((2, 4, 5), [Conv(6, 3, padding=1), Relu(),
                                    ConvTranspose(20, 3, 2, name="up"), Relu(), GlobalAvgPool(),
                                    Dense(3)])
    found = moved(graph, trainable)
    far, off = found[trainable[0]]
    assert far > 1e-4 and off < 0.02 * far + 1e-5
    # What is frozen is as far from the moving one as that has moved.
    assert found[still][1] == pytest.approx(found[still][0], rel=1e-3)


def test_what_runs_it() -> None:
    """Windows over the output: a descriptor for each row phase, a convolution back."""
    layers = fuse(GRAPH)
    up = next(layer for layer in layers if layer.name == "up")
    assert (up.kind, up.weight_shape, up.out_shape) == (kinds.TRANSPOSE, (20, 12, 2, 2), (12, 6, 8))
    assert up.macs_per_image == 20 * 12 * 4 * 3 * 4
    plan = make_plan(layers, 2, BOARDS["pynq-z2"])
    at = layers.index(up)
    ran = [(one.role, one.tiled.shape.kind, one.tiled.shape.phase) for one in plan.train
           if one.layer == at and one.tiled is not None and one.images in (None, (0, 1))]
    assert sorted(ran, key=str) == sorted([
        (Role.FORWARD, Pass.BACKWARD, 0), (Role.FORWARD, Pass.BACKWARD, 1),
        (Role.BACKWARD, Pass.FORWARD, 0), (Role.WEIGHT_GRADIENT, Pass.WEIGHT_GRADIENT, 0),
        (Role.BIAS_SUMS, Pass.WEIGHT_GRADIENT, 0)], key=str)
    spec = plan.specs[at]
    assert (spec.m, spec.n, spec.outputs, spec.bias_tiles) == (20, 12, 12, 1)


def test_what_is_refused() -> None:
    def graph(*ops: pt.graph.Op) -> Graph:
        return Graph.build((4, 4, 4), [Conv(4, 1), *ops, Dense(3)])

    with pytest.raises(UnsupportedModel, match=r"convtranspose.*a kernel of 1 to 11 and a stride"):
        fuse(graph(ConvTranspose(4, 3, 5)))
    with pytest.raises(UnsupportedModel, match="expected one group, or groups of 1, 2, 4, 8 or 16 "
                                               r"channels.*found 2 groups of 2 inputs and 4 outp"):
        fuse(graph(ConvTranspose(8, 2, 2, groups=2)))
    for op, why in ((ConvTranspose(4, 2, 2, output_padding=2),
                     "output_padding: expected an integer in 0..1"),
                    (ConvTranspose(4, 2, 2, "same", 1), "output_padding"),
                    (ConvTranspose(4, 2, padding=2), "padding"),
                    (ConvTranspose(3, 2, groups=2), "groups: expected a divisor of 3 output"),
                    (ConvTranspose(6, 2, groups=6), "groups: expected a divisor of 4 input"),
                    (ConvTranspose(4, 6, padding=5), "some rows and columns left, found -1x-1")):
        with pytest.raises(BadInput, match=why):
            graph(op)
    large = Graph.build((4, 64, 64), [Conv(4, 1), ConvTranspose(4, 2, 2, name="up"), Dense(3)])
    with pytest.raises(DoesNotFit, match=r"'up': products in one sum of the weight grad.*8 images"):
        make_plan(fuse(large), 9, BOARDS["pynq-z2"])
