"""What a session needs to go back to the state before a failed step.

Reading all weights before each step would take longer than many steps. So they are read before
every few steps, and what each step has written is kept: a failed step is undone by writing the old
weights and doing the steps behind them once more. The same bytes give the same bits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pynq_train.arrays import Array
from pynq_train.backends import Backend, RunRequest, open_backend
from pynq_train.backends.names import GOLDEN
from pynq_train.hw.words import TENSOR_ALIGN_BYTES
from pynq_train.run.batch import Batch, PixelBatch
from pynq_train.run.frame import Frame, Recipe
from pynq_train.schedule.lower.program import ProgramImage
from pynq_train.schedule.memory.arena import MemoryMap
from pynq_train.schedule.plan import Plan

MOST_STEPS = 16
"""Steps from one reading of the weights to the next."""
MOST_BYTES = 8 << 20
"""Bytes of images that are kept; of large mini-batches fewer steps are."""


@dataclass(eq=False)
class Mark:
    """A state to which a journal can go back.

    Attributes:
        saved: the weights that the journal had then.
        steps: the steps since.
        undone: somebody has gone back to it.
    """

    saved: Mapping[str, Array]
    steps: tuple[Frame | Recipe, ...]
    undone: bool = False


class Journal:
    """Weights of some step, and all steps since.

    Attributes:
        saved: bytes by symbol; empty where nothing is known.
        steps: what was written for the steps since, all of which ended well; pixels in place of
            their codes, which take less memory: so few frames are at work that they stay in the
            processor's cache.

    Args:
        plan: the plan of the network.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.saved: Mapping[str, Array] = {}
        self.steps: list[Frame | Recipe] = []
        self._marks: list[Mark] = []
        self._spare: list[Frame] = []

    @property
    def full(self) -> bool:
        """Whether weights have to be read before the next step."""
        count = len(self.steps)
        if not self.saved or count >= MOST_STEPS:
            return True
        return count > 0 and count * self.steps[0].nbytes >= MOST_BYTES

    def begin(self, saved: Mapping[str, Array]) -> None:
        """Start anew with the present weights."""
        if not self._marks:  # else somebody may need the old steps again
            self._spare += [one for one in self.steps if isinstance(one, Frame)]
        self.saved, self.steps = saved, []

    def forget(self) -> None:
        """Forget all: the weights were changed otherwise."""
        self.begin({})

    def mark(self) -> Mark:
        """Return a mark at the present step, which has to be released."""
        self._marks.append(Mark(self.saved, tuple(self.steps)))
        return self._marks[-1]

    def release(self, mark: Mark) -> None:
        """Nobody goes back to a mark any more."""
        self._marks.remove(mark)

    def back_to(self, mark: Mark) -> None:
        """Hold what was there at a mark."""
        self.saved, self.steps = mark.saved, list(mark.steps)

    def add(self, step: Frame, batch: Batch | None = None, exponent: int = 0) -> None:
        """Keep a step that has ended well.

        Args:
            step: what was written for it.
            batch: its images, if they may be made into codes again.
            exponent: of the codes.
        """
        if self.saved and isinstance(batch, PixelBatch) and batch.pixels is not None:
            self.steps.append(Recipe(step, batch.table, batch.pixels, exponent))
        elif self.saved:
            self.steps.append(step)
            return
        self.give_back(step)

    def frames(self) -> Iterator[Frame]:
        """Yield what was written for each step; it is valid until the next one."""
        for step in self.steps:
            if isinstance(step, Frame):
                yield step
                continue
            frame = self.frame()
            step.fill(frame)
            yield frame
            self.give_back(frame)

    def frame(self) -> Frame:
        """Return a frame for the next step, one of an earlier step if there is one.

        Memory that is used again is already there, and in the processor's cache.
        """
        if not self._spare:
            return Frame(self._plan)
        frame = self._spare.pop()
        frame.carry(None)
        return frame

    def give_back(self, frame: Frame) -> None:
        """Take back a frame that no step needs."""
        self._spare.append(frame)


def golden_weights(plan: Plan, program: ProgramImage, journal: Journal,
                   requests: Sequence[RunRequest]) -> dict[str, Array]:
    """Return the weights behind all steps of a journal, by symbol, computed by golden.

    Args:
        plan: the plan.
        program: its training program.
        journal: weights and steps.
        requests: the runs of the program.
    """
    memory = plan.memory
    with open_backend(GOLDEN, memory.nbytes) as golden:
        golden.write(memory[f"{program.name}.program"].offset, program.program)
        golden.write(memory[f"{program.name}.taps"].offset, program.taps)
        for symbol, data in journal.saved.items():
            golden.write(memory[symbol].offset, data)
        for step in journal.frames():
            for symbol, data in step.written:
                golden.write(memory[symbol].offset, data)
            run_step(plan, golden, requests, step)
        return {symbol: golden.read(memory[symbol].offset, data.nbytes)
                for symbol, data in journal.saved.items()}


def run_step(plan: Plan, backend: Backend, requests: Sequence[RunRequest], step: Frame) -> None:
    """Run a step that has been written, with what the host does between its halves."""
    for number, request in enumerate(requests):
        if number and step.between is not None:
            step.between.run(plan, backend)
        backend.run(request)


Span = tuple[int, int, list[tuple[str, int, int]]]
"""First byte, byte behind the last, and (symbol, first byte, bytes) of each region."""


def spans_of(memory: MemoryMap, kinds: Collection[str]) -> list[Span]:
    """Return the runs of regions of some kinds; hardly anything stands between those of one."""
    spans: list[Span] = []
    for region in sorted(memory, key=lambda one: one.offset):
        if region.kind not in kinds:
            continue
        own = (region.symbol, region.offset, region.nbytes)
        if spans and region.offset - spans[-1][1] < TENSOR_ALIGN_BYTES:
            first, _, symbols = spans[-1]
            spans[-1] = first, region.end, [*symbols, own]
        else:
            spans.append((region.offset, region.end, [own]))
    return spans
