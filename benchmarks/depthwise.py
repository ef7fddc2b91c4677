"""Depthwise and grouped layers: counted cycles against what the paper allows.

    python benchmarks/depthwise.py --batch 16
    python benchmarks/depthwise.py --batch 2 --nets grouped-conv

Each pass of each such layer runs on the RTL as a program of its own. The bounds are those of
``pynq_train/bench/bounds.py``.

Prints a Markdown table.
"""
# ruff: noqa: T201

from __future__ import annotations

import argparse

from pynq_train.bench.bounds import bound
from pynq_train.bench.rtl import Rtl
from pynq_train.hw.boards import BOARDS
from pynq_train.layers import layer_lists
from pynq_train.schedule.standalone import (
    PLACE,
    SHORT_NAME,
    layer_passes,
    standalone_plan,
    standalone_specs,
)

NETS = ("mobilenet-conv", "ds-cnn-conv")
"""Those of the zoo's small networks."""


def main() -> None:
    """Count the layers that the command line asks for, and print them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("--board", default="pynq-z2", choices=sorted(BOARDS))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--nets", nargs="+", default=NETS, choices=layer_lists.names())
    args = parser.parse_args()
    board = BOARDS[args.board]
    print("| net | layer | map | pass | bound | by | predicted | counted | of the bound | "
          "array use |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    with Rtl(board) as rtl:
        for net in args.nets:
            passes = [standalone for layer in layer_passes(layer_lists.get(net), args.batch, board)
                      for standalone in layer if standalone.layer.groups > 1]
            rtl.open(max(standalone_plan(standalone).memory.nbytes for standalone in passes))
            seen: set[tuple[object, ...]] = set()
            total = [0, 0]
            for standalone in passes:
                layer = standalone.layer
                shape = (layer.in_shape, layer.out_shape, layer.stride, standalone.kind)
                if shape in seen:
                    continue
                seen.add(shape)
                counted = rtl.count(standalone)
                spec = standalone_specs(layer, standalone.batch, standalone.trained_input,
                                        board)[PLACE]
                least = bound(spec, standalone.kind, standalone.tiled_passes, board)
                cycles = counted.counts.cycles
                total = [total[0] + least.cycles, total[1] + cycles]
                use = standalone.macs / (board.config.multipliers * cycles)
                channels, rows, cols = layer.in_shape
                stride = f" / {layer.stride.side}" if layer.stride.area > 1 else ""
                print(f"| {net} | {layer.name} | {channels}x{rows}x{cols}{stride} | "
                      f"{SHORT_NAME[standalone.kind]} | {least.cycles} | {least.by} | "
                      f"{counted.prediction.cycles} | {cycles} | {least.cycles / cycles:.2f} | "
                      f"{use:.4f} |", flush=True)
            print(f"| {net} | these layers | | all | {total[0]} | | | {total[1]} | "
                  f"{total[0] / total[1]:.2f} | |")


if __name__ == "__main__":
    main()
