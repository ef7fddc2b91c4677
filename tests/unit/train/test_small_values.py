"""Weights and images that are too small for the engine's finest steps are announced, once."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import DataWarning, ModelWarning


def scaled(name: str, factor: float) -> pt.Model:
    learner = pt.Learner("digits")
    params = dict(learner.params)
    params[name] = replace(params[name], weight=params[name].weight * np.float32(factor))
    return pt.Model(learner.graph, params)


@pytest.mark.parametrize("name", ["conv1", "dense1"])
def test_weights_that_are_too_small(name: str) -> None:
    model = scaled(name, 2.0**-18)
    with pytest.warns(ModelWarning, match=f"at least 1.53e-05, found .*e-0[67] in {name}: the "
                      "engine reads weights in steps of 4.77e-07"):
        learner = pt.Learner(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner.set_params(model.params)  # once
        pt.Learner(scaled(name, 2.0**-8))
        pt.Learner(scaled(name, 0.0))


def test_weights_that_are_set(rng: np.random.Generator) -> None:
    learner = pt.Learner("digits")
    with pytest.warns(ModelWarning, match="multiply them, and divide the weights behind them"):
        learner.set_params(scaled("conv2", 1e-6).params)


def test_gamma_may_be_small() -> None:
    learner = pt.Learner("resnet20", batch=2)
    params = {name: replace(own, weight=own.weight * np.float32(1e-6))
              if own.variance is not None else own for name, own in learner.params.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error", ModelWarning)
        pt.Learner(pt.Model(learner.graph, params), batch=2)


def test_images_that_are_too_small(rng: np.random.Generator) -> None:
    images = rng.random((4, 1, 8, 8), np.float32)
    learner = pt.Learner("digits")
    with pytest.warns(DataWarning, match="images: expected some value of at least 1.53e-05 behind "
                      "mean and deviation, found .*e-07 at most"):
        learner.logits(images * np.float32(1e-6))
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        learner.logits(images * np.float32(2e-6))  # once
        pt.Learner("digits").logits(images * np.float32(1e-3))
        pt.Learner("digits").logits(images * np.float32(0))
