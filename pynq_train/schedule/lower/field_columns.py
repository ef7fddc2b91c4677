"""Fields of step-block entries that follow from exponents: all of them in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pynq_train.hw.commands import PARAM_WORDS, Opcode
from pynq_train.quant.array_policy import Ints
from pynq_train.schedule.lower.rate_words import place_of

NO_BOUND = 1 << 40
"""A bound that no value reaches."""
_LARGEST_POWER = 62
_POWERS = np.array([0, *(1 << power for power in range(_LARGEST_POWER + 1))], np.int64)
"""What a map is multiplied by, by the exponent of that power of two plus one: 0 for a map so fine
that a factor of one is too much."""


@dataclass
class _Column:
    """A field of some entries; see :meth:`FieldColumns.add`."""

    words: list[int]
    lsb: int
    low: list[int]
    high: list[int]
    mask: int
    terms: tuple[list[int], list[int], list[int]]
    add: list[int]
    least: int
    most: int
    scaled: int
    table: Ints | None = None

    def each(self, value: int | list[int]) -> list[int]:
        """Return a value for each entry."""
        return value if isinstance(value, list) else [value] * len(self.words)


class FieldColumns:
    """Fields of step-block entries, gathered column by column, that are packed together.

    A value is ``exponent - exponent - exponent + constant`` within bounds, or what a table says of
    that.

    Args:
        zero: place of a 0 among the exponents.
    """

    def __init__(self, zero: int) -> None:
        self._zero = zero
        self._columns: list[_Column] = []

    def add(self, opcode: Opcode, name: str, entries: Sequence[int], plus: Sequence[int] = (),
            minus: Sequence[int] = (), less: Sequence[int] = (), *, constant: int = 0,
            least: int = -NO_BOUND, most: int = NO_BOUND, scaled: int = 0) -> None:
        """Add a field of some entries.

        Args:
            opcode: of the entries.
            name: of the field.
            entries: the entries.
            plus, minus, less: places of exponents of each entry, the two last ones subtracted; none
                for 0.
            constant: is added.
            least, most: bounds of the values.
            scaled: times the scale of a step (see :meth:`pack`) is added as well.
        """
        word, lsb, bits, signed = place_of(opcode, name)
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        count = len(entries)
        terms = tuple(list(one) or [self._zero] * count for one in (plus, minus, less))
        assert len(terms) == 3 and {len(one) for one in terms} == {count}, name
        self._columns.append(_Column(
            [PARAM_WORDS * entry + word for entry in entries], lsb, [low] * count, [high] * count,
            (1 << bits) - 1, terms, [constant] * count, least, most, scaled))

    def add_powers(self, opcode: Opcode, name: str, entries: Sequence[int], plus: Sequence[int],
                   minus: Sequence[int]) -> None:
        """Add a field that is ``2**(exponent - exponent)``, 0 where that is below one."""
        self.add(opcode, name, entries, plus, minus, constant=1, least=0, most=_LARGEST_POWER + 1)
        column = self._columns[-1]
        column.low = [0] * len(entries)
        column.high = [high.bit_length() for high in column.high]
        column.table = _POWERS

    def add_looked_up(self, opcode: Opcode, name: str, entries: Sequence[int],
                      plus: Sequence[int], rows: Sequence[int], table: Ints) -> None:
        """Add a field that a row of a table says.

        Args:
            opcode, name, entries, plus: as in :meth:`add`.
            rows: of each entry.
            table: ``(rows, n)``, what the field is for the exponents ``-n / 2`` on.
        """
        self.add(opcode, name, entries, plus)
        column, size = self._columns[-1], table.shape[1]
        if table.size and not 0 <= table.min() <= table.max() <= column.mask:
            raise ValueError(f"field {name}: expected 0..{column.mask}, found {table.max()}")
        column.low = [size * row for row in rows]
        column.high = [low + size - 1 for low in column.low]
        column.add = [low + size // 2 for low in column.low]
        column.table = table.reshape(-1)

    def finish(self) -> None:
        """Make the arrays: no more columns."""
        tables: list[Ints] = []
        for column in self._columns:
            if column.table is not None and all(column.table is not one for one in tables):
                tables.append(column.table)
        # Those of one table stand together.
        ordered = [one for one in self._columns if one.table is None]
        self._lookups: list[tuple[slice, Ints]] = []
        for table in tables:
            first = sum(len(one.words) for one in ordered)
            ordered += [one for one in self._columns if one.table is table]
            end = sum(len(one.words) for one in ordered)
            if end > first:
                self._lookups.append((slice(first, end), table))
        words, shift, low, high, mask, add, least, most, scaled = (
            np.array([value for column in ordered for value in column.each(of(column))], np.int64)
            for of in (lambda c: c.words, lambda c: c.lsb, lambda c: c.low, lambda c: c.high,
                       lambda c: c.mask, lambda c: c.add, lambda c: c.least, lambda c: c.most,
                       lambda c: c.scaled))
        # Of the processor's size, as all that is looked up by take(): 32 bits on a Zynq-7000.
        self._plus, self._minus, self._less = (
            np.array([place for column in ordered for place in column.terms[at]], np.intp)
            for at in range(3))
        order = np.argsort(words, kind="stable")
        self._order = order.astype(np.intp)
        self.targets, self._starts = np.unique(words[order], return_index=True)
        self._shift, self._low, self._high, self._mask = shift, low, high, mask
        self._add, self._least, self._most, self._scaled = add, least, most, scaled

    def pack(self, vector: Ints, scale: int) -> Ints | None:
        """Return the words ``targets``; None if a value does not fit its field.

        Args:
            vector: the exponents.
            scale: bits by which gradients are scaled down.
        """
        values: Ints = vector.take(self._plus)
        values -= vector.take(self._minus)
        values -= vector.take(self._less)
        values += self._add + scale * self._scaled if scale else self._add
        np.maximum(values, self._least, out=values)
        np.minimum(values, self._most, out=values)
        if np.count_nonzero((values < self._low) | (values > self._high)):
            return None
        for where, table in self._lookups:
            values[where] = table.take(values[where].astype(np.intp))
        values &= self._mask
        values <<= self._shift
        packed: Ints = np.bitwise_or.reduceat(values.take(self._order), self._starts)
        return packed
