"""SGD with momentum: what the update unit is told in each step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pynq_train.errors import BadInput, UnknownName
from pynq_train.quant import SgdStep

Schedule = Literal["constant", "linear", "cosine"]
SCHEDULES = ("constant", "linear", "cosine")
_WARMUP_PART = 4
"""The warm-up takes at most this part of a training (a quarter)."""


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent: ``v = momentum * v + g + weight_decay * w; w -= lr * v``.

    Attributes:
        lr: learning rate at its peak.
        momentum: 0 to below 1.
        weight_decay: L2 factor, not applied to biases.
        schedule: what the rate does after the warm-up: ``constant``, ``linear`` or ``cosine``
            (both reach zero at the end of the training).
        warmup_steps: steps over which the rate rises from zero; a quarter of the training at most.
    """

    lr: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: Schedule = "linear"
    warmup_steps: int = 50

    def __post_init__(self) -> None:
        """Refuse values that the update unit cannot take."""
        _number("lr", self.lr, 0, 8)
        _number("momentum", self.momentum, 0, 1)
        if self.momentum == 1:
            raise BadInput("momentum", expected="0 to below 1", found=self.momentum)
        _number("weight_decay", self.weight_decay, 0, 0.03)
        if self.schedule not in SCHEDULES:
            raise UnknownName.among("schedule", self.schedule, SCHEDULES)
        if isinstance(self.warmup_steps, bool) or not isinstance(self.warmup_steps, int) or (
                self.warmup_steps < 0):
            raise BadInput("warmup_steps", expected="an integer of 0 or more",
                           found=repr(self.warmup_steps))

    def rate(self, step: int, total_steps: int) -> float:
        """Learning rate of step ``step`` (from 0) of a training of ``total_steps``."""
        warmup = min(self.warmup_steps, total_steps // _WARMUP_PART)
        if step < warmup:
            return self.lr * ((step + 1) / warmup)
        if self.schedule == "constant":
            return self.lr
        done = (step - warmup) / max(total_steps - warmup, 1)
        if self.schedule == "linear":
            return self.lr * (1.0 - done)
        return self.lr * (0.5 + 0.5 * _cos_pi(done))

    def at(self, step: int, total_steps: int) -> SgdStep:
        """Values of step ``step`` (from 0) of a training of ``total_steps``."""
        return SgdStep(self.rate(step, total_steps), self.momentum, self.weight_decay)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SGD:
        """Rebuild from :meth:`to_dict`; :class:`BadInput` if it is malformed."""
        try:
            return cls(**dict(data))
        except TypeError as error:
            raise BadInput(f"saved optimizer is malformed ({error})") from None


def _number(what: str, value: Any, low: float, high: float) -> None:
    ok = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not ok or not math.isfinite(value) or not low <= value <= high:
        raise BadInput(what, expected=f"a number of {low} to {high}", found=repr(value))


def _cos_pi(x: float) -> float:
    """cos(pi * x) for 0 <= x <= 1 with basic operations only: the same bits on every machine."""
    if x > 0.5:
        return -_cos_pi(1.0 - x)
    square = (math.pi * x) ** 2
    total, term = 1.0, 1.0
    for k in range(1, 12):
        term = -term * square / ((2 * k - 1) * (2 * k))
        total += term
    return total
