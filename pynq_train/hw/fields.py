"""Bit fields of descriptors, and where they stand."""

from __future__ import annotations

from dataclasses import dataclass


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


@dataclass(frozen=True)
class Section:
    """A run of words with fields; ``first`` is its first word in the descriptor."""

    name: str
    doc: str
    first: int
    words: int
    places: tuple[Place, ...]
