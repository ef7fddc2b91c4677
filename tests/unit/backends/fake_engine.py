"""A model of the engine in Python for driver tests: registers and a log of all accesses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pynq_train.errors import Timeout
from pynq_train.hw import contract, registers
from pynq_train.hw.boards import BOARDS, Board
from pynq_train.hw.registers import offset

Z2 = BOARDS["pynq-z2"]
BUSY, DONE, HALTED, FAILED = 1, 2, 4, 8
START, RESUME, SOFT_RESET, CLEAR = 1, 2, 4, 8


class FakeEngine:
    """Runs ``work(engine)`` at START; takes ``run_cycles`` simulated cycles for it."""

    def __init__(self, work: Callable[[FakeEngine], None] = lambda engine: None) -> None:
        self.work = work
        self.run_cycles = 1000
        self.cycles = 0
        self.closed = False
        self.stuck = False  # a burst stays open: a soft reset has no effect
        self.silent = False  # the clock stands still
        self.log: list[tuple[str, int]] = []
        self.values = {
            "ID": registers.ID_VALUE,
            "ABI": registers.ABI_VERSION,
            "HASH": contract.hash_word(Z2.config),
            "STATUS": 0,
        }
        self._end = 0
        self._armed = False

    def read32(self, at: int) -> int:
        name = next(r.name for r in registers.REGISTERS if r.offset == at)
        self.log.append((f"read {name}", 0))
        self._answer()
        return self.values.get(name, 0)

    def write32(self, at: int, value: int) -> None:
        name = next(r.name for r in registers.REGISTERS if r.offset == at)
        self.log.append((f"write {name}", value))
        self._answer()
        if name != "CTRL":
            if not self.values["STATUS"] & BUSY:
                self.values[name] = value
                self._armed = name == registers.ARMED_BY and not self._armed
        elif value == START and not self._armed:
            if not self.values["STATUS"] & (BUSY | FAILED):
                self.fail(registers.Status.NOT_ARMED, registers.ErrorSource.SEQUENCER, 0)
                self.values.update(RETIRED=0, CYCLES=0)
        elif value == START:
            self._armed = False
            self.values.update(STATUS=BUSY, RETIRED=0)
            self._end = self.cycles + self.run_cycles
        elif value == RESUME:
            self.values["STATUS"] = BUSY
            self._end = self.cycles + self.run_cycles
        elif value == CLEAR or (value == SOFT_RESET and not self.stuck):
            self.values["STATUS"] = 0

    def run(self, cycles: int, watch: int = 0, mask: int = 0, interval: int = 256) -> None:
        self.cycles = min(self.cycles + cycles, max(self._end, self.cycles + 1))
        if self.cycles < self._end or not self.values["STATUS"] & BUSY:
            return
        step = self.values.get("MODE", 0) & 1
        count = self.values["PROGRAM_COUNT"]
        self.values["RETIRED"] = self.values["RETIRED"] + 1 if step else count
        self.values["CYCLES"] = self.run_cycles
        done = self.values["RETIRED"] == count
        self.values["STATUS"] = DONE if done else BUSY | HALTED
        self.work(self)

    def _answer(self) -> None:
        if self.silent:
            raise Timeout("fake engine: register read was not answered")

    def close(self) -> None:
        self.closed = True

    def writes(self) -> list[tuple[str, int]]:
        """Register writes since the last call."""
        found = [(name[6:], value) for name, value in self.log if name.startswith("write")]
        self.log.clear()
        return found

    def fail(self, status: registers.Status, source: int, index: int) -> None:
        self.values["STATUS"] = registers.encode(
            "STATUS", DONE=1, FAILED=1, ERROR=int(status), SOURCE=source)
        self.values["ERROR_INDEX"] = index


@contextmanager
def fake_board(
    engine: FakeEngine, folder: Path, arena_bytes: int = 1 << 16,
    spare: FakeEngine | None = None, board: Board = Z2, **options: Any
) -> Iterator[Any]:
    """An open ``BoardBackend`` on a virtual device around ``engine``.

    ``spare``: the engine after the overlay has been loaded again; ``board``: with the contract of
    the PYNQ-Z2.
    """
    import pynq

    from pynq_train.backends.board import BoardBackend
    from pynq_train.backends.vboard.device import VirtualDevice
    from pynq_train.backends.vboard.overlay import overlay_file

    engines = [engine] if spare is None else [engine, spare]

    def power_up(device: VirtualDevice) -> FakeEngine:
        return engines.pop(0) if len(engines) > 1 else engines[0]

    device = VirtualDevice(board, power_up, **options)
    pynq.Device.active_device = device
    with BoardBackend(board, arena_bytes, overlay_file(board, folder), device) as backend:
        assert offset("ID") == 0
        yield backend
