"""Random blocks whose branches are concatenated by channels: beside each other, or dense."""

from __future__ import annotations

from typing import Protocol

from pynq_train.check.random_nets import Draw
from pynq_train.graph.ops import AvgPool, Concat, MaxPool2x2, Op
from pynq_train.hw.words import CHANNELS_PER_WORD

STREAM = 0xCA7


class Builder(Protocol):
    """What the blocks need of the network's builder (``random_branches``)."""

    ops: list[Op]

    def name(self, stem: str) -> str:
        """Return a new name that begins with ``stem``."""

    def conv(self, source: str, out: int, kernel: int, stride: int, groups: int = 1) -> str:
        """Append a convolution, often normalised; return its end."""

    def relu(self, source: str, percent: int = 80) -> str:
        """Append an activation in ``percent`` of 100 cases; return its end."""


def random_join(build: Builder, draw: Draw, at: str, channels: int, size: int) -> tuple[str, int]:
    """Append a block of concatenated branches; return its end and its channels.

    Two to four branches of one or two convolutions, of pooling or of nothing, one of them taken
    twice now and then; or two or three convolutions that each read all before them.

    Args:
        build: the network's builder.
        draw: random numbers of such blocks.
        at: operation that the block reads.
        channels: its channels.
        size: smaller side of its feature map.
    """
    if channels % CHANNELS_PER_WORD:
        channels = CHANNELS_PER_WORD * (1 + draw.below(4))
        at = build.relu(build.conv(at, channels, 1, 1))
    end, channels = _dense(build, draw, at, channels) if draw.chance(35) else _beside(
        build, draw, at, channels)
    end = build.relu(end, 25)
    if size >= 4 and draw.chance(25):
        build.ops.append(MaxPool2x2(build.name("pool"), (end,)))
        end = build.ops[-1].name
    return end, channels


def _join(build: Builder, sources: list[str]) -> str:
    """Append a concatenation of ``sources``; return its name."""
    build.ops.append(Concat(build.name("join"), tuple(sources)))
    return build.ops[-1].name


def _beside(build: Builder, draw: Draw, at: str, channels: int) -> tuple[str, int]:
    """Append branches beside each other, concatenated; return end and channels."""
    sources: list[str] = []
    total, count = 0, 2 + draw.below(3)
    for number in range(count):
        kind = draw.below(5)
        end, own = at, channels
        if kind == 0 and number:
            build.ops.append(AvgPool(3, 1, 1, build.name("avg"), (at,)))
            end = build.ops[-1].name
        elif kind > 1 or not number:
            own = CHANNELS_PER_WORD * (1 + draw.below(3))
            own += draw.below(CHANNELS_PER_WORD) if number == count - 1 else 0
            if kind > 3:
                end = build.relu(build.conv(end, 1 + draw.below(8), 1, 1))
            end = build.relu(build.conv(end, own, 1 + 2 * draw.below(3), 1))
        sources.append(end)
        total += own
    if draw.chance(15):
        sources.insert(0, sources[0])
        total += _channels_of(build, sources[0], channels, at)
    return _join(build, sources), total


def _channels_of(build: Builder, name: str, channels: int, at: str) -> int:
    """Return the channels of a branch: of its last convolution, or of what the branches read."""
    by_name = {op.name: op for op in build.ops}
    while name != at:
        op = by_name[name]
        if hasattr(op, "out_channels"):
            return int(op.out_channels)
        name = op.inputs[0]
    return channels


def _dense(build: Builder, draw: Draw, at: str, channels: int) -> tuple[str, int]:
    """Append convolutions that each read all before them; return end and channels."""
    lists = draw.chance(50)
    maps, total = [at], channels
    for _ in range(2 + draw.below(2)):
        growth = CHANNELS_PER_WORD * (1 + draw.below(2))
        own = build.conv(build.relu(build.conv(at, growth, 1, 1)), growth, 3, 1)
        maps.append(own)
        at, total = _join(build, maps if lists else [at, own]), total + growth
    return at, total
