"""Keras models against the float reference on what was imported."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from reference_models.lazy import Lazy

import pynq_train as pt
from pynq_train.errors import BadInput, UnsupportedModel
from pynq_train.graph.reference import FloatTrainer
from pynq_train.layers import fuse

pytestmark = [pytest.mark.needs("keras", "torch"), pytest.mark.filterwarnings("ignore")]

os.environ.setdefault("KERAS_BACKEND", "torch")
keras, layers = Lazy("keras"), Lazy("keras.layers")


def randomised(model: Any, rng: np.random.Generator) -> Any:
    """Every statistic, gamma and bias differs from its start."""
    for layer in model.layers:
        weights = layer.get_weights()
        if type(layer).__name__ == "BatchNormalization":
            layer.set_weights([rng.uniform(0.5, 2, w.shape) for w in weights])
        else:
            layer.set_weights([rng.normal(size=w.shape) * 0.2 for w in weights])
    return model


def compare(model: Any, rng: np.random.Generator, softmax: bool) -> pt.Model:
    x = rng.normal(size=(3, *model.input_shape[1:])).astype(np.float32)
    want = np.asarray(model.predict(x, verbose=0))
    imported = pt.from_keras(model)
    images = x.transpose(0, 3, 1, 2) if x.ndim == 4 else x[:, :, None, None]
    got = FloatTrainer(imported.graph, imported.params).logits(images)
    if softmax:
        got = np.exp(got - got.max(1, keepdims=True))
        got /= got.sum(1, keepdims=True)
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5 * max(1, np.abs(want).max()))
    return imported


def test_sequential(rng: np.random.Generator) -> None:
    """Flatten counts rows, columns, channels: the Dense weights are put into another order."""
    model = keras.Sequential([
        keras.Input((9, 8, 2)), layers.Conv2D(4, 3, strides=2, padding="same", activation="relu"),
        layers.BatchNormalization(epsilon=0.01, momentum=0.8), layers.MaxPooling2D(2),
        layers.Flatten(), layers.Dropout(0.3), layers.BatchNormalization(), layers.ReLU(),
        layers.Dense(6), layers.Activation("relu6"), layers.Dense(3, activation="softmax")])
    imported = compare(randomised(model, rng), rng, softmax=True)
    ops = [op for op in imported.graph.ops if isinstance(op, pt.BatchNorm)]
    assert (ops[0].momentum, ops[0].eps) == (0.2, 0.01)


def test_functional(rng: np.random.Generator) -> None:
    """MobileNet's and ResNet's habits: ZeroPadding2D, depthwise, ReLU6, Add, Concatenate."""
    start = keras.Input((12, 12, 3))
    x = layers.ZeroPadding2D(((0, 1), (0, 1)))(start)
    x = layers.Conv2D(8, 3, strides=2, use_bias=False)(x)
    x = layers.BatchNormalization(scale=False)(x)
    x = skip = layers.ReLU(max_value=6.0)(x)
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    x = layers.SeparableConv2D(8, 3, padding="same", activation="relu")(x)
    x = layers.Add()([x, skip, x])
    y = layers.Conv2D(6, 1, groups=2)(x)
    x = layers.Concatenate()([x, y])
    x = layers.ZeroPadding2D(1)(x)
    x = layers.Conv2D(5, 3)(x)
    x = layers.AveragePooling2D(3, strides=1)(x)
    x = layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = layers.Conv2D(4, 1)(x)
    model = keras.Model(start, layers.Reshape((4,))(x))
    imported = compare(randomised(model, rng), rng, softmax=False)
    assert imported.graph.input_shape == (3, 12, 12)
    assert sum(op.kind == "add" for op in imported.graph.ops) == 2


def test_depth_multiplier(rng: np.random.Generator) -> None:
    start = keras.Input((8, 8, 6))
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="relu")(start)
    x = layers.SeparableConv2D(12, 3, depth_multiplier=3)(x)
    x = layers.Conv2D(18, 3, groups=3, activation="relu")(x)
    model = keras.Model(start, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    imported = compare(randomised(model, rng), rng, softmax=False)
    images = rng.normal(size=(4, 6, 8, 8)).astype(np.float32)
    want = FloatTrainer(imported.graph, imported.params).logits(images)
    np.testing.assert_allclose(pt.Learner(imported, batch=4).logits(images), want,
                               atol=2e-3 * np.abs(want).max())


def test_concatenated_channels(rng: np.random.Generator) -> None:
    start = keras.Input((10, 10, 3))
    x = layers.Conv2D(4, 1, activation="relu")(start)
    x = layers.Concatenate()([layers.Conv2D(8, 1)(x), layers.Conv2D(8, 3, padding="same")(x)])
    x = layers.MaxPooling2D(2)(layers.ReLU()(x))
    x = layers.Concatenate(axis=3)([layers.AveragePooling2D(2)(x), layers.Conv2D(4, 2, 2)(x)])
    model = keras.Model(start, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    graph = compare(randomised(model, rng), rng, False).graph
    found = {str(layer.kind): layer for layer in fuse(graph)}
    assert found["concat"].out_shape == (20, 2, 2) and "add" not in found


def test_vectors(rng: np.random.Generator) -> None:
    model = keras.Sequential([keras.Input((7,)), layers.Dense(5, use_bias=False), layers.ReLU(),
                              layers.Dense(3)])
    compare(randomised(model, rng), rng, softmax=False)


def test_all_unsupported_layers_are_listed_at_once() -> None:
    start = keras.Input((12, 12, 3))
    parts = [
        layers.Conv2D(4, (3, 12), padding="same", name="oblong")(start),
        layers.Conv2D(4, 3, dilation_rate=6, padding="same", name="dilated")(start),
        layers.Conv2D(4, 3, padding="same", activation="softsign", name="tanh")(start),
        layers.Conv2D(4, 3, padding="same", name="behind")(layers.PReLU(name="leaky")(start)),
        layers.AveragePooling2D(3, 1, padding="same", name="avg")(start),
        layers.Rescaling(-0.1, name="scale")(start), layers.ReLU(4, name="four")(start),
        layers.Masking(name="odd")(start)]
    model = keras.Model(start, layers.Concatenate(name="all")(parts), name="bad")
    with pytest.raises(UnsupportedModel) as caught:
        pt.from_keras(model)
    text = str(caught.value)
    for part in ("network 'bad' has 8 unsupported nodes: ",
                 "oblong (Conv2D) has kernel 3x12: use a kernel of 11 at most",
                 "dilated (Conv2D) has kernel 3 with dilation 6, which reaches over 13",
                 "tanh (Conv2D) has activation 'softsign': use relu or relu6",
                 "leaky (PReLU) has slopes of shape (",
                 "avg (AveragePooling2D) leaves its padding out of the mean: pool without",
                 "scale (Rescaling) computes with a constant: fold it into the weights, or",
                 "four (ReLU) ends at 4.0: use max_value=6 or none",
                 "odd (Masking): replace it by supported layers: Activation, Add, "):
        assert part in text, part
    assert "behind" not in text


def test_a_normalisation_in_front_belongs_to_the_images(rng: np.random.Generator) -> None:
    for front, text in (
            (layers.Rescaling(1 / 127.5, offset=-1), "images of 0..255, mean 127.5, std 127.5"),
            (layers.Normalization(mean=[0.5, 0.25], variance=[4.0, 1.0]),
             "images of any range, mean 0.5, 0.25, std 2, 1")):
        model = keras.Sequential([keras.Input((6, 6, 2)), front, layers.Conv2D(4, 3),
                                  layers.Flatten(), layers.Dense(3)])
        imported = pt.from_keras(model)
        assert str(imported.input_format) == f"{text}, channels last"
        norm = imported.input_format.normalisation
        assert norm is not None
        x = rng.random((3, 6, 6, 2)).astype(np.float32)
        want = np.asarray(model.predict(x, verbose=0))
        seen = ((x - np.float32(norm.mean)) / np.float32(norm.std)).transpose(0, 3, 1, 2)
        np.testing.assert_allclose(FloatTrainer(imported.graph, imported.params).logits(seen), want,
                                   rtol=1e-3, atol=1e-4)


def test_models_inside_the_model(rng: np.random.Generator) -> None:
    """A backbone used twice over, with a model in it, and a head; layers are called twice."""
    part = keras.Sequential([keras.Input((8, 8, 8)), layers.DepthwiseConv2D(3, padding="same"),
                             layers.ReLU()])
    start = keras.Input((8, 8, 8))
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(start)
    backbone = keras.Model(start, layers.Add()([part(x), x]))
    image = keras.Input((8, 8, 1))
    relu = layers.ReLU()
    y = backbone(relu(layers.Conv2D(8, 3, padding="same")(image)))
    y = layers.GlobalAveragePooling2D()(relu(layers.Conv2D(4, 1)(y)))
    head = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    imported = compare(randomised(keras.Model(image, head(y)), rng), rng, softmax=False)
    assert sum(op.kind == "relu" for op in imported.graph.ops) == 4


def test_layers_with_weights_that_are_called_twice_are_announced(rng: np.random.Generator) -> None:
    start = keras.Input((6, 6, 4))
    conv = layers.Conv2D(4, 3, padding="same", name="both")
    model = keras.Model(start, layers.Dense(3)(layers.GlobalAveragePooling2D()(
        conv(layers.ReLU()(conv(start))))), name="tied")
    with pytest.warns(pt.ModelWarning, match="'tied': both, both_2 share one tensor of weights"):
        compare(randomised(model, rng), rng, softmax=False)


def test_layers_that_do_not_learn(rng: np.random.Generator) -> None:
    model = keras.Sequential([
        keras.Input((8, 8, 1)), layers.Conv2D(4, 3, name="c"),
        layers.BatchNormalization(name="n", scale=False), layers.ReLU(),
        layers.BatchNormalization(name="still"), layers.Flatten(), layers.Dense(3, name="d")])
    model.get_layer("c").trainable = False
    model.get_layer("still").trainable = False
    imported = compare(randomised(model, rng), rng, softmax=False)
    assert imported.frozen == {"c.weight", "c.bias", "n.weight", "still.weight", "still.bias"}
    ops = {op.name: op for op in imported.graph.ops}
    assert ops["still"].frozen and not ops["n"].frozen
    assert ops["n"].eps == 1e-3 and ops["n"].momentum == pytest.approx(0.01)


def test_padding_and_poolings_at_the_border(rng: np.random.Generator) -> None:
    for middle in ([layers.ZeroPadding2D(1), layers.MaxPooling2D(3, strides=2)],
                   [layers.ZeroPadding2D(((0, 1), (0, 1))), layers.AveragePooling2D(3, strides=2)],
                   [layers.MaxPooling2D(3, strides=2, padding="same")],
                   [layers.AveragePooling2D(8)], [layers.AveragePooling2D(8, padding="same")]):
        compare(randomised(keras.Sequential([
            keras.Input((8, 8, 1)), layers.Conv2D(4, 3, padding="same", activation="relu"), *middle,
            layers.Flatten(), layers.Dense(3)]), rng), rng, softmax=False)
    compare(randomised(keras.Sequential([
        keras.Input((3, 3, 1)), layers.Conv2D(4, 3, padding="same"),
        layers.AveragePooling2D(3, strides=2, padding="same"), layers.Flatten(),
        layers.Dense(3)]), rng), rng, softmax=False)
    below = keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(4, 3), layers.ZeroPadding2D(1),
                              layers.MaxPooling2D(3, strides=2)])
    with pytest.raises(UnsupportedModel, match="padded map with values below zero"):
        pt.from_keras(below)


def test_dense_of_a_map_is_a_convolution_and_one_channel_has_one_order(rng: np.random.Generator
                                                                       ) -> None:
    compare(randomised(keras.Sequential([
        keras.Input((6, 5, 2)), layers.Dense(8, activation="relu"), layers.Conv2D(1, 3),
        layers.Flatten(), layers.BatchNormalization(), layers.Dropout(0.0), layers.Dense(3)]), rng),
        rng, softmax=False)


def test_operators_of_tensors(rng: np.random.Generator) -> None:
    start = keras.Input((8, 8, 1))
    x = layers.Conv2D(4, 3, padding="same")(start)
    y = layers.Conv2D(4, 1)(keras.ops.relu(x)) + x
    model = keras.Model(start, layers.Dense(3)(layers.GlobalAveragePooling2D()(y)))
    compare(randomised(model, rng), rng, softmax=False)
    model = keras.Model(start, layers.Dense(3)(layers.GlobalAveragePooling2D()(x + 1.5)))
    with pytest.raises(UnsupportedModel, match=r"\(Add\) computes with a constant: fold it"):
        pt.from_keras(model)


def test_what_stands_behind_a_bad_layer_is_listed_too() -> None:
    model = keras.Sequential([
        keras.Input((16, 16, 1)), layers.Conv2D(8, 3, name="c"), layers.PReLU(name="leaky"),
        layers.Conv2D(8, (12, 1), padding="same", name="oblong"),
        layers.UnitNormalization(name="ln"),
        layers.Conv2D(8, 3, dilation_rate=6, padding="same", name="dilated"),
        layers.UpSampling2D(interpolation="bicubic", name="up"),
        layers.Flatten(), layers.Dense(3, activation="softsign", name="d")], name="bad")
    model.get_layer("c").set_weights([w * 0 + 9 for w in model.get_layer("c").get_weights()])
    with pytest.raises(UnsupportedModel) as caught:
        pt.from_keras(model)
    for part in ("network 'bad' has 8 unsupported nodes: ", "leaky (PReLU) has slopes of shape (",
                 "oblong (Conv2D) has kernel 12x1", "ln (UnitNormalization): use BatchNorm",
                 "dilated (Conv2D) has kernel 3", "up (UpSampling2D)", "d (Dense) has activation",
                 "c (weight) holds 9", "c (bias) holds 9"):
        assert part in str(caught.value), part


def test_a_sigmoid_at_the_end() -> None:
    for units in (1, 5):
        model = keras.Sequential([keras.Input((4,)), layers.Dense(units, activation="sigmoid")])
        learner = pt.Learner(pt.from_keras(model), loss="binary-cross-entropy")
        x = np.random.default_rng(0).normal(0, 1, (6, 4)).astype(np.float32)
        np.testing.assert_allclose(learner.predict_proba(x).reshape(6, units),
                                   model.predict(x, verbose=0), atol=1e-3)


def test_bad_models() -> None:
    with pytest.raises(BadInput, match="model: expected a Keras model, found int"):
        pt.from_keras(3)
    with pytest.raises(BadInput, match="expected one input and one output, found 0 and 0; build"):
        pt.from_keras(keras.Sequential([layers.Dense(3)]))
    model = keras.Sequential([keras.Input((None, 8, 1)), layers.Conv2D(2, 3)])
    with pytest.raises(UnsupportedModel, match=r"fixed sizes, found \(None, 8, 1\)"):
        pt.from_keras(model)


def test_pooling_of_any_window_runs_on_the_engine(rng: np.random.Generator) -> None:
    """Padding of an even map lies below and at the right alone."""
    model = keras.Sequential([
        keras.Input((10, 9, 2)), layers.Conv2D(4, 3, padding="same"), layers.BatchNormalization(),
        layers.ReLU(), layers.MaxPooling2D(3, 2, padding="same"), layers.MaxPooling2D(2, 1),
        layers.Flatten(), layers.Dense(3)])
    pools = [layer for layer in fuse(compare(randomised(model, rng), rng, softmax=False).graph)
             if layer.kind.windowed]
    assert [(p.kernel.side, p.stride.side, p.pad_top, p.pad_left) for p in pools] == [
        (3, 2, 0, 1), (2, 1, 0, 0)]
    assert pools[0].out_shape == (4, 5, 5)


def test_layers_keep_their_names() -> None:
    start = keras.Input((12, 12, 3))
    x = layers.Conv2D(8, 3, use_bias=False, name="one")(start)
    x = layers.BatchNormalization(name="two")(x)
    x = skip = layers.ReLU(max_value=6.0, name="three")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="four", activation="relu")(x)
    x = layers.SeparableConv2D(8, 3, padding="same", activation="relu", name="five")(x)
    x = layers.Add(name="six")([x, skip, x])
    x = layers.Activation("relu", name="seven")(x)
    x = layers.Concatenate(name="eight")([x, skip])
    x = layers.MaxPooling2D(2, name="nine")(x)
    x = layers.AveragePooling2D(3, strides=1, name="ten")(x)
    x = layers.Dropout(0.5, name="eleven")(x)
    y = layers.GlobalAveragePooling2D(name="twelve")(x)
    x = layers.Flatten(name="thirteen")(x)
    x = layers.Add(name="fifteen")([layers.Dense(16, activation="relu", name="fourteen")(x), y])
    x = layers.Dense(3, name="sixteen")(x)
    assert [op.name for op in pt.from_keras(keras.Model(start, x)).graph.ops] == [
        "one", "two", "three", "four", "four.act", "five.depthwise", "five", "five.act", "six.1",
        "six", "seven", "eight", "nine", "ten", "eleven", "thirteen", "fourteen", "fourteen.act",
        "twelve", "fifteen", "sixteen"]


def test_a_layer_of_the_users_is_none_of_keras() -> None:
    own = type("Dense", (layers.Dense,), {"call": lambda self, x: 2 * layers.Dense.call(self, x)})
    model = keras.Sequential([keras.Input((4,)), own(3, name="twice")])
    with pytest.raises(UnsupportedModel, match=r"twice \(Dense\): replace it by supported layers"):
        pt.from_keras(model)


@pytest.mark.parametrize(("rows", "flat", "taken"), [
    (1, True, True), (1, False, True), (3, True, False), (3, False, False)])
def test_outputs_are_counted_as_in_keras(rows: int, flat: bool, taken: bool,
                                         rng: np.random.Generator) -> None:
    """Keras counts the channels of a map fastest, maps here slowest."""
    model = randomised(keras.Sequential([
        keras.Input((3, 3, 2)), layers.Conv2D(4, 3, padding="same" if rows == 3 else "valid"),
        *([layers.Flatten()] if flat else [])]), rng)
    if not taken:
        with pytest.raises(UnsupportedModel, match=r"expected outputs that are counted channel by "
                                                   r"channel, found .*are counted fastest"):
            pt.from_keras(model)
        return
    x = rng.normal(size=(3, 3, 3, 2)).astype(np.float32)
    imported = pt.from_keras(model)
    got = FloatTrainer(imported.graph, imported.params).logits(x.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(got, np.asarray(model.predict(x, verbose=0)).reshape(3, 4),
                               rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("top", [None, 6.0])
def test_an_activation_that_is_a_layer(top: float | None, rng: np.random.Generator) -> None:
    model = randomised(keras.Sequential([
        keras.Input((9, 8, 2)), layers.Conv2D(4, 3, activation=layers.ReLU(max_value=top)),
        layers.Flatten(), layers.Dense(3)]), rng)
    kinds = {type(op) for op in compare(model, rng, softmax=False).graph.ops}
    assert (pt.Relu in kinds, pt.Relu6 in kinds) == (top is None, top is not None)
