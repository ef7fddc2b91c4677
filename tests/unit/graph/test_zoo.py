"""Reference networks: their shapes and numbers of parameters are those of the literature."""

from __future__ import annotations

import pytest

import pynq_train as pt
from pynq_train.errors import BadInput
from pynq_train.graph import Dense, GlobalAvgPool, Graph, zoo
from pynq_train.graph.params import graph_param_specs
from pynq_train.graph.zoo_decoders import (
    autoencoder_body,
    autoencoder_conv,
    unet_body,
    unet_small,
)
from pynq_train.layers import fuse


def counts(graph: Graph) -> tuple[int, int]:
    """Values that learn, and those together with running means and variances."""
    specs = graph_param_specs(graph)
    learned = sum(spec.learned for spec in specs)
    return learned, learned + sum(2 * spec.channels for spec in specs if spec.norm)


@pytest.mark.parametrize(("name", "classes", "shape", "learned", "all_values"), [
    ("resnet8", 10, (3, 32, 32), 78_186, 78_666),
    ("ds_cnn", 12, (1, 49, 10), 23_756, 24_908),
    ("mobilenet_v1_vww", 2, (3, 96, 96), 216_322, 221_794),
    ("autoencoder_640", 640, (640, 1, 1), 267_928, 269_992),
    ("mobilenet_v2_035", 1000, (3, 96, 96), 396_128 + 1_281_000, 410_208 + 1_281_000),
    ("sensors_1d", 6, (9, 1, 128), 25_830, 26_150)])
def test_parameters(name: str, classes: int, shape: tuple[int, int, int], learned: int,
                    all_values: int) -> None:
    graph = zoo.get(name, classes=classes)
    assert (graph.input_shape, counts(graph)) == (shape, (learned, all_values))
    assert graph.shapes[-1] == (classes, 1, 1)
    assert fuse(graph)[-1].out_shape == (classes, 1, 1)


@pytest.mark.needs("keras", "torch")
@pytest.mark.filterwarnings("ignore")
def test_mobilenet_v2_is_that_of_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    import keras

    theirs = keras.applications.MobileNetV2((96, 96, 3), 0.35, weights=None, classes=10)
    ours = zoo.get("mobilenet_v2_035")
    assert counts(ours)[1] == theirs.count_params()
    found = pt.from_keras(theirs).graph
    assert [shape for op, shape in zip(found.ops, found.shapes) if op.kind == "conv"] == [
        shape for op, shape in zip(ours.ops, ours.shapes) if op.kind == "conv"]


def test_decoders() -> None:
    unet, coder = unet_small(), autoencoder_conv()
    assert (unet.shapes[-1], counts(unet)) == ((2, 32, 32), (117_378, 118_018))
    assert (coder.shapes[-1], counts(coder)) == ((1, 28, 28), (18_913, 19_105))
    # What comes before their ends runs; behind it here a classifier.
    for shape, body in (((3, 16, 16), unet_body(16)), ((1, 12, 12), autoencoder_body(12))):
        layers = fuse(Graph.build(shape, [*body, GlobalAvgPool(), Dense(3)]))
        assert sum(layer.kind.transposed for layer in layers) == 2


@pytest.mark.parametrize(("make", "text"), [
    (lambda: zoo.mobilenet_v2_035(size=16), "expected 32 to 224, found 16"),
    (lambda: unet_small(size=30), "size of unet_small: expected a multiple of 4, found 30"),
    (lambda: unet_small(width=6), "width of unet_small: expected a multiple of 4, found 6"),
    (lambda: autoencoder_conv(size=2), "size of autoencoder_conv: .*found 2")])
def test_refusals(make: object, text: str) -> None:
    assert callable(make)
    with pytest.raises(BadInput, match=text):
        make()
