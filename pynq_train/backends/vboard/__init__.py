"""Virtual boards: the RTL, compiled by Verilator, behind the ``pynq`` API."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from pynq_train.backends.board import BoardBackend, import_pynq
from pynq_train.backends.vboard.build import ModelSource
from pynq_train.backends.vboard.model import PortCounters, Response, VerilatedModel
from pynq_train.backends.vboard.overlay import overlay_file
from pynq_train.hw.boards import Board
from pynq_train.hw.memory_timing import MemoryTiming

if TYPE_CHECKING:
    from pynq_train.backends.vboard.device import VirtualDevice

__all__ = [
    "MemoryTiming", "Model", "ModelSource", "PortCounters", "Response", "VirtualBoardBackend",
    "make_device",
]  # fmt: skip


def make_device(board: Board, source: ModelSource | None = None, **options: Any) -> VirtualDevice:
    """Make a virtual board and let ``pynq`` use it.

    Args:
        board: the board.
        source: what its engine is built from (default: the RTL of this package).
        options: as ``VirtualDevice``.

    Raises:
        MissingTool: ``pynq`` is not installed.
    """
    pynq = import_pynq(virtual=True)
    from pynq_train.backends.vboard.device import VirtualDevice, verilated_model

    device = VirtualDevice(board, partial(verilated_model, source=source), **options)
    # Interrupts and clocks of pynq look at the active device, not at the overlay's.
    pynq.Device.active_device = device
    return device


class VirtualBoardBackend(BoardBackend):
    """Runs Programs on the simulated RTL, through the unchanged driver of the boards.

    Args:
        board: the board.
        arena_size_bytes: size of the arena.
        source: what the engine is built from (default: the RTL of this package).
        timing: timing of the memory (default: the board's bandwidth).
        seed: seed of register and memory contents and of random stalls.
    """

    def __init__(
        self,
        board: Board,
        arena_size_bytes: int,
        *,
        source: ModelSource | None = None,
        timing: MemoryTiming | None = None,
        seed: int = 1,
    ) -> None:
        super().__init__(board, arena_size_bytes, overlay_file(board))
        self.name = f"virtual:{board.name}"
        self._source = source
        self._options = {"timing": timing, "seed": seed}

    def open(self) -> VirtualBoardBackend:
        """Power the board up (the first time the RTL is compiled), then as any board.

        Raises:
            MissingTool: Verilator, a C++ compiler or ``pynq`` is not installed.
        """
        if self._device is None:
            self._device = make_device(self.board, self._source, **self._options)
        super().open()
        return self

    def close(self) -> None:
        """Free the arena and power the board down."""
        super().close()
        if self._device is not None:
            self._device.close()
            self._device = None

    @property
    def model(self) -> VerilatedModel:
        """The simulated engine, to inject errors and stalls and to count traffic."""
        assert self._device is not None
        return self._device.model
