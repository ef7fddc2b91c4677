"""Trainings that are killed at random moments end in the bits of an undisturbed one."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.medium

CHILD = Path(__file__).with_name("kill_child.py")
ROOT = CHILD.parents[2]
EPOCHS, STEPS = 12, 72


def start(folder: Path) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return subprocess.Popen([sys.executable, str(CHILD), str(folder)], stdout=subprocess.PIPE,
                            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"})


def finish(folder: Path) -> tuple[dict[str, Any], float]:
    """Let a training run to its end: its result, and the seconds that its steps took."""
    child = start(folder)
    assert child.stdout is not None
    child.stdout.readline()
    began = time.monotonic()
    assert child.wait(60) == 0
    return json.loads((folder / "result.json").read_text()), time.monotonic() - began


def kill(folder: Path, delay: float) -> bool:
    """Kill a training ``delay`` seconds after it has begun; False if it had ended before."""
    child = start(folder)
    assert child.stdout is not None
    child.stdout.readline()
    time.sleep(delay)
    child.kill()
    return child.wait(60) < 0


def check_kills(tmp_path: Path, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    (tmp_path / "whole").mkdir()
    wanted, seconds = finish(tmp_path / "whole")
    assert wanted["steps"] == STEPS
    done = trial = 0
    while done < kills:
        trial += 1
        assert trial < 4 * kills, "the trainings end before they can be killed"
        folder = tmp_path / f"trial{trial}"
        folder.mkdir()
        count = 0
        for _ in range(rng.randint(1, 4)):
            if done + count == kills or not kill(folder, rng.uniform(0, 0.6 * seconds)):
                break
            count += 1
        if count:
            assert finish(folder)[0] == wanted, f"trial {trial} with {count} kills"
            assert not list(folder.glob(".*")), "remains of killed writes"
        done += count


def test_five_kills(tmp_path: Path) -> None:
    check_kills(tmp_path, 5, seed=1)


@pytest.mark.slow
def test_fifty_kills(tmp_path: Path) -> None:
    check_kills(tmp_path, 50, seed=2)
