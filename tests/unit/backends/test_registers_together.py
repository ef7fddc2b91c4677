"""Registers that are read together: the same values in the same order, in one call where they can.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pynq_train.backends.run_registers import WRITABLE
from pynq_train.hw import registers

core = pytest.importorskip("pynq_train.backends.core", reason="pynq is not installed")


class Mmio:
    """Registers as memory, or behind calls of the device."""

    def __init__(self, mapped: bool) -> None:
        self.words = np.arange(100, 100 + 1024, dtype=np.uint32)
        self.array: Any = self.words if mapped else self
        self.reads: list[int] = []

    def read(self, offset: int) -> int:
        self.reads.append(offset)
        return int(self.words[offset >> 2])


def engine(mapped: bool) -> Any:
    found = core.PtCore.__new__(core.PtCore)
    found.mmio = Mmio(mapped)
    return found


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("names", [
    WRITABLE, WRITABLE[::-1], ("STATUS",), ("CYCLES", "CYCLES_HI"), ("CYCLES", "STATUS"),
    ("ERROR_INDEX", "MODE"), ("ID", "ID")])
def test_registers_together_have_the_values_of_each(mapped: bool, names: tuple[str, ...]) -> None:
    one = engine(mapped)
    for _ in range(2):
        found = one.read_registers(names)
        assert found == [one.read_register(name) for name in names]
        assert all(type(value) is int for value in found)


def test_a_device_without_memory_is_asked_once_for_each() -> None:
    """In the order of the names, also where they stand side by side."""
    one = engine(mapped=False)
    one.read_registers(("MODE", "ARENA_LO", "STATUS"))
    assert one.mmio.reads == [registers.offset(name) for name in ("MODE", "ARENA_LO", "STATUS")]


def test_what_a_run_compares_stands_side_by_side() -> None:
    """Else each run would read register by register."""
    assert core._run_of(WRITABLE) == slice(8, 15)
    assert core._run_of(WRITABLE[1:]) == slice(9, 15)
    assert core._run_of(WRITABLE[::2]) is None
