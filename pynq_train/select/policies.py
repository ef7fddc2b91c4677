"""Policies: which arm a device takes next, and what it learns from the answer.

All policies hold the states of many devices side by side, so that a simulation of a thousand costs
little more than one. A choice is a function of state, features and turn alone: ties go to the
lowest arm, and what is random follows from seed, device and turn.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pynq_train.arrays import Array, plain
from pynq_train.errors import BadInput, UnknownName
from pynq_train.graph.rng import hash_each, stream_key
from pynq_train.select.ridge import Floats, Ints, Ridges

Mask = NDArray[np.bool_]
ALPHA = 0.35
"""Width of LinUCB's bonus: about three times the scatter of an answer of 0 to 1."""
RIDGE = 1.0
FLOOR, DECAY = 0.0, 5.0
"""Epsilon of turn t is ``max(FLOOR, min(1, DECAY * arms / (t + 1)))``."""
UCB1_FACTOR = 2.0
MOST_SEED = (1 << 53) - 1
"""Files hold settings as floats, which have all integers up to here."""


class Policy(ABC):
    """What chooses arms for ``devices`` devices.

    Args:
        devices: number of devices, 0 or more.
        arms: number of arms.
        size: number of features.

    Attributes:
        settings: arguments beside these three, by name: numbers alone.
    """

    kind: ClassVar[str]
    """Name that users and files give it."""

    def __init__(self, devices: int, arms: int, size: int) -> None:
        self.settings: dict[str, Any] = {}

    def choose(self, rows: slice, x: Floats, allowed: Mask, turns: Ints) -> Ints:
        """Return the arm of each device; the state stays as it is.

        Args:
            rows: the devices.
            x: features, float64 ``(rows, arms, size)``.
            allowed: arms that a device can run, bool ``(rows, arms)``; one at least for each.
            turns: choices of each device before this one, int64 ``(rows,)``.

        Returns:
            int64 ``(rows,)``.
        """
        scores = np.where(allowed, self.scores(rows, x, allowed, turns), -np.inf)
        return np.argmax(scores, axis=1)  # the first of equal ones

    @abstractmethod
    def scores(self, rows: slice, x: Floats, allowed: Mask, turns: Ints) -> Floats:
        """Return what is maximised, float64 ``(rows, arms)``; arguments as of :meth:`choose`."""

    @abstractmethod
    def expected(self, rows: slice, x: Floats) -> Floats:
        """Return the answer that is expected of each arm, float64 ``(rows, arms)``."""

    @abstractmethod
    def learn(self, rows: Ints, arms: Ints, x: Floats, answers: Floats) -> None:
        """Take one answer of each of several devices; arguments as of :meth:`Ridges.learn`."""

    @abstractmethod
    def add(self, warm: float) -> None:
        """Append a device that begins with ``warm`` answers per arm, the mean of the others'."""

    @abstractmethod
    def arrays(self) -> dict[str, Array]:
        """Return the state, by name; the first axis of each is the device."""

    @abstractmethod
    def put(self, arrays: Mapping[str, Array]) -> None:
        """Replace the state by that of a policy of the same settings, perhaps of more devices."""

    @abstractmethod
    def check(self, where: str) -> None:
        """Check a state that a file has given.

        Raises:
            BadInput: no policy of this kind can have it.
        """


class _Explorer:
    """Which devices take an arm at random, and which one: a function of seed, device and turn."""

    def __init__(self, arms: int, decay: float, floor: float, seed: int) -> None:
        self.arms, self.decay, self.floor, self.seed = arms, decay, floor, seed
        self.keys = np.empty(0, np.uint64)

    def _keys_of(self, rows: slice, count: int) -> NDArray[np.uint64]:
        """Return the keys of ``count`` devices: they follow from seed and place; made once."""
        end = (rows.start or 0) + count
        more = [stream_key(self.seed, row) for row in range(len(self.keys), end)]
        if more:
            self.keys = np.concatenate([self.keys, np.array(more, np.uint64)])
        return self.keys[rows.start : end]

    def replace(self, scores: Floats, rows: slice, allowed: Mask, turns: Ints) -> Floats:
        """Return the scores; of a device that explores, one allowed arm has an infinite one."""
        epsilon = np.maximum(self.floor, np.minimum(1.0, self.decay * self.arms / (turns + 1.0)))
        keys = self._keys_of(rows, len(turns))
        first = hash_each(keys, 2 * turns) >> np.uint64(11)
        which = np.flatnonzero(first.astype(np.float64) * 2.0**-53 < epsilon)
        fitting = allowed[which]
        # Of the arms that fit, the one whose number among them is drawn.
        drawn = hash_each(keys[which], 2 * turns[which] + 1) % fitting.sum(axis=1).astype(np.uint64)
        place = np.cumsum(fitting, axis=1) - 1
        arms = np.argmax(fitting & (place == drawn.astype(np.int64)[:, None]), axis=1)
        scores = scores.copy()
        scores[which, arms] = np.inf
        return scores


class LinUCB(Policy):
    """Expected answer plus a bonus for what is unknown, linear in the features, for each arm.

    Li et al., "A contextual-bandit approach to personalized news article recommendation", 2010:
    the disjoint model. The arm with the largest ``theta^T x + alpha sqrt(x^T A^-1 x)`` is taken.
    An arm of which nothing is known is thought to satisfy wholly.

    Args:
        devices, arms, size: as of :class:`Policy`.
        alpha: width of the bonus, in units of the answer, 0 or more.
        ridge: weight of the assumption that every answer is the best one, above 0.

    Raises:
        BadInput: ``alpha`` or ``ridge`` is out of range.
    """

    kind = "linucb"

    def __init__(self, devices: int, arms: int, size: int, alpha: float = ALPHA,
                 ridge: float = RIDGE) -> None:
        super().__init__(devices, arms, size)
        self.alpha = number("alpha", alpha, 0, 100)
        self.settings = {"alpha": self.alpha, "ridge": number("ridge", ridge, 1e-6, 1e6)}
        self.ridges = Ridges(devices, arms, size, self.settings["ridge"])

    def scores(self, rows: slice, x: Floats, allowed: Mask, turns: Ints) -> Floats:
        """Return the upper confidence bounds; see :meth:`Policy.scores`."""
        mean, width = self.ridges.estimate(rows, x)
        return mean + self.alpha * width

    def expected(self, rows: slice, x: Floats) -> Floats:
        """Return the expected answers; see :meth:`Policy.expected`."""
        return self.ridges.estimate(rows, x)[0]

    def learn(self, rows: Ints, arms: Ints, x: Floats, answers: Floats) -> None:
        """Take answers; see :meth:`Policy.learn`."""
        self.ridges.learn(rows, arms, x, answers)

    def add(self, warm: float) -> None:
        """Append a device; see :meth:`Policy.add`."""
        self.ridges.add(warm)

    def arrays(self) -> dict[str, Array]:
        """Return the state; see :meth:`Policy.arrays`."""
        return self.ridges.arrays()

    def put(self, arrays: Mapping[str, Array]) -> None:
        """Replace the state; see :meth:`Policy.put`."""
        self.ridges.put(arrays)

    def check(self, where: str) -> None:
        """Check the state; see :meth:`Policy.check`."""
        self.ridges.check(where)


class LinearEpsilon(LinUCB):
    """The same regressions, but no bonus: explores at random, with an epsilon that decays.

    Args:
        devices, arms, size, ridge: as of :class:`LinUCB`.
        decay, floor, seed: as of :class:`EpsilonGreedy`.

    Raises:
        BadInput: an argument is out of range.
    """

    kind = "linear-epsilon"

    def __init__(self, devices: int, arms: int, size: int, decay: float = DECAY,
                 floor: float = FLOOR, seed: int = 0, ridge: float = RIDGE) -> None:
        super().__init__(devices, arms, size, 0.0, ridge)
        self.settings = {**exploring(decay, floor, seed), "ridge": self.settings["ridge"]}
        self.explorer = _Explorer(arms, **exploring(decay, floor, seed))

    def scores(self, rows: slice, x: Floats, allowed: Mask, turns: Ints) -> Floats:
        """Return the expected answers, or a random arm; see :meth:`Policy.scores`."""
        return self.explorer.replace(self.expected(rows, x), rows, allowed, turns)


class _Means(Policy):
    """Policies that know the mean answer of each arm, and nothing of features."""

    def __init__(self, devices: int, arms: int, size: int) -> None:
        super().__init__(devices, arms, size)
        self.answers: Floats = np.zeros((devices, arms))
        self.total: Floats = np.zeros((devices, arms))

    def expected(self, rows: slice, x: Floats) -> Floats:
        """Return the means, 0 for arms without answers; see :meth:`Policy.expected`."""
        return self.total[rows] / np.maximum(self.answers[rows], 1e-12)

    def learn(self, rows: Ints, arms: Ints, x: Floats, answers: Floats) -> None:
        """Take answers; see :meth:`Policy.learn`."""
        self.answers[rows, arms] += 1.0
        self.total[rows, arms] += answers

    def add(self, warm: float) -> None:
        """Append a device; see :meth:`Policy.add`."""
        known = self.answers.sum(axis=0)
        share = np.minimum(warm, known) / np.maximum(known, 1e-12)
        self.answers = np.concatenate([self.answers, (share * known)[None]])
        self.total = np.concatenate([self.total, (share * self.total.sum(axis=0))[None]])

    def arrays(self) -> dict[str, Array]:
        """Return the state; see :meth:`Policy.arrays`."""
        return {"answers": self.answers, "total": self.total}

    def put(self, arrays: Mapping[str, Array]) -> None:
        """Replace the state; see :meth:`Policy.put`."""
        self.answers, self.total = arrays["answers"], arrays["total"]

    def check(self, where: str) -> None:
        """Check the state; see :meth:`Policy.check`."""
        # Sums of answers of 0 to 1; fractions of a warm start may round above.
        if (self.answers < 0).any() or (self.total < 0).any() or (
                self.total > self.answers * (1 + 1e-9)).any():
            raise BadInput(f"{where}: sums of answers", expected="0 to their numbers",
                           found="others", fix="use a copy, or an earlier file")


class UCB1(_Means):
    """Mean plus ``sqrt(factor ln t / n)`` (Auer et al., 2002); every arm once first.

    Args:
        devices, arms, size: as of :class:`Policy`.
        factor: 2 for answers of 0 to 1 that may scatter as they like; 0 or more.

    Raises:
        BadInput: ``factor`` is out of range.
    """

    kind = "ucb1"

    def __init__(self, devices: int, arms: int, size: int, factor: float = UCB1_FACTOR) -> None:
        super().__init__(devices, arms, size)
        self.factor = number("factor", factor, 0, 100)
        self.settings = {"factor": self.factor}

    def scores(self, rows: slice, x: Floats, allowed: Mask, turns: Ints) -> Floats:
        """Return the upper confidence bounds; see :meth:`Policy.scores`."""
        answers = self.answers[rows]
        known = np.maximum(answers.sum(axis=1), 1.0)
        bonus = np.sqrt(self.factor * np.log(known)[:, None] / np.maximum(answers, 1e-12))
        return np.where(answers > 0, self.expected(rows, x) + bonus, np.inf)


class EpsilonGreedy(_Means):
    """The best mean, or with probability epsilon any arm; every arm once first.

    Epsilon of turn t, from 0 up, is ``max(floor, min(1, decay * arms / (t + 1)))``.

    Args:
        devices, arms, size: as of :class:`Policy`.
        decay: how long it explores, 0 or more.
        floor: least epsilon, 0 to 1.
        seed: names the random choices.

    Raises:
        BadInput: an argument is out of range.
    """

    kind = "epsilon-greedy"

    def __init__(self, devices: int, arms: int, size: int, decay: float = DECAY,
                 floor: float = FLOOR, seed: int = 0) -> None:
        super().__init__(devices, arms, size)
        self.settings = exploring(decay, floor, seed)
        self.explorer = _Explorer(arms, **self.settings)

    def scores(self, rows: slice, x: Floats, allowed: Mask, turns: Ints) -> Floats:
        """Return the means, or a random arm; see :meth:`Policy.scores`."""
        means = np.where(self.answers[rows] > 0, self.expected(rows, x), 2.0)
        return self.explorer.replace(means, rows, allowed, turns)


POLICIES: Mapping[str, type[Policy]] = {
    one.kind: one for one in (LinUCB, UCB1, EpsilonGreedy, LinearEpsilon)}
"""All policies by name."""


def make_policy(kind: str, devices: int, arms: int, size: int, **settings: Any) -> Policy:
    """Return a new policy.

    Args:
        kind: one of :data:`POLICIES`.
        devices, arms, size: as of :class:`Policy`.
        **settings: others than its defaults.

    Raises:
        UnknownName: no such policy, or a setting that it does not have.
        BadInput: a setting is out of range.
    """
    if kind not in POLICIES:
        raise UnknownName.among("policy", kind, POLICIES)
    known = POLICIES[kind](0, arms, size).settings
    for name in settings:
        if name not in known:
            raise UnknownName.among(f"setting of {kind}", name, known)
    return POLICIES[kind](devices, arms, size, **settings)


def exploring(decay: float, floor: float, seed: int) -> dict[str, Any]:
    """Return the settings of an exploration at random.

    Raises:
        BadInput: one is out of range.
    """
    seed = plain(seed)
    if type(seed) is not int or not 0 <= seed <= MOST_SEED:
        raise BadInput("seed", expected=f"an integer of 0 to {MOST_SEED}", found=repr(seed)[:80])
    return {"decay": number("decay", decay, 0, 1e6), "floor": number("floor", floor, 0, 1),
            "seed": seed}


def number(name: str, value: Any, low: float, high: float) -> float:
    """Return a number of ``low`` to ``high``.

    Raises:
        BadInput: it is something else, such as NaN.
    """
    value = plain(value)
    ok = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not ok or not math.isfinite(value) or not low <= value <= high:
        raise BadInput(name, expected=f"a number of {low:g} to {high:g}", found=repr(value)[:80])
    return float(value)
