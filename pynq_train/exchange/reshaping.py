"""How a foreign network can see the elements of a value that stay where they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pynq_train.exchange.values import Value
from pynq_train.exchange.windows import Refused
from pynq_train.graph.shapes import Shape
from pynq_train.graph.wiring import INPUT


def shuffled(groups: int, channels: int) -> list[int]:
    """Return the channels of a shuffle: the first of each group, then the second of each.

    Raises:
        Refused: the groups are no divisor of the channels.
    """
    if groups < 1 or channels % groups:
        raise Refused(f"shuffles {groups} groups of {channels} channels",
                      "use a divisor of the channels")
    each = channels // groups
    return [group * each + at for at in range(each) for group in range(groups)]


def seen_as(source: Value, wanted: tuple[int, ...], turned: Callable[[Shape], Value]
            ) -> Value | None:
    """Return a value whose elements stand in the same order with sizes ``wanted``, or None.

    ``turned`` returns the input as images of another shape.
    """
    if source.groups is not None:
        source = replace(source, groups=None)
        if wanted == source.dims:
            return source
    channels, rows, cols = source.shape
    if source.flat and source.before is not None and source.before.dims == wanted:
        return source.before
    if source.flat and (rows, cols) == (1, 1) and source.map_shape is None:
        if source.name == INPUT and len(wanted) == 3:
            return turned((wanted[0], wanted[1], wanted[2]))
        if source.name == INPUT and len(wanted) == 2:
            return replace(turned((wanted[0], 1, wanted[1])), joined=True)
        if wanted in ((channels, 1, 1), (1, 1, channels)):
            return replace(source, flat=False, last=wanted[0] == 1 and channels > 1)
        if wanted == (channels, 1):
            return replace(source, flat=False, joined=True)
        return None
    if source.joined and wanted == source.shape:
        return replace(source, joined=False)
    if not source.flat and not source.last and wanted == (channels, rows * cols):
        return replace(source, joined=True)
    if source.name == INPUT and source.dims[-1] == 1 and wanted == (1, *source.dims[:-1]):
        return turned((1, source.dims[0], source.dims[1]))
    if channels == 1 and wanted in ((1, rows, cols), (rows, cols, 1)):
        return replace(source, last=wanted[0] != 1 or source.shape == (1, 1, 1), joined=False)
    if not source.flat and not source.last and len(wanted) > 2:
        outer, inner, *rest = wanted
        if outer * inner == channels and tuple(rest) == source.dims[1:]:
            return replace(source, groups=(outer, inner))
    return None
