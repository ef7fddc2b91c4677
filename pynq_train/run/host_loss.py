"""Losses that the host computes, between the halves of a training step: in integers and doubles.

docs/numerics.md 5 defines them bit for bit. Of doubles only products, quotients and differences are
taken, each of which rounds alike everywhere; what is added up are integers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pynq_train.arrays import Array
from pynq_train.backends.golden.scalar import exponent, exponential, logarithm
from pynq_train.fixed import saturate
from pynq_train.quant.loss import BINARY, CROSS_ENTROPY, MSE, Loss

_ONE_BITS = 16
"""Fraction bits of probabilities, targets and losses in log2 units."""
_CODE_BITS = 16
_ERROR_BITS = 23
"""Bits of a difference whose loss is added up."""
_SUMMED = 1 << 14
"""Squares of such differences that 64 bits surely hold the sum of."""
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class HostResult:
    """What the host makes of the outputs of a mini-batch.

    Attributes:
        loss: mean loss of what counts; 0 where nothing does.
        weight: what that mean divides by.
        correct: right answers.
        answers: all answers that count; 0 where outputs are numbers.
        gradient: int16, of the shape of the outputs.
    """

    loss: float
    weight: float
    correct: int
    answers: int
    gradient: NDArray[np.int16]


def of_targets(loss: Loss, targets: Array) -> Loss:
    """Return a loss with what it must know of the targets of a mini-batch before it runs."""
    if not loss.on_host:
        return loss
    largest = float(np.abs(targets).max(initial=0.0)) if loss.numbers else 1.0
    return loss.of_mean(_total(loss, targets), largest)


def host_loss(loss: Loss, codes: NDArray[np.int16], logits: int, targets: Array,
              gradient: int) -> HostResult:
    """Return loss and gradient of the outputs of a mini-batch.

    Args:
        loss: what is minimised.
        codes: outputs of the images that count, ``(n, channels, rows, cols)``.
        logits: exponent of these codes.
        targets: labels, int64 ``(n, rows, cols)``; or numbers, float32 of the shape of the codes.
        gradient: exponent of the gradient's codes.
    """
    total = _total(loss, targets)
    if loss.kind == CROSS_ENTROPY or (loss.kind == MSE and not loss.values):
        return _by_label(loss, codes, logits, targets, gradient, total)
    if loss.kind == BINARY:
        return _binary(loss, codes, logits, targets, gradient, total)
    return _numbers(loss, codes, logits, targets, gradient, total)


def _total(loss: Loss, targets: Array) -> float:
    """Return what the mean over the targets divides by."""
    if loss.kind == CROSS_ENTROPY and loss.weights:
        times = np.bincount(targets[_counted(loss, targets)].reshape(-1).astype(np.intp),
                            minlength=loss.classes)
        return float(sum(weight * int(count) for weight, count in zip(loss.weights, times)))
    count = targets.size if loss.ignore is None else int(np.count_nonzero(
        _counted(loss, targets)))
    if loss.kind == MSE and not loss.values:
        count *= loss.classes
    return float(count)


def _counted(loss: Loss, targets: Array) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (np.ones(targets.shape, np.bool_) if loss.ignore is None
                                else targets != loss.ignore)
    return found


def _by_label(loss: Loss, codes: NDArray[np.int16], logits: int, labels: Array, gradient: int,
              total: float) -> HostResult:
    """Return cross-entropy, or the squared error of 1 at the label and 0 elsewhere."""
    images, classes, rows, cols = codes.shape
    z = codes.reshape(images, classes, rows * cols).transpose(0, 2, 1).reshape(-1, classes)
    z = z.astype(np.int64)
    counted = _counted(loss, labels).reshape(-1)
    own = np.where(counted, labels.reshape(-1), 0).astype(np.intp)
    at = np.arange(len(own))
    hit = np.arange(classes) == own[:, None]
    weights = np.ones(classes) if not loss.weights else np.array(loss.weights, np.float64)
    if loss.kind == MSE:
        error = np.ldexp(z.astype(np.float64), logits) - hit
        each, unit = _squares(error, max(logits + _CODE_BITS, 1))
        lost = _sum(each[counted]) * unit
        differences, factor = error, np.full(len(own), 2.0)
    else:
        tq = exponent(z.max(axis=1, keepdims=True) - z, -logits)
        e = exponential(tq)
        sums = e.sum(axis=1)
        # Label smoothing as the softmax unit has it.
        spread = round(loss.smoothing * (1 << _ONE_BITS) / classes)
        spread = min(spread, ((1 << _ONE_BITS) - 1) // max(classes - 1, 1))
        target = np.where(hit, (1 << _ONE_BITS) - (classes - 1) * spread, spread)
        smooth = spread * tq.sum(axis=1) - classes * spread * tq[at, own]
        each = tq[at, own] + (smooth >> _ONE_BITS) + logarithm(sums)
        lost = sum(weight * _sum(each[counted & (own == label)])
                   for label, weight in enumerate(weights.tolist()))
        lost *= math.log(2) / (1 << _ONE_BITS)
        differences = ((e << _ONE_BITS) // sums[:, None] - target).astype(np.float64)
        factor = weights[own] / (1 << _ONE_BITS)
    found = _codes(differences, (factor * counted)[:, None], total, gradient)
    correct = int(np.count_nonzero((z.argmax(axis=1) == own) & counted))
    shaped = found.reshape(images, rows * cols, classes).transpose(0, 2, 1)
    return HostResult(lost / total if total else 0.0, total, correct, int(counted.sum()),
                      np.ascontiguousarray(shaped).reshape(codes.shape))


def _binary(loss: Loss, codes: NDArray[np.int16], logits: int, targets: Array, gradient: int,
            total: float) -> HostResult:
    """Return the cross-entropy of two classes with logits z and 0, for each output by itself."""
    z, counted = codes.astype(np.int64), _counted(loss, targets)
    wanted = np.rint(np.where(counted, targets, 0).astype(np.float64) * (1 << _ONE_BITS)
                     ).astype(np.int64)
    top = np.maximum(z, 0)
    yes, no = exponent(top - z, -logits), exponent(top, -logits)
    of_yes = exponential(yes)
    sums = of_yes + exponential(no)
    each = ((wanted * yes + ((1 << _ONE_BITS) - wanted) * no) >> _ONE_BITS) + logarithm(sums)
    weights = np.ones(loss.classes) if not loss.weights else np.array(loss.weights, np.float64)
    lost = sum(weight * _sum(each[:, channel][counted[:, channel]])
               for channel, weight in enumerate(weights.tolist()))
    lost *= math.log(2) / (1 << _ONE_BITS)
    differences = ((of_yes << _ONE_BITS) // sums - wanted).astype(np.float64)
    factor = weights[:, None, None] / (1 << _ONE_BITS) * counted
    correct = int(np.count_nonzero(((z > 0) == (2 * wanted > 1 << _ONE_BITS)) & counted))
    return HostResult(lost / total if total else 0.0, total, correct, int(counted.sum()),
                      _codes(differences, factor, total, gradient))


def _numbers(loss: Loss, codes: NDArray[np.int16], logits: int, targets: Array, gradient: int,
             total: float) -> HostResult:
    """Return the squared error of numbers, or Huber's."""
    error: NDArray[np.float64] = (np.ldexp(codes.astype(np.float64), logits)
                                  - targets.astype(np.float64))
    if loss.kind == MSE:
        reach = max(logits + _CODE_BITS, loss.reach + 1)
        each, unit = _squares(error, reach)
        return HostResult(_sum(each) * unit / total, total, 0, 0,
                          _codes(error, np.array(2.0), total, gradient))
    # Differences far beyond delta have a loss that is linear: they need no more bits.
    largest = float(np.abs(error).max(initial=0.0))
    q, _ = _fixed(error, reach := max(math.frexp(max(largest, loss.delta))[1], -64))
    step = math.ldexp(1.0, reach - _ERROR_BITS)
    size, delta = np.abs(q), round(loss.delta / step)
    twice = np.where(size <= delta, size * size, 2 * delta * size - delta * delta)
    bounded = np.minimum(np.maximum(error, -loss.delta), loss.delta)
    return HostResult(_sum(twice) * step * step / 2 / total, total, 0, 0,
                      _codes(bounded, np.array(1.0), total, gradient))


def _squares(error: NDArray[np.float64], reach: int) -> tuple[Ints, float]:
    """Return squares of differences below ``2**reach`` as integers, and what one of them is."""
    q, unit = _fixed(error, reach)
    return q * q, unit * unit


def _fixed(error: NDArray[np.float64], reach: int) -> tuple[Ints, float]:
    """Return differences as integers, and what one of them is."""
    limit = 1 << _ERROR_BITS
    q = np.rint(np.ldexp(error, _ERROR_BITS - reach))
    return (np.minimum(np.maximum(q, -limit), limit).astype(np.int64),
            math.ldexp(1.0, reach - _ERROR_BITS))


def _codes(differences: NDArray[np.float64], factor: Array, total: float, gradient: int
           ) -> NDArray[np.int16]:
    """Return ``differences * factor / total`` as codes of an exponent."""
    if not total:
        return np.zeros(differences.shape, np.int16)
    exact = differences * np.ldexp(factor / total, -gradient)
    bound = float(1 << _CODE_BITS)
    # Bounded before it becomes an integer, which holds no more.
    whole = np.rint(np.minimum(np.maximum(exact, -bound), bound)).astype(np.int64)
    found: NDArray[np.int16] = saturate(whole, _CODE_BITS).astype(np.int16)
    return found


def _sum(values: Ints) -> int:
    """Return a sum that may need more than 64 bits."""
    flat = values.reshape(-1)
    return sum(int(flat[at : at + _SUMMED].sum()) for at in range(0, flat.size, _SUMMED))
