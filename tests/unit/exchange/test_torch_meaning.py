"""What a PyTorch module really computes: hooks, arguments, orders of axes, tensors it shares."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from reference_models.lazy import Lazy
from test_torch_patterns import net, text_of

import pynq_train as pt
from pynq_train.errors import UnsupportedModel
from pynq_train.graph.reference import FloatTrainer
from pynq_train.train.images import ImageSource

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]

torch, nn, functional = Lazy("torch"), Lazy("torch.nn"), Lazy("torch.nn.functional")


def images() -> Any:
    torch.manual_seed(1)
    return torch.randn(2, 3, 8, 8)


def behind(forward: Callable[[Any, Any], Any], features: int = 256) -> Any:
    """A module with a convolution, and a dense layer behind what ``forward`` makes of it."""
    torch.manual_seed(2)
    return net(lambda m, x: m.fc(forward(m, x)), conv=nn.Conv2d(3, 4, 3, padding=1),
               fc=nn.Linear(features, 5)).eval()


def same(module: Any, wanted: Any = None) -> pt.Model:
    """The module and its import answer alike, mean and deviation of the images included."""
    x = images()
    with torch.no_grad():
        wanted = module(x.clone()) if wanted is None else wanted
    model = pt.from_torch(module, x)
    seen = ImageSource(x.numpy(), (3, 8, 8), model.input_format, set()).take(slice(0, 2))
    got = FloatTrainer(model.graph, model.params).logits(seen)
    np.testing.assert_allclose(got, wanted.detach().numpy(), rtol=1e-4, atol=1e-5)
    return model


SAME = {
    "sub alpha": lambda m, x: m.conv(torch.sub(x, 0.5, alpha=2)).flatten(1),
    "add alpha": lambda m, x: m.conv(torch.add(x, 0.5, alpha=2)).flatten(1),
    "a number in front": lambda m, x: m.conv(0.5 + 2 * x).flatten(1),
    "sum": lambda m, x: sum([m.conv(x), torch.relu(m.conv(x))]).flatten(1),
    "numel": lambda m, x: m.conv(x).view(-1, m.conv(x).numel() // x.shape[0]),
    "float": lambda m, x: m.conv(x.float() / 255).flatten(1),
    "memory_format": lambda m, x: m.conv(x.contiguous(memory_format=torch.channels_last)
                                         ).flatten(1),
    "rounding_mode=None": lambda m, x: m.conv(torch.div(x, 2, rounding_mode=None)).flatten(1),
}
MEANS = {
    "axis=": lambda m, x: m.conv(x).mean(axis=(2, 3)),
    "keepdims=": lambda m, x: m.conv(x).mean((2, 3), keepdims=True).flatten(1),
}
REFUSED = {
    "floor": (lambda m, x: m.conv(torch.div(x, 0.5, rounding_mode="floor")).flatten(1),
              "has the argument rounding_mode='floor', which is not read: leave it out"),
    "trunc": (lambda m, x: m.conv(x.div(0.5, rounding_mode="trunc")).flatten(1),
              "has the argument rounding_mode='trunc'"),
    "pool of columns and channels": (
        lambda m, x: functional.adaptive_avg_pool2d(m.conv(x).permute(0, 2, 3, 1), 1).flatten(1),
        "pools (n, 8, 8, 4), whose last axes are not rows and columns: permute it to channels "
        "first"),
    "pool of a batch": (
        lambda m, x: functional.adaptive_avg_pool2d(m.conv(x).flatten(2), 1).flatten(1),
        "pools (n, 4, 64), whose last axes"),
}


@pytest.mark.parametrize("name", SAME)
def test_arguments_that_are_read(name: str) -> None:
    assert same(behind(SAME[name])).graph.classes == 5


@pytest.mark.parametrize("name", MEANS)
def test_names_of_numpy_are_read(name: str) -> None:
    assert same(behind(MEANS[name], features=4)).graph.classes == 5


@pytest.mark.parametrize("name", REFUSED)
def test_arguments_and_axes_that_are_refused(name: str) -> None:
    forward, text = REFUSED[name]
    assert text in text_of(behind(forward, features=8), images())


def plain(convolution: Any) -> Any:
    torch.manual_seed(3)
    return nn.Sequential(convolution, nn.Flatten(), nn.Linear(256, 5)).eval()


def other_values(module: Any) -> None:
    """Give a module other parameters without calling it: what hooks made of the old ones is old."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.25)


@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm", "prune"])
def test_weights_that_hooks_compute_are_those_of_now(name: str) -> None:
    from torch.nn.utils import prune

    layer = nn.Conv2d(3, 4, 3, padding=1)
    if name == "prune":
        prune.l1_unstructured(layer, "weight", 0.5)
    else:
        layer = getattr(torch.nn.utils, name)(layer)
    module = plain(layer)
    other_values(module[0])
    model = pt.from_torch(module, images())  # first: the module's own call renews them
    wanted = module(images()).detach().numpy()
    got = FloatTrainer(model.graph, model.params).logits(images().numpy())
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
    assert model.frozen == frozenset()


@pytest.mark.parametrize("hook", ["register_forward_hook", "register_forward_pre_hook"])
def test_other_hooks_of_a_layer_are_refused(hook: str) -> None:
    module = plain(nn.Conv2d(3, 4, 3, padding=1))
    getattr(module[0], hook)(lambda own, given, *made: None)
    assert "0 (Conv2d) has a hook, which is not read: put it into forward()" in text_of(
        module, images())


def test_a_hook_of_the_whole_is_traced() -> None:
    module = plain(nn.Conv2d(3, 4, 3, padding=1))
    module.register_forward_pre_hook(lambda own, given: (given[0] * 2,))
    same(module)
    module.register_forward_hook(lambda own, given, made: made * 2)
    assert "(mul) computes with a constant" in text_of(module, images())


def test_a_changed_forward_is_traced_or_refused() -> None:
    module = plain(nn.Conv2d(3, 4, 3, padding=1))
    module.forward = lambda x: nn.Sequential.forward(module, x * 2)
    same(module)
    module[0].forward = lambda x: x
    assert "0 (Conv2d) has a forward() of its own: derive a class" in text_of(module, images())


def test_arguments_with_defaults_are_left_at_them() -> None:
    def forward(m: Any, x: Any, mask: Any = None, features: bool = False, *, scale: int = 1) -> Any:
        y = m.conv(x).flatten(1) if mask is None else x * mask
        return y if features else m.fc(y * scale if scale > 1 else y)

    same(net(forward, conv=nn.Conv2d(3, 4, 3, padding=1), fc=nn.Linear(256, 5)).eval())


@pytest.mark.parametrize(("made", "found"), [
    (lambda y: (y, y), "a tuple of 2"), (lambda y: {"a": y, "b": y, "c": y}, "a dict of 3"),
    (lambda y: [], "a tuple of 0"), (lambda y: None, "None")])
def test_one_output_is_wanted(made: Callable[[Any], Any], found: str) -> None:
    module = net(lambda m, x: made(m.conv(x).flatten(1)), conv=nn.Conv2d(3, 4, 3))
    assert f"expected one output: the logits, found {found}; return the logits alone" in text_of(
        module, images())


def test_an_output_in_a_container_is_taken() -> None:
    module = net(lambda m, x: {"logits": m.conv(x).flatten(1)}, conv=nn.Conv2d(3, 4, 3))
    assert same(module, module(images())["logits"]).graph.classes == 144


def test_torchscript_is_named() -> None:
    with pytest.raises(UnsupportedModel, match="expected a module of Python, found TorchScript"):
        pt.from_torch(torch.jit.trace(plain(nn.Conv2d(3, 4, 3, padding=1)), images()), images())


@pytest.mark.parametrize("rows", [1, 2])
def test_outputs_are_counted_as_in_the_original(rows: int) -> None:
    """An output of two rows with channels last has them in another order than a map here."""
    module = net(lambda m, x: functional.adaptive_avg_pool2d(m.conv(x), rows).permute(0, 2, 3, 1)
                 .flatten(1), conv=nn.Conv2d(3, 4, 3, padding=1))
    if rows == 1:
        same(module)
        return
    assert ("expected outputs that are counted channel by channel, found (n, 16), whose channels "
            "are counted fastest") in text_of(module, images())


def test_a_normalisation_without_a_deviation_is_refused() -> None:
    norm = nn.BatchNorm2d(4, eps=0.0)
    norm.running_var.zero_()
    module = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), norm, nn.Flatten(), nn.Linear(256, 5))
    assert "1 (BatchNorm2d) divides by a deviation of 0: give it an eps" in text_of(
        module, images())


def shared(what: str) -> Any:
    """A module of two equal layers that have one tensor."""
    a, b = ((nn.BatchNorm2d(3), nn.BatchNorm2d(3)) if what == "gamma" else
            (nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)))
    if what == "bias":
        b.bias = a.bias
    elif what == "memory":
        b.weight.data = a.weight.data
    elif what == "gamma":
        b.weight = a.weight
    return net(lambda m, x: m.fc(m.b(torch.relu(m.a(x))).flatten(1)), a=a, b=b,
               fc=nn.Linear(192, 5)).eval()


@pytest.mark.parametrize(("what", "told"), [
    ("bias", ["a, b share one tensor of biases"]), ("memory", ["a, b share one tensor of weights"]),
    ("gamma", ["a, b share one tensor of weights"]), ("nothing", [])])
def test_one_tensor_in_two_layers_is_told(what: str, told: list[str]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pt.from_torch(shared(what), images())
    found = [str(one.message) for one in caught if "share one tensor" in str(one.message)]
    assert len(found) == len(told) and all(text in one for text, one in zip(told, found))


@pytest.mark.parametrize("still", [False, True])
def test_layers_without_gradients_are_told(still: bool) -> None:
    def forward(m: Any, x: Any) -> Any:
        with torch.set_grad_enabled(not still):
            y = torch.relu(m.conv(x)).flatten(1)
        return m.fc(y)

    module = net(forward, conv=nn.Conv2d(3, 4, 3, padding=1), fc=nn.Linear(256, 5)).eval()
    with torch.no_grad(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pt.from_torch(module, images())  # without gradients around all of it: that says nothing
    found = [str(one.message) for one in caught if "torch.no_grad" in str(one.message)]
    assert len(found) == still
    assert not still or "network 'Net': conv are computed without gradients" in found[0]


def test_a_result_that_goes_elsewhere_is_refused() -> None:
    def forward(m: Any, x: Any) -> Any:
        y = m.conv(x)
        return torch.add(y, y, out=y).flatten(1)

    assert "add (add) has the argument out=, which is not read: leave it out" in text_of(
        net(forward, conv=nn.Conv2d(3, 4, 3)), images())
