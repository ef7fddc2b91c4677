"""Limits of vector and normalisation descriptors: each rule at its border, on both sides."""

from __future__ import annotations

import random

import pytest
from reference_models.vector_cases import SYMBOLS, layout, random_drop

from pynq_train.errors import IllegalProgram
from pynq_train.hw.commands import Opcode, pack_descriptor, unpack_descriptor
from pynq_train.hw.norm import GROUPED, NormProgram
from pynq_train.program.vectors import check_norm, check_vector

OFFSETS = {f"v.{name}_off": 4096 * k for k, name in enumerate(SYMBOLS)}
ONE_OF_THEM = "v_write, v_sums: expected one of them, found none"


def made(fields: dict[str, int]) -> dict[str, int]:
    """Fields of a descriptor as the verifier sees them: through its bytes."""
    return unpack_descriptor(pack_descriptor(fields))


def descriptor(images: int, blocks: int, words: int, **drop: int) -> dict[str, int]:
    modes = {"v.v_write": 1, "v.v_drop": 1, "v.v_flags": 1}
    numbers = random_drop(random.Random(1), images, blocks, words)
    changed = {f"v.{name}": value for name, value in drop.items()}
    return made({"pre.opcode": int(Opcode.VECTOR), **OFFSETS, **modes,
                 **layout(images, blocks, words), **numbers, **changed})


def vector(images: int, blocks: int, words: int, **changes: int) -> dict[str, int]:
    """A descriptor that writes its result and nothing else, but for ``changes``."""
    return made({"pre.opcode": int(Opcode.VECTOR), **OFFSETS, "v.v_write": 1,
                 **layout(images, blocks, words),
                 **{f"v.{name}": value for name, value in changes.items()}})


def norm(**changes: int) -> dict[str, int]:
    """A normalisation of a channel block in one part; ``changes`` are without the prefix."""
    return made({"pre.opcode": int(Opcode.NORM), "n.n_blocks": 1, "n.n_parts": 1,
                 **{f"n.{name}": value for name, value in changes.items()}})


@pytest.mark.parametrize("shape", [(3, 2, 20), (1, 4, 6), (1, 1, 1), (2, 1, 1)])
def test_legal_numbers(shape: tuple[int, int, int]) -> None:
    check_vector("it", descriptor(*shape))


@pytest.mark.parametrize(("shape", "numbers"), [
    ((3, 2, 20), (1, 21, -79)), ((1, 4, 6), (1, 19, 1)), ((1, 4, 6), (4, 0, -19)),
    ((1, 1, 1), (1, 1, 1)), ((1, 5, 1), (5, 0, 1)), ((2, 4, 6), (1, 19, -23))])
def test_numbers_of_both_orders_pass(shape: tuple[int, int, int], numbers: tuple[int, int, int]
                                     ) -> None:
    """Numbers as ``docs/numerics.md`` 9 counts them, written out."""
    step, image, block = numbers
    check_vector("it", descriptor(*shape, d_step=step, d_image=image, d_block=block))


@pytest.mark.parametrize(("shape", "name", "value"), [
    ((3, 2, 20), "d_step", 2), ((3, 2, 20), "d_image", 1), ((3, 2, 20), "d_block", 1),
    ((1, 4, 6), "d_block", 5), ((2, 4, 6), "d_step", 4)])
def test_words_that_would_share_a_number(shape: tuple[int, int, int], name: str, value: int
                                         ) -> None:
    with pytest.raises(IllegalProgram,
                       match=r"it: d_step, d_image, d_block: expected \(1, .*found \("):
        check_vector("it", descriptor(*shape, **{name: value}))


def test_numbers_of_a_dense_map_are_refused_for_more_images() -> None:
    """The unit goes through images before blocks: with two, words of one block share numbers."""
    with pytest.raises(IllegalProgram, match="it: d_step, d_image, d_block"):
        check_vector("it", descriptor(2, 4, 6, d_step=4, d_image=0, d_block=-19))


@pytest.mark.parametrize("name", ["reduce", "spread"])
@pytest.mark.parametrize("dense", [0, 1])
def test_images_have_no_common_mean(name: str, dense: int) -> None:
    """The words of a dense map are images: one mean for all of them, or one gradient, is wrong."""
    fields = {**vector(1, 1, 4), f"gv.{name}": 1, "gv.dense": dense}
    if not dense:
        check_vector("it", fields)
        return
    with pytest.raises(IllegalProgram, match=f"it: gv.{name}: expected a map whose words are "
                                             "pixels of an image, found a dense map"):
        check_vector("it", fields)


def test_numbers_count_only_in_a_dropout() -> None:
    check_vector("it", vector(3, 2, 20, d_step=7))


CURVE = {"v_factor": 1, "k_log": 9}
SLOPE = {"v_factor": 2, "k_log": 3, "v_b": 1}
PRODUCT = {"v_factor": 3, "v_b": 1}


@pytest.mark.parametrize("fields", [
    CURVE, {**CURVE, "k_log": 3, "v_lanes": 3, "v_relu": 1}, SLOPE, {**SLOPE, "v_mask_a": 1},
    PRODUCT, {**PRODUCT, "v_spread": 1}, {**PRODUCT, "v_reduce": 1, "v_sums": 1}])
def test_legal_factors(fields: dict[str, int]) -> None:
    check_vector("it", vector(3, 2, 20, **fields))


@pytest.mark.parametrize(("fields", "text"), [
    ({**CURVE, "k_log": 2}, "k_log: expected 3..9, found 2"),
    ({**SLOPE, "k_log": 10}, "k_log: expected 3..9, found 10"),
    ({**PRODUCT, "k_log": 3}, "k_log: expected 0 without a curve, found 3"),
    ({"k_log": 3}, "k_log: expected 0 without a curve, found 3"),
    ({**SLOPE, "v_lanes": 1}, "v_lanes: expected 0 without a curve, found 1"),
    ({"v_lanes": 1}, "v_lanes: expected 0 without a curve, found 1"),
    ({**CURVE, "v_table": 1}, "v_table: expected none with factor CURVE, found 1"),
    ({**SLOPE, "v_btable": 1}, "v_btable: expected none with factor SLOPE, found 1"),
    ({**PRODUCT, "v_flags": 1}, "v_flags: expected none with factor PRODUCT, found 1"),
    ({**PRODUCT, "v_relu": 1, "v_clip": 1}, "v_clip: expected none with factor PRODUCT, found 1"),
    ({**PRODUCT, "v_write": 0, "v_sums": 1}, "v_write: expected set with factor PRODUCT, found 0"),
    ({**CURVE, "v_reduce": 1}, "v_reduce: expected none with factor CURVE, found 1"),
    ({**SLOPE, "v_b": 0}, "v_b: expected set with factor SLOPE, found 0"),
    ({**PRODUCT, "v_b": 0}, "v_b: expected set with factor PRODUCT, found 0")])
def test_factors_that_do_not_stand_with_others(fields: dict[str, int], text: str) -> None:
    with pytest.raises(IllegalProgram, match=text):
        check_vector("it", vector(3, 2, 20, **fields))


@pytest.mark.parametrize("factor", [CURVE, SLOPE, PRODUCT])
def test_a_dropout_has_no_factor(factor: dict[str, int]) -> None:
    with pytest.raises(IllegalProgram, match="v_drop: expected none with factor"):
        check_vector("it", descriptor(3, 2, 20, v_flags=0, **factor))


def test_sums_of_products_fit_48_bits() -> None:
    check_vector("it", vector(1, 1, 1 << 17, **PRODUCT, v_reduce=1))
    with pytest.raises(IllegalProgram, match="v_words: expected at most 131072 products in a sum"):
        check_vector("it", vector(1, 1, (1 << 17) + 1, **PRODUCT, v_reduce=1))


@pytest.mark.parametrize(("planted", "text"), [
    ({"v_clip": 1}, "v_clip: expected v_relu with it, found none"),
    ({"v_relu": 1, "v_write": 0, "v_flags": 0, "v_sums": 1},
     "v_relu: expected v_write with it, found none"),
])
def test_fields_of_an_activation_that_mean_nothing(planted: dict[str, int], text: str) -> None:
    with pytest.raises(IllegalProgram, match=text):
        check_vector("it", descriptor(3, 2, 20, **planted))


@pytest.mark.parametrize(("shape", "planted", "text"), [
    ((3, 2, 20), {"v_images": 0}, "v_images: expected 1 or more, found 0"),
    ((3, 2, 20), {"v_blocks": 0}, "v_blocks: expected 1 or more, found 0"),
    ((3, 2, 20), {"v_words": 0}, "v_words: expected 1 or more, found 0"),
    ((1, 1, 16 * 65535 + 1), {}, "v_words: expected at most 1048560, found 1048561"),
    ((3, 2, 20), {"m_words": 1}, "m_words: expected 2, whole words of 20 pixels, found 1"),
    ((3, 2, 20), {"m_words": 3}, "m_words: expected 2, whole words of 20 pixels, found 3"),
    ((3, 2, 16), {"m_words": 2}, "m_words: expected 1, whole words of 16 pixels, found 2"),
    ((3, 2, 20), {"m_step": 40}, "m_step: expected 32, an image, found 40"),
    ((3, 2, 20), {"m_step": 24}, "m_step: expected 32, an image, found 24"),
    ((3, 2, 20), {"m_jump": -40}, "m_jump: expected -48, to the next block, found -40"),
    ((3, 2, 20), {"m_jump": -56}, "m_jump: expected -48, to the next block, found -56"),
    ((3, 2, 20), {"v_step": 312}, "v_step: expected 320 or more, a multiple of 8.*found 312"),
    ((3, 2, 20), {"v_step": 324, "v_jump": 160 - 648},
     "v_step: expected 320 or more, a multiple of 8.*found 324"),
    ((3, 2, 20), {"v_jump": -472}, "v_jump: expected -480, to the next block, found -472"),
    ((3, 2, 20), {"v_jump": -488}, "v_jump: expected -480, to the next block, found -488"),
    ((3, 2, 20), {"v_step": 328}, "v_jump: expected -496, to the next block, found -480"),
    ((1, 2, 20), {"v_jump": 168}, "v_jump: expected 160, to the next block, found 168"),
    ((3, 2, 20), {"v_write": 0}, ONE_OF_THEM),
    ((3, 2, 20), {"v_spread": 1}, "v_spread: expected v_b with it, found none"),
    ((3, 2, 20), {"v_mask_b": 1}, "v_mask_b: expected v_b with it, found none"),
    ((3, 2, 20), {"v_reduce": 1, "v_write": 0, "v_sums": 1},
     "v_reduce: expected v_write with it, found none"),
    ((3, 2, 20), {"v_flags": 1, "v_write": 0, "v_sums": 1},
     "v_flags: expected v_write with it, found none"),
    ((3, 2, 20), {"v_flags": 1, "v_reduce": 1},
     "v_flags: expected no v_reduce with it, found both"),
    ((3, 2, 20), {"v_flags": 1, "v_mask_a": 1},
     "v_flags: expected no v_mask_a with it, found both"),
    ((3, 2, 20), {"v_flags": 1, "v_b": 1, "v_mask_b": 1},
     "v_flags: expected no v_mask_b with it, found both"),
])
def test_rules_of_a_vector(shape: tuple[int, int, int], planted: dict[str, int], text: str) -> None:
    with pytest.raises(IllegalProgram, match=f"it: {text}"):
        check_vector("it", vector(*shape, **planted))


@pytest.mark.parametrize(("shape", "changes"), [
    ((1, 1, 1), {}), ((65535, 1, 1), {}), ((1, 65535, 1), {}), ((1, 1, 16 * 65535), {}),
    ((3, 2, 20), {"v_step": 328, "v_jump": 160 - 656}),
    ((3, 2, 20), {"v_step": 4096, "v_jump": 160 - 8192}),
    ((3, 2, 20), {"v_write": 0, "v_sums": 1}), ((3, 2, 20), {"v_sums": 1}),
    ((3, 2, 20), {"v_b": 1, "v_spread": 1, "v_mask_a": 1, "v_mask_b": 1, "v_reduce": 1}),
    ((3, 2, 20), {"v_b": 1, "v_flags": 1, "v_relu": 1, "v_clip": 1, "v_sums": 1}),
    ((3, 2, 20), {"v_relu": 1}), ((3, 2, 20), {"v_reduce": 1, "v_relu": 1}),
])
def test_the_last_legal_vector(shape: tuple[int, int, int], changes: dict[str, int]) -> None:
    check_vector("it", vector(*shape, **changes))


TOP = 1 << 30


@pytest.mark.parametrize(("planted", "text"), [
    ({"n_program": 6}, r"n_program: expected 0\.\.5, found 6"),
    ({"n_join": 1}, "n_join: expected 0: channels have statistics of their own, found 1"),
    ({"n_blocks": 0}, "n_blocks: expected 1 or more, found 0"),
    ({"n_parts": 0}, "n_parts: expected 1 or more, found 0"),
    *(({f"n_{name}_m": value}, rf"n_{name}_m: expected 0, or {TOP}\.\.{2 * TOP - 1}, found {value}")
      for name in ("mean", "var", "eps") for value in (1, TOP - 1, 2 * TOP)),
])
def test_rules_of_a_normalisation(planted: dict[str, int], text: str) -> None:
    with pytest.raises(IllegalProgram, match=f"it: {text}"):
        check_norm("it", norm(**planted))


@pytest.mark.parametrize("changes", [
    *({"n_program": int(program)} for program in NormProgram if program not in GROUPED),
    {"n_blocks": 65535},
    {"n_parts": 255},
    *({f"n_{name}_m": value} for name in ("mean", "var", "eps") for value in (0, TOP, 2 * TOP - 1)),
])
def test_the_last_legal_normalisation(changes: dict[str, int]) -> None:
    check_norm("it", norm(**changes))


def groups(group: int, blocks: int = 6, images: int = 3, words: int = 20, **changes: int
           ) -> dict[str, int]:
    """A VECTOR over an image's groups of channels; ``changes`` have their sections in front."""
    together = max(group // 4, 1)
    plane, row = 8 * words, 8 * (-(-words // 16))
    geometry = {"gc.count": images, "gv.blocks": blocks, "gv.pixels": words, "gv.group": group,
                "gv.write": 1, "gv.a_image": plane * blocks, "gv.a_block": plane,
                "gv.y_image": plane * blocks, "gv.y_block": plane}
    sizes = {"v.v_images": together, "v.v_blocks": images * blocks // together, "v.v_words": words,
             "v.m_words": row // 8, "v.v_step": plane, "v.v_jump": plane, "v.m_step": row,
             "v.m_jump": row, "v.v_write": 1}
    return made({"pre.opcode": int(Opcode.VECTOR), **OFFSETS, **sizes, **geometry, **changes})


@pytest.mark.parametrize("group", [1, 2, 4, 8, 12, 24])
def test_groups_of_channels(group: int) -> None:
    check_vector("it", groups(group))


@pytest.mark.parametrize(("group", "planted", "text"), [
    (3, {}, "gv.group: expected 1, 2, or channel blocks that divide 6, found 3"),
    (16, {}, "gv.group: expected 1, 2, or channel blocks that divide 6, found 16"),
    (10, {}, "gv.group: expected 1, 2, or channel blocks that divide 6, found 10"),
    (8, {"v.v_step": 320}, "v_step and v_jump: expected 160 both, .*found 320"),
    (8, {"v.v_jump": 320}, "v_step and v_jump: expected 160 both"),
    (8, {"v.m_step": 24}, "m_step and m_jump: expected 16 both, .*found 24"),
    (8, {"v.m_jump": 8}, "m_step and m_jump: expected 16 both"),
    (8, {"gv.a_image": 968}, "gv.a_image: expected 960: there are no gaps .*found 968"),
    (8, {"gv.y_image": 1920}, "gv.y_image: expected 960: there are no gaps"),
    (8, {"gv.dense": 1}, "gv.dense: expected 0 with gv.group, found 1"),
    (8, {"gv.drop": 1}, "gv.drop: expected 0 with gv.group, found 1"),
])
def test_rules_of_groups(group: int, planted: dict[str, int], text: str) -> None:
    with pytest.raises(IllegalProgram, match=f"it: {text}"):
        check_vector("it", groups(group, **planted))


def grouped(group: int, **changes: int) -> dict[str, int]:
    """A NORM of an image's groups; ``changes`` have their sections in front."""
    return made({"pre.opcode": int(Opcode.NORM), "n.n_blocks": 9, "n.n_parts": 1,
                 "n.n_program": int(NormProgram.FORWARD_GROUP), "n.n_join": min(group, 4) - 1,
                 "gc.count": 3, "gn.blocks": 6, "gn.group": group, "gn.parts": 1, **changes})


@pytest.mark.parametrize("group", [1, 2, 4, 8, 24])
def test_coefficients_of_groups(group: int) -> None:
    check_norm("it", grouped(group))


@pytest.mark.parametrize(("planted", "text"), [
    ({"n.n_join": 2}, "n_join: expected 0, 1 or 3, found 2"),
    ({"gn.group": 0}, "gn.group: expected channels of a group, found 0"),
    ({"n.n_program": 0, "n.n_join": 0}, "gn.group: expected 0, found 8"),
    ({"gn.group": 16}, "gn.group: expected 1, 2, or channel blocks that divide 6, found 16"),
    ({"gn.frozen": 1}, "gn.frozen: expected 0: groups have no running statistics, found 1"),
    ({"n.n_parts": 2}, "n_parts: expected 1: each image has sums of its own, found 2"),
])
def test_rules_of_coefficients_of_groups(planted: dict[str, int], text: str) -> None:
    with pytest.raises(IllegalProgram, match=f"it: {text}"):
        check_norm("it", grouped(8, **planted))
