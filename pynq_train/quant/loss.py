"""Losses: exponents of their gradients, step-block fields, and the unit of what the record says.

docs/numerics.md 5 has the formulas of the softmax unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pynq_train.errors import BadInput, UnknownName

CROSS_ENTROPY, MSE = "cross-entropy", "mse"
LOSSES = (CROSS_ENTROPY, MSE)
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
        kind: ``cross-entropy`` of the softmax, or ``mse``: mean squared difference of the logits
            and 1 at the label, 0 elsewhere.
        smoothing: cross-entropy: the part of the target that is spread over all classes evenly, 0
            to below 1.
        classes: outputs of the network.

    Raises:
        UnknownName: there is no such loss.
        BadInput: ``smoothing`` is out of range, or given for ``mse``.
    """

    kind: str = CROSS_ENTROPY
    smoothing: float = 0.0
    classes: int = 1

    def __post_init__(self) -> None:
        """Refuse what the softmax unit cannot compute."""
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

    @property
    def mse(self) -> bool:
        """Whether the loss is the squared error."""
        return self.kind == MSE

    def gradient_exponent(self, batch: int, logits: int) -> int:
        """Return the exponent of the logit gradients.

        The powers of two in 1/batch (and for ``mse`` 1/classes) are in it, the rest is in
        :meth:`fold`.

        Args:
            batch: images of the mini-batch.
            logits: exponent of the logits.
        """
        if not self.mse:
            return -GRADIENT_BITS - _whole(batch)
        return self._error_exponent(logits) + 1 - _whole(self.classes) - _whole(batch)

    def logits_ceiling(self, batch: int) -> int:
        """Return the largest exponent of logits at which that of their gradients is not too large.

        The squared error's gradients take over the exponent of the logits; those of the
        cross-entropy do not depend on it.
        """
        if not self.mse:
            return 0
        return min(0, LARGEST_GRADIENT_EXPONENT - 1 + _whole(self.classes) + _whole(batch))

    def fold(self, batch: int) -> float:
        """Return the factor, in (0.5, 1] for each mean, that the gradients lack.

        It is the rest of the means' 1/n behind the powers of two in the exponent. Learning rate and
        decay make up for it.
        """
        result = (1 << _whole(batch)) / batch
        return result * (1 << _whole(self.classes)) / self.classes if self.mse else result

    def fields(self, logits: int) -> dict[str, int]:
        """Return the step-block fields of the softmax unit, all but ``valid``.

        The targets of the cross-entropy add up to one exactly: what is spread is rounded to a
        multiple of ``classes / 65536``.

        ``logits``: exponent of the logits.
        """
        if self.mse:
            return {"z_shift": -logits, "m_shift": self._error_exponent(logits) - logits}
        even = round(self.smoothing * (1 << _TARGET_BITS) / self.classes)
        even = min(even, ((1 << _TARGET_BITS) - 1) // max(self.classes - 1, 1))
        return {"z_shift": -logits, "t_off": even, "t_drop": (self.classes - 1) * even}

    def unit(self, logits: int) -> float:
        """Return the loss of one unit of the record, in nats for the cross-entropy.

        ``logits``: exponent of the logits.
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
