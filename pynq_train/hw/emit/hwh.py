"""Hardware description (.hwh) of a virtual board's overlay, from the contract.

It holds what ``pynq`` reads: processing system and clocks, the engine with its registers and
parameters, and the interrupt path engine -> axi_intc -> processing system.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from xml.etree import ElementTree as ET

from pynq_train.hw import contract, registers
from pynq_train.hw.boards import Board
from pynq_train.hw.registers import Access

VLNV = "pynq-train.org:pynq_train:pt_core:1.0"
"""Type of the engine in overlays; drivers are bound by it."""

INSTANCE = "pt_core_0"
SPAN_BYTES = 0x1000
"""Size of the engine's register space."""

_INTC = "axi_intc_0"
_AXIMM = "xilinx.com:interface:aximm:1.0"
_INTC_ADDRESS = {"zynq": 0x4180_0000, "zynqmp": 0xA001_0000}
_PS = {
    "zynq": ("processing_system7", "5.5", "M_AXI_GP0", "S_AXI_HP{}", "IRQ_F2P"),
    "zynqmp": ("zynq_ultra_ps_e", "3.5", "M_AXI_HPM0_FPD", "S_AXI_HP{}_FPD", "pl_ps_irq0"),
}
_PLL_MHZ = {"zynq": 1000.0, "zynqmp": 1500.0}
_ACCESS = {
    Access.READ_ONLY: "read-only",
    Access.READ_WRITE: "read-write",
    Access.WRITE_PULSE: "write-only",
}

_Connection = tuple[str, str]


def parameters(board: Board) -> dict[str, str]:
    """Parameters of the engine that overlays carry, by name."""
    values: dict[str, object] = {key.upper(): v for key, v in asdict(board.config).items()}
    values["ABI"] = registers.ABI_VERSION
    values["CONTRACT_HASH"] = contract.contract_hash(board.config)
    values["CLOCK_MHZ"] = board.clock_mhz
    return {key: str(value) for key, value in values.items()}


def render(board: Board) -> str:
    """Text of the .hwh file of ``board``."""
    kind, version, host_port, memory_port, irq_port = _PS[board.family]
    ps_name = f"{kind}_0"
    root = ET.Element("EDKSYSTEM", EDWVERSION="1.2", TIMESTAMP="virtual", VIVADOVERSION="virtual")
    ET.SubElement(root, "SYSTEMINFO", ARCH=board.family, BOARD="", DEVICE=board.part,
                  NAME="pynq_train", PACKAGE="", SPEEDGRADE="")
    ET.SubElement(root, "EXTERNALPORTS")
    ET.SubElement(root, "EXTERNALINTERFACES")
    modules = ET.SubElement(root, "MODULES")

    ps = _module(modules, ps_name, kind, f"xilinx.com:ip:{kind}:{version}", "PERIPHERAL")
    ps.set("IS_PL", "FALSE")
    _parameters(ps, _ps_parameters(board))
    ports = ET.SubElement(ps, "PORTS")
    _port(ports, irq_port, "I", "intc_irq", [(_INTC, "irq")], vector=True)
    buses = ET.SubElement(ps, "BUSINTERFACES")
    _bus(buses, host_port, "INITIATOR", 32)
    for index in range(board.config.ports):
        _bus(buses, memory_port.format(index), "TARGET", 64)
    ps_map = ET.SubElement(ps, "MEMORYMAP")
    _range(ps_map, INSTANCE, board.core_address, SPAN_BYTES, host_port, "s_axi")
    _range(ps_map, _INTC, _INTC_ADDRESS[board.family], 0x1000, host_port, "s_axi")

    core = _module(modules, INSTANCE, VLNV.split(":")[2], VLNV, "PERIPHERAL")
    _registers(core)
    _parameters(core, parameters(board))
    _port(ET.SubElement(core, "PORTS"), "irq", "O", "core_irq", [(_INTC, "intr")])
    buses = ET.SubElement(core, "BUSINTERFACES")
    _bus(buses, "s_axi", "TARGET", 32)
    core_map = ET.SubElement(core, "MEMORYMAP")
    for index in range(board.config.ports):
        _bus(buses, f"m_axi{index}", "INITIATOR", 64)
        _range(core_map, ps_name, 0, 1 << 31, f"m_axi{index}", memory_port.format(index),
               memory=True)

    intc = _module(modules, _INTC, "axi_intc", "xilinx.com:ip:axi_intc:4.1", "INTERRUPT_CNTLR")
    ET.SubElement(intc, "PARAMETERS")
    ports = ET.SubElement(intc, "PORTS")
    _port(ports, "intr", "I", "core_irq", [(INSTANCE, "irq")], vector=True)
    _port(ports, "irq", "O", "intc_irq", [(ps_name, irq_port)])
    _bus(ET.SubElement(intc, "BUSINTERFACES"), "s_axi", "TARGET", 32)

    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _module(parent: ET.Element, name: str, kind: str, vlnv: str, role: str) -> ET.Element:
    return ET.SubElement(
        parent, "MODULE", COREREVISION="1", FULLNAME=f"/{name}", HWVERSION=vlnv.split(":")[3],
        INSTANCE=name, IPTYPE="PERIPHERAL", IS_ENABLE="1", MODCLASS=role, MODTYPE=kind, VLNV=vlnv,
    )  # fmt: skip


def _parameters(parent: ET.Element, values: dict[str, str]) -> None:
    element = ET.SubElement(parent, "PARAMETERS")
    for name, value in values.items():
        ET.SubElement(element, "PARAMETER", NAME=name, VALUE=value)


def _ps_parameters(board: Board) -> dict[str, str]:
    divisor = round(_PLL_MHZ[board.family] / board.clock_mhz)
    values = {}
    for i in range(4):
        on = i == 0
        if board.family == "zynq":
            first = 5 if on and divisor % 5 == 0 else 1
            values[f"PCW_FCLK{i}_PERIPHERAL_DIVISOR0"] = str(first)
            values[f"PCW_FCLK{i}_PERIPHERAL_DIVISOR1"] = str(divisor // first if on else 1)
            values[f"PCW_FCLK{i}_PERIPHERAL_CLKSRC"] = "IO PLL"
            values[f"PCW_FPGA_FCLK{i}_ENABLE"] = str(int(on))
        else:
            clock = f"PSU__CRL_APB__PL{i}_REF_CTRL__"
            values[clock + "DIVISOR0"] = str(divisor if on else 4)
            values[clock + "DIVISOR1"] = "1"
            values[clock + "ACT_FREQMHZ"] = f"{_PLL_MHZ['zynqmp'] / divisor:.6f}"
            values[clock + "SRCSEL"] = "IOPLL"
            values[f"PSU__FPGA_PL{i}_ENABLE"] = str(int(on))
    return values


def _port(
    parent: ET.Element,
    name: str,
    direction: str,
    signal: str,
    connections: Iterable[_Connection],
    *,
    vector: bool = False,
) -> None:
    port = ET.SubElement(parent, "PORT", DIR=direction, NAME=name, SIGIS="INTERRUPT",
                         SIGNAME=signal)
    if vector:
        port.set("LEFT", "0")
        port.set("RIGHT", "0")
    element = ET.SubElement(port, "CONNECTIONS")
    for instance, other in connections:
        ET.SubElement(element, "CONNECTION", INSTANCE=instance, PORT=other)


def _bus(parent: ET.Element, name: str, kind: str, bits: int) -> None:
    ET.SubElement(parent, "BUSINTERFACE", BUSNAME="axi", DATAWIDTH=str(bits), NAME=name,
                  TYPE=kind, VLNV=_AXIMM)


def _range(
    parent: ET.Element,
    instance: str,
    base: int,
    size: int,
    master: str,
    slave: str,
    *,
    memory: bool = False,
) -> None:
    ET.SubElement(
        parent, "MEMRANGE", ADDRESSBLOCK="Reg", BASENAME="C_BASEADDR", BASEVALUE=f"0x{base:08X}",
        HIGHNAME="C_HIGHADDR", HIGHVALUE=f"0x{base + size - 1:08X}", INSTANCE=instance,
        IS_DATA="TRUE", IS_INSTRUCTION="TRUE", MASTERBUSINTERFACE=master,
        MEMTYPE="MEMORY" if memory else "REGISTER", SLAVEBUSINTERFACE=slave,
    )  # fmt: skip


def _registers(module: ET.Element) -> None:
    block = ET.SubElement(
        ET.SubElement(module, "ADDRESSBLOCKS"), "ADDRESSBLOCK", ACCESS="read-write",
        INTERFACE="s_axi", NAME="Reg", RANGE=str(SPAN_BYTES), USAGE="register",
    )  # fmt: skip
    parent = ET.SubElement(block, "REGISTERS")
    for register in registers.REGISTERS:
        offset, access = f"0x{register.offset:x}", _ACCESS[register.access]
        element = ET.SubElement(parent, "REGISTER", NAME=register.name)
        _properties(element, DESCRIPTION=register.doc, ADDRESS_OFFSET=offset, SIZE="32",
                    ACCESS=access, IS_ENABLED="true", RESET_VALUE="0x0")
        if not register.fields:
            continue
        fields = ET.SubElement(element, "FIELDS")
        for bits in register.fields:
            _properties(
                ET.SubElement(fields, "FIELD", NAME=bits.name), DESCRIPTION=bits.doc,
                BIT_OFFSET=str(bits.lsb), BIT_WIDTH=str(bits.bits), ACCESS=access,
                ADDRESS_OFFSET=offset,
            )  # fmt: skip


def _properties(parent: ET.Element, **values: str) -> None:
    for name, value in values.items():
        ET.SubElement(parent, "PROPERTY", NAME=name, VALUE=value)
