"""Programs, bins and cycles of forty random networks, as predicted and as counted, kept in a file.

The fast tests hold the cycle model to the file, to the cycle; ``PYTHONPATH=tests python -m
reference_models.recorded_cycles`` writes it anew from the compiled RTL.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pynq_train.check import Coverage
from pynq_train.check.options import Options
from pynq_train.check.random_nets import random_net
from pynq_train.hw.boards import BOARDS, Board
from pynq_train.hw.memory_timing import MemoryTiming
from pynq_train.layers import init_params
from pynq_train.layers.fuse import fuse
from pynq_train.quant import Measures, SgdStep, StepExponents
from pynq_train.run.masters import Masters
from pynq_train.run.session import new_policy
from pynq_train.schedule.lower.program import ProgramImage, build_evaluation, build_training
from pynq_train.schedule.lower.step_block import pack_step_block, plan_params
from pynq_train.schedule.plan import Plan, make_plan
from pynq_train.schedule.predict import predict_program

FILE = Path(__file__).with_name("recorded_cycles.json")
SEEDS = range(40)
_LATENCIES = (40, 100, 70)
_STEPS = 6
_BOARDS = ("pynq-z2", "pynq-z2", "pynq-z2", "zcu104")


def board_of(seed: int) -> Board:
    """Board of a network: every fourth one runs on 32 lanes."""
    return BOARDS[_BOARDS[seed % len(_BOARDS)]]


def latency_of(seed: int) -> int:
    """Read latency of a network's memory in cycles."""
    return _LATENCIES[seed % len(_LATENCIES)]


def training(seed: int) -> tuple[Plan, ProgramImage]:
    """Plan and training program of a network."""
    net = random_net(seed)
    plan = make_plan(fuse(net.graph), net.batch, board_of(seed))
    return plan, build_training(plan)


def predicted(seed: int) -> dict[str, Any]:
    """What schedule and cycle model say of a network; all of it is exact."""
    plan, program = training(seed)
    evaluation = build_evaluation(plan)
    coverage = Coverage()
    for image in (program, evaluation):
        coverage.add_program(image, plan)
    bins = sorted(item for item in coverage.counts.items() if item[1])
    board = board_of(seed)
    memory = MemoryTiming(board.dram_bytes_per_cycle, read_latency_cycles=latency_of(seed))
    found = predict_program(program, board, plan.batch, memory)
    return {
        "descriptors": program.count, "memory_bytes": plan.memory.nbytes,
        "program": _digest(program.program + program.taps),
        "evaluation": _digest(evaluation.program + evaluation.taps),
        "regions": _digest(repr(plan.memory.regions).encode()),
        "bins": _digest(repr(bins).encode()),
        "exponents": _digest(exponents(plan, seed)),
        "cycles": found.cycles, "macs": found.macs,
        "bytes_read": found.bytes_read, "bytes_written": found.bytes_written,
        "times": _digest(repr((found.starts, found.ends, found.arrays)).encode()),
        "limits": _digest(repr(found.limits).encode())}


def exponents(plan: Plan, seed: int) -> bytes:
    """Exponents and step blocks of steps whose measures are drawn, those of evaluations between."""
    masters = {name: Masters.of(p) for name, p in init_params(plan.layers, seed).items()}
    plan = replace(plan, loss=Options.of(seed).loss_of(plan.classes))
    policy, draw = new_policy(plan, masters, 2), np.random.default_rng(seed)
    trained = [own.weights or own.bias for own in plan.trainable]
    rates = tuple((1.0 + at, 0.5 / (1 + at)) for at in range(len(plan.layers)))
    said = b""

    def bits() -> int:
        """A measure: often zero, else of any number of bits that the sums may have."""
        return int(draw.integers(1 << 40)) >> int(draw.integers(42))

    def measures(used: StepExponents) -> Measures:
        return Measures(
            [bits() for _ in plan.layers], [bits() for _ in plan.layers],
            [bits() >> 9 if one else None for one in trained],
            {at: bits() >> 17 for at, one in enumerate(plan.layers) if one.norm is not None},
            {at: (bits(), bits() >> 17) for at, node in enumerate(plan.backward_graph.nodes)
             if node.kind.on_vector_unit})

    for step in range(_STEPS):
        used = policy.exponents(plan.batch)
        parts = 1 + step % 3
        sgd = SgdStep(0.01 * (step + 1), 0.9 * (step % 2), 1e-3 * (step % 3),
                      max(1, plan.batch - 1), rates, -step if step > 2 else None, step == 3, parts,
                      step % parts, seed, step)
        said += repr(used).encode() + pack_step_block(plan, plan_params(plan, used, sgd))
        policy.observe(used, measures(used))
        tried = policy.exponents(plan.batch, training=False)
        said += repr(tried).encode() + pack_step_block(plan, plan_params(plan, tried, None))
        wide = policy.widened(tried, measures(tried), step)
        said += repr(wide.exponents(plan.batch, training=False)).encode()
        said += repr(policy.calibrate(used, measures(used)) if step == _STEPS // 2 else 0).encode()
    return said + repr(policy.to_dict()).encode()


def rows() -> dict[str, dict[str, Any]]:
    """The file's rows by seed."""
    found: dict[str, dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def _digest(data: bytes) -> str:
    return f"{zlib.crc32(data):08x}"


def main() -> None:
    """Write the file anew; the RTL counts the networks of 16 lanes."""
    from reference_models.rtl_run import run
    table: dict[str, dict[str, Any]] = {}
    for seed in SEEDS:
        row = predicted(seed)
        if board_of(seed).name == "pynq-z2":
            row["counted"] = run(*training(seed), latency_of(seed)).cycles
        table[str(seed)] = row
    lines = ",\n".join(f'  "{seed}": {json.dumps(row)}' for seed, row in table.items())
    FILE.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
