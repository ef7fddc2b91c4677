"""Fields of POOL stand where the vector unit's streams look for them."""

from __future__ import annotations

from pynq_train.hw.commands import SECTIONS
from pynq_train.hw.fields import Place
from pynq_train.hw.pool import SHARED_PLACES

POOL, VECTOR = ({place.name: place for place in SECTIONS[name].places} for name in "pv")


def bits(place: Place) -> range:
    first = 64 * place.word + place.lsb
    return range(first, first + place.field.bits)


def test_shared_fields_stand_in_one_place() -> None:
    assert {name: bits(POOL[name]) for name in SHARED_PLACES} == {
        name: bits(VECTOR[other]) for name, other in SHARED_PLACES.items()}


def test_all_other_modes_of_vector_are_zero() -> None:
    pads = [bit for place in POOL.values() if place.field.reserved for bit in bits(place)]
    modes = [place for name, place in VECTOR.items()
             if place.field.bits == 1 and name not in SHARED_PLACES.values()]
    assert len(modes) == 12
    assert all(bits(place)[0] in pads for place in modes)
