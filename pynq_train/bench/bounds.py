"""Least cycles of a pass on paper, by what limits it: meant for grouped (depthwise) layers.

The bound of a pass is the largest of

* array: its mapping; a tile of 16 channels, or a section of neighbouring groups, is a dense
  convolution, of which a cycle does 3 pixels x 4 input channels x 16 output channels,
* tile: the streamed map with its zero frame, one word per cycle,
* port: the same through its port of 8 bytes per cycle, a row at a time, 2 cycles lost per burst,
* memory: all tensors, moved once, at the board's usable bandwidth,
* update: the weights, with the zeros between groups, one per cycle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pynq_train.hw.boards import Board
from pynq_train.hw.commands import Pass
from pynq_train.hw.words import BURST_BEATS, LANES, ceil_div
from pynq_train.schedule.passes.cost import BURST_CYCLES, update_bytes
from pynq_train.schedule.passes.geometry import TiledPass
from pynq_train.schedule.specs.spec import LayerSpec


@dataclass(frozen=True)
class Bound:
    """Least cycles of a pass, and ``by``: what limits it."""

    cycles: int
    by: str


def bounds(spec: LayerSpec, kind: Pass, tiled_passes: Sequence[TiledPass], board: Board
           ) -> dict[str, int]:
    """Return the least cycles of a pass of a whole mini-batch, by what limits it.

    Args:
        spec: the layer.
        kind: the pass.
        tiled_passes: all descriptors of the pass: row phases, parts of the mini-batch.
        board: the board.
    """
    pixels = spec.images * spec.out_rows * spec.out_cols
    blocks = {Pass.FORWARD: spec.in_blocks, Pass.WEIGHT_GRADIENT: spec.nb,
              Pass.BACKWARD: ceil_div(spec.in_blocks, spec.tile_blocks) * spec.filled_blocks}[kind]
    array = spec.m_tiles * spec.kernel.area * blocks * ceil_div(pixels, LANES)
    traffic = spec.x.nbytes + spec.y.nbytes + (spec.flags.nbytes if spec.flags else 0)
    traffic += spec.weight_bytes if kind != Pass.WEIGHT_GRADIENT else 0
    update = 0
    if kind == Pass.WEIGHT_GRADIENT:
        update = spec.weight_elements
        traffic += update_bytes(momentum=True) * spec.weight_elements
    tile = port = 0
    back = kind == Pass.BACKWARD
    for tiled in tiled_passes:
        shape = tiled.shape
        own = shape.spec
        streamed = own.y if back else own.x
        # A slice of a weight gradient streams the channels of its own tiles.
        first = shape.m_first * own.tile_blocks if own.group else 0
        blocks = shape.outer * own.tile_blocks if own.group else streamed.blocks
        maps = shape.images * min(blocks, streamed.blocks - first)
        rows, cols = ((size - 1) * step + span for size, step, span in (
            (shape.rows, shape.step.rows, shape.span_rows),
            (shape.cols, shape.step.cols, shape.span_cols)))
        tile += maps * rows * cols
        flags = 1 + BURST_CYCLES if back and spec.flags is not None else 0
        bursts = ceil_div(streamed.cols, BURST_BEATS)
        port += maps * streamed.rows * (streamed.cols + BURST_CYCLES * bursts + flags)
    return {"array": array, "tile": tile, "port": port, "update": update,
            "memory": ceil_div(traffic, board.dram_bytes_per_cycle)}


def bound(spec: LayerSpec, kind: Pass, tiled_passes: Sequence[TiledPass], board: Board) -> Bound:
    """Return the bound of a pass that is the largest one."""
    limits = bounds(spec, kind, tiled_passes, board)
    by = max(limits, key=lambda name: limits[name])
    return Bound(limits[by], by)
