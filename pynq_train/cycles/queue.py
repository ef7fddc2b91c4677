"""The gradient queue between drain and update unit."""

from __future__ import annotations

from collections import deque

from pynq_train.cycles.kernel import Clock, Signal
from pynq_train.hw.words import LANES


class GradQueue:
    """Sums of kept lanes, segment by segment.

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
        self.came = Signal(clock)
        self.freed = Signal(clock)
        self._clock = clock
        self._complete: deque[tuple[int, int]] = deque()   # all sums so far, from when on
        self._pushed = 0
        self._read = 0
        self._lane = 0

    @property
    def room(self) -> bool:
        """A segment fits."""
        return self.used <= self._lanes - LANES

    def take(self, lanes: int, cycle: int) -> None:
        """A segment begins; it is complete in ``cycle``."""
        self.used += lanes
        self._pushed += lanes * self.lane_sums
        self._complete.append((self._pushed, cycle))
        self._clock.at(cycle, self.came.wake)

    def available(self, sums: int) -> int | None:
        """Cycle from which ``sums`` more sums can be read; None: not known."""
        need = self._read + sums
        while self._complete and self._complete[0][0] < need:
            self._complete.popleft()
        return self._complete[0][1] if self._complete else None

    def read(self, sums: int) -> None:
        """The update unit has taken ``sums`` sums."""
        self._read += sums
        self._lane += sums
        if self._lane >= self.lane_sums:
            self.used -= self._lane // self.lane_sums
            self._lane %= self.lane_sums
            self.freed.wake()
