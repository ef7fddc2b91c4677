"""One training step on a board and on golden: the bytes of the whole arena are compared."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pynq_train.backends import Backend, open_backend
from pynq_train.errors import Mismatch
from pynq_train.graph.rng import hash_u64, normal_float32, stream_key
from pynq_train.layers import init_params
from pynq_train.quant import SgdStep
from pynq_train.quant.policy import INPUT_START
from pynq_train.run.masters import Masters
from pynq_train.run.session import Session, new_policy
from pynq_train.schedule.lower.step_block import plan_params
from pynq_train.schedule.plan import Plan

_STREAM = 0xD0D
_FILL = 3
"""Seed of the bytes that fill golden's arena first: what the engine does not write must stay."""


@dataclass(frozen=True)
class StepCompared:
    """A step that left the same bytes on both sides.

    Attributes:
        descriptors: descriptors of the program.
        nbytes: bytes that were compared: the whole arena.
        cycles: cycles of the step; 0: the backend has no clock.
    """

    descriptors: int
    nbytes: int
    cycles: int


def step_against_golden(backend: Backend, plan: Plan, seed: int = 1) -> StepCompared:
    """Run one training step on random images on a backend and on golden, and compare.

    Args:
        backend: an open backend whose arena holds the plan's.
        plan: network, mini-batch and board.
        seed: names weights and images.

    Raises:
        Mismatch: a byte of memory differs; the text names the tensor.
        HardwareFault: the engine stopped with an error, or did not end in time.
    """
    nbytes = plan.memory.nbytes
    masters = {name: Masters.of(one) for name, one in init_params(plan.layers, seed).items()}
    images, labels = _batch(plan, seed)
    with open_backend("golden", nbytes) as golden:
        reference = Session(plan, golden, masters, new_policy(plan, masters, INPUT_START),
                            fill_seed=_FILL)
        # Golden calibrates alone, then both get the same memory: one step is compared, not a
        # history.
        reference.calibrate(images, labels)
        policy = copy.deepcopy(reference.policy)
        params = plan_params(plan, policy.exponents(plan.batch), SgdStep(0.01, 0.9, 1e-3))
        reference.write_training(images, labels, params)
        backend.write(0, golden.read(0, nbytes))
        request = reference.request(reference.training)
        golden.run(request)
        result = backend.run(request)
        _compare(plan, golden.read(0, nbytes), backend.read(0, nbytes))
    return StepCompared(request.descriptor_count, nbytes, result.cycles)


def _batch(plan: Plan, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return random images (float32, as the network takes them) and labels (int64)."""
    shape = (plan.batch, *plan.layers[0].in_shape)
    key = stream_key(_STREAM, seed)
    draws = hash_u64(stream_key(_STREAM, seed, 1), 0, plan.batch)
    images = normal_float32(key, int(np.prod(shape))).reshape(shape)
    return images, (draws % np.uint64(plan.classes)).astype(np.int64)


def _compare(plan: Plan, mine: NDArray[np.uint8], theirs: NDArray[np.uint8]) -> None:
    """Check that two arenas are equal; ``mine`` is golden's.

    Raises:
        Mismatch: a byte differs; the text names tensor and place of the first one.
    """
    different = np.flatnonzero(mine != theirs)
    if not len(different):
        return
    at = int(different[0])
    where = next((f"byte {at - region.offset} of {region.symbol}" for region in plan.memory
                  if region.offset <= at < region.end), f"byte {at}, between tensors")
    raise Mismatch(f"{len(different)} of {len(mine)} bytes differ from golden, first {where}",
                   expected=f"0x{int(mine[at]):02x}", found=f"0x{int(theirs[at]):02x}",
                   fix="run 'pynq-train verify' on this board: it names the descriptor")
