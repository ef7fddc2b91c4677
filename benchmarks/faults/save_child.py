"""Saves checkpoints until it is killed: ``python -m benchmarks.faults.save_child FILE SAVES``.

Each has one step more than the one before, and its number goes to the parent when it is written.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pynq_train as pt


def main(path: Path, saves: int) -> None:
    """Save ``saves`` checkpoints behind the one that is there."""
    learner = pt.Learner.load(path) if path.exists() else pt.Learner("1x", batch=8)
    for _ in range(saves):
        learner.state.steps += 1
        learner.save(path)
        sys.stdout.write(f"{learner.state.steps}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
