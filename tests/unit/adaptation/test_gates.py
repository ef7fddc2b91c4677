"""Gates of DA3: what they compute, how they learn, what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.adaptation import Gate, Gated, fit_gates
from pynq_train.adaptation.gates import _PENALTY, _GatedNetwork, _logistic
from pynq_train.errors import BadInput
from pynq_train.graph import Conv, Dense, Graph, LayerParams, Model, Relu
from pynq_train.graph.reference import FloatTrainer
from pynq_train.layers import init_params

GRAPH = Graph.build((1, 6, 6), [
    Conv(8, 3, 1, 1, name="a"), Relu("ra"), Conv(8, 3, 1, 1, name="b"), Relu("rb"),
    Dense(3, name="out")], "gated")
OPEN, CLOSED = Gate(0.0, 1.0, 0.0, 50.0), Gate(0.0, 1.0, 0.0, -50.0)


def samples(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images whose brightest pair of columns is the label."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 3
    x = rng.normal(size=(count, 1, 6, 6)) * 0.2
    for image, label in zip(x, y):
        image[0, :, 2 * label:2 * label + 2] += 1
    return x.astype(np.float32), y


@pytest.fixture(scope="module")
def model() -> Model:
    """A network with branches that have learnt something."""
    adapted = pt.with_adapters(Model(GRAPH, init_params(GRAPH, 1)), "da3", blocks=2)
    trainer = FloatTrainer(adapted.model.graph, adapted.model.params, lr=0.05)
    x, y = samples(30)
    for _ in range(30):
        trainer.step(x, y)
    return replace(adapted.model, params=trainer.params)


def test_open_gates_change_nothing(model: Model) -> None:
    x, _ = samples(6, 1)
    gated = Gated(model, {"ra.da3": OPEN, "rb.da3": OPEN})
    plain = FloatTrainer(model.graph, model.params)
    np.testing.assert_array_equal(gated.logits(x), plain.logits(x))
    assert gated.open_pixels(x) == {"ra.da3": 1.0, "rb.da3": 1.0}


def test_what_is_closed_is_zero(model: Model) -> None:
    """As if the block's layer made zeros; its branch still adds."""
    x, y = samples(6, 1)
    gated = Gated(model, {"ra.da3": OPEN, "rb.da3": CLOSED})
    own = model.params["b"]
    assert own.bias is not None
    zero = {**model.params, "b": LayerParams(own.weight * 0, own.bias * 0)}
    wanted = FloatTrainer(model.graph, zero).logits(x)
    np.testing.assert_allclose(gated.logits(x), wanted, atol=1e-6)
    assert gated.open_pixels(x) == {"ra.da3": 1.0, "rb.da3": 0.0}
    assert gated.accuracy(x, y) == (wanted.argmax(axis=1) == y).mean()


class _Masked(_GatedNetwork):
    """With one more mask that is added to that of the gate, for differences."""

    more: Any = 0.0

    def _sum(self, site: Any, xs: Any, mode: Any) -> Any:
        out, trace = super()._sum(site, xs, mode)
        self.trace = trace
        return out + self.more * xs[0], trace


def test_gradients(model: Model) -> None:
    """Of the loss for each pixel's mask by differences, through the soft mask, and the penalty."""
    x, y = samples(3, 2)
    gate, target, temperature = Gate(0.0, 0.01, 0.7, 0.3), 0.4, 0.8
    network = _Masked(model, {"rb.da3": gate}, target, temperature, seed=4)
    network.gradients(x, y)
    own, mask, logits, standard = network.trace
    of_scale, of_offset = network.slopes["rb.da3"]
    soft = 1 / (1 + np.exp(-logits))
    outer = soft * (1 - soft) / temperature
    slope = np.zeros(mask.shape)
    for at in np.ndindex(*mask.shape):
        losses = []
        for step in (1e-2, -1e-2):
            network.more = np.zeros(mask.shape, np.float32)
            network.more[at] = step
            losses.append(network.gradients(x, y)[0].loss)
        slope[at] = (losses[0] - losses[1]) / 2e-2
    slope += 2 * _PENALTY * (network.open["rb.da3"] - target) / mask.size
    assert 0 < network.open["rb.da3"] < 1 > mask.mean() > 0 and np.abs(slope).max() > 1e-3
    assert of_offset == pytest.approx((slope * outer).sum(), rel=0.02, abs=1e-4)
    assert of_scale == pytest.approx((slope * outer * standard).sum(), rel=0.02, abs=1e-4)
    np.testing.assert_allclose(standard[..., 0] * 0.01, network.seen["rb.da3"], atol=1e-6)
    assert own.shape[:3] == mask.shape[:3]


def test_noise() -> None:
    values = _logistic(7, (100, 100)).astype(np.float64)
    assert abs(values.mean()) < 0.06
    assert values.std() == pytest.approx(np.pi / np.sqrt(3), rel=0.03)


def test_gates_learn_a_share(model: Model) -> None:
    """Fewer pixels for a smaller target, with the answers kept; the network stays as it is."""
    x, y = samples(30, 3)
    before = {name: own.weight.copy() for name, own in model.params.items()}
    plain = (FloatTrainer(model.graph, model.params).logits(x).argmax(axis=1) == y).mean()
    half = fit_gates(model, x, y, target=0.5, epochs=20)
    whole = fit_gates(model, x, y, target=0.99, epochs=20)
    shares = [np.mean(list(one.open_pixels(x).values())) for one in (half, whole)]
    assert shares[0] < 0.75 < shares[1]
    assert plain == 1.0 and half.accuracy(x, y) > 0.9
    again = fit_gates(model, x, y, target=0.5, epochs=20)
    assert again.gates == half.gates != fit_gates(model, x, y, target=0.5, epochs=20, seed=1).gates
    assert all(np.array_equal(own, model.params[name].weight) for name, own in before.items())


def test_a_learner_has_gates() -> None:
    """With names of classes, and images as its training had them."""
    x, y = samples(24)
    names = np.array(["left", "middle", "right"])[y]
    with pt.Learner(GRAPH, trainable="da3", batch=8, optimizer=pt.SGD(lr=0.02),
                    class_names=["left", "middle", "right"], mean=0.3, std=0.5) as learner:
        learner.fit(x, names, epochs=3, progress=False)
        gated = fit_gates(learner, x, names, epochs=2, batch=8)
        opened = replace(gated, gates=dict.fromkeys(gated.gates, OPEN))
        np.testing.assert_allclose(opened.logits(x), learner.logits(x), atol=0.05)


def test_what_is_refused(model: Model) -> None:
    x, y = samples(9)
    with pytest.raises(BadInput, match=r"gates of 'gated': expected branches of DA3, found none; "
                       'train it with trainable="da3" first'):
        fit_gates(Model(GRAPH, init_params(GRAPH, 0)), x, y)
    with pytest.raises(BadInput, match="model: expected a Learner or a Model, found Graph"):
        fit_gates(GRAPH, x, y)  # type: ignore[arg-type]
    for given, text in (({"target": 1.5}, "target"), ({"epochs": 0}, "epochs"),
                        ({"batch": 10}, r"batch: expected an integer in 1\.\.9"),
                        ({"temperature": 0}, "temperature")):
        with pytest.raises(BadInput, match=text):
            fit_gates(model, x, y, **given)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=r"expected 0\.\.2"):
        fit_gates(model, x, y + 3, batch=3)
