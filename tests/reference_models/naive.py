"""The arithmetic of the engine as plain loops over Python integers: slow, short, independent.

Maps are ``[image][channel][row][column]``, weights ``[m][n][kr][kc]``; sums are exact.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from pynq_train.hw import tables

Array = Any


def rne(v: int, s: int) -> int:
    """v / 2**s, to nearest, ties to even."""
    q, r = divmod(v, 1 << s)
    return q + int(2 * r > 1 << s or (2 * r == 1 << s and q % 2 == 1))


def sat(v: int, bits: int) -> int:
    return max(-(2 ** (bits - 1)) + 1, min(2 ** (bits - 1) - 1, v))


def wrap(v: int, bits: int) -> int:
    return (v + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)


def passes(x: Array, w: Array, dy: Array, stride: tuple[int, int], top: int, left: int
           ) -> tuple[Array, ...]:
    """Sums of forward, backward and weight gradient of one convolution, as object arrays."""
    y, dx, dw = (np.zeros(a.shape, object) for a in (dy, x, w))
    for i, m, r, c in np.ndindex(dy.shape):
        for n, kr, kc in np.ndindex(w.shape[1:]):
            row, col = r * stride[0] + kr - top, c * stride[1] + kc - left
            if 0 <= row < x.shape[2] and 0 <= col < x.shape[3]:
                y[i, m, r, c] += int(x[i, n, row, col]) * int(w[m, n, kr, kc])
                dx[i, n, row, col] += int(dy[i, m, r, c]) * int(w[m, n, kr, kc])
                dw[m, n, kr, kc] += int(dy[i, m, r, c]) * int(x[i, n, row, col])
    return y, dx, dw


def post(total: Array, bias: Array, bias_shift: int, shift: int) -> tuple[Array, int, int]:
    """Codes before ReLU, measure, saturations; bias per channel (axis 1)."""
    y, measure, saturations = np.zeros(total.shape, np.int64), 0, 0
    for at in np.ndindex(total.shape):
        b = int(bias[at[1]])
        b = b << bias_shift if bias_shift >= 0 else rne(b, -bias_shift)
        s = wrap(int(total[at]) + b, 48)
        measure |= s if s >= 0 else ~s
        y[at] = sat(rne(s, shift), 16)
        saturations += int(y[at] != rne(s, shift))
    return y, measure, saturations


def pool(y: Array, relu: bool, limit: int = 1 << 15) -> tuple[Array, Array, Array]:
    """Maximum, mask, index of 2x2 squares; y after ReLU, at most ``limit``."""
    out = np.zeros((*y.shape[:2], y.shape[2] // 2, y.shape[3] // 2), np.int64)
    mask, index = out.copy(), out.copy()
    for i, m, r, c in np.ndindex(out.shape):
        four = [int(y[i, m, 2 * r + a, 2 * c + b]) for a in (0, 1) for b in (0, 1)]
        out[i, m, r, c], index[i, m, r, c] = max(four), four.index(max(four))
        mask[i, m, r, c] = not relu or 0 < max(four) < limit
    return out, mask, index


def unpool(g: Array, mask: Array, index: Array, rows: int, cols: int) -> Array:
    out = np.zeros((*g.shape[:2], rows, cols), np.int64)
    for i, m, r, c in np.ndindex(g.shape):
        a, b = divmod(int(index[i, m, r, c]), 2)
        out[i, m, 2 * r + a, 2 * c + b] = g[i, m, r, c] if mask[i, m, r, c] else 0
    return out


def update(g: int, v: int, w: int, p: dict[str, int]) -> tuple[int, int, int, bool]:
    g32 = sat(rne(wrap(g, 48) << 16, p["g_shift"]), 32)
    slope = p["decay"] * w + (g32 << 24)
    v = sat(rne(((p["momentum"] * v) << 8) + slope, 24), 32)
    step = sat(rne(((p["momentum"] * v) << 8) + slope, 24), 32) if p["nesterov"] else v
    w = sat(w - sat(rne(p["lr"] * step, p["lr_shift"]), 32), 32)
    copy = rne(w, p["w_shift"])
    return v, w, sat(copy, 16), sat(copy, 16) != copy


def _between(table: tuple[int, ...], x: int) -> int:
    low, high = table[x >> 8], table[(x >> 8) + 1]
    step = (abs(high - low) * (x & 255)) >> 8
    return low + step if high >= low else low - step


def loss(z: list[int], label: int, p: dict[str, int], mse: int) -> tuple[int, bool, list[int]]:
    """Loss as in the record, whether the prediction is right, gradient codes."""
    right = z.index(max(z)) == label
    if mse:
        one = 2 ** p["z_shift"]
        codes = [sat(rne(v - one * (c == label), p["m_shift"]), 16) for c, v in enumerate(z)]
        return sum(c * c for c in codes), right, codes
    z_shift = p["z_shift"]
    tq = [((max(z) - v) * tables.LOG2_E) >> z_shift for v in z]
    e = [_between(tables.EXP2, t & 0xFFFF) >> (t >> 16) if t >> 16 <= 30 else 0 for t in tq]
    total = sum(e)
    lead = total.bit_length() - 1
    mantissa = (total << 16 >> lead) & 0xFFFF
    log = (lead - 22) * 65536 + _between(tables.LOG2, mantissa)
    known = label in range(len(z))
    targets = [65536 - p["t_drop"] if c == label else p["t_off"] for c in range(len(z))]
    codes = [sat(rne((v << 16) // total - t, 1), 16) for v, t in zip(e, targets)]
    own = label if known else 0
    weighted = sum(t * (65536 - p["t_drop"] if c == own else p["t_off"])
                   for c, t in enumerate(tq))
    return weighted // 65536 + log, right, codes


def flag_bits(mask: Array, index: Array | None, relu: bool) -> dict[tuple[int, ...], int]:
    """Flag words by (image, block, row, word); ``index`` None without pooling."""
    words: dict[tuple[int, ...], int] = {}
    images, channels, rows, cols = mask.shape
    blocks, per, width = -(-channels // 4), (4, 16)[index is None], (16, 4)[index is None]
    for i, b, r, c, lane in itertools.product(range(images), range(blocks), range(rows),
                                              range(cols), range(4)):
        m = 4 * b + lane
        bit = int(mask[i, m, r, c]) if m < channels else int(not relu)
        value = bit << lane
        if index is not None and m < channels:
            value |= int(index[i, m, r, c]) << (4 + 2 * lane)
        at = (i, b, r, c // per)
        words[at] = words.get(at, 0) | value << (width * (c % per))
    return words
