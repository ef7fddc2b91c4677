"""Frozen layers stay, and what is trainable trains with the bits of a training of everything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.check import verify
from pynq_train.check.random_branches import random_branched_net
from pynq_train.check.random_chains import random_chain
from pynq_train.errors import BadInput
from pynq_train.graph import Graph
from pynq_train.layers import fuse
from pynq_train.run import Masters
from pynq_train.schedule.specs.trainable import select

Data = tuple[np.ndarray, np.ndarray]
SGD = pt.SGD(lr=0.1, weight_decay=1e-3)


def one_step(graph: Graph, batch: int, train: str | tuple[str, ...]) -> dict[str, Masters]:
    rng = np.random.default_rng(batch)
    x = rng.standard_normal((batch, *graph.input_shape)).astype(np.float32)
    learner = pt.Learner(graph, optimizer=SGD, batch=batch, trainable=train)
    learner.fit(x, rng.integers(0, graph.classes, batch), progress=False)
    return learner.masters


def parts(masters: Masters) -> tuple[list[int], list[int]]:
    bias = [] if masters.bias is None or masters.bias_momentum is None else [
        *masters.bias.tolist(), *masters.bias_momentum.tolist()]
    return [*masters.weight.ravel().tolist(), *masters.weight_momentum.ravel().tolist()], bias


def check_first_step(graph: Graph, batch: int, train: str | tuple[str, ...]) -> None:
    before = pt.Learner(graph).masters
    whole, partly = one_step(graph, batch, "all"), one_step(graph, batch, train)
    layers = fuse(graph)
    for layer, trained in zip(layers, select(layers, train)):
        if layer.average or (not layer.kind.on_array and not layer.kind.normalises):
            assert layer.name not in whole  # it has no weights, or constant ones
            continue
        weight, bias = parts(partly[layer.name])
        wanted = parts(whole[layer.name]), parts(before[layer.name])
        assert weight == wanted[not trained.weights][0], f"{layer.name}.weight"
        assert bias == wanted[not trained.bias][1], f"{layer.name}.bias"


@pytest.mark.parametrize("train", ["last-layer", "last-block", "bias", "*.weight",
                                   ("conv1",), ("conv1.bias", "conv2.weight", "dense2")])
def test_first_step_equals_that_of_everything(train: str | tuple[str, ...]) -> None:
    check_first_step(pt.zoo.get("lenet5"), 3, train)


@pytest.mark.parametrize("seed", [50, 55, 57, 61, 66, 74, 82, 93])
def test_first_step_of_random_networks(seed: int) -> None:
    drawn = random_chain(seed)
    check_first_step(drawn.graph, drawn.batch, drawn.trainable)
    assert verify(drawn.graph, batch=drawn.batch, steps=1, board="golden", seed=seed,
                  trainable=drawn.trainable).mismatches == 0


def test_random_selections_meet_every_kind() -> None:
    drawn = [random_chain(seed).trainable for seed in range(50, 100)]
    assert {"last-layer", "last-block", "bias"} < set(drawn)
    assert any(isinstance(train, tuple) for train in drawn)
    assert all(random_chain(seed).trainable == "all" for seed in (0, 49, 100, 149))
    assert "norm" in [random_branched_net(seed).trainable for seed in range(100)]


def test_frozen_layers_stay_over_a_training(net: Graph, data: Data, tmp_path: Path) -> None:
    learner = pt.Learner(net, optimizer=SGD, batch=8, trainable="last-layer")
    before = learner.masters
    history = learner.fit(*data, epochs=3, progress=False)
    assert history.epochs[-1].loss < history.epochs[0].loss
    assert learner.masters["conv1"].same_bits(before["conv1"])
    assert not learner.masters["dense1"].same_bits(before["dense1"])
    learner.save(tmp_path / "m.safetensors")
    same = pt.load(tmp_path / "m.safetensors")
    assert same.trainable == "last-layer"
    assert same.evaluate(*data) == learner.evaluate(*data)


def test_a_trained_network_is_fine_tuned(net: Graph, data: Data, tmp_path: Path) -> None:
    """Momentum of what is frozen survives until it is trained again."""
    whole = pt.Learner(net, optimizer=SGD, batch=8)
    whole.fit(*data, epochs=1, progress=False)
    whole.save(tmp_path / "m.safetensors")
    tuned = pt.load(tmp_path / "m.safetensors", trainable=["dense1"])
    tuned.fit(*data, epochs=1, progress=False)
    assert tuned.masters["conv1"].same_bits(whole.masters["conv1"])
    assert tuned.masters["conv1"].weight_momentum.any()
    tuned.save(tmp_path / "n.safetensors")
    again = pt.load(tmp_path / "n.safetensors", trainable="all")
    again.fit(*data, epochs=1, progress=False)
    assert not again.masters["conv1"].same_bits(whole.masters["conv1"])


def test_refusals(net: Graph, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="trainable: nothing is called 'conv7'"):
        pt.Learner(net, trainable="conv7")
    with pytest.raises(BadInput, match="trainable='norm': expected a network with "
                       "normalisation"):
        pt.Learner(net, trainable="norm")


def test_fine_tuning_follows_the_float_twin(net: Graph, data: Data) -> None:
    """Same start, same order of images: batch losses agree step by step, frozen or not."""
    learner = pt.Learner(net, optimizer=SGD, batch=8)
    learner.fit(*data, epochs=2, progress=False)
    for train in ("last-layer", "conv1", "bias"):
        tuned = pt.Learner(net, optimizer=SGD, batch=8, trainable=train)
        tuned.set_params(learner.params)
        tuned.state.epochs = learner.state.epochs
        history = tuned.fit(*data, epochs=3, progress=False)
        twin = pt.fit_float(net, *data, epochs=3, optimizer=SGD, batch=8, params=learner.params,
                            trainable=train, epochs_before=learner.state.epochs)
        assert np.allclose(history.batch_losses, twin.batch_losses, atol=0.01), train
