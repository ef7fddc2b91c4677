"""The update unit of ``docs/engine.md``, word by word, on plain integers."""

from __future__ import annotations

from reference_models.engine_parts import Memory, Violation, rne

from pynq_train.hw.commands import Opcode

ABSENT = -(1 << 31)
"""Weight of a master that stays as it is; its momentum and its code are zero."""


def signed32(value: int) -> int:
    """Low 32 bits as a signed number."""
    value &= 0xFFFF_FFFF
    return value - (1 << 32) if value >> 31 else value


def clamp(value: int, bits: int) -> int:
    """Saturate symmetrically."""
    top = (1 << (bits - 1)) - 1
    return max(-top, min(top, value))


def step(total: int, weight: int, momentum: int, p: dict[str, int]) -> tuple[int, int]:
    """New weight and momentum of one element; ``p``: fields of the step-block entry."""
    g = clamp(rne(total << 16, p["g_shift"]), 32)
    slope = weight * p["decay"] + (g << 24)
    momentum = clamp(rne((momentum * p["momentum"] << 8) + slope, 24), 32)
    move = momentum
    if p["nesterov"]:
        move = clamp(rne((momentum * p["momentum"] << 8) + slope, 24), 32)
    return clamp(weight - clamp(rne(move * p["lr"], p["lr_shift"]), 32), 32), momentum


def update_masters(mem: Memory, d: dict[str, int], p: dict[str, int],
                   sums: list[int], m_tile: int) -> tuple[int, int]:
    """Take ``sums`` into the masters of section ``u``; return measure and saturations.

    ``m_tile``: output channels of the array.
    """
    if len(sums) != d["u.u_count"] or len(sums) % 4:
        raise Violation(f"{len(sums)} sums for {d['u.u_count']} weights")
    measure = saturations = 0
    codes: list[int] = []
    half = 0
    gradient = d["pre.opcode"] == Opcode.GRADIENT
    for i, total in enumerate(sums):
        if gradient and i // 4 % m_tile >= d["u.u_rows"]:
            continue
        at = d["u.wv_off"] + (4 * i // 8 * 8 if d["u.u_plain"] else 8 * i)
        word = mem.load(at)
        if d["u.u_plain"]:
            old = signed32(word >> 32 * (i % 2))
            weight = 0 if old == ABSENT else step(total, old, 0, p)[0]
            half |= ((ABSENT if old == ABSENT else weight) & 0xFFFF_FFFF) << 32 * (i % 2)
            if i % 2:
                mem.store(at, half)
                half = 0
        else:
            old, weight, momentum = signed32(word), 0, 0
            if old != ABSENT:
                weight, momentum = step(total, old, signed32(word >> 32), p)
            mem.store(at, (momentum & 0xFFFF_FFFF) << 32
                      | (ABSENT if old == ABSENT else weight) & 0xFFFF_FFFF)
        measure |= weight ^ (weight >> 31)
        if d["u.u_copy"]:
            exact = rne(weight, p["w_shift"])
            codes.append(clamp(exact, 16))
            saturations += codes[-1] != exact
            if i % 4 == 3:
                mem.store(d["u.w16_off"] + 2 * (i - 3),
                          sum((code & 0xFFFF) << 16 * k for k, code in enumerate(codes[-4:])))
    return measure, saturations
