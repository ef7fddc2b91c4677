"""Tensors that a foreign network has once and uses in several layers; here each has its own."""

from __future__ import annotations

from collections.abc import Collection, Hashable

WEIGHT, BIAS = "weight", "bias"
_PLURAL = {WEIGHT: "weights", BIAS: "biases"}


class SharedTensors:
    """Whose tensors the layers of a network under construction have."""

    def __init__(self) -> None:
        self._owners: dict[tuple[str, Hashable], list[str]] = {}

    def note(self, layer: str, part: str, owner: Hashable) -> None:
        """Note that a part (``weight`` or ``bias``) of ``layer`` is the tensor of ``owner``."""
        self._owners.setdefault((part, owner), []).append(layer)

    @property
    def sharing_weights(self) -> set[str]:
        """All layers whose weights another one has, too."""
        return {name for (part, _), names in self._owners.items()
                if part == WEIGHT and len(names) > 1 for name in names}

    def moved_apart(self, layers: Collection[str], frozen: Collection[str]) -> list[str]:
        """Return a sentence for each tensor of several of ``layers`` that training makes several.

        ``frozen``: names of parts (``conv1.weight``) that do not learn.
        """
        found: dict[tuple[str, ...], str] = {}
        for (part, _), names in self._owners.items():
            shared = tuple(name for name in names if name in layers)
            if len(shared) > 1 and any(f"{name}.{part}" not in frozen for name in shared):
                found[shared] = WEIGHT if WEIGHT in (part, found.get(shared)) else BIAS
        return [f"{', '.join(shared)} share one tensor of {_PLURAL[part]}; here each has a copy of "
                "its own, and training moves them apart: freeze them (trainable=) or give each use "
                "a layer of its own" for shared, part in found.items()]
