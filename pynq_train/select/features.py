"""Features: what a policy knows of a device, an arm and the data, each about 0 to 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pynq_train.arrays import Array, set_plain_fields
from pynq_train.errors import BadInput
from pynq_train.select.policies import number
from pynq_train.select.ridge import Floats

FEATURES = ("one", "battery", "heat", "time", "memory", "classes", "samples", "shift")
"""Their names, in order: the first is always 1."""
SIZE = len(FEATURES)
COOL_C, HOT_C = 20.0, 85.0
"""Temperatures of a chip with heat 0 and 1: a room, and the limit of commercial parts."""
MOST_CLASSES, MOST_SAMPLES = 1024, 100_000
"""Numbers with features of 1."""


@dataclass(frozen=True)
class Situation:
    """What a device and its data are like when it asks.

    Attributes:
        battery: charge, 0 to 1; 1 with a cable.
        temperature_c: of the chip, in degrees Celsius.
        deadline_s: seconds after which the user no longer wants to wait.
        free_bytes: bytes of device memory that an adaptation may take.
        classes: classes of the data.
        samples: samples to adapt to.
        shift: how far the data are from those of the training, 0 to 1 (:func:`class_shift`).
    """

    battery: float
    temperature_c: float
    deadline_s: float
    free_bytes: int
    classes: int
    samples: int
    shift: float

    def __post_init__(self) -> None:
        """Check the figures.

        Raises:
            BadInput: one is out of range, or no number.
        """
        set_plain_fields(self)
        for name, low, high in (("battery", 0, 1), ("temperature_c", -60, 200),
                                ("deadline_s", 1e-9, 1e9), ("shift", 0, 1)):
            number(name, getattr(self, name), low, high)
        for name, most in (("free_bytes", 1 << 50), ("classes", 1 << 30), ("samples", 1 << 50)):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= most:
                raise BadInput(name, expected=f"an integer of 1 to {most}", found=repr(value)[:80])


def feature_array(*, battery: Array | float, temperature_c: Array | float, seconds: Array,
                  deadline_s: Array | float, nbytes: Array, free_bytes: Array | float,
                  classes: Array | float, samples: Array | float, shift: Array | float) -> Floats:
    """Return features of arms, float64 ``(..., SIZE)``; all arguments are of one shape, or spread.

    Args:
        battery, temperature_c, deadline_s, free_bytes, classes, samples, shift: as of
            :class:`Situation`.
        seconds: what the adaptation takes with each arm.
        nbytes: bytes of device memory that it takes.

    Time is ``s / (s + deadline)``: 0.5 where the deadline is just met, never above 1. Classes and
    samples are logarithms.
    """
    parts = (1.0, battery, np.clip((np.asarray(temperature_c) - COOL_C) / (HOT_C - COOL_C), 0, 1),
             seconds / (seconds + deadline_s), np.minimum(nbytes / free_bytes, 1.0),
             np.minimum(np.log(classes) / np.log(MOST_CLASSES), 1.0),
             np.minimum(np.log(samples) / np.log(MOST_SAMPLES), 1.0), shift)
    shape = np.broadcast_shapes(*(np.shape(part) for part in parts))
    out = np.empty((*shape, SIZE))
    for at, part in enumerate(parts):
        out[..., at] = part
    return out


def class_shift(before: Array, now: Array) -> float:
    """Return how far predicted classes have moved: the total variation distance, 0 to 1.

    Args:
        before: how often each class was predicted, or the sum of its probabilities, on data like
            those of the training; numbers of 0 or more, ``(classes,)``.
        now: the same on the new data.

    Raises:
        BadInput: the two do not belong together, or one of them is no such array.
    """
    shares = []
    for name, counts in (("before", before), ("now", now)):
        values = np.asarray(counts)
        fine = values.dtype.kind in "uif" and values.ndim == 1 and np.isfinite(values).all()
        if not fine or (values < 0).any() or not values.sum() > 0:
            raise BadInput(f"class counts {name!r}", found=f"{values.dtype} {values.shape}",
                           expected="numbers of 0 or more, one for each class, not all of them 0")
        shares.append(values / values.sum())
    if len(shares[0]) != len(shares[1]):
        raise BadInput("class counts", expected="as many classes before as now",
                       found=f"{len(shares[0])} and {len(shares[1])}")
    return float(min(np.abs(shares[0] - shares[1]).sum() / 2, 1.0))
