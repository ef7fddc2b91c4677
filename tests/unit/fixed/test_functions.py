"""Exponential functions: against the C library's, and the same on every machine."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pynq_train.fixed import functions
from pynq_train.graph.curves import Elu, Gelu, Sigmoid, Silu, Tanh
from pynq_train.quant.curves import tables

POINTS = np.concatenate([
    np.linspace(-700, 700, 4001), np.linspace(-1, 1, 4001), np.geomspace(1e-12, 1, 200),
    -np.geomspace(1e-12, 1, 200)])
TABLES = {
    Elu(): "7aedf950c4946da1", Sigmoid(): "e6381d2338fb29fe", Tanh(): "187fd6d415c9ba3f",
    Silu(): "b36db9a6157c618d", Gelu(): "bb22ad6ab73c2993", Gelu(True): "8d5a49d9f8994186"}
"""SHA-256 of the tables of curves that are made of them, first digits."""


@pytest.mark.parametrize(("own", "known", "places"), [
    (functions.exp, math.exp, 2), (functions.expm1, math.expm1, 4),
    (functions.tanh, math.tanh, 4)])
def test_within_last_places(own: Callable[[Any], Any], known: Callable[[float], float],
                            places: int) -> None:
    want = np.array([known(x) for x in POINTS.tolist()])
    off = np.abs(own(POINTS) - want) / np.spacing(np.abs(want))
    assert off.max() <= places, f"{off.max()} at {POINTS[off.argmax()]}"


def test_ends() -> None:
    far = np.array([-1e300, -800.0, -0.0, 0.0, 800.0, np.nan])
    assert functions.exp(far)[:4].tolist() == [5e-324, 5e-324, 1, 1]
    assert functions.expm1(far)[:4].tolist() == [-1, -1, 0, 0]
    assert functions.tanh(far)[:5].tolist() == [-1, -1, 0, 0, 1]
    assert np.isfinite(functions.exp(far)[4]) and np.isnan(functions.exp(far)[5])
    assert np.isnan(functions.tanh(far)[5]) and np.isnan(functions.expm1(far)[5])
    assert functions.exp(np.zeros((2, 3))).shape == (2, 3)


@pytest.mark.parametrize("curve", TABLES, ids=str)
def test_tables_have_the_same_bits_everywhere(curve: Any) -> None:
    assert hashlib.sha256(tables(curve)).hexdigest()[:16] == TABLES[curve]
