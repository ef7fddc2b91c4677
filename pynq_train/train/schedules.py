"""Learning-rate schedules: the factor of every step, composed of a few shapes.

A factor depends on the number of the step and of all steps alone, and is computed with additions,
multiplications and divisions only: a resumed training, on whatever machine, gets the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any

from pynq_train.arrays import plain, set_plain_fields
from pynq_train.errors import BadInput, UnknownName

_MOST = (1 << 62) - 1
"""Largest number of steps, epochs and the like."""


@dataclass(frozen=True)
class Schedule:
    """Base of all schedules; ``a * b`` multiplies their factors."""

    def factor(self, step: int, total: int) -> float:
        """Return the factor of the learning rate in step ``step`` (from 0) of ``total``."""
        raise NotImplementedError

    def __mul__(self, other: Schedule) -> Schedule:
        return Product(self, other)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for a checkpoint."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {"kind": type(self).__name__,
                **{name: value.to_dict() if isinstance(value, Schedule) else value
                   for name, value in values.items()}}


@dataclass(frozen=True)
class Constant(Schedule):
    """The peak rate throughout."""

    def factor(self, step: int, total: int) -> float:
        """Return 1."""
        return 1.0


@dataclass(frozen=True, kw_only=True)
class Linear(Schedule):
    """A straight line from the peak to ``end`` (0..1) behind the last step."""

    end: float = 0.0

    def __post_init__(self) -> None:
        """Refuse factors outside 0..1."""
        set_plain_fields(self)
        number("end", self.end, 0, 1)

    def factor(self, step: int, total: int) -> float:
        """Return 1 in the first step, less in each that follows."""
        left = 1.0 - step / max(total, 1)
        return left if self.end == 0 else self.end + (1.0 - self.end) * left


@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """Half a cosine from the peak to ``end`` (0..1) behind the last step."""

    end: float = 0.0

    def __post_init__(self) -> None:
        """Refuse factors outside 0..1."""
        set_plain_fields(self)
        number("end", self.end, 0, 1)

    def factor(self, step: int, total: int) -> float:
        """Return 1 in the first step, less in each that follows."""
        high = 0.5 + 0.5 * cos_pi(step / max(total, 1))
        return high if self.end == 0 else self.end + (1.0 - self.end) * high


@dataclass(frozen=True, kw_only=True)
class Steps(Schedule):
    """The rate is multiplied by ``drop`` at each of the points ``at``.

    Attributes:
        at: points as parts of the training, rising, each above 0 and below 1.
        drop: factor at each point, 0..1.
    """

    at: tuple[float, ...] = (0.5, 0.75)
    drop: float = 0.1

    def __post_init__(self) -> None:
        """Refuse points that do not rise inside the training."""
        set_plain_fields(self)
        number("drop", self.drop, 0, 1)
        try:
            at = tuple(map(plain, self.at))
        except TypeError:  # one number; an array without axes says so only when it is asked
            at = (self.at,)
        object.__setattr__(self, "at", at)
        inside = all(isinstance(a, (int, float)) and 0 < a < 1 for a in at)
        if not inside or list(at) != sorted(set(at)):
            raise BadInput("at", expected="rising parts of the training, above 0 and below 1",
                           found=repr(at))

    def factor(self, step: int, total: int) -> float:
        """Return ``drop`` to the power of the number of points that are reached."""
        result = 1.0
        for point in self.at:
            if step >= point * total:
                result *= self.drop
        return result


@dataclass(frozen=True)
class WarmUp(Schedule):
    """A line from near zero to the peak over ``steps`` steps, then another schedule.

    The other one has the remaining steps for itself. ``steps`` is cut to ``most`` of the training.
    """

    steps: int
    _: KW_ONLY
    then: Schedule = Constant()
    most: float = 1.0

    def __post_init__(self) -> None:
        """Refuse negative lengths."""
        set_plain_fields(self)
        whole("steps", self.steps)
        number("most", self.most, 0, 1)
        _schedule("then", self.then)

    def factor(self, step: int, total: int) -> float:
        """Return ``(step + 1) / steps`` while it rises, then the factor of the other schedule."""
        rising = self.rising(total)
        if step < rising:
            return (step + 1) / rising
        return self.then.factor(step - rising, total - rising)

    def rising(self, total: int) -> int:
        """Return the steps over which the rate rises in a training of ``total``."""
        return min(self.steps, int(total * self.most))


@dataclass(frozen=True)
class Chain(Schedule):
    """``first`` over ``steps`` steps, then ``then`` over the remaining ones."""

    steps: int
    first: Schedule
    then: Schedule

    def __post_init__(self) -> None:
        """Refuse negative lengths."""
        set_plain_fields(self)
        whole("steps", self.steps)
        _schedule("first", self.first)
        _schedule("then", self.then)

    def factor(self, step: int, total: int) -> float:
        """Return the factor of the part that the step lies in."""
        if step < self.steps:
            return self.first.factor(step, self.steps)
        return self.then.factor(step - self.steps, total - self.steps)


@dataclass(frozen=True)
class Product(Schedule):
    """Two schedules at once: their factors are multiplied."""

    one: Schedule
    other: Schedule

    def __post_init__(self) -> None:
        """Refuse what is no schedule."""
        _schedule("factor", self.one)
        _schedule("factor", self.other)

    def factor(self, step: int, total: int) -> float:
        """Return the product of both factors."""
        return self.one.factor(step, total) * self.other.factor(step, total)


def from_dict(data: Any) -> Schedule:
    """Rebuild from :meth:`Schedule.to_dict`; :class:`BadInput` if it is malformed."""
    try:
        values = dict(data)
        kind = values.pop("kind")
        if not isinstance(kind, str) or kind not in _KINDS:
            raise UnknownName.among("schedule", kind, _KINDS)
        return _KINDS[kind](**{name: from_dict(value) if isinstance(value, dict)
                               else tuple(value) if isinstance(value, list) else value
                               for name, value in values.items()})
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise BadInput(f"saved schedule is malformed ({error})") from None


def number(what: str, value: Any, low: float, high: float) -> None:
    """Raise :class:`BadInput` unless ``value`` is a number of ``low`` to ``high``."""
    value = plain(value)
    ok = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not ok or not low <= value <= high:  # false for NaN
        raise BadInput(what, expected=f"a number of {low} to {high}", found=repr(value))


def whole(what: str, value: Any, least: int = 0, most: int = _MOST) -> int:
    """Return ``value`` as Python's integer.

    Raises:
        BadInput: it is no integer of ``least`` to ``most``.
    """
    value = plain(value)
    if type(value) is not int or not least <= value <= most:
        upper = "or more" if most == _MOST else f"to {most}"
        raise BadInput(what, expected=f"an integer of {least} {upper}", found=repr(value)[:80])
    return value


def cos_pi(x: float) -> float:
    """Return cos(pi * x), 0 <= x <= 1, by basic operations alone: the same bits everywhere."""
    if x > 0.5:
        return -cos_pi(1.0 - x)
    square = (math.pi * x) * (math.pi * x)
    total, term = 1.0, 1.0
    for k in range(1, 12):
        term = -term * square / ((2 * k - 1) * (2 * k))
        total += term
    return total


def _schedule(what: str, value: Any) -> None:
    if not isinstance(value, Schedule):
        raise BadInput(f"{what}", expected="a schedule of pynq_train.schedules",
                       found=type(value).__name__)


NAMED: Mapping[str, Schedule] = {"constant": Constant(), "linear": Linear(), "cosine": Cosine(),
                                 "step": Steps()}
"""Schedules that may be given by name."""
_KINDS: dict[str, Callable[..., Schedule]] = {kind.__name__: kind
          for kind in (Constant, Linear, Cosine, Steps, WarmUp, Chain, Product)}
