"""What a session needs to go back to the state before a failed step.

Reading all weights before each step would take longer than many steps. So they are read before
every few steps, and what each step has written is kept: a failed step is undone by writing the old
weights and doing the steps behind them once more. The same bytes give the same bits.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pynq_train.arrays import Array
from pynq_train.backends import RunRequest, open_backend
from pynq_train.backends.names import GOLDEN
from pynq_train.hw.words import TENSOR_ALIGN_BYTES
from pynq_train.schedule.lower.program import ProgramImage
from pynq_train.schedule.memory.arena import MemoryMap
from pynq_train.schedule.plan import Plan

MOST_STEPS = 16
"""Steps from one reading of the weights to the next."""
MOST_BYTES = 8 << 20
"""Bytes of images that are kept; of large mini-batches fewer steps are."""


@dataclass(frozen=True)
class Step:
    """What was written for one training step.

    Attributes:
        codes: images, int16, as they stand in the arena.
        labels: words of the labels.
        block: words of the step block.
    """

    codes: NDArray[np.int16]
    labels: NDArray[np.int64]
    block: NDArray[np.int64]

    @property
    def written(self) -> tuple[tuple[str, Array], ...]:
        """Symbols of the arena, and what was written there."""
        return ("input", self.codes), ("labels", self.labels), ("step_block", self.block)


@dataclass(eq=False)
class Mark:
    """A state to which a journal can go back.

    Attributes:
        saved: the weights that the journal had then.
        steps: the steps since.
        undone: somebody has gone back to it.
    """

    saved: Mapping[str, Array]
    steps: tuple[Step, ...]
    undone: bool = False


class Journal:
    """Weights of some step, and all steps since.

    Attributes:
        saved: bytes by symbol; empty where nothing is known.
        steps: steps since, all of which ended well.
    """

    def __init__(self) -> None:
        self.saved: Mapping[str, Array] = {}
        self.steps: list[Step] = []
        self._marks: list[Mark] = []
        self._spare: list[NDArray[np.int16]] = []

    @property
    def full(self) -> bool:
        """Whether weights have to be read before the next step."""
        count = len(self.steps)
        if not self.saved or count >= MOST_STEPS:
            return True
        return count > 0 and count * self.steps[0].codes.nbytes >= MOST_BYTES

    def begin(self, saved: Mapping[str, Array]) -> None:
        """Start anew with the present weights."""
        if not self._marks:  # else somebody may need the old steps again
            self._spare += [step.codes for step in self.steps]
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

    def add(self, step: Step) -> None:
        """Keep a step that has ended well."""
        if self.saved:
            self.steps.append(step)
        else:
            self.give_back(step.codes)

    def room(self, shape: tuple[int, ...]) -> NDArray[np.int16]:
        """Return an array for the images of a step, one of an earlier step if there is one.

        Memory that is used again is already there, and in the processor's cache.
        """
        while self._spare:
            found = self._spare.pop()
            if found.shape == shape:
                return found
        return np.empty(shape, np.int16)

    def give_back(self, codes: NDArray[np.int16]) -> None:
        """Take back an array that no step has used."""
        self._spare.append(codes)


def golden_weights(plan: Plan, program: ProgramImage, journal: Journal, request: RunRequest
                   ) -> dict[str, Array]:
    """Return the weights behind all steps of a journal, by symbol, computed by golden.

    Args:
        plan: the plan.
        program: its training program.
        journal: weights and steps.
        request: a run of the program.
    """
    memory = plan.memory
    with open_backend(GOLDEN, memory.nbytes) as golden:
        golden.write(memory[f"{program.name}.program"].offset, program.program)
        golden.write(memory[f"{program.name}.taps"].offset, program.taps)
        for symbol, data in journal.saved.items():
            golden.write(memory[symbol].offset, data)
        for step in journal.steps:
            for symbol, data in step.written:
                golden.write(memory[symbol].offset, data)
            golden.run(request)
        return {symbol: golden.read(memory[symbol].offset, data.nbytes)
                for symbol, data in journal.saved.items()}


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
