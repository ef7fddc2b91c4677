"""Callbacks: early stopping, best model, functions, and their state over an interruption."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import BadInput, UnknownName
from pynq_train.graph import Graph
from pynq_train.run import StepOutcome
from pynq_train.train import EpochResult
from pynq_train.train.callbacks import BestModel, Callback, EarlyStopping, as_callbacks

Data = tuple[np.ndarray, np.ndarray]


def epoch(number: int, loss: float, val: float | None = None) -> EpochResult:
    return EpochResult(number, loss, 0.5, val, val, 8, 0, 0, 0.0)


def learner(net: Graph) -> pt.Learner:
    return pt.Learner(net, optimizer=pt.SGD(lr=0.1), batch=8)


def test_early_stopping_waits_for_its_patience() -> None:
    stop = EarlyStopping("loss", patience=2, min_delta=0.1)
    values = [1.0, 0.85, 0.8, 0.6, 0.55, 0.51, 0.7]
    ends = [stop.on_epoch(None, epoch(i, v)) for i, v in enumerate(values)]  # type: ignore[arg-type]
    assert ends == [False, False, False, False, False, False, True]
    assert stop.best == 0.6


def test_more_accuracy_is_better() -> None:
    stop = EarlyStopping("val_accuracy", patience=0)
    assert [stop.on_epoch(None, epoch(i, 1.0, v))  # type: ignore[arg-type]
            for i, v in enumerate((0.5, 0.7, 0.7))] == [False, False, True]


def test_a_training_ends_early(net: Graph, data: Data) -> None:
    calls: list[Any] = []

    class Seen(Callback):
        def on_begin(self, learner: pt.Learner) -> None:
            calls.append("begin")

        def on_step(self, learner: pt.Learner, outcome: StepOutcome) -> None:
            calls.append(outcome.images)

        def on_end(self, learner: pt.Learner) -> None:
            calls.append("end")

    def third(result: EpochResult) -> bool:
        return result.epoch == 3

    trained = learner(net)
    history = trained.fit(*data, epochs=9, progress=False, callbacks=[third, Seen()])
    assert len(history.epochs) == 3 and not history.interrupted
    assert calls == ["begin", *[8] * 18, "end"]
    with pytest.raises(BadInput, match="nothing to resume"):
        trained.fit(*data, resume=True)


def test_the_best_model_is_kept(net: Graph, data: Data, tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    trained = learner(net)
    history = trained.fit(*data, epochs=5, validation_data=data, progress=False,
                          callbacks=[BestModel(path, monitor="val_loss")])
    losses = [e.val_loss for e in history.epochs]
    best = pt.load(path)
    assert len(best.history.epochs) == losses.index(min(losses)) + 1  # type: ignore[type-var]
    assert best.evaluate(*data).loss == min(losses)  # type: ignore[type-var]


def test_epochs_hold_ranges_and_saturations(net: Graph, data: Data) -> None:
    result = learner(net).fit(*data, progress=False).epochs[0]
    assert set(result.tensors) == {"conv1.y", "conv1.dy", "conv1.w", "dense1.y", "dense1.w"}
    assert sum(t["saturations"] for t in result.tensors.values()) == result.saturations
    assert -12 < result.tensors["conv1.dy"]["range"] < 0 < result.tensors["dense1.y"]["range"] + 2


def test_checkpoints_on_the_way_can_be_resumed(net: Graph, data: Data, tmp_path: Path) -> None:
    path, kept = tmp_path / "model.safetensors", tmp_path / "kept.safetensors"

    class Copy(Callback):
        """Keeps the checkpoint that is there after step 9: that of step 8."""

        count = 0

        def on_step(self, learner: pt.Learner, outcome: StepOutcome) -> None:
            self.count += 1
            if self.count == 9:
                kept.write_bytes(path.read_bytes())

    whole = learner(net)
    watch = EarlyStopping("loss")
    history = whole.fit(*data, epochs=3, progress=False, callbacks=[Copy(), watch],
                        checkpoint=path, checkpoint_every=4)
    loaded = pt.load(kept)
    assert loaded.steps == 8 and loaded.state.run is not None and loaded.state.run.step == 8
    again = EarlyStopping("loss")
    resumed = loaded.fit(*data, progress=False, resume=True, callbacks=[Callback(), again])
    assert resumed.batch_losses == history.batch_losses
    assert all(own.same_bits(whole.masters[name]) for name, own in loaded.masters.items())
    assert again.state() == watch.state()
    assert pt.load(path).state.run is None


@pytest.mark.parametrize(("callbacks", "text"), [
    ([], "callbacks of the resumed training: expected 1, found 0; pass the same callbacks as "
     "before"),
    (None, "images and labels of the resumed training: expected checksum "),
])
def test_a_resumed_training_is_the_same(net: Graph, data: Data, tmp_path: Path,
                                        callbacks: list[Callback] | None, text: str) -> None:
    path = tmp_path / "model.safetensors"

    def stop(result: EpochResult) -> None:
        raise RuntimeError("the power went away")

    with pytest.raises(RuntimeError):
        learner(net).fit(*data, epochs=3, progress=False, callbacks=[stop], checkpoint=path,
                         checkpoint_every=2)
    labels = data[1] if callbacks is not None else data[1][::-1]
    with pytest.raises(BadInput) as caught:
        pt.load(path).fit(data[0], labels, progress=False, resume=True,
                          callbacks=[stop] if callbacks is None else callbacks)
    assert str(caught.value).startswith(text)


def test_refusals(net: Graph, data: Data) -> None:
    for given, text in (([EarlyStopping], "pass an object, not its class"),
                        ([3], "callback: expected a Callback or a function of the epoch's result, "
                         "found 3")):
        with pytest.raises(BadInput) as caught:
            as_callbacks(given)
        assert text in str(caught.value)
    with pytest.raises(UnknownName, match="did you mean 'loss'"):
        EarlyStopping("los")
    with pytest.raises(BadInput, match="patience: expected an integer of 0 or more, found -1"):
        EarlyStopping(patience=-1)
    with pytest.raises(BadInput) as caught:
        learner(net).fit(*data, progress=False, callbacks=[EarlyStopping()])
    assert str(caught.value) == (
        "EarlyStopping: val_loss: expected fit(..., validation_data=(x, y)), found none; pass "
        "validation data, or watch 'loss' or 'accuracy'")
    with pytest.raises(BadInput, match="checkpoint_every: expected an integer of 1 or more"):
        learner(net).fit(*data, checkpoint="a", checkpoint_every=0)
    with pytest.raises(BadInput, match="checkpoint_every without checkpoint; say where"):
        learner(net).fit(*data, checkpoint_every=5)


def test_true_of_numpy_ends_a_training(net: Graph, data: Data) -> None:
    def enough(result: EpochResult) -> Any:
        return np.float64(result.accuracy) >= 0

    assert isinstance(enough(epoch(1, 0.5)), np.bool_)
    trained = learner(net).fit(*data, epochs=3, progress=False, callbacks=[enough])
    assert len(trained.epochs) == 1
    assert len(pt.fit_float(net, *data, epochs=3, callbacks=[enough]).epochs) == 1


@pytest.mark.parametrize("given", [print, None, EarlyStopping("loss"), "ab"])
def test_callbacks_are_a_list(net: Graph, data: Data, given: Any) -> None:
    with pytest.raises(BadInput, match=r"callbacks: expected a list, found .*; write callbacks="):
        learner(net).fit(*data, progress=False, callbacks=given)
    with pytest.raises(BadInput, match=r"callbacks: expected a list, found "):
        pt.fit_float(net, *data, callbacks=given)


@pytest.mark.parametrize(("monitor", "values", "best"), [
    ("loss", [4.0, 3.75, 3.5, 3.0, 3.0], [True, False, True, True, False]),
    ("accuracy", [0.0, 0.25, 0.5, 1.0, 0.75], [True, False, True, True, False]),
    ("val_loss", [2.0, 2.5, 1.75, 1.5], [True, False, False, True]),
    ("val_accuracy", [0.5, 0.5, 0.75, 1.0], [True, False, False, True])])
def test_better_by_more_than_the_least_that_counts(monitor: str, values: list[float],
                                                   best: list[bool]) -> None:
    """Than the best so far, not than the epoch before; the first one is the best in any case."""
    watch = EarlyStopping(monitor, min_delta=0.25)
    none: Any = EpochResult(1, 9.0, 0.0, 9.0, 0.0, 8, 0, 0, 1.0)
    assert [watch.improved(replace(none, **{monitor: value})) for value in values] == best


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_patience_is_counted_from_the_best_epoch(patience: int) -> None:
    stop = EarlyStopping("loss", patience=patience)
    none: Any = EpochResult(1, 9.0, 0.0, None, None, 8, 0, 0, 1.0)
    learner: Any = None
    for loss in (5.0, 4.0):
        assert not stop.on_epoch(learner, replace(none, loss=loss))
    ends = [stop.on_epoch(learner, replace(none, loss=4.0)) for _ in range(patience + 2)]
    assert ends == [False] * patience + [True, True]
    other = EarlyStopping("loss", patience=patience)
    other.restore(stop.state())
    assert (other.best, other.waited) == (4.0, patience + 2)
    assert not other.on_epoch(learner, replace(none, loss=3.0)) and other.waited == 0
