"""Activations that PyTorch code spells out: one layer each, in whichever form they are written."""

from __future__ import annotations

import math
from typing import Any

import pytest
from reference_models.lazy import Lazy
from test_torch_patterns import net, same, text_of

import pynq_train as pt
from pynq_train.graph.activation import Activate, Relu, Relu6
from pynq_train.graph.curves import Curve, Gelu, HardSigmoid, HardSwish, LeakyRelu, Sigmoid, Silu
from pynq_train.graph.ops import Multiply

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]

torch, nn, functional = Lazy("torch"), Lazy("torch.nn"), Lazy("torch.nn.functional")


FORMS: dict[str, tuple[Any, Activate | Curve]] = {
    "gelu": (lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))), Gelu()),
    "gelu factored": (lambda x: x * 0.5 * (1.0 + torch.erf(x * 0.70710678)), Gelu()),
    "gelu of a buffer": (lambda x: x * (torch.erf(x / torch.sqrt(torch.tensor(2.0))) + 1) / 2,
                         Gelu()),
    "tanh": (lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (
        x + 0.044715 * torch.pow(x, 3)))), Gelu(True)),
    "tanh of products": (lambda x: 0.5 * x * (1 + torch.tanh(
        x * 0.7978845608 * (1 + 0.044715 * x * x))), Gelu(True)),
    "tanh of a power": (lambda x: x.mul(0.5) * (torch.tanh(0.79788456 * (
        x + 0.044715 * x ** 3)).add(1)), Gelu(True)),
    "hardswish": (lambda x: x * functional.relu6(x + 3) / 6, HardSwish()),
    "hardswish in place": (lambda x: x * (functional.relu6(x + 3.0, inplace=True) / 6.0),
                           HardSwish()),
    "hardswish of clamp": (lambda x: x * (x + 3).clamp(0, 6) * (1 / 6), HardSwish()),
    "hardswish of limits": (lambda x: x * torch.clamp(x / 6 + 0.5, min=0.0, max=1.0), HardSwish()),
    "hard sigmoid": (lambda x: functional.relu6(x + 3) / 6, HardSigmoid()),
    "hard sigmoid in place": (lambda x: (x + 3).clamp_(0, 6).div_(6), HardSigmoid()),
    "silu": (lambda x: x / (1 + torch.exp(-x)), Silu()),
    "sigmoid": (lambda x: 0.5 * (1 + torch.tanh(x / 2)), Sigmoid()),
    "leaky": (lambda x: torch.maximum(x, 0.2 * x), LeakyRelu(0.2)),
    "relu6": (lambda x: x.clamp(0, 6), Relu6()), "relu": (lambda x: x.clamp(min=0), Relu())}


def around(between: Any, **parts: Any) -> Any:
    torch.manual_seed(4)
    return net(lambda m, x: m.last(between(m, m.conv(x)).flatten(1)), conv=nn.Conv2d(2, 4, 3),
               last=nn.Linear(64, 3), **parts).eval()


def activations(model: pt.Model) -> list[str]:
    return [op.kind for op in model.graph.ops if isinstance(op, (Activate, Curve))]


@pytest.mark.parametrize("form", FORMS)
def test_forms(form: str) -> None:
    function, wanted = FORMS[form]
    model = same(around(lambda m, x: function(x)), torch.randn(2, 2, 6, 6) * 3)
    assert [op.kind for op in model.graph.ops] == ["conv", wanted.kind, "flatten", "dense"]
    found = vars(model.graph.ops[1])
    assert {name: found[name] for name in vars(wanted) if name not in ("name", "inputs")} == {
        name: value for name, value in vars(wanted).items() if name not in ("name", "inputs")}


def test_modules_in_place() -> None:
    """As MobileNetV3 is often written."""
    module = around(lambda m, x: x * (m.part(x + 3) / 6), part=nn.ReLU6(inplace=True))
    assert activations(same(module, torch.randn(2, 2, 6, 6) * 3)) == ["hardswish"]


def test_gates_of_other_maps() -> None:
    module = around(lambda m, x: x * (functional.relu6(m.part(x) + 3) / 6), part=nn.Conv2d(4, 4, 1))
    model = same(module, torch.randn(2, 2, 6, 6) * 3)
    assert activations(model) == ["hardsigmoid"]
    assert any(isinstance(op, Multiply) for op in model.graph.ops)


def test_steps_that_others_read_stay() -> None:
    def both(m: Any, x: Any) -> Any:
        gate = torch.sigmoid(x)
        return x * gate + gate

    model = same(around(both), torch.randn(2, 2, 6, 6))
    assert sorted(activations(model)) == ["sigmoid", "silu"]


def test_a_source_that_changes_in_between() -> None:
    """The gate is of what was there before."""
    def forward(m: Any, x: Any) -> Any:
        y = m.part(x)
        gate = torch.sigmoid(y)
        functional.relu_(y)
        return y * gate

    model = same(around(forward, part=nn.Conv2d(4, 4, 1)), torch.randn(2, 2, 6, 6) * 3)
    assert sorted(activations(model)) == ["relu", "sigmoid"]


@pytest.mark.parametrize(("function", "text"), [
    (lambda x: x * torch.sigmoid(1.702 * x), "mul (mul) computes with a constant"),
    (lambda x: torch.erf(x), "erf (erf): replace it by supported"),
    (lambda x: x.clamp(0, 5), "clamp (clamp): replace it by supported"),
    (lambda x: x + torch.nn.functional.softplus(x), "softplus (softplus): replace it"),
    (lambda x: torch.add(x, x, alpha=-2).clamp(min=0), "adds something else than two maps")])
def test_what_is_like_an_activation_and_none(function: Any, text: str) -> None:
    assert text in text_of(around(lambda m, x: function(x)), torch.randn(2, 2, 6, 6))


def test_a_parameter_that_learns_is_no_number() -> None:
    module = around(lambda m, x: torch.maximum(x, m.slope * x),
                    slope=nn.Parameter(torch.tensor(0.2)))
    assert "(mul) computes with a constant" in text_of(module, torch.randn(2, 2, 6, 6))
