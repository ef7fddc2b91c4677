"""Fewer images, row bands or channel tiles of a pass, where its cost is additive in their number.

The tile loop repeats the same work for every further image tile, row band or tile of output
channels: only the first and the last one differ (padding, a smaller rest, filling and emptying of
the engine). A reduced pass keeps tile sizes and those two and leaves out equal ones between them;
every counter then grows by the same amount per repetition. Where repetitions are short, phases of
memory and loaders drift from one to the next: runs as long as the budget allows average over that.
``tests/system/test_bench.py`` compares whole and reduced runs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property

from pynq_train.hw.commands import Pass
from pynq_train.layers.fuse import FusedLayer
from pynq_train.schedule.passes.geometry import TiledPass
from pynq_train.schedule.standalone import PLACE, StandalonePass, pass_shapes, standalone_specs

DEFAULT_CYCLES = 1_500_000
"""A pass is reduced when it is predicted to take more cycles."""


class Along(Enum):
    """What a reduced pass has fewer of."""

    IMAGES = "image tiles"
    ROWS = "row bands"
    CHANNELS = "channel tiles"


_LEAST = {Along.IMAGES: 2, Along.ROWS: 3, Along.CHANNELS: 2}
"""Fewest repetitions of the shorter run: first and last one, and between row bands a whole one."""


@dataclass(frozen=True)
class Reduction:
    """Two shorter runs that stand for a whole pass.

    Attributes:
        along: what is left out.
        short: repetitions of the shorter run (``long``: of the longer run).
        whole: repetitions of the whole pass.
    """

    along: Along
    short: int
    long: int
    whole: int

    def extrapolate(self, short: int, long: int) -> int:
        """Return a counter of the whole pass from its values in the shorter and the longer run."""
        return short + round((self.whole - self.short) * (long - short)
                             / (self.long - self.short))


class _SplitRows(TiledPass):
    """A tiled pass whose stored rows are written one by one, as in a map of more rows.

    Whether the store unit may write a tile's rows as one run depends on the rows of the whole map:
    with fewer of them it might, and the reduced pass would be faster.
    """

    @cached_property
    def merged_rows(self) -> bool:
        return False


def repetitions(standalone: StandalonePass, along: Along) -> int:
    """Return the repetitions of a pass along a direction; 1 if its cost is not additive there."""
    tiled_passes = standalone.tiled_passes
    if along == Along.IMAGES:
        counts = {(g.image_tiles, g.tile.images) for g in tiled_passes}
    elif along == Along.ROWS:
        counts = {(g.row_tiles, g.tile.rows) for g in tiled_passes}
    else:
        # An X tile that stays for all channel tiles of a pixel tile is loaded behind them: fewer
        # of them hide less of the load.
        hidden = any(g.shape.kind != Pass.WEIGHT_GRADIENT and g.chunks == 1
                     and g.image_tiles * g.row_tiles * g.col_tiles > 1 for g in tiled_passes)
        dense_input = standalone.layer.kind.fully_connected and standalone.kind == Pass.BACKWARD
        if hidden or dense_input or standalone.layer.groups > 1:
            return 1
        counts = {(g.shape.outer, g.shape.spec.m_tile) for g in tiled_passes}
    return counts.pop()[0] if len(counts) == 1 else 1


def reduced(standalone: StandalonePass, along: Along, count: int) -> StandalonePass:
    """Return the pass with ``count`` repetitions along a direction and the same tiles.

    Raises:
        ValueError: it would not repeat what the whole pass does.
    """
    least, whole = _LEAST[along], repetitions(standalone, along)
    if not least <= count <= whole:
        raise ValueError(f"{standalone.name}: expected {least}..{whole} {along.value}, "
                         f"found {count}")
    left_out, layer, batch = whole - count, standalone.layer, standalone.batch
    first = standalone.tiled_passes[0]
    if along == Along.IMAGES:
        batch -= left_out * first.tile.images
    elif along == Along.ROWS:
        layer = _fewer_rows(layer, left_out * first.tile.rows)
    else:
        layer = _fewer_channels(layer, left_out * standalone.board.config.tm,
                                inputs=standalone.kind == Pass.BACKWARD)
    spec = standalone_specs(layer, batch, standalone.trained_input, standalone.board)[PLACE]
    shapes = pass_shapes(spec, standalone.kind)
    descriptors = []
    for descriptor, shape in zip(standalone.descriptors, shapes):
        old = descriptor.tiled
        assert old is not None
        new = TiledPass(shape, old.tile)
        if new.merged_rows and not old.merged_rows:
            new = _SplitRows(shape, old.tile)
        if _structure(new) != _structure(old):
            raise ValueError(f"{standalone.name}: {count} {along.value} have other tiles than "
                             f"{whole}")
        descriptors.append(replace(descriptor, tiled=new))
    return replace(standalone, layer=layer, batch=batch, descriptors=tuple(descriptors))


def _structure(geo: TiledPass) -> tuple[object, ...]:
    """Return what every tile of a tiled pass has in common; if equal, tiles do equal work."""
    return (geo.tile, geo.x_rows, geo.x_cols, geo.row_pitch, geo.image_pitch, geo.block_pitch,
            geo.x_words, geo.groups, geo.acc_groups, geo.stage_words, geo.flag_words, geo.halo,
            geo.chunks, geo.col_tiles, geo.merged_rows, geo.shape.taps, geo.shape.row0,
            geo.shape.col0, geo.shape.rows % geo.tile.rows, geo.shape.images % geo.tile.images)


def _fewer_rows(layer: FusedLayer, rows: int) -> FusedLayer:
    """Return a layer with ``rows`` fewer rows of output before pooling."""
    def cut(shape: tuple[int, int, int], less: int) -> tuple[int, int, int]:
        return shape[0], shape[1] - less, shape[2]

    return replace(layer, in_shape=cut(layer.in_shape, rows * layer.stride.rows),
                   out_shape_before_pool=cut(layer.out_shape_before_pool, rows),
                   out_shape=cut(layer.out_shape, rows // 2 if layer.pool else rows))


def _fewer_channels(layer: FusedLayer, channels: int, inputs: bool) -> FusedLayer:
    """Return a layer with ``channels`` fewer output channels, or input channels."""
    def cut(shape: tuple[int, int, int]) -> tuple[int, int, int]:
        return shape[0] - channels, shape[1], shape[2]

    if inputs:
        return replace(layer, in_shape=cut(layer.in_shape))
    return replace(layer, out_shape_before_pool=cut(layer.out_shape_before_pool),
                   out_shape=cut(layer.out_shape))


def choose(standalone: StandalonePass, most_cycles: int) -> Reduction | None:
    """Return the reduction that simulates the fewest cycles, None if the whole pass should run.

    Args:
        standalone: the pass.
        most_cycles: a pass of at most so many predicted cycles runs whole; both shorter runs
            together take about as many where the direction allows.
    """
    total = standalone.busiest_unit_cycles
    best: tuple[int, Reduction] | None = None
    for along in Along if total > most_cycles else ():
        whole, least = repetitions(standalone, along), _LEAST[along]
        # Two runs, the longer one twice as long: together about ``most_cycles``.
        short = max(least, most_cycles * whole // (3 * total))
        found = Reduction(along, short, max(short + 2, 2 * short), whole)
        # Of several directions the one that simulates least.
        cycles = total * (found.short + found.long) // whole
        if cycles < total and (best is None or cycles < best[0]):
            best = cycles, found
    return best[1] if best else None
