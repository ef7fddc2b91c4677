"""Batch normalisation of one channel on Python integers: the formulas of ``docs/numerics.md`` 7."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

Number = tuple[int, int]
"""Signed significand, 31 bits with the top one set (or 0), and exponent."""


def cut(significand: int, exponent: int) -> Number:
    """Normalise to 31 bits, towards zero."""
    size = abs(significand)
    if not size:
        return 0, 0
    drop = size.bit_length() - 31
    size = size >> drop if drop > 0 else size << -drop
    return (size if significand > 0 else -size), exponent + drop


def mul(a: Number, b: Number) -> Number:
    return cut(a[0] * b[0], a[1] + b[1])


def add(a: Number, b: Number) -> Number:
    if not b[0] or (a[0] and (a[1], abs(a[0])) >= (b[1], abs(b[0]))):
        big, small = a, b
    else:
        big, small = b, a
    # A value of zero has exponent 0, which says nothing about its size.
    moved = abs(small[0]) >> (big[1] - small[1]) if small[0] else 0
    return cut(big[0] + (moved if small[0] > 0 else -moved), big[1])


def neg(a: Number) -> Number:
    return -a[0], a[1]


def root(x: Number) -> Number:
    """1 / sqrt(x) from a table of 128 seeds and two steps of Newton."""
    if not x[0]:
        y: Number = (0, 0)
    else:
        total = x[1] + 30
        odd = total % 2
        index = x[0] >> 24 & 63
        middle = (2.0 if odd else 1.0) * (1 + (index + 0.5) / 64)
        seed = min(round(256 / math.sqrt(middle)), 255)
        y = (seed << 23, -31 - (total - odd) // 2)
    half = mul(x, cut(1, -1))
    for _ in range(2):
        y = mul(y, add(cut(3, -1), neg(mul(mul(y, y), half))))
    return y


def fixed(a: Number, exponent: int, bits: int) -> tuple[int, int]:
    """Integer in units of ``2**exponent``, towards zero, saturated; and its exact magnitude."""
    size = int(abs(a[0]) * Fraction(2) ** (a[1] - exponent))
    top = (1 << bits - 1) - 1
    return (1 if a[0] >= 0 else -1) * min(size, top), size


def unpack(word: int) -> Number:
    exponent = word >> 32 & 0xFFFF
    exponent -= (exponent >> 15) << 16
    size = word & 0x7FFF_FFFF
    return (-size if word >> 31 & 1 else size), exponent


def pack(a: Number) -> int:
    return (a[1] & 0xFFFF) << 32 | (a[0] < 0) << 31 | abs(a[0])


@dataclass(frozen=True)
class Setting:
    """Constants of a descriptor and exponents of a step."""

    per_element: Number
    unbiased: Number
    eps: Number
    alpha: int
    z: int
    g: int
    a: int
    b: int
    c: int


def forward(s: Setting, sums: tuple[int, int], gamma: int, beta: int, running: tuple[int, int],
            frozen: bool) -> dict[str, int]:
    """A, C, the kept statistics and (unless frozen) the new running ones, as words."""
    if frozen:
        mean, var = unpack(running[0]), unpack(running[1])
    else:
        mean = mul(cut(sums[0], s.z), s.per_element)
        var = add(mul(cut(sums[1], 2 * s.z), s.per_element), neg(mul(mean, mean)))
    var = max(var, (0, 0)) if var[0] > 0 else (0, 0)
    r = root(add(var, s.eps))
    a = mul(cut(gamma, -28), r)
    c = add(cut(beta, -28), neg(mul(mean, a)))
    out = {"a": fixed(a, s.a, 24)[0], "a_size": fixed(a, s.a, 24)[1],
           "c": fixed(c, s.c, 48)[0], "c_size": fixed(c, s.c, 48)[1],
           "mean": pack(mean), "r": pack(r)}
    if not frozen:
        alpha = cut(s.alpha, -16)
        for name, new, word in (("run_mean", mean, running[0]),
                                ("run_var", mul(var, s.unbiased), running[1])):
            old = unpack(word)
            out[name] = pack(add(old, mul(add(new, neg(old)), alpha)))
    return out


def backward(s: Setting, sums: tuple[int, int], gamma: int, kept: tuple[int, int],
             frozen: bool) -> dict[str, int]:
    """A, B, C and the gradients of gamma and beta, as words."""
    total, product = cut(sums[0], s.g), cut(sums[1], s.g + s.z)
    mean, r = unpack(kept[0]), unpack(kept[1])
    d_gamma = mul(add(product, neg(mul(mean, total))), r)
    a = mul(cut(gamma, -28), r)
    b: Number = (0, 0)
    c: Number = (0, 0)
    if not frozen:
        u = mul(mul(mul(d_gamma, s.per_element), r), a)
        b = neg(u)
        c = add(mul(u, mean), neg(mul(mul(total, s.per_element), a)))
    out = {}
    for name, value, exponent, bits in (("a", a, s.a, 24), ("b", b, s.b, 24), ("c", c, s.c, 48),
                                        ("d_gamma", d_gamma, s.g, 63), ("d_beta", total, s.g, 63)):
        out[name], out[f"{name}_size"] = fixed(value, exponent, bits)
    return out
