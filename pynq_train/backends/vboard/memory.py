"""Contiguous memory of a virtual board: one array and a first-fit allocator."""

from __future__ import annotations

import numpy as np

PAGE_BYTES = 4096


class ContiguousMemory:
    """The contiguous memory (CMA) of a board, zero at first and committed page by page.

    Args:
        base: address of the first byte.
        nbytes: size.

    Attributes:
        memory: uint8 ``[nbytes]``, what the engine's ports read and write.
    """

    def __init__(self, base: int, nbytes: int) -> None:
        self.base = base
        self.nbytes = nbytes
        self.memory = np.zeros(nbytes, np.uint8)
        self._live: dict[int, int] = {}

    def allocate(self, nbytes: int) -> int:
        """Reserve ``nbytes``, rounded up to whole pages, and return their address.

        Raises:
            RuntimeError: not enough contiguous memory (what ``pynq`` raises on a board).
        """
        size = max(1, -(-nbytes // PAGE_BYTES)) * PAGE_BYTES
        address = self.base
        # First fit: the first gap between two allocations that is large enough, or the end.
        for start in sorted(self._live):
            if start - address >= size:
                break
            address = start + self._live[start]
        if address + size > self.base + self.nbytes:
            raise RuntimeError(
                f"Allocate failed: {nbytes} bytes asked, {self.free_bytes} of {self.nbytes} free"
            )
        self._live[address] = size
        return address

    def release(self, address: int) -> None:
        """Give back what ``allocate`` returned; unknown addresses are ignored."""
        self._live.pop(address, None)

    @property
    def free_bytes(self) -> int:
        """Bytes that are not allocated."""
        return self.nbytes - sum(self._live.values())

    @property
    def allocations(self) -> int:
        """Number of live allocations."""
        return len(self._live)

    def view(self, address: int, nbytes: int) -> np.ndarray:
        """Return the bytes at an address, in place: uint8 ``[nbytes]``.

        Raises:
            IndexError: they are not all inside the memory.
        """
        start = address - self.base
        if start < 0 or start + nbytes > self.nbytes:
            raise IndexError(f"{nbytes} bytes at 0x{address:x} are outside the memory")
        return self.memory[start : start + nbytes]
