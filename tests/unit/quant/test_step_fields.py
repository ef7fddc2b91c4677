"""Step-block fields of all kinds of layers, against what they mean in exact arithmetic."""

from __future__ import annotations

import random
from collections.abc import Mapping
from fractions import Fraction

import pytest
from reference_models import concat_nets
from reference_models.dag_nets import NETWORKS

from pynq_train.errors import BadInput
from pynq_train.graph import Add, BatchNorm, Conv, Dense, Dropout, GlobalAvgPool, Graph, Relu, Relu6
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import Opcode, pack_params
from pynq_train.layers import fuse, kinds, nodes
from pynq_train.quant import ExponentPolicy, SgdStep, StepExponents, step_params
from pynq_train.quant.step import StepParams
from pynq_train.schedule.plan import Plan, make_plan

TWO = Fraction(2)
NORMED = Graph.build((2, 8, 8), [
    Conv(4, 3, padding=1, name="a"), BatchNorm(), Relu(name="r"),
    Conv(4, 3, padding=1, name="b"), BatchNorm(name="n"), Add(inputs=("n", "r")), Relu6(),
    Dropout(0.3), GlobalAvgPool(), Dense(3)], "normed")
GRAPHS = {"normed": NORMED, "concat": next(iter(concat_nets.NETWORKS.values())),
          **{name: NETWORKS[name] for name in ("residual", "pools", "shortcut", "dropout",
                                               "multiplied")}}


def plan_of(name: str, batch: int = 6) -> Plan:
    return make_plan(fuse(GRAPHS[name]), batch, BOARDS["pynq-z2"])


def policy_of(plan: Plan, rng: random.Random) -> ExponentPolicy:
    """A policy with a history of any ranges."""
    policy = ExponentPolicy.start(plan.quant_layers, plan.backward_graph,
                                  [rng.randint(-20, 3) for _ in plan.specs], rng.randint(-5, 8))
    for some in (policy.feature, policy.gradient):
        for history in some:
            history += [rng.randint(-12, 12) for _ in range(rng.randint(0, 3))]
    policy.w16 = [policy.weight_exponent(at) for at in range(len(plan.specs))]
    policy.weight_k = [rng.randint(-20, 3) for _ in plan.specs]
    return policy


def power(exponent: int) -> Fraction:
    return TWO ** exponent


def rate(fields: Mapping[str, int]) -> float:
    """Learning rate that the update unit applies."""
    return fields["lr"] / 2.0 ** fields["lr_shift"] / 16


def near(value: float, expected: float, part: float) -> bool:
    return abs(value - expected) <= part * abs(expected)


def check_forward(plan: Plan, e: StepExponents, params: StepParams, sgd: SgdStep | None) -> None:
    """Each layer's forward pass: what a code of its input becomes in codes of its output."""
    for at, (layer, own) in enumerate(zip(plan.quant_layers, e.layers)):
        f = params.forward[at]
        if layer.kind.joins:
            assert f == {}
            continue
        sums = power(own.y) / 2 ** f["shift"]  # value of one in the sums
        assert f["shift"] >= 0
        if layer.on_array:
            assert sums == power(own.x + own.w)
            assert power(-28) == sums * power(f["bias_shift"])
            assert set(f) == {"shift", "bias_shift", "limit"}
            continue
        assert sums == power(own.forward_sum)
        if layer.kind.windowed:
            assert set(f) == {"shift"}
        elif layer.kind.reduces:
            exact = power(own.x) / layer.pixels
            assert near(float(f["a_scale"] * sums / exact), 1, 2.0**-8)
        elif layer.kind == kinds.DROP:
            kept = 1 if sgd is None else 1 / (1 - layer.rate)
            assert near(float(f["a_scale"] * sums / power(own.x)), kept, 2.0**-15)
            assert ("drop_seed" in f) == (sgd is not None)
            if sgd is not None:
                assert (f["drop_seed"], f["drop_step"]) == (sgd.seed % 2**32, sgd.step % 2**24)
        else:
            expected = 0 if layer.kind.normalises else power(own.x)
            assert f["a_scale"] * sums == expected or (expected < sums and f["a_scale"] == 0)
            second = power(own.second) if len(layer.sources) > 1 else 0
            assert f["b_scale"] * sums == second or (second < sums and f["b_scale"] == 0)
        if layer.kind.normalises:
            norm = params.norm[at]
            assert (norm["z_exp"], norm["a_exp"], norm["c_exp"]) == (own.x, own.w, own.forward_sum)
            assert power(norm["z_exp"] + norm["a_exp"]) == sums
    assert set(params.norm) == {at for at, layer in enumerate(plan.quant_layers)
                                if layer.kind.normalises}


def check_nodes(plan: Plan, e: StepExponents, params: StepParams) -> None:
    """Each node of the backward graph on the vector unit."""
    own = {number: node for number, node in enumerate(plan.backward_graph.nodes)
           if node.kind.on_vector_unit}
    assert set(params.nodes) == set(own)
    assert set(params.node_coefficients) == {k for k, n in own.items() if n.kind == nodes.NORM}
    for number, node in own.items():
        f, total = params.nodes[number], e.sums[number]
        read = [power(e.gradients[ref.tensor]) for ref in node.reads]
        if node.target:
            assert power(e.gradients[node.target]) == power(total) * 2 ** f["shift"]
        layer = plan.quant_layers[node.layer]
        if node.kind == nodes.SPREAD:
            assert near(float(f["b_scale"] * power(total) / read[0]), 1 / layer.pixels, 2.0**-8)
        elif node.kind == nodes.DROP:
            assert near(float(f["a_scale"] * power(total) / read[0]), 1 / (1 - layer.rate),
                        2.0**-15)
        elif node.kind == nodes.NORM:
            c = params.node_coefficients[number]
            assert power(c["g_exp"]) == read[0] and c["z_exp"] == e.layers[node.layer].x
            assert c["a_exp"] + c["g_exp"] == c["b_exp"] + c["z_exp"] == c["c_exp"] == total
            assert set(f) == {"shift"}
        elif node.kind == nodes.UNPOOL:
            assert set(f) == {"shift"}
        else:
            scales = [f["a_scale"], f["b_scale"]]
            if node.kind != nodes.SUM:
                assert scales.pop() == 0
            for scale, one in zip(scales, read):
                assert scale * power(total) == one or (one < power(total) and scale == 0)


def check_updates(plan: Plan, e: StepExponents, params: StepParams, sgd: SgdStep, fold: float
                  ) -> None:
    """Rates of weights and biases, gamma and beta: each with its own factor.

    ``fold``: part of the mean that is no power of two.
    """
    halved = sgd.parts.bit_length() - 1
    for at, own in enumerate(e.layers):
        weights, bias = params.update_weights[at], params.update_bias[at]
        if not own.dy:
            assert weights == {} == bias
            continue
        last = sgd.part == sgd.parts - 1
        of_weights, of_bias = sgd.factors[at]
        for f, factor in ((weights, of_weights), (bias, of_bias)):
            assert near(rate(f), sgd.lr * factor * fold if last else 0, 2.0**-15)
            assert f["momentum"] == (65536 if sgd.part else round(sgd.momentum * 65536))
            assert f["nesterov"] == sgd.nesterov
        array = plan.quant_layers[at].on_array
        decays = array and not sgd.part
        assert weights["decay"] == (round(sgd.decay / fold * 2**20) if decays else 0)
        assert bias["decay"] == 0
        sums = own.x + own.dy if array else own.dy
        for f, exponent in ((weights, sums), (bias, own.dy)):
            assert f["g_shift"] == min(16 - 24 - (exponent - halved), 63)
        assert weights["w_shift"] == (own.w_next + 28 if array else max(own.w_next + 28, 0))
        assert bias["w_shift"] == max(own.w_next + 28, 0)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("seed", range(12))
def test_fields_mean_what_they_say(name: str, seed: int) -> None:
    rng = random.Random(seed)
    batch, parts = rng.choice((1, 2, 3, 6)), rng.choice((1, 1, 2, 3))
    plan = plan_of(name, batch)
    e = policy_of(plan, rng).exponents(batch)
    factors = tuple((rng.choice((0.0, 0.3, 1.7)), rng.choice((0.0, 0.2, 1.3)))
                    for _ in plan.specs)
    sgd = SgdStep(rng.uniform(0.01, 0.9), rng.choice((0.0, 0.9, 1.0)), 1e-3, factors=factors,
                  nesterov=parts == 1 and bool(seed % 2), parts=parts, part=rng.randrange(parts),
                  seed=rng.getrandbits(40), step=rng.getrandbits(30))
    params = step_params(e, sgd, plan.quant_layers, plan.backward_graph, {})
    check_forward(plan, e, params, sgd)
    check_nodes(plan, e, params)
    whole = 2 ** (batch.bit_length() - 1) / batch * 2 ** (parts.bit_length() - 1) / parts
    check_updates(plan, e, params, sgd, whole)
    for at, own in enumerate(e.layers):
        if own.dx:
            assert power(own.dx) == power(own.dy + own.w) * 2 ** params.backward[at]["shift"] or (
                own.dx < own.dy + own.w and params.backward[at]["shift"] == 0)
        else:
            assert params.backward[at]["shift"] == 0
    assert params.softmax["valid"] == batch
    for number, fields in params.nodes.items():
        opcode = plan.backward_graph.nodes[number].kind.opcode
        assert opcode is not None
        pack_params(opcode, fields)
    for fields in (*params.norm.values(), *params.node_coefficients.values()):
        pack_params(Opcode.NORM, fields)


@pytest.mark.parametrize("name", GRAPHS)
def test_fields_of_an_evaluation(name: str) -> None:
    plan = plan_of(name)
    e = policy_of(plan, random.Random(3)).exponents(6, training=False)
    params = step_params(e, None, plan.quant_layers, plan.backward_graph, {})
    check_forward(plan, e, params, None)
    assert set(map(len, (*params.update_weights, *params.update_bias))) == {0}
    assert params.softmax["valid"] == 6
    valid = step_params(e, SgdStep(0.1, valid=5), plan.quant_layers, plan.backward_graph, {})
    assert valid.softmax["valid"] == 5


def test_what_an_optimizer_does_unless_it_is_told() -> None:
    """No momentum, decay, clipping and Nesterov; one part; all images; the first step."""
    assert SgdStep(0.5) == SgdStep(0.5, 0.0, 0.0, None, (), None, False, 1, 0, 0, 0)


def test_gamma_and_beta_learn_at_their_own_rates() -> None:
    """A rate of 0 for one of them leaves the other."""
    plan = plan_of("normed")
    e = policy_of(plan, random.Random(1)).exponents(6)
    norms = [at for at, layer in enumerate(plan.quant_layers) if layer.kind.normalises]
    assert len(norms) == 2
    for factor in ((0.0, 1.0), (1.0, 0.0)):
        params = step_params(e, SgdStep(0.1, factors=(factor,) * len(plan.specs)),
                             plan.quant_layers, plan.backward_graph, {})
        for at in norms:
            assert bool(params.update_weights[at]["lr"]) == bool(factor[0])
            assert bool(params.update_bias[at]["lr"]) == bool(factor[1])


@pytest.mark.parametrize(("sgd", "text"), [
    (SgdStep(0.1, momentum=1.0001), r"momentum: expected 0\.\.1, found 1\.0001"),
    (SgdStep(0.1, momentum=-1e-9), r"momentum: expected 0\.\.1"),
    (SgdStep(0.1, decay=-1e-3), "weight decay: expected 0 or more"),
    (SgdStep(0.1, decay=0.0625), "weight decay: expected 0 or more, below"),
    (SgdStep(0.1, nesterov=True, parts=2), "nesterov with accumulation"),
    (SgdStep(-0.1), "learning rate: expected 0 or more, below 2048"),
    (SgdStep(2048), "learning rate: expected 0 or more, below 2048"),
])
def test_values_out_of_range(sgd: SgdStep, text: str) -> None:
    plan = plan_of("residual", 4)
    e = policy_of(plan, random.Random(1)).exponents(4)
    with pytest.raises(BadInput, match=text):
        step_params(e, sgd, plan.quant_layers, plan.backward_graph, {})


@pytest.mark.parametrize("sgd", [
    SgdStep(0.1, momentum=1.0), SgdStep(0.1, momentum=0.0), SgdStep(0.1, decay=65535 / 2**20),
    SgdStep(2047.9), SgdStep(0.0), SgdStep(0.1, parts=2, part=1),
    SgdStep(0.1, nesterov=True, parts=1)])
def test_the_last_legal_values(sgd: SgdStep) -> None:
    plan = plan_of("residual", 4)
    e = policy_of(plan, random.Random(1)).exponents(4)
    params = step_params(e, sgd, plan.quant_layers, plan.backward_graph, {})
    for fields in (*params.update_weights, *params.update_bias):
        pack_params(Opcode.UPDATE, fields)
