"""What is refused of ONNX nodes: one attribute or input from what is taken, above and below."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_onnx_patterns import CONV, X, node, refused, same, written
from test_small_nodes import around, tail

from pynq_train.exchange.draft import Draft
from pynq_train.exchange.onnx_nodes import NODES, Node
from pynq_train.exchange.values import Value
from pynq_train.exchange.windows import Refused

pytestmark = [pytest.mark.needs("onnx", "onnxruntime"),
              pytest.mark.filterwarnings("ignore::DeprecationWarning")]

ZERO, HALF = np.zeros(1, np.float32), np.full(1, 0.5, np.float32)
PADS = np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)
NONE = np.zeros(8, np.int64)


@pytest.mark.parametrize(("kind", "inputs", "attributes", "text"), [
    ("MaxPool", "c", {"kernel_shape": [2, 2], "dilations": [2, 2]}, "has dilations [2, 2]"),
    ("MaxPool", "c", {"kernel_shape": [2, 2], "dilations": [1, 2]}, "has dilations [1, 2]"),
    ("MaxPool", "c", {"kernel_shape": [2]}, "has kernel_shape [2]: give two numbers"),
    ("MaxPool", "c", {"kernel_shape": [2, 2], "strides": [2]}, "has strides [2]: give two"),
    ("ReduceMean", "c", {"axes": [1]}, "reduces axes [1]: reduce rows and columns"),
    ("ReduceMean", "c", {"axes": [2]}, "reduces axes [2]"),
    ("ReduceMean", "c", {"axes": [1, 2, 3]}, "reduces axes [1, 2, 3]"),
    ("ReduceMean", "c", {}, "reduces axes None"),
    ("Flatten", "c", {"axis": 2}, "flattens from axis 2: flatten from axis 1"),
    ("Flatten", "c", {"axis": 0}, "flattens from axis 0"),
    ("Flatten", "c", {"axis": -1}, "flattens from axis -1"),
    ("Transpose", "c", {"perm": [1, 0, 2, 3]}, "puts axes in the order [1, 0, 2, 3]"),
    ("Transpose", "c", {"perm": [0, 1, 2, 2]}, "puts axes in the order [0, 1, 2, 2]"),
    ("Transpose", "c", {"perm": [0, 1, 2]}, "puts axes in the order [0, 1, 2]"),
    ("Transpose", "c", {}, "puts axes in the order [3, 2, 1, 0]"),
    ("Pad", "c pads", {"mode": "reflect"}, "pads with something else than zeros"),
    ("Pad", "c pads", {"mode": "edge"}, "pads with something else than zeros"),
    ("Pad", "c pads half", {}, "pads with something else than zeros"),
    ("Concat", "c c", {"axis": 3}, "joins along axis 3: join channels, axis 1"),
    ("Concat", "c c", {"axis": 0}, "joins along axis 0"),
    ("Conv", "c w3d", {}, "reads (n, 4, 12, 12) as a sequence"),
    ("Conv", "c w5d", {}, "has weights of 5 axes"),
    ("Conv", "c w4", {"kernel_shape": [2, 2]}, "has kernel_shape [2, 2] and weights of [3, 3]")])
def test_one_thing_that_is_not_taken(kind: str, inputs: str, attributes: dict[str, Any], text: str,
                                     tmp_path: Path) -> None:
    arrays = {"pads": PADS, "half": HALF, "zero": ZERO, "axes": np.array([2, 3], np.int64),
              "w3d": np.zeros((4, 4, 3), np.float32), "w5d": np.zeros((4, 4, 3, 3, 3), np.float32),
              "w4": np.zeros((4, 4, 3, 3), np.float32)}
    used = {name: array for name, array in arrays.items() if name in inputs.split()}
    nodes = [node(kind, inputs, "d", **attributes), node("Relu", "d", "e")]
    assert text in refused(around(tmp_path, nodes, "e", used))


@pytest.mark.parametrize(("attributes", "text"), [
    ({"alpha": 2.0}, True), ({"alpha": 0.5}, True), ({"beta": 2.0}, True), ({"beta": 0.0}, True),
    ({"transA": 1}, True), ({"alpha": 1.0, "beta": 1.0, "transA": 0}, False)])
def test_scales_of_a_dense_layer(attributes: dict[str, Any], text: bool, tmp_path: Path) -> None:
    nodes, arrays = tail("c")
    last = node("Gemm", "flat w2 b", "y", transB=1, **attributes)
    path = written(tmp_path, [node("Conv", "x w", "c"), *nodes[:-1], last],
                   {"w": CONV, **arrays, "b": np.ones(3, np.float32)})
    if text:
        assert "has alpha, beta or transA: scale the weights themselves" in refused(path)
    else:
        same(path, X)


@pytest.mark.parametrize(("pads", "inputs", "arrays"), [
    ({}, "c pads zero", {"pads": PADS, "zero": ZERO}),
    ({"mode": "constant"}, "c none", {"none": NONE})])
def test_zeros_in_every_way_to_say_them(pads: dict[str, Any], inputs: str,
                                        arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    w3 = np.random.default_rng(6).normal(size=(4, 4, 3, 3)).astype(np.float32)
    nodes = [node("Pad", inputs, "p", **pads), node("Conv", "p w3", "d")]
    same(around(tmp_path, nodes, "d", {**arrays, "w3": w3}), X)


@pytest.mark.parametrize(("sizes", "taken"), [
    ([0, 0], True), ([0, -1], True), ([-1, 4], True), ([4, 0], False), ([0, 2, 2], False),
    ([0, 4, 0], True)])
def test_sizes_of_zero_are_copied(sizes: list[int], taken: bool, tmp_path: Path) -> None:
    w2 = np.random.default_rng(5).normal(size=(3, 4)).astype(np.float32)
    again = [node("Flatten", "r", "f")] if len(sizes) == 3 else [node("Identity", "r", "f")]
    nodes = [node("Conv", "x w", "c"), node("GlobalAveragePool", "c", "m"),
             node("Reshape", "m sizes", "r"), *again,
             node("Gemm", "f w2", "y", transB=1)]
    path = written(tmp_path, nodes, {"w": CONV, "w2": w2, "sizes": np.array(sizes, np.int64)})
    if taken:
        same(path, X)
    else:
        assert "reshapes" in refused(path)


def yielded(kind: str, arrays: dict[str, Any], source: Value, **attributes: Any) -> Value:
    """What a node of a newer or older release of the standard yields of a value."""
    from onnx import helper

    proto = helper.make_node(kind, ["c", *arrays], ["d"], name="d", **attributes)
    draft = Draft((4, 8, 8), "net", flat=False)
    made = NODES[kind](Node(proto, draft, {"c": source}, {
        name: np.asarray(array) for name, array in arrays.items()}, helper, Counter()))
    assert isinstance(made, Value)
    return made


MAP = Value("c", (4, 8, 8))


@pytest.mark.parametrize(("axes", "pads"), [
    ([2, 3], [1, 2, 3, 4]), ([-1, -2], [2, 1, 4, 3]), ([1, 2, 3], [0, 1, 2, 0, 3, 4])])
def test_zeros_along_named_axes(axes: list[int], pads: list[int]) -> None:
    some = yielded("Pad", {"pads": pads, "zero": ZERO, "axes": axes}, MAP)
    every = yielded("Pad", {"pads": [0, 0, 1, 2, 0, 0, 3, 4]}, MAP)
    assert some.pads == every.pads == (1, 2, 3, 4)
    assert yielded("Pad", {}, MAP, pads=[0, 0, 1, 2, 0, 0, 3, 4]).pads == every.pads
    last = replace(MAP, last=True)
    assert yielded("Pad", {"pads": [0, 1, 2, 0, 0, 3, 4, 0]}, last).pads == every.pads


@pytest.mark.parametrize(("arrays", "attributes", "text"), [
    ({"pads": [1] * 8, "zero": ZERO, "axes": [2, 3]}, {}, "give 4 numbers"),
    ({"pads": [1] * 4}, {}, "give 8 numbers"), ({}, {"pads": [0] * 10}, "give 8 numbers"),
    ({}, {"pads": [0, 0, 1, 1, 0, 0, 1, 1], "value": 0.5}, "pad with zeros"),
    ({}, {"pads": [0, 0, 1, 1, 0, 0, 1, 1], "value": -0.5}, "pad with zeros"),
    ({}, {"pads": 1}, "pad"), ({"pads": [0, 0, 0, 0, 0, 0, 0, -1]}, {}, "by 0 or more")])
def test_zeros_that_cannot_be_meant(arrays: dict[str, Any], attributes: dict[str, Any], text: str
                                    ) -> None:
    if attributes.get("pads") == 1:
        attributes = {"pads": [1]}
    with pytest.raises(Refused) as caught:
        yielded("Pad", arrays, MAP, **attributes)
    assert text in f"{caught.value.why}: {caught.value.instead}"


def test_a_joined_map_and_a_vector_have_no_room_for_zeros() -> None:
    joined = Value("c", (4, 8, 8), joined=True)
    count = 2 * (len(joined.dims) + 1)
    assert yielded("Pad", {"pads": [0] * count}, joined) == joined
    with pytest.raises(Refused, match="as a sequence"):
        yielded("Pad", {"pads": [*[0] * (count - 1), 1]}, joined)
    line = Value("c", (4, 1, 8), joined=True)
    assert yielded("Pad", {"pads": [*[0] * (count - 1), 1]}, line).dims == (4, 9)
    with pytest.raises(Refused, match="pads"):
        yielded("Pad", {"pads": [0, 1, 0, 0, 0, 0]}, line)
    flat = Value("c", (4, 1, 1), flat=True)
    assert yielded("Pad", {"pads": [0] * 4}, flat) == flat
    assert yielded("Pad", {"pads": [0, 2, 0, 1]}, flat).shape == (7, 1, 1)


@pytest.mark.parametrize(("allowzero", "taken"), [(0, True), (1, False)])
def test_a_size_of_zero_may_be_meant(allowzero: int, taken: bool) -> None:
    flat = Value("c", (4, 1, 1), flat=True)
    if taken:
        assert yielded("Reshape", {"sizes": [0, 0]}, flat, allowzero=allowzero) == flat
        return
    with pytest.raises(Refused, match="reshapes"):
        yielded("Reshape", {"sizes": [0, 0]}, flat, allowzero=allowzero)
