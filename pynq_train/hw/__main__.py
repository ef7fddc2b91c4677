"""Write the generated files of the contract (``python -m pynq_train.hw [--check]``)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pynq_train.hw.boards import BOARDS
from pynq_train.hw.config import CONFIGS, package_path
from pynq_train.hw.design import FAMILIES
from pynq_train.hw.emit import abi_sv, markdown, regs_sv, spec_sv, tcl, top_sv
from pynq_train.hw.ip_ports import ip_path
from pynq_train.hw.sources import ip_sources

ROOT = Path(__file__).resolve().parents[2]


def outputs() -> dict[str, str]:
    """All generated files: path relative to the project, text."""
    return {
        **{package_path(config): spec_sv.render(config) for config in CONFIGS.values()},
        abi_sv.PATH: abi_sv.render(),
        "rtl/gen/pt_regs.sv": regs_sv.render(),
        "overlays/gen/core.tcl": tcl.render_core(),
        **{f"overlays/gen/{name}.tcl": tcl.render_board(b, ip_sources(ROOT, b))
           for name, b in BOARDS.items()},
        **{ip_path(family): top_sv.render_ip(family) for family in FAMILIES},
        **{top_sv.board_path(family): top_sv.render_board(family) for family in FAMILIES},
        "docs/gen/registers.md": markdown.render_registers(),
        "docs/gen/descriptors.md": markdown.render_descriptors(),
    }


def main() -> int:
    """Write all files, or with ``--check`` report those that differ (exit code 1)."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for name, text in outputs().items():
        path = ROOT / name
        if check:
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                stale.append(name)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    if stale:
        sys.stderr.write(f"generated files differ, run 'make gen': {', '.join(stale)}\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
