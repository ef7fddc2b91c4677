"""Run the fuzzer: ``PYTHONPATH=tests python -m fuzz_inputs --cases 5000 --seed 0``."""

from __future__ import annotations

import argparse
import sys

from fuzz_inputs.run import run


def main() -> int:
    """Run what the command line asks for; 1 if anything was not clean."""
    p = argparse.ArgumentParser(description="Damaged and odd inputs: used, or refused by name.")
    p.add_argument("--cases", type=int, default=5000, metavar="N")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="number of the first case")
    p.add_argument("--kind", metavar="NAME", help="cases of this kind alone")
    options = p.parse_args()
    report = run(options.seed, options.cases, options.kind)
    print(report.text())
    return 0 if report.clean else 1


if __name__ == "__main__":
    sys.exit(main())
