"""Lowering: a pass and its tile become the fields of one descriptor and its taps.

Three loops are written for each pass: the tile loop of the loaders and compute (``pre.t``), the
compute loop within a tile (``c.l``) and the store loop (``y.y``). ``docs/engine.md`` 2 to 6 says
what the engine makes of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pynq_train.graph.windows import ONE, Pair
from pynq_train.hw.commands import LoadMode, Opcode, Pass, pair
from pynq_train.hw.words import (
    CHANNELS_PER_WORD,
    LANES,
    SET_PIXELS,
    WORD_BYTES,
    ceil_div,
    master_bytes,
)
from pynq_train.program.program import Fields
from pynq_train.schedule.lower.activation import Loading, activation_fields
from pynq_train.schedule.lower.address_generator import (
    Rows,
    TileMove,
    address_generator,
    jumps,
    put,
)
from pynq_train.schedule.passes.geometry import TiledPass
from pynq_train.schedule.specs.spec import LayerSpec

Taps = tuple[Fields, ...]
_LEVELS = 5
_ZERO4 = (0, 0, 0, 0)


@dataclass(frozen=True)
class LayerAddresses:
    """Byte offsets of the tensors of one layer in the arena (0 where there is none).

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

    def mirrored(self) -> LayerAddresses:
        """Return the addresses of the windows over the output of a transposed layer.

        Its output is written as the gradient of what they read; see :meth:`LayerSpec.mirrored`.
        """
        return replace(self, x=self.dy, dx=self.y, y=self.dx, dy=self.x)

    def section(self, spec: LayerSpec, momentum: bool) -> LayerAddresses:
        """Return the addresses of a section or a piece of a layer, from those of the layer."""
        origin, piece = spec.origin, spec.offsets
        if piece is not None:
            return replace(self, x=self.x + piece.x, dx=self.dx + piece.x, y=self.y + piece.y,
                           dy=self.dy + piece.y, w16=self.w16 + piece.weights)
        if origin is None:
            return self
        x, y = origin.x_blocks * spec.x.block_stride, origin.y_blocks * spec.y.block_stride
        flags = origin.y_blocks * spec.flags.block_stride if spec.flags else 0
        weights = origin.m_tiles * spec.weight_elements // spec.m_tiles
        biases = origin.m_tiles * spec.m_tile * WORD_BYTES
        return replace(self, x=self.x + x, dx=self.dx + x, y=self.y + y, dy=self.dy + y,
                       flags=self.flags + flags, w16=self.w16 + 2 * weights,
                       wv=self.wv + master_bytes(momentum) * weights, bias=self.bias + biases,
                       db=self.db + biases)

    def slice(self, geo: TiledPass, momentum: bool) -> LayerAddresses:
        """Return the addresses of the m tiles that a weight gradient covers."""
        first, spec = geo.shape.m_first, geo.shape.spec
        flags = spec.flags.block_stride if spec.flags else 0
        blocks, weights = first * geo.blocks, first * spec.weight_elements // spec.m_tiles
        x = blocks * spec.x.block_stride if spec.group else 0
        return replace(self, x=self.x + x, dy=self.dy + blocks * spec.y.block_stride,
                       flags=self.flags + blocks * flags, w16=self.w16 + 2 * weights,
                       wv=self.wv + master_bytes(momentum) * weights,
                       db=self.db + first * spec.m_tile * WORD_BYTES)


def _taps(geo: TiledPass) -> Taps:
    """Return the tap table of a pass with the pitches of its tile."""
    result = []
    for tap in geo.shape.taps:
        position = tap.row * geo.row_pitch + tap.col + geo.halo
        result.append({"voff": pair(position), "woff": tap.weight,
                       "abase": tap.region * geo.groups, "first": int(tap.first),
                       "mute": int(tap.mute)})
    return tuple(result)


def _pixels(fields: Fields, geo: TiledPass) -> None:
    tile, step = geo.tile, geo.shape.step.cols
    counts = (tile.cols, tile.rows, tile.images)
    put(fields, "pix.p", counts)
    fields["pix.pmode"] = int(geo.shape.pixel_mode)
    # Rows that a stride skips are not in the X tile: a pixel row is row_step rows further on.
    strides = (step, geo.shape.row_step * geo.row_pitch, geo.image_pitch)
    put(fields, "pix.dpos", [pair(d) for d in jumps(counts, strides)])
    fields["pix.lane"] = pair(geo.block_pitch if geo.window_blocks else 1)


def _compute(fields: Fields, levels: Sequence[int], table: Sequence[int],
             position: Sequence[int]) -> None:
    """Write the compute loop: iterations, strides of the pixel table row and of the X position."""
    put(fields, "c.l", levels)
    put(fields, "c.dj", jumps(levels, table))
    put(fields, "c.dx", [pair(d) for d in jumps(levels, position)])


def _x_rows(geo: TiledPass) -> tuple[Rows, tuple[int, ...], int]:
    """Return the rows of the input's tile, strides of the position, offset of the first row."""
    spec, tile, x = geo.shape.spec, geo.tile, geo.shape.spec.x
    if x.flat:
        # A dense map has a column per image and its channel blocks in memory order: a run goes over
        # channel blocks, so that it is longer than one word.
        rows = Rows((tile.chunk, tile.cols, 1, 1), (x.col_stride, 0, 0), _ZERO4,
                    (x.blocks, x.cols, 1, 1))
        return rows, (geo.block_pitch, 1, 0, 0), 0
    skip = geo.shape.row_skip
    rows = Rows((geo.x_cols, geo.x_rows, tile.images, tile.chunk),
                (skip * x.row_stride, x.image_stride, x.block_stride),
                (-spec.pad_left, -spec.pad_top, 0, 0),
                (x.cols, ceil_div(x.rows, skip), x.images,
                 x.blocks - _hop(geo) * geo.shape.m_first))
    # Element 0 lies in the padding; memory is touched for valid elements only.
    first = -spec.pad_top * x.row_stride - spec.pad_left * WORD_BYTES
    return rows, (1, geo.row_pitch, geo.image_pitch, geo.block_pitch), first


def _hop(geo: TiledPass) -> int:
    """Return the channel blocks that the input moves from one m tile to the next: grouped only."""
    return geo.blocks if geo.shape.spec.group else 0


def _m_move(geo: TiledPass) -> TileMove:
    """Return what the layer's input moves per m tile."""
    blocks = _hop(geo)
    return TileMove(blocks * geo.shape.spec.x.block_stride, (0, 0, 0, blocks))


def _x_moves(geo: TiledPass) -> tuple[TileMove, TileMove, TileMove, TileMove]:
    """Return what the layer's input moves per chunk, column tile, row tile and image tile."""
    x, tile, step = geo.shape.spec.x, geo.tile, geo.shape.step.cols
    if x.flat:
        return (TileMove(tile.chunk * WORD_BYTES, (tile.chunk, 0, 0, 0)),
                TileMove(tile.cols * x.col_stride, (0, tile.cols, 0, 0)),
                TileMove(), TileMove())
    cols, rows = tile.cols * step, tile.rows * geo.shape.row_step
    return (TileMove(tile.chunk * x.block_stride, (0, 0, 0, tile.chunk)),
            TileMove(cols * WORD_BYTES, (cols, 0, 0, 0)),
            TileMove(rows * geo.shape.row_skip * x.row_stride, (0, rows, 0, 0)),
            TileMove(tile.images * x.image_stride, (0, 0, tile.images, 0)))


@dataclass(frozen=True)
class _LoadedGradient:
    """The output gradient as a loader sees it: limits, strides, halving by unpooling."""

    geo: TiledPass

    @property
    def loading(self) -> Loading:
        """How it is read."""
        return Loading.gradient(self.geo.shape.spec)

    @property
    def unpools(self) -> bool:
        """Whether it is read with the size that it had before pooling."""
        return self.loading.mode == LoadMode.UNPOOL

    def half(self, coordinate: int) -> int:
        """Return the stored row or column of a coordinate of the unpooled map."""
        return coordinate // 2 if self.unpools else coordinate

    def rows(self, n: tuple[int, int, int, int], start: tuple[int, int, int, int]) -> Rows:
        """Return the rows of a tile with counts ``n`` and first coordinates ``start``."""
        spec = self.geo.shape.spec
        y, flags = spec.y, spec.flags
        rows, cols = spec.out_rows, spec.out_cols
        if self.unpools:
            rows, cols = rows // 2 * 2, cols // 2 * 2
        return Rows(n, (y.row_stride, y.image_stride, y.block_stride), start,
                    (cols, rows, y.images, y.blocks - self.geo.shape.m_first * self.geo.blocks),
                    (flags.row_stride, flags.image_stride, flags.block_stride) if flags
                    else (0, 0, 0))

    def addresses(self, at: LayerAddresses, row: int, col: int) -> tuple[int, int]:
        """Return the byte addresses of data and flags of the row that starts at (row, col)."""
        spec = self.geo.shape.spec
        flag_row = spec.flags.row_stride if spec.flags else 0
        return (at.dy + self.half(row) * spec.y.row_stride + self.half(col) * WORD_BYTES,
                at.flags + self.half(row) * flag_row)

    def moves(self, blocks: int) -> tuple[TileMove, TileMove, TileMove, TileMove]:
        """Return what ``blocks`` channel blocks, a column, a row and an image tile move."""
        spec, tile = self.geo.shape.spec, self.geo.tile
        y, flags = spec.y, spec.flags
        row, image, block = ((flags.row_stride, flags.image_stride, flags.block_stride)
                             if flags else (0, 0, 0))
        return (TileMove(blocks * y.block_stride, (0, 0, 0, blocks), blocks * block),
                TileMove(self.half(tile.cols) * WORD_BYTES, (tile.cols, 0, 0, 0)),
                TileMove(self.half(tile.rows) * y.row_stride, (0, tile.rows, 0, 0),
                         self.half(tile.rows) * row),
                TileMove(tile.images * y.image_stride, (0, 0, tile.images, 0),
                         tile.images * image))


def lower(geo: TiledPass, at: LayerAddresses, flags: bool = True,
          momentum: bool = True) -> tuple[Fields, Taps]:
    """Return the fields of one convolution descriptor and its taps.

    The prefix gets opcode, tap count and tile counts; the program adds numbers, waits and the
    addresses of taps, records and step-block entries.

    Args:
        geo: the pass and its tile.
        at: addresses of the layer's tensors, also for a section of it.
        flags: forward: write the flags.
        momentum: weight gradient: the masters hold momentum.
    """
    fields: Fields = {"pre.opcode": int(Opcode.CONV), "pre.n_taps": len(geo.shape.taps)}
    at = at.section(geo.shape.spec, momentum)
    if geo.shape.kind is Pass.WEIGHT_GRADIENT:
        at = at.slice(geo, momentum)
        _weight_gradient(fields, geo, at)
        _update(fields, geo, at, momentum)
    elif geo.shape.kind is Pass.FORWARD:
        _forward(fields, geo, at)
    else:
        _backward(fields, geo, at)
    _pixels(fields, geo)
    if geo.shape.kind is Pass.FORWARD and flags and geo.shape.spec.flags is not None:
        _flag_store(fields, geo, at)
    return fields, _taps(geo)


def _forward(fields: Fields, geo: TiledPass, at: LayerAddresses) -> None:
    """Write the fields of a forward pass: X is the input, S the weights, sums become the output."""
    shape, tile, spec = geo.shape, geo.tile, geo.shape.spec
    counts = (geo.chunks, shape.outer, geo.col_tiles, geo.row_tiles, geo.image_tiles)
    put(fields, "pre.t", counts)
    # With one chunk the X tile stays while level 1 goes through the m tiles; not if grouped.
    reuse = 2 if geo.chunks == 1 and not spec.group else 0
    rows, pos, first = _x_rows(geo)
    chunk, col, row, image = _x_moves(geo)
    address_generator(fields, "x", addr=at.x + first, counts=counts,
                      moves=(chunk, _m_move(geo), col, row, image), rows=rows, pos=pos, banked=True,
                      reuse=reuse)
    block = spec.kernel.area * spec.weight_block_bytes
    # S: the m_tile x 4 weights of a tap are a row, and a sweep takes a row. The taps of an n block
    # follow each other in memory; the tap table says at which offset.
    address_generator(fields, "s", addr=at.w16, counts=counts,
                      moves=(TileMove(tile.chunk * block, (0, 0, 0, tile.chunk)),
                             TileMove(spec.nb * block),
                             TileMove(), TileMove(), TileMove()),
                      rows=Rows((spec.m_tile, 1, len(shape.taps), tile.chunk), (0, 0, block),
                                _ZERO4,
                                (spec.m_tile, 1, len(shape.taps), spec.nb)), pos=None, taps=True)
    # A sweep goes through the pixel groups (level 0) with the weights of one tap and channel block;
    # taps are level 2, channel blocks of the chunk level 3.
    _compute(fields, (geo.groups, 1, len(shape.taps), tile.chunk, 1), (1, 0, 0, 0, 0),
             (0, 0, 0, geo.block_pitch, 0))
    fields.update({"c.red": 1, "c.xreuse": reuse, "c.s_stride": CHANNELS_PER_WORD,
                   "c.s_step": spec.m_tile, "c.s_chunk": spec.m_tile, "c.s_sets": 1})
    store = (shape.outer, geo.col_tiles, geo.row_tiles, geo.image_tiles, 1)
    y = spec.y
    lim_cols, lim_rows = spec.out_cols, spec.out_rows
    if spec.pool:
        # What pooling drops is not stored, so it counts neither in measure nor in saturations.
        lim_cols, lim_rows = lim_cols // 2 * 2, lim_rows // 2 * 2
    _store(fields, geo, store, start=(0, 0), lim=(lim_cols, lim_rows, y.images, y.blocks),
           step=ONE)
    fields.update({"y.pool": int(spec.pool), **activation_fields(spec.activation, "y.")})
    _bias(fields, geo, at, store)
    _map_store(fields, geo, "yw", at.y, (0, 0), (geo.stored_cols, geo.stored_rows), _Target(
        (y.cols, y.rows, y.images, y.blocks), (y.row_stride, y.image_stride, y.block_stride),
        geo.merged_rows))


def _bias(fields: Fields, geo: TiledPass, at: LayerAddresses, store: Sequence[int]) -> None:
    """Write where the biases stand, if the pass adds some: a tile of them for each of outputs."""
    spec = geo.shape.spec
    # The backward pass of its windows computes the output of a transposed layer.
    if spec.bias and spec.kind.transposed == (geo.shape.kind is Pass.BACKWARD):
        fields.update({"y.bias": 1, "y.bias_off": at.bias})
        put(fields, "y.dbias", jumps(store, (spec.m_tile * WORD_BYTES, 0, 0, 0, 0)))


def _store(fields: Fields, geo: TiledPass, store: Sequence[int], *, start: tuple[int, int],
           lim: tuple[int, int, int, int], step: Pair) -> None:
    """Write the fields of drain and post-processing that forward and backward share.

    ``store``: iterations of the store levels; ``start``, ``lim``: first column and row, and sizes,
    of the stored tensor; ``step``: rows and columns of it from pixel to pixel.
    """
    tile, regions = geo.tile, geo.shape.regions
    put(fields, "y.y", store)
    q = (tile.cols, tile.rows, tile.images, regions)
    put(fields, "y.q", q)
    fields["y.single"] = int(geo.shape.single)
    fields["y.yblk"] = geo.stage_words // geo.blocks
    # Column phases are interleaved: column v of phase f is stored column v * regions + f.
    line = tile.cols * regions
    put(fields, "y.ypos", jumps(q, (regions, line, line * tile.rows, 1)), 16)
    put(fields, "y.yc", (*start, 0, 0))
    put(fields, "y.ylim", lim)
    put(fields, "y.dcol", jumps(q, (regions, 0, 0, 1)))
    put(fields, "y.dline", jumps(q, (0, step.rows, 0, 0)))
    put(fields, "y.dimg", jumps(q, (0, 0, 1, 0)))
    for coord, level, move in ((0, 1, step.cols * tile.cols), (1, 2, step.rows * tile.rows),
                               (2, 3, tile.images), (3, 0, geo.blocks)):
        strides = [0] * _LEVELS
        strides[level] = move
        for t, jump in enumerate(jumps(store, strides)):
            fields[f"y.ydc{4 * t + coord}"] = jump


def _flag_store(fields: Fields, geo: TiledPass, at: LayerAddresses) -> None:
    flags = geo.shape.spec.flags
    assert flags is not None
    words, line = geo.flag_row_words, geo.stored_rows
    fields["y.flags"] = 1
    fields["y.fblk"] = words * line * geo.tile.images
    _map_store(fields, geo, "yf", at.flags, (0, 0), (words, line), _Target(
        (flags.row_words, flags.rows, flags.images, flags.blocks),
        (flags.row_stride, flags.image_stride, flags.block_stride),
        geo.merged_rows and words == flags.row_words))


@dataclass(frozen=True)
class _Target:
    """A stored tensor: words of a row, rows, images and blocks; strides of row, image, block.

    ``merge``: whole rows of it are written, which follow each other in memory.
    """

    sizes: tuple[int, int, int, int]
    strides: tuple[int, int, int]
    merge: bool


def _map_store(fields: Fields, geo: TiledPass, name: str, addr: int, start: tuple[int, int],
               size: tuple[int, int], target: _Target) -> None:
    """Write the address generator of a stored map.

    A segment has ``size`` (words of a row, rows); its first row is at ``addr``, its first column
    and row are ``start``. Whole rows of ``target`` are merged into one run.
    """
    tile, (words, line), (row, image, block) = geo.tile, size, target.strides
    store = (geo.shape.outer, geo.col_tiles, geo.row_tiles, geo.image_tiles, 1)
    n = (words, line, tile.images, geo.blocks)
    lim = target.sizes
    down = (0, line, 0, 0)
    # All rows of a tile are one row: the run level clips what the row level would clip.
    if target.merge:
        n = (words * line, 1, tile.images, geo.blocks)
        lim = (lim[0] * lim[1], 1, lim[2], lim[3])
        down = (words * line, 0, 0, 0)
    address_generator(fields, name, addr=addr, counts=store,
                      moves=(TileMove(geo.blocks * block, (0, 0, 0, geo.blocks)),
                             TileMove(words * WORD_BYTES, (words, 0, 0, 0)),
                             TileMove(line * row, down),
                             TileMove(tile.images * image, (0, 0, tile.images, 0)), TileMove()),
                      rows=Rows(n, target.strides, (*start, 0, 0), lim),
                      pos=(1, words, words * line, words * line * tile.images))


def _backward(fields: Fields, geo: TiledPass, at: LayerAddresses) -> None:
    """Write the fields of a backward pass.

    X is the output gradient, S the weights, sums become the gradient of the input. Output and input
    channels change places: a chunk is of m tiles, a tile of output channels one of n channels.
    """
    shape, tile, spec = geo.shape, geo.tile, geo.shape.spec
    counts = (geo.chunks, shape.outer, geo.col_tiles, geo.row_tiles, geo.image_tiles)
    put(fields, "pre.t", counts)
    reuse = 2 if geo.chunks == 1 and not spec.group else 0
    gradient = _LoadedGradient(geo)
    # The first pixel reads span_rows - 1 rows and halo columns in front of its own.
    row0, col0 = shape.row0 - (shape.span_rows - 1), shape.col0 - geo.halo
    addr, faddr = gradient.addresses(at, row0, col0)
    chunk, col, row, image = gradient.moves(geo.x_blocks)
    # Grouped: each n tile reads the m tile of its number; else all read the whole gradient.
    outer = chunk if spec.group else TileMove()
    address_generator(fields, "x", addr=addr, faddr=faddr, counts=counts,
                      moves=(chunk, outer, col, row, image),
                      rows=gradient.rows((geo.x_cols, geo.x_rows, tile.images, geo.x_blocks),
                                         (col0, row0, 0, 0)),
                      pos=(1, geo.row_pitch, geo.image_pitch, geo.block_pitch), banked=True,
                      loading=gradient.loading, reuse=reuse)
    block = spec.kernel.area * spec.weight_block_bytes
    # S: for a tap the weights of all n blocks of the tile, one behind the other, are a chunk; its
    # columns, not rows, are what a step multiplies (s_col).
    address_generator(fields, "s", addr=at.w16, counts=counts,
                      moves=(TileMove(tile.chunk * spec.nb * block, (0, 0, 0, tile.chunk)),
                             TileMove(spec.nb * block, (0, 0, 0, 1)) if spec.group
                             else TileMove(geo.blocks * block, (0, geo.blocks, 0, 0)),
                             TileMove(), TileMove(), TileMove()),
                      rows=Rows((spec.m_tile, geo.blocks, len(shape.taps), tile.chunk),
                                (block, 0, spec.nb * block), _ZERO4,
                                (spec.m_tile, spec.nb, len(shape.taps), spec.m_tiles)),
                      pos=None, taps=True)
    pitch = geo.block_pitch
    # The last channel blocks of a tile that hold no channels are left out: their products are zero.
    blocks = spec.filled_blocks
    _compute(fields, (geo.groups, blocks, len(shape.taps), tile.chunk, 1),
             (1, 0, 0, 0, 0), (0, pitch, 0, blocks * pitch, 0))
    fields.update({"c.red": 1, "c.xreuse": reuse, "c.s_col": 1, "c.s_stride": spec.m_tile,
                   "c.s_step": CHANNELS_PER_WORD, "c.s_chunk": spec.m_tile * geo.blocks,
                   "c.s_sets": blocks})
    _backward_store(fields, geo, at)


def _backward_store(fields: Fields, geo: TiledPass, at: LayerAddresses) -> None:
    shape, tile, spec, x = geo.shape, geo.tile, geo.shape.spec, geo.shape.spec.x
    s = spec.stride
    store = (shape.outer, geo.col_tiles, geo.row_tiles, geo.image_tiles, 1)
    # Grid row u of row phase f is input row u * s + f - pad_top; columns likewise.
    col = s.cols * shape.col0 - spec.pad_left
    row = s.rows * shape.row0 + shape.phase - spec.pad_top
    _store(fields, geo, store, start=(col, row), lim=(x.cols, x.rows, x.images, x.blocks),
           step=s)
    _bias(fields, geo, at, store)
    if x.flat:
        put(fields, "y.ypos", jumps((tile.cols, 1, 1, 1), (geo.blocks, 0, 0, 0)), 16)
        fields["y.yblk"] = 1
        address_generator(fields, "yw", addr=at.dx, counts=store,
                          moves=(TileMove(geo.blocks * WORD_BYTES, (geo.blocks, 0, 0, 0)),
                                 TileMove(tile.cols * x.col_stride, (0, tile.cols, 0, 0)),
                                 TileMove(), TileMove(), TileMove()),
                          rows=Rows((geo.blocks, tile.cols, 1, 1), (x.col_stride, 0, 0), _ZERO4,
                                    (x.blocks, x.cols, 1, 1)), pos=(1, geo.blocks, 0, 0))
        return
    # The rows of a phase stand a stride apart: a tensor of its own with that row stride.
    _map_store(fields, geo, "yw", at.dx + row * x.row_stride + col * WORD_BYTES, (col, 0),
               (geo.stored_cols, tile.rows), _Target(
                   (x.cols, shape.rows, x.images, x.blocks),
                   (s.rows * x.row_stride, x.image_stride, x.block_stride), geo.merged_rows))


def _weight_gradient(fields: Fields, geo: TiledPass, at: LayerAddresses) -> None:
    """Write the fields of a weight gradient: X is the input, S the output gradient.

    The reduction goes over all pixels of the mini-batch: they are the inner tile levels.
    """
    shape, tile, spec = geo.shape, geo.tile, geo.shape.spec
    counts = (geo.row_tiles, geo.col_tiles, geo.image_tiles, geo.chunks, shape.outer)
    put(fields, "pre.t", counts)
    # One X tile for everything: it stays for all m tiles too.
    reuse = _LEVELS if max(counts[:4]) == 1 and not spec.group else 0
    rows, pos, first = _x_rows(geo)
    chunk, col, row, image = _x_moves(geo)
    address_generator(fields, "x", addr=at.x + first, counts=counts,
                      moves=(row, col, image, chunk, _m_move(geo)), rows=rows, pos=pos, banked=True,
                      reuse=reuse)
    gradient = _LoadedGradient(geo)
    addr, faddr = gradient.addresses(at, 0, 0)
    block, col, row, image = gradient.moves(geo.blocks)
    address_generator(fields, "s", addr=addr, faddr=faddr, counts=counts,
                      moves=(row, col, image, TileMove(), block),
                      rows=gradient.rows((tile.cols, tile.rows, tile.images, geo.blocks), _ZERO4),
                      pos=None, loading=gradient.loading, align=True)
    if spec.bias:
        fields.update({"s.sum": 1, "s.sum_off": at.db})
    steps, sets = geo.window_steps, geo.s_rows // SET_PIXELS
    # 1x1 kernel: the lanes are three channel blocks, and a step moves on by all of them.
    pitch = geo.block_pitch * (LANES if geo.window_blocks else 1)
    _compute(fields, (SET_PIXELS, 1, len(shape.taps), steps, sets), (1, 0, 0, 0, SET_PIXELS),
             (0, 0, 0, pitch, 0))
    fields.update({"c.wu": 1, "c.red": 3, "c.xreuse": reuse, "c.s_col": 1,
                   "c.s_stride": geo.s_rows, "c.s_step": SET_PIXELS,
                   "c.s_chunk": geo.blocks * geo.s_rows, "c.s_sets": sets,
                   "c.s_valid": tile.pixels})
    k = spec.kernel
    # Segments in the order of the weights in memory: [m tile][n block][kr][kc], kc by threes. The
    # update unit gets the sums in the order of the drain.
    store = (ceil_div(k.cols, LANES), k.rows, steps, geo.chunks, shape.outer)
    put(fields, "y.y", store)
    fields.update({"y.segs": 3, "y.raw": 1, "y.groups": SET_PIXELS})
    # Coordinate 0: kernel column, or channel block of a 1x1 kernel.
    moves = (LANES, 0, 0, 0, 0)
    if geo.window_blocks:
        moves = (0, 0, LANES, tile.chunk, 0)
    for t, jump in enumerate(jumps(store, moves)):
        fields[f"y.ydc{4 * t}"] = jump
    fields["y.ylim0"] = spec.nb if geo.window_blocks else k.cols


def _update(fields: Fields, geo: TiledPass, at: LayerAddresses, momentum: bool) -> None:
    """Write the update unit's part of a weight gradient: its masters, and how many there are."""
    shape, spec = geo.shape, geo.shape.spec
    fields["pre.opcode"] = int(Opcode.GRADIENT)
    fields.update({"u.wv_off": at.wv, "u.w16_off": at.w16, "u.u_copy": 1,
                   "u.u_count": spec.weight_elements // spec.m_tiles * shape.outer,
                   "u.u_plain": int(not momentum), "u.u_rows": min(spec.m, spec.m_tile)})
