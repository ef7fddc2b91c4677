"""Random small networks with work for the vector unit: normalised series, and branches."""

from __future__ import annotations

from pynq_train.check.draw import Draw, RandomNet, activation, curve, random_trainable, work_of
from pynq_train.check.net_builder import NetBuilder
from pynq_train.check.random_decoders import random_decoder
from pynq_train.check.random_joins import random_join
from pynq_train.check.random_picks import random_picks
from pynq_train.graph import Graph
from pynq_train.graph.ops import (
    Add,
    AvgPool,
    Conv,
    ConvTranspose,
    Dense,
    GlobalAvgPool,
    GroupNorm,
    Multiply,
    PadChannels,
    Upsample,
)
from pynq_train.hw.words import CHANNELS_PER_WORD

_STREAM = 0xB7
_EXTRA_STREAM = 0xB75
_DECODER_STREAM = 0xDEC2
_CURVE_STREAM = 0xC08
_NORM_STREAM = 0xB76
_PICKS_STREAM = 0xB77
MOST_BATCH = 9
"""Largest mini-batch of most networks. Some have up to twice as many: with branches there are up to
nine parts of it, each of one image, and of more only if the mini-batch is larger."""
_MOST_CHANNELS = 24
_WORK_LIMIT = 60_000
"""Rough array cycles of a training step: as much again is the vector unit's."""
_MOST_OPS = 40
_NORM_PASSES = 4
"""Of the vector unit over the map of a group normalisation."""


def random_branched_net(seed: int) -> RandomNet:
    """Return network ``seed``: a stem, one to three blocks, a mean and a classifier.

    A block is a convolution, a depthwise and a pointwise one, a residual of two convolutions
    with another one, zeros for missing channels or nothing on its other branch, sums that share
    what they read, or branches of one concatenation; pooling, groups of any sizes, a sum with a
    branch at lower resolution, a decoder, a group normalisation, or channels that are split,
    shuffled and joined, may follow. A third of the networks has none but the first two kinds, and
    so no branches: their layers have parts of the mini-batch of their own. One in five trains only
    a part of the network.

    Raises:
        RuntimeError: no network of this seed is small enough.
    """
    draw = Draw(seed, _STREAM)
    # Streams of their own: these came later, and must not change the other numbers.
    extra, decoders = Draw(seed, _EXTRA_STREAM), Draw(seed, _DECODER_STREAM)
    curves, norms = Draw(seed, _CURVE_STREAM), Draw(seed, _NORM_STREAM)
    picks = Draw(seed, _PICKS_STREAM)
    for _ in range(100):
        graph, batch = _attempt(draw, extra, decoders, curves, norms, picks, f"branches{seed}")
        if len(graph.ops) <= _MOST_OPS and _work(graph, batch) <= _WORK_LIMIT:
            return RandomNet(graph, batch,
                             random_trainable(seed, graph) if draw.chance(20) else "all")
    raise RuntimeError(f"no small network found for seed {seed}")


def _attempt(draw: Draw, extra: Draw, decoders: Draw, curves: Draw, norms: Draw, picks: Draw,
             name: str) -> tuple[Graph, int]:
    """Draw a network of any size and its mini-batch.

    ``extra``, ``decoders``, ``curves``, ``norms``, ``picks``: of what came later, upsampling,
    decoders, activations by tables, group normalisations and moved channels.
    """
    curved = curves.chance(40)
    shape = (draw.between(1, 4), draw.between(4, 10), draw.between(4, 10))
    build = NetBuilder(shape, draw)
    at = build.relu(build.conv("input", _channels(draw), draw.one_of((1, 3)), 1), 100)
    at = build.pool(at, 40)
    series, grouped = draw.chance(33), not curved and norms.chance(45)
    for _ in range(draw.between(1, 3)):
        blocks = _SERIES if series else _SERIES + _BRANCHES
        at = draw.one_of(blocks)(build, at)
        at = build.pool(at, 40)
        if draw.chance(20):
            at = build.groups(at)
        if not series and extra.chance(15):
            at = _thumbnail(build, extra, at)
        if not series and decoders.chance(40):
            at = random_decoder(build, decoders, at)
        if curved and curves.chance(60):
            at = build.add(curve(curves, build.name("curve"), at))
        if curved and not series and curves.chance(50):
            end = curves.one_of((_squeezed, _gated, _bent))(build, curves, at)
            at = _summed(build, curves, at, end) if curves.chance(50) else end
        if grouped and norms.chance(60):
            at = build.group_norm(norms, at)
        if not series and not curved and not grouped and picks.chance(40):
            at = random_picks(build, picks, at)
    if draw.chance(25):
        at = build.add(AvgPool(2, 1, "same", build.name("avg"), (at,)))
    if draw.chance(70):
        at = build.relu(build.add(GlobalAvgPool(build.name("mean"), (at,))), 20)
    at = build.drop(at, 40)
    if curved and curves.chance(40):
        gate = build.add(curve(curves, build.name("curve"), at))
        at = build.add(Multiply(build.name("product"), (at, gate))) if curves.chance(50) else gate
    if draw.chance(30):
        at = build.add(Dense(_channels(draw), draw.chance(60), build.name("dense"), (at,)))
        at = build.drop(build.relu(build.norm(at) if draw.chance(60) else at), 30)
    if grouped and norms.chance(30):
        at = build.group_norm(norms, at)
    build.add(Dense(draw.between(2, 10), draw.chance(80), "logits", (at,)))
    return Graph.build(shape, build.ops, name), (
        draw.between(MOST_BATCH + 1, 2 * MOST_BATCH) if draw.chance(30)
        else draw.between(1, MOST_BATCH))


def _channels(draw: Draw) -> int:
    """Draw a number of channels."""
    return draw.between(1, _MOST_CHANNELS)


def _plain(build: NetBuilder, at: str) -> str:
    """Append a convolution; return its end."""
    draw = build.draw
    return build.relu(build.conv(at, _channels(draw), draw.between(1, 4), draw.between(1, 2)))


def _depthwise(build: NetBuilder, at: str) -> str:
    """Append a depthwise convolution and a pointwise one; return their end."""
    draw, channels = build.draw, build.shape(at)[0]
    at = build.relu(build.conv(at, channels, 3, draw.between(1, 2), channels))
    return build.relu(build.conv(at, _channels(draw), 1, 1))


def _residual(build: NetBuilder, at: str) -> str:
    """Append two convolutions and the sum of their end and a shortcut; return its end."""
    draw, channels = build.draw, build.shape(at)[0]
    way = draw.below(4)
    stride = 1 if way < 2 else draw.between(1, 2)
    out = channels if way < 2 else channels + draw.below(9) if way == 2 else _channels(draw)
    inner = build.conv(build.relu(build.conv(at, out, 3, stride), 90), out, 3, 1)
    other = at
    if way == 2:
        if stride > 1:
            other = build.add(AvgPool(2, 2, "same", build.name("avg"), (at,)))
        before = draw.between(0, out - channels)
        if out > channels:
            other = build.add(PadChannels(before, out - channels - before, build.name("wide"),
                                          (other,)))
    elif way == 3:
        other = build.conv(at, out, 1, stride)
    return build.relu(build.add(Add(build.name("add"), (inner, other))))


def _shared(build: NetBuilder, at: str) -> str:
    """Append two sums that share a convolution, which nothing else reads; return their join.

    Both gradients of that convolution are masked, by flags of different layers.
    """
    draw = build.draw
    out = CHANNELS_PER_WORD * draw.between(1, 4)
    shared = build.conv(at, out, draw.between(1, 3), 1)
    ends = [build.relu(build.add(Add(build.name("add"), (shared, build.conv(at, out, 1, 1)))), 90)
            for _ in range(2)]
    return build.join(ends) if draw.chance(50) else build.add(Add(build.name("add"), tuple(ends)))


def _doubled(build: NetBuilder, at: str) -> str:
    """Append the sum of a map and itself, or of a concatenation and a map; return its end."""
    draw = build.draw
    if draw.chance(50):
        end = build.conv(at, _channels(draw), 1, 1)
        return build.relu(build.add(Add(build.name("add"), (end, end))), 70)
    first = CHANNELS_PER_WORD * draw.between(1, 2)
    second = draw.between(1, 8)
    joined = build.join([build.conv(at, first, 1, 1), build.conv(at, second, 3, 1)])
    other = build.conv(at, first + second, 1, 1)
    return build.relu(build.add(Add(build.name("add"), (joined, other))), 30)


def _thumbnail(build: NetBuilder, draw: Draw, at: str) -> str:
    """Append the sum of a map and a branch at lower resolution; return its end.

    ``draw``: of what is drawn here. A map of odd size is enlarged, and pooled again.
    """
    channels, rows, cols = build.shape(at)
    factors = [factor for factor in (2, 3, 4) if rows % factor == 0 and cols % factor == 0]
    if not factors:
        end = build.add(Upsample(2, build.name("up"), (at,)))
        return build.add(AvgPool(2, 2, 0, build.name("avg"), (end,)))
    factor = draw.one_of(factors)
    end = build.add(AvgPool(factor, factor, 0, build.name("avg"), (at,)))
    if draw.chance(70):
        end = build.add(Conv(channels, 3, 1, "same", True, build.name("conv"), channels, (end,)))
        end = build.add(activation(draw, 30)(build.name("relu"), (end,)))
        end = build.add(Conv(channels, 1, 1, 0, draw.chance(50), build.name("conv"), 1, (end,)))
    end = build.add(Upsample(factor, build.name("up"), (end,)))
    if draw.chance(20):
        end = build.add(activation(draw, 30)(build.name("relu"), (end,)))
    end = build.add(Add(build.name("add"), (at, end)))
    return build.add(activation(draw, 30)(build.name("relu"), (end,))) if draw.chance(50) else end


def _squeezed(build: NetBuilder, draw: Draw, at: str) -> str:
    """Append a scaling of channels by dense layers, or 1x1 convolutions, behind their means."""
    channels = build.shape(at)[0]
    if build.shape(at)[1:] == (1, 1):
        return at
    end = build.add(GlobalAvgPool(build.name("mean"), (at,)))
    for number, units in enumerate((draw.between(1, 6), channels)):
        bias, name, inputs = draw.chance(70), build.name("squeeze"), (end,)
        end = build.add(Conv(units, 1, 1, 0, bias, name, 1, inputs) if draw.chance(50)
                        else Dense(units, bias, name, inputs))
        if number == 0 and draw.chance(80):
            end = build.add(activation(draw, 20)(build.name("relu"), (end,)))
    if draw.chance(80):
        end = build.add(curve(draw, build.name("gate"), end))
    pair = (at, end) if draw.chance(50) else (end, at)
    return build.add(Multiply(build.name("scaled"), pair))


def _bent(build: NetBuilder, draw: Draw, at: str) -> str:
    """Append a convolution and a curve; return their end."""
    channels = build.shape(at)[0]
    end = build.add(Conv(channels, 1, 1, 0, True, build.name("conv"), 1, (at,)))
    return build.add(curve(draw, build.name("curve"), end))


def _summed(build: NetBuilder, draw: Draw, at: str, end: str) -> str:
    """Append the sum of ``end`` and a convolution of ``at``, and an activation.

    What made ``end`` reads a gradient through the flags of that sum.
    """
    if end == at:
        return at
    channels = build.shape(at)[0]
    other = build.add(Conv(channels, 1, 1, 0, True, build.name("conv"), 1, (at,)))
    total = build.add(Add(build.name("add"), (end, other)))
    return build.add(activation(draw, 30)(build.name("relu"), (total,)))


def _gated(build: NetBuilder, draw: Draw, at: str) -> str:
    """Append the product of a map and a curve of it, of a convolution of it, or of itself."""
    other = at
    if draw.chance(70):
        other = build.add(Conv(build.shape(at)[0], 1, 1, 0, True, build.name("conv"), 1, (at,)))
    if draw.chance(60):
        other = build.add(curve(draw, build.name("gate"), other))
    end = build.add(Multiply(build.name("product"), (at, other)))
    return build.add(activation(draw, 30)(build.name("relu"), (end,))) if draw.chance(40) else end


_SERIES = (_plain, _depthwise)
_BRANCHES = (_residual, _residual, _residual, random_join, random_join, random_join, _shared,
             _doubled)


def _work(graph: Graph, batch: int) -> int:
    """Return rough cycles of the array for the three passes of a training step."""
    total = 0
    shape_of = {"input": graph.input_shape,
                **{op.name: shape for op, shape in zip(graph.ops, graph.shapes)}}
    for op in graph.ops:
        if isinstance(op, Conv):
            (_, rows, cols), n = shape_of[op.name], shape_of[op.inputs[0]][0]
            total += 3 * work_of(op.out_channels, n // op.groups, op.kernel_sides.area,
                                 rows * cols * batch)
        elif isinstance(op, ConvTranspose):
            n, rows, cols = shape_of[op.inputs[0]]
            total += 3 * work_of(n, op.out_channels // op.groups, op.kernel_sides.area,
                                 rows * cols * batch)
        elif isinstance(op, GroupNorm):
            channels, rows, cols = shape_of[op.name]
            total += _NORM_PASSES * channels * rows * cols * batch // CHANNELS_PER_WORD
    return total
