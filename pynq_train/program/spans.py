"""Sets of bytes as sorted, disjoint intervals; affine loops as arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pynq_train.arrays import Array


@dataclass(frozen=True)
class Spans:
    """A set of bytes.

    Attributes:
        starts: first byte of each interval: int64 ``[interval]``, sorted.
        ends: byte behind each interval, likewise; intervals neither meet nor touch.
    """

    starts: Array
    ends: Array

    @classmethod
    def of(cls, starts: Array, ends: Array) -> Spans:
        """Return the union of intervals ``starts .. ends`` in any order; empty ones are dropped."""
        keep = ends > starts
        starts, ends = starts[keep], ends[keep]
        if not len(starts):
            return cls(np.zeros(0, np.int64), np.zeros(0, np.int64))
        order = np.argsort(starts, kind="stable")
        # Sorted by their starts, an interval begins a new one of the union if it starts behind
        # everything before it: the largest end so far, not the last one's.
        starts, ends = starts[order], np.maximum.accumulate(ends[order])
        first = np.concatenate(([True], starts[1:] > ends[:-1]))
        last = np.concatenate((first[1:], [True]))
        return cls(starts[first], ends[last])

    @classmethod
    def one(cls, start: int, nbytes: int) -> Spans:
        """Return one interval of ``nbytes`` bytes from ``start`` on."""
        return cls.of(np.array([start], np.int64), np.array([start + nbytes], np.int64))

    @classmethod
    def union(cls, parts: Iterable[Spans]) -> Spans:
        """Return the union of one or more sets."""
        every = list(parts)
        return cls.of(np.concatenate([p.starts for p in every]),
                      np.concatenate([p.ends for p in every]))

    def __bool__(self) -> bool:
        return len(self.starts) > 0

    @property
    def low(self) -> int:
        """First byte; the set is not empty."""
        return int(self.starts[0])

    @property
    def high(self) -> int:
        """Byte behind the last one; the set is not empty."""
        return int(self.ends[-1])

    def meets(self, other: Spans) -> int | None:
        """Return the first byte of ``other`` that is also in this set, or None."""
        if not self or not other:
            return None
        # The first interval of this set that ends behind the start of each one of ``other`` is the
        # only one that has to be looked at: it is the leftmost that may overlap.
        at = np.searchsorted(self.ends, other.starts, side="right")
        inside = at < len(self.starts)
        begin = np.maximum(self.starts[np.minimum(at, len(self.starts) - 1)], other.starts)
        hit = inside & (begin < other.ends)
        return int(begin[hit][0]) if hit.any() else None

    def missing(self, other: Spans) -> int | None:
        """Return the first byte of ``other`` that is not in this set, or None."""
        if not other:
            return None
        if not self:
            return other.low
        # Intervals of this set do not touch, so one of ``other`` is covered only if a single one
        # holds it: the last that starts no later.
        at = np.maximum(np.searchsorted(self.starts, other.starts, side="right") - 1, 0)
        covered = (self.starts[at] <= other.starts) & (other.starts < self.ends[at])
        whole = covered & (other.ends <= self.ends[at])
        if whole.all():
            return None
        first = int(np.argmin(whole))
        return int(self.ends[at[first]]) if covered[first] else int(other.starts[first])


def strides_of(counts: Sequence[int], jumps: Sequence[int]) -> list[int]:
    """Return what an affine variable moves per index of each level, from its jump deltas.

    A delta takes the inner levels' way back with it (``docs/engine.md`` 2); it is added again.
    """
    back, result = 0, []
    for count, jump in zip(counts, jumps):
        stride = jump + back
        result.append(stride)
        back += (count - 1) * stride
    return result


def affine(start: int, counts: Sequence[int], strides: Sequence[int]) -> Array:
    """Return all values of an affine variable, level 0 fastest: int64 ``[product of counts]``."""
    values = np.array([start], np.int64)
    for count, stride in zip(counts, strides):
        values = (np.arange(count, dtype=np.int64)[:, None] * stride + values).reshape(-1)
    return values


def distinct(start: int, counts: Sequence[int], strides: Sequence[int]) -> Array:
    """Return the distinct values of an affine variable, sorted: int64 ``[value]``."""
    values = np.array([start], np.int64)
    for count, stride in zip(counts, strides):
        # Made unique after every level, the array stays small also where the product of all counts
        # is not.
        if stride and count > 1:
            values = np.unique(np.arange(count, dtype=np.int64)[:, None] * stride + values)
    return values


def unpair(value: int) -> int:
    """Return the position 3q + r of a ternary pair ``{q[13:0], r[1:0]}``, q signed.

    Raises:
        ValueError: the remainder r is 3.
    """
    q, r = value >> 2, value & 3
    if r == 3:
        raise ValueError("a ternary pair has remainder 0..2, found 3")
    return 3 * (q - (1 << 14) if q >> 13 else q) + r
