"""Activations behind a mean: flags of the mean's output do not fit the pixels of its input."""

from __future__ import annotations

import pytest
from reference_models.twin_nets import Case
from reference_models.twin_run import TwinRun

from pynq_train.check.verify import verify
from pynq_train.errors import UnsupportedModel
from pynq_train.graph import Add, Conv, Dense, GlobalAvgPool, Graph, Relu, Relu6
from pynq_train.graph.activation import Activation
from pynq_train.layers import fuse, init_params, kinds


def behind_a_mean(ops: list[object]) -> Graph:
    return Graph.build((2, 6, 5), [Conv(10, 3, 1, "same", name="conv"), GlobalAvgPool("mean"),
                                   *ops, Dense(4, name="logits")])  # type: ignore[list-item]


def two_means() -> Graph:
    """The activation of a sum of two means: each mean takes the gradient masked."""
    return Graph.build((2, 6, 5), [
        Conv(10, 3, 1, "same", name="a"), GlobalAvgPool("ma"),
        Conv(10, 1, 2, name="b", inputs=("input",)), GlobalAvgPool("mb"),
        Add("sum", ("ma", "mb")), Relu("relu"), Dense(4, name="logits")])


def read_twice() -> Graph:
    """The mean is read with its activation, and without."""
    return behind_a_mean([Relu("relu"), Add("sum", ("relu", "mean"))])


GRAPHS = [behind_a_mean([Relu("relu")]), behind_a_mean([Relu6("relu")]), two_means(), read_twice()]


@pytest.mark.parametrize("graph", GRAPHS)
def test_programs_are_legal(graph: Graph) -> None:
    assert verify(graph, batch=5, steps=1, board="golden").mismatches == 0


@pytest.mark.parametrize("graph", GRAPHS)
def test_training_is_that_of_the_float_twin(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(graph, batch=5, valid=5, steps=2, lr=0.05, momentum=0.9, decay=0.0, nesterov=False,
                clip=None, accumulate=1, layer_lr={}, trainable="all", loss="cross-entropy",
                smoothing=0.0, split=None, scale=1.0, seed=3)
    said = list(TwinRun(case, monkeypatch).run())
    assert [one for one in said if not one.excess <= 1] == []
    assert any("momentum of" in one.what for one in said)


def test_an_activation_behind_a_mean_is_that_of_a_copy() -> None:
    *_, mean, copy, _ = fuse(behind_a_mean([Relu("relu")]))
    assert (mean.kind, mean.activation) == (kinds.MEAN, Activation.NONE)
    assert (copy.kind, copy.name, copy.activation) == (kinds.ADD, "relu", Activation.RELU)
    assert init_params(fuse(behind_a_mean([Relu("relu")])), 0).keys() == {"conv", "logits"}


def test_a_second_activation_is_refused_as_behind_other_layers() -> None:
    with pytest.raises(UnsupportedModel, match="is the second relu6 of layer 'relu'"):
        fuse(behind_a_mean([Relu("relu"), Relu6("more")]))
