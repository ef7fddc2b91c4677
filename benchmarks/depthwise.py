"""Depthwise layers of the zoo's small networks: counted cycles against what the paper allows.

    python benchmarks/depthwise.py --batch 16

Each pass of each depthwise layer runs on the RTL as a program of its own. The bound of a pass is
the largest of

* array: its mapping; a tile of 16 channels is a dense 16 x 16 convolution, of which a cycle does 3
  pixels x 4 input channels x 16 output channels,
* tile: the streamed map with its zero frame, one word per cycle,
* port: the same through its port of 8 bytes per cycle, a row at a time, 2 cycles lost per burst,
* memory: all tensors, moved once, at the board's usable bandwidth,
* update: the weights, with the zeros between groups, one per cycle.

Prints a Markdown table.
"""
# ruff: noqa: T201

from __future__ import annotations

import argparse

from pynq_train.bench.rtl import Rtl
from pynq_train.graph import layer_lists
from pynq_train.hw.boards import BOARDS, Board
from pynq_train.hw.commands import Pass
from pynq_train.hw.config import BURST_BEATS
from pynq_train.schedule.cost import BURST_CYCLES
from pynq_train.schedule.layout import ceil_div
from pynq_train.schedule.single import (
    PLACE,
    SHORT_NAME,
    SinglePass,
    layer_passes,
    single_plan,
    single_specs,
)

NETS = ("mobilenet-conv", "ds-cnn-conv")
MASTER_TRAFFIC = 18
"""Bytes per weight: master read and written (8 each), copy written (2)."""


def bounds(single: SinglePass, board: Board) -> dict[str, int]:
    """Least cycles of a pass by what limits it."""
    spec = single_specs(single.layer, single.batch, single.trained_input, board)[PLACE]
    pixels = spec.images * spec.out_rows * spec.out_cols
    blocks = spec.in_blocks if single.kind == Pass.FORWARD else spec.tile_blocks
    array = spec.m_tiles * spec.kernel**2 * blocks * ceil_div(pixels, 3)
    traffic = spec.x.nbytes + spec.y.nbytes + (spec.flags.nbytes if spec.flags else 0)
    traffic += spec.weight_bytes if single.kind != Pass.WEIGHT_GRADIENT else 0
    update = 0
    if single.kind == Pass.WEIGHT_GRADIENT:
        update = spec.weight_elements
        traffic += MASTER_TRAFFIC * spec.weight_elements
    tile = port = 0
    for geometry in single.geometries:
        shape, back = geometry.shape, single.kind == Pass.BACKWARD
        streamed = spec.y if back else spec.x
        maps = streamed.images * streamed.blocks
        rows, cols = ((size - 1) * shape.step + span for size, span in (
            (shape.rows, shape.span_rows), (shape.cols, shape.span_cols)))
        tile += maps * rows * cols
        flags = 1 + BURST_CYCLES if back and spec.flags is not None else 0
        bursts = ceil_div(streamed.cols, BURST_BEATS)
        port += maps * streamed.rows * (streamed.cols + BURST_CYCLES * bursts + flags)
    return {"array": array, "tile": tile, "port": port, "update": update,
            "memory": ceil_div(traffic, board.dram_bytes_per_cycle)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("--board", default="pynq-z2", choices=sorted(BOARDS))
    parser.add_argument("--batch", type=int, default=16)
    args = parser.parse_args()
    board = BOARDS[args.board]
    print("| net | layer | map | pass | bound | by | predicted | counted | of the bound | "
          "array use |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    with Rtl(board) as rtl:
        for net in NETS:
            passes = [single for layer in layer_passes(layer_lists.get(net), args.batch, board)
                      for single in layer if single.layer.groups > 1]
            rtl.open(max(single_plan(single).memory.nbytes for single in passes))
            seen: set[tuple[object, ...]] = set()
            total = [0, 0]
            for single in passes:
                layer = single.layer
                shape = (layer.in_shape, layer.stride, single.kind)
                if shape in seen:
                    continue
                seen.add(shape)
                counted = rtl.count(single)
                limits, cycles = bounds(single, board), counted.counts.cycles
                by = max(limits, key=lambda name: limits[name])
                total = [total[0] + limits[by], total[1] + cycles]
                use = single.macs / (board.config.multipliers * cycles)
                channels, rows, cols = layer.in_shape
                stride = f" / {layer.stride}" if layer.stride > 1 else ""
                print(f"| {net} | {layer.name} | {channels}x{rows}x{cols}{stride} | "
                      f"{SHORT_NAME[single.kind]} | {limits[by]} | {by} | "
                      f"{counted.prediction.cycles} | {cycles} | {limits[by] / cycles:.2f} | "
                      f"{use:.4f} |", flush=True)
            print(f"| {net} | these layers | | all | {total[0]} | | | {total[1]} | "
                  f"{total[0] / total[1]:.2f} | |")


if __name__ == "__main__":
    main()
