"""Step block and result records of a plan's programs: what the host writes and reads per step."""

from __future__ import annotations

from collections.abc import Mapping

from pynq_train.errors import BadInput
from pynq_train.hw.commands import PARAM_BYTES, Opcode, pack_params
from pynq_train.quant import (
    LayerKind,
    SgdStep,
    StepExponents,
    StepParams,
    step_params,
    wired_step_params,
)
from pynq_train.schedule.passes.descriptors import Role, param_index
from pynq_train.schedule.plan import Plan

DEAD_UPDATE = {"momentum": 1 << 16, "g_shift": 63}
"""Update that keeps weights and momentum: momentum factor 1, no gradient, no decay, rate 0."""


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
    return wired_step_params(exponents, sgd, layer_kinds(plan), plan.backward_graph, alphas)


def pack_step_block(plan: Plan, params: StepParams) -> bytes:
    """Pack the step block; entries that a program does not use are zero.

    Where only a bias learns, the update of the scratch weights is a dead one.
    """
    entries: dict[int, bytes] = {
        param_index(Role.SOFTMAX, 0): pack_params(Opcode.SOFTMAX, params.softmax)}
    by_role = ((Role.FORWARD, params.forward), (Role.BACKWARD, params.backward),
               (Role.WEIGHT_GRADIENT, params.update_weights),
               (Role.UPDATE_BIAS, params.update_bias))
    for role, layers in by_role:
        if len(layers) != len(plan.specs):
            raise BadInput("step parameters", expected=f"{len(plan.specs)} layers",
                           found=len(layers))
        for layer, (values, learn) in enumerate(zip(layers, plan.trainable)):
            if role == Role.WEIGHT_GRADIENT and not learn.weights:
                values = DEAD_UPDATE if learn.bias and values else {}
            elif role == Role.UPDATE_BIAS and not learn.bias:
                values = {}
            opcode = role.opcode
            if not plan.specs[layer].on_array:
                opcode = {Role.FORWARD: Opcode.VECTOR,
                          Role.WEIGHT_GRADIENT: Opcode.UPDATE}.get(role, opcode)
            entries[param_index(role, layer)] = pack_params(opcode, values)
    entry_of = {plan.param_of(e): e.role.opcode for e in (*plan.train, *plan.evaluate)
                if e.role == Role.NORM_COEFFICIENTS or e.node >= 0}
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
