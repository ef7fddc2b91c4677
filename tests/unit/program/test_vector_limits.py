"""Limits of vector descriptors: numbers of dropped words, fields of activations."""

from __future__ import annotations

import random

import pytest
from reference_models.vector_cases import SYMBOLS, layout, random_drop

from pynq_train.errors import IllegalProgram
from pynq_train.hw.commands import Opcode, pack_descriptor, unpack_descriptor
from pynq_train.program.vectors import check_vector

OFFSETS = {f"v.{name}_off": 4096 * k for k, name in enumerate(SYMBOLS)}


def descriptor(images: int, blocks: int, words: int, **drop: int) -> dict[str, int]:
    modes = {"v.v_write": 1, "v.v_drop": 1, "v.v_flags": 1}
    numbers = random_drop(random.Random(1), images, blocks, words)
    changed = {f"v.{name}": value for name, value in drop.items()}
    return unpack_descriptor(pack_descriptor({
        "pre.opcode": int(Opcode.VECTOR), **OFFSETS, **modes, **layout(images, blocks, words),
        **numbers, **changed}))


@pytest.mark.parametrize("shape", [(3, 2, 20), (1, 4, 6), (1, 1, 1), (2, 1, 1)])
def test_legal_numbers(shape: tuple[int, int, int]) -> None:
    check_vector("it", descriptor(*shape))


@pytest.mark.parametrize(("shape", "name", "value"), [
    ((3, 2, 20), "d_step", 2), ((3, 2, 20), "d_image", 1), ((3, 2, 20), "d_block", 1),
    ((1, 4, 6), "d_block", 5), ((2, 4, 6), "d_step", 4)])
def test_words_that_would_share_a_number(shape: tuple[int, int, int], name: str, value: int
                                         ) -> None:
    with pytest.raises(IllegalProgram,
                       match=r"it: d_step, d_image, d_block: expected \(1, .*found \("):
        check_vector("it", descriptor(*shape, **{name: value}))


@pytest.mark.parametrize(("planted", "text"), [
    ({"v_clip": 1}, "v_clip: expected v_relu with it, found none"),
    ({"v_relu": 1, "v_write": 0, "v_flags": 0, "v_sums": 1},
     "v_relu: expected v_write with it, found none"),
])
def test_fields_of_an_activation_that_mean_nothing(planted: dict[str, int], text: str) -> None:
    with pytest.raises(IllegalProgram, match=text):
        check_vector("it", descriptor(3, 2, 20, **planted))
