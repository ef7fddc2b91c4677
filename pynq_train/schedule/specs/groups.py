"""Grouped convolutions as the array runs them: neighbouring groups joined to sections.

A section is a dense convolution of its own, over whole channel blocks of both maps; weights between
the groups inside it are absent. Where groups keep their number of channels and divide a tile of the
array, a section is one m tile and one descriptor runs over all of them; else each section has
descriptors of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import numpy as np

from pynq_train.arrays import Array
from pynq_train.hw.words import CHANNELS_PER_WORD, ceil_div


@dataclass(frozen=True)
class Groups:
    """The groups of a convolution.

    Attributes:
        count: groups.
        n: input channels of a group.
        m: output channels of a group.
        joined: groups of a section; the last section may have fewer.
        tiled: a section is one m tile, and a descriptor runs over all of them.
    """

    count: int
    n: int
    m: int
    joined: int
    tiled: bool = False

    @classmethod
    def of(cls, count: int, n: int, m: int, m_tile: int) -> Groups:
        """Join ``count`` groups for an array of ``m_tile`` output channels.

        Sections begin at whole channel blocks; small groups are joined as long as their output
        channels fit one tile.
        """
        if n == m and m_tile % m == 0:
            return cls(count, n, m, m_tile // m, tiled=True)
        # 1, 2 or 4: each is a multiple of the smaller ones.
        least = max(CHANNELS_PER_WORD // gcd(size, CHANNELS_PER_WORD) for size in (n, m))
        return cls(count, n, m, min(count, least * max(1, m_tile // (least * m))))

    @property
    def section_n(self) -> int:
        """Input channels of a section."""
        return self.joined * self.n

    @property
    def section_m(self) -> int:
        """Output channels of a section."""
        return self.joined * self.m

    @property
    def sections(self) -> int:
        """Sections."""
        return ceil_div(self.count, self.joined)

    def tiles(self, m_tile: int) -> int:
        """Tiles of output channels; each section has its own."""
        full, rest = divmod(self.count, self.joined)
        return full * self.section_tiles(m_tile) + ceil_div(rest * self.m, m_tile)

    def section_tiles(self, m_tile: int) -> int:
        """Tiles of output channels of a whole section."""
        return ceil_div(self.section_m, m_tile)

    def part(self, section: int) -> Groups:
        """The groups of one section."""
        count = min(self.joined, self.count - section * self.joined)
        return Groups(count, self.n, self.m, count)

    def spread(self, values: Array, absent: int = 0) -> list[Array]:
        """Weights of each section ``W[section m, section n, kr, kc]`` of ``W[m, n, kr, kc]``.

        Args:
            values: weights of all groups, n input channels each, of any dtype.
            absent: stands between groups.
        """
        kernel, result = values.shape[2], []
        for section in range(self.sections):
            part = self.part(section)
            own = values[section * self.section_m :][: part.section_m]
            dense = np.full((len(own), part.section_n, kernel, kernel), absent, values.dtype)
            dense[part._places()] = own
            result.append(dense)
        return result

    def gather(self, sections: list[Array]) -> Array:
        """Undo :meth:`spread`; sections may have padding behind their channels."""
        own = []
        for section, dense in enumerate(sections):
            part = self.part(section)
            own.append(dense[part._places()])
        return np.ascontiguousarray(np.concatenate(own))

    def _places(self) -> tuple[Array, Array]:
        """Index of the weights of one section in its dense ones: ``[m, n]``."""
        rows = np.arange(self.section_m)[:, None]
        return rows, rows // self.m * self.n + np.arange(self.n)


@dataclass(frozen=True)
class Origin:
    """Where a section begins in its layer: group, channel blocks of the maps, m tile."""

    group: int
    x_blocks: int
    y_blocks: int
    m_tiles: int
