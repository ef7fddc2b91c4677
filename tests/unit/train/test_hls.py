"""``board="hls-csim"``: the learner on the EF-Train kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.eftrain.csim import Kernel
from pynq_train.eftrain.latency import EfPass
from pynq_train.errors import BadInput, UnknownName
from pynq_train.graph import Graph, Sequential
from pynq_train.graph.reference import FloatTrainer

Data = tuple[np.ndarray, np.ndarray]
PLAIN = pt.SGD(lr=0.1, momentum=0.0)


def learner(net: Graph, batch: int = 8, optimizer: pt.SGD = PLAIN) -> pt.Learner:
    return pt.Learner(net, board="hls-csim", optimizer=optimizer, batch=batch)


def test_follows_float32_training_step_by_step(net: Graph, data: Data) -> None:
    history = learner(net).fit(*data, epochs=4, progress=False)
    twin = pt.fit_float(net, *data, epochs=4, optimizer=PLAIN, batch=8)
    assert np.allclose(history.batch_losses, twin.batch_losses, atol=2e-5)
    assert history.epochs[-1].loss < 0.7 * history.epochs[0].loss
    assert history.epochs[-1].accuracy == twin.epochs[-1].accuracy


def test_strides_many_tiles_and_two_dense_layers(data: Data) -> None:
    net = (Sequential((1, 6, 6), "odd").conv(9, 3, padding=1).relu().conv(13, 3, 2, 1, bias=False)
           .relu().pool().dense(14).relu().dense(3).build())
    trained = learner(net)
    losses = trained.fit(*data, epochs=3, progress=False).batch_losses
    assert np.allclose(losses, pt.fit_float(net, *data, epochs=3, optimizer=PLAIN,
                                            batch=8).batch_losses, atol=1e-4)
    logits = FloatTrainer(net, trained.params).logits(data[0])
    assert np.allclose(trained.logits(data[0]), logits, atol=1e-5)
    loss, accuracy = trained.evaluate(*data)
    assert accuracy == (trained.predict(data[0]) == data[1]).mean()
    wanted = FloatTrainer(net, trained.params).evaluate(*data)
    assert loss == pytest.approx(wanted[0], abs=1e-5)


def test_a_loss_that_is_no_number_ends_the_training(data: Data) -> None:
    net = Sequential((1, 6, 6))
    for _ in range(4):
        net = net.conv(8, 3, padding=1).relu()
    one = learner(net.dense(3).build(), optimizer=pt.SGD(8.0, momentum=0, schedule="constant"))
    text = "loss and weights behind a step: expected finite numbers"
    with np.errstate(all="ignore"), pytest.raises(BadInput, match=text):
        one.fit(data[0] * np.float32(1000), data[1], epochs=8, progress=False)
    assert all(np.isfinite(own.weight).all() for own in one.params.values())


@pytest.mark.medium
def test_reaches_the_accuracy_of_float32_on_digits(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    images = pt.load_digits()
    assert images.test is not None and images.train.y is not None
    one = pt.Learner("digits", board="hls-csim", optimizer=pt.SGD(lr=0.3, momentum=0.0),
                     normalise=True)
    one.fit(images.train.x, images.train.y, epochs=3, progress=False)
    found = one.evaluate(images.test.x, images.test.y).accuracy
    twin = pt.fit_float(one.graph, images.train.x, images.train.y, epochs=3,
                        optimizer=one.optimizer, validation_data=(images.test.x, images.test.y),
                        normalisation=one.normalisation).epochs[-1].val_accuracy
    assert twin is not None and found > 0.95 and abs(found - twin) < 0.01
    # Weights grew beyond the range that they began with: golden must know.
    one.save(tmp_path / "digits.safetensors")
    golden = pt.load(tmp_path / "digits.safetensors").evaluate(images.test.x, images.test.y)
    assert golden.loss == pytest.approx(one.evaluate(images.test.x, images.test.y).loss, rel=0.02)


def test_it_executes_no_programs(net: Graph, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[EfPass] = []
    original = Kernel._train

    def note(kernel: Kernel, kind: EfPass, *more: object) -> None:
        called.append(kind)
        original(kernel, kind, *more)  # type: ignore[arg-type]

    def refuse(*_: object) -> None:
        raise AssertionError("a backend was opened")

    monkeypatch.setattr(Kernel, "_train", note)
    monkeypatch.setattr("pynq_train.train.learner.open_backend", refuse)
    learner(net, 26).fit(*data, epochs=1, progress=False)
    step = [EfPass.FP, EfPass.FP, EfPass.BP, EfPass.WU, EfPass.WU]
    assert called == 2 * step


def test_checkpoint_goes_on_here_and_on_golden(net: Graph, data: Data, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    first = learner(net)
    first.fit(*data, epochs=2, progress=False)
    first.save(path)
    for board in ("hls-csim", "golden"):
        again = pt.load(path, board=board)
        assert np.allclose(again.logits(data[0]), first.logits(data[0]), atol=0.01)
        before = again.evaluate(*data).loss
        again.fit(*data, epochs=2, progress=False)
        assert again.evaluate(*data).loss < before


def test_a_failed_step_changes_nothing(net: Graph, data: Data,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    broken = learner(net)
    before = broken.params
    calls = []

    def fail(*_: object, **__: object) -> None:
        calls.append(1)
        raise OSError("no kernel")

    original = Kernel.update
    monkeypatch.setattr(Kernel, "update", lambda *a, **k: fail() if calls else (
        calls.append(0), original(*a, **k))[1])
    with pytest.raises(OSError, match="no kernel"):
        broken.fit(*data, epochs=1, progress=False)
    after = broken.params
    assert len(calls) == 2 and all((after[k].weight == before[k].weight).all() for k in before)


@pytest.mark.parametrize(("change", "text"), [
    ({"momentum": 0.9}, r"hls-csim: momentum: expected 0: EF-Train's update is plain SGD, found "
     r"0.9; use SGD\(momentum=0\)"),
    ({"momentum": 0.0, "weight_decay": 0.01}, r"hls-csim: weight_decay: expected 0: .* found 0.01"),
])
def test_plain_sgd_only(net: Graph, data: Data, change: dict[str, float], text: str) -> None:
    with pytest.raises(BadInput, match=text):
        learner(net, optimizer=pt.SGD(**change)).fit(*data, progress=False)  # type: ignore[arg-type]


def test_its_name_stands_among_the_boards(net: Graph) -> None:
    with pytest.raises(UnknownName, match=r"unknown board 'hls-cosim': .*hls-csim.*did you mean "
                       r"'hls-csim'\?"):
        pt.Learner(net, board="hls-cosim")


@pytest.mark.parametrize("change, train, text", [
    ({"clip": 1.0}, "all", r"hls-csim: clip: expected None"),
    ({"layer_lr": {"conv*": 0.5}}, "all", r"hls-csim: layer_lr: expected none: EF-Train has one"),
    ({}, "last-layer", r"hls-csim: trainable: expected 'all': EF-Train updates every layer, found "
                       r"layer 'conv1' frozen; use trainable='all'"),
])
def test_what_the_kernel_cannot_do_is_refused(net: Graph, data: Data, change: dict[str, Any],
                                              train: str, text: str) -> None:
    with pytest.raises(BadInput, match=text), pt.Learner(
            net, board="hls-csim", optimizer=pt.SGD(lr=0.1, momentum=0.0, **change),
            trainable=train) as learner:
        learner.fit(*data, epochs=1)


def test_layers_of_the_vector_unit_are_refused(data: Data) -> None:
    net = (Sequential((1, 6, 6), "wide").conv(4, 3).relu().max_pool(3, 1).dense(3).build())
    with pytest.raises(BadInput, match=r"hls-csim: layer 'pool1': expected a convolution or a "
                                       "dense layer, found pool; use another board"):
        learner(net).fit(*data, epochs=1, progress=False)
