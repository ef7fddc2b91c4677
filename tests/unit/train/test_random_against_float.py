"""Random networks of all kinds on golden, each training step beside its float twin.

Golden and RTL obey the same program: what notices a program that computes something else, or a
value that is wrong, is training compared with real numbers. The networks are friendly to nobody:
ragged channels, maps of one pixel, constants other than the usual ones, parts of the mini-batch
(``reference_models.twin_nets``). How much may differ is measured (``reference_models.float_twin``).
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from reference_models.twin_nets import FAMILIES, draw_case, features
from reference_models.twin_run import Said, TwinRun

FEW = (341, 185, 17, 389, 174, 90, 360, 262, 60, 237, 138, 254, 166, 349, 202, 238, 177, 125,
       15, 324, 27, 158)
"""Cases that have every feature twice (:func:`test_cases_are_of_all_kinds`)."""
MORE = tuple(range(40, 56))
MANY = 64
"""Cases of the slow tier, named by the option --seed."""
EXPECTED = {
    "eps 1e-05", "eps 0.001", "eps 0.1", "running momentum 0.01", "running momentum 0.9",
    "ragged norm", "wide", "norm of 1x1", "norm of 2x2", "norm of 3x3", "norm of a vector",
    "low variance", "frozen norm", "depthwise", "grouped", "Add", "Concat", "PadChannels",
    "MaxPool", "MaxPool2x2", "AvgPool", "asymmetric conv", "asymmetric maxpool",
    "mean before an activation", "Relu6", "Dropout", "dropout of a flattened map", "forced parts",
    "incomplete", "batch 1", "batch no power of two", "momentum", "no momentum", "nesterov",
    "decay", "accumulate",
    "accumulate 3", "clip", "smoothing", "mse", "rates", "rate 0", "gamma and beta apart",
    "frozen parts"}


def check(seed: int, patch: pytest.MonkeyPatch) -> list[Said]:
    """Train a case and check every comparison; return them."""
    said = list(TwinRun(draw_case(seed), patch).run())
    off = [f"{one.what}: {one.excess:.3g} of what it may be off" for one in said
           if not one.excess <= 1]
    assert not off, f"case {seed}: " + "; ".join(off[:8])
    compared = sum(one.what.endswith("logits") for one in said)
    assert compared > sum(one.what.endswith("not compared") for one in said)
    return said


@pytest.mark.parametrize("case", FEW)
def test_every_step_is_that_of_the_float_twin(case: int, monkeypatch: pytest.MonkeyPatch) -> None:
    check(case, monkeypatch)


@pytest.mark.medium
@pytest.mark.parametrize("case", MORE)
def test_more_steps_are_those_of_the_float_twin(case: int, monkeypatch: pytest.MonkeyPatch
                                                ) -> None:
    check(case, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(MANY))
def test_steps_of_a_seed_are_those_of_the_float_twin(
        number: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    check(seed * MANY + number, monkeypatch)


def test_cases_are_of_all_kinds() -> None:
    found = Counter(feature for case in FEW for feature in features(draw_case(case)))
    assert {name for name in EXPECTED if found[name] < 2} == set()
    assert {case % len(FAMILIES) for case in FEW} == set(range(len(FAMILIES)))


def test_tolerances_are_small_against_what_they_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    powers = [one.power for case in (17, 60, 138)
              for one in check(case, monkeypatch) if one.power is not None]
    assert np.median(powers) < 0.05
