"""Runs a command in a copy of the project, with limits that a mutant cannot get round."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_MEMORY_BYTES = 8 << 30
_FILE_BYTES = 2 << 30
_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that come from people, not from mutants."""


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: its exit code, negative for a signal; None if it took too long.
        output: what it said.
        seconds: how long it took.
    """

    code: int | None
    output: str
    seconds: float


def pytest_command(*arguments: str) -> list[str]:
    """Return the command of a run of pytest with the plugin of this package."""
    return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "mutants.plugin",
            "--rootdir=.", "-o", "addopts=--strict-markers", "--tb=line", "-rfE", *arguments]


def run(command: list[str], folder: Path, seconds: float, processor_seconds: float) -> Ended:
    """Run a command in a folder whose packages it shall import.

    Args:
        command: the command.
        folder: where it runs; first on its ``PYTHONPATH``.
        seconds: when it is ended, with all its children.
        processor_seconds: processor time that one of its processes may take, which does not depend
            on what else the machine does.

    Raises:
        KeyboardInterrupt: somebody stopped the command.
    """
    def limits() -> None:
        cpu = max(1, round(processor_seconds))
        for what, most in ((resource.RLIMIT_CPU, cpu), (resource.RLIMIT_AS, _MEMORY_BYTES),
                           (resource.RLIMIT_FSIZE, _FILE_BYTES), (resource.RLIMIT_CORE, 0)):
            resource.setrlimit(what, (most, most))

    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONHASHSEED": "0",
                   "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
                   "PYNQ_TRAIN_COMPILED": "0"}    # a fault in the cycle model would be compiled
    # The copies keep bytecode: without it every run would compile the project.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    begin = time.monotonic()
    # A session of its own: whatever the tests start ends with them.
    process = subprocess.Popen(
        command, cwd=folder, env=environment, text=True, errors="replace", preexec_fn=limits,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    code: int | None
    try:
        output, _ = process.communicate(timeout=seconds)
        code = process.returncode
        if code in (-signal.SIGXCPU, -signal.SIGKILL):
            code = None
    except subprocess.TimeoutExpired:
        _end(process)
        output, code = process.communicate()[0], None
    except BaseException:
        _end(process)
        raise
    if code is not None and -code in _STOPS:
        raise KeyboardInterrupt(f"{command[0]} was stopped from outside")
    return Ended(code, output, time.monotonic() - begin)


def _end(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
