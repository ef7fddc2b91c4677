"""Vector unit: element by element over one or two feature maps (``docs/numerics.md`` 6)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pynq_train.arrays import Array
from pynq_train.backends.golden import post
from pynq_train.backends.golden.activation import Activation, Gradient
from pynq_train.backends.golden.memory import ArenaViews
from pynq_train.backends.golden.workers import Workers
from pynq_train.fixed import keep_words, rne_shift, saturate, wrap
from pynq_train.hw.layouts import COEFFICIENT
from pynq_train.hw.words import (
    CHANNELS_PER_WORD,
    FLAG_MASK_PIXELS,
    WORD_BYTES,
    ceil_div,
    round_up,
)
from pynq_train.program.program import Fields

SCALE_BITS, SUM_BITS, CODE_BITS = 24, 48, 16
_EXACT = 1 << 22
"""Products of 16-bit codes whose sum float64 holds."""
_GROUP_ELEMENTS = 1 << 16
"""Elements of the channel blocks that are computed at once: many small blocks cost more calls than
arithmetic, a large one leaves the cache."""


@dataclass(frozen=True)
class _ChannelPart:
    """What a group of channel blocks adds to record and sums.

    Attributes:
        measure: OR of (total XOR sign).
        saturations: how many elements saturated.
        sums: int64 ``[block, 2, 4]``: S1 and S2 of each channel.
    """

    measure: int
    saturations: int
    sums: Array


def vector(memory: ArenaViews, d: Fields, p: Fields,
           workers: Workers) -> tuple[int, int]:
    """Run the vector unit on a VECTOR descriptor.

    Maps are int16 ``[image, block, word, lane]``; coefficients int64 ``[block, lane, {A|B, C}]``.

    Args:
        memory: the arena.
        d: fields of the descriptor.
        p: fields of the step-block entry.
        workers: the threads; each takes channel blocks.

    Returns:
        Its record: measure, saturations.
    """
    images, blocks, words = d["v.v_images"], d["v.v_blocks"], d["v.v_words"]
    lanes = CHANNELS_PER_WORD
    full, line = (images, blocks, words, lanes), (blocks, images, lanes)

    def map_of(what: str, offset: int, plain: int) -> Array:
        """Return a map: images ``v_step`` apart, or (``plain``) one word per plane."""
        if plain:
            return memory.view(what, offset, line, np.int16)
        places = memory.words(what, offset, full[:3], (d["v.v_step"], words * WORD_BYTES,
                                                 WORD_BYTES))
        return np.ndarray(full, np.int16, memory.arena.data, offset, (*places.strides, 2))

    a = map_of("map a", d["v.a_off"], 0)
    b = flags = table = out = None
    if d["v.v_b"]:
        b = map_of("map b", d["v.b_off"], d["v.v_spread"])
    if d["v.v_flags"] or d["v.v_mask_a"] or d["v.v_mask_b"]:
        row = ceil_div(words, FLAG_MASK_PIXELS)
        flags = memory.view("the flags", d["v.m_off"], (images, blocks, row), np.uint64)
    if d["v.v_table"] or d["v.v_btable"]:
        table = memory.view("the coefficients", d["v.k_off"], (blocks, lanes, 2), np.int64)
    if d["v.v_write"]:
        out = map_of("the result", d["v.v_off"], d["v.v_reduce"])

    def run(group: slice) -> _ChannelPart:
        """Do a group of channel blocks."""
        return _blocks(d, p, _by_block(a, group),
                       None if b is None else b[group] if d["v.v_spread"] else _by_block(b, group),
                       None if flags is None else _by_block(flags, group),
                       None if table is None else table[group],
                       None if out is None else out[group] if d["v.v_reduce"]
                       else _by_block(out, group),
                       _kept(d, p, group) if d["v.v_drop"] else None)

    size = max(1, _GROUP_ELEMENTS // (images * words * lanes))
    parts = workers.map(run, [slice(k, k + size) for k in range(0, blocks, size)])
    if d["v.v_sums"]:
        memory.view("the sums", d["v.s_off"], (blocks, 2, lanes), np.int64)[...] = np.concatenate(
            [part.sums for part in parts])
    measure = 0
    for part in parts:
        measure |= part.measure
    return measure, sum(part.saturations for part in parts)


def _by_block(array: Array, group: slice) -> Array:
    """Return some channel blocks of ``[image, block, ...]`` as a view ``[block, image, ...]``."""
    return array[:, group].swapaxes(0, 1)


def _kept(d: Fields, p: Fields, group: slice) -> Array:
    """Return what a dropout keeps of some channel blocks: bool ``[block, image, word, lane]``."""
    images, words = d["v.v_images"], d["v.v_words"]
    # The steps move a number from word to word, from a plane's last word to the next image and from
    # the last image to the next block; here they are made strides of word, image and block.
    plane = (words - 1) * d["v.d_step"] + d["v.d_image"]
    whole = images * plane - d["v.d_image"] + d["v.d_block"]
    block, image, word = np.ogrid[:d["v.v_blocks"], :images, :words]
    numbers = d["v.d_first"] + block[group] * whole + plane * image + d["v.d_step"] * word
    return keep_words(d["v.d_least"], p["drop_seed"], p["drop_step"], d["v.d_tensor"], numbers)


def _blocks(d: Fields, p: Fields, a16: Array, b16: Array | None,
            flags: Array | None, table: Array | None, out: Array | None,
            kept: Array | None) -> _ChannelPart:
    """Compute a group of channel blocks.

    Everything is below 2**53 and so exact in float64, or done in int64.

    Args:
        d: fields of the descriptor.
        p: fields of the step-block entry.
        a16: map a, int16 ``[block, image, word, lane]``.
        b16: map b likewise, or one word per plane with spread; None without.
        flags: uint64 ``[block, image, flag word]``, read or written; None without.
        table: coefficients int64 ``[block, lane, 2]``; None without.
        out: result, int16, written; None without.
        kept: what the dropout keeps, bool of the shape of map a; None without.
    """
    live = None if flags is None or d["v.v_flags"] else _unpack(flags, a16.shape[2])
    a = _floats(Gradient.of_vector(d, "a").through(a16, live))
    b = None
    if b16 is not None:
        whole = np.broadcast_to(b16[:, :, None], a16.shape) if d["v.v_spread"] else b16
        b = _floats(Gradient.of_vector(d, "b").through(whole, live))
    if kept is not None:
        a *= kept
        b = b if b is None else b * kept
    blocks = len(a)
    sums: Array = np.zeros((blocks, 2, CHANNELS_PER_WORD), np.int64)
    if d["v.v_sums"]:
        sums = _sums(a, a if d["v.v_square"] else b)
    if not d["v.v_write"]:
        return _ChannelPart(0, 0, sums)
    scale: Array = np.empty((2, blocks, CHANNELS_PER_WORD), np.int64)
    offset: Array = np.zeros((blocks, CHANNELS_PER_WORD), np.int64)
    scale[0], scale[1] = p["a_scale"], p["b_scale"]
    if table is not None and d["v.v_table"]:
        scale[0], offset = (place.extract(table[..., place.word])
                            for place in (COEFFICIENT.at("a"), COEFFICIENT.at("c")))
    if table is not None and d["v.v_btable"]:
        place = COEFFICIENT.at("b")
        scale[1] = place.extract(table[..., place.word])
    terms = a.shape[2] if d["v.v_reduce"] else 1
    # Bound of any total: below 2**47 it never wraps, and float64 holds it. Only larger ones take
    # the slower way in int64.
    most = (np.abs(scale).sum(0) << 15) * terms + np.abs(offset)
    line = (blocks, 1, CHANNELS_PER_WORD) if d["v.v_reduce"] else (blocks, 1, 1, CHANNELS_PER_WORD)
    scale, offset = scale.reshape(2, *line), offset.reshape(line)
    assert out is not None
    if most.max() < 1 << SUM_BITS - 1:
        return _round(d, p, _total(a, b, scale, offset, d["v.v_reduce"]), out, flags, kept, sums)
    return _round(d, p, _total_int(a, b, scale, offset, d["v.v_reduce"]), out, flags, kept, sums)


def _floats(codes: Array) -> Array:
    """Return codes as float64, contiguous."""
    values: Array = np.empty(codes.shape)
    np.copyto(values, codes)
    return values


def _sums(a: Array, b: Array | None) -> Array:
    """Return the sums of ``a`` and of the products ``a * b``, int64 ``[block, 2, lane]``.

    Parts of ``_EXACT`` products are below 2**53.
    """
    blocks, lanes = len(a), CHANNELS_PER_WORD
    flat = a.reshape(blocks, -1, lanes)
    other = flat if b is a else None if b is None else b.reshape(blocks, -1, lanes)
    result: Array = np.zeros((blocks, 2, lanes), np.int64)
    for first in range(0, flat.shape[1], _EXACT):
        part = flat[:, first:first + _EXACT]
        result[:, 0] += np.matmul(np.ones((1, part.shape[1])), part)[:, 0].astype(np.int64)
        if other is not None:
            # All 4 x 4 products of lanes by one matrix product are faster than only the four on the
            # diagonal, which are wanted, element by element.
            products = np.matmul(part.swapaxes(1, 2), other[:, first:first + _EXACT])
            result[:, 1] += np.diagonal(products, axis1=1, axis2=2).astype(np.int64)
    return wrap(result, SUM_BITS)


def _total(a: Array, b: Array | None, scale: Array, offset: Array, reduce: int) -> Array:
    """Return the scaled sum of the maps in float64; ``a`` is overwritten."""
    if reduce:
        total: Array = a.sum(2) * scale[0]
        if b is not None:
            total += b.sum(2) * scale[1]
        return total + offset
    total = np.multiply(a, scale[0], out=None if b is a else a)
    if b is not None:
        total += b * scale[1]
    total += offset
    return total


def _total_int(a: Array, b: Array | None, scale: Array, offset: Array, reduce: int) -> Array:
    """Return the same in int64 modulo 2**48, for sums that float64 does not hold."""
    def codes(map16: Array) -> Array:
        whole: Array = map16.astype(np.int64)
        return whole.sum(2) if reduce else whole

    total = codes(a) * scale[0]
    if b is not None:
        total += codes(b) * scale[1]
    return wrap(total + offset, SUM_BITS)


def _round(d: Fields, p: Fields, total: Array, out: Array, flags: Array | None,
           kept: Array | None, sums: Array) -> _ChannelPart:
    """Requantise ``total`` into ``out``, write flags if wanted, and return what the group adds.

    Args:
        d: fields of the descriptor.
        p: fields of the step-block entry.
        total: integers, in float64 (below 2**53; overwritten) or int64.
        out: codes, int16.
        flags: uint64, written with ``v_flags``.
        kept: what the dropout keeps, or None.
        sums: sums of the group, handed on.
    """
    if total.dtype == np.float64:
        whole = total.astype(np.int64)
        total *= 2.0**-p["shift"]
        exact = np.rint(total, out=total)  # ties to even, as a shift with RNE
    else:
        whole, exact = total, rne_shift(total, p["shift"])
    codes = saturate(exact, CODE_BITS)
    saturations = int(np.count_nonzero(codes != exact))
    activation = Activation.of_vector(d).at(p)
    activation.apply(codes)
    out[...] = codes
    if d["v.v_flags"] and flags is not None:
        live = activation.live(codes)
        # The gradient passes where the value was kept, too.
        flags[...] = _pack(live if kept is None else live & kept)
    whole ^= whole >> 63
    return _ChannelPart(int(np.bitwise_or.reduce(whole, axis=None)), saturations, sums)


def _unpack(flags: Array, words: int) -> Array:
    """Return the flags of ``words`` elements: int16 ``[block, image, word, lane]``.

    All ones where a flag is set, else zero.
    """
    live = post.live_lanes(np.ascontiguousarray(flags).view(np.uint8)).view(np.int16)
    return live.reshape(*flags.shape[:2], -1, CHANNELS_PER_WORD)[:, :, :words]


def _pack(live: Array) -> Array:
    """Return flags as whole words, uint64 ``[block, image, flag word]``; the rest is zero."""
    blocks, images, words, lanes = live.shape
    row = round_up(words, FLAG_MASK_PIXELS)
    bits: Array = live
    if row != words:
        bits = np.zeros((blocks, images, row, lanes), bool)
        bits[:, :, :words] = live
    return np.packbits(bits.reshape(blocks, images, -1), axis=-1, bitorder="little").view(np.uint64)
