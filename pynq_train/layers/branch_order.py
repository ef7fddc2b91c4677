"""The order in which the operations of a network with branches run.

Two branches that meet in a sum may run in any order. The shorter one stands in front of the last
convolution of the longer one: what follows it (statistics and coefficients of a normalisation) is
done beside that convolution, and the sum is part of the longer branch's last operation. The other
way round the array would wait for it.
"""

from __future__ import annotations

from collections.abc import Sequence

Place = int


def execution_order(sources: Sequence[Sequence[Place]], heavy: Sequence[bool]) -> tuple[Place, ...]:
    """Return the positions of all operations in the order in which they should run.

    Args:
        sources: positions that each operation reads, negative for the images; each reads only what
            stands before it.
        heavy: whether an operation keeps the array busy (convolutions).
    """
    ancestors: list[frozenset[Place]] = []
    for at, places in enumerate(sources):
        above = frozenset({at}).union(*(ancestors[place] for place in places if place >= 0))
        ancestors.append(above)
    order = list(range(len(sources)))
    for places in sources:
        if len(places) == 2 and min(places) >= 0:
            order = _shorter_first(order, sources, heavy, *(ancestors[place] for place in places))
    return tuple(order)


def _shorter_first(order: list[Place], sources: Sequence[Sequence[Place]], heavy: Sequence[bool],
                   one: frozenset[Place], other: frozenset[Place]) -> list[Place]:
    """Return the order with the shorter branch in front of the longer one's last convolution.

    Only what nobody else needs moves.

    Args:
        order: the order so far.
        sources: positions that each operation reads.
        heavy: whether an operation keeps the array busy.
        one: operations from which one of the two maps of a sum comes, itself included.
        other: the same for the other map.
    """
    shorter, longer = sorted((one - other, other - one), key=lambda own: _weight(own, heavy))
    last = max((at for at in longer if heavy[at]), key=order.index, default=None)
    if not shorter or last is None or _weight(shorter, heavy) == _weight(longer, heavy):
        return order
    rest = [at for at in order if at not in shorter]
    cut = rest.index(last)
    found = rest[:cut] + [at for at in order if at in shorter] + rest[cut:]
    # Branches that touch others may not be free to move: then the order stays as it was.
    rank = {at: number for number, at in enumerate(found)}
    legal = all(rank[place] < rank[at] for at, places in enumerate(sources)
                for place in places if place >= 0)
    return found if legal else order


def _weight(branch: frozenset[Place], heavy: Sequence[bool]) -> int:
    """Return the number of convolutions in a branch."""
    return sum(heavy[at] for at in branch)
