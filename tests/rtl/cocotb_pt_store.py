"""Cocotb bench of pt_store: random descriptors and stalls against docs/engine.md section 6."""

from __future__ import annotations

import os
import random
from collections import deque
from dataclasses import dataclass
from typing import Any

import cocotb
from addr_gen_model import array, loop
from client_model import Bench, ReadClient, WriteClient, at_most
from store_model import Case, Model, pixels_of, random_case, words_of

SEED = int(os.environ.get("PT_SEED", "1"))
RAW_WORDS = 48
"""Pushes of a raw segment."""


class Accumulators:
    """The compute unit's side: tiles in halves, grants, groups after a fixed latency."""

    def __init__(self, bench: Bench) -> None:
        """Bind to the bench."""
        self.bench, self.dut = bench, bench.dut
        self.tiles: deque[list[int]] = deque()
        self.at = 0
        self.latency = 20
        self.queue: deque[tuple[int, int]] = deque()
        self.next_request = 0
        self.shown = False
        self.released = 0
        self.requests: list[int] = []
        """Cycle of the first request of each tile."""

    def load(self, case: Case) -> None:
        """Queue the tiles of a descriptor."""
        for tile in case.tiles:
            packed = []
            for group in tile:
                flat = b"".join((x & (1 << 48) - 1).to_bytes(6, "little")
                                for row in group for x in row)
                packed.append(int.from_bytes(flat, "little"))
            self.tiles.append(packed)

    def drive(self) -> None:
        """Choose the inputs of the coming clock edge."""
        bench = self.bench
        if not self.shown and self.tiles:
            self.shown = bench.go()
        self.dut.acc_tile_valid_i.value = int(self.shown)
        self.dut.drain_req_ready_i.value = int(bench.go())
        valid = bool(self.queue) and self.queue[0][0] <= bench.cycle
        self.dut.group_valid_i.value = int(valid)
        if valid:
            self.dut.group_i.value = self.queue.popleft()[1]
        elif bench.stall:
            self.dut.group_i.value = 0

    def sample(self) -> None:
        """Note what happens at the coming clock edge."""
        dut = self.dut
        if int(dut.drain_req_valid_o.value) and int(dut.drain_req_ready_i.value):
            assert self.shown, "request without a tile"
            group = int(dut.drain_group_o.value)
            assert group == self.next_request, f"group {group}, expected {self.next_request}"
            if group == 0:
                self.requests.append(self.bench.cycle)
            self.next_request += 1
            self.queue.append((self.bench.cycle + self.latency, self.tiles[0][group]))
        if int(dut.acc_release_o.value):
            assert self.next_request == len(self.tiles[0]), "released before the last group"
            self.tiles.popleft()
            self.next_request = 0
            self.shown = False
            self.released += 1


class GradQueue:
    """The gradient queue's side: room, and the pushes of whole segments."""

    def __init__(self, bench: Bench) -> None:
        """Bind to the bench."""
        self.bench, self.dut = bench, bench.dut
        self.expected: deque[tuple[int, dict[tuple[int, int, int], int]]] = deque()
        self.pushed: dict[tuple[int, int, int], int] = {}
        self.room = [True, True]
        self.segments = 0

    def drive(self) -> None:
        """Room comes and goes; the drain may look at it only before a segment."""
        self.room = [self.bench.go(), self.room[0]]
        self.dut.gq_room_i.value = int(self.room[0])

    def sample(self) -> None:
        """Check a push."""
        dut = self.dut
        if not int(dut.gq_push_valid_o.value):
            return
        assert self.expected, "a push without a raw segment"
        keep, sums = self.expected[0]
        assert self.pushed or self.room[1], "a segment without room"
        assert int(dut.gq_push_keep_o.value) == keep, (
            f"kept lanes {int(dut.gq_push_keep_o.value):#b}, expected {keep:#b}")
        lane, block, ch = (int(getattr(dut, f"gq_push_{name}_o").value)
                           for name in ("lane", "block", "ch"))
        assert (lane, block, ch) not in self.pushed, f"pushed twice: {lane, block, ch}"
        flat = int(dut.gq_push_sums_o.value)
        self.pushed[lane, block, ch] = flat
        for j in range(4):
            found, expected = flat >> 48 * j & (1 << 48) - 1, sums[ch, lane, 4 * block + j]
            assert found == expected, (f"lane {lane}, m {4 * block + j}, ch {ch}: {found:#x}, "
                                       f"expected {expected:#x}")
        last = len(self.pushed) == RAW_WORDS
        assert int(dut.gq_push_last_o.value) == int(last), "the last push of a segment"
        if last:
            self.pushed.clear()
            self.expected.popleft()
            self.segments += 1


@dataclass
class Flying:
    """A descriptor that is configured and not done."""

    case: Case
    model: Model
    label: str
    configured: int
    profile: bool
    raw_segments: int
    """Raw segments that are pushed when it is done, or more."""


class Watch:
    """Checks each descriptor when it is done: memory, record, pushed segments."""

    def __init__(self, bench: Bench, queue: GradQueue, stamps: dict[str, bool]) -> None:
        """Bind to the bench."""
        self.bench, self.queue, self.stamps = bench, queue, stamps
        self.flying: deque[Flying] = deque()
        self.done_at: list[int] = []
        self.most = 0

    def drive(self) -> None:
        """The cycle as the stamp."""
        self.bench.dut.stamp_i.value = self.bench.cycle if self.stamps["on"] else 0

    def sample(self) -> None:
        """Check at done_o."""
        self.most = max(self.most, len(self.flying))
        if int(self.bench.dut.done_o.value):
            assert self.flying, "done_o without a descriptor"
            self.done_at.append(self.bench.cycle)
            self._check(self.flying.popleft())

    def _check(self, flying: Flying) -> None:
        bench, case, model, label = self.bench, flying.case, flying.model, flying.label
        missing = set(model.memory) - set(bench.memory)
        assert not missing, f"{label}: done with {len(missing)} words missing"
        wrong = [off for off, word in model.memory.items() if word != bench.memory[off]]
        assert not wrong, (f"{label}: {len(wrong)} of {len(model.memory)} words differ, first at "
                           f"{wrong[0]:#x}: {bench.memory[wrong[0]]:016x}, expected "
                           f"{model.memory[wrong[0]]:016x}")
        assert self.queue.segments >= flying.raw_segments, (
            f"{label}: {self.queue.segments} raw segments, expected {flying.raw_segments}")
        off = case.values["pre.rec_off"]
        if case.kind != "raw":
            start, end = bench.memory[off + 16], bench.memory[off + 24]
            if flying.profile:
                assert flying.configured <= start < end < bench.cycle, (
                    f"{label}: stamps {start}, {end}; configured in {flying.configured}, done in "
                    f"{bench.cycle}")
            else:
                assert start == end == 0, f"{label}: stamps without profiling"
            for word in (off + 16, off + 24):
                del bench.memory[word]
        for word in [*model.memory, *case.memory]:
            del bench.memory[word]


class StoreBench:
    """The bench with its clients; ``send`` hands over a descriptor, ``drain`` waits for all."""

    def __init__(self, dut: Any) -> None:
        """Bind the design."""
        self.bench = Bench(dut, random.Random(SEED))
        self.acc, self.queue = Accumulators(self.bench), GradQueue(self.bench)
        self.stamps = {"on": False}
        self.watch = Watch(self.bench, self.queue, self.stamps)
        self.raw_segments = self.words = 0
        self.bench.clients = [
            ReadClient(self.bench, "b_"), WriteClient(self.bench, "w_"),
            WriteClient(self.bench, "f_"), self.acc, self.queue,
            self.watch]  # type: ignore[list-item]

    async def start(self) -> None:
        """Reset."""
        await self.bench.start({"cfg_valid_i": 0, "cfg_idx_i": 0, "cfg_data_i": 0, "cfg_last_i": 0,
                                "group_valid_i": 0, "group_i": 0, "acc_tile_valid_i": 0,
                                "gq_room_i": 1, "stamp_i": 0})

    async def send(self, case: Case, label: str) -> None:
        """Configure the next descriptor as soon as the unit asks for it."""
        model = Model(case)
        self.raw_segments += len(model.segments)
        self.bench.memory.update(case.memory)
        self.bench.record_offs = {f.case.values["pre.rec_off"] for f in self.watch.flying} | {
            case.values["pre.rec_off"]}
        self.acc.load(case)
        self.queue.expected.extend(model.segments)
        self.watch.flying.append(Flying(case, model, label, self.bench.cycle, self.stamps["on"],
                                        self.raw_segments))
        await self.bench.configure(words_of(case))

    async def drain(self) -> None:
        """Wait until everything is done, and nothing else was written."""
        for _ in range(60000):
            if not self.watch.flying:
                break
            await self.bench.tick()
        assert not self.watch.flying, "no done_o within 60000 cycles"
        assert self.bench.writes_idle(), "done_o before the writes are complete"
        assert not self.bench.memory, f"{len(self.bench.memory)} words too many"
        assert not self.acc.tiles and not self.acc.queue and not self.queue.expected


@cocotb.test()
async def random_descriptors(dut: Any) -> None:
    """Memory, record and pushes of random descriptors, each configured during the one before."""
    store = StoreBench(dut)
    await store.start()
    bench, rng = store.bench, store.bench.rng
    kinds = ["plain", "pool", "raw", "single", "phases", "raw", "raw", "plain"]
    count = at_most(40)
    for number in range(count):
        case = random_case(rng, rng.choice(kinds), False, number)
        if number % 6 == 0:
            await store.drain()
            store.stamps["on"] = rng.random() < 0.5
            bench.stall = rng.choice([0.0, 0.1, 0.5])
            bench.latency = rng.randint(3, 100)
            store.acc.latency = rng.randint(13, 25)
        await store.send(case, f"case {number} {case.kind}")
    await store.drain()
    assert len(store.watch.done_at) == count
    assert store.watch.most >= 3, "descriptors did not overlap"
    dut._log.info(f"{store.queue.segments} raw segments, {bench.cycle} cycles, at most "
                  f"{store.watch.most} descriptors under way")


@cocotb.test()
async def rate(dut: Any) -> None:
    """A word per cycle within large descriptors."""
    store = StoreBench(dut)
    await store.start()
    bench = store.bench
    store.acc.latency = 13  # with single pixels, four groups on their way cover no more
    for number, kind in enumerate(["plain", "pool", "raw", "single", "phases", "raw"]):
        case = random_case(bench.rng, kind, True, number)
        await store.send(case, f"large {kind}")
        start = bench.cycle
        await store.drain()
        cycles = store.watch.done_at[-1] - start
        segments = len(list(loop(array(case.values, "y", "y", 5))))
        drained = segments * (RAW_WORDS if kind == "raw" else 4 * pixels_of(case))
        dut._log.info(f"{kind}: {drained} words drained, {case.words} stored in {segments} "
                      f"segments, {cycles} cycles")
        # Drain at one word per cycle, plus the writing of the last segment and its latencies.
        writes = case.words // segments
        limit = drained + (3 if kind == "raw" else 20) * segments + writes + 2 * writes // 4 + (
            100 if kind == "raw" else 400)
        assert cycles <= limit, f"{kind}: {cycles} cycles for {drained} words"


@cocotb.test()
async def next_descriptor_during_the_writes(dut: Any) -> None:
    """The next tile is drained while writes and record of the last one are not acknowledged."""
    store = StoreBench(dut)
    await store.start()
    bench = store.bench
    bench.latency = 400
    firsts = []
    for number, kind in enumerate(["plain", "plain", "raw", "pool"]):
        case = random_case(bench.rng, kind, False, number)
        case.values["y.bias"] = 0
        firsts.append(len(store.acc.requests) + len(store.acc.tiles))
        await store.send(case, f"number {number}")
        while store.acc.tiles:
            await bench.tick()
        dut._log.info(f"{kind}: first group in {store.acc.requests[firsts[-1]]}, all groups in "
                      f"{bench.cycle}")
    await store.drain()
    dut._log.info(f"done in {store.watch.done_at}")
    # The second is drained before the first is done; the third (raw) before the second is.
    assert store.acc.requests[firsts[1]] + 50 < store.watch.done_at[0]
    assert store.acc.requests[firsts[2]] + 50 < store.watch.done_at[1]
    # Done in order: the raw one has only waited for the one before it.
    assert store.watch.done_at[2] <= store.watch.done_at[1] + 4
