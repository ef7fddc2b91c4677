"""Frames: regions in which maps stand side by side whose images are further apart than large."""

from __future__ import annotations

from pynq_train.schedule.memory.arena import Allocator
from pynq_train.schedule.specs.layout import MapLayout


class StridedRegions:
    """Places maps: in regions of their own, or beside others of their kind and step."""

    def __init__(self, to: Allocator) -> None:
        self._to = to
        self._maps: dict[tuple[object, ...], list[tuple[str, MapLayout, str]]] = {}

    def add(self, symbol: str, layout: MapLayout, kind: str) -> None:
        """Place a map under a new symbol; one with gaps gets its place in :meth:`finish`."""
        if layout.images == 1 or layout.image_stride <= layout.blocks * layout.block_stride:
            self._to.add(symbol, layout.nbytes, kind)
            return
        key = (kind, layout.images, layout.image_stride, layout.block_stride)
        self._maps.setdefault(key, []).append((symbol, layout, kind))

    def finish(self) -> None:
        """Place the maps with gaps, the largest first: each in the first frame with room."""
        used: dict[str, int] = {}
        for maps in self._maps.values():
            own: list[str] = []
            for symbol, layout, kind in sorted(maps, key=lambda one: -one[1].blocks):
                size, step = layout.blocks * layout.block_stride, layout.image_stride
                frame = next((name for name in own if used[name] + size <= step), "")
                if not frame:
                    frame = f"frame{len(used)}"
                    own.append(frame)
                    used[frame] = 0
                    self._to.add(frame, layout.images * step, kind)
                self._to.view(symbol, frame, used[frame], layout.extent)
                used[frame] += size
