"""What trained blocks answer: each by itself, or the first one that is sure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pynq_train.data import Labels
from pynq_train.fleet.block_training.learner import BlockLearner
from pynq_train.run.batch import Batch
from pynq_train.run.trainer import StepOutcome
from pynq_train.train.history import Evaluation
from pynq_train.train.images import ImageSource


@dataclass(frozen=True)
class Answer:
    """What a block says of some images.

    Attributes:
        block: number of the block.
        rows: numbers of the images.
        logits: float32 ``(images, classes)``.
        outcome: of the evaluation; without labels its loss means nothing.
    """

    block: int
    rows: NDArray[np.int64]
    logits: NDArray[np.float32]
    outcome: StepOutcome


@dataclass(frozen=True)
class Exits:
    """Answers of the first blocks that were sure.

    Attributes:
        classes: int64 ``(n,)``, the answers.
        block: int64 ``(n,)``, the block that has given each.
        confidence: float32 ``(n,)``, probability of the class that was answered.
        blocks: number of blocks.
        cycles: engine cycles of all evaluations (0 if the backend has no clock).
    """

    classes: NDArray[np.int64]
    block: NDArray[np.int64]
    confidence: NDArray[np.float32]
    blocks: int
    cycles: int

    @property
    def share(self) -> tuple[float, ...]:
        """Share of the images (0..1) that each block has answered."""
        # NumPy counts numbers of the processor's size: 32 bits on a Zynq-7000.
        counts = np.bincount(self.block.astype(np.intp), minlength=self.blocks)
        return tuple((counts / len(self.block)).tolist())

    def accuracy(self, labels: NDArray[np.int64]) -> tuple[float | None, ...]:
        """Return the share of right answers of each block; None of one that has given none.

        ``labels``: class numbers ``(n,)``.
        """
        right = self.classes == labels
        return tuple(float(right[self.block == at].mean()) if (self.block == at).any() else None
                     for at in range(self.blocks))


def confidences(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probability of the most likely class: ``(n,)``; ``logits``: ``(n, classes)``."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: NDArray[np.float32] = 1 / powers.sum(axis=1)
    return found


def passed(use: Callable[[int], BlockLearner], count: int, source: ImageSource,
           labels: Labels | None, together: int, confidence: float | None = None
           ) -> Iterator[Answer]:
    """Yield what blocks say of images, mini-batch by mini-batch.

    Args:
        use: returns the learner of a block, ready.
        count: blocks.
        source: the images.
        labels: of them; None where the loss does not matter.
        together: mini-batches that go through a block before the next one is used.
        confidence: images of which a block is so sure (0..1) do not go on; None: all go on.
    """
    batch = use(0).batch
    for begin in range(0, len(source), batch * together):
        end = min(begin + batch * together, len(source))
        waiting: list[tuple[NDArray[np.int64], Batch]] = [
            (np.arange(at, min(at + batch, end)), source.batch(slice(at, min(at + batch, end))))
            for at in range(begin, end, batch)]
        for block in range(count):
            if not waiting:
                break
            learner, following = use(block), []
            for rows, images in waiting:
                outcome, logits, maps = learner.forward(
                    images, None if labels is None else labels[rows])
                yield Answer(block, rows, logits, outcome)
                if maps is None:
                    continue
                stay = np.arange(len(rows)) if confidence is None else np.flatnonzero(
                    confidences(logits) < confidence)
                if len(stay):
                    following.append((rows[stay], maps.take(stay)))
            waiting = list(following)


def evaluations(answers: Iterator[Answer], count: int, labels: Labels, classes: int,
                names: tuple[str, ...]) -> tuple[Evaluation, ...]:
    """Return loss, accuracy and confusions of each block.

    Args:
        answers: of all blocks for all images.
        count: blocks.
        labels: of the images.
        classes: of the network.
        names: of the classes, as far as they are known.
    """
    loss, correct, again = [0.0] * count, [0] * count, [0] * count
    confusion = np.zeros((count, classes, classes), np.int64)
    for one in answers:
        loss[one.block] += one.outcome.loss_sum
        correct[one.block] += one.outcome.correct
        again[one.block] += one.outcome.again
        np.add.at(confusion[one.block], (labels[one.rows], one.logits.argmax(axis=1)), 1)
    return tuple(Evaluation(loss[at] / len(labels), correct[at] / len(labels), again[at],
                            confusion[at], names) for at in range(count))


def exits_of(answers: Iterator[Answer], count: int, images: int) -> Exits:
    """Return the last answer to each image, which is that of the first block that was sure.

    Args:
        answers: of the blocks, in their order.
        count: blocks.
        images: number of images.
    """
    classes, block = np.zeros(images, np.int64), np.zeros(images, np.int64)
    sure, cycles = np.zeros(images, np.float32), 0
    for one in answers:
        classes[one.rows], block[one.rows] = one.logits.argmax(axis=1), one.block
        sure[one.rows] = confidences(one.logits)
        cycles += one.outcome.cycles
    return Exits(classes, block, sure, count, cycles)
