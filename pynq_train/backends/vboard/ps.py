"""The part of a processing system that ``pynq`` talks to: its clock registers."""

from __future__ import annotations

_ZYNQ_CLOCK = (1 << 20) | (10 << 8)
_ZYNQMP_CLOCK = (1 << 24) | (1 << 16) | (15 << 8)

_RESET = {
    # PLLs at 1300 and 1050 MHz from 50 MHz; CPU clock; FCLK0..3.
    "zynq": {
        0xF8000100: 26 << 12,
        0xF8000104: 21 << 12,
        0xF8000120: 0x1F000200,
        **{0xF8000170 + 16 * i: _ZYNQ_CLOCK for i in range(4)},
    },
    # PLLs from 33.33 MHz; CPU clock; PL0..3.
    "zynqmp": {
        0xFF5E0030: (72 << 8) | (1 << 16),
        0xFD1A0020: (72 << 8) | (1 << 16),
        0xFD1A002C: (64 << 8) | (1 << 16),
        0xFD1A0038: (90 << 8) | (1 << 16),
        0xFD1A0060: 0x03000100,
        **{0xFF5E00C0 + 4 * i: _ZYNQMP_CLOCK for i in range(4)},
    },
}
"""Clock registers by family and address, with their values after boot."""
PAGES = {
    "zynq": (0xF8000000,),
    "zynqmp": (0xFF5E0000, 0xFD1A0000, 0xFD615000, 0xFF419000),
}
"""Register pages of the processing system by family, 4 KB each."""


class PsRegisters:
    """Clock registers: they hold what is written and start as after boot.

    Args:
        family: device family.
        pll_mhz: IO PLL that the boot loader sets, in MHz.
    """

    def __init__(self, family: str, pll_mhz: float) -> None:
        self._values = dict(_RESET[family])
        # ``pynq`` takes the crystal of a family for granted: 50 MHz, and 33.33 MHz halved.
        if family == "zynq":
            self._values[0xF8000108] = round(pll_mhz / 50) << 12
        else:
            self._values[0xFF5E0020] = (round(2 * pll_mhz / 33.333) << 8) | (1 << 16)

    def read32(self, address: int) -> int:
        """Return the value at an absolute address, 0 if it was never written."""
        return self._values.get(address, 0)

    def write32(self, address: int, value: int) -> None:
        """Store a value at an absolute address."""
        self._values[address] = value
