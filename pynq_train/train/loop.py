"""The loop of a training: epochs, steps, callbacks, checkpoints."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynq_train.arrays import Array
from pynq_train.data import batches
from pynq_train.errors import BadInput
from pynq_train.run.batch import Batch
from pynq_train.run.cached import ActivationCache, CachedBatch, CachedSession
from pynq_train.run.formats import range_of
from pynq_train.run.ranges import tensor_stats
from pynq_train.run.trainer import ManyInFlight, Trainer
from pynq_train.train.callbacks import Callback
from pynq_train.train.history import Evaluation, Tally, percent
from pynq_train.train.images import ImageSource
from pynq_train.train.interrupt import DeferredInterrupt
from pynq_train.train.learner_view import LearnerView
from pynq_train.train.rate_line import say_rate
from pynq_train.train.state import Run
from pynq_train.train.watch import Watch

_Item = tuple[NDArray[np.int64], Batch, "Batch | None"]
"""Numbers and images of a mini-batch, and the images of the next one."""


@dataclass(frozen=True)
class Data:
    """Training images and their targets, as the loss takes them."""

    source: ImageSource
    labels: Array

    @property
    def fingerprint(self) -> str:
        """Checksum of images and labels: the same data, the same text."""
        return f"{self.source.fingerprint:08x}{ImageSource.checksum(self.labels):08x}"


@dataclass(frozen=True)
class Saving:
    """When checkpoints are written: every ``every`` steps, or None at the end of epochs."""

    path: str | os.PathLike[str]
    every: int | None = None


def input_range(source: ImageSource, trainer: Trainer, steps: int) -> int:
    """Return ``k``: all images of ``source`` are below ``2**k`` in magnitude.

    A network that was trained for ``steps`` above 0 keeps the range of its images if it is wider.
    """
    k = range_of(source.largest)
    return max(trainer.policy.input_k, k) if steps else k


class Loop:
    """One call of ``fit``.

    Args:
        learner: whose state moves on.
        trainer: what trains its network.
        data: training data.
        validate: evaluates the validation data, None without.
        callbacks: in the order in which they are called.
        saving: where and when checkpoints go, None for none.
        progress: show a bar.
        warned: kinds of warnings that the learner has given; new ones are added.
        cache: begin steps with the maps of frozen layers: False, True or the file that holds them.
    """

    def __init__(self, learner: LearnerView, trainer: Trainer, data: Data,
                 validate: Callable[[], Evaluation] | None, callbacks: Sequence[Callback],
                 saving: Saving | None, progress: bool, warned: set[str],
                 cache: bool | str | os.PathLike[str] = False) -> None:
        self._learner, self._trainer, self._data = learner, trainer, data
        self._validate, self._callbacks = validate, callbacks
        self._saving, self._progress, self._warned = saving, progress, warned
        self._cache = cache
        self._watch = Watch(trainer.plan, data.labels, learner.optimizer, warned)
        self._state = learner.state
        self._names = [spec.name for spec in trainer.plan.specs]
        group = learner.batch * learner.accumulate
        self._per_epoch = len(data.source) // group * learner.accumulate

    def start(self, epochs: int, resume: bool) -> None:
        """Begin a run, or take up the interrupted one, and run to its end."""
        if resume:
            self.resume()
        else:
            self.begin(epochs)
        self.run()

    def begin(self, epochs: int) -> None:
        """Start a run: exponents for the first mini-batch, state and first checkpoint."""
        source, state = self._data.source, self._state
        self._say_rate(self._per_epoch * epochs, begins=True)
        first = next(iter(self._order()))
        self._trainer.prepare(source.batch(first), self._data.labels[first],
                              input_range(source, self._trainer, state.steps))
        state.history.batch_losses = []
        state.changed = ""
        state.run = Run(epochs, self._per_epoch * epochs, len(source), self._data.fingerprint)
        self._save()

    def resume(self) -> None:
        """Go on with the interrupted run.

        Raises:
            BadInput: there is none, or data or callbacks are not those that it began with.
        """
        run = self._state.run
        if run is None and self._state.changed:
            raise BadInput("resume: options of the interrupted training",
                           expected="those that it was saved with", found=self._state.changed,
                           fix="load it without them, or call fit without resume")
        if run is None:
            raise BadInput("nothing to resume: the last training ran to its end",
                           fix="call fit without resume")
        if run.images != len(self._data.source):
            raise BadInput("images of the resumed training", expected=run.images,
                           found=len(self._data.source), fix="pass the same data as before")
        if run.data != self._data.fingerprint:
            raise BadInput("images and labels of the resumed training",
                           expected=f"checksum {run.data}", found=self._data.fingerprint,
                           fix="pass the same data in the same order as before")
        if run.callbacks and len(run.callbacks) != len(self._callbacks):
            raise BadInput("callbacks of the resumed training", expected=len(run.callbacks),
                           found=len(self._callbacks), fix="pass the same callbacks as before")
        for callback, state in zip(self._callbacks, run.callbacks):
            callback.restore(state)
        self._say_rate(run.total_steps, begins=False)

    def _say_rate(self, total_steps: int, begins: bool) -> None:
        say_rate(self._learner.optimizer, total_steps, accumulate=self._learner.accumulate,
                 begins=begins, progress=self._progress, warned=self._warned)

    def run(self) -> None:
        """Run to the end, to the end that a callback wants, or to Ctrl-C."""
        run = self._current()
        history = self._state.history
        history.interrupted = False
        self._fill_cache()
        self._watch.begin(self._trainer.read_masters())
        for callback in self._callbacks:
            callback.on_begin(self._learner)
        try:
            with DeferredInterrupt() as interrupt:
                while run.epoch < run.epochs and not interrupt.pending:
                    self._epoch(run, interrupt)
        except BaseException:
            history.interrupted = True  # resume goes on behind the last finished step
            raise
        history.interrupted = run.epoch < run.epochs
        if isinstance(self._trainer, CachedSession):
            self._trainer.drop()
        if not history.interrupted:
            self._state.run = None
            self._watch.end(history.batch_losses)
            for callback in self._callbacks:
                callback.on_end(self._learner)
        self._save()

    def _fill_cache(self) -> None:
        """Compute what frozen layers make of all images, if that is wanted."""
        trainer, source = self._trainer, self._data.source
        if not isinstance(trainer, CachedSession):
            return
        trainer.drop()  # what an earlier training left when it was broken off
        if self._cache:
            numbers, step = np.arange(len(source)), trainer.plan.batch
            parts = [numbers[first : first + step] for first in range(0, len(source), step)]
            trainer.fill(
                ActivationCache(trainer.plan, len(source),
                                None if self._cache is True else self._cache),
                lambda: ((rows, source.batch(rows)) for rows in parts))

    def _batch(self, index: NDArray[np.int64]) -> Batch:
        """Return the images of a mini-batch."""
        images = self._data.source.batch(index)
        return CachedBatch(images, index) if self._cache else images

    def _epoch(self, run: Run, interrupt: DeferredInterrupt) -> None:
        began, state = time.monotonic(), self._state
        skip = run.step - run.epoch * self._per_epoch
        with _bar(self._progress, self._per_epoch, skip,
                  f"epoch {run.epoch + 1}/{run.epochs}") as bar:
            for together in self._groups(run, skip):
                if interrupt.pending:
                    break
                before = run.step
                self._steps(run, together)
                if self._progress:
                    tally = run.tally
                    bar.update(len(together))
                    bar.set_postfix_str(f"loss {tally.loss / tally.images:.4f}"
                                        f"{percent(tally.accuracy)}", refresh=False)
                last = run.step == (run.epoch + 1) * self._per_epoch
                if self._saving and self._saving.every and not last and (
                        run.step // self._saving.every > before // self._saving.every):
                    self._save()
            done = run.step == (run.epoch + 1) * self._per_epoch
            result = self._validate() if done and self._validate is not None else None
            run.tally.seconds += time.monotonic() - began
            if not done:
                return
            # What may fail stands in front of what a resumed training would not find undone.
            stats = tensor_stats(self._trainer.plan, self._trainer.policy, run.tally.tensors)
            clipped = self._watch.epoch(state.history.batch_losses, run.tally.tensors,
                                        self._trainer.read_masters())
            state.epochs += 1
            run.epoch += 1
            epoch = run.tally.result(state.epochs, result, stats, clipped)
            run.tally = Tally()
            state.history.epochs.append(epoch)
            if result is not None:
                bar.set_postfix_str(
                    f"loss {epoch.loss:.4f}, validation {result.loss:.4f}"
                    if math.isnan(result.accuracy) else
                    f"loss {epoch.loss:.4f}{percent(epoch.accuracy)}, "
                    f"validation {100 * result.accuracy:.1f} %")
        for callback in self._callbacks:  # all see the epoch, also if one ends the training
            if callback.on_epoch(self._learner, epoch):
                run.epochs = run.epoch
        if run.epoch < run.epochs:
            self._save()

    def _batches(self, skip: int) -> Iterator[_Item]:
        """Yield numbers and images of the epoch's mini-batches, and the images of the next one."""
        rest = islice(self._order(), skip, self._per_epoch)
        index = next(rest, None)
        images = None if index is None else self._batch(index)
        while index is not None and images is not None:
            following = next(rest, None)
            then = None if following is None else self._batch(following)
            yield index, images, then
            index, images = following, then

    def _groups(self, run: Run, skip: int) -> Iterator[list[_Item]]:
        """Yield the epoch's mini-batches, as many at once as the trainer takes of an update."""
        accumulate = self._learner.accumulate
        most = self._trainer.in_flight if isinstance(self._trainer, ManyInFlight) else 1
        group: list[_Item] = []
        at = run.step
        for item in self._batches(skip):
            group.append(item)
            at += 1
            if len(group) == most or at % accumulate == 0:
                yield group
                group = []
        if group:
            yield group

    def _steps(self, run: Run, group: list[_Item]) -> None:
        """Run the steps of some mini-batches, and note what each returned."""
        learner, trainer, labels = self._learner, self._trainer, self._data.labels
        rates = [learner.optimizer.at(run.step + number, run.total_steps, self._names,
                                      learner.accumulate, learner.seed,
                                      self._state.steps + number) for number in range(len(group))]
        index, images, then = group[0]
        if len(group) > 1 and isinstance(trainer, ManyInFlight):
            steps = [(one, labels[some], sgd) for (some, one, _), sgd in zip(group, rates)]
            outcomes = self._trainer.protected(lambda: trainer.train_together(steps))
        else:
            outcomes = [self._trainer.protected(
                lambda: self._trainer.train_step(images, labels[index], rates[0], then))]
        losses = self._state.history.batch_losses
        for outcome in outcomes:
            self._state.steps += 1
            run.step += 1
            run.tally.add(outcome.loss_sum, outcome.correct, outcome.images, outcome.cycles,
                          outcome.tensors, outcome.answers)
            losses.append(outcome.loss_sum / outcome.images)
        # All steps are counted before anybody can end the training at one of them.
        for rest, outcome in zip(reversed(range(len(outcomes))), outcomes):
            self._watch.step(losses[: len(losses) - rest] if rest else losses, outcome.tensors)
            for callback in self._callbacks:
                callback.on_step(self._learner, outcome)

    def _order(self) -> Iterator[NDArray[np.int64]]:
        """Yield the image numbers of the mini-batches of the epoch under way."""
        learner = self._learner
        return batches(len(self._data.source), learner.batch, learner.seed, self._state.epochs,
                       drop_last=True)

    def _current(self) -> Run:
        assert self._state.run is not None
        return self._state.run

    def _save(self) -> None:
        if self._state.run is not None:
            self._state.run.callbacks = [callback.state() for callback in self._callbacks]
        if self._saving is not None:
            self._learner.save(self._saving.path)


def _bar(show: bool, total: int, initial: int, text: str) -> Any:
    from tqdm import tqdm

    seconds = 0.1 if sys.stderr.isatty() else 10.0  # a log file needs no moving picture
    return tqdm(total=total, initial=initial, desc=text, disable=not show, unit="step",
                dynamic_ncols=True, mininterval=seconds)
