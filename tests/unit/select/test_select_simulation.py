"""Simulated devices: LinUCB is better than what knows nothing of contexts, and bugs show."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from select_kit import arms

from pynq_train.errors import BadInput
from pynq_train.select.policies import LinUCB
from pynq_train.select.ridge import Floats
from pynq_train.select.simulation import RIVALS, Result, Row, simulate
from pynq_train.select.world import USERS, World

FEW = tuple(one for one in RIVALS if one[0] != "linear-epsilon")


def short(first: int, **options: Any) -> Result:
    return simulate(arms(), **{"devices": 40, "rounds": 600, "seeds": 1, "seed": first,
                               "rivals": FEW, **options})


def test_linucb_has_less_regret_than_the_best_baseline(seed: int) -> None:
    result = short(seed)
    for name, (value, bar, holds) in result.bars().items():
        if name.startswith("regret below"):
            assert holds and value >= bar
    ours = result.best("linucb")
    assert ours.near.min() > 0.95 and result.exponent(ours) < 0.7
    assert result.exponent(result.best("ucb1")) > 0.7
    assert 0 < result.misfit < 0.2 * result.spread, "nearly linear, but not quite"


@pytest.mark.parametrize("planted", ["sign of the bonus", "another device", "no learning"])
def test_a_wrong_linucb_is_seen(planted: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def pessimist(self: LinUCB, rows: slice, x: Floats, allowed: Any, turns: Any) -> Floats:
        mean, width = self.ridges.estimate(rows, x)
        return mean - 3 * self.alpha * width

    learn = LinUCB.learn

    def confused(self: LinUCB, rows: Any, taken: Any, x: Floats, answers: Floats) -> None:
        learn(self, np.roll(rows, 1), taken, x, answers)

    if planted == "sign of the bonus":
        monkeypatch.setattr(LinUCB, "scores", pessimist)
    else:
        monkeypatch.setattr(LinUCB, "learn", confused if planted == "another device"
                            else lambda *_: None)
    bars = short(seed).bars()
    assert not all(holds for name, (_, _, holds) in bars.items() if name.startswith("regret"))


def test_the_same_seed_is_the_same_simulation(seed: int) -> None:
    few = {"devices": 7, "rounds": 150}
    first, again, other = (short(seed + at, **few).to_dict() for at in (0, 0, 1))
    assert first == again and first["rows"] != other["rows"]


def test_regret_is_that_of_a_plain_count(seed: int) -> None:
    """One policy, followed by hand through the same world."""
    result = short(seed, devices=5, rounds=200)
    world = World(arms(), 5, seed)
    policy = LinUCB(5, 4, 8)
    regret, oracle, near = np.zeros(5), 0.0, [0.0, 0.0]
    for turn, now in enumerate(world.rounds(200)):
        taken = policy.choose(slice(None), now.x, now.allowed, np.full(5, turn))
        policy.learn(np.arange(5), taken, now.x[np.arange(5), taken],
                     now.reported[np.arange(5), taken])
        for device in range(5):
            best = max(now.qoe[device, arm] for arm in range(4) if now.allowed[device, arm])
            had = now.qoe[device, taken[device]]
            regret[device] += best - had
            oracle += best / 5
            if 40 <= turn < 60:
                near[0], near[1] = near[0] + had, near[1] + best
    row = result.rows[0]
    assert row.kind == "linucb" and row.final == pytest.approx(regret.mean())
    assert result.oracle[0, -1] == pytest.approx(oracle) and result.after == 40
    assert row.near[0] == pytest.approx(near[0] / near[1])
    assert row.worst[0] == pytest.approx(regret.max())


def test_the_exponent_is_that_of_the_growth() -> None:
    points = tuple(range(10, 1001, 10))
    grown = np.array(points, float)[None] ** 0.4 * 3
    row = Row("linucb", {}, grown, np.ones(1), np.ones(1))
    result = Result(1, 1000, 1, 0, ("a",), points, 200, np.ones((1, 100)), 0, 1, 0, (row,))
    assert result.exponent(row) == pytest.approx(0.4)


def test_a_world_varies_and_is_what_it_says(seed: int) -> None:
    world = World(arms(), 48, seed, misfit=0.0, noise=0.2)
    rounds = list(world.rounds(200))
    x = np.stack([one.x for one in rounds])
    varying = x[..., [1, 2, 3, 4, 6, 7]].std(axis=0).mean(axis=(0, 1))
    assert (varying > 0.01).all(), "contexts vary from round to round"
    qoe = np.stack([one.qoe for one in rounds])
    linear = np.einsum("tnki,nki->tnk", x, world.weights)
    assert np.allclose(qoe, np.clip(linear, 0, 1)) and ((qoe > 0) & (qoe < 1)).mean() > 0.9
    reported = np.stack([one.reported for one in rounds])
    inside = (reported > 0) & (reported < 1)
    scatter = (reported - qoe)[inside & (abs(qoe - 0.5) < 0.1)].std()
    assert scatter == pytest.approx(0.2, abs=0.02)
    assert all(one.allowed.any(axis=1).all() for one in rounds)
    assert set(world.types.tolist()) == set(range(len(USERS)))
    # On pynq-z1, every third device, the largest arm does not exist.
    assert not any(one.allowed[1::3, 3].any() for one in rounds)


def test_misfit_is_measured(seed: int) -> None:
    """Without a bent part only answers at 0 and 1 are not linear."""
    none, little, much = (World(arms(), 20, seed, misfit=one).misfit_rms()[0]
                          for one in (0.0, 0.02, 0.1))
    assert 0 <= none < little < 0.03 and 0.05 < much < 0.15


@pytest.mark.parametrize(("options", "text"), [
    ({"devices": 0}, "devices: expected an integer of 1 to 10000, found 0"),
    ({"rounds": 99}, "rounds: expected an integer of 100 to 1000000, found 99"),
    ({"seeds": 101}, "seeds: expected an integer of 1 to 100, found 101"),
    ({"seed": -1}, "seed: expected an integer of 0 to"),
    ({"noise": math.nan}, "noise: expected a number of 0 to 1, found nan"),
    ({"misfit": 2.0}, "misfit: expected a number of 0 to 1, found 2.0"),
    ({"rivals": FEW[:1]}, "rivals: expected epsilon-greedy, ucb1, found none of it"),
])
def test_figures_out_of_range(options: dict[str, Any], text: str, seed: int) -> None:
    with pytest.raises(BadInput, match=text):
        short(seed, **options)


def test_a_world_without_arms(seed: int) -> None:
    with pytest.raises(BadInput, match="arms: expected one or more, each with costs on a board"):
        World([], 3, seed)
