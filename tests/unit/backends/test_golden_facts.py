"""Numbers that golden states for itself, as a check of what makes programs: both must agree."""

from __future__ import annotations

import numpy as np

from pynq_train.backends.golden import norm, pool, post, scalar, vector
from pynq_train.backends.golden.activation import Activation
from pynq_train.hw.config import CONFIGS
from pynq_train.hw.layouts import COEFFICIENT
from pynq_train.hw.limits import NO_LIMIT
from pynq_train.hw.words import (
    ABSENT_WEIGHT,
    CHANNELS_PER_WORD,
    FLAG_MASK_PIXELS,
    FLAG_POOL_PIXELS,
    WORD_BYTES,
)
from pynq_train.quant import loss, policy, step
from pynq_train.run import formats


def test_widths() -> None:
    codes = {pool.CODE_BITS, scalar.CODE_BITS, vector.CODE_BITS, formats.OPERAND_BITS}
    assert codes == {8 * WORD_BYTES // CHANNELS_PER_WORD}
    assert post.TOP == formats.OPERAND_LIMIT < NO_LIMIT
    sums = {post.ACC_BITS, scalar.GRADIENT_BITS, vector.SUM_BITS, policy.MAX_SHIFT + 1}
    assert sums == {config.acc_bits for config in CONFIGS.values()}
    assert norm.MEASURE_TOP == (1 << post.ACC_BITS - 1) - 1
    assert ABSENT_WEIGHT == -(1 << scalar.MASTER_BITS - 1) < -formats.MASTER_LIMIT
    assert COEFFICIENT.at("a").field.bits == policy.COEFFICIENT_BITS + 1


def test_scales() -> None:
    assert scalar._PRE_SHIFT == step.GRADIENT_PRESHIFT
    assert 1 << loss._TARGET_BITS == scalar._TARGET_ONE


def test_flags() -> None:
    codes = np.ones((1, 1, FLAG_MASK_PIXELS, CHANNELS_PER_WORD), np.int16)
    words = np.ascontiguousarray(codes).view(np.int64)[..., 0][None]
    flags = np.zeros((1, 1, 1, WORD_BYTES), np.uint8)
    relu = Activation(relu=True, clips=False, above_zero=True)
    post.store_mask_flags(flags, words, relu)
    assert (flags == 0xFF).all(), "the flags of so many pixels fill a word"
    _, pooled = post.pool_2x2(np.ones((1, 2, 2 * FLAG_POOL_PIXELS, CHANNELS_PER_WORD), np.int16),
                              relu)
    assert pooled.nbytes == WORD_BYTES
