"""What happens beside a training: early stopping, keeping the best model, functions of the user."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pynq_train.errors import BadInput, UnknownName
from pynq_train.files import path_text
from pynq_train.files.schema import Maybe, Number, Record, Whole
from pynq_train.run.trainer import StepOutcome
from pynq_train.train.history import EpochResult
from pynq_train.train.learner_view import LearnerView
from pynq_train.train.schedules import number, whole

MONITORS = {"loss": -1, "accuracy": 1, "val_loss": -1, "val_accuracy": 1}
"""Values of an epoch that can be watched: 1 if more is better."""


class Callback:
    """Base of callbacks; every method may be left out.

    State that a resumed training needs goes through :meth:`state` and :meth:`restore`: it is part
    of checkpoints.
    """

    def on_begin(self, learner: LearnerView) -> None:
        """Called when a training begins or is resumed."""

    def on_step(self, learner: LearnerView, outcome: StepOutcome) -> None:
        """Called after each training step."""

    def on_epoch(self, learner: LearnerView, epoch: EpochResult) -> bool | None:
        """Called after each epoch; True ends the training."""
        return None

    def on_end(self, learner: LearnerView) -> None:
        """Called when the training has ended (not when it was interrupted)."""

    def state(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set the state to what :meth:`state` returned."""


EpochFunction = Callable[[EpochResult], Any]
"""A function of the user that is called with the result of each epoch; True ends the training."""
UserCallback = Callback | EpochFunction


class OnEpoch(Callback):
    """Calls a function of the user with the result of each epoch; True ends the training."""

    def __init__(self, function: EpochFunction) -> None:
        self._function = function

    def on_epoch(self, learner: LearnerView, epoch: EpochResult) -> bool:
        """Call it; only True itself ends the training."""
        return is_true(self._function(epoch))


def is_true(result: Any) -> bool:
    """Return whether a function of the user returned True, Python's or NumPy's, and no number."""
    return isinstance(result, (bool, np.bool_)) and bool(result)


class _Watch(Callback):
    """Remembers the best value of an epoch's result."""

    def __init__(self, monitor: str, min_delta: float = 0.0) -> None:
        if not isinstance(monitor, str) or monitor not in MONITORS:
            raise UnknownName.among("monitor", monitor, MONITORS)
        number("min_delta", min_delta, 0, 1e9)
        self.monitor = monitor
        self.best: float | None = None
        self._delta = min_delta

    def improved(self, epoch: EpochResult) -> bool:
        """Return whether the epoch is better than all before, by more than ``min_delta``."""
        value = getattr(epoch, self.monitor)
        if value is None:
            raise BadInput(f"{type(self).__name__}: {self.monitor}",
                           expected="fit(..., validation_data=(x, y))", found="none",
                           fix="pass validation data, or watch 'loss' or 'accuracy'")
        if math.isnan(value) and self.monitor.endswith("accuracy"):
            raise BadInput(f"{type(self).__name__}: {self.monitor}",
                           expected="right and wrong answers", found="outputs that are numbers",
                           fix="watch 'loss' or 'val_loss'")
        gain = 0.0 if self.best is None else (value - self.best) * MONITORS[self.monitor]
        if self.best is not None and not gain > self._delta:
            return False
        self.best = value
        return True

    def state(self) -> dict[str, Any]:
        """Return the best value so far."""
        return {"best": self.best}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set the best value so far."""
        self.best = Record({"best": Maybe(Number(any_float=True))}, open=True).check(
            state, f"saved state of {type(self).__name__}")["best"]


class EarlyStopping(_Watch):
    """Ends the training when nothing has improved for ``patience`` epochs.

    Args:
        monitor: ``loss``, ``accuracy``, ``val_loss`` or ``val_accuracy``.
        patience: epochs without improvement that are allowed.
        min_delta: how much better an epoch must be to count.
    """

    def __init__(self, monitor: str = "val_loss", *, patience: int = 3,
                 min_delta: float = 0.0) -> None:
        super().__init__(monitor, min_delta)
        self.patience = whole("patience", patience)
        self.waited = 0

    def on_epoch(self, learner: LearnerView, epoch: EpochResult) -> bool:
        """Count epochs without improvement."""
        self.waited = 0 if self.improved(epoch) else self.waited + 1
        return self.waited > self.patience

    def state(self) -> dict[str, Any]:
        """Return the best value, and the epochs waited for a better one."""
        return {**super().state(), "waited": self.waited}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set both."""
        super().restore(state)
        self.waited = Record({"waited": Whole(0, 1 << 62)}, open=True).check(
            state, f"saved state of {type(self).__name__}")["waited"]


class BestModel(_Watch):
    """Saves the learner whenever an epoch is the best so far.

    Args:
        path: the .safetensors file; load it with :func:`pynq_train.load`.
        monitor: ``loss``, ``accuracy``, ``val_loss`` or ``val_accuracy``.
    """

    def __init__(self, path: str | os.PathLike[str], *, monitor: str = "val_accuracy") -> None:
        super().__init__(monitor)
        self.path = path_text(path, "model file")

    def on_epoch(self, learner: LearnerView, epoch: EpochResult) -> None:
        """Save if it is."""
        if self.improved(epoch):
            learner.save(self.path)


def as_callbacks(given: Sequence[UserCallback]) -> list[Callback]:
    """Return callbacks, with functions wrapped.

    Raises:
        BadInput: something that is neither.
    """
    return [one if isinstance(one, Callback) else OnEpoch(one) for one in _checked(
        given, "a Callback or a function of the epoch's result")]


def as_functions(given: Sequence[EpochFunction]) -> list[EpochFunction]:
    """Return functions of an epoch's result, where no learner is there for a :class:`Callback`.

    Raises:
        BadInput: something else, a callback also.
    """
    for one in _listed(given):
        if isinstance(one, Callback):
            raise BadInput("callback of fit_float", expected="a function of the epoch's result",
                           found=repr(one), fix="there is no learner that it could watch")
    return list(_checked(given, "a function of the epoch's result"))


def _checked(given: Sequence[Any], expected: str) -> Sequence[Any]:
    for one in _listed(given):
        if isinstance(one, type) or not (isinstance(one, Callback) or callable(one)):
            raise BadInput("callback", expected=expected, found=repr(one),
                           fix="pass an object, not its class" if isinstance(one, type) else None)
    return given


def _listed(given: Sequence[Any]) -> Sequence[Any]:
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise BadInput("callbacks", expected="a list", found=repr(given),
                       fix="write callbacks=[...], also for one")
    return given
