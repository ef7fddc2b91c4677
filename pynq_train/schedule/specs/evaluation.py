"""Dropout in programs: random bits by the place of an element, and evaluation without it."""

from __future__ import annotations

from collections.abc import Sequence

from pynq_train.schedule.specs.spec import LayerSpec


def evaluation_sources(specs: Sequence[LayerSpec], sources: Sequence[tuple[int, ...]]
                       ) -> tuple[tuple[int, ...], ...]:
    """Positions that each layer reads where nothing is dropped: past all dropouts.

    Only dropouts with an activation behind them remain, as that.
    """
    def past(place: int) -> int:
        while place >= 0 and vanishes(specs[place]):
            place = sources[place][0]
        return place

    return tuple(tuple(past(place) for place in wires) for wires in sources)


def vanishes(spec: LayerSpec) -> bool:
    """Whether evaluation does without a layer."""
    return spec.drop is not None and not spec.activation.has_flags
