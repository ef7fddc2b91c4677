"""Tile search: all tiles of a pass that fit, and the one that the cost model likes best.

A tile is a part of the pixels and of the reduction whose operands, sums and results fit the
engine's buffers. Larger tiles load less twice, smaller ones fit; the search tries all useful sizes
and keeps the one with the least cost (:mod:`~pynq_train.schedule.passes.cost`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from pynq_train.errors import DoesNotFit
from pynq_train.hw.boards import Board
from pynq_train.hw.commands import Pass
from pynq_train.hw.config import HwConfig
from pynq_train.hw.limits import FLAG_TILE_COLUMNS, RING_MARGIN
from pynq_train.hw.words import LANES, ceil_div, round_up
from pynq_train.schedule.passes.cost import Cost, pass_cost
from pynq_train.schedule.passes.geometry import PassShape, Tile, TiledPass

MOST_SPLITS = 24
"""Widths of tiles that are tried, the largest first, if one of them fits."""


def check_buffers(config: HwConfig) -> None:
    """Check that the ring of S words holds what every layer needs at least.

    The need follows from the array alone: no tile and no other layer would help.

    Raises:
        DoesNotFit: it does not.
    """
    # A backward pass takes the weights of one tap from a whole tile of channel blocks.
    needed = config.tm * config.m_blocks + RING_MARGIN
    if needed > config.s_ring_words:
        raise DoesNotFit(f"configuration {config.name!r}: s_ring_words", found=config.s_ring_words,
                         expected=f"at least {needed} for an array of {config.tm} output lanes",
                         fix="use a board whose engine has a deeper buffer")


def splits(size: int, align: int = 1) -> list[int]:
    """Return the useful tile sizes of ``size``, largest first: whole, or multiples of ``align``.

    Useful is the smallest size for each number of parts: a larger one gives as many parts.
    """
    sizes = [size]
    for count in range(2, size + 1):
        part = round_up(ceil_div(size, count), align)
        if part < sizes[-1]:
            sizes.append(part)
    return sizes


def grids(shape: PassShape, pixels: int, narrow: bool = False) -> Iterator[tuple[int, int, int]]:
    """Yield (images, rows, columns) of tiles of at most ``pixels`` pixels.

    Several images are taken only whole; rows are cut into few parts, and rows with flags only if
    all parts are whole flag words.

    Args:
        shape: the pass.
        pixels: most pixels of a tile.
        narrow: rows are cut in every way, also where that is slow.
    """
    row_align = 2 if shape.even_rows else 1
    wide = splits(shape.cols, FLAG_TILE_COLUMNS if shape.aligned_cols else 1)
    if not narrow:
        whole_rows = shape.aligned_cols and shape.cols % FLAG_TILE_COLUMNS
        wide = wide[:1] if whole_rows else wide[:MOST_SPLITS]
    for cols in wide:
        if cols > pixels:
            continue
        for rows in splits(shape.rows, row_align):
            if rows * cols <= pixels:
                yield 1, rows, cols
    whole = shape.rows * shape.cols
    if shape.images > 1:
        for images in splits(shape.images):
            if images > 1 and images * whole <= pixels:
                yield images, shape.rows, shape.cols


def candidates(shape: PassShape, config: HwConfig) -> Iterator[TiledPass]:
    """Yield the tiles of a pass that keep all limits of ``config``.

    Narrow tiles are tried only if no other ones keep them.
    """
    found = False
    for tiled in _candidates(shape, config, False):
        found = True
        yield tiled
    if not found:
        yield from _candidates(shape, config, True)


def _candidates(shape: PassShape, config: HwConfig, narrow: bool) -> Iterator[TiledPass]:
    """Yield the tiles that keep all limits; ``narrow`` as for :func:`grids`."""
    if shape.kind is Pass.WEIGHT_GRADIENT and not shape.lanes_take_blocks:
        # The drain keeps or drops kernel columns, never channel blocks.
        chunks = [c for c in range(shape.reduce, 0, -1) if shape.reduce % c == 0]
    else:
        chunks = splits(shape.reduce, LANES if shape.kind is Pass.WEIGHT_GRADIENT else 1)
    if shape.kind is Pass.WEIGHT_GRADIENT:
        # Two tiles of gradients stand in the ring: one is computed on while the next is loaded.
        pixels = config.s_ring_words // (2 * shape.spec.tile_blocks)
    else:
        # An accumulator group has a pixel per lane; every column phase has groups of its own.
        per = 1 if shape.single else LANES
        pixels = config.acc_tile_groups // shape.regions * per
    for images, rows, cols in grids(shape, pixels, narrow):
        found = 0
        for chunk in chunks:
            tiled = TiledPass(shape, Tile(images, rows, cols, chunk))
            if tiled.excess(config) is None:
                yield tiled
                # Chunks come largest first. Smaller ones only cost more sweeps and rows, so a few
                # of those that fit are enough.
                found += 1
                if found == 6:
                    break


LIGHT_TRAFFIC, HEAVY_TRAFFIC = 0.02, 1.0
"""What a cycle of the memory costs beside a cycle of the array: memory idle, or saturated."""


def best_tile(shape: PassShape, board: Board, traffic: float = LIGHT_TRAFFIC,
              between: bool = False) -> tuple[TiledPass, Cost]:
    """Return the tile with the fewest predicted cycles, and its cost.

    Args:
        shape: the pass.
        board: the board.
        traffic: weight of a memory cycle beside one of the array.
        between: the pass runs between the parts of a longer one (:meth:`Cost.key`).

    Raises:
        DoesNotFit: no tile fits; the text names layer, need and limit.
    """
    # Where a layer or a section stands changes no cycle: without it equal ones share a search.
    alike = replace(shape, spec=replace(shape.spec, index=0, name="", origin=None))
    found = _search(alike, board, traffic, between)
    if found is None:
        raise _refuse(shape, board.config)
    return TiledPass(shape, found[0]), found[1]


# Networks repeat their layers, and plans of one network are made several times.
@lru_cache(maxsize=1 << 12)
def _search(shape: PassShape, board: Board, traffic: float,
            between: bool) -> tuple[Tile, Cost] | None:
    """Try all candidates and return the best tile and its cost; None if there is no candidate."""
    best: tuple[Tile, Cost] | None = None
    least: tuple[float, int] | None = None
    for tiled in candidates(shape, board.config):
        cost = pass_cost(tiled, board)
        key = cost.key(traffic, between)
        if least is None or key < least:
            best, least = (tiled.tile, cost), key
    return best


def _refuse(shape: PassShape, config: HwConfig) -> DoesNotFit:
    """Return the error of a pass whose smallest tile breaks a limit, with that limit."""
    rows = min(shape.rows, 2 if shape.even_rows else 1)
    cols = min(shape.cols, FLAG_TILE_COLUMNS if shape.aligned_cols else 1)
    smallest = TiledPass(shape, Tile(1, rows, cols, 1))
    excess = smallest.excess(config)
    what, needed, there = excess if excess else ("pixels", rows * cols, 0)
    fix = ("use a smaller mini-batch, or a board with larger buffers" if shape.spec.dense
           else "use a smaller kernel, stride or width in this layer")
    return DoesNotFit(
        f"layer {shape.spec.name!r}, {shape.label}: {what} of its smallest tile",
        expected=f"at most {there} ({config.name})", found=needed, fix=fix)
