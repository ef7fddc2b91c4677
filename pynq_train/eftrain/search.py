"""Search for lanes and buffers: Algorithm 1 of the paper, and beyond it over the lanes as well.

The paper takes the most lanes that the DSPs allow. More lanes need more weight banks and pad more
channels, so that here every number of lanes is tried and the build with the fewest cycles wins: the
baseline is never worse than the paper's own choice under the same budget.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from pynq_train.eftrain.chips import Chip, DataType
from pynq_train.eftrain.design import BRAM36_BITS, Design, weight_words
from pynq_train.eftrain.latency import (
    PASSES,
    ConvShape,
    EfPass,
    EfTile,
    Timing,
    array_cycles,
    latency,
    source_words,
)
from pynq_train.eftrain.predict import conv_shape
from pynq_train.errors import BadInput, DoesNotFit
from pynq_train.layers.fuse import FusedLayer

DSP_SHARE = 0.82
"""Share of the DSPs for the kernel. The paper's rule is 0.80, its PYNQ-Z1 build takes 0.818."""
BRAM_SHARE = 0.775
"""Share of the block memories. The paper's rule is 0.75, its PYNQ-Z1 build takes 0.771."""


@dataclass(frozen=True)
class _Work:
    """One pass of one or more equal layers.

    Attributes:
        shape: their convolution.
        kind: the pass.
        count: how many layers.
    """

    shape: ConvShape
    kind: EfPass
    count: int


def search(layers: Sequence[FusedLayer], chip: Chip, dtype: DataType, batch: int,
           lanes: int | None = None, dense: bool = False, dsp_share: float = DSP_SHARE,
           bram_share: float = BRAM_SHARE) -> Design:
    """Return the build with the fewest predicted cycles for a network.

    Args:
        layers: fused layers in order; the first one has no backward pass.
        chip: the chip.
        dtype: type of all numbers.
        batch: images of the mini-batch.
        lanes: try this number of lanes only.
        dense: count fully connected layers too (see ``predict_layers``).
        dsp_share: share of the chip's DSPs that the kernel may take.
        bram_share: share of its block memories.

    Raises:
        BadInput: there is nothing to predict.
        DoesNotFit: no build holds a row of every map within the budget.
    """
    works = _works(layers, dense)
    if not works:
        raise BadInput("EF-Train's model", expected="at least one convolution", found="none",
                       fix="count fully connected layers: dense=True")
    most = math.isqrt(int(dsp_share * chip.dsp) // dtype.dsp_per_mac)
    budget = bram_share * chip.bram36
    found: tuple[int, Design] | None = None
    # The most lanes first: a good first find rules out most of the others by their least cycles.
    for count in range(most, 0, -1) if lanes is None else (lanes,) if lanes <= most else ():
        if found is not None and _least(works, count, batch) >= found[0]:
            continue  # not even with perfect overlap
        for design in _designs(works, chip, dtype, count, budget):
            cycles = _cycles(works, design, batch)
            if cycles is not None and (found is None or cycles < found[0]):
                found = cycles, design
    if found is None:
        raise DoesNotFit(f"EF-Train on {chip.name}", expected="room for a row of every map",
                         found=f"{int(dsp_share * chip.dsp)} DSPs and {budget:.0f} block memories",
                         fix="use fewer lanes, a smaller data type or a larger chip")
    return _trimmed(works, found[1], batch)


def _works(layers: Sequence[FusedLayer], dense: bool) -> tuple[_Work, ...]:
    """Return the passes of a training step, equal ones together; ``dense`` as in :func:`search`."""
    counts: dict[tuple[ConvShape, EfPass], int] = {}
    for index, layer in enumerate(layers):
        if layer.kind.fully_connected and not dense:
            continue
        for kind in PASSES:
            if index or kind != EfPass.BP:
                key = conv_shape(layer), kind
                counts[key] = counts.get(key, 0) + 1
    return tuple(_Work(shape, kind, count) for (shape, kind), count in counts.items())


def _least(works: Sequence[_Work], lanes: int, batch: int) -> int:
    """Return the cycles of the array alone: no build with these lanes takes fewer."""
    return batch * sum(w.count * -(-w.shape.m // lanes) * -(-w.shape.n // lanes)
                       * array_cycles(w.shape, w.kind, EfTile(lanes, *w.shape.produced(w.kind), 1))
                       for w in works)


def _designs(works: Sequence[_Work], chip: Chip, dtype: DataType, lanes: int,
             budget: float) -> list[Design]:
    """Return the builds that use the budget up.

    The depth of the weight banks is tried in steps of a block memory; the map buffers get the rest.
    Buffers smaller than they could be never help (:func:`_trimmed` takes away what is not used).
    """
    per_block = BRAM36_BITS // dtype.bits
    whole = max(weight_words(w.shape, w.kind, lanes,
                             w.shape.n if w.kind == EfPass.BP else w.shape.m) for w in works)
    designs = []
    for wei in (per_block // 2, *range(per_block, whole + 2 * per_block, per_block)):
        # Two halves of a bank per multiplier.
        left = budget - 2 * lanes**2 * wei / per_block
        halves = int(left / lanes)  # half blocks of a bank of both map buffers together
        for ifm, ofm in _splits(halves):
            designs.append(Design(chip, dtype, lanes, ifm * per_block // 2, ofm * per_block // 2,
                                  wei))
        if wei >= whole:
            break
    return designs


def _splits(halves: int) -> list[tuple[int, int]]:
    """Return the ways to share ``halves`` half block memories between the two map buffers.

    Each gets one half or whole ones: a bank of one and a half would take two.
    """
    sizes = [1, *range(2, halves, 2)]
    return [(ifm, max(size for size in sizes if size <= halves - ifm)) for ifm in sizes
            if halves - ifm >= 1]


def _cycles(works: Sequence[_Work], design: Design, batch: int) -> int | None:
    """Return the cycles of the mini-batch; None if a map or a tile of weights does not fit."""
    total = 0
    for work in works:
        held = design.on_chip(work.shape, work.kind)
        # What the buffers decide about a pass is only how many rows fit; the cycles for each number
        # of rows are the same for all builds with these lanes and weights, and are kept.
        best = _fewest(work.shape, work.kind, design.lanes, held, batch,
                       design.timing.words_per_cycle)
        rows = _most_rows(work.shape, work.kind, design) if held else 0
        if not rows:
            return None
        total += work.count * best[rows - 1]
    return total


@cache
def _fewest(shape: ConvShape, kind: EfPass, lanes: int, held: int, batch: int,
            words_per_cycle: int) -> tuple[int, ...]:
    """Return the fewest cycles of a pass with tiles of at most 1, 2, ... rows."""
    if not held:
        return ()
    rows, cols = shape.produced(kind)
    found: list[int] = []
    for count in range(1, rows + 1):
        cycles = latency(shape, kind, EfTile(lanes, count, cols, held), batch,
                         Timing(words_per_cycle))
        found.append(min(cycles, found[-1]) if found else cycles)
    return tuple(found)


def _most_rows(shape: ConvShape, kind: EfPass, design: Design) -> int:
    """Return the rows of the largest tile that the buffers hold, 0 if not one does."""
    rows, cols = shape.produced(kind)
    # Bisection: the words of a tile grow with its rows.
    low, high = 0, min(rows, design.ofm_words // cols)
    while low < high:
        middle = (low + high + 1) // 2
        if source_words(shape, kind, EfTile(design.lanes, middle, cols, 1)) <= design.ifm_words:
            low = middle
        else:
            high = middle - 1
    return low


def _trimmed(works: Sequence[_Work], design: Design, batch: int) -> Design:
    """Return the build without the block memories of each bank that save no cycles."""
    cycles, block = _cycles(works, design, batch), BRAM36_BITS // design.dtype.bits
    for buffer in ("wei_words", "ifm_words", "ofm_words"):
        while True:
            words = getattr(design, buffer)
            # A block memory halves once; larger banks lose whole ones.
            less = words // 2 if words <= block else words - block
            if words <= block // 2:
                break
            smaller = replace(design, **{buffer: less})
            if _cycles(works, smaller, batch) != cycles:
                break
            design = smaller
    return design
