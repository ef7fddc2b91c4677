"""Kinds of faults: each injects one into a board, for as long as a ``with`` lasts."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.faults.bench import Bench
from pynq_train.backends.arena import FLUSHES
from pynq_train.backends.board import BoardBackend
from pynq_train.backends.run_registers import WRITABLE
from pynq_train.backends.vboard import Response
from pynq_train.hw import registers
from pynq_train.hw.commands import DESCRIPTOR_BYTES, pack_descriptor

RAW = (RuntimeError, OSError, ValueError, KeyError, TypeError, PermissionError, AttributeError)
"""What pynq and the kernel raise when an overlay cannot be loaded."""
_ACCESSES = 40
"""Register accesses of a run, and some more."""
_NEVER = 1 << 60
"""Beats or cycles until a fault that is not to come any more."""
Fault = Callable[[Bench, random.Random, str], AbstractContextManager[None]]


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        inject: injects one into the coming action.
        actions: actions that are tried while it lasts.
        works: the action must work all the same.
        warns: and the log must tell of the fault.
    """

    inject: Fault
    actions: int = 1
    works: bool = False
    warns: bool = False


@contextmanager
def _patched(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Let an attribute of an object or a class have another value meanwhile."""
    own, old = name in vars(owner), getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, old)
        else:
            delattr(owner, name)


@contextmanager
def _at_access(bench: Bench, number: int, work: Callable[[], None], rng: random.Random
               ) -> Iterator[None]:
    """Do something in front of the register access ``number`` from now on."""
    model, left = bench.model, [number]
    read, write = model.read32, model.write32

    def count() -> None:
        left[0] -= 1
        if left[0] == -1:
            work()

    def read32(offset: int) -> int:
        count()
        return read(offset)

    def write32(offset: int, value: int) -> None:
        count()
        write(offset, value)

    # Short polls, so that accesses fall into the run.
    polls = max(bench.cycles("train") // rng.choice((2, 8, 30)), 50)
    with _patched(model, "read32", read32), _patched(model, "write32", write32), \
            _patched(bench.device, "_poll_cycles", polls):
        yield


@contextmanager
def axi_error(bench: Bench, rng: random.Random, action: str) -> Iterator[None]:
    """SLVERR or DECERR in place of OKAY."""
    port, write, beat = bench.beat(rng, action)
    model = bench.model
    model.inject_error(port, beat, rng.choice(list(Response)), write=write)
    yield
    model.inject_error(port, _NEVER, Response.SLVERR, write=write)


@contextmanager
def silence(bench: Bench, rng: random.Random, action: str) -> Iterator[None]:
    """A port never answers again."""
    port, write, beat = bench.beat(rng, action)
    model = bench.model
    model.silence(port, beat, write=write)
    yield
    if bench.model is model:  # the action was shorter
        model.silence(port, _NEVER, write=write)


@contextmanager
def stopped_clock(bench: Bench, rng: random.Random, action: str) -> Iterator[None]:
    """The engine's clock stops for good."""
    model = bench.model
    model.stop_clock(rng.randrange(bench.cycles(action)))
    yield
    if bench.model is model:  # the action was shorter
        model.stop_clock(_NEVER)


@contextmanager
def stalls(bench: Bench, rng: random.Random, action: str) -> Iterator[None]:
    """Channels stall at random."""
    model = bench.model
    model.set_random_stalls(rng.uniform(0, 0.8))
    yield
    model.set_random_stalls(0)


@contextmanager
def interrupt(bench: Bench, rng: random.Random, action: str) -> Iterator[None]:
    """Ctrl-C at some register access."""
    def work() -> None:
        raise KeyboardInterrupt

    with _at_access(bench, rng.randrange(_ACCESSES), work, rng):
        yield


@contextmanager
def descriptor(bench: Bench, rng: random.Random, action: str) -> Iterator[None]:
    """An illegal opcode, or an address outside the arena, in a descriptor."""
    image = bench.real.evaluation if action == "evaluate" else bench.real.training
    region = bench.plan.memory[f"{image.name}.program"]
    index = rng.randrange(image.count)
    if rng.random() < 0.5:
        data = bytes([rng.randint(64, 255)])
    else:
        fields = image.fields[index]
        names = [name for name in fields if name.endswith(("addr", "_off")) and fields[name]]
        far = rng.choice((bench.plan.memory.nbytes, 1 << 31, (1 << 32) - 64))
        changed = {**fields, rng.choice(names): far} if names else {"pre.opcode": 77}
        data = pack_descriptor(changed)
    bench.board.write(region.offset + index * DESCRIPTOR_BYTES, data)
    yield
    bench.board.write(region.offset, image.program)


@contextmanager
def silence_twice(bench: Bench, rng: random.Random, action: str) -> Iterator[None]:
    """A port falls silent, and the clock stops in the reset, or the next engine is silent too."""
    port, write, beat = bench.beat(rng, action)
    bench.model.silence(port, beat, write=write)
    if rng.random() < 0.5:
        reset = BoardBackend._soft_reset

        def stopped(board: BoardBackend) -> bool:
            bench.model.stop_clock(rng.randrange(50))
            return reset(board)

        with _patched(BoardBackend, "_soft_reset", stopped):
            yield
    else:
        download, silenced = bench.device.download, list[Any]()

        def silent(*args: Any, **more: Any) -> None:
            download(*args, **more)
            if not silenced:
                silenced.append(bench.model)
                bench.model.silence(port, rng.randrange(40), write=write)

        with _patched(bench.device, "download", silent):
            yield
        if silenced == [bench.model]:  # the action was shorter
            bench.model.silence(port, _NEVER, write=write)


@contextmanager
def failing_reload(bench: Bench, rng: random.Random, action: str) -> Iterator[None]:
    """An engine that must be loaded again, and an overlay that cannot be, once or more often."""
    port, write, beat = bench.beat(rng, action)
    if rng.random() < 0.7:
        bench.model.silence(port, beat, write=write)
    else:
        bench.model.stop_clock(rng.randrange(bench.cycles(action)))
    kind, left = rng.choice(RAW), [rng.randint(1, 3)]
    owner, name = rng.choice((
        (BoardBackend, "_load"), (bench.device, "download"),
        (bench.device, "get_bitfile_metadata"), (bench.device, "post_download")))
    behind, whole = rng.random() < 0.3, getattr(owner, name)

    def failing(*args: Any, **more: Any) -> Any:
        left[0] -= 1
        if left[0] >= 0 and not behind:
            raise kind("injected")
        result = whole(*args, **more)
        if left[0] >= 0:
            raise kind("injected behind the work")
        return result

    with _patched(owner, name, failing):
        yield


def _stray_value(rng: random.Random, name: str) -> int:
    """Draw what a stray write leaves in a register."""
    if name == "CTRL":
        return rng.choice(tuple(registers.masks("CTRL").values()))
    return rng.choice((0, 1, 5, 16, 255, rng.getrandbits(32)))


@contextmanager
def register_write(bench: Bench, rng: random.Random, action: str) -> Iterator[None]:
    """Somebody else writes registers, at any moment of a run or between runs."""
    model = bench.model
    writes = [(name, _stray_value(rng, name))
              for name in rng.choices((*WRITABLE, "CTRL"), k=rng.choice((1, 1, 1, 2)))]

    def work() -> None:
        for name, value in writes:
            # Past the count of accesses: this is not the driver's.
            type(model).write32(model, registers.offset(name), value)

    if rng.random() < 0.4:
        work()
        yield
    else:
        with _at_access(bench, rng.randrange(_ACCESSES), work, rng):
            yield


@contextmanager
def foreign_arena(bench: Bench, rng: random.Random, action: str) -> Iterator[None]:
    """Between runs somebody else writes to a register that the next run does not change."""
    name = rng.choice(("ARENA_LO", "ARENA_HI", "ARENA_BYTES"))
    held = bench.model.read32(registers.offset(name))
    bench.model.write32(registers.offset(name), held ^ 1 << rng.randrange(32))
    yield


@contextmanager
def lost_flush(bench: Bench, rng: random.Random, action: str) -> Iterator[None]:
    """Flushes of the processor's cache have no effect, for ever or for some calls."""
    flush, skip = bench.device.flush, rng.randrange(4)
    left = [rng.choice((1, 1, 1, 2, FLUSHES, 2 * FLUSHES))]

    def lost(*args: Any) -> None:
        nonlocal skip
        skip -= 1
        if skip < 0 and left[0]:
            left[0] -= 1
        else:
            flush(*args)

    with _patched(bench.device, "flush", lost):
        yield


@contextmanager
def first_flush(bench: Bench, rng: random.Random, action: str) -> Iterator[None]:
    """The first flush of an action has no effect."""
    flush, left = bench.device.flush, [1]

    def lost(*args: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            flush(*args)

    with _patched(bench.device, "flush", lost):
        yield


@contextmanager
def refused(bench: Bench, rng: random.Random, action: str) -> Iterator[None]:
    """pynq refuses to flush, to invalidate, or to reach a register."""
    kind, number = rng.choice((OSError, RuntimeError)), [rng.randrange(4)]

    def work() -> None:
        raise kind("injected")

    name = rng.choice(("flush", "invalidate", "register"))
    if name == "register":
        with _at_access(bench, rng.randrange(_ACCESSES), work, rng):
            yield
        return
    whole = getattr(bench.device, name)

    def fails(*args: Any) -> None:
        number[0] -= 1
        if number[0] == -1:
            work()
        whole(*args)

    with _patched(bench.device, name, fails):
        yield


@contextmanager
def stray_in_a_run(bench: Bench, rng: random.Random, action: str) -> Iterator[None]:
    """Answers that nobody asked for, somewhere in a run."""
    port, write, model = rng.randrange(4), rng.random() < 0.5, bench.model
    model.stray(port, write=write, count=rng.choice((1, 1, 3, 40)), last=rng.random() < 0.5,
                after_cycles=rng.randrange(bench.cycles(action)))
    yield
    if bench.model is model:  # the action was shorter
        model.stray(port, write=write, count=0)


@contextmanager
def stray_between_runs(bench: Bench, rng: random.Random, action: str) -> Iterator[None]:
    """Answers that nobody asked for while the engine rests."""
    count = rng.choice((1, 1, 3, 40))
    bench.model.stray(rng.randrange(4), write=rng.random() < 0.5, count=count,
                      last=rng.random() < 0.5)
    bench.model.run(2 * count + 20)
    yield


@contextmanager
def unarmed_start(bench: Bench, rng: random.Random, action: str) -> Iterator[None]:
    """Between runs somebody else writes START; now and then to other registers as well."""
    for name in rng.sample(WRITABLE, rng.choice((0, 0, 1, 2))):
        bench.model.write32(registers.offset(name), bench.model.read32(registers.offset(name)))
    bench.model.write32(registers.offset("PROGRAM_OFF"),
                        bench.model.read32(registers.offset("PROGRAM_OFF")))
    bench.model.write32(registers.offset("CTRL"), registers.masks("CTRL")["START"])
    bench.model.run(40)
    yield


KINDS = {
    "AXI error": Kind(axi_error),
    "silence": Kind(silence),
    "stopped clock": Kind(stopped_clock),
    "stalls": Kind(stalls, works=True),
    "Ctrl-C": Kind(interrupt),
    "descriptor": Kind(descriptor),
    "fault in recovery": Kind(silence_twice, actions=2),
    "failing reload": Kind(failing_reload, actions=3),
    "register write": Kind(register_write),
    "register write between runs": Kind(foreign_arena, works=True, warns=True),
    "START between runs": Kind(unarmed_start, works=True, warns=True),
    "lost flush": Kind(lost_flush),
    "first flush lost": Kind(first_flush, works=True),
    "refused by pynq": Kind(refused),
    "stray answer in a run": Kind(stray_in_a_run),
    "stray answer between runs": Kind(stray_between_runs, works=True, warns=True),
}
"""All kinds, by name."""
