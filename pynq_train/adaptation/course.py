"""What a whole adaptation runs on a board: steps, and what fills a cache in front of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pynq_train.schedule.board_time import board_time
from pynq_train.schedule.plan import Plan
from pynq_train.schedule.predict import predict


@dataclass(frozen=True)
class Course:
    """Runs of an adaptation, predicted.

    Attributes:
        steps: training steps.
        step_cycles: cycles of one.
        fills: evaluations that fill the cache, 0 without one.
        fill_cycles: cycles of one.
        cache_bytes: bytes of the cache, which stands beside the arena.
        engine: seconds of the engine for all runs.
        seconds: with the processor's part.
    """

    steps: int
    step_cycles: int
    fills: int = 0
    fill_cycles: int = 0
    cache_bytes: int = 0
    engine: float = 0.0
    seconds: float = 0.0

    @property
    def cycles(self) -> int:
        """Cycles of all runs."""
        return self.steps * self.step_cycles + self.fills * self.fill_cycles


def course_of(plan: Plan, samples: int, steps: int) -> Course:
    """Return what an adaptation runs; from a cache, if the plan has a step for that.

    The cache is filled once, by evaluations of all samples. Runs that look for exponents before the
    first step are not counted; there are as many with a cache as without.

    Args:
        plan: the plan.
        samples: number of images.
        steps: training steps.
    """
    cached = bool(plan.cached)
    step = predict(plan, plan.cached or plan.train).cycles
    time = board_time(plan, steps * step, steps, cached)
    if not cached:
        return Course(steps, step, engine=time.engine, seconds=time.both)
    fills, fill = math.ceil(samples / plan.batch), predict(plan, plan.evaluate).cycles
    # The processor does at most as much for an evaluation as for a whole step.
    filling = board_time(plan, fills * fill, fills)
    return Course(steps, step, fills, fill, samples * plan.cache_bytes,
                  time.engine + filling.engine, time.both + filling.both)
