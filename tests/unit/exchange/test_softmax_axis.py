"""A softmax at the end is left out if it goes over the classes of an image, refused elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import BadInput
from pynq_train.exchange.values import Value, without_softmax
from pynq_train.exchange.windows import Refused

FLAT = Value("y", (3, 1, 1), flat=True)
PIXEL = Value("y", (3, 1, 1))
LAST = Value("y", (3, 1, 1), last=True)
MAP = Value("y", (3, 2, 1))
WRONG = "not over the classes of an image"


@pytest.mark.parametrize(("value", "axis"), [
    (FLAT, 1), (FLAT, -1), (FLAT, None), (PIXEL, 1), (PIXEL, -3), (LAST, -1), (LAST, 3),
    (MAP, None)])
def test_softmax_over_the_classes_is_left_out(value: Value, axis: int | None) -> None:
    assert without_softmax(value, axis, True, "node") is value


@pytest.mark.parametrize(("value", "axis"), [
    (FLAT, 0), (FLAT, -2), (FLAT, 2), (FLAT, -3), (PIXEL, 0), (PIXEL, -1), (PIXEL, 2), (LAST, 1),
    (MAP, 1)])
def test_softmax_over_another_axis_is_refused(value: Value, axis: int) -> None:
    with pytest.raises(Refused, match=f"goes over axis {axis} of what has .* axes, {WRONG}"):
        without_softmax(value, axis, True, "node")


@pytest.mark.oracle
@pytest.mark.parametrize("axis", [0, -2, 1, -1])
def test_pytorch(axis: int) -> None:
    import torch
    from torch import nn

    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.Softmax(axis)).eval()
    if axis in (1, -1):
        model = pt.from_torch(net, torch.zeros(1, 3, 2, 2))
        assert [op.kind for op in model.graph.ops] == ["flatten", "dense"]
    else:
        with pytest.raises(BadInput, match=WRONG):
            pt.from_torch(net, torch.zeros(1, 3, 2, 2))


@pytest.mark.oracle
@pytest.mark.parametrize("axis", [0, 1])
def test_onnx(axis: int, tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((12, 3), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["m"]),
         helper.make_node("Softmax", ["m"], ["y"], axis=axis)], "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 3, 2, 2))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("n", 3))], [weight])
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), path)
    if axis == 1:
        assert [op.kind for op in pt.from_onnx(path).graph.ops] == ["flatten", "dense"]
    else:
        with pytest.raises(BadInput, match=WRONG):
            pt.from_onnx(path)
