"""Exponents of a network from runs of it, on whatever runs it."""

from __future__ import annotations

from collections.abc import Callable

from pynq_train.quant import ExponentPolicy, Measures, StepExponents

Run = Callable[[StepExponents], Measures]
"""Runs the network with some exponents; returns what it measured."""


def calibrated(policy: ExponentPolicy, batch: int, most: int, run: Run, training: bool = True
               ) -> tuple[ExponentPolicy, int]:
    """Run a network until the exponents that follow from its measures are those it ran with.

    Args:
        policy: its weights and input count, its history does not; it stays as it is.
        batch: images of the mini-batch.
        most: largest number of runs.
        run: runs the network; its weights stay as they are.
        training: whether it runs training steps, or forward passes of evaluations.

    Returns:
        The policy with the measures of the last run alone, and the number of runs.
    """
    trial, runs = fresh(policy), 0
    while runs < most:
        used = trial.exponents(batch, training=training)
        trial = fresh(policy, used, run(used))
        runs += 1
        if trial.exponents(batch, training=training) == used:
            break
    return trial, runs


def fresh(policy: ExponentPolicy, used: StepExponents | None = None,
          measures: Measures | None = None) -> ExponentPolicy:
    """Return a policy with the same weights and input, and no history but ``measures``."""
    found = ExponentPolicy.start(policy.layers, policy.backward_graph, policy.weight_k,
                                 policy.input_k)
    found.loss = policy.loss
    if used is not None and measures is not None:
        found.observe(used, measures)
        found.weight_k = list(policy.weight_k)
    found.w16 = list(policy.w16)
    return found
