"""Activations: what becomes of results, and on the way back of gradients, as a descriptor says.

The only place of golden that reads their fields; the other modules pass :class:`Activation` and
:class:`Gradient` on as they are (``docs/numerics.md`` 3, *Flags*).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pynq_train.arrays import Array
from pynq_train.hw.commands import LoadMode
from pynq_train.hw.limits import NO_LIMIT
from pynq_train.program.program import Fields

TOP = 32767
"""Largest 16-bit code."""


@dataclass(frozen=True)
class Activation:
    """What is done to codes behind the requantisation, and which of them get a flag.

    Codes are integers of any type in an array of any shape; they are changed in place.

    Attributes:
        relu: negative codes become zero.
        clips: codes above the limit of the step-block entry become the limit.
        above_zero: the flag asks for a code above zero.
        limit: the limit; one above ``TOP`` limits nothing.
    """

    relu: bool
    clips: bool
    above_zero: bool
    limit: int = NO_LIMIT

    @classmethod
    def of_convolution(cls, d: Fields) -> Activation:
        """Return that of section ``g``: without ReLU every element has a gradient."""
        relu = bool(d["g.g_relu"])
        return cls(relu, bool(d["g.g_clip"]), relu)

    @classmethod
    def of_vector(cls, d: Fields) -> Activation:
        """Return that of section ``gv``.

        Without ReLU a flag says that a result is positive; with a dropout all flags are set, and
        the vector unit clears those of dropped elements.
        """
        relu = bool(d["gv.relu"])
        return cls(relu, bool(d["gv.clip"]), relu or not d["gv.drop"])

    def at(self, params: Fields) -> Activation:
        """Return it with the numbers of a step-block entry, given as fields."""
        return replace(self, limit=params["limit"]) if self.clips else self

    def apply(self, codes: Array) -> None:
        """Make codes the results."""
        self.before_pooling(codes)
        if self.relu:
            np.maximum(codes, 0, out=codes)

    def before_pooling(self, codes: Array) -> None:
        """Do what must be done to all codes of a 2x2 window: the limit makes equal ones of them.

        The rest commutes with the maximum and costs a quarter behind it (:meth:`pooled`).
        """
        if self.limit <= TOP:
            np.minimum(codes, self.limit, out=codes)

    def pooled(self, top: Array, index: Array) -> Array:
        """Make maxima the results, and return which of them get a flag.

        Args:
            top: maxima of windows of codes that :meth:`before_pooling` has seen.
            index: place of each in its window, uint16; changed too.

        Returns:
            Flags 0 and 1, uint16 of that shape.
        """
        live = self.live(top).astype(np.uint16)
        if self.relu:
            # After ReLU all values of a window without positive ones are zero: a tie, and index 0.
            index *= live if self.limit > TOP else top > 0
            np.maximum(top, 0, out=top)
        return live

    def live(self, results: Array) -> Array:
        """Return which results get a flag, bool: there the gradient is not zero."""
        live: Array = results > 0 if self.above_zero else np.ones(results.shape, bool)
        if self.limit <= TOP:
            live &= results < self.limit
        return live


@dataclass(frozen=True)
class Gradient:
    """How the gradient of results becomes that of what an activation was applied to.

    Attributes:
        masked: it is zero where the flag is not set; else it is the same.
    """

    masked: bool

    @classmethod
    def of_convolution(cls, d: Fields) -> Gradient:
        """Return that of the gradient operand of section ``g``."""
        return cls(d["g.g_mode"] != LoadMode.PLAIN)

    @classmethod
    def of_vector(cls, d: Fields, name: str) -> Gradient:
        """Return that of map ``name`` (a or b) of section ``gv``: flags are read or written."""
        return cls(bool(d[f"gv.mask_{name}"]) and not d["gv.flags"])

    def through(self, codes: Array, live: Array | None, out: Array | None = None) -> Array:
        """Return a gradient behind the flags.

        Args:
            codes: int16 codes, or int64 words of four of them.
            live: all ones where the flag is set, else zero; of the shape and type of ``codes``.
                None only if nothing is masked.
            out: where a masked gradient is written, which may be one of both; None for a new array.
        """
        if not self.masked:
            return codes
        assert live is not None
        masked: Array = np.bitwise_and(codes, live, out=out)
        return masked
