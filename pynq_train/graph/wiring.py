"""Which operation reads which: names of inputs become positions in the list of operations."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pynq_train.errors import BadInput
from pynq_train.graph.ops import Op

INPUT = "input"
"""Name of the network's input among the ``inputs`` of an operation."""
FROM_INPUT = -1
"""Position that stands for the network's input."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


def check_name(name: str) -> None:
    """Check that ``name`` can name an operation.

    Raises:
        BadInput: it has other characters, or is the name of the network's input.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadInput("name of a layer", expected="letters, digits, '_', '.', '-'",
                       found=repr(name))
    if name == INPUT:
        raise BadInput(f"name of a layer: {INPUT!r} means the network's input",
                       fix="choose another name")


def resolve(op: Op, at: int, places: dict[str, int]) -> tuple[int, ...]:
    """Return the positions of what ``op`` reads; -1 is the network's input.

    Args:
        op: the operation; without names of inputs it reads the one before it.
        at: its position.
        places: positions of the operations before it, by name.

    Raises:
        BadInput: an input is not among them, or there are too few or too many.
    """
    _check_count(op)
    if not op.inputs:
        return (at - 1,)
    found = []
    for name in op.inputs:
        if name == INPUT:
            found.append(FROM_INPUT)
        elif name in places:
            found.append(places[name])
        else:
            raise BadInput(f"an input of operation {op.name!r}",
                           expected=f"the name of an operation before it, or {INPUT!r}",
                           found=repr(name), fix="list operations after those that they read")
    return tuple(found)


def check_all_read(ops: Sequence[Op], sources: Sequence[tuple[int, ...]]) -> None:
    """Check that every operation but the last one is read by another.

    Args:
        ops: the operations.
        sources: positions that each reads.

    Raises:
        BadInput: some are not; all of them are named.
    """
    read = {place for places in sources for place in places}
    unread = [op.name for place, op in enumerate(ops[:-1]) if place not in read]
    if unread:
        raise BadInput("operations that no other reads: " + ", ".join(unread),
                       fix="remove them, or name them in the inputs of a later operation")


def _check_count(op: Op) -> None:
    """Check that an operation has a tuple of as many names as its kind reads."""
    low, high = op.arity
    if not isinstance(op.inputs, tuple) or not all(isinstance(n, str) for n in op.inputs):
        raise BadInput(f"{op.name}: inputs", expected="a tuple of names", found=repr(op.inputs))
    count = len(op.inputs) or 1
    if count < low or (high is not None and count > high):
        wanted = f"{low}" if high == low else f"{low} or more"
        raise BadInput(f"{op.name}: inputs of {op.kind}", expected=f"{wanted} names",
                       found=", ".join(op.inputs) or "none (it reads the operation before it)")
