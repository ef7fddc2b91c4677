"""Cost of a tile of a pass in every unit: what the tile search compares.

Formulas instead of a simulation, because the search asks for thousands of tiles: each unit's cycles
are counted as if it never waited, and the slowest one decides. Predictions for people come from the
cycle model (:mod:`pynq_train.cycles`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from pynq_train.hw.boards import Board
from pynq_train.hw.commands import LoadMode, Pass
from pynq_train.hw.words import (
    BURST_BEATS,
    FLAG_MASK_PIXELS,
    FLAG_UNPOOL_COLUMNS,
    LANES,
    SET_PIXELS,
    WORD_BYTES,
    ceil_div,
    master_bytes,
)
from pynq_train.schedule.passes.geometry import TiledPass

BURST_CYCLES = 2
"""Pause of a port after a burst."""
LATENCY_CYCLES = 60
"""From a loader's start to its first word: address, memory, FIFOs."""
TILE_CYCLES = 6
"""Cycles of the array between two tiles."""
ROW_CYCLES = 1
"""Cycles that a loader or writer loses per row."""
DESCRIPTOR_CYCLES = 220
"""Cycles of a descriptor beside its steps: configuration, first S set, end of the pipeline."""


@dataclass(frozen=True)
class Cost:
    """Predicted cost of one descriptor.

    Attributes:
        array: cycles of the array, shortest sweep period and drain included.
        load_x: cycles of the X loader.
        load_s: cycles of the S loader.
        store: cycles of drain and writer.
        dram: cycles that the memory needs at its usable bandwidth.
        fill: cycles before the array can start if nothing was loaded ahead.
        tail: cycles after the array's last step.
        bytes_read: bytes read from device memory.
        bytes_written: bytes written.
        macs: multiply-adds of the pass, padding not counted.
        chained: its input is the output of the descriptor before it.
    """

    array: int
    load_x: int
    load_s: int
    store: int
    dram: int
    fill: int
    tail: int
    bytes_read: int
    bytes_written: int
    macs: int
    chained: bool

    @property
    def cycles(self) -> int:
        """Cycles in steady state: those of the slowest unit."""
        return max(self.array, self.load_x, self.load_s, self.store, self.dram)

    @property
    def limit(self) -> str:
        """Name of the unit that limits."""
        units = (("array", self.array), ("load X", self.load_x), ("load S", self.load_s),
                 ("store", self.store), ("memory", self.dram))
        return max(units, key=lambda unit: unit[1])[0]

    def key(self, traffic: float, between: bool = False) -> tuple[float, int]:
        """Return what the search compares, the smaller the better.

        Cycles and ``traffic`` times the memory's cycles, then bytes.

        Args:
            traffic: what a memory cycle costs beside a cycle of the array.
            between: a short pass between the parts of a long one, which hides the load of the first
                tile and the store of the last.
        """
        if between:
            return (max(self.array, self.load_x - self.fill) + traffic * self.dram,
                    self.bytes_read + self.bytes_written)
        # The start waits for the first tile. A pass whose input the one before it still writes
        # waits for all of that; others load ahead, and lose little.
        gaps = (self.fill + self.tail) * (1.0 if self.chained else 0.25)
        return self.cycles + gaps + traffic * self.dram, self.bytes_read + self.bytes_written


@lru_cache(maxsize=1 << 16)
def _overlap(start: int, step: int, size: int, count: int, limit: int) -> int:
    """Return how many valid coordinates ``count`` spans hold together.

    Each has ``size`` coordinates and starts at ``start + i * step``; valid are 0 .. limit - 1.
    Coordinates in several spans (halos) count in each, since each tile loads them.
    """
    return sum(max(0, min(start + i * step + size, limit) - max(start + i * step, 0))
               for i in range(count))


def _bursts(words: int) -> int:
    """Return the bursts of a run of ``words`` words."""
    return ceil_div(words, BURST_BEATS)


@dataclass(frozen=True)
class _Stream:
    """A loader's work for a whole descriptor.

    Attributes:
        cycles: cycles of its data side or its port, whichever needs more.
        words: words that it reads.
    """

    cycles: int
    words: int


def _stream(elements: int, rows: int, words: int, valid_rows: int, run: int,
            flag_words: int = 0) -> _Stream:
    """Return the work of a loader.

    Args:
        elements: elements that the data side puts out, padding included.
        rows: rows of all tiles.
        words: data words that are read.
        valid_rows: rows that are read at all.
        run: words of a valid row.
        flag_words: flag words that are read in front of each valid row.
    """
    port = words + valid_rows * BURST_CYCLES * _bursts(run)
    if flag_words:
        port += valid_rows * (flag_words + BURST_CYCLES * _bursts(flag_words))
    return _Stream(max(elements + rows * ROW_CYCLES, port), words + valid_rows * flag_words)


def _input_stream(geo: TiledPass, repeat: int) -> _Stream:
    """Return the X loader's work in forward and weight gradient, done ``repeat`` times."""
    spec, tile, x = geo.shape.spec, geo.tile, geo.shape.spec.x
    blocks = _overlap(0, tile.chunk, tile.chunk, geo.chunks, spec.in_blocks)
    tiles = geo.image_tiles * geo.row_tiles * geo.col_tiles * geo.chunks
    if x.flat:
        rows = tiles * tile.cols * repeat
        words = blocks * x.cols * repeat
        return _stream(rows * tile.chunk, rows, words, x.cols * geo.chunks * repeat, tile.chunk)
    step = geo.shape.step.cols
    row = _overlap(-spec.pad_top, tile.rows * geo.shape.row_step, geo.x_rows, geo.row_tiles,
                   ceil_div(x.rows, geo.shape.row_skip))
    col = _overlap(-spec.pad_left, tile.cols * step, geo.x_cols, geo.col_tiles, x.cols)
    rows = tiles * geo.x_rows * tile.images * tile.chunk * repeat
    valid = row * geo.col_tiles * x.images * blocks * repeat
    return _stream(rows * geo.x_cols, rows, row * col * x.images * blocks * repeat, valid,
                   ceil_div(col, geo.col_tiles))


def _gradient_stream(geo: TiledPass, size: tuple[int, int], start: tuple[int, int],
                     tile_blocks: int, blocks: int, repeat: int) -> _Stream:
    """Return the work of a loader of the output gradient.

    Args:
        geo: the pass and its tile.
        size: rows and columns of its tile.
        start: row and column of its first tile.
        tile_blocks: channel blocks that all its tiles at one place of the grid have together.
        blocks: how many of these are there, not padding.
        repeat: how often all of it is loaded.
    """
    spec, tile, y = geo.shape.spec, geo.tile, geo.shape.spec.y
    row = _overlap(start[0], tile.rows, size[0], geo.row_tiles, spec.out_rows)
    col = _overlap(start[1], tile.cols, size[1], geo.col_tiles, spec.out_cols)
    tiles = geo.image_tiles * geo.row_tiles * geo.col_tiles
    rows = tiles * size[0] * tile.images * tile_blocks * repeat
    valid = row * geo.col_tiles * y.images * blocks * repeat
    width = ceil_div(col, geo.col_tiles)
    flag_words = {LoadMode.PLAIN: 0, LoadMode.MASK: ceil_div(width, FLAG_MASK_PIXELS),
                  LoadMode.UNPOOL: ceil_div(width, FLAG_UNPOOL_COLUMNS)}[spec.gradient_mode]
    half = 2 if spec.gradient_mode == LoadMode.UNPOOL else 1
    words = row * ceil_div(col, half) * y.images * blocks * repeat
    return _stream(rows * size[1], rows, words, valid, ceil_div(width, half), flag_words)


def pass_cost(geo: TiledPass, board: Board) -> Cost:
    """Return the predicted cost of the descriptor of a tiled pass."""
    if geo.shape.kind is Pass.WEIGHT_GRADIENT:
        return _gradient_cost(geo, board)
    shape, tile, spec = geo.shape, geo.tile, geo.shape.spec
    forward = shape.kind is Pass.FORWARD
    grid = geo.image_tiles * geo.row_tiles * geo.col_tiles
    taps = len(shape.taps)
    period = max(geo.groups, board.config.sweep_min_cycles)
    sweeps = taps * tile.chunk * (1 if forward else spec.filled_blocks)
    iterations = grid * shape.outer * geo.chunks
    # Every drained group takes a slot of the array, once per accumulator tile.
    array = iterations * (sweeps * period + TILE_CYCLES) + grid * shape.outer * geo.acc_groups
    # With one chunk the X tile stays for all tiles of output channels; else, and where each of them
    # reads other channels, it is loaded for each.
    repeat = 1 if geo.chunks == 1 and not spec.group else shape.outer
    if forward:
        x = _input_stream(geo, repeat)
    else:
        x = _gradient_stream(geo, (geo.x_rows, geo.x_cols),
                             (shape.row0 - shape.span_rows + 1, shape.col0 - geo.halo),
                             geo.x_blocks * geo.chunks,
                             min(geo.blocks, spec.y.blocks) if spec.group else spec.y.blocks,
                             repeat)
    chunks = iterations * taps * tile.chunk * (1 if forward else geo.blocks)
    s = _stream(chunks * spec.m_tile, 0, chunks * spec.m_tile, chunks, spec.m_tile)
    segment = geo.acc_groups * LANES * geo.blocks
    out = spec.y if forward else spec.x
    written = out.images * out.rows * out.cols * out.blocks
    if not forward:
        # A backward descriptor writes the rows of its phase only.
        written = written * shape.rows // max(out.rows, 1) if not out.flat else written
    run = geo.blocks if out.flat and not forward else geo.stored_cols
    if geo.merged_rows:
        run *= geo.stored_rows
    runs = ceil_div(written, max(run, 1))
    flag_words = 0
    if forward and spec.flags is not None:
        flag_words = spec.flags.nbytes // WORD_BYTES
    write = written + runs * (ROW_CYCLES + BURST_CYCLES * _bursts(run))
    store = max(grid * shape.outer * segment, write)
    total = x.words + s.words + written + flag_words
    # The array waits for the first X tile: one of so many equal ones.
    loads = grid * geo.chunks * repeat
    return Cost(array, x.cycles, s.cycles, store, ceil_div(total * WORD_BYTES,
                board.dram_bytes_per_cycle), x.cycles // loads + LATENCY_CYCLES,
                segment + LATENCY_CYCLES, (x.words + s.words) * WORD_BYTES,
                (written + flag_words) * WORD_BYTES, _macs(geo), forward)


def _macs(geo: TiledPass) -> int:
    """Return the multiply-adds of a descriptor; row phases share those of the layer."""
    spec, shape = geo.shape.spec, geo.shape
    if shape.kind is not Pass.BACKWARD or spec.stride.rows == 1:
        return spec.macs
    rows = len(range(shape.phase, spec.kernel.rows, spec.stride.rows))
    return spec.macs * rows // spec.kernel.rows


def _gradient_cost(geo: TiledPass, board: Board) -> Cost:
    """Return the predicted cost of a weight gradient; its sums do not go to memory."""
    shape, tile, spec = geo.shape, geo.tile, geo.shape.spec
    grid = geo.image_tiles * geo.row_tiles * geo.col_tiles
    outer = geo.chunks * shape.outer
    sets = geo.s_rows // SET_PIXELS
    period = max(geo.acc_groups, board.config.sweep_min_cycles)
    array = grid * outer * (sets * period + TILE_CYCLES) + outer * geo.acc_groups
    # A single X tile stays for all m tiles; else it is loaded for each.
    x_once = grid * geo.chunks == 1 and not spec.group
    x = _input_stream(geo, 1 if x_once else shape.outer)
    blocks = min(geo.blocks * shape.outer, spec.y.blocks - geo.blocks * shape.m_first)
    s = _gradient_stream(geo, (tile.rows, tile.cols), (0, 0), geo.blocks * outer, blocks,
                         geo.chunks)
    segment = geo.acc_groups * LANES * geo.blocks
    written = shape.outer * spec.m_tile if spec.bias else 0
    # Only the channel sums are written; the sums of the weights go to the gradient queue.
    write = written + ceil_div(written, BURST_BEATS) * BURST_CYCLES
    total = x.words + s.words + written
    return Cost(array, x.cycles, s.cycles, max(outer * segment, write),
                ceil_div(total * WORD_BYTES, board.dram_bytes_per_cycle),
                x.cycles // (grid * geo.chunks * (1 if x_once else shape.outer))
                + LATENCY_CYCLES, segment + LATENCY_CYCLES,
                (x.words + s.words) * WORD_BYTES, written * WORD_BYTES,
                spec.macs * shape.outer // spec.m_tiles, False)


def update_bytes(momentum: bool) -> int:
    """Bytes that the update of a weight moves: its master in and out, its operand copy out."""
    return 2 * master_bytes(momentum) + 2


def update_cost(elements: int, momentum: bool) -> tuple[int, int, int]:
    """Return (cycles, bytes read, bytes written) of an update of ``elements`` weights.

    Masters are read and written, 16-bit copies written; the sums come from the gradient queue.
    """
    master = master_bytes(momentum)
    words = elements * master // WORD_BYTES
    cycles = max(elements, words + ceil_div(words, BURST_BEATS) * BURST_CYCLES)
    read = master * elements
    return cycles + LATENCY_CYCLES, read, update_bytes(momentum) * elements - read


def bias_cost(elements: int) -> tuple[int, int, int]:
    """Return (cycles, bytes read, bytes written) of an update of ``elements`` biases.

    A word of sums and a word of master are read for each, a master is written.
    """
    read = 2 * elements + 2 * ceil_div(elements, BURST_BEATS) * BURST_CYCLES
    return read + LATENCY_CYCLES, 2 * WORD_BYTES * elements, WORD_BYTES * elements


def softmax_cost(batch: int, classes: int) -> int:
    """Return the cycles of the softmax unit for a mini-batch.

    Three passes over the classes, one division each.
    """
    return batch * (classes * 24 + 40) + LATENCY_CYCLES
