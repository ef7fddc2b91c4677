"""Batch normalisations folded into the layers before them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from reference_models import naive_graph
from reference_models.dag_nets import batch, random_params

import pynq_train as pt
from pynq_train.errors import BadInput, UnsupportedModel
from pynq_train.graph import (
    Add,
    BatchNorm,
    Conv,
    ConvTranspose,
    Dense,
    Graph,
    MaxPool2x2,
    Op,
    Relu,
    zoo,
)
from pynq_train.graph.image_format import CHANNELS_LAST, ImageFormat
from pynq_train.graph.reference import FloatTrainer
from pynq_train.layers import init_params

NETWORKS = {
    "series": Graph.build((2, 8, 8), [
        Conv(4, 3, bias=False), BatchNorm(), Relu(), MaxPool2x2(), Conv(5, 2), BatchNorm(eps=0.1),
        Relu(), Dense(6), BatchNorm(), Relu(), Dense(3)]),
    "last": Graph.build((2, 4, 4), [Conv(4, 3, 1, 1, False, groups=2), BatchNorm(), Dense(3),
                                    BatchNorm()]),
    "resnet20": zoo.resnet20(),
}


@pytest.mark.parametrize("name", list(NETWORKS))
def test_output_stays(name: str, rng: np.random.Generator) -> None:
    graph = NETWORKS[name]
    params = random_params(graph, rng)
    x, _ = batch(graph, rng, 3)
    folded = pt.fold_batchnorm(graph, params)
    assert not any(isinstance(op, BatchNorm) for op in folded.graph.ops)
    assert len(folded.graph.ops) == sum(op.kind != "batchnorm" for op in graph.ops)
    want = naive_graph.run(graph, params, x, training=False)
    got = naive_graph.run(folded.graph, dict(folded.params), x, training=False)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * np.abs(want).max())


def test_a_folded_chain_is_one_for_the_engine(rng: np.random.Generator) -> None:
    graph = NETWORKS["series"]
    folded = pt.fold_batchnorm(graph, random_params(graph, rng))
    plain = pt.Graph.build((2, 8, 8), [Conv(4, 3), Relu(), MaxPool2x2(), Conv(5, 2), Relu(),
                                       Dense(6), Relu(), Dense(3)])
    assert folded.graph == plain
    learner = pt.Learner(folded, batch=4)
    for name, params in folded.params.items():
        np.testing.assert_allclose(learner.params[name].weight, params.weight, atol=2**-28)


@pytest.mark.parametrize("op", [ConvTranspose(5, 3, 2, 1), ConvTranspose(6, 2, 2, groups=2),
                                ConvTranspose(3, 3, bias=False)])
def test_into_a_transposed_convolution(op: ConvTranspose, rng: np.random.Generator) -> None:
    graph = Graph.build((2, 3, 4), [Conv(6, 1), op, BatchNorm(), Relu(), Dense(3)])
    params = random_params(graph, rng)
    folded = pt.fold_batchnorm(graph, params)
    assert [op.kind for op in folded.graph.ops] == ["conv", "convtranspose", "relu", "flatten",
                                                    "dense"]
    x = rng.normal(size=(3, 2, 3, 4)).astype(np.float32)
    np.testing.assert_allclose(FloatTrainer(folded.graph, folded.params).logits(x),
                               FloatTrainer(graph, params).logits(x), rtol=1e-4, atol=1e-5)


A = Conv(4, 3, name="a")
REFUSED: list[tuple[list[Op], str]] = [
    ([BatchNorm(), Dense(2)],
     r"cannot be folded: bn1 \(follows input\): expected each right behind"),
    ([A, Relu(), BatchNorm(), Relu(), BatchNorm(), Dense(2)],
     r"bn1 \(follows relu1\), bn2 \(follows relu2\)"),
    ([A, BatchNorm(), Add(inputs=("a", "bn1")), Dense(2)], r"bn1 \(a is read by others too\)"),
]


@pytest.mark.parametrize(("layers", "text"), REFUSED, ids=[t for _, t in REFUSED])
def test_refused(layers: list[Op], text: str, rng: np.random.Generator) -> None:
    graph = Graph.build((2, 8, 8), layers)
    with pytest.raises(UnsupportedModel, match=text):
        pt.fold_batchnorm(graph, random_params(graph, rng))


def test_a_normalisation_of_small_values_does_not_fit_the_masters() -> None:
    """Its statistics are those of inputs of some millivolts: folded weights would be of 300."""
    graph = (pt.Sequential((1, 6, 6)).conv(2, 3, name="b").conv(2, 3, bias=False, name="c").norm()
             .dense(2).build())
    params = dict(init_params(graph, 0))
    norm = params["bn1"]
    params["bn1"] = replace(norm, variance=norm.variance * 1e-6)
    with pytest.raises(UnsupportedModel, match=r"has 1 parameter that .*: c \(weight\) holds"):
        pt.fold_batchnorm(graph, params)
    params["bn1"] = replace(norm, bias=norm.bias + 9)
    with pytest.raises(UnsupportedModel, match=r"folded .*c \(bias\) holds 9, .*divide its"):
        pt.fold_batchnorm(graph, params)


def test_what_belongs_to_the_model_stays(rng: np.random.Generator) -> None:
    graph = (pt.Sequential((1, 6, 6)).conv(2, 3, bias=False, name="a").norm().conv(2, 3, name="b")
             .norm().dense(2, name="d").build())
    form = ImageFormat.make(1, (0, 255), 128, 64, CHANNELS_LAST)
    images = np.zeros((4, 6, 6), np.uint8)
    model = pt.Model(graph, random_params(graph, rng), form, frozenset(
        {"a.weight", "bn1.weight", "bn1.bias", "b.bias", "bn2.weight", "d.bias"}), images)
    folded = pt.fold_batchnorm(model)
    assert folded.input_format == form and folded.sample is images
    # b's bias was frozen and beta was not: the new one, which is both, learns.
    assert folded.frozen == {"a.weight", "a.bias", "d.bias"}
    both = replace(model, frozen=model.frozen | {"bn2.bias"})
    assert pt.fold_batchnorm(both).frozen == {"a.weight", "a.bias", "b.bias", "d.bias"}
    assert pt.fold_batchnorm(replace(model, frozen=frozenset())).frozen == set()


def test_a_graph_comes_with_parameters_and_a_model_without(rng: np.random.Generator) -> None:
    graph = NETWORKS["last"]
    params = random_params(graph, rng)
    for wrong in ((graph,), (pt.Model(graph, params), params), ("last", params)):
        with pytest.raises(BadInput, match="expected a Model alone, or a Graph and its param"):
            pt.fold_batchnorm(*wrong)  # type: ignore[arg-type]


def test_large_weights_behind_the_images_are_left_to_the_images(rng: np.random.Generator) -> None:
    graph = (pt.Sequential((1, 6, 6)).conv(2, 3, bias=False, name="c").norm().relu().dense(2)
             .build())
    params = dict(init_params(graph, 0))
    params["bn1"] = replace(params["bn1"], variance=params["bn1"].variance * 1e-5)
    x = rng.random((4, 6, 6)).astype(np.float32) * 0.01
    form = ImageFormat.make(1, (0, 0.01), 0.005)
    plain = pt.Model(graph, params, form)
    folded = pt.fold_batchnorm(plain)
    gain = folded.input_format.gain
    assert gain >= 32 and np.abs(folded.params["c"].weight).max() <= 8
    assert str(folded.input_format) == (
        f"images of 0..0.01, mean 0.005, std 1, times {gain:g}, channels first")
    want, got = (pt.Learner(model, batch=4).logits(x) for model in (plain, folded))
    np.testing.assert_allclose(got, want, atol=2e-3 * np.abs(want).max())
    # A mean that is said later goes with it.
    other = folded.with_images(mean=0.0)
    assert other.input_format.gain == gain
