"""What freezing saves against the same training step of everything, in cycles and bytes."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from pynq_train.errors import DoesNotFit
from pynq_train.layers.fused_layer import FusedLayer
from pynq_train.schedule.plan import Plan, make_plan
from pynq_train.schedule.predict import predict
from pynq_train.schedule.specs.trainable import all_from, describe_trainable


@dataclass(frozen=True)
class FreezeReport:
    """A training step with frozen layers against one in which everything is trained.

    Attributes:
        trainable: names of what is trained.
        parameters: weights and biases that are trained; ``all_parameters``: those of the network.
        cycles: predicted cycles of a step; ``all_cycles``: with everything trained.
        nbytes: bytes of the arena; ``all_nbytes``: with everything trained.

    ``all_cycles`` and ``all_nbytes`` are None where a training of everything does not fit the
    board.
    """

    trainable: str
    parameters: int
    all_parameters: int
    cycles: int
    nbytes: int
    all_cycles: int | None
    all_nbytes: int | None

    def text(self) -> str:
        """Return the report as two lines of text."""
        line = (f"trainable: {self.trainable} ({self.parameters} of {self.all_parameters} "
                "parameters)")
        if self.all_cycles is None or self.all_nbytes is None:
            return f"{line}\nagainst trainable=\"all\": that would not fit this board"
        less = 100 * (1 - self.cycles / self.all_cycles)
        smaller = 100 * (1 - self.nbytes / self.all_nbytes)
        return (f"{line}\nagainst trainable=\"all\": {self.cycles} instead of {self.all_cycles} "
                f"cycles a step ({less:.1f} % saved), {self.nbytes} instead of {self.all_nbytes} "
                f"bytes ({smaller:.1f} % saved)")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"trainable": self.trainable, "parameters": self.parameters,
                "all_parameters": self.all_parameters, "cycles": self.cycles,
                "arena_bytes": self.nbytes, "all_cycles": self.all_cycles,
                "all_arena_bytes": self.all_nbytes}


def everything(plan: Plan) -> bool:
    """Return whether a plan trains all parameters of all its layers."""
    return plan.trainable == all_from(plan.layers, 0)


def freeze_report(plan: Plan, cycles: int | None = None) -> FreezeReport:
    """Return a plan compared with the plan of the same training with everything trained.

    That one, for the same network, batch and board, is made here, which takes about as long as the
    first one did.

    Args:
        plan: the plan.
        cycles: predicted cycles of its training step, if they are known already.
    """
    learned = sum((_weights(layer) if one.weights else 0)
                  + (layer.out_channels if one.bias else 0)
                  for layer, one in zip(plan.layers, plan.trainable))
    total = sum(_weights(layer) + (layer.out_channels if layer.bias else 0)
                for layer in plan.layers if not layer.average)
    cycles = predict(plan, plan.train).cycles if cycles is None else cycles
    all_cycles: int | None = None
    all_nbytes: int | None = None
    try:
        if everything(plan):
            all_cycles, all_nbytes = cycles, plan.memory.nbytes
        else:
            whole = make_plan(plan.layers, plan.batch, plan.board, momentum=plan.momentum)
            all_cycles, all_nbytes = predict(whole, whole.train).cycles, whole.memory.nbytes
    except DoesNotFit:
        pass
    return FreezeReport(describe_trainable(plan.layers, plan.trainable), learned, total, cycles,
                   plan.memory.nbytes, all_cycles, all_nbytes)


def _weights(layer: FusedLayer) -> int:
    """Return the number of weights, or of gammas, of a layer."""
    return prod(layer.weight_shape) if layer.has_parameters else 0
