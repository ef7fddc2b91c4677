"""The PYNQ backend: overlay, arena, doorbell and time-out, on real and virtual boards."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from pynq_train.backends.arena import LINE_BYTES, SyncedArena
from pynq_train.backends.base import (
    COUNTERS,
    Data,
    RunRequest,
    RunResult,
    as_bytes,
    check_contract,
    check_request,
    check_span,
)
from pynq_train.backends.cache_calls import calls_for
from pynq_train.backends.fault import (
    EngineState,
    awake,
    broken,
    capture,
    fault,
    idle,
    late,
    not_armed,
    silent,
    state_of,
    strays_text,
    unloaded,
)
from pynq_train.backends.lock import BoardLock, default_lock_file
from pynq_train.backends.run_registers import RunRegisters
from pynq_train.errors import (
    BadInput,
    DoesNotFit,
    HardwareFault,
    MissingTool,
    PynqTrainError,
    Timeout,
)
from pynq_train.hw import registers
from pynq_train.hw.boards import Board
from pynq_train.hw.commands import DESCRIPTOR_BYTES
from pynq_train.hw.design import VLNV
from pynq_train.hw.ports import ADDRESS_BITS

_LOG = logging.getLogger(__name__)

TIMEOUT_FACTOR = 8
"""A run may take this many times its predicted cycles, and ``TIMEOUT_FLOOR_CYCLES`` more."""

TIMEOUT_FLOOR_CYCLES = 200_000
"""Cycles that every run may take on top: what no prediction covers."""
RESET_CYCLES = 100_000
"""Time for a soft reset. It waits for at most 4 ports x 2 x 8 bursts of 16 words: 512 cycles of the
slowest memory, and its latency."""
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 20e-6, 2e-3
_SURE = 0.98
"""Part of what the same run took the last time that it takes at least: until then one pause is
enough."""
_LOOKS = 256
"""Behind that, there is a look at STATUS for each such part of what it took."""
_MOST_KNOWN = 64
"""Runs of which is kept how long they took."""
_ARENA_ALIGN_BYTES = 4096


_CTRL, _STATUS = registers.masks("CTRL"), registers.masks("STATUS")
_ENDED = _STATUS["DONE"] | _STATUS["FAILED"]
_AWAKE = _ENDED | _STATUS["BUSY"] | _STATUS["HALTED"]


class Time(Protocol):
    """A clock and a way to wait; virtual boards bring their own."""

    def now(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...


class HostTime:
    """The host's clock; real boards run by it."""

    def now(self) -> float:
        """Return the seconds of a clock that never goes back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Sleep for some seconds."""
        time.sleep(seconds)


class BoardBackend:
    """Runs Programs on the engine of a PYNQ board.

    Args:
        board: the board.
        arena_size_bytes: size of the arena; whole cache lines are allocated for it.
        overlay: bit file, with its .hwh beside it.
        device: ``pynq`` device (default: the board this runs on).
    """

    def __init__(
        self, board: Board, arena_size_bytes: int, overlay: Path, device: Any = None
    ) -> None:
        self.name = board.name
        self.board = board
        self.arena_size_bytes = arena_size_bytes
        self._bit = overlay
        self._device = device
        self._buffer: Any = None
        self._arena: SyncedArena | None = None
        self._core: Any = None
        self._registers = RunRegisters(board.name)
        self._checked: RunRequest | None = None
        self._took: dict[tuple[int, int], float] = {}
        self._lock: BoardLock | None = None
        self._time: Time = HostTime()
        self._retired = 0

    def open(self) -> BoardBackend:
        """Load the overlay, check the contract and allocate the arena.

        Raises:
            MissingTool: ``pynq`` is not installed, or cannot reach the hardware from here.
            StaleOverlay: the overlay decodes another contract than this package.
            DoesNotFit: not enough contiguous memory.
            BoardBusy: another process or learner uses the board.
            HardwareFault: the overlay cannot be loaded.
        """
        if self._arena is not None:
            return self
        try:
            lock = BoardLock(getattr(self._device, "lock_file", None) or default_lock_file())
            lock.acquire(self.name)
            self._lock = lock
            self._core = self._loaded()
            self._acquire()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Stop the engine if it runs, and free the arena."""
        core, buffer, lock = self._core, self._buffer, self._lock
        try:
            # Before somebody else gets the memory. Without a core the overlay could not be loaded
            # again, and the engine may still work.
            if buffer is not None and (core is None or self._busy() is not False):
                failed = self._recover()
                if failed:
                    _LOG.error("%s: the engine may still write to the memory that is given back "
                               "now: restart the board", self.name)
        finally:
            self._core = self._buffer = self._arena = self._lock = None
            if buffer is not None:
                buffer.freebuffer()
            if lock is not None:
                lock.release()

    def __enter__(self) -> BoardBackend:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def write(self, offset: int, data: Data) -> None:
        """Copy ``data`` into the arena at byte ``offset``.

        Raises:
            BadInput: the span lies outside the arena, or the backend is not open.
        """
        flat = as_bytes(data)
        check_span(offset, flat.nbytes, self.arena_size_bytes)
        self._memory().write(offset, flat)

    def read(self, offset: int, nbytes: int) -> np.ndarray:
        """Return a copy of ``nbytes`` bytes of the arena from ``offset`` on: uint8 ``[nbytes]``.

        Raises:
            BadInput: the span lies outside the arena, or the backend is not open.
        """
        check_span(offset, nbytes, self.arena_size_bytes)
        return self._memory().read(offset, nbytes)

    def run(self, request: RunRequest) -> RunResult:
        """Run a Program to its end.

        However it ends, the engine is at rest behind it.

        Raises:
            HardwareFault: the engine stopped with an error status, ran without being told to, or
                cannot be reached.
            Timeout: it did not finish in time, or its registers do not answer.
        """
        self._prepare(request)
        try:
            self._start(request, step=False)
            began = self._time.now()
            if request.meanwhile is not None:
                request.meanwhile()
            self._wait(_ENDED, request, began=began)
            result = self._result(request.counters)
            if len(self._took) >= _MOST_KNOWN:
                self._took.clear()
            self._took[request.program_offset, request.descriptor_count] = (
                result.cycles / (self.board.clock_mhz * 1e6))
            return result
        # Also for KeyboardInterrupt: an engine that goes on would write into memory that somebody
        # else gets.
        except BaseException as error:
            told = self._failed(error, request)
            if told is error:
                raise
            raise told from error
        finally:
            self._memory().after_run()

    def run_step_mode(self, request: RunRequest) -> Iterator[int]:
        """Run a Program one descriptor at a time; yields the index of each that retired.

        Raises as :meth:`run` does. A caller that leaves the loop early stops the engine.
        """
        memory = self._prepare(request)
        seen = 0
        try:
            self._start(request, step=True)
            while True:
                status = self._wait(_ENDED | _STATUS["HALTED"], request, seen)
                memory.after_run()
                retired = self._core.read_register("RETIRED")
                yield from range(seen, retired)
                seen = retired
                if status & _ENDED:
                    self._core.write_register("CTRL", _CTRL["CLEAR"])
                    return
                memory.before_run()
                self._core.write_register("CTRL", _CTRL["RESUME"])
        # GeneratorExit as well: the caller may leave the loop while the engine is halted.
        except BaseException as error:
            memory.after_run()
            told = self._failed(error, request)
            if told is error:
                raise
            raise told from error

    def _loaded(self) -> Any:
        """Load the overlay and return the driver of its engine, as :meth:`_load`.

        Raises:
            HardwareFault: pynq, or the kernel, failed.
        """
        try:
            return self._load()
        except PynqTrainError:
            raise
        # pynq lets all kinds through: OSError, RuntimeError, KeyError and ValueError of metadata.
        except Exception as error:
            raise unloaded(self.name, self._bit, error) from error

    def _load(self) -> Any:
        """Load the overlay and return the driver of its engine.

        Raises:
            MissingTool: ``pynq`` is not installed, or cannot reach the hardware from here.
            BadInput: the overlay holds no engine.
            StaleOverlay: it decodes another contract.
        """
        pynq = import_pynq(virtual=self._device is not None)
        if self._device is None:
            _check_host()
            # A state file of an older overlay would hide a new .hwh of the same name.
            pynq.pl_server.global_state.clear_global_state()
        from pynq_train.backends.core import PtCore

        overlay = pynq.Overlay(str(self._bit), device=self._device)
        for name, description in overlay.ip_dict.items():
            if description["type"] == VLNV:
                core = getattr(overlay, name)
                assert isinstance(core, PtCore)
                self._time = getattr(overlay.device, "time", None) or HostTime()
                self._device_in_use = overlay.device
                check_contract(core.read_register, self.board.config, self.name)
                return core
        raise BadInput(
            f"the overlay {self._bit} holds no engine",
            expected=f"an IP of type {VLNV}",
            found=", ".join(d["type"] for d in overlay.ip_dict.values()) or "none",
            fix="load the overlay of this package",
        )

    def _acquire(self) -> None:
        """Allocate the arena and tell the engine where it is; DoesNotFit if there is no memory."""
        import pynq

        from pynq_train.backends.core import device_span

        device = self._device_in_use
        lines = -(-self.arena_size_bytes // LINE_BYTES)
        try:
            # cacheable: the processor reads and writes it at full speed, and syncs at runs.
            self._buffer = pynq.allocate(
                (lines * LINE_BYTES,), np.uint8, target=device, cacheable=1
            )
        except (RuntimeError, MemoryError) as error:
            raise DoesNotFit(
                f"{self.name}: no contiguous memory for the arena",
                expected=f"{self.arena_size_bytes} free bytes",
                found=f"{_free_cma(device)} of {self.board.cma_bytes}",
                fix="use a smaller batch, or free other buffers and restart other kernels",
            ) from error
        device_span(self._buffer, _ARENA_ALIGN_BYTES, ADDRESS_BITS)
        version = tuple(int(part) for part in pynq.__version__.split(".")[:2])
        self._arena = SyncedArena(self._buffer, *calls_for(self._buffer, device, version))
        self._point_at_arena()

    def _arena_registers(self) -> dict[str, int]:
        """Return address and size of the arena by the registers that hold them."""
        address = int(self._buffer.device_address)
        return {**registers.split("ARENA", address), "ARENA_BYTES": self.arena_size_bytes}

    def _point_at_arena(self) -> None:
        """Tell an engine that has been reset where the arena is; a run writes the rest anew."""
        where = self._arena_registers()
        self._registers.forget(where)
        for name, value in where.items():
            self._core.write_register(name, value)

    def _memory(self) -> SyncedArena:
        """Return the arena; BadInput if the backend is not open."""
        if self._arena is None:
            raise BadInput(f"{self.name} is not open", fix="call open(), or use it in 'with'")
        return self._arena

    def _prepare(self, request: RunRequest) -> SyncedArena:
        """Check a request; behind this the engine is there and at rest."""
        memory = self._memory()
        if request is not self._checked:  # most runs are the one before once more
            check_request(request, self.arena_size_bytes, DESCRIPTOR_BYTES)
            self._checked = request
        if self._core is None:
            self._reload()
        return memory

    def _start(self, request: RunRequest, *, step: bool) -> None:
        """Flush the arena, see that the engine rests, write the run's registers and start it.

        Raises:
            HardwareFault: the engine does not rest, the registers do not hold what is written, or
                the flush has no effect.
        """
        self._memory().before_run()
        status = self._core.read_register("STATUS")
        if status & (_AWAKE | _STATUS["STRAY"]):
            self._look_at(status, request)
        self._registers.set(self._core, self._registers.wanted(request, step))
        self._core.write_register("CTRL", _CTRL["START"])

    def _look_at(self, status: int, request: RunRequest) -> None:
        """Bring an engine to rest that somebody else has started, and tell of stray answers.

        Raises:
            HardwareFault: the engine does not rest.
        """
        if not_armed(status):
            _LOG.warning("%s: somebody else has written START to the engine, which refused it: "
                         "PROGRAM_COUNT had not been written for it", self.name)
            self._soft_reset()
            status = self._core.read_register("STATUS")
        if status & _AWAKE:
            raise awake(self.name, self._state(request))
        if status & _STATUS["STRAY"]:
            _LOG.warning("%s: %s", self.name, strays_text(self._core.read_register("STRAYS")))

    def _wait(self, wanted: int, request: RunRequest, seen: int = 0, began: float | None = None
              ) -> int:
        """Poll STATUS until a bit of ``wanted`` is set, and return it.

        A halt in step mode counts only when more than ``seen`` descriptors have retired: the bit of
        the last halt may still be set. A whole run that began at ``began`` takes about as long as
        the last time.

        Raises:
            HardwareFault: the engine stopped with an error status.
            Timeout: the engine did not get there in time.
        """
        limit = TIMEOUT_FACTOR * request.expected_cycles + TIMEOUT_FLOOR_CYCLES
        deadline = self._deadline(limit)
        pause = _FIRST_PAUSE_SECONDS
        sure = usual = float("-inf")
        if began is not None:
            took = self._took.get((request.program_offset, request.descriptor_count), 0.0)
            sure, usual = min(began + _SURE * took, deadline), began + took
            pause = min(max(pause, took / _LOOKS), _LONGEST_PAUSE_SECONDS)
        self._retired = seen
        while True:
            # Looked at before STATUS: a process that slept too long must not report a time-out for
            # a run that has ended meanwhile.
            now = self._time.now()
            expired = now > deadline
            status = int(self._core.read_register("STATUS"))
            if status & (_STATUS["FAILED"] | _STATUS["STRAY"]):
                raise fault(self.name, self._state(request))
            if not status & _AWAKE:
                raise idle(self.name, self._state(request))
            if status & wanted:
                self._retired = self._core.read_register("RETIRED")
                # STATUS may still show the halt in front of RESUME: only more retired descriptors
                # tell of a new one.
                if status & _ENDED and self._retired != request.descriptor_count:
                    raise idle(self.name, self._state(request))
                if status & _ENDED or self._retired > seen:
                    return status
            if expired:
                raise late(self.name, self._state(request), limit, request)
            self._time.sleep(max(pause, sure - now))
            # Short runs are noticed at once, long ones cost the processor little.
            if now >= usual:
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _deadline(self, cycles: int) -> float:
        """Return the time at which ``cycles`` cycles of the engine's clock have passed from now."""
        return self._time.now() + cycles / (self.board.clock_mhz * 1e6)

    def _state(self, request: RunRequest) -> EngineState:
        """Read all registers and name the descriptor, before a reset clears them."""
        self._memory().after_run()
        return capture(self._core.read_register, self._byte, request,
                       lambda index: request.program_offset + index * DESCRIPTOR_BYTES)

    def _byte(self, offset: int) -> int:
        """Return the byte of the arena at ``offset``."""
        return int(self._memory().read(offset, 1)[0])

    def _failed(self, error: BaseException, request: RunRequest) -> BaseException:
        """Leave the engine at rest; return what is to be raised."""
        result = error
        if isinstance(error, Timeout) and error.state is None:
            state = state_of({}, self._retired, request, self._byte,
                             lambda index: request.program_offset + index * DESCRIPTOR_BYTES)
            result = silent(self.name, state, error)
        elif isinstance(error, (OSError, RuntimeError)):  # of pynq
            result = broken(self.name, error)
        failed = self._recover()
        if failed is not None and isinstance(result, PynqTrainError):
            result.add(f"the engine could not be brought back ({failed}); the next run loads the "
                       "overlay first")
            if isinstance(result, HardwareFault):
                result.engine_lost = True
        return result

    def _recover(self) -> PynqTrainError | None:
        """Reset the engine when its bursts have ended; where they do not, load the overlay.

        Returns:
            Why that failed: no engine is selected then, and the next run loads the overlay first.
        """
        if self._arena is None:
            return None  # closed, which has stopped it
        if self._core is not None:
            if self._soft_reset():
                return None
            _LOG.warning("%s: a soft reset has no effect, the overlay is loaded again", self.name)
        try:
            self._reload()
        except PynqTrainError as error:
            _LOG.error("%s", error)
            return error
        return None

    def _reload(self) -> None:
        """Load the overlay again; the arena stays.

        Raises:
            PynqTrainError: it cannot be loaded, or its registers do not answer.
        """
        self._core = None  # whatever happens here, the old engine is not used again
        core = self._loaded()
        try:
            self._core = core
            self._point_at_arena()
        except Exception as error:
            self._core = None
            raise unloaded(self.name, self._bit, error) from error

    def _soft_reset(self) -> bool:
        """Reset the engine; False if a burst stays open or the registers do not answer."""
        try:
            self._core.write_register("CTRL", _CTRL["SOFT_RESET"])
            deadline = self._deadline(RESET_CYCLES)
            while True:
                expired = self._time.now() > deadline
                if not self._core.read_register("STATUS") & _STATUS["BUSY"]:
                    self._point_at_arena()
                    return True
                if expired:
                    return False
                self._time.sleep(_FIRST_PAUSE_SECONDS)
        # Whatever the reason, the way out is the same.
        except Exception as error:
            _LOG.debug("%s: soft reset: %s", self.name, error)
            return False

    def _busy(self) -> bool | None:
        """Return whether the engine works; None if its registers do not answer."""
        try:
            return bool(self._core.read_register("STATUS") & _STATUS["BUSY"])
        except Exception as error:
            _LOG.debug("%s: STATUS: %s", self.name, error)
            return None

    def _result(self, counted: bool) -> RunResult:
        """Read cycles (and counters) of the run that has ended, and clear the status."""
        read = self._core.read_register
        counters = {name.lower(): read(name) for name in COUNTERS} if counted else {}
        cycles = registers.join("CYCLES", read)
        self._core.write_register("CTRL", _CTRL["CLEAR"])
        return RunResult(cycles, counters)


def how_to_install_pynq(python: tuple[int, ...] = sys.version_info[:2]) -> str:
    """What to run for a virtual board's packages, ``pynq`` among them, as a sentence's end.

    For Python 3.13 and newer there are no wheels of the old grpcio and NumPy that pynq asks for.
    It needs neither here, and is installed without asking it.
    """
    alone = " && pip install --no-deps pynq==3.1.2 pynqmetadata==0.2.0 pynqutils==0.1.3"
    return "run: pip install pynq-train[sim]" + (alone if python >= (3, 13) else "")


def import_pynq(virtual: bool) -> Any:
    """Import ``pynq`` where it is needed, never at start.

    Raises:
        MissingTool: it is not installed.
    """
    try:
        import pynq
        import pynq.pl_server.global_state
    except ImportError as error:
        raise MissingTool(
            "boards are driven through the Python package 'pynq'",
            expected="pynq 3.0 or newer",
            found=str(error),
            fix=how_to_install_pynq()
            if virtual
            else "run this with the Python of the board's PYNQ image",
        ) from error
    return pynq


def _check_host() -> None:
    """Raise MissingTool unless this process may reach the hardware."""
    if os.geteuid() != 0 or "XILINX_XRT" not in os.environ:
        raise MissingTool(
            "this process cannot reach the hardware",
            expected="user root and the PYNQ environment (XILINX_XRT)",
            found=f"user id {os.geteuid()}, XILINX_XRT={os.environ.get('XILINX_XRT', '')!r}",
            fix="run it in Jupyter, or under: sudo -i (which sources /etc/profile.d)",
        )


def _free_cma(device: Any) -> str:
    """Return the free bytes of contiguous memory as text, for messages."""
    dram = getattr(device, "dram", None)
    if dram is not None:
        return str(dram.free_bytes)
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return "unknown"
    free = [line.split()[1] for line in lines if line.startswith("CmaFree:")]
    return str(int(free[0]) * 1024) if free else "unknown"
