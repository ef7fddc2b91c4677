"""SGD with momentum: what the update unit is told in each step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from pynq_train.arrays import plain, set_plain_fields
from pynq_train.errors import BadInput, UnknownName
from pynq_train.quant import SgdStep
from pynq_train.quant.step import nesterov_in_parts
from pynq_train.train.schedules import (
    NAMED,
    Constant,
    Schedule,
    WarmUp,
    from_dict,
    number,
    whole,
)

SCHEDULES = tuple(NAMED)
DEFAULT_SCHEDULE, DEFAULT_WARMUP = "linear", 50
"""What the rate does where nobody says it; a rate that stays has no warm-up."""
_WARMUP_PART = 0.25
"""The warm-up takes at most this part of a training."""
_PARTS = ("weight", "bias")


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent: ``v = momentum * v + g + weight_decay * w; w -= lr * v``.

    With ``nesterov``, as in PyTorch, ``w -= lr * (g + weight_decay * w + momentum * v)``.

    Attributes:
        lr: learning rate at its peak.
        momentum: 0 to below 1.
        weight_decay: L2 factor, not applied to biases.
        schedule: what the rate does after the warm-up, in each call of ``fit`` from the beginning:
            ``constant``, ``linear``, ``cosine`` (both reach zero at the end of the call), ``step``
            (a tenth at half and three quarters of it), or a
            :class:`~pynq_train.train.schedules.Schedule`. Default: ``linear``; ``fit`` says so.
        warmup_steps: steps over which the rate rises from zero; a quarter of the training at most.
            Default: 50, and none where the schedule is ``constant``.
        layer_lr: factors of the learning rate, by ``fnmatch`` pattern of layers (``conv*``) or
            parameters (``*.bias``); the first pattern that matches counts, 1 where none does.
        clip: bound of the gradients of all feature maps behind hidden layers, rounded down to a
            power of two; see ``docs/training.md`` for what exactly is bounded.
        nesterov: Nesterov momentum; needs ``momentum`` above 0.
    """

    lr: float = 0.02
    _: KW_ONLY
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: str | Schedule | None = None
    warmup_steps: int | None = None
    layer_lr: Mapping[str, float] = field(default_factory=dict, hash=False)
    clip: float | None = None
    nesterov: bool = False

    def __post_init__(self) -> None:
        """Refuse values that the update unit cannot take."""
        set_plain_fields(self)
        number("lr", self.lr, 0, 8)
        number("momentum", self.momentum, 0, 1)
        if self.momentum == 1:
            raise BadInput("momentum", expected="0 to below 1", found=self.momentum)
        if not isinstance(self.nesterov, bool):
            raise BadInput("nesterov", expected="True or False", found=repr(self.nesterov))
        if self.nesterov and self.momentum == 0:
            raise BadInput("nesterov without momentum", expected="momentum above 0", found=0,
                           fix="set momentum, for example 0.9, or leave nesterov out")
        number("weight_decay", self.weight_decay, 0, 0.03)
        named = isinstance(self.schedule, str) and self.schedule in SCHEDULES
        if not (self.schedule is None or isinstance(self.schedule, Schedule) or named):
            raise UnknownName.among("schedule", self.schedule, SCHEDULES)
        if self.warmup_steps is not None:
            whole("warmup_steps", self.warmup_steps)
        if not isinstance(self.layer_lr, Mapping) or not all(
                isinstance(pattern, str) for pattern in self.layer_lr):
            raise BadInput("layer_lr", expected="factors by name or pattern of layers",
                           found=repr(self.layer_lr)[:80])
        factors = {pattern: plain(value) for pattern, value in self.layer_lr.items()}
        object.__setattr__(self, "layer_lr", factors)
        for pattern, value in self.layer_lr.items():
            number(f"layer_lr[{pattern!r}] * lr", value * self.lr if isinstance(
                value, (int, float)) else value, 0, 8)
        if self.clip is not None:
            number("clip", self.clip, 2.0**-40, 2.0**20)

    def rate(self, step: int, total_steps: int) -> float:
        """Return the learning rate of step ``step`` (from 0) of a training of ``total_steps``."""
        return self.lr * self._warm_up.factor(step, total_steps)

    @property
    def stays(self) -> bool:
        """Whether the rate is the same from the first step to the last."""
        return self._warm_up.steps == 0 and isinstance(self._shape, Constant)

    @property
    def stated(self) -> bool:
        """Whether the user has said all that the rate does."""
        return self.stays or (self.schedule is not None and self.warmup_steps is not None)

    def describe(self, total_steps: int, step: str = "step") -> str:
        """Return one line for people: what the rate does in a training of ``total_steps``.

        ``step``: what a step is called.
        """
        text = f"SGD(lr={self.lr:g}): "
        if self.stays:
            return f"{text}a constant rate"
        rising = self._warm_up.rising(total_steps)
        if rising:
            text += (f"warm-up over {rising} {step}{'s' * (rising > 1)} from "
                     f"{self.rate(0, total_steps):.2g}, then ")
        if isinstance(self._shape, Constant):
            return f"{text}constant"
        if not isinstance(self.schedule, Schedule):
            name = self.schedule or DEFAULT_SCHEDULE
        else:
            name = type(self.schedule).__name__.lower()
        return (f"{text}{name} to {self.rate(total_steps - 1, total_steps):.2g} in {step} "
                f"{total_steps}, the last")

    @property
    def _shape(self) -> Schedule:
        """What the rate does behind the warm-up."""
        if isinstance(self.schedule, Schedule):
            return self.schedule
        return NAMED[DEFAULT_SCHEDULE if self.schedule is None else self.schedule]

    @cached_property
    def _warm_up(self) -> WarmUp:
        """The whole schedule, warm-up included."""
        steps = self.warmup_steps
        if steps is None:
            steps = 0 if isinstance(self._shape, Constant) else DEFAULT_WARMUP
        return WarmUp(steps, then=self._shape, most=_WARMUP_PART)

    def factors(self, layers: Sequence[str]) -> tuple[tuple[float, float], ...]:
        """Return the factors of the rate for weights and bias of each layer.

        Raises:
            BadInput: a pattern of ``layer_lr`` matches nothing.
        """
        used: set[str] = set()

        def of(name: str, part: str) -> float:
            for pattern, value in self.layer_lr.items():
                if fnmatchcase(name, pattern) or fnmatchcase(f"{name}.{part}", pattern):
                    used.add(pattern)
                    return float(value)
            return 1.0

        result = tuple((of(name, "weight"), of(name, "bias")) for name in layers)
        for pattern in self.layer_lr:
            if pattern not in used:
                raise BadInput(f"layer_lr: {pattern!r} matches nothing that no pattern before it "
                               "does", expected="a name or pattern of " + ", ".join(layers))
        return result

    def check_accumulation(self, accumulate: int) -> None:
        """Raise :class:`BadInput` if ``accumulate`` mini-batches cannot make one step."""
        if self.nesterov and accumulate > 1:
            raise nesterov_in_parts(accumulate)

    def at(self, step: int, total_steps: int, layers: Sequence[str] = (),
           accumulate: int = 1, seed: int = 0, drawn: int = 0) -> SgdStep:
        """Return the values of step ``step`` (from 0) of a training of ``total_steps``.

        ``layers``: names of the layers, for ``layer_lr``. Of ``accumulate`` steps in a row the
        mean gradient is taken, and the rate is that of their number among all such groups.
        ``seed`` of the training and ``drawn``, the steps before this one, name the dropouts.
        """
        return SgdStep(
            self.rate(step // accumulate, total_steps // accumulate), self.momentum,
            self.weight_decay,
            factors=self.factors(layers) if self.layer_lr else (),
            clip=None if self.clip is None else math.frexp(self.clip)[1] - 1,
            nesterov=self.nesterov, parts=accumulate, part=step % accumulate, seed=seed,
            step=drawn)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for a checkpoint."""
        values = asdict(self)
        if isinstance(self.schedule, Schedule):
            values["schedule"] = self.schedule.to_dict()
        return values

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SGD:
        """Rebuild from :meth:`to_dict`; :class:`BadInput` if it is malformed."""
        try:
            values = dict(data)
            if isinstance(values.get("schedule"), Mapping):
                values["schedule"] = from_dict(values["schedule"])
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise BadInput(f"saved optimizer is malformed ({error})") from None


def check_optimizer(optimizer: SGD) -> SGD:
    """Return the optimizer of a user.

    Raises:
        BadInput: it is something else than an :class:`SGD`, for example a bare learning rate.
    """
    if not isinstance(optimizer, SGD):
        raise BadInput("optimizer", expected="a pynq_train.SGD", found=repr(optimizer),
                       fix="use optimizer=pynq_train.SGD(lr=...)")
    return optimizer
