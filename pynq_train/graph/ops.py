"""The operations of a network, as frozen values with their shape rules.

A shape is always ``(channels, rows, cols)``; a flattened or fully connected value is
``(units, 1, 1)``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from pynq_train.errors import BadInput, UnsupportedModel

Shape = tuple[int, int, int]
"""``(channels, rows, cols)`` of one image."""

MAX_KERNEL = 11
MAX_STRIDE = 4


def require_int(what: str, value: Any, low: int, high: int | None = None) -> int:
    """Return ``value`` if it is an integer in ``low .. high``, else raise :class:`BadInput`."""
    bound = f"an integer of at least {low}" if high is None else f"an integer in {low}..{high}"
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadInput(what, expected=bound, found=repr(value))
    if value < low or (high is not None and value > high):
        raise BadInput(what, expected=bound, found=value)
    return value


@dataclass(frozen=True)
class Window:
    """One axis of a convolution: output size and the zeros before and after the input."""

    size: int
    pad_before: int
    pad_after: int


@dataclass(frozen=True)
class Conv:
    """Square convolution with weights ``W[m, n, kr, kc]``, as in PyTorch (a cross-correlation).

    ``padding`` is the number of zero rows and columns on each side, 0 .. ``kernel`` - 1, or
    ``"same"``: output size ceil(input / stride), the odd zero at the bottom and right. With a
    stride, rows and columns that no window reaches are left out (floor rule).
    """

    kind: ClassVar[str] = "conv"
    out_channels: int
    kernel: int
    stride: int = 1
    padding: int | Literal["same"] = 0
    bias: bool = True
    name: str = ""

    def verify(self) -> None:
        """Raise :class:`BadInput` or :class:`UnsupportedModel` if a field is out of range."""
        who = self.name or "conv"
        require_int(f"{who}: out_channels", self.out_channels, 1)
        for label, value, high in (("kernel", self.kernel, MAX_KERNEL),
                                   ("stride", self.stride, MAX_STRIDE)):
            if isinstance(value, (tuple, list)):
                raise UnsupportedModel(f"{who}: {label}", expected=f"one integer (square {label})",
                                       found=value, fix="use the same value for rows and columns")
            require_int(f"{who}: {label}", value, 1, high)
        if isinstance(self.padding, str):
            if self.padding != "same":
                raise BadInput(f"{who}: padding", expected="an integer or 'same'",
                               found=repr(self.padding))
        else:
            require_int(f"{who}: padding", self.padding, 0, self.kernel - 1)
        if not isinstance(self.bias, bool):
            raise BadInput(f"{who}: bias", expected="True or False", found=repr(self.bias))

    def window(self, size: int) -> Window:
        """Return output size and padding along an axis of ``size`` elements (may be < 1)."""
        if self.padding == "same":
            out = -(-size // self.stride)
            total = max((out - 1) * self.stride + self.kernel - size, 0)
            return Window(out, total // 2, total - total // 2)
        pad = int(self.padding)
        out = (size + 2 * pad - self.kernel) // self.stride + 1
        return Window(out, pad, max((out - 1) * self.stride + self.kernel - size - pad, 0))

    def out_shape(self, shape: Shape) -> Shape:
        """Return the output shape for input ``shape``; raise :class:`BadInput` if it is empty."""
        rows, cols = self.window(shape[1]).size, self.window(shape[2]).size
        if rows < 1 or cols < 1:
            raise BadInput(
                f"{self.name}: the {self.kernel}x{self.kernel} kernel does not fit",
                expected=f"an input of at least {self.kernel} rows and columns, padding included",
                found=f"{shape[1]}x{shape[2]} with padding {self.padding}",
                fix="use a smaller kernel, more padding or fewer poolings before it",
            )
        return (self.out_channels, rows, cols)


@dataclass(frozen=True)
class Dense:
    """Fully connected layer with weights ``W[m, n]``, n over the flattened (channel, row, col)."""

    kind: ClassVar[str] = "dense"
    units: int
    bias: bool = True
    name: str = ""

    def verify(self) -> None:
        """Raise :class:`BadInput` if a field is out of range."""
        require_int(f"{self.name or 'dense'}: units", self.units, 1)
        if not isinstance(self.bias, bool):
            raise BadInput(f"{self.name or 'dense'}: bias", expected="True or False",
                           found=repr(self.bias))

    def out_shape(self, shape: Shape) -> Shape:
        """Return ``(units, 1, 1)``; raise :class:`BadInput` if the input is not flattened."""
        if shape[1:] != (1, 1):
            raise BadInput(
                f"{self.name}: a Dense layer reads a vector",
                expected="a flattened input",
                found=f"shape {shape}",
                fix="put Flatten() before it",
            )
        return (self.units, 1, 1)


@dataclass(frozen=True)
class Relu:
    """max(x, 0); its gradient at 0 is 0."""

    kind: ClassVar[str] = "relu"
    name: str = ""

    def verify(self) -> None:
        """Nothing can be wrong."""

    def out_shape(self, shape: Shape) -> Shape:
        """Return ``shape``."""
        return shape


@dataclass(frozen=True)
class MaxPool2x2:
    """Maximum of 2x2 windows, stride 2; an odd last row or column is left out (floor rule).

    The gradient goes to the first maximum of a window in row-major order.
    """

    kind: ClassVar[str] = "maxpool2x2"
    name: str = ""

    def verify(self) -> None:
        """Nothing can be wrong."""

    def out_shape(self, shape: Shape) -> Shape:
        """Return the halved shape; raise :class:`BadInput` if a side is shorter than 2."""
        if shape[1] < 2 or shape[2] < 2:
            raise BadInput(
                f"{self.name}: 2x2 pooling",
                expected="an input of at least 2x2 pixels",
                found=f"{shape[1]}x{shape[2]}",
                fix="remove this pooling",
            )
        return (shape[0], shape[1] // 2, shape[2] // 2)


@dataclass(frozen=True)
class Flatten:
    """Reshape ``(channels, rows, cols)`` to a vector in this order."""

    kind: ClassVar[str] = "flatten"
    name: str = ""

    def verify(self) -> None:
        """Nothing can be wrong."""

    def out_shape(self, shape: Shape) -> Shape:
        """Return ``(channels * rows * cols, 1, 1)``."""
        return (shape[0] * shape[1] * shape[2], 1, 1)


Op = Conv | Dense | Relu | MaxPool2x2 | Flatten
"""One operation of a network."""

OP_TYPES: dict[str, type[Any]] = {t.kind: t for t in (Conv, Dense, Relu, MaxPool2x2, Flatten)}
"""Operation classes by the name they have in saved graphs."""


def op_to_dict(op: Op) -> dict[str, Any]:
    """Return ``op`` as plain values for JSON."""
    return {"op": op.kind, **{f.name: getattr(op, f.name) for f in fields(op)}}


def op_from_dict(entry: Any) -> Op:
    """Rebuild an operation from :func:`op_to_dict`; raise :class:`BadInput` if it is malformed."""
    if not isinstance(entry, dict) or entry.get("op") not in OP_TYPES:
        found = entry.get("op") if isinstance(entry, dict) else entry
        raise UnsupportedModel("operation of a saved graph",
                               expected="one of " + ", ".join(OP_TYPES), found=repr(found))
    cls = OP_TYPES[entry["op"]]
    known = {f.name for f in fields(cls)}
    values = {key: value for key, value in entry.items() if key != "op"}
    wrong = sorted(set(values) - known)
    if wrong:
        raise BadInput(f"fields of operation {entry['op']}", expected=", ".join(sorted(known)),
                       found=", ".join(wrong))
    try:
        op: Op = cls(**values)
    except TypeError as error:
        raise BadInput(f"saved operation {entry['op']} is incomplete ({error})") from None
    return op
