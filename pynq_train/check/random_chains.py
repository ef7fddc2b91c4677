"""Random chains of convolutions and dense layers: all kernels, strides and rests of channels."""

from __future__ import annotations

from pynq_train.check.draw import STREAM, Draw, RandomNet, activation, random_trainable, work_of
from pynq_train.graph import Sequential
from pynq_train.graph.ops import AvgPool, Conv, MaxPool, Shape
from pynq_train.graph.rng import permutation, stream_key
from pynq_train.graph.windows import Padding, Pair
from pynq_train.hw.limits import MAX_KERNEL, MAX_STRIDE

MOST_CHANNELS, MOST_PIXELS, MOST_BATCH = 40, 14, 9
_EXTRA_STREAM, _SIDES_STREAM, _GAPS_STREAM = 0x6E0, 0x51DE, 0x6A9
MOST_LENGTH = 64
"""Longest map of one row."""
_GROUPS = (16, 8, 4, 2, 1)
_WORK_LIMIT = 120_000
"""Rough array cycles of a training step: keeps a network to about a second of simulation."""
_WINDOWS = [(k, s) for k in range(1, MAX_KERNEL + 1) for s in range(1, MAX_STRIDE + 1)]
_ORDER = permutation(stream_key(STREAM), len(_WINDOWS))


def random_chain(seed: int) -> RandomNet:
    """Return chain ``seed``: two or three convolutions or none, then up to three dense layers.

    Rows of kernels and strides, and channels modulo 16, go round with the seed, so that a run of
    consecutive seeds meets all of them; everything else is drawn. Work is limited: a large kernel
    gets a small feature map. Columns are often drawn by themselves, and a twelfth of the networks
    has maps of one row. Now and then fewer weights reach as far, with a dilation. In the
    first fifty of each hundred seeds everything is trained, so that fifty chains in a row meet all
    shapes of all passes; in the others a part of it.

    Raises:
        RuntimeError: no network of this seed is small enough.
    """
    draw = Draw(seed, STREAM)
    for shrink in range(100):
        net = _attempt(seed, draw, shrink)
        if net is not None:
            return net
    raise RuntimeError(f"no small network found for seed {seed}")


def _attempt(seed: int, draw: Draw, shrink: int) -> RandomNet | None:
    """Draw a network; None if it is too much work.

    ``shrink``: number of failed attempts before; the more, the smaller the sizes.
    """
    batch = 1 + (seed + draw.below(3)) % max(MOST_BATCH - shrink // 3, 1)
    largest = max(MOST_PIXELS - shrink // 2, 3)
    deep = seed % 6 == 5  # small and deep: several images in a tile
    if deep:
        batch, largest = draw.between(2, MOST_BATCH), 4
    rows, cols = draw.between(1, largest), draw.between(1, largest)
    odd = seed % 50 == 46  # maps whose pixels leave a rest of 11 with 12, throughout
    if odd:
        batch, rows, cols = 1, 5, 7
    line = seed % 12 == 7  # maps of one row
    # Streams of their own: what came later must not change the other numbers.
    extra, sides, gaps = (Draw(seed ^ stream, STREAM)
                          for stream in (_EXTRA_STREAM, _SIDES_STREAM, _GAPS_STREAM))
    if line:
        rows, cols = 1, sides.between(largest, max(MOST_LENGTH - 3 * shrink, largest))
    if deep:
        channels = draw.between(20, MOST_CHANNELS)
    else:
        channels = (draw.between(1, 4) if draw.chance(60) else
                    1 + draw.below(max(MOST_CHANNELS - 3 * shrink, 8)))
    name = f"random{seed}"
    net = Sequential((channels, rows, cols), name)
    shape = (channels, rows, cols)
    work = 0
    for number in range(0 if seed % 50 >= 47 else 2 + seed // 2 % 2):
        kernel, stride = (3, 1) if odd else _window(seed, number)
        wide = MOST_CHANNELS if shrink < 8 else 24 if shrink < 20 else 16
        # Odd factors, so that channels go through all remainders modulo 16 as seeds count up.
        out = 1 + ((5, 3, 7)[number] * seed + number * (seed // 4 + 7)) % 16
        out += 16 * draw.below(3) if out + 32 <= wide else 16 * draw.below(2) * (out + 16 <= wide)
        padding: Padding = 1 if odd else _padding(draw, kernel, min(shape[1:]))
        kernels, strides = Pair.of(kernel), Pair.of(stride)
        if line:
            kernels, strides = Pair(1, kernel), Pair(1, stride)
            padding = ((0, 0), _ends(sides, kernel, shape[2]))
        elif not odd and sides.chance(55):
            wide, far = _window(seed, number, (5, 7, 9))
            kernels, strides = Pair(kernel, wide), Pair(stride, far)
            padding = (_ends(sides, kernel, shape[1]), _ends(sides, wide, shape[2]))
        apart = Pair(*(_gap(gaps, side) for side in kernels))
        kernels = Pair(*((side - 1) // gap + 1 for side, gap in zip(kernels, apart)))
        conv = Conv(out, kernels, strides, padding, draw.chance(70), "check", dilation=apart)
        pixels = conv.out_shape(shape)
        passes = 2 + (number > 0)
        work += passes * work_of(out, shape[0], conv.span_sides.area, pixels[1] * pixels[2] * batch)
        net.conv(out, kernels, strides, padding, bias=conv.bias, dilation=apart)
        relu, pool = draw.chance(60), draw.chance(45) and min(pixels[1:]) >= 2 and not odd
        if relu:
            net.add(activation(extra, 40)())
        if pool:
            net.pool()
            pixels = (out, pixels[1] // 2, pixels[2] // 2)
        elif line and pixels[2] >= 3 and sides.chance(50):
            window = MaxPool((1, sides.between(2, 3)), (1, sides.between(1, 3)))
            net.add(window)
            pixels = window.out_shape(pixels)
        shape = pixels
        if extra.chance(45) and not deep and not odd:
            if extra.chance(20):  # whole tiles of channels
                work += 3 * work_of(32, shape[0], 1, shape[1] * shape[2] * batch)
                net.conv(32, 1).relu()
                shape = (32, *shape[1:])
            work += _channelwise(net, shape, extra, batch)
            if extra.chance(40) and min(shape[1:]) >= 2:
                net.pool()
                shape = (shape[0], shape[1] // 2, shape[2] // 2)
    flat = shape[0] * shape[1] * shape[2]
    for _ in range(draw.below(3) // 2 + draw.below(2)):
        units = 1 + draw.below(MOST_CHANNELS)
        work += 3 * work_of(units, flat, 1, batch)
        net.dense(units, bias=draw.chance(80))
        if draw.chance(70):
            net.relu()
        flat = units
    net.dense(draw.between(2, 12), bias=draw.chance(80))
    work += 3 * work_of(12, flat, 1, batch)
    if work > _WORK_LIMIT:
        return None
    graph = net.build()
    return RandomNet(graph, batch, "all" if seed % 100 < 50 else random_trainable(seed, graph))


def _channelwise(net: Sequential, shape: Shape, draw: Draw, batch: int) -> int:
    """Append a grouped convolution or average pooling that keeps the shape; return its work."""
    channels, rows, cols = shape
    kernel = (1, 3, 3, 5)[draw.below(4)]
    sizes = [size for size in _GROUPS if channels % size == 0 and size < channels]
    if not sizes or draw.chance(20):
        one = rows == 1
        net.add(AvgPool((1, 3) if one else 3, 1, (0, 1) if one else 1))
        kernel = 3
    else:
        size = sizes[draw.below(min(len(sizes), 3)) * (sizes[0] < _GROUPS[0])]
        net.conv(channels, kernel, 1, kernel // 2, bias=draw.chance(60), groups=channels // size)
    if draw.chance(15) and min(rows, cols) >= 4:
        net.add(AvgPool(2, 1, 1))  # one row and column more
        net.add(AvgPool(2, 1, 0))
    if draw.chance(60):
        net.add(activation(draw, 50)())
    return 2 * work_of(channels, 16, kernel**2, rows * cols * batch)


def _window(seed: int, number: int, steps: tuple[int, int, int] = (1, 1, 3)) -> tuple[int, int]:
    """Return kernel and stride of convolution ``number``: all 44 pairs within 44 seeds.

    ``steps``: from seed to seed, of each convolution.
    """
    return _WINDOWS[int(_ORDER[(seed * steps[number] + 17 * number) % len(_WINDOWS)])]


def _gap(draw: Draw, side: int) -> int:
    """Draw a dilation with which fewer pixels reach over a side of a kernel, mostly none."""
    gaps = [gap for gap in range(2, side) if (side - 1) % gap == 0]
    return draw.one_of(gaps) if gaps and draw.chance(15) else 1


def _ends(draw: Draw, kernel: int, size: int) -> tuple[int, int]:
    """Draw zeros before and behind an axis, below the kernel, that leave at least one window."""
    low = 1 + draw.below(max(kernel // 2 - 1, 1))
    wanted = (0, kernel // 2, kernel - 1, kernel - 1, draw.below(kernel), low, low)[draw.below(7)]
    before = min(wanted, kernel - 1)
    behind = draw.below(kernel) if draw.chance(60) else before
    # Two times a kernel less one is at least a kernel less a pixel: there is always room.
    lacks = max(0, kernel - size - before - behind)
    more = min(lacks, kernel - 1 - behind)
    return before + lacks - more, behind + more


def _padding(draw: Draw, kernel: int, size: int) -> int:
    """Draw a padding below the kernel that leaves at least one output pixel."""
    least = max(0, -(-(kernel - size) // 2))
    low = 1 + draw.below(max(kernel // 2 - 1, 1))
    wanted = (0, kernel // 2, kernel - 1, draw.below(kernel), low, low)[draw.below(6)]
    return min(max(wanted, least), kernel - 1)
