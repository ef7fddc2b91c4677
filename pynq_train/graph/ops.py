"""The operations of a network, as frozen values with their shape rules.

A shape is always ``(channels, rows, cols)``; a flattened or fully connected value is
``(units, 1, 1)``. Every operation has a ``name``, and ``inputs``: the names of the operations it
reads, ``"input"`` for the network's input; empty means the operation before it in the list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pynq_train.errors import BadInput
from pynq_train.graph.activation import ACTIVATIONS, Activate
from pynq_train.graph.curves import CURVES, Curve
from pynq_train.graph.joins import Add, Concat, Multiply, PadChannels, PickChannels
from pynq_train.graph.norms import GroupNorm
from pynq_train.graph.pooling import AvgPool, GlobalAvgPool, MaxPool, MaxPool2x2, Upsample
from pynq_train.graph.shapes import Shape, require_int, require_number
from pynq_train.graph.windows import (
    Padding,
    Pair,
    Side,
    Window,
    Windowed,
    both_axes,
    ends_of,
    shortest,
    window_of,
)

__all__ = ["ACTIVATIONS", "CURVES", "OP_TYPES", "Activate", "Add", "AvgPool", "BatchNorm",
           "Concat", "Conv", "ConvTranspose", "Curve", "Dense", "Dropout", "Flatten",
           "GlobalAvgPool", "GroupNorm", "MaxPool", "MaxPool2x2", "Multiply", "Op", "PadChannels",
           "PickChannels", "Shape", "Upsample", "require_int"]


@dataclass(frozen=True)
class Conv(Windowed):
    """Convolution with weights ``W[m, n, kr, kc]``, as in PyTorch (a cross-correlation).

    ``kernel`` and ``stride`` are one number, or ``(rows, columns)``. ``padding`` is the number of
    zero rows and columns on each side, 0 .. ``kernel`` - 1; or ``(rows, columns)``, each a number
    or ``(before, after)``; or ``"same"``: output size ceil(input / stride), the odd zero at the
    bottom and right. With a stride, rows and columns that no window reaches are left out (floor
    rule). With ``groups`` > 1 output channels and input channels fall into that many groups in
    order, each reading its own: n counts the channels of one group (1 if depthwise: ``groups``
    equals the input channels). With ``dilation`` > 1, a number or ``(rows, columns)``, the pixels
    of a window are so many rows and columns apart: it reaches over (kernel - 1) * dilation + 1, and
    padding may be up to one less.
    """

    kind: ClassVar[str] = "conv"
    arity: ClassVar[tuple[int, int | None]] = (1, 1)
    out_channels: int
    kernel: Side
    stride: Side = 1
    padding: Padding = 0
    bias: bool = True
    name: str = ""
    groups: int = 1
    inputs: tuple[str, ...] = ()
    dilation: Side = 1

    def __post_init__(self) -> None:
        """Let every window of a kind have one form."""
        super().__post_init__()
        object.__setattr__(self, "dilation", shortest(self.dilation))

    @property
    def dilation_sides(self) -> Pair:
        """Rows and columns from pixel to pixel of a window."""
        return Pair.of(self.dilation)

    @property
    def span_sides(self) -> Pair:
        """Rows and columns from the first to the last pixel of a window."""
        kernel, dilation = self.kernel_sides, self.dilation_sides
        return Pair((kernel.rows - 1) * dilation.rows + 1, (kernel.cols - 1) * dilation.cols + 1)

    def verify(self) -> None:
        """Raise :class:`BadInput` if a field is out of range."""
        who = self.name or "conv"
        require_int(f"{who}: out_channels", self.out_channels, 1)
        for axis, one in both_axes(f"{who}: dilation", self.dilation):
            require_int(axis, one, 1)
        self.verify_windows(who)
        require_int(f"{who}: groups", self.groups, 1)
        if self.out_channels % self.groups:
            raise BadInput(f"{who}: groups", expected=f"a divisor of {self.out_channels} output "
                           "channels", found=self.groups)
        if not isinstance(self.bias, bool):
            raise BadInput(f"{who}: bias", expected="True or False", found=repr(self.bias))

    def weight_shape(self, shape: Shape) -> tuple[int, int, int, int]:
        """Return ``(m, n, kr, kc)`` for input ``shape``."""
        return (self.out_channels, shape[0] // self.groups, *self.kernel_sides)

    def out_shape(self, shape: Shape) -> Shape:
        """Return the output shape for input ``shape``; raise :class:`BadInput` if it is empty."""
        if shape[0] % self.groups:
            raise BadInput(f"{self.name}: groups", expected=f"a divisor of {shape[0]} input "
                           "channels", found=self.groups)
        _, rows, cols = self.windowed_shape(f"{self.name}: the {self.span_sides} kernel", shape)
        return (self.out_channels, rows, cols)


@dataclass(frozen=True)
class ConvTranspose(Windowed):
    """Transposed convolution with weights ``W[n, m, kr, kc]``, as in PyTorch: n counts its inputs.

    It is what takes a convolution's output back to the size of its input: each pixel of the map
    adds its kernel, times its value, at ``stride`` times its place. ``padding`` rows and columns
    are cut off then, and ``output_padding`` ones (below the stride), which no pixel reaches, are
    added at the bottom and right: (size - 1) * stride + kernel - padding + output_padding.
    ``"same"``: output size is size * stride. Numbers and pairs are as in :class:`Conv`; with
    ``groups`` > 1 m counts the output channels of one group.
    """

    kind: ClassVar[str] = "convtranspose"
    arity: ClassVar[tuple[int, int | None]] = (1, 1)
    out_channels: int
    kernel: Side
    stride: Side = 1
    padding: Padding = 0
    output_padding: Side = 0
    bias: bool = True
    name: str = ""
    groups: int = 1
    inputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Let each of the numbers have one form."""
        super().__post_init__()
        object.__setattr__(self, "output_padding", shortest(self.output_padding))

    def verify(self) -> None:
        """Raise :class:`BadInput` if a field is out of range."""
        who = self.name or self.kind
        require_int(f"{who}: out_channels", self.out_channels, 1)
        self.verify_windows(who)
        for (axis, one), stride in zip(both_axes(f"{who}: output_padding", self.output_padding),
                                       self.stride_sides):
            require_int(axis, one, 0, 0 if self.padding == "same" else stride - 1)
        require_int(f"{who}: groups", self.groups, 1)
        if self.out_channels % self.groups:
            raise BadInput(f"{who}: groups", expected=f"a divisor of {self.out_channels} output "
                           "channels", found=self.groups)
        if not isinstance(self.bias, bool):
            raise BadInput(f"{who}: bias", expected="True or False", found=repr(self.bias))

    def weight_shape(self, shape: Shape) -> tuple[int, int, int, int]:
        """Return ``(n, m, kr, kc)`` for input ``shape``."""
        return (shape[0], self.out_channels // self.groups, *self.kernel_sides)

    def windows(self, shape: Shape) -> tuple[Window, Window]:
        """Return the windows over the output, one for each pixel of an input of ``shape``."""
        _, *sizes = self._enlarged(shape)
        rows, cols = (window_of(size, kernel, stride, ends) for size, kernel, stride, ends
                      in zip(sizes, self.kernel_sides, self.stride_sides, ends_of(self.padding)))
        return rows, cols

    def out_shape(self, shape: Shape) -> Shape:
        """Return the output shape for input ``shape``; raise :class:`BadInput` if it is empty."""
        if shape[0] % self.groups:
            raise BadInput(f"{self.name}: groups", expected=f"a divisor of {shape[0]} input "
                           "channels", found=self.groups)
        out = self._enlarged(shape)
        if min(out) < 1:
            raise BadInput(f"{self.name}: padding", expected="some rows and columns left",
                           found=f"{out[1]}x{out[2]} of a map of {shape[1]}x{shape[2]}",
                           fix="use less padding")
        return out

    def _enlarged(self, shape: Shape) -> Shape:
        """Return the output shape, whose sizes may be below 1."""
        rows, cols = (
            size * stride if isinstance(ends, str)
            else (size - 1) * stride + kernel - sum(Pair.of(ends)) + extra
            for size, kernel, stride, ends, extra in zip(
                shape[1:], self.kernel_sides, self.stride_sides, ends_of(self.padding),
                Pair.of(self.output_padding)))
        return (self.out_channels, rows, cols)


@dataclass(frozen=True)
class Dense:
    """Fully connected layer with weights ``W[m, n]``, n over the flattened (channel, row, col)."""

    kind: ClassVar[str] = "dense"
    arity: ClassVar[tuple[int, int | None]] = (1, 1)
    units: int
    bias: bool = True
    name: str = ""
    inputs: tuple[str, ...] = ()

    def verify(self) -> None:
        """Raise :class:`BadInput` if a field is out of range."""
        require_int(f"{self.name or 'dense'}: units", self.units, 1)
        if not isinstance(self.bias, bool):
            raise BadInput(f"{self.name or 'dense'}: bias", expected="True or False",
                           found=repr(self.bias))

    def weight_shape(self, shape: Shape) -> tuple[int, int]:
        """Return ``(m, n)`` for input ``shape``."""
        return (self.units, shape[0])

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
class BatchNorm:
    """``gamma * (x - mean) / sqrt(variance + eps) + beta`` per channel, as in PyTorch.

    In training mean and variance (divided by the count) are those of the batch, over images, rows
    and columns; running values move towards them by the part ``momentum`` (the variance divided
    by the count - 1) and serve evaluation. With ``frozen`` the running values serve training too
    and do not move; gamma and beta still learn. Parameters: ``weight`` (gamma), ``bias`` (beta),
    ``mean`` and ``variance`` (running), each ``(channels,)``.
    """

    kind: ClassVar[str] = "batchnorm"
    arity: ClassVar[tuple[int, int | None]] = (1, 1)
    momentum: float = 0.1
    eps: float = 1e-5
    frozen: bool = False
    name: str = ""
    inputs: tuple[str, ...] = ()

    def verify(self) -> None:
        """Raise :class:`BadInput` if a field is out of range."""
        who = self.name or "batchnorm"
        require_number(f"{who}: momentum", self.momentum, 0, 1)
        require_number(f"{who}: eps", self.eps, 0, 1)
        if not isinstance(self.frozen, bool):
            raise BadInput(f"{who}: frozen", expected="True or False", found=repr(self.frozen))

    def out_shape(self, shape: Shape) -> Shape:
        """Return ``shape``."""
        return shape


@dataclass(frozen=True)
class Dropout:
    """In training, zero with probability ``rate``, else x / (1 - rate); in evaluation x.

    What is dropped follows from seed, step, operation and element alone (``fixed.counter_hash``).
    """

    kind: ClassVar[str] = "dropout"
    arity: ClassVar[tuple[int, int | None]] = (1, 1)
    rate: float
    name: str = ""
    inputs: tuple[str, ...] = ()

    def verify(self) -> None:
        """Raise :class:`BadInput` if the rate is not in 0 .. below 1."""
        require_number(f"{self.name or 'dropout'}: rate", self.rate, 0, 1)

    def out_shape(self, shape: Shape) -> Shape:
        """Return ``shape``."""
        return shape


@dataclass(frozen=True)
class Flatten:
    """Reshape ``(channels, rows, cols)`` to a vector in this order."""

    kind: ClassVar[str] = "flatten"
    arity: ClassVar[tuple[int, int | None]] = (1, 1)
    name: str = ""
    inputs: tuple[str, ...] = ()

    def verify(self) -> None:
        """Nothing can be wrong."""

    def out_shape(self, shape: Shape) -> Shape:
        """Return ``(channels * rows * cols, 1, 1)``."""
        return (shape[0] * shape[1] * shape[2], 1, 1)


Op = (Conv | Dense | BatchNorm | Activate | Curve | MaxPool2x2 | MaxPool | AvgPool | GlobalAvgPool
      | Upsample | ConvTranspose | Add | Multiply | Concat | PadChannels | PickChannels | Dropout
      | Flatten | GroupNorm)
"""One operation of a network."""

_TYPES: tuple[type[Op], ...] = (
    Conv, Dense, BatchNorm, *ACTIVATIONS, *CURVES, MaxPool2x2, MaxPool, AvgPool, GlobalAvgPool,
    Upsample, ConvTranspose, Add, Multiply, Concat, PadChannels, PickChannels, Dropout, Flatten,
    GroupNorm)
OP_TYPES: dict[str, type[Op]] = {own.kind: own for own in _TYPES}
"""Operation classes by the name they have in saved graphs."""
