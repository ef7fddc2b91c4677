"""Steps of the pooling pass: what it reads and writes from column to column.

``docs/engine.md`` 7 (Pooling) defines in which column a window is complete.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pynq_train.hw.pool import ARGMAX_PIXELS
from pynq_train.hw.words import BURST_BEATS, ceil_div
from pynq_train.program.program import Fields

ROW_CYCLES: Final = 4
"""Shortest time of a row in cycles."""


@dataclass(frozen=True)
class Stretch:
    """Some columns of a row, at most a burst of them.

    Attributes:
        cycles: cycles that they take when nothing waits.
        read: words that the descriptor has read, this stretch included.
        places: words of argmax indices that it has read or written.
        written: words of results that it has written.
    """

    cycles: int
    read: int
    places: int
    written: int


@dataclass(frozen=True)
class _Row:
    """One row that the pass goes through.

    Attributes:
        f: fields of the descriptor.
        window: a row of windows has its result (forward) or its gradient (backward) here.
        inside: the row lies in the feature map.
    """

    f: Fields
    window: bool
    inside: bool

    def windows(self, end: int) -> int:
        """Return how many windows have been met before column ``end``."""
        f = self.f
        if not self.window:
            return 0
        # Forward a window is met with its last column, backward with its first.
        first = 0 if f["p.p_back"] else f["p.p_kernel_cols"] - 1 - f["p.p_left"]
        return max(0, min(f["p.q_cols"], -(-(end - first) // f["p.p_stride_cols"])))

    def words(self, end: int) -> int:
        """Return how many words of the feature map have been met before column ``end``."""
        f = self.f
        if not self.inside:
            return 0
        return max(0, end - f["p.p_left"]) if f["p.p_back"] else min(end, f["p.p_cols"])


def _rows(f: Fields) -> Iterator[_Row]:
    """Yield the rows of a plane in order."""
    back, stride = f["p.p_back"], f["p.p_stride"]
    first = 0 if back else f["p.p_kernel"] - 1 - f["p.p_top"]
    for at in range(f["p.t_rows"]):
        number, off = divmod(at - first, stride)
        inside = at >= f["p.p_top"] if back else at < f["p.p_rows"]
        yield _Row(f, off == 0 and 0 <= number < f["p.q_rows"], inside)


def stretches(f: Fields) -> Iterator[Stretch]:
    """Yield all steps of a descriptor, at most a burst of columns at a time."""
    back, cols = f["p.p_back"], f["p.t_cols"]
    rows = list(_rows(f))
    plane = f["p.q_rows"] * f["p.q_cols"]
    plane_places = ceil_div(plane, ARGMAX_PIXELS)
    read = places = written = 0
    for _ in range(f["p.p_images"] * f["p.p_blocks"]):
        windows = 0
        for row in rows:
            for start in range(0, cols, BURST_BEATS):
                end = min(start + BURST_BEATS, cols)
                # Forward reads pixels and writes results, backward the other way round.
                met = row.windows(end) - row.windows(start)
                words = row.words(end) - row.words(start)
                windows += met
                read += met if back else words
                written += words if back else met
                cycles = end - start + (max(0, ROW_CYCLES - cols) if end == cols else 0)
                yield Stretch(cycles, read, places + ceil_div(windows, ARGMAX_PIXELS), written)
        places += plane_places


def runs(done: int, before: int, image: int) -> Iterator[int]:
    """Yield the sizes of the runs that leave, in words.

    Args:
        done: words that are there, since the start of the descriptor.
        before: words that have left.
        image: words of an image; images begin runs of their own, since they need not follow each
            other in memory.
    """
    while True:
        size = min(BURST_BEATS, image - before % image)
        if done - before < size:
            return
        before += size
        yield size
