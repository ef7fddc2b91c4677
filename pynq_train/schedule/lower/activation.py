"""Activations as fields of descriptors: the only place of the lowering that writes these.

Forward they are applied to results; backward a unit reads a gradient through the flags that the
forward pass has stored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pynq_train.graph.activation import Activation
from pynq_train.hw.commands import LoadMode
from pynq_train.program.program import Fields
from pynq_train.schedule.specs.spec import LayerSpec


def activation_fields(activation: Activation, prefix: str) -> Fields:
    """Return the fields of an activation, with what their names begin with (``y.``, ``v.v_``).

    ``relu``: negative values become 0. ``clip``: values above the limit of the step-block entry
    become the limit.
    """
    return {f"{prefix}relu": int(activation.low is not None),
            f"{prefix}clip": int(activation.top is not None)}


@dataclass(frozen=True)
class Loading:
    """How a loader reads a map: as it stands, or a gradient through flags.

    ``mode``: where flags stand, and what becomes of the map.
    """

    mode: LoadMode = LoadMode.PLAIN

    @classmethod
    def gradient(cls, spec: LayerSpec) -> Loading:
        """Return how the gradient of a layer's output is read."""
        return cls(spec.gradient_mode)

    def fields(self, name: str) -> Fields:
        """Return the fields of the loader's section ``name``."""
        return {f"{name}.mode": int(self.mode)}


def mask_fields(name: str, mask: LayerSpec | None, at: Callable[[str], int], first: int) -> Fields:
    """Return the fields with which the vector unit reads map ``name`` through flags.

    Args:
        name: the map, a or b.
        mask: the layer whose flags they are; None for a map that is read as it stands.
        at: byte offsets of symbols.
        first: first image.
    """
    if mask is None:
        return {}
    assert mask.flags is not None
    return {f"v.v_mask_{name}": 1,
            "v.m_off": at(f"{mask.name}.flags") + first * mask.flags.image_stride}
