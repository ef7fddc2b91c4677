"""Batch normalisations folded into the convolutions or dense layers before them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from pynq_train.errors import BadInput, UnsupportedModel
from pynq_train.graph.graph import Graph
from pynq_train.graph.model import Model
from pynq_train.graph.ops import BatchNorm, Conv, ConvTranspose, Dense, Op
from pynq_train.graph.params import LayerParams
from pynq_train.graph.wiring import FROM_INPUT
from pynq_train.layers.supported import check_values, with_room

_FOLDING = (Conv, ConvTranspose, Dense)
"""Operations whose weights take a normalisation."""


def fold_batchnorm(network: Model | Graph, params: Mapping[str, LayerParams] | None = None
                   ) -> Model:
    """Return the network without batch normalisations, with the same output in evaluation.

    Each is folded, with its running statistics, into the (transposed) convolution or Dense layer
    that it reads:
    ``W' = W * s`` and ``b' = beta + (b - mean) * s`` with ``s = gamma / sqrt(variance + eps)`` per
    output channel. That layer keeps its name and gets a bias. Training then goes on as with frozen
    normalisations. The images of a model stay those that it was made for; weights that were frozen
    stay frozen, a new bias is frozen where beta was (and the bias before it, if there was one).

    Args:
        network: a model, which stays as it is; or a graph.
        params: of a graph: its parameters by layer name.

    Raises:
        BadInput: the parameters do not fit the graph, or are missing, or given beside a model's.
        UnsupportedModel: a normalisation follows something else, or a layer that others read too;
            or folded weights leave the range of the engine's masters, as those of a normalisation
            of small values do (-8 to 8). All of them are named.
    """
    model = _given(network, params)
    graph, params = model.graph, model.params
    readers: dict[int, int] = {}
    for sources in graph.sources:
        for place in sources:
            readers[place] = readers.get(place, 0) + 1
    moved: dict[str, str] = {}
    folded = dict(params)
    biased: set[str] = set()
    frozen = model.frozen
    refused: list[str] = []
    for op, (place, *_) in zip(graph.ops, graph.sources):
        if not isinstance(op, BatchNorm):
            continue
        before = None if place == FROM_INPUT else graph.ops[place]
        if not isinstance(before, _FOLDING):
            refused.append(f"{op.name} (follows {graph.name_at(place)})")
        elif readers[place] > 1:
            refused.append(f"{op.name} ({before.name} is read by others too)")
        else:
            folded[before.name] = _folded(before, params[before.name], folded.pop(op.name),
                                          op.eps)
            frozen = _frozen(frozen, before, op)
            moved[op.name] = before.name
            biased.add(before.name)
    if refused:
        raise UnsupportedModel("batch normalisations that cannot be folded: " + ", ".join(refused),
                               expected="each right behind a convolution or Dense layer of its own",
                               fix="move them there in the original network")
    firsts = [op for op, sources in zip(graph.ops, graph.sources) if FROM_INPUT in sources]
    gain = 1.0
    if all(isinstance(op, (Conv, Dense)) for op in firsts):
        folded, gain = with_room([op.name for op in firsts], folded)
    check_values(f"network {graph.name!r} with its normalisations folded",
                 {name: folded[name] for name in biased})
    ops = tuple(_rewired(graph, op, sources, moved, biased)
                for op, sources in zip(graph.ops, graph.sources) if op.name not in moved)
    # Names that say no more than "the operation before" are left out, as in a graph built by hand.
    plain = tuple(replace(op, inputs=()) if op.inputs == (ops[at - 1].name if at else "input",)
                  else op for at, op in enumerate(ops))
    return replace(model, graph=Graph.build(graph.input_shape, plain, graph.name), params=folded,
                   frozen=frozen, input_format=replace(model.input_format, gain=gain
                                                       * model.input_format.gain))


def _given(network: Model | Graph, params: Mapping[str, LayerParams] | None) -> Model:
    """Return what the caller has given as a model; see :func:`fold_batchnorm`."""
    if isinstance(network, Model) and params is None:
        return network
    if isinstance(network, Graph) and params is not None:
        return Model(network, params)
    raise BadInput("fold_batchnorm", expected="a Model alone, or a Graph and its parameters",
                   found=f"{type(network).__name__} and {type(params).__name__}")


def _frozen(frozen: frozenset[str], layer: Conv | ConvTranspose | Dense, norm: BatchNorm
            ) -> frozenset[str]:
    """Return the names of frozen parameters behind folding ``norm`` into ``layer``."""
    biases = {f"{norm.name}.bias", *([f"{layer.name}.bias"] if layer.bias else [])}
    kept = frozen - {f"{norm.name}.weight", *biases}
    return kept | {f"{layer.name}.bias"} if biases <= frozen else kept


def _rewired(graph: Graph, op: Op, sources: tuple[int, ...], moved: Mapping[str, str],
             biased: set[str]) -> Op:
    """Return an operation that reads, instead of folded normalisations, the layers that took them.

    ``moved``: by name of a normalisation, that of its layer; ``biased``: layers that get a bias.
    """
    names = [graph.name_at(place) for place in sources]
    op = replace(op, inputs=tuple(moved.get(name, name) for name in names))
    return replace(op, bias=True) if isinstance(op, _FOLDING) and op.name in biased else op


def _folded(op: Op, layer: LayerParams, norm: LayerParams, eps: float) -> LayerParams:
    """Return a layer's parameters with a normalisation folded in.

    Computed in float64, so that one rounding remains.
    """
    assert norm.bias is not None and norm.mean is not None and norm.variance is not None
    scale = norm.weight / np.sqrt(norm.variance.astype(np.float64) + eps)
    shaped = scale.reshape(-1, *(1,) * (layer.weight.ndim - 1))
    if isinstance(op, ConvTranspose):  # its weights are [n, m of a group, kr, kc]
        by_group = scale.reshape(op.groups, -1)
        shaped = by_group.repeat(len(layer.weight) // op.groups, axis=0)[:, :, None, None]
    bias = np.zeros(len(scale)) if layer.bias is None else layer.bias.astype(np.float64)
    return LayerParams((layer.weight * shaped).astype(np.float32),
                       (norm.bias + (bias - norm.mean) * scale).astype(np.float32))
