"""A saved failure once more, on golden and on the RTL: the first descriptor that differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pynq_train.backends import Backend, open_backend
from pynq_train.check.difference import Difference, first_difference
from pynq_train.errors import BadInput, HardwareFault
from pynq_train.hw.boards import BOARDS
from pynq_train.run.failure import Failure
from pynq_train.schedule.memory.coordinates import standing

_VIRTUAL = "virtual:"
Progress = Callable[[int], None]
"""Called with the number of descriptors since the last call."""


@dataclass(frozen=True)
class Replay:
    """What a replay has found.

    Attributes:
        board: backend that golden was compared with.
        descriptors: descriptors that ran one by one and left the same memory.
        first: the first difference, None if there is none.
        index: descriptor of the difference or of the errors, None if the program has to run
            freely for them, or there are none.
        errors: what golden and the board said if they stopped, by name.
    """

    board: str
    descriptors: int
    first: Difference | None = None
    index: int | None = None
    errors: tuple[tuple[str, str], ...] = ()

    @property
    def reproduced(self) -> bool:
        """Whether golden and the board differ, or one of them stops."""
        return self.first is not None or bool(self.errors)

    def text(self) -> str:
        """Return what was found, as one sentence or two."""
        if self.first is not None:
            return self.first.text()
        if self.errors:
            return "; ".join(f"{name} stopped: {text}" for name, text in self.errors)
        return (f"no difference between golden and {self.board} after any of {self.descriptors} "
                "descriptors, nor when they run freely: the cause was outside of the program, in "
                "the board, its memory or its clock")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"board": self.board, "descriptors": self.descriptors, "index": self.index,
                "first": asdict(self.first) if self.first else None, "errors": dict(self.errors)}


def replay(failure: Failure, board: str | None = None,
           progress: Progress | None = None) -> Replay:
    """Run a saved failure on golden and on a board, and compare their memory.

    First descriptor by descriptor, then, if that shows nothing, freely.

    Args:
        failure: what was saved.
        board: backend to compare with golden (default: the virtual board of the failure's board).
        progress: called with 1 after each descriptor.
    """
    name = _VIRTUAL + failure.board if board is None else board
    with ExitStack() as stack:
        golden = stack.enter_context(open_backend("golden", failure.image.nbytes))
        other = stack.enter_context(open_backend(name, failure.image.nbytes))
        pair = _SavedPair(failure, golden, other, name, progress or (lambda _: None))
        return pair.stepping() or pair.freely()


class _SavedPair:
    """The saved image on two backends.

    Args:
        failure: what was saved.
        golden: the golden backend.
        other: the backend to compare with it.
        name: its name.
        progress: called with 1 after each descriptor.
    """

    def __init__(self, failure: Failure, golden: Backend, other: Backend, name: str,
                 progress: Progress) -> None:
        self.failure, self.name, self.progress = failure, name, progress
        self.backends = (golden, other)
        self.done = 0

    def stepping(self) -> Replay | None:
        """Run one descriptor after the other; None if both end with the same memory."""
        self._load()
        runs = [backend.run_step_mode(self.failure.request) for backend in self.backends]
        for index in range(self.failure.request.descriptor_count):
            errors = self._both(partial(_advance, runs, index))
            if errors:
                return Replay(self.name, self.done, None, index, errors)
            first = self._compare(descriptor_text(self.failure, index), index)
            if first is not None:
                return Replay(self.name, self.done, first, index)
            self.done += 1
            self.progress(1)
        return None

    def freely(self) -> Replay:
        """Run the whole program at once: descriptors overlap, as in training."""
        self._load()
        errors = self._both(lambda number: self.backends[number].run(self.failure.request))
        first = None if errors else self._compare("free-running, end")
        return Replay(self.name, self.done, first, None, errors)

    def _load(self) -> None:
        """Write the saved image to both backends."""
        for backend in self.backends:
            backend.write(0, self.failure.image)

    def _both(self, work: Callable[[int], object]) -> tuple[tuple[str, str], ...]:
        """Do the same on both; return the name of what stopped, and why."""
        errors = []
        for number, name in enumerate(("golden", self.name)):
            try:
                work(number)
            except HardwareFault as error:
                errors.append((name, str(error)))
        return tuple(errors)

    def _compare(self, when: str, index: int | None = None) -> Difference | None:
        """Compare the memory of both behind a descriptor, or the last one; None if it is equal."""
        mine, theirs = (b.read(0, self.failure.image.nbytes) for b in self.backends)
        return first_difference(when, mine, theirs, standing(self.failure.tensors, index))


def record(failure: Failure, found: Replay, path: Path) -> None:
    """Write a VCD waveform of the virtual board while it runs what a replay has found.

    The descriptor of the difference alone if there is one, else the whole program. The model is
    compiled with waveforms at the first use.

    Args:
        failure: what was saved.
        found: what :func:`replay` says about it.
        path: the file.

    Raises:
        BadInput: the replay was not on a virtual board, or the folder does not exist.
        MissingTool: Verilator or a C++ compiler is missing.
    """
    board = BOARDS.get(found.board.removeprefix(_VIRTUAL))
    if board is None or not found.board.startswith(_VIRTUAL):
        raise BadInput("waveforms", expected="a virtual board", found=found.board,
                       fix="leave --board out")
    if not path.parent.is_dir():
        raise BadInput(f"folder {str(path.parent)!r} does not exist",
                       fix="create it, or choose another file")
    from pynq_train.backends.vboard import VirtualBoardBackend
    from pynq_train.backends.vboard.build import default_source

    source = default_source(trace=True, config=board.config)
    backend = VirtualBoardBackend(board, failure.image.nbytes, source=source)
    with backend:
        backend.write(0, failure.image)
        try:
            if found.index is None:
                backend.model.trace(path)
                backend.run(failure.request)
            else:
                _record_one(backend, failure, found.index, path)
        except HardwareFault:
            if not found.errors:
                raise


def _record_one(backend: Any, failure: Failure, wanted: int, path: Path) -> None:
    """Record descriptor ``wanted`` alone: waveforms begin behind the one before it."""
    if not wanted:
        backend.model.trace(path)
    steps = backend.run_step_mode(failure.request)
    for index in steps:
        if index == wanted:
            steps.close()
            return
        if index == wanted - 1:
            backend.model.trace(path)


def _advance(runs: Sequence[Iterator[int]], index: int, number: int) -> None:
    """Let backend ``number`` run descriptor ``index``; HardwareFault if it halts elsewhere."""
    found = next(runs[number], None)
    if found != index:
        raise HardwareFault("step mode", expected=f"a halt after descriptor {index}",
                            found=f"one after {found}")


def descriptor_text(failure: Failure, index: int) -> str:
    """Return a descriptor's number and what it does: ``descriptor 3 (forward of conv2)``."""
    names = failure.request.names
    return f"descriptor {index}" + (f" ({names[index]})" if index < len(names) else "")
