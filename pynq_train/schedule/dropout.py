"""Dropout in programs: random bits by the place of an element, and evaluation without it."""

from __future__ import annotations

from collections.abc import Sequence

from pynq_train.schedule.layer import LayerSpec
from pynq_train.schedule.lower import Fields


def drop_fields(spec: LayerSpec, first: int, images: int) -> Fields:
    """Fields of a VECTOR descriptor that drops ``images`` images of a layer from ``first`` on.

    Words count in the order (image, channel block, row, column) whatever the layout in memory is,
    so that mini-batch, parts and flattening change no mask.
    """
    assert spec.drop is not None
    blocks, words = spec.x.blocks, spec.words
    whole = blocks * words
    fields = {"v.v_drop": 1, "v.d_least": spec.drop.least,
              "v.d_tensor": spec.drop.place}
    if spec.dense:  # [block][image]: a word for each image
        return {**fields, "v.d_step": blocks, "v.d_block": 1 - (words - 1) * blocks}
    return {**fields, "v.d_first": first * whole, "v.d_step": 1, "v.d_image": whole - words + 1,
            "v.d_block": 1 - (images - 1) * whole}


def evaluation_sources(specs: Sequence[LayerSpec], sources: Sequence[tuple[int, ...]]
                       ) -> tuple[tuple[int, ...], ...]:
    """Positions that each layer reads where nothing is dropped: past all dropouts.

    Only dropouts with a ReLU behind them remain, as a ReLU.
    """
    def past(place: int) -> int:
        while place >= 0 and vanishes(specs[place]):
            place = sources[place][0]
        return place

    return tuple(tuple(past(place) for place in wires) for wires in sources)


def vanishes(spec: LayerSpec) -> bool:
    """Whether evaluation does without a layer."""
    return spec.drop is not None and not spec.relu
