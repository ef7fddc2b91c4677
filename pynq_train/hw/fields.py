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
    """

    name: str
    bits: int
    doc: str
    signed: bool = False
    count: int = 1


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
