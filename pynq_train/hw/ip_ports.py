"""Ports of the packaged IP, as data: the engine as the processing system's own ports see it.

The IP is the engine with the register bridge inside. Its buses have the protocol, the widths and
the signals of the ports of the processing system that they are wired to, so that nothing stands
between: AXI3 on the Zynq-7000, AXI4 on Zynq UltraScale+.
"""

from __future__ import annotations

from dataclasses import dataclass

from pynq_train.hw.ports import CONTROL_BUS, MEMORY_BITS, REGISTER_BITS, Bus, Signal, master_bus

HOST_BITS = REGISTER_BITS
"""Data width of the bus by which the processor reaches the registers."""
MEMORY_ID_BITS = 6
"""Transaction numbers at a memory port; the engine uses number 0 only."""


@dataclass(frozen=True)
class AxiFamily:
    """Buses of a device family's processing system.

    Attributes:
        protocol: ``AXI3`` or ``AXI4``.
        host_id_bits: transaction numbers at the host port.
        host_address_bits: address width of the host port.
        host_user_bits: user signals of its address channels; 0: none.
        memory_address_bits: address width of a memory port.
        memory_user_bits: user signals of its address channels; 0: none.
    """

    protocol: str
    host_id_bits: int
    host_address_bits: int
    host_user_bits: int
    memory_address_bits: int
    memory_user_bits: int

    @property
    def is_axi3(self) -> bool:
        """Whether bursts have a length of 4 bits, locks 2 bits and write data a number."""
        return self.protocol == "AXI3"


AXI_FAMILIES = {
    "zynq": AxiFamily("AXI3", 12, 32, 0, 32, 0),
    "zynqmp": AxiFamily("AXI4", 16, 40, 16, 49, 1),
}
"""Ports of the processing systems (UG585 chapter 5, UG1085 chapter 35)."""


def ip_top(family: str) -> str:
    """Return the name of the IP's top module."""
    return f"pt_ip_{family}"


def ip_path(family: str) -> str:
    """Return the path of the generated top module, from the project's folder."""
    return f"overlays/gen/{ip_top(family)}.v"


def _address(name: str, axi: AxiFamily, id_bits: int, address: int, user: int
             ) -> tuple[Signal, ...]:
    """Return the signals of an address channel."""
    users = (Signal(f"{name}USER", user, True),) if user else ()
    return (
        Signal(f"{name}ID", id_bits, True), Signal(f"{name}ADDR", address, True),
        Signal(f"{name}LEN", 4 if axi.is_axi3 else 8, True), Signal(f"{name}SIZE", 3, True),
        Signal(f"{name}BURST", 2, True), Signal(f"{name}LOCK", 2 if axi.is_axi3 else 1, True),
        Signal(f"{name}CACHE", 4, True), Signal(f"{name}PROT", 3, True),
        Signal(f"{name}QOS", 4, True), *users,
        Signal(f"{name}VALID", 1, True), Signal(f"{name}READY", 1, False),
    )  # fmt: skip


def _bus(name: str, axi: AxiFamily, *, slave: bool, id_bits: int, address: int, data: int,
         user: int) -> Bus:
    """Return a bus with all signals of its protocol."""
    numbers = (Signal("WID", id_bits, True),) if axi.is_axi3 else ()
    return Bus(name, slave, (
        *_address("AR", axi, id_bits, address, user),
        Signal("RID", id_bits, False), Signal("RDATA", data, False), Signal("RRESP", 2, False),
        Signal("RLAST", 1, False), Signal("RVALID", 1, False), Signal("RREADY", 1, True),
        *_address("AW", axi, id_bits, address, user),
        *numbers, Signal("WDATA", data, True), Signal("WSTRB", data // 8, True),
        Signal("WLAST", 1, True), Signal("WVALID", 1, True), Signal("WREADY", 1, False),
        Signal("BID", id_bits, False), Signal("BRESP", 2, False), Signal("BVALID", 1, False),
        Signal("BREADY", 1, True),
    ))  # fmt: skip


def ip_host_bus(family: str) -> Bus:
    """Return the bus of the registers: the host port's protocol."""
    axi = AXI_FAMILIES[family]
    return _bus(CONTROL_BUS, axi, slave=True, id_bits=axi.host_id_bits,
                address=axi.host_address_bits, data=HOST_BITS, user=axi.host_user_bits)


def ip_memory_bus(family: str, index: int) -> Bus:
    """Return master ``index`` of the IP: the memory port's protocol."""
    axi = AXI_FAMILIES[family]
    return _bus(master_bus(index).name, axi, slave=False, id_bits=MEMORY_ID_BITS,
                address=axi.memory_address_bits, data=MEMORY_BITS, user=axi.memory_user_bits)


def ip_buses(family: str, masters: int) -> tuple[Bus, ...]:
    """Return all buses of the IP: the registers', then ``masters`` memory ports."""
    return (ip_host_bus(family), *(ip_memory_bus(family, index) for index in range(masters)))
