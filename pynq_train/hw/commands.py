"""Descriptors: opcodes, units and bit fields as data, with packing and unpacking.

A descriptor is ``DESCRIPTOR_WORDS`` words of 64 bit. Its fields stand in sections; each unit of
the engine receives the prefix and its own section. Fields never cross a word. ``docs/engine.md``
explains what the units do with them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from enum import IntEnum
from functools import cache
from typing import Final

from pynq_train.hw.fields import Field, Place, Section, placed, reserved
from pynq_train.hw.geometry import GEOMETRY, GEOMETRY_OVERLAYS
from pynq_train.hw.pool import POOL_FIELDS
from pynq_train.hw.words import WORD_BYTES

DESCRIPTOR_WORDS = 128
DESCRIPTOR_BYTES = WORD_BYTES * DESCRIPTOR_WORDS
PARAM_WORDS = 2
"""Words of one entry of the step block."""
PARAM_BYTES = WORD_BYTES * PARAM_WORDS
PARAM_INDEX = DESCRIPTOR_WORDS
"""Index of the step-block entry on the configuration bus."""
TAP_INDEX = DESCRIPTOR_WORDS + PARAM_WORDS
"""Index of the first tap on the configuration bus."""
RECORD_WORDS: Final = 4
"""Words of the result record that a descriptor leaves in memory."""
RECORD_BYTES = WORD_BYTES * RECORD_WORDS
TILE_LEVELS: Final = 5


class Opcode(IntEnum):
    """What a descriptor asks for."""

    FENCE = 0
    CONV = 1
    UPDATE = 2
    SOFTMAX = 3
    GRADIENT = 4
    """Weight gradient whose sums go through the gradient queue into the update unit."""
    VECTOR = 5
    """Element by element: scale, shift and add maps, mask them, take sums over channels."""
    NORM = 6
    """Batch normalisation: coefficients of all channels from their sums (``hw.norm``)."""
    POOL = 7
    """Maxima of windows, or gradients back to them (``hw.pool``)."""


class Unit(IntEnum):
    """Receivers of configuration words; the value is the bit in unit masks."""

    PIX = 0
    X = 1
    S = 2
    COMPUTE = 3
    STORE = 4
    UPDATE = 5
    SOFTMAX = 6
    VECTOR = 7


UNITS_OF = {
    Opcode.FENCE: (),
    Opcode.CONV: (Unit.PIX, Unit.X, Unit.S, Unit.COMPUTE, Unit.STORE),
    Opcode.UPDATE: (Unit.UPDATE,),
    Opcode.SOFTMAX: (Unit.SOFTMAX,),
    Opcode.GRADIENT: (Unit.PIX, Unit.X, Unit.S, Unit.COMPUTE, Unit.STORE, Unit.UPDATE),
    Opcode.VECTOR: (Unit.VECTOR,),
    Opcode.NORM: (Unit.VECTOR,),
    Opcode.POOL: (Unit.VECTOR,),
}
"""Which units take part in an opcode."""

TILED = frozenset({Opcode.CONV, Opcode.GRADIENT})
"""Opcodes whose prefix has tile counts, all of them 1 or more."""

TAPPED = frozenset({Unit.S, Unit.COMPUTE})
"""Units that receive the taps behind the step-block entry."""

WAIT_OF = {Unit.S: "s", Unit.STORE: "y",
           **dict.fromkeys((Unit.X, Unit.UPDATE, Unit.SOFTMAX, Unit.VECTOR), "x")}
"""By unit that waits: which of the prefix' waits it is, ``wait_x`` and so on."""


class Semaphore(IntEnum):
    """Monotone counters that descriptors signal when they retire and wait for before they start."""

    CONV = 0
    UPDATE = 1
    SOFTMAX = 2
    VECTOR = 3


class Pass(IntEnum):
    """Pass of a convolution descriptor."""

    FORWARD = 0
    BACKWARD = 1
    WEIGHT_GRADIENT = 2


class LoadMode(IntEnum):
    """What a loader does to the words of its tensor."""

    PLAIN = 0
    MASK = 1
    UNPOOL = 2


class PixelMode(IntEnum):
    """How the pixel table is filled."""

    GROUPS = 0
    SINGLE = 1
    WINDOW = 2


_PAIR = "ternary pair {q, r[1:0]}, a position 3*q + r"


def _addr_gen(what: str) -> tuple[Field, ...]:
    """Fields of an address generator: tile loop, rows and runs, clipped to the tensor."""
    return (
        Field("addr", 32, f"{what}: byte offset of the first row of the first tile"),
        Field("daddr", 32, "jump of addr when tile level t increments", True, TILE_LEVELS),
        Field("n", 16, "words of a run (0) and rows of a tile (1..3, inner to outer)", False, 4),
        Field("drow", 32, "jump of the row address when row level 1..3 increments", True, 3),
        Field("mode", 2, "LoadMode; store unit: 0"),
        Field("reuse", 3, "inner tile levels over which the tile stays"),
        Field("taps", 1, "add the tap's weight offset to the row address at row level 2"),
        Field("sum", 1, "weight gradient: take the channel sums"),
        Field("align", 1, "round the ring position up to 4 words when row level 3 increments"),
        reserved("addr_pad", 24),
        Field("c", 16, "first coordinate of run (0) and row levels (1..3)", True, 4),
        Field("lim", 16, "coordinates outside 0..lim-1 are padding: zero, or not stored", False,
              4),
        Field("dc", 16, "jumps of the four coordinates at tile level t: index 4*t + level", True,
              4 * TILE_LEVELS),
        Field("pos", 16, "jump of the buffer position at levels 0..3", False, 4),
    )


def _flag_addr_gen() -> tuple[Field, ...]:
    return (
        Field("faddr", 32, "byte offset of the flag row of the first row"),
        Field("fdaddr", 32, "jump of faddr when tile level t increments", True, TILE_LEVELS),
        Field("fdrow", 32, "jump of the flag row address at row level 1..3", True, 3),
    )


_SECTIONS: tuple[tuple[str, str, tuple[Field, ...]], ...] = (
    (
        "pre",
        "prefix, seen by every unit",
        (
            Field("opcode", 8, "Opcode"),
            Field("signal", 8, "Semaphore that counts this descriptor when it retires"),
            Field("n_taps", 8, "taps in the tap table"),
            reserved("pre_pad", 8),
            Field("param", 16, "index of the step-block entry"),
            Field("number", 16, "position in the program, for messages"),
            Field("taps_off", 32, "byte offset of the tap table"),
            Field("rec_off", 32, "byte offset of the result record"),
            Field("wait_x_sem", 8, "Semaphore that the X loader (or update, softmax) waits for"),
            Field("wait_s_sem", 8, "Semaphore that the S loader waits for"),
            Field("wait_y_sem", 8, "Semaphore that the store unit waits for"),
            reserved("pre_pad2", 8),
            Field("wait_x", 16, "count to reach before the X loader starts"),
            Field("wait_s", 16, "count to reach before the S loader starts"),
            Field("wait_y", 16, "count to reach before the store unit starts"),
            Field("t", 16, "iterations of tile level 0..4, inner to outer", False, TILE_LEVELS),
        ),
    ),
    (
        "pix",
        "pixel table",
        (
            Field("p", 16, "columns, rows, images of a tile", False, 3),
            Field("pmode", 2, "PixelMode"),
            Field("dpos", 16, f"jump at column, row, image; {_PAIR}", False, 3),
            Field("lane", 16, f"position step from lane to lane in WINDOW mode; {_PAIR}"),
        ),
    ),
    ("x", "X loader: what is streamed, operand V", _addr_gen("X tensor") + _flag_addr_gen()),
    (
        "s",
        "S loader: stationary operand",
        _addr_gen("weights or gradient tensor")
        + _flag_addr_gen()
        + (Field("sum_off", 32, "byte offset of the channel sums (int64), 128 bytes per m tile"),),
    ),
    (
        "c",
        "compute",
        (
            Field("l", 16, "iterations of compute level 0..4, inner to outer", False, 5),
            Field("dj", 16, "jump of the pixel table row at compute level 0..4", True, 5),
            Field("dx", 16, f"jump of the X position at compute level 0..4; {_PAIR}", False, 5),
            Field("wu", 1, "weight gradient: window fetch, sweep is levels 0..3, not level 0"),
            Field("red", 3, "inner tile levels that accumulate into the same tile"),
            Field("xreuse", 3, "inner tile levels over which the X tile stays"),
            Field("s_col", 1, "S words are columns (backward, weight gradient), not rows"),
            reserved("c_pad", 8),
            Field("s_stride", 16, "words from one S quarter to the next in the ring"),
            Field("s_step", 16, "words from one S set to the next in a chunk"),
            Field("s_chunk", 16, "words of a chunk, freed together"),
            Field("s_sets", 16, "sets in a chunk"),
            Field("s_valid", 16, "weight gradient: pixels of a tile; others are zero. Else 0"),
        ),
    ),
    (
        "y",
        "store unit: drain, post-processing, staging",
        (
            Field("y", 16, "iterations of store level 0..4, inner to outer; one is a segment",
                  False, TILE_LEVELS),
            Field("segs", 3, "inner store levels that share one accumulator tile"),
            Field("raw", 1, "weight gradient: 48-bit sums into the gradient queue"),
            Field("bias", 1, "add the bias"),
            Field("relu", 1, "negative values become zero"),
            Field("pool", 1, "2x2 maximum"),
            Field("flags", 1, "write flags (ReLU mask, pooling index)"),
            Field("single", 1, "one pixel per group (stride 3)"),
            Field("clip", 1, "with relu: values above the limit become the limit"),
            reserved("y_pad", 6),
            Field("yblk", 16, "staging step from one channel block to the next, words"),
            Field("fblk", 16, "flag staging step from one channel block to the next, words"),
            Field("groups", 16, "raw: accumulator groups of a segment"),
            Field("q", 16, "pixels of a segment: columns, rows, images, phases", False, 4),
            Field("ypos", 16, "jump of the staging position at pixel level 0..3", False, 4),
            Field("yc", 16, "first column, row, image, channel block", True, 4),
            Field("ylim", 16, "column, row, image, channel block are stored below this", False, 4),
            Field("dcol", 16, "jump of the column at pixel level 0..3", True, 4),
            Field("dline", 16, "jump of the row at pixel level 0..3", True, 4),
            Field("dimg", 16, "jump of the image at pixel level 0..3", True, 4),
            Field("ydc", 16, "jumps of the four coordinates at store level t: index 4*t + i", True,
                  4 * TILE_LEVELS),
            Field("bias_off", 32, "byte offset of the bias masters of the first tile"),
            Field("dbias", 32, "jump of bias_off at store level t", True, TILE_LEVELS),
        ),
    ),
    ("yw", "store unit: address generator of the stored tensor", _addr_gen("stored tensor")),
    ("yf", "store unit: address generator of the stored flags", _addr_gen("stored flags")),
    (
        "f",
        "softmax unit: loss and its gradient (stands where the X section stands)",
        (
            Field("logit_off", 32, "byte offset of the logits [block][image][4]"),
            Field("label_off", 32, "byte offset of the labels, one int64 word per image"),
            Field("dlogit_off", 32, "byte offset of the logit gradients, laid out as the logits"),
            Field("f_batch", 32, "images: stride of a block in words"),
            Field("f_classes", 16, "classes"),
            Field("f_grad", 1, "write gradients"),
            Field("f_mse", 1, "squared error of the logits; else cross-entropy of their softmax"),
        ),
    ),
    (
        "v",
        "vector unit (stands where the X section stands)",
        (
            Field("a_off", 32, "byte offset of map a"),
            Field("b_off", 32, "byte offset of map b; v_spread: one word per plane"),
            Field("v_off", 32, "byte offset of the result; v_reduce: one word per plane"),
            Field("m_off", 32, "byte offset of the flags, read or written"),
            Field("k_off", 32, "byte offset of the coefficients, two words per channel"),
            Field("s_off", 32, "byte offset of the sums, int64: 4 of the first, 4 of the second"),
            Field("v_images", 16, "images"),
            Field("v_blocks", 16, "channel blocks"),
            Field("v_words", 32, "words of a plane: pixels of one channel block of one image"),
            Field("v_step", 32, "bytes from a plane to the next image's"),
            Field("v_jump", 32, "bytes from the last image's plane to the next block's", True),
            Field("m_words", 32, "words of a plane's flags: a bit per channel, 16 pixels"),
            Field("m_step", 32, "bytes from a plane's flags to the next image's"),
            Field("m_jump", 32, "bytes from the last image's flags to the next block's", True),
            Field("v_b", 1, "map b is read"),
            Field("v_spread", 1, "b has one word per plane, at [block][image]"),
            Field("v_reduce", 1, "add up each plane and write one word, at [block][image]"),
            Field("v_write", 1, "write the result"),
            Field("v_sums", 1, "write the sums of each channel"),
            Field("v_square", 1, "second sum: squares of a; else products of a and b"),
            Field("v_table", 1, "A and C stand in the table; else A in the step block, C is 0"),
            Field("v_btable", 1, "B stands in the table; else in the step block"),
            Field("v_relu", 1, "negative results become zero"),
            Field("v_flags", 1, "write flags: the result is positive"),
            Field("v_mask_a", 1, "read flags; a counts only where its flag is set"),
            Field("v_mask_b", 1, "read flags; b counts only where its flag is set"),
            Field("v_clip", 1, "with v_relu: results above the limit become the limit"),
            Field("v_drop", 1, "a and b count only where their random bits are not below d_least"),
            Field("d_least", 16, "v_drop: part of the elements that are dropped, Q0.16"),
            Field("d_tensor", 16, "v_drop: number of the tensor, part of the random bits' counter"),
            Field("d_first", 32, "v_drop: number of the first word; the other part of the counter"),
            Field("d_step", 32, "v_drop: from the number of a word to the next of its plane"),
            Field("d_image", 32, "v_drop: from a plane's last word to the next image's", True),
            Field("d_block", 32, "v_drop: from a block's last word to the next block's", True),
            Field("v_factor", 2, "Factor: what a is multiplied by; k_off: tables of its curve"),
            Field("k_log", 4, "CURVE, SLOPE: binary logarithm of the segments of a table, 1..9"),
            Field("v_lanes", 2, "CURVE: channels of the last block, 0 for all; others get no C"),
        ),
    ),
    (
        "n",
        "normalisation, a part of the vector unit (stands where the X section stands)",
        (
            Field("s_off", 32, "byte offset of the sums, int64 [part][block][2][4]"),
            Field("n_step", 32, "bytes from a part of the sums to the next"),
            Field("n_parts", 8, "parts that are added up, 1 or more"),
            Field("n_program", 4, "NormProgram"),
            Field("n_blocks", 16, "channel blocks"),
            Field("p_off", 32, "byte offset of the masters of gamma, {momentum, weight}"),
            Field("p_step", 32, "bytes from gamma to beta; of the gradients likewise"),
            Field("r_off", 32, "byte offset of the running mean and variance [block][2][4]"),
            Field("q_off", 32, "byte offset of mean and 1 / deviation of the step [block][2][4]"),
            Field("k_off", 32, "byte offset of the coefficients, two words per channel"),
            Field("d_off", 32, "byte offset of the gradient of gamma, int64"),
            Field("n_mean_m", 32, "1 / elements of a channel: significand of a soft float"),
            Field("n_mean_e", 16, "and its exponent", True),
            Field("n_var_m", 32, "elements / (elements - 1): significand"),
            Field("n_var_e", 16, "and its exponent", True),
            Field("n_eps_m", 32, "epsilon: significand"),
            Field("n_eps_e", 16, "and its exponent", True),
            Field("n_join", 2, "channels of a word whose sums are added up: 0 none, 1 pairs, 3 all "
                  "four"),
        ),
    ),
    ("p", "pooling, a part of the vector unit (stands where the X section stands)", POOL_FIELDS),
    (
        "u",
        "update unit",
        (
            Field("g_off", 32, "UPDATE: byte offset of the gradient sums, int64"),
            Field("wv_off", 32, "byte offset of the masters {momentum Q7.24, weight Q3.28}; the "
                  "most negative weight is absent"),
            Field("w16_off", 32, "byte offset of the 16-bit operand copy"),
            Field("u_count", 32, "elements, a multiple of 4"),
            Field("u_copy", 1, "write the 16-bit copy"),
            Field("u_plain", 1, "masters are bare int32 weights, two in a word: no momentum"),
            Field("u_rows", 6, "GRADIENT: output channels of each m tile that are weights, 1..tm"),
        ),
    ),
    *GEOMETRY,
)

_OVERLAID = {"f": "x", "v": "x", "n": "x", "p": "x", **GEOMETRY_OVERLAYS}
"""Sections that share their words with another one, of a different opcode."""


def _place() -> dict[str, Section]:
    sections: dict[str, Section] = {}
    word = 0
    for name, doc, fields in _SECTIONS:
        if name in _OVERLAID:
            first = sections[_OVERLAID[name]].first
        else:
            first = word
        section = sections[name] = placed(name, doc, fields, first)
        if name not in _OVERLAID:
            word = first + section.words
        elif section.words > sections[_OVERLAID[name]].words:
            raise ValueError(f"section {name} is longer than the section it shares words with")
    if word > DESCRIPTOR_WORDS:
        raise ValueError(f"descriptor needs {word} words, {DESCRIPTOR_WORDS} are there")
    return sections


SECTIONS: Mapping[str, Section] = _place()
"""All sections by name, placed."""

SECTION_OF_UNIT = {
    Unit.PIX: ("pix",),
    Unit.X: ("x",),
    Unit.S: ("s",),
    Unit.COMPUTE: ("c",),
    Unit.STORE: ("y", "yw", "yf"),
    Unit.UPDATE: ("u",),
    Unit.SOFTMAX: ("f",),
    Unit.VECTOR: ("v",),
}
"""Sections that a unit receives behind the prefix, contiguous words."""


def config_words(unit: Unit) -> tuple[int, int]:
    """First word and number of words that a unit receives behind the prefix."""
    sections = [SECTIONS[name] for name in SECTION_OF_UNIT[unit]]
    return sections[0].first, sum(section.words for section in sections)


TAP_FIELDS = (
    Field("voff", 16, f"X position of the tap; {_PAIR}"),
    Field("woff", 16, "weight offset of the tap in 128-byte blocks"),
    Field("abase", 16, "first accumulator group of the tap's sweeps"),
    Field("first", 1, "first tap of its accumulator groups: start from zero"),
    Field("mute", 1, "V is zero: the groups have no taps at all"),
)
"""Fields of one tap, packed from bit 0 of one word."""

CONV_PARAM_FIELDS = (
    Field("shift", 8, "right shift of the requantisation, 0..47"),
    Field("bias_shift", 8, "alignment of the bias: left if positive, right if negative", True),
    Field("limit", 16, "y.clip: largest result, unsigned; none from 32768"),
)
UPDATE_PARAM_FIELDS = (
    Field("g_shift", 8, "right shift of the gradient sum to Q7.24, plus 16; 0..63"),
    Field("w_shift", 8, "right shift of the Q3.28 master to the 16-bit copy, 0..31"),
    Field("lr_shift", 8, "right shift of lr * momentum to Q3.28, 0..47"),
    Field("nesterov", 1, "step by g + decay * w + momentum * v'; else by v'"),
    reserved("u_pad", 7),
    Field("lr", 16, "learning rate mantissa, unsigned"),
    reserved("u_pad2", 16),
    Field("momentum", 32, "momentum factor, unsigned Q0.16, up to 65536"),
    Field("decay", 32, "weight decay, unsigned Q0.20, below 65536"),
)
SOFTMAX_PARAM_FIELDS = (
    Field("z_shift", 8, "minus the exponent of the logits, 0..31"),
    Field("m_shift", 8, "squared error: right shift of logit minus target to the gradient, 0..31"),
    reserved("f_pad", 16),
    Field("valid", 32, "images that count; the others get zero gradients"),
    Field("t_off", 16, "cross-entropy: target of a class that is not the label's, unsigned Q0.16"),
    Field("t_drop", 16, "cross-entropy: what the label's target lacks to one, unsigned Q0.16"),
)
VECTOR_PARAM_FIELDS = (
    Field("shift", 8, "right shift of the requantisation, 0..47"),
    Field("drop_step", 24, "v_drop: training step, second word of the random bits' key"),
    Field("drop_seed", 32, "v_drop: seed of the training, first word of the key"),
    Field("limit", 16, "v_clip: largest result, unsigned; none from 32768. CURVE, SLOPE: table"),
    Field("a_scale", 24, "A of all channels, within +-(2**23 - 1)", True),
    Field("b_scale", 24, "B of all channels, within +-(2**23 - 1)", True),
)
NORM_PARAM_FIELDS = (
    Field("z_exp", 8, "exponent of the normalised map", True),
    Field("g_exp", 8, "exponent of its gradient", True),
    Field("a_exp", 8, "exponent of the coefficients A", True),
    Field("b_exp", 8, "exponent of the coefficients B", True),
    Field("c_exp", 8, "exponent of the coefficients C", True),
    reserved("n_pad", 24),
    Field("alpha", 32, "part by which running values move, unsigned Q0.16, up to 65536"),
)
PARAM_FIELDS = {
    Opcode.CONV: CONV_PARAM_FIELDS,
    Opcode.UPDATE: UPDATE_PARAM_FIELDS,
    Opcode.SOFTMAX: SOFTMAX_PARAM_FIELDS,
    Opcode.GRADIENT: UPDATE_PARAM_FIELDS,
    Opcode.VECTOR: VECTOR_PARAM_FIELDS,
    Opcode.NORM: NORM_PARAM_FIELDS,
    Opcode.POOL: VECTOR_PARAM_FIELDS,
}
"""Fields of a step-block entry by opcode, packed from bit 0 over two words."""


def _check(name: str, value: int, field: Field) -> int:
    low, high = (-(1 << field.bits - 1), (1 << field.bits - 1) - 1) if field.signed else (
        0, (1 << field.bits) - 1)
    if not low <= value <= high:
        raise ValueError(f"field {name}: expected {low}..{high}, found {value}")
    return value & ((1 << field.bits) - 1)


def section_names(opcode: Opcode) -> tuple[str, ...]:
    """The sections of a descriptor of ``opcode``, geometry included."""
    return {
        Opcode.FENCE: ("pre",),
        Opcode.CONV: ("pre", "pix", "x", "s", "c", "y", "yw", "yf", "gc", "g"),
        Opcode.UPDATE: ("pre", "u", "gc", "gu"),
        Opcode.SOFTMAX: ("pre", "f", "gc", "gf"),
        Opcode.GRADIENT: ("pre", "pix", "x", "s", "c", "y", "u", "gc", "g",
                          "gu"),
        Opcode.VECTOR: ("pre", "v", "gc", "gv"),
        Opcode.NORM: ("pre", "n", "gc", "gn"),
        Opcode.POOL: ("pre", "p", "gc", "gp"),
    }[opcode]


def places(opcode: Opcode) -> Iterator[tuple[str, Place]]:
    """Yield ``(section.element, place)`` of every element in descriptors of ``opcode``."""
    for name in section_names(opcode):
        for place in SECTIONS[name].places:
            yield f"{name}.{place.name}", place


@cache
def reserved_names(opcode: Opcode) -> tuple[str, ...]:
    """Return the ``section.element`` of every element that must be zero in ``opcode``."""
    return tuple(name for name, place in places(opcode) if place.field.reserved)


def pack_descriptor(values: Mapping[str, int]) -> bytes:
    """Pack ``{"section.element": value}`` (missing elements are 0) into a descriptor.

    Raises:
        ValueError: an unknown name or a value outside its field.
    """
    opcode = Opcode(values.get("pre.opcode", 0))
    words = [0] * DESCRIPTOR_WORDS
    known = dict(places(opcode))
    unknown = set(values) - set(known)
    if unknown:
        raise ValueError(f"unknown fields for {opcode.name}: {', '.join(sorted(unknown))}")
    for name, value in values.items():
        place = known[name]
        words[place.word] |= _check(name, int(value), place.field) << place.lsb
    return struct.pack(f"<{DESCRIPTOR_WORDS}Q", *words)


def unpack_descriptor(data: bytes) -> dict[str, int]:
    """Unpack a descriptor into ``{"section.element": value}``.

    Raises:
        ValueError: wrong length or unknown opcode.
    """
    if len(data) != DESCRIPTOR_BYTES:
        raise ValueError(f"a descriptor has {DESCRIPTOR_BYTES} bytes, found {len(data)}")
    words = struct.unpack(f"<{DESCRIPTOR_WORDS}Q", data)
    opcode = Opcode(words[0] & 0xFF)
    return {name: _extract(words, place.word, place.lsb, place.field)
            for name, place in places(opcode)}


def _extract(words: tuple[int, ...], word: int, lsb: int, field: Field) -> int:
    value = words[word] >> lsb & ((1 << field.bits) - 1)
    return value - (1 << field.bits) if field.signed and value >> (field.bits - 1) else value


def _pack_flat(fields: tuple[Field, ...], values: Mapping[str, int], words: int) -> bytes:
    unknown = set(values) - {field.name for field in fields}
    if unknown:
        raise ValueError(f"unknown fields: {', '.join(sorted(unknown))}")
    total = lsb = 0
    for field in fields:
        total |= _check(field.name, int(values.get(field.name, 0)), field) << lsb
        lsb += field.bits
    return total.to_bytes(WORD_BYTES * words, "little")


def _unpack_flat(fields: tuple[Field, ...], data: bytes) -> dict[str, int]:
    total, lsb, result = int.from_bytes(data, "little"), 0, {}
    for field in fields:
        result[field.name] = _extract((total,), 0, lsb, field)
        lsb += field.bits
    return result


def pack_tap(values: Mapping[str, int]) -> bytes:
    """Pack one tap into 8 bytes."""
    return _pack_flat(TAP_FIELDS, values, 1)


def unpack_tap(data: bytes) -> dict[str, int]:
    """Unpack one tap from 8 bytes."""
    return _unpack_flat(TAP_FIELDS, data)


def pack_params(opcode: Opcode, values: Mapping[str, int]) -> bytes:
    """Pack one step-block entry into 16 bytes."""
    return _pack_flat(PARAM_FIELDS[opcode], values, PARAM_WORDS)


def unpack_params(opcode: Opcode, data: bytes) -> dict[str, int]:
    """Unpack one step-block entry from 16 bytes."""
    return _unpack_flat(PARAM_FIELDS[opcode], data)


def pair(position: int) -> int:
    """Encode a position (may be negative) as a ternary pair of 16 bit: ``{q[13:0], r[1:0]}``."""
    q, r = divmod(position, 3)
    return (q & 0x3FFF) << 2 | r
