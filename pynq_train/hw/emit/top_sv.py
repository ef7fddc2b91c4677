"""Renderer of ``overlays/gen/pt_board_*.sv``: whole designs around the primitive of the PS.

Each holds the processing system's primitive, clock buffer, reset synchroniser, register bridge and
the engine, wired as the block design of the overlay wires them; the interconnects and the interrupt
controller of the vendor are left out. Yosys elaborates and synthesises these designs.
"""

from __future__ import annotations

from pynq_train.hw.boards import Board
from pynq_train.hw.config import ZYNQ7020
from pynq_train.hw.design import FAMILIES
from pynq_train.hw.emit.text import HEADER
from pynq_train.hw.ports import (
    CLOCK,
    CONTROL_ADDRESS_BITS,
    CONTROL_BUS,
    INTERRUPT,
    REGISTER_BITS,
    RESET,
    TOP,
    Bus,
    Signal,
    buses,
    master_bus,
)

_PADS = {
    "zynq": {"DDRA": 15, "DDRBA": 3, "DDRCASB": 1, "DDRCKE": 1, "DDRCKN": 1, "DDRCKP": 1,
             "DDRCSB": 1, "DDRDM": 4, "DDRDQ": 32, "DDRDQSN": 4, "DDRDQSP": 4, "DDRDRSTB": 1,
             "DDRODT": 1, "DDRRASB": 1, "DDRVRN": 1, "DDRVRP": 1, "DDRWEB": 1, "MIO": 54,
             "PSCLK": 1, "PSPORB": 1, "PSSRSTB": 1},
    "zynqmp": {},
}  # fmt: skip
"""Pads of the primitive that a design must bring out, in bits (PS8 keeps its own)."""

_ID_BITS = {"zynq": 12, "zynqmp": 16}
"""Bits of the transaction numbers at the host port."""
_HOST_BITS = {"zynq": 32, "zynqmp": 128}
"""Data width of the host port's pins; narrower buses use the low bits (UG1085, AXI interfaces)."""
_MEMORY_PIN_BITS = {"zynq": 64, "zynqmp": 128}
"""Data width of a memory port's pins."""
_MEMORY_ADDRESS_BITS = {"zynq": 32, "zynqmp": 49}
"""Address bits of a memory port's pins."""
_HOST = "MAXIGP0"
"""Prefix of the host port's pins."""
_MASTER_SIGNALS = frozenset(s.name for s in master_bus(0).signals)


def module_name(board: Board) -> str:
    """Return the name of the top module of a board's family."""
    return f"pt_board_{board.family}"


def path(family: str) -> str:
    """Return the path of the generated file, from the project's folder."""
    return f"overlays/gen/pt_board_{family}.sv"


def _range(bits: int) -> str:
    """Return the range of a signal with a space behind it; empty for one bit."""
    return f"[{bits - 1}:0] " if bits > 1 else ""


def _wires(bus: Bus) -> list[str]:
    """Return the declarations of a bus's signals."""
    return [f"  logic {_range(s.bits)}{bus.port(s)};" for s in bus.signals]


def _resize(name: str, have: int, want: int) -> str:
    """Return an expression of ``want`` bits for a signal of ``have`` bits.

    Missing bits are zeros on top; superfluous ones are cut off.
    """
    if have == want:
        return name
    return f"{{{want - have}'d0, {name}}}" if have < want else f"{name}[{want - 1}:0]"


def _memory_pin(family: str, bus: Bus, signal: Signal, prefix: str) -> tuple[str, str]:
    """Return a pin of the primitive and what is connected to it, for one signal of a master.

    An output of the primitive that is wider than the signal gets a wire of its own,
    ``<signal>_pin``.
    """
    name, bits = bus.port(signal), signal.bits
    pin_bits = bits
    if signal.name.endswith("ADDR"):
        pin_bits = _MEMORY_ADDRESS_BITS[family]
    elif signal.name.endswith("DATA"):
        pin_bits = _MEMORY_PIN_BITS[family]
    elif signal.name.endswith("STRB"):
        pin_bits = _MEMORY_PIN_BITS[family] // 8
    elif family == "zynq" and signal.name.endswith("LEN"):
        pin_bits = 4  # AXI3; no burst of the engine is longer than 16 beats
    elif family == "zynq" and signal.name.endswith("SIZE"):
        pin_bits = 2
    if not signal.from_master and pin_bits > bits:
        return f"{prefix}{signal.name}", f"{name}_pin"
    return f"{prefix}{signal.name}", _resize(name, bits, pin_bits)


def _memory_port(family: str, index: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Return declarations and connections of memory port ``index``."""
    bus = master_bus(index)
    ps = FAMILIES[family]
    prefix = f"SAXIHP{index}" if family == "zynq" else f"SAXIGP{ps.first_saxigp + index}"
    pins = [_memory_pin(family, bus, signal, prefix) for signal in bus.signals]
    lines = _wires(bus)
    for _, wire in pins:
        if wire.endswith("_pin"):
            port = wire.removesuffix("_pin")
            bits = next(s.bits for s in bus.signals if bus.port(s) == port)
            lines += [f"  logic [{_MEMORY_PIN_BITS[family] - 1}:0] {wire};",
                      f"  assign {port} = {wire}[{bits - 1}:0];"]
    clocks = ["ACLK"] if family == "zynq" else ["RCLK", "WCLK"]
    pins += [(f"{prefix}{clock}", "clock") for clock in clocks]
    # Inputs of the primitive that the engine does not drive: it uses one transaction number and no
    # locks.
    tied = {"ARID": 6, "AWID": 6, "ARQOS": 4, "AWQOS": 4}
    if family == "zynq":
        tied |= {"WID": 6, "ARLOCK": 2, "AWLOCK": 2, "RDISSUECAP1EN": 1, "WRISSUECAP1EN": 1}
    else:
        tied |= {"ARLOCK": 1, "AWLOCK": 1, "ARUSER": 1, "AWUSER": 1}
    assert not tied.keys() & _MASTER_SIGNALS
    return lines, pins + [(f"{prefix}{name}", f"{bits}'d0") for name, bits in tied.items()]


def _host_port(family: str) -> tuple[list[str], list[tuple[str, str]], list[tuple[str, str]]]:
    """Return what the host port needs.

    Returns:
        Declarations, connections of the primitive, connections of the register bridge.
    """
    ids, data = _ID_BITS[family], _HOST_BITS[family]
    lens = 4 if family == "zynq" else 8
    address = 32 if family == "zynq" else 40
    widths = {
        "AWID": ids, "AWADDR": address, "AWVALID": 1, "AWREADY": 1, "WDATA": data,
        "WSTRB": data // 8, "WLAST": 1, "WVALID": 1, "WREADY": 1, "BID": ids, "BRESP": 2,
        "BVALID": 1, "BREADY": 1, "ARID": ids, "ARADDR": address, "ARLEN": lens, "ARVALID": 1,
        "ARREADY": 1, "RID": ids, "RDATA": data, "RRESP": 2, "RLAST": 1, "RVALID": 1, "RREADY": 1,
    }  # fmt: skip
    lines = [f"  logic {_range(bits)}host_{name.lower()};" for name, bits in widths.items()]
    pins = [(f"{_HOST}{name}", f"host_{name.lower()}") for name in widths]
    bridge = []
    used = {"AWADDR": CONTROL_ADDRESS_BITS, "ARADDR": CONTROL_ADDRESS_BITS, "ARLEN": 8,
            "WDATA": REGISTER_BITS, "WSTRB": REGISTER_BITS // 8, "RDATA": REGISTER_BITS}
    inputs = ("AWID", "AWADDR", "AWVALID", "WDATA", "WSTRB", "WLAST", "WVALID", "BREADY", "ARID",
              "ARADDR", "ARLEN", "ARVALID", "RREADY")
    for name, bits in widths.items():
        way = "i" if name in inputs else "o"
        wire = f"host_{name.lower()}"
        if name == "RDATA" and bits > REGISTER_BITS:
            lines += ["  logic [31:0] register_rdata;",
                      f"  assign {wire} = {_resize('register_rdata', REGISTER_BITS, bits)};"]
            wire = "register_rdata"
        else:
            wire = _resize(wire, bits, used.get(name, bits))
        bridge.append((f"s_{name.lower()}_{way}", wire))
    return lines, [*pins, (f"{_HOST}ACLK", "clock")], bridge


def _connect(pins: list[tuple[str, str]]) -> str:
    """Return the port connections of an instance."""
    return ",\n".join(f"    .{pin}({wire})" for pin, wire in pins)


def render(family: str) -> str:
    """Return the text of the whole design of a device family."""
    ps, pads = FAMILIES[family], _PADS[family]
    lines, pins, bridge = _host_port(family)
    control = buses(ZYNQ7020)[0]
    lines += _wires(control)
    for index in range(ZYNQ7020.ports):
        more, memory = _memory_port(family, index)
        lines += more
        pins += memory
    if family == "zynq":
        pins += [("FCLKCLK", "clocks"), ("FCLKRESETN", "resets"), ("IRQF2P", "{19'd0, interrupt}")]
        clock, reset, reset_bits = "BUFG", "resets[0]", 4
    else:
        # The PS8 has no reset pin: its configuration drives the last GPIO as pl_resetn0.
        pins += [("PLCLK", "clocks"), ("EMIOGPIOO", "resets"), ("PLPSIRQ0", "{7'd0, interrupt}")]
        clock, reset, reset_bits = "BUFG_PS", "resets[95]", 96
    pins += [(pad, pad) for pad in pads]
    for signal in control.signals:
        way = "o" if signal.from_master else "i"
        bridge.append((f"m_{signal.name.lower()}_{way}", control.port(signal)))
    engine = [(CLOCK, "clock"), (RESET, "reset_q[1]"), (INTERRUPT, "interrupt")]
    engine += [(bus.port(s), bus.port(s)) for bus in buses(ZYNQ7020) for s in bus.signals]
    ports = ",\n".join(f"  inout wire {_range(bits)}{name}" for name, bits in pads.items())
    header = f"(\n{ports}\n);" if ports else "();"
    newline = "\n"
    purpose = f"// Whole design on a {ps.primitive}: processing system, register bridge, engine."
    return f"""{HEADER}{purpose}
module pt_board_{family} {header}
  logic [3:0] clocks;
  logic [{reset_bits - 1}:0] resets;
  logic clock, interrupt;
{newline.join(lines)}

  {clock} u_clock (.I(clocks[0]), .O(clock));

  // The reset of the processing system is released at any time: two stages make it synchronous.
  (* ASYNC_REG = "TRUE" *) logic [1:0] reset_q;
  always_ff @(posedge clock) reset_q <= {{reset_q[0], {reset}}};

  // The processing system.
  {ps.primitive} u_ps (
{_connect(pins)}
  );

  pt_lite_bridge #(
    .IdBits({_ID_BITS[family]}),
    .AddressBits({CONTROL_ADDRESS_BITS})
  ) u_bridge (
    .clk_i(clock),
    .rst_ni(reset_q[1]),
{_connect(bridge)}
  );

  // The engine: {CONTROL_BUS} and the memory ports.
  {TOP} u_engine (
{_connect(engine)}
  );
endmodule
"""
