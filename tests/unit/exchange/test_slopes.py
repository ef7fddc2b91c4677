"""PReLU from PyTorch, ONNX and Keras: outputs, gradients of the slopes, what is refused."""

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

os.environ.setdefault("KERAS_BACKEND", "torch")
torch, keras = Lazy("torch"), Lazy("keras")


def torch_net(slopes: int = 12) -> Any:
    """A network with slopes of both signs, some beyond 1."""
    nn = torch.nn
    net = nn.Sequential(nn.Conv2d(2, 12, 3), nn.PReLU(slopes), nn.MaxPool2d(2), nn.Conv2d(12, 8, 3),
                        nn.PReLU(8), nn.Flatten(), nn.Linear(72, 3))
    with torch.no_grad():
        net[1].weight.uniform_(-0.4, 1.4)
        net[4].weight.uniform_(-0.4, 1.4)
    return net


@pytest.mark.needs("torch", "onnx")
def test_outputs_and_learning(rng: np.random.Generator, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, x = torch_net(), rng.normal(size=(6, 2, 12, 12)).astype(np.float32)
    y = rng.integers(0, 3, 6)
    model = pt.from_torch(net.eval(), torch.tensor(x))
    want = net(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(logits(model, x), want, atol=1e-5)
    assert model.frozen == {"conv1.minus.weight", "conv4.minus.weight"}
    # The file of PyTorch's exporter, and the one of this package.
    paths = [tmp_path / "torch.onnx", tmp_path / "own.onnx"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, torch.tensor(x), str(paths[0]), opset_version=13, dynamo=False,
                          dynamic_axes={"input": {0: "n"}}, input_names=["input"])
    pt.export_onnx(model.graph, model.params, paths[1])
    for path in paths:
        np.testing.assert_allclose(logits(pt.from_onnx(path), x), want, atol=1e-5)
    # The slopes learn as PyTorch's do.
    learner = pt.Learner(model, batch=6,
                         optimizer=pt.SGD(lr=0.5, momentum=0.0, schedule="constant"))
    learner.fit(x, y, epochs=1, progress=False)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    before = net[1].weight.detach().numpy().copy()
    torch.nn.functional.cross_entropy(net(torch.tensor(x)), torch.tensor(y)).backward()
    optimizer.step()
    after = net[1].weight.detach().numpy()
    assert np.abs(after - before).max() > 0.001
    found = 1 - learner.params["conv1.slope"].weight.ravel()
    # Rounding may choose another pixel of a pool, which a slope or two then show.
    assert np.median(np.abs(found - after)) < 0.03 * np.abs(after - before).max()
    np.testing.assert_array_equal(learner.params["conv1.minus"].weight, -1)


@pytest.mark.needs("torch")
def test_one_slope_for_all(rng: np.random.Generator) -> None:
    net, x = torch_net(1), rng.normal(size=(2, 2, 12, 12)).astype(np.float32)
    with pytest.warns(ModelWarning, match="1 has one slope for all channels; here one for each"):
        model = pt.from_torch(net.eval(), torch.tensor(x))
    np.testing.assert_allclose(logits(model, x), net(torch.tensor(x)).detach().numpy(), atol=1e-5)
    net[1].weight.requires_grad_(False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ModelWarning)
        assert "conv1.slope.weight" in pt.from_torch(net, torch.tensor(x)).frozen


@pytest.mark.needs("torch")
def test_of_a_vector() -> None:
    nn = torch.nn
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.PReLU(), nn.Linear(8, 2))
    with pytest.raises(UnsupportedModel, match="rectifies a vector: use LeakyReLU with its slope"):
        pt.from_torch(net, torch.zeros(1, 1, 4, 4))


@pytest.mark.needs("keras", "torch")
@pytest.mark.filterwarnings("ignore")
def test_keras(rng: np.random.Generator) -> None:
    layers = keras.layers
    net = keras.Sequential([
        keras.Input((9, 8, 2)), layers.Conv2D(8, 3),
        layers.PReLU(alpha_initializer="random_uniform", shared_axes=[1, 2]), layers.Flatten(),
        layers.Dense(3)])
    x = rng.normal(size=(4, 9, 8, 2)).astype(np.float32)
    model = pt.from_keras(net)
    np.testing.assert_allclose(logits(model, x.transpose(0, 3, 1, 2)),
                               keras.ops.convert_to_numpy(net(x)), atol=1e-5)
    pixels = keras.Sequential([keras.Input((9, 8, 2)), layers.Conv2D(8, 3), layers.PReLU(),
                               layers.Flatten(), layers.Dense(3)])
    with pytest.raises(UnsupportedModel, match=r"one for each pixel: use shared_axes=\[1, 2\]"):
        pt.from_keras(pixels)
