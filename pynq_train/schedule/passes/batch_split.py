"""Into how many parts the mini-batch is cut where array and vector unit work side by side.

More parts hide more of what the vector unit does for a layer, but each has its price. The array
takes every weight anew for each part, and a sweep of few pixels lasts as long as one of 36: of the
small maps at a network's end a part should have several images. The vector unit loses about 30
cycles per channel block and part, and where the memory is the limit there is nothing to hide.
Without branches every layer gets the number that the estimate of :func:`_span` likes best; networks
with branches have the most for all layers, whose parts belong together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from pynq_train.hw.boards import Board
from pynq_train.hw.words import BURST_BEATS, ceil_div
from pynq_train.schedule.passes.cost import BURST_CYCLES
from pynq_train.schedule.passes.geometry import input_gradient_shapes, output_shapes
from pynq_train.schedule.passes.tiling import HEAVY_TRAFFIC, best_tile
from pynq_train.schedule.passes.vector_order import image_parts
from pynq_train.schedule.specs.layout import MapLayout
from pynq_train.schedule.specs.spec import LayerSpec

MOST = 9
"""Parts forward: one is exposed, each costs descriptors."""
MOST_BACK = 4
"""Parts backward: all steps between two passes must find room in the engine."""
BLOCK_CYCLES = 29
"""Of the vector unit for a channel block, beside its words."""
START_CYCLES = 100
"""Of the vector unit for a descriptor."""
PASS_CYCLES = 200
"""Of the array for a descriptor, beside its steps."""
WAITING = 0.25
"""Share of the vector unit's time in the backward half for which the array waits: for the rest it
has weight gradients to do."""


@dataclass(frozen=True)
class BatchSplit:
    """Parts for each layer of a network.

    Attributes:
        forward: of the pass of a convolution; of a layer of the vector unit: of what reads it.
        arriving: parts in which the gradient of the layer's output comes.
        leaving: backward, parts of a convolution's pass; of a layer of the vector unit: of the
            pass behind it, which takes its gradient.
    """

    forward: tuple[int, ...]
    arriving: tuple[int, ...]
    leaving: tuple[int, ...]

    @classmethod
    def whole(cls, layers: int) -> BatchSplit:
        """No parts: every pass of ``layers`` layers takes the whole mini-batch."""
        return cls((1,) * layers, (1,) * layers, (1,) * layers)

    @property
    def most(self) -> int:
        """Parts of the layer with the most."""
        return max((*self.forward, *self.arriving, *self.leaving))


def choose_split(specs: Sequence[LayerSpec], sources: Sequence[tuple[int, ...]], board: Board
             ) -> BatchSplit:
    """Return the parts of each layer.

    Args:
        specs: the layers.
        sources: positions that each layer reads, -1 for the images.
        board: the board.
    """
    count, images = len(specs), specs[0].x.images
    # Without the vector unit there is nothing to hide.
    most, back = ((1, 1) if all(spec.on_array for spec in specs) else
                  (max(1, min(MOST, images)), max(1, min(MOST_BACK, images))))
    if any(wires != (index - 1,) for index, wires in enumerate(sources)):
        return BatchSplit((most,) * count, (back,) * count, (back,) * count)
    forward = {spec.index: _forward(specs, spec, most, board) for spec in specs if spec.on_array}
    backward = {spec.index: _backward(specs, spec, back, board) for spec in specs if spec.on_array}
    reader = _nearest([index in forward for index in range(count)])
    above = [reader[index + 1] if index + 1 < count else None for index in range(count)]
    below = [index if index in forward else None for index in range(count)]
    for index in range(1, count):
        if below[index] is None:
            below[index] = below[index - 1]

    def pick(parts: dict[int, int], place: int | None, other: int) -> int:
        return other if place is None else parts[place]

    return BatchSplit(tuple(pick(forward, place, most) for place in reader),
                 tuple(pick(backward, place, back) for place in above),
                 tuple(pick(backward, place, back) for place in below))


def _nearest(here: Sequence[bool]) -> list[int | None]:
    """Return the first position from each one on that is ``here``; None behind the last."""
    found: list[int | None] = []
    last: int | None = None
    for index in reversed(range(len(here))):
        last = index if here[index] else last
        found.append(last)
    return found[::-1]


def _forward(specs: Sequence[LayerSpec], spec: LayerSpec, most: int, board: Board) -> int:
    """Return the parts of a convolution's pass between what it reads and the sums behind it."""
    front = specs[spec.index - 1] if spec.index else None
    back = specs[spec.index + 1] if spec.index + 1 < len(specs) else None
    return _best(
        spec, most, board, False,
        _MapSweep(front.y, 2) if front is not None and not front.on_array else None,
        _MapSweep(back.x, 1) if back is not None and back.kind.normalises else None)


def _backward(specs: Sequence[LayerSpec], spec: LayerSpec, most: int, board: Board) -> int:
    """Return the parts of a convolution's backward pass; behind it stands what it reads."""
    front = specs[spec.index + 1] if spec.index + 1 < len(specs) else None
    back = specs[spec.index - 1] if spec.index else None
    return _best(
        spec, most, board, True,
        _MapSweep(front.x, 3) if front is not None and not front.on_array else None,
        _MapSweep(back.y, 2) if back is not None and back.kind.normalises else None)


@dataclass(frozen=True)
class _MapSweep:
    """One pass of the vector unit over a feature map.

    Attributes:
        layout: layout of the map.
        maps: how many maps of its size are read and written.
    """

    layout: MapLayout
    maps: int

    def cycles(self, images: int) -> int:
        """Return the cycles for ``images`` images, with flags, if the memory is not the limit."""
        words = self.layout.rows * self.layout.cols
        bursts = ceil_div(words, BURST_BEATS)
        plane = words + BURST_CYCLES * bursts + bursts + BURST_CYCLES
        return START_CYCLES + self.layout.blocks * (BLOCK_CYCLES + images * plane)

    @property
    def nbytes(self) -> int:
        """Bytes moved for the whole mini-batch."""
        return self.maps * self.layout.nbytes


def _best(spec: LayerSpec, most: int, board: Board, back: bool, before: _MapSweep | None,
          behind: _MapSweep | None) -> int:
    """Return the number of parts with the least cycles; of several the smallest."""
    if most == 1 or spec.dense or (back and not spec.backward):
        return 1    # nothing of it runs beside the vector unit
    moved = sum(sweep.nbytes for sweep in (before, behind) if sweep is not None)

    def cycles(parts: int) -> float:
        """Estimate for a number of parts."""
        counts = [count for _, count in image_parts(spec.x.images, parts, edge=not back)]
        costs = [_cost(spec, count, board, back) for count in counts]
        passes = [PASS_CYCLES + array for array, _ in costs]
        sweeps = [[0 if sweep is None else sweep.cycles(count) for count in counts]
                 for sweep in (before, behind)]
        span = _span(sweeps[0], passes, sweeps[1], len(counts) if back else 2)
        memory = moved / board.dram_bytes_per_cycle + sum(dram for _, dram in costs)
        busy = sum(passes)
        # Beside its own steps the array waits for what the vector unit or the memory need longer:
        # for all of it forward, for a share of it backward.
        return busy + (WAITING if back else 1.0) * (max(span, memory) - busy)

    return min(range(1, most + 1), key=cycles)


def _span(before: Sequence[int], passes: Sequence[int], behind: Sequence[int], ahead: int) -> int:
    """Return the cycles from the first sweep in front of a pass to the last one behind it.

    The vector unit takes its sweeps in the order of the program: ``ahead`` parts in front of the
    first pass, then one more in front of each, and behind each what the pass before it has made.

    Args:
        before: cycles of the vector unit in front of each part.
        passes: cycles of the array for each part.
        behind: cycles of the vector unit behind each part.
        ahead: parts that are prepared before the first pass.
    """
    vector = array = 0
    ready: list[int] = []
    ends: list[int] = []
    for part, cycles in enumerate(passes):
        for sweep in before[len(ready):part + ahead]:
            vector += sweep
            ready.append(vector)
        # Two units, two clocks: a pass starts when the array is free and its part is ready; a sweep
        # behind it when the vector unit is free and the pass is done.
        array = max(array, ready[part]) + cycles
        ends.append(array)
        if part:
            # The sweep behind a pass comes after the sweeps in front of the next one: the vector
            # unit has been given those already.
            vector = max(vector, ends[part - 1]) + behind[part - 1]
    return max(vector, array) + behind[-1]


def _cost(spec: LayerSpec, images: int, board: Board, back: bool) -> tuple[int, int]:
    """Return the cycles of the array, and of the memory, for a pass over ``images`` images."""
    return _shape_cost(replace(spec.part(0, images), index=0, name=""), board, back)


@lru_cache(maxsize=1 << 12)
def _shape_cost(spec: LayerSpec, board: Board, back: bool) -> tuple[int, int]:
    """Return the same; equal layers share the search."""
    shapes = [shape for own in spec.sections()
              for shape in (input_gradient_shapes(own) if back else output_shapes(own))]
    costs = [best_tile(shape, board, HEAVY_TRAFFIC)[1] for shape in shapes]
    return sum(cost.cycles for cost in costs), sum(cost.dram for cost in costs)
