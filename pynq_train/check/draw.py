"""Random numbers that name a network: the same for a seed on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from pynq_train.graph import Graph
from pynq_train.graph.activation import Relu
from pynq_train.graph.curves import CURVES, Curve, Elu, Gelu, HardSigmoid, LeakyRelu
from pynq_train.graph.ops import ACTIVATIONS, Activate
from pynq_train.graph.rng import hash_u64, stream_key
from pynq_train.hw.config import ZYNQ7020
from pynq_train.hw.words import CHANNELS_PER_WORD, LANES, ceil_div
from pynq_train.layers import fuse

STREAM = 0x6E
"""Stream of what is drawn first of a network."""
_TRAIN_STREAM = 0x5EED
T = TypeVar("T")


@dataclass(frozen=True)
class RandomNet:
    """A network and how it is trained.

    Attributes:
        graph: the network.
        batch: images of a mini-batch.
        trainable: what is trained, as for :class:`~pynq_train.train.Learner`.
    """

    graph: Graph
    batch: int
    trainable: str | tuple[str, ...] = "all"


class Draw:
    """Random numbers from the counter hash: the same for a seed on every machine.

    Args:
        seed: names the numbers.
        stream: names one of several independent sequences of a seed.
    """

    def __init__(self, seed: int, stream: int) -> None:
        self._key = stream_key(seed, stream)
        self._count = 0

    def below(self, limit: int) -> int:
        """Return a number of 0 .. limit - 1."""
        self._count += 1
        return (int(hash_u64(self._key, self._count, 1)[0]) >> 33) % limit

    def between(self, low: int, high: int) -> int:
        """Return a number of low .. high."""
        return low + self.below(high - low + 1)

    def one_of(self, values: Sequence[T]) -> T:
        """Return one of ``values``."""
        return values[self.below(len(values))]

    def chance(self, percent: int) -> bool:
        """Return True in ``percent`` of 100 cases."""
        return self.below(100) < percent


def activation(draw: Draw, percent: int) -> type[Activate]:
    """Draw an activation: ReLU, or in ``percent`` of 100 cases another one."""
    number, others = draw.below(100), [op for op in ACTIVATIONS if op is not Relu]
    return others[number * len(others) // percent] if number < percent else Relu


def curve(draw: Draw, name: str, source: str) -> Curve:
    """Draw a curve with parameters of its own, behind ``source``."""
    own = draw.one_of(CURVES)
    inputs = (source,)
    if own is LeakyRelu:
        return LeakyRelu(draw.one_of((0.01, 0.125, 0.2, 0.3, 0.0, -0.5)), name=name, inputs=inputs)
    if own is Elu:
        return Elu(draw.one_of((1.0, 0.5, 1.75)), name=name, inputs=inputs)
    if own is Gelu:
        return Gelu(draw.chance(50), name=name, inputs=inputs)
    if own is HardSigmoid:
        alpha, beta = draw.one_of(((1 / 6, 0.5), (0.2, 0.5), (0.3, 0.4), (1.5, 0.0)))
        return HardSigmoid(alpha, beta, name=name, inputs=inputs)
    return own(name=name, inputs=inputs)


def random_trainable(seed: int, graph: Graph) -> str | tuple[str, ...]:
    """Return a part of network ``seed`` that is trained: a keyword, or parameters one by one."""
    layers = fuse(graph)
    draw = Draw(seed ^ _TRAIN_STREAM, STREAM)
    kind = draw.below(6)
    if kind < 3:
        wanted = ("last-layer", "last-block", "bias")[kind]
        return wanted if any(layer.bias for layer in layers) else "last-layer"
    if kind == 3 and any(layer.norm for layer in layers):
        return "norm"
    names = [f"{layer.name}.{part}" for layer in layers if layer.has_parameters
             for part in ("weight", "bias") if part == "weight" or layer.bias]
    return tuple(name for name in names if draw.chance(40)) or (names[draw.below(len(names))],)


def work_of(m: int, n: int, taps: int, pixels: int) -> int:
    """Return rough cycles of the array for a pass: 3 pixels, 16 output, 4 input channels each.

    ``taps``: places of the kernel.
    """
    groups = max(ceil_div(pixels, LANES), ZYNQ7020.sweep_min_cycles)
    blocks = ceil_div(m, ZYNQ7020.tm) * ceil_div(n, CHANNELS_PER_WORD)
    return blocks * taps * groups
