"""Strided regions: feature maps side by side, each with gaps between its images.

The images of such a map are as far apart as those of a wider map or concat buffer that is used
together with it (``specs.concat_buffer``). The gaps hold the images of other such maps.
"""

from __future__ import annotations

from pynq_train.schedule.memory.arena import Allocator
from pynq_train.schedule.specs.layout import MapLayout


class StridedRegions:
    """Places feature maps: in regions of their own, or beside others of like kind and stride."""

    def __init__(self, to: Allocator) -> None:
        self._to = to
        self._maps: dict[tuple[object, ...], list[tuple[str, MapLayout, str]]] = {}

    def add(self, symbol: str, layout: MapLayout, kind: str) -> None:
        """Place a feature map under a new symbol; one with gaps gets its place in :meth:`finish`.

        Args:
            symbol: the symbol.
            layout: the map's layout.
            kind: kind of the region; only maps of one kind share one.
        """
        if layout.images == 1 or layout.image_stride <= layout.blocks * layout.block_stride:
            self._to.add(symbol, layout.nbytes, kind)
            return
        key = (kind, layout.images, layout.image_stride, layout.block_stride)
        self._maps.setdefault(key, []).append((symbol, layout, kind))

    def finish(self) -> None:
        """Place the maps with gaps, the largest first: each in the first region with room."""
        used: dict[str, int] = {}
        for maps in self._maps.values():
            own: list[str] = []
            for symbol, layout, kind in sorted(maps, key=lambda one: -one[1].blocks):
                size, step = layout.blocks * layout.block_stride, layout.image_stride
                region = next((name for name in own if used[name] + size <= step), "")
                if not region:
                    region = f"frame{len(used)}"
                    own.append(region)
                    used[region] = 0
                    self._to.add(region, layout.images * step, kind)
                self._to.view(symbol, region, used[region], layout.extent)
                used[region] += size
