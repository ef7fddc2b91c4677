"""Cocotb bench of pt_grad_queue: segments as the drain pushes them, order, room and rate."""

from __future__ import annotations

import os
import random
from collections import deque
from itertools import product
from typing import Any

import cocotb
from client_model import at_most
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly

SEED = int(os.environ.get("PT_SEED", "1"))
SUMS = int(os.environ["PT_SUMS"])
SLOTS = SUMS // 64
AHEAD = 8
"""Sums that the queue reads ahead of its output."""
Word = tuple[int, int, int, int, int, int]
"""Sums, lane, block, ch, kept lanes, last."""


class Queue:
    """Clock, the drain's side and the update unit's side, and what must come out."""

    def __init__(self, dut: Any) -> None:
        """Bind the design."""
        self.dut = dut
        self.rng = random.Random(SEED)
        self.words: deque[Word] = deque()
        self.expected: deque[int] = deque()
        self.segment: list[int] = []
        self.begun = self.sent = self.cycle = 0
        self.room = self.closed = False
        self.shown: int | None = None
        self.gaps = 0

    async def start(self) -> None:
        """Reset."""
        for name in ("push_valid_i", "ready_i", "rst_ni"):
            getattr(self.dut, name).value = 0
        Clock(self.dut.clk_i, 10, "ns").start()
        for _ in range(4):
            await FallingEdge(self.dut.clk_i)
        self.dut.rst_ni.value = 1

    def begin(self, keep: int) -> None:
        """Begin a segment of random sums, pushed ch by ch, then lane by lane, block by block."""
        sums = {place: self.rng.getrandbits(48) for place in product(range(3), range(16), range(4))}
        for ch, lane, block in product(range(4), range(3), range(4)):
            flat = sum(sums[lane, 4 * block + j, ch] << 48 * j for j in range(4))
            self.words.append((flat, lane, block, ch, keep, int(ch == 3 and lane == 2
                                                               and block == 3)))
        self.segment = [value for (lane, _, _), value in sums.items() if keep >> lane & 1]

    async def tick(self, push: bool, ready: bool) -> bool:
        """One cycle; returns whether a sum was taken."""
        dut = self.dut
        await FallingEdge(dut.clk_i)
        self.cycle += 1
        push = push and bool(self.words)
        dut.push_valid_i.value = int(push)
        last, begun = False, self.begun
        if push:
            flat, lane, block, ch, keep, last_bit = self.words.popleft()
            last = bool(last_bit)
            dut.push_sums_i.value, dut.push_lane_i.value = flat, lane
            dut.push_block_i.value, dut.push_ch_i.value = block, ch
            dut.push_keep_i.value = keep
            if (lane, block, ch) == (0, 0, 0):
                self.begun += keep.bit_count()
        dut.push_last_i.value = int(last)
        dut.ready_i.value = int(ready)
        await ReadOnly()
        self.room = bool(int(dut.room_o.value))
        if self.room:
            assert begun - (self.sent + AHEAD) // 64 <= SLOTS - 3, "room without place"
        if self.begun - self.sent // 64 <= SLOTS - 3:
            assert self.room, f"no room with {self.begun} lanes begun, {self.sent} sums out"
        taken = False
        if int(dut.valid_o.value):
            value = int(dut.data_o.value)
            assert self.expected, "a sum that was not kept, or too early"
            assert value == self.expected[0], (
                f"sum {self.sent}: {value:#x}, expected {self.expected[0]:#x}")
            taken = ready
            if taken:
                self.expected.popleft()
                self.sent += 1
        assert self.shown is None or int(dut.valid_o.value), "valid_o fell before ready_i"
        self.shown = self.sent if int(dut.valid_o.value) and not taken else None
        if last:  # whole segments only come out
            self.expected.extend(self.segment)
        return taken


@cocotb.test()
async def random_segments(dut: Any) -> None:
    """Random kept lanes, gaps in the pushes and pauses of the consumer."""
    queue = Queue(dut)
    await queue.start()
    rng = queue.rng
    for _ in range(at_most(12)):
        pushing, reading = rng.choice([0.1, 0.5, 1.0]), rng.choice([0.0, 0.3, 0.8, 1.0])
        keeps = rng.choice([[1], [7], [1, 3, 7], list(range(8))])
        for _ in range(1500):
            if not queue.words and queue.room:
                queue.begin(rng.choice(keeps))
            await queue.tick(rng.random() < pushing, rng.random() < reading)
    while queue.expected or queue.words:
        await queue.tick(True, True)
    for _ in range(20):
        assert not await queue.tick(False, True)
    dut._log.info(f"{queue.sent} sums in {queue.cycle} cycles")


@cocotb.test()
async def full_and_rate(dut: Any) -> None:
    """Fills up to the last three places; then one sum per cycle without a gap."""
    queue = Queue(dut)
    await queue.start()
    while True:
        if not queue.words:
            await queue.tick(False, False)
            if not queue.room:
                break
            queue.begin(queue.rng.choice([1, 2, 3, 4, 5, 7]))
        await queue.tick(True, False)
    assert SLOTS - 3 < queue.begun <= SLOTS
    held = len(queue.expected)
    for _ in range(3 * held):
        if not queue.words and queue.room:
            queue.begin(7)
        assert await queue.tick(True, True), f"a gap after {queue.sent} sums"
