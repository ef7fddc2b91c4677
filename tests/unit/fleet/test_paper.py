"""Gacoin's tables recomputed: the figures, and what they follow from."""

from __future__ import annotations

import pytest

from pynq_train.fleet.power import Power
from pynq_train.fleet.splits import paper

RECOMPUTED = {
    "N/E, one device": (3.402, None), "N/E, two devices": (6.100, 6),
    "N/E, three devices": (8.145, 9), "N/E, two relays": (4.570, None),
    "N/E, three relays": (4.971, None), "P, whole": (3.113, None), "P, two devices": (2.862, 6),
    "P, three devices": (2.735, 9)}


def test_recomputed_figures_to_three_digits() -> None:
    assert {one.name: (round(one.value, 3), one.cut) for one in paper.lines()} == RECOMPUTED


def test_each_deviation_is_named() -> None:
    found = {one.name: one.deviation for one in paper.lines()}
    assert found.pop("N/E, one device") == ""
    assert "8.3" in found["N/E, three devices"] and "max(head, branch)" in found[
        "N/E, two devices"]
    assert [found[f"N/E, {n} relays"] for n in ("two", "three")] == [
        "printed truncated, not rounded"] * 2
    assert [found[f"P, {n}"].split()[-1] for n in ("whole", "two devices", "three devices")] == [
        "9.43", "8.67", "8.29"]


def test_figures_follow_from_the_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another Table II makes other figures, and another cut the best one."""
    changed = {**paper.TABLE_II, 12: paper.Measured(0.02, 0.01, 0.005, 0.5, 0.5)}
    monkeypatch.setattr(paper, "TABLE_II", changed)
    found = {one.name: one for one in paper.lines(Power(2.0, 1.0))}
    assert found["N/E, two devices"].cut == 12
    assert found["N/E, two devices"].value == pytest.approx(1 / (2 * 0.02))
    assert found["N/E, three devices"].value == pytest.approx(1 / (2 * 0.01))
    assert found["N/E, three relays"].value == pytest.approx(1.75 / (2 * 0.097))
    assert found["P, three devices"].value == pytest.approx(0.5 / (2 * 0.02))


def test_the_table_has_all_of_it() -> None:
    text = paper.table()
    for value, _ in RECOMPUTED.values():
        assert f" {value:.3f} " in text
    for own in paper.TABLE_II.values():
        assert f"{own.head:.5f}" in text and f"{own.four:.4f}" in text
