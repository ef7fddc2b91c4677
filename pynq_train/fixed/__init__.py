"""Fixed-point arithmetic: rounding, saturation, formats, random bits. Imports nothing of ours."""

from pynq_train.fixed.arith import (
    align,
    align_int,
    requantise,
    requantise_int,
    rne_shift,
    rne_shift_int,
    saturate,
    saturate_int,
    wrap,
    wrap_int,
)
from pynq_train.fixed.counter_hash import drop_threshold, element_bits, keep_map, keep_words
from pynq_train.fixed.qformat import QFormat

__all__ = [
    "QFormat",
    "align",
    "align_int",
    "drop_threshold",
    "element_bits",
    "keep_map",
    "keep_words",
    "requantise",
    "requantise_int",
    "rne_shift",
    "rne_shift_int",
    "saturate",
    "saturate_int",
    "wrap",
    "wrap_int",
]
