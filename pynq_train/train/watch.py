"""Whether a training does what trainings are for; where it does not, a warning says so, once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pynq_train.arrays import Array
from pynq_train.data import class_name
from pynq_train.errors import (
    ClippingWarning,
    DivergenceWarning,
    LabelWarning,
    NormalisationWarning,
    OutlierWarning,
    SaturationWarning,
    StandstillWarning,
    warn_once,
)
from pynq_train.quant.loss import BINARY, Loss
from pynq_train.run.masters import Masters
from pynq_train.schedule.plan import Plan
from pynq_train.train.optimizer import SGD

_WINDOW = 16
"""Most losses that a mean is taken of, where a training begins and where it stands."""
_OFTEN = 32
"""Steps from one look at the losses to the next, within an epoch."""
_RISEN, _RISEN_SOON, _SOON = 2.0, 4.0, 8
"""Times the loss of the beginning that is a rise; in the first ``_SOON`` steps, and in the middle
of an epoch: momentum and warm-up may well lift a loss for a while."""
_MATTERS = 0.5
"""Part of the loss of guessing below which a loss is small, however much it has risen."""
_GUESSING, _GUESSED_STEPS = 0.98, 24
"""A loss of this part of guessing is one of guessing, where a training of so many steps ends."""
_DONE = 0.02
"""Part of the loss of guessing below which there is nothing left to learn."""
_MOVED = 0.01
"""Part of the parameters that a training moves, at least, if its rate is not too small."""
_COPY_BITS = 15
"""Bits of the copies of weights that the passes read, and that a change must reach to count."""
_SATURATING, _SATURATING_STEPS = 0.25, 4
"""Part and number of an epoch's steps in which a tensor saturates, if it does so all the time."""
_FEW_VALUES, _PIXELS = 8, 8
"""A normalisation wants more than so many values; of an image at most so many pixels count, since
those of one image are alike."""
_NAMED = 8
"""Most classes or layers that a text lists."""


def guessing(loss: Loss, labels: Array) -> float:
    """Return the smallest mean loss of an answer that does not depend on the image.

    Args:
        loss: what is minimised.
        labels: targets as the loss takes them.
    """
    if loss.numbers or loss.kind == BINARY:
        return _guessed_numbers(loss, labels)
    if loss.ignore is not None:
        labels = labels[labels != loss.ignore]
    labels = labels.reshape(-1)
    share = counted(labels, loss.classes) / max(len(labels), 1)
    if loss.mse:
        return float(np.sum(share * (1 - share))) / loss.classes
    if loss.weights:
        share = share * loss.weights / max(float(np.dot(share, loss.weights)), 1e-30)
    share = share * (1 - loss.smoothing) + loss.smoothing / loss.classes
    return float(-np.sum(share[share > 0] * np.log(share[share > 0])))


def _guessed_numbers(loss: Loss, targets: Array) -> float:
    """Return the mean loss of the best answer of each output that does not depend on the image."""
    each = targets.astype(np.float64).reshape(len(targets), -1)
    if loss.kind == BINARY:
        known = each != loss.ignore if loss.ignore is not None else np.ones(each.shape, np.bool_)
        wanted = np.where(known, each, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        odds = np.minimum(np.maximum(wanted, 1e-12), 1 - 1e-12)
        entropy = -(wanted * np.log(odds) + (1 - wanted) * np.log(1 - odds)) * known.sum(axis=0)
        weights = np.repeat(loss.weights or [1.0] * loss.classes, each.shape[1] // loss.classes)
        return float((entropy * weights).sum() / max(int(known.sum()), 1))
    if loss.mse:
        return float(each.var(axis=0).mean())
    error = np.abs(each - np.median(each, axis=0))
    huber = np.where(error <= loss.delta, error * error / 2,
                     loss.delta * (error - loss.delta / 2))
    return float(huber.mean())


def counted(labels: NDArray[np.int64], classes: int) -> NDArray[np.intp]:
    """Return how many labels each class has, ``(classes,)``."""
    # Numbers of the processor's size: a Zynq-7000 has 32 bits, and NumPy does not make them fit.
    return np.bincount(labels.astype(np.intp), minlength=classes)


def check_classes(labels: Array, loss: Loss, warned: set[str],
                  names: Sequence[str] = ()) -> None:
    """Warn where training labels leave out classes of the network.

    Args:
        labels: targets as the loss takes them.
        loss: what is minimised; there is nothing to say of one that has no labels.
        warned: classes of warnings given so far.
        names: of the classes, as far as they are known.
    """
    if loss.numbers or loss.kind == BINARY:
        return
    labels, classes = labels.reshape(-1), loss.classes
    if loss.ignore is not None:
        labels = labels[labels != loss.ignore]
    count = counted(labels, classes)
    absent = np.flatnonzero(count == 0)
    if not len(absent) or len(labels) < classes:  # so few images cannot show all
        return
    called = [class_name(names, at) for at in range(classes)]
    if len(absent) == classes - 1:
        text = (f"labels: expected several classes, found {called[int(labels[0])]} for all "
                f"{len(labels)} images: a network that says nothing else is right; add images of "
                "the other classes")
    else:
        text = (f"labels: expected each of {classes} classes, found none of "
                f"{_listed(called[at] for at in absent)}: the network learns never to say "
                f"{'it' if len(absent) == 1 else 'them'}; add such images, or make a network of "
                f"{classes - len(absent)} classes")
    warn_once(LabelWarning, text, warned)


def check_values(norms: Iterable[tuple[str, int]], batch: int, warned: set[str]) -> None:
    """Warn where normalisations measure on too few values in training.

    Args:
        norms: name, and pixels of a channel, of each normalisation that measures.
        batch: images of a mini-batch.
        warned: classes of warnings given so far.
    """
    few = [(name, pixels) for name, pixels in norms
           if batch * min(pixels, _PIXELS) <= _FEW_VALUES]
    if not few:
        return
    least = min(pixels for _, pixels in few)
    wanted = max(_FEW_VALUES // min(least, _PIXELS) + 1, 4)
    count = f"{batch} image{'s' * (batch > 1)}"
    warn_once(NormalisationWarning,
              f"normalisation {_listed(name for name, _ in few)}: expected mean and deviation of "
              f"more values, found {batch * least} a channel in a mini-batch ({count} of {least} "
              f"pixel{'s' * (least > 1)}): training on them spoils the network; use batch={wanted} "
              "or more (accumulate does not help), or keep the running statistics: "
              "pt.freeze_norms(model), BatchNorm(frozen=True), or trainable= without what lies "
              "below; a new network may have GroupNorm instead", warned)


def check_rate(optimizer: SGD, learns: bool, warned: set[str]) -> None:
    """Warn where no weight can change.

    Args:
        optimizer: with its rate.
        learns: whether anything that is trainable has a factor of the rate above 0.
        warned: classes of warnings given so far.
    """
    if optimizer.lr == 0 or not learns:
        warn_once(StandstillWarning, f"SGD(lr={optimizer.lr:g}): expected a learning rate above 0 "
                  "for some layer that is trainable: no weight will change; set lr, for example "
                  "0.01, and look at layer_lr", warned)


class LossWatch:
    """Looks at the losses of a training.

    Args:
        loss: what is minimised.
        labels: of the training images.
        rate: what the optimizer is, for the texts.
        warned: classes of warnings given so far.
    """

    def __init__(self, loss: Loss, labels: Array, rate: str, warned: set[str]) -> None:
        self.guessing = guessing(loss, labels)
        self._rate, self._warned = rate, warned

    def step(self, losses: Sequence[float]) -> None:
        """Look at the mean losses of all steps so far, the last one in particular."""
        if not math.isfinite(losses[-1]):
            self._diverged(f"a finite loss, found {losses[-1]} in step {len(losses)}")
        elif len(losses) % _OFTEN == 0:
            self._look(losses, _RISEN_SOON)

    def epoch(self, losses: Sequence[float]) -> None:
        """Look at them at the end of an epoch."""
        self._look(losses, _RISEN if len(losses) >= _SOON else _RISEN_SOON)

    def end(self, losses: Sequence[float]) -> None:
        """Look at them at the end of the training."""
        if len(losses) < _GUESSED_STEPS or DivergenceWarning.__name__ in self._warned:
            return
        last = float(np.mean(losses[-_WINDOW:]))
        if not last >= _GUESSING * self.guessing > 0:  # false for NaN
            return
        warn_once(StandstillWarning, f"training: expected a loss below {self.guessing:.3g}, that "
                  f"of an answer that does not look at the image, found {last:.3g} at the end of "
                  f"{len(losses)} steps: nothing has been learnt; try another lr ({self._rate}), "
                  "normalise=True, and look at some images with their labels", self._warned)

    def _look(self, losses: Sequence[float], times: float) -> None:
        count = min(_WINDOW, max(1, len(losses) // 4))
        if len(losses) < 2:
            return
        began = float(np.mean(losses[:count]))
        now = float(np.mean(losses[-count:]))
        # What a violent start hides shows beside the first step, and beside guessing.
        began = min(began, max(float(losses[0]), self.guessing))
        if now > times * began and now > _MATTERS * self.guessing:
            self._diverged(f"a loss that falls, found a rise from {began:.3g} to {now:.3g} in "
                           f"{len(losses)} steps")

    def _diverged(self, found: str) -> None:
        warn_once(DivergenceWarning, f"training: expected {found}: it diverges; begin anew with a "
                  f"lower learning rate ({self._rate}), normalise=True, or clip=1", self._warned)


class Watch:
    """Looks at a learner's training: losses, saturations, masters.

    Args:
        plan: the network, and what of it is trainable.
        labels: of the training images.
        optimizer: with its schedule.
        warned: classes of warnings given so far.
    """

    def __init__(self, plan: Plan, labels: Array, optimizer: SGD,
                 warned: set[str]) -> None:
        rates = optimizer.factors([layer.name for layer in plan.layers])
        self._learning = {
            layer.name: (one.weights and of_weights > 0, one.bias and of_bias > 0)
            for layer, one, (of_weights, of_bias) in zip(plan.layers, plan.trainable, rates)}
        self._norms = [(spec.name, math.prod(layer.in_shape[1:]))
                       for spec, layer in zip(plan.specs, plan.layers)
                       if spec.kind.has_running and not spec.frozen]
        self._rate, self._warned, self._batch = f"SGD(lr={optimizer.lr:g})", warned, plan.batch
        self._optimizer = optimizer
        self._losses = LossWatch(plan.loss, labels, self._rate, warned)
        self._saturating: dict[str, int] = {}
        self._steps = 0
        self._began: Mapping[str, Masters] = {}
        self._before: Mapping[str, Masters] = {}

    def begin(self, masters: Mapping[str, Masters]) -> None:
        """Look at what is known before the first step; ``masters``: where it begins."""
        self._began = self._before = masters
        check_values(self._norms, self._batch, self._warned)
        check_rate(self._optimizer, any(map(any, self._learning.values())), self._warned)

    def step(self, losses: Sequence[float], saturations: Mapping[str, int]) -> None:
        """Look at a step: the losses of all steps so far, its saturated elements by tensor."""
        self._steps += 1
        for tensor, count in saturations.items():
            if count:
                self._saturating[tensor] = self._saturating.get(tensor, 0) + 1
        self._losses.step(losses)

    def epoch(self, losses: Sequence[float], saturations: Mapping[str, int],
              masters: Mapping[str, Masters]) -> dict[str, int]:
        """Look at an epoch that has ended.

        Args:
            losses: of all steps so far.
            saturations: saturated elements of the epoch by tensor.
            masters: where it ends.

        Returns:
            Clipped masters by layer, where there are any.
        """
        self._losses.epoch(losses)
        clipped = {name: count for name, own in masters.items()
                   if (count := own.clipped) and any(self._learning[name])}
        if clipped:
            self._warn_of_clipped(clipped, masters)
        # There is no step where a resumed training had only to end its epoch.
        elif self._steps and not self._done(losses[-self._steps:]):
            self._look_at_changes(masters)
        self._look_at_saturations(saturations)
        self._before, self._steps, self._saturating = masters, 0, {}
        return clipped

    def end(self, losses: Sequence[float]) -> None:
        """Look at a training that has ended."""
        moved, count = 0, 0
        for name, pairs in self._pairs(self._began, self._before):
            largest = int(np.abs(self._began[name].weight).max(initial=1))
            least = 2.0 ** (largest.bit_length() - _COPY_BITS)
            for old, new in pairs:
                moved += int(np.count_nonzero(np.abs(new.astype(np.int64) - old) >= least))
                count += new.size
        if moved < _MOVED * count and not self._done(losses[-_WINDOW:]):
            warn_once(StandstillWarning, f"training: expected weights that move, found {moved} of "
                      f"{count} moved by more than the rounding of the 16 bits that are computed "
                      f"with, in {len(losses)} steps: the learning rate is too small; use a higher "
                      f"one than {self._rate}, or more steps", self._warned)
        self._losses.end(losses)

    def _pairs(self, before: Mapping[str, Masters], after: Mapping[str, Masters]
               ) -> Iterator[tuple[str, list[tuple[NDArray[np.int32], NDArray[np.int32]]]]]:
        """Yield name, and old and new values of what learns, of each layer that does."""
        for name, (weights, bias) in self._learning.items():
            if not (weights or bias):
                continue
            old, new = before[name], after[name]
            pairs = [(old.weight, new.weight)] if weights else []
            if bias and old.bias is not None and new.bias is not None:
                pairs.append((old.bias, new.bias))
            yield name, pairs

    def _done(self, losses: Sequence[float]) -> bool:
        """Whether the losses are so small that there is nothing left to learn."""
        guessed = self._losses.guessing
        return guessed == 0 or float(np.mean(losses)) < _DONE * guessed

    def _warn_of_clipped(self, clipped: Mapping[str, int], masters: Mapping[str, Masters]) -> None:
        of_all = sum(masters[name].count for name in clipped)
        found = _listed(f"{count} of {name}" for name, count in clipped.items())
        warn_once(ClippingWarning, f"weights, biases or momentum: expected values within +-8 and "
                  f"+-128, found {found} at these limits (of {of_all}): they are clipped; use a "
                  f"lower learning rate ({self._rate}) or weight_decay, from the last good "
                  "checkpoint on", self._warned)

    def _look_at_saturations(self, saturations: Mapping[str, int]) -> None:
        often = [name for name, steps in self._saturating.items()
                 if steps >= max(_SATURATING_STEPS, _SATURATING * self._steps)]
        known = {DivergenceWarning.__name__, OutlierWarning.__name__} & self._warned
        if not often or known:  # a cause that has been told
            return
        found = _listed(f"{saturations.get(name, 0)} of {name} in {self._saturating[name]}"
                        for name in often)
        warn_once(SaturationWarning, f"values that saturate: expected hardly any, found {found} of "
                  f"{self._steps} steps: they grow faster than their ranges follow, or beyond what "
                  "the engine holds; scale the images (normalise=True), or use a lower learning "
                  f"rate ({self._rate})", self._warned)

    def _look_at_changes(self, masters: Mapping[str, Masters]) -> None:
        """Warn where layers that learn have not changed by a bit in an epoch."""
        changed = {name: any(not np.array_equal(old, new) for old, new in pairs)
                   for name, pairs in self._pairs(self._before, masters)}
        still = [name for name, one in changed.items() if not one]
        if len(still) == len(changed):
            warn_once(StandstillWarning, f"training: expected weights that change, found none in "
                      f"{self._steps} steps: the learning rate is so small that changes are "
                      f"rounded to nothing, or no gradient arrives; use another one than "
                      f"{self._rate}", self._warned)
        elif still:
            warn_once(StandstillWarning, f"training: expected all layers to learn, found no weight "
                      f"of {_listed(still)} changed in {self._steps} steps: no gradient arrives "
                      "there (all outputs of a ReLU behind them are 0), or their rate is too "
                      f"small; begin anew with a lower learning rate ({self._rate}) or "
                      "normalisations", self._warned)


def _listed(names: Iterable[str]) -> str:
    """Return names with commas between; of many the first ones, and how many more there are."""
    every = list(names)
    more = f" and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    return ", ".join(every[:_NAMED]) + more
