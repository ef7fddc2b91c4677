"""Step block and result records of a plan's programs: what the host writes and reads per step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pynq_train.errors import BadInput
from pynq_train.hw.commands import RECORD_WORDS, Opcode, pack_params
from pynq_train.quant import (
    LayerKind,
    Measures,
    SgdStep,
    StepExponents,
    StepParams,
    step_params,
    wired_step_params,
)
from pynq_train.schedule.plan import PARAM_BYTES, Entry, Plan, Role, param_index

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
    return tuple(LayerKind(s.name, active, s.backward, s.kind, layer.sources, s.words,
                           layer.drop.rate if layer.drop else 0.0)
                 for s, layer, active in zip(plan.specs, plan.layers, plan.active))


def plan_params(plan: Plan, exponents: StepExponents, sgd: SgdStep | None,
                moving: bool = True) -> StepParams:
    """Return the step-block fields of a step of the plan.

    Args:
        plan: the plan.
        exponents: of the step.
        sgd: the optimizer's values; None for an evaluation.
        moving: whether the running statistics of normalisations move.
    """
    if all(spec.on_array for spec in plan.specs):
        return step_params(exponents, sgd)
    alphas = {index: layer.norm.momentum for index, layer in enumerate(plan.layers)
              if layer.norm is not None and moving and sgd is not None}
    return wired_step_params(exponents, sgd, layer_kinds(plan), plan.flow, alphas)


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
            opcode = role.opcode
            if not plan.specs[layer].on_array:
                opcode = {Role.FORWARD: Opcode.VECTOR,
                          Role.GRADIENT: Opcode.UPDATE}.get(role, opcode)
            entries[param_index(role, layer)] = pack_params(opcode, values)
    entry_of = {plan.param_of(e): e.role.opcode for e in (*plan.train, *plan.evaluate)
                if e.role == Role.NORM or e.step >= 0}
    for index, opcode in entry_of.items():
        entries[index] = pack_params(opcode, _of_index(plan, params, index))
    blank = bytes(PARAM_BYTES)
    return b"".join(entries.get(i, blank) for i in range(plan.step_block_bytes // PARAM_BYTES))


def _of_index(plan: Plan, params: StepParams, index: int) -> Mapping[str, int]:
    """Values of a step-block entry behind those of the layers (:meth:`Plan.param_of`)."""
    count = len(plan.specs)
    behind = index - 1 - 4 * count
    if behind < count:
        return params.norm[behind]
    number, coefficients = divmod(behind - count, 2)
    return (params.norm_steps if coefficients else params.steps).get(number, {})


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
    found = _Reading(plan)
    for entry, row in zip(entries, words):
        found.take(entry, int(row[0]), int(row[1]))
    return StepResult(found.loss, found.correct, found.measures(), found.saturations)


class _Reading:
    """Collects the records of a run."""

    def __init__(self, plan: Plan) -> None:
        count = len(plan.specs)
        self._plan = plan
        self._forward = [0] * count
        self._backward: list[int | None] = [None] * count
        self._weights: list[int | None] = [None] * count
        self._coefficients: dict[int, int] = {}
        self._steps: dict[int, tuple[int, int]] = {}
        self.saturations: dict[str, int] = {}
        self.loss = self.correct = 0

    def take(self, entry: Entry, first: int, second: int) -> None:
        """Take one record: its measure and its saturations."""
        layer, role = entry.layer, entry.role
        name = self._plan.specs[layer].name
        if role == Role.SOFTMAX:
            self.loss, self.correct = first, second
        elif role in (Role.FORWARD, Role.POINT):
            self._forward[layer] |= first
            self._count(f"{name}.y", second)
        elif role == Role.BACKWARD:
            self._backward[layer] = (self._backward[layer] or 0) | first
            self._count(f"{name}.dx", second)
        elif role == Role.GRADIENT:
            self._weights[layer] = (self._weights[layer] or 0) | first
            self._count(f"{name}.w", second)
        elif role == Role.NORM:
            self._coefficients[layer] = first
            self._count(f"{name}.a", second)
        elif role == Role.STEP_NORM:
            written, _ = self._steps.get(entry.step, (0, 0))
            self._steps[entry.step] = (written, first)
            self._count(f"{name}.b", second)
        elif role == Role.POOL:
            self._count(f"{name}.y", second)  # its range is that of its input
        elif role in (Role.STEP, Role.UNPOOL):
            # Parts of the mini-batch have a record each.
            written, coefficients = self._steps.get(entry.step, (0, 0))
            self._steps[entry.step] = (written | first, coefficients)
            self._count(self._plan.flow.steps[entry.step].target, second)

    def _count(self, tensor: str, saturations: int) -> None:
        self.saturations[tensor] = self.saturations.get(tensor, 0) + saturations

    def measures(self) -> Measures:
        """Ranges for the exponent policy."""
        return Measures(self._forward, self._backward, self._weights, self._coefficients,
                        self._steps)
