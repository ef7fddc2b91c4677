"""Functions and methods of PyTorch behind a convolution, one by one: the same, or why not."""

from __future__ import annotations

from typing import Any

import pytest
from reference_models.lazy import Lazy
from test_torch_patterns import net, same, text_of

import pynq_train as pt

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]

torch, nn, functional = Lazy("torch"), Lazy("torch.nn"), Lazy("torch.nn.functional")


def pooled(y: Any) -> Any:
    return functional.avg_pool2d(y, 3, 1)


SAME = {
    "one map": lambda y: torch.cat([y], 1), "cat": lambda y: torch.cat([y, y], 1),
    "cat dim=-3": lambda y: torch.concat((y, y, y), dim=-3),
    "cat tensors=": lambda y: torch.concatenate(tensors=[y, y], dim=1),
    "add": lambda y: torch.add(y, y), "add other=": lambda y: torch.add(y, other=y),
    "add alpha=1": lambda y: torch.add(y, y, alpha=1), "y.add": lambda y: y.add(y),
    "iadd": lambda y: y.add_(torch.relu(y)),
    "pad rows and columns": lambda y: pooled(functional.pad(torch.relu(y), (1, 1, 1, 1))),
    "pad the end": lambda y: functional.max_pool2d(functional.pad(torch.relu(y), (0, 1, 0, 1)), 3,
                                                   2),
    "pad channels": lambda y: functional.pad(y, (0, 0, 0, 0, 2, 3)),
    "pad nothing": lambda y: functional.pad(y, (0, 0, 0, 0), "constant", 0.0),
    "pad value=0": lambda y: functional.pad(y, [0, 0, 0, 0, 1, 0], value=0, mode="constant"),
    "every pixel": lambda y: y[:, :, ::1, ::1], "every second": lambda y: y[:, :, ::2, ::2],
    "channels": lambda y: y[:, 1:], "every second channel": lambda y: y[:, ::2, ::2, ::2],
    "rows": lambda y: y[:, :, ::2],
    "every third": lambda y: y[:, :, 0::3, 0::3], "every third column": lambda y: y[:, :, ::2, ::3],
    "adaptive 1": lambda y: functional.adaptive_avg_pool2d(y, 1),
    "adaptive 8": lambda y: functional.adaptive_avg_pool2d(y, 8),
    "adaptive (None, 8)": lambda y: functional.adaptive_avg_pool2d(y, (None, 8)),
    "adaptive (8, None)": lambda y: functional.adaptive_avg_pool2d(y, (8, None)),
    "adaptive 4": lambda y: functional.adaptive_avg_pool2d(y, (4, 4)),
    "adaptive output_size=": lambda y: functional.adaptive_avg_pool2d(y, output_size=2),
    "mean": lambda y: y.mean((2, 3)), "mean keepdim": lambda y: y.mean((3, 2), keepdim=True),
    "mean dim=": lambda y: torch.mean(y, dim=[-1, -2]), "mean True": lambda y: y.mean([2, 3], True),
    "max": lambda y: functional.max_pool2d(y, 2),
    "max 3": lambda y: functional.max_pool2d(y, 3, 1, 1),
    "max ceil": lambda y: functional.max_pool2d(y, 3, stride=2, ceil_mode=True),
    "avg": lambda y: functional.avg_pool2d(y, 2),
    "avg counts": lambda y: functional.avg_pool2d(y, 3, 1, 1, count_include_pad=True),
    "dim()": lambda y: y.flatten(y.dim() - 3), "ndim": lambda y: y.flatten(y.ndim - 3),
    "flatten by name": lambda y: torch.flatten(y, start_dim=1, end_dim=3),
    "flatten -3": lambda y: torch.flatten(y, -3, -1), "size(dim=)": lambda y: y.view(
        y.size(dim=0), y.size(dim=1) * y.size(dim=2) * y.size(dim=3)),
    "view of a tuple": lambda y: y.view((y.size(0), -1)), "reshape shape=": lambda y: y.reshape(
        shape=(y.size(0), 256)), "unsqueeze": lambda y: y.mean((2, 3)).unsqueeze(2).unsqueeze(-1),
    "squeeze dims": lambda y: y.mean((2, 3), True).squeeze((2, 3)),
    "squeeze negative": lambda y: y.mean((2, 3), True).squeeze(-1).squeeze(-1),
    "contiguous": lambda y: y.contiguous(), "permute back": lambda y: y.permute(0, 2, 3, 1).permute(
        (0, 3, 1, 2)), "softmax": lambda y: y, "dropout off": lambda y: functional.dropout(
        y, 0.5, False), "dropout 0": lambda y: functional.dropout(y, p=0.0),
    "mul": lambda y: y * y,
}
REFUSED = {
    "add 1": (lambda y: y + 1.0, "adds something else than two maps"),
    "add alpha=2": (lambda y: torch.add(y, y, alpha=2), "adds something else than two maps"),
    "div": (lambda y: y / 2.0, "(truediv)"),
    "cat rows": (lambda y: torch.cat([y, y], 2), "joins along axis 2: join channels, dim=1"),
    "cat images": (lambda y: torch.cat([y, y]), "joins along axis 0: join channels"),
    "cat a constant": (lambda y: torch.cat([y, torch.zeros(1, 1, 8, 8)], 1), "joins something"),
    "reflect": (lambda y: functional.pad(y, (1, 1, 1, 1), "reflect"), "something else than zeros"),
    "circular": (lambda y: functional.pad(y, (1, 1, 1, 1), "circular"), "else than zeros"),
    "replicate": (lambda y: functional.pad(y, (1, 1), mode="replicate"), "else than zeros"),
    "pad 1": (lambda y: functional.pad(y, (1, 1), value=1.0), "something else than zeros"),
    "pad both": (lambda y: functional.pad(y, (1, 1, 0, 0, 1, 1)), "channels by themselves"),
    "pad images": (lambda y: functional.pad(y, (0, 0, 0, 0, 0, 0, 1, 1)), "pads (0, 0, 0, 0, 0, 0"),
    "from the second": (lambda y: y[:, :, 1::2, ::2], "takes a part of a map"),
    "to the last": (lambda y: y[:, :, :-1, ::1], "takes a part of a map"),
    "every second image": (lambda y: y[::2, :, ::2, ::2], "takes some of the images"),
    "adaptive 3": (lambda y: functional.adaptive_avg_pool2d(y, 3), "pools 8x8 to 3x3"),
    "adaptive (4, 3)": (lambda y: functional.adaptive_avg_pool2d(y, (4, 3)), "pools 8x8 to 4x3"),
    "mean channels": (lambda y: y.mean(1), "takes the mean over (1,)"),
    "mean rows": (lambda y: y.mean(2), "takes the mean over (2,)"),
    "mean all": (lambda y: y.mean(), "takes the mean over ()"),
    "flatten 0": (lambda y: torch.flatten(y), "flattens axes 0 .. -1: flatten from axis 1"),
    "images last": (lambda y: y.permute(1, 0, 2, 3), "moves the axis of the images"),
    "squeeze images": (lambda y: y.squeeze(0), "drops an axis of a map"),
    "squeeze rows": (lambda y: y.squeeze(2), "drops an axis of a map"),
    "attribute": (lambda y: y.T, "reads T: use shape alone"),
    "avg 3": (lambda y: functional.avg_pool2d(y, 3, 1, 1, False, False), "leaves its padding out"),
    "avg ceil": (lambda y: functional.avg_pool2d(y, 3, 2, ceil_mode=True, count_include_pad=False),
                 "windows at the border that divide by fewer pixels"),
    "divisor": (lambda y: functional.avg_pool2d(y, 2, divisor_override=3), "overrides the divisor"),
    "dilation": (lambda y: functional.max_pool2d(y, 2, dilation=2), "has dilation or returns"),
    "dilations": (lambda y: functional.max_pool2d(y, 2, dilation=(1, 2)), "has dilation or"),
    "softmax": (lambda y: torch.relu(torch.softmax(y, 1)), "is not the last part"),
    "alpha dropout": (lambda y: functional.alpha_dropout(y, 0.5, True), "is no plain dropout"),
}


def behind(call: Any) -> Any:
    torch.manual_seed(2)
    return net(lambda m, x: call(m.conv(x)).flatten(1), conv=nn.Conv2d(3, 4, 3, padding=1))


@pytest.mark.parametrize("call", SAME)
def test_calls_that_are_the_same(call: str) -> None:
    assert isinstance(same(behind(SAME[call]).eval(), torch.randn(2, 3, 8, 8)), pt.Model)


@pytest.mark.parametrize("call", REFUSED)
def test_calls_that_are_refused(call: str) -> None:
    function, text = REFUSED[call]
    assert text in text_of(behind(function).eval(), torch.randn(2, 3, 8, 8))


@pytest.mark.parametrize(("make", "text"), [
    (lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), "has padding_mode 'reflect'"),
    (lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), "has padding_mode 'circular'"),
    (lambda: nn.BatchNorm2d(3, track_running_stats=False), "keeps no running statistics"),
    (lambda: nn.BatchNorm2d(3, momentum=None), "keeps no running statistics with a momentum"),
    (lambda: nn.Linear(8, 2), "reads a map that is not flattened: put torch.flatten(x, 1) before"),
    (lambda: nn.ConstantPad2d(1, 2.0), "pads with something else than zeros"),
    (lambda: nn.ReflectionPad2d(1), "(ReflectionPad2d)"),
    (lambda: nn.AlphaDropout(0.5), "is no plain dropout: use Dropout")])
def test_modules_that_are_refused(make: Any, text: str) -> None:
    module = net(lambda m, x: m.part(x).flatten(1), part=make()).eval()
    assert text in text_of(module, torch.randn(2, 3, 8, 8))


@pytest.mark.parametrize("make", [
    lambda: nn.ZeroPad2d((0, 1, 2, 3)), lambda: nn.ConstantPad2d((1, 1, 1, 1), 0),
    lambda: nn.ConstantPad2d((1, 0, 1, 0), 0.0)])
def test_zeros_stand_where_the_module_puts_them(make: Any) -> None:
    torch.manual_seed(2)
    left, right, top, bottom = make().padding
    part = nn.Sequential(make(), nn.Conv2d(3, 4, 3))
    module, x = net(lambda m, x: m.part(x).flatten(1), part=part).eval(), torch.randn(2, 3, 8, 8)
    if max(left, right, top, bottom) < 3:
        same(module, x)
    else:
        assert f"has padding {(top, left, bottom, right)}" in text_of(module, x)


@pytest.mark.parametrize("affine", [True, False])
def test_a_normalisation_without_gamma_and_beta(affine: bool) -> None:
    torch.manual_seed(2)
    norm = nn.BatchNorm2d(3, affine=affine, eps=0.1, momentum=0.3)
    norm.running_mean.uniform_(1, 2)
    norm.running_var.uniform_(1, 2)
    if affine:
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.uniform_(norm.bias, 0.5, 2)
    model = same(net(lambda m, x: m.norm(m.conv(x)).flatten(1), norm=norm,
                     conv=nn.Conv2d(3, 3, 1)).eval(), torch.randn(2, 3, 8, 8))
    (found,) = (op for op in model.graph.ops if isinstance(op, pt.BatchNorm))
    assert (found.eps, found.momentum) == (0.1, 0.3)


@pytest.mark.parametrize("prepare", [
    lambda x: x * 2.0, lambda x: 2.0 * x, lambda x: x + 0.5, lambda x: 2 * x + 0.5,
    lambda x: (x - 0.5) / 0.25, lambda x: torch.add(x, torch.full((3, 1, 1), 0.5)),
    lambda x: torch.mul(torch.tensor(2.0), x)])
def test_images_are_prepared_by_constants(prepare: Any) -> None:
    """On either side of the images: it becomes mean and deviation of the model."""
    torch.manual_seed(2)
    module = net(lambda m, x: m.last(m.conv(prepare(x)).flatten(1)), conv=nn.Conv2d(3, 4, 3),
                 last=nn.Linear(144, 3)).eval()
    x = torch.randn(2, 3, 8, 8)
    model = pt.from_torch(module, x)
    assert model.input_format.seen is not None
    with torch.no_grad():
        want = module(x).numpy()
    learner = pt.Learner(model)
    assert abs(learner.logits(x.numpy()) - want).max() < 0.01 * abs(want).max()


def test_a_second_input_is_refused() -> None:
    module = net(lambda m, x, y: m.conv(x).flatten(1), conv=nn.Conv2d(3, 4, 3)).eval()
    module.forward = type(module).forward.__get__(module)
    assert "is a second input: use one input" in text_of(module, torch.randn(2, 3, 8, 8))


def dropped(forward: Any) -> list[float]:
    """Rates of the dropouts of a model whose last part is what ``forward`` makes of a map."""
    module = net(lambda m, x: forward(m, m.conv(x)).flatten(1), conv=nn.Conv2d(3, 4, 3)).eval()
    return [op.rate for op in pt.from_torch(module, torch.randn(2, 3, 8, 8)).graph.ops
            if isinstance(op, pt.graph.Dropout)]


def unlike(m: Any, y: Any) -> Any:
    """Something else in training."""
    return functional.dropout(torch.relu(y) if m.training else y, 0.5, m.training)


def untraceable(m: Any, y: Any) -> Any:
    """Something that cannot be traced in training."""
    return functional.dropout(y if not m.training or y.sum() > 0 else -y, 0.5, m.training)


@pytest.mark.parametrize(("forward", "rates"), [
    (lambda m, y: functional.dropout(y, 0.25, m.training), [0.25]),
    (lambda m, y: functional.dropout(y, 0.25), [0.25]),
    (lambda m, y: functional.dropout(y, 0.25, False), []), (unlike, []), (untraceable, [])])
def test_dropouts_of_modules_that_train_as_they_answer(forward: Any, rates: list[float]) -> None:
    assert dropped(forward) == rates
