"""Curves: tables of straight lines that the vector unit looks up (``docs/numerics.md`` 11)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pynq_train.arrays import Array
from pynq_train.backends.golden.memory import ArenaViews
from pynq_train.hw.layouts import SEGMENT
from pynq_train.hw.words import WORD_BYTES


@dataclass(frozen=True)
class Segments:
    """The table of a curve for maps of one exponent.

    Attributes:
        slopes: int64 ``[segment]``; those of negative codes stand behind the others.
        offsets: likewise.
        width: binary logarithm of the codes of a segment.
    """

    slopes: Array
    offsets: Array
    width: int

    @classmethod
    def read(cls, memory: ArenaViews, offset: int, log: int, number: int) -> Segments:
        """Return one of the tables of a curve.

        Args:
            memory: the arena.
            offset: byte offset of table 0.
            log: binary logarithm of the segments of a table.
            number: of the table.
        """
        count = 1 << log
        words = memory.view("the segments", offset + number * count * WORD_BYTES, (count,),
                            np.int64)
        slopes, offsets, widths = (SEGMENT.at(name).extract(words) for name in ("a", "c", "width"))
        return cls(slopes, offsets, int(widths[-1]))

    def at(self, codes: Array) -> tuple[Array, Array]:
        """Return slope and offset of the segment of each code; codes outside have the last one."""
        half = len(self.slopes) // 2
        index = np.clip(codes >> self.width, -half, half - 1)
        return self.slopes[index], self.offsets[index]
