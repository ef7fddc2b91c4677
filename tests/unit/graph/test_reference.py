"""The float32 trainer against numeric differentiation and PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

from pynq_train.errors import BadInput
from pynq_train.graph import Graph, LayerParams, Sequential, zoo
from pynq_train.graph.activation import Activation
from pynq_train.graph.reference import FloatTrainer
from pynq_train.layers import fuse, init_params

NETWORKS = {
    "pads": Sequential((3, 9, 7)).conv(5, 3, padding=1).relu().pool().conv(4, 2, 1, "same")
    .relu().dense(6).relu().dense(4).build(),
    "strides": Sequential((2, 13, 12)).conv(4, 5, 2, 4).conv(3, 3, 3, 1, bias=False).relu()
    .conv(3, 2, 4, 0).dense(3).build(),
    "same": Sequential((1, 11, 10)).conv(3, 4, 3, "same").relu().conv(4, 11, 1, 10).pool()
    .dense(3, bias=False).build(),
    "rectangles": Sequential((2, 9, 7)).conv(4, (4, 3), (2, 1), ((1, 2), (2, 0))).relu()
    .conv(6, (1, 3), (1, 2), "same").relu().conv(3, (5, 2), (3, 1), (4, (0, 1))).dense(3).build(),
    "logits": Sequential((2, 6, 6)).conv(4, 3).pool().relu().conv(5, 2).build(),
    "digits": zoo.digits(),
    "lenet5": zoo.lenet5(),
}


def trainer(graph: Graph, rng: np.random.Generator, batch: int, **options: float) -> tuple[
    FloatTrainer, np.ndarray, np.ndarray
]:
    layers = fuse(graph)
    params = {}
    for name, p in init_params(layers, 11).items():
        bias = None if p.bias is None else rng.normal(size=p.bias.shape).astype("f") * 0.1
        params[name] = LayerParams(p.weight, bias)
    x = rng.normal(size=(batch, *graph.input_shape)).astype(np.float32)
    return FloatTrainer(graph, params, **options), x, rng.integers(0, graph.classes, batch)


def naive_loss(graph: Graph, params: dict[str, LayerParams], x: np.ndarray, y: np.ndarray) -> float:
    """Mean loss in float64 with plain loops, written from the definitions."""
    value = x.astype(np.float64)
    for layer in fuse(graph):
        w = params[layer.name].weight.astype(np.float64)
        b = params[layer.name].bias
        if layer.kind.fully_connected:
            out = value.reshape(len(value), -1) @ w.T
            out = out[:, :, None, None]
        else:
            m, rows, cols = layer.out_shape_before_pool
            padded = np.zeros((len(value), layer.in_shape[0], 64, 64))
            t, left = layer.pad_top, layer.pad_left
            padded[:, :, t : t + value.shape[2], left : left + value.shape[3]] = value
            out = np.zeros((len(value), m, rows, cols))
            (k, kc), (s, sc) = layer.kernel, layer.stride
            for r in range(rows):
                for c in range(cols):
                    window = padded[:, :, r * s : r * s + k, c * sc : c * sc + kc]
                    out[:, :, r, c] = np.tensordot(window, w, ((1, 2, 3), (1, 2, 3)))
        if b is not None:
            out = out + b.astype(np.float64)[:, None, None]
        if layer.activation is Activation.RELU:
            out = np.maximum(out, 0)
        if layer.pool:
            r, c = out.shape[2] // 2, out.shape[3] // 2
            out = out[:, :, : 2 * r, : 2 * c].reshape(*out.shape[:2], r, 2, c, 2).max((3, 5))
        value = out
    z = value.reshape(len(value), -1)
    return float((np.log(np.exp(z).sum(1)) - z[np.arange(len(y)), y]).mean())


@pytest.mark.parametrize("name", ["pads", "strides", "same", "rectangles", "logits"])
def test_gradients_match_numeric_differentiation(name: str, rng: np.random.Generator) -> None:
    graph = NETWORKS[name]
    model, x, y = trainer(graph, rng, batch=3)
    params = model.params
    result, grads = model.gradients(x, y)
    assert result.loss == pytest.approx(naive_loss(graph, params, x, y), rel=1e-4)
    step = 1e-5
    for layer in fuse(graph):
        for field in ("weight", "bias"):
            array = getattr(params[layer.name], field)
            if array is None:
                continue
            wide = array.astype(np.float64)
            for flat in rng.choice(wide.size, min(wide.size, 6), replace=False):
                index = np.unravel_index(flat, wide.shape)
                losses = []
                for sign in (step, -step):
                    moved = wide.copy()
                    moved[index] += sign
                    both = {"weight": params[layer.name].weight, "bias": params[layer.name].bias,
                            field: moved}
                    losses.append(naive_loss(graph, {**params, layer.name: LayerParams(**both)},
                                             x, y))
                numeric = (losses[0] - losses[1]) / (2 * step)
                got = float(getattr(grads[layer.name], field)[index])
                assert got == pytest.approx(numeric, rel=2e-3, abs=2e-5), (layer.name, field, index)


def test_update_rule_and_no_decay_of_biases(rng: np.random.Generator) -> None:
    model, x, y = trainer(NETWORKS["pads"], rng, 4, lr=0.1, momentum=0.5, weight_decay=0.01)
    expect = {n: (p.weight.astype("d"), p.bias.astype("d")) for n, p in model.params.items()
              if p.bias is not None}
    speed = {n: (np.zeros_like(w), np.zeros_like(b)) for n, (w, b) in expect.items()}
    for lr in (0.1, 0.02):
        _, grads = model.gradients(x, y)
        model.step(x, y, lr=lr)
        for n, (w, b) in expect.items():
            vw = 0.5 * speed[n][0] + grads[n].weight + 0.01 * w
            vb = 0.5 * speed[n][1] + np.asarray(grads[n].bias)
            speed[n], expect[n] = (vw, vb), (w - lr * vw, b - lr * vb)
    for n, p in model.params.items():
        np.testing.assert_allclose(p.weight, expect[n][0], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(np.asarray(p.bias), expect[n][1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("pixels", "place"), [
    ([5, 5, 5, 5], 0), ([1, 5, 5, 5], 1), ([1, 2, 5, 5], 2), ([1, 2, 3, 5], 3), ([5, 1, 1, 5], 0)])
def test_pool_gradient_goes_to_the_first_maximum(pixels: list[int], place: int) -> None:
    graph = Sequential((2, 2, 2)).conv(1, 1, bias=False).pool().dense(2, bias=False).build()
    # The second channel has weight 0 and numbers the pixels: its weight gradient tells the place.
    params = {"conv1": LayerParams(np.array([1, 0], "f").reshape(1, 2, 1, 1), None),
              "dense1": LayerParams(np.array([[1], [-1]], "f"), None)}
    x = np.array([pixels, [0, 1, 2, 3]], "f").reshape(1, 2, 2, 2)
    _, grads = FloatTrainer(graph, params).gradients(x, [0])
    by_value, by_place = grads["conv1"].weight.ravel()
    assert by_place / by_value * 5 == pytest.approx(place)


def test_chunks_do_not_change_the_result(rng: np.random.Generator,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = trainer(NETWORKS["digits"], rng, 20)
    whole = model.gradients(x, y)[1]
    monkeypatch.setattr("pynq_train.graph.float_conv._CHUNK_VALUES", 2000)
    parts = model.gradients(x, y)[1]
    for name in whole:
        np.testing.assert_allclose(whole[name].weight, parts[name].weight, rtol=1e-4, atol=1e-6)


def test_evaluate_equals_whole_batch(rng: np.random.Generator) -> None:
    model, x, y = trainer(NETWORKS["digits"], rng, 21)
    loss, accuracy = model.evaluate(x, y, batch=8)
    result, _ = model.gradients(x, y)
    assert loss == pytest.approx(result.loss, rel=1e-5)
    assert accuracy == pytest.approx(result.correct / 21)


def test_bad_batches(rng: np.random.Generator) -> None:
    model, x, y = trainer(NETWORKS["digits"], rng, 4)
    with pytest.raises(BadInput, match=r"images: expected shape \(n, 1, 8, 8\)"):
        model.logits(x[:, :, :7])
    with pytest.raises(BadInput, match=r"labels: expected shape \(4,\)"):
        model.gradients(x, y[:3])
    with pytest.raises(BadInput, match=r"labels: expected 0..9, found 0..10"):
        model.gradients(x, [0, 10, 1, 2])
    with pytest.raises(BadInput, match="at least one image"):
        model.evaluate(x[:0], y[:0])


@pytest.mark.oracle
@pytest.mark.parametrize("name", list(NETWORKS))
def test_three_steps_match_pytorch(name: str, rng: np.random.Generator) -> None:
    import torch
    import torch.nn.functional as functional

    graph = NETWORKS[name]
    model, x, y = trainer(graph, rng, 5, lr=0.05, momentum=0.9, weight_decay=0.01)
    weights = {n: torch.nn.Parameter(torch.tensor(p.weight)) for n, p in model.params.items()}
    biases = {n: torch.nn.Parameter(torch.tensor(p.bias)) for n, p in model.params.items()
              if p.bias is not None}
    optimiser = torch.optim.SGD(
        [{"params": list(weights.values()), "weight_decay": 0.01},
         {"params": list(biases.values()), "weight_decay": 0.0}], lr=0.05, momentum=0.9)

    def forward(value: torch.Tensor) -> torch.Tensor:
        for layer in fuse(graph):
            w, b = weights[layer.name], biases.get(layer.name)
            if layer.kind.fully_connected:
                value = functional.linear(value.flatten(1), w, b)[:, :, None, None]
            else:
                value = functional.pad(value, (layer.pad_left, layer.pad_right,
                                               layer.pad_top, layer.pad_bottom))
                value = functional.conv2d(value, w, b, stride=layer.stride)
            if layer.activation is Activation.RELU:
                value = functional.relu(value)
            if layer.pool:
                value = functional.max_pool2d(value, 2)
            assert tuple(value.shape[1:]) == layer.out_shape
        return value.flatten(1)

    images, labels = torch.tensor(x), torch.tensor(y)
    np.testing.assert_allclose(model.logits(x), forward(images).detach().numpy(), rtol=1e-3,
                               atol=1e-4)
    for _ in range(3):
        optimiser.zero_grad()
        loss = functional.cross_entropy(forward(images), labels)
        loss.backward()
        result, grads = model.gradients(x, y)
        assert result.loss == pytest.approx(loss.item(), rel=1e-4)
        for n, grad in grads.items():
            torch_grad = weights[n].grad
            assert torch_grad is not None
            np.testing.assert_allclose(grad.weight, torch_grad.numpy(), rtol=2e-3, atol=1e-5)
            if n in biases:
                np.testing.assert_allclose(np.asarray(grad.bias),
                                           np.asarray(biases[n].grad), rtol=2e-3, atol=1e-5)
        optimiser.step()
        model.step(x, y)
    for n, p in model.params.items():
        np.testing.assert_allclose(p.weight, weights[n].detach().numpy(), rtol=1e-3, atol=1e-5)
