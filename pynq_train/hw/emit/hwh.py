"""Hardware description (.hwh) of a virtual board's overlay, from the contract.

It holds what ``pynq`` reads: processing system and clocks, the engine with its registers, its
parameters and the memory that it reaches.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from pynq_train.hw import design, registers
from pynq_train.hw.boards import Board
from pynq_train.hw.design import INSTANCE, REGISTER_BLOCK, VLNV
from pynq_train.hw.ports import CONTROL_BUS, MEMORY_BITS, REGISTER_BITS, SPAN_BYTES

_AXIMM = "xilinx.com:interface:aximm:1.0"


def render(board: Board) -> str:
    """Return the text of the .hwh file of ``board``'s overlay: XML."""
    ps_data = design.processing_system(board)
    kind, host_port = ps_data.kind, ps_data.host_bus
    memory_port, ps_name = ps_data.memory_bus, ps_data.instance
    root = ET.Element("EDKSYSTEM", EDWVERSION="1.2", TIMESTAMP="virtual", VIVADOVERSION="virtual")
    ET.SubElement(root, "SYSTEMINFO", ARCH=board.family, BOARD="", DEVICE=board.part,
                  NAME=design.NAME, PACKAGE="", SPEEDGRADE="")
    ET.SubElement(root, "EXTERNALPORTS")
    ET.SubElement(root, "EXTERNALINTERFACES")
    modules = ET.SubElement(root, "MODULES")

    ps = _module(modules, ps_name, kind, f"xilinx.com:ip:{kind}:{ps_data.version}", "PERIPHERAL")
    ps.set("IS_PL", "FALSE")
    _parameters(ps, _ps_parameters(board))
    ET.SubElement(ps, "PORTS")
    buses = ET.SubElement(ps, "BUSINTERFACES")
    _bus(buses, host_port, "INITIATOR", REGISTER_BITS)
    for index in range(board.config.ports):
        _bus(buses, memory_port.format(index), "TARGET", MEMORY_BITS)
    ps_map = ET.SubElement(ps, "MEMORYMAP")
    for name, (base, size) in design.register_ranges(board).items():
        _range(ps_map, REGISTER_BLOCK, name, base, size, host_port, CONTROL_BUS)

    core = _module(modules, INSTANCE, VLNV.split(":")[2], VLNV, "PERIPHERAL")
    _registers(core)
    _parameters(core, design.parameters(board))
    ET.SubElement(core, "PORTS")
    buses = ET.SubElement(core, "BUSINTERFACES")
    _bus(buses, CONTROL_BUS, "TARGET", REGISTER_BITS)
    core_map = ET.SubElement(core, "MEMORYMAP")
    for index in range(board.config.ports):
        _bus(buses, f"m_axi{index}", "INITIATOR", MEMORY_BITS)
        for window in design.windows(board, index):
            _range(core_map, window.segment.split("/")[1], ps_name, window.offset, window.size,
                   f"m_axi{index}", memory_port.format(index), memory=True)

    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _module(parent: ET.Element, name: str, kind: str, vlnv: str, role: str) -> ET.Element:
    """Append an instance to the design and return its element."""
    return ET.SubElement(
        parent, "MODULE", COREREVISION="1", FULLNAME=f"/{name}", HWVERSION=vlnv.split(":")[3],
        INSTANCE=name, IPTYPE="PERIPHERAL", IS_ENABLE="1", MODCLASS=role, MODTYPE=kind, VLNV=vlnv,
    )  # fmt: skip


def _parameters(parent: ET.Element, values: dict[str, str]) -> None:
    """Append the parameters of an instance."""
    element = ET.SubElement(parent, "PARAMETERS")
    for name, value in values.items():
        ET.SubElement(element, "PARAMETER", NAME=name, VALUE=value)


def _ps_parameters(board: Board) -> dict[str, str]:
    """Return the parameters of the processing system that ``pynq`` reads: clocks and ports."""
    divisor = design.clock_divisor(board)
    pll_mhz = board.preset.pll_mhz
    values = {name: str(bits) for name, bits in design.port_widths(board).items()}
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
            values[clock + "ACT_FREQMHZ"] = f"{pll_mhz / divisor:.6f}"
            values[clock + "SRCSEL"] = "IOPLL"
            values[f"PSU__FPGA_PL{i}_ENABLE"] = str(int(on))
    return values


def _bus(parent: ET.Element, name: str, kind: str, bits: int) -> None:
    """Append a bus interface of an instance."""
    ET.SubElement(parent, "BUSINTERFACE", BUSNAME="axi", DATAWIDTH=str(bits), NAME=name,
                  TYPE=kind, VLNV=_AXIMM)


def _range(
    parent: ET.Element,
    block: str,
    instance: str,
    base: int,
    size: int,
    master: str,
    slave: str,
    *,
    memory: bool = False,
) -> None:
    """Append an address range that a master sees."""
    ET.SubElement(
        parent, "MEMRANGE", ADDRESSBLOCK=block, BASENAME="C_BASEADDR", BASEVALUE=f"0x{base:08X}",
        HIGHNAME="C_HIGHADDR", HIGHVALUE=f"0x{base + size - 1:08X}", INSTANCE=instance,
        IS_DATA="TRUE", IS_INSTRUCTION="TRUE", MASTERBUSINTERFACE=master,
        MEMTYPE="MEMORY" if memory else "REGISTER", SLAVEBUSINTERFACE=slave,
    )  # fmt: skip


def _registers(module: ET.Element) -> None:
    """Append the engine's registers, which ``pynq`` shows by name."""
    block = ET.SubElement(
        ET.SubElement(module, "ADDRESSBLOCKS"), "ADDRESSBLOCK", ACCESS="read-write",
        INTERFACE=CONTROL_BUS, NAME=REGISTER_BLOCK, RANGE=str(SPAN_BYTES), USAGE="register",
    )  # fmt: skip
    parent = ET.SubElement(block, "REGISTERS")
    for register in registers.REGISTERS:
        offset, access = f"0x{register.offset:x}", design.ACCESS[register.access]
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
    """Append properties, one element each."""
    for name, value in values.items():
        ET.SubElement(parent, "PROPERTY", NAME=name, VALUE=value)
