"""Sliding windows of convolutions and poolings: rows and columns, each with sizes of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from pynq_train.arrays import plain
from pynq_train.errors import BadInput
from pynq_train.graph.shapes import Shape, require_int


class Pair(NamedTuple):
    """A number of rows and a number of columns."""

    rows: int
    cols: int

    @classmethod
    def of(cls, value: Side) -> Pair:
        """Return a pair as it is, and one number for rows and columns alike."""
        return cls(*value) if isinstance(value, tuple) else cls(value, value)

    @property
    def area(self) -> int:
        """Rows times columns."""
        return self.rows * self.cols

    @property
    def side(self) -> Side:
        """One number where rows and columns are equal, else both."""
        return self.rows if self.rows == self.cols else (self.rows, self.cols)

    def __str__(self) -> str:
        return f"{self.rows}x{self.cols}"


ONE = Pair(1, 1)
"""A kernel of one pixel, or windows beside each other."""
Side = int | tuple[int, int]
"""A kernel or a stride: one number, or rows and columns."""
Ends = int | tuple[int, int]
"""Zeros at both ends of an axis: one number, or those in front and those behind."""
Padding = Ends | tuple[Ends, Ends] | Literal["same"]
"""Zero rows and columns: one number for all four sides, ``(rows, columns)`` with an :data:`Ends`
each, or ``"same"``: output size ceil(input / stride)."""


@dataclass(frozen=True)
class Window:
    """One axis of a convolution or pooling.

    Attributes:
        size: elements of the output.
        pad_before: zeros in front of the input.
        pad_after: zeros behind it that some window reads.
    """

    size: int
    pad_before: int
    pad_after: int


class Windowed:
    """What operations with a kernel, a stride and a padding have in common.

    Square values stand as one number: two operations that do the same are equal, and are saved as
    they were before kernels could be rectangular.
    """

    kernel: Side
    stride: Side
    padding: Padding

    def __post_init__(self) -> None:
        """Let every window of a kind have one form."""
        for name in ("kernel", "stride", "padding"):
            object.__setattr__(self, name, shortest(getattr(self, name)))

    @property
    def kernel_sides(self) -> Pair:
        """Rows and columns of the kernel."""
        return Pair.of(self.kernel)

    @property
    def span_sides(self) -> Pair:
        """Rows and columns from the first to the last pixel of a window: the kernel's, if it has no
        gaps."""
        return self.kernel_sides

    @property
    def stride_sides(self) -> Pair:
        """Rows and columns from window to window."""
        return Pair.of(self.stride)

    def windows(self, shape: Shape) -> tuple[Window, Window]:
        """Return output size and padding along rows and columns (sizes may be below 1)."""
        rows, cols = ((window_of(size, kernel, stride, ends)) for size, kernel, stride, ends
                      in zip(shape[1:], self.span_sides, self.stride_sides,
                             ends_of(self.padding)))
        return rows, cols

    def windowed_shape(self, what: str, shape: Shape) -> Shape:
        """Return ``shape`` with the rows and columns that windows leave of it.

        Raises:
            BadInput: nothing is left; ``what`` names the operation.
        """
        rows, cols = (window.size for window in self.windows(shape))
        if rows < 1 or cols < 1:
            kernel = self.span_sides
            least = (f"{kernel.rows} rows and columns" if kernel.rows == kernel.cols
                     else f"{kernel.rows} rows and {kernel.cols} columns")
            raise BadInput(
                f"{what} does not fit", expected=f"an input of at least {least}, padding included",
                found=f"{shape[1]}x{shape[2]} with padding {self.padding}",
                fix="use a smaller kernel, more padding or fewer poolings before it",
            )
        return (shape[0], rows, cols)

    def verify_windows(self, who: str, half: bool = False) -> None:
        """Check kernel, stride and padding.

        Args:
            who: name of the operation for messages.
            half: zeros in front may be at most half a kernel; else, and behind, less than a kernel,
                so that every window holds a pixel of the image.

        Raises:
            BadInput: one is out of range, or neither a number nor rows and columns.
        """
        for name in ("kernel", "stride"):
            value = getattr(self, name)
            for axis, one in both_axes(f"{who}: {name}", value):
                require_int(axis, one, 1)
        if isinstance(self.padding, str):
            if self.padding != "same":
                raise BadInput(f"{who}: padding", expected="an integer or 'same'",
                               found=repr(self.padding))
            return
        most_of = [(side // 2 if half else side - 1, side - 1) for side in self.span_sides]
        if not isinstance(self.padding, (tuple, list)):
            require_int(f"{who}: padding", self.padding, 0, min(map(min, most_of)))
            return
        for (axis, ends), most in zip(both_axes(f"{who}: padding", self.padding), most_of):
            for (where, one), high in zip(both_axes(axis, ends, ("before", "behind")), most):
                require_int(where, one, 0, high if isinstance(ends, (tuple, list)) else min(most))


def ends_of(padding: Padding) -> tuple[Any, Any]:
    """Return the zeros along rows and along columns: ``(before, after)`` each, or ``"same"``."""
    if isinstance(padding, str):
        return padding, padding
    rows, cols = padding if isinstance(padding, tuple) else (padding, padding)
    return (Pair.of(rows), Pair.of(cols))


def window_of(size: int, kernel: int, stride: int, ends: Ends | Literal["same"]) -> Window:
    """Return the window along an axis of ``size`` elements; its output size may be below 1.

    With a stride, elements that no window reaches are left out (the output size is rounded down).
    ``"same"`` puts an odd zero at the end, as TensorFlow does.
    """
    if isinstance(ends, str):
        out = -(-size // stride)
        total = max((out - 1) * stride + kernel - size, 0)
        return Window(out, total // 2, total - total // 2)
    before, after = Pair.of(ends)
    out = (size + before + after - kernel) // stride + 1
    return Window(out, before, max((out - 1) * stride + kernel - size - before, 0))


def both_axes(what: str, value: Any, names: tuple[str, str] = ("rows", "columns")
          ) -> list[tuple[str, Any]]:
    """Return both numbers of a pair with what they are called, or one number twice.

    Raises:
        BadInput: it is a list of another length.
    """
    if not isinstance(value, (tuple, list)):
        return [(what, value)] * 2
    if len(value) != 2:
        raise BadInput(what, expected=f"one integer, or two: {' and '.join(names)}",
                       found=repr(value)[:80])
    return [(f"{what} ({name})", one) for name, one in zip(names, value)]


def _plain(value: Any) -> Any:
    """Return lists as tuples, and NumPy's scalars as Python's numbers."""
    return tuple(map(_plain, value)) if isinstance(value, (tuple, list)) else plain(value)


def shortest(value: Any) -> Any:
    """Return a number or a pair in its one form: equal ones as one number, lists as tuples."""
    return _shortest(_plain(value))


def _shortest(value: Any) -> Any:
    """Return a pair of equal numbers as one of them, in a pair of pairs too."""
    if isinstance(value, tuple):
        value = tuple(map(_shortest, value))
        # Two equal pairs stay two: one alone would be rows and columns. 1 equals True, which is no
        # number here.
        if len(value) == 2 and type(value[0]) is type(value[1]) is int and value[0] == value[1]:
            return value[0]
    return value
