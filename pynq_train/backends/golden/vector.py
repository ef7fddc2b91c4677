"""Vector unit: element by element over one or two maps, in integers (``docs/numerics.md`` 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynq_train.backends.golden.memory import Memory
from pynq_train.backends.golden.workers import Workers
from pynq_train.fixed import rne_shift, saturate, wrap
from pynq_train.hw.config import CHANNELS_PER_WORD

Array = NDArray[Any]

FLAG_PIXELS = 16
"""Words of a map whose flags stand in one word."""
SCALE_BITS, SUM_BITS, CODE_BITS = 24, 48, 16


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
                      None if out is None else out[block] if d["v.v_reduce"] else out[:, block])

    parts = workers.map(run, range(blocks))
    if d["v.v_sums"]:
        memory.view("the sums", d["v.s_off"], (blocks, 2, lanes), np.int64)[...] = [
            part.sums for part in parts]
    measure = 0
    for part in parts:
        measure |= part.measure
    return measure, sum(part.saturations for part in parts)


def _block(d: dict[str, int], p: dict[str, int], a16: Array, b16: Array | None,
           flags: Array | None, table: Array | None, out: Array | None) -> _Part:
    """One channel block: maps ``[image, word, lane]``, flags ``[image, flag word]``."""
    a = a16.astype(np.int64)
    b = np.zeros_like(a)
    if b16 is not None:
        b += b16[:, None] if d["v.v_spread"] else b16
    if flags is not None and not d["v.v_flags"]:
        mask = _unpack(flags, a.shape[1])
        a = a * mask if d["v.v_mask_a"] else a
        b = b * mask if d["v.v_mask_b"] else b
    second = a * a if d["v.v_square"] else a * b
    sums = np.stack([wrap(a.sum((0, 1)), SUM_BITS), wrap(second.sum((0, 1)), SUM_BITS)])
    if not d["v.v_write"]:
        return _Part(0, 0, sums)
    scale: Array = np.empty((2, CHANNELS_PER_WORD), np.int64)
    offset: Array = np.zeros(CHANNELS_PER_WORD, np.int64)
    scale[0], scale[1] = p["a_scale"], p["b_scale"]
    if table is not None and d["v.v_table"]:
        scale[0], offset = table[:, 0], table[:, 1]
    if table is not None and d["v.v_btable"]:
        scale[1] = table[:, 0] >> 32
    total = a * _signed(scale[0]) + b * _signed(scale[1])
    if d["v.v_reduce"]:
        total = total.sum(1)
    total = wrap(total + offset, SUM_BITS)
    exact = rne_shift(total, p["shift"])
    codes = saturate(exact, CODE_BITS)
    saturations = int(np.count_nonzero(codes != exact))
    if d["v.v_relu"]:
        codes = np.maximum(codes, 0)
    live = codes > 0
    if d["v.v_clip"]:
        live &= codes < p["limit"]
        codes = np.minimum(codes, p["limit"])
    assert out is not None
    out[...] = codes
    if d["v.v_flags"] and flags is not None:
        flags[...] = _pack(live)
    return _Part(int(np.bitwise_or.reduce(total ^ (total >> 63), axis=None)), saturations, sums)


def _signed(values: Array) -> Array:
    """Low 24 bits as two's complement."""
    top = 64 - SCALE_BITS
    return values << top >> top


def _unpack(flags: Array, words: int) -> Array:
    """Flags of ``words`` elements as 0 and 1, ``[image, word, lane]``."""
    bits = np.unpackbits(np.ascontiguousarray(flags).view(np.uint8), axis=-1, bitorder="little")
    return bits.reshape(flags.shape[0], -1, CHANNELS_PER_WORD)[:, :words].astype(np.int64)


def _pack(positive: Array) -> Array:
    """Undo :func:`_unpack`; what fills the last word is zero."""
    images, words, lanes = positive.shape
    row = -(-words // FLAG_PIXELS) * FLAG_PIXELS
    bits = np.zeros((images, row, lanes), np.uint8)
    bits[:, :words] = positive
    return np.packbits(bits.reshape(images, -1), axis=-1, bitorder="little").view(np.uint64)
