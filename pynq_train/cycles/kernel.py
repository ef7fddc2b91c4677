"""Event queue: actions at cycles, processes that sleep until a cycle or wait for a signal."""

from __future__ import annotations

from collections.abc import Callable, Generator
from heapq import heappop, heappush

Action = Callable[[], None]
NEVER = 1 << 62


class Signal:
    """Something that processes wait for; waking tells nothing but that they may look again."""

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
            waiting, self._waiting = self._waiting, []
            for action in waiting:
                self._clock.at(self._clock.now, action)


Steps = Generator["int | Signal", None, None]
"""A process: yields the cycle that it sleeps until, or the signal that it waits for."""


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
        """Call ``action`` in a cycle that is not in the past."""
        self._count += 1
        heappush(self._queue, (cycle, self._count, action))

    def next(self) -> int:
        """Cycle of the next action."""
        return self._queue[0][0] if self._queue else NEVER

    def start(self, steps: Steps) -> None:
        """Start a process in this cycle."""
        resume = steps.__next__

        def advance() -> None:
            try:
                want = resume()
            except StopIteration:
                return
            if want.__class__ is int:
                self.at(max(want, self.now), advance)
            else:
                want.wait(advance)  # type: ignore[union-attr]

        self.at(self.now, advance)

    def run(self) -> None:
        """Run until nothing is left to do."""
        queue = self._queue
        while queue:
            self.now, _, action = heappop(queue)
            action()
