"""Habits of public PyTorch code: read as PyTorch means them, or refused with the reason."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest
from reference_models.lazy import Lazy

import pynq_train as pt
from pynq_train.errors import UnsupportedModel
from pynq_train.exchange.draft import Draft
from pynq_train.graph.reference import FloatTrainer

pytestmark = pytest.mark.oracle

torch, nn, functional = Lazy("torch"), Lazy("torch.nn"), Lazy("torch.nn.functional")


def net(forward: Any, **parts: Any) -> Any:
    """A module whose ``forward(m, x)`` is a function of itself and the images."""
    module = type("Net", (nn.Module,), {"forward": forward})()
    for name, part in parts.items():
        setattr(module, name, part)
    return module


def same(module: Any, x: Any) -> pt.Model:
    """Import a module; it says what PyTorch says, in evaluation."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = pt.from_torch(module, x)
    module.eval()
    with torch.no_grad():
        want = module(x.clone()).numpy()
    got = FloatTrainer(model.graph, model.params).logits(x.numpy())
    np.testing.assert_allclose(got, want.reshape(got.shape), rtol=1e-4, atol=1e-5)
    return model


def text_of(module: Any, x: Any) -> str:
    with pytest.raises(UnsupportedModel) as caught:
        pt.from_torch(module, x)
    return str(caught.value)


ENDS = {
    "size()[3]": lambda y: functional.avg_pool2d(y, y.size()[3]).view(y.size(0), -1),
    "shape[3]": lambda y: functional.avg_pool2d(y, y.shape[3]).flatten(1),
    "size(3)": lambda y: functional.avg_pool2d(y, y.size(3)).reshape(y.shape[0], -1),
    "shape[2:]": lambda y: functional.avg_pool2d(y, y.shape[2:]).view(-1, y.shape[1]),
    "size()[2:]": lambda y: functional.avg_pool2d(y, kernel_size=y.size()[2:]).squeeze(),
    "size(-1)": lambda y: functional.avg_pool2d(y, y.size(-1), 1).squeeze(3).squeeze(-1),
    "computed": lambda y: functional.avg_pool2d(y, (y.size(2) + y.size(3)) // 2).view(
        y.size(0), y.size(1) * 1),
    "unpacked": lambda y: unpacked(y),
    "joined": lambda y: y.view(y.size(0), y.size(1), -1).mean(2),
    "joined by flatten": lambda y: torch.flatten(y, 2).mean(dim=-1),
    "adaptive": lambda y: functional.adaptive_avg_pool2d(y, (1, 1)).view(y.size()[:2]),
    "mean, keepdim": lambda y: y.mean([2, 3], keepdim=True).flatten(1),
    "mean and back": lambda y: y.mean((2, 3)).unsqueeze(-1).unsqueeze(-1).reshape(-1, 8),
}


def unpacked(y: Any) -> Any:
    n, c, rows, cols = y.shape
    return functional.avg_pool2d(y, (rows, cols)).view(n, c)


@pytest.mark.parametrize("end", ENDS)
def test_sizes_that_the_module_reads(end: str) -> None:
    torch.manual_seed(0)
    way = ENDS[end]
    module = net(lambda m, x: m.dense(way(torch.relu(m.conv(x)))),
                 conv=nn.Conv2d(3, 8, 3, padding=1), dense=nn.Linear(8, 10))
    same(module, torch.randn(2, 3, 6, 6))


def test_flatten_variants_of_a_map() -> None:
    for way in (lambda y: y.view(y.size(0), -1), lambda y: y.view(-1, 8 * 16),
                lambda y: y.reshape((y.shape[0], 128)), lambda y: y.flatten(start_dim=1),
                lambda y: torch.reshape(y, (-1, y.shape[1] * y.shape[2] * y.shape[3])),
                lambda y: y.flatten(2).flatten(1), lambda y: y.contiguous().view(2, -1)):
        module = net(lambda m, x: m.dense(m.way(m.conv(x))), conv=nn.Conv2d(1, 8, 3),
                     dense=nn.Linear(128, 3), way=way)
        same(module, torch.randn(2, 1, 6, 6))
    mixed = net(lambda m, x: m.dense(m.conv(x).view(x.size(0) * 2, -1)), conv=nn.Conv2d(1, 8, 3),
                dense=nn.Linear(64, 3))
    assert "view (view) reshapes (n, 8, 4, 4) to (" in text_of(mixed, torch.randn(2, 1, 6, 6))


def test_images_with_channels_last_and_vectors_as_images() -> None:
    tail = {"conv": nn.Conv2d(3, 4, 3), "dense": nn.Linear(4 * 24, 3)}
    last = net(lambda m, x: m.dense(m.conv(x.permute(0, 3, 1, 2)).flatten(1)), **tail)
    x = torch.randn(2, 8, 6, 3)
    model = pt.from_torch(last, x)
    got = FloatTrainer(model.graph, model.params).logits(x.permute(0, 3, 1, 2).numpy())
    np.testing.assert_allclose(got, last(x).detach().numpy(), rtol=1e-4, atol=1e-5)
    # A Dense layer behind a map with channels last: its weights are put into another order.
    dense = net(lambda m, x: m.dense(m.conv(x).permute(0, 2, 3, 1).flatten(1)), **tail)
    same(dense, torch.randn(2, 3, 8, 6))
    vector = net(lambda m, x: m.dense(m.conv(x.view(-1, 3, 8, 6)).flatten(1)), **tail)
    model = pt.from_torch(vector, torch.randn(2, 144))
    assert model.graph.input_shape == (3, 8, 6)
    odd = net(lambda m, x: m.dense(m.conv(x.permute(0, 1, 3, 2)).flatten(1)), **tail)
    assert "permute (permute) puts axes (3, 8, 6) in the order (1, 3, 2)" in text_of(
        odd, torch.randn(2, 3, 8, 6))


POOLS = {
    "padding": (4, lambda: nn.AvgPool2d(4, 4, padding=1)),
    "inception": (3, lambda: nn.AvgPool2d(3, 1, 1)),
    "zeros do not count": (3, lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False)),
    "ceil": (8, lambda: nn.MaxPool2d(3, 2, ceil_mode=True)),
    "ceil without a rest": (7, lambda: nn.AvgPool2d(3, 2, ceil_mode=True)),
    "oblong map": (5, lambda: nn.AvgPool2d((5, 5))),
    "adaptive half": (8, lambda: nn.AdaptiveAvgPool2d(4)),
    "zeros, then maxima": (8, lambda: nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(3, 2))),
    "zeros, then means": (8, lambda: nn.Sequential(nn.ZeroPad2d(1), nn.AvgPool2d(3, 2))),
}


@pytest.mark.parametrize("pool", POOLS)
def test_pools(pool: str) -> None:
    torch.manual_seed(1)
    size, make = POOLS[pool]
    module = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), make(), nn.Flatten())
    x = torch.randn(3, 1, size, size)
    module.append(nn.Linear(module(x).shape[1], 3))
    same(module, x)


def test_pools_that_no_window_is_like() -> None:
    for make, text in (
            (lambda: nn.AvgPool2d(3, 1, 1, count_include_pad=False), "leaves its padding out"),
            (lambda: nn.AvgPool2d(3, 2, ceil_mode=True), "divide by fewer pixels"),
            (lambda: nn.AdaptiveAvgPool2d(3), "pools 8x8 to 3x3: pool to 1x1 or to a part"),
            (lambda: nn.MaxPool2d(4, 2), "has kernel 4: use a kernel of 3 at most")):
        assert text in text_of(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), make(), nn.Flatten()),
                               torch.randn(1, 1, 8, 8))


def test_zero_padding_modules() -> None:
    torch.manual_seed(2)
    for pad, size, kernel, stride in (((0, 1, 0, 1), 16, 3, 2), ((1, 1, 1, 1), 9, 3, 1),
                                      (2, 8, 5, 1), ((1, 0, 1, 0), 16, 3, 2)):
        module = nn.Sequential(nn.ZeroPad2d(pad), nn.Conv2d(1, 4, kernel, stride), nn.ReLU(),
                               nn.Flatten())
        x = torch.randn(2, 1, size, size)
        module.append(nn.Linear(module(x).shape[1], 3))
        same(module, x)
    assert "has padding (1, 3, 0, 0) (top, left, bottom, right)" in text_of(
        nn.Sequential(nn.ZeroPad2d((3, 0, 1, 0)), nn.Conv2d(1, 4, 3, 2)), torch.randn(1, 1, 15, 15))
    for pad, text in ((nn.ConstantPad2d(1, 0.5), "pads with something else than zeros"),
                      (nn.ZeroPad2d(-1), "cuts pixels off")):
        assert text in text_of(nn.Sequential(pad, nn.Conv2d(1, 4, 3)), torch.randn(1, 1, 8, 8))


def changed(way: str) -> Any:
    """Networks that change a tensor in place while another name has it, too."""
    def forward(m: Any, x: Any) -> Any:
        y = torch.relu(m.a(x))
        z = s = m.b(y)
        if way == "+=":
            s += y
        elif way == "add_":
            s.add_(y)
        elif way == "relu_":
            s = functional.relu(s, inplace=True)
        elif way == "module":
            s = m.act(s)
        return m.d((m.c(s) + z).mean((2, 3)))

    return net(forward, a=nn.Conv2d(1, 8, 3, padding=1), b=nn.Conv2d(8, 8, 3, padding=1),
               c=nn.Conv2d(8, 8, 1), d=nn.Linear(8, 3), act=nn.ReLU(inplace=True))


@pytest.mark.parametrize("way", ["+=", "add_", "relu_", "module"])
def test_changes_in_place_are_seen_under_all_names(way: str) -> None:
    torch.manual_seed(3)
    same(changed(way), torch.randn(4, 1, 7, 7))


def test_a_view_of_what_was_changed_is_refused() -> None:
    def forward(m: Any, x: Any) -> Any:
        y = m.a(x)
        flat = y.flatten(1)
        y += m.b(x)
        return m.d(flat) + m.d2(y.flatten(1))

    module = net(forward, a=nn.Conv2d(1, 4, 3), b=nn.Conv2d(1, 4, 3), d=nn.Linear(64, 3),
                 d2=nn.Linear(64, 3))
    assert "d (Linear) reads a view of a tensor that was changed in place" in text_of(
        module, torch.randn(1, 1, 6, 6))


def test_dropouts_that_are_off() -> None:
    def ops(way: Any, **modules: Any) -> list[pt.Dropout]:
        module = net(lambda m, x: m.b(way(m, torch.relu(m.a(x)))), a=nn.Linear(8, 8),
                     b=nn.Linear(8, 3), **modules)
        found = []
        for mode in (module.train(), module.eval()):
            model = pt.from_torch(mode, torch.zeros(1, 8))
            found.append([op for op in model.graph.ops if isinstance(op, pt.Dropout)])
            assert all(part.training == mode.training for part in module.modules())
        assert found[0] == found[1], "the mode of the module changes nothing"
        return found[0]

    assert not ops(lambda m, x: functional.dropout(x, 0.5, False))
    assert not ops(lambda m, x: functional.dropout(x, p=0.5, training=False))
    assert not ops(lambda m, x: functional.dropout(x, 0.0))
    assert not ops(lambda m, x: functional.dropout2d(x, 0.5, False))
    assert not ops(lambda m, x: m.drop(x), drop=nn.Dropout(0))
    assert [op.rate for op in ops(lambda m, x: functional.dropout(x, 0.3, m.training))] == [0.3]
    assert [op.rate for op in ops(lambda m, x: functional.dropout(x))] == [0.5]


def moved(module: Any, x: Any) -> dict[str, float]:
    """By how much parameters change in two epochs."""
    with pt.Learner(pt.from_torch(module, x), batch=8, optimizer=pt.SGD(lr=0.1)) as learner:
        before = learner.params
        images = np.random.default_rng(0).standard_normal((16, *x.shape[1:])).astype(np.float32)
        learner.fit(images, np.arange(16) % 4, epochs=2, progress=False)
        after = learner.params
    return {f"{name}.{part}": float(np.abs(getattr(after[name], part) - array).max())
            for name, own in before.items() for part in ("weight", "bias")
            if (array := getattr(own, part)) is not None}


def test_parameters_that_do_not_learn() -> None:
    module = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8, affine=False), nn.ReLU(),
                           nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(64, 4))
    module[0].bias.requires_grad = False
    module[3].requires_grad_(False)
    x = torch.zeros(1, 1, 8, 8)
    model = pt.from_torch(module, x)
    assert model.frozen == {"conv0.bias", "batchnorm1.weight", "batchnorm1.bias", "conv3.weight",
                            "conv3.bias"}
    assert model.trainable == ("conv0.weight", "dense5")
    assert ", frozen: 5 tensors, " in repr(model)
    change = moved(module, x)
    still = {name for name, by in change.items() if by == 0}
    assert still == set(model.frozen)


def test_a_module_in_which_nothing_learns_says_so() -> None:
    module = nn.Sequential(nn.Linear(4, 3)).requires_grad_(False)
    with pytest.warns(pt.ModelWarning, match="no parameter learns in the original; here all of"):
        model = pt.from_torch(module, torch.zeros(1, 4))
    assert model.trainable == "all"


def test_weights_that_are_used_twice_are_announced() -> None:
    twice = net(lambda m, x: m.d(m.a(m.act(m.a(x))).mean((2, 3))), a=nn.Conv2d(4, 4, 3, padding=1),
                act=nn.ReLU(), d=nn.Linear(4, 3))
    x = torch.randn(2, 4, 6, 6)
    with pytest.warns(pt.ModelWarning, match="a, a_2 share one tensor of weights; .*a copy of its"):
        model = pt.from_torch(twice, x)
    got = FloatTrainer(model.graph, model.params).logits(x.numpy())
    np.testing.assert_allclose(got, twice(x).detach().numpy(), rtol=1e-4, atol=1e-5)
    tied = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    tied[2].weight = tied[0].weight
    with pytest.warns(pt.ModelWarning, match="dense0, dense2 share one tensor"):
        pt.from_torch(tied, torch.zeros(1, 4))
    twice.a.requires_grad_(False)
    same(twice, x)  # what does not learn does not move apart: not a word


def test_functions_with_parameters() -> None:
    module = net(lambda m, x: functional.linear(functional.relu(functional.conv2d(
        x, m.w, m.b, stride=2, padding=1)).flatten(1), m.v),
        w=nn.Parameter(torch.randn(4, 1, 3, 3)),
        b=nn.Parameter(torch.randn(4)), v=nn.Parameter(torch.randn(3, 64)))
    same(module, torch.randn(2, 1, 8, 8))


def test_what_stands_behind_a_bad_part_is_listed_too() -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.SELU(), nn.Conv2d(8, 8, (3, 1), padding_mode="reflect"),
        nn.Softplus(), nn.Conv2d(8, 8, 3),
        nn.LocalResponseNorm(2), nn.PixelShuffle(2), nn.Conv2d(2, 4, 3, 1, 4, 6), nn.Flatten(),
        nn.Linear(4 * 20 * 16, 10))
    with torch.no_grad():
        module[4].weight *= 100
        module[9].bias[2] = float("nan")
    text = text_of(module, torch.zeros(1, 1, 16, 16))
    for part in ("has 8 unsupported nodes: ", "1 (SELU): use ELU", "2 (Conv2d) has padding_mode",
                 "3 (Softplus)", "5 (LocalResponseNorm): use BatchNorm2d", "6 (PixelShuffle)",
                 "7 (Conv2d) has kernel 3", "conv4 (weight) holds 11.", "dense9 (bias) holds NaN"):
        assert part in text, (part, text)


def test_numbers_that_the_masters_do_not_hold() -> None:
    for change, text in (
            ("3.weight", r"dense3 (weight) holds 40, and the engine's masters -8 to 8: divide its "
             "weights and biases by 8 and multiply the weights behind it"),
            ("0.bias", "conv0 (bias) holds 40"), ("1.weight", "batchnorm1 (weight) holds 40"),
            ("1.bias", "batchnorm1 (bias) holds 40"), ("3.bias", "dense3 (bias) holds 40")):
        module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(),
                               nn.Linear(144, 3))
        part, name = change.split(".")
        with torch.no_grad():
            getattr(module[int(part)], name).view(-1)[1] = -40
        assert text in text_of(module, torch.zeros(1, 1, 8, 8))
    module[3].bias.data.fill_(-7.99)
    module[1].running_var.fill_(1e6)
    pt.from_torch(module, torch.zeros(1, 1, 8, 8))


def test_a_sigmoid_at_the_end() -> None:
    """The binary cross-entropy has it; a squared error learns through it."""
    x = torch.randn(6, 4)
    for outputs in (1, 5):
        module = nn.Sequential(nn.Linear(4, outputs), nn.Sigmoid()).eval()
        model = pt.from_torch(module, x[:1])
        learner = pt.Learner(model, loss="binary-cross-entropy")
        with torch.no_grad():
            wanted, logits = module(x).numpy(), module[0](x).numpy()
        np.testing.assert_allclose(learner.logits(x.numpy()), logits, atol=1e-3)
        np.testing.assert_allclose(learner.predict_proba(x.numpy()).reshape(6, outputs), wanted,
                                   atol=1e-3)
        numbers = pt.Learner(model, loss="mse")
        np.testing.assert_allclose(numbers.predict(x.numpy()), wanted, atol=2e-3)


def test_a_normalisation_in_front_belongs_to_the_images() -> None:
    """(x - mean) / std of constants is the model's, as what a user states."""
    def forward(m: Any, x: Any) -> Any:
        return m.dense(m.conv(((x * 0.5) - m.mean) / m.std).flatten(1))

    module = net(forward, conv=nn.Conv2d(2, 4, 3), dense=nn.Linear(64, 3))
    module.register_buffer("mean", torch.tensor([0.1, -0.3]).view(1, 2, 1, 1))
    module.register_buffer("std", torch.tensor([0.5, 2.0]).view(2, 1, 1))
    x = torch.rand(4, 2, 6, 6)
    model = pt.from_torch(module, x)
    assert str(model.input_format) == ("images of any range, mean 0.2, -0.6, std 1, 4, "
                                       "channels first")
    with torch.no_grad():
        want = module(x).numpy()
    np.testing.assert_allclose(pt.Learner(model, batch=4).logits(x.numpy()), want, atol=5e-3)
    twice = net(lambda m, x: m.dense((m.conv(x) + m.conv2(x - 1.0)).flatten(1)),
                conv=nn.Conv2d(2, 4, 3), conv2=nn.Conv2d(2, 4, 3), dense=nn.Linear(64, 3))
    assert "sub (sub) computes with a constant: fold it" in text_of(twice, x)
    backwards = net(lambda m, x: m.dense((m.conv2(x - 1.0) + m.conv(x)).flatten(1)),
                    conv=nn.Conv2d(2, 4, 3), conv2=nn.Conv2d(2, 4, 3), dense=nn.Linear(64, 3))
    assert "conv (Conv2d) reads the input otherwise normalised" in text_of(backwards, x)
    below = net(lambda m, x: m.conv(x * -1.0), conv=nn.Conv2d(2, 4, 6))
    assert "mul (mul) normalises with something else than one factor above 0" in text_of(below, x)


def test_modules_of_other_types_and_in_wrappers() -> None:
    plain = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).eval()
    x = torch.zeros(1, 1, 6, 6)
    want = pt.from_torch(plain, x)
    for other in (torch.compile(plain), nn.DataParallel(plain), copy.deepcopy(plain).double()):
        got = pt.from_torch(other, x)
        assert got.graph.ops == want.graph.ops
        assert all(np.array_equal(own.weight, want.params[name].weight)
                   for name, own in got.params.items())
    for kind in (torch.bfloat16, torch.float16):
        got = pt.from_torch(copy.deepcopy(plain).to(kind), x.to(kind))
        assert all(np.allclose(own.weight, want.params[name].weight, rtol=1e-2, atol=1e-3)
                   for name, own in got.params.items())
    for bad, text in ((copy.deepcopy(plain).to("meta"), r"0 \(Conv2d\) has weights without data"),
                      (nn.Sequential(torch.nn.utils.parametrizations.weight_norm(
                          nn.Conv2d(1, 4, 3)), nn.Flatten(), nn.Linear(64, 3)),
                       r"0 \(ParametrizedConv2d\): first torch.*remove_parametrizations")):
        with pytest.raises(UnsupportedModel, match=text):
            pt.from_torch(bad, x)


def test_what_a_handler_does_not_expect_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no such thing\nsecond line")

    monkeypatch.setattr(Draft, "conv", broken)
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(UnsupportedModel, match=r"0 \(Conv2d\) has arguments that do not fit \(no"):
        pt.from_torch(module, torch.zeros(1, 1, 6, 6))


def test_a_forward_hook_is_refused() -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(64, 3))
    module[0].register_forward_hook(lambda own, given, made: made * 2)
    with pytest.raises(UnsupportedModel, match=r"0 \(Conv2d\) has a hook, which is not read"):
        pt.from_torch(module, torch.zeros(1, 1, 6, 6))
