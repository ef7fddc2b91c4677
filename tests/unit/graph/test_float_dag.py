"""The float32 trainer on graphs with branches, against plain loops in float64."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from reference_models import naive_graph
from reference_models.dag_nets import NETWORKS, batch, random_params

from pynq_train.errors import BadInput, UnknownName
from pynq_train.graph import BatchNorm, Conv, Dense, Dropout, Graph, LayerParams
from pynq_train.graph.reference import FloatTrainer
from pynq_train.layers import init_params

FIELDS = ("weight", "bias")


def moved(params: dict[str, LayerParams], name: str, field: str, index: tuple[int, ...],
          by: float) -> dict[str, LayerParams]:
    array = getattr(params[name], field).astype(np.float64)
    array[index] += by
    return {**params, name: replace(params[name], **{field: array})}


@pytest.mark.parametrize("name", list(NETWORKS))
def test_gradients_match_numeric_differentiation(name: str, rng: np.random.Generator) -> None:
    graph = NETWORKS[name]
    params = random_params(graph, rng)
    x, y = batch(graph, rng, 4)
    model = FloatTrainer(graph, params, label_smoothing=0.1, seed=9)
    result, grads = model.gradients(x, y)

    def loss(changed: dict[str, LayerParams]) -> float:
        return naive_graph.softmax_loss(naive_graph.run(graph, changed, x, seed=9), y, 0.1)

    assert result.loss == pytest.approx(loss(params), rel=1e-4)
    assert grads.keys() == params.keys()
    for layer in params:
        for field in FIELDS:
            array = getattr(params[layer], field)
            if array is None:
                continue
            for flat in rng.choice(array.size, min(array.size, 5), replace=False):
                index = np.unravel_index(flat, array.shape)
                up, down = (loss(moved(params, layer, field, index, by)) for by in (1e-6, -1e-6))
                got = float(getattr(grads[layer], field)[index])
                assert got == pytest.approx((up - down) / 2e-6, rel=3e-3, abs=3e-5), (layer, field)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_evaluation_uses_running_statistics_and_drops_nothing(
        name: str, rng: np.random.Generator) -> None:
    graph = NETWORKS[name]
    params = random_params(graph, rng)
    x, _ = batch(graph, rng, 3)
    np.testing.assert_allclose(FloatTrainer(graph, params).logits(x),
                               naive_graph.run(graph, params, x, training=False),
                               rtol=1e-4, atol=1e-5)


def test_running_statistics_move_in_a_step_only(rng: np.random.Generator) -> None:
    graph = Graph.build((2, 3, 3), [BatchNorm(0.25), BatchNorm(frozen=True), Dense(2)])
    params = random_params(graph, rng)
    x, y = batch(graph, rng, 5)
    model = FloatTrainer(graph, params)
    model.gradients(x, y)
    for name, p in model.params.items():
        assert np.array_equal(p.mean, params[name].mean) or name == "dense1"
    model.step(x, y)
    after, before = model.params["bn1"], params["bn1"]
    assert before.mean is not None and before.variance is not None
    np.testing.assert_allclose(after.mean, 0.75 * before.mean + 0.25 * x.mean((0, 2, 3)),
                               rtol=1e-5)
    np.testing.assert_allclose(after.variance, 0.75 * before.variance
                               + 0.25 * x.var((0, 2, 3), ddof=1), rtol=1e-5)
    assert np.array_equal(model.params["bn2"].mean, params["bn2"].mean)
    assert not np.array_equal(model.params["bn2"].weight, params["bn2"].weight)


def test_every_step_drops_others_and_repeats(rng: np.random.Generator) -> None:
    graph = Graph.build((1, 20, 20), [Dropout(0.5), Dense(2)])
    params = random_params(graph, rng)
    x, y = batch(graph, rng, 2)
    first, second = FloatTrainer(graph, params, lr=0, seed=3), FloatTrainer(graph, params, lr=0,
                                                                            seed=3)
    losses = [first.step(x, y).loss for _ in range(4)]
    assert len(set(losses)) == 4
    assert [second.step(x, y).loss for _ in range(4)] == losses
    assert FloatTrainer(graph, params, lr=0, seed=4).step(x, y).loss != losses[0]


def test_decay_spares_biases_and_normalisations(rng: np.random.Generator) -> None:
    graph = Graph.build((2, 4, 4), [Conv(3, 3), BatchNorm(), Dense(2)])
    params = random_params(graph, rng)
    x, y = batch(graph, rng, 3)
    plain, decayed = FloatTrainer(graph, params, 0.1), FloatTrainer(graph, params, 0.1, 0.9, 0.01)
    plain.step(x, y)
    decayed.step(x, y)
    for name, p in plain.params.items():
        q = decayed.params[name]
        want = p.weight - (0 if name == "bn1" else 0.1 * 0.01 * params[name].weight)
        np.testing.assert_allclose(q.weight, want, rtol=1e-5, atol=1e-7)
        np.testing.assert_array_equal(q.bias, p.bias)


def test_factors_of_the_rate_and_frozen_parts(rng: np.random.Generator) -> None:
    graph = Graph.build((2, 4, 4), [Conv(3, 3), BatchNorm(), Dense(2)])
    params = random_params(graph, rng)
    x, y = batch(graph, rng, 3)
    plain, other = FloatTrainer(graph, params, 0.1), FloatTrainer(graph, params, 0.1)
    plain.step(x, y)
    other.step(x, y, factors={"conv1": (0.5, None), "bn1": (None, 2.0)})
    for name, weight, bias in (("conv1", 0.5, 0), ("bn1", 0, 2), ("dense1", 1, 1)):
        for field, factor in (("weight", weight), ("bias", bias)):
            start, full, got = (getattr(p[name], field) for p in (params, plain.params,
                                                                  other.params))
            np.testing.assert_allclose(got - start, factor * (full - start), rtol=1e-3, atol=1e-6)


def test_squared_error(rng: np.random.Generator) -> None:
    graph = NETWORKS["norm"]
    params = random_params(graph, rng)
    x, y = batch(graph, rng, 4)
    model = FloatTrainer(graph, params, loss="mse")
    wanted = np.eye(3)[y]

    def loss(changed: dict[str, LayerParams]) -> float:
        return float(np.square(naive_graph.run(graph, changed, x) - wanted).mean())

    by_label, grads = model.gradients(x, y)
    by_value, same = model.gradients(x, wanted)
    assert by_label.loss == pytest.approx(by_value.loss, rel=1e-6)
    assert by_label.loss == pytest.approx(loss(params), rel=1e-4)
    for index in ((0, 3), (2, 50)):
        up, down = (loss(moved(params, "dense1", "weight", index, by)) for by in (1e-6, -1e-6))
        got = grads["dense1"].weight[index]
        assert got == same["dense1"].weight[index]
        assert got == pytest.approx((up - down) / 2e-6, rel=2e-3, abs=1e-6)
    mean, accuracy = model.evaluate(x, wanted, batch=3)
    assert mean == pytest.approx(np.square(model.logits(x) - wanted).mean(), rel=1e-5)
    assert math.isnan(accuracy)  # of numbers
    assert model.evaluate(x, y, batch=3)[1] == (model.logits(x).argmax(1) == y).mean()


def test_refused_losses_and_labels(rng: np.random.Generator) -> None:
    graph = NETWORKS["norm"]
    params = init_params(graph, 0)
    x, y = batch(graph, rng, 4)
    with pytest.raises(UnknownName, match="unknown loss 'hinge': expected one of binary-cross"):
        FloatTrainer(graph, params, loss="hinge")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="label_smoothing: expected a number of 0 to below"):
        FloatTrainer(graph, params, label_smoothing=1)
    with pytest.raises(BadInput, match=r"labels: expected shape \(4,\), found \(4, 3\)"):
        FloatTrainer(graph, params).gradients(x, np.eye(3)[y])
    with pytest.raises(BadInput, match=r"expected shape \(4,\) or shape \(4, 3\), found \(4, 2\)"):
        FloatTrainer(graph, params, loss="mse").gradients(x, np.zeros((4, 2)))


def test_parameters_of_normalisations_are_checked(rng: np.random.Generator) -> None:
    graph = NETWORKS["norm"]
    params = random_params(graph, rng)
    norm = params["bn1"]
    for bad, text in (
            (replace(norm, mean=None), "bn1: mean: expected one, found none"),
            (replace(norm, variance=norm.variance[:2]), r"bn1: variance: expected shape \(4,\)"),
            (replace(norm, variance=-norm.variance), "bn1: variance: expected 0 or more, found -")):
        with pytest.raises(BadInput, match=text):
            FloatTrainer(graph, {**params, "bn1": bad})
    with pytest.raises(BadInput, match="dense1: mean: expected none, found one"):
        FloatTrainer(graph, {**params, "dense1": replace(params["dense1"], mean=norm.mean)})
