"""Order of the backward half: dependencies, every slice once, and a queue that need not overflow.

The queue is replayed here with a model of its own, cycle count by cycle count.
"""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from pynq_train.graph import zoo
from pynq_train.hw.boards import BOARDS
from pynq_train.layers.fuse import fuse
from pynq_train.schedule.passes.descriptors import Role
from pynq_train.schedule.passes.gradient_order import (
    MOMENTUM_RATE,
    PLAIN_RATE,
    Job,
    backward_order,
    slice_tiles,
)
from pynq_train.schedule.plan import make_plan

BOARD = BOARDS["pynq-z2"]
Layers = list[tuple[list[Job], list[Job]]]


def random_layers(rng: random.Random, room: int) -> Layers:
    """Layers with 0..2 backward passes and 1..4 slices; some slices larger than the queue."""
    layers: Layers = []
    key = 0
    for _ in range(rng.randint(1, 7)):
        counts = rng.randint(0, 2), rng.randint(1, 4)
        jobs: tuple[list[Job], list[Job]] = ([], [])
        for kind, count in enumerate(counts):
            for _ in range(count):
                sums = rng.choice([4, room // 8, room // 2, room, 2 * room]) if kind else 0
                jobs[kind].append(Job(key, rng.choice([1, room // 10, room, 3 * room]), sums))
                key += 1
        layers.append(jobs)
    return layers


def waits_in_vain(layers: Layers, order: list[int], room: int, rate: Fraction) -> list[int]:
    """Gradients that overflow the queue although backward passes were left to be done first."""
    jobs = {w.key: w for backward, gradients in layers for w in (*backward, *gradients)}
    last_backward = max((order.index(w.key) for backward, _ in layers for w in backward),
                        default=-1)
    level, bad = Fraction(0), []
    for place, key in enumerate(order):
        job = jobs[key]
        level = max(level + job.sums - rate * job.cycles, Fraction(0))
        if level > room:
            if job.sums and place < last_backward:
                bad.append(key)
            level = Fraction(room)
    return bad


def postponed(layers: Layers, order: list[int], room: int, rate: Fraction) -> list[int]:
    """Backward passes in front of which a gradient that had room was left waiting."""
    jobs = {w.key: w for backward, gradients in layers for w in (*backward, *gradients)}
    first_of = {backward[0].key: number for number, (backward, _) in enumerate(layers) if backward}
    level, done, bad = Fraction(0), set[int](), []
    for key in order:
        if key in first_of:
            waiting = [w for _, gradients in layers[:first_of[key]] for w in gradients
                       if w.key not in done]
            if waiting and level + waiting[0].sums - rate * waiting[0].cycles <= room:
                bad.append(key)
        job = jobs[key]
        level = min(max(level + job.sums - rate * job.cycles, Fraction(0)), Fraction(room))
        done.add(key)
    return bad


@pytest.mark.parametrize("rate", [MOMENTUM_RATE, PLAIN_RATE])
@pytest.mark.parametrize("number", range(60))
def test_random_layers(number: int, rate: Fraction) -> None:
    rng = random.Random(number)
    room = rng.choice([256, 4096, 16384])
    layers = random_layers(rng, room)
    order = backward_order(layers, room, rate)
    every = [w.key for backward, gradients in layers for w in (*backward, *gradients)]
    assert sorted(order) == sorted(every), "not every job once"
    place = {key: at for at, key in enumerate(order)}
    backwards = [place[w.key] for backward, _ in layers for w in backward]
    assert backwards == sorted(backwards), "the backward passes are out of order"
    slices = [place[w.key] for _, gradients in layers for w in gradients]
    assert slices == sorted(slices), "slices out of their order"
    for backward, gradients in layers:
        assert all(place[b.key] < place[g.key] for b in backward for g in gradients), (
            "a gradient in front of its layer's backward pass")
    assert waits_in_vain(layers, order, room, rate) == []
    assert postponed(layers, order, room, rate) == []


def test_a_gradient_waits_for_room() -> None:
    """Two layers: the second gradient has no room until the last backward pass has run."""
    layers = [([], [Job(0, 10, 1000)]), ([Job(1, 10)], [Job(2, 10, 900)]),
              ([Job(3, 2000)], [Job(4, 10, 100)])]
    assert backward_order(layers, 1024, PLAIN_RATE) == [0, 1, 3, 2, 4]
    assert backward_order(layers, 4096, PLAIN_RATE) == [0, 1, 2, 3, 4]


def test_the_checks_can_fail() -> None:
    layers = [([], [Job(0, 10, 1000)]), ([Job(1, 10)], [Job(2, 10, 900)]),
              ([Job(3, 2000)], [Job(4, 10, 100)])]
    assert waits_in_vain(layers, [0, 1, 2, 3, 4], 1024, PLAIN_RATE) == [2]
    assert postponed(layers, [1, 0, 3, 2, 4], 4096, PLAIN_RATE) == [1, 3]


@pytest.mark.parametrize("tiles,tile_sums,cycles,wanted", [
    (4, 1000, 4000, 4),     # hidden behind its own gradient
    (4, 1000, 3999, 4),     # half of the queue holds it
    (64, 1000, 3999, 8),
    (64, 20000, 100, 1),    # a tile is the least
])
def test_slice_sizes(tiles: int, tile_sums: int, cycles: int, wanted: int) -> None:
    assert slice_tiles(tiles, tile_sums, cycles, 16384, PLAIN_RATE) == wanted


@pytest.mark.parametrize("momentum", [True, False])
@pytest.mark.parametrize("name,batch", [("1x", 1), ("1x", 128), ("lenet5", 4)])
def test_planned_networks(name: str, batch: int, momentum: bool) -> None:
    """Every m tile of every layer is in one slice; the order is that of the model."""
    plan = make_plan(fuse(zoo.get(name)), batch, BOARD, momentum=momentum)
    tiles: dict[int, list[int]] = {}
    for descriptor in plan.train:
        if descriptor.role == Role.WEIGHT_GRADIENT:
            assert descriptor.tiled is not None
            shape = descriptor.tiled.shape
            tiles.setdefault(descriptor.layer, []).extend(
                range(shape.m_first, shape.m_first + shape.outer))
    assert tiles == {spec.index: list(range(spec.m_tiles)) for spec in plan.specs}
    biases = [e.layer for e in plan.train if e.role == Role.UPDATE_BIAS]
    assert sorted(biases) == [spec.index for spec in plan.specs if spec.bias]
