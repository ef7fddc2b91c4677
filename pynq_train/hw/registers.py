"""Register map of the engine, as data. Every register is 32 bit and free of read side effects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

ABI_VERSION = 5
ID_VALUE = 0x5054_5231  # "PTR1"
REGISTER_BITS = 32


class RegisterAccess(IntEnum):
    """Who writes a register."""

    READ_ONLY = 0
    READ_WRITE = 1
    WRITE_PULSE = 2


class Status(IntEnum):
    """Status codes of the ERROR field."""

    OK = 0
    OUTSIDE_ARENA = 1
    SLAVE_ERROR = 2
    DECODE_ERROR = 3
    ILLEGAL_DESCRIPTOR = 4
    STRAY_ANSWER = 5
    NOT_ARMED = 6


class ErrorSource(IntEnum):
    """Where an error was found: the SOURCE field. AXI ports by their number, reads and writes."""

    READ0 = 0
    READ1 = 1
    READ2 = 2
    READ3 = 3
    WRITE0 = 4
    WRITE1 = 5
    WRITE2 = 6
    WRITE3 = 7
    SEQUENCER = 8


@dataclass(frozen=True)
class BitField:
    """A field of a register; ``values``: what it can hold, if these have names."""

    name: str
    lsb: int
    bits: int
    doc: str
    values: type[IntEnum] | None = None


@dataclass(frozen=True)
class Register:
    """One register at a byte offset."""

    name: str
    offset: int
    access: RegisterAccess
    doc: str
    fields: tuple[BitField, ...] = ()


_RO, _RW, _WP = RegisterAccess.READ_ONLY, RegisterAccess.READ_WRITE, RegisterAccess.WRITE_PULSE

REGISTERS = (
    Register("ID", 0x000, _RO, "constant 0x50545231"),
    Register("ABI", 0x004, _RO, "version of registers and descriptors"),
    Register("HASH", 0x008, _RO, "first 32 bit of the contract hash"),
    Register(
        "CTRL", 0x010, _WP, "commands; reads as zero",
        (
            BitField("START", 0, 1, "run the program, if one write of PROGRAM_COUNT, the last of "
                     "all, armed it; else fail with NOT_ARMED, if at rest"),
            BitField("RESUME", 1, 1, "step mode: go on with the next descriptor"),
            BitField("SOFT_RESET", 2, 1, "complete outstanding bursts, then reset the engine"),
            BitField("CLEAR", 3, 1, "clear DONE and the interrupt"),
        ),
    ),
    Register(
        "STATUS", 0x014, _RO, "state",
        (
            BitField("BUSY", 0, 1, "a program is running"),
            BitField("DONE", 1, 1, "the program has ended"),
            BitField("HALTED", 2, 1, "step mode: waits for RESUME"),
            BitField("FAILED", 3, 1, "the program has ended with an error"),
            BitField("STRAY", 4, 1, "STRAYS is not zero"),
            BitField("ERROR", 8, 8, "what happened", Status),
            BitField("SOURCE", 16, 8, "where: an AXI port or the sequencer", ErrorSource),
        ),
    ),
    Register("ERROR_INDEX", 0x018, _RO, "number of the descriptor of the error"),
    Register("RETIRED", 0x01C, _RO, "descriptors retired"),
    Register("MODE", 0x020, _RW, "run mode",
             (BitField("STEP", 0, 1, "drain and halt after every descriptor"),
              BitField("IRQ_ENABLE", 1, 1, "raise the interrupt at DONE and HALTED"),
              BitField("PROFILE", 2, 1, "write start and end cycles into the records"))),
    Register("ARENA_LO", 0x024, _RW, "address of the arena, bits 31..0; a multiple of 4096"),
    Register("ARENA_HI", 0x028, _RW, "address of the arena, bits 39..32",
             (BitField("ADDRESS", 0, 8, "bits 39..32"),)),
    Register("ARENA_BYTES", 0x02C, _RW, "size of the arena"),
    Register("PROGRAM_OFF", 0x030, _RW, "byte offset of the first descriptor"),
    Register("PROGRAM_COUNT", 0x034, _RW, "descriptors to run"),
    Register("STEP_OFF", 0x038, _RW, "byte offset of the step block"),
    Register(
        "STRAYS", 0x03C, _RO, "answers that nobody had asked for, since START or a soft reset",
        (
            BitField("PORTS", 0, 8, "bit SOURCE: port and direction where that was"),
            BitField("COUNT", 16, 16, "words and write responses, at most 65535"),
        ),
    ),
    Register("CYCLES", 0x040, _RO, "cycles of the program, bits 31..0"),
    Register("CYCLES_HI", 0x044, _RO, "cycles of the program, bits 63..32"),
    Register("BUSY_CYCLES", 0x048, _RO, "cycles in which the array multiplied"),
    Register("STALL_X", 0x04C, _RO, "cycles in which the array waited for an X tile"),
    Register("STALL_S", 0x050, _RO, "cycles in which the array waited for S"),
    Register("STALL_ACC", 0x054, _RO, "cycles in which the array waited for accumulators"),
    Register("STALL_GAP", 0x058, _RO, "idle cycles that keep the shortest sweep period"),
    Register("DRAIN_CYCLES", 0x05C, _RO, "accumulator reads taken by the store unit"),
    Register("READ_BEATS0", 0x060, _RO, "words read on port 0"),
    Register("READ_BEATS1", 0x064, _RO, "words read on port 1"),
    Register("READ_BEATS2", 0x068, _RO, "words read on port 2"),
    Register("READ_BEATS3", 0x06C, _RO, "words read on port 3"),
    Register("WRITE_BEATS0", 0x070, _RO, "words written on port 0"),
    Register("WRITE_BEATS1", 0x074, _RO, "words written on port 1"),
    Register("WRITE_BEATS2", 0x078, _RO, "words written on port 2"),
    Register("WRITE_BEATS3", 0x07C, _RO, "words written on port 3"),
)
"""The whole map."""

WIDE = {"ARENA": ("ARENA_LO", "ARENA_HI"), "CYCLES": ("CYCLES", "CYCLES_HI")}
"""Values that take two registers, low bits first."""

ARMED_BY = "PROGRAM_COUNT"
"""Register that arms START. Each other write disarms it, as do a second one and START itself: a
START that nobody meant runs no program again, and none runs with values that nobody has compared.
A START that is not armed fails with :attr:`Status.NOT_ARMED`.
"""

BY_NAME = {register.name: register for register in REGISTERS}
"""Registers by name."""


def offset(name: str) -> int:
    """Byte offset of a register.

    Raises:
        KeyError: no such register.
    """
    return BY_NAME[name].offset


def decode(name: str, value: int) -> dict[str, int]:
    """The fields of the register ``name`` that holds ``value``, by name.

    Raises:
        KeyError: no such register.
    """
    return {f.name: value >> f.lsb & (1 << f.bits) - 1 for f in BY_NAME[name].fields}


def masks(name: str) -> dict[str, int]:
    """The bits of each field of the register ``name``, by the field's name.

    Raises:
        KeyError: no such register.
    """
    return {f.name: (1 << f.bits) - 1 << f.lsb for f in BY_NAME[name].fields}


def encode(name: str, **values: int) -> int:
    """The value of the register ``name`` with these fields; others are zero.

    Raises:
        KeyError: no such register or field.
        ValueError: a value that its field does not hold.
    """
    fields, result = {field.name: field for field in BY_NAME[name].fields}, 0
    for key, value in values.items():
        field = fields[key]
        if not 0 <= value < 1 << field.bits:
            raise ValueError(f"{name}.{key}: expected 0..{(1 << field.bits) - 1}, found {value}")
        result |= value << field.lsb
    return result


def split(name: str, value: int) -> dict[str, int]:
    """The registers of the wide ``value``, by name: for instance of the arena's address.

    Raises:
        KeyError: no such value in :data:`WIDE`.
    """
    low, high = WIDE[name]
    return {low: value & (1 << REGISTER_BITS) - 1, high: value >> REGISTER_BITS}


def join(name: str, read: Callable[[str], int]) -> int:
    """The wide value ``name`` from the registers that ``read`` returns.

    Raises:
        KeyError: no such value in :data:`WIDE`.
    """
    low, high = WIDE[name]
    return read(low) | read(high) << REGISTER_BITS
