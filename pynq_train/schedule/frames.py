"""Frames: regions in which maps stand side by side whose images are further apart than large."""

from __future__ import annotations

from pynq_train.schedule.layout import MapLayout
from pynq_train.schedule.memory import Allocator


class Frames:
    """Places maps: in regions of their own, or in the gaps of others of their kind and step."""

    def __init__(self, to: Allocator) -> None:
        self._to = to
        self._used: dict[tuple[object, ...], dict[str, int]] = {}
        self._count = 0

    def add(self, symbol: str, layout: MapLayout, kind: str) -> None:
        """Place a map under a new symbol."""
        if layout.images == 1 or layout.image_stride <= layout.blocks * layout.block_stride:
            self._to.add(symbol, layout.nbytes, kind)
            return
        key = (kind, layout.images, layout.image_stride, layout.block_stride)
        used = self._used.setdefault(key, {})
        own = layout.blocks * layout.block_stride
        name = next((name for name, end in used.items() if end + own <= layout.image_stride), "")
        if not name:
            name = f"frame{self._count}"
            self._count += 1
            self._to.add(name, layout.images * layout.image_stride, kind)
        skip = used.get(name, 0)
        used[name] = skip + own
        self._to.view(symbol, name, skip, layout.extent)
