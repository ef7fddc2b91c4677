"""Networks with depthwise, grouped and average pooling layers: training against float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import BadInput
from pynq_train.graph import AvgPool, Conv, Dense, Graph, MaxPool2x2, Relu, Relu6
from pynq_train.graph.reference import FloatTrainer
from pynq_train.hw.boards import BOARDS
from pynq_train.layers import fuse
from pynq_train.layers.init import init_params
from pynq_train.schedule.plan import make_plan
from pynq_train.schedule.specs.trainable import Trainable, select

GRAPH = Graph.build((1, 8, 8), [
    Conv(24, 3, 1, 1), Relu6(), Conv(24, 3, 1, 1, groups=24), Relu6(), Conv(24, 1), Relu6(),
    AvgPool(3, 2, 1), Relu(), Conv(24, 3, 1, 1, groups=6), Relu6(), MaxPool2x2(), Dense(10)])
STEPS, BATCH = 12, 16


def test_steps_follow_float32(tmp_path: Path) -> None:
    """Losses and weights of some steps are those of float32, and go through a file."""
    pytest.importorskip("sklearn")
    data = pt.load_digits().train
    x, y = data.x[: STEPS * BATCH], data.y[: STEPS * BATCH]
    learner = pt.Learner(GRAPH, optimizer=pt.SGD(lr=0.05), batch=BATCH)
    history = learner.fit(x, y, progress=False)
    twin = pt.fit_float(GRAPH, x, y, epochs=1, optimizer=pt.SGD(lr=0.05), batch=BATCH,
                        progress=False)
    np.testing.assert_allclose(history.batch_losses, twin.batch_losses, atol=0.01)
    start = init_params(fuse(GRAPH), 0)
    assert set(learner.params) == set(start) == {"conv1", "conv2", "conv3", "conv4", "dense1"}
    assert all((learner.params[name].weight != own.weight).any() for name, own in start.items())
    images = data.x[:BATCH]
    logits = learner.logits(images)
    np.testing.assert_allclose(
        logits, FloatTrainer(GRAPH, learner.params).logits(images), atol=0.02)
    path = tmp_path / "model.safetensors"
    learner.save(path)
    np.testing.assert_array_equal(pt.load(path).logits(images), logits)


def test_the_float_twin_without_the_limit_differs() -> None:
    """The comparison above would see a ReLU6 that does not clip."""
    ops = [Relu(op.name) if isinstance(op, Relu6) else op for op in GRAPH.ops]
    other = Graph(GRAPH.input_shape, tuple(ops), GRAPH.name)
    params = {name: pt.graph.LayerParams(4 * own.weight, own.bias)
              for name, own in init_params(GRAPH, 0).items()}
    pytest.importorskip("sklearn")
    images = pt.load_digits().train.x[:BATCH]
    learner = pt.Learner(GRAPH, batch=BATCH)
    learner.set_params(params)
    got = learner.logits(images)
    want, wrong = (FloatTrainer(g, params).logits(images) for g in (GRAPH, other))
    scale = np.abs(want).max()
    assert np.abs(got - want).max() < 0.01 * scale < 0.1 * np.abs(got - wrong).max()


def test_average_pooling_never_learns() -> None:
    layers = fuse(GRAPH)
    trainable = select(layers, "all")
    assert [layer.average for layer in layers] == [False, False, False, True, False, False]
    assert trainable[3] == Trainable(False, False)
    assert all(one == Trainable(True, True) for k, one in enumerate(trainable) if k != 3)
    plan = make_plan(layers, 2, BOARDS["pynq-z2"])
    assert "pool1.wv" not in plan.memory and "pool1.w16" in plan.memory
    with pytest.raises(BadInput, match="trainable: nothing is called 'pool1'"):
        select(layers, ["pool1"])
    assert select(layers, "last-block") == (*[Trainable(False, False)] * 4, *[Trainable()] * 2)


@pytest.mark.parametrize("kernel", [2, 3, 5])
def test_averages_are_as_exact_as_their_weights(kernel: int) -> None:
    """A network that only averages: the mean, within half a code of the weight and the output."""
    graph = Graph.build((3, kernel, kernel), [AvgPool(kernel, 1), Dense(3, bias=False)])
    learner = pt.Learner(graph, batch=4)
    learner.set_params({"dense1": pt.graph.LayerParams(np.eye(3, dtype=np.float32), None)})
    x = np.random.default_rng(kernel).uniform(-1, 1, (4, 3, kernel, kernel)).astype(np.float32)
    np.testing.assert_allclose(learner.logits(x), x.mean((2, 3)), atol=2.0**-12)


def test_efficiency_model_counts_the_groups() -> None:
    depthwise = fuse(GRAPH)[1]
    assert depthwise.weight_shape == (24, 1, 3, 3) and depthwise.fan_in == 9
    plan = make_plan(fuse(GRAPH), 2, BOARDS["pynq-z2"])
    assert plan.specs[1].macs == 2 * 24 * 9 * 64


def test_the_baseline_refuses_what_its_kernel_lacks() -> None:
    learner = pt.Learner(GRAPH, board="hls-csim", batch=4)
    with pytest.raises(BadInput, match=r"hls-csim: layer 'conv1': expected a square convolution "
                       r"over all channels, with Relu, found Relu6"):
        learner.logits(np.zeros((4, 1, 8, 8), np.float32))
    learner = pt.Learner("resnet20", board="hls-csim", batch=4)
    with pytest.raises(BadInput, match=r"hls-csim: layer 'bn1': expected a convolution or a dense "
                       r"layer, found norm"):
        learner.logits(np.zeros((4, 3, 32, 32), np.float32))
