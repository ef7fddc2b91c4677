"""Stages behind the drain: when segments leave them, and what a segment waits for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pynq_train.cycles.address_generator import SegmentWrite
from pynq_train.cycles.kernel import Clock, Condition, Steps
from pynq_train.cycles.store import SLOTS, WRITE_QUEUE, WRITE_START, Stage, Store


class Port:
    """A write port that notes bursts, and is full until a cycle."""

    def __init__(self, clock: Clock, until: int = 0) -> None:
        self._clock, self._until = clock, until
        self.pushed: list[tuple[int, int]] = []
        self.room = Condition(clock)
        if until:
            clock.at(until, self.room.wake)

    @property
    def full(self) -> bool:
        return self._clock.now < self._until

    def push(self, complete: int, beats: int, writer: object) -> None:
        self.pushed.append((complete, beats))


def written(segments: list[int], bursts: list[tuple[int, int]], cycles: int, until: int = 0
            ) -> tuple[list[tuple[int, int]], int]:
    """Bursts of segments that are full in these cycles, and when the last one has left."""
    clock = Clock()
    port: Any = Port(clock, until)
    stage = Stage(clock, port)
    stage.taken = len(segments)
    generator: Any = SimpleNamespace(write=lambda _: SegmentWrite(tuple(bursts), cycles))

    def fill() -> Steps:
        for cycle in segments:
            yield cycle
            stage.full.append(cycle)
            stage.filled.wake()

    clock.start(fill())
    clock.start(stage.run(generator, len(segments)))
    clock.run()
    assert not stage.active and not stage.taken and stage.segment == len(segments)
    return port.pushed, clock.now


def test_segments_leave_one_behind_the_other() -> None:
    """With a cycle between them, or when they are full."""
    first = 0 + WRITE_START
    pushed, end = written([0, 0], [(16, 16), (4, 22)], 25)
    later = first + 25 + 1
    assert pushed == [(at + cycles + WRITE_QUEUE, beats) for at in (first, later)
                      for beats, cycles in ((16, 16), (4, 22))]
    assert end == later + 25
    pushed, end = written([0, 90], [(16, 16)], 16)
    assert pushed == [(first + 16 + WRITE_QUEUE, 16), (90 + WRITE_START + 16 + WRITE_QUEUE, 16)]
    assert end == 90 + WRITE_START + 16


def test_a_full_port_holds_the_rest_of_a_segment_back() -> None:
    pushed, end = written([0], [(16, 16), (16, 32)], 32, until=200)
    # In cycle 200 the first burst goes on, as if it had been read behind 200.
    shift = 200 - 16 + 16
    assert pushed == [(shift + 16 + WRITE_QUEUE, 16), (shift + 32 + WRITE_QUEUE, 16)]
    assert end == shift + 32


@pytest.mark.parametrize(("flags", "data", "masks", "waits"), [
    (0, SLOTS - 1, SLOTS, False), (1, SLOTS - 1, SLOTS - 1, False), (1, SLOTS - 1, SLOTS, True),
    (0, SLOTS, 0, True), (1, SLOTS, 0, True)])
def test_a_segment_waits_for_a_slot_of_each_stage_it_uses(flags: int, data: int, masks: int,
                                                          waits: bool) -> None:
    store: Any = SimpleNamespace(data=SimpleNamespace(taken=data, free="data"),
                                 flags=SimpleNamespace(taken=masks, free="flags"))
    work: Any = SimpleNamespace(queued=False, flags=flags)
    gate = Store._gate(store, work)
    if not waits:
        assert list(gate) == []
        return
    assert next(gate) == ("data" if data == SLOTS else "flags")
    assert next(gate) == ("data" if data == SLOTS else "flags"), "it looks again"
    store.data.taken = store.flags.taken = SLOTS - 1
    assert list(gate) == []


@pytest.mark.parametrize("room", [False, True])
def test_a_queued_segment_waits_for_the_queue_alone(room: bool) -> None:
    queue = SimpleNamespace(room=room, freed="queue")
    store: Any = SimpleNamespace(_queue=queue, data=SimpleNamespace(taken=SLOTS),
                                 flags=SimpleNamespace(taken=SLOTS))
    work: Any = SimpleNamespace(queued=True, flags=1)
    gate = Store._gate(store, work)
    if not room:
        assert next(gate) == "queue"
        queue.room = True
    assert list(gate) == []
