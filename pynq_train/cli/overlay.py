"""The command hwh."""

from __future__ import annotations

import argparse

from pynq_train.errors import StaleOverlay
from pynq_train.hw import hwh_compare
from pynq_train.hw.boards import BOARDS


def hwh(options: argparse.Namespace) -> int:
    """Run ``pynq-train hwh``: hold a file of Vivado against the contract."""
    differences = hwh_compare.compare(options.file, BOARDS[options.board])
    if differences:
        for line in differences:
            print(line)
        raise StaleOverlay(
            f"{options.file} is not the contract of {options.board}", expected="no difference",
            found=f"{len(differences)}, listed above",
            fix=f"build the overlay of this version: make overlay BOARD={options.board}",
        )  # fmt: skip
    print(f"{options.file} agrees with the contract of {options.board}")
    return 0
