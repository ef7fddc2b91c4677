"""Step block and result records of a plan's programs: what the host writes and reads per step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pynq_train.errors import BadInput
from pynq_train.hw.commands import RECORD_WORDS, Opcode, pack_params
from pynq_train.quant import LayerKind, Measures, StepParams
from pynq_train.schedule.plan import Entry, Plan, Role, param_index

DEAD_UPDATE = {"momentum": 1 << 16, "g_shift": 63}
"""Update that keeps weights and momentum: momentum factor 1, no gradient, no decay, rate 0."""


@dataclass(frozen=True)
class StepResult:
    """What the records of one program run say.

    Attributes:
        loss_sum: sum of the losses over the valid images, in units of ``Loss.unit``.
        correct: correct predictions.
        measures: ranges for the exponent policy.
        saturations: saturated elements by tensor: ``<layer>.y``, ``<layer>.dx``, ``<layer>.w``.
    """

    loss_sum: int
    correct: int
    measures: Measures
    saturations: dict[str, int]


def layer_kinds(plan: Plan) -> tuple[LayerKind, ...]:
    """Return what the exponent policy must know of the layers."""
    return tuple(LayerKind(s.name, s.index >= plan.train_from, s.backward) for s in plan.specs)


def pack_step_block(plan: Plan, params: StepParams) -> bytes:
    """Pack the step block; entries that a program does not use are zero.

    Where only a bias learns, the update of the scratch weights is a dead one.
    """
    entries: dict[int, bytes] = {
        param_index(Role.SOFTMAX, 0): pack_params(Opcode.SOFTMAX, params.softmax)}
    by_role = ((Role.FORWARD, params.forward), (Role.BACKWARD, params.backward),
               (Role.GRADIENT, params.update_weights),
               (Role.UPDATE_BIAS, params.update_bias))
    for role, layers in by_role:
        if len(layers) != len(plan.specs):
            raise BadInput("step parameters", expected=f"{len(plan.specs)} layers",
                           found=len(layers))
        for layer, (values, learn) in enumerate(zip(layers, plan.learns)):
            if role == Role.GRADIENT and not learn.weights:
                values = DEAD_UPDATE if learn.bias and values else {}
            elif role == Role.UPDATE_BIAS and not learn.bias:
                values = {}
            entries[param_index(role, layer)] = pack_params(role.opcode, values)
    return b"".join(entries[i] for i in range(len(entries)))


def read_records(plan: Plan, entries: tuple[Entry, ...],
                 records: NDArray[np.uint8]) -> StepResult:
    """Decode the records of a program run.

    Args:
        plan: the plan.
        entries: descriptors of the program, ``plan.train`` or ``plan.evaluate``.
        records: uint8, the bytes of symbol ``train.records`` or ``evaluate.records``.
    """
    words = np.frombuffer(records.tobytes(), "<i8").reshape(-1, RECORD_WORDS)
    if len(words) != len(entries):
        raise BadInput("records", expected=f"{len(entries)} of {RECORD_WORDS} words",
                       found=len(words))
    count = len(plan.specs)
    forward = [0] * count
    backward: list[int | None] = [None] * count
    weights: list[int | None] = [None] * count
    saturations: dict[str, int] = {}
    loss = correct = 0
    for entry, row in zip(entries, words):
        first, second, layer = int(row[0]), int(row[1]), entry.layer
        name = plan.specs[layer].name
        if entry.role == Role.SOFTMAX:
            loss, correct = first, second
        elif entry.role == Role.FORWARD:
            forward[layer] |= first
            saturations[f"{name}.y"] = second
        elif entry.role == Role.BACKWARD:
            backward[layer] = (backward[layer] or 0) | first
            saturations[f"{name}.dx"] = saturations.get(f"{name}.dx", 0) + second
        elif entry.role == Role.GRADIENT:
            weights[layer] = (weights[layer] or 0) | first
            saturations[f"{name}.w"] = saturations.get(f"{name}.w", 0) + second
    return StepResult(loss, correct, Measures(forward, backward, weights), saturations)
