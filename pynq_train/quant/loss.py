"""Losses: exponents of their gradients, step-block fields, and the unit of what the record says."""

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
"""Fraction bits of the targets of the cross-entropy."""
_ERROR_FLOOR = -14
"""Smallest exponent of logit minus target: both are below one there, their difference below two."""
_LOSS_BITS = 16
"""Fraction bits of a loss in log2 units."""


@dataclass(frozen=True)
class Loss:
    """What a network is trained for. Both are means over the mini-batch, as in PyTorch.

    Attributes:
        kind: ``cross-entropy`` of the softmax, or ``mse``: mean squared difference of the logits
            and 1 at the label, 0 elsewhere.
        smoothing: cross-entropy: part of the target that is spread over all classes evenly.
        classes: outputs of the network.
    """

    kind: str = CROSS_ENTROPY
    smoothing: float = 0.0
    classes: int = 1

    def __post_init__(self) -> None:
        """Refuse what the softmax unit cannot take."""
        if self.kind not in LOSSES:
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
        """Whether it is the squared error."""
        return self.kind == MSE

    def gradient_exponent(self, batch: int, logits: int) -> int:
        """Exponent of the logit gradients; ``logits``: exponent of the logits."""
        if not self.mse:
            return -GRADIENT_BITS - _whole(batch)
        return self._error_exponent(logits) + 1 - _whole(self.classes) - _whole(batch)

    def logits_ceiling(self, batch: int) -> int:
        """Largest exponent of logits whose gradients keep theirs."""
        if not self.mse:
            return 0
        return min(0, LARGEST_GRADIENT_EXPONENT - 1 + _whole(self.classes) + _whole(batch))

    def fold(self, batch: int) -> float:
        """Factor that the gradients lack: of the means, their exponent has the powers of two."""
        result = (1 << _whole(batch)) / batch
        return result * (1 << _whole(self.classes)) / self.classes if self.mse else result

    def fields(self, logits: int) -> dict[str, int]:
        """Step-block fields of the softmax unit, but ``valid``.

        The targets of the cross-entropy add up to one exactly: what is spread is rounded down or up
        to ``classes / 65536``.
        """
        if self.mse:
            return {"z_shift": -logits, "m_shift": self._error_exponent(logits) - logits}
        even = round(self.smoothing * (1 << _TARGET_BITS) / self.classes)
        even = min(even, ((1 << _TARGET_BITS) - 1) // max(self.classes - 1, 1))
        return {"z_shift": -logits, "t_off": even, "t_drop": (self.classes - 1) * even}

    def unit(self, logits: int) -> float:
        """Loss of one unit of the record; cross-entropies in nats."""
        if self.mse:
            return math.ldexp(1.0, 2 * self._error_exponent(logits)) / self.classes
        return math.log(2) / (1 << _LOSS_BITS)

    @staticmethod
    def _error_exponent(logits: int) -> int:
        return max(logits, _ERROR_FLOOR)


PLAIN_LOSS = Loss()
"""Cross-entropy without smoothing; its exponents do not depend on the classes."""


def _whole(count: int) -> int:
    """Exponent of the largest power of two that is not above ``count``."""
    return count.bit_length() - 1
