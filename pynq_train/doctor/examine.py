"""The whole examination: what is asked in which order, and which answers need others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

from pynq_train.backends import Backend, open_backend
from pynq_train.backends.names import backend_names
from pynq_train.doctor.check import Check, State, failed, ok, skipped, wrong
from pynq_train.doctor.host import Host, check_memory, host_checks
from pynq_train.doctor.loopback import Copied, arena_bytes, loop_back
from pynq_train.doctor.step import step_against_golden
from pynq_train.errors import DoesNotFit, PynqTrainError, UnknownName
from pynq_train.graph import Graph
from pynq_train.hw import contract, registers
from pynq_train.hw.boards import BOARDS, Board
from pynq_train.layers import fuse
from pynq_train.overlays import find_overlay, installed_build
from pynq_train.schedule.plan import Plan, make_plan

DEFAULT_NET = "digits"
"""Network of the training that is examined."""
DEFAULT_BATCH = 32
"""Images of its mini-batch."""

SLOWEST = 1.5
"""A copy may take this many times the cycles that the assumed bandwidth predicts."""
CLOCK_TOLERANCE = 0.01
"""Part by which the clock may differ from what it should be."""
_FOREIGN = (ImportError, OSError, RuntimeError, AttributeError, TypeError, ValueError)
"""What pynq and the system raise when something is missing or does not fit together."""


@dataclass(frozen=True)
class Patient:
    """What is examined.

    Attributes:
        name: backend: a board, or ``virtual:`` and a board.
        graph: network of the training.
        batch: its mini-batch.
        host: facts of the machine.
    """

    name: str
    graph: Graph
    batch: int = DEFAULT_BATCH
    host: Host = field(default_factory=lambda: Host.here())

    def __post_init__(self) -> None:
        """Refuse a name that is no board."""
        if self.name.removeprefix("virtual:") not in BOARDS:
            raise UnknownName.among("board", self.name,
                                    (n for n in backend_names() if n != "golden"))

    @property
    def board(self) -> Board:
        """The board."""
        return BOARDS[self.name.removeprefix("virtual:")]

    @property
    def virtual(self) -> bool:
        """Whether the board is simulated."""
        return self.name.startswith("virtual:")

    @property
    def training(self) -> str:
        """The training, for texts."""
        return f"{self.graph.name}, batch {self.batch},"


def examine(patient: Patient) -> Iterator[Check]:
    """Yield the checks one after the other; none raises what can be told as an answer.

    Later ones are skipped where they need what an earlier one found wrong.
    """
    fit = True
    for check in host_checks(patient.host, patient.board, patient.virtual):
        answer = check()
        fit = fit and answer.state != State.WRONG
        yield answer
    plan, answer = check_plan(patient)
    fit = fit and answer.state != State.WRONG
    yield answer
    answer = check_overlay(patient)
    fit = fit and answer.state != State.WRONG
    yield answer
    rest = ("engine", "clock", "bandwidth", "loop-back", "step")
    if plan is None or not fit:
        yield from _skip(rest, "something above must be put right first")
        return
    with ExitStack() as stack:
        nbytes = max(plan.memory.nbytes, arena_bytes(patient.board))
        try:
            backend = stack.enter_context(open_backend(patient.name, nbytes))
        except (PynqTrainError, *_FOREIGN) as error:
            yield failed("engine", error)
            yield from _skip(rest[1:], "the board could not be opened")
            return
        yield check_engine(patient.board)
        yield check_clock(patient)
        yield from check_copies(backend, patient.board)
        yield check_step(backend, plan, patient.graph.name)


def _skip(names: tuple[str, ...], why: str) -> Iterator[Check]:
    """Yield checks that could not be made, all for one reason."""
    for name in names:
        yield skipped(name, why)


def check_plan(patient: Patient) -> tuple[Plan | None, Check]:
    """Check that the training has a plan on the board, and its arena fits free contiguous memory.

    Returns:
        The plan, None if there is none, and the answer.
    """
    try:
        plan = make_plan(fuse(patient.graph), patient.batch, patient.board)
    except DoesNotFit as error:
        return None, failed("memory", error)
    return plan, check_memory(patient.host, patient.board, patient.virtual, plan.memory.nbytes,
                              patient.training)


def check_overlay(patient: Patient) -> Check:
    """Check that a bit file is there, undamaged, and built from this package's contract."""
    if patient.virtual:
        return ok("overlay", "generated from the contract; a virtual board loads no bitstream")
    try:
        bit = find_overlay(patient.board)
    except PynqTrainError as error:
        return failed("overlay", error)
    return ok("overlay", f"{bit}, contract {contract.contract_hash(patient.board.config)[:16]}")


def check_engine(board: Board) -> Check:
    """Return the answer for an open board: opening it has compared the identity registers."""
    return ok("engine", f"contract 0x{contract.hash_word(board.config):08x} (configuration "
              f"{board.config.name}), ABI {registers.ABI_VERSION}")


def check_clock(patient: Patient) -> Check:
    """Check that the clock of the open board is the one for which the engine was built."""
    wanted = patient.board.clock_mhz
    if not patient.virtual:
        wanted = installed_build(find_overlay(patient.board), patient.board).clock_mhz
    try:
        found = clock_mhz()
    except _FOREIGN as error:
        if patient.virtual:  # pynq 3.0 looks at the processor that it runs on
            return skipped("clock", f"this pynq cannot read a virtual board's clock ({error})")
        return failed("clock", error)
    text = f"{found:g} MHz"
    if abs(found - wanted) <= CLOCK_TOLERANCE * wanted:
        return ok("clock", text)
    return wrong("clock", f"expected {wanted:g} MHz, for which the engine was built, found {text}",
                 "reload the overlay; do not set pynq.Clocks.fclk0_mhz")


def clock_mhz() -> float:
    """Return the clock of the programmable logic in MHz, as ``pynq``'s active device gives it."""
    import pynq

    if "_real_instance" in vars(pynq.Clocks):  # of the first device that was ever asked
        del pynq.Clocks._real_instance
    if hasattr(pynq.Clocks, "set_device"):
        pynq.Clocks.set_device(pynq.Device.active_device)
    return float(pynq.Clocks.fclk0_mhz)


def check_copies(backend: Backend, board: Board) -> Iterator[Check]:
    """Yield the answers on bandwidth and on every byte of a copy through the engine's ports."""
    try:
        copied = loop_back(backend, board)
    except (PynqTrainError, *_FOREIGN) as error:
        yield skipped("bandwidth", "the copy below failed")
        yield failed("loop-back", error)
        return
    yield check_bandwidth(copied, board)
    yield check_ports(copied)


def check_bandwidth(copied: Copied, board: Board) -> Check:
    """Check that the memory is as fast as the cycle model assumes."""
    if not copied.cycles or not copied.moved_bytes:
        return skipped("bandwidth", f"{board.name} counts no cycles here")
    megabytes = board.clock_mhz * copied.moved_bytes / copied.cycles
    assumed = board.clock_mhz * copied.moved_bytes / copied.predicted_cycles
    text = (f"{copied.moved_bytes} bytes copied in {copied.cycles} cycles: {megabytes:.0f} MB/s, "
            f"predicted {assumed:.0f} MB/s")
    if copied.cycles <= SLOWEST * copied.predicted_cycles:
        return ok("bandwidth", text)
    return wrong("bandwidth", f"{text}, which trainings will miss likewise",
                 "end other users of the memory (displays, other kernels); results stay correct")


def check_ports(copied: Copied) -> Check:
    """Check that all ports took part in the copies."""
    if copied.idle_ports:
        return wrong("loop-back", f"{', '.join(copied.idle_ports)}: no word came through",
                     "build the overlay again: a memory port is not connected")
    return ok("loop-back", f"{copied.nbytes} bytes copied through all ports, all equal")


def check_step(backend: Backend, plan: Plan, net: str) -> Check:
    """Check that one training step leaves the same bytes as golden."""
    try:
        done = step_against_golden(backend, plan)
    except (PynqTrainError, *_FOREIGN) as error:
        return failed("step", error)
    cycles = f"{done.cycles} cycles, " if done.cycles else ""
    return ok("step", f"{net}: {done.descriptors} descriptors, {cycles}{done.nbytes} bytes equal "
              "to golden")
