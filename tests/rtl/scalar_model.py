"""Update and softmax as plain integer functions, written from the specification of the units."""

from __future__ import annotations

from pynq_train.hw import tables


def rne(value: int, shift: int) -> int:
    """Shift right, rounding half to even."""
    if shift == 0:
        return value
    quotient, rest = value >> shift, value & ((1 << shift) - 1)
    half = 1 << (shift - 1)
    return quotient + int(rest > half or (rest == half and quotient & 1 == 1))


def sat(value: int, bits: int) -> int:
    """Clamp to +-(2^(bits-1) - 1)."""
    top = (1 << (bits - 1)) - 1
    return max(-top, min(top, value))


def signed(value: int, bits: int) -> int:
    """Two's complement of the low ``bits``."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def update_element(g: int, v: int, w: int, p: dict[str, int]) -> tuple[int, int, int, bool]:
    """One element: new momentum, new weight, 16-bit copy, whether the copy saturated."""
    g32 = sat(rne(g << 16, p["g_shift"]), 32)
    slope = p["decay"] * w + (g32 << 24)
    v_new = sat(rne(((p["momentum"] * v) << 8) + slope, 24), 32)
    step = sat(rne(((p["momentum"] * v_new) << 8) + slope, 24), 32) if p["nesterov"] else v_new
    delta = sat(rne(p["lr"] * step, p["lr_shift"]), 32)
    w_new = sat(w - delta, 32)
    exact = rne(w_new, p["w_shift"])
    copy = sat(exact, 16)
    return v_new, w_new, copy, copy != exact


def exponent(maximum: int, z: int, z_shift: int) -> int:
    """tq: (maximum - z) in log2 units, Q.16."""
    return ((maximum - z) * tables.LOG2_E) >> z_shift


def exponential(tq: int) -> int:
    """2^(22 - tq) by the table."""
    ti, f = tq >> 16, tq & 0xFFFF
    low, high = tables.EXP2[f >> 8], tables.EXP2[(f >> 8) + 1]
    mantissa = low - (((low - high) * (f & 255)) >> 8)
    return 0 if ti > 30 else mantissa >> ti


def logarithm(total: int) -> int:
    """log2(total) - 22 in Q.16 by the table."""
    lead = total.bit_length() - 1
    x = (total << 16 >> lead) & 0xFFFF
    low, high = tables.LOG2[x >> 8], tables.LOG2[(x >> 8) + 1]
    return (lead - 22) * 65536 + low + (((high - low) * (x & 255)) >> 8)


def squared_image(z: list[int], label: int, p: dict[str, int]) -> tuple[int, bool, list[int]]:
    """One image: sum of squared codes, whether the prediction is right, gradient codes."""
    codes = [sat(rne(value - ((1 << p["z_shift"]) if c == label else 0), p["m_shift"]), 16)
             for c, value in enumerate(z)]
    return sum(code**2 for code in codes), z.index(max(z)) == label, codes


def softmax_image(z: list[int], label: int, p: dict[str, int]) -> tuple[int, bool, list[int]]:
    """One image: loss (Q.16), whether the prediction is right, gradient codes."""
    maximum = max(z)
    tq = [exponent(maximum, value, p["z_shift"]) for value in z]
    e = [exponential(value) for value in tq]
    total = sum(e)
    own = tq[label if 0 <= label < len(z) else 0]
    smooth = p["t_off"] * (sum(tq) - own) - p["t_drop"] * own
    loss = own + (smooth >> 16) + logarithm(total)
    codes = []
    for c, value in enumerate(e):
        target = 65536 - p["t_drop"] if c == label else p["t_off"]
        codes.append(sat(rne((value << 16) // total - target, 1), 16))
    return loss, z.index(maximum) == label, codes
