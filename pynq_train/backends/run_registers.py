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


class Core(Protocol):
    """Registers by name, as ``PtCore`` has them."""

    def read_register(self, name: str) -> int: ...

    def write_register(self, name: str, value: int) -> None: ...


class RunRegisters:
    """What the driver has written to the registers of an engine, so that others' writes show.

    The engine keeps these registers while it runs, so what is compared before is what a run uses.

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
        """Let all registers hold what a run wants; warn of those that somebody else has changed.

        Args:
            core: the registers of an engine at rest.
            wanted: a value for each register of :data:`WRITABLE`.

        Raises:
            HardwareFault: a register does not hold what was written to it.
        """
        found = {name: core.read_register(name) for name in WRITABLE} if self._known else {}
        strange = {name: value for name, value in found.items() if value != self._known[name]}
        if strange:
            _LOG.warning("%s: somebody else has written to the registers of the engine, they are "
                         "written anew: expected %s, found %s", self._board,
                         _text({name: self._known[name] for name in strange}), _text(strange))
        written = {name: wanted[name] for name in WRITABLE if found.get(name) != wanted[name]}
        for name, value in written.items():
            core.write_register(name, value)
        held = {name: core.read_register(name) for name in written}
        wrong = {name: value for name, value in held.items() if value != written[name]}
        if wrong:
            raise HardwareFault(
                f"{self._board}: registers of the engine do not hold what is written",
                expected=_text({name: written[name] for name in wrong}), found=_text(wrong),
                fix="end what else writes to them; if nothing does, restart the board")
        self._known = dict(wanted)


def _text(values: Mapping[str, int]) -> str:
    """Return registers and their values for messages."""
    return " ".join(f"{name}=0x{value:x}" for name, value in values.items())
