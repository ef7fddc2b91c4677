"""Activations that ONNX files spell out: one layer each, in whichever form they are written."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_onnx_patterns import CONV, DENSE, X, node, refused, same, written

import pynq_train as pt
from pynq_train.exchange.formulas import Step, formulas
from pynq_train.graph.activation import Activate, Relu, Relu6
from pynq_train.graph.curves import (
    Curve,
    Elu,
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Sigmoid,
    Silu,
)
from pynq_train.graph.ops import Multiply

pytestmark = [pytest.mark.needs("onnx", "onnxruntime"),
              pytest.mark.filterwarnings("ignore::DeprecationWarning")]

NUMBERS = {
    "half": 0.5, "one": 1, "two": 2, "three": 3, "six": 6, "sixth": 1 / 6, "zero": 0, "fifth": 0.2,
    "root": math.sqrt(2), "rootish": 1.41421, "halfroot": math.sqrt(0.5), "bend": 0.044715,
    "by": math.sqrt(2 / math.pi), "quick": 1.702, "bound": 20}
FORMS: dict[str, tuple[str, Activate | Curve]] = {
    # "result = Kind inputs", one step after the other, of c to z.
    "pytorch": ("d = Div c root; e = Erf d; f = Add e one; g = Mul c f; z = Mul g half", Gelu()),
    "half first": ("h = Mul half c; d = Mul c halfroot; e = Erf d; f = Add one e; z = Mul h f",
                   Gelu()),
    "half of the sum": ("d = Div c rootish; e = Erf d; f = Add e one; g = Div f two; z = Mul g c",
                        Gelu()),
    "root of two": ("r = Sqrt two; d = Div c r; e = Erf d; f = Add e one; g = Mul f half; "
                    "z = Mul c g", Gelu()),
    "tanh": ("s = Mul c c; q = Mul c s; b = Mul bend q; a = Add c b; i = Mul by a; t = Tanh i; "
             "f = Add one t; h = Mul half c; z = Mul h f", Gelu(True)),
    "tanh of a power": ("q = Pow c three; b = Mul q bend; a = Add b c; i = Mul a by; t = Tanh i; "
                        "f = Add t one; g = Mul f c; z = Mul half g", Gelu(True)),
    "tanh factored": ("s = Mul c c; b = Mul s bend; o = Add b one; i = Mul c by; j = Mul i o; "
                      "t = Tanh j; f = Add t one; h = Mul c f; z = Div h two", Gelu(True)),
    "silu": ("s = Sigmoid c; z = Mul s c", Silu()),
    "silu of exp": ("n = Neg c; e = Exp n; a = Add e one; z = Div c a", Silu()),
    "hardswish": ("s = HardSigmoid c; z = Mul c s", HardSwish()),
    "hardswish of clip": ("a = Add c three; k = Clip a zero six; m = Mul c k; z = Div m six",
                          HardSwish()),
    "hardswish gate": ("a = Add three c; k = Clip a zero six; d = Mul k sixth; z = Mul d c",
                       HardSwish()),
    "hard sigmoid": ("a = Add c three; k = Clip a zero six; z = Div k six", HardSigmoid()),
    "hard sigmoid of another middle": ("a = Add c two; k = Clip a zero six; z = Div k six",
                                       HardSigmoid(1 / 6, float(str(np.float32(1 / 3))))),
    "hard sigmoid of Keras 2": ("a = Mul c fifth; b = Add a half; z = Clip b zero one",
                                HardSigmoid(0.2)),
    "sigmoid": ("n = Neg c; e = Exp n; a = Add e one; z = Reciprocal a", Sigmoid()),
    "relu": ("z = Max c zero", Relu()), "relu6": ("r = Relu c; z = Min r six", Relu6()),
    "leaky": ("a = Mul c fifth; z = Max a c", LeakyRelu(0.2)),
    "leaky with a condition": ("a = Mul c fifth; o = Greater c zero; z = Where o c a",
                               LeakyRelu(0.2)),
    "elu": ("n = Min c zero; e = Exp n; m = Sub e one; h = Mul m half; r = Relu c; z = Add r h",
            Elu(0.5))}


def nodes_of(form: str) -> list[Any]:
    """The nodes of a form, with a convolution in front."""
    made = [node("Conv", "x w", "c")]
    for step in form.split("; "):
        output, _, call = step.partition(" = ")
        kind, inputs = call.split(" ", 1)
        more: dict[str, Any] = {"alpha": 1 / 6} if kind == "HardSigmoid" else {}
        made.append(node(kind, inputs, output, **more))
    return made


def file_of(folder: Path, nodes: list[Any], stored: str = "initialiser") -> Path:
    """Write nodes; the numbers are initialisers or come from Constant nodes, on 0 to 2 axes."""
    from onnx import numpy_helper

    arrays = {name: np.full((1,) * (at % 3), value, np.float32)
              for at, (name, value) in enumerate(NUMBERS.items())}
    if stored == "node":
        nodes = [node("Constant", "", name, value=numpy_helper.from_array(array))
                 for name, array in arrays.items()] + nodes
        arrays = {}
    return written(folder, nodes, {"w": CONV * 3, "d400": DENSE, **arrays}, opset=15)


def ends(source: str) -> list[Any]:
    return [node("Flatten", source, "flat"), node("Gemm", "flat d400", "y", transB=1)]


def activations(model: pt.Model) -> list[Any]:
    return [op for op in model.graph.ops if isinstance(op, (Activate, Curve))]


@pytest.mark.parametrize(("form", "stored"), [
    *((form, "initialiser") for form in FORMS),
    *((form, "node") for form in ("pytorch", "tanh", "hardswish of clip"))])
def test_forms(form: str, stored: str, tmp_path: Path) -> None:
    text, wanted = FORMS[form]
    model = same(file_of(tmp_path, [*nodes_of(text), *ends("z")], stored), X)
    assert [op.kind for op in model.graph.ops] == ["conv", wanted.kind, "flatten", "dense"]
    (found,) = activations(model)
    own = {**vars(found), "name": "", "inputs": ()}
    assert type(found)(**own) == wanted
    assert found.name == "n_z"


def test_one_behind_the_other(tmp_path: Path) -> None:
    """What stands before a formula is no part of it; nor is what stands behind it."""
    first = FORMS["pytorch"][0].replace("z =", "u =")
    second = "a = Sigmoid v; z = Mul a v"
    form = f"p = Relu c; {first.replace(' c', ' p')}; v = Relu u; {second}"
    model = same(file_of(tmp_path, [*nodes_of(form), *ends("z")]), X)
    assert [op.kind for op in activations(model)] == ["relu", "gelu", "relu", "silu"]


def test_steps_that_others_read_stay(tmp_path: Path) -> None:
    form = "s = Sigmoid c; m = Mul c s; z = Add m s"
    model = same(file_of(tmp_path, [*nodes_of(form), *ends("z")]), X)
    assert sorted(op.kind for op in activations(model)) == ["sigmoid", "silu"]


def test_gates_of_other_maps_are_products(tmp_path: Path) -> None:
    form = "r = Relu c; a = Add c three; k = Clip a zero six; d = Div k six; z = Mul r d"
    nodes = nodes_of(form)
    nodes.insert(1, node("Conv", "x w", "c2"))
    nodes[2] = node("Relu", "c2", "r")
    with pytest.warns(pt.ModelWarning, match="share one tensor"):
        model = pt.load(file_of(tmp_path, [*nodes, *ends("z")]))
    assert isinstance(model, pt.Model)
    assert [op.kind for op in activations(model)] == ["relu", "hardsigmoid"]
    assert any(isinstance(op, Multiply) for op in model.graph.ops)


@pytest.mark.parametrize(("form", "text"), [
    ("q = Mul c quick; s = Sigmoid q; z = Mul c s", "n_q (Mul) computes with a constant"),
    ("r = Relu c; z = Min r bound", "n_z (Min)"),
    ("d = Div c root; e = Erf d; f = Add e one; z = Mul c f", "n_e (Erf)"),
    ("z = Mul c half", "n_z (Mul) computes with a constant")])
def test_what_is_like_an_activation_and_none(form: str, text: str, tmp_path: Path) -> None:
    assert text in refused(file_of(tmp_path, [*nodes_of(form), *ends("z")]))


def test_numbers_for_each_channel_are_no_formula(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "c"), node("Mul", "c k", "m"), node("Max", "m c", "z"), *ends("z")]
    path = written(tmp_path, nodes, {"w": CONV, "d400": DENSE,
                                     "k": np.full((4, 1, 1), 0.2, np.float32)})
    assert "n_m (Mul) computes with a constant" in refused(path)


def test_outputs_inside_a_formula_stay(tmp_path: Path) -> None:
    """The network's output has a reader whose result nobody wants."""
    nodes = [node("Conv", "x w", "c"), node("Flatten", "c", "f"), node("MatMul", "f d", "l"),
             node("Sigmoid", "l", "y"), node("Mul", "l y", "z")]
    model = pt.load(written(tmp_path, nodes, {"w": CONV, "d": DENSE.T}))
    assert isinstance(model, pt.Model) and model.graph.classes == 10


def test_long_chains_end() -> None:
    """More steps than any formula has are left alone."""
    steps = {"a0": Step(("x",), np.negative)}
    steps |= {f"a{at}": Step((f"a{at - 1}",), np.negative) for at in range(1, 41)}
    steps["z"] = Step(("a40", 0.0), np.maximum)
    assert formulas(steps) == {"z": formulas(steps)["z"]}
    assert formulas(steps)["z"].source != "x" and isinstance(formulas(steps)["z"].op, Relu)

