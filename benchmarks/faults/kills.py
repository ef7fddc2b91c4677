"""Processes that are killed (SIGKILL) while they save or train, and what is left of their work."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pynq_train.errors import PynqTrainError
from pynq_train.train.checkpoint import load

ROOT = Path(__file__).resolve().parents[2]
TRAIN_CHILD = ROOT / "tests" / "system" / "kill_child.py"
STEPS = 72
"""Steps of the training that is killed."""
_WAIT_SECONDS = 300
_MANY = 1 << 20


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start a child of this Python, with this tree's sources."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True,
                            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"})


def train(folder: Path) -> tuple[dict[str, Any], float]:
    """Let a training run to its end: its result, and the seconds that its steps took."""
    child = start(str(TRAIN_CHILD), str(folder))
    assert child.stdout is not None
    child.stdout.readline()
    began = time.monotonic()
    code = child.wait(_WAIT_SECONDS)
    if code:
        raise AssertionError(f"the training ended with {code}")
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found, time.monotonic() - began


def kill_training(folder: Path, delay: float) -> bool:
    """Kill a training ``delay`` seconds after it has begun; False if it had ended before."""
    child = start(str(TRAIN_CHILD), str(folder))
    assert child.stdout is not None
    child.stdout.readline()
    time.sleep(delay)
    child.kill()
    return child.wait(_WAIT_SECONDS) < 0


def killed_training(folder: Path, wanted: dict[str, Any], seconds: float, kills: int,
                    rng: random.Random) -> tuple[int, str]:
    """Kill a training up to ``kills`` times, each time it goes on, and let it end.

    Args:
        folder: an empty folder.
        wanted: result of an undisturbed training, which took ``seconds``.
        seconds: its time.
        kills: kills at most.
        rng: draws the moments.

    Returns:
        How many kills there were, and what was lost: empty if nothing.
    """
    count = 0
    while count < kills and kill_training(folder, rng.uniform(0, 0.6 * seconds)):
        count += 1
    if not count:
        return 0, ""
    found, _ = train(folder)
    if found != wanted:
        return count, f"expected {wanted}, found {found}"
    remains = [path.name for path in folder.glob(".*")]
    return count, f"remains of killed writes: {remains}" if remains else ""


def killed_save(path: Path, rng: random.Random) -> str:
    """Kill a process while it saves; return what was lost: empty if nothing.

    The file must hold the last checkpoint that was told of, or the whole one behind it.
    """
    child = start("-m", "benchmarks.faults.save_child", str(path), str(_MANY))
    assert child.stdout is not None
    for _ in range(rng.randint(1, 3)):
        line = child.stdout.readline()
    began = time.monotonic()
    line = child.stdout.readline() or line
    time.sleep(rng.uniform(0, 1.5 * (time.monotonic() - began)))
    child.kill()
    told = int(([line] + child.stdout.read().split())[-1])
    child.wait(_WAIT_SECONDS)
    try:
        found = int(load(path).state["steps"])
    except PynqTrainError as error:
        return f"step {told} is lost: {error}"
    return "" if found in (told, told + 1) else f"expected step {told} or {told + 1}, found {found}"


def remains(path: Path) -> str:
    """Save once more undisturbed; return what killed saves have left beside, empty if nothing."""
    child = start("-m", "benchmarks.faults.save_child", str(path), "1")
    if child.wait(_WAIT_SECONDS):
        return "a save behind the kills failed"
    found = [other.name for other in path.parent.iterdir() if other != path]
    return f"remains of killed saves: {found}" if found else ""
