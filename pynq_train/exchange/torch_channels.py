"""What PyTorch calls become that take parts of a map, or put its channels in another order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from pynq_train.exchange.channels import WHOLE, Index, equal_parts, parts, pick, take
from pynq_train.exchange.draft import Refused, Value
from pynq_train.exchange.reshaping import shuffled
from pynq_train.exchange.torch_call import Call
from pynq_train.exchange.torch_nodes import Handler

VIEWS = frozenset(("chunk", "split", "tensor_split", "narrow"))
"""Calls whose results share memory with their input."""


def _item(call: Call) -> Value:
    asked = call.args[1] if isinstance(call.args[1], tuple) else (call.args[1],)
    count = len(call.value.dims) + 1
    if any(one is ... for one in asked):
        at = next(at for at, one in enumerate(asked) if one is ...)
        asked = (*asked[:at], *[WHOLE] * (count - len(asked) + 1), *asked[at + 1:])
    index = [_index(one) for one in asked]
    if index[0] != WHOLE:
        raise Refused("takes some of the images", "compute with all of them")
    return take(call.draft, call.value, index[1:], call.label)


def _index(one: Any) -> Index:
    """Return what is taken of an axis.

    Raises:
        Refused: it drops the axis, or adds one, or is a mask.
    """
    if isinstance(one, slice):
        # All of them, however it is said: of the images nothing else is known.
        return WHOLE if (one.start in (None, 0), one.stop, one.step) in (
            (True, None, None), (True, None, 1)) else one
    places = one.tolist() if hasattr(one, "tolist") else one
    if isinstance(places, (list, tuple)) and all(type(at) is int for at in places):
        return list(places)
    raise Refused("takes a part of a map by something else than ranges or numbers of channels",
                  "take a range: x[:, 0:1] keeps the axis that x[:, 0] drops")


def _axis(call: Call, place: int) -> int:
    axis = call.option(place, "dim", 0)
    if not isinstance(axis, int):
        raise Refused(f"splits along {axis}", "split channels, dim=1")
    return axis


def _size(value: Value, axis: int) -> int:
    """Return the size of an axis; the images are no size that can be split."""
    count = len(value.dims) + 1
    if axis % count == 0:
        raise Refused("splits the mini-batch", "split channels, dim=1")
    return value.dims[axis % count - 1]


def _chunk(call: Call) -> tuple[Value, ...]:
    value, axis = call.value, _axis(call, 2)
    count = call.option(1, "chunks")
    return parts(call.draft, value, axis, equal_parts(_size(value, axis), count), call.label)


def _split(call: Call) -> tuple[Value, ...]:
    value, axis = call.value, _axis(call, 2)
    each = call.option(1, "split_size_or_sections", call.named("split_size"))
    size = _size(value, axis)
    sizes = ([min(each, size - first) for first in range(0, size, each)]
             if isinstance(each, int) else list(each))
    return parts(call.draft, value, axis, sizes, call.label)


def _tensor_split(call: Call) -> tuple[Value, ...]:
    value, axis = call.value, _axis(call, 2)
    size, given = _size(value, axis), call.option(1, "indices_or_sections", call.named("indices"))
    if isinstance(given, int):
        sizes = [size // given + (at < size % given) for at in range(given)]
    else:
        ends = [0, *(min(end, size) for end in given), size]
        sizes = [end - begin for begin, end in pairwise(ends)]
    return parts(call.draft, value, axis, sizes, call.label)


def _narrow(call: Call) -> Value:
    first, length = call.option(2, "start"), call.option(3, "length")
    index: list[Index] = [WHOLE] * len(call.value.dims)
    _size(call.value, axis := _axis(call, 1))
    index[axis % (len(index) + 1) - 1] = slice(first, first + length)
    return take(call.draft, call.value, index, call.label)


def _index_select(call: Call) -> Value:
    index: list[Index] = [WHOLE] * len(call.value.dims)
    _size(call.value, axis := _axis(call, 1))
    index[axis % (len(index) + 1) - 1] = _index(call.option(2, "index"))
    return take(call.draft, call.value, index, call.label)


def _shuffle(call: Call) -> Value:
    value = call.value
    if value.last or value.groups is not None:
        raise Refused("shuffles something else than the channels", "have channels on axis 1")
    return pick(call.draft, value, shuffled(call.number("groups", 1), value.shape[0]), call.label)


def _transpose(call: Call) -> Value:
    count = len(call.value.dims) + 1
    one, other = (call.option(place, name) for place, name in ((1, "dim0"), (2, "dim1")))
    if one is None or other is None:  # NumPy's names
        one, other = call.named("axis0"), call.named("axis1")
    order = list(range(count))
    order[one % count], order[other % count] = other % count, one % count
    if order[0] != 0:
        raise Refused("moves the axis of the images", "keep axis 0 in front")
    return call.draft.permute(call.value, [axis - 1 for axis in order[1:]], call.label)


def _both(names: Sequence[str], handler: Handler) -> dict[str, Handler]:
    return dict.fromkeys(names, handler)


MODULES: dict[str, Handler] = {"ChannelShuffle": _shuffle}
"""Modules of ``torch.nn``."""
METHODS: dict[str, Handler] = {
    "chunk": _chunk, "split": _split, "tensor_split": _tensor_split, "narrow": _narrow,
    "index_select": _index_select,
    **_both(("transpose", "swapaxes", "swapdims"), _transpose),
}
"""Methods of tensors."""
FUNCTIONS: dict[str, Handler] = {
    **METHODS, "getitem": _item, **_both(("channel_shuffle", "native_channel_shuffle"), _shuffle)}
"""Functions of ``torch``, ``torch.nn.functional`` and ``operator``."""
