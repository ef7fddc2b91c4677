"""Bounded buffers of maps between blocks."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from pynq_train.fleet.block_training.maps import MapBatch
from pynq_train.fleet.block_training.order import drawn
from pynq_train.fleet.block_training.ring import Closed, Ring
from pynq_train.fleet.segment import DeviceMap


def put(ring: Ring, number: int) -> None:
    """Put a mini-batch whose labels are a number."""
    ring.put(MapBatch(DeviceMap(np.zeros((1, 1, 1, 1, 4), np.int16)), 4), np.array([number]))


def take(ring: Ring) -> int:
    return int(ring.take()[1][0])


def test_the_least_used_is_taken_and_of_these_the_newest() -> None:
    ring = Ring(3, once=False)
    for number in (0, 1, 2):
        put(ring, number)
    assert [take(ring) for _ in range(4)] == [2, 1, 0, 2]
    put(ring, 3)  # in the place of the most used
    assert [take(ring) for _ in range(5)] == [3, 3, 1, 0, 3]
    assert len(ring) == 3


def test_a_full_ring_loses_the_most_used_and_of_these_the_oldest() -> None:
    ring = Ring(3, once=False)
    for number in (0, 1, 2, 3):
        put(ring, number)
    assert [take(ring) for _ in range(3)] == [3, 2, 1]
    put(ring, 4)
    assert [take(ring) for _ in range(4)] == [4, 4, 3, 2]


def test_once_is_in_order_and_waits_for_a_place() -> None:
    ring, done = Ring(2, once=True), threading.Event()
    for number in (0, 1):
        put(ring, number)

    def more() -> None:
        put(ring, 2)
        done.set()

    thread = threading.Thread(target=more)
    thread.start()
    assert not done.wait(0.05) and len(ring) == 2
    assert take(ring) == 0
    assert done.wait(20)
    thread.join()
    assert [take(ring), take(ring), len(ring)] == [1, 2, 0]


@pytest.mark.parametrize("once", [True, False])
def test_who_waits_at_a_ring_that_is_closed_does_not_hang(once: bool) -> None:
    ring, errors = Ring(1, once), list[str]()

    def wait() -> None:
        try:
            ring.take()
        except Closed:
            errors.append("closed")

    thread = threading.Thread(target=wait)
    thread.start()
    ring.close()
    thread.join(20)
    assert errors == ["closed"]
    with pytest.raises(Closed):
        put(ring, 0)


def order_of(seed: int, epoch: int) -> list[int]:
    """Return the order of three blocks, the last of which waits for maps of the second one."""
    rings, order = [Ring(2, once=False), Ring(2, once=False)], list[int]()

    def step(block: int) -> None:
        assert not block or len(rings[block - 1])
        order.append(block)
        if block < 2:
            put(rings[block], len(order))

    drawn(step, 3, 6, rings, seed, epoch)
    return order


def test_a_drawn_order_is_that_of_seed_and_epoch() -> None:
    """Blocks take as many steps each; none before it has something to read."""
    order = order_of(1, 0)
    assert order == order_of(1, 0)
    assert sorted(order) == 6 * [0] + 6 * [1] + 6 * [2]
    assert len({tuple(order_of(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9
