"""Passes of a layer as pixel grids, and the geometry of a tile with every limit it must keep.

All three passes have one form (``docs/engine.md`` 5): a grid of pixels, each of which reads a
window of an X tile; a reduction that is cut into chunks; and a table of taps, the places of the
window. What differs is which tensors stand for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from pynq_train.graph.windows import ONE, Pair
from pynq_train.hw.commands import Pass, PixelMode
from pynq_train.hw.config import HwConfig
from pynq_train.hw.limits import FLAG_TILE_COLUMNS, MAX_COORDINATE
from pynq_train.hw.words import (
    FLAG_MASK_PIXELS,
    FLAG_POOL_PIXELS,
    LANES,
    SET_PIXELS,
    WORD_BYTES,
    ceil_div,
    round_up,
)
from pynq_train.schedule.specs.spec import LayerSpec


@dataclass(frozen=True)
class TapPlace:
    """One tap: its place in the X tile, its weights, its sums.

    Attributes:
        row: row of the X tile that pixel (0, 0) reads.
        col: column of the X tile that pixel (0, 0) reads, counted from behind the tile's halo.
        weight: ``kr * kernel columns + kc``.
        region: column phase whose accumulators it feeds.
        first: first tap of its region.
        mute: the region has no taps; V is zero.
    """

    row: int
    col: int
    weight: int
    region: int = 0
    first: bool = False
    mute: bool = False


@dataclass(frozen=True)
class PassShape:
    """One descriptor's work: a grid of pixels that reads X and is reduced over chunks.

    Attributes:
        spec: the layer.
        kind: forward, backward or weight gradient.
        phase: backward: row phase.
        images: images of the grid.
        rows: rows of the grid (backward: rows u of the phase).
        cols: columns of the grid (backward: columns v, common to the column phases).
        row0: backward: first row u.
        col0: backward: first column v.
        step: X rows and columns from pixel to pixel.
        span_rows: X rows that one pixel reads.
        span_cols: X columns that one pixel reads.
        reduce: units that chunks are made of: channel blocks (forward: of X, weight gradient: of
            the weight layout), backward: m tiles. Grouped: those of one m tile.
        outer: tiles of output channels (backward: of as many n channels).
        regions: accumulator regions (column phases).
        taps: the tap table.
        m_first: weight gradient: first of the ``outer`` m tiles.
    """

    spec: LayerSpec
    kind: Pass
    phase: int
    images: int
    rows: int
    cols: int
    row0: int
    col0: int
    step: Pair
    span_rows: int
    span_cols: int
    reduce: int
    outer: int
    regions: int
    taps: tuple[TapPlace, ...]
    m_first: int = 0

    @property
    def single(self) -> bool:
        """Whether a group has one pixel only.

        Pixels of a group are a column step apart, and at a row's end go on in a row that is
        ``row_step`` rows further on; with a step that the three banks divide, neighbours would meet
        in one bank, whatever the pitch of the rows is.
        """
        if self.kind is not Pass.FORWARD:
            return False
        return self.step.cols % LANES == 0 or (self.rows > 1 and self.row_step % LANES == 0)

    @property
    def row_skip(self) -> int:
        """Rows of the input for one row of the X tile: a kernel of one row skips those of a stride.
        """
        # No pixel reads the rows between. A dense map has no rows.
        one = self.kind is not Pass.BACKWARD and self.spec.kernel.rows == 1
        return self.step.rows if one and not self.spec.x.flat else 1

    @property
    def row_step(self) -> int:
        """X tile rows from pixel row to pixel row."""
        return self.step.rows // self.row_skip

    @property
    def lanes_take_blocks(self) -> bool:
        """Whether the lanes of a weight gradient are channel blocks: of a 1x1 kernel.

        Others are kernel columns: sums leave the array lane by lane, and the kernel columns of a
        channel block are those that follow each other in memory.
        """
        return self.kind is Pass.WEIGHT_GRADIENT and self.spec.kernel.area == 1

    @property
    def pixel_mode(self) -> PixelMode:
        """How the pixel table is filled (``docs/engine.md`` 4)."""
        if self.kind is Pass.WEIGHT_GRADIENT:
            return PixelMode.WINDOW
        return PixelMode.SINGLE if self.single else PixelMode.GROUPS

    @property
    def label(self) -> str:
        """Name of the pass for messages."""
        kind = self.kind
        if self.spec.kind.transposed:
            kind = Pass.BACKWARD if kind is Pass.FORWARD else Pass.FORWARD
        name = kind.name.lower().replace("_", " ")
        if self.kind is Pass.WEIGHT_GRADIENT and self.outer < self.spec.m_tiles:
            name += f" {self.m_first}..{self.m_first + self.outer - 1}"
        if self.spec.offsets is not None:
            name += f" piece {self.spec.offsets.number}"
        if self.spec.origin is not None:
            name += f" group {self.spec.origin.group}"
        phases = self.kind is Pass.BACKWARD and self.spec.stride.area > 1
        return f"{name} phase {self.phase}" if phases else name

    @property
    def aligned_cols(self) -> bool:
        """Column tiles must be multiples of 16: flags are read or written."""
        return self.spec.flags is not None

    @property
    def even_rows(self) -> bool:
        """Row tiles must be even: pooling is done or undone."""
        return self.spec.pool


def forward_shape(spec: LayerSpec) -> PassShape:
    """Return the forward pass: a pixel of the output per grid pixel, a tap per kernel position."""
    k = spec.kernel
    taps = tuple(TapPlace(r, c, r * k.cols + c, first=r == 0 and c == 0)
                 for r in range(k.rows) for c in range(k.cols))
    return PassShape(spec, Pass.FORWARD, 0, spec.images, spec.out_rows, spec.out_cols, 0, 0,
                     spec.stride, k.rows, k.cols, spec.in_blocks, spec.m_tiles, 1, taps)


def backward_shapes(spec: LayerSpec) -> tuple[PassShape, ...]:
    """Return the backward pass: one shape per row phase that has rows.

    A phase is a remainder of the input's rows modulo the stride. Its rows read every stride-th
    kernel row, so each phase is a convolution without a stride over the output gradient. Column
    phases are regions of one descriptor, since they read the same X tile; row phases store into
    other rows, and are descriptors of their own.
    """
    s, k = spec.stride, spec.kernel
    # The column phases share one grid of columns, from the first that any of them needs: those in
    # front of the map or behind it are cut off when they are stored.
    col0 = spec.pad_left // s.cols
    cols = (spec.x.cols - 1 + spec.pad_left) // s.cols - col0 + 1
    span_cols = ceil_div(k.cols, s.cols)
    shapes = []
    for phase in range(s.rows):
        # Input row r of phase f is r = u * stride + f - pad_top: rows u from the first one with r
        # >= 0 to the last below the input's rows.
        row0 = ceil_div(spec.pad_top - phase, s.rows)
        rows = (spec.x.rows - 1 + spec.pad_top - phase) // s.rows - row0 + 1
        if rows <= 0:
            continue
        rows_of = range(phase, k.rows, s.rows)
        span_rows = max(len(rows_of), 1)
        taps: list[TapPlace] = []
        for region in range(s.cols):
            cols_of = range(region, k.cols, s.cols)
            # Output row o meets kernel row kr = phase + stride * jr at u = o + jr: a later tap
            # reads an earlier row, hence the minus signs.
            places = [TapPlace(span_rows - 1 - jr, -jc, kr * k.cols + kc, region)
                      for jr, kr in enumerate(rows_of) for jc, kc in enumerate(cols_of)]
            if not places:
                # A kernel smaller than the stride leaves phases without taps. Their pixels are
                # zero, but must be written: a mute tap starts their accumulators.
                places = [TapPlace(0, 0, 0, region, mute=True)]
            first = places[0]
            places[0] = TapPlace(first.row, first.col, first.weight, region, True, first.mute)
            taps.extend(places)
        shapes.append(PassShape(spec, Pass.BACKWARD, phase, spec.images, rows, cols, row0, col0,
                                ONE, span_rows, span_cols,
                                1 if spec.group else spec.m_tiles,
                                ceil_div(spec.x.blocks, spec.tile_blocks), s.cols, tuple(taps)))
    return tuple(shapes)


def output_shapes(spec: LayerSpec) -> tuple[PassShape, ...]:
    """Return what computes a layer's output: one shape, or one per row phase if transposed."""
    if not spec.kind.transposed:
        return (forward_shape(spec),)
    return tuple(shape for piece in spec.pieces(forward=True)
                 for shape in backward_shapes(piece.mirrored()))


def input_gradient_shapes(spec: LayerSpec) -> tuple[PassShape, ...]:
    """Return what computes the gradient of a layer's input from that of its output."""
    if not spec.kind.transposed:
        return backward_shapes(spec)
    return tuple(forward_shape(piece.mirrored()) for piece in spec.pieces(forward=False))


def weight_gradient_shape(spec: LayerSpec, first: int = 0, count: int | None = None) -> PassShape:
    """Return the weight gradient of ``count`` m tiles from ``first`` (default: all).

    Its taps are (kernel row, group of 3 kernel columns): the three lanes of the array take
    neighbouring columns of a window.
    """
    count = spec.m_tiles - first if count is None else count
    k = spec.kernel
    # A 1x1 kernel has no columns for three lanes: they take three channel blocks instead.
    groups = ceil_div(k.cols, LANES)
    taps = tuple(TapPlace(r, LANES * g, 0) for r in range(k.rows) for g in range(groups))
    return PassShape(spec, Pass.WEIGHT_GRADIENT, 0, spec.images, spec.out_rows, spec.out_cols,
                     0, 0, spec.stride, k.rows, k.cols, spec.nb, count, 1, taps, first)


@dataclass(frozen=True)
class Tile:
    """Sizes of one tile.

    Attributes:
        images: images of the pixel grid.
        rows: rows of each.
        cols: columns of each.
        chunk: units of the reduction that are loaded together.
    """

    images: int
    rows: int
    cols: int
    chunk: int

    @property
    def pixels(self) -> int:
        """Pixels of the grid in the tile."""
        return self.images * self.rows * self.cols


def _congruent(at_least: int, value: int) -> int:
    """Return the smallest number >= ``at_least`` that equals ``value`` modulo the lanes."""
    return at_least + (value - at_least) % LANES


@dataclass(frozen=True)
class TiledPass:
    """A pass and its tile, with all that follows: pitches of the X tile, groups, counts.

    A pitch is the distance of neighbours in words.
    """

    shape: PassShape
    tile: Tile

    @property
    def blocks(self) -> int:
        """Channel blocks of a tile of output channels."""
        return self.shape.spec.tile_blocks

    @cached_property
    def row_tiles(self) -> int:
        """Tiles along the rows."""
        return ceil_div(self.shape.rows, self.tile.rows)

    @cached_property
    def col_tiles(self) -> int:
        """Tiles along the columns."""
        return ceil_div(self.shape.cols, self.tile.cols)

    @cached_property
    def image_tiles(self) -> int:
        """Tiles along the images."""
        return ceil_div(self.shape.images, self.tile.images)

    @cached_property
    def chunks(self) -> int:
        """Chunks of the reduction (weight gradient: tiles of n channels)."""
        return ceil_div(self.shape.reduce, self.tile.chunk)

    @cached_property
    def halo(self) -> int:
        """Columns of the X tile in front of column 0 of the tile (backward)."""
        if self.shape.kind is not Pass.BACKWARD:
            return 0
        # A tap reads up to span_cols - 1 columns in front of its pixel. With flags a tile starts at
        # a whole flag word or before column 0, so the halo grows to the next one.
        halo, col0 = self.shape.span_cols - 1, self.shape.col0
        if self.shape.aligned_cols and (self.col_tiles > 1 or col0 > halo):
            return round_up(halo - col0, FLAG_TILE_COLUMNS) + col0
        return halo

    @cached_property
    def x_rows(self) -> int:
        """Rows of the X tile."""
        return (self.tile.rows - 1) * self.shape.row_step + self.shape.span_rows

    @cached_property
    def x_cols(self) -> int:
        """Columns of the X tile."""
        if self.shape.kind is Pass.BACKWARD:
            return self.tile.cols + self.halo
        return (self.tile.cols - 1) * self.shape.step.cols + self.shape.span_cols

    @cached_property
    def x_blocks(self) -> int:
        """Channel blocks of the X tile."""
        unit = self.shape.spec.filled_blocks if self.shape.kind is Pass.BACKWARD else 1
        return self.tile.chunk * unit

    @cached_property
    def _banked(self) -> bool:
        """Whether groups of three pixels read the X tile in one cycle."""
        return self.shape.pixel_mode is PixelMode.GROUPS

    @cached_property
    def row_pitch(self) -> int:
        """Words from row to row of the X tile.

        The pixels of a group are numbered across rows. Positions of pixels must go on by a constant
        modulo 3 at a row's end too, so that any three in a row lie in three banks
        (``docs/engine.md`` 4).
        """
        if not self._banked or self.tile.rows == 1:
            return self.x_cols
        # The last pixel of a row and the first of the next must be a column step apart, modulo 3:
        # row_step * pitch = columns * step. A number that 3 does not divide is its own inverse.
        shape = self.shape
        return _congruent(self.x_cols, shape.row_step * shape.step.cols * self.tile.cols)

    @cached_property
    def image_pitch(self) -> int:
        """Words from image to image of the X tile; as :attr:`row_pitch` at an image's end."""
        words = self.x_rows * self.row_pitch
        if not self._banked or self.tile.images == 1:
            return words
        return _congruent(words, self.shape.step.cols * self.tile.rows * self.tile.cols)

    @cached_property
    def window_blocks(self) -> bool:
        """Weight gradient of a 1x1 kernel: the lanes are channel blocks."""
        return self.shape.lanes_take_blocks

    @cached_property
    def block_pitch(self) -> int:
        """Words from channel block to channel block of the X tile."""
        words = self.tile.images * self.image_pitch
        # The lanes read three blocks at once, which must lie in three banks: the pitch is 1 or 2
        # modulo 3.
        if self.window_blocks and words % LANES == 0:
            words += 1
        return words

    @cached_property
    def x_words(self) -> int:
        """Words of the X tile that are touched, those included that unused lanes read."""
        if self.window_blocks:
            return round_up(self.x_blocks, LANES) * self.block_pitch
        junk = LANES - 1 if self.shape.kind is Pass.WEIGHT_GRADIENT else 0
        return self.x_blocks * self.block_pitch + junk

    @cached_property
    def groups(self) -> int:
        """Rows of the pixel table: groups of a region, or pixels (weight gradient, single)."""
        if self.shape.pixel_mode is PixelMode.GROUPS:
            return ceil_div(self.tile.pixels, LANES)
        return self.tile.pixels

    @cached_property
    def window_steps(self) -> int:
        """Weight gradient: iterations of compute level 3."""
        return ceil_div(self.tile.chunk, LANES) if self.window_blocks else self.tile.chunk

    @cached_property
    def acc_groups(self) -> int:
        """Accumulator groups of a tile."""
        if self.shape.kind is Pass.WEIGHT_GRADIENT:
            return SET_PIXELS * len(self.shape.taps) * self.window_steps
        return self.shape.regions * self.groups

    @cached_property
    def s_rows(self) -> int:
        """Weight gradient: ring words of one channel block of a tile."""
        return round_up(self.tile.pixels, SET_PIXELS)

    @cached_property
    def stored_rows(self) -> int:
        """Rows of a stored segment."""
        pooled = self.shape.kind is Pass.FORWARD and self.shape.spec.pool
        return self.tile.rows // 2 if pooled else self.tile.rows

    @cached_property
    def stored_cols(self) -> int:
        """Columns of a stored segment."""
        if self.shape.kind is Pass.FORWARD and self.shape.spec.pool:
            return self.tile.cols // 2
        return self.tile.cols * self.shape.regions

    @cached_property
    def stage_words(self) -> int:
        """Words of a staged segment; sums of weights are not staged."""
        if self.shape.kind is Pass.WEIGHT_GRADIENT:
            return 0
        return self.blocks * self.tile.images * self.stored_rows * self.stored_cols

    @cached_property
    def merged_rows(self) -> bool:
        """Whether a tile's stored rows follow each other in memory, and are written as one run.

        The address generator then has one row of rows * columns words, whose coordinates must keep
        in 16 bits; the rows behind the last tile count as well.
        """
        shape, out = self.shape, self.shape.spec.y
        if shape.kind is Pass.BACKWARD:
            out = shape.spec.x
            if shape.spec.stride.rows > 1:
                return False  # between the rows of a phase stand those of the others
        whole = self.col_tiles == 1 and shape.regions == 1 and self.stored_cols == out.cols
        dense = out.row_stride == out.cols * WORD_BYTES and not out.flat
        reach = (self.row_tiles + 1) * self.stored_rows * max(self.stored_cols, 1)
        return whole and dense and reach <= MAX_COORDINATE

    @cached_property
    def flag_row_words(self) -> int:
        """Flag words of one row of a stored segment."""
        if self.shape.kind is not Pass.FORWARD or self.shape.spec.flags is None:
            return 0
        if self.shape.spec.pool:
            return ceil_div(self.tile.cols // 2, FLAG_POOL_PIXELS)
        return ceil_div(self.tile.cols, FLAG_MASK_PIXELS)

    @cached_property
    def flag_words(self) -> int:
        """Words of a staged flag segment."""
        return self.blocks * self.tile.images * self.stored_rows * self.flag_row_words

    def excess(self, config: HwConfig) -> tuple[str, int, int] | None:
        """Return the first limit of ``config`` that the tile breaks, None if it keeps all.

        Returns:
            What it is, how much is needed, how much is there.
        """
        limits = [
            ("words of an X tile", self.x_words, config.x_tile_words),
            ("accumulator groups", self.acc_groups, config.acc_tile_groups),
            ("pixel table rows", self.groups, config.table_rows),
            ("staged words", self.stage_words, config.stage_segment_words),
            ("staged flag words", self.flag_words, config.flag_segment_words),
            ("taps", len(self.shape.taps), config.max_taps),
        ]
        if self.shape.kind is Pass.WEIGHT_GRADIENT:
            limits.append(("words of a gradient tile", self.blocks * self.s_rows,
                           config.s_ring_words // 2))
        elif self.shape.kind is Pass.FORWARD and self.shape.spec.pool:
            limits.append(("columns of a pooled tile", self.tile.cols, config.pool_columns))
        for what, needed, there in limits:
            if needed > there:
                return what, needed, there
        return None
