"""Grouped convolutions as the array runs them: neighbouring groups joined to sections.

A section is a dense convolution of its own over whole channel blocks of input and output; weights
between the groups inside it are absent (master ``ABSENT_WEIGHT``, 16-bit code 0). Where a group has
as many inputs as outputs and that number divides a tile of the array, a section is one m tile and
one descriptor runs over all of them; else each section has descriptors of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import numpy as np

from pynq_train.arrays import Array
from pynq_train.hw.words import CHANNELS_PER_WORD, ceil_div


@dataclass(frozen=True)
class Groups:
    """The groups of a convolution and how they are joined to sections.

    Attributes:
        count: number of groups.
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
        """Return ``count`` groups joined for an array of ``m_tile`` output channels.

        Sections begin at whole channel blocks. Small groups are joined as long as their output
        channels fit one tile: each joined group adds useful columns to a tile that the array
        computes anyway.
        """
        if n == m and m_tile % m == 0:
            return cls(count, n, m, m_tile // m, tiled=True)
        # Fewest groups with which inputs and outputs fill whole blocks. It is 1, 2 or 4 for each of
        # the two, and the larger is a multiple of the smaller.
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
        """Number of sections."""
        return ceil_div(self.count, self.joined)

    def tiles(self, m_tile: int) -> int:
        """Return the number of tiles of ``m_tile`` output channels; sections share none."""
        full, rest = divmod(self.count, self.joined)
        return full * self.section_tiles(m_tile) + ceil_div(rest * self.m, m_tile)

    def section_tiles(self, m_tile: int) -> int:
        """Return the number of tiles of ``m_tile`` output channels of a whole section."""
        return ceil_div(self.section_m, m_tile)

    def part(self, section: int) -> Groups:
        """Return the groups of section ``section`` alone, as one section."""
        count = min(self.joined, self.count - section * self.joined)
        return Groups(count, self.n, self.m, count)

    def spread(self, values: Array, absent: int = 0) -> list[Array]:
        """Return the weights of each section as those of a dense convolution, of grouped ones.

        Args:
            values: ``W[m, n, kr, kc]``, weights of all groups with n input channels each, of any
                dtype.
            absent: the value that stands between groups.

        Returns:
            For each section ``W[section m, section n, kr, kc]``.
        """
        kernel, result = values.shape[2:], []
        for section in range(self.sections):
            part = self.part(section)
            own = values[section * self.section_m :][: part.section_m]
            dense = np.full((len(own), part.section_n, *kernel), absent, values.dtype)
            dense[part._places()] = own
            result.append(dense)
        return result

    def gather(self, sections: list[Array]) -> Array:
        """Return grouped weights ``W[m, n, kr, kc]`` of dense ones: the reverse of :meth:`spread`.

        The sections' channels may have padding behind them, which is dropped.
        """
        own = []
        for section, dense in enumerate(sections):
            part = self.part(section)
            own.append(dense[part._places()])
        return np.ascontiguousarray(np.concatenate(own))

    def _places(self) -> tuple[Array, Array]:
        """Return the index ``[m, n]`` of the existing weights of a section in its dense weights."""
        rows = np.arange(self.section_m)[:, None]
        return rows, rows // self.m * self.n + np.arange(self.n)


@dataclass(frozen=True)
class Offsets:
    """Where a piece of a layer begins: its number, and bytes in input, output and weights."""

    number: int
    x: int
    y: int
    weights: int


@dataclass(frozen=True)
class Origin:
    """Where a section begins in its layer: group, channel blocks of the maps, m tile."""

    group: int
    x_blocks: int
    y_blocks: int
    m_tiles: int
