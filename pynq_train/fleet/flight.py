"""Several mini-batches of one update in the segments of a pipeline at the same time.

On one board the exponents of a step follow from the measured ranges of all steps before it. Here a
step begins while the one before is still under way, and yet has the same exponents:

* The forward exponents of a segment follow from forward ranges of its own layers and of those in
  front of it. When the segment begins a step, all of these have been measured in the steps before.
* The gradient exponents of a segment follow from its forward exponents and from gradient ranges of
  its own layers and of those behind it. When its backward half begins, these have been measured.
* Weights, and the exponents of their copies, stay as they are until the last part of an update.

So each half of each segment has a policy of its own, which has seen just what it needs, in the
order of the steps. Afterwards every step-block entry that a segment has read is compared with the
one of its turn: were there anything else that an exponent follows from, it would be found.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pynq_train.fleet.segment import INPUT, DeviceMap, SegmentOutput
from pynq_train.fleet.segment_plan import BACKWARD, FORWARD, SegmentPlan
from pynq_train.hw.commands import PARAM_BYTES
from pynq_train.hw.words import WORD_BYTES
from pynq_train.quant import ExponentPolicy, SgdStep, StepExponents
from pynq_train.schedule.lower.records import RunRecords, read_records
from pynq_train.schedule.lower.step_block import pack_step_block, plan_params
from pynq_train.schedule.passes.descriptors import Descriptor
from pynq_train.schedule.plan import Plan

Answer = tuple[tuple[Descriptor, ...], SegmentOutput]
"""Descriptors of a program, and what its run answered."""
Step = tuple[DeviceMap, NDArray[np.int64], SgdStep]
"""Codes of the images, labels, and the optimizer's values."""
_ENTRY_WORDS = PARAM_BYTES // WORD_BYTES


class OtherExponents(Exception):
    """A step in flight did not have the exponents of its turn."""


class Asked(Protocol):
    """What runs the programs of segments: a pipeline."""

    plan: Plan
    parts: tuple[SegmentPlan, ...]

    def ask(self, part: SegmentPlan, half: str, block: NDArray[np.int64],
            maps: dict[str, DeviceMap], exponents: Mapping[str, int],
            labels: NDArray[np.int64] | None, slot: int = 0) -> Answer:
        """Run a program of one segment; maps that it makes are added to ``maps``."""


def said_by(plan: Plan, answers: Sequence[Answer]) -> tuple[RunRecords, int]:
    """Return what the records of some segments say, as those of one program, and all cycles."""
    descriptors = tuple(one for some, _ in answers for one in some)
    records = np.concatenate([answer.records for _, answer in answers])
    return (read_records(plan, descriptors, records.view(np.uint8)),
            sum(answer.cycles for _, answer in answers))


class Flight:
    """Some steps on their way through the segments.

    Args:
        pipeline: runs the programs.
        policy: exponent state in front of the first step; it stays as it is.
        steps: the steps.
        exponents: returns the exponents of all maps that travel, by symbol.
    """

    def __init__(self, pipeline: Asked, policy: ExponentPolicy, steps: Sequence[Step],
                 exponents: Callable[[StepExponents], Mapping[str, int]]) -> None:
        self._pipeline, self._steps, self._exponents = pipeline, steps, exponents
        count = len(pipeline.parts)
        self._policies = {(half, number): copy.deepcopy(policy)
                          for half in (FORWARD, BACKWARD) for number in range(count)}
        self._maps: list[dict[str, DeviceMap]] = [{INPUT: images} for images, _, _ in steps]
        self._blocks: dict[tuple[int, str, int], NDArray[np.int64]] = {}
        self._answers: dict[tuple[int, str, int], Answer] = {}

    def run(self) -> None:
        """Run all steps: each segment takes all forward halves, then all backward halves.

        Raises:
            PynqTrainError: of the segment that failed first; the others have ended then.
        """
        parts, steps = self._pipeline.parts, range(len(self._steps))
        ended: dict[tuple[int, str, int], Future[None]] = {}
        with ExitStack() as stack:
            # A thread for each segment: it takes its halves in the order in which they are given.
            hands = [stack.enter_context(ThreadPoolExecutor(1, f"segment {part.number}"))
                     for part in parts]
            for half, order in ((FORWARD, parts), (BACKWARD, parts[::-1])):
                before = None
                for part in order:
                    for step in steps:
                        needs = [ended[step, half, before.number]] if before else []
                        if half == BACKWARD:
                            needs.append(ended[step, FORWARD, parts[-1].number])
                        ended[step, half, part.number] = hands[part.number].submit(
                            self._half, step, half, part, needs)
                    before = part
        for future in ended.values():
            future.result()

    def _half(self, step: int, half: str, part: SegmentPlan, needs: Sequence[Future[None]]
              ) -> None:
        """Run one half of a step on one segment, behind the halves that it needs."""
        for future in needs:
            future.result()
        _, labels, sgd = self._steps[step]
        plan, key = self._pipeline.plan, (step, half, part.number)
        policy = self._policies[half, part.number]
        used = policy.exponents(plan.batch)
        if part.descriptors[half]:
            block = np.frombuffer(pack_step_block(plan, plan_params(plan, used, sgd)), np.int64)
            self._blocks[key] = block
            self._answers[key] = self._pipeline.ask(part, half, block, self._maps[step],
                                                    self._exponents(used), labels, slot=step)
        known = self._known(step, half, part.number)
        if known:
            policy.observe(used, said_by(plan, known)[0].measures)

    def _known(self, step: int, half: str, segment: int) -> list[Answer]:
        """Return the answers of a step from which the exponents of a segment's next one follow."""
        count = len(self._pipeline.parts)
        keys = [(step, FORWARD, number) for number in
                range(segment + 1 if half == FORWARD else count)]
        if half == BACKWARD:
            keys += [(step, BACKWARD, number) for number in range(segment, count)]
        return [self._answers[key] for key in keys if key in self._answers]

    def images(self, step: int) -> DeviceMap:
        """Return the codes of a step's images."""
        return self._steps[step][0]

    def answers(self, step: int) -> list[Answer]:
        """Return all answers of a step."""
        return self._known(step, BACKWARD, 0)

    def check(self, step: int, block: NDArray[np.int64]) -> None:
        """Check that all segments had the step-block entries that are right for a step.

        Args:
            step: number of the step.
            block: words of the step block that follows from all steps before it.

        Raises:
            OtherExponents: one had another.
        """
        layout = self._pipeline.plan.step_block
        right = block.reshape(-1, _ENTRY_WORDS)
        for (number, half, segment), had in self._blocks.items():
            if number != step:
                continue
            entries = [layout.index(one)
                       for one in self._pipeline.parts[segment].descriptors[half]]
            if not np.array_equal(had.reshape(-1, _ENTRY_WORDS)[entries], right[entries]):
                raise OtherExponents(f"step {step}, {half} half of segment {segment}")
