"""Joined maps: where in them the outputs of layers stand, and how far apart images then are.

A source of a concatenation writes its channel blocks into the joined map. Its images are as far
apart as those of that map, and so are those of all maps that the vector unit takes together with
it: a descriptor has one step from image to image for all its maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pynq_train.hw.words import CHANNELS_PER_WORD, ceil_div
from pynq_train.layers.fuse import FusedLayer
from pynq_train.layers.kinds import Kind
from pynq_train.schedule.specs.layout import MapLayout

JOIN = "join"
"""Scratch sums of the descriptors that wait for the sources of a joined map."""


@dataclass(frozen=True)
class ConcatView:
    """Place of a layer's output: the concatenation that holds it, the first channel block there."""

    holder: int
    block: int


def concat_views(layers: Sequence[FusedLayer]) -> dict[int, ConcatView]:
    """Places of the layers whose outputs stand in a joined map, by their positions."""
    found: dict[int, ConcatView] = {}
    for at, layer in enumerate(layers):
        if not layer.kind.joins:
            continue
        block = 0
        for place in layer.sources:
            found[place] = ConcatView(at, block)
            block += ceil_div(layers[place].out_channels, CHANNELS_PER_WORD)
    return found


def image_pitch_blocks(layers: Sequence[FusedLayer]) -> tuple[int, ...]:
    """Channel blocks from image to image of each layer's output, gaps included."""
    group = list(range(len(layers)))

    def find(place: int) -> int:
        while group[place] != place:
            place = group[place]
        return place

    for at, layer in enumerate(layers):
        if layer.kind.wordwise:
            for place in layer.sources:
                if place >= 0:
                    group[find(place)] = find(at)
    own = [ceil_div(layer.out_channels, CHANNELS_PER_WORD) for layer in layers]
    most: dict[int, int] = {}
    for at, blocks in enumerate(own):
        most[find(at)] = max(most.get(find(at), 0), blocks)
    return tuple(most[find(at)] for at in range(len(layers)))


def barriers_of(kinds: Sequence[Kind], sources: Sequence[tuple[int, ...]]) -> frozenset[int]:
    """Concatenations that the array reads while array and vector unit write to them.

    A unit waits for one kind of descriptor: there a descriptor of the vector unit waits for the
    array's sources, and the reader for that.
    """
    read_by_array = {place for kind, places in zip(kinds, sources) if kind.on_array
                     for place in places}
    read_by_array.add(len(kinds) - 1)  # by the softmax unit, which waits likewise
    found: set[int] = set()
    writers: list[frozenset[bool]] = []
    for at, kind in enumerate(kinds):
        units = frozenset({kind.on_array})
        if kind.joins:
            units = frozenset().union(*(writers[place] for place in sources[at]))
            if len(units) > 1 and at in read_by_array:
                found.add(at)
                units = frozenset({False})
        writers.append(units)
    return frozenset(found)


def block_offset(layout: MapLayout, slot: ConcatView) -> int:
    """Bytes from the joined map to what stands at a place of it; ``layout``: of either."""
    return slot.block * layout.block_stride
