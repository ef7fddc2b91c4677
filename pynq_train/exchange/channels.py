"""Parts of a value, and its channels in another order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pynq_train.exchange.draft import Draft
from pynq_train.exchange.values import BATCH, Value, text_of
from pynq_train.exchange.windows import Refused, checked_window
from pynq_train.graph.ops import AvgPool, PickChannels

Index = slice | list[int]
"""What is taken of an axis: a range, or places in any order."""
WHOLE = slice(None)
_PIXELS = ("take every pixel, or every second or third of rows and columns from the first: "
           "x[:, :, ::2, ::2]")


def pick(draft: Draft, source: Value, channels: Sequence[int], label: str) -> Value:
    """Return some channels of a value, or elements of a vector, in the order that is given.

    Raises:
        Refused: there is none, or it has not so many, or they are parts of flattened channels.
    """
    count = source.shape[0]
    if not channels or min(channels) < 0 or max(channels) >= count:
        raise Refused(f"takes channels {_few(channels)} of {count}",
                      f"take some of 0 to {count - 1}")
    if tuple(channels) == tuple(range(count)):
        return source
    before = source.before
    if source.flat and before is not None and before.name != source.name:
        return draft.flatten(pick(draft, before, _of_map(channels, source, before), label), label,
                             last=source.map_shape is not None)
    out = draft.add(PickChannels(tuple(channels)), replace(source, last=False, before=None),
                    label=label)
    return replace(out, last=source.last)


def _of_map(elements: Sequence[int], flat: Value, source: Value) -> list[int]:
    """Return the channels of a map whose flattened elements these are, in this order.

    Raises:
        Refused: they are parts of channels.
    """
    pixels = source.shape[1] * source.shape[2]
    channels = [at // pixels for at in elements[::pixels]]
    whole = [channel * pixels + at for channel in channels for at in range(pixels)]
    if flat.map_shape is not None or list(elements) != whole:
        raise Refused("takes a part of a flattened map", "take channels of the map before it is "
                      "flattened")
    return channels


def take(draft: Draft, source: Value, index: Sequence[Index], label: str) -> Value:
    """Return a part of a value: channels, and each so many rows and columns.

    Args:
        draft: the network.
        source: the value.
        index: what is taken of each axis but that of the mini-batch; further axes whole.
        label: what the foreign network calls it.

    Raises:
        Refused: it is another part.
    """
    dims = source.dims
    if len(index) > len(dims):
        raise Refused(f"takes {len(index) + 1} axes of {text_of((BATCH, *dims))}",
                      "take as many as there are")
    index = [*index, *[WHOLE] * (len(dims) - len(index))]
    taken = [_places(one, size) for one, size in zip(index, dims)]
    axis = len(dims) - 1 if source.last else 0
    steps = [_step(one, places, size) for at, (one, places, size)
             in enumerate(zip(index, taken, dims)) if at != axis]
    if any(step != 1 for step in steps):
        if source.joined:
            source = replace(draft.line(source), joined=False)
            steps = [1, *steps]
        # A mean of one pixel: nothing is computed.
        window = checked_window(1, steps)
        source = replace(draft.add(AvgPool(*window), source, label=label), joined=len(dims) == 2)
    return pick(draft, source, taken[axis], label)


def parts(draft: Draft, source: Value, axis: int, sizes: Sequence[int], label: str
          ) -> tuple[Value, ...]:
    """Return a value split along an axis, counted with the mini-batch's, into parts of ``sizes``.

    Raises:
        Refused: it is not the axis of the channels, or they have not as many.
    """
    wanted = len(source.dims) if source.last else 1
    if axis % (len(source.dims) + 1) != wanted:
        raise Refused(f"splits axis {axis}", f"split channels, axis {wanted}")
    if sum(sizes) != source.dims[wanted - 1] or min(sizes, default=0) < 1:
        raise Refused(f"splits {source.dims[wanted - 1]} channels into {_few(sizes)}",
                      "let the parts have all of them")
    ends = [sum(sizes[: at + 1]) for at in range(len(sizes))]
    return tuple(pick(draft, source, range(end - size, end), f"{label}.{at}")
                 for at, (end, size) in enumerate(zip(ends, sizes)))


def equal_parts(size: int, count: int) -> list[int]:
    """Return the sizes of ``count`` parts, the last of them smaller, or of fewer."""
    each = -(-size // max(count, 1))
    return [min(each, size - first) for first in range(0, size, max(each, 1))]


def _places(one: Index, size: int) -> list[int]:
    """Return the places that an index takes of an axis, none of them negative."""
    if isinstance(one, slice):
        return list(range(size)[one])
    return [at + size if at < 0 else at for at in one]


def _step(one: Index, places: list[int], size: int) -> int:
    """Return which rows or columns are taken: all from the first on that are so far apart.

    Raises:
        Refused: it is another part of the map.
    """
    step = (one.step or 1) if isinstance(one, slice) else 1
    if step < 1 or places != list(range(0, size, step)):
        raise Refused("takes a part of a map", _PIXELS)
    return step


def _few(values: Sequence[int]) -> str:
    """Return numbers for people, not all of them if they are many."""
    return ", ".join(map(str, values[:8])) + (", ..." if len(values) > 8 else "")
