"""Order of a training step's backward half: weight gradients fill the gaps between backward passes.

Each backward pass needs the one before it, so they stand in one order. The weight gradient of a
layer may run at any time behind the layer's own backward pass (whose weights its update
overwrites). In between the array would wait for stored gradients, and the update unit, which takes
one weight per cycle, needs the array's time to keep up: a gradient is taken when the queue in front
of the update unit has room for its sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

MOMENTUM_RATE = Fraction(16, 18)
"""Weights per cycle that the update unit takes with momentum: a port pauses after each burst."""
PLAIN_RATE = Fraction(1)
"""Weights per cycle without momentum."""


@dataclass(frozen=True)
class Job:
    """One descriptor for the list schedule.

    Attributes:
        key: its number, returned in the order.
        cycles: predicted cycles of the array.
        sums: weights that it updates; 0 for a backward pass.
    """

    key: int
    cycles: int
    sums: int = 0


@dataclass
class _Clock:
    """Level of the gradient queue while the array works.

    Attributes:
        rate: weights per cycle that the update unit takes.
        room: sums that the queue holds.
        level: sums that are in it.
    """

    rate: Fraction
    room: int
    level: Fraction = Fraction(0)

    def after(self, job: Job) -> Fraction:
        """Return the level when ``job`` is finished; not limited by the room."""
        return max(self.level + job.sums - self.rate * job.cycles, Fraction(0))

    def run(self, job: Job) -> None:
        """Do ``job``; a full queue makes the array wait, so its level is never above the room."""
        self.level = min(self.after(job), Fraction(self.room))


def backward_order(layers: Sequence[tuple[Sequence[Job], Sequence[Job]]], room: int,
                   rate: Fraction) -> list[int]:
    """Return the keys of all jobs in the order in which they should run.

    Args:
        layers: per layer, last first: its backward passes, its gradient slices.
        room: sums that the gradient queue holds.
        rate: weights per cycle of the update unit.
    """
    clock, order = _Clock(rate, room), []
    waiting: list[Job] = []
    for backward, gradients in layers:
        for job in backward:
            clock.run(job)
            order.append(job.key)
        waiting += gradients
        # In the order of the backward passes. One that does not fit now waits for the next backward
        # pass, in whose time the update unit empties the queue.
        while waiting and clock.after(waiting[0]) <= room:
            clock.run(waiting[0])
            order.append(waiting.pop(0).key)
    for job in waiting:
        order.append(job.key)
    return order


def slice_tiles(tiles: int, tile_sums: int, cycles: int, room: int, rate: Fraction) -> int:
    """Return how many m tiles one GRADIENT descriptor of a layer should take.

    A layer whose update is hidden behind its own gradient stays whole; others are cut so that a
    slice fills at most half of the queue.

    Args:
        tiles: m tiles of the layer.
        tile_sums: weights of an m tile.
        cycles: cycles of the array for the whole weight gradient.
        room: sums that the queue holds.
        rate: weights per cycle of the update unit.
    """
    if tiles * tile_sums <= rate * cycles:
        return tiles
    return max(1, min(tiles, room // 2 // tile_sums))
