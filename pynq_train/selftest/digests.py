"""Digests of what must be the same on every machine: programs, and memory after a training step."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np

from pynq_train.backends import open_backend
from pynq_train.graph import zoo
from pynq_train.graph.rng import normal_float32, stream_key
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.contract import contract_hash
from pynq_train.layers import fuse, init_params
from pynq_train.quant import SgdStep
from pynq_train.quant.policy import INPUT_START
from pynq_train.run.masters import Masters
from pynq_train.run.session import Session, new_policy
from pynq_train.schedule.lower.program import build_evaluation, build_training
from pynq_train.schedule.plan import Plan, make_plan

PATH = Path(__file__).with_name("digests.json")
BATCH = 4
PROGRAMS = tuple((board, net) for board in sorted(BOARDS) for net in ("digits", "lenet5"))
"""Boards and networks whose programs are compared."""
STEPS = ("pynq-z2", "zcu104")
"""Boards whose plan golden runs: an array of 16 and one of 32 output lanes."""
NET = "digits"
_STREAM = 0x5E1F


@cache
def plan_of(board: str, net: str) -> Plan:
    """Plan of a small mini-batch."""
    return make_plan(fuse(zoo.get(net)), BATCH, BOARDS[board])


def program_digest(board: str, net: str) -> str:
    """SHA-256 of descriptors and taps of training and evaluation, and of the contract's hash."""
    plan = plan_of(board, net)
    digest = hashlib.sha256(contract_hash(plan.board.config).encode())
    for image in (build_training(plan), build_evaluation(plan)):
        digest.update(image.program)
        digest.update(image.taps)
    return digest.hexdigest()


def step_digest(board: str) -> str:
    """SHA-256 of the memory after two training steps and an evaluation on golden."""
    plan = plan_of(board, NET)
    masters = {name: Masters.of(one) for name, one in init_params(plan.layers, 7).items()}
    shape = (BATCH, *plan.layers[0].in_shape)
    images = normal_float32(stream_key(_STREAM), int(np.prod(shape))).reshape(shape)
    labels = np.arange(BATCH) % plan.classes
    with open_backend("golden", plan.memory.nbytes) as golden:
        session = Session(plan, golden, masters, new_policy(plan, masters, INPUT_START),
                          fill_seed=1)
        session.calibrate(images, labels)
        for lr in (0.05, 0.01):
            session.train_step(images, labels, SgdStep(lr, 0.9, 1e-3))
        session.evaluate(images[: BATCH - 1], labels[: BATCH - 1])
        return hashlib.sha256(golden.read(0, plan.memory.nbytes).tobytes()).hexdigest()


def stored() -> dict[str, str]:
    """The committed digests by :func:`program_key` and :func:`step_key`."""
    values: dict[str, str] = json.loads(PATH.read_text(encoding="utf-8"))
    return values


def program_key(board: str, net: str) -> str:
    """Name of a program's digest."""
    return f"program {net} {board}"


def step_key(board: str) -> str:
    """Name of a step's digest."""
    return f"step {NET} {board}"


def computed() -> dict[str, str]:
    """The digests of the present scheduler and golden model, as :func:`stored`."""
    values = {program_key(*case): program_digest(*case) for case in PROGRAMS}
    values.update({step_key(board): step_digest(board) for board in STEPS})
    return values


def write() -> None:
    """Write ``digests.json``."""
    PATH.write_text(json.dumps(computed(), indent=1) + "\n", encoding="utf-8")
