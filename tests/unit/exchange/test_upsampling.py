"""Nearest upsampling in foreign formats: what is one, and what only looks like one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import UnsupportedModel
from pynq_train.graph import Conv, Dense, Graph, Upsample
from pynq_train.graph.reference import FloatTrainer
from pynq_train.layers import init_params


def resized(folder: Path, kind: str, inputs: list[str], arrays: dict[str, np.ndarray],
            opset: int = 13, **attributes: Any) -> Path:
    """Write a file of a Resize or Upsample node and a dense layer behind it."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(3)
    arrays = {"w": rng.normal(size=(2 * 8 * 12, 3)).astype(np.float32), **arrays}
    nodes = [helper.make_node(kind, ["x", *inputs], ["u"], name="grow", **attributes),
             helper.make_node("Flatten", ["u"], ["f"]),
             helper.make_node("MatMul", ["f", "w"], ["y"])]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 2, 4, 6))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)],
                                ir_version=8), folder / "m.onnx")
    return folder / "m.onnx"


def same_as_runtime(path: Path, rng: np.random.Generator) -> None:
    import onnxruntime

    x = rng.normal(size=(3, 2, 4, 6)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    model = pt.from_onnx(path)
    assert [op.factor for op in model.graph.ops if isinstance(op, Upsample)] == [2]
    np.testing.assert_allclose(FloatTrainer(model.graph, model.params).logits(x),
                               session.run(None, {"x": x})[0], rtol=1e-4, atol=1e-5)


TWICE = {"s": np.array([1, 1, 2, 2], np.float32)}
SIZES = {"z": np.array([3, 2, 8, 12], np.int64)}


@pytest.mark.needs("onnx", "onnxruntime")
@pytest.mark.parametrize("attributes", [
    {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "round_prefer_floor"},
    {"coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_ceil"},
    {"coordinate_transformation_mode": "pytorch_half_pixel"}, {}])
def test_resize_by_scales(tmp_path: Path, rng: np.random.Generator, attributes: Any) -> None:
    same_as_runtime(resized(tmp_path, "Resize", ["", "s"], TWICE, mode="nearest", **attributes),
                    rng)


@pytest.mark.needs("onnx", "onnxruntime")
def test_resize_of_some_axes_and_upsample(tmp_path: Path, rng: np.random.Generator) -> None:
    scales = {"s": np.array([2, 2], np.float32)}
    same_as_runtime(resized(tmp_path, "Resize", ["", "s"], scales, 18, axes=[2, 3]), rng)
    same_as_runtime(resized(tmp_path, "Upsample", ["s"], TWICE, 9, mode="nearest"), rng)


@pytest.mark.needs("onnx")
@pytest.mark.parametrize(("arrays", "attributes", "why"), [
    (TWICE, {"mode": "cubic"}, "has mode cubic: use mode nearest or linear"),
    (TWICE, {"mode": "linear", "coordinate_transformation_mode": "asymmetric"},
     r"takes its pixels by asymmetric: use half_pixel \(align_corners=False\)"),
    (TWICE, {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
     r"enlarges 4x6 to 8x12 with align_corners: .*or a size of factor \* \(size - 1\) \+ 1"),
    ({"s": np.array([1, 1, 2, 1], np.float32)}, {"mode": "linear"}, "enlarges 4x6 to 8x6: enlarge"),
    (TWICE, {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "ceil"},
     "takes its pixels by asymmetric and ceil, not each 2 times"),
    (TWICE, {"coordinate_transformation_mode": "align_corners"},
     "takes its pixels by align_corners"),
    ({"s": np.array([1, 1, 2, 3], np.float32)}, {}, "multiplies rows by 2 and columns by 3"),
    ({"s": np.array([1, 1, 1.5, 1.5], np.float32)}, {}, r"multiplies rows by 1\.5"),
    ({"s": np.array([1, 2, 2, 2], np.float32)}, {}, "enlarges something else than rows"),
    ({"s": np.array([2, 2], np.float32)}, {}, "has 2 factors for 4 axes")])
def test_other_ways_are_refused(tmp_path: Path, arrays: Any, attributes: Any, why: str) -> None:
    with pytest.raises(UnsupportedModel, match=why):
        pt.from_onnx(resized(tmp_path, "Resize", ["", "s"], arrays, **attributes))


@pytest.mark.needs("onnx", "onnxruntime")
@pytest.mark.parametrize("how", ["half_pixel", "pytorch_half_pixel"])
def test_linear_resize(how: str, tmp_path: Path, rng: np.random.Generator) -> None:
    same_as_runtime(resized(tmp_path, "Resize", ["", "s"], TWICE, mode="linear",
                            coordinate_transformation_mode=how), rng)


@pytest.mark.needs("torch")
@pytest.mark.parametrize(("size", "options", "factor"), [
    (None, {"scale_factor": 2}, 2), (None, {"scale_factor": 3, "align_corners": False}, 3),
    ((7, 9), {"align_corners": True}, 2), ((13, 17), {"align_corners": True}, 4)])
def test_bilinear_of_torch(size: Any, options: dict[str, Any], factor: int,
                           rng: np.random.Generator) -> None:
    import torch
    from torch import nn

    grow = nn.Upsample(size, mode="bilinear", **options)
    x = rng.normal(size=(2, 2, 4, 5)).astype(np.float32)
    features = grow(torch.from_numpy(x)).flatten(1).shape[1]
    net = nn.Sequential(grow, nn.Flatten(), nn.Linear(features, 3))
    model = pt.from_torch(net, x)
    (up,) = (op for op in model.graph.ops if isinstance(op, Upsample))
    assert (up.factor, up.mode, up.corners) == (factor, "bilinear", size is not None)
    np.testing.assert_allclose(FloatTrainer(model.graph, model.params).logits(x),
                               net(torch.from_numpy(x)).detach().numpy(), rtol=1e-4, atol=1e-5)
    net[0] = nn.UpsamplingBilinear2d(scale_factor=2)
    with pytest.raises(UnsupportedModel, match="enlarges 4x5 to 8x10 with align_corners"):
        pt.from_torch(net, x)


@pytest.mark.needs("onnx", "onnxruntime")
@pytest.mark.parametrize("up", [Upsample(3), Upsample(3, mode="bilinear"),
                                Upsample(3, mode="bilinear", corners=True)])
def test_there_and_back(up: Upsample, tmp_path: Path, rng: np.random.Generator) -> None:
    import onnxruntime

    graph = Graph.build((2, 3, 4), [Conv(4, 3, padding=1), up, Dense(3)])
    params, path = init_params(graph, 1), tmp_path / "m.onnx"
    pt.export_onnx(graph, params, path)
    x = rng.normal(size=(2, 2, 3, 4)).astype(np.float32)
    want = FloatTrainer(graph, params).logits(x)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"input": x})[0], want, rtol=1e-4, atol=1e-5)
    back = pt.from_onnx(path).graph.ops
    assert [type(op) for op in back] == [type(op) for op in graph.ops]
    assert [(op.factor, op.mode, op.corners) for op in back if isinstance(op, Upsample)] == [
        (up.factor, up.mode, up.corners)]


@pytest.mark.needs("torch")
def test_torch(rng: np.random.Generator) -> None:
    import torch
    from torch import nn
    from torch.nn import functional

    class Net(nn.Module):
        def __init__(self, mode: str = "nearest") -> None:
            super().__init__()
            self.a, self.up = nn.Conv2d(2, 4, 3, padding=1), nn.Upsample(scale_factor=2, mode=mode)
            self.out = nn.Linear(4 * 12 * 18, 3)

        def forward(self, x: Any) -> Any:
            x = functional.interpolate(self.up(self.a(x)), size=(12, 18), mode="nearest")
            return self.out(torch.flatten(functional.avg_pool2d(x, 1), 1))

    def images(rows: int, cols: int) -> np.ndarray:
        return rng.normal(size=(2, 2, rows, cols)).astype(np.float32)

    net = Net()
    with pytest.raises(UnsupportedModel, match=r"rows by 2 and columns by 2\.25"):
        pt.from_torch(net, images(3, 4))
    net.up = nn.Upsample(size=(6, 9))
    with pytest.raises(UnsupportedModel, match="multiplies rows by 2 and columns by 1"):
        pt.from_torch(net, images(3, 9))
    x = images(2, 3)
    model = pt.from_torch(net, x)
    assert [op.factor for op in model.graph.ops if isinstance(op, Upsample)] == [3, 2]
    np.testing.assert_allclose(FloatTrainer(model.graph, model.params).logits(x),
                               net(torch.from_numpy(x)).detach().numpy(), rtol=1e-3, atol=1e-4)
    with pytest.raises(UnsupportedModel, match="has mode 'bicubic': use mode 'nearest' or 'bil"):
        pt.from_torch(Net("bicubic"), images(3, 4))


@pytest.mark.needs("keras", "torch")
@pytest.mark.filterwarnings("ignore")
def test_keras(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    import keras

    def net(**options: Any) -> Any:
        return keras.Sequential([keras.Input((3, 4, 2)), keras.layers.Conv2D(4, 1),
                                 keras.layers.UpSampling2D(**options), keras.layers.Flatten(),
                                 keras.layers.Dense(3)])

    model, x = net(size=2), rng.normal(size=(2, 3, 4, 2)).astype(np.float32)
    found = pt.from_keras(model)
    np.testing.assert_allclose(
        FloatTrainer(found.graph, found.params).logits(x.transpose(0, 3, 1, 2)),
        np.asarray(model.predict(x, verbose=0)), rtol=1e-3, atol=1e-4)
    with pytest.raises(UnsupportedModel, match="has interpolation 'bicubic'"):
        pt.from_keras(net(size=2, interpolation="bicubic"))
    model = net(size=2, interpolation="bilinear")
    found = pt.from_keras(model)
    assert Upsample(2, "up_sampling2d", (), "bilinear").mode in {
        op.mode for op in found.graph.ops if isinstance(op, Upsample)}
    np.testing.assert_allclose(
        FloatTrainer(found.graph, found.params).logits(x.transpose(0, 3, 1, 2)),
        np.asarray(model.predict(x, verbose=0)), rtol=1e-3, atol=1e-4)
    with pytest.raises(UnsupportedModel, match="multiplies rows by 2 and columns by 3"):
        pt.from_keras(net(size=(2, 3)))
