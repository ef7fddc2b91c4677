"""Chips and data types that an EF-Train accelerator can be built for."""

from __future__ import annotations

from dataclasses import dataclass

from pynq_train.errors import UnknownName
from pynq_train.hw.boards import Board


@dataclass(frozen=True)
class DataType:
    """Type of all numbers of an accelerator.

    Attributes:
        name: name for people.
        bits: width of a number.
        dsp_per_mac: DSPs of one multiplier with its adder (``q`` of the paper's equation 28).
    """

    name: str
    bits: int
    dsp_per_mac: int


FP32 = DataType("fp32", 32, 5)
"""The paper's type."""
FIXED16 = DataType("fixed16", 16, 1)
"""16-bit fixed point: one DSP multiplies and adds."""
DATA_TYPES = {one.name: one for one in (FP32, FIXED16)}
"""All types by name."""


@dataclass(frozen=True)
class Chip:
    """One FPGA as the model sees it.

    Attributes:
        name: part without package and speed grade.
        dsp: DSP blocks.
        bram36: block memories of 36 kbit.
        stream_bits: width of each of the four DMA streams: 32 on the paper's Zynq-7000, 128 on its
            Zynq UltraScale+ (section 6.3).
        clock_mhz: clock of the paper's builds on that family.
    """

    name: str
    dsp: int
    bram36: int
    stream_bits: int
    clock_mhz: float = 100.0


XC7Z020 = Chip("xc7z020", 220, 140, 32)
"""PYNQ-Z1 and PYNQ-Z2."""
ZU9EG = Chip("xczu9eg", 2520, 912, 128)
"""ZCU102."""
CHIPS = {chip.name: chip for chip in (
    XC7Z020, ZU9EG, Chip("xczu3eg", 360, 216, 128), Chip("xck26", 1248, 144, 128),
    Chip("xczu7ev", 1728, 312, 128))}
"""All chips by name (vendor data sheets)."""


def chip_of(board: Board) -> Chip:
    """Return the chip of a board.

    Raises:
        UnknownName: the table of chips lacks the board's part.
    """
    name = board.part.split("-")[0]
    for chip in CHIPS.values():
        if name.startswith(chip.name):
            return chip
    raise UnknownName.among("chip", name, CHIPS)


def data_type(name: str) -> DataType:
    """Return the data type ``name``; :class:`UnknownName` lists the names."""
    if name not in DATA_TYPES:
        raise UnknownName.among("data type", name, DATA_TYPES)
    return DATA_TYPES[name]
