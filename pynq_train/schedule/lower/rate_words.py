"""The fields of a step block that the optimizer says: all but the rate are mostly the same."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from pynq_train.hw.commands import PARAM_FIELDS, PARAM_WORDS, Opcode
from pynq_train.hw.words import WORD_BITS
from pynq_train.quant.array_policy import Ints
from pynq_train.quant.step import SgdStep, rate_fields, sgd_fields


@lru_cache(maxsize=256)
def place_of(opcode: Opcode, name: str) -> tuple[int, int, int, bool]:
    """Return word, lowest bit, bits and signedness of a field of a step-block entry."""
    lsb = 0
    for field in PARAM_FIELDS[opcode]:
        if field.name == name:
            word, bit = divmod(lsb, WORD_BITS)
            if bit + field.bits > WORD_BITS:
                raise ValueError(f"field {name} of {opcode.name} crosses a word")
            return word, bit, field.bits, field.signed
        lsb += field.bits
    raise ValueError(f"{opcode.name} has no field {name}")


class RateWords:
    """The optimizer's fields of all updates of a step block.

    Args:
        updates: of each: layer, 0 for weights (or gamma) or 1 for biases (or beta), entry of the
            step block, and whether it decays.
        count: words of the step block.
    """

    def __init__(self, updates: Sequence[tuple[int, int, int, bool]], count: int) -> None:
        self._updates, self._count = updates, count
        self._same_for: tuple[object, ...] = ()
        self._fixed = self._sum = np.zeros(0, np.int64)
        self._sum_with: Ints | None = None
        self._value, self._product = np.zeros(1, np.int64), np.zeros(count, np.int64)
        self._groups: list[tuple[float, Ints]] = []
        (self._word, self._rate, *_), (word, self._shift, *_) = (
            place_of(Opcode.UPDATE, name) for name in ("lr", "lr_shift"))
        if word != self._word:
            raise ValueError("fields lr and lr_shift of UPDATE: expected both in one word")

    def add_to(self, words: Ints, sgd: SgdStep, fold: float, out: Ints) -> Ints:
        """Return ``out``, the words of a step block with these fields.

        Args:
            words: the step block without these fields; what it holds must not change.
            sgd: the optimizer's values.
            fold: factor that the gradients of the loss lack.
            out: words of a step block, which are overwritten.

        Raises:
            BadInput: a value is out of the range of its field.
        """
        fold *= (1 << sgd.parts.bit_length() - 1) / sgd.parts
        # All but the rate is mostly the same from step to step.
        key = (sgd.momentum, sgd.decay, sgd.nesterov, sgd.part, sgd.parts, fold, sgd.factors)
        if key != self._same_for:
            self._same_for, self._sum_with = (), None
            self._prepare(sgd, fold)
            self._same_for = key
        if words is not self._sum_with:
            self._sum_with, self._sum = words, words + self._fixed
        words = self._sum
        for factor, pattern in self._groups:
            rate, shift = rate_fields(sgd, fold, factor)
            # NumPy takes an array of one number sooner than the number.
            self._value[0] = rate << self._rate | shift << self._shift
            np.multiply(pattern, self._value, out=self._product)
            words = np.add(words, self._product, out=out)
        if words is not out:  # nothing learns
            out[:] = words
        return out

    def _prepare(self, sgd: SgdStep, fold: float) -> None:
        """Make the words without the rates, and the pattern of the words that have a rate."""
        self._fixed = np.zeros(self._count, np.int64)
        patterns: dict[float, Ints] = {}
        for layer, which, entry, decays in self._updates:
            factor = sgd.factors[layer][which] if sgd.factors else 1.0
            pattern = patterns.setdefault(factor, np.zeros(self._count, np.int64))
            values = sgd_fields(sgd, fold, factor)
            values.update(lr=0, lr_shift=0)
            if not decays:
                values["decay"] = 0
            for name, value in values.items():
                word, lsb, bits, _ = place_of(Opcode.UPDATE, name)
                if not 0 <= value < 1 << bits:
                    raise ValueError(f"field {name}: expected 0..{(1 << bits) - 1}, found {value}")
                self._fixed[PARAM_WORDS * entry + word] |= value << lsb
            pattern[PARAM_WORDS * entry + self._word] = 1
        self._groups = list(patterns.items())
