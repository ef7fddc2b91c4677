"""The registers of a run: written where they differ, and compared before each run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Protocol

from pynq_train.errors import HardwareFault
from pynq_train.hw import registers
from pynq_train.hw.registers import RegisterAccess

_LOG = logging.getLogger(__name__)

WRITABLE = tuple(r.name for r in registers.REGISTERS if r.access is RegisterAccess.READ_WRITE)
"""Names of all registers that keep what is written."""


_TRIES = 3
"""So often registers are written until they hold the values."""


class Core(Protocol):
    """Registers by name, as ``PtCore`` has them."""

    def read_register(self, name: str) -> int: ...

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
        self._known: Mapping[str, int] = {}

    def forget(self) -> None:
        """Write all registers anew at the next run: the engine was reset, or is another one."""
        self._known = {}

    def set(self, core: Core, wanted: Mapping[str, int]) -> None:
        """Let all registers hold what a run wants, and arm START; warn of others' writes.

        Args:
            core: the registers of an engine at rest.
            wanted: a value for each register of :data:`WRITABLE`.

        Raises:
            HardwareFault: a register does not hold what was written to it.
        """
        known, self._known = self._known, {}
        write = {} if known == wanted else {
            name: value for name, value in wanted.items() if known.get(name) != value}
        for _ in range(_TRIES):
            for name, value in write.items():
                if name != registers.ARMED_BY:
                    core.write_register(name, value)
            core.write_register(registers.ARMED_BY, wanted[registers.ARMED_BY])
            found = {name: core.read_register(name) for name in WRITABLE}
            if found == wanted:
                self._known = found
                return
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
