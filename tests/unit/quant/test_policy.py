"""Exponent policy: histories, margins, clamps; step-block fields against exact arithmetic."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
from reference_models.series_policy import series_params, start_series

from pynq_train.errors import BadInput
from pynq_train.hw.commands import Opcode, pack_params
from pynq_train.quant import (
    ExponentPolicy,
    Loss,
    Measures,
    SgdStep,
    learning_rate_fields,
)
from pynq_train.quant.policy import HISTORY_STEPS, range_of_master
from pynq_train.quant.step import clip_shift

LAYERS = ("a", "b", "c")


def start() -> ExponentPolicy:
    return start_series(LAYERS, [range_of_master(1 << 27)] * 3)


def test_start_guesses() -> None:
    e = start().exponents(128)
    assert [layer.y for layer in e.layers] == [4 - 15] * 3
    assert e.layers[0].x == 2 - 15
    assert e.layers[2].dy == -15 - 7 and e.layers[1].dy == -8 - 15
    assert e.layers[0].w == 0 + 1 - 15  # 0.5 lies in [2**-1, 2**0)
    assert Loss().gradient_exponent(100, -9) == -15 - 6


def test_history_margin_and_zero() -> None:
    policy = start()
    for step in range(HISTORY_STEPS + 1):
        e = policy.exponents(1)
        bits = 1 << (25 if step == 0 else 20)
        policy.observe(e, Measures([bits, 0, 1], [None, 0, 1 << 30], [0, 1 << 29, 5]))
        k = 26 + e.layers[0].forward_sum
        if step == 0:
            first = k
        if step < HISTORY_STEPS:
            assert policy.exponents(1).layers[0].y == first + 1 - 15
    assert policy.exponents(1).layers[0].y == 21 + e.layers[0].forward_sum + 1 - 15
    assert policy.feature[1] == [] and policy.gradient[0] == []
    assert len(policy.gradient[1]) == HISTORY_STEPS
    assert policy.weight_k[0] == range_of_master(1 << 27), "all-zero masters keep the range"
    assert policy.weight_k[1] == 30 - 28


def test_weights_in_memory_lag_by_one_step() -> None:
    policy = start()
    e = policy.exponents(1)
    policy.observe(e, Measures([1] * 3, [None, 1, 1], [(1 << 30) - 1] * 3))
    later = policy.exponents(1)
    assert later.layers[0].w == e.layers[0].w_next
    assert later.layers[0].w_next == 2 + 1 - 15


def test_every_field_stays_in_range() -> None:
    rng = random.Random(5)
    for _ in range(300):
        policy = start_series(LAYERS, [rng.randint(-40, 3) for _ in LAYERS],
                             rng.randint(-30, 20))
        for _ in range(4):
            batch = rng.choice([1, 7, 128, 4096])
            e = policy.exponents(batch)
            params = series_params(policy, e, SgdStep(rng.choice([1e-9, 0.01, 3.0]), 0.9, 5e-4))
            for values in (*params.forward, *params.backward):
                pack_params(Opcode.CONV, values)
                assert 0 <= values["shift"] <= 47
                assert -31 <= values.get("bias_shift", 0) <= 15
            for values in (*params.update_weights, *params.update_bias):
                pack_params(Opcode.UPDATE, values)
                assert 0 <= values["g_shift"] <= 63 and 0 <= values["w_shift"] <= 31
                assert 0 <= values["lr_shift"] <= 47
            assert 0 <= params.softmax["z_shift"] <= 31
            policy.observe(e, Measures(
                [rng.getrandbits(rng.randint(0, 48)) for _ in LAYERS],
                [None, *(rng.getrandbits(rng.randint(0, 48)) for _ in LAYERS[1:])],
                [rng.getrandbits(rng.randint(0, 32)) for _ in LAYERS]))


def test_shifts_mean_what_they_say() -> None:
    policy = start()
    e = policy.exponents(64)
    params = series_params(policy, e, SgdStep(0.02, 0.9, 5e-4))
    for layer, exps in enumerate(e.layers):
        # a sum of 1 at the accumulator's exponent is 2**-shift codes of y
        assert Fraction(2) ** (exps.x + exps.w) == (
            Fraction(2) ** exps.y / 2 ** params.forward[layer]["shift"])
        assert Fraction(2) ** -28 == (Fraction(2) ** (exps.x + exps.w)
                                      * Fraction(2) ** params.forward[layer]["bias_shift"])
        g = params.update_weights[layer]["g_shift"]
        assert Fraction(2) ** (exps.x + exps.dy) == Fraction(2) ** (16 - g) * Fraction(2) ** -24
        b = params.update_bias[layer]
        assert Fraction(2) ** exps.dy == Fraction(2) ** (16 - b["g_shift"] - 24)
        assert b["decay"] == 0 and params.update_weights[layer]["decay"] == round(5e-4 * 2**20)
        assert params.update_weights[layer]["w_shift"] == exps.w_next + 28


def test_learning_rate() -> None:
    for lr in (1.0, 0.02, 1e-3, 3e-5, 0.999999, 10.0):
        mantissa, shift = learning_rate_fields(lr)
        assert 1 << 15 <= mantissa < 1 << 16 and 0 <= shift <= 47
        assert abs(mantissa / 2**shift / 16 / lr - 1) < 2**-16
    assert learning_rate_fields(0.0) == (0, 0)
    assert learning_rate_fields(1e-14)[1] == 47
    with pytest.raises(BadInput, match="learning rate"):
        learning_rate_fields(float("nan"))
    mean = series_params(start(), start().exponents(96), SgdStep(0.03, 0.9, 1e-3))
    fields = mean.update_weights[0]
    assert abs(fields["lr"] / 2 ** fields["lr_shift"] / 16 - 0.03 * 64 / 96) < 1e-6
    assert fields["decay"] == round(1e-3 * 96 / 64 * 2**20)


def test_calibration() -> None:
    policy = start()
    e = policy.exponents(8)
    small = Measures([1 << 4] * 3, [None, 1 << 40, 1 << 4], [1 << 27] * 3)
    assert policy.calibrate(e, small)
    for _ in range(10):
        e = policy.exponents(8)
        right = Measures([1 << (13 + x.y - x.forward_sum) for x in e.layers],
                         [None, *(1 << (13 + x.dx - x.backward_sum) for x in e.layers[1:])],
                         [1 << 27] * 3)
        again = policy.calibrate(e, right)
    assert not again and all(len(h) == 1 for h in policy.feature)


def test_untrained_layers_keep_their_weights() -> None:
    policy = start_series(("a", "b"), [0, 0], trained_from=1)
    e = policy.exponents(4)
    assert e.layers[0].dy == 0 and e.layers[0].w_next == e.layers[0].w
    params = series_params(policy, e, SgdStep(0.1))
    assert params.update_weights[0] == {} and params.update_weights[1]["lr"] > 0
    policy.observe(e, Measures([9, 9], [None, None], [None, 1 << 20]))


def test_checkpoint() -> None:
    policy = start()
    policy.observe(policy.exponents(2), Measures([7, 8, 9], [None, 1, 2], [3, 4, 5]))
    network = policy.layers, policy.backward_graph
    again = ExponentPolicy.from_dict(policy.to_dict(), *network)
    assert again == policy and again.exponents(2) == policy.exponents(2)
    with pytest.raises(BadInput, match="version"):
        ExponentPolicy.from_dict({"version": 0}, *network)
    broken = policy.to_dict()
    broken["w16"] = [-15]
    with pytest.raises(BadInput, match="3 layers"):
        ExponentPolicy.from_dict(broken, *network)
    del broken["w16"]
    with pytest.raises(BadInput, match="expected w16, found nothing"):
        ExponentPolicy.from_dict(broken, *network)


def test_checkpoints_of_the_first_release_and_of_other_networks() -> None:
    policy = start()
    data = policy.to_dict()
    older = {**data, "layers": [[name, True, True] for name in LAYERS]}
    assert ExponentPolicy.from_dict(older, policy.layers, policy.backward_graph) == policy
    other = start_series(("a", "b", "d"), [0] * 3)
    with pytest.raises(BadInput, match="expected the layers of its network"):
        ExponentPolicy.from_dict(data, other.layers, other.backward_graph)


def test_gradients_are_scaled_to_a_limit() -> None:
    """By the bound of the largest map, 2**(exponent + 15); by nothing if it is below the limit."""
    e = start().exponents(4)
    largest = max(layer.dx for layer in e.layers[1:]) + 15
    found = [clip_shift(e, limit) for limit in range(largest - 2, largest + 3)]
    assert found == [2, 1, 0, 0, 0]
