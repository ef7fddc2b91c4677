"""Transposed convolutions in foreign formats: each crops and enlarges in its own way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import UnsupportedModel
from pynq_train.graph import Conv, ConvTranspose, Dense, Graph
from pynq_train.graph.reference import FloatTrainer
from pynq_train.layers import init_params

SHAPE = (4, 3, 5)


def logits(model: Any, x: np.ndarray) -> np.ndarray:
    return FloatTrainer(model.graph, model.params).logits(x)


@pytest.mark.needs("torch")
@pytest.mark.parametrize(("args", "options"), [
    ((6, 2, 2), {}), ((6, 3, 2), {"padding": 1, "output_padding": 1}), ((4, 4, 2), {"groups": 4}),
    ((6, (2, 3), (1, 3)), {"padding": (1, 0), "output_padding": (0, 2), "bias": False}),
    ((4, 3, 1), {"padding": 2, "groups": 2}), ((5, 2, 3), {"output_padding": 1})])
def test_torch(args: tuple[Any, ...], options: dict[str, Any], rng: np.random.Generator) -> None:
    import torch
    from torch import nn

    grow = nn.ConvTranspose2d(SHAPE[0], *args, **options)
    x = rng.normal(size=(2, *SHAPE)).astype(np.float32)
    features = grow(torch.from_numpy(x)).flatten(1).shape[1]
    net = nn.Sequential(grow, nn.Flatten(), nn.Linear(features, 3))
    model = pt.from_torch(net, x)
    assert isinstance(model.graph.ops[0], ConvTranspose)
    np.testing.assert_allclose(logits(model, x), net(torch.from_numpy(x)).detach().numpy(),
                               rtol=1e-3, atol=1e-4)


@pytest.mark.needs("torch")
def test_torch_sequences_and_functions(rng: np.random.Generator) -> None:
    import torch
    from torch import nn
    from torch.nn import functional

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.ConvTranspose1d(3, 4, 5, 2, 1, 1)
            self.weight = nn.Parameter(torch.randn(4, 2, 3))
            self.out = nn.Linear(2 * 47, 3)

        def forward(self, x: Any) -> Any:
            x = functional.conv_transpose1d(torch.relu(self.a(x)), self.weight, stride=2, padding=1)
            return self.out(torch.flatten(x, 1))

    net, x = Net(), rng.normal(size=(2, 3, 11)).astype(np.float32)
    model = pt.from_torch(net, x)
    found = [op for op in model.graph.ops if isinstance(op, ConvTranspose)]
    assert [(op.kernel, op.stride) for op in found] == [((1, 5), (1, 2)), ((1, 3), (1, 2))]
    np.testing.assert_allclose(logits(model, x[:, :, None]),
                               net(torch.from_numpy(x)).detach().numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.needs("torch")
@pytest.mark.parametrize(("args", "options", "why"), [
    ((6, 3, 2), {"dilation": 2}, "has dilation .*use a larger kernel"),
    ((6, 2, 2), {"padding": 2}, "cuts off 2 and 2 rows or columns of a kernel of 2"),
    ((8, 2, 2), {"groups": 2}, "has 2 groups of 2 inputs and 4 outputs: use one group"),
    ((6, 12, 2), {}, "has kernel 12"), ((6, 3, 5), {}, "has stride 5")])
def test_what_is_refused(args: tuple[Any, ...], options: dict[str, Any], why: str,
                         rng: np.random.Generator) -> None:
    from torch import nn

    net = nn.Sequential(nn.ConvTranspose2d(SHAPE[0], *args, **options), nn.Flatten())
    with pytest.raises(UnsupportedModel, match=why):
        pt.from_torch(net, rng.normal(size=(2, *SHAPE)).astype(np.float32))


def onnx_file(folder: Path, rng: np.random.Generator, weight: tuple[int, ...], features: int,
              **attributes: Any) -> Path:
    """Write a file of a ConvTranspose and a dense layer behind it."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    arrays = {"w": rng.normal(size=weight), "d": rng.normal(size=(features, 3))}
    nodes = [helper.make_node("ConvTranspose", ["x", "w"], ["u"], name="grow", **attributes),
             helper.make_node("Flatten", ["u"], ["f"]),
             helper.make_node("MatMul", ["f", "d"], ["y"])]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", *SHAPE))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(a.astype(np.float32), name) for name, a in arrays.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8),
              folder / "m.onnx")
    return folder / "m.onnx"


@pytest.mark.needs("onnx", "onnxruntime")
@pytest.mark.parametrize(("kernel", "size", "attributes"), [
    ((3, 3), (7, 11), {"strides": [2, 2]}),
    ((3, 3), (6, 9), {"strides": [2, 2], "pads": [1, 0, 0, 2]}),
    ((3, 3), (6, 10), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ((3, 2), (6, 10), {"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    ((3, 3), (6, 10), {"strides": [2, 2], "output_shape": [6, 10]}),
    ((2, 2), (6, 10), {"strides": [2, 2], "output_shape": [6, 10], "auto_pad": "SAME_UPPER"}),
    ((4, 3), (6, 12), {"strides": [2, 2], "pads": [1, 0, 1, 0], "output_padding": [0, 1]})])
def test_onnx(tmp_path: Path, rng: np.random.Generator, kernel: tuple[int, int],
              size: tuple[int, int], attributes: dict[str, Any]) -> None:
    import onnxruntime

    path = onnx_file(tmp_path, rng, (4, 2, *kernel), 2 * size[0] * size[1], **attributes)
    x = rng.normal(size=(3, *SHAPE)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    model = pt.from_onnx(path)
    assert model.graph.shapes[0] == (2, *size)
    np.testing.assert_allclose(logits(model, x), session.run(None, {"x": x})[0], rtol=1e-4,
                               atol=1e-4)


@pytest.mark.needs("onnx", "onnxruntime")
@pytest.mark.parametrize("op", [
    ConvTranspose(4, 3, 2, 1, 1), ConvTranspose(4, (2, 3), (2, 4), ((1, 0), (0, 2)), (0, 3)),
    ConvTranspose(4, 2, 3, "same"), ConvTranspose(4, 5, 2, "same", bias=False),
    ConvTranspose(4, 3, 2, groups=4)])
def test_there_and_back(op: ConvTranspose, tmp_path: Path, rng: np.random.Generator) -> None:
    import onnxruntime

    graph = Graph.build((2, 3, 4), [Conv(4, 3, padding=1), op, Dense(3)])
    params, path = init_params(graph, 1), tmp_path / "m.onnx"
    pt.export_onnx(graph, params, path)
    x = rng.normal(size=(2, 2, 3, 4)).astype(np.float32)
    want = FloatTrainer(graph, params).logits(x)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"input": x})[0], want, rtol=1e-4, atol=1e-5)
    back = pt.from_onnx(path)
    assert back.graph.shapes[1] == graph.shapes[1]
    np.testing.assert_allclose(logits(back, x), want, rtol=1e-4, atol=1e-5)


@pytest.mark.needs("keras", "torch")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kernel", "stride", "options"), [
    (3, 2, {"padding": "same", "activation": "relu"}), (4, 2, {"padding": "same"}), (2, 2, {}),
    ((5, 2), (2, 3), {"padding": "same"}), (2, 3, {}), (3, 2, {"output_padding": 1}),
    (3, 2, {"padding": "same", "output_padding": 0, "use_bias": False})])
def test_keras(kernel: Any, stride: Any, options: dict[str, Any], rng: np.random.Generator,
               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    import keras

    model = keras.Sequential([
        keras.Input((3, 5, 4)), keras.layers.Conv2DTranspose(6, kernel, stride, **options),
        keras.layers.Flatten(), keras.layers.Dense(3)])
    x = rng.normal(size=(2, 3, 5, 4)).astype(np.float32)
    found = pt.from_keras(model)
    np.testing.assert_allclose(logits(found, x.transpose(0, 3, 1, 2)),
                               np.asarray(model.predict(x, verbose=0)), rtol=1e-3, atol=1e-4)


@pytest.mark.needs("keras", "torch")
@pytest.mark.filterwarnings("ignore")
def test_keras_sequences(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    import keras

    model = keras.Sequential([
        keras.Input((9, 4)), keras.layers.Conv1DTranspose(6, 4, 2, padding="same"),
        keras.layers.Flatten(), keras.layers.Dense(3)])
    x = rng.normal(size=(2, 9, 4)).astype(np.float32)
    found = pt.from_keras(model)
    np.testing.assert_allclose(logits(found, x.transpose(0, 2, 1)[:, :, None]),
                               np.asarray(model.predict(x, verbose=0)), rtol=1e-3, atol=1e-4)
