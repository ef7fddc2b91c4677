"""Batch normalisations whose statistics are frozen: all of them, or chosen ones."""

from __future__ import annotations

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import BadInput
from pynq_train.graph import BatchNorm, Conv, Dense, Graph, LayerParams, Relu
from pynq_train.graph.model import Model
from pynq_train.layers import init_params

GRAPH = Graph.build((1, 5, 5), [Conv(4, 3), BatchNorm(name="a.bn"), Relu(), Conv(4, 3),
                                BatchNorm(name="b.bn"), Relu(), Dense(3)])


def frozen(graph: Graph) -> list[bool]:
    return [op.frozen for op in graph.ops if isinstance(op, BatchNorm)]


@pytest.mark.parametrize(("names", "expected"), [
    ("*", [True, True]), ("b.*", [False, True]), (["a.bn"], [True, False]),
    (["a.*", "b.bn"], [True, True])])
def test_which(names: str | list[str], expected: list[bool]) -> None:
    changed = pt.freeze_norms(GRAPH, names)
    assert frozen(changed) == expected and frozen(GRAPH) == [False, False]
    assert [op.name for op in changed.ops] == [op.name for op in GRAPH.ops]


def test_refused() -> None:
    with pytest.raises(BadInput, match=r"called 'c\*': expected some of a.bn, b.bn, found none"):
        pt.freeze_norms(GRAPH, ["a.bn", "c*"])
    plain = Graph.build((1, 5, 5), [Conv(4, 3), Dense(3)])
    with pytest.raises(BadInput, match="expected a network with BatchNorm, found none"):
        pt.freeze_norms(plain)
    with pytest.raises(BadInput, match="network: expected a Graph or a Model, found str"):
        pt.freeze_norms("resnet20")  # type: ignore[call-overload]


def test_mini_batches_of_one_image_leave_the_statistics(rng: np.random.Generator) -> None:
    """A trained model adapts image by image: gamma learns, running statistics stay, no warning."""
    params = {name: own if own.mean is None else LayerParams(
        own.weight, own.bias, np.float32(rng.normal(size=4)), np.float32(rng.uniform(1, 2, 4)))
        for name, own in init_params(GRAPH, 0).items()}
    model = pt.freeze_norms(Model(GRAPH, params))
    assert model.params is params and frozen(model.graph) == [True, True]
    learner = pt.Learner(model, batch=1, optimizer=pt.SGD(lr=0.01))
    learner.fit(rng.normal(size=(6, 1, 5, 5)).astype(np.float32), np.arange(6) % 3, progress=False)
    for name in ("a.bn", "b.bn"):
        for label in ("mean", "variance"):
            now, before = (getattr(some[name], label) for some in (learner.params, params))
            np.testing.assert_array_equal(now, before)
        assert (learner.params[name].weight != params[name].weight).any()
