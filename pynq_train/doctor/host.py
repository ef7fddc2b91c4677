"""Checks of the machine's software and rights, from facts that are read once.

The checks take these facts as a value, so that tests can examine machines that are not there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from pynq_train.backends.board import how_to_install_pynq
from pynq_train.doctor.check import Check, ok, skipped, wrong
from pynq_train.hw.boards import Board
from pynq_train.overlays import board_of_image

Version = tuple[int, ...]
"""Numbers of a version: ``(1, 21, 5)``."""

PYTHON = (3, 10), (3, 15)
"""Supported versions of Python: from the first to below the second."""
NUMPY = (1, 21), (3,)
"""The images of boards bring 1.21; pynq works with NumPy 2 as well (``backends.buffer``)."""
PYNQ = {"zynq": ((3, 0), (4,)), "zynqmp": ((3, 0), (5,))}
"""Versions of pynq by family: pynq 4 dropped the Zynq-7000. A virtual board works with both."""

_DEVICE_TREE = Path("/proc/device-tree/chosen/pynq_board")
_MEMINFO = Path("/proc/meminfo")
MIB = 1 << 20
"""Bytes of a mebibyte."""


@dataclass(frozen=True)
class Host:
    """Facts of a machine.

    Attributes:
        python: version of Python.
        numpy: version of NumPy.
        pynq: version of pynq, None: not installed.
        image: name that the PYNQ image gives to the board; empty: this is no PYNQ board.
        user: user id of this process (0 is root).
        xrt: the variable XILINX_XRT, which the environment of PYNQ sets.
        free_bytes: free contiguous memory; None: the kernel tells of none.
    """

    python: Version
    numpy: str
    pynq: str | None
    image: str
    user: int
    xrt: str
    free_bytes: int | None

    @classmethod
    def here(cls) -> Host:
        """Return the facts of the machine that this runs on."""
        return cls(tuple(sys.version_info[:3]), np.__version__, _installed("pynq"), _image(),
                   os.geteuid(), os.environ.get("XILINX_XRT", ""), _free_contiguous(_MEMINFO))


def check_python(host: Host) -> Check:
    """Check that this package supports the version of Python."""
    low, high = PYTHON
    found = _dotted(host.python)
    if low <= host.python < high:
        return ok("python", found)
    return wrong("python", f"expected {_range(low, high)}, found {found}",
                 "use the Python of the board's PYNQ image, or 3.10 to 3.14 on a PC")


def check_numpy(host: Host) -> Check:
    """Check that this package and pynq work with the version of NumPy."""
    low, high = NUMPY
    if low <= version_numbers(host.numpy) < high:
        return ok("numpy", host.numpy)
    return wrong("numpy", f"expected {_range(low, high)}, found {host.numpy}",
                 "run: pip install 'numpy>=1.21,<3'")


def check_pynq(host: Host, board: Board, virtual: bool) -> Check:
    """Check that ``pynq`` is there, and of a version that drives the board."""
    low, high = PYNQ["zynqmp" if virtual else board.family]
    wanted = _range(low, high)
    if host.pynq is None:
        return wrong("pynq", f"expected {wanted}, found none", how_to_install_pynq()
                     if virtual else "run this with the Python of the board's PYNQ image")
    if low <= version_numbers(host.pynq) < high:
        return ok("pynq", host.pynq)
    return wrong("pynq", f"expected {wanted} for the {board.pynq_name}, found {host.pynq}",
                 how_to_install_pynq() if virtual else
                 "use the PYNQ image 3.0 or 3.1 of this board")


def check_board(host: Host, board: Board, virtual: bool) -> Check:
    """Check that the board that was asked for is the one this runs on."""
    if virtual:
        here = f"this machine is a {host.image}" if host.image else "this machine is no PYNQ board"
        return ok("board", f"virtual {board.pynq_name}, the engine's RTL simulated ({here})")
    found = board_of_image(host.image)
    if found is not None and found.pynq_name == board.pynq_name:  # several overlays of one board
        return ok("board", f"{board.pynq_name}, {board.part}")
    if not host.image:
        return wrong("board", f"expected a {board.pynq_name}, found no PYNQ board: neither $BOARD "
                     f"nor {_DEVICE_TREE} names one",
                     f"run this on the board, or use --board virtual:{board.name}")
    other = f"use --board {found.name}" if found is not None else "this board has no overlay here"
    return wrong("board", f"expected a {board.pynq_name}, found a {host.image}", other)


def check_rights(host: Host, virtual: bool) -> Check:
    """Check that this process may map registers and allocate contiguous memory."""
    if virtual:
        return ok("rights", "a virtual board needs none")
    if host.user == 0 and host.xrt:
        return ok("rights", f"root, XILINX_XRT={host.xrt}")
    return wrong("rights", "expected user root and the PYNQ environment (XILINX_XRT), found user "
                 f"id {host.user}, XILINX_XRT={host.xrt!r}",
                 "run it in Jupyter, or under: sudo -i (which sources /etc/profile.d)")


def check_memory(host: Host, board: Board, virtual: bool, need: int, what: str) -> Check:
    """Check that the contiguous memory that is free holds the arena of a training.

    Args:
        host: facts of the machine.
        board: the board.
        virtual: it is simulated: all of its contiguous memory is free.
        need: bytes of the arena.
        what: the training, for the text.
    """
    free = board.cma_bytes if virtual else host.free_bytes
    if free is None:
        return skipped("memory", f"{what} needs {_mib(need)}; {_MEMINFO} does not tell how much "
                       "contiguous memory is free")
    if need <= free:
        return ok("memory", f"{what} needs {_mib(need)} of {_mib(free)} free contiguous memory")
    return wrong("memory", f"{what} needs {_mib(need)} of contiguous memory, {_mib(free)} are free",
                 "use a smaller batch, or free other buffers and restart other kernels")


def host_checks(host: Host, board: Board, virtual: bool) -> tuple[Callable[[], Check], ...]:
    """Return the checks that need no plan and no hardware, in order."""
    return (
        lambda: check_python(host), lambda: check_numpy(host),
        lambda: check_pynq(host, board, virtual), lambda: check_board(host, board, virtual),
        lambda: check_rights(host, virtual),
    )  # fmt: skip


def version_numbers(version: str) -> Version:
    """Return the leading numbers of a version: ``(1, 21, 5)`` of ``1.21.5``."""
    result: list[int] = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        result.append(int(digits))
    return tuple(result)


def _dotted(version: Version) -> str:
    """Return a version as text."""
    return ".".join(map(str, version))


def _range(low: Version, high: Version) -> str:
    """Return a range of versions as text."""
    return f"{_dotted(low)} or newer, below {_dotted(high)}"


def _mib(nbytes: int) -> str:
    """Return bytes as text in MiB."""
    return f"{nbytes / MIB:.1f} MiB"


def _installed(package: str) -> str | None:
    """Return the version of a Python package, None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _image() -> str:
    """Return the name that a PYNQ image gives to its board; empty elsewhere."""
    name = os.environ.get("BOARD", "")
    if name or not _DEVICE_TREE.exists():
        return name
    # Without the environment of PYNQ (sudo) the device tree still knows; its strings end with a
    # zero.
    return _DEVICE_TREE.read_bytes().rstrip(b"\0").decode("ascii", "replace")


def _free_contiguous(meminfo: Path) -> int | None:
    """Return the free contiguous memory in bytes, None if the kernel does not tell of it."""
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    free = [line.split()[1] for line in lines if line.startswith("CmaFree:")]
    return int(free[0]) * 1024 if free else None
