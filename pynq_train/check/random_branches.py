"""Random small networks with branches: residuals, concatenations, normalisation, dropout."""

from __future__ import annotations

from pynq_train.check.random_joins import STREAM as JOIN_STREAM
from pynq_train.check.random_joins import random_join
from pynq_train.check.random_nets import Draw, RandomNet, activation
from pynq_train.graph import Graph
from pynq_train.graph.ops import (
    Add,
    AvgPool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    GlobalAvgPool,
    MaxPool,
    MaxPool2x2,
    Op,
)

_STREAM, _POOL_STREAM, _GROUP_STREAM = 0xB7, 0xB8, 0xB9
MOST_BATCH = 9
"""Largest mini-batch."""


class _NetBuilder:
    """Operations in order, each with a name of its own.

    Its methods append operations behind the one named ``source`` and return the name of the last.
    """

    def __init__(self, draw: Draw) -> None:
        self.ops: list[Op] = []
        self._draw = draw

    def name(self, stem: str) -> str:
        """Return a new name that begins with ``stem``."""
        return f"{stem}{len(self.ops)}"

    def conv(self, source: str, out: int, kernel: int, stride: int, groups: int = 1) -> str:
        """Append a convolution that keeps the size, divided by its stride; often normalised."""
        draw, source = self._draw, self.drop(source)
        name = self.name("conv")
        norm = draw.chance(75)
        self.ops.append(Conv(out, kernel, stride, "same", not norm and draw.chance(60), name,
                             groups, (source,)))
        if norm:
            self.ops.append(BatchNorm(0.1, 1e-5, draw.chance(15), self.name("bn"), (name,)))
        return self.ops[-1].name

    def groups(self, draw: Draw, source: str) -> tuple[str, int]:
        """Append a pointwise convolution and a grouped one; return its end and its channels."""
        count, n, m = 2 + draw.below(4), 1 + draw.below(6), 1 + draw.below(8)
        at = self.relu(self.conv(source, count * n, 1, 1))
        at = self.conv(at, count * m, 1 + draw.below(3), 1 + draw.below(2), count)
        return self.relu(at), count * m

    def drop(self, source: str, percent: int = 15) -> str:
        """Append a dropout in ``percent`` of 100 cases."""
        if self._draw.chance(percent):
            self.ops.append(Dropout(self._draw.below(10) / 10, self.name("drop"), (source,)))
            return self.ops[-1].name
        return source

    def pool(self, draw: Draw, shape: tuple[int, int, int], source: str, percent: int) -> str:
        """Append max pooling in ``percent`` of 100 cases; ``shape``: of the network's input."""
        size = Graph.build(shape, self.ops).shapes[-1][1:]
        if not draw.chance(percent) or min(size) < 2:
            return source
        name = self.name("pool")
        windows: list[Op] = [MaxPool2x2(name, (source,)), MaxPool(3, 2, 1, name, (source,)),
                             MaxPool(3, 1, 1, name, (source,)),
                             MaxPool(2 + draw.below(2), 1 + draw.below(3), "same", name, (source,))]
        self.ops.append(windows[draw.below(len(windows))])
        return name

    def relu(self, source: str, percent: int = 80) -> str:
        """Append an activation in ``percent`` of 100 cases."""
        if self._draw.chance(percent):
            self.ops.append(activation(self._draw, 30)(self.name("relu"), (source,)))
            return self.ops[-1].name
        return source


def random_branched_net(seed: int) -> RandomNet:
    """Return network ``seed``: a stem, one to three blocks, a mean and a classifier.

    A block is a convolution, a depthwise and a pointwise one, a residual of two convolutions
    with or without one on its other branch, or branches of one concatenation; pooling, or groups of
    any sizes, may follow.
    The same network for a seed on every machine.
    """
    # Each kind of block draws from a stream of its own: one more kind leaves the numbers of the
    # others, and so most of the network of a seed, as they were.
    draw, joins, pools = Draw(seed, _STREAM), Draw(seed, JOIN_STREAM), Draw(seed, _POOL_STREAM)
    grouped = Draw(seed, _GROUP_STREAM)
    shape = (1 + draw.below(4), 4 + draw.below(7), 4 + draw.below(7))
    build = _NetBuilder(draw)
    channels = 1 + draw.below(24)
    at = build.relu(build.conv("input", channels, 1 + 2 * draw.below(2), 1), 100)
    at = build.pool(pools, shape, at, 30)
    for _ in range(1 + draw.below(3)):
        if joins.chance(30):
            size = min(Graph.build(shape, build.ops).output_shape[1:])
            at, channels = random_join(build, joins, at, channels, size)
            continue
        kind = draw.below(4)
        if kind == 0:
            channels = 1 + draw.below(24)
            at = build.relu(build.conv(at, channels, 1 + draw.below(4), 1 + draw.below(2)))
        elif kind == 1:
            at = build.relu(build.conv(at, channels, 3, 1 + draw.below(2), channels))
            channels = 1 + draw.below(24)
            at = build.relu(build.conv(at, channels, 1, 1))
        else:
            out, stride = (channels, 1) if kind == 2 else (1 + draw.below(24), 1 + draw.below(2))
            inner = build.relu(build.conv(at, out, 3, stride), 90)
            inner = build.conv(inner, out, 3, 1)
            other = at if kind == 2 else build.conv(at, out, 1, stride)
            build.ops.append(Add(build.name("add"), (inner, other)))
            at, channels = build.relu(build.ops[-1].name), out
        at = build.pool(pools, shape, at, 25)
        if grouped.chance(20):
            at, channels = build.groups(grouped, at)
    if draw.chance(25):
        build.ops.append(AvgPool(2, 1, "same", build.name("avg"), (at,)))
        at = build.ops[-1].name
    if draw.chance(70):
        build.ops.append(GlobalAvgPool(build.name("mean"), (at,)))
        at = build.ops[-1].name
    at = build.drop(at, 40)
    build.ops.append(Dense(2 + draw.below(9), draw.chance(80), "logits", (at,)))
    return RandomNet(Graph.build(shape, build.ops, f"branches{seed}"), 1 + draw.below(MOST_BATCH))
