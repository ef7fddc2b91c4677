"""The compiled model of a board: pt_top, its host port and its device memory."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np

from pynq_train.errors import HardwareFault, Timeout
from pynq_train.hw.memory_timing import MemoryTiming


class Response(IntEnum):
    """AXI responses that can be injected."""

    SLVERR = 2
    DECERR = 3


@dataclass(frozen=True)
class PortCounters:
    """Traffic of one AXI port, as the memory saw it."""

    read_beats: int
    write_beats: int
    read_bursts: int
    write_bursts: int


class _Config(ctypes.Structure):
    """Argument of ``ptv_create``: device memory and its timing."""

    _fields_ = (
        ("dram", ctypes.c_void_p),
        ("base", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
        ("bytes_per_cycle", ctypes.c_uint32),
        ("read_latency", ctypes.c_uint32),
        ("write_latency", ctypes.c_uint32),
        ("burst_cycles", ctypes.c_uint32),
        ("turn_cycles", ctypes.c_uint32),
        ("turn_quantum", ctypes.c_uint32),
        ("outstanding", ctypes.c_uint32),
        ("seed", ctypes.c_uint64),
    )


class _Counters(ctypes.Structure):
    """Result of ``ptv_counters``."""

    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in ("read_beats", "write_beats", "read_bursts", "write_bursts")
    )


_U32, _U64, _INT, _PTR = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int, ctypes.c_void_p

_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "ptv_create": (_PTR, [ctypes.POINTER(_Config)]),
    "ptv_destroy": (None, [_PTR]),
    "ptv_error": (ctypes.c_char_p, [_PTR]),
    "ptv_read32": (_INT, [_PTR, _U32, ctypes.POINTER(_U32)]),
    "ptv_write32": (_INT, [_PTR, _U32, _U32]),
    "ptv_run": (_INT, [_PTR, _U64, _U32, _U32, _U32]),
    "ptv_cycles": (_U64, [_PTR]),
    "ptv_irq": (_INT, [_PTR]),
    "ptv_turns": (_U64, [_PTR]),
    "ptv_counters": (None, [_PTR, _INT, ctypes.POINTER(_Counters)]),
    "ptv_set_stalls": (None, [_PTR, _U32]),
    "ptv_inject": (None, [_PTR, _INT, _INT, _U64, _INT]),
    "ptv_silence": (None, [_PTR, _INT, _INT, _U64]),
    "ptv_stray": (None, [_PTR, _INT, _INT, _U64, _U32, _INT]),
    "ptv_stop_clock": (None, [_PTR, _U64]),
    "ptv_trace": (_INT, [_PTR, ctypes.c_char_p]),
    "ptv_counts": (_INT, [_PTR, ctypes.c_char_p]),
}
"""Functions of the library: types of result and arguments (``sim/vboard/pt_vboard.cpp``)."""


_SILENT = "was not answered"
"""End of the library's message when no answer comes."""


class VerilatedModel:
    """A Verilated board; ``dram`` is read and written in place while it runs.

    Args:
        library: shared library made by ``build.build``.
        dram: uint8 ``[bytes]``, contiguous; the model keeps it alive.
        dram_base: address of its first byte on the AXI ports.
        timing: timing of the memory.
        seed: seed of register contents at power-up and of random stalls.

    Raises:
        HardwareFault: the model does not start.
    """

    def __init__(
        self,
        library: Path,
        dram: np.ndarray,
        dram_base: int,
        timing: MemoryTiming,
        seed: int,
    ) -> None:
        self._lib = ctypes.CDLL(str(library))
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(self._lib, name)
            function.restype, function.argtypes = result, arguments
        self._dram = dram
        config = _Config(
            dram.ctypes.data, dram_base, dram.nbytes, timing.bytes_per_cycle,
            timing.read_latency_cycles, timing.write_latency_cycles, timing.burst_cycles,
            timing.turn_cycles, timing.turn_quantum_cycles, timing.outstanding_bursts, seed,
        )  # fmt: skip
        self._board = self._lib.ptv_create(ctypes.byref(config))
        if not self._board:
            raise HardwareFault(f"the model does not start: {self._lib.ptv_error(None).decode()}")

    def close(self) -> None:
        """End the model; may be called more than once."""
        board, self._board = getattr(self, "_board", None), None
        if board:
            self._lib.ptv_destroy(board)

    def __del__(self) -> None:
        self.close()

    def read32(self, offset: int) -> int:
        """Read a register by an AXI4-Lite transaction.

        Raises:
            Timeout: no answer.
            HardwareFault: the RTL broke an AXI rule.
        """
        value = _U32()
        self._call(self._lib.ptv_read32, offset, ctypes.byref(value))
        return value.value

    def write32(self, offset: int, value: int) -> None:
        """Write a register by an AXI4-Lite transaction; raises as ``read32``."""
        self._call(self._lib.ptv_write32, offset, value)

    def run(self, cycles: int, watch: int = 0, mask: int = 0, interval: int = 256) -> None:
        """Run up to ``cycles`` cycles.

        Ends early at the interrupt or, with ``mask``, when the masked bits of the register at
        offset ``watch`` change; it is looked at every ``interval`` cycles. Raises as ``read32``.
        """
        self._call(self._lib.ptv_run, cycles, watch, mask, interval)

    @property
    def cycles(self) -> int:
        """Cycles simulated since reset."""
        return int(self._lib.ptv_cycles(self._board))

    @property
    def irq(self) -> bool:
        """Level of the interrupt pin."""
        return bool(self._lib.ptv_irq(self._board))

    @property
    def turns(self) -> int:
        """Changes of the DRAM between reading and writing."""
        return int(self._lib.ptv_turns(self._board))

    def port_counters(self, port: int) -> PortCounters:
        """Return the traffic of AXI port 0..3 since reset."""
        raw = _Counters()
        self._lib.ptv_counters(self._board, port, ctypes.byref(raw))
        return PortCounters(raw.read_beats, raw.write_beats, raw.read_bursts, raw.write_bursts)

    def set_random_stalls(self, probability: float) -> None:
        """Stall each AXI channel with this probability in every cycle.

        Raises:
            ValueError: it is not in 0..0.95.
        """
        if not 0 <= probability <= 0.95:
            raise ValueError(f"stall probability: expected 0..0.95, found {probability}")
        self._lib.ptv_set_stalls(self._board, int(probability * 4096))

    def inject_error(self, port: int, skip_beats: int, kind: Response, *, write: bool) -> None:
        """Answer an error to one beat of a port: the one after ``skip_beats`` more."""
        self._lib.ptv_inject(self._board, port, write, skip_beats, int(kind))

    def silence(self, port: int, skip_beats: int, *, write: bool) -> None:
        """Never answer again on a port, after ``skip_beats`` more: no data, or no responses."""
        self._lib.ptv_silence(self._board, port, write, skip_beats)

    def stray(self, port: int, *, write: bool, after_cycles: int = 0, count: int = 1,
              last: bool = True) -> None:
        """Let ``count`` answers come that nobody asked for, after some cycles.

        Args:
            port: AXI port 0..3.
            write: write responses instead of words.
            after_cycles: cycles until then.
            count: how many, one behind the other.
            last: the last one of the words ends a burst (RLAST).
        """
        self._lib.ptv_stray(self._board, port, write, after_cycles, count, last)

    def stop_clock(self, after_cycles: int = 0) -> None:
        """Stop the clock of the engine and its memory for good; simulated time goes on."""
        self._lib.ptv_stop_clock(self._board, after_cycles)

    def trace(self, path: Path) -> None:
        """Record a VCD waveform from now on (models built with ``trace`` only)."""
        self._call(self._lib.ptv_trace, str(path).encode())

    def write_counts(self, path: Path) -> None:
        """Write how often lines and toggles were reached (models built with ``counts`` only)."""
        self._call(self._lib.ptv_counts, str(path).encode())

    def _call(self, function: Callable[..., int], *arguments: object) -> None:
        """Call a function of the library that returns nonzero for an error."""
        if function(self._board, *arguments):
            text = self._lib.ptv_error(self._board).decode()
            kind = Timeout if text.endswith(_SILENT) else HardwareFault
            raise kind(f"simulated engine: {text}")
