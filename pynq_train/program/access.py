"""Every byte that a descriptor touches: its address generators, replayed with NumPy.

The loops of ``docs/engine.md`` 3 run on arrays over all tiles and rows at once. The scheduler's own
layouts are not used: the verifier must find their mistakes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pynq_train.arrays import Array
from pynq_train.hw.commands import RECORD_BYTES, LoadMode, Opcode, Unit
from pynq_train.hw.curves import Factor, curve_bytes
from pynq_train.hw.norm import BACK, GROUPED, NormProgram
from pynq_train.hw.words import (
    CHANNELS_PER_WORD,
    FLAG_MASK_PIXELS,
    FLAG_UNPOOL_COLUMNS,
    WORD_BYTES,
    ceil_div,
    master_bytes,
)
from pynq_train.program.pooling import pool_spans
from pynq_train.program.program import Fields
from pynq_train.program.spans import Spans, affine, strides_of

_MASK32 = (1 << 32) - 1
_SLICE = 1 << 20
"""Rows that are replayed at once: bounds the memory of the arrays."""


@dataclass(frozen=True)
class Access:
    """Bytes that one unit reads or writes for one tensor.

    Attributes:
        unit: the unit.
        write: it writes them, else it reads.
        what: what they are, for messages; :mod:`~pynq_train.program.hazards` tells kinds of data
            apart by it.
        spans: the bytes, as offsets in the arena.
    """

    unit: Unit
    write: bool
    what: str
    spans: Spans


@dataclass(frozen=True)
class _Tiles:
    """State of an address generator at the start of every tile: int64 arrays ``[tile]``.

    Attributes:
        addr: byte address of the first row.
        faddr: byte address of its flags.
        coords: the four coordinates: of the run, of row levels 1 to 3.
    """

    addr: Array
    faddr: Array
    coords: tuple[Array, ...]


def numbers(fields: Fields, name: str, count: int) -> list[int]:
    """Return elements 0 .. count - 1 of a field."""
    return [fields[f"{name}{i}"] for i in range(count)]


def tile_bytes(fields: Fields) -> int:
    """Return 8 bytes per output lane of the array.

    It is the unit of a tap's weight offset, and the size of the biases or channel sums of an m
    tile.
    """
    return WORD_BYTES * fields["g.g_tile"]


def _tiles(fields: Fields, name: str, counts: Sequence[int], flags: bool) -> _Tiles:
    """Return the distinct tiles of section ``name``.

    Levels that move nothing, or are reused, are left out: they load the same bytes again.
    """
    reuse = fields[f"{name}.reuse"]
    moves = [strides_of(counts, numbers(fields, f"{name}.daddr", 5)),
             strides_of(counts, numbers(fields, f"{name}.fdaddr", 5)) if flags else [0] * 5]
    for level in range(4):
        jumps = [fields[f"{name}.dc{4 * t + level}"] for t in range(5)]
        moves.append(strides_of(counts, jumps))
    used = [t for t in range(5)
            if t >= reuse and counts[t] > 1 and any(m[t] for m in moves)]
    starts = [fields[f"{name}.addr"], fields[f"{name}.faddr"] if flags else 0,
              *numbers(fields, f"{name}.c", 4)]
    values = [affine(start, [counts[t] for t in used], [move[t] for t in used])
              for start, move in zip(starts, moves)]
    return _Tiles(values[0], values[1], tuple(values[2:]))


def tile_coords(fields: Fields, name: str, counts: Sequence[int], level: int) -> Array:
    """Return coordinate ``level`` (0: of the run) of each distinct tile: int64 ``[tile]``."""
    return _tiles(fields, name, counts, False).coords[level]


def row_offsets(rows: tuple[Array, ...], n: Sequence[int], jumps: Sequence[int],
                 taken: Array, last: Array) -> Array:
    """Return the byte offset of each row of a tile from the first.

    Args:
        rows: indices of each row at levels 1, 2 and 3.
        n: counts: elements of a row, then rows at levels 1 to 3.
        jumps: jump deltas at levels 1 to 3, in bytes.
        taken: how often the level 1 jump is taken before a row, within its plane.
        last: how often it is taken in a whole plane.
    """
    # A jump is added at the last row of the inner levels, and what these have moved stays: from
    # plane to plane the address moves by all level 1 jumps and one level 2 jump.
    plane = last * jumps[0] + jumps[1]
    volume = n[2] * last * jumps[0] + (n[2] - 1) * jumps[1] + jumps[2]
    return taken * jumps[0] + rows[1] * plane + rows[2] * volume


def row_spans(fields: Fields, name: str, counts: Sequence[int],
              taps: Sequence[Fields] = ()) -> tuple[Spans, Spans]:
    """Return the bytes of data and the bytes of flags that an address generator touches.

    Args:
        fields: the descriptor.
        name: section of the address generator.
        counts: iterations of its tile levels.
        taps: tap table, for those that use it.
    """
    mode = LoadMode(fields[f"{name}.mode"])
    flags, unpool = mode != LoadMode.PLAIN, mode == LoadMode.UNPOOL
    n, lim = numbers(fields, f"{name}.n", 4), numbers(fields, f"{name}.lim", 4)
    drow = numbers(fields, f"{name}.drow", 3)
    fdrow = numbers(fields, f"{name}.fdrow", 3) if flags else [0] * 3
    tiles = _tiles(fields, name, counts, flags)
    grid = np.indices((n[3], n[2], n[1])).reshape(3, -1)
    rows = (grid[2], grid[1], grid[0])
    extra = np.zeros(len(rows[0]), np.int64)
    if fields[f"{name}.taps"]:
        extra = np.array([tap["woff"] for tap in taps], np.int64)[rows[1]]
        extra = extra * tile_bytes(fields)
    data, bits = [], []
    step = max(1, _SLICE // len(extra))
    for first in range(0, len(tiles.addr), step):
        part = slice(first, first + step)
        c = [values[part, None] for values in tiles.coords]
        valid = np.ones((len(c[0]), len(extra)), bool)
        for level in range(3):
            at = c[level + 1] + rows[level]
            valid &= (at >= 0) & (at < lim[level + 1])
        k0, k1 = np.maximum(-c[0], 0), np.minimum(n[0], lim[0] - c[0])
        valid &= k0 < k1
        parity = c[1] & 1
        # With unpooling the level 1 jump is taken after odd rows only: of the k rows from
        # coordinate c on, (k + c % 2) // 2 are odd.
        taken: Array = rows[0] + 0 * parity
        last: Array = n[1] - 1 + 0 * parity
        if unpool:
            taken, last = (taken + parity) // 2, (last + parity) // 2
        addr = tiles.addr[part, None] + extra + row_offsets(rows, n, drow, taken, last)
        # A row address belongs to element 0, so valid elements stand k0 words behind it. With
        # unpooling the words count in pooled columns.
        x0, x1 = (c[0] + k0, c[0] + k1 - 1)
        if unpool:
            k0, k1 = (x0 >> 1) - (c[0] >> 1), (x1 >> 1) - (c[0] >> 1) + 1
        # The engine adds addresses modulo 2**32; padding in front may lead below 0 and back.
        start = (addr + WORD_BYTES * k0) & _MASK32
        data.append(Spans.of(start[valid], (start + WORD_BYTES * (k1 - k0))[valid]))
        if flags:
            faddr = tiles.faddr[part, None] + row_offsets(rows, n, fdrow, taken, last)
            faddr = np.bitwise_and(faddr, _MASK32)
            # Flags are read from column 0 of their row on, up to the last valid column.
            words = x1 // (FLAG_UNPOOL_COLUMNS if unpool else FLAG_MASK_PIXELS) + 1
            bits.append(Spans.of(faddr[valid], (faddr + WORD_BYTES * words)[valid]))
    return Spans.union(data), Spans.union(bits) if bits else Spans.one(0, 0)


def _conv(f: Fields, taps: Sequence[Fields]) -> list[Access]:
    """Return what a CONV descriptor, or the convolution of a GRADIENT, reads and writes."""
    tile, store = numbers(f, "pre.t", 5), numbers(f, "y.y", 5)
    result = []
    for unit, name, what in ((Unit.X, "x", "streamed operand"), (Unit.S, "s", "S operand")):
        data, flags = row_spans(f, name, tile, taps)
        result.append(Access(unit, False, what, data))
        result.append(Access(unit, False, f"flags of the {what}", flags))
    if f["s.sum"]:
        sums = Spans.one(f["s.sum_off"], tile_bytes(f) * tile[4])
        result.append(Access(Unit.S, True, "channel sums", sums))
    # Its sums go through the gradient queue, not to memory.
    if f["pre.opcode"] == Opcode.GRADIENT:
        return result
    if f["y.bias"]:
        starts = affine(f["y.bias_off"], store, strides_of(store, numbers(f, "y.dbias", 5)))
        starts = np.unique(starts & _MASK32)
        result.append(Access(Unit.STORE, False, "biases", Spans.of(starts, starts + tile_bytes(f))))
    result.append(Access(Unit.STORE, True, "stored tensor", row_spans(f, "yw", store)[0]))
    if f["y.flags"]:
        result.append(Access(Unit.STORE, True, "stored flags", row_spans(f, "yf", store)[0]))
    return result


def _update(f: Fields) -> list[Access]:
    """Return what the update unit does to the masters, and its 16-bit copies if it writes them."""
    unit, count = Unit.UPDATE, f["u.u_count"]
    masters = Spans.one(f["u.wv_off"], master_bytes(not f["u.u_plain"]) * count)
    result = [Access(unit, False, "masters", masters), Access(unit, True, "masters", masters)]
    if f["u.u_copy"]:
        result.append(Access(unit, True, "16-bit copy", Spans.one(f["u.w16_off"], 2 * count)))
    return result


def _vector(f: Fields) -> list[Access]:
    """Return what a VECTOR descriptor reads and writes; its sizes have been checked."""
    unit, blocks = Unit.VECTOR, f["v.v_blocks"]
    line = WORD_BYTES * f["v.v_images"] * blocks
    row = line * f["v.m_words"]

    def spans(offset: int, plain: int) -> Spans:
        """Bytes of a feature map, or (``plain``) of a word per plane without gaps."""
        if plain or f["v.v_step"] == WORD_BYTES * f["v.v_words"]:
            # Groups of channel blocks: what counts as an image is a block, and none is left out.
            return Spans.one(offset, line * (1 if plain else f["v.v_words"]))
        starts = affine(offset, (f["v.v_images"],), (f["v.v_step"],))
        return Spans.of(starts, starts + WORD_BYTES * blocks * f["v.v_words"])

    result = [Access(unit, False, "map a", spans(f["v.a_off"], 0))]
    if f["v.v_b"]:
        what = "spread map b" if f["v.v_spread"] else "map b"
        result.append(Access(unit, False, what, spans(f["v.b_off"], f["v.v_spread"])))
    if f["v.v_flags"] or f["v.v_mask_a"] or f["v.v_mask_b"]:
        result.append(Access(unit, bool(f["v.v_flags"]), "flags", Spans.one(f["v.m_off"], row)))
    channel_bytes = 2 * WORD_BYTES
    if f["v.v_table"] or f["v.v_btable"]:
        size = channel_bytes * CHANNELS_PER_WORD * blocks
        result.append(Access(unit, False, "coefficients", Spans.one(f["v.k_off"], size)))
    if f["v.v_factor"] in (Factor.CURVE, Factor.SLOPE):
        # Which of the tables it reads, the step block says.
        result.append(Access(unit, False, "curve",
                             Spans.one(f["v.k_off"], curve_bytes(f["v.k_log"]))))
    if f["v.v_write"]:
        what = "reduced result" if f["v.v_reduce"] else "result"
        result.append(Access(unit, True, what, spans(f["v.v_off"], f["v.v_reduce"])))
    if f["v.v_sums"]:
        size = channel_bytes * CHANNELS_PER_WORD * blocks
        result.append(Access(unit, True, "sums", Spans.one(f["v.s_off"], size)))
    return result


def _norm(f: Fields) -> list[Access]:
    """Return what a NORM descriptor touches: sums, masters, statistics and coefficients."""
    unit, channels = Unit.VECTOR, CHANNELS_PER_WORD * f["n.n_blocks"]
    program = NormProgram(f["n.n_program"])
    single, double = WORD_BYTES * channels, 2 * WORD_BYTES * channels
    result = []

    def add(write: bool, what: str, offset: int, size: int) -> None:
        result.append(Access(unit, write, what, Spans.one(offset, size)))

    if program != NormProgram.FORWARD_FROZEN:
        for part in range(f["n.n_parts"]):
            add(False, "sums", f["n.s_off"] + part * f["n.n_step"], double)
    back, grouped = program in BACK, program in GROUPED
    for index in range(0 if grouped else 2):
        add(False, "masters", f["n.p_off"] + index * f["n.p_step"], single)
        if back:
            add(True, "gradients", f["n.d_off"] + index * f["n.p_step"], single)
    add(not back, "statistics", f["n.q_off"], double)
    if not back and not grouped:
        add(False, "running statistics", f["n.r_off"], double)
    if program == NormProgram.FORWARD:
        add(True, "running statistics", f["n.r_off"], double)
    add(True, "coefficients", f["n.k_off"], double)
    return result


def accesses(fields: Fields, taps: Sequence[Fields]) -> list[Access]:
    """Return everything that a descriptor reads and writes in the arena.

    The sequencer's own reads (descriptor, taps, step-block entry) are not in it: the memory map
    keeps them apart.
    """
    f, opcode = fields, Opcode(fields["pre.opcode"])
    if opcode == Opcode.FENCE:
        return []
    if opcode == Opcode.CONV:
        unit, result = Unit.STORE, _conv(f, taps)
    elif opcode == Opcode.GRADIENT:
        unit, result = Unit.UPDATE, [*_conv(f, taps), *_update(f)]
    elif opcode == Opcode.UPDATE:
        unit, sums = Unit.UPDATE, Spans.one(f["u.g_off"], WORD_BYTES * f["u.u_count"])
        result = [Access(unit, False, "gradient sums", sums), *_update(f)]
    elif opcode == Opcode.VECTOR:
        unit, result = Unit.VECTOR, _vector(f)
    elif opcode == Opcode.NORM:
        unit, result = Unit.VECTOR, _norm(f)
    elif opcode == Opcode.POOL:
        unit, result = Unit.VECTOR, [Access(Unit.VECTOR, *found) for found in pool_spans(f)]
    else:
        unit, batch = Unit.SOFTMAX, f["f.f_batch"]
        size = ceil_div(f["f.f_classes"], CHANNELS_PER_WORD) * batch * WORD_BYTES
        result = [Access(unit, False, "logits", Spans.one(f["f.logit_off"], size)),
                  Access(unit, False, "labels", Spans.one(f["f.label_off"], WORD_BYTES * batch))]
        if f["f.f_grad"]:
            result.append(Access(unit, True, "logit gradients",
                                 Spans.one(f["f.dlogit_off"], size)))
    record = Spans.one(f["pre.rec_off"], RECORD_BYTES)
    result.append(Access(unit, True, "record", record))
    # A tensor of which nothing is touched meets no other one.
    return [a for a in result if a.spans]
