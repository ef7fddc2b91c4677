"""Cycles of a step are charged once, to the descriptors that had them."""

from __future__ import annotations

import numpy as np

from pynq_train.bench.attribution import Charge, Share, Stamped, attribute


def charged(charges: tuple[Charge, ...]) -> dict[tuple[int, Share], int]:
    return {(c.index, c.share): c.cycles for c in charges if c.cycles}


def test_passes_follow_each_other() -> None:
    step = [Stamped(Share.FP, 20, 100, 70), Stamped(Share.FP, 30, 250, 90),
            Stamped(Share.OTHER, 251, 300, 0), Stamped(Share.BP, 260, 420, 100)]
    assert charged(attribute(step, 430)) == {
        (0, Share.FP): 100, (1, Share.FP): 150, (2, Share.OTHER): 50, (3, Share.BP): 120,
        (-1, Share.OTHER): 10}


def test_softmax_without_stamps_has_its_predicted_cycles() -> None:
    step = [Stamped(Share.FP, 0, 100, 70), Stamped(Share.OTHER, 0, 0, 60),
            Stamped(Share.BP, 90, 300, 100)]
    assert charged(attribute(step, 300)) == {
        (0, Share.FP): 100, (1, Share.OTHER): 60, (2, Share.BP): 140}


def test_weight_gradients_have_the_time_until_the_next_pass_starts() -> None:
    step = [Stamped(Share.BP, 0, 100, 0), Stamped(Share.WU, 5, 390, 30),
            Stamped(Share.WU, 6, 500, 90), Stamped(Share.BP, 221, 300, 0)]
    assert charged(attribute(step, 500)) == {
        (0, Share.BP): 100, (1, Share.WU): 30, (2, Share.WU): 91, (3, Share.BP): 79,
        (1, Share.UPDATE): 90, (2, Share.UPDATE): 110}


def test_a_pass_keeps_its_array_cycles_while_the_sums_before_it_drain() -> None:
    step = [Stamped(Share.BP, 0, 100, 90), Stamped(Share.WU, 0, 0, 50),
            Stamped(Share.BP, 240, 260, 80)]
    assert charged(attribute(step, 260)) == {
        (0, Share.BP): 100, (1, Share.WU): 80, (2, Share.BP): 80}


def test_updates_beside_passes_cost_nothing_and_the_last_ones_what_is_left() -> None:
    step = [Stamped(Share.BP, 0, 100, 0), Stamped(Share.UPDATE, 10, 80, 0),
            Stamped(Share.WU, 0, 190, 40), Stamped(Share.UPDATE, 190, 240, 0)]
    assert charged(attribute(step, 250)) == {
        (0, Share.BP): 100, (2, Share.WU): 40, (2, Share.UPDATE): 50,
        (3, Share.UPDATE): 50, (-1, Share.OTHER): 10}


def test_the_vector_unit_has_what_only_it_did_before_a_pass() -> None:
    step = [Stamped(Share.VECTOR, 10, 60, 0), Stamped(Share.VECTOR, 65, 130, 0),
            Stamped(Share.FP, 5, 200, 120), Stamped(Share.VECTOR, 150, 190, 0),
            Stamped(Share.VECTOR, 205, 290, 0), Stamped(Share.OTHER, 0, 0, 10)]
    assert charged(attribute(step, 300)) == {
        (0, Share.VECTOR): 50, (1, Share.VECTOR): 15, (2, Share.FP): 135, (5, Share.OTHER): 10,
        (4, Share.VECTOR): 80, (-1, Share.OTHER): 10}
    assert charged(attribute(step, 300, apart=False)) == {
        (2, Share.FP): 200, (5, Share.OTHER): 10, (4, Share.VECTOR): 80, (-1, Share.OTHER): 10}


def test_the_vector_unit_has_what_weight_gradients_wait_for() -> None:
    step = [Stamped(Share.BP, 0, 100, 90), Stamped(Share.VECTOR, 90, 150, 0),
            Stamped(Share.WU, 0, 0, 80), Stamped(Share.BP, 260, 300, 40),
            Stamped(Share.VECTOR, 290, 340, 0), Stamped(Share.WU, 320, 410, 60)]
    assert charged(attribute(step, 410)) == {
        (0, Share.BP): 100, (1, Share.VECTOR): 50, (2, Share.WU): 110, (3, Share.BP): 40,
        (4, Share.VECTOR): 40, (5, Share.WU): 60, (5, Share.UPDATE): 10}


def test_a_weight_gradient_begins_while_the_pass_before_it_is_stored() -> None:
    step = [Stamped(Share.BP, 0, 100, 90, 15), Stamped(Share.WU, 0, 0, 150),
            Stamped(Share.BP, 240, 260, 20)]
    assert charged(attribute(step, 260)) == {
        (0, Share.BP): 85, (1, Share.WU): 155, (2, Share.BP): 20}


def test_charges_add_up_for_any_stamps() -> None:
    draw = np.random.RandomState(3)
    for _ in range(300):
        count = draw.randint(0, 9)
        step = [Stamped(list(Share)[draw.randint(len(Share))],
                        *sorted(draw.randint(0, 1000, 2).tolist()),
                        *draw.randint(0, 400, 2).tolist()) for _ in range(count)]
        total = int(draw.randint(1, 1200))
        charges = attribute(step, total)
        assert sum(c.cycles for c in charges) == total
        assert all(c.cycles >= 0 for c in charges)
        assert all(c.index < 0 or c.share in (step[c.index].share, Share.UPDATE) for c in charges)
