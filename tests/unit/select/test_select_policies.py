"""Choices of each policy against plain formulas; ties, arms that do not fit, random choices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pynq_train.errors import BadInput, UnknownName
from pynq_train.graph.rng import hash_each, hash_u64, stream_key
from pynq_train.select.policies import POLICIES, Policy, make_policy

DEVICES, ARMS, SIZE = 5, 4, 3
ALL = slice(None)
EVERY = np.ones((DEVICES, ARMS), bool)
ROWS = np.arange(DEVICES)


def taught(kind: str, rng: np.random.Generator, rounds: int = 60, **settings: Any
           ) -> tuple[Policy, list[tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """A policy that has had random answers, and these."""
    policy = make_policy(kind, DEVICES, ARMS, SIZE, **settings)
    told = []
    for _ in range(rounds):
        arms = rng.integers(0, ARMS, DEVICES)
        x, answers = rng.uniform(0, 1, (DEVICES, SIZE)), rng.uniform(0, 1, DEVICES)
        policy.learn(ROWS, arms, x, answers)
        told.append((arms, x, answers))
    return policy, told


def test_linucb_takes_the_largest_bound(rng: np.random.Generator) -> None:
    policy, told = taught("linucb", rng, alpha=0.7, ridge=0.5)
    features = rng.uniform(0, 1, (DEVICES, ARMS, SIZE))
    bounds = np.empty((DEVICES, ARMS))
    for device in range(DEVICES):
        for arm in range(ARMS):
            own = [(x[device], answers[device]) for arms, x, answers in told
                   if arms[device] == arm]
            x, answers = np.array([one for one, _ in own]), np.array([one for _, one in own])
            inverse = np.linalg.inv(0.5 * np.eye(SIZE) + x.T @ x)
            asked = features[device, arm]
            bounds[device, arm] = (1 + asked @ inverse @ x.T @ (answers - 1)
                                   + 0.7 * math.sqrt(asked @ inverse @ asked))
    scores = policy.scores(ALL, features, EVERY, np.zeros(DEVICES, np.int64))
    assert np.allclose(scores, bounds)
    chosen = policy.choose(ALL, features, EVERY, np.zeros(DEVICES, np.int64))
    assert chosen.tolist() == bounds.argmax(axis=1).tolist()
    # One device alone chooses as it does among the others.
    for device in range(DEVICES):
        alone = slice(device, device + 1)
        assert policy.choose(alone, features[alone], EVERY[alone], np.array([0])) == chosen[device]


def test_ucb1_takes_the_largest_bound(rng: np.random.Generator) -> None:
    policy, told = taught("ucb1", rng, factor=1.5)
    scores = policy.scores(ALL, np.zeros((DEVICES, ARMS, SIZE)), EVERY,
                           np.zeros(DEVICES, np.int64))
    for device in range(DEVICES):
        for arm in range(ARMS):
            own = [answers[device] for arms, _, answers in told if arms[device] == arm]
            wanted = np.mean(own) + math.sqrt(1.5 * math.log(len(told)) / len(own))
            assert scores[device, arm] == pytest.approx(wanted)


@pytest.mark.parametrize("kind", ["ucb1", "epsilon-greedy"])
def test_every_arm_once_first(kind: str) -> None:
    policy = make_policy(kind, 1, ARMS, SIZE, **({} if kind == "ucb1" else {"decay": 0.0}))
    x = np.zeros((1, ARMS, SIZE))
    taken = []
    for turn in range(ARMS):
        arm = policy.choose(ALL, x, EVERY[:1], np.array([turn]))
        policy.learn(np.array([0]), arm, x[:, 0], np.array([1.0]))
        taken.append(int(arm[0]))
    assert taken == list(range(ARMS))


@pytest.mark.parametrize("kind", POLICIES)
def test_ties_go_to_the_lowest_arm_that_fits(kind: str) -> None:
    settings = {"decay": 0.0} if "epsilon" in kind else {}
    policy = make_policy(kind, DEVICES, ARMS, SIZE, **settings)
    x = np.ones((DEVICES, ARMS, SIZE))
    turns = np.zeros(DEVICES, np.int64)
    assert policy.choose(ALL, x, EVERY, turns).tolist() == [0] * DEVICES
    allowed = np.arange(ARMS) >= np.arange(DEVICES)[:, None] % ARMS
    assert policy.choose(ALL, x, allowed, turns).tolist() == [0, 1, 2, 3, 0]


@pytest.mark.parametrize("kind", POLICIES)
def test_what_does_not_fit_is_never_taken(kind: str, rng: np.random.Generator) -> None:
    policy, _ = taught(kind, rng)
    for turn in range(200):
        allowed = rng.uniform(size=(DEVICES, ARMS)) < 0.4
        allowed[ROWS, rng.integers(0, ARMS, DEVICES)] = True
        x = rng.uniform(0, 1, (DEVICES, ARMS, SIZE))
        chosen = policy.choose(ALL, x, allowed, np.full(DEVICES, turn))
        assert allowed[ROWS, chosen].all()


@pytest.mark.parametrize("kind", ["epsilon-greedy", "linear-epsilon"])
def test_exploration_is_as_frequent_as_it_says(kind: str, rng: np.random.Generator) -> None:
    policy, _ = taught(kind, rng, decay=0.0, floor=0.3, seed=4)
    greedy, _ = taught(kind, np.random.default_rng(1), decay=0.0)
    greedy.put({name: array.copy() for name, array in policy.arrays().items()})
    x = np.broadcast_to(rng.uniform(0, 1, (DEVICES, 1, SIZE)), (DEVICES, ARMS, SIZE))
    best = greedy.choose(ALL, x, EVERY, np.zeros(DEVICES, np.int64))
    taken = np.stack([policy.choose(ALL, x, EVERY, np.full(DEVICES, turn))
                      for turn in range(4000)])
    again = policy.choose(ALL, x, EVERY, np.full(DEVICES, 17))
    assert again.tolist() == taken[17].tolist(), "a choice is a function of state and turn"
    # A random arm is the best one in a fourth of the cases.
    assert (taken != best).mean() == pytest.approx(0.3 * (ARMS - 1) / ARMS, abs=0.01)
    for arm in range(ARMS):
        others = taken[:, best != arm]
        assert (others == arm).mean() == pytest.approx(0.3 / ARMS, abs=0.01)


def test_epsilon_decays(rng: np.random.Generator) -> None:
    policy, _ = taught("epsilon-greedy", rng, decay=2.0)
    x = np.zeros((DEVICES, ARMS, SIZE))
    best = policy.expected(ALL, x).argmax(axis=1)
    other = np.stack([policy.choose(ALL, x, EVERY, np.full(DEVICES, turn)) != best
                      for turn in range(3000)])
    assert other[:8].any() and other[:8].mean() > other[8:300].mean() > other[300:].mean() > 0


def test_one_hash_of_many_streams() -> None:
    keys = np.array([stream_key(3, row) for row in range(4)], np.uint64)
    index = np.array([0, 1, 7, 1 << 40])
    assert hash_each(keys, index).tolist() == [
        int(hash_u64(int(key), int(at), 1)[0]) for key, at in zip(keys, index)]


@pytest.mark.parametrize(("kind", "settings", "text"), [
    ("linucb", {"alpha": -0.1}, "alpha: expected a number of 0 to 100, found -0.1"),
    ("linucb", {"alpha": math.nan}, "alpha: expected a number of 0 to 100, found nan"),
    ("linucb", {"alpha": True}, "alpha: expected a number of 0 to 100, found True"),
    ("linucb", {"ridge": 0}, "ridge: expected a number of 1e-06 to 1e.06, found 0"),
    ("ucb1", {"factor": "2"}, "factor: expected a number of 0 to 100, found '2'"),
    ("epsilon-greedy", {"floor": 1.5}, "floor: expected a number of 0 to 1, found 1.5"),
    ("epsilon-greedy", {"seed": -1}, "seed: expected an integer of 0 to .*, found -1"),
    ("epsilon-greedy", {"seed": 1 << 53}, "seed: expected an integer of 0 to 9007199254740991"),
    ("linear-epsilon", {"decay": math.inf}, "decay: expected a number of 0 to 1e.06, found inf"),
])
def test_settings_out_of_range(kind: str, settings: dict[str, Any], text: str) -> None:
    with pytest.raises(BadInput, match=text):
        make_policy(kind, 1, ARMS, SIZE, **settings)


def test_unknown_names() -> None:
    with pytest.raises(UnknownName, match=r"unknown policy 'linucp'.*did you mean 'linucb'"):
        make_policy("linucp", 1, ARMS, SIZE)
    with pytest.raises(UnknownName, match=r"unknown setting of ucb1 'alpha': expected .* factor"):
        make_policy("ucb1", 1, ARMS, SIZE, alpha=1)
