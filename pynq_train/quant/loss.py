"""Losses: exponents of their gradients, step-block fields, and the unit of what the record says.

docs/numerics.md 5 has the formulas of the softmax unit, and those of the losses that the host
computes between the halves of a step (:mod:`pynq_train.run.host_loss`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

from pynq_train.errors import BadInput, UnknownName

CROSS_ENTROPY, MSE = "cross-entropy", "mse"
HUBER, BINARY = "huber", "binary-cross-entropy"
LOSSES = (CROSS_ENTROPY, MSE, HUBER, BINARY)
GRADIENT_BITS = 15
"""A logit gradient of one, before the mean over the mini-batch, is below 2**GRADIENT_BITS."""
LARGEST_GRADIENT_EXPONENT = -8
"""Largest exponent of gradients (``g_shift`` is at least 0 while features have at most 0)."""
_TARGET_BITS = 16
"""Fraction bits of the targets of the cross-entropy (Q.16)."""
_ERROR_FLOOR = -14
"""Smallest exponent of logit minus target.

Logits of a smaller exponent are below one, and a target is at most one: their difference is below
two, which 16 bits hold at this exponent.
"""
_LOSS_BITS = 16
"""Fraction bits of a loss in log2 units."""


@dataclass(frozen=True)
class Loss:
    """What a network is trained for; a mean over the mini-batch, as in PyTorch.

    Attributes:
        kind: ``cross-entropy`` of the softmax; ``mse``: mean squared difference of the outputs and
            their targets; ``huber``: the same up to a difference of ``delta``, beyond it linear;
            ``binary-cross-entropy`` of the outputs' sigmoids.
        smoothing: cross-entropy: the part of the target that is spread over all classes evenly, 0
            to below 1.
        classes: outputs of the network; of a map its channels.
        positions: rows times columns of the output: each is a sample of a cross-entropy.
        values: targets are numbers, one for each output; else ``mse`` has 1 at the label and 0
            elsewhere, and a cross-entropy labels.
        weights: factor of each class's loss; empty: 1.
        ignore: target that does not count; None: all do.
        delta: of ``huber``.
        aside: the outputs stand where the softmax unit cannot read them.
        top: the largest factor of the mini-batch's gradients is at most ``2**top``.
        reach: the targets of the mini-batch are at most ``2**reach`` in magnitude.

    Raises:
        UnknownName: there is no such loss.
        BadInput: an option is out of range, or given for a loss that has none.
    """

    kind: str = CROSS_ENTROPY
    smoothing: float = 0.0
    classes: int = 1
    positions: int = 1
    values: bool = False
    weights: tuple[float, ...] = ()
    ignore: int | None = None
    delta: float = 1.0
    aside: bool = False
    top: int = 0
    reach: int = 0

    def __post_init__(self) -> None:
        """Refuse what nobody can compute."""
        if not isinstance(self.kind, str) or self.kind not in LOSSES:
            raise UnknownName.among("loss", self.kind, LOSSES)
        value = self.smoothing
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not 0 <= value < 1:
            raise BadInput("label_smoothing", expected="a number of 0 to below 1",
                           found=repr(value))
        if value and self.mse:
            raise BadInput("label_smoothing", expected="0: the squared error has no such targets",
                           found=value, fix="leave it out, or use loss='cross-entropy'")
        if value and self.kind != CROSS_ENTROPY:
            raise BadInput("label_smoothing", expected=f"0 with {self.kind}", found=value,
                           fix="leave it out, or use loss='cross-entropy'")
        if value and self.weights:
            raise BadInput("label_smoothing", expected="0 with class_weights", found=value,
                           fix="leave one of them out")
        for name, given in (("class_weights", len(self.weights) or None),
                            ("ignore_index", self.ignore)):
            if given is not None and self.kind in (MSE, HUBER):
                raise BadInput(name, expected=f"none with {self.kind}", found=given,
                               fix="leave it out")

    @cached_property
    def numbers(self) -> bool:
        """Whether targets are numbers of any size: of a regression or reconstruction."""
        return self.kind == HUBER or (self.mse and self.values)

    @cached_property
    def on_host(self) -> bool:
        """Whether the host computes it, between the halves of a step; else the softmax unit."""
        return bool(self.numbers or self.kind == BINARY or self.positions > 1 or self.weights
                    or self.ignore is not None or self.aside)

    @property
    def mse(self) -> bool:
        """Whether the loss is the squared error."""
        return self.kind == MSE

    def start(self, batch: int) -> Loss:
        """Return it for mini-batches of ``batch`` images of which nothing is known yet."""
        if not self.on_host:
            return self
        total = float(batch * self.positions)
        return self.of_mean(total if self.kind == CROSS_ENTROPY else total * self.classes, 1.0)

    def of_mean(self, total: float, largest: float) -> Loss:
        """Return it for a mini-batch.

        Args:
            total: what its mean divides by; 0: nothing counts.
            largest: magnitude of the largest target, where these are numbers.
        """
        factor = {MSE: 2.0, HUBER: self.delta}.get(self.kind, max(self.weights, default=1.0))
        top = _exponent_above(factor / total) if total and factor else 0
        return replace(self, top=top, reach=_exponent_above(largest) if largest else 0)

    @property
    def unbounded(self) -> bool:
        """Whether the gradient of an output grows with the output."""
        return self.mse

    def gradient_exponent(self, batch: int, logits: int) -> int:
        """Return the exponent of the logit gradients.

        The powers of two in 1/batch (and for ``mse`` 1/classes) are in it, the rest is in
        :meth:`fold`. The host's gradients have the whole mean in their codes.

        Args:
            batch: images of the mini-batch.
            logits: exponent of the logits.
        """
        if self.on_host:
            bits = max(self.reach, logits + GRADIENT_BITS) if self.unbounded else 0
            return min(self.top + bits - GRADIENT_BITS, LARGEST_GRADIENT_EXPONENT)
        if not self.mse:
            return -GRADIENT_BITS - _whole(batch)
        return self._error_exponent(logits) + 1 - _whole(self.classes) - _whole(batch)

    def logits_ceiling(self, batch: int) -> int:
        """Return the largest exponent of logits at which that of their gradients is not too large.

        The squared error's gradients take over the exponent of the logits; those of the
        cross-entropy do not depend on it.
        """
        if self.on_host:
            return (min(0, LARGEST_GRADIENT_EXPONENT - self.top) if self.unbounded else 0)
        if not self.mse:
            return 0
        return min(0, LARGEST_GRADIENT_EXPONENT - 1 + _whole(self.classes) + _whole(batch))

    def fold(self, batch: int) -> float:
        """Return the factor, in (0.5, 1] for each mean, that the gradients lack.

        It is the rest of the means' 1/n behind the powers of two in the exponent. Learning rate and
        decay make up for it.
        """
        if self.on_host:
            return 1.0
        result = (1 << _whole(batch)) / batch
        return result * (1 << _whole(self.classes)) / self.classes if self.mse else result

    def fields(self, logits: int) -> dict[str, int]:
        """Return the step-block fields of the softmax unit, all but ``valid``.

        The targets of the cross-entropy add up to one exactly: what is spread is rounded to a
        multiple of ``classes / 65536``.

        ``logits``: exponent of the logits.
        """
        if self.on_host:
            return {}
        if self.mse:
            return {"z_shift": -logits, "m_shift": self._error_exponent(logits) - logits}
        even = round(self.smoothing * (1 << _TARGET_BITS) / self.classes)
        even = min(even, ((1 << _TARGET_BITS) - 1) // max(self.classes - 1, 1))
        return {"z_shift": -logits, "t_off": even, "t_drop": (self.classes - 1) * even}

    def unit(self, logits: int) -> float:
        """Return the loss of one unit of the record, in nats for the cross-entropy.

        ``logits``: exponent of the logits. There is no record of what the host computes.
        """
        if self.mse:
            return math.ldexp(1.0, 2 * self._error_exponent(logits)) / self.classes
        return math.log(2) / (1 << _LOSS_BITS)

    @staticmethod
    def _error_exponent(logits: int) -> int:
        """Return the exponent of logit minus target."""
        return max(logits, _ERROR_FLOOR)


PLAIN_LOSS = Loss()
"""Cross-entropy without smoothing; its exponents do not depend on the classes."""


def _whole(count: int) -> int:
    """Return the exponent of the largest power of two that is not above ``count``."""
    return count.bit_length() - 1


def _exponent_above(value: float) -> int:
    """Return the smallest ``k`` with a positive ``value`` of at most ``2**k``."""
    fraction, exponent = math.frexp(value)
    return exponent - (fraction == 0.5)
