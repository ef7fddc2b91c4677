"""Shapes, checked integers and the sliding windows of convolutions and poolings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pynq_train.arrays import plain
from pynq_train.errors import BadInput, UnsupportedModel

Shape = tuple[int, int, int]
"""``(channels, rows, cols)`` of one image."""
Padding = int | Literal["same"]
"""Zero rows and columns on each side, or ``"same"``: output size ceil(input / stride)."""
_LARGEST = (1 << 31) - 1
"""Largest size of anything: far above what an engine takes, and products still keep in 64 bits."""


def require_int(what: str, value: Any, low: int, high: int | None = None) -> int:
    """Return ``value``, an integer in ``low .. high``; ``what`` names it in the error's text.

    Raises:
        BadInput: it is something else. A bool counts as no integer.
    """
    value = plain(value)
    bound = f"an integer of at least {low}" if high is None else f"an integer in {low}..{high}"
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadInput(what, expected=bound, found=repr(value))
    if value < low or value > (_LARGEST if high is None else high):
        raise BadInput(what, expected=bound, found=f"{value}"[:40])
    return value


def require_number(what: str, value: Any, low: float, high: float) -> None:
    """Check that ``value`` is a number with ``low <= value < high``; ``what`` names it.

    Raises:
        BadInput: it is not. A bool counts as no number.
    """
    value = plain(value)
    ok = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not ok or not low <= value < high:
        raise BadInput(what, expected=f"a number of {low} to below {high}", found=repr(value))


def require_square(what: str, value: Any) -> None:
    """Check that ``value`` is one positive integer: kernels and strides are square.

    Raises:
        UnsupportedModel: it is a pair.
        BadInput: it is anything else.
    """
    if isinstance(value, (tuple, list)):
        label = what.rsplit(" ", 1)[-1]
        raise UnsupportedModel(what, expected=f"one integer (square {label})", found=value,
                               fix="use the same value for rows and columns")
    require_int(what, value, 1)


def require_padding(what: str, value: Any, high: int) -> None:
    """Check that ``value`` is ``"same"`` or an integer in ``0 .. high``.

    Raises:
        BadInput: it is not.
    """
    if isinstance(value, str):
        if value != "same":
            raise BadInput(what, expected="an integer or 'same'", found=repr(value))
    else:
        require_int(what, value, 0, high)


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


def window_of(size: int, kernel: int, stride: int, padding: Padding) -> Window:
    """Return the window along an axis of ``size`` elements; its output size may be below 1.

    With a stride, elements that no window reaches are left out (the output size is rounded down).
    ``"same"`` puts an odd zero at the end, as TensorFlow does.
    """
    if padding == "same":
        out = -(-size // stride)
        total = max((out - 1) * stride + kernel - size, 0)
        return Window(out, total // 2, total - total // 2)
    out = (size + 2 * padding - kernel) // stride + 1
    return Window(out, padding, max((out - 1) * stride + kernel - size - padding, 0))


def windowed_shape(what: str, shape: Shape, kernel: int, stride: int, padding: Padding) -> Shape:
    """Return ``shape`` with the rows and columns that windows leave of it.

    Raises:
        BadInput: nothing is left; ``what`` names the operation.
    """
    rows, cols = (window_of(size, kernel, stride, padding).size for size in shape[1:])
    if rows < 1 or cols < 1:
        raise BadInput(
            f"{what} does not fit",
            expected=f"an input of at least {kernel} rows and columns, padding included",
            found=f"{shape[1]}x{shape[2]} with padding {padding}",
            fix="use a smaller kernel, more padding or fewer poolings before it",
        )
    return (shape[0], rows, cols)
