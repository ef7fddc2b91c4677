"""Activations: what is done to each value behind a layer, in one value for the whole flow.

Every activation of the engine keeps values between two bounds, so its gradient is 1 between them
and 0 at and beyond them: one bit per element says where. All that graph, layers, exponents,
descriptors and exchange formats must know of an activation follows from its bounds; a new one of
this form is a line and an operation here. One of another form (a slope below zero) needs a field of
its own in the descriptors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from pynq_train.graph.shapes import Shape

FloatArray = npt.NDArray[np.float32]


class Bounds(NamedTuple):
    """Lower and upper bound, None where there is none."""

    low: float | None = None
    top: float | None = None


class Activation(Enum):
    """An activation by its bounds."""

    NONE = Bounds()
    RELU = Bounds(0)
    RELU6 = Bounds(0, 6)

    def __str__(self) -> str:
        """Return its name as that of a class: ``Relu6``."""
        return self.name.capitalize()

    @property
    def label(self) -> str:
        """Its name in saved graphs: ``relu6``."""
        return self.name.lower()

    @property
    def low(self) -> float | None:
        """Its smallest value."""
        return self.value.low

    @property
    def top(self) -> float | None:
        """Its largest value."""
        return self.value.top

    @property
    def has_flags(self) -> bool:
        """Whether its gradient is 0 somewhere, so that training keeps one bit per element."""
        return self is not Activation.NONE

    def forward(self, x: FloatArray) -> FloatArray:
        """Return the values of ``x``, of any shape, within the bounds."""
        return np.clip(x, self.low, self.top) if self.has_flags else x

    def backward(self, gradient: FloatArray, out: FloatArray) -> FloatArray:
        """Return the gradient of the input from those of the output ``out``, in its shape."""
        if not self.has_flags:
            return gradient
        low = -math.inf if self.low is None else self.low
        top = math.inf if self.top is None else self.top
        return gradient * ((low < out) & (out < top))

    def top_code(self, exponent: int) -> int | None:
        """Return the integer q with q * 2**exponent nearest to the upper bound (ties to even).

        None without an upper bound. The integer may have any size: what a format does not hold
        limits nothing there.
        """
        return None if self.top is None else round(math.ldexp(self.top, -exponent))


@dataclass(frozen=True)
class Activate:
    """An activation as an operation: what all of them share. A network has one of those below."""

    kind: ClassVar[str] = ""
    arity: ClassVar[tuple[int, int | None]] = (1, 1)
    activation: ClassVar[Activation] = Activation.NONE
    name: str = ""
    inputs: tuple[str, ...] = ()

    def verify(self) -> None:
        """Nothing can be wrong."""

    def out_shape(self, shape: Shape) -> Shape:
        """Return ``shape``."""
        return shape


@dataclass(frozen=True)
class Relu(Activate):
    """max(x, 0); its gradient at 0 is 0."""

    activation: ClassVar[Activation] = Activation.RELU
    kind: ClassVar[str] = activation.label


@dataclass(frozen=True)
class Relu6(Activate):
    """min(max(x, 0), 6); its gradient is 0 at 0 and at 6."""

    activation: ClassVar[Activation] = Activation.RELU6
    kind: ClassVar[str] = activation.label


ACTIVATIONS: tuple[type[Activate], ...] = (Relu, Relu6)
"""All activations that a network may have."""
