"""What the registers say when a run fails, and the errors made from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pynq_train.backends.base import RunRequest
from pynq_train.errors import HardwareFault, Timeout
from pynq_train.hw import registers
from pynq_train.hw.commands import Opcode
from pynq_train.hw.registers import ErrorSource, Status
from pynq_train.hw.words import PORTS

FAULTS = {
    Status.OUTSIDE_ARENA: ("addresses memory outside the arena", "verify the program"),
    Status.SLAVE_ERROR: ("got an AXI slave error from the memory", "reload the overlay"),
    Status.DECODE_ERROR: (
        "addressed memory that does not exist (AXI decode error)",
        "reload the overlay; the arena must lie in DRAM",
    ),
    Status.ILLEGAL_DESCRIPTOR: ("is not a legal descriptor", "verify the program"),
    Status.STRAY_ANSWER: (
        "was at work when the memory gave an answer that nobody had asked for",
        "run it again; if that does not help, restart the board"),
    Status.NOT_ARMED: (
        "was not started: somebody else wrote to the registers in between",
        "end what else writes to its registers, and run it again"),
}
"""By error status: what the descriptor (NOT_ARMED: the program) did, and what helps."""


def not_armed(status: int) -> bool:
    """Return whether STATUS tells of a START that nothing had armed: no program has run."""
    said = registers.decode("STATUS", status)
    return bool(said["FAILED"]) and said["ERROR"] == Status.NOT_ARMED


@dataclass(frozen=True)
class EngineState:
    """The engine at the moment of a failure, before it was reset.

    Attributes:
        registers: all registers by name; empty if they did not answer.
        descriptor: index of the oldest descriptor that had not finished; the up to seven behind
            it may have been at work as well.
        count: descriptors of the run.
        opcode: its opcode as it stands in memory.
        what: what the descriptor does, as the request names it; empty if it does not.
    """

    registers: Mapping[str, int] = field(default_factory=dict)
    descriptor: int = 0
    count: int = 0
    opcode: str = ""
    what: str = ""

    @property
    def status(self) -> int:
        """The STATUS register."""
        return self.registers.get("STATUS", 0)

    def text(self) -> str:
        """Return one line: the descriptor in flight, then all registers that are not zero."""
        values = (f"{name}=0x{value:x}" for name, value in self.registers.items() if value)
        what = f"{self.opcode}, {self.what}" if self.what else self.opcode
        flight = (f"none of {self.count} descriptors in flight," if not_armed(self.status) else
                  f"descriptor {self.descriptor} of {self.count} in flight ({what}),")
        return " ".join((flight, *values))


def capture(read_register: Callable[[str], int], read_memory: Callable[[int], int],
            request: RunRequest, opcode_offset: Callable[[int], int]) -> EngineState:
    """Read the state of a failed run.

    Args:
        read_register: value of a register by name.
        read_memory: byte at an offset of the arena.
        request: the run.
        opcode_offset: offset of a descriptor's opcode byte in the arena, by its index.
    """
    values = {r.name: read_register(r.name) for r in registers.REGISTERS}
    failed = registers.decode("STATUS", values["STATUS"])["ERROR"]
    index = values["ERROR_INDEX"] if failed else values["RETIRED"]
    return state_of(values, index, request, read_memory, opcode_offset)


def state_of(values: Mapping[str, int], index: int, request: RunRequest,
             read_memory: Callable[[int], int], opcode_offset: Callable[[int], int]
             ) -> EngineState:
    """Return the state of a run whose descriptor ``index`` was the oldest one.

    ``values``: all registers by name; the other arguments as for :func:`capture`.
    """
    opcode, what = "none", ""
    if 0 <= index < request.descriptor_count:
        code = read_memory(opcode_offset(index))
        opcode = Opcode(code).name if code in list(Opcode) else f"opcode {code}"
        what = request.names[index] if index < len(request.names) else ""
    return EngineState(values, index, request.descriptor_count, opcode, what)


def fault(board: str, state: EngineState) -> HardwareFault:
    """Return the error of an engine that stopped with an error status."""
    said = registers.decode("STATUS", state.status)
    code, source = said["ERROR"], said["SOURCE"]
    if not said["FAILED"]:  # it came with the end of the run
        code, source = Status.STRAY_ANSWER, ErrorSource.SEQUENCER
    known = FAULTS.get(Status(code)) if code in list(Status) else None
    what, fix = known or (f"failed with unknown status {code}", "reload the overlay")
    if source < ErrorSource.SEQUENCER and code not in (Status.ILLEGAL_DESCRIPTOR, Status.NOT_ARMED):
        what += f" ({'read' if source < ErrorSource.WRITE0 else 'write'} port {source % PORTS})"
    who = "the program" if code == Status.NOT_ARMED else f"descriptor {state.descriptor}"
    error = HardwareFault(f"{board}: {who} {what}", expected="a run without errors",
                          found=state.text(), fix=fix)
    error.state = state
    return error


def late(board: str, state: EngineState, limit: int, request: RunRequest) -> Timeout:
    """Return the error of an engine that works longer than the cycle model allows."""
    error = Timeout(
        f"{board}: the engine did not finish the program in time",
        expected=f"{limit} cycles at most ({request.expected_cycles} predicted)",
        found=state.text(), fix="the engine was reset; report this with the registers above")
    error.state = state
    return error


def awake(board: str, state: EngineState) -> HardwareFault:
    """Return the error of an engine that works, or has worked, without being told to."""
    error = HardwareFault(
        f"{board}: the engine has run without being told to", expected="STATUS=0x0 before a run",
        found=state.text(), fix="end what else writes to its registers; weights in its memory may "
        "have changed: go on from the last checkpoint")
    error.state = state
    return error


def idle(board: str, state: EngineState) -> HardwareFault:
    """Return the error of an engine that rests before its program has ended."""
    error = HardwareFault(
        f"{board}: the engine rests before its program has ended",
        expected=f"{state.count} descriptors retired", found=state.text(),
        fix="end what else writes to its registers, and run it again")
    error.state = state
    return error


def broken(board: str, why: Exception) -> HardwareFault:
    """Return the error of a run in which pynq failed with ``why``."""
    return HardwareFault(f"{board}: the engine cannot be reached", expected="registers and memory "
                         "that answer", found=f"{type(why).__name__}: {why}",
                         fix="run it again; if that does not help, restart the board")


def unloaded(board: str, bit: Path, why: Exception) -> HardwareFault:
    """Return the error of an overlay that could not be loaded, because of ``why``."""
    return HardwareFault(f"{board}: the overlay {bit} cannot be loaded",
                         found=f"{type(why).__name__}: {why}",
                         fix="run it again; if that does not help, restart the kernel or the board")


def strays_text(value: int) -> str:
    """Return what the register STRAYS says, as a sentence."""
    said = registers.decode("STRAYS", value)
    where = ", ".join(source.name.lower() for source in ErrorSource
                      if said["PORTS"] >> source & 1)
    return (f"{said['COUNT']} answers of the memory that nobody had asked for came between runs "
            f"and were dropped ({where})")


def silent(board: str, state: EngineState, why: Timeout) -> Timeout:
    """Return the error of an engine whose registers do not answer; ``why``: the driver's error."""
    error = Timeout(
        f"{board}: the registers of the engine do not answer",
        expected="an answer to every access", found=f"{why}, {state.text()}",
        fix="its clock stands still; the overlay is loaded again, which sets the clock")
    error.state = state
    return error
