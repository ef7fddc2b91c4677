"""Initial weights: He-normal float32, the same bits on PC and board."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pynq_train.errors import BadInput
from pynq_train.graph.fuse import FusedLayer
from pynq_train.graph.rng import normal_float32, stream_key

FloatArray = npt.NDArray[np.float32]

CLASSIFIER_SCALE = 0.25
"""Factor on the last layer's weights: small first logits, hence small first gradients."""

_STREAM_WEIGHTS = 0x57


@dataclass(frozen=True)
class LayerParams:
    """Float32 parameters of one layer: ``weight`` of the layer's ``weight_shape``, ``bias`` (m,).

    ``bias`` is None for a layer without bias.
    """

    weight: FloatArray
    bias: FloatArray | None


def init_params(layers: Sequence[FusedLayer], seed: int) -> dict[str, LayerParams]:
    """Return parameters by layer name: weights of deviation sqrt(2 / fan_in), biases 0.

    The weights of the last layer are scaled by :data:`CLASSIFIER_SCALE`.
    """
    params: dict[str, LayerParams] = {}
    for index, layer in enumerate(layers):
        scale = math.sqrt(2.0 / layer.fan_in)
        if index == len(layers) - 1:
            scale *= CLASSIFIER_SCALE
        key = stream_key(seed, _STREAM_WEIGHTS, index)
        normal = normal_float32(key, math.prod(layer.weight_shape))
        weight = (normal.astype(np.float64) * scale).astype(np.float32).reshape(layer.weight_shape)
        bias = np.zeros(layer.out_channels, dtype=np.float32) if layer.bias else None
        params[layer.name] = LayerParams(weight, bias)
    return params


def check_params(layers: Sequence[FusedLayer], params: dict[str, LayerParams]) -> None:
    """Raise :class:`BadInput` unless ``params`` has finite arrays of the right shapes."""
    names = [layer.name for layer in layers]
    if set(params) != set(names):
        raise BadInput("parameters", expected="layers " + ", ".join(names),
                       found=", ".join(params) or "none")
    for layer in layers:
        given = params[layer.name]
        if (given.bias is not None) != layer.bias:
            raise BadInput(f"{layer.name}: bias", expected="one" if layer.bias else "none",
                           found="none" if layer.bias else "one")
        pairs = [("weight", given.weight, layer.weight_shape)]
        if given.bias is not None:
            pairs.append(("bias", given.bias, (layer.out_channels,)))
        for label, array, shape in pairs:
            if array.shape != shape:
                raise BadInput(f"{layer.name}: {label}", expected=f"shape {shape}",
                               found=array.shape)
            if not np.isfinite(array).all():
                raise BadInput(f"{layer.name}: {label}", expected="finite numbers",
                               found="NaN or infinity")
