"""Batch normalisation in golden: against integers one by one, and against float64."""

from __future__ import annotations

import random

import numpy as np
import pytest
from reference_models.golden_unit import RECORD, check, execute
from reference_models.norm_cases import SYMBOLS, random_case, run

from pynq_train.fixed.soft_float import SoftFloats
from pynq_train.hw.commands import Opcode
from pynq_train.hw.norm import NormProgram

SPACE = 1 << 12
OFFSETS = {name: (k + 1) * SPACE for k, name in enumerate(SYMBOLS)}
ARENA = (len(SYMBOLS) + 1) * SPACE


@pytest.mark.parametrize("number", range(80))
def test_random(number: int, seed: int) -> None:
    rng = random.Random(f"norm{seed + number}")
    program = NormProgram(number % len(NormProgram))
    values, params, memory = random_case(rng, program, rng.randint(1, 4), rng.randint(1, 5),
                                         OFFSETS)
    values["pre.rec_off"] = RECORD
    check(rng, ARENA, values, params, memory, run(memory, values, params))


def _numbers(value: float) -> tuple[int, int]:
    number = SoftFloats.of_float(value)
    return int(number.significand), int(number.exponent)


def test_against_float64(seed: int) -> None:
    """Codes of a map, through the unit, give what the formulas of batch normalisation give."""
    rng = np.random.default_rng(seed)
    channels, count = 8, 600
    z_exp, g_exp, a_exp, c_exp, b_exp = -12, -20, -17, -30, -28
    scale = rng.uniform(50, 5000, channels)
    z = np.rint(rng.normal(rng.normal(0, 3000, channels), scale, (count, channels))).astype(int)
    g = np.rint(rng.normal(0, 3000, (count, channels))).astype(int)
    gamma, beta = rng.normal(1, 0.3, channels), rng.normal(0, 1, channels)
    values = {"pre.opcode": int(Opcode.NORM), "pre.rec_off": RECORD, "n.n_blocks": channels // 4,
              "n.n_parts": 1, "n.s_off": OFFSETS["sums"], "n.p_off": OFFSETS["masters"],
              "n.p_step": 8 * channels, "n.r_off": OFFSETS["running"], "n.q_off": OFFSETS["kept"],
              "n.k_off": OFFSETS["table"], "n.d_off": OFFSETS["gradients"]}
    for name, value in (("mean", 1 / count), ("var", count / (count - 1)), ("eps", 1e-5)):
        values[f"n.n_{name}_m"], values[f"n.n_{name}_e"] = _numbers(value)
    params = {"z_exp": z_exp, "g_exp": g_exp, "a_exp": a_exp, "b_exp": b_exp, "c_exp": c_exp,
              "alpha": 6554}
    arena = np.zeros(ARENA, np.uint8)

    def words(name: str, dtype: str = "i8") -> np.ndarray:
        return arena[OFFSETS[name]:OFFSETS[name] + SPACE].view(dtype)

    def put_sums(first: np.ndarray, second: np.ndarray) -> None:
        both = np.stack([first.reshape(-1, 4), second.reshape(-1, 4)], 1)
        words("sums")[:2 * channels] = both.reshape(-1)

    masters = np.rint(np.stack([gamma, beta]) * 2**28).astype(np.int64)
    words("masters")[:2 * channels] = masters.reshape(-1) & 0xFFFF_FFFF
    put_sums(z.sum(0), (z * z).sum(0))
    execute(arena, {**values, "n.n_program": int(NormProgram.FORWARD)}, params)
    real = z * 2.0**z_exp
    mean, var = real.mean(0), real.var(0)
    r = 1 / np.sqrt(var + 1e-5)
    table = words("table").reshape(-1, 2)[:channels]
    a = (table[:, 0] << 40 >> 40) * 2.0**a_exp
    c = (table[:, 1] << 16 >> 16) * 2.0**c_exp
    np.testing.assert_allclose(a, gamma * r, rtol=1e-5, atol=2.0**a_exp)
    np.testing.assert_allclose(c, beta - gamma * mean * r, rtol=1e-5, atol=1e-6)
    running = SoftFloats.unpack(words("running")[:2 * channels].reshape(-1, 2, 4)).to_float()
    alpha = 6554 / 65536
    np.testing.assert_allclose(running[:, 0].reshape(-1), alpha * mean, rtol=1e-6)
    np.testing.assert_allclose(running[:, 1].reshape(-1), alpha * real.var(0, ddof=1), rtol=1e-6)

    put_sums(g.sum(0), (g * z).sum(0))
    execute(arena, {**values, "n.n_program": int(NormProgram.BACKWARD)}, params)
    grad, hat = g * 2.0**g_exp, (real - mean) * r
    d_gamma, d_beta = (grad * hat).sum(0), grad.sum(0)
    got = words("gradients")[:2 * channels].reshape(2, -1) * 2.0**g_exp
    np.testing.assert_allclose(got, [d_gamma, d_beta], rtol=1e-5, atol=2.0**g_exp)
    want = gamma * r * (grad - d_beta / count - hat * d_gamma / count)
    a, b = table[:, 0] << 40 >> 40, table[:, 0] << 8 >> 40
    c = (table[:, 1] << 16 >> 16) * 2.0**c_exp
    dz = grad * a * 2.0**a_exp + real * b * 2.0**b_exp + c
    np.testing.assert_allclose(dz, want, rtol=1e-3, atol=np.abs(want).max() * 1e-3)
