"""What is asked of Keras' tensors and of constants in ONNX files, without the frameworks."""

from __future__ import annotations

import math
from types import SimpleNamespace as Made

import numpy as np
import pytest

from pynq_train.exchange import keras_import
from pynq_train.exchange.onnx_constants import _elements


@pytest.mark.parametrize("name", ["operation", "layer"])
def test_who_yields_a_tensor_in_keras_3_and_2(name: str) -> None:
    history = Made(**{name: "conv"}, node_index=1, tensor_index=2)
    assert keras_import._history(Made(_keras_history=history)) == ("conv", 1, 2)


def tensor(layer: object, node: int = 0, place: int = 0) -> Made:
    return Made(_keras_history=Made(operation=layer, node_index=node, tensor_index=place))


def test_outputs_of_a_call_by_their_place() -> None:
    layer = Made()
    found = {keras_import._key(tensor(layer)): [7, 8], keras_import._key(tensor(layer, 1)): [9]}
    assert len(found) == 2
    assert [keras_import._at(found, tensor(layer, 0, place)) for place in (0, 1)] == [7, 8]
    # One call, several outputs: that of the call, which is refused by its name.
    assert [keras_import._at(found, tensor(layer, 1, place)) for place in (0, 1, 2)] == [9, 9, 9]


@pytest.mark.parametrize("name", ["input_tensors", "keras_inputs"])
def test_inputs_of_a_call(name: str) -> None:
    first, second = tensor(Made()), tensor(Made())
    for value, found in (([first, second], [first, second]), ((first,), [first]), (first, [first]),
                         ([first, 3.0], [first])):
        layer = Made(_inbound_nodes=[None, Made(**{name: value})], get_weights=list)
        assert keras_import._inputs(tensor(layer, 1)) == (found, True)
    for args, whole in (([first], True), ([first, 2.0], False)):
        layer = Made(_inbound_nodes=[Made(**{name: first}, arguments=Made(args=args))])
        assert keras_import._inputs(tensor(layer)) == ([first], whole)
    layer = Made(_inbound_nodes=[Made(**{name: first})])
    assert keras_import._inputs(tensor(layer)) == ([first], True)


@pytest.mark.parametrize(("kind", "inputs", "most"), [
    ("ConstantOfShape", [[3, 4]], 12), ("ConstantOfShape", [[]], 1),
    ("ConstantOfShape", [[-3, 4]], 12), ("ConstantOfShape", [[0, 4]], 4),
    ("Expand", [[1, 2], [3, 2]], 12), ("Tile", [[[1, 2], [3, 4]], [2, 5]], 40),
    ("Tile", [[], [2, 5]], 10), ("Range", [0, 10, 2], 5), ("Range", [10, 0, -4], 2.5),
    ("Range", [0, 10, 0], math.inf), ("Range", [[], 10, 1], 10),
    ("Concat", [[1, 2], [3], [4, 5, 6]], 6), ("Gather", [[1, 2, 3], [0, 1]], 6),
    ("Gather", [[1, 2, 3], []], 3), ("Add", [[1, 2, 3], [[1], [2]]], 6)])
def test_how_many_values_a_constant_has_at_most(kind: str, inputs: list[object], most: float
                                                ) -> None:
    assert _elements(kind, [np.array(one, np.float32) for one in inputs]) == most
