"""Random networks are put together here: operations in order, each with a name of its own."""

from __future__ import annotations

from pynq_train.check.draw import Draw, activation
from pynq_train.graph import Graph
from pynq_train.graph.ops import (
    BatchNorm,
    Concat,
    Conv,
    Dropout,
    GroupNorm,
    MaxPool,
    MaxPool2x2,
    Op,
    Shape,
)
from pynq_train.graph.windows import Padding, Side
from pynq_train.hw.words import CHANNELS_PER_WORD

_EPS = (1e-5, 1e-3, 0.1)
_MOMENTA = (0.1, 0.01, 0.5, 0.0)


class NetBuilder:
    """Operations in order.

    Its methods append operations behind the one named ``source`` and return the name of the last.

    Args:
        shape: of the network's input.
        draw: random numbers of the network.

    Attributes:
        ops: the operations.
        draw: random numbers of the network.
    """

    def __init__(self, shape: Shape, draw: Draw) -> None:
        self.ops: list[Op] = []
        self.draw = draw
        self._shape = shape

    def name(self, stem: str) -> str:
        """Return a new name that begins with ``stem``."""
        return f"{stem}{len(self.ops)}"

    def shape(self, name: str) -> Shape:
        """Return channels, rows and columns of the map called ``name``."""
        if name == "input":
            return self._shape
        graph = Graph.build(self._shape, self.ops)
        return next(shape for op, shape in zip(graph.ops, graph.shapes) if op.name == name)

    def add(self, op: Op) -> str:
        """Append an operation that has its name and sources."""
        self.ops.append(op)
        return op.name

    def conv(self, source: str, out: int, kernel: Side, stride: int, groups: int = 1) -> str:
        """Append a convolution that keeps the size, divided by its stride; often normalised.

        A square kernel of more than a pixel is now and then one of one row or column.
        """
        draw, source = self.draw, self.drop(source)
        norm = draw.chance(75)
        if isinstance(kernel, int) and kernel > 1 and draw.chance(25):
            kernel = draw.one_of(((1, kernel), (kernel, 1), (kernel, 2), (2, kernel)))
        end = self.add(Conv(out, kernel, stride, "same", not norm and draw.chance(60),
                            self.name("conv"), groups, (source,)))
        return self.norm(end) if norm else end

    def norm(self, source: str) -> str:
        """Append a normalisation, in inference mode now and then."""
        draw = self.draw
        momentum, eps = draw.one_of(_MOMENTA), draw.one_of(_EPS)
        return self.add(BatchNorm(momentum, eps, draw.chance(15), self.name("bn"), (source,)))

    def group_norm(self, draw: Draw, source: str) -> str:
        """Append a group normalisation and often an activation; ``draw``: of what is drawn here."""
        channels, rows, cols = self.shape(source)
        sizes = [size for size in range(1, channels + 1) if channels % size == 0
                 and (size < 3 or size % CHANNELS_PER_WORD == 0) and size * rows * cols > 1]
        if not sizes:
            return source
        end = self.add(GroupNorm(channels // draw.one_of(tuple(sizes)), draw.one_of(_EPS),
                                 draw.chance(40), self.name("gn"), (source,)))
        if draw.chance(30):
            return end
        return self.add(activation(draw, 40)(self.name("relu"), (end,)))

    def groups(self, source: str) -> str:
        """Append a pointwise convolution and one of two to five groups of any size."""
        draw = self.draw
        count, n, m = draw.between(2, 5), draw.between(1, 6), draw.between(1, 8)
        if draw.chance(50):  # groups that share a tile of output channels
            count, n = draw.between(2, 3), draw.one_of((2, 4, 8, 16))
            m = n
        at = self.relu(self.conv(source, count * n, 1, 1))
        return self.relu(self.conv(at, count * m, draw.between(1, 3), draw.between(1, 2), count))

    def drop(self, source: str, percent: int = 15) -> str:
        """Append a dropout in ``percent`` of 100 cases, with an activation now and then."""
        if not self.draw.chance(percent):
            return source
        rate = self.draw.below(10) / 10
        end = self.add(Dropout(rate, self.name("drop"), (source,)))
        # One of rate 0 vanishes; an activation would then stand behind another one.
        return self.relu(end, 20) if rate else end

    def pool(self, source: str, percent: int) -> str:
        """Append max pooling in ``percent`` of 100 cases, where the map is large enough."""
        draw = self.draw
        if not draw.chance(percent) or min(self.shape(source)[1:]) < 2:
            return source
        name, small = self.name("pool"), min(self.shape(source)[1:]) < 3
        kernel: Side = draw.between(2, 3)
        stride: Side = draw.between(1, 3)
        if draw.chance(50):
            kernel = draw.between(1, 3), draw.between(1, 3)
            stride = draw.between(1, 3), draw.between(1, 3)
        windows: tuple[Op, ...] = (
            MaxPool2x2(name, (source,)), MaxPool(kernel, stride, "same", name, (source,)),
            MaxPool(3, 2, "same", name, (source,)),
            MaxPool(kernel, stride, self._pads(kernel, small), name, (source,)))
        return self.add(draw.one_of(windows))

    def _pads(self, kernel: Side, small: bool) -> Padding:
        """Draw the padding of a pooling; on a ``small`` map as much as windows of 3 need."""
        draw = self.draw
        if isinstance(kernel, int):
            return 1 if small else draw.below(2)
        rows, cols = ((side // 2, side - 1) if small else
                      (draw.below(side // 2 + 1), draw.below(side)) for side in kernel)
        return (rows, cols)

    def relu(self, source: str, percent: int = 80) -> str:
        """Append an activation in ``percent`` of 100 cases."""
        if not self.draw.chance(percent):
            return source
        return self.add(activation(self.draw, 30)(self.name("relu"), (source,)))

    def join(self, sources: list[str]) -> str:
        """Append a concatenation."""
        return self.add(Concat(self.name("join"), tuple(sources)))
