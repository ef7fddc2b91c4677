"""What activations are called elsewhere: one table by activation for each format.

Where a format writes bounds as numbers (Clip, Hardtanh, ``ReLU(max_value)``) no table is needed:
:func:`between` finds the operation.
"""

from __future__ import annotations

from dataclasses import dataclass

from pynq_train.graph.activation import Activation
from pynq_train.graph.ops import ACTIVATIONS, Activate


@dataclass(frozen=True)
class TorchNames:
    """Names in PyTorch: of modules, of functions, of methods of tensors."""

    modules: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()


ONNX: dict[Activation, str] = {Activation.RELU: "Relu"}
"""Node of an activation; the others are a Clip."""

TORCH: dict[Activation, TorchNames] = {
    Activation.RELU: TorchNames(("ReLU",), ("relu", "relu_"), ("relu", "relu_")),
    Activation.RELU6: TorchNames(("ReLU6",), ("relu6",)),
}

KERAS: dict[Activation, str] = {Activation.RELU: "relu", Activation.RELU6: "relu6"}
"""Name of the function."""


def operation(activation: Activation) -> Activate:
    """Return the operation of an activation, without a name."""
    return next(op for op in ACTIVATIONS if op.activation is activation)()


def between(low: float | None, top: float | None) -> Activate | None:
    """Return the operation that keeps values within bounds (None or infinite: no bound).

    None if there is no such operation.
    """
    bounds = tuple(None if bound is None or abs(bound) == float("inf") else bound
                   for bound in (low, top))
    return next((op() for op in ACTIVATIONS
                 if (op.activation.low, op.activation.top) == bounds), None)


def tops() -> str:
    """The upper bounds that there are, for texts: ``6``, or ``6 or 1`` if there are two."""
    return " or ".join(f"{op.activation.top:g}" for op in ACTIVATIONS
                     if op.activation.top is not None)
