"""The arena: every tensor of a network, of its mini-batch and of its programs, by symbol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pynq_train.errors import DoesNotFit, UnknownName
from pynq_train.hw.words import TENSOR_ALIGN_BYTES, round_up
from pynq_train.program.program import Region


@dataclass(frozen=True)
class MemoryMap:
    """All regions of an arena, in order of their offsets.

    Attributes:
        regions: regions by symbol; they are disjoint.
        nbytes: bytes of the arena.
        shared: symbols of tensors that live in a region of another name, one after the other.
        views: spans of tensors that are a part of another tensor, or stand beside others in a
            region (gaps between their images included).
    """

    regions: Mapping[str, Region]
    nbytes: int
    shared: Mapping[str, str] = field(default_factory=dict)
    views: Mapping[str, Region] = field(default_factory=dict)

    def __getitem__(self, symbol: str) -> Region:
        """Return a region or view; :class:`UnknownName` lists the symbols."""
        if symbol not in self:
            raise UnknownName.among("symbol", symbol, (*self.regions, *self.shared, *self.views))
        if symbol in self.views:
            return self.views[symbol]
        return self.regions[self.shared.get(symbol, symbol)]

    def __contains__(self, symbol: object) -> bool:
        return symbol in self.regions or symbol in self.shared or symbol in self.views

    def __iter__(self) -> Iterator[Region]:
        return iter(self.regions.values())

    def offset(self, symbol: str) -> int:
        """Byte offset of a region, 0 if there is none."""
        return self[symbol].offset if symbol in self else 0

    def bytes_by_kind(self) -> dict[str, int]:
        """Bytes of each kind."""
        result: dict[str, int] = {}
        for region in self:
            result[region.kind] = result.get(region.kind, 0) + region.nbytes
        return result


class Allocator:
    """Places regions one behind the other, each aligned to a burst."""

    def __init__(self) -> None:
        self._regions: dict[str, Region] = {}
        self._shared: dict[str, str] = {}
        self._views: dict[str, tuple[str, int, int]] = {}
        self._end = 0

    def add(self, symbol: str, nbytes: int, kind: str) -> None:
        """Append a region; its symbol must be new."""
        self._check_new(symbol)
        self._regions[symbol] = Region(symbol, self._end, nbytes, kind)
        self._end = round_up(self._end + max(nbytes, 1), TENSOR_ALIGN_BYTES)

    def share(self, symbol: str, region: str) -> None:
        """Let a tensor live in a region that is, or will be, placed for several of them."""
        self._check_new(symbol)
        self._shared[symbol] = region

    def view(self, symbol: str, base: str, skip: int, nbytes: int) -> None:
        """Let a tensor be ``nbytes`` bytes of ``base``, ``skip`` bytes from its beginning.

        ``base`` is a region or view that is, or will be, placed.
        """
        self._check_new(symbol)
        self._views[symbol] = (base, skip, nbytes)

    def finish(self) -> MemoryMap:
        """Return the map."""
        return MemoryMap(MappingProxyType(dict(self._regions)), self._end,
                         MappingProxyType(dict(self._shared)),
                         MappingProxyType({symbol: self._resolve(symbol)
                                           for symbol in self._views}))

    def _check_new(self, symbol: str) -> None:
        if symbol in self._regions or symbol in self._shared or symbol in self._views:
            raise ValueError(f"symbol {symbol!r} is placed twice")

    def _resolve(self, symbol: str) -> Region:
        if symbol not in self._views:
            return self._regions[symbol]
        name, skip, nbytes = self._views[symbol]
        base = self._resolve(name)
        if skip + nbytes > base.nbytes:
            raise ValueError(f"view {symbol!r} ends behind {name!r}")
        return Region(symbol, base.offset + skip, nbytes, base.kind)


def check_fits(memory: MemoryMap, limit_bytes: int, board: str, batch: int) -> None:
    """Raise :class:`DoesNotFit` if the arena is larger than the board's contiguous memory."""
    if memory.nbytes <= limit_bytes:
        return
    per_batch = sum(size for kind, size in memory.bytes_by_kind().items() if kind in PER_IMAGE)
    fixed = memory.nbytes - per_batch
    fits = (limit_bytes - fixed) * batch // max(per_batch, 1)
    if fits >= 1 and batch > 1:
        fix = f"use a mini-batch of at most {min(fits, batch - 1)} images"
    else:
        largest = max(memory, key=lambda region: region.nbytes)
        fix = (f"use a smaller network (largest tensor: {largest.symbol}, {largest.nbytes} bytes) "
               "or a board with more memory")
    raise DoesNotFit(f"device memory of {board}",
                     expected=f"at most {limit_bytes} bytes",
                     found=f"{memory.nbytes} bytes for a mini-batch of {batch}", fix=fix)


PER_IMAGE = frozenset({"map", "flags", "gradient map", "labels"})
"""Kinds of regions that grow with the mini-batch."""
