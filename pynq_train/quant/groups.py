"""Layers whose outputs share one exponent: the sources of a concatenation, and the joined map."""

from __future__ import annotations

from collections.abc import Sequence

from pynq_train.layers.kinds import Kind


def groups_of(kinds: Sequence[Kind], sources: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Return for each layer the outermost concatenation that holds its output, else itself.

    Args:
        kinds: what each layer does.
        sources: positions that each reads, -1 for the images.
    """
    root = list(range(len(kinds)))
    for at in reversed(range(len(kinds))):
        if not kinds[at].joins:
            continue
        for place in sources[at]:
            if place < 0 or not kinds[place].free_exponent or root[place] != place:
                raise ValueError(f"layer {place} cannot share the exponent of concatenation {at}")
            root[place] = root[at]
    return tuple(root)
