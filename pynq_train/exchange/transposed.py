"""Foreign transposed convolutions, which each format crops and enlarges in its own way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pynq_train.errors import UnsupportedModel
from pynq_train.exchange.draft import Draft, Refused, Value
from pynq_train.exchange.windows import checked_window, square
from pynq_train.graph.ops import ConvTranspose
from pynq_train.graph.params import FloatArray, LayerParams, float32
from pynq_train.graph.windows import Pair
from pynq_train.layers.supported import check_transposed_groups

Crops = Sequence[tuple[int, int]]
"""For rows and for columns: how many are cut off in front and behind; below zero: added behind."""


def conv_transpose(draft: Draft, source: Value, weight: FloatArray, bias: FloatArray | None, *,
                   stride: Any, crops: Crops, dilation: Any, groups: int, label: str,
                   owner: Any = None, frozen: Sequence[str] = ()) -> Value:
    """Append a transposed convolution.

    Args:
        draft: the network so far.
        source: the map that it reads.
        weight: ``(n, m of a group, kr, kc)``.
        bias: one number for each output channel, or None.
        stride: rows and columns from pixel to pixel in the output.
        crops: what is left out of all that its pixels reach, (size - 1) * stride + kernel.
        dilation: of the kernel.
        groups: groups of channels.
        label: what the foreign network calls it.
        owner: who else has the same owner has the same weights.
        frozen: what of it does not learn.

    Raises:
        Refused: the engine has no such convolution, or its arrays do not fit.
    """
    size, step = checked_window(list(weight.shape[2:]), stride)
    if square(dilation, "dilation") != 1:
        raise Refused(f"has dilation {dilation}", "use a larger kernel")
    if source.flat or any(source.pads):
        raise Refused("reads a vector" if source.flat else "reads a padded map",
                      "let it read a map as it is")
    if groups < 1 or weight.shape[0] != source.shape[0] or weight.shape[0] % groups:
        raise Refused(f"has weights of shape {weight.shape} in {groups} group"
                      f"{'s' * (groups != 1)} for {source.shape[0]} channels",
                      "make them (channels, m / groups, rows, cols)")
    out = weight.shape[1] * groups
    if bias is not None and bias.size != out:
        raise Refused(f"has {bias.size} biases for {out} channels",
                      "give one for each output channel")
    cut = tuple((before, max(behind, 0)) for before, behind in crops)
    extra = tuple(max(-behind, 0) for _, behind in crops)
    for ends, more, side, one in zip(cut, extra, size, step):
        if min(ends) < 0 or max(ends) >= side:
            raise Refused(f"cuts off {ends[0]} and {ends[1]} rows or columns of a kernel of {side}",
                          "cut off less than the kernel")
        if more >= one:
            raise Refused(f"adds {more} rows or columns that no pixel reaches",
                          f"add less than the stride of {one}")
    (rows, cols), both = cut, Pair(*extra)
    op = ConvTranspose(out, size, step, (rows, cols), both, bias is not None, groups=groups)
    try:
        check_transposed_groups(op, source.shape[0])
    except UnsupportedModel as error:
        raise Refused(f"has {error.found}", str(error.fix)) from None
    params = LayerParams(float32(weight), None if bias is None else float32(bias).ravel())
    return draft.add(op, source, label=label, params=params, owner=owner, frozen=frozen)


def same_crops(kernel: Sequence[int], stride: Sequence[int], *, in_front: bool = False) -> Crops:
    """Return what is cut off for an output of size * stride.

    ``in_front``: of an odd number the one more; else behind, as TensorFlow does.
    """
    return [shared(side - step, in_front) for side, step in zip(kernel, stride)]


def shared(total: int, in_front: bool) -> tuple[int, int]:
    """Return ``total`` rows or columns to cut off as those in front and behind; see above."""
    before = max((total + in_front) // 2, 0)
    return before, total - before
