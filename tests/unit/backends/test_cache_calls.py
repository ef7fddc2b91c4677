"""Which calls flush and invalidate a part of a buffer, with each generation of pynq."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pynq")

from pynq_train.backends.arena import SyncedArena
from pynq_train.backends.buffer import PynqBuffer
from pynq_train.backends.cache_calls import calls_for

SIZE = 8192
TO, FROM = "to the device", "from the device"


class Xrt:
    """The buffer object of XRT, with a cache: two copies, of which ``sync`` copies a range."""

    def __init__(self, host: np.ndarray, ranges: bool = True) -> None:
        self.host, self.dram, self.ranges = host, np.zeros(SIZE, np.uint8), ranges
        self.calls: list[tuple[Any, ...]] = []

    def sync(self, direction: str, *span: int) -> None:
        self.calls.append((direction, *span))
        if span and not self.ranges:
            raise TypeError("sync(): incompatible function arguments")
        size, offset = span or (SIZE, 0)
        part = slice(offset, offset + size)
        if direction == TO:
            self.dram[part] = self.host[part]
        else:
            self.host[part] = self.dram[part]


class NewDevice:
    """A device of pynq 3.1: it leaves offset and size out."""

    def flush(self, bo: Xrt, offset: int, address: int, nbytes: int) -> None:
        bo.sync(TO)

    def invalidate(self, bo: Xrt, offset: int, address: int, nbytes: int) -> None:
        bo.sync(FROM)


def new_buffer(ranges: bool = True) -> tuple[PynqBuffer, Xrt]:
    buffer = PynqBuffer(SIZE, np.uint8, device=NewDevice(), device_address=1 << 28)
    buffer[:] = 0
    buffer.bo = xrt = Xrt(buffer.view(np.ndarray), ranges)
    return buffer, xrt


@pytest.fixture
def pyxrt(monkeypatch: pytest.MonkeyPatch) -> None:
    directions = SimpleNamespace(XCL_BO_SYNC_BO_TO_DEVICE=TO, XCL_BO_SYNC_BO_FROM_DEVICE=FROM)
    monkeypatch.setitem(sys.modules, "pyxrt", SimpleNamespace(xclBOSyncDirection=directions))


@pytest.mark.usefixtures("pyxrt")
def test_pynq_3_1_synchronises_ranges_of_the_object_itself(rng: np.random.Generator) -> None:
    buffer, xrt = new_buffer()
    arena = SyncedArena(buffer, *calls_for(buffer, buffer.device, (3, 1)))
    truth = np.zeros(SIZE, np.uint8)
    xrt.calls.clear()
    for _ in range(300):
        start, end = sorted(rng.integers(0, SIZE + 1, 2).tolist())
        truth[start:end] = data = rng.integers(0, 256, end - start).astype(np.uint8)
        arena.write(start, data)
        arena.before_run()
        assert (xrt.dram == truth).all()
        at = int(rng.integers(0, SIZE))  # what the engine writes
        xrt.dram[at] = truth[at] = truth[at] ^ 1
        arena.after_run()
        assert arena.read(at, 1) == truth[at]
    assert {call[0] for call in xrt.calls} == {TO, FROM}
    assert all(len(call) == 3 for call in xrt.calls), "a call without a range"
    assert sum(call[1] for call in xrt.calls) < 0.8 * SIZE * len(xrt.calls)


@pytest.mark.parametrize("why", ["no pyxrt", "no ranges", "no object"])
def test_a_whole_buffer_where_ranges_do_not_go(why: str, request: pytest.FixtureRequest) -> None:
    if why != "no pyxrt":
        request.getfixturevalue("pyxrt")
    buffer, xrt = new_buffer(ranges=why != "no ranges")
    if why == "no object":
        buffer.bo = 7
        ranged, _ = calls_for(buffer, buffer.device, (3, 1))
        assert not ranged
        return
    ranged, calls = calls_for(buffer, buffer.device, (3, 1))
    assert not ranged
    arena = SyncedArena(buffer, ranged, calls)
    arena.write(100, np.arange(50, dtype=np.uint8))
    xrt.calls.clear()
    arena.before_run()
    assert xrt.calls == [(TO,), (FROM,)]
    assert (xrt.dram[100:150] == np.arange(50)).all()


@pytest.mark.parametrize(("version", "own", "wanted"), [
    ((3, 0), None, True), ((3, 0), False, False), ((3, 1), True, True), ((4, 0), True, True)])
def test_a_device_says_whether_its_calls_honour_ranges(
        version: tuple[int, int], own: bool | None, wanted: bool) -> None:
    buffer, _ = new_buffer()
    seen: list[tuple[Any, ...]] = []
    device = buffer.device = SimpleNamespace(
        flush=lambda *where: seen.append(("flush", *where)),
        invalidate=lambda *where: seen.append(("invalidate", *where)))
    if own is not None:
        device.ranged_sync = own
    ranged, calls = calls_for(buffer, device, version)
    assert ranged == wanted
    part = buffer[128:256]
    where = buffer.bo, 128, buffer.virtual_address + 128, 128
    for call in calls(part):
        call()
    assert seen == [("flush", *where), ("invalidate", *where)]
    device.flush = lambda *where: seen.append(("patched",))  # the device is asked at each call
    calls(part)[0]()
    assert seen[-1] == ("patched",)
    part.coherent = True  # memory without a cache in between
    for call in calls(part):
        call()
    assert seen[-1] == ("patched",)
