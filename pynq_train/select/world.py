"""A simulated world: devices, their contexts from round to round, and what their users like.

All of it is invented but the cycles and bytes of the arms, which come from plans. The QoE of a user
is linear in the features of :mod:`pynq_train.select.features`, with weights of the user's type and
deviations of each device and arm, plus a part that no linear model has (``misfit``); what the user
reports has noise. Everything follows from the seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pynq_train.errors import BadInput
from pynq_train.graph.rng import hash_u64, stream_key
from pynq_train.select.arms import Arm
from pynq_train.select.features import FEATURES, SIZE, feature_array
from pynq_train.select.policies import Mask, number
from pynq_train.select.ridge import Floats, Ints

EPOCHS = 20
"""Passes over the samples of an adaptation."""
NOISE = 0.1
"""Scatter of a reported QoE about the true one."""
MISFIT = 0.015
"""Height of the part of the QoE that is not linear."""
DEVIATION = 0.04
"""Scatter of each weight among devices and arms of the same type of user."""
_CHUNK = 64
"""Rounds whose random numbers are made at once."""
_SLOW = 0.9
"""How much of temperature and shift stays from one round to the next."""
_WORLD, _ROUND, _PROBE = 1, 2, 3
"""Random streams."""
_DRAWS = 7
"""Random numbers of a device and round: the context, and the noise of what is reported."""


@dataclass(frozen=True)
class UserType:
    """What a kind of user cares about, in units of QoE.

    Attributes:
        name: for tables.
        quality: gain of the largest arm over the smallest one on data without shift.
        adapting: further gain of it where the data have shifted and samples are many.
        haste: loss from no time at all to far more than the deadline.
        thrift: loss of the largest arm, against the smallest, on an empty battery.
        heat: the same on a hot chip.
    """

    name: str
    quality: float
    adapting: float
    haste: float
    thrift: float
    heat: float


USERS = (UserType("even", 0.10, 0.70, 0.40, 0.45, 0.35),
         UserType("hasty", 0.05, 0.55, 0.60, 0.30, 0.30),
         UserType("thrifty", 0.10, 0.55, 0.25, 0.70, 0.50),
         UserType("choosy", 0.20, 0.80, 0.25, 0.30, 0.30))
"""Types of users; each device has one, by turns."""


@dataclass(frozen=True)
class Round:
    """What happens to all devices in a round.

    Attributes:
        x: features, float64 ``(devices, arms, SIZE)``.
        allowed: arms that fit the memory that is free, bool ``(devices, arms)``.
        qoe: the true QoE of each arm, 0 to 1, float64 ``(devices, arms)``.
        reported: what the user would say of each arm, likewise.
    """

    x: Floats
    allowed: Mask
    qoe: Floats
    reported: Floats


class World:
    """Devices with arms, and the contexts in which they choose.

    Args:
        arms: the arms; on each board one at least fits.
        devices: number of devices, 1 or more; boards and types of users by turns.
        seed: names all that is random.
        misfit: height of the part that is not linear, 0 to 1.
        noise: scatter of what is reported, 0 to 1.

    Attributes:
        weights: weights of the linear part, float64 ``(devices, arms, SIZE)``.
        types: number of each device's type of user, int64 ``(devices,)``.

    Raises:
        BadInput: an argument is out of range, or a board has no arm.
    """

    def __init__(self, arms: Sequence[Arm], devices: int, seed: int, *, misfit: float = MISFIT,
                 noise: float = NOISE) -> None:
        self.devices, self.arms, self.seed = devices, len(arms), seed
        self.misfit, self.noise = number("misfit", misfit, 0, 1), number("noise", noise, 0, 1)
        boards = sorted({board for arm in arms for board in arm.costs})
        if not boards:
            raise BadInput("arms", expected="one or more, each with costs on a board",
                           found=len(arms))
        row = np.arange(devices)
        self.types: Ints = row // len(boards) % len(USERS)
        costs = [[arm.costs.get(board) for arm in arms] for board in boards]
        spot = row % len(boards)
        # An arm that a board does not have needs more memory than any device has free.
        nbytes = np.array([[one.nbytes if one else 2.0**60 for one in line] for line in costs])
        image_s = np.array([[one.image_s if one else 1.0 for one in line] for line in costs])
        self.nbytes: Floats = nbytes[spot]
        self.image_s: Floats = image_s[spot]
        self.least_bytes: Floats = self.nbytes.min(axis=1)
        known = nbytes < 2.0**60
        self.usual_s = float(np.exp(np.log(image_s[known]).mean())) * 100 * EPOCHS
        """Seconds of a middling arm with 100 samples: deadlines lie about it."""
        self.most_bytes = float(nbytes[known].max())
        self._draw_users(known[spot])

    def _draw_users(self, known: Mask) -> None:
        """Draw what each device's user likes, and its habits."""
        shape = (self.devices, self.arms)
        lowest = np.where(known, self.image_s, np.inf).min(axis=1, keepdims=True)
        highest = np.where(known, self.image_s, 0).max(axis=1, keepdims=True)
        # Size of an arm among those of its board: 0 the quickest, 1 the slowest.
        size = np.clip(np.log(self.image_s / lowest) / np.log(highest / lowest + 1e-9), 0, 1)
        user = {name: np.array([getattr(one, name) for one in USERS])[self.types][:, None]
                for name in ("quality", "adapting", "haste", "thrift", "heat")}
        # A middling battery, shift and number of samples make small and large arms about equal.
        level = user["quality"] - 0.5 * user["thrift"] - 0.4 * user["adapting"]
        weights = {"one": 0.80 + level * size,
                   "battery": user["thrift"] * size,
                   "heat": -user["heat"] * size,
                   "time": -user["haste"] * np.ones(shape),
                   "memory": -0.05 * np.ones(shape),
                   "classes": -0.10 + 0.10 * size,
                   "samples": 0.3 * user["adapting"] * size,
                   "shift": -0.20 + user["adapting"] * size}
        self.weights: Floats = np.stack([np.broadcast_to(weights[name], shape)
                                         for name in FEATURES], axis=-1)
        own = self._normals(_WORLD, 0, self.devices * self.arms * SIZE)
        self.weights = self.weights + DEVIATION * own.reshape(*shape, SIZE)
        angles = self._uniforms(_WORLD, 1, self.devices * self.arms).reshape(shape)
        self.angle: Floats = 2 * np.pi * angles
        habits = self._uniforms(_WORLD, 2, self.devices * 4).reshape(4, self.devices)
        self.battery_from, self.warm, self.room = habits[0], habits[1], habits[2]
        self.classes: Floats = np.floor(2 + 20 * habits[3])

    def _normals(self, stream: int, at: int, count: int) -> Floats:
        """Return numbers of mean 0 and variance 1: each the sum of four uniform ones, +-3.5."""
        words = hash_u64(stream_key(self.seed, stream, at), 0, count).astype("<u8").view("<u2")
        sums = words.reshape(count, 4).sum(axis=1, dtype=np.int64) - 2 * 0xFFFF
        return sums * (np.sqrt(3.0) / 65536)

    def _uniforms(self, stream: int, at: int, count: int) -> Floats:
        words = hash_u64(stream_key(self.seed, stream, at), 0, count) >> np.uint64(11)
        return words.astype(np.float64) * 2.0**-53

    def rounds(self, count: int, stream: int = _ROUND) -> Iterator[Round]:
        """Yield rounds, one after the other.

        The battery falls and is charged again; temperature and shift drift; deadline, number of
        samples and free memory are drawn anew.
        """
        heat = shift = np.zeros(self.devices)
        for at in range(count):
            if at % _CHUNK == 0:
                drawn = self._normals(stream, at // _CHUNK, _CHUNK * _DRAWS * self.devices)
                drawn = drawn.reshape(_CHUNK, _DRAWS, self.devices)
            step = drawn[at % _CHUNK]
            fresh = np.sqrt(1 - _SLOW**2)
            heat, shift = _SLOW * heat + fresh * step[0], _SLOW * shift + fresh * step[1]
            battery = np.clip(1 - (self.battery_from + 0.013 * at) % 1 + 0.05 * step[2], 0, 1)
            yield self._round(battery, heat, np.clip(0.4 + 0.25 * shift, 0, 1), step[3:6],
                              step[6][:, None])

    def _round(self, battery: Floats, heat: Floats, shift: Floats, drawn: Floats,
               noise: Floats) -> Round:
        """Return a round of given contexts."""
        temperature = np.clip(30 + 25 * self.warm + 10 * heat, -20, 100)
        deadline = self.usual_s * np.exp(0.8 * drawn[0])
        samples = np.clip(np.round(100 * np.exp(0.9 * drawn[1])), 5, 5000)
        # The least arm fits always, the largest mostly: between are devices with little memory.
        free = np.maximum(self.least_bytes,
                          self.most_bytes * np.exp(1.0 * self.room + 0.3 * drawn[2] - 0.4))
        seconds = self.image_s * samples[:, None] * EPOCHS
        x = feature_array(battery=battery[:, None], temperature_c=temperature[:, None],
                          seconds=seconds, deadline_s=deadline[:, None], nbytes=self.nbytes,
                          free_bytes=free[:, None], classes=self.classes[:, None],
                          samples=samples[:, None], shift=shift[:, None])
        qoe = np.clip(np.einsum("nki,nki->nk", x, self.weights) + self._bent(x), 0, 1)
        reported = np.clip(qoe + self.noise * noise, 0, 1)
        return Round(x, self.nbytes <= free[:, None], qoe, reported)

    def _bent(self, x: Floats) -> Floats:
        """Return the part of the QoE that is not linear: a missed deadline, and a wave."""
        time, battery, shift = (x[..., FEATURES.index(name)] for name in ("time", "battery",
                                                                         "shift"))
        missed = np.where(time > 0.5, -self.misfit, 0.0)
        wave = self.misfit * np.sin(np.pi * (battery + 2 * shift) + self.angle)
        return missed + wave

    def misfit_rms(self, rounds: int = 400, most: int = 50) -> tuple[float, float]:
        """Return how much of the true QoE no linear model has, and how much there is in all.

        Both are root mean squares over the first ``most`` devices, all their arms and ``rounds``
        further contexts: the distance from the best linear model of each device and arm, and that
        from its mean.
        """
        probe = list(self.rounds(rounds, _PROBE))
        count = min(most, self.devices)
        x = np.stack([one.x[:count] for one in probe])
        qoe = np.stack([one.qoe[:count] for one in probe])
        left = spread = 0.0
        for device in range(count):
            for arm in range(self.arms):
                inputs, targets = x[:, device, arm], qoe[:, device, arm]
                best = np.linalg.lstsq(inputs, targets, rcond=None)[0]
                left += float(np.square(targets - inputs @ best).mean())
                spread += float(np.square(targets - targets.mean()).mean())
        pairs = count * self.arms
        return float(np.sqrt(left / pairs)), float(np.sqrt(spread / pairs))
