"""What every backend promises: one arena of device memory, and runs of Programs in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, runtime_checkable

import numpy as np

from pynq_train.errors import BadInput, StaleOverlay
from pynq_train.hw import contract, registers
from pynq_train.hw.config import HwConfig
from pynq_train.hw.registers import Status

Data = bytes | bytearray | memoryview | np.ndarray
"""What ``Backend.write`` takes; arrays are written as their bytes in C order."""


@dataclass(frozen=True)
class RunRequest:
    """One run of a Program that lies in the arena.

    Attributes:
        program_offset: byte offset of the first descriptor in the arena.
        descriptor_count: descriptors to run.
        step_block_offset: byte offset of the step block in the arena.
        expected_cycles: predicted cycles of the run; the time-out is a generous multiple.
        profile: let the records carry start and end cycles in words 2 and 3 (MODE.PROFILE);
            backends without a clock leave them zero.
        names: what each descriptor does, for messages (may be empty).
        counters: read the counter registers behind the run: an access for each.
        meanwhile: is called once while the engine works (by golden before it begins); it must not
            touch the arena. What it raises ends the run.
    """

    program_offset: int
    descriptor_count: int
    step_block_offset: int
    expected_cycles: int
    profile: bool = False
    names: tuple[str, ...] = ()
    counters: bool = True
    meanwhile: Callable[[], None] | None = field(default=None, compare=False)


# Not frozen: one is made in each step, and a frozen one takes three times as long to make.
@dataclass
class RunResult:
    """Outcome of a run that ended without an error.

    Attributes:
        cycles: cycles between the first and the last of the run (0: the backend has no clock).
        counters: counter registers by lower-case name (empty: the backend has none, or nobody has
            asked for them).
        status: ``Status.OK``; every other status is raised as an error.
    """

    cycles: int
    counters: dict[str, int] = field(default_factory=dict)
    status: Status = Status.OK


@runtime_checkable
class Backend(Protocol):
    """Something that executes Programs: golden, a virtual board or a PYNQ board.

    A backend is a context manager and may be used only between ``open`` and ``close``; both may be
    called more than once. Its memory is one arena, addressed by byte offsets from 0.
    """

    name: str
    arena_size_bytes: int

    def open(self) -> Backend:
        """Acquire the hardware and the arena, check the contract, return ``self``.

        Raises:
            StaleOverlay: the hardware decodes another contract than this package.
            DoesNotFit: the arena is larger than the memory that is free.
            MissingTool: a package or program is not installed.
        """
        ...

    def close(self) -> None:
        """Give arena and hardware back."""
        ...

    def __enter__(self) -> Backend: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def write(self, offset: int, data: Data) -> None:
        """Copy ``data`` into the arena at byte ``offset``.

        Raises:
            BadInput: the span lies outside the arena.
        """
        ...

    def read(self, offset: int, nbytes: int) -> np.ndarray:
        """Return a copy of ``nbytes`` bytes of the arena as uint8 ``[nbytes]``.

        Raises:
            BadInput: the span lies outside the arena.
        """
        ...

    def run(self, request: RunRequest) -> RunResult:
        """Run a Program to its end.

        Raises:
            HardwareFault: the engine stopped with an error status.
            Timeout: the engine did not finish in time.
        """
        ...

    def run_step_mode(self, request: RunRequest) -> Iterator[int]:
        """Run a Program one descriptor at a time.

        Yields the index of each descriptor after it has retired; ``read`` and ``write`` may be
        used then. Raises as ``run`` does.
        """
        ...


COUNTERS = tuple(
    register.name
    for register in registers.REGISTERS
    if register.offset > registers.offset("CYCLES_HI")
)
"""Names of the counter registers besides CYCLES."""


def as_bytes(data: Data) -> np.ndarray:
    """View ``data`` as a flat uint8 array, without a copy when it is contiguous."""
    if isinstance(data, np.ndarray):
        if data.dtype == np.uint8 and data.ndim == 1 and data.flags.c_contiguous:
            return data
        flat = data if data.flags.c_contiguous else np.ascontiguousarray(data)
        return flat.reshape(-1).view(np.uint8)
    return np.frombuffer(data, np.uint8)


def check_span(offset: int, nbytes: int, arena_size_bytes: int) -> None:
    """Refuse a span that is not inside the arena.

    Args:
        offset: its first byte.
        nbytes: its bytes.
        arena_size_bytes: size of the arena.

    Raises:
        BadInput: it is not.
    """
    if offset < 0 or nbytes < 0 or offset + nbytes > arena_size_bytes:
        raise BadInput(
            "a span lies outside the arena",
            expected=f"bytes 0..{arena_size_bytes}",
            found=f"{offset}..{offset + nbytes}",
            fix="plan the network for an arena of this size",
        )


def check_request(request: RunRequest, arena_size_bytes: int, descriptor_bytes: int) -> None:
    """Refuse a request whose program does not lie inside the arena, or that names no time.

    Args:
        request: the run.
        arena_size_bytes: size of the arena.
        descriptor_bytes: bytes of a descriptor.

    Raises:
        BadInput: it does not.
    """
    if request.descriptor_count < 1 or request.expected_cycles < 1:
        raise BadInput(
            "a run needs descriptors and a prediction of its cycles",
            expected="descriptor_count and expected_cycles of 1 or more",
            found=f"{request.descriptor_count} and {request.expected_cycles}",
        )
    program_bytes = request.descriptor_count * descriptor_bytes
    check_span(request.program_offset, program_bytes, arena_size_bytes)
    check_span(request.step_block_offset, 0, arena_size_bytes)


def check_contract(read_register: Callable[[str], int], config: HwConfig, where: str) -> None:
    """Compare the identity registers with this package's contract.

    Hardware of another contract would take the fields of a descriptor for others, so nothing runs
    on it.

    Args:
        read_register: returns the value of a register by name.
        config: configuration that the hardware should have been built with.
        where: the hardware's name, for the message.

    Raises:
        StaleOverlay: they differ.
    """
    identity = read_register("ID")
    if identity != registers.ID_VALUE:
        raise StaleOverlay(
            f"{where}: the ID register is not the engine's",
            expected=f"0x{registers.ID_VALUE:08x}",
            found=f"0x{identity:08x}",
            fix="load the overlay of this package",
        )
    abi = read_register("ABI")
    if abi != registers.ABI_VERSION:
        raise StaleOverlay(
            f"{where}: the overlay has another ABI version",
            expected=registers.ABI_VERSION,
            found=abi,
            fix="install the overlay and the package of the same release",
        )
    word, wanted = read_register("HASH"), contract.hash_word(config)
    if word != wanted:
        raise StaleOverlay(
            f"{where}: the overlay was built from another hardware contract",
            expected=f"hash 0x{wanted:08x} (configuration {config.name})",
            found=f"0x{word:08x}",
            fix="rebuild the overlay, or install the package that it came with",
        )
