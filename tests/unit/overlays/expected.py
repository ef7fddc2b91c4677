"""What a recorded run of the overlay flow must state, taken from the contract and from the RTL.

Nothing here uses the renderer of the Tcl: ports come from the IP's text, registers, addresses and
boards from ``pynq_train/hw``.
"""

from __future__ import annotations

import re
from collections import Counter

from fake_vivado import ROOT, FakeVivado

from pynq_train.hw import contract
from pynq_train.hw.boards import Board
from pynq_train.hw.registers import REGISTERS, RegisterAccess

_PS = {"zynq": "processing_system7_0", "zynqmp": "zynq_ultra_ps_e_0"}
_CLOCK = {"zynq": "FCLK_CLK0", "zynqmp": "pl_clk0"}
_RESET = {"zynq": "FCLK_RESET0_N", "zynqmp": "pl_resetn0"}
_HOST = {"zynq": "M_AXI_GP0", "zynqmp": "M_AXI_HPM0_FPD"}
_MEMORY = {"zynq": "S_AXI_HP{}", "zynqmp": "S_AXI_HP{}_FPD"}
_SEGMENT = {"zynq": "S_AXI_HP{0}/HP{0}_DDR_LOWOCM", "zynqmp": "SAXIGP{1}/HP{0}_DDR_LOW"}
_ACCESS = {RegisterAccess.READ_ONLY: "read-only", RegisterAccess.READ_WRITE: "read-write",
           RegisterAccess.WRITE_PULSE: "write-only"}


def top_ports(path: str = "rtl/pt_top.v") -> dict[str, str]:
    """Ports of a top module: name, direction."""
    text = (ROOT / path).read_text(encoding="utf-8")
    header = re.sub(r"\(\*.*?\*\)", "", text[:text.index(");")], flags=re.DOTALL)
    return {name: way for way, name in
            re.findall(r"(input|output)\s+wire\s+(?:\[[^\]]*\]\s*)?(\w+)", header)}


def differences(run: FakeVivado, board: Board) -> list[str]:
    """Every way in which a recorded run departs from the contract of ``board``."""
    found: list[str] = []

    def same(what: str, have: object, want: object) -> None:
        if have != want:
            found.append(f"{what}: expected {want}, found {have}")

    same("parts", run.parts, [board.part] * 3)  # clocks, IP, design
    same("vendor", (run.ip["-vendor"], run.ip["-library"]), ("pynq-train.org", "pynq_train"))
    same("core", (run.properties["core"]["name"], run.properties["core"]["version"]),
         ("pt_core", "1.0"))
    _packaged_ports(run, board, same)
    _preset(run, board, same)
    _registers(run, same)
    _parameters(run, board, same)
    _connections(run, board, same)
    _addresses(run, board, same)
    return found


def _packaged_ports(run: FakeVivado, board: Board, same) -> None:  # type: ignore[no-untyped-def]
    same("top modules", (run.ip["top"], run.properties["fileset"]["top"]),
         (f"pt_ip_{board.family}", "pynq_train_wrapper"))
    ports = top_ports(f"overlays/gen/pt_ip_{board.family}.v")
    maps = {}
    for key, values in run.properties.items():
        match = re.fullmatch(r"bus:(\w+)\|port:(\w+)", key)
        if match:
            maps[values["physical_name"]] = match.groups()
    same("packaged ports", sorted(maps), sorted(ports))
    for port, (bus, logical) in maps.items():
        single = {"aclk": "CLK", "aresetn": "RST"}
        want = single.get(port, port.removeprefix(f"{bus}_").upper())
        same(f"logical name of {port}", logical, want)
    buses = {key.removeprefix("bus:"): values for key, values in run.properties.items()
             if key.startswith("bus:") and "|" not in key}
    axi = ["s_axi", *(f"m_axi{i}" for i in range(4))]
    same("bus interfaces", sorted(buses), sorted([*axi, "aclk", "aresetn"]))
    modes = {"s_axi": "slave", "aclk": "slave", "aresetn": "slave"}
    same("modes", {n: v["interface_mode"] for n, v in buses.items()},
         {name: modes.get(name, "master") for name in buses})
    types = {"aclk": "signal:clock", "aresetn": "signal:reset"}
    same("types", {n: v["bus_type_vlnv"] for n, v in buses.items()},
         {n: f"xilinx.com:{types.get(n, 'interface:aximm')}:1.0" for n in buses})
    parameters = {key: v["value"] for key, v in run.properties.items() if "|parameter:" in key}
    protocol = {"zynq": "AXI3", "zynqmp": "AXI4"}[board.family]
    masters = {f"bus:{name}|parameter:{key}": value for name in axi[1:] for key, value in
               (("PROTOCOL", protocol), ("SUPPORTS_NARROW_BURST", "0"), ("MAX_BURST_LENGTH", "16"),
                ("NUM_READ_OUTSTANDING", "8"), ("NUM_WRITE_OUTSTANDING", "8"))}
    same("bus parameters", parameters, {
        "bus:s_axi|parameter:PROTOCOL": protocol, **masters,
        "bus:aclk|parameter:ASSOCIATED_BUSIF": ":".join(axi),
        "bus:aresetn|parameter:POLARITY": "ACTIVE_LOW",
    })  # fmt: skip
    memory = _MEMORY[board.family]
    same("outstanding bursts", run.outstanding,
         {f"{_PS[board.family]}/{memory.format(i)}": ("8", "8") for i in range(4)})
    reach = 32 if board.family == "zynq" else 40
    for name in axi[1:]:
        space = run.properties.get(f"space:{name}", {})
        same(f"address space of {name}", (space.get("range"), space.get("width")),
             (str(1 << reach), "64"))


# What the PLLs of a processing system hang on, by family: a preset without it is not complete.
_PRESET = {
    "zynq": {"PCW_CRYSTAL_PERIPHERAL_FREQMHZ", "PCW_APU_PERIPHERAL_FREQMHZ",
             "PCW_UIPARAM_DDR_PARTNO", "PCW_UIPARAM_DDR_FREQ_MHZ", "PCW_ENET0_ENET0_IO",
             "PCW_ENET0_PERIPHERAL_FREQMHZ", "PCW_SD0_SD0_IO", "PCW_SDIO_PERIPHERAL_FREQMHZ",
             "PCW_UART_PERIPHERAL_FREQMHZ", "PCW_USB0_USB0_IO", "PCW_QSPI_QSPI_IO",
             "PCW_PRESET_BANK1_VOLTAGE",
             *(f"PCW_MIO_{pin}_PULLUP" for pin in range(9, 54))},
    "zynqmp": {"PSU__PSS_REF_CLK__FREQMHZ", "PSU__CRL_APB__IOPLL_CTRL__FBDIV"},
}  # fmt: skip


def _preset(run: FakeVivado, board: Board, same) -> None:  # type: ignore[no-untyped-def]
    values = run.properties[_PS[board.family]]
    missing = sorted(n for n in _PRESET[board.family] if f"CONFIG.{n}" not in values)
    same("missing in the preset", missing, [])


def _registers(run: FakeVivado, same) -> None:  # type: ignore[no-untyped-def]
    block = "map:s_axi|block:Reg"
    values = run.properties.get(block, {})
    same("register block", {k: values.get(k) for k in ("range", "width", "usage")},
         {"range": "4096", "width": "32", "usage": "register"})
    same("memory map of s_axi", run.properties["bus:s_axi"].get("slave_memory_map_ref"), "s_axi")
    have, fields = {}, {}
    for key, v in run.properties.items():
        match = re.fullmatch(re.escape(block) + r"\|register:(\w+)(?:\|field:(\w+))?", key)
        if match and match.group(2):
            fields[match.groups()] = (int(v["bit_offset"]), int(v["bit_width"]), v["description"])
        elif match:
            have[match.group(1)] = (int(v["address_offset"], 0), v["size"], v["access"],
                                    v["description"])
    same("registers", have,
         {r.name: (r.offset, "32", _ACCESS[r.access], r.doc) for r in REGISTERS})
    same("fields", fields,
         {(r.name, f.name): (f.lsb, f.bits, f.doc) for r in REGISTERS for f in r.fields})


def _parameters(run: FakeVivado, board: Board, same) -> None:  # type: ignore[no-untyped-def]
    have = {key.removeprefix("parameter:"): values["value"]
            for key, values in run.properties.items() if key.startswith("parameter:")}
    same("contract hash", have.get("CONTRACT_HASH"), contract.contract_hash(board.config))
    same("configuration", (have.get("CONFIGURATION"), have.get("TM")),
         (board.config.name, str(board.config.tm)))


def _connections(run: FakeVivado, board: Board, same) -> None:  # type: ignore[no-untyped-def]
    ps, family = _PS[board.family], board.family
    same("cells", sorted(run.cells), sorted([ps, "pt_core_0"]))
    pads = ["DDR", "FIXED_IO"] if family == "zynq" else []
    same("pads", list(run.external), pads)
    want = {(f"pads/{name}", f"{ps}/{name}") for name in pads} | {
        (f"{ps}/{_HOST[family]}", "pt_core_0/s_axi")}
    for i in range(4):
        want.add((f"pt_core_0/m_axi{i}", f"{ps}/{_MEMORY[family].format(i)}"))
    same("buses", Counter(run.interfaces), Counter(want))
    clocks = {"pt_core_0/aclk"} | {f"{ps}/{_ps_clock(bus)}" for bus in
                                   [_HOST[family], *(_MEMORY[family].format(i) for i in range(4))]}
    same("nets", {driver: Counter(sinks) for driver, sinks in run.nets.items()}, {
        f"{ps}/{_CLOCK[family]}": Counter(clocks),
        f"{ps}/{_RESET[family]}": Counter(["pt_core_0/aresetn"]),
    })  # fmt: skip
    values = run.properties[ps]
    key = ("PCW_FPGA0_PERIPHERAL_FREQMHZ" if family == "zynq"
           else "PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ")
    asked = float(values.get(f"CONFIG.{key}", 0))
    if abs(asked - board.clock_mhz) > 1e-3 * board.clock_mhz:
        same("requested clock", asked, board.clock_mhz)
    for i in range(4):
        use, width = ((f"PCW_USE_S_AXI_HP{i}", f"PCW_S_AXI_HP{i}_DATA_WIDTH") if family == "zynq"
                      else (f"PSU__USE__S_AXI_GP{i + 2}", f"PSU__SAXIGP{i + 2}__DATA_WIDTH"))
        same(f"memory port {i}", (values.get(f"CONFIG.{use}"), values.get(f"CONFIG.{width}")),
             ("1", "64"))


def _ps_clock(bus: str) -> str:
    return {"M_AXI_HPM0_FPD": "maxihpm0_fpd_aclk"}.get(bus) or (
        bus.replace("S_AXI_HP", "saxihp").replace("_FPD", "_fpd_aclk") if "FPD" in bus
        else f"{bus}_ACLK")


def _addresses(run: FakeVivado, board: Board, same) -> None:  # type: ignore[no-untyped-def]
    ps = _PS[board.family]
    want = [(f"{ps}/Data", "pt_core_0/s_axi/Reg", board.core_address, 0x1000)]
    two_gib = 1 << 31
    for i in range(4):
        segment = f"{ps}/{_SEGMENT[board.family].format(i, i + 2)}"
        want.append((f"pt_core_0/m_axi{i}", segment, 0, min(board.dram_bytes, two_gib)))
        if board.dram_bytes > two_gib:
            want.append((f"pt_core_0/m_axi{i}", segment.replace("_LOW", "_HIGH"), 0x8_0000_0000,
                         board.dram_bytes - two_gib))
    same("addresses", Counter(run.addresses), Counter(want))
