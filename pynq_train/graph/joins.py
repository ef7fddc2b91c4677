"""Operations that join branches, or fit one to another, as frozen values with their shape rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pynq_train.arrays import plain
from pynq_train.errors import BadInput
from pynq_train.graph.shapes import Shape, require_int


@dataclass(frozen=True)
class Add:
    """Sum of two feature maps of one shape (the end of a residual block)."""

    kind: ClassVar[str] = "add"
    arity: ClassVar[tuple[int, int | None]] = (2, 2)
    name: str = ""
    inputs: tuple[str, ...] = ()

    def verify(self) -> None:
        """Do nothing: no field can be wrong."""

    def out_shape(self, first: Shape, second: Shape) -> Shape:
        """Return the common shape.

        Raises:
            BadInput: the two differ.
        """
        if first != second:
            raise BadInput(f"{self.name}: the inputs of Add", expected="two equal shapes",
                           found=f"{first} and {second}",
                           fix="put a 1x1 convolution on the shorter branch")
        return first


@dataclass(frozen=True)
class Multiply:
    """Product of two feature maps of one shape, or of a map and a vector: a factor per channel.

    With a mean, two dense layers and a sigmoid in front of the vector it is the scaling of
    squeeze-and-excitation.
    """

    kind: ClassVar[str] = "multiply"
    arity: ClassVar[tuple[int, int | None]] = (2, 2)
    name: str = ""
    inputs: tuple[str, ...] = ()

    def verify(self) -> None:
        """Do nothing: no field can be wrong."""

    def out_shape(self, first: Shape, second: Shape) -> Shape:
        """Return the shape of the map.

        Raises:
            BadInput: the two have different channels, or neither the same size nor one pixel.
        """
        if first[0] != second[0] or (first != second and (1, 1) not in (first[1:], second[1:])):
            raise BadInput(f"{self.name}: the inputs of Multiply", expected="two equal shapes, or "
                           "a map and a vector of its channels", found=f"{first} and {second}")
        return first if second[1:] == (1, 1) else second


@dataclass(frozen=True)
class Concat:
    """Concatenation of channels: those of all inputs, one after the other."""

    kind: ClassVar[str] = "concat"
    arity: ClassVar[tuple[int, int | None]] = (2, None)
    name: str = ""
    inputs: tuple[str, ...] = ()

    def verify(self) -> None:
        """Do nothing: no field can be wrong."""

    def out_shape(self, *shapes: Shape) -> Shape:
        """Return the shape with the channels of all inputs.

        Raises:
            BadInput: rows or columns differ.
        """
        if len({shape[1:] for shape in shapes}) != 1:
            raise BadInput(f"{self.name}: the inputs of Concat", expected="equal rows and columns",
                           found=" and ".join(f"{r}x{c}" for _, r, c in shapes))
        return (sum(shape[0] for shape in shapes), *shapes[0][1:])


@dataclass(frozen=True)
class PadChannels:
    """Channels of zeros in front and behind: shortcuts without weights (ResNet's option A).

    Attributes:
        before: channels of zeros in front of the input's.
        after: channels of zeros behind them.
    """

    kind: ClassVar[str] = "padchannels"
    arity: ClassVar[tuple[int, int | None]] = (1, 1)
    before: int
    after: int
    name: str = ""
    inputs: tuple[str, ...] = ()

    def verify(self) -> None:
        """Check the numbers of channels.

        Raises:
            BadInput: one is negative or no integer.
        """
        for label in ("before", "after"):
            require_int(f"{self.name or self.kind}: {label}", getattr(self, label), 0)

    def out_shape(self, shape: Shape) -> Shape:
        """Return the shape with the channels of zeros."""
        return (self.before + shape[0] + self.after, *shape[1:])


@dataclass(frozen=True)
class PickChannels:
    """Some channels of a map in any order: a part of a split, or a shuffle.

    Attributes:
        channels: for each channel of the output the channel of the input that it is; one may stand
            there several times.
    """

    kind: ClassVar[str] = "pickchannels"
    arity: ClassVar[tuple[int, int | None]] = (1, 1)
    channels: tuple[int, ...]
    name: str = ""
    inputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Take lists and NumPy's scalars as what they hold."""
        if isinstance(self.channels, (list, tuple, np.ndarray)):
            object.__setattr__(self, "channels", tuple(map(plain, self.channels)))

    def verify(self) -> None:
        """Check the channels.

        Raises:
            BadInput: there is none, or one is negative or no integer.
        """
        who = f"{self.name or self.kind}: channels"
        if not isinstance(self.channels, tuple) or not self.channels:
            raise BadInput(who, expected="at least one channel of the input",
                           found=repr(self.channels)[:80])
        for channel in self.channels:
            require_int(who, channel, 0)

    def out_shape(self, shape: Shape) -> Shape:
        """Return the shape with the picked channels.

        Raises:
            BadInput: the input has not so many.
        """
        most = max(self.channels)
        if most >= shape[0]:
            raise BadInput(f"{self.name}: channels", expected=f"channels 0 to {shape[0] - 1} of "
                           "the input", found=most)
        return (len(self.channels), *shape[1:])
