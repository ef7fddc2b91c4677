"""The arena as the processor sees it: which bytes must be flushed or invalidated when.

The ports of the engine bypass the processor's cache, so both see the same memory only after a flush
(the cache's lines are written to memory) or an invalidate (they are thrown away).
"""

from __future__ import annotations

from typing import Any

import numpy as np

LINE_BYTES = 64
"""Cache line: the longest of the supported processors."""


_MOST_PARTS = 64
"""Spans of the buffer that are kept."""


class SyncedArena:
    """A cacheable buffer shared with the engine.

    The processor's writes are flushed before a run; what a run may have changed is invalidated
    before it is read. A partly written cache line is invalidated first, so that a flush never
    carries old bytes over new ones.

    Args:
        buffer: flat uint8 PynqBuffer, a multiple of a cache line, aligned to one.
        ranged: flush and invalidate honour ranges (pynq 3.1 and newer synchronise all of a
            buffer on boards).
    """

    def __init__(self, buffer: Any, ranged: bool) -> None:
        self._buffer = buffer
        self._host = buffer.view(np.ndarray)
        self._ranged = ranged
        self._parts: dict[tuple[int, int], Any] = {}
        self._dirty: list[tuple[int, int]] = []
        self._stale = False

    def write(self, offset: int, data: np.ndarray) -> None:
        """Copy uint8 ``data [bytes]`` to byte ``offset``."""
        end = offset + data.nbytes
        low, high = _lines(offset, end)
        # A line that is written in part keeps old bytes beside the new ones, and a flush writes all
        # of it: they must be those that the engine has left.
        if low != offset:
            self._refresh(low, low + LINE_BYTES)
        if high != end:
            self._refresh(high - LINE_BYTES, high)
        self._host[offset:end] = data
        if data.nbytes:
            self._dirty.append((low, high))

    def read(self, offset: int, nbytes: int) -> np.ndarray:
        """Return a copy of ``nbytes`` bytes at ``offset``: uint8 ``[nbytes]``."""
        self._refresh(*_lines(offset, offset + nbytes))
        return np.array(self._host[offset : offset + nbytes])

    def before_run(self) -> None:
        """Flush everything that was written; call it before the engine runs."""
        if self._dirty and not self._ranged:
            self._buffer.flush()
        else:
            for low, high in _merged(self._dirty):
                self._part(low, high).flush()
        self._dirty.clear()

    def after_run(self) -> None:
        """Note that the engine may have changed memory: the processor's view is old now."""
        # Nothing is invalidated yet: only what is read later has to be.
        self._stale = True

    def _part(self, low: int, high: int) -> Any:
        """Return bytes low .. high - 1 of the buffer; every step asks for the same few."""
        found = self._parts.get((low, high))
        if found is None:
            if len(self._parts) >= _MOST_PARTS:
                self._parts.clear()
            found = self._parts[low, high] = self._buffer[low:high]
        return found

    def _refresh(self, low: int, high: int) -> None:
        """Let the processor see cache lines low .. high - 1 (bytes) as they stand in memory."""
        if not self._stale or low == high:
            return
        self.before_run()  # an invalidate may drop lines that were not flushed
        if self._ranged:
            self._part(low, high).invalidate()
        else:
            self._buffer.invalidate()
            # The whole buffer was invalidated, not only the range. With ranges other parts stay
            # old, so the mark stays.
            self._stale = False


def _lines(start: int, end: int) -> tuple[int, int]:
    """Return the whole cache lines that hold bytes start .. end - 1: (first byte, byte behind)."""
    return start // LINE_BYTES * LINE_BYTES, -(-end // LINE_BYTES) * LINE_BYTES


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the union of spans, sorted; spans that touch become one."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(spans):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged
