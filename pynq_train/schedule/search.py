"""Design-space search: which array and buffers a board's budget should be spent on.

``python -m pynq_train.schedule.search`` prints the table of docs/configurations.md. For each board
every buffer is varied around the board's configuration, for both array widths; what does not fit
the DSPs and block memories of the budget is left out. A configuration is judged by the predicted
cycles of the passes of a mix of networks. The mean is geometric, so that a network counts by the
factor that it gains or loses and not by its size.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import exp, log
from typing import Any

from pynq_train.errors import DoesNotFit
from pynq_train.graph import zoo
from pynq_train.hw.boards import BOARDS, Board
from pynq_train.hw.config import HwConfig
from pynq_train.hw.resources import resources
from pynq_train.layers import fuse, layer_lists
from pynq_train.layers.fuse import FusedLayer
from pynq_train.schedule.standalone import layer_passes

ARRAY_WIDTHS = (16, 32)
"""Output lanes of the array (``HwConfig.tm``)."""
DEPTHS: dict[str, tuple[int, ...]] = {
    "x_bank_words": (2048, 4096, 8192),
    "acc_groups": (256, 512, 1024),
    "s_ring_words": (1024, 2048, 4096),
    "stage_words": (4096, 8192, 16384),
    "grad_words": (4096, 8192, 16384, 32768),
}
"""Buffers that are varied, and the depths that are tried: in words, ``acc_groups`` in groups."""
MIX = (("1x", 32), ("lenet5", 32), ("resnet20-conv", 16), ("alexnet-conv", 16))
"""Networks and mini-batches by which a configuration is judged."""


@dataclass(frozen=True)
class Candidate:
    """A configuration, the resources that it takes and how it is judged.

    Attributes:
        config: the configuration.
        dsp: DSPs.
        bram36: block memories, in units of RAMB36.
        score: geometric mean over :data:`MIX` of the predicted cycles per image, in thousands; less
            is better.
    """

    config: HwConfig
    dsp: int
    bram36: float
    score: float


def fits(config: HwConfig, board: Board) -> bool:
    """Return whether a configuration's DSPs and block memories are within the board's budget."""
    taken = resources(config)
    return taken.dsp <= board.budget.dsp and taken.bram36 <= board.budget.bram36


def variants(config: HwConfig) -> Iterator[HwConfig]:
    """Yield both array widths, each as it is and with one buffer at a time varied."""
    for width in ARRAY_WIDTHS:
        wide = replace(config, tm=width)
        yield wide
        for name, depths in DEPTHS.items():
            for depth in depths:
                if depth != getattr(config, name):
                    change: dict[str, Any] = {name: depth}
                    yield replace(wide, **change)


def score(config: HwConfig, board: Board) -> float:
    """Return the geometric mean over :data:`MIX` of the predicted thousands of cycles per image.

    Raises:
        DoesNotFit: a network has a pass for which no tile fits the buffers.
    """
    other = replace(board, config=config)
    total = 0.0
    for name, batch in MIX:
        cycles = sum(standalone.busiest_unit_cycles
                     for passes in layer_passes(_layers(name), batch, other)
                     for standalone in passes)
        total += log(cycles / batch / 1000)
    return exp(total / len(MIX))


def _layers(name: str) -> tuple[FusedLayer, ...]:
    """Return the layers of a layer list or, if no list has that name, of a network of the zoo."""
    return layer_lists.get(name) if name in layer_lists.names() else fuse(zoo.get(name))


def search(board: Board) -> list[Candidate]:
    """Return all candidates that fit a board, best first."""
    found = []
    for config in variants(board.config):
        if not fits(config, board):
            continue
        taken = resources(config)
        try:
            found.append(Candidate(config, taken.dsp, taken.bram36, score(config, board)))
        except DoesNotFit:
            continue
    # Scores that differ by less than a digit of the table are equal: then the smaller one is
    # better.
    return sorted(found, key=lambda c: (round(c.score, 1), c.bram36))


def table(board: Board, best: int = 6) -> str:
    """Return the best candidates of a board as a table, the chosen configuration marked."""
    lines = [f"{board.name}: {board.budget.dsp} DSP, {board.budget.bram36} BRAM36",
             f"{'tm':>4}" + "".join(f"{name:>14}" for name in DEPTHS)
             + f"{'DSP':>6}{'BRAM36':>8}{'kcycles/image':>15}"]
    found = search(board)
    chosen = [c for c in found if c.config == board.config]
    for candidate in (*found[:best], *(c for c in chosen if c not in found[:best])):
        config = candidate.config
        lines.append(f"{config.tm:>4}" + "".join(f"{getattr(config, n):>14}" for n in DEPTHS)
                     + f"{candidate.dsp:>6}{candidate.bram36:>8}{candidate.score:>15.1f}"
                     + ("  <- chosen" if config == board.config else ""))
    return "\n".join(lines)


def main() -> None:
    """Print the tables of the boards that differ in part or budget."""
    for name in ("pynq-z2", "ultra96", "kv260", "zcu104"):
        sys.stdout.write(table(BOARDS[name]) + "\n\n")


if __name__ == "__main__":
    main()
