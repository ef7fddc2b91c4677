"""Trainings that do not train say so, once, with numbers; ordinary ones say nothing."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train import errors
from pynq_train.errors import (
    ClippingWarning,
    DivergenceWarning,
    LabelWarning,
    NormalisationWarning,
    OutlierWarning,
    SaturationWarning,
    StandstillWarning,
)
from pynq_train.graph import Graph
from pynq_train.quant.loss import Loss
from pynq_train.run.formats import MASTER_LIMIT
from pynq_train.run.masters import Masters
from pynq_train.train import watch
from pynq_train.train.watch import LossWatch, check_classes, guessing

Data = tuple[np.ndarray, np.ndarray]
Said = list[warnings.WarningMessage]


def sgd(lr: float, **more: Any) -> pt.SGD:
    return pt.SGD(lr, schedule="constant", **more)


def heard(work: Callable[[], Any]) -> dict[type[Warning], str]:
    """Texts of the warnings of a piece of work, by class; each class comes once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        work()
    found = [(one.category, str(one.message)) for one in caught
             if one.category.__module__ == errors.__name__]
    assert len({category for category, _ in found}) == len(found)
    assert all(one.filename == __file__ for one in caught)  # the user's line, not ours
    return dict(found)


def fitted(net: Graph, data: Data, epochs: int = 3, **options: Any) -> dict[type[Warning], str]:
    return heard(lambda: pt.Learner(net, **{"batch": 8, **options}).fit(
        *data, epochs, progress=False))


def unlearnable(data: Data) -> Data:
    """The images, with labels that have nothing to do with them."""
    return data[0], np.random.default_rng(3).integers(0, 3, len(data[1]))


def normalised(rows: int, pool: bool = False) -> Graph:
    net = pt.Sequential((1, rows, rows), "normed").conv(4, 3, padding=1, bias=False)
    net = net.norm().relu()
    return (net.global_pool().norm() if pool else net).dense(3).build()


@pytest.mark.parametrize("options", [
    {}, {"loss": "mse", "optimizer": pt.SGD(0.02)}, {"normalise": True}, {"accumulate": 2},
    {"optimizer": pt.SGD(0.1, schedule="cosine", warmup_steps=0)}, {"trainable": "last-layer"},
    {"label_smoothing": 0.2}, {"batch": 1, "optimizer": pt.SGD(0.005)}])
def test_an_ordinary_training_says_nothing(net: Graph, data: Data, options: dict[str, Any]) -> None:
    assert fitted(net, data, 8, **options) == {}


def test_an_ordinary_training_with_normalisation_says_nothing(data: Data) -> None:
    assert fitted(normalised(6), data, 8, optimizer=pt.SGD(0.05)) == {}
    assert heard(lambda: pt.fit_float(normalised(6), *data, epochs=8, batch=8,
                                      optimizer=pt.SGD(0.05))) == {}


@pytest.mark.parametrize("loss", ["cross-entropy", "mse"])
def test_a_loss_that_explodes(net: Graph, data: Data, loss: str) -> None:
    said = fitted(net, unlearnable(data), loss=loss, optimizer=sgd(8.0))
    assert "found a rise from " in said[DivergenceWarning]
    assert "lower learning rate (SGD(lr=8))" in said[DivergenceWarning]


def test_a_trained_network_that_is_destroyed(net: Graph, data: Data) -> None:
    learner = pt.Learner(net, batch=8, optimizer=sgd(0.05))
    assert heard(lambda: learner.fit(*data, 12, progress=False)) == {}
    assert learner.history.epochs[-1].loss < 0.2
    learner.optimizer = sgd(2.0)
    x, y = unlearnable(data)
    assert DivergenceWarning in heard(lambda: learner.fit(x, y, 2, progress=False))


@pytest.mark.parametrize(("losses", "told"), [
    ([2.3, 2.2, 2.0, 1.5] * 8, False), ([0.05] * 16 + [0.4] * 16, False),
    ([0.05] * 16 + [1.5] * 16, True), ([2.3] * 8 + [9.0] * 24, True),
    ([2.3, 30.0] + [30.0] * 20, True), ([2.3] * 4 + [8.0] * 6 + [0.5] * 22, False),
    ([80.0] * 4 + [300.0] * 4 + [2.0] * 24, False), ([2.3, 2.5], False), ([2.3, 50.0], True)])
def test_which_losses_are_a_divergence(losses: list[float], told: bool) -> None:
    warned: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        look = LossWatch(Loss(classes=10), np.arange(100) % 10, "SGD", warned)
        for count in range(1, len(losses) + 1):
            look.step(losses[:count])
        look.epoch(losses)
    assert (warned == {"DivergenceWarning"}) is told


def test_a_loss_that_is_no_number_is_told_in_its_step() -> None:
    look = LossWatch(Loss(classes=10), np.arange(100) % 10, "SGD(lr=3)", set())
    with pytest.warns(DivergenceWarning, match=r"expected a finite loss, found nan in step 2: .*"
                      r"SGD\(lr=3\)"):
        look.step([2.3, float("nan")])


def test_float_training_whose_loss_overflows(data: Data) -> None:
    net = pt.Sequential((1, 6, 6)).dense(8).dense(8).dense(3).build()
    x = data[0] * np.float32(1e4)
    with np.errstate(all="ignore"):
        said = heard(lambda: pt.fit_float(net, x, data[1], epochs=40, batch=8, optimizer=sgd(8.0)))
    assert "found nan in step" in said[DivergenceWarning]


def test_the_loss_of_guessing() -> None:
    labels = np.array([0, 0, 0, 1])
    share = np.array([0.75, 0.25])
    assert guessing(Loss(classes=2), labels) == pytest.approx(-(share * np.log(share)).sum())
    # Of an answer a for class 0 and b for class 1: the best are their shares.
    a, b = np.meshgrid(np.linspace(0, 1, 101), np.linspace(0, 1, 101))
    errors_ = 0.75 * ((1 - a) ** 2 + b**2) / 2 + 0.25 * (a**2 + (1 - b) ** 2) / 2
    assert guessing(Loss("mse", classes=2), labels) == pytest.approx(errors_.min())
    soft = np.array([0.75 * 0.8 + 0.1, 0.25 * 0.8 + 0.1])
    assert guessing(Loss(smoothing=0.2, classes=2), labels) == pytest.approx(
        -(soft * np.log(soft)).sum())


def test_a_training_that_ends_where_it_began() -> None:
    draw = np.random.default_rng(1)
    x, y = draw.standard_normal((64, 1, 6, 6)).astype(np.float32), draw.integers(0, 3, 64)
    net = pt.Sequential((1, 6, 6)).conv(4, 3, padding=1).relu().pool().dense(3).build()
    # Images of noise 2**-9 of their brightness: all look the same.
    said = fitted(net, (np.float32(1) + x / 512, y), 4, optimizer=sgd(0.01))
    assert "found 1." in said[StandstillWarning] and "at the end of 32 steps: nothing has been " \
        "learnt" in said[StandstillWarning]


# -- weights ---------------------------------------------------------------------------------------

def test_clipped_masters_are_counted_by_layer(net: Graph, data: Data, tmp_path: Path) -> None:
    learner = pt.Learner(net, batch=8, optimizer=sgd(4.0))
    said = heard(lambda: learner.fit(*data, 2, progress=False))
    last = learner.history.epochs[-1]
    wanted = {}
    for name, own in learner.masters.items():
        assert own.bias is not None and own.bias_momentum is not None
        pairs = ((own.weight, own.weight_momentum), (own.bias, own.bias_momentum))
        wanted[name] = sum(int(((np.abs(w.astype(np.int64)) == MASTER_LIMIT)
                                | (np.abs(v.astype(np.int64)) == MASTER_LIMIT)).sum())
                           for w, v in pairs)
    assert last.clipped == {name: count for name, count in wanted.items() if count}
    assert last.clipped and "at these limits" in said[ClippingWarning]
    learner.save(tmp_path / "a.safetensors")
    assert pt.load(tmp_path / "a.safetensors", board="golden").history.epochs[-1] == last
    learner.report(tmp_path / "a.html")
    name, count = next(iter(last.clipped.items()))
    assert f"{count} of {name}" in (tmp_path / "a.html").read_text()


def test_what_counts_as_clipped() -> None:
    zero = np.zeros(4, np.int32)
    own = Masters(np.array([MASTER_LIMIT, -MASTER_LIMIT, MASTER_LIMIT - 1, 5], np.int32), zero,
                  np.array([1], np.int32), np.array([-MASTER_LIMIT], np.int32))
    assert (own.clipped, own.count) == (3, 5)
    assert replace(own, bias=None, bias_momentum=None).clipped == 2


def test_frozen_weights_at_the_limit_are_the_users(net: Graph, data: Data) -> None:
    params = pt.Learner(net).params
    params["conv1"].weight.flat[0] = np.float32(8)
    learner = pt.Learner(net, batch=8, optimizer=pt.SGD(0.02), trainable="last-layer")
    learner.set_params(params)
    assert heard(lambda: learner.fit(*data, 2, progress=False)) == {}
    assert learner.history.epochs[-1].clipped == {}


@pytest.mark.parametrize(("optimizer", "text"), [
    (sgd(0.0), "SGD(lr=0): expected a learning rate above 0"),
    (sgd(0.1, layer_lr={"*": 0}), "and look at layer_lr"),
    (sgd(1e-12), "expected weights that change, found none in 6 steps"),
    (sgd(1e-8), "moved by more than the rounding of the 16 bits")])
def test_rates_at_which_nothing_changes(net: Graph, data: Data, optimizer: pt.SGD,
                                        text: str) -> None:
    said = fitted(net, data, 1, optimizer=optimizer)
    assert list(said) == [StandstillWarning] and text in said[StandstillWarning]


def test_a_layer_that_gets_no_gradient_is_named(net: Graph, data: Data) -> None:
    learner = pt.Learner(net, batch=8, optimizer=pt.SGD(0.02))
    params = learner.params
    assert params["conv1"].bias is not None
    params["conv1"].bias[:] = -7.5  # its ReLU passes nothing
    learner.set_params(params)
    said = heard(lambda: learner.fit(*data, 1, progress=False))
    assert "found no weight of conv1 changed in 6 steps" in said[StandstillWarning]
    # What shall not learn is no news.
    learner = pt.Learner(net, batch=8, optimizer=pt.SGD(0.02, layer_lr={"conv1": 0}))
    learner.set_params(params)
    assert heard(lambda: learner.fit(*data, 1, progress=False)) == {}


def test_values_that_saturate_step_after_step(
        net: Graph, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = pt.Learner(net, batch=8, optimizer=pt.SGD(0.02))
    session: Any = learner._open()
    step = session.train_step
    monkeypatch.setattr(session, "train_step", lambda *given: replace(
        step(*given), tensors={"conv1.y": 7, "dense1.dx": 0}))
    said = heard(lambda: learner.fit(*data, 1, progress=False))
    assert "found 42 of conv1.y in 6 of 6 steps" in said[SaturationWarning]


def test_a_resumed_training_that_had_only_to_end_its_epoch_is_no_standstill(
        net: Graph, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = pt.Learner(net, batch=8, optimizer=pt.SGD(0.05))
    with monkeypatch.context() as patch:
        patch.setattr(watch.Watch, "epoch", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            learner.fit(*data, 2, progress=False)
    assert learner.steps == 6
    assert heard(lambda: learner.fit(*data, 2, progress=False, resume=True)) == {}
    assert len(learner.history.epochs) == 2


# -- normalisations --------------------------------------------------------------------------------

@pytest.mark.parametrize(("graph", "batch", "found"), [
    (normalised(6), 1, "36 a channel in a mini-batch (1 image of 36 pixels)"),
    (normalised(6, pool=True), 4, "4 a channel in a mini-batch (4 images of 1 pixel)"),
    (normalised(6, pool=True), 16, None), (normalised(6), 4, None)])
def test_normalisations_of_few_values(graph: Graph, batch: int, found: str | None,
                                      data: Data) -> None:
    options: dict[str, Any] = {"batch": batch, "optimizer": pt.SGD(0.005)}
    said = fitted(graph, data, 1, **options)
    floats = heard(lambda: pt.fit_float(graph, *data, **options))
    if found is None:
        assert said == floats == {}
    else:
        assert found in said[NormalisationWarning]
        assert said[NormalisationWarning] == floats[NormalisationWarning]


def test_a_normalisation_that_rests_measures_nothing(data: Data) -> None:
    said = fitted(normalised(6), data, 1, batch=1, trainable="last-layer",
                  optimizer=pt.SGD(0.005))
    assert NormalisationWarning not in said


def test_the_advised_mini_batch_is_enough() -> None:
    for pixels in range(1, 12):
        for batch in range(1, 12):
            warned: set[str] = set()
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                watch.check_values([("bn", pixels)], batch, warned)
            if caught:
                wanted = int(str(caught[0].message).split("use batch=")[1].split()[0])
                assert wanted > batch
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    watch.check_values([("bn", pixels)], wanted, set())


# -- labels and images -----------------------------------------------------------------------------

def test_classes_that_never_occur(net: Graph, data: Data) -> None:
    x, y = data
    said = fitted(net, (x, np.minimum(y, 1)), 1)
    assert "expected each of 3 classes, found none of 2: the network learns never to say it" in (
        said[LabelWarning])
    said = fitted(net, (x, y * 0 + 2), 1)
    assert "found 2 for all 52 images" in said[LabelWarning]
    assert LabelWarning in heard(lambda: pt.fit_float(net, x, np.minimum(y, 1), batch=8))


def test_labels_of_fewer_images_than_classes_are_no_news() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_classes(np.array([3, 3]), Loss(classes=10), set())


@pytest.mark.parametrize(("value", "options", "kind"), [
    (1e30, {}, errors.DataWarning), (1e30, {"normalise": True}, OutlierWarning),
    (-3e3, {}, OutlierWarning), (3e4, {"normalise": True}, OutlierWarning), (20.0, {}, None)])
def test_one_pixel_of_another_size(net: Graph, data: Data, value: float, options: dict[str, Any],
                                   kind: type[Warning] | None) -> None:
    x, y = data[0].copy(), data[1]
    x[17, 0, 3, 4] = value
    said = fitted(net, (x, y), 1, **options)
    found: dict[type[Warning], str] = {
        one: text for one, text in said.items() if issubclass(one, errors.DataWarning)}
    assert list(found) == ([] if kind is None else [kind])
    assert kind is None or "image 17 at (0, 3, 4)" in found[kind]


def test_images_of_many_zeros_have_no_outliers(net: Graph) -> None:
    draw = np.random.default_rng(2)
    x = np.zeros((48, 1, 6, 6), np.float32)
    y = draw.integers(0, 3, 48)
    x[np.arange(16), 0, 2 * y[:16], 3] = 1  # most images are black
    assert OutlierWarning not in fitted(net, (x, y), 1)


def test_once_for_each_learner(net: Graph, data: Data) -> None:
    x, y = data[0], data[1] * 0
    learner = pt.Learner(net, batch=8)
    assert LabelWarning in heard(lambda: learner.fit(x, y, progress=False))
    assert LabelWarning not in heard(lambda: learner.fit(x, y, progress=False))
    assert LabelWarning in fitted(net, (x, y), 1)
