"""Bit fields of descriptors, and where they stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pynq_train.hw.words import WORD_BITS


@dataclass(frozen=True)
class Field:
    """A bit field, or ``count`` equal ones. Placed by its section.

    Attributes:
        name: name; a reserved word of SystemVerilog, C or Python is refused by the generator.
        bits: width of one element.
        doc: meaning and unit.
        signed: two's complement.
        count: number of elements; names then end in an index.
        reserved: bits without a meaning yet; they stand as zero and the verifier refuses others.
    """

    name: str
    bits: int
    doc: str
    signed: bool = False
    count: int = 1
    reserved: bool = False


def reserved(name: str, bits: int) -> Field:
    """Return a field of ``bits`` bits that stand as zero."""
    return Field(name, bits, "zero", reserved=True)


@dataclass(frozen=True)
class Place:
    """Where one element of a field stands in a descriptor."""

    field: Field
    name: str
    word: int
    lsb: int


    @property
    def shift(self) -> int:
        """Bits between the lowest one of the whole run of words and that of the element."""
        return WORD_BITS * self.word + self.lsb

    @property
    def mask(self) -> int:
        """The bits of the element, moved down to bit 0."""
        return (1 << self.field.bits) - 1

    def insert(self, values: Any) -> Any:
        """Return ``values`` (an integer or an int64 array) at the element's place in its word."""
        return (values & self.mask) << self.lsb

    def extract(self, words: Any) -> Any:
        """Return the element of its word, or of an int64 array of such words."""
        value = words >> self.lsb & self.mask
        if self.field.signed:
            sign = 1 << self.field.bits - 1
            value = (value ^ sign) - sign
        return value


@dataclass(frozen=True)
class Section:
    """A run of words with fields; ``first`` is its first word in the descriptor."""

    name: str
    doc: str
    first: int
    words: int
    places: tuple[Place, ...]

    def at(self, name: str) -> Place:
        """The place of the element ``name``.

        Raises:
            KeyError: no such element.
        """
        return {place.name: place for place in self.places}[name]


def placed(name: str, doc: str, fields: tuple[Field, ...], first: int = 0) -> Section:
    """Return the fields one behind the other from word ``first`` on, none across two words."""
    at, places = first * WORD_BITS, []
    for field in fields:
        for index in range(field.count):
            if at // WORD_BITS != (at + field.bits - 1) // WORD_BITS:
                at = -(-at // WORD_BITS) * WORD_BITS
            label = field.name if field.count == 1 else f"{field.name}{index}"
            places.append(Place(field, label, at // WORD_BITS, at % WORD_BITS))
            at += field.bits
    return Section(name, doc, first, -(-at // WORD_BITS) - first, tuple(places))
