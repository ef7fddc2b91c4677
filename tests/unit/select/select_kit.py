"""Arms and situations of the tests of selections, without plans."""

from __future__ import annotations

from typing import Any

import numpy as np

from pynq_train.select import Arm, Cost, Selector, Situation

NAMES = (("small", "last-layer"), ("small", "all"), ("large", "last-layer"), ("large", "all"))


def arms() -> tuple[Arm, ...]:
    """Four arms; the largest does not fit pynq-z1."""
    made = []
    for at, (model, rung) in enumerate(NAMES):
        size = 4**at
        costs = {board: Cost(1000 * size, 10_000 * size, 1e-5 * size / speed)
                 for board, speed in (("pynq-z2", 1), ("kv260", 3), ("pynq-z1", 1))
                 if size < 64 or board != "pynq-z1"}
        made.append(Arm(model, rung, costs))
    return tuple(made)


def situation(rng: np.random.Generator, **changes: Any) -> Situation:
    """A drawn situation in which everything fits."""
    values: dict[str, Any] = {
        "battery": rng.uniform(), "temperature_c": rng.uniform(0, 90),
        "deadline_s": rng.uniform(0.01, 5), "free_bytes": 1 << 20,
        "classes": int(rng.integers(2, 20)), "samples": int(rng.integers(5, 500)),
        "shift": rng.uniform()}
    return Situation(**{**values, **changes})


def live(selector: Selector, rng: np.random.Generator, rounds: int) -> list[tuple[str, float]]:
    """Let devices ask and answer; return arms and expectations."""
    taken = []
    for at in range(rounds):
        device = selector.devices[at % len(selector.devices)]
        choice = selector.choose(device, situation(rng))
        taken.append((choice.arm.name, choice.expected))
        if rng.uniform() < 0.9:
            selector.reward(choice.ticket, rng.uniform())
    return taken
