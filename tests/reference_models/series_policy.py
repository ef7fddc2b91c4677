"""Exponent policies of layers on the array, one after another, for tests that need no plan."""

from __future__ import annotations

from collections.abc import Sequence

from pynq_train.graph import Dense, Graph
from pynq_train.layers import kinds
from pynq_train.layers.backward_graph import BackwardGraph, build_backward_graph
from pynq_train.layers.fuse import fuse
from pynq_train.quant import ExponentPolicy, QuantLayer, SgdStep, StepExponents, StepParams
from pynq_train.quant.step import step_params


def series_kinds(names: Sequence[str], trained_from: int = 0) -> tuple[QuantLayer, ...]:
    """Dense layers that each read the one before, trained from a position on."""
    return tuple(QuantLayer(name, (at - 1,), at >= trained_from, kinds.DENSE)
                 for at, name in enumerate(names))


def series_graph(kinds: Sequence[QuantLayer]) -> BackwardGraph:
    """Their backward graph, as the scheduler builds it."""
    ops = [Dense(4, name=kind.name) for kind in kinds]
    layers = fuse(Graph.build((4, 1, 1), ops))
    return build_backward_graph(layers, [kind.trained for kind in kinds])


def start_series(names: Sequence[str], weight_k: Sequence[int], input_k: int = 2,
                trained_from: int = 0) -> ExponentPolicy:
    """The policy of such a series before its first step."""
    kinds = series_kinds(names, trained_from)
    return ExponentPolicy.start(kinds, series_graph(kinds), weight_k, input_k)


def series_params(policy: ExponentPolicy, exponents: StepExponents, sgd: SgdStep | None
                 ) -> StepParams:
    """Step-block fields of a step of such a series."""
    return step_params(exponents, sgd, policy.layers, policy.backward_graph, {})
