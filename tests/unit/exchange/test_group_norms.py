"""Group, layer and instance normalisation from PyTorch, ONNX and Keras, and back to ONNX."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference_models.imported import logits
from reference_models.lazy import Lazy

import pynq_train as pt
from pynq_train.errors import ModelWarning, UnsupportedModel
from pynq_train.graph import Conv, Dense, GlobalAvgPool, Graph, GroupNorm, Relu
from pynq_train.layers import init_params

os.environ.setdefault("KERAS_BACKEND", "torch")
torch, onnx, keras = Lazy("torch"), Lazy("onnx"), Lazy("keras")
ort = Lazy("onnxruntime")


def groups(model: pt.Model) -> list[tuple[str, int, bool]]:
    return [(op.name, op.groups, op.affine) for op in model.graph.ops if isinstance(op, GroupNorm)]


def torch_net() -> Any:
    nn = torch.nn
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8, eps=1e-3), nn.ReLU(),
        nn.Conv2d(8, 16, 3, 2, 1), nn.InstanceNorm2d(16, affine=True), nn.ReLU(),
        nn.Conv2d(16, 16, 1), nn.GroupNorm(1, 16), nn.ReLU(), nn.InstanceNorm2d(16),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 12), nn.LayerNorm(12), nn.ReLU(),
        nn.Linear(12, 5)).eval()
    for module in net:
        weight = getattr(module, "weight", None)
        if weight is not None and weight.ndim == 1:
            nn.init.uniform_(weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return net


def test_torch_and_onnx(tmp_path: Path, rng: np.random.Generator) -> None:
    pytest.importorskip("torch")
    net, x = torch_net(), rng.normal(size=(3, 3, 10, 9)).astype(np.float32)
    want = net(torch.tensor(x)).detach().numpy()
    model = pt.from_torch(net, torch.tensor(x))
    np.testing.assert_allclose(logits(model, x), want, atol=1e-5)
    assert [(count, affine) for _, count, affine in groups(model)] == [
        (2, True), (16, True), (1, True), (16, False), (1, True)]
    # What PyTorch's exporter writes, of any operator set.
    for opset in (13, 17):
        path = tmp_path / f"torch{opset}.onnx"
        part = net if opset == 17 else net[:13]  # before 17 a layer normalisation is in parts
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(part, torch.tensor(x), str(path), opset_version=opset, dynamo=False,
                              input_names=["input"], dynamic_axes={"input": {0: "n"}})
        read = pt.from_onnx(path)
        np.testing.assert_allclose(logits(read, x), part(torch.tensor(x)).detach().numpy(),
                                   atol=1e-5)
        assert [one[:2] for one in groups(read)][:3] == [
            ("groupnorm1", 2), ("groupnorm4", 16), ("groupnorm7", 1)]
    # What this package writes is read back as it was, and computed by others.
    path = tmp_path / "own.onnx"
    pt.export_onnx(model.graph, model.params, path)
    back = pt.from_onnx(path)
    assert back.graph.ops == model.graph.ops
    np.testing.assert_array_equal(logits(back, x), logits(model, x))
    got = ort.InferenceSession(str(path)).run(None, {"input": x})[0]
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_functions_of_torch(rng: np.random.Generator) -> None:
    pytest.importorskip("torch")

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(2, 8, 3)
            self.gamma = torch.nn.Parameter(torch.rand(8) + 0.5)
            self.beta = torch.nn.Parameter(torch.rand(8))
            self.out = torch.nn.Linear(8, 3)

        def forward(self, x: Any) -> Any:
            functional = torch.nn.functional
            x = functional.group_norm(self.conv(x), 4, self.gamma, bias=self.beta, eps=0.1)
            # A mean of a normalised map would be zero but for rounding, and then be magnified.
            x = functional.relu(functional.instance_norm(x, eps=1e-4))
            x = functional.layer_norm(x.mean((2, 3)), (8,), self.gamma)
            return self.out(x)

    net, x = Net().eval(), rng.normal(size=(2, 2, 7, 7)).astype(np.float32)
    with pytest.warns(ModelWarning, match="group_norm, layer_norm share one tensor"):
        model = pt.from_torch(net, torch.tensor(x))
    np.testing.assert_allclose(logits(model, x), net(torch.tensor(x)).detach().numpy(), atol=1e-5)
    assert [one[1:] for one in groups(model)] == [(4, True), (8, False), (1, True)]
    assert "layer_norm.bias" in model.frozen


@pytest.mark.parametrize(("layer", "text"), [
    (lambda nn: nn.GroupNorm(2, 12), r"has groups of 6 channels: use 1 or 3 or 6 or 12 groups of"),
    (lambda nn: nn.InstanceNorm2d(12, track_running_stats=True), "has running statistics: use"),
    (lambda nn: nn.LayerNorm(8), r"normalises over the last axes, \(8,\) of \(12, 8, 8\): .*Group"),
    (lambda nn: nn.LayerNorm((8, 8)), r"normalises over the last axes, \(8, 8\) of"),
])
def test_refused_of_torch(layer: Any, text: str) -> None:
    pytest.importorskip("torch")
    nn = torch.nn
    net = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), layer(nn), nn.Flatten(), nn.Linear(768, 2))
    with pytest.raises(UnsupportedModel, match=text):
        pt.from_torch(net, torch.zeros(1, 1, 8, 8))


def test_numbers_for_each_pixel(rng: np.random.Generator) -> None:
    """Those of a layer normalisation: taken where they are equal, refused where they are not."""
    pytest.importorskip("torch")
    nn = torch.nn
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.LayerNorm((4, 4, 4)), nn.Flatten(),
                        nn.Linear(64, 2)).eval()
    x = torch.tensor(rng.normal(size=(2, 1, 6, 6)).astype(np.float32))
    with pytest.warns(ModelWarning, match="a gamma and a beta for each pixel, all equal; here one"):
        model = pt.from_torch(net, x)
    np.testing.assert_allclose(logits(model, x.numpy()), net(x).detach().numpy(), atol=1e-5)
    nn.init.uniform_(net[1].weight)
    with pytest.raises(UnsupportedModel, match="has a gamma and beta for each pixel: normalise"):
        pt.from_torch(net, x)
    flat = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.LayerNorm(64), nn.Linear(64, 2))
    with pytest.raises(UnsupportedModel, match="normalises a flattened map: normalise the map in"):
        pt.from_torch(flat, x)


@pytest.mark.parametrize(("opset", "count"), [(18, 2), (21, 8)])
def test_the_node_of_onnx(opset: int, count: int, rng: np.random.Generator) -> None:
    """Up to operator set 20 gamma and beta belong to groups, then to channels."""
    pytest.importorskip("onnx")
    from pynq_train.exchange.onnx_import import from_proto

    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    arrays = {"w": rng.normal(size=(8, 1, 3, 3)), "gamma": rng.uniform(0.5, 1.5, count),
              "beta": rng.normal(size=count), "d": rng.normal(size=(3, 8))}
    nodes = [helper.make_node("Conv", ["x", "w"], ["a"]),
             helper.make_node("GroupNormalization", ["a", "gamma", "beta"], ["b"], num_groups=2),
             helper.make_node("GlobalAveragePool", ["b"], ["c"]),
             helper.make_node("Flatten", ["c"], ["e"]),
             helper.make_node("Gemm", ["e", "d"], ["y"], transB=1)]
    kind = onnx.TensorProto.FLOAT
    proto = helper.make_model(helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", kind, ["n", 1, 6, 6])],
        [helper.make_tensor_value_info("y", kind, ["n", 3])],
        [numpy_helper.from_array(np.float32(array), name) for name, array in arrays.items()]),
        opset_imports=[helper.make_opsetid("", opset)])
    model = from_proto(proto, "g")
    (name, found, affine), = groups(model)
    assert (found, affine) == (2, True)
    np.testing.assert_allclose(model.params[name].weight,
                               np.repeat(arrays["gamma"], 8 // count), rtol=1e-6)


@pytest.mark.needs("keras", "torch")
@pytest.mark.filterwarnings("ignore")
def test_keras(rng: np.random.Generator) -> None:
    layers = keras.layers
    net = keras.Sequential([
        keras.Input((9, 8, 2)), layers.Conv2D(8, 3), layers.GroupNormalization(2, epsilon=0.01),
        layers.ReLU(), layers.GroupNormalization(-1, scale=False),
        layers.Conv2D(8, 1), layers.LayerNormalization(axis=[1, 2, 3], center=False, scale=False),
        layers.GlobalAveragePooling2D(), layers.Dense(12), layers.LayerNormalization(),
        layers.Dense(3)])
    for layer in net.layers:
        if "normalization" in layer.name and layer.weights:
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    model = pt.from_keras(net)
    x = rng.normal(size=(3, 9, 8, 2)).astype(np.float32)
    np.testing.assert_allclose(logits(model, x.transpose(0, 3, 1, 2)),
                               net.predict(x, verbose=0), atol=1e-5)
    assert [one[1:] for one in groups(model)] == [(2, True), (8, True), (1, False), (1, True)]
    assert any(name.endswith(".weight") for name in model.frozen)  # scale=False
    pixels = keras.Sequential([keras.Input((9, 8, 2)), layers.Conv2D(8, 3),
                               layers.LayerNormalization(), layers.Flatten(), layers.Dense(3)])
    with pytest.raises(UnsupportedModel, match=r"axes \(-1,\) of each pixel: normalise rows, colu"):
        pt.from_keras(pixels)


def test_own_networks_without_other_packages(tmp_path: Path) -> None:
    """A saved graph keeps its normalisations."""
    graph = Graph.build((1, 6, 6), [Conv(8, 3), GroupNorm(4, 0.01), Relu(), Conv(4, 1),
                                    GroupNorm(1, affine=False), GlobalAvgPool(), Dense(2)])
    assert Graph.from_json(graph.to_json()) == graph
    assert init_params(graph, 1)["gn1"].weight.tolist() == [1.0] * 8
