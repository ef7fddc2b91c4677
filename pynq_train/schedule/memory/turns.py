"""Maps take turns: regions whose tensors are never needed at the same time share a place."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pynq_train.layers.backward_graph import DLOGITS
from pynq_train.program.program import Region
from pynq_train.schedule.memory.arena import MemoryMap
from pynq_train.schedule.memory.lives import Lives
from pynq_train.schedule.passes.descriptors import Descriptor
from pynq_train.schedule.passes.symbols import Network
from pynq_train.schedule.passes.usage import ZEROS
from pynq_train.schedule.specs.concat_buffer import JOIN

TURNS = (frozenset({"map", "gradient map"}), frozenset({"channel sums"}))
"""Kinds of regions that take turns with each other."""
_KEPT = frozenset({"input", "logits", DLOGITS, ZEROS, JOIN})
"""What the host writes or reads between two runs, what never changes, and what nobody reads."""


def take_turns(memory: MemoryMap, network: Network,
               programs: Sequence[tuple[Sequence[Descriptor], bool]],
               kept: Collection[str] = ()) -> MemoryMap:
    """Return an arena in which feature maps and gradient maps take turns, and so do channel sums.

    No program changes but in its addresses: nothing waits longer than with a place for each.

    Args:
        memory: the arena with a place for each tensor.
        network: the network.
        programs: the descriptors of each program that runs in the arena, and whether it is a
            training step.
        kept: tensors that share no place: the host reads or writes them between two runs.
    """
    kinds = frozenset().union(*TURNS)
    wanted = [one for one in memory if one.kind in kinds and one.symbol not in {*_KEPT, *kept}]
    lives = [Lives(network, descriptors, train, memory.place_of, [one.symbol for one in wanted])
             for descriptors, train in programs]
    # A region of which nothing is known here is left alone.
    wanted = [one for one in wanted if any(life.touched(one.symbol) for life in lives)]
    slots: list[list[str]] = []
    for some in TURNS:
        slots += _slots([one for one in wanted if one.kind in some], lives)
    return memory.sharing([slot for slot in slots if len(slot) > 1])


def _slots(regions: Sequence[Region], lives: Sequence[Lives]) -> list[list[str]]:
    """Return regions in groups that can share a place each, by their symbols."""
    slots: list[list[str]] = []
    # The largest first: what comes later finds room in what is there. Of one size in the order of
    # their places, in which neighbours are alive together and share with others.
    for region in sorted(regions, key=lambda one: -one.nbytes):
        for slot in slots:
            if all(life.apart(region.symbol, other) for other in slot for life in lives):
                slot.append(region.symbol)
                break
        else:
            slots.append([region.symbol])
    return slots
