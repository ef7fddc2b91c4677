"""Random decoders: maps that are made smaller and enlarged again by transposed convolutions."""

from __future__ import annotations

from dataclasses import replace

from pynq_train.check.draw import Draw, activation
from pynq_train.check.net_builder import NetBuilder
from pynq_train.graph.ops import (
    Add,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    ConvTranspose,
    Upsample,
)
from pynq_train.graph.shapes import Shape
from pynq_train.graph.windows import Pair, Side
from pynq_train.hw.limits import MAX_STRIDE
from pynq_train.hw.words import CHANNELS_PER_WORD

_MOST_PIXELS = 100
"""Largest map that is enlarged: larger ones are made smaller before."""
_MOST_CHANNELS = 20


def random_decoder(build: NetBuilder, draw: Draw, at: str) -> str:
    """Append an encoder of one step, its decoder, and what joins them; return their end.

    The enlarged map is joined to the one before, channel by channel or as a sum; or it is any, and
    is made smaller again. Some are enlarged by a bilinear upsampling.

    Args:
        build: the network.
        draw: random numbers of what is drawn here.
        at: what is read.
    """
    shape = build.shape(at)
    steps = [step for step in range(1, MAX_STRIDE + 1)
             if not (shape[1] % step or shape[2] % step)]
    if len(steps) > 1 and draw.chance(40):
        return _joined(build, draw, at, draw.one_of(steps[1:]))
    if draw.chance(25):
        return _mixed(build, draw, at, steps[1:])
    if shape[1] * shape[2] > _MOST_PIXELS // 4:
        at = build.add(AvgPool(2, 2, "same", build.name("avg"), (at,)))
    shape, at = build.shape(at), _behind(build, draw, build.add(_any(build, draw, at)))
    ratio = Pair(*(min(max(new // old, 1), MAX_STRIDE)
                   for new, old in zip(build.shape(at)[1:], shape[1:])))
    if ratio.area > 1:
        at = build.add(AvgPool(ratio.side, ratio.side, 0, build.name("avg"), (at,)))
    return at


def _joined(build: NetBuilder, draw: Draw, at: str, step: int) -> str:
    """Append a convolution of a stride, a transposed one, and what joins it to ``at``."""
    channels, add = build.shape(at)[0], draw.chance(40)
    end = build.add(Conv(draw.between(1, _MOST_CHANNELS), step, step, 0, True, build.name("conv"),
                         inputs=(at,)))
    end = build.add(activation(draw, 30)(build.name("relu"), (end,)))
    out = channels if add else CHANNELS_PER_WORD * draw.between(1, 4)
    kernel = step if draw.chance(40) else draw.between(step, step + 2)
    end = build.add(ConvTranspose(out, kernel, step, "same", 0, draw.chance(60),
                                  build.name("grow"), inputs=(end,)))
    end = _behind(build, draw, end)
    if add:
        return build.add(Add(build.name("add"), (at, end)))
    return build.add(Concat(build.name("join"), (end, at)))


def _mixed(build: NetBuilder, draw: Draw, at: str, steps: list[int]) -> str:
    """Append a bilinear upsampling, of a mean where that gives the size back; return the end.

    Else, and where corners stay, a convolution takes pixels of it again.
    """
    if steps and draw.chance(50):
        step = draw.one_of(steps)
        end = build.add(AvgPool(step, step, 0, build.name("avg"), (at,)))
        end = build.add(Upsample(step, build.name("up"), (end,), "bilinear"))
        return build.add(Add(build.name("add"), (at, end)))
    step, (_, rows, cols) = draw.between(2, 3), build.shape(at)
    if rows * cols > _MOST_PIXELS // 2:
        at = build.add(AvgPool(2, 2, "same", build.name("avg"), (at,)))
    end = build.add(Upsample(step, build.name("up"), (at,), "bilinear", draw.chance(40)))
    return build.add(Conv(draw.between(1, _MOST_CHANNELS), step, step, "same", draw.chance(50),
                          build.name("conv"), inputs=(end,)))


def _any(build: NetBuilder, draw: Draw, at: str) -> ConvTranspose:
    """Return a transposed convolution of any windows that reads ``at``."""
    shape = build.shape(at)
    kernel, stride = _side(draw, 4), _stride(draw)
    k, s = Pair.of(kernel), Pair.of(stride)
    groups, out = 1, draw.between(1, _MOST_CHANNELS)
    if draw.chance(30):
        sizes = [size for size in (1, 2, 4, 8, 16) if shape[0] % size == 0]
        groups, out = shape[0] // draw.one_of(sizes), shape[0]
    pads = ((draw.below(k.rows), draw.below(k.rows)), (draw.below(k.cols), draw.below(k.cols)))
    name, extra = build.name("grow"), (draw.below(s.rows), draw.below(s.cols))
    bias = draw.chance(60)
    op = ConvTranspose(out, kernel, stride, pads, extra, bias, name, groups, (at,))
    return op if _fits(op, shape) else replace(op, padding=0)  # all of it may be cut off


def _fits(op: ConvTranspose, shape: Shape) -> bool:
    """Return whether something is left of the output."""
    return all((size - 1) * step + side > side * 2 - 2 for size, step, side in zip(
        shape[1:], op.stride_sides, op.kernel_sides))


def _stride(draw: Draw) -> Side:
    """Draw a stride; the smallest and the largest one come more often than others."""
    number = draw.below(100)
    return 1 if number < 20 else MAX_STRIDE if number < 40 else _side(draw, MAX_STRIDE)


def _side(draw: Draw, most: int) -> Side:
    """Draw a number, or one for rows and one for columns."""
    if draw.chance(60):
        return draw.between(1, most)
    return draw.between(1, most), draw.between(1, most)


def _behind(build: NetBuilder, draw: Draw, at: str) -> str:
    """Append a normalisation and an activation, each now and then."""
    if draw.chance(40):
        at = build.add(BatchNorm(name=build.name("bn"), inputs=(at,)))
    if draw.chance(60):
        at = build.add(activation(draw, 30)(build.name("relu"), (at,)))
    return at
