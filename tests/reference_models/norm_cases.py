"""Random NORM descriptors: statistics of real channels, of dead ones, and of any bits."""

from __future__ import annotations

import random

from reference_models import norm_model as model

from pynq_train.hw.commands import Opcode
from pynq_train.hw.norm import BACK, GROUPED, NormProgram

LANES = 4
M24, M48, M64 = (1 << 24) - 1, (1 << 48) - 1, (1 << 64) - 1
SYMBOLS = ("sums", "masters", "running", "kept", "table", "gradients")
Memory = dict[int, int]


def random_case(rng: random.Random, program: NormProgram, blocks: int, parts: int,
                at: dict[str, int]) -> tuple[dict[str, int], dict[str, int], Memory]:
    """Fields, step-block entry and memory (words by offset) of a NORM descriptor."""
    join = rng.choice((0, 1, 3)) if program in GROUPED else 0
    count = rng.choice((4, 8, 36, 100, 4096, 1 << 17) if join else (1, 2, 9, 100, 4096, 1 << 17))
    mean, var = model.cut(1 << 60, -60), (0, 0)
    mean = model.cut((1 << 60) // count, -60)
    if count > 1:
        var = model.cut((count << 60) // (count - 1), -60)
    eps = model.cut(*rng.choice(((1 << 40, -57), (0, 0), (1, -10))))
    step = 64 * blocks + 64
    values = {
        "pre.opcode": int(Opcode.NORM), "n.n_program": int(program), "n.n_blocks": blocks,
        "n.n_parts": parts, "n.n_step": step, "n.s_off": at["sums"], "n.p_off": at["masters"],
        "n.p_step": 32 * blocks + 128, "n.r_off": at["running"], "n.q_off": at["kept"],
        "n.k_off": at["table"], "n.d_off": at["gradients"],
        "n.n_mean_m": mean[0], "n.n_mean_e": mean[1], "n.n_var_m": var[0], "n.n_var_e": var[1],
        "n.n_eps_m": eps[0], "n.n_eps_e": eps[1], "n.n_join": join}
    params = {"z_exp": rng.randint(-21, 0), "g_exp": rng.randint(-48, -8),
              "a_exp": rng.randint(-40, -10), "b_exp": rng.randint(-60, -10),
              "c_exp": rng.randint(-60, -20), "alpha": rng.choice((0, 6554, 1 << 16))}
    memory: Memory = {}
    spread = rng.choice((0, 3, 200, 8000, 32767))
    for block in range(blocks):
        for part in range(parts):
            for lane in range(LANES):
                level, one = rng.randint(-spread, spread), rng.choice((1, 1, count))
                sums = (count * level // parts,
                        count * (level * level + rng.randint(0, 1 + spread) ** 2) // parts)
                if rng.random() < 0.1:
                    sums = tuple(rng.randint(-(1 << 47), (1 << 47) - 1) for _ in range(2))
                if rng.random() < 0.1:
                    sums = (0, 0)
                base = at["sums"] + part * step + 64 * block + 8 * lane
                memory[base], memory[base + 32] = (value // one & M64 for value in sums)
        for lane in range(LANES):
            channel = 8 * (LANES * block + lane)
            for index in range(2):
                memory[at["masters"] + index * values["n.p_step"] + channel] = (
                    rng.getrandbits(64) if rng.random() < 0.8
                    else rng.choice((0, 1 << 28, 0x8000_0001)))
            for name in ("running", "kept"):
                for index in range(2):
                    number = model.cut(rng.randint(-(1 << 40), 1 << 40) >> rng.randint(0, 40),
                                       rng.randint(-60, 0))
                    # Channels that share sums share what was made of them.
                    shared = lane & ~join
                    number = (model.pack(number) if lane == shared else
                              memory[at[name] + 64 * block + 32 * index + 8 * shared])
                    memory[at[name] + 64 * block + 32 * index + 8 * lane] = number
    return values, params, memory


def run(memory: Memory, d: dict[str, int], p: dict[str, int]) -> Memory:
    """Words that the descriptor writes, its record (without stamps) included."""
    program = NormProgram(d["n.n_program"])
    back, grouped = program in BACK, program in GROUPED
    frozen = program in (NormProgram.FORWARD_FROZEN, NormProgram.BACKWARD_FROZEN)
    s = model.Setting(
        (d["n.n_mean_m"], d["n.n_mean_e"]), (d["n.n_var_m"], d["n.n_var_e"]),
        (d["n.n_eps_m"], d["n.n_eps_e"]), p["alpha"], p["z_exp"], p["g_exp"], p["a_exp"],
        p["b_exp"], p["c_exp"])
    out: Memory = {}
    measure = saturations = 0

    def signed(word: int, bits: int) -> int:
        word &= (1 << bits) - 1
        return word - (word >> bits - 1 << bits)

    for channel in range(LANES * d["n.n_blocks"]):
        block, lane = divmod(channel, LANES)
        pair = 64 * block + 8 * lane
        some = [other for other in range(LANES)
                if other & ~d["n.n_join"] == lane & ~d["n.n_join"]]
        sums = tuple(signed(sum(memory.get(d["n.s_off"] + part * d["n.n_step"] + 64 * block
                                           + 8 * other + 32 * k, 0)
                                for part in range(d["n.n_parts"]) for other in some), 64)
                     for k in range(2))
        gamma, beta = (signed(memory.get(d["n.p_off"] + k * d["n.p_step"] + 8 * channel, 0), 32)
                       for k in range(2))
        two = {name: tuple(memory.get(d[f"n.{name}_off"] + pair + 32 * k, 0) for k in range(2))
               for name in "rq"}
        if grouped:
            gamma, beta = 1 << 28, 0
        if back and grouped:
            r = model.backward(s, sums, gamma, two["q"], frozen)
            r = {name: value for name, value in r.items() if not name.startswith("d_")}
        elif back:
            r = model.backward(s, sums, gamma, two["q"], frozen)
            at = d["n.d_off"] + 8 * channel
            out[at], out[at + d["n.p_step"]] = r["d_gamma"] & M64, r["d_beta"] & M64
        else:
            r = model.forward(s, sums, gamma, beta, two["r"], frozen)
            out[d["n.q_off"] + pair], out[d["n.q_off"] + pair + 32] = r["mean"], r["r"]
            if not frozen and not grouped:
                out[d["n.r_off"] + pair] = r["run_mean"]
                out[d["n.r_off"] + pair + 32] = r["run_var"]
        table = d["n.k_off"] + 16 * channel
        out[table] = (r.get("b", 0) & M24) << 32 | r["a"] & M24
        out[table + 8] = r["c"] & M48
        measure |= min(r["a_size"], (1 << 47) - 1) | min(r.get("b_size", 0), (1 << 47) - 1)
        saturations += sum(abs(r[name]) != r[f"{name}_size"]
                           for name in ("a", "b", "c", "d_gamma", "d_beta") if name in r)
    record = d["pre.rec_off"]
    out[record], out[record + 8], out[record + 16], out[record + 24] = measure, saturations, 0, 0
    return out
