"""A fused layer with a mini-batch as the engine sees it: one convolution over strided memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pynq_train.arrays import Array
from pynq_train.graph.activation import Activation
from pynq_train.graph.curves import Curve
from pynq_train.graph.windows import ONE, Pair
from pynq_train.hw.commands import LoadMode
from pynq_train.hw.pool import ARGMAX_PIXELS
from pynq_train.hw.words import (
    ABSENT_WEIGHT,
    CHANNELS_PER_WORD,
    FLAG_MASK_PIXELS,
    WORD_BYTES,
    ceil_div,
    master_bytes,
)
from pynq_train.layers import kinds
from pynq_train.layers.fuse import Drop, FusedLayer
from pynq_train.layers.kinds import Kind
from pynq_train.layers.pieces import Piece, Pieces
from pynq_train.schedule.specs.concat_buffer import image_pitch_blocks
from pynq_train.schedule.specs.groups import Groups, Offsets, Origin
from pynq_train.schedule.specs.layout import (
    FlagLayout,
    MapLayout,
    blocks_to_flat,
    flat_to_blocks,
    gather_channels,
    pack_weights,
    spread_channels,
    spread_places,
    unpack_weights,
)


@dataclass(frozen=True)
class LayerSpec:
    """One layer of a network with its mini-batch.

    A dense layer is a 1x1 convolution over one image of one row whose columns are the mini-batch.
    A layer of the vector unit (normalisation, sum, mean, pooling) has no weight layout; its flags,
    or argmax indices, stand plane by plane, without rows. A concatenation has maps only, one as
    input and output.

    Attributes:
        index: position in the network.
        name: the layer's name.
        m: output channels.
        n: input channels that the weights have, absent ones too; of a flattened map those of its
            padded blocks. Of a transposed layer m and n are those of the windows over its output: m
            counts its input channels, n its output channels.
        nb: channel blocks of the weight layout, ``[m/tile][nb][kr][kc][tile][4]``.
        kernel: rows and columns of the kernel, or of a window; ``stride`` likewise.
        out_rows: rows of the convolution's output, before pooling (``out_cols`` likewise); of a
            transposed layer those of its input.
        x: layout of the input.
        y: layout of the output and of its gradient, after pooling.
        activation: behind the layer's sums.
        flags: layout of the flags, None without activation and pooling.
        backward: whether the gradient of the input is computed.
        dense: the layer is fully connected; one of the vector unit: its input is a dense map.
        flat_shape: shape of the feature map that a dense layer flattens, else None.
        m_tile: output channels of a tile: those of the array.
        kind: what the layer does.
        frozen: a normalisation uses its running statistics in training too: it is frozen, or
            nothing up to it is trainable.
        groups: of a grouped convolution.
        drop: of a dropout.
        norm_group: channels of an image that share the statistics of a normalisation; 0: a
            channel of all images has its own.
        scale: weights are gamma of a group normalisation, ``[m]``.
        origin: of a section of a grouped convolution: where it begins in the layer.
        offsets: of a piece of a layer: where it begins in the layer's tensors.
        curve: of an activation by a table.
        pointwise: fully connected, with weights ``W[m, n, 1, 1]`` of a 1x1 convolution.
        reads: channels of the input, or of the map that it was flattened from, to which the weights
            belong, in their order; those for others are absent. None: all.
        dilation: rows and columns from weight to weight; those between are absent.
    """

    index: int
    name: str
    m: int
    n: int
    nb: int
    kernel: Pair
    stride: Pair
    pad_top: int
    pad_left: int
    out_rows: int
    out_cols: int
    activation: Activation
    pool: bool
    bias: bool
    x: MapLayout
    y: MapLayout
    flags: FlagLayout | None
    backward: bool
    dense: bool
    flat_shape: tuple[int, int, int] | None
    m_tile: int
    kind: Kind = kinds.CONV
    frozen: bool = False
    groups: Groups | None = None
    drop: Drop | None = None
    norm_group: int = 0
    scale: bool = False
    origin: Origin | None = None
    offsets: Offsets | None = None
    curve: Curve | None = None
    pointwise: bool = False
    reads: tuple[int, ...] | None = None
    dilation: Pair = ONE

    @property
    def on_array(self) -> bool:
        """Whether the array runs the layer: a convolution or a fully connected layer."""
        return self.kind.on_array

    @property
    def words(self) -> int:
        """Words of one channel block of an image of the input: its pixels."""
        return self.x.rows * self.x.cols

    @property
    def images(self) -> int:
        """Images of the convolution; 1 for a dense layer, whose columns are the images."""
        return self.x.images

    @property
    def group(self) -> int:
        """Channels of a group if output channels of a tile read input channels of the same numbers.

        That holds where ``groups.tiled`` does; the number is a divisor of ``m_tile``. 0: each tile
        reads all input channels.
        """
        return self.groups.m if self.groups is not None and self.groups.tiled else 0

    @property
    def norm_blocks(self) -> int:
        """Channel blocks of an image that share sums and coefficients of a normalisation.

        It is 1 where a block holds several groups, and for a batch normalisation.
        """
        return max(self.norm_group // CHANNELS_PER_WORD, 1)

    @property
    def table_blocks(self) -> int:
        """Channel blocks of a normalisation's sums and coefficients; a group counts as one."""
        if not self.norm_group:
            return self.m_blocks
        return self.x.images * self.m_blocks // self.norm_blocks

    @property
    def m_tiles(self) -> int:
        """Number of tiles of output channels."""
        if self.groups is not None:
            return self.groups.tiles(self.m_tile)
        return ceil_div(self.m, self.m_tile)

    @property
    def outputs(self) -> int:
        """Channels of the output."""
        return self.n if self.kind.transposed else self.m

    @property
    def bias_tiles(self) -> int:
        """Number of tiles of biases: of output channels."""
        return ceil_div(self.n, self.m_tile) if self.kind.transposed else self.m_tiles

    @property
    def tile_blocks(self) -> int:
        """Channel blocks of a tile of output channels."""
        return self.m_tile // CHANNELS_PER_WORD

    @property
    def filled_blocks(self) -> int:
        """Channel blocks of a tile of output channels that hold channels.

        All of them where a layer, or a section of it, has several tiles.
        """
        m = self.m if self.groups is None else min(self.m, self.groups.section_m)
        return min(self.tile_blocks, ceil_div(m, CHANNELS_PER_WORD))

    @property
    def m_blocks(self) -> int:
        """Channel blocks of the output."""
        return ceil_div(self.m, CHANNELS_PER_WORD)

    @property
    def in_blocks(self) -> int:
        """Channel blocks of the input that a tile of output channels reads."""
        if self.groups is None:
            return self.x.blocks
        return min(ceil_div(self.groups.section_n, CHANNELS_PER_WORD), self.x.blocks)

    @property
    def gradient_mode(self) -> LoadMode:
        """How a loader reads the output's gradient: unpooled, masked by flags, or as it stands."""
        if self.pool:
            return LoadMode.UNPOOL
        return LoadMode.MASK if self.activation.has_flags else LoadMode.PLAIN

    @property
    def weight_blocks(self) -> int:
        """Number of (m tile, n block, tap) of the weight layout."""
        return self.m_tiles * self.nb * self.kernel.area if self.on_array else 0

    @property
    def weight_block_bytes(self) -> int:
        """Bytes of the 16-bit weights of one (m tile, n block, tap)."""
        return 2 * self.m_tile * CHANNELS_PER_WORD

    @property
    def weight_bytes(self) -> int:
        """Bytes of the 16-bit weights of the layer, padding included."""
        return self.weight_blocks * self.weight_block_bytes

    @property
    def weight_elements(self) -> int:
        """Number of weights, padding included."""
        return self.weight_blocks * self.m_tile * CHANNELS_PER_WORD

    def master_bytes(self, momentum: bool) -> int:
        """Return the bytes of the weight masters: words {momentum, weight}, or bare weights."""
        return self.weight_elements * master_bytes(momentum)

    @property
    def bias_bytes(self) -> int:
        """Bytes of the bias masters, 8 per channel of whole tiles; the same for bias gradient or
        gamma."""
        return self.bias_tiles * self.m_tile * WORD_BYTES

    def sums_alone(self, weights: bool) -> bool:
        """Return whether a bias that is trained has its gradient summed by a pass of its own.

        It has where no weight gradient reads the output's gradient as its y; ``weights``: the
        weights are trained.
        """
        return not weights or self.kind.transposed

    @property
    def macs(self) -> int:
        """Multiply-adds of a pass over the mini-batch; padding and absent weights do not count."""
        if not self.on_array:
            return 0
        n = self.n if self.flat_shape is None else int(np.prod(self.flat_shape))
        if self.reads is not None:
            n = len(self.reads) * (n // self._map_channels)
        if self.groups is not None:
            n = self.groups.n
        places = len(range(0, self.kernel.rows, self.dilation.rows)) * len(
            range(0, self.kernel.cols, self.dilation.cols))
        return self.m * n * places * self.images * self.out_rows * self.out_cols

    def pack_masters(self, words: Array) -> Array:
        """Return masters in the weight layout; between the groups of a section weights are absent.

        ``words``: int64 words {momentum, weight}, or int32 weights, as :meth:`pack_weights` takes
        them.
        """
        # The weight is the low half of a word, and an absent one has momentum 0.
        return self.pack_weights(words, ABSENT_WEIGHT if words.dtype == np.int32
                                 else ABSENT_WEIGHT & 0xFFFF_FFFF)

    def pack_weights(self, values: Array, absent: int = 0) -> Array:
        """Return weights of any dtype, ``W[m, n, kr, kc]`` (dense: ``W[m, n]``), in the weight
        layout.

        Grouped: ``W[m, n of a group, kr, kc]``; between the groups stands ``absent``. So it does
        for channels of the input that are not read, which ``values`` does not have.
        """
        if self.kind.pieced:
            pieces = self._pieces.all
            return np.concatenate([self._piece(piece, 0).pack_weights(
                values[:, :, 0, piece.first :][:, :, : piece.kernel.area].reshape(
                    len(values), -1, *piece.kernel), absent).ravel() for piece in pieces])
        if self.scale:
            values = values[:, None, None, None]
        if self.dilation != ONE:
            values = spread_places(values, self.kernel, self.dilation, absent)
        if self.reads is not None:
            values = spread_channels(values, self.reads, self._map_channels, absent)
        if self.groups is not None:
            return np.concatenate([pack_weights(own, self.nb, self.m_tile)
                                   for own in self.groups.spread(values, absent)])
        if self.flat_shape is not None:
            values = flat_to_blocks(values.reshape(values.shape[:2]), self.flat_shape)
        elif self.dense and not self.pointwise:
            values = values[:, :, None, None]
        return pack_weights(values, self.nb, self.m_tile)

    def unpack_weights(self, packed: Array) -> Array:
        """Return the weights of a packed array: the reverse of :meth:`pack_weights`.

        ``packed`` may have any shape with the right number of elements.
        """
        packed = packed.reshape(self.m_tiles, self.nb, *self.kernel, self.m_tile,
                                CHANNELS_PER_WORD)
        if self.dilation != ONE:
            packed = packed[:, :, :: self.dilation.rows, :: self.dilation.cols]
        if self.groups is not None:
            tiles = self.groups.section_tiles(self.m_tile)
            whole = self.groups.gather([
                unpack_weights(packed[tile : tile + tiles], self.m, self.n)
                for tile in range(0, self.m_tiles, tiles)])
            return whole[:, 0, 0, 0] if self.scale else whole
        values = unpack_weights(packed, self.m, self.n)
        if self.scale:
            return values[:, 0, 0, 0]
        if self.flat_shape is not None:
            values = blocks_to_flat(values, self.flat_shape)
        elif self.dense:
            values = values[:, :, 0, 0]
        if self.reads is not None:
            values = gather_channels(values, self.reads, self._map_channels)
        return values[:, :, None, None] if self.pointwise else values

    @property
    def _map_channels(self) -> int:
        """Channels of the map that the layer reads, or flattens."""
        return self.n if self.flat_shape is None else self.flat_shape[0]

    def pack_bias(self, values: Array) -> Array:
        """Return a bias vector ``[m]`` padded with zeros to whole tiles, each section by itself."""
        out: Array = np.zeros(self.bias_tiles * self.m_tile, values.dtype)
        out[self._bias_places()] = values
        return out

    def unpack_bias(self, packed: Array) -> Array:
        """Return ``[m]`` of a padded bias vector: the reverse of :meth:`pack_bias`."""
        return packed[self._bias_places()]

    def _bias_places(self) -> Array:
        """Return the position of each output channel's bias in the padded vector."""
        channels = np.arange(self.outputs)
        if self.groups is None or self.kind.transposed:
            return channels
        # Each section is padded by itself, so the channels of two do not follow each other.
        section, channel = np.divmod(channels, self.groups.section_m)
        return section * self.groups.section_tiles(self.m_tile) * self.m_tile + channel

    def mirrored(self) -> LayerSpec:
        """Return the windows over the output of a transposed layer, as a layer.

        Their backward pass is its forward pass, their forward pass its backward pass.
        """
        offsets = self.offsets
        if offsets is not None:
            offsets = replace(offsets, x=offsets.y, y=offsets.x)
        return replace(self, x=self.y, y=self.x, backward=True, offsets=offsets)

    @property
    def _pieces(self) -> Pieces:
        return Pieces.of(self.x.rows, self.x.cols, self.stride.rows)

    def pieces(self, forward: bool) -> tuple[LayerSpec, ...]:
        """Return the convolutions that compute the output, or the gradient of the input.

        They are transposed layers: of most layers there is one, the layer itself.
        """
        if not self.kind.pieced:
            return (self,)
        whole = self._pieces
        some = whole.forward if forward else whole.backward
        return tuple(self._piece(piece, whole.all.index(piece)) for piece in some)

    def _piece(self, piece: Piece, number: int) -> LayerSpec:
        """Return a piece as a layer of its own."""
        rows, cols = piece.rows, piece.cols
        x, x_at = self.x.window(rows.small, cols.small, rows.windows, cols.windows)
        y, y_at = self.y.window(rows.large, cols.large, rows.size, cols.size)
        weights = piece.first * self.m_tiles * self.nb * self.weight_block_bytes
        return replace(self, kind=kinds.UPSAMPLE, kernel=piece.kernel,
                       stride=Pair(rows.stride, cols.stride), pad_top=rows.pad, pad_left=cols.pad,
                       out_rows=rows.windows, out_cols=cols.windows, x=x, y=y,
                       offsets=Offsets(number, x_at, y_at, weights))

    def weighed(self) -> LayerSpec:
        """Return the layer as its weight gradient sees it: :meth:`mirrored` if transposed.

        Its sums are products of the windows over x, and y. It leaves no sums for biases then:
        those of y alone, which are the channel sums, would be of the layer's input.
        """
        return replace(self.mirrored(), bias=False) if self.kind.transposed else self

    def part(self, first: int, count: int) -> LayerSpec:
        """Return the same layer for ``count`` images from image ``first`` on.

        Only sizes change. Where image ``first`` stands in memory, the program adds to the
        addresses.
        """
        if first == 0 and count == self.x.images:
            return self
        flags = None if self.flags is None else replace(self.flags, images=count)
        return replace(self, x=replace(self.x, images=count), y=replace(self.y, images=count),
                       flags=flags)

    def sections(self) -> tuple[LayerSpec, ...]:
        """Return the dense convolutions of a grouped layer, each with its :class:`Origin`.

        It is the layer itself if it has one section or its descriptors run over all groups.
        """
        groups = self.groups
        if groups is None or groups.tiled or groups.sections == 1:
            return (self,)
        return tuple(self._section(groups, number) for number in range(groups.sections))

    def _section(self, groups: Groups, number: int) -> LayerSpec:
        """Return section ``number`` of a grouped layer as a layer of its own."""
        part, first = groups.part(number), number * groups.joined
        n, m = part.section_n, part.section_m
        x_blocks, y_blocks = ceil_div(n, CHANNELS_PER_WORD), ceil_div(m, CHANNELS_PER_WORD)
        origin = Origin(first, first * groups.n // CHANNELS_PER_WORD,
                        first * groups.m // CHANNELS_PER_WORD,
                        number * groups.section_tiles(self.m_tile))
        flags = None if self.flags is None else self.flags.part(y_blocks)
        return replace(self, m=m, n=n, x=replace(self.x, blocks=x_blocks),
                       y=replace(self.y, blocks=y_blocks), flags=flags, groups=part,
                       origin=origin)


def layer_specs(layers: tuple[FusedLayer, ...], batch: int, train_from: int = 0,
                m_tile: int = 16, active: Sequence[bool] | None = None,
                inference_mode: Sequence[bool] | None = None) -> tuple[LayerSpec, ...]:
    """Return the layers of a network for a mini-batch, with the layouts of their maps.

    Args:
        layers: the fused layers, each behind those that it reads.
        batch: images of the mini-batch.
        train_from: position of the first trained layer, below which no gradient goes; it counts
            only without ``active``.
        m_tile: output channels of the array (``HwConfig.tm``).
        active: which layers' outputs have a gradient; needed for networks with branches.
        inference_mode: normalisations that use their running statistics (default: those without a
            gradient).
    """
    if active is None:
        active = [index >= train_from for index in range(len(layers))]
    if inference_mode is None:
        inference_mode = [not gradient for gradient in active]
    if not layers:
        raise ValueError("expected at least one layer, found none")
    images = MapLayout.feature(batch, *layers[0].in_shape)
    specs: list[LayerSpec] = []
    dense_map: list[bool] = []
    # Gaps between images belong to the layout of an output: whoever reads it inherits them.
    wide = image_pitch_blocks(layers)
    for index, layer in enumerate(layers):
        first = layer.sources[0]
        x, flat = (specs[first].y, dense_map[first]) if first >= 0 else (images, False)
        backward = any(active[place] for place in layer.sources if place >= 0)
        if layer.on_array:
            last = index == len(layers) - 1
            spec = _spec(layer, index, batch, x, flat, last, backward, m_tile)
            # The classifier is read by softmax, which knows no gaps: its output is never spread.
            if layer.kind.convolves and not last:
                spec = replace(spec, y=spec.y.spread(wide[index]))
            specs.append(spec)
            flat = layer.kind.to_vector
        else:
            if layer.kind.joins:
                x = (MapLayout.dense(batch, layer.out_channels) if flat
                     else MapLayout.feature(batch, *layer.out_shape).spread(wide[index]))
            frozen = inference_mode[index] or (layer.norm is not None and layer.norm.frozen)
            spec = _vector_spec(layer, index, batch, x, backward, m_tile, frozen, flat)
            if layer.kind.windowed:
                spec = replace(spec, y=spec.y.spread(wide[index]))
            specs.append(spec)
            flat = flat or layer.kind.to_vector
        dense_map.append(flat)
    return tuple(specs)


def _vector_spec(layer: FusedLayer, index: int, batch: int, x: MapLayout, backward: bool,
                 m_tile: int, frozen: bool, dense: bool) -> LayerSpec:
    """Return the spec of a layer that the vector unit runs, or of a concatenation.

    ``x``: layout of its (first) input, ``dense``: that is a dense map, ``frozen``: a normalisation
    uses its running statistics.
    """
    channels = layer.out_channels
    y = MapLayout.dense(batch, channels) if layer.kind.to_vector else x
    flags = None
    if layer.kind.windowed:
        y = MapLayout.feature(batch, *layer.out_shape)
        flags = FlagLayout(y.images, y.blocks, 1, ceil_div(y.rows * y.cols, ARGMAX_PIXELS))
    if layer.activation.has_flags or layer.kind.own_mask:
        flags = FlagLayout(y.images, y.blocks, 1, ceil_div(y.rows * y.cols, FLAG_MASK_PIXELS))
    return LayerSpec(
        index=index, name=layer.name, m=channels, n=channels, nb=x.blocks, kernel=layer.kernel,
        stride=layer.stride, pad_top=layer.pad_top, pad_left=layer.pad_left, out_rows=y.rows,
        out_cols=y.cols, activation=layer.activation, pool=False,
        bias=layer.kind.has_running, x=x, y=y, flags=flags, backward=backward, dense=dense,
        flat_shape=None, m_tile=m_tile, kind=layer.kind, frozen=frozen, drop=layer.drop,
        curve=layer.curve,
        norm_group=layer.norm.group if layer.norm is not None else 0)


def _spec(layer: FusedLayer, index: int, batch: int, x: MapLayout, dense_map: bool,
          last: bool, backward: bool, m_tile: int) -> LayerSpec:
    """Return the spec of a convolution or fully connected layer.

    ``x``: layout of its input, ``dense_map``: that is a dense map, ``last``: its outputs are the
    logits.
    """
    m, out = layer.out_channels, layer.out_channels
    flat_shape = None
    if layer.kind.fully_connected:
        if not dense_map:
            flat_shape = layer.in_shape
            x = x.flattened()
            # Channels that pad a block are inputs as well: the map holds zeros there, and so do
            # weights.
            n = x.blocks * CHANNELS_PER_WORD
        else:
            n = layer.in_shape[0]
        out_rows, out_cols, images = 1, batch, 1
        y = MapLayout.dense(batch, m)
    else:
        if dense_map:
            x = x.as_maps()
        n = layer.in_shape[0]
        if layer.kind.transposed:
            m, n = n, m
        # Windows of a transposed layer stand on its output, one for each pixel of its input.
        _, out_rows, out_cols = (layer.in_shape if layer.kind.transposed
                                 else layer.out_shape_before_pool)
        images = batch
        y = MapLayout.feature(batch, *layer.out_shape)
        if last and layer.out_shape[1:] == (1, 1):
            # Softmax reads logits as a dense map, so the classifier writes its 1x1 images there.
            y = MapLayout.dense(batch, out).as_maps()
    nb = ceil_div(n, CHANNELS_PER_WORD)
    groups = None
    if layer.groups > 1:
        groups = Groups.of(layer.groups, n // layer.groups, m // layer.groups, m_tile)
        nb = ceil_div(groups.section_n, CHANNELS_PER_WORD)
    flags = None
    if layer.activation.has_flags or layer.pool:
        flags = FlagLayout.of(images, m, out_rows, out_cols, layer.pool)
    return LayerSpec(
        index=index, name=layer.name, m=m, n=n, nb=nb, kernel=layer.kernel, stride=layer.stride,
        pad_top=layer.pad_top, pad_left=layer.pad_left, out_rows=out_rows, out_cols=out_cols,
        activation=layer.activation, pool=layer.pool, bias=layer.bias, x=x, y=y, flags=flags,
        backward=backward, dense=layer.kind.fully_connected, flat_shape=flat_shape,
        m_tile=m_tile, kind=layer.kind, groups=groups, pointwise=layer.pointwise,
        scale=layer.scale, reads=layer.reads, dilation=layer.dilation)
