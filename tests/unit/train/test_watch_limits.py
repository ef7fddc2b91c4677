"""Where warnings of a training begin: just below each limit, and at it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.graph import (
    AvgPool,
    BatchNorm,
    Conv,
    Dense,
    GlobalAvgPool,
    Graph,
    MaxPool,
    Relu,
)
from pynq_train.hw.boards import BOARDS
from pynq_train.layers import fuse, init_params
from pynq_train.quant.loss import Loss
from pynq_train.run.formats import MASTER_LIMIT
from pynq_train.run.masters import Masters
from pynq_train.schedule.plan import make_plan
from pynq_train.schedule.specs.trainable import select
from pynq_train.train.watch import (
    LossWatch,
    Watch,
    check_classes,
    check_rate,
    check_values,
    guessing,
)

LABELS = np.arange(100) % 10
GUESSING = float(np.log(10))


def said(work: Callable[[set[str]], Any], warned: set[str] | None = None) -> str:
    """What a piece of work warns of; empty if of nothing."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        work(set() if warned is None else warned)
    return " / ".join(str(one.message) for one in caught)


def looked(call: str, losses: Sequence[float], warned: set[str] | None = None,
           labels: np.ndarray = LABELS) -> str:
    return said(lambda kinds: getattr(LossWatch(Loss(classes=10), labels, "SGD", kinds), call)(
        losses), warned)


# -- losses -------------------------------------------------------------------------

@pytest.mark.parametrize(("steps", "told"), [(31, False), (32, True), (33, False), (63, False),
                                             (64, True), (96, True)])
def test_losses_are_looked_at_every_32_steps(steps: int, told: bool) -> None:
    assert bool(looked("step", [1.0] + [50.0] * (steps - 1))) is told
    assert looked("epoch", [1.0] + [50.0] * (steps - 1))


@pytest.mark.parametrize(("times", "call", "steps"), [
    (2.0, "epoch", 8), (2.0, "epoch", 40), (4.0, "epoch", 7), (4.0, "epoch", 2),
    (4.0, "step", 32), (4.0, "step", 64)])
def test_how_far_a_loss_may_rise(times: float, call: str, steps: int) -> None:
    """By a factor that is larger in the first steps and in the middle of an epoch."""
    low = [2.0] * (steps // 2)
    high = [2.0 * times] * (steps - steps // 2)
    assert not looked(call, low + high)
    text = looked(call, low + [value * 1.01 for value in high])
    assert f"found a rise from 2 to {2.02 * times:.3g} in {steps} steps: it diverges" in text


def test_one_step_has_no_rise() -> None:
    assert not looked("epoch", [1e9])
    assert looked("epoch", [2.0, 1e9])


@pytest.mark.parametrize(("steps", "count"), [
    (2, 1), (7, 1), (8, 2), (11, 2), (12, 3), (63, 15), (64, 16), (67, 16), (200, 16)])
def test_means_are_of_a_quarter_of_the_steps(steps: int, count: int) -> None:
    """But of 16 at most, at both ends."""
    losses = [3.0 + 0.001 * step for step in range(steps)]
    losses[-count:] = [100.0 + step for step in range(count)]
    losses[0] = 20.0  # else the first loss is less than the mean
    began, now = np.mean(losses[:count]), np.mean(losses[-count:])
    assert f"found a rise from {began:.3g} to {now:.3g} in" in looked("epoch", losses)


@pytest.mark.parametrize(("first", "rest", "began"), [
    (1.0, 30.0, GUESSING), (5.0, 30.0, 5.0), (30.0, 1.0, None), (80.0, 30.0, None)])
def test_a_violent_start_hides_no_rise(first: float, rest: float, began: float | None) -> None:
    """The beginning counts no more than the first loss, or than guessing if that is more."""
    losses = [first] + [rest] * 15 + [200.0] * 48
    wanted = float(np.mean(losses[:16])) if began is None else began
    assert f"found a rise from {wanted:.3g} to 200 in" in looked("epoch", losses)


@pytest.mark.parametrize(("share", "told"), [(0.49, False), (0.51, True)])
def test_a_small_loss_may_rise(share: float, told: bool) -> None:
    """Up to half of that of guessing."""
    losses = [0.01 * GUESSING] * 16 + [share * GUESSING] * 48
    assert bool(looked("epoch", losses)) is told


@pytest.mark.parametrize(("steps", "share", "told"), [
    (23, 1.0, False), (24, 1.0, True), (24, 0.981, True), (24, 0.979, False), (400, 1.5, True)])
def test_guessing_at_the_end_is_a_standstill(steps: int, share: float, told: bool) -> None:
    losses = [9.0] * (steps - 16) + [share * GUESSING] * 16
    text = looked("end", losses)
    assert bool(text) is told
    if told:
        assert f"expected a loss below {GUESSING:.3g}, " in text
        assert f"found {share * GUESSING:.3g} at the end of {steps} steps" in text
        assert not looked("end", losses, {"DivergenceWarning"}), "that has been told"


def test_the_last_16_losses_count_at_the_end() -> None:
    assert not looked("end", [9.0] * 40 + [0.0] * 2 + [GUESSING] * 14)
    assert looked("end", [0.0] * 40 + [GUESSING] * 16)


def test_where_there_is_nothing_to_guess_nothing_stands_still() -> None:
    """Of one class, or of losses that are no numbers."""
    assert not looked("end", [0.0] * 30, labels=np.zeros(40, np.int64))
    assert not looked("end", [float("nan")] * 30)


def test_guessing_knows_classes_that_never_occur() -> None:
    """With smoothing they are a part of what is wanted."""
    labels = np.array([0, 0, 1])
    soft = np.array([2 / 3, 1 / 3, 0, 0]) * 0.8 + 0.05
    assert guessing(Loss(smoothing=0.2, classes=4), labels) == pytest.approx(
        -(soft * np.log(soft)).sum())
    assert guessing(Loss("mse", classes=4), labels) == pytest.approx(4 / 9 / 4)


# -- what is known before the first step --------------------------------------------

@pytest.mark.parametrize(("pixels", "batch", "wanted"), [
    (1, 8, 9), (2, 4, 5), (3, 2, 4), (8, 1, 4), (36, 1, 4), (7, 1, 4), (1, 1, 9), (2, 1, 5)])
def test_a_normalisation_wants_more_than_eight_values(pixels: int, batch: int, wanted: int
                                                      ) -> None:
    text = said(lambda warned: check_values([("bn", pixels)], batch, warned))
    assert f"use batch={wanted} or more" in text
    assert f"found {batch * pixels} a channel" in text
    assert f"{batch} image{'' if batch == 1 else 's'} of {pixels} pixel" in text
    assert ("pixels)" in text) is (pixels > 1)
    assert not said(lambda warned: check_values([("bn", pixels)], max(batch, wanted), warned))


def test_of_several_normalisations_the_smallest_counts() -> None:
    norms = [(f"n{at}", 1 + at) for at in range(12)]
    text = said(lambda warned: check_values(norms, 1, warned))
    assert "normalisation n0, n1, n2, n3, n4, n5, n6, n7 and 4 more: expected" in text
    assert "(1 image of 1 pixel)" in text
    text = said(lambda warned: check_values(norms[1:], 3, warned))
    assert text.startswith("normalisation n1: ") and "(3 images of 2 pixels)" in text


@pytest.mark.parametrize(("labels", "text"), [
    ([0, 1, 2, 0], ""), ([1, 2, 1], "none of a: the network learns never to say it; add such "
                         "images, or make a network of 2 classes"),
    ([1, 1], ""), ([1, 1, 1], "expected several classes, found 1 for all 3 images")])
def test_classes_without_images(labels: list[int], text: str) -> None:
    """As many images as classes might show all; fewer cannot."""
    found = said(lambda warned: check_classes(np.array(labels), Loss(classes=3), warned, ["a"]))
    assert text in found and bool(found) is bool(text)


def test_many_classes_without_images_are_counted() -> None:
    text = said(lambda warned: check_classes(np.arange(40) % 4, Loss(classes=14), warned))
    assert "found none of 4, 5, 6, 7, 8, 9, 10, 11 and 2 more: the network learns never to say " \
        "them; add such images, or make a network of 4 classes" in text


@pytest.mark.parametrize(("lr", "learns", "told"), [
    (0.1, True, False), (0.0, True, True), (0.1, False, True), (1e-9, True, False)])
def test_a_rate_of_zero(lr: float, learns: bool, told: bool) -> None:
    optimizer = pt.SGD(lr, schedule="constant")
    assert bool(said(lambda warned: check_rate(optimizer, learns, warned))) is told


# -- masters and saturations --------------------------------------------------------

LOSSES = [2.0] * 8


def watched(warned: set[str], trainable: str = "all", layer_lr: Mapping[str, float] | None = None,
            ) -> tuple[Watch, dict[str, Masters]]:
    """A watch of a network of two layers, and where its training begins: 40 and 510 values."""
    layers = fuse(pt.Sequential((1, 6, 6)).conv(4, 3).relu().pool().dense(30).build())
    plan = make_plan(layers, 4, BOARDS["pynq-z2"], trainable=select(layers, trainable))
    plan = replace(plan, loss=Loss(classes=30))
    optimizer = pt.SGD(0.1, schedule="constant", layer_lr=layer_lr or {})
    masters = {name: Masters.of(one) for name, one in init_params(layers, 0).items()}
    watch = Watch(plan, np.arange(60) % 30, optimizer, warned)
    watch.begin(masters)
    return watch, masters


def moved(own: Masters, weights: int = 0, biases: int = 0, by: int = 1 << 20) -> Masters:
    """Masters of which the first few values are others."""
    weight = own.weight.copy()
    weight.flat[:weights] += by
    assert own.bias is not None
    bias = own.bias.copy()
    bias[:biases] += by
    return replace(own, weight=weight, bias=bias)


def epoch(watch: Watch, masters: Mapping[str, Masters], steps: int = 8,
          saturations: Mapping[str, int] | None = None, saturating: int = 0,
          losses: Sequence[float] = LOSSES) -> dict[str, int]:
    for step in range(steps):
        found = saturations if saturations and step < saturating else {}
        watch.step(losses[: step + 1], found)
    return watch.epoch(losses, saturations or {}, masters)


@pytest.mark.parametrize(("steps", "saturating", "told"), [
    (8, 3, False), (8, 4, True), (16, 4, True), (20, 4, False), (20, 5, True), (3, 3, False)])
def test_a_quarter_of_the_steps_may_saturate(steps: int, saturating: int, told: bool) -> None:
    """Or three, whatever the number of steps."""
    def work(warned: set[str]) -> None:
        watch, masters = watched(warned)
        after = {name: moved(own, 30, 4) for name, own in masters.items()}
        epoch(watch, after, steps, {"conv1.y": 5, "dense1.y": 0}, saturating, [2.0] * steps)

    text = said(work)
    assert bool(text) is told
    assert not told or f"found 5 of conv1.y in {saturating} of {steps} steps:" in text
    assert not said(work, {"DivergenceWarning"}) and not said(work, {"OutlierWarning"})


def test_saturations_are_counted_by_epoch() -> None:
    def work(warned: set[str]) -> None:
        watch, masters = watched(warned)
        for number in range(3):
            after = {name: moved(own, 30, 4, 1 << 20 + number) for name, own in masters.items()}
            epoch(watch, after, 8, {"conv1.y": 5}, 3)

    assert not said(work)


def test_each_layer_that_learns_has_to_change() -> None:
    """In weights or biases, between the ends of two epochs."""
    def work(*changes: tuple[int, int], trainable: str = "all",
             layer_lr: Mapping[str, float] | None = None, losses: Sequence[float] = LOSSES
             ) -> str:
        def inner(warned: set[str]) -> None:
            watch, masters = watched(warned, trainable, layer_lr)
            after = {name: moved(own, *change)
                     for (name, own), change in zip(masters.items(), changes)}
            epoch(watch, after, losses=losses)
        return said(inner)

    assert not work((1, 0), (0, 1)) and not work((0, 1), (1, 0))
    assert "found no weight of conv1 changed in 8 steps" in work((0, 0), (1, 0))
    assert "found no weight of dense1 changed" in work((1, 0), (0, 0))
    assert "expected weights that change, found none in 8 steps" in work((0, 0), (0, 0))
    assert not work((0, 0), (0, 1), trainable="last-layer")
    assert not work((1, 0), (0, 0), layer_lr={"dense1": 0})
    assert "no weight of dense1" in work((1, 0), (1, 0), layer_lr={"dense1.weight": 0})
    assert "no weight of dense1" in work((1, 0), (0, 1), layer_lr={"dense1.bias": 0})
    # Where hardly any loss is left there is nothing to learn.
    guessed = float(np.log(30))
    assert not work((0, 0), (0, 0), losses=[0.0199 * guessed] * 8)
    assert work((0, 0), (0, 0), losses=[0.0201 * guessed] * 8)


def test_the_next_epoch_begins_where_the_last_one_ended() -> None:
    def work(warned: set[str]) -> None:
        watch, masters = watched(warned)
        after = {name: moved(own, 30, 4) for name, own in masters.items()}
        epoch(watch, after)
        epoch(watch, after)

    assert "expected weights that change, found none in 8 steps" in said(work)


@pytest.mark.parametrize(("weights", "told"), [(5, True), (6, False)])
def test_a_training_moves_one_weight_in_a_hundred(weights: int, told: bool) -> None:
    """Of 550 values that learn: by what the 16 bits show that are computed with."""
    def work(warned: set[str], below: int = 0) -> None:
        watch, masters = watched(warned)
        largest = int(np.abs(masters["dense1"].weight).max())
        step = 1 << largest.bit_length() - 15
        after = {"conv1": masters["conv1"],
                 "dense1": moved(masters["dense1"], weights, 0, step - below)}
        watch.epoch([2.0] * 8, {}, after)  # no step of its own: nothing else is looked at
        watch.end(LOSSES)

    text = said(work)
    assert bool(text) is told
    assert not told or f"found {weights} of 550 moved by more than the rounding" in text
    assert "found 0 of 550" in said(lambda warned: work(warned, 1))


def test_a_loss_that_is_done_moves_nothing() -> None:
    def work(warned: set[str], *losses: float) -> None:
        watch, _ = watched(warned)
        watch.end(losses)

    guessed = float(np.log(30))
    assert "found 0 of 550 moved" in said(lambda warned: work(warned, *[0.03 * guessed] * 20))
    assert not said(lambda warned: work(warned, 9.0, *[0.01 * guessed] * 16))
    assert said(lambda warned: work(warned, 9.0, *[0.01 * guessed] * 15))


def test_values_at_their_limit_are_told_where_they_learn() -> None:
    def work(warned: set[str], trainable: str, layer_lr: Mapping[str, float] | None = None
             ) -> dict[str, int]:
        watch, masters = watched(warned, trainable, layer_lr)
        after = {name: moved(own, 30, 4) for name, own in masters.items()}
        for own, count in zip(after.values(), (3, 2)):
            own.weight.flat[:count] = MASTER_LIMIT
        return epoch(watch, after)

    found: list[dict[str, int]] = []
    text = said(lambda warned: found.append(work(warned, "all")))
    assert found == [{"conv1": 3, "dense1": 2}]
    assert re.search(r"found 3 of conv1, 2 of dense1 at these limits \(of 550\)", text)
    text = said(lambda warned: found.append(work(warned, "last-layer")))
    assert found[1] == {"dense1": 2} and "found 2 of dense1 at these limits (of 510)" in text
    for part in ("weight", "bias"):  # a layer that learns in one of them may be at fault
        said(lambda warned, part=part: found.append(  # type: ignore[misc]
            work(warned, "all", {f"conv1.{part}": 0, "dense1": 0})))
        assert found[-1] == {"conv1": 3}


def test_layers_without_parameters_learn_nothing() -> None:
    """Averages and pools have constant masters, or none: they stand still, and that is right."""
    layers = fuse(Graph.build((4, 12, 12), [
        Conv(4, 3), Relu(), MaxPool(3, 1), AvgPool(2, 2), Conv(4, 3), BatchNorm(), Relu(),
        GlobalAvgPool(), Dense(3)]))
    plan = replace(make_plan(layers, 8, BOARDS["pynq-z2"]), loss=Loss(classes=3))
    masters = {name: Masters.of(one) for name, one in init_params(layers, 0).items()}
    assert len(masters) < len(layers)

    def work(warned: set[str]) -> None:
        watch = Watch(plan, np.arange(60) % 3, pt.SGD(0.1, schedule="constant"), warned)
        watch.begin(masters)
        epoch(watch, {name: moved(own, 4, 3) for name, own in masters.items()})
        watch.end(LOSSES)

    assert not said(work)
