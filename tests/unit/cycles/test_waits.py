"""How the array spent its time: numbers of periods that were not simulated are added."""

from __future__ import annotations

from pynq_train.cycles.compute import Waits


def test_periods_are_added_number_by_number() -> None:
    waits = Waits(1, 2, 3, 4, 5)
    assert waits.values() == (1, 2, 3, 4, 5)
    waits.add((10, 200, 3000, 40_000, 500_000), 3)
    assert waits.values() == (31, 602, 9003, 120_004, 1_500_005)
    assert (waits.busy, waits.x, waits.s, waits.acc, waits.start) == waits.values()
    assert Waits().values() == (0,) * 5
