"""The parts of a processing system that ``pynq`` talks to: clocks and interrupts."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from typing import Any

_ZYNQ_CLOCK = (1 << 20) | (10 << 8)
_ZYNQMP_CLOCK = (1 << 24) | (1 << 16) | (15 << 8)

_RESET = {
    # PLLs at 1300, 1050, 1000 MHz from 50 MHz; CPU clock; FCLK0..3.
    "zynq": {
        0xF8000100: 26 << 12,
        0xF8000104: 21 << 12,
        0xF8000108: 20 << 12,
        0xF8000120: 0x1F000200,
        **{0xF8000170 + 16 * i: _ZYNQ_CLOCK for i in range(4)},
    },
    # PLLs from 33.33 MHz; CPU clock; PL0..3.
    "zynqmp": {
        0xFF5E0020: (90 << 8) | (1 << 16),
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
    """Clock registers: they hold what is written and start as after boot."""

    def __init__(self, family: str) -> None:
        self._values = dict(_RESET[family])

    def read32(self, address: int) -> int:
        """Return the value at an absolute address, 0 if it was never written."""
        return self._values.get(address, 0)

    def write32(self, address: int, value: int) -> None:
        """Store a value at an absolute address."""
        self._values[address] = value


class Uio:
    """What ``pynq.interrupt`` expects of a UIO file: ``add_event``.

    Args:
        advance: runs the engine until its interrupt, when somebody starts to wait.
    """

    def __init__(self, advance: Callable[[], None]) -> None:
        self._advance = advance
        self._events: list[Any] = []
        self._loop: object = None

    def add_event(self, event: Any, number: int) -> None:
        """Set ``event`` at the next interrupt."""
        try:
            loop: object = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if self._loop is not None and loop is not self._loop:
            warnings.warn(
                "an interrupt is awaited on a second event loop: this hangs on a real board",
                RuntimeWarning,
                stacklevel=2,
            )
        self._loop = loop
        self._events.append(event)
        self._advance()

    def fire(self) -> None:
        """Set all waiting events: the interrupt line of the processing system is high."""
        events, self._events = self._events, []
        for event in events:
            event.set()


class InterruptController:
    """The registers of an axi_intc that ``pynq.interrupt`` uses.

    Args:
        fire: called when the controller's output is high.
    """

    ISR, IPR, IER, IAR, SIE, CIE, MER = 0x00, 0x04, 0x08, 0x0C, 0x10, 0x14, 0x1C

    def __init__(self, fire: Callable[[], None]) -> None:
        self._fire = fire
        self._pending = self._enabled = self._master = self._lines = 0

    def read32(self, offset: int) -> int:
        """Return the value of the register at ``offset``."""
        return {
            self.ISR: self._pending,
            self.IPR: self._pending & self._enabled,
            self.IER: self._enabled,
            self.MER: self._master,
        }.get(offset, 0)

    def write32(self, offset: int, value: int) -> None:
        """Write the register at ``offset``."""
        if offset == self.IER:
            self._enabled = value
        elif offset == self.IAR:
            self._pending &= ~value
        elif offset == self.SIE:
            self._enabled |= value
        elif offset == self.CIE:
            self._enabled &= ~value
        elif offset == self.MER:
            self._master = value
        self.lines(self._lines)

    def lines(self, levels: int) -> None:
        """Set the levels of the interrupt inputs; pending bits follow rising edges."""
        self._pending |= levels & ~self._lines
        self._lines = levels
        if self._pending & self._enabled and self._master & 1:
            self._fire()
