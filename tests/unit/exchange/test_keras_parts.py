"""Layers of Keras with odd settings, without Keras: layers are stood in for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pynq_train.exchange import keras_import
from pynq_train.exchange import keras_layers as module
from pynq_train.exchange.draft import Draft
from pynq_train.exchange.keras_layers import Layer
from pynq_train.exchange.values import Value
from pynq_train.exchange.windows import Refused
from pynq_train.graph.graph import INPUT
from pynq_train.graph.ops import Add, BatchNorm, Concat

MAP = Value(INPUT, (4, 6, 8))
FLAT = Value("f", (4, 1, 1), flat=True)


def layer(*sources: Value, ends: bool = True, **settings: Any) -> Layer:
    """A layer of a network on images of four channels."""
    made = SimpleNamespace(**{"name": "one", **settings})
    return Layer(made, Draft((4, 6, 8), "net", flat=False), list(sources or (MAP,)), ends)


def why(function: Any, given: Layer) -> str:
    with pytest.raises(Refused) as caught:
        function(given)
    return f"{caught.value.why}: {caught.value.instead}"


@pytest.mark.parametrize(("settings", "text"), [
    ({"data_format": "channels_first"}, "has channels first"),
    ({"data_format": "channels_last"}, ""), ({}, ""), ({"data_format": "a"}, "has channels first")])
def test_formats(settings: dict[str, str], text: str) -> None:
    if text:
        assert text in why(module._check_format, layer(**settings))
    else:
        module._check_format(layer(**settings))


@pytest.mark.parametrize(("shape", "taken"), [
    ((6, 8, 4), True), ((192,), True), ((4, 6, 8), False), ((8, 6, 4), False), ((6, 32), False)])
def test_maps_are_reshaped_to_themselves_or_flattened(shape: tuple[int, ...], taken: bool) -> None:
    given = layer(target_shape=shape)
    if not taken:
        assert f"reshapes to {shape}: only flatten" in why(module._reshape, given)
        return
    found = module._reshape(given)
    assert found.flat == (len(shape) == 1) and (found.flat or found == MAP)


def test_a_gray_map_is_seen_either_way() -> None:
    gray = Value(INPUT, (1, 6, 8))
    assert module._reshape(layer(gray, target_shape=(6, 8, 1))).dims == (1, 6, 8)


@pytest.mark.parametrize(("axis", "taken"), [
    (-1, True), (3, True), ([3], True), ((-1,), True), (1, False), (2, False), ([1], False),
    (-2, False), (0, False)])
def test_axes_of_a_normalisation(axis: Any, taken: bool) -> None:
    ones = np.ones(4, np.float32)
    given = layer(Value("c", (4, 6, 8)), axis=axis, scale=True, center=True, momentum=0.9,
                  epsilon=1e-3, get_weights=lambda: [ones] * 4)
    if taken:
        module._norm(given)
        (op,) = given.draft._ops
        assert isinstance(op, BatchNorm) and (op.momentum, op.eps) == (0.1, 1e-3)
    else:
        plain = axis[0] if isinstance(axis, list) else axis
        assert f"normalises axis {plain}: normalise channels" in why(module._norm, given)


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("learns", [False, True])
def test_parts_that_a_normalisation_leaves_out(scale: bool, center: bool, learns: bool) -> None:
    arrays = [np.full(4, value, np.float32) for value in (2, 3, 4, 5)]
    given = layer(Value("c", (4, 6, 8)), axis=-1, scale=scale, center=center, momentum=0.99,
                  epsilon=1e-3, trainable=learns,
                  get_weights=lambda: [*arrays[:1] * scale, *arrays[1:2] * center, *arrays[2:]])
    module._norm(given)
    (op,), (params,) = given.draft._ops, given.draft._params.values()
    assert isinstance(op, BatchNorm) and op.frozen is not learns
    found = [params.weight, params.bias, params.mean, params.variance]
    wanted = [2 if scale else 1, 3 if center else 0, 4, 5]
    assert [one.tolist() for one in found if one is not None] == [[one] * 4 for one in wanted]


@pytest.mark.parametrize(("axis", "taken"), [(-1, True), (3, True), (1, False), (2, False),
                                             (-3, False)])
def test_axes_of_a_concatenation(axis: int, taken: bool) -> None:
    maps = Value("a", (4, 6, 8)), Value("b", (2, 6, 8))
    given = layer(*maps, axis=axis)
    if taken:
        module._concat(given)
        (op,) = given.draft._ops
        assert isinstance(op, Concat) and op.inputs == ("a", "b")
    else:
        assert f"joins along axis {axis}: join channels, axis=-1" in why(module._concat, given)
    flat = Value("f", (8, 1, 1), flat=True, map_shape=(2, 2, 2))
    assert "joins flattened maps" in why(module._concat, layer(FLAT, flat, axis=-1))


@pytest.mark.parametrize(("shapes", "taken"), [
    (((4, 6, 8), (4, 6, 8)), True), (((4, 6, 8),), False), (((4, 6, 8),) * 3, False),
    (((4, 6, 8), (4, 6, 7)), False), (((4, 6, 8), (1, 6, 8)), False)])
def test_sums_of_two_maps_of_one_shape(shapes: tuple[Any, ...], taken: bool) -> None:
    given = layer(*(Value("abc"[at], shape) for at, shape in enumerate(shapes)))
    if taken:
        module._two(given)
        assert [type(op) for op in given.draft._ops] == [Add]
    else:
        assert "adds something else than two maps of one shape" in why(module._two, given)


def test_three_maps_are_added_two_at_a_time() -> None:
    given = layer(*(Value(name, (4, 6, 8)) for name in "abc"))
    module._add(given)
    assert [(op.name, op.inputs) for op in given.draft._ops] == [
        ("one.1", ("a", "b")), ("one", ("one.1", "c"))]


@pytest.mark.parametrize(("settings", "source", "text"), [
    ({"invert": True}, MAP, "normalises back"), ({"invert": False}, FLAT, ""), ({}, MAP, "")])
def test_normalisations_of_images(settings: dict[str, bool], source: Value, text: str) -> None:
    mean, variance = np.arange(4.0), np.array([4.0, 1.0, 0.25, 0.0])
    source = Value(INPUT, source.shape, flat=source.flat)
    given = layer(source, mean=mean, variance=variance, **settings)
    if text:
        assert text in why(module._normalization, given)
        return
    assert module._normalization(given).scaled
    assert given.draft._std[:3].tolist() == [2.0, 1.0, 0.5]
    assert given.draft._mean.tolist() == mean.tolist()


@pytest.mark.parametrize(("scale", "offset", "source", "text"), [
    (0.5, 0.0, MAP, ""), ([0.5] * 4, [1.0] * 4, MAP, ""), (0.5, 0.0, FLAT, ""),
    ([0.5] * 4, 0.0, FLAT, ""), (0.5, [0.0, 1.0], FLAT, "one factor above 0 and one number")])
def test_scales_of_images(scale: Any, offset: Any, source: Value, text: str) -> None:
    source = Value(INPUT, source.shape, flat=source.flat)
    given = layer(source, scale=scale, offset=offset)
    if text:
        assert text in why(module._rescaling, given)
    else:
        assert module._rescaling(given).scaled


def test_a_layer_behind_a_refused_one_waits_for_its_turn() -> None:
    """Nothing is said of it: its own turn comes when the other is mended."""
    kind = type("Flatten", (), {"__module__": "keras.layers", "name": "one", "get_weights": list})
    draft = Draft((4, 6, 8), "net", flat=False)
    call = keras_import.Call(kind(), [1], True, ())
    assert keras_import._value(call, [None], draft, True) is None
    assert not draft._refused
    found = keras_import._value(call, [MAP], draft, True)
    assert found is not None and found.flat


def relu(x: Any) -> Any:
    """What a user may call so, too."""
    return 2 * x


@pytest.mark.parametrize("name", ["relu", "linear", "softmax"])
def test_a_function_of_the_user_is_none_of_keras(name: str) -> None:
    own = SimpleNamespace(__name__=name, __module__="__main__")
    assert f"has an activation {name!r} that is not Keras's: use relu" in why(
        module._activation, layer(activation=own))
    assert "has an activation 'relu' that is not Keras's" in why(
        module._activation, layer(activation=relu))


@pytest.mark.parametrize(("settings", "text"), [
    ({"lora_enabled": True}, "has LoRA weights beside its own: save the model and load it again"),
    ({"quantization_mode": "int8"}, "has quantised weights: use the float model")])
def test_weights_that_are_not_all(settings: dict[str, Any], text: str) -> None:
    given = layer(get_weights=lambda: [np.ones((3, 3, 4, 4))], groups=1, **settings)
    assert text in why(module._conv, given)
    assert text in why(module._separable, given)


def test_a_separable_convolution_with_channels_first() -> None:
    given = layer(data_format="channels_first", get_weights=lambda: [])
    assert "has channels first" in why(module._separable, given)


@pytest.mark.parametrize(("axis", "taken"), [
    (-1, True), ((3,), True), (None, True), ((), True), (1, False), ((1,), False), ((2, 3), False)])
def test_axes_of_a_normalisation_of_images(axis: Any, taken: bool) -> None:
    given = layer(axis=axis, mean=np.zeros(1), variance=np.ones(1))
    if taken:
        module._normalization(given)
    else:
        assert "normalise channels, axis=-1" in why(module._normalization, given)


@pytest.mark.parametrize(("shape", "taken"), [(None, True), ((None, 1, 1, 4), False)])
def test_a_dropout_of_whole_channels_is_none(shape: Any, taken: bool) -> None:
    own = type("Dropout", (SimpleNamespace,), {})(name="one", rate=0.5, noise_shape=shape)
    given = Layer(own, Draft((4, 6, 8), "net", flat=False), [MAP], True)
    if taken:
        assert module._dropout(given).name == "one"
    else:
        assert "is no plain dropout" in why(module._dropout, given)
