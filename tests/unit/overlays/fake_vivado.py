"""Recording stand-ins for the Vivado commands that ``overlays/flow.tcl`` uses.

A Tcl interpreter runs the real flow. The stand-ins keep what it states as plain values, and answer
look-ups only for what exists: a pin of a cell that was not made, or of a bus that was not packaged,
is not found. They compute what Vivado computes (``fake_ps``): PLL and divisors from all peripherals
that are on. Buses that are connected must be alike, and a master that does not declare how many
bursts it has outstanding gets as many as an interconnect assumes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_ps

ROOT = Path(__file__).resolve().parents[3]

# Pins and bus pins of the processing systems, from their product guides (PG082, PG201).
_PINS = {
    "processing_system7": ["FCLK_CLK0", "FCLK_RESET0_N", "M_AXI_GP0_ACLK", "IRQ_F2P",
                           *(f"S_AXI_HP{i}_ACLK" for i in range(4))],
    "zynq_ultra_ps_e": ["pl_clk0", "pl_resetn0", "maxihpm0_fpd_aclk", "pl_ps_irq0",
                        *(f"saxihp{i}_fpd_aclk" for i in range(4))],
}  # fmt: skip
_BUSES = {
    "processing_system7": ["M_AXI_GP0", "DDR", "FIXED_IO", *(f"S_AXI_HP{i}" for i in range(4))],
    "zynq_ultra_ps_e": ["M_AXI_HPM0_FPD", *(f"S_AXI_HP{i}_FPD" for i in range(4))],
}
_SEGMENTS = {
    "processing_system7": [f"S_AXI_HP{i}/HP{i}_DDR_LOWOCM" for i in range(4)],
    "zynq_ultra_ps_e": [f"SAXIGP{i + 2}/HP{i}_DDR_{part}" for i in range(4)
                        for part in ("LOW", "HIGH")],
}  # fmt: skip
UNDECLARED = "2"
"""Bursts that an interconnect lets a master have outstanding that declares no number (PG247)."""

_IGNORED = (
    "update_compile_order", "update_ip_catalog", "save_bd_design", "open_bd_design",
    "ipx::create_xgui_files", "ipx::update_checksums", "ipx::check_integrity", "ipx::save_core",
    "wait_on_run", "open_run", "close_design", "create_bd_design", "reset_run",
)


class FakeVivado:
    """One run of the flow.

    Args:
        out: folder that receives results.
        slacks_ns: slacks that the timing analysis reports, setup and hold, one for each routing;
            the last one holds for all that follow.
        repaired_ns: slack behind the physical optimisation of a routed design; None: as before it.
        board_parts: board files that are installed, with the part of each.

    Attributes:
        outstanding: reads and writes that each connected memory port lets its master have open.
        routings: directives and clock of every attempt.
        runs: runs that were launched.
    """

    def __init__(self, out: Path, slacks_ns: tuple[str, ...] = ("0.125",),
                 repaired_ns: str | None = None,
                 board_parts: dict[str, str] | None = None) -> None:
        self.out = out
        self.slacks_ns, self.repaired_ns = slacks_ns, repaired_ns
        self.board_parts = board_parts or {}
        self.runs: list[str] = []
        self.routings: list[tuple[str, ...]] = []
        self.calls: list[tuple[str, ...]] = []
        self.properties: dict[str, dict[str, str]] = defaultdict(dict)
        self.ip: dict[str, str] = {}
        self.parts: list[str] = []
        self.sources: list[Path] = []
        self.presets: list[str] = []
        self.outstanding: dict[str, tuple[str, str]] = {}
        self._new_design()

    def _new_design(self) -> None:
        """Forget the block design: another project begins."""
        for cell in getattr(self, "cells", {}):
            self.properties.pop(cell, None)
        self.cells: dict[str, str] = {}
        self.external: dict[str, str] = {}
        self.interfaces: list[tuple[str, ...]] = []
        self.nets: dict[str, list[str]] = defaultdict(list)
        self.addresses: list[tuple[str, str, int, int]] = []
        self._repaired = False

    def run(self, board: str, overlays: Path = ROOT / "overlays") -> None:
        """Run the flow for a board.

        Raises:
            TclError: the flow stopped; the text is its sentence.
            ValueError: Vivado would have stopped.
        """
        import tkinter

        interpreter = tkinter.Tcl()
        interpreter.eval("namespace eval ipx {}")
        known = {name.removeprefix("do_"): getattr(self, name) for name in dir(self)
                 if name.startswith("do_")}
        commands: dict[str, Callable[..., object]] = {
            **dict.fromkeys(_IGNORED, lambda *_: ""),
            **{name.replace("ipx_", "ipx::"): function for name, function in known.items()},
        }
        for name, function in commands.items():
            interpreter.createcommand(name, self._recorded(interpreter, name, function))
        flow = overlays / "flow.tcl"
        interpreter.call("set", "argv", (board, str(self.out), "2"))
        self._error: Exception | None = None
        try:
            interpreter.call("source", str(flow))
        except tkinter.TclError:
            if self._error is not None:
                raise self._error from None
            raise

    def _recorded(self, interpreter: Any, name: str,
                  function: Callable[..., object]) -> Callable[..., object]:
        def command(*args: Any) -> object:
            words = [_text(interpreter, arg) for arg in args]
            self.calls.append((name, *words))
            try:
                result = function(*words)
            except Exception as error:  # Tcl keeps no more of it than that there was one
                self._error = error
                raise
            return "" if result is None else result

        return command

    # ---- projects and the packager ---------------------------------------------------------------
    def do_create_project(self, *args: str) -> None:
        self.parts.append(args[args.index("-part") + 1])
        self._new_design()

    def do_close_project(self) -> None:
        self._new_design()

    def do_get_board_parts(self, _quiet: str, pattern: str) -> str:
        return " ".join(n for n in self.board_parts if n.startswith(pattern.removesuffix("*")))

    def do_apply_bd_automation(self, *args: str) -> None:
        assert "apply_board_preset" in args[3]
        self.presets.append(args[-1])

    def do_add_files(self, *args: str) -> None:
        if args[-1] != "wrapper.v":
            self.sources = [Path(name) for name in args[-1].split()]

    def do_current_fileset(self) -> str:
        return "fileset"

    def do_current_project(self) -> str:
        return "project"

    def do_ipx_package_project(self, *args: str) -> None:
        self.ip = {name: args[args.index(name) + 1] for name in ("-vendor", "-library")}
        self.ip["top"] = self.properties["fileset"]["top"]

    def do_ipx_current_core(self) -> str:
        return "core"

    def do_ipx_remove_all_bus_interface(self, _core: str) -> None:
        assert not any(key.startswith("bus:") for key in self.properties)

    def do_ipx_get_memory_maps(self, *_args: str) -> str:
        return "guessed"

    do_ipx_get_address_spaces = do_ipx_get_memory_maps

    def do_ipx_remove_memory_map(self, name: str, _core: str) -> None:
        assert name == "name of guessed"

    do_ipx_remove_address_space = do_ipx_remove_memory_map

    def _add(self, kind: str, name: str, parent: str) -> str:
        handle = f"{kind}:{name}" if parent == "core" else f"{parent}|{kind}:{name}"
        assert handle not in self.properties, f"{handle} was added twice"
        self.properties[handle] = {}
        return handle

    def do_ipx_add_bus_interface(self, name: str, parent: str) -> str:
        return self._add("bus", name, parent)

    def do_ipx_add_port_map(self, name: str, parent: str) -> str:
        return self._add("port", name, parent)

    def do_ipx_add_bus_parameter(self, name: str, parent: str) -> str:
        return self._add("parameter", name, parent)

    def do_ipx_add_address_space(self, name: str, parent: str) -> str:
        return self._add("space", name, parent)

    def do_ipx_add_memory_map(self, name: str, parent: str) -> str:
        return self._add("map", name, parent)

    def do_ipx_add_address_block(self, name: str, parent: str) -> str:
        return self._add("block", name, parent)

    def do_ipx_add_register(self, name: str, parent: str) -> str:
        return self._add("register", name, parent)

    def do_ipx_add_field(self, name: str, parent: str) -> str:
        return self._add("field", name, parent)

    def do_ipx_add_user_parameter(self, name: str, parent: str) -> str:
        return self._add("parameter", name, parent)

    def do_set_property(self, *args: str) -> None:
        if args[0] == "-dict":
            import tkinter

            pairs = tkinter.Tcl().splitlist(args[1])
            self.properties[args[2]].update(zip(pairs[::2], pairs[1::2]))
        else:
            self.properties[args[2]][args[0].lower()] = args[1]

    def do_get_property(self, name: str, of: str) -> str:
        if of in self.cells and name.startswith("CONFIG."):
            return self.properties[of][name]
        if name == "CONFIG.FREQ_HZ":
            return self.properties[of][name]
        if name == "PART_NAME":
            return self.board_parts[of]
        answers = {"name": f"name of {of}", "PROGRESS": "100%", "STATUS": "route_design Complete!",
                   "SLACK": self._slack()}
        return answers[name]

    def _slack(self) -> str:
        if self._repaired and self.repaired_ns is not None:
            return self.repaired_ns
        return self.slacks_ns[min(len(self.routings), len(self.slacks_ns)) - 1]

    # ---- the block design ------------------------------------------------------------------------
    def do_create_bd_cell(self, *args: str) -> str:
        name = args[-1]
        assert name not in self.cells
        self.cells[name] = args[args.index("-vlnv") + 1]
        return name

    def do_create_bd_intf_port(self, *args: str) -> str:
        self.external[args[-1]] = args[args.index("-vlnv") + 1]
        return f"pads/{args[-1]}"

    def _kind(self, cell: str) -> str:
        return self.cells[cell].split(":")[2]

    def _packaged(self, logical: tuple[str, ...]) -> list[str]:
        """Physical ports of packaged single-wire interfaces."""
        return [values["physical_name"] for key, values in self.properties.items()
                if key.startswith("bus:") and key.split("|port:")[-1] in logical]

    def _look_up(self, name: str, vendor: dict[str, list[str]], own: list[str]) -> str:
        cell, _, rest = name.partition("/")
        if cell not in self.cells:
            return ""
        kind = self._kind(cell)
        have = own if kind == "pt_core" else vendor.get(kind, [])
        return name if rest in have else ""

    def _buses(self) -> list[str]:
        return [key.removeprefix("bus:") for key in self.properties
                if key.startswith("bus:") and "|" not in key]

    def do_get_bd_pins(self, name: str) -> str:
        return self._look_up(name, _PINS, self._packaged(("CLK", "RST", "INTERRUPT")))

    def do_get_bd_intf_pins(self, name: str) -> str:
        return self._look_up(name, _BUSES, self._buses())

    def do_get_bd_addr_spaces(self, name: str) -> str:
        own = [values["master_address_space_ref"] for key, values in self.properties.items()
               if key.startswith("bus:") and "master_address_space_ref" in values]
        host = {"processing_system7": ["Data"], "zynq_ultra_ps_e": ["Data"]}
        return self._look_up(name, host, own)

    def do_get_bd_addr_segs(self, name: str) -> str:
        own = [key.replace("map:", "").replace("|block:", "/") for key in self.properties
               if key.startswith("map:") and key.count("|") == 1]
        return self._look_up(name, _SEGMENTS, own)

    def do_connect_bd_intf_net(self, *pins: str) -> None:
        self.interfaces.append(pins)

    def do_get_bd_cells(self, name: str) -> str:
        return name if name in self.cells else ""

    def do_validate_bd_design(self) -> None:
        """Compute PLL, divisors and clock; look at what is connected."""
        for cell in self.cells:
            if self._kind(cell) in _PINS:
                values = self.properties[cell]
                computed = fake_ps.compute(self._kind(cell), values)
                values.update(computed.properties)
                pin = {"processing_system7": "FCLK_CLK0", "zynq_ultra_ps_e": "pl_clk0"}
                self.properties[f"{cell}/{pin[self._kind(cell)]}"]["CONFIG.FREQ_HZ"] = str(
                    round(computed.clock_mhz * 1e6))
        for master, slave in self.interfaces:
            if "pads/" not in master:
                self._check_connection(master, slave)

    def _bus_values(self, pin: str) -> dict[str, str]:
        """Protocol and widths of a bus: of the packaged engine, or of a processing system."""
        cell, _, bus = pin.partition("/")
        if self._kind(cell) != "pt_core":
            return fake_ps.bus(self._kind(cell), bus, self.properties[cell])
        found = {key.rsplit(":", 1)[-1]: values["value"] for key, values in self.properties.items()
                 if key.startswith(f"bus:{bus}|parameter:")}
        ports = {key.rsplit(":", 1)[-1]: values["physical_name"] for key, values in
                 self.properties.items() if key.startswith(f"bus:{bus}|port:")}
        for name, port in (("ADDR_WIDTH", "AWADDR"), ("DATA_WIDTH", "WDATA"), ("ID_WIDTH", "AWID")):
            found[name] = str(self._widths()[ports[port]])
        return found

    def _widths(self) -> dict[str, int]:
        """Bits of the ports of the packaged top module, from its text."""
        top = next(path for path in self.sources if path.stem == self.ip["top"])
        text = top.read_text(encoding="utf-8")
        ports = re.findall(r"(?:input|output)\s+wire (?:\[(\d+):0\] )?(\w+)", text)
        return {name: int(high or 0) + 1 for high, name in ports}

    def _check_connection(self, master: str, slave: str) -> None:
        """Refuse buses that Vivado would not connect without something between them."""
        first, second = self._bus_values(master), self._bus_values(slave)
        for name in ("PROTOCOL", "ADDR_WIDTH", "DATA_WIDTH", "ID_WIDTH"):
            if first[name] != second[name]:
                raise ValueError(f"[BD 41-237] Bus Interface property {name} does not match "
                                 f"between {slave}({second[name]}) and {master}({first[name]})")
        if master.startswith("pt_core"):
            self.outstanding[slave] = (first.get("NUM_READ_OUTSTANDING", UNDECLARED),
                                       first.get("NUM_WRITE_OUTSTANDING", UNDECLARED))

    def do_connect_bd_net(self, driver: str, sink: str) -> None:
        self.nets[driver].append(sink)

    def do_assign_bd_address(self, *args: str) -> None:
        options = {args[i]: args[i + 1] for i in range(0, 6, 2)}
        self.addresses.append((options["-target_address_space"], args[6],
                               int(options["-offset"], 0), int(options["-range"], 0)))

    # ---- implementation --------------------------------------------------------------------------
    def do_get_files(self, name: str) -> str:
        return name

    def do_make_wrapper(self, *_args: str) -> str:
        return "wrapper.v"

    def do_get_runs(self, name: str) -> str:
        return name

    def do_phys_opt_design(self, *_args: str) -> None:
        self._repaired = True

    def do_get_timing_paths(self, option: str) -> str:
        return f"worst path {option}"

    def do_launch_runs(self, run: str, *_args: str) -> None:
        self.runs.append(run)
        if run == "impl_1":
            values = self.properties[run]
            clock = next(v for name, v in self.properties.items() if name.endswith(
                ("/FCLK_CLK0", "/pl_clk0")))["CONFIG.FREQ_HZ"]
            self.routings.append((f"{int(clock) / 1e6:.1f}", *(
                values[f"steps.{step}.args.directive"] for step in
                ("place_design", "phys_opt_design", "route_design"))))
            self._repaired = False
        folder = self.out / "project" / "pynq_train.gen/sources_1/bd/pynq_train/hw_handoff"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "pynq_train.hwh").write_text("<EDKSYSTEM/>")

    def do_report_utilization(self, *args: str) -> None:
        Path(args[-1]).write_text("utilization")

    def do_report_timing_summary(self, *args: str) -> None:
        Path(args[-1]).write_text("timing")

    def do_write_bitstream(self, *args: str) -> None:
        Path(args[-1]).write_bytes(b"bits")

    def do_version(self, *_args: str) -> str:
        return "2024.1"


def _text(interpreter: Any, value: Any) -> str:
    """A Tcl word as text; tkinter hands lists over as tuples."""
    if isinstance(value, tuple):
        return str(interpreter.call("join", tuple(_element(interpreter, v) for v in value)))
    return str(value)


def _element(interpreter: Any, value: Any) -> str:
    return str(interpreter.call("list", _text(interpreter, value)))
