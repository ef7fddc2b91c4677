"""Renderers of ``overlays/gen/pt_ip_*.v`` and ``pt_board_*.sv``: the IP, and whole designs.

``pt_ip_*`` is what is packaged and built: the engine with the register bridge and the reset
synchroniser, on ports that the processing system's own are wired to. ``pt_board_*`` is the IP on
the primitive of the processing system, as the block design wires it: what Yosys elaborates and
synthesises is what Vivado builds.
"""

from __future__ import annotations

from pynq_train.hw.config import ZYNQ7020
from pynq_train.hw.design import FAMILIES
from pynq_train.hw.emit.text import HEADER
from pynq_train.hw.ip_ports import AXI_FAMILIES, ip_buses, ip_top
from pynq_train.hw.ports import (
    CLOCK,
    CONTROL_ADDRESS_BITS,
    INTERRUPT,
    RESET,
    TOP,
    Bus,
    Signal,
    buses,
)

_PADS = {
    "zynq": {"DDRA": 15, "DDRBA": 3, "DDRCASB": 1, "DDRCKE": 1, "DDRCKN": 1, "DDRCKP": 1,
             "DDRCSB": 1, "DDRDM": 4, "DDRDQ": 32, "DDRDQSN": 4, "DDRDQSP": 4, "DDRDRSTB": 1,
             "DDRODT": 1, "DDRRASB": 1, "DDRVRN": 1, "DDRVRP": 1, "DDRWEB": 1, "MIO": 54,
             "PSCLK": 1, "PSPORB": 1, "PSSRSTB": 1},
    "zynqmp": {},
}  # fmt: skip
"""Pads of the primitive that a design must bring out, in bits (PS8 keeps its own)."""

_PIN_BITS = {"zynq": 64, "zynqmp": 128}
"""Data width of a port's pins; narrower buses use the low bits (UG1085, AXI interfaces)."""
_HOST_PIN_BITS = {"zynq": 32, "zynqmp": 128}
_HOST = "MAXIGP0"
"""Prefix of the host port's pins."""

_Pins = list[tuple[str, str]]
"""Pins of an instance, and what is connected to each."""


def board_module(family: str) -> str:
    """Return the name of the top module of a device family's whole design."""
    return f"pt_board_{family}"


def board_path(family: str) -> str:
    """Return the path of the generated whole design, from the project's folder."""
    return f"overlays/gen/{board_module(family)}.sv"


def _range(bits: int) -> str:
    """Return the range of a signal with a space behind it; empty for one bit."""
    return f"[{bits - 1}:0] " if bits > 1 else ""


def _resize(name: str, have: int, want: int) -> str:
    """Return an expression of ``want`` bits for a signal of ``have`` bits.

    Missing bits are zeros on top; superfluous ones are cut off.
    """
    if have == want:
        return name
    return f"{{{want - have}'d0, {name}}}" if have < want else f"{name}[{want - 1}:0]"


def _connect(pins: _Pins) -> str:
    """Return the port connections of an instance."""
    return ",\n".join(f"    .{pin}({wire})" for pin, wire in pins)


# ---- the IP --------------------------------------------------------------------------------------
def _bridge(host: Bus, control: Bus) -> tuple[_Pins, set[str]]:
    """Return the connections of the register bridge, and the signals of ``host`` that it takes."""
    wanted = {"ARADDR": CONTROL_ADDRESS_BITS, "AWADDR": CONTROL_ADDRESS_BITS, "ARLEN": 8}
    passed = ("ID", "ADDR", "VALID", "READY", "DATA", "STRB", "LAST", "RESP")
    pins, taken = [], set()
    for signal in host.signals:
        channel = next(c for c in ("AR", "AW", "R", "W", "B") if signal.name.startswith(c))
        kind = signal.name.removeprefix(channel)
        if (kind not in passed and signal.name != "ARLEN") or signal.name == "WID":
            continue
        taken.add(signal.name)
        wire = _resize(host.port(signal), signal.bits, wanted.get(signal.name, signal.bits))
        pins.append((f"s_{signal.name.lower()}_{'i' if signal.from_master else 'o'}", wire))
    for signal in control.signals:
        way = "o" if signal.from_master else "i"
        pins.append((f"m_{signal.name.lower()}_{way}", f"reg_{signal.name.lower()}"))
    return pins, taken


def render_ip(family: str) -> str:
    """Return the text of the IP's top module: Verilog-2001, which every packager takes."""
    axi, masters = AXI_FAMILIES[family], ZYNQ7020.ports
    host, *memory = ip_buses(family, masters)
    control, *inner = buses(ZYNQ7020)
    ports = [f"  input  wire {CLOCK}", f"  input  wire {RESET}"]
    for bus in (host, *memory):
        for signal in bus.signals:
            way = "input  wire" if bus.is_input(signal) else "output wire"
            ports.append(f"  {way} {_range(signal.bits)}{bus.port(signal)}")
    wires = [f"  wire {_range(s.bits)}reg_{s.name.lower()};" for s in control.signals]
    bridge, taken = _bridge(host, control)
    unused = [host.port(s) for s in host.signals if s.from_master and s.name not in taken]
    unused += [f"{host.port(s)}[{s.bits - 1}:{CONTROL_ADDRESS_BITS}]" for s in host.signals
               if s.name.endswith("ADDR")]
    engine: _Pins = [(CLOCK, CLOCK), (RESET, "reset_q[1]"), (INTERRUPT, "interrupt")]
    engine += [(control.port(s), f"reg_{s.name.lower()}") for s in control.signals]
    assigns = []
    for outer, bus in zip(memory, inner):
        have = {signal.name: signal for signal in bus.signals}
        for signal in outer.signals:
            name, mine = outer.port(signal), have.get(signal.name)
            if mine is None and signal.from_master:
                # One transaction number, no locks, no priorities.
                assigns.append(f"  assign {name} = {signal.bits}'d0;")
            elif mine is None:
                unused.append(name)
            elif signal.from_master and mine.bits != signal.bits:
                inside = f"{name}_inside"
                wires.append(f"  wire {_range(mine.bits)}{inside};")
                assigns.append(f"  assign {name} = {_resize(inside, mine.bits, signal.bits)};")
                if mine.bits > signal.bits:
                    unused.append(f"{inside}[{mine.bits - 1}:{signal.bits}]")
                engine.append((name, inside))
            else:
                engine.append((name, name))
    newline = "\n"
    purpose = (f"// The engine as an IP: {axi.protocol} ports of a {FAMILIES[family].primitive}, "
               "register bridge inside.")
    return f"""{HEADER}{purpose}
//
// Contract: {RESET} may change at any time, two stages make it synchronous. Every bus has the
// widths of the processing system's port that it is wired to; no burst is longer than 16 beats and
// no address has more bits than the port. The interrupt stays inside: the driver polls.
module {ip_top(family)} (
{("," + newline).join(ports)}
);
  (* ASYNC_REG = "TRUE" *) reg [1:0] reset_q;
  always @(posedge {CLOCK}) reset_q <= {{reset_q[0], {RESET}}};

  wire interrupt;
{newline.join(wires)}

{newline.join(assigns)}

  pt_lite_bridge #(
    .IdBits({axi.host_id_bits}),
    .AddressBits({CONTROL_ADDRESS_BITS})
  ) u_bridge (
    .clk_i({CLOCK}),
    .rst_ni(reset_q[1]),
{_connect(bridge)}
  );

  {TOP} u_engine (
{_connect(engine)}
  );

  wire unused;
  assign unused = &{{1'b0, interrupt, {("," + newline + "    ").join(unused)}}};
endmodule
"""


# ---- whole designs -------------------------------------------------------------------------------
def _pin_bits(family: str, bus: Bus, signal: Signal) -> int:
    """Return the width of the primitive's pin behind a signal of the IP."""
    data = _HOST_PIN_BITS[family] if bus.slave else _PIN_BITS[family]
    if signal.name.endswith("DATA"):
        return data
    if signal.name.endswith("STRB"):
        return data // 8
    if family == "zynq" and signal.name.endswith("SIZE"):
        return 2  # no size above 3 exists on 64 bits
    return signal.bits


def _port(family: str, bus: Bus, prefix: str) -> tuple[list[str], _Pins]:
    """Return declarations and pins of the primitive's port that ``bus`` is wired to."""
    lines, pins = [], []
    for signal in bus.signals:
        name, bits = bus.port(signal), signal.bits
        pin_bits = _pin_bits(family, bus, signal)
        lines.append(f"  logic {_range(bits)}{name};")
        wire = _resize(name, bits, pin_bits)
        if bus.is_input(signal) and pin_bits != bits:
            # An output of the primitive of another width gets a wire of its own.
            wire = f"{name}_pin"
            lines += [f"  logic {_range(pin_bits)}{wire};",
                      f"  assign {name} = {_resize(wire, pin_bits, bits)};"]
        pins.append((f"{prefix}{signal.name}", wire))
    return lines, pins


def render_board(family: str) -> str:
    """Return the text of the whole design of a device family."""
    ps, pads = FAMILIES[family], _PADS[family]
    host, *memory = ip_buses(family, ZYNQ7020.ports)
    lines, pins = _port(family, host, _HOST)
    pins.append((f"{_HOST}ACLK", "clock"))
    for index, bus in enumerate(memory):
        prefix = f"SAXIHP{index}" if family == "zynq" else f"SAXIGP{ps.first_saxigp + index}"
        more, its_pins = _port(family, bus, prefix)
        lines += more
        clocks = ["ACLK"] if family == "zynq" else ["RCLK", "WCLK"]
        pins += its_pins + [(f"{prefix}{clock}", "clock") for clock in clocks]
        if family == "zynq":  # the ports issue as many bursts as their registers say
            pins += [(f"{prefix}{way}ISSUECAP1EN", "1'd0") for way in ("RD", "WR")]
    if family == "zynq":
        pins += [("FCLKCLK", "clocks"), ("FCLKRESETN", "resets")]
        clock, reset, reset_bits = "BUFG", "resets[0]", 4
    else:
        # The PS8 has no reset pin: its configuration drives the last GPIO as pl_resetn0.
        pins += [("PLCLK", "clocks"), ("EMIOGPIOO", "resets")]
        clock, reset, reset_bits = "BUFG_PS", "resets[95]", 96
    pins += [(pad, pad) for pad in pads]
    ip: _Pins = [(CLOCK, "clock"), (RESET, reset)]
    ip += [(bus.port(s), bus.port(s)) for bus in (host, *memory) for s in bus.signals]
    ports = ",\n".join(f"  inout wire {_range(bits)}{name}" for name, bits in pads.items())
    header = f"(\n{ports}\n);" if ports else "();"
    newline = "\n"
    return f"""{HEADER}// Whole design on a {ps.primitive}: the processing system and the IP.
module {board_module(family)} {header}
  logic [3:0] clocks;
  logic [{reset_bits - 1}:0] resets;
  logic clock;
{newline.join(lines)}

  {clock} u_clock (.I(clocks[0]), .O(clock));

  {ps.primitive} u_ps (
{_connect(pins)}
  );

  {ip_top(family)} u_ip (
{_connect(ip)}
  );
endmodule
"""
