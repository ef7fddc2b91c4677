"""Kinds of nodes of the backward graph: one row for each, with all that follows from it."""

from __future__ import annotations

from dataclasses import dataclass

from pynq_train.hw.commands import Opcode


@dataclass(frozen=True)
class NodeKind:
    """What a node of the backward graph computes.

    Attributes:
        label: its name in texts.
        opcode: of the descriptors that run it, None if nothing runs.
        through: it goes through a layer whose input may be of another size: it makes the gradient
            of that input.
        of_output: it belongs to the gradient of a layer's output, not to the way to its input.
        copies: values stay as they are, and so does their exponent.
    """

    label: str
    opcode: Opcode | None
    through: bool = False
    of_output: bool = False
    copies: bool = False

    def __str__(self) -> str:
        """Return the label."""
        return self.label

    @property
    def on_vector_unit(self) -> bool:
        """Whether the vector unit runs it."""
        return self.opcode in (Opcode.VECTOR, Opcode.POOL)


BACKWARD = NodeKind("backward", Opcode.CONV, through=True)
"""A transposed convolution."""
SUM = NodeKind("sum", Opcode.VECTOR, of_output=True)
"""The sum of two gradients."""
MASK = NodeKind("mask", Opcode.VECTOR, of_output=True, copies=True)
"""A copy behind an activation, or of a gradient that others read too."""
NORM = NodeKind("norm", Opcode.VECTOR, through=True)
"""Through a normalisation."""
CURVE = NodeKind("curve", Opcode.VECTOR, through=True)
"""Through a curve: times the slope at the layer's input."""
PRODUCT = NodeKind("product", Opcode.VECTOR, through=True)
"""Through a product: times the other input, a map or a vector."""
FACTOR = NodeKind("factor", Opcode.VECTOR, through=True)
"""Back to the vector of a scaling: times the map, summed over its pixels."""
SPREAD = NodeKind("spread", Opcode.VECTOR, through=True)
"""Through a mean."""
DROP = NodeKind("drop", Opcode.VECTOR)
"""Through a dropout, whose flags are those of an activation too."""
UNPOOL = NodeKind("unpool", Opcode.POOL, through=True)
"""Back to the largest value of each window."""
VIEW = NodeKind("view", None, of_output=True, copies=True)
"""Nothing is computed: the part of a concatenation's gradient that belongs to a layer."""
