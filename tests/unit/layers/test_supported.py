"""Numbers that the engine's masters hold, and models whose parameters do not learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import BadInput, UnsupportedModel
from pynq_train.layers import init_params
from pynq_train.layers.supported import MASTER_RANGE, value_problems
from pynq_train.run.formats import from_master, to_master

GRAPH = pt.Graph.build((1, 6, 6), [pt.Conv(2, 3, name="c"), pt.BatchNorm(name="n"),
                                   pt.Dense(3, name="d")])


def test_the_range_is_that_of_the_masters() -> None:
    largest = float(from_master(to_master(np.array([1e9])))[0])
    assert largest == pytest.approx(MASTER_RANGE)
    assert float(from_master(to_master(np.array([7.999])))[0]) == pytest.approx(7.999)


def test_numbers_out_of_range_are_named_by_layer_and_part() -> None:
    params = dict(init_params(GRAPH, 0))
    assert not [text for name, own in params.items() for text in value_problems(name, own)]
    for name, part, value, text in (
            ("c", "weight", 8.1, "c (weight) holds 8.1, and the engine's masters -8 to 8: divide "
             "its weights and biases by 2 and"), ("n", "weight", -100.0, "n (weight) holds 100, "),
            ("n", "bias", 9.0, "n (bias) holds 9"),
            ("d", "bias", float("nan"), "d (bias) holds NaN"),
            ("n", "mean", float("inf"), "n (mean) holds NaN or infinity")):
        array = np.array(getattr(params[name], part))
        array.reshape(-1)[0] = value
        (found,) = value_problems(name, replace(params[name], **{part: array}))
        assert found.startswith(text)
    full = replace(params["c"], weight=np.full_like(params["c"].weight, -8))
    assert not value_problems("c", full), "the largest master, as float32"
    wide = replace(params["n"], mean=params["n"].mean + 1e6, variance=params["n"].variance * 1e9)
    assert not value_problems("n", wide), "running statistics may be of any size"


def test_a_learner_refuses_a_model_that_it_would_clamp() -> None:
    params = dict(init_params(GRAPH, 0))
    params["c"] = replace(params["c"], weight=params["c"].weight * 100)
    with pytest.raises(UnsupportedModel, match=r"model 'network' has 1 parameter .*c \(weight\)"):
        pt.Learner(pt.Model(GRAPH, params))


def test_frozen_parameters_of_a_model() -> None:
    params = init_params(GRAPH, 0)
    assert pt.Model(GRAPH, params).trainable == "all"
    model = pt.Model(GRAPH, params, frozen=frozenset({"c.bias", "n.weight", "n.bias"}))
    assert model.trainable == ("c.weight", "d")
    assert pt.Learner(model, batch=4).trainable == ("c.weight", "d")
    assert pt.Learner(model, batch=4, trainable="last-layer").trainable == "last-layer"
    assert pt.Learner(model, batch=4, trainable="*").trainable == "*"
    with pytest.raises(BadInput, match=r"frozen: expected names of parameters: .*, found d\.gamma"):
        pt.Model(GRAPH, params, frozen=frozenset({"d.gamma"}))
