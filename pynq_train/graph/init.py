"""Parameters: which arrays a network has, and He-normal float32 starts, equal on PC and board."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pynq_train.errors import BadInput
from pynq_train.graph.fuse import FusedLayer
from pynq_train.graph.graph import Graph
from pynq_train.graph.ops import BatchNorm, Conv, Dense
from pynq_train.graph.rng import normal_float32, stream_key

FloatArray = npt.NDArray[np.float32]

CLASSIFIER_SCALE = 0.25
"""Factor on the last layer's weights: small first logits, hence small first gradients."""

_STREAM_WEIGHTS = 0x57


@dataclass(frozen=True)
class LayerParams:
    """Float32 parameters of one layer: ``weight`` of the layer's ``weight_shape``, ``bias`` (m,).

    ``bias`` is None for a layer without bias. A batch normalisation has gamma as ``weight`` and
    beta as ``bias``, and its running ``mean`` and ``variance``, all (channels,); other layers
    have None there.
    """

    weight: FloatArray
    bias: FloatArray | None
    mean: FloatArray | None = None
    variance: FloatArray | None = None


@dataclass(frozen=True)
class ParamSpec:
    """Arrays of one layer: shape of the weights, their products per output, what else it has."""

    name: str
    weight_shape: tuple[int, ...]
    fan_in: int
    bias: bool
    norm: bool = False

    @property
    def channels(self) -> int:
        """Length of bias, mean and variance."""
        return self.weight_shape[0]

    @property
    def learned(self) -> int:
        """Number of values that learn (running means and variances do not)."""
        return math.prod(self.weight_shape) + (self.channels if self.bias else 0)

    def shapes(self) -> dict[str, tuple[int, ...] | None]:
        """Return the shape of every field of :class:`LayerParams`, None where it has none."""
        vector = (self.channels,)
        return {"weight": self.weight_shape, "bias": vector if self.bias else None,
                "mean": vector if self.norm else None, "variance": vector if self.norm else None}


def param_specs(network: Graph | Sequence[FusedLayer]) -> tuple[ParamSpec, ...]:
    """Return the layers with parameters of a graph or of fused layers, in order.

    The weights of average pooling are constants, not parameters.
    """
    if not isinstance(network, Graph):
        return tuple(ParamSpec(layer.name, layer.weight_shape, layer.fan_in, layer.bias,
                               layer.norm is not None)
                     for layer in network if layer.has_parameters)
    specs = []
    for op, shapes in zip(network.ops, network.in_shapes):
        if isinstance(op, (Conv, Dense)):
            weight = op.weight_shape(shapes[0])
            specs.append(ParamSpec(op.name, weight, math.prod(weight[1:]), op.bias))
        elif isinstance(op, BatchNorm):
            specs.append(ParamSpec(op.name, (shapes[0][0],), 1, True, norm=True))
    return tuple(specs)


def parameter_count(network: Graph | Sequence[FusedLayer]) -> int:
    """Return the number of values that learn."""
    return sum(spec.learned for spec in param_specs(network))


def init_params(network: Graph | Sequence[FusedLayer], seed: int) -> dict[str, LayerParams]:
    """Return parameters by layer name: weights of deviation sqrt(2 / fan_in), biases 0.

    The weights of the last layer are scaled by :data:`CLASSIFIER_SCALE`. Batch normalisations
    begin with gamma 1, beta 0, mean 0, variance 1. A graph without them and its fused layers
    get the same bits.
    """
    specs = param_specs(network)
    weighted = [spec for spec in specs if not spec.norm]
    params: dict[str, LayerParams] = {}
    for spec in specs:
        zeros = np.zeros(spec.channels, dtype=np.float32)
        if spec.norm:
            ones = np.ones(spec.channels, dtype=np.float32)
            params[spec.name] = LayerParams(ones, zeros, zeros.copy(), ones.copy())
            continue
        index = weighted.index(spec)
        scale = math.sqrt(2.0 / spec.fan_in)
        if index == len(weighted) - 1:
            scale *= CLASSIFIER_SCALE
        key = stream_key(seed, _STREAM_WEIGHTS, index)
        normal = normal_float32(key, math.prod(spec.weight_shape))
        weight = (normal.astype(np.float64) * scale).astype(np.float32).reshape(spec.weight_shape)
        params[spec.name] = LayerParams(weight, zeros if spec.bias else None)
    return params


def check_params(network: Graph | Sequence[FusedLayer], params: Mapping[str, LayerParams]) -> None:
    """Raise :class:`BadInput` unless ``params`` has finite arrays of the right shapes."""
    specs = param_specs(network)
    names = [spec.name for spec in specs]
    if set(params) != set(names):
        raise BadInput("parameters", expected="layers " + ", ".join(names),
                       found=", ".join(params) or "none")
    for spec in specs:
        given = params[spec.name]
        for label, shape in spec.shapes().items():
            array = getattr(given, label)
            if (array is not None) != (shape is not None):
                raise BadInput(f"{spec.name}: {label}", expected="one" if shape else "none",
                               found="none" if array is None else "one")
            if shape is None:
                continue
            if array.shape != shape:
                raise BadInput(f"{spec.name}: {label}", expected=f"shape {shape}",
                               found=array.shape)
            if not np.isfinite(array).all():
                raise BadInput(f"{spec.name}: {label}", expected="finite numbers",
                               found="NaN or infinity")
        if given.variance is not None and given.variance.min() < 0:
            raise BadInput(f"{spec.name}: variance", expected="0 or more",
                           found=float(given.variance.min()))
