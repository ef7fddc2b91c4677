"""Starts of a network's parameters: He-normal float32, equal on PC and board."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from pynq_train.graph.graph import Graph
from pynq_train.graph.params import LayerParams, ParamSpec, check_arrays, graph_param_specs
from pynq_train.graph.rng import normal_float32, stream_key
from pynq_train.layers.fuse import FusedLayer

CLASSIFIER_SCALE = 0.25
"""Factor on the last layer's weights: small first logits, hence small first gradients."""

_STREAM_WEIGHTS = 0x57
"""Names the random stream of start weights among those of a seed."""


def param_specs(network: Graph | Sequence[FusedLayer]) -> tuple[ParamSpec, ...]:
    """Return the layers with parameters of a graph or of fused layers, in order.

    The weights of average pooling are constants, not parameters.
    """
    if isinstance(network, Graph):
        return graph_param_specs(network)
    return tuple(ParamSpec(layer.name, layer.weight_shape, layer.fan_in, layer.bias,
                           layer.kind.has_running, layer.out_channels, layer.scale)
                 for layer in network if layer.has_parameters)


def check_params(network: Graph | Sequence[FusedLayer], params: Mapping[str, LayerParams]) -> None:
    """Check that ``params`` has finite arrays of the right shapes for every layer with parameters.

    Raises:
        BadInput: it has not.
    """
    check_arrays(param_specs(network), params)


def parameter_count(network: Graph | Sequence[FusedLayer]) -> int:
    """Return the number of values that a training of everything updates."""
    return sum(spec.learned for spec in param_specs(network))


def init_params(network: Graph | Sequence[FusedLayer], seed: int) -> dict[str, LayerParams]:
    """Return start parameters by layer name: weights of deviation sqrt(2 / fan_in), biases 0.

    He et al., "Delving Deep into Rectifiers", 2015. All arrays are float32. The weights of the last
    layer are scaled by :data:`CLASSIFIER_SCALE`. Normalisations begin with gamma 1, beta 0,
    those of the mini-batch with mean 0, variance 1. A graph without them and its fused layers get
    the same bits.

    Args:
        network: a graph or its fused layers.
        seed: of the random numbers; equal seeds give equal bits everywhere.
    """
    specs = param_specs(network)
    weighted = [spec for spec in specs if not (spec.norm or spec.scale)]
    params: dict[str, LayerParams] = {}
    for spec in specs:
        zeros = np.zeros(spec.channels, dtype=np.float32)
        if spec.norm or spec.scale:
            ones = np.ones(spec.channels, dtype=np.float32)
            running = (zeros.copy(), ones.copy()) if spec.norm else ()
            params[spec.name] = LayerParams(ones, zeros, *running)
            continue
        # Normalisations do not count, so that a layer's stream stays when they are put in or
        # folded.
        index = weighted.index(spec)
        scale = math.sqrt(2.0 / spec.fan_in)
        if index == len(weighted) - 1:
            scale *= CLASSIFIER_SCALE
        key = stream_key(seed, _STREAM_WEIGHTS, index)
        normal = normal_float32(key, math.prod(spec.weight_shape))
        # Scaled in float64, so that one rounding remains.
        weight = (normal.astype(np.float64) * scale).astype(np.float32).reshape(spec.weight_shape)
        params[spec.name] = LayerParams(weight, zeros if spec.bias else None)
    return params
