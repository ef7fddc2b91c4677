"""Sets of bytes as sorted, disjoint intervals; affine loops as arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Spans:
    """A set of bytes: int64 ``starts`` and ``ends`` of maximal intervals, sorted."""

    starts: Array
    ends: Array

    @classmethod
    def of(cls, starts: Array, ends: Array) -> Spans:
        """Union of intervals in any order; empty ones are dropped."""
        keep = ends > starts
        starts, ends = starts[keep], ends[keep]
        if not len(starts):
            return cls(np.zeros(0, np.int64), np.zeros(0, np.int64))
        order = np.argsort(starts, kind="stable")
        starts, ends = starts[order], np.maximum.accumulate(ends[order])
        first = np.concatenate(([True], starts[1:] > ends[:-1]))
        last = np.concatenate((first[1:], [True]))
        return cls(starts[first], ends[last])

    @classmethod
    def one(cls, start: int, nbytes: int) -> Spans:
        """A single interval."""
        return cls.of(np.array([start], np.int64), np.array([start + nbytes], np.int64))

    @classmethod
    def union(cls, parts: Iterable[Spans]) -> Spans:
        """Union of sets."""
        every = list(parts)
        return cls.of(np.concatenate([p.starts for p in every]),
                      np.concatenate([p.ends for p in every]))

    def __bool__(self) -> bool:
        return len(self.starts) > 0

    @property
    def low(self) -> int:
        """First byte."""
        return int(self.starts[0])

    @property
    def high(self) -> int:
        """Byte behind the last."""
        return int(self.ends[-1])

    def meets(self, other: Spans) -> int | None:
        """First byte of ``other`` that is also in this set, or None."""
        if not self or not other:
            return None
        at = np.searchsorted(self.ends, other.starts, side="right")
        inside = at < len(self.starts)
        begin = np.maximum(self.starts[np.minimum(at, len(self.starts) - 1)], other.starts)
        hit = inside & (begin < other.ends)
        return int(begin[hit][0]) if hit.any() else None

    def missing(self, other: Spans) -> int | None:
        """First byte of ``other`` that is not in this set, or None."""
        if not other:
            return None
        if not self:
            return other.low
        at = np.maximum(np.searchsorted(self.starts, other.starts, side="right") - 1, 0)
        covered = (self.starts[at] <= other.starts) & (other.starts < self.ends[at])
        whole = covered & (other.ends <= self.ends[at])
        if whole.all():
            return None
        first = int(np.argmin(whole))
        return int(self.ends[at[first]]) if covered[first] else int(other.starts[first])


def strides_of(counts: Sequence[int], jumps: Sequence[int]) -> list[int]:
    """What an affine variable moves per index of a level, from its jump deltas."""
    back, result = 0, []
    for count, jump in zip(counts, jumps):
        stride = jump + back
        result.append(stride)
        back += (count - 1) * stride
    return result


def affine(start: int, counts: Sequence[int], strides: Sequence[int]) -> Array:
    """All values of an affine variable, level 0 fastest."""
    values = np.array([start], np.int64)
    for count, stride in zip(counts, strides):
        values = (np.arange(count, dtype=np.int64)[:, None] * stride + values).reshape(-1)
    return values


def distinct(start: int, counts: Sequence[int], strides: Sequence[int]) -> Array:
    """Sorted distinct values of an affine variable."""
    values = np.array([start], np.int64)
    for count, stride in zip(counts, strides):
        if stride and count > 1:
            values = np.unique(np.arange(count, dtype=np.int64)[:, None] * stride + values)
    return values


def unpair(value: int) -> int:
    """Position of a ternary pair; ValueError if it is none."""
    q, r = value >> 2, value & 3
    if r == 3:
        raise ValueError("a ternary pair has remainder 0..2, found 3")
    return 3 * (q - (1 << 14) if q >> 13 else q) + r
