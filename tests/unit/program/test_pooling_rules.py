"""The verifier on pooling descriptors: every rule, and what they may touch."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache

import pytest
from reference_models.pool_cases import Window, geometry
from reference_models.vector_program import random_program

from pynq_train.errors import IllegalProgram
from pynq_train.hw.commands import Opcode, pack_descriptor, unpack_descriptor
from pynq_train.hw.config import ZYNQ7020
from pynq_train.program.pooling import check_pool
from pynq_train.program.program import Program
from pynq_train.program.verify import verify_program


@cache
def program(back: bool) -> Program:
    """One pooling pass of 2 images of 2 blocks."""
    for seed in range(10_000):
        made, _ = random_program(random.Random(seed), ZYNQ7020, 1, 0, (3, 3, 40), 1.0)
        f = made.fields[0]
        if (f["p.p_back"] == back and f["p.p_images"] == f["p.p_blocks"] == 2
                and f["p.p_stride"] == f["p.p_stride_cols"] == 2 and f["p.p_kernel"] > 1
                and f["p.q_rows"] > 1 and f["p.q_cols"] > 1):
            return made
    raise AssertionError("no such program")


@pytest.mark.parametrize("back", [False, True])
def test_random_ones_are_legal(back: bool) -> None:
    verify_program(program(back))


@pytest.mark.parametrize(("back", "name", "change", "text"), [
    (False, "p_images", -2, "p_images: expected 1 or more, found 0"),
    (False, "q_cols", -9, "q_cols: expected 1 or more"),
    (False, "p_kernel", 0, "p_kernel: expected 1..3, found 0"),
    (True, "p_stride", 0, "p_stride: expected 1..3, found 0"),
    (False, "p_cols", 511, "p_cols: expected at most 510, a line of the unit, found 511"),
    (True, "q_rows", 40, "q_rows: expected at most .*, windows that begin in the map, found 40"),
    (False, "t_rows", -1, "t_rows: expected"),
    (True, "t_cols", -1, "t_cols: expected"),
    (False, "i_words", -1, "i_words: expected .*, an image"),
    (True, "o_words", -1, "o_words: expected .*, an image"),
    (True, "w_words", -1, "w_words: expected .*, an image"),
    (False, "o_step", -8, "o_step: expected .* or more, a multiple of 8"),
    (True, "p_argmax", 1, "p_argmax: expected 0 with p_back, found 1"),
])
def test_rules(back: bool, name: str, change: int, text: str) -> None:
    """``change``: added if negative, else the value."""
    made = program(back)
    fields = dict(made.fields[0])
    value = fields[f"p.{name}"]
    fields[f"p.{name}"] = max(value + change, 0) if change < 0 else change
    with pytest.raises(IllegalProgram, match=rf"descriptor 0 \(POOL\): {text}"):
        verify_program(replace(made, descriptors=pack_descriptor(fields)))


@pytest.mark.parametrize(("name", "text"), [
    ("i", "reads its map that it reads"), ("o", "writes its map that it writes"),
    ("w", "argmax indices"),
])
@pytest.mark.parametrize("back", [False, True])
def test_places(back: bool, name: str, text: str) -> None:
    made = program(back)
    fields = {**made.fields[0], f"p.{name}_off": made.arena_bytes - 8, "p.p_argmax": int(not back)}
    with pytest.raises(IllegalProgram, match=f"{text} outside the arena"):
        verify_program(replace(made, descriptors=pack_descriptor(fields)))
    assert fields["pre.opcode"] == Opcode.POOL


Shape = tuple[int, int, tuple[int, int], tuple[int, int], Window, bool]
MAP: Shape = (2, 3, (7, 9), (4, 5), (3, 2, 1, 0), False)
"""Images, blocks, rows and columns, of the pooled map, window, whether it goes back."""
BACK: Shape = (*MAP[:5], True)


def pooling(shape: Shape, **changes: int) -> dict[str, int]:
    """Fields of a pass of dense images; ``changes`` are without the prefix."""
    return (unpack_descriptor(pack_descriptor(geometry(*shape)))
            | {f"p.{name}": value for name, value in changes.items()})


@pytest.mark.parametrize(("shape", "changes"), [
    (MAP, {}), (BACK, {}), (MAP, {"p_argmax": 1}),
    ((1, 1, (1, 1), (1, 1), (2, 1, 0, 0), False), {}),
    ((1, 1, (1, 1), (1, 1), (2, 1, 0, 0), True), {}),
    ((2, 1, (1, 510), (1, 510), (2, 1, 0, 0), False), {}),
    ((2, 1, (5, 5), (2, 2), (3, 3, 1, 1), False), {}),
    ((2, 1, (5, 5), (2, 2), (3, 3, 1, 1), True), {}),
    # Every window holds a pixel of the map; the last one holds one alone.
    ((1, 1, (6, 6), (3, 4), (2, 2, 0, 1), False), {}),
    (MAP, {"i_step": 8 * 3 * 63 + 8}), (MAP, {"o_step": 8 * 3 * 20 + 8}),
    (MAP, {"w_step": 8 * 3 * 5 + 8}),
    # Windows of one row need no line of the unit.
    ((1, 1, (1, 8192), (1, 4096), ((1, 2), (1, 2), 0, 0), False), {}),
    ((1, 1, (4, 6), (4, 3), ((1, 3), (1, 2), 0, 1), True), {}),
    # Sizes in which the pooled map needs one more pass than the map has rows.
    ((1, 1, (4, 4), (3, 3), (3, 2, 1, 1), False), {}),
])
def test_the_last_legal_pooling(shape: Shape, changes: dict[str, int]) -> None:
    check_pool("it", pooling(shape, **changes), ZYNQ7020)


@pytest.mark.parametrize(("shape", "planted", "text"), [
    *((MAP, {name: 0}, f"{name}: expected 1 or more, found 0")
      for name in ("p_images", "p_blocks", "p_rows", "p_cols", "q_rows", "q_cols")),
    *((MAP, {name: value}, rf"{name}: expected 1\.\.3, found {value}") for value in (0, 4)
      for name in ("p_kernel", "p_stride", "p_kernel_cols", "p_stride_cols")),
    ((1, 1, (6, 6), (3, 3), ((1, 2), 2, 1, 0), False), {}, "p_top: expected below p_kernel, 1"),
    ((1, 1, (6, 6), (3, 3), ((2, 1), 2, 0, 1), True), {}, "p_left: expected below p_kernel_cols"),
    ((1, 1, (6, 6), (3, 6), (2, (2, 1), 0, 0), False), {"q_cols": 7}, "q_cols: .*most 6, .* 7"),
    ((1, 1, (6, 6), (6, 3), (2, (1, 2), 0, 0), False), {"q_cols": 4}, "q_cols: .*most 3, .* 4"),
    ((1, 1, (1, 8193), (1, 4), ((1, 2), 2, 0, 0), False), {}, "p_cols: .*most 8192, .* 8193"),
    ((2, 1, (1, 511), (1, 510), (2, 1, 0, 0), False), {}, "p_cols: expected at most 510, .* 511"),
    ((1, 1, (6, 6), (4, 3), (2, 2, 0, 1), False), {}, "q_rows: expected at most 3, .*found 4"),
    ((1, 1, (6, 6), (3, 5), (2, 2, 0, 1), False), {}, "q_cols: expected at most 4, .*found 5"),
    ((1, 1, (6, 6), (5, 3), (2, 2, 1, 0), False), {}, "q_rows: expected at most 4, .*found 5"),
    (MAP, {"t_rows": 7}, "t_rows: expected 8, found 7"),
    (MAP, {"t_rows": 9}, "t_rows: expected 8, found 9"),
    (MAP, {"t_cols": 10}, "t_cols: expected 11, found 10"),
    (BACK, {"t_rows": 7}, "t_rows: expected 8, found 7"),
    (BACK, {"t_cols": 8}, "t_cols: expected 9, found 8"),
    *((shape, {f"{name}_words": words + more}, f"{name}_words: expected {words}, an image, found "
       f"{words + more}")
      for shape, name, words in ((MAP, "i", 189), (MAP, "o", 60), (MAP, "w", 15), (BACK, "i", 60),
                                 (BACK, "o", 189), (BACK, "w", 15))
      for more in (-1, 1)),
    *((MAP, {f"{name}_step": step}, f"{name}_step: expected {least} or more, a multiple of 8, "
       f"found {step}")
      for name, least in (("i", 1512), ("o", 480), ("w", 120)) for step in (least - 8, least + 4)),
    (BACK, {"p_argmax": 1}, "p_argmax: expected 0 with p_back, found 1"),
])
def test_rules_at_their_borders(shape: Shape, planted: dict[str, int], text: str) -> None:
    with pytest.raises(IllegalProgram, match=f"it: {text}"):
        check_pool("it", pooling(shape, **planted), ZYNQ7020)
