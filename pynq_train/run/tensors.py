"""Masters as named tensors: in files, and between boards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynq_train.errors import BadInput
from pynq_train.layers.fuse import FusedLayer
from pynq_train.run.masters import Masters


def to_tensors(masters: Mapping[str, Masters]) -> dict[str, NDArray[Any]]:
    """Return masters as ``<layer>.weight``, ``<layer>.weight.momentum`` and so on."""
    found: dict[str, NDArray[Any]] = {}
    for name, own in masters.items():
        found[f"{name}.weight"] = own.weight
        found[f"{name}.weight.momentum"] = own.weight_momentum
        if own.bias is not None and own.bias_momentum is not None:
            found[f"{name}.bias"] = own.bias
            found[f"{name}.bias.momentum"] = own.bias_momentum
        if own.mean is not None and own.variance is not None:
            found[f"{name}.mean"], found[f"{name}.variance"] = own.mean, own.variance
    return found


def from_tensors(where: str, layer: FusedLayer, tensors: Mapping[str, NDArray[Any]]) -> Masters:
    """Return the masters of a layer.

    Args:
        where: names what the tensors are of, for messages.
        layer: it has parameters.
        tensors: as of :func:`to_tensors`.

    Raises:
        KeyError: there is no tensor of this name.
        BadInput: one has another shape or dtype, or values that the engine does not make.
    """
    def take(label: str, shape: tuple[int, ...], dtype: Any = np.int32) -> NDArray[Any]:
        key = f"{layer.name}.{label}"
        array = tensors[key]
        if array.dtype != dtype or array.shape != shape:
            raise BadInput(f"tensor {key!r} of {where}",
                           expected=f"{np.dtype(dtype)} of shape {shape}",
                           found=f"{array.dtype} of shape {array.shape}")
        return np.array(array)

    shape = layer.weight_shape
    bias = (layer.out_channels,)
    masters = Masters(take("weight", shape), take("weight.momentum", shape),
                      take("bias", bias) if layer.bias else None,
                      take("bias.momentum", bias) if layer.bias else None,
                      take("mean", bias, np.int64) if layer.kind.has_running else None,
                      take("variance", bias, np.int64) if layer.kind.has_running else None)
    masters.check(f"{layer.name} of {where}")
    return masters
