"""Parts of a split and shuffled channels in foreign formats: what is one, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import UnsupportedModel
from pynq_train.graph import Graph, PickChannels
from pynq_train.graph.reference import FloatTrainer

PYTORCH = pytest.mark.needs("torch")


def picks(graph: Graph) -> list[tuple[int, ...]]:
    return [op.channels for op in graph.ops if isinstance(op, PickChannels)]


def network(change: Callable[[Any], Any], out: int, line: bool = False) -> Any:
    """Six channels, what ``change`` makes of them, a convolution and a dense layer."""
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            conv = torch.nn.Conv1d if line else torch.nn.Conv2d
            self.first, self.last = conv(2, 6, 3), conv(out, 3, 3)
            self.fc, self.change = torch.nn.LazyLinear(4), change

        def forward(self, x: Any) -> Any:
            return self.fc(self.last(self.change(self.first(x))).flatten(1))

    torch.manual_seed(1)
    return Net().eval()


def shuffle(x: Any, groups: int) -> Any:
    n, c, rows, cols = x.size()
    x = x.view(n, groups, c // groups, rows, cols)
    return x.transpose(1, 2).contiguous().view(n, -1, rows, cols)


def shuffle_line(x: Any, groups: int) -> Any:
    n, c, length = x.shape
    return x.reshape(n, groups, c // groups, length).permute(0, 2, 1, 3).reshape(n, c, length)


def halves(x: Any) -> Any:
    import torch

    one, other = x.chunk(2, 1)
    return torch.cat([other, one], 1)


def quarters(x: Any) -> Any:
    import torch

    one, _, other, _ = torch.split(x, [1, 2, 2, 1], dim=1)
    return torch.cat([one, other], dim=1)


EVEN, UNEVEN = (3, 4, 5, 0, 1, 2), (0, 2, 4, 1, 3, 5)
CHANGES: dict[str, tuple[Callable[[Any], Any], list[tuple[int, ...]], int]] = {
    "halves": (halves, [(0, 1, 2), (3, 4, 5)], 6),
    "quarters": (quarters, [(0,), (1, 2), (3, 4), (5,)], 3),
    "of equal size": (lambda x: x.split(4, dim=-3)[1], [(0, 1, 2, 3), (4, 5)], 2),
    "at places": (lambda x: x.tensor_split((1, 4), dim=1)[1], [(0,), (1, 2, 3), (4, 5)], 3),
    "shuffled": (lambda x: shuffle(x, 2), [(0, 3, 1, 4, 2, 5)], 6),
    "shuffled by three": (lambda x: shuffle(x, 3), [UNEVEN], 6),
    "a range": (lambda x: x[:, 1:5], [(1, 2, 3, 4)], 4),
    "every second": (lambda x: x[:, ::2], [(0, 2, 4)], 3),
    "from behind": (lambda x: x[:, -2:, :, :], [(4, 5)], 2),
    "half of them": (lambda x: x[:, : x.size(1) // 2], [(0, 1, 2)], 3),
    "listed": (lambda x: x[:, [4, 0, 0]], [(4, 0, 0)], 3),
    "with dots": (lambda x: x[:, :3, ...], [(0, 1, 2)], 3),
    "with pixels": (lambda x: x[:, 3:, ::2, ::2], [(3, 4, 5)], 3),
    "narrowed": (lambda x: x.narrow(1, 2, 3), [(2, 3, 4)], 3),
    "all": (lambda x: x[:, 0:6].chunk(1, 1)[0], [], 6),
}


@PYTORCH
@pytest.mark.parametrize("name", CHANGES)
def test_torch(name: str) -> None:
    import torch

    change, wanted, out = CHANGES[name]
    module, x = network(change, out), torch.randn(3, 2, 11, 10)
    with torch.no_grad():
        said = module(x).numpy()
    model = pt.from_torch(module, x)
    # Parts that nobody reads are left out.
    assert set(picks(model.graph)) <= set(wanted)
    assert bool(picks(model.graph)) == bool(wanted)
    got = FloatTrainer(model.graph, model.params).logits(x.numpy())
    np.testing.assert_allclose(got, said, rtol=1e-4, atol=1e-5)


@PYTORCH
@pytest.mark.parametrize("name", ["halves", "shuffled", "a range"])
def test_torch_sequences(name: str) -> None:
    import torch

    change, _, out = CHANGES[name]
    if name == "shuffled":
        change = lambda x: shuffle_line(x, 3)  # noqa: E731
    module, x = network(change, out, line=True), torch.randn(3, 2, 11)
    with torch.no_grad():
        said = module(x).numpy()
    model = pt.from_torch(module, x)
    got = FloatTrainer(model.graph, model.params).logits(x.numpy()[:, :, None])
    np.testing.assert_allclose(got, said, rtol=1e-4, atol=1e-5)


@PYTORCH
def test_the_module_that_shuffles() -> None:
    import torch

    module = network(torch.nn.ChannelShuffle(3), 6)
    x = torch.randn(1, 2, 8, 8)
    module(x)
    model = pt.from_torch(module, x)
    assert picks(model.graph) == [UNEVEN]


@PYTORCH
@pytest.mark.parametrize(("change", "words"), [
    (lambda x: x[:, 0], r"by something else than ranges or numbers of channels: take a range"),
    (lambda x: x[1:], r"takes some of the images: compute with all of them"),
    (lambda x: x.chunk(2, 2)[0], r"splits axis 2: split channels, axis 1"),
    (lambda x: x.split(2)[0], r"splits the mini-batch: split channels, dim=1"),
    (lambda x: x.split([2, 3], 1)[0], r"splits 6 channels into 2, 3: let the parts have all"),
    (lambda x: x[:, [0, 6]], r"takes channels 0, 6 of 6: take some of 0 to 5"),
    (lambda x: x[:, 6:], r"takes channels  of 6: take some of 0 to 5"),
    (lambda x: x[:, :, 1:], r"takes a part of a map: take every pixel"),
    (lambda x: x.view(1, 2, 3, 9, 9) + 1, r"computes with|adds something else"),
    (lambda x: x.view(1, 2, 3, 9, 9).relu(), r"reads channels as two axes, \(n, 2, 3, 9, 9\)"),
    (lambda x: x.transpose(0, 1), r"moves the axis of the images: keep axis 0 in front"),
    (lambda x: x.transpose(2, 3), r"puts axes \(6, 9, 9\) in the order \(1, 3, 2\)"),
    (lambda x: x.flatten(1)[:, 7:9], r"takes a part of a flattened map: take channels of the map"),
])
def test_torch_refusals(change: Callable[[Any], Any], words: str) -> None:
    import torch

    module = network(change, 6)
    with pytest.raises(UnsupportedModel, match=words):
        pt.from_torch(module, torch.randn(1, 2, 11, 11))


@PYTORCH
def test_parts_that_are_changed_in_place() -> None:
    """What is changed in one part of a split is not in the other; the whole is refused then."""
    import torch

    class Net(torch.nn.Module):
        def __init__(self, whole: bool) -> None:
            super().__init__()
            self.conv, self.fc, self.whole = torch.nn.Conv2d(2, 6, 3), torch.nn.Linear(6, 3), whole

        def forward(self, x: Any) -> Any:
            x = self.conv(x)
            one, other = x[:, :3], x[:, 3:]
            one = torch.relu_(one)
            parts = x if self.whole else torch.cat([one, other], 1)
            return self.fc(parts.mean((2, 3)))

    x = torch.randn(2, 2, 6, 6)
    module = Net(False)
    model = pt.from_torch(module, x)
    np.testing.assert_allclose(FloatTrainer(model.graph, model.params).logits(x.numpy()),
                               module(x).detach().numpy(), rtol=1e-4, atol=1e-5)
    with pytest.raises(UnsupportedModel, match="reads a view of a tensor that was changed"):
        pt.from_torch(Net(True), x)


@PYTORCH
def test_whole_channels_of_a_flattened_map() -> None:
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = torch.nn.Conv2d(2, 6, 3), torch.nn.Linear(32, 3)

        def forward(self, x: Any) -> Any:
            return self.fc(self.conv(x).flatten(1)[:, 32:64])

    module, x = Net(), torch.randn(2, 2, 6, 6)
    model = pt.from_torch(module, x)
    assert picks(model.graph) == [(2, 3)]
    np.testing.assert_allclose(FloatTrainer(model.graph, model.params).logits(x.numpy()),
                               module(x).detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.needs("torch", "onnx", "onnxruntime")
@pytest.mark.parametrize("name", sorted(set(CHANGES) - {"at places"}))  # PyTorch writes a loop
def test_onnx_of_torch(name: str, tmp_path: Path) -> None:
    """The file that PyTorch writes: Split, Slice, Gather, or Reshape and Transpose."""
    import onnxruntime
    import torch

    change, wanted, out = CHANGES[name]
    module, x = network(change, out), torch.randn(3, 2, 11, 10)
    module(x)
    path = tmp_path / "m.onnx"
    torch.onnx.export(module, (x[:1],), str(path), input_names=["x"], dynamo=False,
                      dynamic_axes={"x": {0: "n"}})
    model = pt.from_onnx(path)
    assert bool(picks(model.graph)) == bool(wanted)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(FloatTrainer(model.graph, model.params).logits(x.numpy()),
                               session.run(None, {"x": x.numpy()})[0], rtol=1e-4, atol=1e-5)


@pytest.mark.needs("keras", "torch")
@pytest.mark.filterwarnings("ignore")
def test_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices, a split, and channels shuffled by Reshape, Permute, Reshape."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    import keras
    from keras import layers

    start = keras.Input((8, 8, 2))
    x = layers.Conv2D(12, 3, name="first")(start)
    one, other = keras.ops.split(x, 2, axis=-1)
    one = layers.Conv2D(6, 1, name="second")(one)
    x = layers.Concatenate(name="join")([one, other[..., 1:]])
    x = layers.Conv2D(12, 1, name="third")(x)
    x = layers.Reshape((6, 6, 3, 4), name="apart")(x)
    x = layers.Permute((1, 2, 4, 3), name="turned")(x)
    x = layers.Reshape((6, 6, 12), name="together")(x)
    x = layers.Conv2D(3, 3, name="fourth")(x)
    model = keras.Model(start, layers.Dense(3)(layers.Flatten()(x)))
    images = np.random.default_rng(2).normal(size=(3, 8, 8, 2)).astype(np.float32)
    imported = pt.from_keras(model)
    assert picks(imported.graph) == [(0, 1, 2, 3, 4, 5), (6, 7, 8, 9, 10, 11), (1, 2, 3, 4, 5),
                                     (0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11)]
    got = FloatTrainer(imported.graph, imported.params).logits(images.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(got, np.asarray(model.predict(images, verbose=0)), rtol=1e-4,
                               atol=1e-5)
    for bad, words in (
            (lambda: layers.Permute((2, 1, 3))(start), r"puts axes in the order \(2, 1, 3\)"),
            (lambda: start[:, :4], r"takes a part of a map: take every pixel"),
            (lambda: start[..., 0], r"by something else than ranges: take a range of channels"),
            (lambda: keras.ops.split(start, 2, axis=1)[1], r"splits axis 1: split channels")):
        made = keras.Model(start, layers.Dense(2)(layers.Flatten()(bad())))
        with pytest.raises(UnsupportedModel, match=words):
            pt.from_keras(made)
