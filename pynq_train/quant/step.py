"""Fields of the step block from the exponents of a step and the optimizer's values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pynq_train.errors import BadInput
from pynq_train.quant.policy import FRACTION_BITS, MASTER_EXPONENT, MAX_SHIFT, StepExponents

MOMENTUM_EXPONENT = -24
"""Exponent of the 32-bit momentum (Q7.24)."""
GRADIENT_PRESHIFT = 16
"""Bits by which the update unit shifts a gradient sum left before ``g_shift``."""


@dataclass(frozen=True)
class SgdStep:
    """Values of one SGD step: v = momentum * v + g + decay * w; w -= lr * v.

    Attributes:
        lr: learning rate.
        momentum: 0..1.
        decay: weight decay, not applied to biases.
        valid: images that count (default: all).
        factors: per layer: factors of the learning rate of weights and bias (default: 1).
        clip: exponent of the bound of gradient maps (:func:`clip_shift`), None without.
    """

    lr: float
    momentum: float = 0.0
    decay: float = 0.0
    valid: int | None = None
    factors: tuple[tuple[float, float], ...] = ()
    clip: int | None = None


@dataclass(frozen=True)
class StepParams:
    """Step-block fields of one step: per layer, and for softmax (see ``hw.commands``)."""

    softmax: Mapping[str, int]
    forward: tuple[Mapping[str, int], ...]
    backward: tuple[Mapping[str, int], ...]
    update_weights: tuple[Mapping[str, int], ...]
    update_bias: tuple[Mapping[str, int], ...]


RELU6_TOP = 6
NO_LIMIT = (1 << 16) - 1


def relu6_limit(exponent: int) -> int:
    """Code of 6 at an exponent (ties to even); what 16 bits do not reach clips nothing."""
    if exponent > 0:
        return round(RELU6_TOP / (1 << exponent))
    return min(RELU6_TOP << -exponent, NO_LIMIT)


def learning_rate_fields(lr: float) -> tuple[int, int]:
    """Return (mantissa, right shift) of a learning rate: ``lr = mantissa * 2**-shift / 16``.

    The factor 16 takes Q7.24 momentum to Q3.28 weights.
    """
    if not 0 <= lr < 2048 or math.isnan(lr):
        raise BadInput("learning rate", expected="0 or more, below 2048", found=lr)
    if lr == 0:
        return 0, 0
    fraction, exponent = math.frexp(lr * 16)
    mantissa, shift = round(fraction * (1 << 16)), 16 - exponent
    if mantissa == 1 << 16:
        mantissa, shift = 1 << 15, shift - 1
    if shift > MAX_SHIFT:
        mantissa, shift = mantissa >> (shift - MAX_SHIFT), MAX_SHIFT
    if shift < 0:
        raise BadInput("learning rate", expected="below 4096", found=lr)
    return mantissa, shift


def step_params(exponents: StepExponents, sgd: SgdStep | None) -> StepParams:
    """Return the step-block fields of a step; without ``sgd`` those of an evaluation.

    The mean over a mini-batch that is no power of two is folded into learning rate and decay:
    the logit gradients carry 2**-floor(log2(batch)), not 1/batch.
    """
    batch = exponents.batch
    valid = batch if sgd is None or sgd.valid is None else sgd.valid
    forward: list[dict[str, int]] = []
    backward: list[dict[str, int]] = []
    weights: list[dict[str, int]] = []
    bias: list[dict[str, int]] = []
    fold = (1 << (batch.bit_length() - 1)) / batch
    scale = 0 if sgd is None or sgd.clip is None else clip_shift(exponents, sgd.clip)
    factors = sgd.factors if sgd is not None else ()
    for e, (of_weights, of_bias) in zip(exponents.layers,
                                        factors or ((1.0, 1.0),) * len(exponents.layers)):
        forward.append({"shift": e.y - e.forward_sum,
                        "bias_shift": MASTER_EXPONENT - e.forward_sum,
                        "limit": relu6_limit(e.y)})
        backward.append({"shift": max(e.dx - e.backward_sum, 0) if e.dx else 0})
        if sgd is None or not e.dy:
            weights.append({})
            bias.append({})
            continue
        w_shift = e.w_next - MASTER_EXPONENT
        weights.append({**_sgd_fields(sgd, fold, of_weights), "w_shift": w_shift,
                        "g_shift": _gradient_shift(e.gradient_sum - scale)})
        bias.append({**_sgd_fields(sgd, fold, of_bias), "decay": 0, "w_shift": w_shift,
                     "g_shift": _gradient_shift(e.dy - scale)})
    softmax = {"z_shift": -exponents.logits, "valid": valid}
    return StepParams(softmax, tuple(forward), tuple(backward), tuple(weights), tuple(bias))


def clip_shift(exponents: StepExponents, limit: int) -> int:
    """Shift d by which all gradients of a step are scaled, 2**-d, before the momentum takes them.

    A gradient map of exponent e saturates at 2**(e + 15), a bound that follows the measures of the
    last steps. The shift takes the largest of these bounds to ``2**limit``; 0 if none is above it.
    """
    bounds = [e.dx + FRACTION_BITS for e in exponents.layers if e.dx]
    return max(0, max(bounds, default=limit) - limit)


def _gradient_shift(exponent: int) -> int:
    """Shift that takes sums of ``exponent``, times 2**16, to Q7.24."""
    return min(GRADIENT_PRESHIFT + MOMENTUM_EXPONENT - exponent, 63)


def _sgd_fields(sgd: SgdStep, fold: float, factor: float) -> dict[str, int]:
    if not 0 <= sgd.momentum <= 1:
        raise BadInput("momentum", expected="0..1", found=sgd.momentum)
    decay = round(sgd.decay / fold * (1 << 20))
    if not 0 <= decay < 1 << 16:
        raise BadInput("weight decay", expected="0 or more, below 0.03", found=sgd.decay)
    lr, shift = learning_rate_fields(sgd.lr * factor * fold)
    return {"lr": lr, "lr_shift": shift, "momentum": round(sgd.momentum * (1 << 16)),
            "decay": decay}
