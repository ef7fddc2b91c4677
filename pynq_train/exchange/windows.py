"""Windows of foreign convolutions and poolings, and the operation here that has the same ones.

Frameworks differ in what a window does that hangs over the border: whether zeros count in a mean,
whether the last window may lie partly outside. Here each axis of a pooling becomes a list of the
pixels that its windows hold; an operation is right if it holds and counts the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any, Literal

from pynq_train.graph.ops import AvgPool, GlobalAvgPool, MaxPool, MaxPool2x2
from pynq_train.graph.shapes import Shape
from pynq_train.graph.windows import Padding, Pair, Windowed, ends_of, window_of
from pynq_train.hw.limits import (
    MAX_KERNEL,
    MAX_POOL_KERNEL,
    MAX_POOL_STRIDE,
    MAX_STRIDE,
)

Pads = tuple[int, int, int, int]
"""Zero rows above, columns left, rows below, columns right."""
OwnPadding = int | Pads | Literal["same"]
"""Padding of a foreign operation: the same on all sides, or of each side."""


class Refused(Exception):
    """A node that has no counterpart: why, and what could replace it."""

    def __init__(self, why: str, instead: str) -> None:
        super().__init__(why)
        self.why = why
        self.instead = instead


MISFITS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What NumPy, PyTorch and Keras raise where weights and arguments of a node contradict each other.
"""


def refused_for(error: BaseException) -> Refused:
    """Return the refusal of a node that ended in ``error``: that itself, or one of :data:`MISFITS`.
    """
    if isinstance(error, Refused):
        return error
    text = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
    return Refused(f"has arguments that do not fit ({text})", "check them in the original network")


@dataclass(frozen=True)
class _Even:
    """Windows of equal length at equal distances; ``stride`` is None for a single one."""

    kernel: int
    stride: int | None
    before: int
    count: int


MOST_PIXELS = 1 << 16
"""Pixels in a row or column, with padding, that importers look at: no board holds more."""


@dataclass(frozen=True)
class _Axis:
    """Windows of a pooling along one axis.

    Attributes:
        size: pixels of the map.
        zeros: zeros around it that are pixels to the pooling, before and behind.
        pads: the pooling's own padding, before and behind.
        kernel: length of a window.
        stride: from window to window.
        count: windows.
    """

    size: int
    zeros: tuple[int, int]
    pads: tuple[int, int]
    kernel: int
    stride: int
    count: int

    @classmethod
    def of(cls, size: int, zeros: tuple[int, int], pads: tuple[int, int] | None, kernel: int,
           stride: int, ceil: bool) -> _Axis:
        """Return the windows; ``pads`` None: "same" padding.

        Raises:
            Refused: there is no window, or no board holds so many.
        """
        whole = size + sum(zeros)
        if whole + sum(pads or ()) > MOST_PIXELS:
            raise Refused(f"reads {whole + sum(pads or ())} pixels in a row",
                          "make the map smaller")
        if pads is None:
            window = window_of(whole, kernel, stride, "same")
            return cls(size, zeros, (window.pad_before, window.pad_after), kernel, stride,
                       window.size)
        if min(pads) < 0 or max(pads) >= kernel:
            raise Refused(f"has padding {pads} for a window of {kernel}",
                          "pad with less than a window")
        room = whole + sum(pads) - kernel
        count = (-(-room // stride) if ceil else room // stride) + 1
        if ceil and (count - 1) * stride >= whole + pads[0]:
            count -= 1  # a window must begin on the map or the padding before it
        if count < 1:
            raise Refused(f"has a window of {kernel} on {whole} pixels with padding {pads}",
                          "use a smaller window, more padding or fewer poolings before it")
        return cls(size, zeros, pads, kernel, stride, count)

    def spans(self, low: int, high: int) -> list[tuple[int, int]]:
        """Return begin and end of the windows, cut to ``low .. high``; 0 is the map's begin."""
        first = -self.zeros[0] - self.pads[0]
        begins = [first + at * self.stride for at in range(self.count)]
        return [(max(begin, low), min(begin + self.kernel, high)) for begin in begins]

    def pixels(self) -> list[tuple[int, int]]:
        """Return what each window holds of the map itself."""
        return self.spans(0, self.size)

    def counted(self, counts_padding: bool) -> list[tuple[int, int]]:
        """Return what each window counts in a mean: zeros too, or the padding as well."""
        before, behind = self.zeros
        own = self.pads if counts_padding else (0, 0)
        return self.spans(-before - own[0], self.size + behind + own[1])


def pool_maxima(shape: Shape, zeros: Pads, kernel: Any, stride: Any, padding: OwnPadding,
                ceil: bool) -> MaxPool | MaxPool2x2 | AvgPool:
    """Return the pooling of maxima that has these windows; zeros and padding are never chosen.

    A window of one pixel is an average of one.

    Raises:
        Refused: there is none.
    """
    axes = _axes(shape, zeros, kernel, stride, padding, ceil)
    if any(begin >= end for axis in axes for begin, end in axis.pixels()):
        raise Refused("has windows without a pixel", "use less padding")
    as_given = [_Even(a.kernel, a.stride if a.count > 1 else None,
                      a.zeros[0] + a.pads[0], a.count) for a in axes]
    for even in (as_given, [_even(axis.pixels()) for axis in axes]):
        found = _window(even, shape, MAX_POOL_KERNEL, MAX_POOL_STRIDE, axes)
        if found is None:
            continue
        size, step, pads = found
        if size == (1, 1):
            return AvgPool(size, step, pads)
        op = MaxPool(size, step, pads)
        if (op.kernel, op.stride) == (2, 2) and not any(
                w.pad_before + w.pad_after for w in op.windows(shape)):
            return MaxPool2x2()
        return op
    _refuse_sizes(axes, MAX_POOL_KERNEL, MAX_POOL_STRIDE)
    raise Refused(_padding_text(axes), "use 'same' padding, or padding of half a window at most, "
                  "and no ceil_mode")


def averaged(shape: Shape, zeros: Pads, kernel: Any, stride: Any, padding: OwnPadding,
             ceil: bool, counts_padding: bool) -> AvgPool | GlobalAvgPool:
    """Return the pooling of means that has these windows and counts what they count.

    Raises:
        Refused: there is none.
    """
    axes = _axes(shape, zeros, kernel, stride, padding, ceil)
    counted = [axis.counted(counts_padding) for axis in axes]
    if all(len(spans) == 1 for spans in counted):
        number = 1
        for spans in counted:
            number *= spans[0][1] - spans[0][0]
        held = all(axis.pixels()[0] == (0, axis.size) for axis in axes)
        if held and number == axes[0].size * axes[1].size and number > 1:
            return GlobalAvgPool()
    even = [_even(spans) for spans in counted]
    if not all(even):
        raise Refused(
            "leaves its padding out of the mean" if not counts_padding and not ceil
            else "has windows at the border that divide by fewer pixels",
            "pool without padding and ceil_mode, or count the padding (count_include_pad)")
    found = _window(even, shape, MAX_KERNEL, MAX_STRIDE, axes)
    if found is None:
        _refuse_sizes(axes, MAX_KERNEL, MAX_STRIDE)
        raise Refused(_padding_text(axes), "use 'same' padding, or padding of half a window at "
                      "most")
    return AvgPool(*found)


def _axes(shape: Shape, zeros: Pads, kernel: Any, stride: Any, padding: OwnPadding, ceil: bool
          ) -> tuple[_Axis, _Axis]:
    """Return the windows along rows and columns."""
    kernels, strides = pair(kernel, "kernel"), pair(stride, "stride")
    if isinstance(padding, int):
        padding = (padding, padding, padding, padding)
    own = (None, None) if isinstance(padding, str) else (
        (padding[0], padding[2]), (padding[1], padding[3]))
    around = (zeros[0], zeros[2]), (zeros[1], zeros[3])
    rows, cols = (_Axis.of(shape[1 + at], around[at], own[at], kernels[at], strides[at], ceil)
                  for at in (0, 1))
    return rows, cols


def _even(spans: list[tuple[int, int]]) -> _Even | None:
    """Return windows of one length at one distance that begin on or before the map, or None."""
    lengths = {end - begin for begin, end in spans}
    steps = {second[0] - first[0] for first, second in pairwise(spans)}
    if len(lengths) > 1 or len(steps) > 1 or spans[0][0] > 0 or min(lengths) < 1:
        return None
    step = steps.pop() if steps else None
    return None if step == 0 else _Even(lengths.pop(), step, -spans[0][0], len(spans))


def _window(even: Sequence[_Even | None], shape: Shape, most_kernel: int, most_stride: int,
            given: Sequence[_Axis]) -> tuple[Pair, Pair, Padding] | None:
    """Return kernel, stride and padding of the operation that has these windows, or None.

    ``given``: the foreign windows, whose strides single windows keep where they can.
    """
    rows, cols = even
    if rows is None or cols is None or max(rows.kernel, cols.kernel) > most_kernel:
        return None
    kernel = Pair(rows.kernel, cols.kernel)
    for stride in _strides(rows, cols, most_stride, given):
        paddings: list[Padding] = [*range(min(kernel) // 2 + 1), "same"]
        paddings.append((_ends(rows, shape[1], stride.rows), _ends(cols, shape[2], stride.cols)))
        for padding in paddings:
            op = AvgPool(kernel, stride, padding)
            if [(axis.count, axis.before) for axis in (rows, cols)] == [
                    (window.size, window.pad_before) for window in op.windows(shape)]:
                if isinstance(padding, tuple) and not _half(op, padding):
                    continue
                return kernel, stride, padding
    return None


def _strides(rows: _Even, cols: _Even, most: int, given: Sequence[_Axis]) -> list[Pair]:
    """Return the strides that windows can have, the likeliest first.

    That of a single window is any that leaves no room for a second one: that of the other axis, as
    it was, or the least.
    """
    each = [[axis.stride] if axis.stride is not None
            else [*([other.stride] if other.stride is not None else []), own.stride,
                  *range(1, most + 1)]
            for axis, other, own in ((rows, cols, given[0]), (cols, rows, given[1]))]
    pairs = [Pair(*pair) for pair in product(*each) if max(pair) <= most]
    return [*(one for one in pairs if one.rows == one.cols), *pairs]


def _ends(axis: _Even, size: int, stride: int) -> tuple[int, int]:
    """Return the zeros before and behind an axis of ``size`` pixels that its windows hold."""
    reach = (axis.count - 1) * stride + axis.kernel - axis.before
    return axis.before, max(reach - size, 0)


def _half(op: Windowed, padding: Padding) -> bool:
    """Return whether a pooling takes its padding: half a window in front, less than one behind."""
    assert isinstance(padding, tuple)
    return all(isinstance(ends, tuple) and ends[0] <= size // 2 and ends[1] < size
               for ends, size in zip(padding, op.kernel_sides))


def _refuse_sizes(axes: tuple[_Axis, _Axis], most_kernel: int, most_stride: int) -> None:
    """Refuse kernels and strides that are not in the engine's limits."""
    kernel = Pair(*(axis.kernel for axis in axes))
    stride = Pair(*(axis.stride for axis in axes))
    if max(kernel) > most_kernel:
        raise Refused(f"has kernel {_side(kernel)}", f"use a kernel of {most_kernel} at most")
    if max(stride) > most_stride:
        raise Refused(f"has stride {_side(stride)}", f"use a stride of {most_stride} at most")


def _side(pair: Pair) -> str:
    """``3``, or ``3x5`` where rows and columns differ."""
    return str(pair.rows) if pair.rows == pair.cols else str(pair)


def _padding_text(axes: tuple[_Axis, _Axis]) -> str:
    rows, cols = axes
    sides = [axis.zeros[at] + axis.pads[at] for at in (0, 1) for axis in (rows, cols)]
    return f"has padding {tuple(sides)} (top, left, bottom, right)"


def pair(value: Any, what: str) -> tuple[int, int]:
    """Return one number, or two of them, as two.

    Raises:
        Refused: it is something else, or below one.
    """
    values = [value] if isinstance(value, int) else value
    if (not isinstance(values, (list, tuple)) or len(values) not in (1, 2)
            or not all(isinstance(one, int) for one in values)):
        raise Refused(f"has {what} {value}", f"give the {what} as one or two integers")
    if min(values) < 1:
        raise Refused(f"has {what} {value}", f"use a {what} of 1 or more")
    return values[0], values[-1]


def checked_window(kernel: Any, stride: Any) -> tuple[Pair, Pair]:
    """Return kernel and stride, neither larger than the engine takes.

    ``layers.supported`` refuses the same later, when no foreign name is known any more.

    Raises:
        Refused: one of them is.
    """
    size, step = Pair(*pair(kernel, "kernel")), Pair(*pair(stride, "stride"))
    for what, value, most in (("kernel", size, MAX_KERNEL), ("stride", step, MAX_STRIDE)):
        if max(value) > most:
            raise Refused(f"has {what} {_side(value)}", f"use a {what} of {most} at most")
    return size, step


def square(value: Any, what: str) -> int:
    """Return the number that both of a pair are.

    Raises:
        Refused: they differ, or are no sizes.
    """
    rows, cols = pair(value, what)
    if rows != cols:
        raise Refused(f"has {what} {rows}x{cols}", f"use a square {what}")
    return rows


def dilated_window(kernel: Any, stride: Any, dilation: Any) -> tuple[Pair, Pair, Pair, Pair]:
    """Return kernel, stride and dilation, and the rows and columns that the kernel reaches over.

    A side of one pixel has no gaps, whatever its dilation is.

    Raises:
        Refused: the reach or the stride is larger than the engine takes.
    """
    size, apart = Pair(*pair(kernel, "kernel")), Pair(*pair(dilation, "dilation"))
    apart = Pair(*(gap if side > 1 else 1 for side, gap in zip(size, apart)))
    span = Pair(*((side - 1) * gap + 1 for side, gap in zip(size, apart)))
    if max(span) > MAX_KERNEL >= max(size):
        raise Refused(f"has kernel {_side(size)} with dilation {_side(apart)}, which reaches over "
                      f"{_side(span)}", f"let it reach over {MAX_KERNEL} at most")
    _, step = checked_window(span, stride)
    return size, step, apart, span


def conv_padding(shape: Shape, zeros: Pads, kernel: Pair, stride: Pair, own: OwnPadding
                 ) -> Padding:
    """Return the padding of a convolution that has the wanted zeros on all four sides.

    Args:
        shape: of what it reads.
        zeros: around that, in front of the convolution's own.
        kernel: its kernel; ``stride`` likewise.
        own: its own padding.

    Raises:
        Refused: they are more than the kernel leaves room for.
    """
    sizes = shape[1:]
    if isinstance(own, int):
        own = (own, own, own, own)
    if isinstance(own, str):
        if not any(zeros):
            return "same"
        rows, cols = (window_of(size + zeros[at] + zeros[at + 2], kernel[at],
                                stride[at], own) for at, size in enumerate(sizes))
        own = (rows.pad_before, cols.pad_before, rows.pad_after, cols.pad_after)
    top, left, bottom, right = (a + b for a, b in zip(own, zeros))
    if min(top, left, bottom, right) < 0:
        raise Refused(f"has padding {own}", "pad with numbers of at least 0")
    most = min(kernel) - 1
    if top == left == bottom == right and top <= most:
        return top
    wanted = ((top, bottom), (left, right))
    candidates: list[Padding] = [top] if top == left <= most else []
    if all(max(ends) < size for ends, size in zip(wanted, kernel)):
        candidates += ["same", wanted]
    else:
        candidates.append("same")
    for candidate in candidates:
        windows = [window_of(*axis) for axis in zip(sizes, kernel, stride, ends_of(candidate))]
        # Zeros behind the last window are never read: sizes and zeros before decide.
        if all((size + sum(ends) - side) // step + 1 == window.size
               and ends[0] == window.pad_before for window, size, ends, side, step
               in zip(windows, sizes, wanted, kernel, stride)):
            return candidate
    raise Refused(f"has padding {(top, left, bottom, right)} (top, left, bottom, right)",
                  f"pad with less than the kernel of {kernel}")


def in_steps(kernel: Any, stride: Any) -> list[Any]:
    """Return the windows of poolings behind each other that take maxima of ``kernel`` at last.

    Windows beside each other that are larger than those of the engine, but products of them, become
    several poolings, with the same maxima. Others stay as they are.
    """
    sides = pair(kernel, "kernel")
    if sides != pair(stride, "stride") or max(sides) <= MAX_POOL_KERNEL:
        return [kernel]
    steps: list[list[int]] = [[], []]
    for axis, rest in enumerate(sides):
        for size in range(MAX_POOL_KERNEL, 1, -1):
            while rest % size == 0:
                steps[axis].append(size)
                rest //= size
        if rest > 1:
            return [kernel]
    count = max(map(len, steps))
    rows, cols = ([*side, *[1] * (count - len(side))] for side in steps)
    return [list(one) for one in zip(rows, cols)]
