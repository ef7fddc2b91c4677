"""Who had the cycles of a training step: shares of its descriptors that add up to the total.

The store unit stamps the end of every forward and backward pass; softmax leaves no stamp and is
charged with its predicted cycles. Descriptors of the array follow each other, so a pass is charged
with the time from the end before it to its own end, without what is stored when the array is at a
weight gradient already.

A weight gradient leaves no stamp of the array (its record is the update unit's, which works beside
the array), but the store unit starts a pass only when the drains in front of it are through: weight
gradients are charged with the time from the end before them to the start of the next pass, and
share it in proportion to their predicted cycles. The array is already at the next pass while their
last sums drain: a pass is never charged with less than its predicted cycles of the array before its
end.

What follows the last pass belongs to the weight gradients behind it, up to their predicted cycles,
and then to the update unit until its last record: each update that ends there is charged with the
time since the end of the one before. Updates that run beside passes cost nothing here.

Before a pass has its operands only the vector unit may be at work: of the time in front of what a
pass is predicted to need, from its first operands on, the vector unit's descriptors are charged
with what their stamps cover.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum


class Share(Enum):
    """What a descriptor's cycles count as."""

    FP = "fp"
    BP = "bp"
    WU = "wu"
    UPDATE = "update"
    VECTOR = "vector"
    OTHER = "other"


@dataclass(frozen=True)
class Stamped:
    """One descriptor with the stamps of its record.

    Attributes:
        share: FP and BP for passes, WU for weight gradients, UPDATE for updates by themselves,
            VECTOR for the vector unit, OTHER for the softmax.
        start: cycle in which the unit that writes the record started the descriptor.
        end: cycle in which it began the record; 0 if it leaves no stamps.
        weight: predicted cycles of the array from its first operands on, for passes up to the end
            (softmax: of its unit).
        tail: predicted cycles of a pass behind the array's last step: the array is at a weight
            gradient already.
    """

    share: Share
    start: int
    end: int
    weight: int
    tail: int = 0


@dataclass(frozen=True)
class Charge:
    """Cycles that a descriptor is charged with.

    A weight gradient may have two charges: WU for the array, UPDATE for the update unit behind it.

    Attributes:
        index: position of the descriptor; -1: none.
        share: what the cycles count as.
        cycles: how many.
    """

    index: int
    share: Share
    cycles: int


def attribute(stamped: Sequence[Stamped], total: int, apart: bool = True) -> tuple[Charge, ...]:
    """Return what each descriptor is charged with.

    Args:
        stamped: descriptors in program order.
        total: cycles of the run.
        apart: the vector unit is charged with what only it did before a pass; else the pass is.

    Returns:
        Charges whose cycles add up to ``total``; what belongs to no descriptor is charged as OTHER
        with index -1.
    """
    charges: list[Charge] = []
    waiting: list[int] = []
    vector = [(index, one.start, one.end) for index, one in enumerate(stamped)
              if apart and one.share == Share.VECTOR]
    now = 0
    for index, one in enumerate(stamped):
        if one.share == Share.WU:
            waiting.append(index)
        elif one.share not in (Share.UPDATE, Share.VECTOR):
            end = min(max(one.end or now + one.weight, now), total)
            start = max(min(one.start, end - one.weight), now) if waiting else now
            # The weight gradients in front take what lies between the last pass and this one.
            if waiting:
                # The array was at these weight gradients already while the last pass's results were
                # stored.
                now -= _cut(charges, stamped)
                alone = _alone(vector, now, start - sum(stamped[i].weight for i in waiting))
                charges += alone
                charges += _split(stamped, waiting, start - now - _cycles(alone))
            alone = _alone(vector, start, end - one.weight)
            charges += alone
            charges.append(Charge(index, one.share, end - start - _cycles(alone)))
            waiting, now = [], end
    if waiting:
        now -= _cut(charges, stamped)
    array = sum(stamped[i].weight for i in waiting)
    last = min(max((stamped[i].end for i in waiting), default=now), total)
    alone = _alone(vector, now, last - array)
    array = min(total - now - _cycles(alone), array)
    charges += alone
    charges += _split(stamped, waiting, array)
    now += array + _cycles(alone)
    behind = (i for i, one in enumerate(stamped)
              if one.share in (Share.WU, Share.UPDATE, Share.VECTOR))
    for index in sorted(behind, key=lambda i: stamped[i].end):
        end = min(max(stamped[index].end, now), total)
        if end > now:
            share = stamped[index].share
            charges.append(Charge(index, Share.UPDATE if share == Share.WU else share, end - now))
            now = end
    charges.append(Charge(-1, Share.OTHER, total - now))
    return tuple(charges)


def _alone(vector: Sequence[tuple[int, int, int]], first: int, end: int) -> list[Charge]:
    """Return charges for what the vector unit covers of the cycles ``first`` to ``end``.

    ``vector``: (index, start, end) of descriptors that follow each other.
    """
    charges = []
    for index, began, ended in vector:
        covered = min(ended, end) - max(began, first)
        if covered > 0:
            charges.append(Charge(index, Share.VECTOR, covered))
            first = max(first, ended)
    return charges


def _cut(charges: list[Charge], stamped: Sequence[Stamped]) -> int:
    """Take the tail off the pass that was charged last; return its cycles."""
    if not charges or charges[-1].index < 0:
        return 0
    last = charges.pop()
    tail = min(stamped[last.index].tail, last.cycles)
    charges.append(replace(last, cycles=last.cycles - tail))
    return tail


def _cycles(charges: Sequence[Charge]) -> int:
    """Return the sum of charges."""
    return sum(charge.cycles for charge in charges)


def _split(stamped: Sequence[Stamped], indices: Sequence[int], cycles: int) -> list[Charge]:
    """Return charges that share cycles among weight gradients in proportion to their weights."""
    charges, left = [], sum(stamped[i].weight for i in indices)
    for index in indices:
        weight = stamped[index].weight
        # Of what is left each time, so that rounding loses no cycle.
        own = cycles * weight // left if left else cycles
        charges.append(Charge(index, Share.WU, own))
        cycles, left = cycles - own, left - weight
    return charges
