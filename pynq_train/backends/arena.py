"""The arena as the processor sees it: which bytes must be flushed or invalidated when.

The ports of the engine bypass the processor's cache, so both see the same memory only after a flush
(the cache's lines are written to memory) or an invalidate (they are thrown away).

A flush that is lost would let the engine compute with old bytes. So each span that is flushed has a
witness: a line whose new bytes differ from the old ones. Behind the flush it is thrown out of the
cache, with lines behind it, and read again, from memory: old bytes tell that the flush had no
effect.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from pynq_train.backends.cache_calls import Calls, own_calls
from pynq_train.errors import HardwareFault

_LOG = logging.getLogger(__name__)

LINE_BYTES = 64
"""Cache line: the longest of the supported processors."""
FLUSHES = 3
"""So often a span is flushed until memory holds it."""
_WITNESS_BYTES = 64 * LINE_BYTES
"""The lines from a witness on are looked at as well, as many as a page holds. A line in which the
engine has left just what the processor writes now, while the processor still sees older bytes,
would be no witness."""
_FIRST_BYTES, _MOST_BYTES = 64 * LINE_BYTES, 4096 * LINE_BYTES
"""Bytes that are compared at once in search of a witness: mostly the first ones differ."""
_MOST_PARTS = 64
"""Spans of the buffer whose calls are kept."""


class SyncedArena:
    """A cacheable buffer shared with the engine.

    The processor's writes are flushed before a run; what a run may have changed is invalidated
    before it is read. A partly written cache line is invalidated first, so that a flush never
    carries old bytes over new ones.

    Args:
        buffer: flat uint8 PynqBuffer, a multiple of a cache line, aligned to one.
        ranged: flush and invalidate honour ranges; else each is of the whole buffer.
        calls: returns what flushes and what invalidates a part of the buffer.

    Attributes:
        lost_flushes: flushes that had no effect, so far.
    """

    def __init__(self, buffer: Any, ranged: bool,
                 calls: Callable[[Any], Calls] = own_calls) -> None:
        self._buffer = buffer
        self._host = buffer.view(np.ndarray)
        self._ranged = ranged
        self._calls = calls
        self._parts: dict[tuple[int, int], Calls] = {}
        self._dirty: list[tuple[int, int]] = []
        self._written: list[tuple[int, int]] = []
        self._witnesses: list[int] = []
        # Also at first: what stands in memory is not known.
        self._stale = True
        self.lost_flushes = 0

    def write(self, offset: int, data: np.ndarray) -> None:
        """Copy uint8 ``data [bytes]`` to byte ``offset``.

        Raises:
            HardwareFault: what had to be flushed before does not reach the memory.
        """
        end = offset + data.nbytes
        if end == offset:
            return
        # A witness must keep the bytes that make it one until it is looked at.
        for first, behind in self._written:
            if offset < behind and first < end:
                self.before_run()
                break
        low, high = _lines(offset, end)
        # A line that is written in part keeps old bytes beside the new ones, and a flush writes all
        # of it: they must be those that the engine has left.
        if low != offset and not self._pending(low, low + LINE_BYTES):  # else that has been done
            self._refresh(low, low + LINE_BYTES)
        if high != end and not self._pending(high - LINE_BYTES, high):
            self._refresh(high - LINE_BYTES, high)
        witness = self._differs(offset, data)
        if witness is None and self._stale:
            # The same bytes as the processor last saw; the engine may have left others.
            self._refresh(low, high)
            witness = self._differs(offset, data)
        if witness is None:
            return  # memory holds them
        self._host[offset:end] = data
        self._dirty.append((low, high))
        self._written.append((offset, end))
        self._witnesses.append(witness)

    def read(self, offset: int, nbytes: int) -> np.ndarray:
        """Return a copy of ``nbytes`` bytes at ``offset``: uint8 ``[nbytes]``.

        Raises:
            HardwareFault: what had to be flushed before does not reach the memory.
        """
        self._refresh(*_lines(offset, offset + nbytes))
        found: np.ndarray = self._host[offset : offset + nbytes].copy()
        return found

    def before_run(self) -> None:
        """Flush everything that was written; call it before the engine runs.

        Raises:
            HardwareFault: the memory does not hold it afterwards.
        """
        if not self._dirty:
            return
        spans = _merged(self._dirty, self._witnesses) if len(self._dirty) > 1 else [
            (*self._dirty[0], self._witnesses[0])]
        if not self._ranged:
            # What is invalidated is the whole buffer, so each line that was written is a witness.
            self._flush(0, self._host.size, [(low, high) for low, high, _ in spans])
        else:
            for low, high, line in spans:
                self._flush(low, high, [(line, min(line + _WITNESS_BYTES, high))])
        self._dirty.clear()
        self._written.clear()
        self._witnesses.clear()

    def after_run(self) -> None:
        """Note that the engine may have changed memory: the processor's view is old now."""
        # Nothing is invalidated yet: only what is read later has to be.
        self._stale = True

    def _pending(self, low: int, high: int) -> bool:
        """Return whether a line of bytes low .. high - 1 was written and not flushed."""
        return bool(self._dirty) and any(low < end and start < high for start, end in self._dirty)

    def _differs(self, offset: int, data: np.ndarray) -> int | None:
        """Return the line of the first byte of ``data`` that the processor sees otherwise."""
        start, size = 0, _FIRST_BYTES
        while start < data.nbytes:
            chunk = data[start : start + size]
            at = offset + start
            other = self._host[at : at + chunk.nbytes] != chunk
            first = int(other.argmax())
            if other[first]:
                return (at + first) // LINE_BYTES * LINE_BYTES
            start, size = start + size, min(2 * size, _MOST_BYTES)
        return None

    def _flush(self, low: int, high: int, witnesses: list[tuple[int, int]]) -> None:
        """Flush bytes low .. high - 1 until memory holds the lines of ``witnesses``.

        Raises:
            HardwareFault: it does not.
        """
        host = self._host
        parts = [host[start:end] for start, end in witnesses]
        wanted = [part.tobytes() for part in parts]
        for _ in range(FLUSHES):
            self._sync("flush", low, high)
            self._sync("invalidate", witnesses[0][0], witnesses[-1][1])
            if [part.tobytes() for part in parts] == wanted:
                return
            self.lost_flushes += 1
            _LOG.warning("a flush of the processor's cache had no effect: bytes %d..%d of the "
                         "arena (%d so far)", low, high, self.lost_flushes)
            for part, data in zip(parts, wanted):
                part[:] = np.frombuffer(data, np.uint8)
        raise HardwareFault(
            "the processor's cache cannot be flushed", expected=f"bytes {low}..{high} in memory",
            found=f"old bytes there, {FLUSHES} times",
            fix="run it again; if that does not help, restart the board")

    def _of_part(self, low: int, high: int) -> Calls:
        """Return what synchronises bytes low .. high - 1; every step asks for the same few."""
        found = self._parts.get((low, high))
        if found is None:
            if len(self._parts) >= _MOST_PARTS:
                self._parts.clear()
            found = self._parts[low, high] = self._calls(self._buffer[low:high])
        return found

    def _refresh(self, low: int, high: int) -> None:
        """Let the processor see cache lines low .. high - 1 (bytes) as they stand in memory."""
        if not self._stale or low == high:
            return
        # An invalidate drops lines that were not flushed.
        if not self._ranged or self._pending(low, high):
            self.before_run()
        self._sync("invalidate", low, high)
        if not self._ranged:
            # The whole buffer was invalidated, not only the range. With ranges other parts stay
            # old, so the mark stays.
            self._stale = False

    def _sync(self, action: str, low: int, high: int) -> None:
        """Flush or invalidate bytes low .. high - 1, without ranges the whole buffer.

        Raises:
            HardwareFault: pynq refuses.
        """
        calls = self._of_part(low, high) if self._ranged else self._of_part(0, self._host.size)
        try:
            calls[action == "invalidate"]()
        except (OSError, RuntimeError) as error:
            raise HardwareFault(f"the processor's cache: {action} of bytes {low}..{high} failed",
                                found=error, fix="run it again; if that does not help, restart the "
                                "board") from error


def _lines(start: int, end: int) -> tuple[int, int]:
    """Return the whole cache lines that hold bytes start .. end - 1: (first byte, byte behind)."""
    return start // LINE_BYTES * LINE_BYTES, -(-end // LINE_BYTES) * LINE_BYTES


def _merged(spans: list[tuple[int, int]], witnesses: list[int]) -> list[tuple[int, int, int]]:
    """Return the union of spans, sorted, each with a witness; spans that touch become one."""
    merged: list[tuple[int, int, int]] = []
    for (low, high), witness in sorted(zip(spans, witnesses)):
        if merged and low <= merged[-1][1]:
            first, end, line = merged[-1]
            merged[-1] = first, max(high, end), line
        else:
            merged.append((low, high, witness))
    return merged
