"""The registers of a run: written where they differ, and compared before each run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Protocol

from pynq_train.backends.base import RunRequest
from pynq_train.errors import HardwareFault
from pynq_train.hw import registers
from pynq_train.hw.registers import RegisterAccess

_LOG = logging.getLogger(__name__)

WRITABLE = tuple(r.name for r in registers.REGISTERS if r.access is RegisterAccess.READ_WRITE)
"""Names of all registers that keep what is written."""


_TRIES = 3
"""So often registers are written until they hold the values."""
_MOST_KNOWN = 64
"""Runs whose values are kept."""
_MODE = registers.masks("MODE")


class Core(Protocol):
    """Registers by name, as ``PtCore`` has them."""

    def read_registers(self, names: tuple[str, ...]) -> list[int]: ...

    def write_register(self, name: str, value: int) -> None: ...


class RunRegisters:
    """What the driver has written to the registers of an engine, so that others' writes show.

    The engine starts only with what is compared here: a write behind it disarms START, and while a
    program runs the registers keep their values.

    Args:
        board: the board's name, for messages.
    """

    def __init__(self, board: str) -> None:
        self._board = board
        self._where: Mapping[str, int] = {}
        self._known: Mapping[str, int] = {}
        self._values: list[int] = []
        self._runs: dict[tuple[int, int, int, int], Mapping[str, int]] = {}

    def forget(self, where: Mapping[str, int]) -> None:
        """Write all registers anew at the next run: the engine was reset, or is another one.

        Args:
            where: the registers that say where the arena is, from now on.
        """
        self._where, self._known = where, {}
        self._runs.clear()

    def wanted(self, request: RunRequest, step: bool) -> Mapping[str, int]:
        """Return what a run wants in each register of :data:`WRITABLE`; the same run, the same.

        Args:
            request: the run.
            step: it halts behind each descriptor.
        """
        mode = (_MODE["STEP"] if step else 0) | (_MODE["PROFILE"] if request.profile else 0)
        run = mode, request.program_offset, request.descriptor_count, request.step_block_offset
        found = self._runs.get(run)
        if found is None:
            if len(self._runs) >= _MOST_KNOWN:
                self._runs.clear()
            names = "MODE", "PROGRAM_OFF", "PROGRAM_COUNT", "STEP_OFF"
            found = self._runs[run] = {**self._where, **dict(zip(names, run))}
        return found

    def set(self, core: Core, wanted: Mapping[str, int]) -> None:
        """Let all registers hold what a run wants, and arm START; warn of others' writes.

        Args:
            core: the registers of an engine at rest.
            wanted: what :meth:`wanted` has returned.

        Raises:
            HardwareFault: a register does not hold what was written to it.
        """
        known, self._known = self._known, {}
        write: dict[str, int] = {}
        if known is not wanted:  # runs of one program want the same
            self._values = [wanted[name] for name in WRITABLE]
            write = {name: value for name, value in wanted.items() if known.get(name) != value}
        for _ in range(_TRIES):
            for name, value in write.items():
                if name != registers.ARMED_BY:
                    core.write_register(name, value)
            core.write_register(registers.ARMED_BY, wanted[registers.ARMED_BY])
            values = core.read_registers(WRITABLE)
            if values == self._values:
                self._known = wanted
                return
            found = dict(zip(WRITABLE, values))
            write = {name: wanted[name] for name in WRITABLE if found[name] != wanted[name]}
            _LOG.warning("%s: somebody else has written to the registers of the engine, they are "
                         "written anew: expected %s, found %s", self._board, _text(write),
                         _text({name: found[name] for name in write}))
        raise HardwareFault(
            f"{self._board}: registers of the engine do not hold what is written",
            expected=_text(write), found=_text({name: found[name] for name in write}),
            fix="end what else writes to them; if nothing does, restart the board")


def _text(values: Mapping[str, int]) -> str:
    """Return registers and their values for messages."""
    return " ".join(f"{name}=0x{value:x}" for name, value in values.items())
