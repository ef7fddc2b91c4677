"""Activations by tables and products of maps from PyTorch, ONNX and Keras, and back to ONNX."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import UnsupportedModel
from pynq_train.exchange.curves import KERAS_FUNCTIONS, KERAS_LAYERS, ONNX
from pynq_train.exchange.windows import Refused
from pynq_train.graph.curves import (
    CURVES,
    Curve,
    Elu,
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Sigmoid,
    Silu,
    Tanh,
)
from pynq_train.graph.ops import Multiply
from pynq_train.graph.reference import FloatTrainer

torch = pytest.importorskip("torch")
nn, functional = torch.nn, torch.nn.functional
Call = Callable[[Any], Any]

MODULES = (
    (nn.LeakyReLU(), LeakyRelu(0.01)), (nn.LeakyReLU(0.2), LeakyRelu(0.2)), (nn.ELU(), Elu()),
    (nn.ELU(0.5), Elu(0.5)), (nn.Sigmoid(), Sigmoid()), (nn.Tanh(), Tanh()), (nn.SiLU(), Silu()),
    (nn.Hardswish(), HardSwish()), (nn.Hardsigmoid(), HardSigmoid()), (nn.GELU(), Gelu()),
    (nn.GELU("tanh"), Gelu(True)), (nn.SiLU(inplace=True), Silu()))
FUNCTIONS: tuple[tuple[Call, Curve], ...] = (
    (lambda x: functional.leaky_relu(x, 0.3), LeakyRelu(0.3)),
    (lambda x: functional.leaky_relu(x, negative_slope=0.3), LeakyRelu(0.3)),
    (functional.elu, Elu()), (lambda x: functional.elu(x, alpha=1.5), Elu(1.5)),
    (functional.silu, Silu()), (functional.hardswish, HardSwish()),
    (functional.hardsigmoid, HardSigmoid()), (functional.gelu, Gelu()),
    (lambda x: functional.gelu(x, approximate="tanh"), Gelu(True)), (torch.sigmoid, Sigmoid()),
    (lambda x: x.tanh(), Tanh()), (lambda x: x.sigmoid(), Sigmoid()), (torch.tanh, Tanh()),
    (lambda x: x * torch.sigmoid(x), Silu()), (lambda x: x.sigmoid() * x, Silu()),
    (lambda x: x * functional.hardsigmoid(x), HardSwish()),
    (lambda x: torch.mul(x, torch.sigmoid(x)), Silu()))


class Around(nn.Module):
    """A convolution, something, a classifier."""

    def __init__(self, between: Call) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.between = nn.Conv2d(2, 6, 3), between
        self.dense = nn.Linear(6 * 16, 3)

    def forward(self, x: Any) -> Any:
        return self.dense(torch.flatten(self.between(self.conv(x)), 1))


class Squeeze(nn.Module):
    """Squeeze-and-excitation in one of the forms that people write."""

    def __init__(self, form: str) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.form, self.conv = form, nn.Conv2d(2, 6, 3)
        self.pool, self.one, self.two = nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 3, 1), nn.Conv2d(
            3, 6, 1)
        self.small, self.large, self.dense = nn.Linear(6, 3), nn.Linear(3, 6), nn.Linear(6 * 16, 3)

    def forward(self, x: Any) -> Any:
        x = self.conv(x)
        if self.form == "conv":
            s = functional.hardsigmoid(self.two(functional.relu(self.one(self.pool(x)))))
            x = s * x
        elif self.form == "linear":
            s = torch.sigmoid(self.large(functional.silu(self.small(x.mean((2, 3))))))
            x = x * s.view(s.size(0), -1, 1, 1)
        else:
            s = torch.sigmoid(self.large(functional.relu(self.small(self.pool(x).flatten(1)))))
            x = x * s[:, :, None, None].expand_as(x) if self.form == "none" else \
                x * s.unsqueeze(2).unsqueeze(3).expand_as(x)
        return self.dense(x.flatten(1))


def images() -> Any:
    return np.random.default_rng(3).standard_normal((5, 2, 6, 6)).astype(np.float32) * 2


def compare(module: Any) -> pt.Model:
    """Import; outputs are those of PyTorch, also behind ONNX Runtime."""
    module.eval()
    model, x = pt.from_torch(module, images()[:1]), images()
    want = module(torch.tensor(x)).detach().numpy()
    found = FloatTrainer(model.graph, model.params).logits(x)
    np.testing.assert_allclose(found, want, atol=2e-5)
    return model


def through_onnx(model: pt.Model, folder: Path) -> pt.Model:
    """Export, compare with ONNX Runtime, import again."""
    ort = pytest.importorskip("onnxruntime")
    path = folder / "net.onnx"
    pt.export_onnx(model.graph, model.params, path)
    x = images()
    want = FloatTrainer(model.graph, model.params).logits(x)
    found = ort.InferenceSession(str(path)).run(None, {"input": x})[0]
    np.testing.assert_allclose(found, want, atol=2e-5)
    return pt.from_onnx(path)


def curve_of(model: pt.Model) -> Curve:
    (found,) = [op for op in model.graph.ops if isinstance(op, Curve)]
    return type(found)(**{**vars(found), "name": "", "inputs": ()})


@pytest.mark.parametrize(("made", "wanted"), MODULES, ids=lambda one: str(one)[:30])
def test_modules(made: Any, wanted: Curve, tmp_path: Path) -> None:
    model = compare(Around(made))
    assert curve_of(model) == wanted
    again = curve_of(through_onnx(model, tmp_path))
    assert again == wanted


@pytest.mark.parametrize(("made", "wanted"), FUNCTIONS)
def test_functions(made: Call, wanted: Curve) -> None:
    class Calls(nn.Module):
        def forward(self, x: Any) -> Any:
            return made(x)

    assert curve_of(compare(Around(Calls()))) == wanted


def test_every_curve_is_imported() -> None:
    assert {type(one) for _, one in (*MODULES, *FUNCTIONS)} == set(CURVES)


@pytest.mark.parametrize("form", ["conv", "linear", "unsqueeze"])
def test_squeeze_and_excitation(form: str, tmp_path: Path) -> None:
    model = compare(Squeeze(form))
    assert sum(isinstance(op, Multiply) for op in model.graph.ops) == 1
    again = through_onnx(model, tmp_path)
    np.testing.assert_allclose(FloatTrainer(again.graph, again.params).logits(images()),
                               FloatTrainer(model.graph, model.params).logits(images()), atol=1e-5)
    made = pt.Learner(again.graph, batch=4)
    made.fit(images()[:4], np.arange(4) % 3, epochs=1, progress=False)


def test_products(tmp_path: Path) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.other = nn.Conv2d(6, 6, 1)

        def forward(self, x: Any) -> Any:
            return self.other(x) * x * torch.sigmoid(self.other(x))

    through_onnx(compare(Around(Twice())), tmp_path)


def test_what_stays_refused() -> None:
    class Wide(nn.Module):
        def forward(self, x: Any) -> Any:
            return x * x.mean((2, 3))

    with pytest.raises(UnsupportedModel, match=r"give the vector the axes \(n, c, 1, 1\)"):
        pt.from_torch(Around(Wide()), images()[:1])
    with pytest.raises(UnsupportedModel, match="a slope of 3: use one between -2 and 2"):
        pt.from_torch(Around(nn.LeakyReLU(3.0)), images()[:1])


@pytest.mark.parametrize("opset", [17, 20])
def test_exports_of_pytorch(opset: int, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    module = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Hardswish(), nn.Conv2d(4, 4, 1), nn.SiLU(),
                           nn.Conv2d(4, 4, 1), nn.LeakyReLU(0.1), nn.Hardsigmoid(), nn.ELU(),
                           nn.GELU(), nn.GELU("tanh"), nn.Flatten(), nn.Linear(64, 3)).eval()
    file = io.BytesIO()
    try:
        torch.onnx.export(module, torch.tensor(images()[:1]), file, opset_version=opset,
                          dynamo=False, dynamic_axes={"x": {0: "n"}}, input_names=["x"])
    except TypeError:  # an older PyTorch has one exporter
        pytest.skip("no way to ask for the old exporter")
    path = tmp_path / "net.onnx"
    path.write_bytes(file.getvalue())
    model = pt.from_onnx(path)
    want = module(torch.tensor(images())).detach().numpy()
    np.testing.assert_allclose(FloatTrainer(model.graph, model.params).logits(images()), want,
                               atol=2e-5)
    kinds = [op.kind for op in model.graph.ops if isinstance(op, Curve)]
    assert kinds == ["hardswish", "silu", "leakyrelu", "hardsigmoid", "elu", "gelu", "gelu"]
    assert [op.tanh for op in model.graph.ops if isinstance(op, Gelu)] == [False, True]


def numbers(**named: Any) -> Any:
    return lambda name, place, default=None: named.get(name, default)


def test_readers_of_keras_and_onnx() -> None:
    assert KERAS_FUNCTIONS["hard_sigmoid"](numbers(
        __module__="keras.src.activations.activations")) == HardSigmoid()
    assert KERAS_FUNCTIONS["hard_sigmoid"](numbers(
        __module__="tf_keras.src.activations")) == HardSigmoid(0.2, 0.5)
    for name, wanted in {"swish": Silu(), "silu": Silu(), "gelu": Gelu(), "hard_silu": HardSwish(),
                         "elu": Elu(), "leaky_relu": LeakyRelu(0.2), "tanh": Tanh(),
                         "sigmoid": Sigmoid()}.items():
        assert KERAS_FUNCTIONS[name](numbers()) == wanted
    assert KERAS_LAYERS["LeakyReLU"](numbers(negative_slope=0.25)) == LeakyRelu(0.25)
    assert KERAS_LAYERS["LeakyReLU"](numbers(alpha=np.float32(0.25))) == LeakyRelu(0.25)
    assert KERAS_LAYERS["ELU"](numbers(alpha=0.5)) == Elu(0.5)
    assert ONNX["HardSigmoid"](numbers()) == HardSigmoid(0.2, 0.5)
    assert ONNX["HardSigmoid"](numbers(alpha=0.25, beta=0.375)) == HardSigmoid(0.25, 0.375)
    assert ONNX["Gelu"](numbers(approximate="tanh")) == Gelu(True)
    assert ONNX["Swish"](numbers()) == Silu()
    for name, number in (("Swish", numbers(alpha=2.0)), ("Gelu", numbers(approximate="erf"))):
        with pytest.raises(Refused):
            ONNX[name](number)


def test_functions_and_layers_of_keras() -> None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    layers = keras.layers
    third = int(keras.__version__.partition(".")[0]) >= 3
    start = keras.Input((6, 6, 2))
    x = layers.Conv2D(6, 3, activation="swish")(start)
    for name in ("elu", "tanh", "gelu", "hard_sigmoid"):
        x = layers.Conv2D(6, 1, activation=name)(x)
    x = layers.ELU(0.5)(layers.LeakyReLU(0.2)(layers.Activation("sigmoid")(x)))
    s = layers.GlobalAveragePooling2D(keepdims=True)(x)
    s = layers.Conv2D(6, 1, activation="hard_sigmoid")(layers.Conv2D(3, 1, activation="relu")(s))
    x = layers.Multiply()([x, s])
    model = keras.Model(start, layers.Dense(3)(layers.Flatten()(x)))
    imported = pt.from_keras(model)
    found = FloatTrainer(imported.graph, imported.params).logits(images())
    want = model.predict(images().transpose(0, 2, 3, 1), verbose=0)
    np.testing.assert_allclose(found, want, atol=2e-5)
    bends = {op.alpha for op in imported.graph.ops if isinstance(op, HardSigmoid)}
    assert bends == {1 / 6 if third else 0.2}
