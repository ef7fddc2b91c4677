"""Digests of what must be the same on every machine, by what a change may move.

``contract``: what the hardware decodes. ``programs``: bytes of descriptors and taps. ``results``:
what a training computes. A schedule that gets better moves programs alone, a register the contract
alone; where results move, every training of a user comes out otherwise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import numpy as np

from pynq_train.arrays import Array
from pynq_train.backends import open_backend
from pynq_train.graph import zoo
from pynq_train.graph.rng import normal_float32, stream_key
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.config import CONFIGS
from pynq_train.hw.contract import contract_hash
from pynq_train.layers import fuse, init_params
from pynq_train.quant import SgdStep, StepExponents
from pynq_train.quant.policy import INPUT_START
from pynq_train.run.masters import Masters
from pynq_train.run.session import Session, new_policy
from pynq_train.schedule.lower.program import build_evaluation, build_training
from pynq_train.schedule.plan import Plan, make_plan

PATH = Path(__file__).with_name("digests.json")
BATCH = 4
PROGRAMS = tuple((board, net) for board in sorted(BOARDS) for net in ("digits", "lenet5")) + (
    ("pynq-z2", "ds_cnn_s"),)
"""Boards and networks whose programs are compared; the last one normalises its maps."""
RESULTS = (("pynq-z2", "digits"), ("zcu104", "digits"), ("pynq-z2", "ds_cnn_s"))
"""Boards and networks whose plan golden runs: arrays of 16 and of 32 output lanes."""
_STREAM = 0x5E1F
Digests = dict[str, dict[str, str]]
"""SHA-256 by kind (``contract``, ``programs``, ``results``) and name."""


@cache
def plan_of(board: str, net: str) -> Plan:
    """Plan of a small mini-batch."""
    return make_plan(fuse(zoo.get(net)), BATCH, BOARDS[board])


def program_digest(board: str, net: str) -> str:
    """SHA-256 of descriptors and taps of training and evaluation."""
    plan = plan_of(board, net)
    digest = hashlib.sha256()
    for image in (build_training(plan), build_evaluation(plan)):
        digest.update(image.program)
        digest.update(image.taps)
    return digest.hexdigest()


@cache
def result_digests(board: str, net: str) -> Mapping[str, str]:
    """Digests of two training steps and an evaluation on golden.

    Where a tensor stands in memory does not count.

    Returns:
        SHA-256 by what it is of: ``masters`` (weights, biases, running statistics), ``momentum``,
        ``exponents`` (of the last step) and ``logits``.
    """
    plan = plan_of(board, net)
    masters = {name: Masters.of(one) for name, one in init_params(plan.layers, 7).items()}
    shape = (BATCH, *plan.layers[0].in_shape)
    images = normal_float32(stream_key(_STREAM), int(np.prod(shape))).reshape(shape)
    labels = np.arange(BATCH) % plan.classes
    with open_backend("golden", plan.memory.nbytes) as golden:
        session = Session(plan, golden, masters, new_policy(plan, masters, INPUT_START),
                          fill_seed=1)
        session.calibrate(images, labels)
        for lr in (0.05, 0.01):
            used = session.policy.exponents(BATCH)
            session.train_step(images, labels, SgdStep(lr, 0.9, 1e-3))
        logits = session.evaluate(images[: BATCH - 1], labels[: BATCH - 1])[1]
        after = session.read_masters()
    return {"masters": _digest(values for name in sorted(after) for values in (
                after[name].weight, after[name].bias, after[name].mean, after[name].variance)),
            "momentum": _digest(values for name in sorted(after) for values in (
                after[name].weight_momentum, after[name].bias_momentum)),
            "exponents": hashlib.sha256(json.dumps(_numbers(used)).encode()).hexdigest(),
            "logits": _digest([logits])}


def _digest(arrays: Iterable[Array | None]) -> str:
    """SHA-256 of the bytes of arrays in C order, one behind the other; None counts for nothing."""
    digest = hashlib.sha256()
    for values in arrays:
        if values is not None:
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def _numbers(used: StepExponents) -> list[list[int | None]]:
    """The exponents of a step, layer by layer, then those of gradients and sums."""
    layers: list[list[int | None]] = [
        [e.x, e.w, e.y, e.dy, e.dx, e.w_next, e.second, e.total] for e in used.layers]
    return [*layers, [used.gradients[name] for name in sorted(used.gradients)], [*used.sums]]


def stored() -> Digests:
    """The committed digests."""
    values: Digests = json.loads(PATH.read_text(encoding="utf-8"))
    return values


def name_of(board: str, net: str) -> str:
    """Name of a program's or a result's digest."""
    return f"{net} {board}"


def computed() -> Digests:
    """The digests of the present contract, scheduler and golden model."""
    return {
        "contract": {name: contract_hash(config) for name, config in sorted(CONFIGS.items())},
        "programs": {name_of(*case): program_digest(*case) for case in PROGRAMS},
        "results": {f"{name_of(*case)} {what}": digest for case in RESULTS
                    for what, digest in result_digests(*case).items()}}


def write() -> None:
    """Write ``digests.json``."""
    PATH.write_text(json.dumps(computed(), indent=1) + "\n", encoding="utf-8")
