"""Rules on the fields of activations: which may stand together, and what they must agree with."""

from __future__ import annotations

from typing import Protocol

from pynq_train.program.program import Fields

GEOMETRY = {"y.relu": "g.g_relu", "y.clip": "g.g_clip"}
"""Fields of the store unit's activation, and those of section g that say the same."""


class Require(Protocol):
    """Raises IllegalProgram, with the descriptor's name, where a rule is broken."""

    def __call__(self, good: bool, what: str, expected: object, found: object) -> None:
        """Raise unless ``good``."""


def check_convolution(f: Fields, require: Require) -> None:
    """Check the activation of a convolution; its caller knows that gradients have none.

    Args:
        f: fields of the descriptor.
        require: raises the error of a rule.

    Raises:
        IllegalProgram: the first rule that it breaks.
    """
    for name, meaning in GEOMETRY.items():
        require(f[name] == f[meaning], name, f"{meaning} ({f[meaning]})", f[name])
    require(not f["y.clip"] or bool(f["y.relu"]), "y.clip", "y.relu with it", "none")


def check_vector(f: Fields, require: Require) -> None:
    """Check the activation of a VECTOR descriptor; arguments as of :func:`check_convolution`.

    Raises:
        IllegalProgram: the first rule that it breaks.
    """
    for name, needed in (("v_relu", "v_write"), ("v_clip", "v_relu")):
        require(not f[f"v.{name}"] or bool(f[f"v.{needed}"]), name, f"{needed} with it", "none")
