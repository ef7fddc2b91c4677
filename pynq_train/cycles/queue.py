"""The gradient queue between drain and update unit (``docs/engine.md`` 6)."""

from __future__ import annotations

from pynq_train.cycles.kernel import Clock, Condition
from pynq_train.hw.words import LANES


class GradQueue:
    """Counts the weight gradient sums that wait for the update unit, segment by segment.

    Args:
        clock: the simulated time.
        sums: capacity of the queue in sums.
        lane_sums: sums of one lane of a segment.

    Attributes:
        used: lanes that are in the queue or on their way into it.
        came: wakes when a segment is complete.
        freed: wakes when a lane has been read.
        lane_sums: sums of one lane of a segment: given out and freed together.
    """

    def __init__(self, clock: Clock, sums: int, lane_sums: int) -> None:
        self.lane_sums = lane_sums
        self._lanes = sums // lane_sums
        self.used = 0
        self.came = Condition(clock)
        self.freed = Condition(clock)
        self._clock = clock
        self._complete: list[tuple[int, int]] = []   # all sums so far, from when on
        self._pushed = 0
        self._read = 0
        self._lane = 0

    @property
    def room(self) -> bool:
        """Whether a whole segment fits, all its lanes counted."""
        return self.used <= self._lanes - LANES

    def take(self, lanes: int, cycle: int) -> None:
        """Let a segment of ``lanes`` kept lanes begin; its last sum is there in ``cycle``."""
        self.used += lanes
        self._pushed += lanes * self.lane_sums
        self._complete.append((self._pushed, cycle))
        self._clock.at(cycle, self.came.wake)

    def available(self, sums: int) -> int | None:
        """Return the cycle from which ``sums`` more sums can be read; None if not known yet."""
        need = self._read + sums
        while self._complete and self._complete[0][0] < need:
            self._complete.pop(0)
        return self._complete[0][1] if self._complete else None

    def read(self, sums: int) -> None:
        """Note that the update unit has taken ``sums`` sums; whole lanes become free."""
        self._read += sums
        self._lane += sums
        if self._lane >= self.lane_sums:
            # The queue gives out a lane before the next one, so lanes become free in the order in
            # which they came.
            self.used -= self._lane // self.lane_sums
            self._lane %= self.lane_sums
            self.freed.wake()
