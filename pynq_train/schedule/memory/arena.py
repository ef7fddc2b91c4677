"""The arena: every tensor of a network, of its mini-batch and of its programs, by symbol.

All offsets are in bytes from the arena's beginning.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from pynq_train.errors import DoesNotFit, UnknownName
from pynq_train.hw.words import TENSOR_ALIGN_BYTES, round_up
from pynq_train.program.program import Region

SHARED = "shared map"
"""Kind of a region in which feature maps and gradient maps take turns."""


@dataclass(frozen=True)
class MemoryMap:
    """All regions of an arena, in the order of their offsets.

    Attributes:
        regions: regions by symbol; they are disjoint.
        nbytes: bytes of the arena.
        shared: by symbol of a tensor: the region in which it lives at one time, other tensors at
            other times.
        views: by symbol of a tensor view: its span, gaps between its images included. It is a part
            of another tensor, or stands beside others in a region.
    """

    regions: Mapping[str, Region]
    nbytes: int
    shared: Mapping[str, str] = field(default_factory=dict)
    views: Mapping[str, Region] = field(default_factory=dict)

    def __getitem__(self, symbol: str) -> Region:
        """Return the region or span of a symbol.

        Raises:
            UnknownName: there is no such symbol; the text lists all.
        """
        if symbol not in self:
            raise UnknownName.among("symbol", symbol, (*self.regions, *self.shared, *self.views))
        if symbol in self.views:
            return self.views[symbol]
        return self.regions[self.shared.get(symbol, symbol)]

    def __contains__(self, symbol: object) -> bool:
        """Return whether a region, a shared tensor or a tensor view has this symbol."""
        return symbol in self.regions or symbol in self.shared or symbol in self.views

    def __iter__(self) -> Iterator[Region]:
        """Return an iterator over the regions; shared tensors and tensor views have none."""
        return iter(self.regions.values())

    def offset(self, symbol: str) -> int:
        """Return the byte offset of a symbol, 0 if there is none."""
        return self[symbol].offset if symbol in self else 0

    def only(self, symbols: Collection[str]) -> MemoryMap:
        """Return an arena with the regions in which some tensors stand, closed up.

        Args:
            symbols: the tensors; those that are not here are left out. Whatever shares a region
                with one of them stays.
        """
        wanted = {self.shared.get(symbol, symbol) for symbol in symbols}
        wanted |= {self._holder(view).symbol for symbol, view in self.views.items()
                   if symbol in wanted}
        moved: dict[str, Region] = {}
        end = 0
        for region in self:
            if region.symbol in wanted:
                moved[region.symbol] = replace(region, offset=end)
                end = round_up(end + max(region.nbytes, 1), TENSOR_ALIGN_BYTES)
        views = {}
        for symbol, view in self.views.items():
            holder = self._holder(view)
            if holder.symbol in moved:
                shift = moved[holder.symbol].offset - holder.offset
                views[symbol] = replace(view, offset=view.offset + shift)
        shared = {symbol: region for symbol, region in self.shared.items() if region in moved}
        return MemoryMap(MappingProxyType(moved), end, MappingProxyType(shared),
                         MappingProxyType(views))

    def kinds(self, kinds: Collection[str], other: bool = False) -> MemoryMap:
        """Return an arena with the regions of some kinds, closed up; ``other``: all but these."""
        return self.only({one.symbol for one in self if (one.kind in kinds) is not other})

    def place_of(self, symbol: str) -> str:
        """Return the symbol of the region in which a tensor stands; itself if there is none."""
        view = self.views.get(symbol)
        return self.shared.get(symbol, symbol) if view is None else self._holder(view).symbol

    def sharing(self, slots: Sequence[Sequence[str]]) -> MemoryMap:
        """Return an arena in which regions share places, behind those that share none.

        Args:
            slots: regions of this arena that share one place each, in which nothing shares yet.
        """
        to, name_of = Allocator(), {}
        for number, slot in enumerate(slots):
            name_of.update(dict.fromkeys(slot, f"shared{number}"))
        for region in self:
            if region.symbol in name_of:
                to.share(region.symbol, name_of[region.symbol])
            else:
                to.add(region.symbol, region.nbytes, region.kind)
        for number, slot in enumerate(slots):
            some = [self.regions[one] for one in slot]
            kinds = {one.kind for one in some}
            to.add(f"shared{number}", max(one.nbytes for one in some),
                   kinds.pop() if len(kinds) == 1 else SHARED)
        for symbol, view in self.views.items():
            holder = self._holder(view)
            to.view(symbol, name_of.get(holder.symbol, holder.symbol),
                    view.offset - holder.offset, view.nbytes)
        return to.finish()

    def moved(self, by: int) -> MemoryMap:
        """Return this arena ``by`` bytes further on."""
        def moved(spans: Mapping[str, Region]) -> Mapping[str, Region]:
            return MappingProxyType({symbol: replace(span, offset=span.offset + by)
                                     for symbol, span in spans.items()})

        return MemoryMap(moved(self.regions), self.nbytes + by, self.shared, moved(self.views))

    def beside(self, other: MemoryMap) -> MemoryMap:
        """Return one arena with the regions of both, which are disjoint."""
        return MemoryMap(MappingProxyType({**self.regions, **other.regions}),
                         max(self.nbytes, other.nbytes),
                         MappingProxyType({**self.shared, **other.shared}),
                         MappingProxyType({**self.views, **other.views}))

    def _holder(self, view: Region) -> Region:
        """Return the region in which a tensor view stands."""
        return next(one for one in self if one.offset <= view.offset and view.end <= one.end)

    def bytes_by_kind(self) -> dict[str, int]:
        """Return the bytes of the regions of each kind."""
        result: dict[str, int] = {}
        for region in self:
            result[region.kind] = result.get(region.kind, 0) + region.nbytes
        return result


class Allocator:
    """Places regions one behind the other, each at a multiple of a burst."""

    def __init__(self) -> None:
        self._regions: dict[str, Region] = {}
        self._shared: dict[str, str] = {}
        self._views: dict[str, tuple[str, int, int]] = {}
        self._end = 0

    def add(self, symbol: str, nbytes: int, kind: str) -> None:
        """Append a region.

        Args:
            symbol: its symbol, which must be new.
            nbytes: its bytes.
            kind: what it holds, such as ``map`` or ``masters``.
        """
        self._check_new(symbol)
        self._regions[symbol] = Region(symbol, self._end, nbytes, kind)
        self._end = round_up(self._end + max(nbytes, 1), TENSOR_ALIGN_BYTES)

    def share(self, symbol: str, region: str) -> None:
        """Let a tensor live in a region that is, or will be, placed for several that take turns."""
        self._check_new(symbol)
        self._shared[symbol] = region

    def view(self, symbol: str, base: str, skip: int, nbytes: int) -> None:
        """Let a tensor be ``nbytes`` bytes of ``base``, ``skip`` bytes from its beginning.

        ``base`` is the symbol of a region or tensor view that is, or will be, placed.
        """
        self._check_new(symbol)
        self._views[symbol] = (base, skip, nbytes)

    def finish(self) -> MemoryMap:
        """Return the map of the arena.

        Raises:
            ValueError: a tensor view ends behind what it is a part of.
        """
        return MemoryMap(MappingProxyType(dict(self._regions)), self._end,
                         MappingProxyType(dict(self._shared)),
                         MappingProxyType({symbol: self._resolve(symbol)
                                           for symbol in self._views}))

    def _check_new(self, symbol: str) -> None:
        """Raise ValueError if a symbol is placed already."""
        if symbol in self._regions or symbol in self._shared or symbol in self._views:
            raise ValueError(f"symbol {symbol!r} is placed twice")

    def _resolve(self, symbol: str) -> Region:
        """Return the span of a symbol; tensor views may be parts of tensor views."""
        if symbol not in self._views:
            return self._regions[symbol]
        name, skip, nbytes = self._views[symbol]
        base = self._resolve(name)
        if skip + nbytes > base.nbytes:
            raise ValueError(f"view {symbol!r} ends behind {name!r}")
        return Region(symbol, base.offset + skip, nbytes, base.kind)


def check_fits(memory: MemoryMap, limit_bytes: int, board: str, batch: int) -> None:
    """Check that the arena fits the board's contiguous memory.

    Args:
        memory: the arena.
        limit_bytes: bytes of that memory.
        board: name of the board, for the text.
        batch: images of the mini-batch.

    Raises:
        DoesNotFit: it does not; the text says which mini-batch would fit, or what is largest.
    """
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


PER_IMAGE = frozenset({"map", "flags", "gradient map", SHARED, "labels"})
"""Kinds of regions whose bytes grow with the mini-batch."""
