"""Build the overlay of a board with Vivado: bit file, .hwh, reports and manifest.

``python overlays/build.py --board pynq-z2`` leaves them in ``build/overlays/<board>``, where the
package finds them. The .hwh that Vivado wrote must agree with the contract, else there is no
manifest, and without a manifest the package refuses the bit file.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from pynq_train.errors import MissingTool, PynqTrainError, StaleOverlay
from pynq_train.hw import design, hwh_compare
from pynq_train.hw.boards import BOARDS, Board
from pynq_train.overlays import MANIFEST, Build, sha256

ROOT = Path(__file__).resolve().parents[1]
LOG = "vivado.log"


def find_vivado() -> str:
    """Path of Vivado.

    Raises:
        MissingTool: it is not on the PATH.
    """
    found = shutil.which("vivado")
    if found is None:
        raise MissingTool(
            "bitstreams are built with AMD Vivado", expected="'vivado' on the PATH", found="none",
            fix="install Vivado 2022.1 or newer and source its settings64.sh, or use a virtual "
            "board, which needs none",
        )  # fmt: skip
    return found


def build(board: Board, out: Path, jobs: int) -> Build:
    """Run Vivado on the flow and write the manifest.

    Raises:
        MissingTool: Vivado is not installed.
        PynqTrainError: the flow stopped; the text is its sentence.
        StaleOverlay: the .hwh differs from the contract.
    """
    vivado = find_vivado()
    out.mkdir(parents=True, exist_ok=True)
    (out / MANIFEST).unlink(missing_ok=True)
    flow = ROOT / "overlays" / "flow.tcl"
    command = [vivado, "-mode", "batch", "-nojournal", "-log", str(out / LOG), "-source", str(flow),
               "-tclargs", board.name, str(out), str(jobs)]  # fmt: skip
    done = subprocess.run(command, cwd=out, capture_output=True, text=True, check=False)
    result = out / "result.json"
    if done.returncode != 0 or not result.is_file():
        raise PynqTrainError(
            f"Vivado built no overlay for {board.name}", expected="exit code 0",
            found=f"{done.returncode} ({_reason(done.stdout + done.stderr)})",
            fix=f"see {out / LOG}",
        )  # fmt: skip
    bit, hwh = (out / f"{design.NAME}.{kind}" for kind in ("bit", "hwh"))
    made = Build(**json.loads(result.read_text(encoding="utf-8")), bit_sha256=sha256(bit),
                 hwh_sha256=sha256(hwh))
    differences = hwh_compare.compare(hwh, board, made.clock_mhz)
    if differences:
        raise StaleOverlay(
            f"{hwh} is not the contract of {board.name}", expected="no difference",
            found="; ".join(differences), fix="run 'make gen' and build again",
        )  # fmt: skip
    text = json.dumps(asdict(made), indent=1)
    (out / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return made


def _reason(log: str) -> str:
    """The line of a log that says why the flow stopped."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    wanted = [line for line in lines if line.startswith(("overlay:", "ERROR"))]
    return (wanted or lines or ["no output"])[0]


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--board", default="pynq-z2", choices=sorted(BOARDS))
    parser.add_argument("--out", type=Path, help="default: build/overlays/BOARD")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    out = (args.out or ROOT / "build" / "overlays" / args.board).resolve()
    try:
        made = build(BOARDS[args.board], out, args.jobs)
    except PynqTrainError as error:
        sys.stderr.write(f"overlay: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{out}: {made.clock_mhz:g} MHz, setup slack {made.setup_slack_ns} ns\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
