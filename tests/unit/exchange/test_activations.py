"""Readers of foreign activations: names, numbers by name or place, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from pynq_train.exchange import activations
from pynq_train.exchange.activations import (
    KERAS_FUNCTIONS,
    KERAS_LAYERS,
    ONNX,
    TORCH_FUNCTIONS,
    TORCH_METHODS,
    TORCH_MODULES,
    Numbers,
    Reader,
)
from pynq_train.exchange.draft import Refused
from pynq_train.graph.activation import Relu, Relu6
from pynq_train.graph.curves import LeakyRelu
from pynq_train.graph.ops import Activate


def numbers(**named: Any) -> Numbers:
    return lambda name, place, default=None: named.get(name, default)


def listed(*given: Any) -> Numbers:
    """What is behind the tensor, which is number 0."""
    return lambda name, place, default=None: given[place - 1] if place <= len(given) else default


@pytest.mark.parametrize(("readers", "name", "number", "found"), [
    (ONNX, "Relu", numbers(), Relu()),
    (ONNX, "Clip", numbers(min=0), Relu()),
    (ONNX, "Clip", listed(0, 6), Relu6()),
    (TORCH_MODULES, "ReLU6", numbers(), Relu6()),
    (TORCH_MODULES, "Hardtanh", numbers(min_val=0, max_val=6), Relu6()),
    (TORCH_FUNCTIONS, "relu_", listed(), Relu()),
    (TORCH_FUNCTIONS, "hardtanh", listed(0, 6), Relu6()),
    (TORCH_METHODS, "relu", listed(), Relu()),
    (KERAS_FUNCTIONS, "relu6", numbers(), Relu6()),
    (KERAS_LAYERS, "ReLU", numbers(max_value=None, negative_slope=0.0), Relu()),
    (KERAS_LAYERS, "ReLU", numbers(max_value=6.0), Relu6()),
])
def test_what_is_read(readers: Mapping[str, Reader], name: str, number: Numbers,
                      found: Activate) -> None:
    assert readers[name](number) == found


@pytest.mark.parametrize(("readers", "name", "number", "why", "instead"), [
    (ONNX, "Clip", listed(-1, 1), "clips to -1 .. 1", "clip to 0 .. 6"),
    (TORCH_FUNCTIONS, "hardtanh", listed(), "clips to -1.0 .. 1.0", "use ReLU or ReLU6"),
    (KERAS_LAYERS, "ReLU", numbers(threshold=0.1), "has a threshold",
     "use a plain ReLU"),
    (KERAS_LAYERS, "ReLU", numbers(max_value=4), "ends at 4.0", "use max_value=6 or none"),
])
def test_what_is_refused(readers: Mapping[str, Reader], name: str, number: Numbers, why: str,
                         instead: str) -> None:
    with pytest.raises(Refused) as caught:
        readers[name](number)
    assert (caught.value.why, caught.value.instead) == (why, instead)


@pytest.mark.parametrize(("low", "top", "found"), [
    (0, None, Relu), (0.0, float("inf"), Relu), (0, 6.0, Relu6), (-1, 1, None), (0, 5.9, None),
    (None, None, None), (float("-inf"), float("inf"), None), (1, 6, None),
    (0, float("-inf"), Relu)])
def test_bounds_that_an_activation_has(low: Any, top: Any, found: Any) -> None:
    made = activations.between(low, top)
    wanted = {kind: (kind.activation.low, kind.activation.top)
              for kind in activations.ACTIVATIONS}
    bounds = tuple(None if one is None or np.isinf(one) else one for one in (low, top))
    assert (None if made is None else type(made)) == next(
        (kind for kind, own in wanted.items() if own == bounds), None)
    assert found is None or isinstance(made, found)


@pytest.mark.parametrize(("settings", "found"), [
    ({}, Relu), ({"max_value": None}, Relu), ({"max_value": 6}, Relu6),
    ({"negative_slope": 0.0, "threshold": 0}, Relu), ({"negative_slope": None}, Relu),
    ({"negative_slope": 0.1}, LeakyRelu), ({"threshold": 1.0}, None), ({"threshold": -1.0}, None),
    ({"negative_slope": 0.1, "threshold": 1.0}, None),
    ({"negative_slope": 2.5}, None), ({"negative_slope": 0.1, "max_value": 6.0}, None)])
def test_relus_of_keras(settings: dict[str, Any], found: Any) -> None:
    def number(name: str, place: int, default: Any = None) -> Any:
        return settings.get(name, default)

    if found is None:
        with pytest.raises(Refused) as caught:
            activations._keras_relu(number)
        assert caught.value.why in ("has a threshold", "has a slope of 2.5",
                                    "has a slope and an end")
    else:
        assert isinstance(activations._keras_relu(number), found)
