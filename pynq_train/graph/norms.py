"""Normalisations whose statistics are those of each image, as frozen values with their rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pynq_train.errors import BadInput
from pynq_train.graph.shapes import Shape, require_int, require_number


@dataclass(frozen=True)
class GroupNorm:
    """``gamma * (x - mean) / sqrt(variance + eps) + beta``, as in PyTorch.

    Mean and variance (divided by the count) are those of an image and a group of neighbouring
    channels, over the group's channels, rows and columns; in training and in evaluation alike. One
    group is a layer normalisation over channels, rows and columns; as many groups as channels are
    an instance normalisation. Parameters, unless ``affine`` is off: ``weight`` (gamma) and ``bias``
    (beta), each ``(channels,)``.

    Wu and He, "Group Normalization", 2018.
    """

    kind: ClassVar[str] = "groupnorm"
    arity: ClassVar[tuple[int, int | None]] = (1, 1)
    groups: int
    eps: float = 1e-5
    affine: bool = True
    name: str = ""
    inputs: tuple[str, ...] = ()

    def verify(self) -> None:
        """Raise :class:`BadInput` if a field is out of range."""
        who = self.name or self.kind
        require_int(f"{who}: groups", self.groups, 1)
        require_number(f"{who}: eps", self.eps, 0, 1)
        if not isinstance(self.affine, bool):
            raise BadInput(f"{who}: affine", expected="True or False", found=repr(self.affine))

    def out_shape(self, shape: Shape) -> Shape:
        """Return ``shape``.

        Raises:
            BadInput: the channels do not make so many groups, or a group has one value.
        """
        channels, rows, cols = shape
        if channels % self.groups:
            raise BadInput(f"{self.name}: groups", expected=f"a divisor of {channels} channels",
                           found=self.groups)
        if channels // self.groups * rows * cols == 1:
            raise BadInput(f"{self.name}: values of a group", expected="2 or more", found=1,
                           fix="use fewer groups: a value by itself is always 0 when normalised")
        return shape
