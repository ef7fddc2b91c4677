"""Where the layers of a network can be cut, and which maps cross there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pynq_train.errors import UnknownName
from pynq_train.graph.wiring import FROM_INPUT, INPUT
from pynq_train.hw.words import CHANNELS_PER_WORD, WORD_BYTES, ceil_div
from pynq_train.layers.fuse import FusedLayer
from pynq_train.schedule.plan import Plan


@dataclass(frozen=True)
class Cut:
    """A place between two layers, in the order in which they run.

    Attributes:
        position: number of layers in front of it.
        name: name of the layer in front of it.
        maps: names of the layers whose outputs are read behind it; ``input`` for the images.
        nbytes: bytes of these maps in device format, those of the whole mini-batch.
    """

    position: int
    name: str
    maps: tuple[str, ...]
    nbytes: int


def map_bytes(shape: Sequence[int], batch: int) -> int:
    """Return the bytes of a map ``(channels, rows, cols)`` in device format."""
    channels, rows, cols = shape
    return ceil_div(channels, CHANNELS_PER_WORD) * rows * cols * WORD_BYTES * batch


def cuts_of(plan: Plan) -> tuple[Cut, ...]:
    """Return all places where a plan's network can be cut, in order, for evaluations.

    A cut inside a residual block has both maps. A layer that nothing runs for in an evaluation, a
    dropout or a concatenation, has no cut behind it: it is the one before it.
    """
    runs = {descriptor.layer for descriptor in plan.evaluate}
    found = []
    for position in range(1, len(plan.layers)):
        if position - 1 not in runs:
            continue
        read = sorted({place for at in range(position, len(plan.layers)) if at in runs
                       for place in _made(plan, at) if place < position})
        maps = tuple(INPUT if place == FROM_INPUT else plan.layers[place].name for place in read)
        nbytes = sum(map_bytes(plan.layers[0].in_shape if place == FROM_INPUT
                               else plan.layers[place].out_shape, plan.batch) for place in read)
        found.append(Cut(position, plan.layers[position - 1].name, maps, nbytes))
    return tuple(found)


def find_cut(cuts: Sequence[Cut], name: str) -> Cut:
    """Return the cut behind a layer, or behind the last layer of a block: ``a1`` is ``a1.`` and
    more.

    Raises:
        UnknownName: there is none; the text lists all.
    """
    named = {own.name: own for own in cuts}
    if name in named:
        return named[name]
    for own in reversed(cuts):
        if own.name.startswith(f"{name}."):
            return own
    raise UnknownName.among("edge", name, (own.name for own in cuts))


def _made(plan: Plan, at: int) -> set[int]:
    """Return the layers whose outputs a layer reads; a concatenation makes nothing of its own."""
    found: set[int] = set()
    for place in plan.evaluation_sources[at]:
        if place != FROM_INPUT and plan.layers[place].kind.joins:
            found |= _made(plan, place)
        else:
            found.add(place)
    return found


def prefix(layers: Sequence[FusedLayer], cut: Cut) -> tuple[FusedLayer, ...]:
    """Return the layers in front of a cut."""
    return tuple(layers[:cut.position])
