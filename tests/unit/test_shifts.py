"""Shifted images: what each shift does, and that the seed says all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pynq_train.errors import BadInput, UnknownName
from pynq_train.shifts import BRIGHTEST, SHIFTS, Images, shifted

RANDOM = ("noise", "background")


def strokes(count: int = 3, size: int = 28) -> Images:
    """Images of one bright vertical line each, at another column."""
    x = np.zeros((count, size, size), np.uint8)
    for at in range(count):
        x[at, 4:size - 4, 5 + at] = 200
    return x


@pytest.mark.parametrize("shift", SHIFTS)
def test_shape_type_and_seed(shift: str) -> None:
    x = strokes()
    first = shifted(x, shift, 3)
    assert first.shape == x.shape and first.dtype == np.uint8 and (first != x).any()
    assert np.array_equal(first, shifted(x, shift, 3))
    assert np.array_equal(shifted(x, shift, 4), first) == (shift not in RANDOM)
    assert np.array_equal(shifted(x[:2], shift, 3), first[:2])  # one image at a time
    assert np.array_equal(shifted(x[:, None], shift, 3)[:, 0], first)
    assert np.array_equal(x, strokes())


@pytest.mark.parametrize(("size", "wider"), [(8, 1), (28, 2), (32, 2), (64, 4)])
def test_a_pen_is_wider_on_all_sides(size: int, wider: int) -> None:
    x = np.zeros((1, size, size), np.uint8)
    x[0, size // 2, size // 2] = 90
    down, across = np.indices((size, size)) - size // 2
    assert np.array_equal(shifted(x, "pen")[0] == 90, abs(down) + abs(across) <= wider)
    assert shifted(x, "pen").max() == 90


def test_a_pen_does_not_reach_round_the_border() -> None:
    x = np.zeros((1, 8, 8), np.uint8)
    x[0, 0, 0] = 7
    assert np.argwhere(shifted(x, "pen")[0]).tolist() == [[0, 0], [0, 1], [1, 0]]


def test_inverted_twice_is_the_image() -> None:
    x = strokes()
    assert np.array_equal(shifted(x, "inverted"), 255 - x.astype(int))
    assert np.array_equal(shifted(shifted(x, "inverted"), "inverted"), x)


def test_noise_has_its_deviation_and_stays_within_grey_values() -> None:
    x = np.full((20, 28, 28), 128, np.uint8)
    noise = shifted(x, "noise", 1).astype(int) - 128
    assert abs(noise.mean()) < 2 and 60 < noise.std() < 66  # clipped at two deviations
    assert len(np.unique(noise[0])) > 100 and (noise[0] != noise[1]).any()
    ends = shifted(np.array([[[0, 255]]] * 400, np.uint8), "noise", 1)
    assert ends.min() == 0 and ends.max() == 255 and 0 < np.median(ends[..., 0]) + 1 < 40


def test_a_background_is_smooth_and_leaves_strokes() -> None:
    x = strokes(12)
    made = shifted(x, "background", 2).astype(int)
    assert (made >= x).all() and (made[x == 200] == 200).all()
    free = shifted(np.zeros((12, 28, 28), np.uint8), "background", 2).astype(int)
    assert free.max() <= BRIGHTEST and free.max() > 100 and free.std() > 20
    assert max(abs(np.diff(free, axis=axis)).max() for axis in (1, 2)) <= BRIGHTEST * 3 // 27 + 1
    assert (made[0] != made[1]).any()


@pytest.mark.parametrize(("x", "arguments", "text"), [
    (np.zeros((2, 8, 8)), ("pen",), "found float64, shape (2, 8, 8)"),
    (np.zeros((2, 3, 8, 8), np.uint8), ("pen",), "found uint8, shape (2, 3, 8, 8)"),
    (np.zeros((8, 8), np.uint8), ("pen",), "found uint8, shape (8, 8)"),
    (np.zeros((0, 8, 8), np.uint8), ("pen",), "found uint8, shape (0, 8, 8)"),
    (np.zeros((2, 8, 8), np.uint8), ("noise", 1.5), "seed: expected an integer"),
])
def test_refusals(x: Any, arguments: tuple[Any, ...], text: str) -> None:
    with pytest.raises(BadInput) as error:
        shifted(x, *arguments)
    assert text in str(error.value)


def test_unknown_shift() -> None:
    with pytest.raises(UnknownName, match=r"unknown shift 'invert'.*did you mean 'inverted'"):
        shifted(strokes(), "invert")
