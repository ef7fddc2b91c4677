"""Golden as a backend: an arena in host memory and the golden machine on it."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

import numpy as np

from pynq_train.backends.base import (
    Data,
    RunRequest,
    RunResult,
    as_bytes,
    check_request,
    check_span,
)
from pynq_train.backends.golden.machine import GoldenMachine
from pynq_train.errors import BadInput
from pynq_train.hw.commands import DESCRIPTOR_BYTES
from pynq_train.hw.words import WORD_BYTES, ceil_div


class GoldenBackend:
    """Runs Programs bit for bit as the engine does, in NumPy, without a clock.

    Args:
        arena_size_bytes: size of the arena.
        threads: threads to use (default: one per core, at most 8).
    """

    def __init__(self, arena_size_bytes: int, threads: int | None = None) -> None:
        self.name = "golden"
        self.arena_size_bytes = arena_size_bytes
        self._threads = threads
        self._arena: np.ndarray | None = None
        self._machine: GoldenMachine | None = None

    def open(self) -> GoldenBackend:
        """Allocate the arena, all zero."""
        if self._machine is None:
            # Allocated as words, so that the arena starts at a word.
            words = ceil_div(self.arena_size_bytes, WORD_BYTES)
            self._arena = np.zeros(words, np.int64).view(np.uint8)[: self.arena_size_bytes]
            self._machine = GoldenMachine(self._arena, self._threads)
        return self

    def close(self) -> None:
        """Free the arena."""
        if self._machine is not None:
            self._machine.close()
        self._machine = self._arena = None

    def __enter__(self) -> GoldenBackend:
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
        arena, _ = self._opened()
        arena[offset : offset + flat.nbytes] = flat

    def read(self, offset: int, nbytes: int) -> np.ndarray:
        """Return a copy of ``nbytes`` bytes of the arena from ``offset`` on: uint8 ``[nbytes]``.

        Raises:
            BadInput: the span lies outside the arena, or the backend is not open.
        """
        check_span(offset, nbytes, self.arena_size_bytes)
        arena, _ = self._opened()
        return arena[offset : offset + nbytes].copy()

    def run(self, request: RunRequest) -> RunResult:
        """Run a Program to its end; the result has 0 cycles and no counters.

        Raises:
            HardwareFault: an illegal descriptor, or a tensor outside the arena.
        """
        if request.meanwhile is not None:
            request.meanwhile()
        for _ in self.run_step_mode(request):
            pass
        return RunResult(0)

    def run_step_mode(self, request: RunRequest) -> Iterator[int]:
        """Run a Program one descriptor at a time; yields the index of each that retired.

        Raises as :meth:`run` does.
        """
        _, machine = self._opened()
        check_request(request, self.arena_size_bytes, DESCRIPTOR_BYTES)
        yield from machine.steps(request.program_offset, request.descriptor_count,
                                 request.step_block_offset)

    def _opened(self) -> tuple[np.ndarray, GoldenMachine]:
        """Return arena and machine; BadInput if the backend is not open."""
        if self._arena is None or self._machine is None:
            raise BadInput(f"{self.name} is not open", fix="call open(), or use it in 'with'")
        return self._arena, self._machine
