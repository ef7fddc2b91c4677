"""PyTorch modules against the float reference on what was imported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from reference_models.lazy import Lazy

import pynq_train as pt
from pynq_train.check.verify import verify
from pynq_train.errors import BadInput, UnsupportedModel
from pynq_train.graph.reference import FloatTrainer
from pynq_train.layers import fuse, kinds

pytestmark = pytest.mark.oracle

torch, nn, functional = Lazy("torch"), Lazy("torch.nn"), Lazy("torch.nn.functional")
torch_nets = Lazy("torch_nets")


def randomised(module: nn.Module) -> nn.Module:
    """Every statistic and gamma differs from its start."""
    torch.manual_seed(3)
    for part in module.modules():
        if isinstance(part, (nn.BatchNorm2d, nn.BatchNorm1d)):
            nn.init.normal_(part.running_mean)
            nn.init.uniform_(part.running_var, 0.5, 2)
            nn.init.normal_(part.weight)
    return module.eval()


def log_softmax(z: np.ndarray) -> np.ndarray:
    shifted = z - z.max(1, keepdims=True)
    result: np.ndarray = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return result


def test_residual_network() -> None:
    module, x = randomised(torch_nets.Net()), torch.randn(3, 3, 32, 32)
    model = pt.from_torch(module, x)
    want = module(x).detach().numpy()
    got = log_softmax(FloatTrainer(model.graph, model.params).logits(x.numpy()))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    ops = {op.name: op for op in model.graph.ops}
    assert ops["blocks.0.conv2"].groups == 8 and ops["blocks.1.norm1"].momentum == 0.2
    assert ops["stem.2"] == pt.MaxPool(3, 2, 1, "stem.2", ())
    assert "blocks.1.skip.0" in ops and ops["drop"].rate == 0.2


def test_concatenated_channels() -> None:
    module, x = randomised(torch_nets.Concatenated()), torch.randn(3, 3, 10, 10)
    model = pt.from_torch(module, x)
    got = FloatTrainer(model.graph, model.params).logits(x.numpy())
    np.testing.assert_allclose(got, module(x).detach().numpy(), rtol=1e-4, atol=1e-5)
    layers = fuse(model.graph)
    assert sum(layer.kind.joins for layer in layers) == 5
    assert sum(layer.kind == kinds.ADD for layer in layers) == 0, "nothing is copied"


def test_groups_of_any_shape() -> None:
    """A multiplier, groups that widen, and odd ones; on the engine too."""
    torch.manual_seed(4)
    module = nn.Sequential(
        nn.Conv2d(2, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, groups=16), nn.ReLU(),
        nn.Conv2d(32, 64, 3, groups=2), nn.ReLU(), nn.Conv2d(64, 30, 1, groups=2), nn.Flatten(),
        nn.Linear(30 * 16, 3)).eval()
    x = torch.randn(4, 2, 8, 8)
    model, want = pt.from_torch(module, x), module(x).detach().numpy()
    got = FloatTrainer(model.graph, model.params).logits(x.numpy())
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    learner = pt.Learner(model, batch=4)
    np.testing.assert_allclose(learner.logits(x.numpy()), want, atol=2e-3)
    assert [p.weight.shape for p in learner.params.values()] == [
        tuple(module[at].weight.shape) for at in (0, 2, 4, 6, 8)]


def test_shortcuts_that_pad_channels() -> None:
    """ResNet's option A: every second pixel, and channels of zeros; their weights never learn."""
    class Shortcut(nn.Module):
        def __init__(self, index: tuple) -> None:
            super().__init__()
            self.stem, self.conv = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 3, 2, 1)
            self.fc, self.index = nn.Linear(16, 4), index

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = functional.pad(x, (1, 1, 1, 1), "constant", 0)
            x = torch.relu(self.stem(x))
            x = self.conv(x) + functional.pad(x[self.index], (0, 0, 0, 0, 4, 4))
            return self.fc(torch.relu(x).mean((2, 3)))

    whole = slice(None)
    module, x = Shortcut((whole, whole, slice(None, None, 2), slice(0, None, 2))), torch.randn(
        2, 3, 9, 8)
    model = pt.from_torch(module, x)
    got = FloatTrainer(model.graph, model.params).logits(x.numpy())
    np.testing.assert_allclose(got, module(x).detach().numpy(), rtol=1e-4, atol=1e-5)
    layers = {layer.copies: layer for layer in fuse(model.graph)}
    padded = layers[(-1,) * 4 + tuple(range(8)) + (-1,) * 4]
    assert padded.average and padded.weight_shape == (16, 8, 1, 1)
    index = (whole, whole, slice(1, None, 2), slice(1, None, 2))
    with pytest.raises(UnsupportedModel, match=r"takes a part of a map: take every pixel, or"):
        pt.from_torch(Shortcut(index), x)
    with pytest.raises(UnsupportedModel, match=r"has stride 5: use a stride of 4 at most"):
        pt.from_torch(Shortcut((whole, whole, slice(None, None, 5), slice(None, None, 5))), x)


def test_plain_network_with_vector_norm() -> None:
    module, x = randomised(torch_nets.Plain()), torch.randn(4, 1, 14, 14)
    model = pt.from_torch(module, x)
    got = log_softmax(FloatTrainer(model.graph, model.params).logits(x.numpy()))
    np.testing.assert_allclose(np.exp(got), module(x).detach().numpy(), rtol=1e-4, atol=1e-6)


def test_dropout_of_a_module_is_one_of_the_engine() -> None:
    module = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Dropout(0.25), nn.Flatten(),
                           nn.Linear(128, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 3))
    model = pt.from_torch(module, torch.zeros(1, 1, 6, 6))
    layers = fuse(model.graph)
    assert [str(layer.kind) for layer in layers] == ["conv", "drop", "dense", "drop", "dense"]
    assert [layer.drop.rate for layer in layers if layer.drop] == [0.25, 0.5]


def test_an_imported_module_trains_on_the_engine() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
                           nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10))
    data = pt.load_digits()
    assert data.test is not None
    optimiser = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    x, y = torch.tensor(data.train.x), torch.tensor(data.train.y)
    for begin in range(0, 1400, 64):
        optimiser.zero_grad()
        functional.cross_entropy(module(x[begin : begin + 64]), y[begin : begin + 64]).backward()
        optimiser.step()
    module.eval()
    model = pt.from_torch(module, x[:1])
    folded = pt.fold_batchnorm(model.graph, model.params)
    with pt.Learner(folded, batch=32, optimizer=pt.SGD(lr=0.01)) as learner:
        want = module(torch.tensor(data.test.x)).argmax(1).numpy()
        assert (learner.predict(data.test.x) == want).mean() > 0.99
        before = learner.evaluate(data.test.x, data.test.y).accuracy
        learner.fit(data.train.x, data.train.y, progress=False)
        assert learner.evaluate(data.test.x, data.test.y).accuracy > before


def test_all_unsupported_parts_are_listed_at_once() -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 4, (3, 5), (5, 1)), nn.Conv2d(1, 4, 3, 1, 4, 6), nn.Mish(),
        nn.Conv2d(4, 4, 3))

    class Bad(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = module

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            a, b, c = self.parts[0](x), self.parts[1](x), self.parts[2](x)
            d = functional.selu(x) + x
            e = functional.avg_pool2d(x[:, :, ::2, ::2], 3, 3, ceil_mode=True)
            return self.parts[3](c) + a + b + d + e + torch.fft.rfft(x)

    with pytest.raises(UnsupportedModel) as caught:
        pt.from_torch(Bad(), np.zeros((1, 1, 9, 9)))
    text = str(caught.value)
    for part in ("network 'Bad' has 7 unsupported nodes: ",
                 "parts.0 (Conv2d) has stride 5x1: use a stride of 4 at most",
                 "parts.1 (Conv2d) has kernel 3 with dilation 6, which reaches over 13: let it",
                 "parts.2 (Mish): use SiLU", "selu (selu): use ELU",
                 "avg_pool2d (avg_pool2d) has windows at the border that divide by fewer pixels: ",
                 "parts.3 (Conv2d) has weights of shape (4, 4, 3, 3) in 1 group for 1 channels: ",
                 "(fft_rfft): replace it by supported modules: AdaptiveAvgPool1d, "):
        assert part in text, part


def test_bad_arguments() -> None:
    with pytest.raises(BadInput, match=r"module: expected a torch\.nn\.Module, found int"):
        pt.from_torch(3, np.zeros((1, 1, 8, 8)))
    with pytest.raises(BadInput, match=r"example: expected shape .*found \(1, 8\)|\(8,\)"):
        pt.from_torch(nn.ReLU(), np.zeros(8))

    class Branches(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(UnsupportedModel, match=r"'Branches' cannot be traced .*use from_onnx"):
        pt.from_torch(Branches(), np.zeros((1, 1, 8, 8)))


@pytest.mark.needs("onnx", "onnxruntime")
@pytest.mark.filterwarnings("ignore")
def test_files_that_pytorch_writes(tmp_path: Path) -> None:
    module, x = randomised(torch_nets.Plain()), torch.randn(4, 1, 14, 14)
    torch.onnx.export(module, (x,), str(tmp_path / "t.onnx"), dynamo=False, input_names=["x"],
                      training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False)
    model = pt.from_onnx(tmp_path / "t.onnx")
    got = log_softmax(FloatTrainer(model.graph, model.params).logits(x.numpy()))
    np.testing.assert_allclose(np.exp(got), module(x).detach().numpy(), rtol=1e-4, atol=1e-6)


def test_pooling_of_any_window_runs_on_the_engine() -> None:
    """The stem of ResNet, and pooling with and without overlap behind a normalisation."""
    module = randomised(nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.MaxPool2d(3, 2, 1), nn.Conv2d(8, 6, 3, padding=1), nn.MaxPool2d(3, 2), nn.ReLU(),
        nn.MaxPool2d(3, 1, 1), nn.Flatten(), nn.Linear(54, 3)))
    model = pt.from_torch(module, torch.randn(2, 2, 14, 14))
    layers = fuse(model.graph)
    assert [str(layer.kind) for layer in layers] == ["conv", "norm", "pool", "conv", "pool", "pool",
                                                "dense"]
    assert verify(model.graph, batch=3, steps=1, board="golden", seed=1).mismatches == 0


def test_operations_keep_their_names() -> None:
    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)
            self.three, self.four = nn.ReLU6(), nn.Conv2d(8, 8, 3, padding=1, groups=8)
            self.nine, self.ten = nn.MaxPool2d(2), nn.AvgPool2d(3, 1)
            self.eleven, self.twelve = nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1)
            self.thirteen, self.fourteen = nn.Flatten(), nn.Linear(144, 16)
            self.sixteen = nn.Linear(16, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = skip = self.three(self.two(self.one(x)))
            x = torch.cat([torch.relu(self.four(x)) + skip, skip], 1)
            x = self.eleven(self.ten(self.nine(x)))
            mean = self.twelve(x).flatten(1)
            return self.sixteen(torch.relu(self.fourteen(self.thirteen(x))) + mean)

    model = pt.from_torch(Net().eval(), torch.zeros(1, 3, 12, 12))
    assert [op.name for op in model.graph.ops] == [
        "one", "two", "three", "four", "relu", "add", "cat", "nine", "ten", "eleven", "twelve",
        "thirteen", "fourteen", "relu_1", "add_1", "sixteen"]
