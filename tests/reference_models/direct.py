"""Direct int64 computation of the passes of one layer, in image order; for the schedule tests."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def rne(value: Array, shift: int) -> Array:
    """Right shift rounding to nearest, ties to even."""
    if shift <= 0:
        return value << -shift
    floor = value >> shift
    rest, half = value - (floor << shift), 1 << (shift - 1)
    return floor + ((rest > half) | ((rest == half) & (floor & 1 == 1)))


def requantise(total: Array, shift: int) -> tuple[Array, int, int]:
    """Return (16-bit values, measure, saturations) of 48-bit sums."""
    value = rne(total, shift)
    clipped = np.clip(value, -32767, 32767)
    measure = int(np.bitwise_or.reduce((total ^ (total >> 47)).ravel(), initial=0))
    return clipped, measure & ((1 << 48) - 1), int((clipped != value).sum())


def sgd(sums: Array, momentum: Array, weight: Array,
        p: dict[str, int]) -> tuple[Array, Array, Array, int, int]:
    """Return (momentum, weight, 16-bit copy, measure, saturations) of an update.

    ``p``: fields of the step-block entry. Python integers: sums take 64 bit after scaling.
    """
    def clamp(value: Array, bits: int) -> Array:
        top = (1 << (bits - 1)) - 1
        return np.minimum(np.maximum(value, -top), top)

    g, v, w = (np.asarray(a).astype(object) for a in (sums, momentum, weight))
    g = clamp(rne(g << 16, p["g_shift"]), 32)
    slope = w * p["decay"] + (g << 24)
    v = clamp(rne((v * p["momentum"] << 8) + slope, 24), 32)
    step = clamp(rne((v * p["momentum"] << 8) + slope, 24), 32) if p.get("nesterov") else v
    w = clamp(w - clamp(rne(step * p["lr"], p["lr_shift"]), 32), 32)
    exact = rne(w, p["w_shift"])
    copy = clamp(exact, 16)
    measure = int(np.bitwise_or.reduce(w ^ (w >> 31), initial=0))
    return (v.astype(np.int64), w.astype(np.int64), copy.astype(np.int64), measure,
            int((copy != exact).sum()))


Pair = tuple[int, int]
"""Rows and columns."""


def _view(padded: Array, kr: int, kc: int, stride: Pair, out: Pair) -> Array:
    """Return the pixels under one place of the kernel."""
    down, right = stride
    return padded[:, :, kr:kr + down * out[0]:down, kc:kc + right * out[1]:right]


def conv(x: Array, w: Array, stride: Pair, top: int, left: int, out: Pair) -> Array:
    """``x[i, n, r, c]``, ``w[m, n, kr, kc]`` -> sums ``[i, m, row, col]``."""
    images, n, rows, cols = x.shape
    padded = np.zeros((images, n, rows + top + stride[0] * out[0] + w.shape[2],
                       cols + left + stride[1] * out[1] + w.shape[3]), np.int64)
    padded[:, :, top:top + rows, left:left + cols] = x
    y = np.zeros((images, w.shape[0], *out), np.int64)
    for kr, kc in np.ndindex(w.shape[2:]):
        y += np.einsum("inrc,mn->imrc", _view(padded, kr, kc, stride, out), w[:, :, kr, kc])
    return y


def conv_input_gradient(dy: Array, w: Array, stride: Pair, top: int, left: int,
                        size: Pair) -> Array:
    """Sums of the gradient of the input, ``[i, n, row, col]`` of ``size``."""
    images, _, out_rows, out_cols = dy.shape
    dx = np.zeros((images, w.shape[1], size[0] + top + stride[0] * out_rows + w.shape[2],
                   size[1] + left + stride[1] * out_cols + w.shape[3]), np.int64)
    for kr, kc in np.ndindex(w.shape[2:]):
        view = _view(dx, kr, kc, stride, (out_rows, out_cols))
        view += np.einsum("imrc,mn->inrc", dy, w[:, :, kr, kc])
    return dx[:, :, top:top + size[0], left:left + size[1]]


def conv_weight_gradient(x: Array, dy: Array, kernel: Pair, stride: Pair, top: int,
                         left: int) -> Array:
    """Sums ``[m, n, kr, kc]``."""
    images, n, rows, cols = x.shape
    _, m, *out = dy.shape
    padded = np.zeros((images, n, rows + top + stride[0] * out[0] + kernel[0],
                       cols + left + stride[1] * out[1] + kernel[1]), np.int64)
    padded[:, :, top:top + rows, left:left + cols] = x
    g = np.zeros((m, n, *kernel), np.int64)
    for kr, kc in np.ndindex(*kernel):
        view = _view(padded, kr, kc, stride, (out[0], out[1]))
        g[:, :, kr, kc] = np.einsum("inrc,imrc->mn", view, dy)
    return g


def pool(y: Array) -> tuple[Array, Array]:
    """2x2 maximum: values and index (2*row parity + column parity, lowest wins)."""
    rows, cols = y.shape[2] // 2, y.shape[3] // 2
    four = np.stack([y[:, :, r:2 * rows:2, c:2 * cols:2] for r in (0, 1) for c in (0, 1)])
    return four.max(0), four.argmax(0)


def unpool(values: Array, mask: Array, index: Array, size: tuple[int, int]) -> Array:
    """Put pooled gradients back where the maximum was."""
    out = np.zeros((*values.shape[:2], *size), np.int64)
    rows, cols = values.shape[2:]
    for i in range(4):
        r, c = divmod(i, 2)
        out[:, :, r:2 * rows:2, c:2 * cols:2] = np.where(mask & (index == i), values, 0)
    return out


def flag_words(mask: Array, index: Array | None) -> Array:
    """Flags ``[image][block][row][word]`` as uint64 of ``mask[i, m, row, col]``."""
    images, m, rows, cols = mask.shape
    blocks, per = -(-m // 4), 4 if index is not None else 16
    words = np.zeros((images, blocks, rows, -(-cols // per)), np.uint64)
    for channel in range(4 * blocks):
        block, lane = divmod(channel, 4)
        for col in range(cols):
            word, place = divmod(col, per)
            if channel < m:
                bit = mask[:, channel, :, col].astype(np.uint64)
                where = index[:, channel, :, col] if index is not None else None
            else:  # a padded lane: zero everywhere
                bit = np.zeros((images, rows), np.uint64)
                where = np.zeros((images, rows), np.int64) if index is not None else None
            if index is None:
                words[:, block, :, word] |= bit << np.uint64(4 * place + lane)
            else:
                assert where is not None
                value = bit << np.uint64(lane) | where.astype(np.uint64) << np.uint64(4 + 2 * lane)
                words[:, block, :, word] |= value << np.uint64(16 * place)
    return words
