"""Result records of a program run: what the host reads when a step has ended."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pynq_train.errors import BadInput
from pynq_train.hw.commands import RECORD_WORDS
from pynq_train.hw.layouts import RECORD, SOFTMAX_RECORD
from pynq_train.quant import Measures
from pynq_train.schedule.passes.descriptors import Descriptor, Role
from pynq_train.schedule.plan import Plan


@dataclass(frozen=True)
class RunRecords:
    """What the records of one program run say.

    Attributes:
        loss_sum: sum of the losses over the valid images, in units of ``Loss.unit``.
        correct: number of correct predictions.
        measures: measures from which the exponent policy takes ranges.
        saturations: saturated elements by tensor: ``<layer>.y``, ``<layer>.dx``, ``<layer>.w``; of
            coefficients ``<layer>.a``, ``<layer>.b``; of gradients from the vector unit by the
            gradient's symbol.
    """

    loss_sum: int
    correct: int
    measures: Measures
    saturations: dict[str, int]


def read_records(plan: Plan, descriptors: tuple[Descriptor, ...],
                 records: NDArray[np.uint8]) -> RunRecords:
    """Return what the records of a program run say.

    Args:
        plan: the plan.
        descriptors: descriptors of the program, ``plan.train`` or ``plan.evaluate``.
        records: uint8, the bytes of symbol ``train.records`` or ``evaluate.records``.

    Raises:
        BadInput: there are not as many records as descriptors.
    """
    words = np.frombuffer(records.tobytes(), "<i8").reshape(-1, RECORD_WORDS)
    if len(words) != len(descriptors):
        raise BadInput("records", expected=f"{len(descriptors)} of {RECORD_WORDS} words",
                       found=len(words))
    found = _Reading(plan)
    for descriptor, row in zip(descriptors, words):
        layout, names = ((SOFTMAX_RECORD, ("loss", "correct"))
                         if descriptor.role == Role.SOFTMAX
                         else (RECORD, ("measure", "saturations")))
        first, second = (layout.at(name) for name in names)
        found.take(descriptor, first.extract(int(row[first.word])),
                   second.extract(int(row[second.word])))
    return RunRecords(found.loss, found.correct, found.measures(), found.saturations)


class _Reading:
    """Collects the records of a run.

    Several descriptors may work on one tensor (parts, sections, row phases). A measure is an OR of
    magnitudes, so theirs are joined by OR; saturations are added.
    """

    def __init__(self, plan: Plan) -> None:
        count = len(plan.specs)
        self._plan = plan
        self._forward = [0] * count
        self._backward: list[int | None] = [None] * count
        self._weights: list[int | None] = [None] * count
        self._coefficients: dict[int, int] = {}
        self._nodes: dict[int, tuple[int, int]] = {}
        self.saturations: dict[str, int] = {}
        self.loss = self.correct = 0

    def take(self, descriptor: Descriptor, first: int, second: int) -> None:
        """Add a record: ``first`` is the measure (softmax: loss), ``second`` counts saturations."""
        layer, role = descriptor.layer, descriptor.role
        name = self._plan.specs[layer].name
        if role == Role.SOFTMAX:
            self.loss, self.correct = first, second
        elif role in (Role.FORWARD, Role.FORWARD_VECTOR):
            self._forward[layer] |= first
            self._count(f"{name}.y", second)
        elif role == Role.BACKWARD:
            self._backward[layer] = (self._backward[layer] or 0) | first
            self._count(f"{name}.dx", second)
        elif role == Role.WEIGHT_GRADIENT:
            self._weights[layer] = (self._weights[layer] or 0) | first
            self._count(f"{name}.w", second)
        elif role == Role.NORM_COEFFICIENTS:
            self._coefficients[layer] = first
            self._count(f"{name}.a", second)
        elif role == Role.BACKWARD_NORM:
            written, _ = self._nodes.get(descriptor.node, (0, 0))
            self._nodes[descriptor.node] = (written, first)
            self._count(f"{name}.b", second)
        elif role == Role.POOL:
            self._count(f"{name}.y", second)  # its range is that of its input
        elif role in (Role.BACKWARD_VECTOR, Role.UNPOOL):
            # Parts of the mini-batch have a record each.
            written, coefficients = self._nodes.get(descriptor.node, (0, 0))
            self._nodes[descriptor.node] = (written | first, coefficients)
            self._count(self._plan.backward_graph.nodes[descriptor.node].target, second)

    def _count(self, tensor: str, saturations: int) -> None:
        """Add saturated elements of a tensor."""
        self.saturations[tensor] = self.saturations.get(tensor, 0) + saturations

    def measures(self) -> Measures:
        """Return the measures of all tensors."""
        return Measures(self._forward, self._backward, self._weights, self._coefficients,
                        self._nodes)
