"""Masters: weights, momentum and running statistics of a layer, as the update unit has them.

Q3.28 means 28 fraction bits in 32, Q7.24 means 24 (``docs/numerics.md`` 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pynq_train.errors import BadInput
from pynq_train.fixed.soft_float import BITS as SCALAR_BITS
from pynq_train.fixed.soft_float import SoftFloats
from pynq_train.graph.params import LayerParams
from pynq_train.layers.fuse import FusedLayer
from pynq_train.layers.pieces import Pieces, triangle
from pynq_train.run.formats import MASTER_LIMIT, from_master, to_master
from pynq_train.schedule.plan import Plan

_MOST_EXPONENT = 512
"""Largest exponent, either way, of a running value: float32 needs 180, arithmetic a few more."""


@dataclass(frozen=True)
class Masters:
    """Masters of one layer as the update unit keeps them.

    Attributes:
        weight: int32 Q3.28 of the layer's ``weight_shape``.
        weight_momentum: int32 Q7.24, the same shape.
        bias: int32 Q3.28 ``(m,)``, None without bias.
        bias_momentum: int32 Q7.24 ``(m,)``, None without bias.
        mean: running mean of a normalisation, int64 ``(m,)``: soft floats, packed
            (:class:`~pynq_train.fixed.soft_float.SoftFloats`); None for other layers.
        variance: its running variance, likewise.
    """

    weight: NDArray[np.int32]
    weight_momentum: NDArray[np.int32]
    bias: NDArray[np.int32] | None
    bias_momentum: NDArray[np.int32] | None
    mean: NDArray[np.int64] | None = None
    variance: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, params: LayerParams) -> Masters:
        """Return float parameters as masters; momentum is zero."""
        weight = to_master(params.weight)
        bias = None if params.bias is None else to_master(params.bias)
        return cls(weight, np.zeros_like(weight), bias,
                   None if bias is None else np.zeros_like(bias), _pack(params.mean),
                   _pack(params.variance))

    @classmethod
    def averaging(cls, layer: FusedLayer) -> Masters:
        """Return the constant weights of a layer that the array copies or averages with.

        Of average pooling 2**28 / (kernel rows * columns), to nearest; of an upsampling 1, or what
        a bilinear one mixes with; where channels are moved 1 from each input channel to its places.
        """
        values = np.full(layer.weight_shape, 1.0 if layer.kind.transposed
                         else 1.0 / layer.kernel.area)
        if layer.kind.pieced:
            values[:] = Pieces.of(*layer.in_shape[1:], layer.stride.rows).weights
        elif layer.kind.transposed and layer.kernel != layer.stride:
            slope = triangle(layer.stride.rows)
            values[:] = np.outer(slope, slope)
        if layer.copies is not None:
            moved = np.array(layer.copies)[:, None] == np.arange(layer.in_shape[0])
            values = moved.reshape(layer.weight_shape).astype(np.float64)
        weight = to_master(values)
        return cls(weight, np.zeros_like(weight), None, None)

    def check(self, where: str) -> None:
        """Check that these are numbers that the engine makes; ``where`` names the layer.

        Raises:
            BadInput: a weight or bias below the smallest, a running value that is no soft float,
                or a variance below 0.
        """
        for label, values in (("weight", self.weight), ("bias", self.bias)):
            if values is not None and values.size and values.min() < -MASTER_LIMIT:
                raise BadInput(f"{label} of {where}", expected=f"masters of {-MASTER_LIMIT} and up",
                               found=int(values.min()), fix="use a copy, or an earlier checkpoint")
        for label, words in (("mean", self.mean), ("variance", self.variance)):
            if words is None:
                continue
            numbers = SoftFloats.unpack(words)
            odd = numbers.pack() != words
            odd |= (numbers.significand > 0) & (numbers.significand >> SCALAR_BITS - 1 == 0)
            odd |= (np.abs(numbers.exponent) > _MOST_EXPONENT) & (numbers.significand > 0)
            if label == "variance":
                odd |= (numbers.sign > 0) & (numbers.significand > 0)
            if odd.any():
                raise BadInput(f"running {label} of {where}", found=f"0x{int(words[odd][0]):x}",
                               expected="numbers that a normalisation can have"
                               + (", 0 or more" if label == "variance" else ""),
                               fix="use a copy, or an earlier checkpoint")

    def params(self) -> LayerParams:
        """Return weights, biases and running statistics as float32."""
        return LayerParams(from_master(self.weight),
                           None if self.bias is None else from_master(self.bias),
                           _unpack(self.mean), _unpack(self.variance))

    @property
    def count(self) -> int:
        """Number of weights and biases."""
        return self.weight.size + (0 if self.bias is None else self.bias.size)

    @property
    def clipped(self) -> int:
        """Number of weights and biases that stand at their limit, or whose momentum does.

        The update unit clips there; a value that is the limit by chance is not told apart.
        """
        total = 0
        for values, momentum in ((self.weight, self.weight_momentum),
                                 (self.bias, self.bias_momentum)):
            if values is not None and momentum is not None:
                at_limit = (values == MASTER_LIMIT) | (values <= -MASTER_LIMIT)
                at_limit |= (momentum == MASTER_LIMIT) | (momentum <= -MASTER_LIMIT)
                total += int(np.count_nonzero(at_limit))
        return total

    def same_bits(self, other: Masters) -> bool:
        """Return whether all numbers are equal, bit for bit."""
        pairs = ((self.weight, other.weight), (self.weight_momentum, other.weight_momentum),
                 (self.bias, other.bias), (self.bias_momentum, other.bias_momentum),
                 (self.mean, other.mean), (self.variance, other.variance))
        return all((a is None and b is None) or
                   (a is not None and b is not None and np.array_equal(a, b)) for a, b in pairs)


def _pack(values: NDArray[np.float32] | None) -> NDArray[np.int64] | None:
    """Return float32 values as packed soft floats, int64; None for None."""
    if values is None:
        return None
    # Exact: a float32 has 24 significant bits, a soft float 31.
    fraction, exponent = np.frexp(values.astype(np.float64))
    whole = np.ldexp(fraction, SCALAR_BITS).astype(np.int64)
    packed: NDArray[np.int64] = SoftFloats.of_int(whole, 0).moved(exponent - SCALAR_BITS).pack()
    return packed


def _unpack(words: NDArray[np.int64] | None) -> NDArray[np.float32] | None:
    """Return packed soft floats as float32, rounded; None for None."""
    return None if words is None else SoftFloats.unpack(words).to_float().astype(np.float32)


def with_averages(plan: Plan, masters: Mapping[str, Masters]) -> dict[str, Masters]:
    """Return masters of all layers of a plan: those given, and the constants of average pooling."""
    return {**masters, **{layer.name: Masters.averaging(layer)
                          for layer in plan.layers if layer.average}}
