"""Valid/ready drivers and monitors with random stalls, for cocotb benches."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge


class StreamSource:
    """Drives items onto a valid/ready stream; valid never waits for ready.

    An item is a mapping from field name to value; ``fields`` maps the same names to signals.
    ``stall`` is the probability that the source pauses before an item.
    """

    def __init__(
        self, clock: Any, valid: Any, ready: Any, fields: Mapping[str, Any], rng: random.Random,
        stall: float = 0.0,
    ) -> None:
        """Attach to the signals and start driving."""
        self.items: deque[Mapping[str, int]] = deque()
        self.stall = stall
        self.sent = 0
        self._clock, self._valid, self._ready, self._fields = clock, valid, ready, fields
        self._rng = rng
        valid.value = 0
        self._task = cocotb.start_soon(self._run())

    async def _run(self) -> None:
        holding = False
        while True:
            await RisingEdge(self._clock)
            if holding and int(self._ready.value):
                holding = False
                self.items.popleft()
                self.sent += 1
            if not holding and self.items and self._rng.random() >= self.stall:
                holding = True
                for name, signal in self._fields.items():
                    signal.value = self.items[0][name]
            self._valid.value = int(holding)

    def stop(self) -> None:
        """Stop driving and drop what has not been taken."""
        self._task.cancel()
        self._valid.value = 0
        self.items.clear()


class StreamSink:
    """Takes items from a valid/ready stream and checks that a stalled item stays unchanged.

    ``stall`` is the probability that ready is low in a cycle. ``received`` holds the payload
    values, ``cycles`` the cycle of each.
    """

    def __init__(
        self, clock: Any, valid: Any, ready: Any, payload: Any, rng: random.Random,
        stall: float = 0.0, reset_n: Any = None,
    ) -> None:
        """Attach to the signals and start taking; nothing counts while ``reset_n`` is low."""
        self.received: list[int] = []
        self.cycles: list[int] = []
        self.stall = stall
        self.cycle = 0
        self._clock, self._valid, self._ready, self._payload = clock, valid, ready, payload
        self._rng, self._reset_n = rng, reset_n
        ready.value = 0
        self._task = cocotb.start_soon(self._run())

    async def _run(self) -> None:
        ready = False
        stalled: int | None = None
        while True:
            await RisingEdge(self._clock)
            self.cycle += 1
            if self._reset_n is not None and not int(self._reset_n.value):
                stalled = None
                continue
            valid = int(self._valid.value)
            if stalled is not None:
                assert valid, "valid fell before the item was taken"
            if valid:
                value = int(self._payload.value)
                assert stalled is None or stalled == value, "a stalled item changed"
                stalled = None if ready else value
                if ready:
                    self.received.append(value)
                    self.cycles.append(self.cycle)
            ready = self._rng.random() >= self.stall
            self._ready.value = int(ready)

    def stop(self) -> None:
        """Stop taking; ready falls."""
        self._task.cancel()
        self._ready.value = 0
