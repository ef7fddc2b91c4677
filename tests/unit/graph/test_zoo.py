"""Networks of the zoo against the parameter counts that their authors and others published."""

from __future__ import annotations

import numpy as np
import pytest

from pynq_train.errors import BadInput
from pynq_train.graph import Add, Conv, Graph, zoo
from pynq_train.graph.reference import FloatTrainer
from pynq_train.layers import fuse, init_params, layer_lists
from pynq_train.layers.init import param_specs, parameter_count

COUNTS = {
    "lenet5": (zoo.lenet5(), 61_706),  # LeCun et al. 1998 with full connections: 61,706
    "vgg16": (zoo.vgg16(), 138_357_544),  # Simonyan and Zisserman; torchvision and Keras
    "resnet20": (zoo.resnet20(), 272_474),  # He et al., option B; "0.27M" in the paper's table 6
    "resnet20 A": (zoo.resnet20(projection=False), 269_722),  # option A
    # Keras: trainable, width 0.25
    "mobilenet": (zoo.mobilenet_v1_025(classes=1000, size=224, channels=3), 470_072),
    # Each of the nine conv-and-norm pairs of MLPerf Tiny's reference model (24,908 values) has 64
    # biases and 128 running statistics more; its first kernel has 40 values, ours 36.
    "ds_cnn_s": (zoo.ds_cnn_s(classes=12), 24_908 - 9 * (64 + 128) - 64 * (40 - 36)),
    "1x": (zoo.one_x(), 82_330),
}


@pytest.mark.parametrize("name", list(COUNTS))
def test_parameter_count(name: str) -> None:
    graph, count = COUNTS[name]
    assert parameter_count(graph) == count


def test_resnet20_macs() -> None:
    """The convolutions of the list that benchmarks use, and 40.55 million without the skips."""
    graph = zoo.resnet20()
    specs = {spec.name: spec for spec in param_specs(graph)}
    macs = sum(specs[op.name].fan_in * int(np.prod(shape)) for op, shape
               in zip(graph.ops, graph.shapes) if op.name in specs and not specs[op.name].norm)
    assert macs == sum(layer.macs_per_image for layer in layer_lists.resnet20()) + 640
    assert macs - 2 * 16 * 32 * 16 * 16 == 40_551_040
    assert sum(isinstance(op, Add) for op in graph.ops) == 9
    assert sum(isinstance(op, Add) for op in zoo.resnet20(projection=False).ops) == 7


@pytest.mark.parametrize(("size", "last"), [(28, 2), (32, 2), (64, 2), (224, 7)])
def test_mobilenet_sizes(size: int, last: int) -> None:
    graph = zoo.mobilenet_v1_025(size=size)
    assert graph.in_shapes[-2] == ((256, last, last),)
    depthwise = [op for op in graph.ops if isinstance(op, Conv) and op.groups > 1]
    assert len(depthwise) == 13 and all(op.groups == op.out_channels for op in depthwise)
    with pytest.raises(BadInput, match="mobilenet_v1_025: expected 28 to 224, found 20"):
        zoo.mobilenet_v1_025(size=20)


def test_ds_cnn_takes_dropout() -> None:
    assert [op.kind for op in zoo.ds_cnn_s(dropout=0.2).ops][-3:] == ["globalavgpool", "dropout",
                                                                "dense"]
    assert zoo.ds_cnn_s().in_shapes[-2] == ((64, 16, 16),)


@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v1_025", "ds_cnn_s"])
def test_one_step_lowers_the_loss(name: str, rng: np.random.Generator) -> None:
    graph = zoo.get(name)
    x = rng.normal(size=(4, *graph.input_shape)).astype(np.float32)
    y = np.arange(4)
    model = FloatTrainer(graph, init_params(graph, 1), lr=0.05)
    losses = [model.step(x, y).loss for _ in range(5)]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(("name", "layers", "vector"), [
    ("resnet20", 44, 22), ("mobilenet_v1_025", 56, 28), ("ds_cnn_s", 20, 10)])
def test_networks_with_normalisation_are_fused(name: str, layers: int, vector: int) -> None:
    """Every convolution is followed by its normalisation; then the mean and the classifier."""
    found = fuse(zoo.get(name))
    assert len(found) == layers
    assert sum(not layer.on_array for layer in found) == vector
    norms = [layer for layer in found if layer.kind.normalises]
    assert all(layer.norm is not None and layer.norm.eps == 1e-5 for layer in norms)
    assert [str(layer.kind) for layer in found[-2:]] == ["mean", "dense"]


def test_chains_still_begin_with_the_same_weights() -> None:
    graph: Graph = zoo.one_x()
    by_graph, by_layers = init_params(graph, 3), init_params(fuse(graph), 3)
    for name, params in by_layers.items():
        np.testing.assert_array_equal(by_graph[name].weight, params.weight)
