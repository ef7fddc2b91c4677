"""Words in memory that units and host exchange: result records, coefficients, masters, flags.

The same fields become packed structs of the RTL (``emit.abi_sv``) and masks of golden.
"""

from __future__ import annotations

from collections.abc import Mapping

from pynq_train.hw.commands import RECORD_WORDS
from pynq_train.hw.curves import OFFSET_BITS, SLOPE_BITS, WIDTH_BITS
from pynq_train.hw.fields import Field, Section, placed, reserved
from pynq_train.hw.pool import ARGMAX_PIXELS
from pynq_train.hw.words import CHANNELS_PER_WORD, FLAG_MASK_PIXELS

_STAMPS = (
    Field("start_cycle", 32, "MODE.PROFILE: cycle in which the unit that writes the record starts"),
    reserved("start_pad", 32),
    Field("end_cycle", 32, "MODE.PROFILE: cycle in which it begins the record"),
    reserved("end_pad", 32),
)

_LAYOUTS: tuple[tuple[str, str, tuple[Field, ...]], ...] = (
    (
        "record", "result record of all opcodes but SOFTMAX",
        (
            Field("measure", 48, "OR of the magnitudes before saturation"),
            reserved("measure_pad", 16),
            Field("saturations", 32, "elements that were saturated"),
            reserved("saturations_pad", 32),
            *_STAMPS,
        ),
    ),
    (
        "softmax_record", "result record of SOFTMAX",
        (
            Field("loss", 64, "sum of the losses", True),
            Field("correct", 32, "images whose largest logit is that of their label"),
            reserved("correct_pad", 32),
            *_STAMPS,
        ),
    ),
    (
        "coefficient", "coefficients of a channel: written by NORM, read by VECTOR",
        (
            Field("a", 24, "A, within +-(2**23 - 1)", True),
            reserved("a_pad", 8),
            Field("b", 24, "B, likewise", True),
            reserved("b_pad", 8),
            Field("c", 48, "C, within +-(2**47 - 1)", True),
            reserved("c_pad", 16),
        ),
    ),
    (
        "segment", "segment of a curve: one of a table that VECTOR reads",
        (
            Field("a", SLOPE_BITS, "slope, exponent -18, within +-(2**19 - 1)", True),
            Field("c", OFFSET_BITS, "offset, with the exponent of the map times that of slopes",
                  True),
            Field("width", WIDTH_BITS, "binary logarithm of the codes of a segment, the same in "
                  "all of a table"),
        ),
    ),
    (
        "master", "weight and momentum of an element",
        (
            Field("weight", 32, "Q3.28; the most negative one is absent", True),
            Field("momentum", 32, "Q7.24", True),
        ),
    ),
    (
        "plain_master", "weights of two elements, without momentum",
        (Field("weight", 32, "Q3.28; the most negative one is absent", True, 2),),
    ),
    (
        "number", "a soft float: significand * 2**exponent, the top bit of the significand set or "
        "all of it zero",
        (
            Field("significand", 31, "unsigned"),
            Field("sign", 1, "the number is negative"),
            Field("exponent", 16, "power of two", True),
        ),
    ),
    (
        "mask_flags", "flags without pooling",
        (Field("mask", CHANNELS_PER_WORD, "the gradient passes, a bit per channel; pixel", False,
               FLAG_MASK_PIXELS),),
    ),
    (
        "pool_flag", "flags of a pooled pixel, four in a word",
        (
            Field("mask", CHANNELS_PER_WORD, "the gradient passes, a bit per channel"),
            Field("index", 2, "place in the window, {row, column}; channel", False,
                  CHANNELS_PER_WORD),
            reserved("flag_pad", 4),
        ),
    ),
    (
        "argmax", "argmax indices of the pooling pass",
        (Field("index", 4, "3 * row + column in the window; element 4 * pixel + channel", False,
               ARGMAX_PIXELS * CHANNELS_PER_WORD),),
    ),
)

LAYOUTS: Mapping[str, Section] = {one[0]: placed(*one) for one in _LAYOUTS}
"""All layouts by name, from word 0 on."""

RECORD, SOFTMAX_RECORD = LAYOUTS["record"], LAYOUTS["softmax_record"]
COEFFICIENT, MASTER, NUMBER = LAYOUTS["coefficient"], LAYOUTS["master"], LAYOUTS["number"]
SEGMENT = LAYOUTS["segment"]
POOL_FLAG = LAYOUTS["pool_flag"]

if {RECORD.words, SOFTMAX_RECORD.words} != {RECORD_WORDS}:
    raise ValueError(f"a record has {RECORD_WORDS} words")
