"""The step block: what a plan's program reads anew in each step, written by the host before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pynq_train.errors import BadInput
from pynq_train.hw.commands import PARAM_BYTES, Opcode, pack_params
from pynq_train.hw.words import MASTER_EXPONENT
from pynq_train.quant import (
    SgdStep,
    StepExponents,
    StepParams,
    step_params,
)
from pynq_train.schedule.passes.descriptors import Role, param_index
from pynq_train.schedule.plan import Plan

DEAD_UPDATE = {"momentum": 1 << 16, "g_shift": 63}
"""Update that keeps weights and momentum: momentum factor 1, no gradient, no decay, rate 0.

Fields that are not named are 0.
"""


def plan_params(plan: Plan, exponents: StepExponents, sgd: SgdStep | None,
                moving: bool = True) -> StepParams:
    """Return the step-block fields of one step of a plan.

    Args:
        plan: the plan.
        exponents: exponents of the step.
        sgd: the optimizer's values; None for an evaluation.
        moving: whether the running statistics of normalisations move.
    """
    alphas = {index: layer.norm.momentum for index, layer in enumerate(plan.layers)
              if layer.norm is not None and moving and sgd is not None}
    return step_params(exponents, sgd, plan.quant_layers, plan.backward_graph, alphas)


def pack_step_block(plan: Plan, params: StepParams) -> bytes:
    """Return the bytes of the step block; entries that a program does not use are zero.

    Where only a bias is trained, the scratch convolution that sums its gradient has weights too:
    their update is a dead one (:data:`DEAD_UPDATE`).

    Raises:
        BadInput: ``params`` is not for as many layers as the plan has.
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
        for layer, (values, trained) in enumerate(zip(layers, plan.trainable)):
            if role == Role.WEIGHT_GRADIENT and not trained.weights:
                values = DEAD_UPDATE if trained.bias and values else {}
            elif role == Role.UPDATE_BIAS and not trained.bias:
                values = {}
            opcode = role.opcode
            if not plan.specs[layer].on_array:
                opcode = {Role.FORWARD: Opcode.VECTOR,
                          Role.WEIGHT_GRADIENT: Opcode.UPDATE}.get(role, opcode)
            entries[param_index(role, layer)] = pack_params(opcode, values)
    layout = plan.step_block
    for index, values in params.norm.items():
        entries[layout.coefficients(index)] = pack_params(Opcode.NORM, values)
    for number, values in params.nodes.items():
        runs = plan.backward_graph.nodes[number].kind.opcode
        assert runs is not None, "a node with values runs somewhere"
        entries[layout.node(number)] = pack_params(runs, values)
    for number, values in params.node_coefficients.items():
        entries[layout.node(number, True)] = pack_params(Opcode.NORM, values)
    blank = bytes(PARAM_BYTES)
    return b"".join(entries.get(i, blank) for i in range(layout.entries))


def dry(params: StepParams, used: StepExponents) -> StepParams:
    """Keep weights and momentum: momentum factor 1, no gradient, no decay, rate 0."""

    def dead(values: Mapping[str, int], exponent: int) -> Mapping[str, int]:
        if not values:
            return values
        return {**DEAD_UPDATE, "w_shift": max(exponent - MASTER_EXPONENT, 0)}

    layers = used.layers
    return replace(
        params,
        update_weights=tuple(dead(v, e.w) for v, e in zip(params.update_weights, layers)),
        update_bias=tuple(dead(v, e.w) for v, e in zip(params.update_bias, layers)))
