"""Write ``docs/boards.md``: what every board takes, and how fast it is predicted to be.

    python -m benchmarks.boards                            # from stored figures and the cycle model
    python -m benchmarks.boards --simulate                 # counts cycles on the RTL first
    python -m benchmarks.boards --simulate zcu104          # those of one board only

Resources come from ``overlays/resources.json`` (``make synth``), counted cycles from
``benchmarks/simulated.json``, released bit files from the package's manifest. No number is typed.
"""
# ruff: noqa: T201

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from pynq_train.bench import bench_step
from pynq_train.errors import DoesNotFit
from pynq_train.graph import zoo
from pynq_train.hw import design
from pynq_train.hw.boards import BOARDS, Board
from pynq_train.layers import fuse
from pynq_train.overlays import released
from pynq_train.schedule.plan import make_plan
from pynq_train.schedule.predict import predict
from sim import synth

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "boards.md"
SIMULATED = ROOT / "benchmarks" / "simulated.json"
BATCH = {"digits": 32, "lenet5": 32, "1x": 128, "ds_cnn_s": 16, "mobilenet_v1_025": 16,
         "resnet20": 16, "vgg16": 1}
"""Mini-batches of the zoo's networks."""
SIMULATED_NETS = ("digits", "lenet5", "1x")

_MIB = 1 << 20
_INTRO = f"""<!-- Written by "python -m benchmarks.boards". Do not edit. -->

# Boards

**No figure on this page was measured on a board.** Every line says what it rests on:

* *measured*: read on a board. There is no such line yet.
* *simulated*: cycles counted by the RTL of the board's configuration on a memory as fast as is
  assumed of the board's, at the board's clock (`python -m benchmarks.boards --simulate`, stored in
  `benchmarks/simulated.json`). Boards that are alike in these share a count.
* *predicted*: from the cycle model ([performance.md](performance.md) says how close it comes).
* *synthesised*: counted by Yosys on what is built, the IP on the processing system's primitive
  ([adr/015](adr/015-the-ip-alone.md)). No placement, no routing.

`make overlay BOARD=...` builds a bit file with Vivado and refuses negative slack: it tries several
strategies at the clock that is asked for, then the lower ones below. `make synth BOARD=...` repeats
the synthesis and compares it with these figures within {synth.TOLERANCE:.0%}.
"""

Row = tuple[object, ...]


@cache
def prediction(config: str, bytes_per_cycle: int, clock_mhz: float, cma_bytes: int,
               net: str) -> tuple[float, int] | None:
    """Return predicted ms per image and arena bytes of a training step; None: it does not fit.

    Boards are named by what the cycle model knows of them, so that alike ones are predicted once.
    """
    wanted = (config, bytes_per_cycle, clock_mhz, cma_bytes)
    board = next(b for b in BOARDS.values() if _key(b) == wanted)
    try:
        plan = make_plan(fuse(zoo.get(net)), BATCH[net], board)
    except DoesNotFit:
        return None
    return predict(plan, plan.train).ms_per_image, plan.memory.nbytes


def _key(board: Board) -> tuple[str, int, float, int]:
    """Return what the cycle model knows of a board."""
    return board.config.name, board.dram_bytes_per_cycle, board.clock_mhz, board.cma_bytes


def predicted(board: Board, net: str) -> tuple[float, int] | None:
    """Return :func:`prediction` for a board."""
    return prediction(*_key(board), net)


def counted_as(board: Board) -> str:
    """Return the first board that is alike to the engine: its counted cycles hold for this one."""
    return next(b.name for b in BOARDS.values() if _engine_key(b) == _engine_key(board))


def _engine_key(board: Board) -> tuple[str, int, float]:
    """Return what a simulation of the RTL knows of a board."""
    return board.config.name, board.dram_bytes_per_cycle, board.clock_mhz


def simulate(board: Board) -> dict[str, dict[str, int]]:
    """Return the cycles of a training step of the smaller networks, counted by the RTL."""
    found = {}
    for net in SIMULATED_NETS:
        result = bench_step(zoo.get(net), BATCH[net], board)
        found[net] = {"batch": BATCH[net], "cycles": int(result.whole.total)}
        print(f"{board.name} {net}: {found[net]['cycles']} cycles", flush=True)
    return found


def simulated() -> dict[str, dict[str, dict[str, int]]]:
    """Return the counted cycles by board and network."""
    values: dict[str, dict[str, dict[str, int]]] = json.loads(SIMULATED.read_text(encoding="utf-8"))
    return values


def _table(head: Row, rows: Iterator[Row]) -> str:
    """Return a table in Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def _resources() -> Iterator[Row]:
    """Yield a row on configuration and resources of each board."""
    stored = synth.stored()
    for board in BOARDS.values():
        figures, budget = stored[synth.key(board)], board.budget
        limits = {"dsp": budget.dsp, "bram36": budget.bram36, "lut": budget.lut, "ff": budget.ff}
        cells = (f"{figures[name]:,g} of {limit:,}" for name, limit in limits.items())
        config = board.config
        yield (board.name, f"`{board.part}`", f"`{config.name}`", config.multipliers, *cells,
               "synthesised")


def _clocks() -> Iterator[Row]:
    """Yield a row on the clock of each board."""
    stored, builds = synth.stored(), released()
    for board in BOARDS.values():
        delay = stored[synth.key(board)]["cell_delay_ns"]
        build = builds.get(board.name)
        routed = "not yet" if build is None else (
            f"{build.clock_mhz:g} MHz, slack {build.setup_slack_ns} ns (Vivado {build.vivado})")
        lower = ", ".join(f"{clock:.1f}" for clock in design.clock_choices(board)[1:])
        yield (board.name, f"{board.clock_mhz:g} MHz", f"{lower} MHz",
               f"{1000 / board.clock_mhz:.1f} ns", f"{delay:.2f} ns", routed, "synthesised")


def _memory() -> Iterator[Row]:
    """Yield a row on the memory of each board."""
    for board in BOARDS.values():
        gbs = board.dram_bytes_per_cycle * board.clock_mhz * 1e6 / 1e9
        yield (board.name, f"{board.dram_bytes // _MIB} MiB", f"{board.cma_bytes // _MIB} MiB",
               f"{board.dram_bytes_per_cycle} bytes per cycle, {gbs:.1f} GB/s", "assumed")


def _speed(of: Callable[[Board, str], tuple[float, int] | None]) -> Iterator[Row]:
    """Yield a row for each board and network: predicted and counted times."""
    counted = simulated()
    for board in BOARDS.values():
        for net, batch in BATCH.items():
            found = of(board, net)
            if found is None:
                yield (board.name, net, batch, "-", "does not fit the contiguous memory",
                       "predicted")
                continue
            ms, nbytes = found
            arena = f"{nbytes / _MIB:.1f} MiB"
            yield board.name, net, batch, f"{ms:.4f}", arena, "predicted"
            run = counted.get(counted_as(board), {}).get(net)
            if run is not None:
                ms = run["cycles"] / board.clock_mhz / 1e3 / run["batch"]
                yield board.name, net, run["batch"], f"{ms:.4f}", arena, "simulated"


def render(of: Callable[[Board, str], tuple[float, int] | None] = predicted) -> str:
    """Return the text of the page; ``of``: where predictions come from."""
    names = "DSP", "BRAM36", "LUT", "FF"
    return "\n".join([
        _INTRO, "## Configuration and resources\n",
        "*x of y*: y is the budget, the share of the part at which timing is usually met; a board "
        "refuses a configuration that\ntakes more DSPs or block memories. Yosys "
        "moves the registers and sums of the array\ninto the DSPs of the Zynq-7000 only: LUTs, FFs "
        "and cell delay of Zynq UltraScale+ are more than Vivado should need.\n",
        _table(("board", "part", "configuration", "multipliers", *names, "rests on"),
               _resources()),
        "## Clock\n",
        "The cell delay is the longest path without wires; about half of a period is left for "
        "them. Boards of one family and\nconfiguration are one design. A build may fall back to "
        "the lower clocks, fractions of the board's IO PLL; package,\ndriver and `doctor` then "
        "follow its manifest.\n",
        _table(("board", "clock", "falls back to", "period", "cell delay", "placed and routed",
                "rests on"), _clocks()),
        "## Memory\n",
        "Contiguous memory (CMA) is what the Linux image gives to all buffers together. The usable "
        "bandwidth enters the cycle\nmodel and the virtual board; that of the AUP-ZU3 is taken "
        "from the Ultra96. On a board `pynq-train doctor` measures a copy\nand says whether the "
        "memory is as fast as is assumed here.\n",
        _table(("board", "DRAM", "contiguous", "usable bandwidth", "rests on"), _memory()),
        "## Training step\n",
        "Forward pass, backward pass and update with momentum, milliseconds per image; the arena "
        "holds program, feature maps and weights.\n",
        _table(("board", "network", "batch", "ms per image", "arena", "rests on"), _speed(of)),
    ])  # fmt: skip


def main() -> int:
    """Simulate what the command line asks for, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("--simulate", nargs="*", default=None, metavar="BOARD",
                        help="count cycles on the RTL first, of these boards or of all")
    args = parser.parse_args()
    counted = simulated() if SIMULATED.exists() else {}
    wanted = [] if args.simulate is None else args.simulate or list(BOARDS)
    unknown = set(wanted) - set(BOARDS)
    if unknown:
        parser.error(f"unknown board {', '.join(unknown)}: expected one of {', '.join(BOARDS)}")
    for name in dict.fromkeys(counted_as(BOARDS[name]) for name in wanted):
        counted[name] = simulate(BOARDS[name])
    SIMULATED.write_text(json.dumps(counted, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(render(), encoding="utf-8")
    print(f"written: {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
