"""How long training steps take on a board: the engine's time, and that of engine and processor.

The engine's time is cycles at the board's clock. What the processor does beside it was measured on
a PC (``benchmarks/host_cost.py``) in nb, the CPU time of 1,000 iterations of the N-body benchmark
in pure Python; how long a board's processor needs for an nb is an estimate. docs/performance.md
says where both come from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pynq_train.schedule.plan import Plan

MS_PER_NB = {"zynq": 140.0, "zynqmp": 80.0}
"""CPU time of an nb by the board's family: Cortex-A9 at 650 MHz, Cortex-A53 at 1.2 GHz."""
STEP_NB, LAYER_NB, RECORD_NB = 0.016, 9e-4, 5e-6
"""nb of any training step; more for each layer, and for each descriptor, which leaves a record."""
ELEMENT_NB = 3.7e-7
"""nb of an element of the images, which become codes while the engine works on those before."""

CODE_BYTES = 2
"""Bytes of an element of a map."""


@dataclass(frozen=True)
class BoardTime:
    """Seconds of some training steps.

    Attributes:
        engine: of the engine alone.
        both: of engine and processor, estimated.
    """

    engine: float
    both: float

    def __str__(self) -> str:
        """Return both: ``0.71 s of the engine, about 3.9 s with the processor (estimated)``."""
        return (f"{_text(self.engine)} of the engine, about {_text(self.both)} with the processor "
                "(estimated)")


def host_nb(plan: Plan, cached: bool = False) -> tuple[float, float]:
    """Return the nb of a training step, and which part of it is done while the engine works.

    ``cached``: it is one that begins with a cache. Its maps are copied between two steps, an
    element of them as long as one of the images takes: an upper bound.
    """
    if cached:
        copied = ELEMENT_NB * plan.batch * plan.cache_bytes / CODE_BYTES
        return (STEP_NB + LAYER_NB * sum(plan.active) + RECORD_NB * len(plan.cached) + copied, 0.0)
    hidden = ELEMENT_NB * plan.batch * math.prod(plan.layers[0].in_shape)
    own = STEP_NB + LAYER_NB * len(plan.specs) + RECORD_NB * len(plan.train)
    return own + hidden, hidden


def board_time(plan: Plan, cycles: float, steps: int = 1, cached: bool = False) -> BoardTime:
    """Return the seconds of training steps of a plan.

    Args:
        plan: the plan.
        cycles: cycles of the engine for all of them.
        steps: their number.
        cached: they begin with a cache.
    """
    engine = cycles / (1e6 * plan.board.clock_mhz)
    per_nb = steps * MS_PER_NB[plan.board.family] / 1e3
    whole, hidden = host_nb(plan, cached)
    # The next mini-batch is made ready while the engine works; the rest comes between two steps.
    return BoardTime(engine, max(engine, per_nb * hidden) + per_nb * (whole - hidden))


def _text(seconds: float) -> str:
    """Return seconds in three digits: ``0.713 ms``, ``12.5 s``."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"
