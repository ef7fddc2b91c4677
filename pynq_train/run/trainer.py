"""What trains one network: an engine's session, the EF-Train kernel, several boards at once.

The learner and its loop know a trainer by this protocol alone. Device memory, programs and records
are matters of :class:`~pynq_train.run.session.Session`, not of the protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pynq_train.quant import ExponentPolicy, SgdStep
from pynq_train.run.batch import Batch, Images
from pynq_train.run.formats import Array
from pynq_train.run.masters import Masters
from pynq_train.schedule.plan import Plan

T = TypeVar("T")


# Not frozen: one is made in each step, and a frozen one takes three times as long to make.
@dataclass
class StepOutcome:
    """What a training step or an evaluation of one mini-batch returned.

    Attributes:
        loss_sum: sum of the loss over the valid images, cross-entropies in nats.
        correct: images whose largest logit is the label's.
        images: valid images.
        cycles: cycles of the run (0 if the trainer has no clock).
        saturations: saturated elements of all stored tensors.
        counters: counter registers of the run, if the trainer was asked for them.
        tensors: saturated elements by tensor, ``<layer>.y``, ``<layer>.dx``, ``<layer>.w``, of
            those that have any.
        again: images of an evaluation that were run again with more room for their ranges.
        beyond: of an evaluation: by tensor that still saturates, a bound of its values.
        answers: answers that ``correct`` counts the right ones of (pixels, or outputs that are yes
            or no); None: one for each image.
        weight: what the mean loss of these images divides by; None: their number.
    """

    loss_sum: float
    correct: int
    images: int
    cycles: int
    saturations: int
    counters: Mapping[str, int]
    tensors: Mapping[str, int] = field(default_factory=dict)
    again: int = 0
    beyond: Mapping[str, float] = field(default_factory=dict)
    answers: int | None = None
    weight: float | None = None


class Trainer(Protocol):
    """Trains the network of a plan, mini-batch by mini-batch, and keeps its weights.

    Images are a :class:`~pynq_train.run.batch.Batch`, or float32 ``(n, channels, rows, cols)``,
    prepared for the network's input; labels are class numbers ``(n,)``, or what the targets of the
    plan's loss are (``run.host_loss``); ``n`` is the plan's mini-batch in training, at most that in
    evaluations.
    """

    @property
    def plan(self) -> Plan:
        """The network, its mini-batch, and what of it is trainable."""

    @property
    def policy(self) -> ExponentPolicy:
        """Exponent state that belongs to the masters; training steps move it on."""

    @policy.setter
    def policy(self, policy: ExponentPolicy) -> None:
        """Set it: to one that it had before."""

    def prepare(self, images: Images, labels: Array | None, input_k: int) -> None:
        """Make ready for images of a new range, with a first mini-batch as the sample.

        Weights and momentum stay as they are.

        Args:
            images: the first mini-batch of those that follow.
            labels: its labels; None if evaluations alone follow.
            input_k: the elements of all images that follow are below ``2**input_k`` in magnitude.
        """

    def train_step(self, images: Images, labels: Array, sgd: SgdStep,
                   then: Batch | None = None) -> StepOutcome:
        """Run one training step on a whole mini-batch, with the rates and factors of ``sgd``.

        ``then`` are the images of the step that will probably follow: they may be made ready while
        this one runs.
        """

    def evaluate(self, images: Images, labels: Array | None = None
                 ) -> tuple[StepOutcome, NDArray[np.float32]]:
        """Run the forward pass; return the outcome, and logits ``(n, classes)``; where a map is the
        end ``(n, channels, rows, cols)``.

        No state changes: where images leave the ranges of the policy, they are run again with more
        room, and the policy stays. Without labels, loss and right answers of the outcome mean
        nothing.
        """

    def widen(self, images: Images) -> None:
        """Give the policy room for at most a mini-batch of images; it is never narrowed."""

    def read_masters(self) -> dict[str, Masters]:
        """Return weights, momentum and running statistics by layer name."""

    def write_masters(self, masters: Mapping[str, Masters]) -> None:
        """Replace weights, momentum and running statistics; the policy must fit them already."""

    def protected(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns; if it fails, weights and policy are as before it."""


@runtime_checkable
class ManyInFlight(Protocol):
    """A trainer that can work on several mini-batches of one update at the same time.

    Attributes:
        in_flight: how many.
    """

    in_flight: int

    def train_together(self, steps: Sequence[tuple[Images, Array, SgdStep]]
                       ) -> list[StepOutcome]:
        """Run up to :attr:`in_flight` training steps, all parts of one update, in order.

        The bits are those of :meth:`Trainer.train_step` for one after the other.

        Args:
            steps: images, labels and the optimizer's values of each.
        """
