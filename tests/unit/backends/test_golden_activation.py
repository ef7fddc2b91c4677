"""Golden's activations: results, flags, maxima of windows, and gradients behind flags."""

from __future__ import annotations

import numpy as np
import pytest

from pynq_train.backends.golden import post
from pynq_train.backends.golden.activation import Activation, Gradient
from pynq_train.hw.commands import LoadMode

CODES = np.array([-32767, -1, 0, 1, 5, 6, 32767], np.int16)


def convolution(relu: int, clip: int) -> Activation:
    return Activation.of_convolution({"g.g_relu": relu, "g.g_clip": clip}).at({"limit": 6})


def vector(relu: int, clip: int, drop: int) -> Activation:
    fields = {"gv.relu": relu, "gv.clip": clip, "gv.drop": drop}
    return Activation.of_vector(fields).at({"limit": 6})


@pytest.mark.parametrize(("activation", "results", "flags"), [
    (convolution(0, 0), CODES.tolist(), [1] * 7),
    (convolution(1, 0), [0, 0, 0, 1, 5, 6, 32767], [0, 0, 0, 1, 1, 1, 1]),
    (convolution(1, 1), [0, 0, 0, 1, 5, 6, 6], [0, 0, 0, 1, 1, 0, 0]),
    (vector(1, 1, 0), [0, 0, 0, 1, 5, 6, 6], [0, 0, 0, 1, 1, 0, 0]),
    (vector(1, 0, 1), [0, 0, 0, 1, 5, 6, 32767], [0, 0, 0, 1, 1, 1, 1]),
    (vector(0, 0, 1), CODES.tolist(), [1] * 7),
    (vector(0, 0, 0), CODES.tolist(), [0, 0, 0, 1, 1, 1, 1]),
])
def test_results_and_flags(activation: Activation, results: list[int], flags: list[int]) -> None:
    codes = CODES.copy()
    activation.apply(codes)
    assert codes.tolist() == results and activation.live(codes).tolist() == flags


@pytest.mark.parametrize("activation", [convolution(0, 0), convolution(1, 0), convolution(1, 1)])
def test_pooling_activated_codes(activation: Activation) -> None:
    """Maxima, mask and index are those of codes that were activated before."""
    codes = np.random.default_rng(3).integers(-9, 10, (2, 4, 6, 8)).astype(np.int16)
    first = codes.copy()
    activation.apply(first)
    windows = first.reshape(2, 2, 2, 3, 2, 8).transpose(0, 1, 3, 5, 2, 4).reshape(2, 2, 3, 8, 4)
    top, index = windows.max(-1), windows.argmax(-1)
    found, flags = post.pool_2x2(codes, activation)
    assert (found == top).all()
    lanes = flags[..., None].astype(int)
    lane = np.arange(4)
    assert (lanes >> lane & 1 == activation.live(top).reshape(lanes.shape[:-1] + (4,))).all()
    assert (lanes >> 4 + 2 * lane & 3 == index.reshape(lanes.shape[:-1] + (4,))).all()


def test_gradients_behind_flags() -> None:
    codes = np.array([1, -2, 3, -4], np.int16)
    live = np.array([-1, 0, 0, -1], np.int16)
    masked = Gradient.of_convolution({"g.g_mode": LoadMode.MASK})
    assert masked.through(codes, live).tolist() == [1, 0, 0, -4]
    plain = Gradient.of_convolution({"g.g_mode": LoadMode.PLAIN})
    assert plain.through(codes, None).tolist() == codes.tolist()


def test_a_vector_that_writes_flags_reads_none() -> None:
    fields = {"gv.mask_a": 1, "gv.mask_b": 0, "gv.flags": 0}
    assert Gradient.of_vector(fields, "a").masked and not Gradient.of_vector(fields, "b").masked
    assert not Gradient.of_vector({**fields, "gv.flags": 1}, "a").masked
