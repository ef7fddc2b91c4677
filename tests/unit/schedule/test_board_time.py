"""Seconds of a training step on a board: the engine's alone, and with what its processor does."""

from __future__ import annotations

from functools import cache

import pytest

from pynq_train.graph import zoo
from pynq_train.hw.boards import BOARDS
from pynq_train.layers import fuse
from pynq_train.schedule.board_time import MS_PER_NB, board_time, host_nb
from pynq_train.schedule.plan import Plan, make_plan

MEASURED = {("digits", 32): 0.0177, ("lenet5", 32): 0.0317, ("1x", 128): 0.1685, ("1x", 16): 0.0516,
            ("ds_cnn_s", 16): 0.052, ("resnet20", 16): 0.0677}
"""nb of a training step that ``benchmarks/host_cost.py`` has measured (docs/performance.md)."""


@cache
def planned(net: str, batch: int, board: str = "pynq-z2") -> Plan:
    return make_plan(fuse(zoo.get(net)), batch, BOARDS[board])


@pytest.mark.parametrize(("net", "batch"), MEASURED)
def test_the_estimate_is_near_what_was_measured(net: str, batch: int) -> None:
    whole, hidden = host_nb(planned(net, batch))
    assert whole == pytest.approx(MEASURED[net, batch], rel=0.35)
    assert 0 < hidden < whole


def test_the_next_images_are_made_ready_beside_the_engine() -> None:
    plan = planned("1x", 128)
    whole, hidden = host_nb(plan)
    rest = 0.14 * (whole - hidden)
    long = board_time(plan, 20_000_000)
    assert long.engine == pytest.approx(0.2) and long.both == pytest.approx(0.2 + rest)
    short = board_time(plan, 1000)
    assert short.engine == pytest.approx(1e-5) and short.both == pytest.approx(0.14 * whole)
    many = board_time(plan, 7 * 20_000_000, 7)
    assert many.engine == pytest.approx(7 * long.engine)
    assert many.both == pytest.approx(7 * long.both)


@pytest.mark.parametrize("name", BOARDS)
def test_each_board_has_a_processor(name: str) -> None:
    plan = planned("digits", 4, name)
    found = board_time(plan, 0)
    assert found.both == pytest.approx(MS_PER_NB[BOARDS[name].family] / 1e3 * host_nb(plan)[0])
    assert found.engine == 0


def test_both_are_said() -> None:
    plan = planned("digits", 32)
    assert str(board_time(plan, 71_300)).startswith("0.713 ms of the engine, about 3.34 ms")
    assert str(board_time(plan, 71_300)).endswith(" ms with the processor (estimated)")
    assert " s of the engine, about " in str(board_time(plan, 1_000_000_000, 100))
