"""One training step through the segments, half by half."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pynq_train.errors import BadInput
from pynq_train.fleet.flight import Answer, Asked
from pynq_train.fleet.segment import INPUT, DeviceMap
from pynq_train.fleet.segment_plan import BACKWARD, FORWARD
from pynq_train.run.trainer import StepOutcome


@dataclass(frozen=True)
class SentStep:
    """What the segments are sent for one training step, so that it can be done again.

    Attributes:
        images: codes of the images.
        labels: class numbers ``(batch,)``.
        block: words of the step block.
        exponents: exponents of all maps that travel, by symbol.
    """

    images: DeviceMap
    labels: NDArray[np.int64]
    block: NDArray[np.int64]
    exponents: Mapping[str, int]


class StepUnderWay:
    """A training step whose halves somebody runs, segment by segment.

    :meth:`forward` of all segments in order, then :meth:`backward` of all in the reverse order,
    then :meth:`end`. The maps that segments make for each other are kept and may be looked at, or
    others may be given in their place.

    Args:
        pipeline: runs the programs.
        sent: what the segments are sent.
        done: takes what all segments have answered, in the end.

    Attributes:
        maps: maps, flags and gradients that have been made for other segments, by symbol.
        answers: what the segments have answered so far.
    """

    def __init__(self, pipeline: Asked, sent: SentStep,
                 done: Callable[[StepUnderWay], StepOutcome] | None = None) -> None:
        self.sent = sent
        self.maps: dict[str, DeviceMap] = {INPUT: sent.images}
        self.answers: list[Answer] = []
        self._pipeline, self._done = pipeline, done
        numbers = range(len(pipeline.parts))
        self._left = [*((FORWARD, number) for number in numbers),
                      *((BACKWARD, number) for number in reversed(numbers))]

    def forward(self, segment: int, maps: Mapping[str, DeviceMap] | None = None
                ) -> dict[str, DeviceMap]:
        """Run the forward half of a segment; the loss belongs to the last one's.

        Args:
            segment: its number; all before it have run.
            maps: what it is to read in place of what these have made, by symbol.

        Returns:
            The maps that it has made for others, by symbol, each with its exponent.

        Raises:
            BadInput: it is not the segment's turn.
            HardwareFault: it failed, or answers something else than it should.
        """
        return self._half(FORWARD, segment, maps)

    def backward(self, segment: int, gradients: Mapping[str, DeviceMap] | None = None
                 ) -> dict[str, DeviceMap]:
        """Run the backward half of a segment, which moves its weights.

        Args:
            segment: its number; all behind it have run.
            gradients: what it is to read in place of what these have made, by symbol.

        Returns:
            The gradients, and flags, that it has made for others, by symbol.

        Raises:
            BadInput, HardwareFault: as :meth:`forward`.
        """
        return self._half(BACKWARD, segment, gradients)

    def run(self) -> StepUnderWay:
        """Run all halves that are left."""
        for half, segment in list(self._left):
            self._half(half, segment, None)
        return self

    def end(self) -> StepOutcome:
        """Let the exponents move on, and return what the step says.

        Raises:
            BadInput: a half has not run, or the step is part of something that ends otherwise.
        """
        if self._left or self._done is None:
            left = ", ".join(f"{half} of segment {number}" for half, number in self._left)
            raise BadInput("end of a step", expected="all halves, and the step's own pipeline",
                           found=f"still to run: {left}" if left else "a step that was ended")
        done, self._done = self._done, None
        return done(self)

    def _half(self, half: str, segment: int, maps: Mapping[str, DeviceMap] | None
              ) -> dict[str, DeviceMap]:
        if not self._left or self._left[0] != (half, segment):
            turn = "end" if not self._left else "{} of segment {}".format(*self._left[0])
            raise BadInput("step under way", expected=turn, found=f"{half} of segment {segment}",
                           fix="run forward halves in order, then backward halves in reverse")
        self.maps.update(maps or {})
        part = self._pipeline.parts[segment]
        made: Mapping[str, DeviceMap] = {}
        if part.descriptors[half]:
            sent = self.sent
            self.answers.append(self._pipeline.ask(part, half, sent.block, self.maps,
                                                   sent.exponents, sent.labels))
            made = self.answers[-1][1].maps
        self._left.pop(0)
        return dict(made)
