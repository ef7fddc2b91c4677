"""SGD: schedules and refused values."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from reference_models.series_policy import series_params, start_series

import pynq_train as pt
from pynq_train.errors import BadInput, UnknownName
from pynq_train.graph import Graph
from pynq_train.quant.step import clip_shift
from pynq_train.train import SGD
from pynq_train.train.schedules import Chain, Constant, Cosine, Linear, Schedule, Steps, WarmUp

Data = tuple[np.ndarray, np.ndarray]


def test_rate_rises_over_the_warmup_and_falls_to_zero() -> None:
    sgd = SGD(lr=0.1, warmup_steps=10)
    rates = [sgd.rate(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.01) and max(rates) == pytest.approx(0.1)
    assert rates[10] == pytest.approx(0.1) and 0 < rates[-1] < 0.002
    assert sgd.rate(100, 100) == pytest.approx(0)


def test_warmup_is_a_quarter_of_a_short_training() -> None:
    assert SGD(lr=1.0, warmup_steps=50).rate(2, 8) == pytest.approx(1.0)


def test_cosine_matches_the_library_function() -> None:
    sgd = SGD(lr=1.0, schedule="cosine", warmup_steps=0)
    for step in range(101):
        wanted = 0.5 + 0.5 * math.cos(math.pi * step / 100)
        assert sgd.rate(step, 100) == pytest.approx(wanted, abs=1e-12)


def test_constant_stays() -> None:
    assert SGD(lr=0.3, schedule="constant", warmup_steps=0).rate(99, 100) == 0.3


def test_round_trip() -> None:
    sgd = SGD(lr=0.3, momentum=0.5, weight_decay=1e-4, schedule="cosine", warmup_steps=3)
    assert SGD.from_dict(sgd.to_dict()) == sgd


@pytest.mark.parametrize(("values", "text"), [
    ({"lr": float("nan")}, "lr: expected a number of 0 to 8, found nan"),
    ({"lr": -1}, "lr: expected a number of 0 to 8, found -1"),
    ({"momentum": 1.0}, "momentum: expected 0 to below 1, found 1.0"),
    ({"weight_decay": 0.5}, "weight_decay: expected a number of 0 to 0.03, found 0.5"),
    ({"warmup_steps": -1}, "warmup_steps: expected an integer of 0 or more, found -1"),
])
def test_bad_values_are_refused(values: dict[str, float], text: str) -> None:
    with pytest.raises(BadInput) as caught:
        SGD(**values)  # type: ignore[arg-type]
    assert str(caught.value) == text


def test_unknown_schedule_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'cosine'"):
        SGD(schedule="cosin")  # type: ignore[arg-type]


def test_step_schedule_drops_at_its_points() -> None:
    sgd = SGD(lr=1.0, schedule="step", warmup_steps=0)
    assert [sgd.rate(step, 8) for step in (0, 3, 4, 5, 6, 7)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01, 0.01])


def test_schedules_compose() -> None:
    both = Cosine(end=0.25) * Steps(at=(0.5,), drop=0.5)
    assert both.factor(0, 10) == 1.0
    assert both.factor(5, 10) == pytest.approx(0.5 * 0.625)
    chain = Chain(4, WarmUp(4), Linear())
    assert [chain.factor(step, 8) for step in range(8)] == [0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25]
    assert WarmUp(50, then=Constant(), most=0.25).factor(2, 8) == 1.0
    sgd = SGD(lr=0.5, schedule=chain, warmup_steps=0)
    assert sgd.rate(0, 8) == 0.125


@pytest.mark.parametrize("schedule", [
    "step", Cosine(end=0.1), Chain(3, WarmUp(2), Linear() * Steps(at=(0.2, 0.4), drop=0.3))])
def test_everything_survives_json(schedule: str | Schedule) -> None:
    sgd = SGD(lr=0.3, schedule=schedule, layer_lr={"conv*": 0.5, "*.bias": 2}, clip=0.3)
    back = SGD.from_dict(json.loads(json.dumps(sgd.to_dict())))
    assert back == sgd
    assert [back.rate(s, 9) for s in range(9)] == [sgd.rate(s, 9) for s in range(9)]


@pytest.mark.parametrize(("make", "text"), [
    (lambda: Linear(end=2), "end: expected a number of 0 to 1, found 2"),
    (lambda: Steps(at=(0.7, 0.5)), "at: expected rising parts of the training, above 0 and below "
     "1, found (0.7, 0.5)"),
    (lambda: WarmUp(-1), "steps: expected an integer of 0 or more, found -1"),
    (lambda: Chain(3, Linear(), "x"), "then: expected a schedule of pynq_train.schedules, found "
     "str"),
    (lambda: SGD(clip=0), "clip: expected a number of 9.094947017729282e-13 to 1048576.0, found 0"),
    (lambda: SGD(lr=4, layer_lr={"a": 3}), "layer_lr['a'] * lr: expected a number of 0 to 8, "
     "found 12"),
    (lambda: SGD(layer_lr={"a": "b"}), "layer_lr['a'] * lr: expected a number of 0 to 8, found "
     "'b'"),
    (lambda: SGD.from_dict({"schedule": {"kind": "Moon"}}), "unknown schedule 'Moon': expected one "
     "of Chain, Constant, Cosine, Linear, Product, Steps, WarmUp"),
    (lambda: SGD.from_dict({"schedule": {"kind": "Steps", "up": 1}}), "saved schedule is malformed "
     "(Steps.__init__() got an unexpected keyword argument 'up')"),
])
def test_refused_schedules(make: Callable[[], object], text: str) -> None:
    with pytest.raises(BadInput) as caught:
        make()
    assert str(caught.value) == text


def test_layer_rates_take_the_first_pattern() -> None:
    sgd = SGD(lr=0.1, layer_lr={"conv1": 0.5, "*.bias": 2.0, "conv*": 0.25})
    assert sgd.factors(["conv1", "conv2", "dense1"]) == ((0.5, 0.5), (0.25, 2.0), (1.0, 2.0))
    with pytest.raises(BadInput) as caught:
        sgd.factors(["conv1"])
    assert str(caught.value) == ("layer_lr: '*.bias' matches nothing that no pattern before it "
                                 "does: expected a name or pattern of conv1")


def test_layer_rates_reach_the_step_block() -> None:
    policy = start_series(("a", "b"), [0, 0])
    used = policy.exponents(4)
    plain = series_params(policy, used, SGD(lr=0.1, schedule="constant").at(9, 10))
    half = series_params(policy, used, SGD(lr=0.1, schedule="constant", layer_lr={"a": 0.5}).at(
        9, 10, ["a", "b"]))
    assert half.update_weights[1] == plain.update_weights[1]
    assert half.update_weights[0] == {**plain.update_weights[0],
                                      "lr_shift": plain.update_weights[0]["lr_shift"] + 1}


def test_layer_rates_follow_the_float_twin(net: Graph, data: Data) -> None:
    sgd = SGD(lr=0.1, layer_lr={"conv1.weight": 0.1, "dense1.bias": 4})
    fixed = pt.Learner(net, optimizer=sgd, batch=8).fit(*data, epochs=4, progress=False)
    twin = pt.fit_float(net, *data, epochs=4, optimizer=sgd, batch=8)
    even = pt.fit_float(net, *data, epochs=4, optimizer=SGD(lr=0.1), batch=8)
    assert np.allclose(fixed.batch_losses, twin.batch_losses, atol=0.01)
    assert not np.allclose(even.batch_losses, twin.batch_losses, atol=0.01)


def test_clipping_is_a_power_of_two_on_all_gradients() -> None:
    policy = start_series("abc", [0] * 3)
    policy.gradient = [[-9, -7], [-5], []]
    used = policy.exponents(4)
    bounds = [2.0 ** (e.dx + 15) for e in used.layers if e.dx]
    assert bounds == [2.0**-6, 2.0**-4]
    assert clip_shift(used, -4) == 0 and clip_shift(used, -7) == 3
    plain, clipped = (series_params(policy, used, SGD(clip=clip).at(0, 9))
                      for clip in (None, 2.0**-7 * 1.9))
    for one, other in zip((*plain.update_weights, *plain.update_bias),
                          (*clipped.update_weights, *clipped.update_bias)):
        assert other == {**one, "g_shift": one["g_shift"] + 3}


def test_clipped_gradients_stay_below_the_bound(net: Graph, data: Data) -> None:
    """The scaled gradient maps of every step; without clipping they are larger."""
    clip = 2.0**-9
    learner = pt.Learner(net, optimizer=SGD(lr=0.5, clip=clip), batch=8)
    session, largest, raw = learner._open(), [], []
    session.calibrate(data[0][:8], data[1][:8])
    for step in range(6):
        used = session.policy.exponents(8)
        at = slice(8 * step, 8 * step + 8)
        session.train_step(data[0][at], data[1][at], learner.optimizer.at(step, 9))
        codes = session._get("conv1.dy", np.int16).astype(np.float64)
        raw.append(np.abs(codes).max() * 2.0 ** used.layers[1].dx)
        largest.append(raw[-1] * 2.0 ** -clip_shift(used, -9))
    assert max(largest) <= clip < max(raw)


def test_a_loose_clip_changes_nothing(net: Graph, data: Data) -> None:
    losses = [pt.Learner(net, optimizer=SGD(lr=0.1, clip=clip), batch=8).fit(
        *data, epochs=2, progress=False).batch_losses for clip in (None, 8.0, 2.0**-12)]
    assert losses[0] == losses[1] != losses[2]


def test_the_float_twin_does_not_clip(net: Graph, data: Data) -> None:
    with pytest.raises(BadInput, match="fit_float: clip: expected None"):
        pt.fit_float(net, *data, epochs=1, optimizer=SGD(clip=1.0), batch=8)


def test_patterns_are_checked_when_they_are_given(net: Graph) -> None:
    with pytest.raises(BadInput, match="layer_lr: 'conv7' matches nothing"):
        pt.Learner(net, optimizer=SGD(layer_lr={"conv7": 0.1}))
    learner = pt.Learner(net)
    with pytest.raises(BadInput, match="layer_lr: 'conv7' matches nothing"):
        learner.optimizer = SGD(layer_lr={"conv7": 0.1})


@pytest.mark.parametrize("at", [0.5, (0.5,), [0.5], np.float64(0.5), np.array([0.5])])
def test_one_point_of_steps_needs_no_list(at: Any) -> None:
    steps = Steps(at=at, drop=0.25)
    assert [steps.factor(step, 8) for step in (0, 3, 4, 7)] == [1.0, 1.0, 0.25, 0.25]
    assert steps == Steps(at=(0.5,), drop=0.25)
