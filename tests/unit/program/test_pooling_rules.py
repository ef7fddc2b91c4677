"""The verifier on pooling descriptors: every rule, and what they may touch."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from reference_models.vector_program import random_program

from pynq_train.errors import IllegalProgram
from pynq_train.hw.commands import Opcode, pack_descriptor
from pynq_train.hw.config import ZYNQ7020
from pynq_train.program.program import Program
from pynq_train.program.verify import verify_program


def program(back: bool) -> Program:
    """One pooling pass of 2 images of 2 blocks."""
    for seed in range(10_000):
        made, _ = random_program(random.Random(seed), ZYNQ7020, 1, 0, (3, 3, 40), 1.0)
        f = made.fields[0]
        if (f["p.p_back"] == back and f["p.p_images"] == f["p.p_blocks"] == 2
                and f["p.p_stride"] == 2 and f["p.q_rows"] > 1 and f["p.q_cols"] > 1):
            return made
    raise AssertionError("no such program")


@pytest.mark.parametrize("back", [False, True])
def test_random_ones_are_legal(back: bool) -> None:
    verify_program(program(back))


@pytest.mark.parametrize(("back", "name", "change", "text"), [
    (False, "p_images", -2, "p_images: expected 1 or more, found 0"),
    (False, "q_cols", -9, "q_cols: expected 1 or more"),
    (False, "p_kernel", 1, "p_kernel: expected 2..3, found 1"),
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
