"""Random blocks whose branches are concatenated by channels: beside each other, or dense."""

from __future__ import annotations

from pynq_train.check.net_builder import NetBuilder
from pynq_train.graph.ops import AvgPool, MaxPool, MaxPool2x2
from pynq_train.hw.words import CHANNELS_PER_WORD


def random_join(build: NetBuilder, at: str) -> str:
    """Append a block of concatenated branches; return its end.

    Two to four branches of one or two convolutions, of pooling or of nothing, one of them taken
    twice now and then; or two or three convolutions that each read all before them.

    Args:
        build: the network's builder.
        at: operation that the block reads.
    """
    draw = build.draw
    channels, *size = build.shape(at)
    if channels % CHANNELS_PER_WORD:
        at = build.relu(build.conv(at, CHANNELS_PER_WORD * draw.between(1, 4), 1, 1))
    end = _dense(build, at) if draw.chance(35) else _beside(build, at)
    end = build.relu(build.norm(end) if draw.chance(40) else end, 25)
    if min(size) >= 4 and draw.chance(25):
        end = build.add(MaxPool2x2(build.name("pool"), (end,)))
    return end


def _beside(build: NetBuilder, at: str) -> str:
    """Append branches beside each other, concatenated; return their end."""
    draw, poolable = build.draw, build.shape(at)[1:] != (1, 1)
    sources: list[str] = []
    count = draw.between(2, 4)
    for number in range(count):
        kind, end = draw.below(7), at
        if kind == 0 and number:
            end = build.add(AvgPool(3, 1, 1, build.name("avg"), (at,)))
        elif kind > 4 and number and poolable:
            end = build.add(MaxPool(3, 1, 1, build.name("pool"), (at,)))
        elif kind in (2, 3, 4) or not number:
            # All sources of a concatenation but the last have whole words of channels.
            own = CHANNELS_PER_WORD * draw.between(1, 3)
            own += draw.below(CHANNELS_PER_WORD) if number == count - 1 else 0
            if kind == 4:
                end = build.relu(build.conv(end, draw.between(1, 8), 1, 1))
            end = build.relu(build.conv(end, own, 1 + 2 * draw.below(3), 1))
        sources.append(end)
    if draw.chance(15):
        sources.insert(0, sources[0])
    return build.join(sources)


def _dense(build: NetBuilder, at: str) -> str:
    """Append convolutions that each read all before them; return their end."""
    draw, poolable = build.draw, build.shape(at)[1:] != (1, 1)
    lists = draw.chance(50)
    maps = [at]
    for _ in range(draw.between(2, 3)):
        growth, own = CHANNELS_PER_WORD * draw.between(1, 2), at
        if poolable and draw.chance(45):
            own = build.add(MaxPool(3, 1, 1, build.name("pool"), (at,)))
        if own == at or draw.chance(50):
            own = build.conv(build.relu(build.conv(own, growth, 1, 1)), growth, 3, 1)
        maps.append(own)
        at = build.join(maps if lists else [at, own])
    return at
