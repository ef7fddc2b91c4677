"""Memory behind an AXI master: latency, random stalls, injected errors and protocol checks.

The channels are those of cocotbext-axi. Every burst is checked against the rules of an AXI3 HP
port: at most 16 beats of 8 bytes, incrementing, inside one page of 4 KB.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiRamRead, AxiRamWrite, AxiReadBus, AxiWriteBus

OKAY, SLVERR, DECERR = 0, 2, 3
_MAX_BEATS = 16
_PAGE_BYTES = 4096
# More requests than any master here has outstanding.
_REQUEST_QUEUE = 64


def split_runs(runs: list[tuple[int, int, bool]]) -> list[tuple[int, int]]:
    """Bursts ``(offset, words)`` that a master makes of runs ``(offset, words, last)``.

    Contiguous runs are joined until one is marked as last; bursts are cut greedily.
    """
    joined: list[list[int]] = []
    closed = True
    for offset, words, last in runs:
        if not closed and joined[-1][0] + 8 * joined[-1][1] == offset:
            joined[-1][1] += words
        else:
            joined.append([offset, words])
        closed = last
    bursts = []
    for offset, words in joined:
        while words:
            beats = min(words, _MAX_BEATS, (_PAGE_BYTES - offset % _PAGE_BYTES) // 8)
            bursts.append((offset, beats))
            offset, words = offset + 8 * beats, words - beats
    return bursts


def _pauses(rng: random.Random, knob: Callable[[], float]) -> Iterator[bool]:
    while True:
        yield rng.random() < knob()


class _Knobs:
    """Settings and records shared by both directions."""

    def __init__(self, dut: Any, prefix: str, letter: str, clock: Any, reset_n: Any) -> None:
        self.stall_request = 0.0
        self.stall_data = 0.0
        self.stall_response = 0.0
        self.latency_cycles = 0
        self.response: Callable[[int], int] = lambda address: OKAY
        self.bursts: list[tuple[int, int]] = []
        self.outstanding = 0
        self.max_outstanding = 0
        self.cycle = 0
        self.answered = 0
        self.strays = 0
        self._dut, self._prefix, self._letter, self._clk = dut, prefix, letter, clock
        self._reset_n = reset_n
        self._stamps: deque[int] = deque()
        cocotb.start_soon(self._watch())

    def _pin(self, name: str) -> Any:
        return getattr(self._dut, f"{self._prefix}_{name}")

    async def _watch(self) -> None:
        """Check each request, and count requests without a complete answer."""
        a = f"a{self._letter}"
        valid, ready = self._pin(f"{a}valid"), self._pin(f"{a}ready")
        address_pin, length_pin = self._pin(f"{a}addr"), self._pin(f"{a}len")
        end = ["rvalid", "rready", "rlast"] if self._letter == "r" else ["bvalid", "bready"]
        end_pins = [self._pin(name) for name in end]
        stalled: tuple[int, int] | None = None
        while True:
            await RisingEdge(self._clk)
            self.cycle += 1
            if not int(self._reset_n.value):
                stalled = None
                self.outstanding = 0
                self._stamps.clear()
                continue
            if int(valid.value):
                address, beats = int(address_pin.value), int(length_pin.value) + 1
                assert stalled in (None, (address, beats)), "a stalled request changed"
                stalled = (address, beats)
                if int(ready.value):
                    stalled = None
                    assert address % 8 == 0 and beats <= _MAX_BEATS, (hex(address), beats)
                    assert address % _PAGE_BYTES + 8 * beats <= _PAGE_BYTES, (hex(address), beats)
                    self.bursts.append((address, beats))
                    self._stamps.append(self.cycle)
                    self.outstanding += 1
                    self.max_outstanding = max(self.max_outstanding, self.outstanding)
            else:
                assert stalled is None, "a request was taken back"
            if not all(int(pin.value) for pin in end_pins):
                continue
            if self.strays:
                self.strays -= 1
            else:
                self.outstanding -= 1
                self.answered += 1

    async def _wait_latency(self) -> None:
        due = self._stamps.popleft() + self.latency_cycles
        while self.cycle < due:
            await RisingEdge(self._clk)

    def forget(self) -> None:
        """Start new records (between two parts of a test)."""
        self.bursts.clear()
        self.max_outstanding = self.outstanding


class ReadMemory(AxiRamRead):
    """Memory for a read master; ``knobs`` sets stalls, latency and responses per address.

    The contents are ``image`` (bytes), placed at the address ``base``; a read elsewhere fails.
    """

    def __init__(
        self, dut: Any, prefix: str, clock: Any, reset_n: Any, image: bytearray, base: int,
        rng: random.Random,
    ) -> None:
        """Attach to the signals ``<prefix>_ar*`` and ``<prefix>_r*``."""
        self.image, self.base = image, base
        self.knobs = _Knobs(dut, prefix, "r", clock, reset_n)
        logging.getLogger(f"cocotb.{dut._name}.{prefix}").setLevel(logging.WARNING)
        bus = AxiReadBus.from_prefix(dut, prefix)
        super().__init__(bus, clock, reset_n, reset_active_level=False, size=4096)
        self.ar_channel.queue_occupancy_limit = _REQUEST_QUEUE
        self.ar_channel.set_pause_generator(_pauses(rng, lambda: self.knobs.stall_request))
        self.r_channel.set_pause_generator(_pauses(rng, lambda: self.knobs.stall_data))

    async def _process_read(self) -> None:
        while True:
            request = await self.ar_channel.recv()
            await self.knobs._wait_latency()
            assert int(request.arsize) == 3 and int(request.arburst) == 1
            beats = int(request.arlen) + 1
            for n in range(beats):
                address = int(request.araddr) + 8 * n
                at = address - self.base
                assert 0 <= at <= len(self.image) - 8, f"read outside the arena: {address:#x}"
                beat = self.r_channel._transaction_obj()
                beat.rid = 0
                beat.rlast = int(n == beats - 1)
                beat.rresp = self.knobs.response(address)
                beat.rdata = int.from_bytes(self.image[at:at + 8], "little")
                await self.r_channel.send(beat)

    async def stray(self, data: int, last: bool) -> None:
        """Send a word that nobody asked for, before all that is owed."""
        beat = self.r_channel._transaction_obj()
        beat.rid = beat.rresp = 0
        beat.rlast, beat.rdata = int(last), data
        self.knobs.strays += last
        await self.r_channel.send(beat)


class WriteMemory(AxiRamWrite):
    """Memory for a write master; ``knobs`` sets stalls, latency and responses per address.

    ``image`` (bytes at address ``base``) receives the data; a write elsewhere fails.
    """

    def __init__(
        self, dut: Any, prefix: str, clock: Any, reset_n: Any, image: bytearray, base: int,
        rng: random.Random,
    ) -> None:
        """Attach to the signals ``<prefix>_aw*``, ``<prefix>_w*`` and ``<prefix>_b*``."""
        self.image, self.base = image, base
        self.knobs = _Knobs(dut, prefix, "w", clock, reset_n)
        logging.getLogger(f"cocotb.{dut._name}.{prefix}").setLevel(logging.WARNING)
        bus = AxiWriteBus.from_prefix(dut, prefix)
        super().__init__(bus, clock, reset_n, reset_active_level=False, size=4096)
        self.aw_channel.queue_occupancy_limit = _REQUEST_QUEUE
        self.w_channel.queue_occupancy_limit = _MAX_BEATS * _REQUEST_QUEUE
        self.aw_channel.set_pause_generator(_pauses(rng, lambda: self.knobs.stall_request))
        self.w_channel.set_pause_generator(_pauses(rng, lambda: self.knobs.stall_data))
        self.b_channel.set_pause_generator(_pauses(rng, lambda: self.knobs.stall_response))

    async def _process_write(self) -> None:
        while True:
            request = await self.aw_channel.recv()
            assert int(request.awsize) == 3 and int(request.awburst) == 1
            beats = int(request.awlen) + 1
            for n in range(beats):
                address = int(request.awaddr) + 8 * n
                at = address - self.base
                assert 0 <= at <= len(self.image) - 8, f"write outside the arena: {address:#x}"
                beat = await self.w_channel.recv()
                assert int(beat.wstrb) == 0xFF
                assert int(beat.wlast) == int(n == beats - 1), "WLAST in the wrong beat"
                self.image[at:at + 8] = int(beat.wdata).to_bytes(8, "little")
            await self.knobs._wait_latency()
            answer = self.b_channel._transaction_obj()
            answer.bid = 0
            answer.bresp = self.knobs.response(int(request.awaddr))
            await self.b_channel.send(answer)

    async def stray(self) -> None:
        """Send an answer that nobody asked for, before all that is owed."""
        answer = self.b_channel._transaction_obj()
        answer.bid = answer.bresp = 0
        self.knobs.strays += 1
        await self.b_channel.send(answer)
