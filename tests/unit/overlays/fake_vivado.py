"""Recording stand-ins for the Vivado commands that ``overlays/flow.tcl`` uses.

A Tcl interpreter runs the real flow. The stand-ins keep what it states as plain values, and answer
look-ups only for what exists: a pin of a cell that was not made, or of a bus that was not packaged,
is not found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]

# Pins and bus pins of the vendor's IPs, from their product guides (PG082, PG201, PG099, PG164,
# PG247). SmartConnect has as many numbered buses as its configuration says.
_PINS = {
    "processing_system7": ["FCLK_CLK0", "FCLK_RESET0_N", "M_AXI_GP0_ACLK", "IRQ_F2P",
                           *(f"S_AXI_HP{i}_ACLK" for i in range(4))],
    "zynq_ultra_ps_e": ["pl_clk0", "pl_resetn0", "maxihpm0_fpd_aclk", "pl_ps_irq0",
                        *(f"saxihp{i}_fpd_aclk" for i in range(4))],
    "axi_intc": ["s_axi_aclk", "s_axi_aresetn", "intr", "irq"],
    "proc_sys_reset": ["slowest_sync_clk", "ext_reset_in", "peripheral_aresetn"],
    "smartconnect": ["aclk", "aresetn"],
}  # fmt: skip
_BUSES = {
    "processing_system7": ["M_AXI_GP0", "DDR", "FIXED_IO", *(f"S_AXI_HP{i}" for i in range(4))],
    "zynq_ultra_ps_e": ["M_AXI_HPM0_FPD", *(f"S_AXI_HP{i}_FPD" for i in range(4))],
    "axi_intc": ["s_axi"],
    "proc_sys_reset": [],
}
_SEGMENTS = {
    "processing_system7": [f"S_AXI_HP{i}/HP{i}_DDR_LOWOCM" for i in range(4)],
    "zynq_ultra_ps_e": [f"SAXIGP{i + 2}/HP{i}_DDR_{part}" for i in range(4)
                        for part in ("LOW", "HIGH")],
    "axi_intc": ["S_AXI/Reg"],
}  # fmt: skip

_IGNORED = (
    "update_compile_order", "update_ip_catalog", "validate_bd_design", "save_bd_design",
    "ipx::create_xgui_files", "ipx::update_checksums", "ipx::check_integrity", "ipx::save_core",
    "close_project", "wait_on_run", "open_run", "create_bd_design",
)


class FakeVivado:
    """One run of the flow.

    Args:
        out: folder that receives results.
        slack_ns: slack that the timing analysis reports, setup and hold.
        clock_mhz: clock that the processing system reports.
    """

    def __init__(self, out: Path, slack_ns: str = "0.125", clock_mhz: float = 100.0) -> None:
        self.out = out
        self.slack_ns, self.clock_mhz = slack_ns, clock_mhz
        self.calls: list[tuple[str, ...]] = []
        self.properties: dict[str, dict[str, str]] = defaultdict(dict)
        self.ip: dict[str, str] = {}
        self.cells: dict[str, str] = {}
        self.external: dict[str, str] = {}
        self.interfaces: list[tuple[str, ...]] = []
        self.nets: dict[str, list[str]] = defaultdict(list)
        self.addresses: list[tuple[str, str, int, int]] = []
        self.parts: list[str] = []
        self.sources: list[Path] = []

    def run(self, board: str, overlays: Path = ROOT / "overlays") -> None:
        """Run the flow for a board.

        Raises:
            TclError: the flow stopped; the text is its sentence.
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
        interpreter.call("source", str(flow))

    def _recorded(self, interpreter: Any, name: str,
                  function: Callable[..., object]) -> Callable[..., object]:
        def command(*args: Any) -> object:
            words = [_text(interpreter, arg) for arg in args]
            self.calls.append((name, *words))
            result = function(*words)
            return "" if result is None else result

        return command

    # ---- projects and the packager ---------------------------------------------------------------
    def do_create_project(self, *args: str) -> None:
        self.parts.append(args[args.index("-part") + 1])

    def do_add_files(self, *args: str) -> None:
        if "rtl" in args[-1]:
            self.sources = [Path(name) for name in args[-1].split()]

    def do_current_fileset(self) -> str:
        return "fileset"

    def do_current_project(self) -> str:
        return "project"

    def do_ipx_package_project(self, *args: str) -> None:
        self.ip = {name: args[args.index(name) + 1] for name in ("-vendor", "-library")}

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
        answers = {
            "name": f"name of {of}", "PROGRESS": "100%", "STATUS": "route_design Complete!",
            "CONFIG.FREQ_HZ": str(int(self.clock_mhz * 1e6)),
            "STATS.WNS": self.slack_ns, "STATS.WHS": self.slack_ns,
        }  # fmt: skip
        return answers[name]

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
        have = own if kind == "pt_core" else list(vendor.get(kind, []))
        if kind == "smartconnect" and vendor is _BUSES:
            values = self.properties[cell]
            have = [f"S{i:02}_AXI" for i in range(int(values["CONFIG.NUM_SI"]))]
            have += [f"M{i:02}_AXI" for i in range(int(values["CONFIG.NUM_MI"]))]
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

    def do_launch_runs(self, *_args: str) -> None:
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
