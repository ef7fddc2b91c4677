"""Vector unit: element by element over one or two maps, in integers (``docs/numerics.md`` 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynq_train.backends.golden.memory import Memory
from pynq_train.backends.golden.workers import Workers
from pynq_train.fixed import keep_words, rne_shift, saturate, wrap
from pynq_train.hw.config import CHANNELS_PER_WORD

Array = NDArray[Any]

FLAG_PIXELS = 16
"""Words of a map whose flags stand in one word."""
SCALE_BITS, SUM_BITS, CODE_BITS = 24, 48, 16
_EXACT = 1 << 22
"""Products of 16-bit codes whose sum float64 holds."""


@dataclass(frozen=True)
class _Part:
    """What one channel block adds: magnitudes, saturations, its sums ``[2, 4]``."""

    measure: int
    saturations: int
    sums: Array


def vector(memory: Memory, d: dict[str, int], p: dict[str, int],
           workers: Workers) -> tuple[int, int]:
    """Run the vector unit; returns its record: measure, saturations.

    Maps are int16 ``[image, block, word, lane]``; coefficients ``[block, lane, {A|B, C}]``.
    """
    images, blocks, words = d["v.v_images"], d["v.v_blocks"], d["v.v_words"]
    lanes = CHANNELS_PER_WORD
    full, line = (images, blocks, words, lanes), (blocks, images, lanes)
    a = memory.view("map a", d["v.a_off"], full, np.int16)
    b = flags = table = out = None
    if d["v.v_b"]:
        b = memory.view("map b", d["v.b_off"], line if d["v.v_spread"] else full, np.int16)
    if d["v.v_flags"] or d["v.v_mask_a"] or d["v.v_mask_b"]:
        row = -(-words // FLAG_PIXELS)
        flags = memory.view("the flags", d["v.m_off"], (images, blocks, row), np.uint64)
    if d["v.v_table"] or d["v.v_btable"]:
        table = memory.view("the coefficients", d["v.k_off"], (blocks, lanes, 2), np.int64)
    if d["v.v_write"]:
        out = memory.view("the result", d["v.v_off"], line if d["v.v_reduce"] else full, np.int16)

    def run(block: int) -> _Part:
        return _block(d, p, a[:, block],
                      None if b is None else b[block] if d["v.v_spread"] else b[:, block],
                      None if flags is None else flags[:, block],
                      None if table is None else table[block],
                      None if out is None else out[block] if d["v.v_reduce"] else out[:, block],
                      _kept(d, p, block) if d["v.v_drop"] else None)

    parts = workers.map(run, range(blocks))
    if d["v.v_sums"]:
        memory.view("the sums", d["v.s_off"], (blocks, 2, lanes), np.int64)[...] = [
            part.sums for part in parts]
    measure = 0
    for part in parts:
        measure |= part.measure
    return measure, sum(part.saturations for part in parts)


def _kept(d: dict[str, int], p: dict[str, int], block: int) -> Array:
    """What the dropout keeps of a channel block, ``[image, word, lane]``."""
    images, words = d["v.v_images"], d["v.v_words"]
    plane = (words - 1) * d["v.d_step"] + d["v.d_image"]
    whole = images * plane - d["v.d_image"] + d["v.d_block"]
    image, word = np.arange(images, dtype=np.int64), np.arange(words, dtype=np.int64)
    numbers = d["v.d_first"] + block * whole + plane * image[:, None] + d["v.d_step"] * word
    return keep_words(d["v.d_least"], p["drop_seed"], p["drop_step"], d["v.d_tensor"], numbers)


def _block(d: dict[str, int], p: dict[str, int], a16: Array, b16: Array | None,
           flags: Array | None, table: Array | None, out: Array | None,
           kept: Array | None) -> _Part:
    """One channel block: maps ``[image, word, lane]``, flags ``[image, flag word]``.

    Everything is below 2**53 and so exact in float64, or done in int64.
    """
    masked = flags is not None and not d["v.v_flags"]
    mask = _unpack(flags, a16.shape[1]) if masked and flags is not None else None
    a = _masked(a16, mask if d["v.v_mask_a"] else None)
    b = None
    if b16 is not None:
        whole = np.broadcast_to(b16[:, None], a16.shape) if d["v.v_spread"] else b16
        b = _masked(whole, mask if d["v.v_mask_b"] else None)
    if kept is not None:
        a *= kept
        b = b if b is None else b * kept
    sums = _sums(a, a if d["v.v_square"] else b) if d["v.v_sums"] else np.zeros((2, 4), np.int64)
    if not d["v.v_write"]:
        return _Part(0, 0, sums)
    scale: Array = np.empty((2, CHANNELS_PER_WORD), np.int64)
    offset: Array = np.zeros(CHANNELS_PER_WORD, np.int64)
    scale[0], scale[1] = p["a_scale"], p["b_scale"]
    if table is not None and d["v.v_table"]:
        scale[0], offset = table[:, 0], table[:, 1]
    if table is not None and d["v.v_btable"]:
        scale[1] = table[:, 0] >> 32
    scale, offset = _signed(scale), wrap(offset, SUM_BITS)
    total, words = _total(a, b, scale, d["v.v_reduce"])
    most = (np.abs(scale).sum(0) << 15) * words + np.abs(offset)
    assert out is not None
    if most.max() < 1 << SUM_BITS - 1:
        return _round(d, p, total + offset, out, flags, kept, sums)
    exact = wrap(total.astype(np.int64) + offset, SUM_BITS)
    if words << 15 + SCALE_BITS > 1 << 53:
        exact = _total_int(a, b, scale, offset, d["v.v_reduce"])
    return _round(d, p, exact, out, flags, kept, sums)


def _masked(codes: Array, mask: Array | None) -> Array:
    values: Array = codes.astype(np.float64)
    if mask is not None:
        values *= mask
    return values


def _sums(a: Array, b: Array | None) -> Array:
    """Sums of ``a`` and of products, int64 ``[2, lane]``; both below 2**53 in parts."""
    lanes = CHANNELS_PER_WORD
    flat = a.reshape(-1, lanes)
    other = flat if b is a else None if b is None else b.reshape(-1, lanes)
    result: Array = np.zeros((2, lanes), np.int64)
    for first in range(0, len(flat), _EXACT):
        part = flat[first:first + _EXACT]
        result[0] += part.sum(0).astype(np.int64)
        if other is not None:
            products = part.T @ other[first:first + _EXACT]
            result[1] += np.diagonal(products).astype(np.int64)
    return wrap(result, SUM_BITS)


def _total(a: Array, b: Array | None, scale: Array, reduce: int) -> tuple[Array, int]:
    """Scaled sum of the maps in float64, and how many words went into one result."""
    if reduce:
        total = a.sum(1) * scale[0]
        if b is not None:
            total += b.sum(1) * scale[1]
        return total, a.shape[1]
    total = a * scale[0]
    if b is not None:
        total += b * scale[1]
    return total, 1


def _total_int(a: Array, b: Array | None, scale: Array, offset: Array, reduce: int) -> Array:
    """The same in int64, for sums that float64 does not hold."""
    total = a.astype(np.int64) * scale[0]
    if b is not None:
        total += b.astype(np.int64) * scale[1]
    return wrap((total.sum(1) if reduce else total) + offset, SUM_BITS)


def _round(d: dict[str, int], p: dict[str, int], total: Array, out: Array, flags: Array | None,
           kept: Array | None, sums: Array) -> _Part:
    """Requantise ``total``: integers, in float64 (below 2**53) or int64."""
    if total.dtype == np.float64:
        whole = total.astype(np.int64)
        exact = np.rint(np.ldexp(total, -p["shift"]))  # ties to even, as a shift with RNE
    else:
        whole, exact = total, rne_shift(total, p["shift"])
    codes = saturate(exact, CODE_BITS)
    saturations = int(np.count_nonzero(codes != exact))
    if d["v.v_relu"]:
        np.maximum(codes, 0, out=codes)
    live = codes > 0
    if d["v.v_clip"]:
        live &= codes < p["limit"]
        codes = np.minimum(codes, p["limit"])
    out[...] = codes
    if d["v.v_flags"] and flags is not None:
        if kept is not None:
            live = kept & live if d["v.v_relu"] else kept
        flags[...] = _pack(live)
    whole ^= whole >> 63
    return _Part(int(np.bitwise_or.reduce(whole, axis=None)), saturations, sums)


def _signed(values: Array) -> Array:
    """Low 24 bits as two's complement."""
    top = 64 - SCALE_BITS
    return values << top >> top


def _unpack(flags: Array, words: int) -> Array:
    """Flags of ``words`` elements as 0 and 1, ``[image, word, lane]``."""
    bits = np.unpackbits(np.ascontiguousarray(flags).view(np.uint8), axis=-1, bitorder="little")
    return bits.reshape(flags.shape[0], -1, CHANNELS_PER_WORD)[:, :words]


def _pack(positive: Array) -> Array:
    """Undo :func:`_unpack`; what fills the last word is zero."""
    images, words, lanes = positive.shape
    row = -(-words // FLAG_PIXELS) * FLAG_PIXELS
    bits = np.zeros((images, row, lanes), np.uint8)
    bits[:, :words] = positive
    return np.packbits(bits.reshape(images, -1), axis=-1, bitorder="little").view(np.uint64)
