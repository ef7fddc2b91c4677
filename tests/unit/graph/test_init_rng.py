"""Random numbers and initial weights are the same bits everywhere."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from pynq_train.errors import BadInput
from pynq_train.graph import LayerParams, zoo
from pynq_train.graph.rng import hash_u64, normal_float32, permutation, stream_key
from pynq_train.layers import fuse, init_params
from pynq_train.layers.init import check_params

LAYERS = fuse(zoo.digits())


def test_splitmix64_published_vector() -> None:
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423,
                4593380528125082431, 16408922859458223821]
    assert hash_u64(1234567, 0, 5).tolist() == expected
    assert hash_u64(1234567, 2, 3).tolist() == expected[2:]


def test_normal_shape() -> None:
    z = normal_float32(7, 200_000).astype(np.float64)
    assert abs(z.mean()) < 0.01 and abs(z.std() - 1) < 0.01
    assert abs((np.abs(z) < 1).mean() - 0.6827) < 0.01
    assert abs((np.abs(z) < 2).mean() - 0.9545) < 0.01
    assert np.array_equal(z * 65536, np.rint(z * 65536))


def test_normal_does_not_depend_on_count() -> None:
    assert np.array_equal(normal_float32(3, 70_000)[:10], normal_float32(3, 10))


def test_stream_keys_differ() -> None:
    keys = {stream_key(a, b) for a in range(50) for b in range(50)}
    assert len(keys) == 2500
    assert stream_key(1, 2) != stream_key(1, 2, 0)


def test_permutation_is_one() -> None:
    assert sorted(permutation(5, 1000).tolist()) == list(range(1000))


def test_known_bits() -> None:
    digest = hashlib.sha256()
    for name, params in init_params(LAYERS, seed=1).items():
        digest.update(name.encode() + params.weight.astype("<f4").tobytes())
    assert digest.hexdigest()[:16] == "dfba89d9602cfe2c"
    assert permutation(stream_key(1, 2), 8).tolist() == [2, 4, 1, 7, 0, 5, 3, 6]


def test_he_deviation_and_small_classifier() -> None:
    layers = fuse(zoo.one_x())
    params = init_params(layers, seed=3)
    for layer in layers:
        scale = np.sqrt(2 / layer.fan_in) * (0.25 if layer is layers[-1] else 1)
        weight = params[layer.name].weight
        assert weight.dtype == np.float32 and weight.shape == layer.weight_shape
        assert abs(weight.std() / scale - 1) < 6 / np.sqrt(weight.size)
        assert params[layer.name].bias is not None and not np.any(params[layer.name].bias)


def test_seeds_give_different_weights() -> None:
    a, b = init_params(LAYERS, 0), init_params(LAYERS, 1)
    assert not np.array_equal(a["conv1"].weight, b["conv1"].weight)


def test_check_params_texts() -> None:
    params = init_params(LAYERS, 0)
    check_params(LAYERS, params)
    with pytest.raises(BadInput, match="expected layers conv1, conv2, dense1, found conv1"):
        check_params(LAYERS, {"conv1": params["conv1"]})
    good = params["conv1"]
    for bad, text in (
        (LayerParams(good.weight, None), "conv1: bias: expected one, found none"),
        (LayerParams(good.weight[:3], good.bias), r"conv1: weight: expected shape \(16, 1, 3, 3\)"),
        (LayerParams(good.weight * np.float32("nan"), good.bias), "found NaN or infinity"),
    ):
        with pytest.raises(BadInput, match=text):
            check_params(LAYERS, {**params, "conv1": bad})
