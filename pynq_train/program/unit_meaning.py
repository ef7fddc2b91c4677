"""What the geometry of the small units says, to compare with the sections that they obey.

:mod:`pynq_train.program.meaning` does this for convolutions. Here are the vector unit with its
normalisations and poolings, the update unit, and the softmax unit.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pynq_train.hw.commands import Opcode
from pynq_train.hw.curves import Factor, curve_bytes
from pynq_train.hw.norm import NormProgram
from pynq_train.hw.pool import ARGMAX_PIXELS
from pynq_train.hw.words import (
    CHANNELS_PER_WORD,
    FLAG_MASK_PIXELS,
    WORD_BYTES,
    ceil_div,
    master_bytes,
)
from pynq_train.program.meaning import strided_words
from pynq_train.program.program import Fields
from pynq_train.program.spans import Spans

_LINE = CHANNELS_PER_WORD * WORD_BYTES
"""Bytes of a word for each channel of a channel block."""
_SIGNIFICAND = 31
"""Bits of the significand of a soft float."""
_MASK32 = (1 << 32) - 1

_VECTOR_MODES = {
    "v_b": "has_b", "v_spread": "spread", "v_reduce": "reduce", "v_write": "write",
    "v_sums": "has_sums", "v_square": "square", "v_table": "a_table", "v_btable": "b_table",
    "v_relu": "relu", "v_clip": "clip", "v_flags": "flags", "v_mask_a": "mask_a",
    "v_mask_b": "mask_b", "v_drop": "drop", "v_factor": "factor", "k_log": "segments",
    "v_lanes": "lanes"}
_POOL_SIZES = {
    "p_rows": "rows", "p_cols": "cols", "q_rows": "q_rows", "q_cols": "q_cols",
    "p_blocks": "blocks", "p_kernel": "kernel", "p_stride": "stride", "p_top": "top",
    "p_left": "left", "p_back": "back", "p_argmax": "keep"}
_PROGRAMS = {(0, 0): NormProgram.FORWARD, (0, 1): NormProgram.FORWARD_FROZEN,
             (1, 0): NormProgram.BACKWARD, (1, 1): NormProgram.BACKWARD_FROZEN}
_OF_GROUPS = {0: NormProgram.FORWARD_GROUP, 1: NormProgram.BACKWARD_GROUP}


@dataclass(frozen=True)
class Agreement:
    """A field that the hardware obeys and what the geometry says it must be.

    Attributes:
        what: what it is, for messages.
        field: its ``section.element``.
        expected: its value.
        address: it is a byte offset of the arena, that of ``what``.
    """

    what: str
    field: str
    expected: int
    address: bool = False


Touched = tuple[str, bool, Spans]
"""Name of an access, whether it writes, and its bytes."""


def vector_sizes(f: Fields) -> tuple[int, int, int]:
    """Return images, channel blocks and words of a plane of VECTOR, as the unit goes through them.

    The images of a dense map are the words of one plane. Of a group normalisation the channel
    blocks of a group stand for images, each image's groups for channel blocks.
    """
    count, pixels, blocks = f["gc.count"], f["gv.pixels"], f["gv.blocks"]
    if f["gv.group"]:
        together = _together(f["gv.group"])
        return together, count * blocks // together, pixels
    return (1, blocks, count * pixels) if f["gv.dense"] else (count, blocks, pixels)


def _together(group: int) -> int:
    """Return the channel blocks that a group of channels has, 1 where a block holds several."""
    return max(group // CHANNELS_PER_WORD, 1)


def touched_by_units(f: Fields) -> Iterator[Touched]:
    """Yield every access that the geometry of a descriptor names, without that of its record.

    Of a GRADIENT it yields what the update unit does.
    """
    opcode = Opcode(f["pre.opcode"])
    if opcode == Opcode.VECTOR:
        yield from _vector_touched(f)
    elif opcode == Opcode.NORM:
        yield from _norm_touched(f)
    elif opcode == Opcode.POOL:
        yield from _pool_touched(f)
    elif opcode == Opcode.SOFTMAX:
        images = f["gc.count"]
        size = ceil_div(f["gf.classes"], CHANNELS_PER_WORD) * images * WORD_BYTES
        yield "logits", False, Spans.one(f["gf.logits"], size)
        yield "labels", False, Spans.one(f["gf.labels"], images * WORD_BYTES)
        if f["gf.grad"]:
            yield "logit gradients", True, Spans.one(f["gf.gradient"], size)
    elif opcode in (Opcode.UPDATE, Opcode.GRADIENT):
        count = f["gu.elements"]
        if opcode == Opcode.UPDATE:
            yield "gradient sums", False, Spans.one(f["gu.sums"], count * WORD_BYTES)
        masters = Spans.one(f["gu.masters"], count * master_bytes(not f["gu.plain"]))
        yield "masters", False, masters
        yield "masters", True, masters
        if f["gu.copies"]:
            yield "16-bit copy", True, Spans.one(f["gu.copy"], 2 * count)


def _vector_touched(f: Fields) -> Iterator[Touched]:
    images, blocks, words = vector_sizes(f)

    def spans(name: str, one: bool = False) -> Spans:
        """Bytes of a map; ``one``: it has one word for all pixels of a channel block."""
        image, block = f[f"gv.{name}_image"], f[f"gv.{name}_block"]
        step = image if f["gv.dense"] else WORD_BYTES
        shape = (images, blocks, 1 if one else words)
        if f["gv.group"]:
            shape = (f["gc.count"], f["gv.blocks"], words)
        return strided_words(f[f"gv.{name}"] + f["gc.first"] * image, shape, (image, block, step))

    yield "map a", False, spans("a")
    if f["gv.has_b"]:
        spread = bool(f["gv.spread"])
        yield "spread map b" if spread else "map b", False, spans("b", spread)
    if f["gv.flags"] or f["gv.mask_a"] or f["gv.mask_b"]:
        yield "flags", bool(f["gv.flags"]), flag_spans(f)
    if f["gv.a_table"] or f["gv.b_table"]:
        yield "coefficients", False, Spans.one(f["gv.coefs"] + _of_images(f),
                                               2 * _LINE * blocks)
    if f["gv.factor"] in (Factor.CURVE, Factor.SLOPE):
        yield "curve", False, Spans.one(f["gv.coefs"], curve_bytes(f["gv.segments"]))
    if f["gv.write"]:
        reduced = bool(f["gv.reduce"])
        yield "reduced result" if reduced else "result", True, spans("y", reduced)
    if f["gv.has_sums"]:
        at = f["gv.sums"] + (_of_images(f) or f["gc.part"] * f["gv.part_bytes"])
        yield "sums", True, Spans.one(at, 2 * _LINE * blocks)


def _of_images(f: Fields) -> int:
    """Return the bytes of sums or coefficients of the images before a descriptor's first one.

    It is 0 where all images share them.
    """
    if not f["gv.group"]:
        return 0
    own: int = f["gv.blocks"] // _together(f["gv.group"]) * 2 * _LINE
    return f["gc.first"] * own


def flag_spans(f: Fields) -> Spans:
    """Return the bytes of the flags of a VECTOR descriptor."""
    images, blocks, words = vector_sizes(f)
    if f["gv.group"]:
        images, blocks = f["gc.count"], f["gv.blocks"]
    image, block = f["gv.m_image"], f["gv.m_block"]
    # Those of a dense map stand in the order of its words, from image 0 on.
    first = 0 if f["gv.dense"] else f["gc.first"]
    return strided_words(f["gv.m"] + first * image,
                         (images, blocks, ceil_div(words, FLAG_MASK_PIXELS)),
                         (image, block, WORD_BYTES))


def _norm_touched(f: Fields) -> Iterator[Touched]:
    line = _LINE * _norm_blocks(f)
    back, frozen, grouped = bool(f["gn.back"]), bool(f["gn.frozen"]), bool(f["gn.group"])

    def one(name: str, size: int) -> Spans:
        return Spans.one(f[f"gn.{name}"], size)

    if back or not frozen:
        parts = [Spans.one(f["gn.sums"] + part * f["gn.part_bytes"], 2 * line)
                 for part in range(f["gn.parts"])]
        yield "sums", False, Spans.union(parts)
    if not grouped:
        yield "masters", False, Spans.union([one("gamma", line), one("beta", line)])
    if grouped:
        pass  # gamma 1, beta 0, no running statistics
    elif back:
        yield "gradients", True, Spans.union([one("d_gamma", line), one("d_beta", line)])
    else:
        yield "running statistics", False, one("running", 2 * line)
        if not frozen:
            yield "running statistics", True, one("running", 2 * line)
    yield "statistics", not back, one("kept", 2 * line)
    yield "coefficients", True, one("coefs", 2 * line)


def _norm_blocks(f: Fields) -> int:
    """Return the channel blocks of NORM; those of all images where each has its own statistics."""
    blocks: int = f["gn.blocks"]
    return f["gc.count"] * blocks // _together(f["gn.group"]) if f["gn.group"] else blocks


def _pool_touched(f: Fields) -> Iterator[Touched]:
    back, pooled = bool(f["gp.back"]), f["gp.q_rows"] * f["gp.q_cols"]

    def spans(name: str, words: int) -> Spans:
        image, block = f[f"gp.{name}_image"], f[f"gp.{name}_block"]
        return strided_words(f[f"gp.{name}"] + f["gc.first"] * image,
                             (f["gc.count"], f["gp.blocks"], words), (image, block, WORD_BYTES))

    large, small = spans("map", f["gp.rows"] * f["gp.cols"]), spans("pooled", pooled)
    yield "map that it reads", False, small if back else large
    yield "map that it writes", True, large if back else small
    if back or f["gp.keep"]:
        yield "argmax indices", not back, spans("argmax", ceil_div(pooled, ARGMAX_PIXELS))


def agreements(f: Fields) -> Iterator[Agreement]:
    """Yield every field of a descriptor that says the same as its geometry, with what that says."""
    opcode = Opcode(f["pre.opcode"])
    yield Agreement("step-block entry", "pre.param", f["gc.entry"])
    yield Agreement("record", "pre.rec_off", f["gc.record"], True)
    if opcode == Opcode.VECTOR:
        yield from _vector_agreements(f)
    elif opcode == Opcode.NORM:
        yield from _norm_agreements(f)
    elif opcode == Opcode.POOL:
        yield Agreement("images", "p.p_images", f["gc.count"])
        for name, meaning in _POOL_SIZES.items():
            yield Agreement(f"gp.{meaning}", f"p.{name}", f[f"gp.{meaning}"])
        for name in ("kernel", "stride"):
            yield Agreement(f"gp.{name} + gp.{name}_wider", f"p.p_{name}_cols",
                            f[f"gp.{name}"] + f[f"gp.{name}_wider"])
    elif opcode == Opcode.SOFTMAX:
        for what, name, value in (("images", "f_batch", f["gc.count"]),
                                  ("classes", "f_classes", f["gf.classes"]),
                                  ("gf.grad", "f_grad", f["gf.grad"]),
                                  ("gf.mse", "f_mse", f["gf.mse"])):
            yield Agreement(what, f"f.{name}", value)
    elif opcode in (Opcode.UPDATE, Opcode.GRADIENT):
        yield Agreement("elements", "u.u_count", f["gu.elements"])
        yield Agreement("gu.plain", "u.u_plain", f["gu.plain"])
        yield Agreement("gu.copies", "u.u_copy", f["gu.copies"])
        if opcode == Opcode.GRADIENT:
            yield Agreement("live rows of an m tile", "u.u_rows", f["gu.rows"])


def _vector_agreements(f: Fields) -> Iterator[Agreement]:
    images, blocks, words = vector_sizes(f)
    yield Agreement("images", "v.v_images", images)
    yield Agreement("channel blocks", "v.v_blocks", blocks)
    yield Agreement("words of a plane", "v.v_words", words)
    for name, meaning in _VECTOR_MODES.items():
        yield Agreement(f"gv.{meaning}", f"v.{name}", f[f"gv.{meaning}"])
    if not f["gv.drop"]:
        return
    first, whole = f["gc.first"], blocks * words
    # Words count in the order (image, channel block, pixel); a dense map has one pixel.
    steps = (first * whole, 1, whole - words + 1, 1 - (images - 1) * whole)
    if f["gv.dense"]:
        steps = (first * blocks, blocks, 0, 1 - (words - 1) * blocks)
    values = {"d_first": steps[0] & _MASK32, "d_step": steps[1], "d_image": steps[2],
              "d_block": steps[3], "d_least": f["gv.least"], "d_tensor": f["gv.tensor"]}
    for name, value in values.items():
        yield Agreement("numbers of a dropout's words" if name in ("d_first", "d_step", "d_image",
                                                                   "d_block")
                        else "dropout", f"v.{name}", value)


def _norm_agreements(f: Fields) -> Iterator[Agreement]:
    program = _PROGRAMS[f["gn.back"], f["gn.frozen"]]
    group = f["gn.group"]
    if group:
        program = _OF_GROUPS[f["gn.back"]]
        yield Agreement(f"a group of {group} channels", "n.n_join",
                        min(group, CHANNELS_PER_WORD) - 1)
    else:
        yield Agreement("channels by themselves", "n.n_join", 0)
    yield Agreement("gn.back and gn.frozen", "n.n_program", int(program))
    yield Agreement("channel blocks", "n.n_blocks", _norm_blocks(f))
    if program != NormProgram.FORWARD_FROZEN:
        yield Agreement("parts of the sums", "n.n_parts", f["gn.parts"])
        yield Agreement("sums", "n.s_off", f["gn.sums"], True)
        if f["gn.parts"] > 1:
            yield Agreement("sums of a part", "n.n_step", f["gn.part_bytes"])
    # Which of two tensors stands where: their bytes together do not say that.
    if not group:
        yield Agreement("masters of gamma", "n.p_off", f["gn.gamma"], True)
        yield Agreement("bytes from gamma to beta", "n.p_step", f["gn.beta"] - f["gn.gamma"])
    if f["gn.back"] and not group:
        yield Agreement("gradient of gamma", "n.d_off", f["gn.d_gamma"], True)
        yield Agreement("bytes from gamma to beta", "n.p_step", f["gn.d_beta"] - f["gn.d_gamma"])
    count = (group or f["gc.count"]) * f["gn.pixels"]
    (eps,) = struct.unpack("<d", struct.pack("<Q", f["gn.eps"]))
    constants = {"mean": 1 / max(count, 1), "var": count / (count - 1) if count > 1 else 0.0,
                 "eps": eps}
    what = {"mean": f"1 / {count} elements of the statistics",
            "var": f"elements / (elements - 1) of {count}", "eps": f"epsilon {eps}"}
    for name, value in constants.items():
        fraction, exponent = math.frexp(value)
        yield Agreement(what[name], f"n.n_{name}_m", int(fraction * (1 << _SIGNIFICAND)))
        yield Agreement(what[name], f"n.n_{name}_e", exponent - _SIGNIFICAND if value else 0)
