"""Activations as fields of descriptors."""

from __future__ import annotations

from pynq_train.graph.activation import Activation
from pynq_train.program.program import Fields


def activation_fields(activation: Activation, prefix: str) -> Fields:
    """Return the fields of an activation, with what their names begin with (``y.``, ``v.v_``).

    ``relu``: negative values become 0. ``clip``: values above the limit of the step-block entry
    become the limit.
    """
    return {f"{prefix}relu": int(activation.low is not None),
            f"{prefix}clip": int(activation.top is not None)}
