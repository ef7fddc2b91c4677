"""Arguments of wrong types, NumPy's numbers, copies of learners, and the length of a life."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import BadInput
from pynq_train.graph import Graph
from pynq_train.train.history import EPOCHS_KEPT, LOSSES_KEPT

X = np.random.default_rng(0).standard_normal((24, 1, 6, 6)).astype(np.float32)
Y = np.arange(24) % 3


@pytest.mark.parametrize(("given", "text"), [
    ({"batch": np.array([1, 2])}, "batch: expected 1..4096 images"),
    ({"board": 5}, "board: expected a name"), ({"normalise": "no"}, "normalise: expected True or"),
    ({"seed": 10**30}, "seed: expected an integer"), ({"accumulate": True}, "accumulate: expected"),
    ({"loss": []}, r"unknown loss \[\]")])
def test_learner_refuses(net: Graph, given: dict[str, Any], text: str) -> None:
    with pytest.raises(BadInput, match=text):
        pt.Learner(net, **{"batch": 8, **given})


@pytest.mark.parametrize(("given", "text"), [
    ({"validation_data": (X,)}, r"validation_data: expected a pair .* found tuple of 1"),
    ({"validation_data": 5}, "validation_data: expected a pair"),
    ({"checkpoint": 5}, "checkpoint: its path: expected a path, found 5"),
    ({"checkpoint": "a\0b"}, "checkpoint: its path: expected a name without zero"),
    ({"epochs": 10**30}, "epochs: expected an integer"),
    ({"x": [X[0], X[1][:, :4]]}, "images: expected an array of numbers")])
def test_fit_refuses(net: Graph, given: dict[str, Any], text: str) -> None:
    with pytest.raises(BadInput, match=text):
        pt.Learner(net, batch=8).fit(**{"x": X, "y": Y, "progress": False, **given})


@pytest.mark.parametrize("params", [None, [], {"conv1": 5}])
def test_set_params_refuses(net: Graph, params: Any) -> None:
    with pytest.raises(BadInput, match="params: expected LayerParams by layer name"):
        pt.Learner(net, batch=8).set_params(params)


@pytest.mark.parametrize("given", [{"lr": "1"}, {"schedule": []}, {"layer_lr": 5},
                                   {"layer_lr": {1: 1.0}}, {"warmup_steps": 10**30}])
def test_optimizer_refuses(given: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        pt.SGD(**given)


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    net = pt.Sequential(np.array([1, 6, 6])).conv(np.int64(4), np.int8(3), padding=np.uint8(1))
    graph = net.relu().dense(np.int32(3)).build()
    sgd = pt.SGD(np.float32(0.25), momentum=np.float64(0.5), warmup_steps=np.int8(0),
                 layer_lr={"conv1": np.float16(0.5)})
    learner = pt.Learner(graph, batch=np.int64(8), seed=np.int16(3), accumulate=np.uint8(1),
                         label_smoothing=np.float16(0.25), optimizer=sgd)
    learner.fit(X, Y, epochs=np.int64(1), progress=False, checkpoint=tmp_path / "m",
                checkpoint_every=np.int64(2))
    same = pt.load(tmp_path / "m")
    assert isinstance(same, pt.Learner) and same.graph == learner.graph
    assert same.optimizer == pt.SGD(0.25, momentum=0.5, warmup_steps=0, layer_lr={"conv1": 0.5})


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy,
                                  lambda one: pickle.loads(pickle.dumps(one))])
@pytest.mark.parametrize("used", [False, True])
def test_copies_go_on_by_themselves(net: Graph, make: Callable[[Any], Any], used: bool) -> None:
    learner = pt.Learner(net, batch=8, trainable=["dense1"], loss="mse", normalise=True)
    if used:
        learner.fit(X, Y, progress=False)
    other = make(learner)
    steps = learner.steps
    other.fit(X, Y, progress=False)
    assert learner.steps == steps and other.steps == steps + 3
    learner.fit(X, Y, progress=False)
    assert np.array_equal(learner.logits(X), other.logits(X)) and other.loss == "mse"
    assert all(other.masters[name].same_bits(own) for name, own in learner.masters.items())


def test_a_long_life_fits_into_a_small_file(net: Graph, tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pynq_train.train.history.TENSOR_BYTES", 2000)
    learner = pt.Learner(net, batch=8)
    learner.fit(X, Y, progress=False)
    epoch = learner.history.epochs[0]
    learner.history.epochs[:] = [dataclasses.replace(epoch, epoch=n) for n in range(1, 20_001)]
    learner.history.batch_losses[:] = [float(n) for n in range(100_000)]
    learner.save(tmp_path / "m")
    assert (tmp_path / "m").stat().st_size < 600_000
    history = pt.Learner.load(tmp_path / "m").history
    assert [e.epoch for e in history.epochs] == list(range(20_001 - EPOCHS_KEPT, 20_001))
    assert history.epochs[-1] == learner.history.epochs[-1] and not history.epochs[0].tensors
    assert history.batch_losses == learner.history.batch_losses[-LOSSES_KEPT:]
