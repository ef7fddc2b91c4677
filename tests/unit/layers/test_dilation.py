"""Dilated convolutions: kernels of their whole reach, with absent weights between."""

from __future__ import annotations

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import BadInput, UnsupportedModel
from pynq_train.graph import Conv, Dense, Graph, Relu
from pynq_train.hw.words import ABSENT_WEIGHT
from pynq_train.layers import fuse
from pynq_train.schedule.specs.spec import layer_specs


def test_windows_reach_over_their_gaps() -> None:
    conv = Conv(4, 3, 1, 2, dilation=2)
    assert conv.span_sides == (5, 5) and conv.out_shape((3, 9, 9)) == (4, 9, 9)
    oblong = Conv(4, (2, 3), 1, "same", dilation=(4, 1))
    assert oblong.span_sides == (5, 3) and oblong.weight_shape((3, 9, 9)) == (4, 3, 2, 3)
    for padding, taken in ((4, True), (5, False)):
        graph = [Conv(4, 3, 1, padding, dilation=2), Dense(2)]
        if taken:
            Graph.build((3, 9, 9), graph)
        else:
            with pytest.raises(BadInput, match=r"padding: expected an integer in 0\.\.4, found 5"):
                Graph.build((3, 9, 9), graph)
    with pytest.raises(BadInput, match="dilation: expected an integer of at least 1, found 0"):
        Graph.build((3, 9, 9), [Conv(4, 3, dilation=0), Dense(2)])
    with pytest.raises(BadInput, match="an input of at least 5 rows and columns"):
        Graph.build((3, 4, 4), [Conv(4, 3, dilation=2), Dense(2)])


def test_saved_graphs_say_it_only_where_it_is() -> None:
    plain, dilated = (Graph.build((3, 9, 9), [Conv(4, 3, dilation=apart), Dense(2)])
                      for apart in (1, (2, 3)))
    assert "dilation" not in plain.to_json() and "dilation" in dilated.to_json()
    assert Graph.from_json(dilated.to_json()) == dilated
    assert Graph.from_json(plain.to_json()) == plain


def test_the_engine_reaches_over_eleven() -> None:
    def layers(kernel: int, dilation: int) -> tuple:
        return fuse(Graph.build((3, 14, 14), [Conv(4, kernel, dilation=dilation), Dense(2)]))

    assert layers(3, 5)[0].kernel == (11, 11)
    assert layers(3, 5)[0].weight_shape == (4, 3, 3, 3) and layers(3, 5)[0].fan_in == 27
    with pytest.raises(UnsupportedModel, match=r"a kernel of 1 to 11 .with the gaps of a dilation"):
        layers(3, 6)


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_weights_between_stay_absent(groups: int) -> None:
    graph = Graph.build((6, 9, 9), [
        Conv(6, (2, 3), 1, 1, True, "c", groups, dilation=(3, 2)), Relu(), Dense(3, name="d")])
    x, y = np.random.default_rng(0).normal(size=(8, 6, 9, 9)), np.arange(8) % 3
    learner = pt.Learner(graph, batch=8)
    start = learner.params["c"].weight.copy()
    learner.fit(x.astype(np.float32), y, epochs=2, progress=False)
    assert start.shape == (6, 6 // groups, 2, 3)
    assert (learner.params["c"].weight != start).mean() > 0.9
    session = learner._open()
    spec = session.plan.specs[0]
    words = session.backend.read(session.plan.memory["c.wv"].offset, 8 * spec.weight_elements)
    found = np.frombuffer(bytes(words), np.int64).astype(np.int32)
    packed = found.reshape(spec.m_tiles, spec.nb, 4, 5, 16, 4)
    between = np.ones((4, 5), bool)
    between[::3, ::2] = False
    own = packed[:, :, :, :, :6][..., :2] if groups == 1 else packed[:, :1, :, :, :1, :1]
    assert (own[:, :, between] == ABSENT_WEIGHT).all()
    assert (own[0, 0, ~between] != ABSENT_WEIGHT).all()
    assert spec.macs == 8 * 6 * (6 // groups) * 6 * spec.out_rows * spec.out_cols
    words = np.arange(start.size, dtype=np.int64).reshape(start.shape)
    assert np.array_equal(spec.unpack_weights(spec.pack_masters(words)), words)
    assert layer_specs(fuse(graph), 8)[0].dilation == (3, 2)
