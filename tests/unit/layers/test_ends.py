"""Which loss can stand behind which end of a network."""

from __future__ import annotations

import pytest

from pynq_train.errors import UnsupportedModel
from pynq_train.graph import Graph, Relu, Sigmoid, Tanh
from pynq_train.graph.ops import (
    Add,
    BatchNorm,
    Concat,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    MaxPool,
    MaxPool2x2,
    Op,
    Upsample,
)
from pynq_train.layers import fuse
from pynq_train.layers.ends import check_classifier, is_classifier, read_by_softmax
from pynq_train.layers.fuse import FusedLayer
from pynq_train.quant.loss import BINARY, CROSS_ENTROPY, MSE
from pynq_train.schedule.plan import loss_at


def layers_of(*ops: Op) -> tuple[FusedLayer, ...]:
    return fuse(Graph.build((1, 8, 8), ops, "ends"))


@pytest.mark.parametrize("ops", [
    (Dense(3),), (Conv(4, 8, padding=0),), (Conv(4, 1), GlobalAvgPool()),
    (Conv(4, 1), GlobalAvgPool(), Dense(5), BatchNorm()),
    (Conv(4, 3, name="c"), Dense(3, name="a"), Dense(3, name="b", inputs=("c",)),
     Add("s", ("a", "b"))),
    (Conv(4, 3, name="c"), Dense(4, name="a"), Dense(3, name="b", inputs=("c",)),
     Concat("s", ("a", "b"))),
], ids=str)
def test_a_value_for_each_class_is_read_by_the_softmax_unit(ops: tuple[Op, ...]) -> None:
    layers = layers_of(*ops)
    assert read_by_softmax(layers) and not loss_at(layers, 4).on_host


@pytest.mark.parametrize(("ops", "kind"), [
    ((Conv(4, 3),), CROSS_ENTROPY), ((Conv(4, 3), Upsample(2)), CROSS_ENTROPY),
    ((Conv(4, 3), BatchNorm()), CROSS_ENTROPY), ((Dense(1),), BINARY), ((Conv(1, 3),), BINARY),
    ((Dense(3), Relu()), MSE), ((Conv(1, 3), Relu()), MSE),
    # Images of one pixel, which stand in memory otherwise than a dense layer's outputs.
    ((Conv(4, 8, padding=0), BatchNorm()), CROSS_ENTROPY),
], ids=str)
def test_the_host_computes_what_it_does_not_read(ops: tuple[Op, ...], kind: str) -> None:
    layers = layers_of(*ops)
    loss = loss_at(layers, 4)
    assert not read_by_softmax(layers) and loss.on_host and loss.kind == kind


@pytest.mark.parametrize(("ops", "words"), [
    ((Dense(3), Relu()), r"the last layer 'dense1' must yield the logits: expected nothing behind "
     r"it, found Relu; remove it: softmax and loss follow by themselves; or train the outputs as "
     r"they are: loss='mse'"),
    ((Conv(4, 3), MaxPool2x2()), "expected nothing behind it, found max pooling"),
    ((Conv(4, 3), Relu(), MaxPool(3, 2)), "expected nothing behind it, found max pooling"),
    ((Flatten(), Dense(1)), r"'dense1': cross-entropy: expected at least 2 classes, found 1; say "
     r"loss='binary-cross-entropy' for one output that is yes or no, loss='mse' or 'huber' for a"),
], ids=str)
def test_cross_entropy_needs_bare_logits_of_classes(ops: tuple[Op, ...], words: str) -> None:
    layers = layers_of(*ops)
    assert not is_classifier(layers)
    with pytest.raises(UnsupportedModel, match=words):
        check_classifier(layers)
    with pytest.raises(UnsupportedModel, match=words):
        loss_at(layers, 4, CROSS_ENTROPY)
    assert loss_at(layers, 4, "mse", values=True).on_host


def test_sigmoids_follow_by_themselves() -> None:
    with pytest.raises(UnsupportedModel, match="binary cross-entropy: expected nothing behind it, "
                                               "found Relu; remove it: the sigmoid follows by its"):
        loss_at(layers_of(Dense(1), Relu()), 4, BINARY)
    with pytest.raises(UnsupportedModel, match="found sigmoid; remove it: the sigmoid follows"):
        loss_at(layers_of(Dense(1), Sigmoid()), 4, BINARY)
    with pytest.raises(UnsupportedModel, match="found tanh; remove it: softmax and loss"):
        loss_at(layers_of(Dense(2), Tanh()), 4, CROSS_ENTROPY)
    assert loss_at(layers_of(Dense(2), Tanh()), 4).kind == MSE
    assert loss_at(layers_of(Dense(2)), 4, BINARY).on_host
