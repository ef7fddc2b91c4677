"""Pooling operations and their opposite, as frozen values with their shape rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from pynq_train.errors import BadInput
from pynq_train.graph.shapes import Shape, require_int
from pynq_train.graph.windows import Padding, Side, Windowed

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class MaxPool2x2:
    """Maximum of 2x2 windows, stride 2; an odd last row or column is left out (floor rule).

    The gradient goes to the first maximum of a window in row-major order.
    """

    kind: ClassVar[str] = "maxpool2x2"
    arity: ClassVar[tuple[int, int | None]] = (1, 1)
    name: str = ""
    inputs: tuple[str, ...] = ()

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
class _Pooling(Windowed):
    """Pooling over windows that may overlap."""

    kind: ClassVar[str] = ""
    arity: ClassVar[tuple[int, int | None]] = (1, 1)
    kernel: Side
    stride: Side
    padding: Padding = 0
    name: str = ""
    inputs: tuple[str, ...] = ()

    def verify(self) -> None:
        """Raise :class:`BadInput` if a field is out of range."""
        self.verify_windows(self.name or self.kind, half=True)

    def out_shape(self, shape: Shape) -> Shape:
        """Return the output shape for input ``shape``; raise :class:`BadInput` if it is empty."""
        return self.windowed_shape(f"{self.name}: the {self.kernel_sides} window", shape)


@dataclass(frozen=True)
class MaxPool(_Pooling):
    """Maximum of windows of ``kernel``, ``stride`` apart; padding is never chosen.

    Sizes follow :class:`~pynq_train.graph.ops.Conv`. The gradient goes to the first maximum of a
    window in row-major order; where windows overlap, a pixel's gradients add.
    """

    kind: ClassVar[str] = "maxpool"


@dataclass(frozen=True)
class AvgPool(_Pooling):
    """Sum of windows of ``kernel``, divided by its rows times its columns.

    Sizes follow :class:`~pynq_train.graph.ops.Conv`; padding counts as zeros (PyTorch's
    ``count_include_pad``).
    """

    kind: ClassVar[str] = "avgpool"


@dataclass(frozen=True)
class GlobalAvgPool:
    """Mean of each channel's map."""

    kind: ClassVar[str] = "globalavgpool"
    arity: ClassVar[tuple[int, int | None]] = (1, 1)
    name: str = ""
    inputs: tuple[str, ...] = ()

    def verify(self) -> None:
        """Nothing can be wrong."""

    def out_shape(self, shape: Shape) -> Shape:
        """Return ``(channels, 1, 1)``."""
        return (shape[0], 1, 1)


@dataclass(frozen=True)
class Upsample:
    """Larger maps: ``factor`` times the rows and columns.

    ``mode`` "nearest": each pixel ``factor`` times. "bilinear": between the centres of the pixels
    linear along rows and columns, beyond them as at the border (PyTorch's align_corners=False);
    with ``corners`` the pixels in the corners stay there: ``factor`` * (size - 1) + 1 rows and
    columns (align_corners=True). The gradient of a pixel is the sum of those that it is part of.
    """

    kind: ClassVar[str] = "upsample"
    arity: ClassVar[tuple[int, int | None]] = (1, 1)
    factor: int = 2
    name: str = ""
    inputs: tuple[str, ...] = ()
    mode: str = "nearest"
    corners: bool = False

    def verify(self) -> None:
        """Raise :class:`BadInput` if a field is out of range."""
        who = self.name or self.kind
        require_int(f"{who}: factor", self.factor, 2)
        if self.mode not in ("nearest", "bilinear"):
            raise BadInput(f"{who}: mode", expected="'nearest' or 'bilinear'",
                           found=repr(self.mode)[:80])
        if not isinstance(self.corners, bool) or (self.corners and self.mode == "nearest"):
            raise BadInput(f"{who}: corners", expected="True or False, False with mode 'nearest'",
                           found=repr(self.corners)[:80])

    def out_shape(self, shape: Shape) -> Shape:
        """Return ``shape`` with larger rows and columns."""
        rows, cols = (self.factor * (size - 1) + 1 if self.corners else self.factor * size
                      for size in shape[1:])
        return (shape[0], rows, cols)

    def weights(self, size: int) -> FloatArray:
        """Return what each pixel of an axis takes of each of its input's ``size``: a matrix.

        Rows are pixels of the output.
        """
        _, out, _ = self.out_shape((1, size, size))
        at = np.arange(out)
        if self.mode == "nearest":
            return (at[:, None] // self.factor == np.arange(size)).astype(np.float32)
        places = at / self.factor if self.corners else (at + 0.5) / self.factor - 0.5
        distance = np.abs(np.clip(places, 0, size - 1)[:, None] - np.arange(size))
        return np.maximum(1 - distance, 0).astype(np.float32)
