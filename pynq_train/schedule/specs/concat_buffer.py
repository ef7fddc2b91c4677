"""Concat buffers: where in them the outputs of layers stand, and how far apart images then are.

A source of a concatenation writes its channel blocks straight into the concat buffer. So its images
are as far apart as those of the buffer, and so are those of all feature maps that the vector unit
takes together with it: a VECTOR descriptor has one byte distance from image to image for all of its
maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pynq_train.hw.words import CHANNELS_PER_WORD, ceil_div
from pynq_train.layers.fuse import FusedLayer
from pynq_train.layers.kinds import Kind
from pynq_train.schedule.specs.layout import MapLayout

JOIN = "join"
"""Symbol of the scratch sums of barrier descriptors (:func:`barriers_of`); nobody reads them."""


@dataclass(frozen=True)
class ConcatView:
    """Place of a layer's output in a concat buffer.

    Attributes:
        holder: position of the concatenation whose buffer holds the output.
        block: channel block of that buffer at which the output begins.
    """

    holder: int
    block: int


def concat_views(layers: Sequence[FusedLayer]) -> dict[int, ConcatView]:
    """Return the places of all layer outputs in concat buffers, by the layer's position."""
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
    """Return, for each layer, the channel blocks from one image of its output to the next.

    That is more than the output has itself where it must keep in step with a wider map: gaps remain
    between its images. Maps that some descriptor reads or writes together form a set, and the
    widest one decides for all of it. ``group`` holds these sets as trees: each member points
    towards the one that stands for its set.
    """
    group = list(range(len(layers)))

    def find(place: int) -> int:
        """Return the layer that stands for the set of a layer."""
        while group[place] != place:
            place = group[place]
        return place

    for at, layer in enumerate(layers):
        if layer.kind.wordwise:
            for place in layer.sources[:1] if layer.kind.scales else layer.sources:
                if place >= 0:
                    group[find(place)] = find(at)
    own = [ceil_div(layer.out_channels, CHANNELS_PER_WORD) for layer in layers]
    most: dict[int, int] = {}
    for at, blocks in enumerate(own):
        most[find(at)] = max(most.get(find(at), 0), blocks)
    return tuple(most[find(at)] for at in range(len(layers)))


def barriers_of(kinds: Sequence[Kind], sources: Sequence[tuple[int, ...]]) -> frozenset[int]:
    """Return the positions of the concatenations that need a barrier descriptor (CONCAT_BARRIER).

    These are read by the array or by softmax while both array and vector unit write to them. A unit
    can wait for one semaphore only. So a small descriptor of the vector unit waits for the array's
    sources, and the reader waits for that descriptor: behind it both kinds of sources are complete.

    Args:
        kinds: what each layer does.
        sources: positions that each layer reads, -1 for the images.
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
                # Behind the barrier one semaphore, that of the vector unit, stands for all sources.
                # True: array.
                units = frozenset({False})
        writers.append(units)
    return frozenset(found)


def block_offset(layout: MapLayout, slot: ConcatView) -> int:
    """Return the bytes from the beginning of a concat buffer to the output placed at ``slot``.

    ``layout``: of the buffer or of the output; both have the same bytes per channel block.
    """
    return slot.block * layout.block_stride
