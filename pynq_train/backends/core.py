"""The driver of the engine in an overlay; real and virtual boards are alike to it.

Imports ``pynq``: import this module only where a board is used.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from pynq import DefaultIP

from pynq_train.backends.buffer import PynqBuffer
from pynq_train.hw import registers
from pynq_train.hw.design import VLNV


class PtCore(DefaultIP):
    """The engine's registers by name, each access one 32-bit word."""

    bindto = [VLNV]  # noqa: RUF012 - pynq reads a plain class attribute

    @cached_property
    def _mapped(self) -> np.ndarray[Any, np.dtype[np.uint32]] | None:
        """The registers as words of memory; None where each access is a call of the device."""
        words = self.mmio.array
        return words if type(words) is np.ndarray and words.dtype == np.uint32 else None

    @cached_property
    def _runs(self) -> dict[tuple[str, ...], slice | None]:
        """By registers that are read together: their words, None where others stand between."""
        return {}

    def read_register(self, name: str) -> int:
        """Return the value of a register."""
        at, words = registers.BY_NAME[name].offset, self._mapped
        # MMIO does the same, behind checks that take longer.
        return words.item(at >> 2) if words is not None else int(self.mmio.read(at))

    def read_registers(self, names: tuple[str, ...]) -> list[int]:
        """Return the values of some registers, read one by one in this order."""
        words = self._mapped
        if words is None:
            return [self.read_register(name) for name in names]
        if names not in self._runs:
            self._runs[names] = _run_of(names)
        run = self._runs[names]
        if run is None:
            return [self.read_register(name) for name in names]
        # A list of a view takes word for word as 32 bits; a copy would not, and a port that has
        # registers answers nothing else.
        values: list[int] = words[run].tolist()
        return values

    def write_register(self, name: str, value: int) -> None:
        """Write a register; only the low 32 bits of ``value`` count."""
        at, words, low = registers.BY_NAME[name].offset, self._mapped, int(value) & 0xFFFF_FFFF
        if words is not None:
            words[at >> 2] = low
        else:
            self.mmio.write(at, low)

    def dump(self) -> str:
        """Return all registers that are not zero as text, ``NAME=0x...``."""
        values = ((r.name, self.read_register(r.name)) for r in registers.REGISTERS)
        return " ".join(f"{name}=0x{value:x}" for name, value in values if value)


def _run_of(names: tuple[str, ...]) -> slice | None:
    """Return the words of registers that follow each other; None for others."""
    at = [registers.offset(name) // 4 for name in names]
    return slice(at[0], at[-1] + 1) if at == list(range(at[0], at[0] + len(at))) else None


def device_span(buffer: PynqBuffer, align: int = 8, address_bits: int = 40) -> int:
    """Return the device address of ``buffer`` after proof that it is device memory.

    NumPy arithmetic on a PynqBuffer returns a PynqBuffer whose ``device_address`` belongs to
    somebody else's memory; only an array inside one made by ``allocate`` passes.

    Args:
        buffer: the buffer.
        align: the address must be a multiple of this.
        address_bits: address bits of the engine's ports.

    Raises:
        TypeError: not a buffer of ``pynq.allocate``.
        ValueError: computed from one, or not contiguous, not aligned, not addressable.
    """
    if not isinstance(buffer, PynqBuffer):
        raise TypeError(f"expected a buffer of pynq.allocate, found {type(buffer).__name__}")
    # Views of a buffer name the one that they were made of; the outermost is the one that was
    # allocated, if its memory is set.
    root = buffer
    while isinstance(root.base, PynqBuffer):
        root = root.base
    if getattr(root, "memory", None) is None:
        raise ValueError(
            "this array was computed from a PYNQ buffer and is not device memory; "
            "copy it into one: buffer[:] = array"
        )
    if not buffer.flags["C_CONTIGUOUS"]:
        raise ValueError("the buffer is not C-contiguous; copy it into one that is")
    offset = buffer.virtual_address - root.virtual_address
    address = int(root.device_address) + offset
    if offset < 0 or offset + buffer.nbytes > root.nbytes or address != buffer.device_address:
        raise ValueError("the buffer lies outside its allocation")
    if address % align:
        raise ValueError(f"address 0x{address:x}: expected a multiple of {align}")
    if (address + buffer.nbytes - 1) >> address_bits:
        raise ValueError(f"address 0x{address:x} does not fit {address_bits} address bits")
    return address
