"""Cache maintenance of the arena: random accesses against a model of a write-back cache."""

from __future__ import annotations

import numpy as np
import pytest

from pynq_train.backends.arena import FLUSHES, LINE_BYTES, SyncedArena
from pynq_train.errors import HardwareFault

SIZE = 16 * LINE_BYTES


class CachedBuffer(np.ndarray):
    """A buffer with separate host and device bytes, like cacheable memory of pynq."""

    dram: np.ndarray
    calls: list[str]
    whole: bool
    root: CachedBuffer
    losses: list[int]

    def __array_finalize__(self, parent: object) -> None:
        if isinstance(parent, CachedBuffer):
            self.dram, self.calls, self.whole = parent.dram, parent.calls, parent.whole
            self.root, self.losses = parent.root, parent.losses

    def _span(self) -> slice:
        start = self.ctypes.data - self.root.ctypes.data
        return slice(0, SIZE) if self.whole else slice(start, start + self.nbytes)

    def flush(self) -> None:
        self.calls.append("flush")
        self.losses[0] -= 1
        if self.losses[0] < 0 and self.losses[1]:
            self.losses[1] -= 1
            return
        span = self._span()
        dirty = self.root.view(np.ndarray)[span] != CLEAN[span]
        lines = dirty.reshape(-1, LINE_BYTES).any(axis=1).repeat(LINE_BYTES)
        host = self.root.view(np.ndarray)[span]
        self.dram[span][lines] = host[lines]
        CLEAN[span] = host

    def lose(self, times: int, behind: int = 0) -> None:
        """Lose flushes: ``times`` of them behind some more."""
        self.losses[:] = behind, times, times

    def lost_now(self) -> int:
        """Flushes that were lost since :meth:`lose`; the others are not lost any more."""
        lost = self.losses[2] - self.losses[1]
        self.lose(0)
        return lost

    def invalidate(self) -> None:
        self.calls.append("invalidate")
        span = self._span()
        self.root.view(np.ndarray)[span] = CLEAN[span] = self.dram[span]


CLEAN = np.zeros(SIZE, np.uint8)


def make(whole: bool) -> CachedBuffer:
    buffer = np.zeros(SIZE, np.uint8).view(CachedBuffer)
    buffer.dram, buffer.calls, buffer.whole = np.zeros(SIZE, np.uint8), [], whole
    buffer.root, buffer.losses = buffer, [0, 0, 0]
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
        arena.write(start, np.full(8, 1 + start % 7, np.uint8))
    buffer.calls.clear()
    arena.before_run()
    arena.before_run()
    assert buffer.calls == ["flush", "invalidate"]  # and the witness is read again


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("times", [1, FLUSHES - 1])
def test_a_lost_flush_is_repeated(whole: bool, times: int, rng: np.random.Generator,
                                  caplog: pytest.LogCaptureFixture) -> None:
    """Whichever flush of a round is lost: memory holds all that was written when it runs."""
    buffer = make(whole)
    arena, truth = SyncedArena(buffer, ranged=not whole), np.zeros(SIZE, np.uint8)
    lost = 0
    for trial in range(200):
        for _ in range(rng.integers(1, 5)):
            start, end = sorted(rng.integers(0, SIZE + 1, 2).tolist())
            # Often few bytes differ from what stands there.
            data = truth[start:end] ^ (rng.random(end - start) < rng.choice([0, 0.02, 1]))
            arena.write(start, data.astype(np.uint8))
            truth[start:end] = data
        buffer.lose(times, behind=int(rng.integers(0, 3)))
        arena.before_run()
        lost += buffer.lost_now()
        assert (buffer.dram == truth).all(), trial
        at = int(rng.integers(0, SIZE))
        buffer.dram[at] = truth[at] = truth[at] ^ 1
        arena.after_run()
    # Some change nothing: the engine had left the same bytes, which the processor had not seen.
    assert 30 < 0.9 * lost <= arena.lost_flushes <= lost
    assert "a flush of the processor's cache had no effect" in caplog.text


@pytest.mark.parametrize("whole", [False, True])
def test_flushes_that_are_all_lost(whole: bool) -> None:
    """A typed error; what was written is not forgotten, and reaches memory when flushes work."""
    buffer = make(whole)
    arena = SyncedArena(buffer, ranged=not whole)
    arena.write(100, np.arange(1, 200, dtype=np.uint8))
    buffer.lose(2 * FLUSHES)
    for _ in range(2):
        with pytest.raises(HardwareFault, match=r"cache cannot be flushed: expected bytes .* in "
                           r"memory, found old bytes there, 3 times; run it again"):
            arena.before_run()
    arena.before_run()
    assert (buffer.dram[100:299] == np.arange(1, 200)).all()


@pytest.mark.parametrize("error", [OSError("no"), RuntimeError("no")])
def test_pynq_refuses_to_flush(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    arena = SyncedArena(make(False), ranged=True)
    arena.write(64, np.ones(3, np.uint8))

    def fails(self: CachedBuffer) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(CachedBuffer, "flush", fails)
        with pytest.raises(HardwareFault, match=r"flush of bytes 64\.\.128 failed: found no; run"):
            arena.before_run()
    arena.before_run()


def test_bytes_that_stand_in_memory_are_not_flushed() -> None:
    """Neither what the processor wrote, nor what the engine left there."""
    buffer = make(False)
    arena = SyncedArena(buffer, ranged=True)
    ones = np.ones(200, np.uint8)
    arena.write(0, ones)
    arena.before_run()
    arena.after_run()
    buffer.calls.clear()
    arena.write(0, ones)
    arena.before_run()
    assert "flush" not in buffer.calls
    arena.after_run()
    buffer.dram[130] = 7  # of the engine: the processor still sees a one
    arena.write(0, ones)
    arena.before_run()
    assert buffer.calls.count("flush") == 1 and buffer.dram[130] == 1
