"""The design around the engine, as data: processing system, clocks, addresses.

The engine is alone in the programmable logic: its IP is wired straight to the ports of the
processing system, without interconnects, and the driver polls, without an interrupt controller
(``docs/adr/015-the-ip-alone.md``).

Virtual boards (.hwh), real overlays (Tcl) and the whole-design check (SystemVerilog) are generated
from it, so that one driver runs on all of them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from pynq_train.hw import contract, registers
from pynq_train.hw.boards import Board
from pynq_train.hw.ports import MEMORY_BITS, REGISTER_BITS, SPAN_BYTES
from pynq_train.hw.registers import RegisterAccess

NAME = "pynq_train"
"""Name of the design, of its bit file and of its .hwh."""

VLNV = "pynq-train.org:pynq_train:pt_core:1.0"
"""Type of the engine in overlays; drivers are bound by it."""

INSTANCE = "pt_core_0"
"""Instance of the engine."""

REGISTER_BLOCK = "Reg"
"""Name of the address block of the registers."""

LOWEST_CLOCK = 0.8
"""Share of the clock that is asked for below which no build falls back."""

ACCESS = {
    RegisterAccess.READ_ONLY: "read-only",
    RegisterAccess.READ_WRITE: "read-write",
    RegisterAccess.WRITE_PULSE: "write-only",
}
"""Access of a register in the words of IP-XACT."""

_LOW_BYTES = 1 << 31
_HIGH_ADDRESS = 0x8_0000_0000
"""Zynq UltraScale+ maps DRAM beyond 2 GiB here (UG1085, system address map)."""


@dataclass(frozen=True)
class ProcessingSystem:
    """What the overlay uses of the processing system of a device family.

    Attributes:
        kind: name of its IP.
        version: version of the IP that virtual boards name.
        primitive: the FPGA primitive behind it.
        host_bus: bus by which the processor reaches the engine's registers.
        memory_bus: slave bus of memory port ``{}``.
        memory_segment: address segment of the low DRAM behind memory port ``{}``.
        high_segment: segment of the DRAM beyond 2 GiB; empty: the family has none.
        first_saxigp: number of memory port 0 among the ports called SAXIGP (Zynq UltraScale+).
        clock, reset: output pins that drive the engine's clock and reset (active low).
        clock_property: property of its IP that asks for the clock, in MHz.
        divisor_properties: properties that hold the two divisors that the IP computed for it.
        pll_property: property that holds the feedback divisor that it computed for the IO PLL.
    """

    kind: str
    version: str
    primitive: str
    host_bus: str
    memory_bus: str
    memory_segment: str
    high_segment: str
    first_saxigp: int
    clock: str
    reset: str
    clock_property: str
    divisor_properties: tuple[str, str]
    pll_property: str

    @property
    def instance(self) -> str:
        """Instance in the design."""
        return f"{self.kind}_0"

    def clock_pin(self, bus: str) -> str:
        """Clock input of a bus of the processing system."""
        if self.kind == "processing_system7":
            return f"{bus}_ACLK"
        # M_AXI_HPM0_FPD is clocked by maxihpm0_fpd_aclk, S_AXI_HP0_FPD by saxihp0_fpd_aclk.
        prefix, _, rest = bus.partition("_AXI_")
        return f"{prefix}axi{rest}_aclk".lower()


FAMILIES = {
    "zynq": ProcessingSystem(
        kind="processing_system7", version="5.5", primitive="PS7", host_bus="M_AXI_GP0",
        memory_bus="S_AXI_HP{0}", memory_segment="S_AXI_HP{0}/HP{0}_DDR_LOWOCM", high_segment="",
        first_saxigp=0, clock="FCLK_CLK0", reset="FCLK_RESET0_N",
        clock_property="PCW_FPGA0_PERIPHERAL_FREQMHZ",
        divisor_properties=("PCW_FCLK0_PERIPHERAL_DIVISOR0", "PCW_FCLK0_PERIPHERAL_DIVISOR1"),
        pll_property="PCW_IOPLL_CTRL_FBDIV",
    ),
    "zynqmp": ProcessingSystem(
        kind="zynq_ultra_ps_e", version="3.5", primitive="PS8", host_bus="M_AXI_HPM0_FPD",
        memory_bus="S_AXI_HP{0}_FPD", memory_segment="SAXIGP{1}/HP{0}_DDR_LOW",
        high_segment="SAXIGP{1}/HP{0}_DDR_HIGH", first_saxigp=2, clock="pl_clk0",
        reset="pl_resetn0", clock_property="PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ",
        divisor_properties=("PSU__CRL_APB__PL0_REF_CTRL__DIVISOR0",
                            "PSU__CRL_APB__PL0_REF_CTRL__DIVISOR1"),
        pll_property="PSU__CRL_APB__IOPLL_CTRL__FBDIV",
    ),
}  # fmt: skip
"""Processing systems by device family."""


@dataclass(frozen=True)
class AddressWindow:
    """A span of DRAM that a master of the engine reaches.

    Attributes:
        segment: address segment of the processing system.
        offset: address of its first byte.
        size: bytes.
    """

    segment: str
    offset: int
    size: int


def processing_system(board: Board) -> ProcessingSystem:
    """The processing system of a board."""
    return FAMILIES[board.family]


def windows(board: Board, port: int) -> tuple[AddressWindow, ...]:
    """What master ``port`` reaches: all DRAM of the board, in one or two windows."""
    ps = processing_system(board)
    saxigp = ps.first_saxigp + port
    low = min(board.dram_bytes, _LOW_BYTES)
    found = [AddressWindow(ps.memory_segment.format(port, saxigp), 0, low)]
    if board.dram_bytes > low:
        segment = ps.high_segment.format(port, saxigp)
        found.append(AddressWindow(segment, _HIGH_ADDRESS, board.dram_bytes - low))
    return tuple(found)


def clock_divisor(board: Board, clock_mhz: float | None = None) -> int:
    """Divisor between the IO PLL and a clock in MHz (default: the clock that is asked for).

    Raises:
        ValueError: the clock is no integer fraction of the PLL.
    """
    wanted = board.clock_mhz if clock_mhz is None else clock_mhz
    pll_mhz = board.preset.pll_mhz
    divisor = round(pll_mhz / wanted)
    if divisor < 1 or not same_clock(pll_mhz / divisor, wanted):
        raise ValueError(f"{board.name}: no divisor of {pll_mhz:g} MHz gives {wanted:g} MHz")
    return divisor


def same_clock(first_mhz: float, second_mhz: float) -> bool:
    """Whether two clocks are one, but for how a tool rounds its crystal: within 0.1 %."""
    return abs(first_mhz - second_mhz) <= 1e-3 * second_mhz


def clock_choices(board: Board) -> tuple[float, ...]:
    """Clocks in MHz that a build of a board may have: the one asked for, then lower ones.

    All are the board's IO PLL over an integer, down to 80 % of the first. The flow tries them in
    this order; package, driver and description accept these and no other.
    """
    pll_mhz, first = board.preset.pll_mhz, clock_divisor(board)
    last = int(pll_mhz / (LOWEST_CLOCK * board.clock_mhz))
    return tuple(round(pll_mhz / divisor, 6) for divisor in range(first, last + 1))


def is_clock_of(board: Board, clock_mhz: float) -> bool:
    """Whether a build of ``board`` may have this clock."""
    return any(same_clock(clock_mhz, choice) for choice in clock_choices(board))


def parameters(board: Board) -> dict[str, str]:
    """Parameters of the engine that overlays carry, by name."""
    values: dict[str, object] = {key.upper(): v for key, v in asdict(board.config).items()}
    # Every object of Vivado has a property NAME of its own.
    values["CONFIGURATION"] = values.pop("NAME")
    values["ABI"] = registers.ABI_VERSION
    values["CONTRACT_HASH"] = contract.contract_hash(board.config)
    return {key: str(value) for key, value in values.items()}


def register_ranges(board: Board) -> dict[str, tuple[int, int]]:
    """Base address and size in bytes of the register spaces, by instance."""
    return {INSTANCE: (board.core_address, SPAN_BYTES)}


def port_widths(board: Board) -> dict[str, int]:
    """Data widths in bits of the used ports of the processing system, by IP parameter.

    ``pynq`` writes those of Zynq UltraScale+ into the port registers when it loads the overlay.
    """
    ps = processing_system(board)
    ports = range(board.config.ports)
    if ps.primitive == "PS7":
        return {f"C_S_AXI_HP{port}_DATA_WIDTH": MEMORY_BITS for port in ports}
    memory = {f"C_SAXIGP{ps.first_saxigp + port}_DATA_WIDTH": MEMORY_BITS for port in ports}
    return {"C_MAXIGP0_DATA_WIDTH": REGISTER_BITS, **memory}
