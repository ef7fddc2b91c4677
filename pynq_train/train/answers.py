"""What a network answers, mini-batch by mini-batch, and the ranges of maps that it needs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from pynq_train.arrays import Array
from pynq_train.graph.params import FloatArray
from pynq_train.run.formats import range_of
from pynq_train.run.trainer import StepOutcome, Trainer
from pynq_train.train.history import Evaluation
from pynq_train.train.images import ImageSource
from pynq_train.train.metrics import Metrics
from pynq_train.train.value_warnings import check_outcome


def outputs(trainer: Trainer, source: ImageSource, warned: set[str],
            labels: Array | None = None) -> Iterator[tuple[StepOutcome, FloatArray]]:
    """Yield outcome and logits of the images, mini-batch by mini-batch.

    Args:
        trainer: computes them; its state stays as it is.
        source: the images.
        warned: kinds of warnings that have been given; values that saturate add one.
        labels: of the images, as the loss takes them; without them the outcome's loss means
            nothing.
    """
    with _ranges(trainer, source):
        for part in _parts(trainer, source):
            outcome, logits = trainer.evaluate(source.batch(part),
                                               None if labels is None else labels[part])
            check_outcome(outcome, f"{trainer.plan.specs[-1].name}.y", warned)
            yield outcome, logits


def evaluate(trainer: Trainer, source: ImageSource, labels: Array, warned: set[str],
             names: tuple[str, ...] = ()) -> Evaluation:
    """Return loss, accuracy, confusions and the number of images that were run again.

    ``names``: of the classes, as far as they are known. See :func:`outputs`.
    """
    loss, weight, correct, answers, again, begin = 0.0, 0.0, 0, 0, 0, 0
    found = Metrics(trainer.plan.loss)
    for outcome, logits in outputs(trainer, source, warned, labels):
        counts = outcome.images if outcome.weight is None else outcome.weight
        # The mean of a mini-batch is over what counts of it.
        loss += outcome.loss_sum if outcome.weight is None else (
            outcome.loss_sum / outcome.images * counts)
        weight += counts
        correct += outcome.correct
        answers += outcome.images if outcome.answers is None else outcome.answers
        again += outcome.again
        found.add(logits, labels[begin : begin + len(logits)])
        begin += len(logits)
    return Evaluation(loss / weight if weight else 0.0, correct / answers if answers else math.nan,
                      again, found.confusion, names, found.figures())


def calibrate(trainer: Trainer, source: ImageSource) -> None:
    """Let a trainer's policy have room for images; known ranges are never narrowed."""
    first, *others = _parts(trainer, source)
    if calibrated(trainer):
        others = [first, *others]
    else:
        trainer.prepare(source.batch(first), None, range_of(source.largest))
    for part in others:
        trainer.widen(source.batch(part))


def calibrated(trainer: Trainer) -> bool:
    """Return whether ranges of feature maps are known, from a training or a calibration."""
    return any(map(bool, trainer.policy.feature))


def _parts(trainer: Trainer, source: ImageSource) -> list[slice]:
    batch = trainer.plan.batch
    return [slice(begin, min(begin + batch, len(source)))
            for begin in range(0, len(source), batch)]


@contextmanager
def _ranges(trainer: Trainer, source: ImageSource) -> Iterator[None]:
    """Give a network that has no ranges yet those of the images, for this call alone.

    They are not kept: what a network answers may not depend on which images came first.
    """
    if calibrated(trainer):
        yield
        return
    saved = replace(trainer.policy)  # preparing sets its range, and makes a new one
    try:
        trainer.prepare(source.batch(_parts(trainer, source)[0]), None, range_of(source.largest))
        yield
    finally:
        trainer.policy = saved
