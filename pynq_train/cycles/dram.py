"""Device memory of the boards, burst by burst.

The memory moves data in one direction at a time. Bursts that wait on several ports are served side
by side. The virtual board's memory (``sim/vboard/pt_axi_mem.hpp``) follows the same rules.
"""

from __future__ import annotations

from collections import deque
from math import ceil
from typing import Final

from pynq_train.cycles.kernel import NEVER, Action, Clock
from pynq_train.hw.memory_timing import MemoryTiming
from pynq_train.hw.words import WORD_BYTES

READ_FIFO_WORDS: Final = 32
"""Words that the memory has read and the port has not shown yet."""
_AHEAD: Final = 16
"""Cycles that the memory is calculated ahead of the units: no read comes sooner, few writes do."""
_READ_IDLE: Final = 4
"""Cycles without a read after which waiting writes get the memory."""
_LEAST: Final = 1e-6
"""Words: less is a rounding error."""
_NEVER: Final = float(NEVER)


class Burst:
    """A burst at a port.

    Attributes:
        ready: cycle from which it may be served.
        beats: its words.
        left: how many of them are left.
    """

    __slots__ = ("beats", "left", "ready")

    def __init__(self, beats: int) -> None:
        self.ready = 0.0
        self.beats = beats
        self.left = float(beats)


class WritingPort:
    """What the memory knows of a port that writes.

    Attributes:
        due: its bursts in order.
    """

    def __init__(self) -> None:
        self.due: list[Burst] = []

    def stored(self, burst: Burst, end: float) -> None:
        """Note that the memory has all words of a burst taken from ``due`` at ``end``."""
        raise NotImplementedError


class ReadingPort:
    """What the memory knows of a port that reads: words wait in its FIFO, which may be full.

    Attributes:
        due: as of a port that writes.
        free: time from which the port can show another word.
        shown: first and last time of the words that it shows, oldest first; empty when all have
            been shown.
        room_from: time from which the FIFO has room, as far as is known; None when ``shown`` has
            changed.
    """

    def __init__(self) -> None:
        self.due: list[Burst] = []
        self.free = 0.0
        self.shown: deque[tuple[float, float]] = deque(maxlen=READ_FIFO_WORDS)
        self.room_from: float | None = None

    def room_at(self, time: float) -> float:
        """Return the time, ``time`` or later, from which the port's FIFO has room for a word."""
        # A word is shown per cycle at most: as few words are left as there are cycles until the
        # port is free.
        if self.free - time <= READ_FIFO_WORDS:
            return time
        at = self.room_from
        if at is None:
            at = self.room_from = self._roomy()
        return at if at > time else time

    def _roomy(self) -> float:
        """Return the time from which all but ``READ_FIFO_WORDS`` words have been shown."""
        left = float(READ_FIFO_WORDS)
        for first, last in reversed(self.shown):
            words = last - first + 1
            if words >= left:
                return last - left + 1
            left -= words
        return 0.0

    def room_for(self, time: float) -> float:
        """Return how many words the port's FIFO has room for at ``time``."""
        room = float(READ_FIFO_WORDS)
        if self.free <= time:
            return room
        for first, last in reversed(self.shown):
            if last <= time:
                break
            room -= last - (first - 1 if first > time else time)
        return room

    def ended(self, burst: Burst, last: int) -> None:
        """Note that the last word of a burst taken from ``due`` is on the port in ``last``."""
        raise NotImplementedError


class Dram:
    """The memory behind all ports: who is served when, and in which direction.

    Ports that wait share the bandwidth evenly, until one of them has its burst, another one comes
    or the memory changes its direction. Times are fractions of cycles, since a share is a fraction
    of a word per cycle.

    Args:
        clock: the simulated time.
        memory: bandwidth, latencies and cost of a change of direction.
    """

    def __init__(self, clock: Clock, memory: MemoryTiming) -> None:
        self.memory = memory
        self.readers: list[ReadingPort] = []
        self.writers: list[WritingPort] = []
        self._clock = clock
        self._rate = memory.bytes_per_cycle / WORD_BYTES
        self._writing = False
        self._turn = -1.0                   # direction kept until then, if the other one has work
        self._quantum = memory.turn_quantum_cycles - 1
        self._idle_from = 0.0
        self._time = 0.0      # calculated so far
        self._next = NEVER
        self._action: Action = self._decide

    def poke(self, cycle: int) -> None:
        """Look for work in ``cycle``, which is not in the past."""
        if cycle < self._next:
            self._next = cycle
            self._clock.at(cycle, self._action)

    def _decide(self) -> None:
        """Serve, wait or change the direction, step by step, up to ``_AHEAD`` cycles from now."""
        now = self._clock.now
        # An event of an earlier poke that a sooner one has replaced.
        if now != self._next:
            return
        self._next = NEVER
        time = max(self._time, float(now))
        limit = float(now + _AHEAD)
        while time < limit:
            time = self._write(time, limit) if self._writing else self._read(time, limit)
        if time < _NEVER:
            self._time = time
            self.poke(int(time))

    # Most of a prediction's time is spent in these two, so they call next to nothing.

    def _read(self, time: float, limit: float) -> float:
        """Read from ``time`` on, until ``limit`` or until the direction changes; return when.

        There may be nothing to wait for: then that is never.
        """
        readers, rate, turn = self.readers, self._rate, self._turn
        # Each round ends with one step: bursts are served until something changes, or time jumps to
        # the next port that has work. ``mine`` can be served now; ``soon`` is when the next port of
        # this direction joins them, ``wanted`` when the other direction first has work.
        # Nothing here gives the other direction work.
        wanted = _NEVER
        for other in self.writers:
            due = other.due
            if due and due[0].ready < wanted:
                wanted = due[0].ready
        while time < limit:
            mine: list[ReadingPort] = []
            heads: list[Burst] = []
            soon = _NEVER
            for port in readers:
                due = port.due
                if due:
                    head = due[0]
                    at = head.ready
                    # A port whose FIFO is full cannot take a word, whatever waits. There is room
                    # for sure if fewer words than it holds are to be shown.
                    if at <= time and port.free - time > READ_FIFO_WORDS:
                        at = port.room_at(time)
                    if at <= time:
                        mine.append(port)
                        heads.append(head)
                        continue
                    if at < soon:
                        soon = at
            if not mine:
                change = self._change(turn, _READ_IDLE, wanted)
                if change <= time:
                    return self._turned(time)
                if change < soon:
                    soon = change
                if soon >= _NEVER:
                    self._time = time
                    return soon
                time = soon
                continue
            # While both directions have work, each keeps the memory for a quantum, so that the cost
            # of a change is paid once for many bursts.
            if wanted <= time and time >= turn:
                return self._turned(time)
            share = rate / len(mine)
            stop = (turn if turn > wanted else wanted) - time
            cycles = soon - time
            if stop < cycles:
                cycles = stop
            rooms: list[float] = []
            for number, head in enumerate(heads):
                left = head.left
                need = left / share
                # The port shows one word per cycle. A memory that is faster fills the FIFO first,
                # then the port alone sets the pace.
                if share > 1:
                    room = mine[number].room_for(time)
                    rooms.append(room)
                    if left - room > need:
                        need = left - room
                if need < cycles:
                    cycles = need
            # A share of a burst may end within a cycle; whole cycles keep the loop going forward.
            if cycles < 1:
                cycles = 1.0
            after, end, served = time + 1, time + cycles, share * cycles
            for number, port in enumerate(mine):
                head = heads[number]
                words = served
                if rooms:
                    words = min(words, max(rooms[number], 0.0) + cycles)
                left = head.left
                # Rest of a rounding error: the burst is complete.
                if words > left - _LEAST:
                    words = left
                first = port.free
                if first < after:
                    first = after
                last = first + words - 1
                if last <= end:
                    # At ``end`` nothing waits in the FIFO, and no time before it is asked for.
                    last = end
                    if port.shown:
                        port.shown.clear()
                else:
                    port.shown.append((last - words + 1, last))
                port.free, port.room_from = last + 1, None
                if words == left:
                    port.ended(port.due.pop(0), ceil(last))
                else:
                    head.left = left - words
            time = self._idle_from = end
        return time

    def _write(self, time: float, limit: float) -> float:
        """Write from ``time`` on, as :meth:`_read` reads."""
        writers, rate, turn = self.writers, self._rate, self._turn
        wanted = _NEVER
        for other in self.readers:
            due = other.due
            if due:
                at = due[0].ready
                if at <= time and other.free - time > READ_FIFO_WORDS:
                    at = other.room_at(time)
                if at < wanted:
                    wanted = at
        while time < limit:
            mine: list[WritingPort] = []
            heads: list[Burst] = []
            soon = _NEVER
            for port in writers:
                due = port.due
                if due:
                    head = due[0]
                    at = head.ready
                    if at <= time:
                        mine.append(port)
                        heads.append(head)
                    elif at < soon:
                        soon = at
            if not mine:
                change = self._change(turn, 1, wanted)
                if change <= time:
                    return self._turned(time)
                if change < soon:
                    soon = change
                if soon >= _NEVER:
                    self._time = time
                    return soon
                time = soon
                continue
            if wanted <= time and time >= turn:
                return self._turned(time)
            share = rate / len(mine)
            stop = (turn if turn > wanted else wanted) - time
            cycles = soon - time
            if stop < cycles:
                cycles = stop
            for head in heads:
                need = head.left / share
                if need < cycles:
                    cycles = need
            if cycles < 1:
                cycles = 1.0
            words = share * cycles
            time += cycles
            for number, head in enumerate(heads):
                if words > head.left - _LEAST:
                    port = mine[number]
                    port.stored(port.due.pop(0), time)
                else:
                    head.left -= words
            self._idle_from = time
        return time

    def _change(self, turn: float, idle: int, wanted: float) -> float:
        """Return when a direction that has nothing to do is given up.

        It is held for ``idle`` cycles more, because its ports often ask again at once.
        """
        return max(min(turn, self._idle_from + idle - 1), wanted)

    def _turned(self, time: float) -> float:
        """Change the direction at ``time``; return when the memory moves data again."""
        self._writing = not self._writing
        self._idle_from = time = time + 1 + self.memory.turn_cycles
        self._turn = time + self._quantum
        return time
