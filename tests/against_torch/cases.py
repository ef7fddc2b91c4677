"""Random cases shared by the comparison with PyTorch and by the committed vectors."""

from __future__ import annotations

import numpy as np

from pynq_train.quant import Loss, SgdStep
from pynq_train.quant.step import learning_rate_fields

Array = np.ndarray

KINDS = ("dense", *(f"conv{k}" for k in range(1, 12)), "rectangle")
GROUPED = (*(f"grouped{k}" for k in (1, 2, 3, 5, 7, 11)), *(f"groups{k}" for k in (1, 3, 4, 5)),
           "grouped rectangle", "groups rectangle")
"""Depthwise and grouped convolutions, with ReLU6; groups of any sizes."""

# Stated bounds of the softmax unit against exact arithmetic, per image: the tables interpolate
# to 2**-16, log2(e) has 16 fraction bits (relative error 5e-6 of the largest distance in nats).
LOSS_ABSOLUTE, LOSS_RELATIVE = 5e-5, 6e-6
GRADIENT_CODES = 1.15
"""Largest error of a logit gradient in codes of 2**-15: the quotient is cut to 16 bits (0.5) and
rounded (0.5); the tables add at most 0.15."""


def softmax_case(seed: int) -> tuple[Array, Array, int]:
    """Logit codes ``[image, class]``, labels, minus the exponent of the logits."""
    rng = np.random.default_rng(seed)
    images, classes, z_shift = int(rng.integers(1, 9)), int(rng.integers(2, 23)), 8 + seed % 6
    spread = int(rng.choice([50, 1000, 8000, 32767]))
    logits = rng.integers(-spread, spread + 1, (images, classes))
    return logits, rng.integers(0, classes, images), z_shift


def loss_bound(logits: Array, z_shift: int) -> float:
    """Largest allowed error of the loss sum."""
    distance = (logits.max(1) - logits.min(1)).astype(np.float64) * 2.0**-z_shift
    return float((LOSS_ABSOLUTE + LOSS_RELATIVE * distance).sum())


def loss_case(seed: int) -> tuple[Array, Array, int, Loss]:
    """The same with a loss: smoothed targets (even seeds) or squared error."""
    logits, labels, z_shift = softmax_case(seed)
    rng = np.random.default_rng(seed + 1000)
    classes = logits.shape[1]
    if seed % 2:
        z_shift += int(rng.integers(0, 8))
        logits = np.clip(logits, -16383, 16383)  # the policy's margin: nothing saturates
        return logits, labels, z_shift, Loss("mse", 0.0, classes)
    return logits, labels, z_shift, Loss("cross-entropy", float(rng.choice([0.05, 0.1, 0.5])),
                                         classes)


def smoothed_bound(logits: Array, z_shift: int, loss: Loss) -> float:
    """Largest allowed error of the loss sum with smoothing: the targets are multiples of 2**-16.

    Each of them is off by half a unit at most, that of the label by what the others add up to.
    """
    distance = (logits.max(1) - logits.min(1)).astype(np.float64) * 2.0**-z_shift
    return float(loss_bound(logits, z_shift) + (loss.classes * 2.0**-16 * distance).sum()
                 + len(logits) * 2.0**-16)


def sgd_case(seed: int) -> tuple[Array, Array, dict[str, int], SgdStep]:
    """Masters ``[element]{weight, momentum}``, sums ``[step, element]``, step-block fields."""
    rng = np.random.default_rng(seed)
    lr = float(rng.choice([0.5, 0.1, 0.01, 0.003]))
    lr_code, lr_shift = learning_rate_fields(lr)
    momentum, decay = int(rng.choice([0, 58982, 62259])), int(rng.choice([0, 524, 5243]))
    fields = {"g_shift": int(rng.integers(16, 30)), "w_shift": int(rng.integers(12, 16)),
              "lr": lr_code, "lr_shift": lr_shift, "momentum": momentum, "decay": decay}
    count, steps = 32, 6
    masters = np.stack([rng.integers(-2**28, 2**28, count), rng.integers(-2**22, 2**22, count)], 1)
    sums = rng.integers(-2**20, 2**20, (steps, count)) << max(fields["g_shift"] - 18, 0)
    real = SgdStep(lr_code * 2.0**-lr_shift / 16, momentum / 65536, decay / 2**20)
    return masters, sums, fields, real


def sgd_bounds(steps: int, real: SgdStep) -> tuple[float, float]:
    """Largest errors of weights and momenta after ``steps``: roundings, carried on."""
    weight = momentum = 0.0
    for _ in range(steps):
        # The gradient and the new momentum are rounded to 2**-24, the weight to 2**-28.
        momentum = real.momentum * momentum + real.decay * weight + 2.0**-24
        step = real.momentum * momentum + real.decay * weight + 2.0**-24
        weight = weight + real.lr * (step if real.nesterov else momentum) + 2.0**-29
    return weight * (1 + 1e-9), momentum * (1 + 1e-9)
