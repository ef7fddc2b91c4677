"""Words of coverage: axes of crosses, and values that many crosses share."""

from __future__ import annotations

from pynq_train.schedule.passes.descriptors import Descriptor

Bin = tuple[str, ...]
"""One value of each axis of a cross."""
Axes = tuple[tuple[str, ...], ...]
"""The values of each axis of a cross."""
ON_OFF = ("0", "1")
IMAGES = ("1", "2 or 3", "4 or more")
PARTS = ("whole", "first", "between", "last")


def digits(count: int, first: int = 0) -> tuple[str, ...]:
    """Return the numbers ``first .. first + count - 1`` as text."""
    return tuple(str(first + i) for i in range(count))


def of_images(count: int) -> str:
    """Return the value of :data:`IMAGES` for a number of images, or of anything else."""
    return IMAGES[0 if count == 1 else 1 if count < 4 else 2]


def part_of(descriptor: Descriptor, batch: int) -> str:
    """Return the value of :data:`PARTS` for a descriptor of a mini-batch of ``batch`` images."""
    first, count = descriptor.images or (0, batch)
    ends = first == 0, first + count == batch
    return {(True, True): "whole", (True, False): "first", (False, False): "between",
            (False, True): "last"}[ends]
