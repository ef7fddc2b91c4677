"""Event queue of the cycle model: actions at cycles, and processes made of generators.

A process sleeps until a cycle or waits for a signal. There are no threads: one action runs after
the other, in the order of the cycles, so that a run always gives the same result.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Generator
from heapq import heappop, heappush
from typing import Any, Final, Generic, TypeVar

Action = Callable[[], None]
NEVER: Final = sys.maxsize
"""Cycle of what does not happen; larger than any real one."""
_push: Final = heappush
_pop: Final = heappop


class Condition:
    """Something that processes wait for.

    Waking tells nothing but that they may look again: whoever waits checks its own condition in a
    loop.
    """

    __slots__ = ("_clock", "_waiting")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: list[Action] = []

    @property
    def awaited(self) -> bool:
        """Whether somebody waits."""
        return bool(self._waiting)

    def wait(self, action: Action) -> None:
        """Call ``action`` at the next :meth:`wake`."""
        self._waiting.append(action)

    def wake(self) -> None:
        """Let everyone who waits look again, in this cycle."""
        if self._waiting:
            # Taken out first: an action may wait for the same signal again, which is for the next
            # wake.
            waiting, self._waiting = self._waiting, []
            clock = self._clock
            for action in waiting:
                clock.at(clock.now, action)


Steps = Generator["int | Condition", None, None]
"""A process: it yields the cycle that it sleeps until, or the signal that it waits for."""


class Clock:
    """Simulated time in cycles.

    Attributes:
        now: the present cycle.
        order: number of the action at work: those of a cycle run in the order of their numbers.
        skipped: cycles of repeated periods that were counted and not simulated.
    """

    def __init__(self) -> None:
        self.now = 0
        self.order = 0
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
        _push(self._queue, (cycle, self._count, action))

    def number(self) -> int:
        """Return the number of an action asked for now; it may be given to :meth:`place` later."""
        self._count += 1
        return self._count

    def place(self, cycle: int, number: int, action: Action) -> None:
        """Call ``action`` in ``cycle``, at the place of a number that was taken before.

        That place must not have gone by.
        """
        _push(self._queue, (cycle, number, action))

    def next(self) -> int:
        """Return the cycle of the next action, :data:`NEVER` if there is none."""
        return self._queue[0][0] if self._queue else NEVER

    def start(self, steps: Steps) -> None:
        """Start a process: its first step runs in this cycle."""
        self.at(self.now, _Process(self, steps).action)

    def run(self) -> None:
        """Run all actions in order until nothing is left to do."""
        queue, pop = self._queue, _pop
        collects = gc.isenabled()
        # Millions of short-lived tuples would start the collector again and again for nothing: only
        # processes refer to themselves, and these are few.
        gc.disable()
        try:
            while queue:
                cycle, order, action = pop(queue)
                self.now = cycle
                self.order = order
                action()
        finally:
            if collects:
                gc.enable()


class _Process:
    """A process at work.

    Attributes:
        action: does its next step.
    """

    __slots__ = ("_clock", "_steps", "action")

    def __init__(self, clock: Clock, steps: Steps) -> None:
        self._clock = clock
        self._steps = steps
        self.action: Action = self._advance

    def _advance(self) -> None:
        # A loop that is left at once: so the end of the steps needs no exception.
        for want in self._steps:
            if isinstance(want, int):
                clock = self._clock
                now = clock.now
                clock.at(want if want > now else now, self.action)
            else:
                want.wait(self.action)
            return


Item = TypeVar("Item")


class Tally(Generic[Item]):
    """What happens later and only counts: it is no action of the clock unless somebody waits.

    Entries keep the place that an action of their own would have among those of its cycle, so that
    a run is the same whether somebody waits or not.

    Args:
        clock: the simulated time.
        count: counts an entry that has happened.
        tell: what else is done then, if somebody waits.
    """

    __slots__ = ("_action", "_asides", "_clock", "_count", "_cycles", "_entries", "_numbers",
                 "_tell")

    def __init__(self, clock: Clock, count: Callable[[Item], None],
                 tell: Callable[[Item], None]) -> None:
        self._clock = clock
        self._count = count
        self._tell = tell
        # The clock knows nothing of these: their cycles, numbers and items. Lists as all queues of
        # the model: they are short, and compiled code reaches into lists.
        self._cycles: list[int] = []
        self._numbers: list[int] = []
        self._asides: list[Item] = []
        self._entries: list[Item] = []    # these are actions of the clock
        self._action: Action = self._happened

    def add(self, cycle: int, item: Item, awaited: bool) -> None:
        """Let ``item`` happen in ``cycle``, not before what was added earlier.

        ``awaited``: somebody waits for such entries now.
        """
        clock = self._clock
        if awaited:
            self._entries.append(item)
            clock.at(cycle, self._action)
        else:
            self._cycles.append(cycle)
            self._numbers.append(clock.number())
            self._asides.append(item)

    def settle(self) -> None:
        """Count what has happened, for somebody who looks."""
        cycles, now = self._cycles, self._clock.now
        while cycles:
            cycle = cycles[0]
            if cycle >= now and (cycle > now or self._numbers[0] > self._clock.order):
                return
            cycles.pop(0)
            self._numbers.pop(0)
            self._count(self._asides.pop(0))

    def watch(self) -> None:
        """Make actions of all entries, for somebody who waits."""
        if self._asides:
            self.settle()
            for index, item in enumerate(self._asides):
                self._entries.append(item)
                self._clock.place(self._cycles[index], self._numbers[index], self._action)
            self._cycles.clear()
            self._numbers.clear()
            self._asides.clear()

    def _happened(self) -> None:
        item = self._entries.pop(0)
        self._count(item)
        self._tell(item)


class Settled(Condition):
    """A signal of what a tally counts: when somebody waits, the tally is watched."""

    __slots__ = ("_tally",)

    def __init__(self, clock: Clock, tally: Tally[Any]) -> None:
        super().__init__(clock)
        self._tally = tally

    def wait(self, action: Action) -> None:
        """Call ``action`` at the next :meth:`wake`."""
        super().wait(action)
        self._tally.watch()
