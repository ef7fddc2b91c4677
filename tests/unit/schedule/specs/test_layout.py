"""Packing of maps and weights against the definitions of the layouts, index by index."""

from __future__ import annotations

import numpy as np
import pytest

from pynq_train.graph.activation import Relu
from pynq_train.graph.graph import Graph
from pynq_train.graph.ops import Conv, Dense
from pynq_train.layers.fuse import fuse
from pynq_train.schedule.specs.groups import Groups
from pynq_train.schedule.specs.layout import (
    pack_dense,
    pack_maps,
    pack_weights,
    unpack_dense,
    unpack_maps,
)
from pynq_train.schedule.specs.spec import layer_specs


def test_maps() -> None:
    x = np.arange(2 * 6 * 3 * 5).reshape(2, 6, 3, 5)
    packed = pack_maps(x)
    assert packed.shape == (2, 2, 3, 5, 4)
    assert packed[1, 1, 2, 3, 1] == x[1, 5, 2, 3]
    assert not packed[:, 1, :, :, 2:].any()
    assert (unpack_maps(packed, 6) == x).all()


def test_dense_maps() -> None:
    x = np.arange(3 * 6).reshape(3, 6)
    packed = pack_dense(x)
    assert packed[1, 2, 1] == x[2, 5]
    assert (unpack_dense(packed, 6) == x).all()


def test_weights() -> None:
    w = np.arange(18 * 5 * 9).reshape(18, 5, 3, 3)
    packed = pack_weights(w, 4, 16)
    assert packed.shape == (2, 4, 3, 3, 16, 4)
    assert packed[1, 1, 2, 0, 1, 0] == w[17, 4, 2, 0]
    assert pack_weights(w, 4, 32).shape == (1, 4, 3, 3, 32, 4)


def test_layer_weights_round_trip_and_order_of_a_flattened_map() -> None:
    graph = Graph.build((3, 4, 5), [Conv(6, 3), Relu(), Dense(7), Relu(), Dense(3)])
    specs = layer_specs(fuse(graph), 2)
    rng = np.random.default_rng(0)
    for spec, shape in zip(specs, ((6, 3, 3, 3), (7, 36), (3, 7))):
        w = rng.integers(-99, 99, shape).astype(np.int16)
        packed = spec.pack_weights(w)
        assert packed.nbytes == spec.weight_bytes
        assert (spec.unpack_weights(packed) == w).all()
    dense = specs[1]
    assert (dense.n, dense.nb, dense.x.blocks) == (48, 12, 12)
    w = np.arange(7 * 36).reshape(7, 36)
    packed = dense.pack_weights(w)
    # channel 5, row 1, column 2 of the 6 x 2 x 3 map: block 1, position 5, lane 1
    assert packed[0, 1 * 6 + 1 * 3 + 2, 0, 0, 4, 1] == w[4, 5 * 6 + 1 * 3 + 2]


def test_masters_are_padded_with_zeros() -> None:
    graph = Graph.build((3, 4, 4), [Conv(5, 3), Relu(), Dense(3)])
    spec = layer_specs(fuse(graph), 1)[0]
    ones = np.ones((5, 3, 3, 3), np.int64)
    assert int(spec.pack_weights(ones).sum()) == ones.size
    assert spec.pack_bias(np.arange(5)).tolist() == [0, 1, 2, 3, 4] + [0] * 11


@pytest.mark.parametrize(("n", "m", "groups", "joined"), [
    (1, 1, 20, 16), (4, 4, 6, 4), (16, 16, 3, 1), (2, 2, 3, 8), (32, 32, 2, 1), (8, 20, 3, 1),
    (4, 8, 5, 2), (12, 4, 3, 3), (1, 2, 12, 8), (2, 1, 40, 16), (3, 3, 5, 4), (6, 10, 3, 2)])
def test_grouped_weights(n: int, m: int, groups: int, joined: int) -> None:
    """Each weight stands at the input channel of its group, counted from its section's first."""
    shape = groups * m, n, 3, 3
    values = np.arange(1, groups * m * n * 9 + 1).reshape(shape)
    layers = fuse(Graph.build((3, 4, 4), [
        Conv(groups * n, 1), Relu(), Conv(groups * m, 3, 1, 1, groups=groups), Dense(2)]))
    spec = layer_specs(layers, 2)[1]
    packed = spec.pack_weights(values)
    assert (spec.unpack_weights(packed) == values).all() and packed.sum() == values.sum()
    bias = np.arange(1, groups * m + 1)
    biases = spec.pack_bias(bias)
    assert (spec.unpack_bias(biases) == bias).all() and biases.sum() == bias.sum()
    tiled = n == m and 16 % m == 0
    assert spec.groups == Groups(groups, n, m, joined, tiled) and (spec.group == m) == tiled
    sections = spec.sections()
    count = 1 if tiled else -(-groups // joined)
    assert len(sections) == count and sum(own.m_tiles for own in sections) == spec.m_tiles
    assert sum(own.macs for own in sections) == spec.macs == 2 * groups * m * n * 9 * 16
    for number, own in enumerate(sections if count > 1 else ()):
        first, there = number * joined, min(joined, groups - number * joined)
        assert own.origin is not None and own.origin.group == first
        assert (own.n, own.m) == (there * n, there * m)
        assert 4 * own.origin.x_blocks == first * n and 4 * own.origin.y_blocks == first * m
        tiles = packed[own.origin.m_tiles:][:own.m_tiles]
        assert (own.unpack_weights(tiles) == values[first * m:][:there * m]).all()
        at = own.origin.m_tiles * 16
        assert (biases[at:at + own.m] == bias[first * m:][:own.m]).all()
    for dtype, absent in ((np.int32, -(1 << 31)), (np.int64, 1 << 31)):
        masters = spec.pack_masters(values.astype(dtype))
        between = spec.pack_weights(np.ones(shape, int), 2) == 2
        assert (masters == np.where(between, absent, packed)).all()
        assert between.any() == (min(joined, groups) > 1)
