"""Features of situations and arms, and the shift of predicted classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pynq_train.errors import BadInput
from pynq_train.select import FEATURES, class_shift
from pynq_train.select.features import feature_array

USUAL: dict[str, Any] = {
    "battery": 0.5, "temperature_c": 52.5, "seconds": np.array([1.0, 3.0]), "deadline_s": 1.0,
    "nbytes": np.array([100, 400]), "free_bytes": 200, "classes": 32, "samples": 1000, "shift": 0.1}


def test_every_feature() -> None:
    x = feature_array(**USUAL)
    assert x.shape == (2, len(FEATURES))
    first = dict(zip(FEATURES, x[0]))
    assert first == pytest.approx({"one": 1, "battery": 0.5, "heat": 0.5, "time": 0.5,
                                   "memory": 0.5, "classes": 0.5, "samples": 0.6, "shift": 0.1})
    second = dict(zip(FEATURES, x[1]))
    assert second == pytest.approx({**first, "time": 0.75, "memory": 1.0})


def test_features_stay_between_0_and_1(rng: np.random.Generator) -> None:
    """Whatever a situation allows."""
    for _ in range(100):
        scale = 10 ** rng.uniform(-9, 9, 9)
        x = feature_array(battery=rng.uniform(), temperature_c=rng.uniform(-60, 200),
                          seconds=scale[:2], deadline_s=scale[2], nbytes=scale[3:5],
                          free_bytes=scale[5], classes=1 + np.floor(scale[6]),
                          samples=1 + np.floor(scale[7]), shift=rng.uniform())
        assert ((x >= 0) & (x <= 1)).all()


def test_shapes_spread() -> None:
    x = feature_array(**{**USUAL, "battery": np.array([[0.1], [0.2], [0.3]])})
    assert x.shape == (3, 2, len(FEATURES)) and x[:, 0, 1].tolist() == [0.1, 0.2, 0.3]


@pytest.mark.parametrize(("before", "now", "shift"), [
    ([1, 1], [5, 5], 0.0), ([1, 0], [0, 3], 1.0), ([2, 1, 1], [1, 1, 2], 0.25)])
def test_class_shift(before: list[int], now: list[int], shift: float) -> None:
    assert class_shift(np.array(before), np.array(now)) == pytest.approx(shift)


@pytest.mark.parametrize(("before", "now", "text"), [
    ([1, 1], [1, 1, 1], "expected as many classes before as now, found 2 and 3"),
    ([0, 0], [1, 1], "class counts 'before': expected numbers of 0 or more"),
    ([1, 1], [1, -1], "class counts 'now': expected numbers of 0 or more"),
    ([1, 1], [1, np.nan], "class counts 'now'"), ([[1]], [1], "class counts 'before'"),
    (["a"], [1], "class counts 'before'"), ([], [], "class counts 'before'")])
def test_class_shift_of_something_else(before: Any, now: Any, text: str) -> None:
    with pytest.raises(BadInput, match=text):
        class_shift(np.array(before), np.array(now))
