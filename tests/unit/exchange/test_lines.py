"""Sequences (n, channels, length), and windows whose sides differ, of PyTorch, ONNX and Keras."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np
import pytest
from reference_models.lazy import Lazy

import pynq_train as pt
from pynq_train.errors import UnsupportedModel
from pynq_train.exchange.onnx_export import to_proto
from pynq_train.exchange.onnx_import import from_proto
from pynq_train.graph.ops import Conv, MaxPool
from pynq_train.graph.reference import FloatTrainer

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]

os.environ.setdefault("KERAS_BACKEND", "torch")
torch, nn, functional = Lazy("torch"), Lazy("torch.nn"), Lazy("torch.nn.functional")
onnx, keras, layers = Lazy("onnx"), Lazy("keras"), Lazy("keras.layers")


def check(model: pt.Model, x: np.ndarray, want: np.ndarray) -> pt.Model:
    """What was imported, and an ONNX model of it, say what the foreign network says."""
    x = x.reshape(len(x), *model.graph.input_shape)  # sequences are maps of one row
    exported = from_proto(to_proto(model.graph, model.params), "exported")
    for one in (model, exported):
        got = FloatTrainer(one.graph, one.params).logits(x)
        np.testing.assert_allclose(got, want.reshape(got.shape), rtol=1e-4, atol=1e-5)
    return model


def same(module: Any, x: Any, onnx_too: bool = True) -> pt.Model:
    """Import a module, and what PyTorch exports of it: both say what PyTorch says."""
    module.eval()
    for norm in module.modules():
        if getattr(norm, "running_var", None) is not None:
            norm.running_var.uniform_(0.5, 2)
            norm.running_mean.uniform_(-1, 1)
    with torch.no_grad():
        want = module(x.clone()).numpy()
    if onnx_too:
        file = io.BytesIO()
        torch.onnx.export(module, (x,), file, dynamo=False)
        check(from_proto(onnx.load_from_string(file.getvalue()), "net"), x.numpy(), want)
    return check(pt.from_torch(module, x), x.numpy(), want)


def sequence(*parts: Any) -> Any:
    return nn.Sequential(*parts)


def test_a_network_of_sequences() -> None:
    torch.manual_seed(1)
    module = sequence(
        nn.Conv1d(3, 8, 9, stride=2, padding=4), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(8, 8, 3, padding="same", groups=8), nn.ReLU6(), nn.AvgPool1d(3, 1, 1),
        nn.Conv1d(8, 6, 4), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, 4))
    model = same(module, torch.randn(2, 3, 100))
    assert model.graph.input_shape == (3, 1, 100)
    first = model.graph.ops[0]
    assert isinstance(first, Conv)
    assert (first.kernel, first.stride, first.padding) == ((1, 9), (1, 2), (0, 4))


def test_flattened_sequences_and_zeros_in_front() -> None:
    torch.manual_seed(2)
    module = sequence(nn.ConstantPad1d((2, 0), 0.0), nn.Conv1d(2, 5, 3), nn.ReLU(),
                      nn.ZeroPad1d((0, 1)), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(55, 3))
    model = same(module, torch.randn(3, 2, 21))
    assert model.graph.ops[0].padding == (0, (2, 0))  # type: ignore[union-attr]


def test_functions_and_shapes_of_sequences() -> None:
    """Branches that are joined, means, views, and features that become a sequence."""
    class Net(torch.nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv1d(4, 4, 3, padding=1), nn.Conv1d(4, 8, 5, 2, 2)
            self.out = nn.Linear(12, 3)

        def forward(self, x: Any) -> Any:
            x = x.view(-1, 4, 32)
            y = functional.relu(functional.conv1d(x, self.one.weight, self.one.bias, padding=1))
            y = functional.pad(y, (1, 0))
            y = functional.avg_pool1d(y, 3, 2)
            z = functional.max_pool1d(functional.relu(self.two(x)), 1)
            return self.out(torch.cat([y, z], 1).mean(2))

    torch.manual_seed(3)
    same(Net(), torch.randn(2, 128), onnx_too=False)


@pytest.mark.parametrize("size", [4, 6, 8, 9])
def test_large_windows_of_maxima_become_several(size: int) -> None:
    """Their maxima, and in sequences their places, are the same."""
    torch.manual_seed(4)
    module = sequence(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.MaxPool1d(size), nn.Flatten(),
                      nn.Linear(4 * (78 // size), 3))
    model = same(module, torch.randn(2, 2, 80))
    pools = [op for op in model.graph.ops if isinstance(op, MaxPool)]
    assert len(pools) == {4: 2, 6: 2, 8: 3, 9: 2}[size]
    assert np.prod([op.kernel_sides.cols for op in pools]) == size


def test_what_sequences_cannot_be() -> None:
    with pytest.raises(UnsupportedModel, match=r"MaxPool1d.*has kernel 1x5: use a kernel of 3"):
        pt.from_torch(sequence(nn.MaxPool1d(5), nn.Flatten(), nn.Linear(12, 2)),
                      torch.randn(1, 2, 30))
    class Unbatched(torch.nn.Module):  # type: ignore[name-defined, misc]
        def forward(self, x: Any) -> Any:
            return functional.max_pool2d(x, 2).flatten(1)

    # PyTorch takes these for images of one mini-batch: (channels, rows, columns).
    with pytest.raises(UnsupportedModel, match=r"max_pool2d.*pools \(n, 2, 30\), whose last axes"):
        pt.from_torch(Unbatched(), torch.randn(4, 2, 30))
    with pytest.raises(UnsupportedModel, match=r"Conv1d.*reads \(n, 2, 12\) as a sequence"):
        pt.from_torch(sequence(nn.Flatten(2), nn.Conv1d(2, 3, 3), nn.Flatten(), nn.Linear(30, 2)),
                      torch.randn(1, 2, 3, 4))


def test_rectangles() -> None:
    """The keyword spotter's first kernel, separable ones, windows and zeros of two lengths."""
    torch.manual_seed(5)
    module = sequence(
        nn.ZeroPad2d((1, 2, 6, 3)), nn.Conv2d(1, 8, (10, 4), (2, 2)), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, (3, 1), padding=(1, 0)), nn.Conv2d(8, 8, (1, 3), padding=(0, 1)), nn.ReLU(),
        nn.MaxPool2d((3, 1), (2, 1), (1, 0)), nn.AvgPool2d((1, 2), (1, 2)),
        nn.Conv2d(8, 6, (2, 1), (3, 1)), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5))
    model = same(module, torch.randn(2, 1, 49, 10))
    assert model.graph.ops[0].padding == ((6, 3), (1, 2))  # type: ignore[union-attr]


@pytest.mark.needs("keras")
def test_sequences_of_keras() -> None:
    model = keras.Sequential([
        keras.Input((40, 3)), layers.ZeroPadding1D((2, 1)),
        layers.Conv1D(8, 5, strides=2, padding="valid", activation="relu"),
        layers.BatchNormalization(), layers.Conv1D(6, 3, padding="causal"), layers.ReLU(),
        layers.DepthwiseConv1D(3, padding="same"), layers.MaxPooling1D(2), layers.Dense(5),
        layers.ReLU(), layers.AveragePooling1D(2), layers.Flatten(), layers.Dense(4)])
    x = np.random.default_rng(6).normal(size=(3, 40, 3)).astype(np.float32)
    imported = pt.from_keras(model)
    assert imported.graph.input_shape == (3, 1, 40)
    check(imported, x.transpose(0, 2, 1), np.asarray(model.predict(x, verbose=0)))
    # Images as Keras has them: the length before the channels.
    learner = pt.Learner(imported, batch=3, input_range=(-4, 4))
    np.testing.assert_array_equal(learner.logits(x), learner.logits(x.transpose(0, 2, 1)))


@pytest.mark.needs("keras")
def test_rectangles_of_keras() -> None:
    model = keras.Sequential([
        keras.Input((49, 10, 1)),
        layers.Conv2D(8, (10, 4), strides=2, padding="same", activation="relu"),
        layers.DepthwiseConv2D((3, 5), padding="same"), layers.ReLU(),
        layers.MaxPooling2D((2, 1)), layers.AveragePooling2D((3, 5)), layers.Flatten(),
        layers.Dense(4)])
    x = np.random.default_rng(7).normal(size=(3, 49, 10, 1)).astype(np.float32)
    check(pt.from_keras(model), x.transpose(0, 3, 1, 2), np.asarray(model.predict(x, verbose=0)))
