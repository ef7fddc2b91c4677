"""Parameters of a network: which arrays each layer has, and the check of given ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pynq_train.errors import BadInput
from pynq_train.graph.graph import Graph
from pynq_train.graph.ops import BatchNorm, Conv, ConvTranspose, Dense, GroupNorm

FloatArray = npt.NDArray[np.float32]
_LARGEST = np.finfo(np.float32).max


def float32(array: Any) -> FloatArray:
    """Return numbers as an array of float32 without gaps in memory."""
    return np.ascontiguousarray(array, np.float32)


@dataclass(frozen=True)
class LayerParams:
    """Float32 parameters of one layer: ``weight`` of the layer's ``weight_shape``, ``bias`` (m,).

    m counts output channels, n input channels.

    ``bias`` is None for a layer without bias. A batch normalisation has gamma as ``weight`` and
    beta as ``bias``, and its running ``mean`` and ``variance``, all (channels,); other layers
    have None there. Gamma and beta of a group normalisation are ``weight`` and ``bias`` likewise.
    """

    weight: FloatArray
    bias: FloatArray | None
    mean: FloatArray | None = None
    variance: FloatArray | None = None


@dataclass(frozen=True)
class ParamSpec:
    """Arrays of one layer: shape of the weights, their products per output, what else it has.

    ``norm``: of a batch normalisation, ``scale``: gamma and beta of a group normalisation.
    """

    name: str
    weight_shape: tuple[int, ...]
    fan_in: int
    bias: bool
    norm: bool = False
    outputs: int = 0
    scale: bool = False

    @property
    def channels(self) -> int:
        """Length of bias, mean and variance: ``outputs``, or the first axis of the weights."""
        return self.outputs or self.weight_shape[0]

    @property
    def learned(self) -> int:
        """Number of values that learn (running means and variances do not)."""
        return math.prod(self.weight_shape) + (self.channels if self.bias else 0)

    def shapes(self) -> dict[str, tuple[int, ...] | None]:
        """Return the shape of every field of :class:`LayerParams`, None where it has none."""
        vector = (self.channels,)
        return {"weight": self.weight_shape, "bias": vector if self.bias else None,
                "mean": vector if self.norm else None, "variance": vector if self.norm else None}


def graph_param_specs(graph: Graph) -> tuple[ParamSpec, ...]:
    """Return the operations with parameters of a graph, in order.

    The weights of average pooling are constants, not parameters.
    """
    specs = []
    for op, shapes in zip(graph.ops, graph.in_shapes):
        if isinstance(op, (Conv, Dense)):
            weight = op.weight_shape(shapes[0])
            specs.append(ParamSpec(op.name, weight, math.prod(weight[1:]), op.bias))
        elif isinstance(op, ConvTranspose):
            weight = op.weight_shape(shapes[0])
            # On an average pixel of the output: a window has one input for each stride.
            terms = weight[0] // op.groups * op.kernel_sides.area // op.stride_sides.area
            specs.append(ParamSpec(op.name, weight, max(terms, 1), op.bias,
                                   outputs=op.out_channels))
        elif isinstance(op, BatchNorm):
            specs.append(ParamSpec(op.name, (shapes[0][0],), 1, True, norm=True))
        elif isinstance(op, GroupNorm) and op.affine:
            specs.append(ParamSpec(op.name, (shapes[0][0],), 1, True, scale=True))
    return tuple(specs)


def check_graph_params(graph: Graph, params: Mapping[str, LayerParams]) -> None:
    """Raise :class:`BadInput` unless ``params`` has finite arrays of the shapes of the graph."""
    check_arrays(graph_param_specs(graph), params)


def check_arrays(specs: Sequence[ParamSpec], params: Mapping[str, LayerParams]) -> None:
    """Raise :class:`BadInput` unless ``params`` has finite arrays of the shapes of ``specs``."""
    if not isinstance(params, Mapping) or not all(
            isinstance(name, str) and isinstance(one, LayerParams)
            for name, one in params.items()):
        raise BadInput("parameters", expected="LayerParams by layer name",
                       found=type(params).__name__)
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
            what = f"{spec.name}: {label}"
            if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
                raise BadInput(what, expected="an array of real numbers",
                               found=getattr(array, "dtype", type(array).__name__),
                               fix="convert it with numpy.asarray(..., numpy.float32)")
            if np.ma.is_masked(array):
                raise BadInput(what, expected="an array without masked values",
                               found="a masked array", fix="say what stands there: array.filled(0)")
            if array.shape != shape:
                raise BadInput(what, expected=f"shape {shape}", found=array.shape)
            if not (np.abs(array) <= _LARGEST).all():  # NaN compares false
                raise BadInput(what, expected="finite numbers", found="NaN or infinity")
        if given.variance is not None and given.variance.min() < 0:
            raise BadInput(f"{spec.name}: variance", expected="0 or more",
                           found=float(given.variance.min()))
