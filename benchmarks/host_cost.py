"""What the processor of a board does beside the engine: a training step, an evaluation, a start.

    python benchmarks/host_cost.py
    python benchmarks/host_cost.py digits:32 resnet20:16 --json host.json

Each network trains on random uint8 images with a board whose engine ends every run at once: its
results are those that golden had in its first steps. What is left is the host's work: images,
exponents, step block and records, cache and register accesses of the driver. Its CPU time is given
in nb, the CPU time of 1,000 iterations of the N-body benchmark in pure Python, measured in the same
run. A Cortex-A9 at 650 MHz is taken to need 140 ms for an nb (docs/performance.md says why).

* ``step_nb``, ``evaluate_nb``: a training step; the evaluation of a mini-batch. What stands in for
  the engine is measured by itself and taken off.
* ``start_nb``: from a saved, compiled learner to the first doorbell: load, open, write the arena.
* ``engine_ms``: a training step by the cycle model, at the board's clock.
* ``hidden_nb``: of ``step_nb``, what is done while the engine runs: the next mini-batch.
* ``polls``, ``late_ms``: how often the driver looks whether such a run has ended, and how long
  behind its end it finds out, on average, by its own pauses and the time that a look takes it.
* ``board_step_ms``: a step of engine and Cortex-A9: the longer one of engine and what is done
  beside it, ``late_ms``, and the rest of the host's work.
"""
# ruff: noqa: T201

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from pynq import MMIO

from pynq_train.backends import Backend, RunRequest, RunResult, open_backend
from pynq_train.backends.arena import LINE_BYTES, SyncedArena
from pynq_train.backends.board import BoardBackend, Time
from pynq_train.backends.buffer import PynqBuffer
from pynq_train.backends.cache_calls import calls_for
from pynq_train.backends.core import PtCore
from pynq_train.data import Labels
from pynq_train.graph import zoo
from pynq_train.hw import contract, registers
from pynq_train.hw.boards import BOARDS
from pynq_train.run.session import Session
from pynq_train.run.trainer import StepOutcome
from pynq_train.schedule.board_time import MS_PER_NB
from pynq_train.train.callbacks import Callback
from pynq_train.train.learner import Learner
from pynq_train.train.learner_view import LearnerView

BOARD = BOARDS["pynq-z2"]
DEFAULT = ("digits:32", "lenet5:32", "1x:128", "ds_cnn_s:16", "resnet20:16")
A9_MS_PER_NB = MS_PER_NB[BOARD.family]
RECORDED_STEPS = 6
"""Steps on golden whose records the engine at rest repeats."""
STEPS = 32
"""Steps of an epoch that is measured."""
REPEATS = 5
"""Measurements, of which the fastest counts."""
_DONE = registers.masks("STATUS")["DONE"]
_STATUS_AT, _RETIRED_AT = (registers.offset(name) // 4 for name in ("STATUS", "RETIRED"))
Images = np.ndarray


# -- the unit ------------------------------------------------------------------------------------

_SUN = 39.47841760435743
_DAYS = 365.24
_BODIES = (
    ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 1.0),
    ((4.84143144246472090, -1.16032004402742839, -0.103622044471123109),
     (0.00166007664274403694, 0.00769901118419740425, -0.0000690460016972063023),
     0.000954791938424326609),
    ((8.34336671824457987, 4.12479856412430479, -0.403523417114321381),
     (-0.00276742510726411, 0.00499852801234917238, 0.0000230417297573763929),
     0.000285885980666130812),
    ((12.8943695621391310, -15.1111514016986312, -0.223307578892655734),
     (0.00296460137564761618, 0.00237847173959480950, -0.0000296589568540237556),
     0.0000436624404335156298),
    ((15.3796971148509165, -25.9193146099879641, 0.179258772950371181),
     (0.00268067772490389322, 0.00162824170038242295, -0.0000951592254519715870),
     0.0000515138902046611451))
"""Sun, Jupiter, Saturn, Uranus, Neptune: places, speeds per day, masses of the sun."""


def n_body_seconds(iterations: int = 1000) -> float:
    """Return the CPU seconds of ``iterations`` of the N-body benchmark."""
    bodies = [(list(place), [speed * _DAYS for speed in speeds], mass * _SUN)
              for place, speeds, mass in _BODIES]
    pairs = [(one, other) for number, one in enumerate(bodies) for other in bodies[number + 1:]]
    dt = 0.01
    began = time.process_time()
    for _ in range(iterations):
        for ((x1, y1, z1), v1, m1), ((x2, y2, z2), v2, m2) in pairs:
            dx, dy, dz = x1 - x2, y1 - y2, z1 - z2
            pull = dt * ((dx * dx + dy * dy + dz * dz) ** -1.5)
            b1m, b2m = m1 * pull, m2 * pull
            v1[0] -= dx * b2m
            v1[1] -= dy * b2m
            v1[2] -= dz * b2m
            v2[0] += dx * b1m
            v2[1] += dy * b1m
            v2[2] += dz * b1m
        for place, (vx, vy, vz), _ in bodies:
            place[0] += dt * vx
            place[1] += dt * vy
            place[2] += dt * vz
    return time.process_time() - began


# -- a board whose engine is at rest -------------------------------------------------------------

class Recording:
    """A golden backend that keeps the records of each run, by the program's place."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.runs: dict[int, list[tuple[int, np.ndarray]]] = {}
        self.where: dict[int, tuple[int, int]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def run(self, request: RunRequest) -> RunResult:
        """Run, and keep what the records say."""
        result = self.backend.run(request)
        offset, nbytes = self.where[request.program_offset]
        self.runs.setdefault(request.program_offset, []).append(
            (offset, self.backend.read(offset, nbytes)))
        return result


class _NoDevice:
    """What ``pynq`` and the driver ask of a device, without one."""

    def __init__(self) -> None:
        self.lock_file = Path(tempfile.gettempdir(),
                              f"pynq_train-host-cost-{os.getpid()}-{id(self):x}.lock")

    def has_capability(self, name: str) -> bool:
        """Registers are memory, as on the boards."""
        return name == "MEMORY_MAPPED"

    def mmap(self, address: int, length: int) -> np.ndarray:
        """Return the registers of an engine at rest."""
        words = np.zeros(length // 4, np.uint32)
        for name, value in (("ID", registers.ID_VALUE), ("ABI", registers.ABI_VERSION),
                            ("HASH", contract.hash_word(BOARD.config)), ("CYCLES", 1000)):
            words[registers.offset(name) // 4] = value
        self.registers = words
        return words

    def ended(self, retired: int) -> None:
        """Let the registers say that a run of so many descriptors has ended; 0: none has begun."""
        self.registers[_STATUS_AT] = _DONE if retired else 0
        self.registers[_RETIRED_AT] = retired

    def busy(self) -> None:
        """Let them say that a run is under way."""
        self.registers[_STATUS_AT] = registers.masks("STATUS")["BUSY"]

    def flush(self, bo: int, offset: int, address: int, nbytes: int) -> None:
        """Do nothing: there is no cache."""

    invalidate = flush


class RestingBoard(BoardBackend):
    """The driver of a board whose engine ends every run at once, with recorded results.

    Attributes:
        timed: measure what is done while the engine runs.
        hidden: CPU seconds of it.
    """

    def __init__(self, nbytes: int, said: Recording | None) -> None:
        super().__init__(BOARD, nbytes, Path(), _NoDevice())
        self.timed = False
        self.hidden = 0.0
        self._said = {place: cycle(runs) for place, runs in said.runs.items()} if said else {}

    def _load(self) -> PtCore:
        core = PtCore.__new__(PtCore)
        core.mmio = MMIO(0x4000_0000, 1 << 12, device=self._device)
        return core

    def _acquire(self) -> None:
        nbytes = -(-self.arena_size_bytes // LINE_BYTES) * LINE_BYTES
        self._buffer = PynqBuffer(nbytes, np.uint8, device=self._device, device_address=1 << 28)
        self._buffer[:] = 0
        self._arena = SyncedArena(self._buffer, *calls_for(self._buffer, self._device, (3, 0)))
        self._host = self._buffer.view(np.ndarray)
        self._point_at_arena()

    def close(self) -> None:
        """Forget the arena, which is no device memory, and give the lock back."""
        self._core = self._buffer = None
        super().close()
        self._device.lock_file.unlink(missing_ok=True)

    def run(self, request: RunRequest) -> RunResult:
        """Run as the driver does; what is done beside the engine is timed."""
        meanwhile = request.meanwhile
        if not self.timed or meanwhile is None:
            return super().run(request)

        def beside() -> None:
            began = time.process_time()
            meanwhile()
            self.hidden += time.process_time() - began

        return super().run(replace(request, meanwhile=beside))

    def _start(self, request: RunRequest, *, step: bool) -> None:
        self._device.ended(0)
        super()._start(request, step=step)
        self.engine(request)

    def engine(self, request: RunRequest) -> None:
        """What the engine would do."""
        self._device.ended(request.descriptor_count)
        runs = self._said.get(request.program_offset)
        if runs is not None:
            offset, data = next(runs)
            self._host[offset : offset + data.nbytes] = data

    def engine_seconds(self, request: RunRequest) -> float:
        """Return the CPU seconds of what stands in for the engine in a run."""
        began = time.process_time()
        for _ in range(100):
            self._device.ended(0)
            self.engine(request)
        return (time.process_time() - began) / 100


class _Waiting(Time):
    """Time that a wait of the driver takes: its pauses, and each look at STATUS.

    Args:
        device: whose run ends.
        request: the run.
        end: seconds when that is.
        look: seconds of a look.
    """

    def __init__(self, device: _NoDevice, request: RunRequest, end: float, look: float) -> None:
        self._device, self._request, self._end, self._look = device, request, end, look
        self.seconds, self.looks = 0.0, 0

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds + self._look
        self.looks += 1
        if self.seconds >= self._end:
            self._device.ended(self._request.descriptor_count)


class WaitingBoard(RestingBoard):
    """How the driver waits for an engine that takes its time."""

    def lateness(self, request: RunRequest, engine: float, beside: float, look: float
             ) -> tuple[float, float]:
        """Return the seconds behind the end of a run when the driver has found out, and its looks.

        Args:
            request: the run.
            engine: seconds of it.
            beside: seconds of what the driver does meanwhile.
            look: seconds of a look.
        """
        late, looks = [], []
        draw = random.Random(0)
        for _ in range(64):  # runs of one program differ by what else the memory has to do
            took = engine * (1 + draw.uniform(-0.002, 0.002))
            self._took[request.program_offset, request.descriptor_count] = engine
            self._time = waiting = _Waiting(self._device, request, took, look)
            waiting.seconds = beside
            self._device.busy()
            if beside >= took:
                self._device.ended(request.descriptor_count)
            self._wait(_DONE, request, began=0.0)
            late.append(waiting.seconds - max(took, beside))
            looks.append(waiting.looks + 1)
        return sum(late) / len(late), sum(looks) / len(looks)


class Resting(Learner):
    """A learner on a resting board, or on a recorded golden one."""

    said: Recording | None = None
    recording = False

    def _open_backend(self, nbytes: int) -> Backend:
        if not self.recording:
            return RestingBoard(nbytes, self.said).open()
        said = self.said = Recording(open_backend("golden", nbytes))
        memory = self.plan.memory
        said.where = {memory[f"{name}.program"].offset: (memory[f"{name}.records"].offset,
                                                         memory[f"{name}.records"].nbytes)
                      for name in ("train", "evaluate")}
        return said


# -- measuring -----------------------------------------------------------------------------------

class Marks(Callback):
    """Notes the CPU time behind each training step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step(self, learner: LearnerView, outcome: StepOutcome) -> None:
        """Note it."""
        self.seconds.append(time.process_time())


class FirstDoorbell(Exception):
    """The engine would run now."""


def start_seconds(path: Path, x: Images, y: Labels) -> float:
    """Return the CPU seconds from a saved learner to the first doorbell."""
    class Stopping(RestingBoard):
        started = 0.0

        def _start(self, request: RunRequest, *, step: bool) -> None:
            super()._start(request, step=step)
            self.started = time.process_time()
            raise FirstDoorbell

    class Started(Resting):
        def _open_backend(self, nbytes: int) -> Backend:
            opened.append(Stopping(nbytes, None))
            return opened[0].open()

    opened: list[Stopping] = []
    began = time.process_time()
    learner = Started.load(path)
    with suppress(FirstDoorbell):
        learner.evaluate(x, y)
    opened[0].close()
    return opened[0].started - began


def measure(net: str, batch: int) -> dict[str, Any]:
    """Return the row of a network."""
    draw = np.random.default_rng(0)
    channels, rows, cols = zoo.get(net).input_shape
    x = draw.integers(0, 256, (batch * STEPS, rows, cols, channels), np.uint8)
    y = draw.integers(0, zoo.get(net).classes, len(x))
    learner = Resting(net, batch=batch, input_range=(0, 1))
    learner.recording = True
    first = slice(0, batch * RECORDED_STEPS)
    learner.fit(x[first], y[first], progress=False)
    learner.evaluate(x[:batch], y[:batch])
    learner.close()
    learner.recording = False
    assert learner.said is not None
    for place, runs in learner.said.runs.items():
        # The first runs of the training are its calibration; the last of an evaluation fits.
        last = RECORDED_STEPS if place == learner.plan.memory["train.program"].offset else 1
        learner.said.runs[place] = runs[-last:]

    units, steps, hidden, evaluations, starts = [], [], [], [], []
    with tempfile.TemporaryDirectory() as folder, learner:
        path = Path(folder, "learner.safetensors")
        learner.compile()
        learner.save(path)
        learner.fit(x[: 2 * batch], y[: 2 * batch], progress=False)
        board, session = learner._backend, learner._trainer
        assert isinstance(board, RestingBoard) and isinstance(session, Session)
        training, evaluation = (session.request(one) for one in (session.training,
                                                                 session.evaluation))
        own = min(board.engine_seconds(training) for _ in range(REPEATS))
        own_evaluation = min(board.engine_seconds(evaluation) for _ in range(REPEATS))
        clock = min(_clock_seconds() for _ in range(REPEATS))
        for _ in range(REPEATS):
            units.append(n_body_seconds())
            starts.append(start_seconds(path, x[:batch], y[:batch]))
            timed = Marks()
            learner.fit(x, y, progress=False, callbacks=[timed])
            marks = timed.seconds
            steps.append((marks[-1] - marks[0]) / (len(marks) - 1) - own - clock)
            board.timed, board.hidden = True, 0.0
            learner.fit(x, y, progress=False)
            hidden.append(board.hidden / (STEPS - 1) - clock)
            board.timed = False
            began = time.process_time()
            learner.evaluate(x, y)
            evaluations.append((time.process_time() - began) / STEPS - own_evaluation)
        unit = min(units)
        engine_ms = learner.predicted_step().cycles / (1e3 * BOARD.clock_mhz)
        step_nb, hidden_nb = min(steps) / unit, min(hidden) / unit
        look = _look_seconds(board) / unit * A9_MS_PER_NB / 1e3
    waits = WaitingBoard(board.arena_size_bytes, None)
    with waits:
        late, polls = waits.lateness(training, engine_ms / 1e3, A9_MS_PER_NB * hidden_nb / 1e3,
                                     look)
    board_ms = (max(engine_ms, A9_MS_PER_NB * hidden_nb) + 1e3 * late
                + A9_MS_PER_NB * (step_nb - hidden_nb))
    return {"net": net, "batch": batch, "step_nb": round(step_nb, 4),
            "evaluate_nb": round(min(evaluations) / unit, 4),
            "start_nb": round(min(starts) / unit, 1), "engine_ms": round(engine_ms, 3),
            "board_step_ms": round(board_ms, 2), "hidden_nb": round(hidden_nb, 4),
            "polls": round(polls, 1), "late_ms": round(1e3 * late, 3),
            "nb_ms": round(1e3 * unit, 3)}


def _clock_seconds() -> float:
    """Return the CPU seconds that it takes to ask for them."""
    began = time.process_time()
    for _ in range(99):
        time.process_time()
    return (time.process_time() - began) / 100


def _look_seconds(board: RestingBoard) -> float:
    """Return the CPU seconds of a look of the driver at STATUS."""
    began = time.process_time()
    for _ in range(1000):
        board._time.now()
        board._core.read_register("STATUS")
    return (time.process_time() - began) / 1000


def main() -> None:
    """Measure the networks that the command line asks for, and print them."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="*", default=DEFAULT, metavar="NET:BATCH",
                        help=f"networks of the zoo with their mini-batches ({' '.join(DEFAULT)})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows to a file")
    args = parser.parse_args()
    print(f"{'net':<18}{'batch':>6}{'step_nb':>10}{'evaluate_nb':>13}{'start_nb':>10}"
          f"{'engine_ms':>11}{'board_step_ms':>15}   (an nb: ms here)")
    rows = []
    for one in args.nets:
        net, _, batch = one.partition(":")
        if net not in zoo.names() or not batch.isdigit() or int(batch) < 1:
            parser.error(f"{one!r}: expected NET:BATCH, a network of {', '.join(zoo.names())} and "
                         "a mini-batch")
        row = measure(net, int(batch))
        rows.append(row)
        print(f"{net:<18}{batch:>6}{row['step_nb']:>10.4f}{row['evaluate_nb']:>13.4f}"
              f"{row['start_nb']:>10.1f}{row['engine_ms']:>11.3f}{row['board_step_ms']:>15.2f}"
              f"   ({row['nb_ms']:.2f})", flush=True)
    if args.json:
        args.json.write_text(json.dumps({"rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
