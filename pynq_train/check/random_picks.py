"""Random blocks that move channels: concatenations of any numbers of them, splits, shuffles."""

from __future__ import annotations

import copy

from pynq_train.check.draw import Draw
from pynq_train.check.net_builder import NetBuilder
from pynq_train.graph.ops import AvgPool, Conv, PickChannels


def random_picks(build: NetBuilder, draw: Draw, at: str) -> str:
    """Append a block whose channels are split, shuffled, or joined in any numbers; return its end.

    Args:
        build: the network's builder.
        draw: of what is drawn here: the builder's own numbers stay what they were.
        at: operation that the block reads.
    """
    own = copy.copy(build)  # the same operations, other random numbers
    own.draw = draw
    kind = draw.below(3)
    if kind == 0:
        return _joined(own, at)
    return _split(own, at) if kind == 1 else _picked(own, at)


def _joined(build: NetBuilder, at: str) -> str:
    """Append branches of any numbers of channels, joined once or twice; return their end."""
    draw = build.draw
    ends = [_conv(build, at, draw.between(1, 9)) for _ in range(draw.between(1, 2))]
    if draw.chance(30):
        ends.insert(draw.below(2), at)
    if len(ends) == 1 or draw.chance(20):
        ends.append(build.add(AvgPool(3, 1, 1, build.name("avg"), (at,))))
    end = build.join(ends)
    if draw.chance(40):
        end = build.join([end, _conv(build, end, draw.between(1, 7))])
    if draw.chance(30):
        end = build.norm(end)
    return build.relu(end, 50)


def _split(build: NetBuilder, at: str) -> str:
    """Append what ShuffleNet repeats: a part of the channels goes round a convolution."""
    draw, channels = build.draw, build.shape(at)[0]
    if channels < 2:
        return _picked(build, at)
    cut = channels // 2 if draw.chance(60) else draw.between(1, channels - 1)
    left = build.add(PickChannels(tuple(range(cut)), build.name("left"), (at,)))
    right = build.add(PickChannels(tuple(range(cut, channels)), build.name("right"), (at,)))
    end = build.join([left, _conv(build, right, draw.between(1, 12))])
    joined = build.shape(end)[0]
    groups = [size for size in range(2, joined) if joined % size == 0]
    if groups:
        each = joined // draw.one_of(groups)
        order = tuple(first + at for at in range(each) for first in range(0, joined, each))
        end = build.add(PickChannels(order, build.name("shuffle"), (end,)))
    return build.relu(end, 30)


def _picked(build: NetBuilder, at: str) -> str:
    """Append any channels of a map, one of them several times now and then; return their end."""
    draw, channels = build.draw, build.shape(at)[0]
    few = draw.between(1, min(channels, 10))
    order = [draw.below(channels) for _ in range(few)]
    if draw.chance(70):
        order = list(dict.fromkeys(order))
    end = build.add(PickChannels(tuple(order), build.name("pick"), (at,)))
    return _conv(build, end, draw.between(1, 12)) if draw.chance(60) else build.relu(end, 40)


def _conv(build: NetBuilder, at: str, out: int) -> str:
    """Append a convolution, with an activation now and then; return its end."""
    draw = build.draw
    kernel = draw.one_of((1, 1, 3))
    end = build.add(Conv(out, kernel, 1, "same", draw.chance(60), build.name("conv"), 1, (at,)))
    return build.relu(end, 60)
