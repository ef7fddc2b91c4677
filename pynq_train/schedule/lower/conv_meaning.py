"""Geometry of convolutions: section ``g``, and ``gu`` of a weight gradient.

A part of :mod:`pynq_train.schedule.lower.meaning`, which says why it shares no helper with
:mod:`pynq_train.schedule.lower.conv`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pynq_train.graph.activation import Activation
from pynq_train.graph.windows import ONE, Pair
from pynq_train.hw.commands import LoadMode, Pass
from pynq_train.hw.words import CHANNELS_PER_WORD, WORD_BYTES, ceil_div, master_bytes
from pynq_train.layers import kinds
from pynq_train.layers.pieces import Pieces
from pynq_train.program.program import Fields
from pynq_train.schedule.passes.geometry import PassShape
from pynq_train.schedule.specs.layout import MapLayout
from pynq_train.schedule.specs.spec import LayerSpec


@dataclass(frozen=True)
class ConvTensors:
    """Byte offsets of the whole tensors of a layer in the arena; 0 where there is none.

    ``wv``: weight masters, ``w16``: their 16-bit copies, ``db``: sums of the bias gradient.
    """

    x: int
    y: int
    flags: int
    dx: int
    dy: int
    w16: int
    wv: int
    bias: int
    db: int


@dataclass(frozen=True)
class _Share:
    """The channels of a layer that a descriptor works on.

    Attributes:
        m: output channels; ``n``: input channels.
        x_block: first channel block of the input; ``y_block``: of the output.
        tile: first tile of output channels; ``tiles``: their number.
        rows: output channels of the fullest tile of the layer, or of the section.
    """

    m: int
    n: int
    x_block: int
    y_block: int
    tile: int
    tiles: int
    rows: int


def _share(spec: LayerSpec, shape: PassShape) -> _Share:
    """Return the channels of a pass: of a layer, a section of its groups, or a slice of tiles."""
    groups, size = spec.groups, spec.m_tile
    m, n, x_block, y_block, tile = spec.m, spec.n, 0, 0, 0
    if groups is not None and not groups.tiled:
        first = 0 if shape.spec.origin is None else shape.spec.origin.group
        own = min(groups.joined, groups.count - first)
        if not _is_scratch(spec):
            n, x_block = own * groups.n, first * groups.n // CHANNELS_PER_WORD
        m, y_block = own * groups.m, first * groups.m // CHANNELS_PER_WORD
        # A section has whole tiles of its own.
        tile = first // groups.joined * ceil_div(groups.joined * groups.m, size)
    tiles, rows = ceil_div(m, size), min(m, size)
    if shape.kind is Pass.WEIGHT_GRADIENT:
        skipped, tiles = shape.m_first, shape.outer
        m = min(m - skipped * size, tiles * size)
        tile, y_block = tile + skipped, y_block + skipped * size // CHANNELS_PER_WORD
        if groups is not None and groups.tiled:
            n, x_block = m, skipped * size // CHANNELS_PER_WORD
    return _Share(m, n, x_block, y_block, tile, tiles, rows)


def scratch_layer(spec: LayerSpec) -> LayerSpec:
    """Return the 1x1 convolution over zeros whose weight gradient sums a layer's output gradient.

    Its input is one row of one channel block, which stands for every row of every image.
    """
    if spec.kind.transposed:
        spec = replace(spec, m=spec.n, out_rows=spec.y.rows, out_cols=spec.y.cols, groups=None,
                       kind=kinds.CONV)
    zeros = MapLayout(spec.x.images, 1, spec.out_rows, spec.out_cols, 0,
                      spec.out_cols * WORD_BYTES, 0, WORD_BYTES)
    groups = None if spec.groups is None or spec.groups.tiled else spec.groups
    return replace(spec, x=zeros, n=CHANNELS_PER_WORD, nb=1, kernel=ONE, stride=ONE, dilation=ONE,
                   pad_top=0, pad_left=0, groups=groups)


def piece_of(spec: LayerSpec, at: ConvTensors, number: int) -> tuple[LayerSpec, ConvTensors]:
    """Return a piece of a bilinear enlargement as a layer, and its tensors.

    Args:
        spec: the enlargement.
        at: its tensors.
        number: which of its pieces.
    """
    piece = Pieces.of(spec.x.rows, spec.x.cols, spec.stride.rows).all[number]
    down, right = piece.rows, piece.cols
    small = down.small * spec.x.row_stride + right.small * WORD_BYTES
    large = down.large * spec.y.row_stride + right.large * WORD_BYTES
    taps = 2 * ceil_div(spec.m, spec.m_tile) * spec.nb * spec.m_tile * CHANNELS_PER_WORD
    return (replace(spec, kernel=piece.kernel, stride=Pair(down.stride, right.stride),
                    pad_top=down.pad, pad_left=right.pad, out_rows=down.windows,
                    out_cols=right.windows,
                    x=replace(spec.x, rows=down.windows, cols=right.windows),
                    y=replace(spec.y, rows=down.size, cols=right.size)),
            replace(at, x=at.x + small, dx=at.dx + small, y=at.y + large, dy=at.dy + large,
                    w16=at.w16 + piece.first * taps))


def _is_scratch(spec: LayerSpec) -> bool:
    """Return whether it is a :func:`scratch_layer`: its input does not move."""
    return spec.x.image_stride == 0


def convolution(spec: LayerSpec, shape: PassShape, at: ConvTensors, *, images: int,
                flags: bool = True, momentum: bool = True) -> Fields:
    """Return section ``g`` of a pass, with ``gu`` if it updates weights.

    Args:
        spec: the whole layer.
        shape: which pass, phase, section and tiles of output channels.
        at: the layer's tensors.
        images: images of the convolution.
        flags: forward: the flags are written.
        momentum: the masters hold momentum.
    """
    kind, share, x, y = shape.kind, _share(spec, shape), spec.x, spec.y
    forward, gradient = kind is Pass.FORWARD, kind is Pass.WEIGHT_GRADIENT
    activation = spec.activation if forward else Activation.NONE
    mode = LoadMode.PLAIN
    if not forward and spec.flags is not None:
        mode = LoadMode.UNPOOL if spec.pool else LoadMode.MASK
    weights = spec.nb * spec.kernel.area * spec.m_tile * CHANNELS_PER_WORD
    before = share.tile * spec.m_tile * WORD_BYTES
    # What is gradient of its input to a convolution is output of a transposed one.
    biased = spec.bias and (kind is Pass.BACKWARD) == spec.kind.transposed
    flag_strides = (0, 0, 0)
    if spec.flags is not None:
        row = spec.flags.row_words * WORD_BYTES
        plane = spec.flags.rows * row
        flag_strides = (spec.flags.blocks * plane, plane, row)
    x_at = at.dx if kind is Pass.BACKWARD else at.x
    y_at = at.y if forward else at.dy
    fields: Fields = {
        "g.g_pass": int(kind), "g.g_kernel": spec.kernel.rows, "g.g_stride": spec.stride.rows,
        "g.g_kernel_wider": spec.kernel.cols - spec.kernel.rows,
        "g.g_stride_wider": spec.stride.cols - spec.stride.rows,
        "g.g_relu": int(activation.low is not None), "g.g_clip": int(activation.top is not None),
        "g.g_pool": int(forward and spec.pool),
        "g.g_flags": int(forward and flags and spec.flags is not None),
        "g.g_bias": int(biased), "g.g_phase": shape.phase,
        "g.g_mode": int(mode), "g.g_tile": spec.m_tile, "g.g_pad_top": spec.pad_top,
        "g.g_pad_left": spec.pad_left, "g.g_m": share.m, "g.g_n": share.n, "g.g_images": images,
        "g.g_nb": spec.nb, "g.g_in_rows": x.rows, "g.g_in_cols": x.cols,
        "g.g_out_rows": spec.out_rows, "g.g_out_cols": spec.out_cols,
        "g.g_x": x_at + share.x_block * x.block_stride,
        "g.g_y": y_at + share.y_block * y.block_stride,
        "g.g_flag": at.flags + share.y_block * flag_strides[1],
        "g.g_w": 0 if gradient else at.w16 + 2 * share.tile * weights,
        "g.g_b": (at.db if gradient else at.bias) + before if biased else 0,
        "g.g_group": spec.groups.m if spec.groups is not None and spec.groups.tiled else 0,
    }
    _put(fields, "g.g_x_strides", (x.image_stride, x.block_stride, x.row_stride, x.col_stride))
    _put(fields, "g.g_y_strides", (y.image_stride, y.block_stride, y.row_stride, y.col_stride))
    _put(fields, "g.g_flag_strides", flag_strides)
    if gradient:
        fields.update({
            "gu.masters": at.wv + master_bytes(momentum) * share.tile * weights,
            "gu.copy": at.w16 + 2 * share.tile * weights, "gu.copies": 1,
            "gu.elements": share.tiles * weights, "gu.plain": int(not momentum),
            "gu.rows": share.rows})
    return fields


def _put(fields: Fields, name: str, values: Sequence[int]) -> None:
    """Write the elements of a field."""
    fields.update({f"{name}{index}": value for index, value in enumerate(values)})
