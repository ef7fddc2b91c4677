"""Rough costs of the small units, in closed form."""

from __future__ import annotations

import pytest

from pynq_train.schedule.passes.cost import (
    BURST_CYCLES,
    LATENCY_CYCLES,
    bias_cost,
    softmax_cost,
    update_bytes,
    update_cost,
)


@pytest.mark.parametrize(("elements", "momentum", "cycles"), [
    (100, True, 100 + 7 * BURST_CYCLES), (96, True, 96 + 6 * BURST_CYCLES),
    (100, False, 100), (8, False, 8), (2, True, 2 + BURST_CYCLES), (0, True, 0)])
def test_an_update_takes_a_weight_or_a_word_a_cycle(elements: int, momentum: bool, cycles: int
                                                    ) -> None:
    """Whichever takes longer; masters in and out, copies of 2 bytes out."""
    master = 8 if momentum else 4
    assert update_bytes(momentum) == 2 * master + 2
    assert update_cost(elements, momentum) == (cycles + LATENCY_CYCLES, master * elements,
                                               (master + 2) * elements)


@pytest.mark.parametrize(("elements", "bursts"), [(4, 1), (16, 1), (20, 2), (33, 3)])
def test_an_update_of_biases_reads_two_words_and_writes_one(elements: int, bursts: int) -> None:
    assert bias_cost(elements) == (2 * (elements + bursts * BURST_CYCLES) + LATENCY_CYCLES,
                                   16 * elements, 8 * elements)


def test_a_softmax_takes_its_classes_three_times() -> None:
    assert softmax_cost(1, 0) - LATENCY_CYCLES == 40
    assert softmax_cost(3, 10) == 3 * (240 + 40) + LATENCY_CYCLES
