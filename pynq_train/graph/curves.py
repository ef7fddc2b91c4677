"""Curves: activations that are no clipping, as functions of one variable with their derivatives.

The engine computes them by tables of straight lines (``quant.curves``). What a table needs beside
the values stands here: how far the bend reaches, what the curve is beyond that, and how many
segments describe it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from pynq_train.errors import BadInput
from pynq_train.fixed.functions import exp, expm1, tanh
from pynq_train.graph.shapes import Shape, require_number

FloatArray = npt.NDArray[np.float32]
Reals = npt.NDArray[np.float64]
SLOPE_LIMIT = 2
"""Slopes of curves are below this in magnitude: what a table holds."""
_FINE = 9
"""Binary logarithm of the segments of a smooth curve: the most that a table has."""
_CERTAIN = 9.0
"""Deviations beyond which a normal variable does not lie, in float64."""
_LAST_ODD = 260
"""Terms of the error function's series below this power count: the next are below 1e-28."""


class Line(NamedTuple):
    """A straight line: what a curve is far from zero."""

    slope: float
    offset: float


@dataclass(frozen=True)
class Curve:
    """An activation by a table, as an operation: what all of them share.

    Attributes:
        ends: what it is far below and far above zero.
    """

    kind: ClassVar[str] = ""
    arity: ClassVar[tuple[int, int | None]] = (1, 1)
    name: str = field(default="", kw_only=True)
    inputs: tuple[str, ...] = field(default=(), kw_only=True)

    def verify(self) -> None:
        """Nothing can be wrong."""

    def out_shape(self, shape: Shape) -> Shape:
        """Return ``shape``."""
        return shape

    @property
    def ends(self) -> tuple[Line, Line]:
        """The lines that it comes close to far below and far above zero."""
        raise NotImplementedError

    @property
    def reach(self) -> int:
        """Power of two of the magnitude from which on it is one of these lines."""
        raise NotImplementedError

    @property
    def segment_bits(self) -> int:
        """Binary logarithm of the segments up to there, of both signs."""
        return _FINE

    def value(self, x: Reals) -> Reals:
        """Return the values at ``x``, float64 of any shape."""
        raise NotImplementedError

    def derivative(self, x: Reals) -> Reals:
        """Return the derivatives at ``x``, float64 of any shape; at a bend that from the right."""
        raise NotImplementedError

    def forward(self, x: FloatArray) -> FloatArray:
        """Return the values of a float32 map."""
        return self.value(x.astype(np.float64)).astype(np.float32)

    def backward(self, gradient: FloatArray, x: FloatArray) -> FloatArray:
        """Return the gradient of the input ``x`` from that of the output."""
        return gradient * self.derivative(x.astype(np.float64)).astype(np.float32)


_FLAT, _ONE, _SELF = Line(0, 0), Line(0, 1), Line(1, 0)


def _sigmoid(x: Reals) -> Reals:
    # The exponential of a magnitude never overflows.
    small = exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def _check_slope(who: str, value: float) -> None:
    """Raise BadInput unless ``value`` is a number that a table holds as a slope."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (
            abs(value) < SLOPE_LIMIT):
        raise BadInput(who, expected=f"a number between -{SLOPE_LIMIT} and {SLOPE_LIMIT}",
                       found=value)


@dataclass(frozen=True)
class LeakyRelu(Curve):
    """x where x >= 0, else ``slope`` * x; its derivative at 0 is 1."""

    kind: ClassVar[str] = "leakyrelu"
    slope: float = 0.01

    def verify(self) -> None:
        """Raise :class:`BadInput` for a slope that a table does not hold."""
        _check_slope(f"{self.name or self.kind}: slope", self.slope)

    @property
    def ends(self) -> tuple[Line, Line]:
        """Its two parts."""
        return Line(self.slope, 0), _SELF

    @property
    def reach(self) -> int:
        """It bends at 0 alone."""
        return 0

    @property
    def segment_bits(self) -> int:
        """The fewest that a table has."""
        return 3

    def value(self, x: Reals) -> Reals:
        """Return x, or its part of it."""
        return np.where(x >= 0, x, self.slope * x)

    def derivative(self, x: Reals) -> Reals:
        """Return 1 or the slope."""
        return np.where(x >= 0, 1.0, self.slope)


@dataclass(frozen=True)
class Elu(Curve):
    """x where x >= 0, else ``alpha`` * (exp(x) - 1)."""

    kind: ClassVar[str] = "elu"
    alpha: float = 1.0

    def verify(self) -> None:
        """Raise :class:`BadInput` for an ``alpha`` that is no slope of a table."""
        _check_slope(f"{self.name or self.kind}: alpha", self.alpha)

    @property
    def ends(self) -> tuple[Line, Line]:
        """Minus alpha, and x."""
        return Line(0, -self.alpha), _SELF

    @property
    def reach(self) -> int:
        """exp(-16) is below the last place of any map."""
        return 4

    def value(self, x: Reals) -> Reals:
        """Return its values."""
        return np.where(x >= 0, x, self.alpha * expm1(np.minimum(x, 0)))

    def derivative(self, x: Reals) -> Reals:
        """Return its derivatives."""
        return np.where(x >= 0, 1.0, self.alpha * exp(np.minimum(x, 0)))


@dataclass(frozen=True)
class Sigmoid(Curve):
    """1 / (1 + exp(-x))."""

    kind: ClassVar[str] = "sigmoid"

    @property
    def ends(self) -> tuple[Line, Line]:
        """0 and 1."""
        return _FLAT, _ONE

    @property
    def reach(self) -> int:
        """exp(-16) is below the last place of any map."""
        return 4

    def value(self, x: Reals) -> Reals:
        """Return its values."""
        return _sigmoid(x)

    def derivative(self, x: Reals) -> Reals:
        """Return s * (1 - s)."""
        return _sigmoid(x) * _sigmoid(-x)


@dataclass(frozen=True)
class Tanh(Curve):
    """The hyperbolic tangent."""

    kind: ClassVar[str] = "tanh"

    @property
    def ends(self) -> tuple[Line, Line]:
        """-1 and 1."""
        return Line(0, -1), _ONE

    @property
    def reach(self) -> int:
        """It comes as close to 1 at 8 as a sigmoid at 16."""
        return 3

    def value(self, x: Reals) -> Reals:
        """Return its values."""
        return tanh(x)

    def derivative(self, x: Reals) -> Reals:
        """Return 1 - t * t."""
        return 4 * _sigmoid(2 * x) * _sigmoid(-2 * x)


@dataclass(frozen=True)
class Silu(Curve):
    """x * sigmoid(x), also called swish."""

    kind: ClassVar[str] = "silu"

    @property
    def ends(self) -> tuple[Line, Line]:
        """0 and x."""
        return _FLAT, _SELF

    @property
    def reach(self) -> int:
        """As of a sigmoid."""
        return 4

    def value(self, x: Reals) -> Reals:
        """Return its values."""
        return x * _sigmoid(x)

    def derivative(self, x: Reals) -> Reals:
        """Return s + x * s * (1 - s)."""
        s = _sigmoid(x)
        return s + x * s * _sigmoid(-x)


@dataclass(frozen=True)
class Gelu(Curve):
    """x * P(X <= x) of a normal variable X; ``tanh``: its approximation by a tangent."""

    kind: ClassVar[str] = "gelu"
    tanh: bool = False

    def verify(self) -> None:
        """Raise :class:`BadInput` if ``tanh`` is no bool."""
        if not isinstance(self.tanh, bool):
            raise BadInput(f"{self.name or self.kind}: tanh", expected="True or False",
                           found=repr(self.tanh))

    @property
    def ends(self) -> tuple[Line, Line]:
        """0 and x."""
        return _FLAT, _SELF

    @property
    def reach(self) -> int:
        """At 8 the probability is below 2**-49."""
        return 3

    def _inner(self, x: Reals) -> Reals:
        return math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)

    def value(self, x: Reals) -> Reals:
        """Return its values."""
        return x * self._probability(x)

    def _probability(self, x: Reals) -> Reals:
        if self.tanh:
            return 0.5 * (1 + tanh(self._inner(np.clip(x, -20, 20))))
        return _normal(x)

    def derivative(self, x: Reals) -> Reals:
        """Return its derivatives."""
        if self.tanh:
            near = np.clip(x, -20, 20)
            bend = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * near * near)
            t = tanh(self._inner(near))
            return 0.5 * (1 + t) + 0.5 * near * (1 - t * t) * bend
        near = np.clip(x, -30, 30)
        return _normal(x) + near * exp(-near * near / 2) / math.sqrt(2 * math.pi)


def _normal(x: Reals) -> Reals:
    """Return the probability of a normal variable up to ``x``, within 1e-15.

    By the series ``erf(z) = 2/sqrt(pi) * exp(-z*z) * (z + 2/3 z**3 + 4/15 z**5 + ...)``, whose
    terms are all positive: NumPy has no error function, and that of a C library has other last bits
    on other processors.
    """
    # Maps repeat few values, so each is computed once.
    found, places = np.unique(x, return_inverse=True)
    z = np.minimum(np.abs(found), _CERTAIN) / math.sqrt(2)
    term, total = z, z
    for odd in range(3, _LAST_ODD, 2):
        term = term * (2 * z * z / odd)
        total = total + term
    half = total * exp(-z * z) / math.sqrt(math.pi)
    each = np.clip(0.5 + np.copysign(half, found), 0, 1)
    return each[places].reshape(np.shape(x))


@dataclass(frozen=True)
class HardSigmoid(Curve):
    """``alpha`` * x + ``beta`` between 0 and 1; PyTorch and Keras 3: 1/6, Keras 2 and ONNX: 0.2."""

    kind: ClassVar[str] = "hardsigmoid"
    alpha: float = 1 / 6
    beta: float = 0.5

    def verify(self) -> None:
        """Raise :class:`BadInput` for numbers that a table does not hold."""
        who = self.name or self.kind
        _check_slope(f"{who}: alpha", self.alpha)
        if self.alpha < 2**-6:
            raise BadInput(f"{who}: alpha", expected="1/64 or more", found=self.alpha)
        require_number(f"{who}: beta", self.beta, 0, 1)

    @property
    def ends(self) -> tuple[Line, Line]:
        """0 and 1."""
        return _FLAT, _ONE

    @property
    def _bends(self) -> tuple[float, float]:
        return -self.beta / self.alpha, (1 - self.beta) / self.alpha

    @property
    def reach(self) -> int:
        """Behind both bends, so that the last segments are flat."""
        return math.floor(math.log2(max(map(abs, self._bends)))) + 1

    @property
    def segment_bits(self) -> int:
        """So many that both bends lie between segments, if that can be."""
        for bits in range(3, _FINE):
            width = math.ldexp(1, self.reach + 1 - bits)
            # Numbers such as 0.2 and 1/6 are not exact: nor are the bends.
            if all(abs(bend / width - round(bend / width)) < 1e-6 for bend in self._bends):
                return bits
        return _FINE

    def value(self, x: Reals) -> Reals:
        """Return its values."""
        return np.clip(self.alpha * x + self.beta, 0, 1)

    def derivative(self, x: Reals) -> Reals:
        """Return alpha between the bends, else 0."""
        low, top = self._bends
        return np.where((low < x) & (x < top), self.alpha, 0.0)


@dataclass(frozen=True)
class HardSwish(Curve):
    """x * (x + 3) / 6 between -3 and 3, 0 below, x above."""

    kind: ClassVar[str] = "hardswish"

    @property
    def ends(self) -> tuple[Line, Line]:
        """0 and x."""
        return _FLAT, _SELF

    @property
    def reach(self) -> int:
        """It is straight from 3 on."""
        return 2

    def value(self, x: Reals) -> Reals:
        """Return its values."""
        return x * np.clip(x + 3, 0, 6) / 6

    def derivative(self, x: Reals) -> Reals:
        """Return (2 x + 3) / 6 between the bends, else 0 or 1."""
        return np.where(x < -3, 0.0, np.where(x < 3, (2 * x + 3) / 6, 1.0))


CURVES: tuple[type[Curve], ...] = (LeakyRelu, Elu, Sigmoid, Tanh, Silu, Gelu, HardSigmoid,
                                   HardSwish)
"""All curves that a network may have."""
