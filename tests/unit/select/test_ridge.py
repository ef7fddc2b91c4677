"""Rank-1 updates against a direct solve of the whole history; drift; warm starts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pynq_train.errors import BadInput
from pynq_train.select import ridge
from pynq_train.select.ridge import START, Floats, Ridges


def one(at: int) -> np.ndarray:
    return np.array([at])


def direct(x: Floats, answers: Floats, weight: float, asked: Floats) -> tuple[float, float]:
    """Expected answer and width by solving the normal equations of a whole history."""
    gram = weight * np.eye(x.shape[1]) + x.T @ x
    theta = np.linalg.solve(gram, x.T @ (answers - START))
    return START + float(asked @ theta), float(np.sqrt(asked @ np.linalg.solve(gram, asked)))


def history(ridges: Ridges, rng: np.random.Generator, count: int) -> list[tuple[int, int, Floats,
                                                                               float]]:
    """Teach random answers, several devices at once; return (device, arm, x, answer) of each."""
    devices, arms, size = ridges.moment.shape
    told = []
    for _ in range(count):
        rows = rng.permutation(devices)[: rng.integers(1, devices + 1)]
        chosen = rng.integers(0, arms, len(rows))
        x, answers = rng.uniform(-1, 1, (len(rows), size)), rng.uniform(0, 1, len(rows))
        ridges.learn(rows, chosen, x, answers)
        told += list(zip(rows.tolist(), chosen.tolist(), x, answers.tolist()))
    return told


def worst(ridges: Ridges, told: list[tuple[int, int, Floats, float]],
          rng: np.random.Generator) -> float:
    """The largest difference of estimates from those of the direct solve."""
    devices, arms, size = ridges.moment.shape
    asked = rng.uniform(-1, 1, (devices, arms, size))
    means, widths = ridges.estimate(slice(None), asked)
    differences = []
    for device in range(devices):
        for arm in range(arms):
            own = [(x, answer) for row, k, x, answer in told if (row, k) == (device, arm)]
            x = np.array([x for x, _ in own]).reshape(len(own), size)
            mean, width = direct(x, np.array([answer for _, answer in own]), ridges.ridge,
                                 asked[device, arm])
            differences += [abs(mean - means[device, arm]), abs(width - widths[device, arm])]
    return max(differences)


@settings(max_examples=40, deadline=None)
@given(devices=st.integers(1, 4), arms=st.integers(1, 4), size=st.integers(1, 9),
       weight=st.floats(0.01, 100), count=st.integers(0, 60), draw=st.integers(0, 2**32 - 1))
def test_estimates_are_those_of_a_direct_solve(devices: int, arms: int, size: int, weight: float,
                                               count: int, draw: int) -> None:
    rng = np.random.default_rng(draw)
    ridges = Ridges(devices, arms, size, weight)
    told = history(ridges, rng, count)
    assert worst(ridges, told, rng) < 1e-8
    assert ridges.answers.sum() == ridges.updates.sum() == len(told)
    assert (ridges.inverse == ridges.inverse.transpose(0, 1, 3, 2)).all()


@pytest.mark.parametrize("planted", ["divisor", "neighbour", "moment"])
def test_the_comparison_sees_a_wrong_update(planted: str, rng: np.random.Generator,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    right = Ridges.learn

    def wrong(self: Ridges, rows: np.ndarray, arms: np.ndarray, x: Floats, answers: Floats
              ) -> None:
        if planted == "neighbour":
            arms = (arms + 1) % self.moment.shape[1]
        right(self, rows, arms, x, answers + 0.01 * (planted == "moment"))
        if planted == "divisor":
            self.inverse[rows, arms] *= 1.001

    monkeypatch.setattr(Ridges, "learn", wrong)
    ridges = Ridges(3, 2, 4, 1.0)
    told = history(ridges, rng, 30)
    assert worst(ridges, told, rng) > 1e-4


@pytest.mark.medium
def test_drift_of_100000_updates(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features that nearly depend on each other; first without the exact inverse now and then."""
    monkeypatch.setattr(ridge, "REFRESH", 1 << 62)
    ridges = Ridges(1, 1, 8, 0.1)
    x = rng.uniform(0, 1, (100_000, 8))
    x[:, 1] = x[:, 0] + 1e-3 * x[:, 1]
    answers = rng.uniform(0, 1, 100_000)
    for at in range(100_000):
        ridges.learn(one(0), one(0), x[at : at + 1], answers[at : at + 1])
    assert 0 < ridges.drift() < 1e-6
    mean, width = ridges.estimate(slice(None), x[None, None, 0])
    wanted = direct(x, answers, 0.1, x[0])
    assert abs(mean[0, 0] - wanted[0]) < 1e-8 and abs(width[0, 0] - wanted[1]) < 1e-8
    ridges.refresh(one(0), one(0))
    assert ridges.drift() < 1e-9


def test_the_inverse_is_made_anew(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
                                  ) -> None:
    monkeypatch.setattr(ridge, "REFRESH", 10)
    ridges = Ridges(1, 2, 3, 1.0)
    ridges.inverse[0] += 0.01  # as if roundings had added up
    for at in range(1, 11):
        assert ridges.drift() > 1e-3
        ridges.learn(one(0), one(0), rng.uniform(0, 1, (1, 3)), np.array([0.5]))
        if at == 10:
            assert np.abs(ridges.gram[0, 0] @ ridges.inverse[0, 0] - np.eye(3)).max() < 1e-12
    with pytest.raises(BadInput, match="inverses of the Gram matrices: expected a deviation"):
        ridges.check("file")  # the other arm's is still wrong


def test_a_warm_start_counts_for_what_is_asked(rng: np.random.Generator) -> None:
    """The mean of 200 answers of others, weighing like 5; an unknown arm begins with nothing."""
    ridges = Ridges(4, 3, 3, 2.0)
    x, answers = rng.uniform(0, 1, (200, 3)), rng.uniform(0, 1, 200)
    for at in range(200):
        ridges.learn(one(at % 4), one(0), x[at : at + 1], answers[at : at + 1])
    ridges.learn(one(0), one(1), x[:1], answers[:1])
    before = {name: array.copy() for name, array in ridges.arrays().items()}
    ridges.add(5.0)
    assert ridges.answers[4].tolist() == [5.0, 1.0, 0.0]
    assert np.allclose(ridges.gram[4, 0], 2 * np.eye(3) + x.T @ x * 5 / 200)
    assert np.allclose(ridges.moment[4, 0], x.T @ (answers - START) * 5 / 200)
    assert np.allclose(ridges.gram[4, 2], 2 * np.eye(3)) and not ridges.moment[4, 2].any()
    assert ridges.drift() < 1e-12
    assert all((ridges.arrays()[name][:4] == array).all() for name, array in before.items())
    ridges.add(0.0)
    fresh = Ridges(1, 3, 3, 2.0)
    assert all(np.allclose(ridges.arrays()[name][5], fresh.arrays()[name][0])
               for name in fresh.arrays())
