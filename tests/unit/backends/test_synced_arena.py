"""Cache maintenance of the arena: random accesses against a model of a write-back cache."""

from __future__ import annotations

import numpy as np
import pytest

from pynq_train.backends.arena import LINE_BYTES, SyncedArena

SIZE = 16 * LINE_BYTES


class CachedBuffer(np.ndarray):
    """A buffer with separate host and device bytes, like cacheable memory of pynq."""

    dram: np.ndarray
    calls: list[str]
    whole: bool
    root: CachedBuffer

    def __array_finalize__(self, parent: object) -> None:
        if isinstance(parent, CachedBuffer):
            self.dram, self.calls, self.whole = parent.dram, parent.calls, parent.whole
            self.root = parent.root

    def _span(self) -> slice:
        start = self.ctypes.data - self.root.ctypes.data
        return slice(0, SIZE) if self.whole else slice(start, start + self.nbytes)

    def flush(self) -> None:
        self.calls.append("flush")
        span = self._span()
        dirty = self.root.view(np.ndarray)[span] != CLEAN[span]
        lines = dirty.reshape(-1, LINE_BYTES).any(axis=1).repeat(LINE_BYTES)
        host = self.root.view(np.ndarray)[span]
        self.dram[span][lines] = host[lines]
        CLEAN[span] = host

    def invalidate(self) -> None:
        self.calls.append("invalidate")
        span = self._span()
        self.root.view(np.ndarray)[span] = CLEAN[span] = self.dram[span]


CLEAN = np.zeros(SIZE, np.uint8)


def make(whole: bool) -> CachedBuffer:
    buffer = np.zeros(SIZE, np.uint8).view(CachedBuffer)
    buffer.dram, buffer.calls, buffer.whole = np.zeros(SIZE, np.uint8), [], whole
    buffer.root = buffer
    CLEAN[:] = 0
    return buffer


@pytest.mark.parametrize("whole", [False, True])
def test_host_and_device_never_lose_a_byte(whole: bool, rng: np.random.Generator) -> None:
    buffer = make(whole)
    arena, truth = SyncedArena(buffer, ranged=not whole), np.zeros(SIZE, np.uint8)
    for _ in range(2000):
        start, end = sorted(rng.integers(0, SIZE + 1, 2).tolist())
        data = rng.integers(0, 256, end - start).astype(np.uint8)
        choice = rng.integers(3)
        if choice == 0:
            arena.write(start, data)
            truth[start:end] = data
        elif choice == 1:
            assert (arena.read(start, end - start) == truth[start:end]).all()
        else:
            arena.before_run()
            assert (buffer.dram == truth).all()
            buffer.dram[start:end] = truth[start:end] = data
            arena.after_run()


def test_neighbouring_writes_are_flushed_once() -> None:
    buffer = make(whole=False)
    arena = SyncedArena(buffer, ranged=True)
    for start in range(0, 4 * LINE_BYTES, 8):
        arena.write(start, np.zeros(8, np.uint8))
    arena.before_run()
    arena.before_run()
    assert buffer.calls == ["flush"]
