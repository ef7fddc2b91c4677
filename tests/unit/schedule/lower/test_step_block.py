"""Step block and records: every entry at its place, every record joined to its tensor."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from reference_models.dag_nets import NETWORKS

from pynq_train.errors import BadInput
from pynq_train.graph import Add, BatchNorm, Conv, Dense, Dropout, Graph, MaxPool, Relu
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import PARAM_BYTES, Opcode, pack_params, unpack_params
from pynq_train.layers import fuse
from pynq_train.quant import ExponentPolicy, SgdStep
from pynq_train.quant.step import StepParams
from pynq_train.schedule.lower.records import read_records
from pynq_train.schedule.lower.step_block import DEAD_UPDATE, pack_step_block, plan_params
from pynq_train.schedule.passes.descriptors import Descriptor, Role
from pynq_train.schedule.plan import Plan, make_plan
from pynq_train.schedule.specs.trainable import Trainable

FORWARD = (Role.FORWARD, Role.NORM_SUMS, Role.FORWARD_VECTOR, Role.POOL, Role.CONCAT_BARRIER)
WEIGHTS = (Role.WEIGHT_GRADIENT, Role.BIAS_SUMS, Role.UPDATE_GAMMA)
BY_NODE = (Role.BACKWARD_VECTOR, Role.UNPOOL)
LATEST = (Role.SOFTMAX, Role.NORM_COEFFICIENTS, Role.BACKWARD_NORM)
"""Roles with one record each: nothing is joined."""


def mixed() -> Graph:
    """Every role but those of a concatenation and of a layer whose bias alone is trained."""
    return Graph.build((2, 8, 8), [
        Conv(4, 3, padding=1, name="a"), BatchNorm(momentum=0.3), Relu(name="r"),
        Conv(4, 3, padding=1, name="b"), BatchNorm(momentum=0.2, name="n"), Add(inputs=("n", "r")),
        Relu(), MaxPool(3, 2, 1), Conv(6, 3, 2, 1), Relu(), Dropout(0.3), Dense(3)], "mixed")


@cache
def planned(name: str) -> Plan:
    graph = mixed() if name == "mixed" else NETWORKS[name]
    return make_plan(fuse(graph), 4, BOARDS["pynq-z2"])


def params_of(plan: Plan, rng: random.Random) -> StepParams:
    """Parameters of a step with other values in every layer."""
    policy = ExponentPolicy.start(plan.quant_layers, plan.backward_graph,
                                  [rng.randint(-6, 1) for _ in plan.specs])
    factors = tuple((rng.uniform(0.1, 2), rng.uniform(0.1, 2)) for _ in plan.specs)
    return plan_params(plan, policy.exponents(plan.batch),
                       SgdStep(0.05, 0.9, 1e-3, factors=factors, seed=7, step=9))


def values_of(plan: Plan, params: StepParams, descriptor: Descriptor) -> dict[str, int]:
    """What a descriptor must find in its entry."""
    layer, role = descriptor.layer, descriptor.role
    if role == Role.SOFTMAX:
        return dict(params.softmax)
    if role in FORWARD:
        return dict(params.forward[layer])
    if role == Role.BACKWARD:
        return dict(params.backward[layer])
    if role in WEIGHTS:
        return dict(params.update_weights[layer])
    if role == Role.UPDATE_BIAS:
        return dict(params.update_bias[layer])
    if role == Role.NORM_COEFFICIENTS:
        return dict(params.norm[layer])
    if role == Role.BACKWARD_NORM:
        return dict(params.node_coefficients[descriptor.node])
    return dict(params.nodes[descriptor.node])


def entry(plan: Plan, block: bytes, descriptor: Descriptor) -> dict[str, int]:
    """The entry of a descriptor, unpacked as its unit does."""
    at = PARAM_BYTES * plan.step_block.index(descriptor)
    return unpack_params(descriptor.role.opcode, block[at:at + PARAM_BYTES])


@pytest.mark.parametrize("name", ["mixed", "residual", "pools", "dropout", "multiplied"])
def test_every_descriptor_finds_its_values(name: str) -> None:
    plan = planned(name)
    params = params_of(plan, random.Random(name))
    block = pack_step_block(plan, params)
    assert len(block) == PARAM_BYTES * plan.step_block.entries
    seen = set()
    for descriptor in (*plan.train, *plan.evaluate):
        found, role = entry(plan, block, descriptor), descriptor.role
        expected = values_of(plan, params, descriptor)
        if role in (Role.BACKWARD_SUMS, Role.NORM_SUMS, Role.CONCAT_BARRIER):
            continue  # they write no map: nothing of the entry counts
        assert found == {key: expected.get(key, 0) for key in found}, descriptor
        assert set(expected) <= set(found)
        seen.add(role)
    if name == "mixed":
        assert seen == set(Role) - {Role.BIAS_SUMS, Role.NORM_SUMS, Role.BACKWARD_SUMS,
                                    Role.CONCAT_BARRIER}


def test_what_no_descriptor_reads_is_zero() -> None:
    plan = planned("mixed")
    block = pack_step_block(plan, params_of(plan, random.Random(1)))
    read = {plan.step_block.index(d) for d in (*plan.train, *plan.evaluate)}
    for at in set(range(plan.step_block.entries)) - read:
        part = block[PARAM_BYTES * at:PARAM_BYTES * (at + 1)]
        if at > 4 * len(plan.specs):
            assert part == bytes(PARAM_BYTES), at


@pytest.mark.parametrize(("trained", "weights", "bias"), [
    (Trainable(True, True), "own", "own"), (Trainable(True, False), "own", "none"),
    (Trainable(False, True), "dead", "own"), (Trainable(False, False), "none", "none")])
def test_what_is_not_trained_stays(trained: Trainable, weights: str, bias: str) -> None:
    """Where only a bias learns, the scratch convolution's update keeps its weights."""
    layers = fuse(Graph.build((2, 5, 5), [Conv(4, 3, name="a"), Relu(), Dense(3)], "two"))
    plan = make_plan(layers, 2, BOARDS["pynq-z2"], trainable=(trained, Trainable(True, True)))
    params = params_of(plan, random.Random(2))
    block = pack_step_block(plan, params)
    kinds = {"own": params.update_weights[0], "dead": DEAD_UPDATE, "none": {}}
    assert block[16 * 3:16 * 4] == pack_params(Opcode.GRADIENT, kinds[weights])
    assert block[16 * 4:16 * 5] == pack_params(
        Opcode.UPDATE, params.update_bias[0] if bias == "own" else {})
    assert DEAD_UPDATE == {"momentum": 65536, "g_shift": 63}


def test_a_layer_between_trained_ones_keeps_its_weights() -> None:
    """Its output has a gradient, but nothing of it learns; nothing learns in an evaluation."""
    layers = fuse(Graph.build((2, 5, 5), [Conv(4, 3), Relu(), Conv(4, 3), Relu(), Dense(3)], "n"))
    both, bias = Trainable(True, True), Trainable(False, True)
    plan = make_plan(layers, 2, BOARDS["pynq-z2"],
                     trainable=(both, Trainable(False, False), both))
    params = params_of(plan, random.Random(3))
    assert params.update_weights[1] and params.update_bias[1]
    block = pack_step_block(plan, params)
    assert block[16 * 7:16 * 9] == bytes(32)
    plan = make_plan(layers, 2, BOARDS["pynq-z2"], trainable=(bias, bias, both))
    policy = ExponentPolicy.start(plan.quant_layers, plan.backward_graph, [0] * 3)
    block = pack_step_block(plan, plan_params(plan, policy.exponents(2), None))
    for layer in range(3):
        assert block[16 * (4 * layer + 3):16 * (4 * layer + 5)] == bytes(32)


@pytest.mark.parametrize("name", ["forward", "backward", "update_weights", "update_bias"])
def test_parameters_of_another_network(name: str) -> None:
    plan = planned("mixed")
    params, count = params_of(plan, random.Random(1)), len(plan.specs)
    for values in (getattr(params, name)[:-1], (*getattr(params, name), {})):
        with pytest.raises(BadInput, match=f"step parameters: expected {count} layers, found "
                                           f"{len(values)}"):
            pack_step_block(plan, replace(params, **{name: values}))


def test_running_statistics_move_in_training_only() -> None:
    plan = planned("mixed")
    policy = ExponentPolicy.start(plan.quant_layers, plan.backward_graph, [0] * len(plan.specs))
    exponents = policy.exponents(plan.batch)
    momenta = {at: layer.norm.momentum for at, layer in enumerate(plan.layers)
               if layer.norm is not None}
    assert sorted(momenta.values()) == [0.2, 0.3]
    moving = plan_params(plan, exponents, SgdStep(0.1))
    assert {at: f["alpha"] for at, f in moving.norm.items()} == {
        at: round(65536 * alpha) for at, alpha in momenta.items()}
    for still in (plan_params(plan, exponents, SgdStep(0.1), moving=False),
                  plan_params(plan, exponents, None)):
        assert {f["alpha"] for f in still.norm.values()} == {0}


# -- records
@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("name", ["mixed", "multiplied", "pools"])
def test_records_are_joined_by_tensor(name: str, seed: int) -> None:
    """Parts, sections and row phases: an OR of measures and a sum of saturations, for each role."""
    plan, rng = planned(name), random.Random(seed)
    # As in a program of three parts: whatever may occur more than once does.
    descriptors = tuple(d for d in plan.train for _ in range(1 if d.role in LATEST else 3))
    rows = [[rng.getrandbits(rng.choice((0, 3, 40))), rng.getrandbits(rng.choice((0, 10))), 5, 6]
            for _ in descriptors]
    count = len(plan.specs)
    forward, backward, weights = [0] * count, [None] * count, [None] * count
    coefficients: dict[int, int] = {}
    written: dict[int, int] = {}
    scales: dict[int, int] = {}
    saturations: dict[str, int] = {}
    loss = correct = 0
    for d, (first, second, *_) in zip(descriptors, rows):
        owner, tensor = plan.specs[d.layer].name, None
        if d.role == Role.SOFTMAX:
            loss, correct = first, second
        elif d.role in (Role.FORWARD, Role.FORWARD_VECTOR):
            forward[d.layer] |= first
            tensor = f"{owner}.y"
        elif d.role == Role.POOL:
            tensor = f"{owner}.y"
        elif d.role == Role.BACKWARD:
            backward[d.layer] = (backward[d.layer] or 0) | first
            tensor = f"{owner}.dx"
        elif d.role == Role.WEIGHT_GRADIENT:
            weights[d.layer] = (weights[d.layer] or 0) | first
            tensor = f"{owner}.w"
        elif d.role == Role.NORM_COEFFICIENTS:
            coefficients[d.layer] = first
            tensor = f"{owner}.a"
        elif d.role == Role.BACKWARD_NORM:
            scales[d.node] = first
            tensor = f"{owner}.b"
        elif d.role in BY_NODE:
            written[d.node] = written.get(d.node, 0) | first
            tensor = plan.backward_graph.nodes[d.node].target
        if tensor is not None:
            saturations[tensor] = saturations.get(tensor, 0) + second
    found = read_records(plan, descriptors, np.array(rows, np.int64).view(np.uint8))
    assert (found.loss_sum, found.correct) == (loss, correct)
    assert found.measures.forward == forward and found.measures.backward == backward
    assert found.measures.weights == weights and found.measures.coefficients == coefficients
    assert found.measures.nodes == {node: (written.get(node, 0), scales.get(node, 0))
                                    for node in {*written, *scales}}
    assert found.saturations == saturations


def test_too_few_and_too_many_records() -> None:
    plan = planned("mixed")
    count = len(plan.train)
    for wrong in (count - 1, count + 1):
        with pytest.raises(BadInput, match=f"records: expected {count} of 4 words, found {wrong}"):
            read_records(plan, plan.train, np.zeros(32 * wrong, np.uint8))
