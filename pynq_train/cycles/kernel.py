"""Event queue of the cycle model: actions at cycles, and processes made of generators.

A process sleeps until a cycle or waits for a signal. There are no threads: one action runs after
the other, in the order of the cycles, so that a run always gives the same result.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from heapq import heappop, heappush

Action = Callable[[], None]
NEVER = sys.maxsize
"""Cycle of what does not happen; larger than any real one."""


class Condition:
    """Something that processes wait for.

    Waking tells nothing but that they may look again: whoever waits checks its own condition in a
    loop.
    """

    __slots__ = ("_clock", "_waiting")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: list[Action] = []

    def wait(self, action: Action) -> None:
        """Call ``action`` at the next :meth:`wake`."""
        self._waiting.append(action)

    def wake(self) -> None:
        """Let everyone who waits look again, in this cycle."""
        if self._waiting:
            # Taken out first: an action may wait for the same signal again, which is for the next
            # wake.
            waiting, self._waiting = self._waiting, []
            for action in waiting:
                self._clock.at(self._clock.now, action)


Steps = Generator["int | Condition", None, None]
"""A process: it yields the cycle that it sleeps until, or the signal that it waits for."""


class Clock:
    """Simulated time in cycles.

    Attributes:
        now: the present cycle.
        skipped: cycles of repeated periods that were counted and not simulated.
    """

    def __init__(self) -> None:
        self.now = 0
        self.skipped = 0
        self._queue: list[tuple[int, int, Action]] = []
        self._count = 0

    @property
    def total(self) -> int:
        """Cycles of the run so far."""
        return self.now + self.skipped

    def at(self, cycle: int, action: Action) -> None:
        """Call ``action`` in ``cycle``, which is not in the past; in the order of these calls."""
        # The count keeps actions of one cycle in the order in which they were asked for; without it
        # the heap would have to compare the actions themselves.
        self._count += 1
        heappush(self._queue, (cycle, self._count, action))

    def next(self) -> int:
        """Return the cycle of the next action, :data:`NEVER` if there is none."""
        return self._queue[0][0] if self._queue else NEVER

    def start(self, steps: Steps) -> None:
        """Start a process: its first step runs in this cycle."""
        resume = steps.__next__

        def advance() -> None:
            try:
                want = resume()
            except StopIteration:
                return
            # Cheaper than isinstance, and this line runs at every step of every process.
            if want.__class__ is int:
                self.at(max(want, self.now), advance)
            else:
                want.wait(advance)  # type: ignore[union-attr]

        self.at(self.now, advance)

    def run(self) -> None:
        """Run all actions in order until nothing is left to do."""
        queue = self._queue
        while queue:
            self.now, _, action = heappop(queue)
            action()
