"""Ports of the engine's top module ``pt_top``, as data: buses, clock, reset and interrupt.

``tests/unit/overlays/test_flow.py`` holds them against ``rtl/pt_top.v``.
"""

from __future__ import annotations

from dataclasses import dataclass

from pynq_train.hw.config import HwConfig
from pynq_train.hw.registers import REGISTER_BITS
from pynq_train.hw.words import WORD_BITS

TOP = "pt_top"
"""Name of the top module."""

CLOCK, RESET, INTERRUPT = "aclk", "aresetn", "irq"
"""The ports that belong to no bus; the reset is active low, the interrupt a high level."""

CONTROL_BUS = "s_axi"
"""The AXI4-Lite bus of the registers."""

ADDRESS_BITS = 40
"""Address width of the masters in bits."""
CONTROL_ADDRESS_BITS = 12
SPAN_BYTES = 1 << CONTROL_ADDRESS_BITS
"""Size of the engine's register space in bytes."""

MEMORY_BITS = WORD_BITS
"""Data width of a master in bits."""


@dataclass(frozen=True)
class Signal:
    """One signal of a bus; ``from_master`` tells who drives it."""

    name: str
    bits: int
    from_master: bool


@dataclass(frozen=True)
class Bus:
    """One AXI bus of the engine.

    Attributes:
        name: prefix of the ports.
        slave: the engine is the slave.
        signals: its signals by their AXI names.
    """

    name: str
    slave: bool
    signals: tuple[Signal, ...]

    def port(self, signal: Signal) -> str:
        """Name of the port of a signal."""
        return f"{self.name}_{signal.name.lower()}"

    def is_input(self, signal: Signal) -> bool:
        """Whether the port of a signal is an input of the engine."""
        return signal.from_master == self.slave


def _control_bus() -> Bus:
    address = CONTROL_ADDRESS_BITS
    return Bus(CONTROL_BUS, True, (
        Signal("AWADDR", address, True), Signal("AWVALID", 1, True), Signal("AWREADY", 1, False),
        Signal("WDATA", REGISTER_BITS, True), Signal("WSTRB", REGISTER_BITS // 8, True),
        Signal("WVALID", 1, True), Signal("WREADY", 1, False),
        Signal("BRESP", 2, False), Signal("BVALID", 1, False), Signal("BREADY", 1, True),
        Signal("ARADDR", address, True), Signal("ARVALID", 1, True), Signal("ARREADY", 1, False),
        Signal("RDATA", REGISTER_BITS, False), Signal("RRESP", 2, False),
        Signal("RVALID", 1, False), Signal("RREADY", 1, True),
    ))  # fmt: skip


def _address_channel(name: str) -> tuple[Signal, ...]:
    return (
        Signal(f"{name}ADDR", ADDRESS_BITS, True), Signal(f"{name}LEN", 8, True),
        Signal(f"{name}SIZE", 3, True), Signal(f"{name}BURST", 2, True),
        Signal(f"{name}CACHE", 4, True), Signal(f"{name}PROT", 3, True),
        Signal(f"{name}VALID", 1, True), Signal(f"{name}READY", 1, False),
    )  # fmt: skip


def master_bus(index: int) -> Bus:
    """Master port ``index`` of the engine."""
    return Bus(f"m_axi{index}", False, (
        *_address_channel("AR"),
        Signal("RDATA", MEMORY_BITS, False), Signal("RRESP", 2, False), Signal("RLAST", 1, False),
        Signal("RVALID", 1, False), Signal("RREADY", 1, True),
        *_address_channel("AW"),
        Signal("WDATA", MEMORY_BITS, True), Signal("WSTRB", MEMORY_BITS // 8, True),
        Signal("WLAST", 1, True), Signal("WVALID", 1, True), Signal("WREADY", 1, False),
        Signal("BRESP", 2, False), Signal("BVALID", 1, False), Signal("BREADY", 1, True),
    ))  # fmt: skip


def buses(config: HwConfig) -> tuple[Bus, ...]:
    """All buses of the engine: the control bus, then the masters."""
    return (_control_bus(), *(master_bus(index) for index in range(config.ports)))
