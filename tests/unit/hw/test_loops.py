"""The loops beside the opcodes: complete, and in words of the contract."""

from __future__ import annotations

import re

import pytest

from pynq_train.hw.commands import PARAM_FIELDS, Opcode, places
from pynq_train.hw.emit.markdown import render_descriptors
from pynq_train.hw.loops import LOOPS

WORDS = {"bias_shift"}
"""Names of a step-block entry with an underscore that loops say without a section's letter."""


@pytest.mark.parametrize("opcode", Opcode)
def test_an_opcode_is_documented_by_its_fields(opcode: Opcode) -> None:
    known = {place.field.name for _, place in places(opcode)}
    known |= {field.name for field in PARAM_FIELDS.get(opcode, ())}
    text = "\n".join(loop.text for loop in LOOPS[opcode])
    # Names with an underscore are fields; micro-programs of NORM are in capitals.
    used = set(re.findall(r"\b[a-z]+_[a-z_]+\b", text))
    assert used <= known | WORDS, used - known
    document = render_descriptors()
    at = document.index(f"## Opcode {int(opcode)}: {opcode.name}\n")
    section = document[at:document.index("\n## ", at + 1)]
    for loop in LOOPS[opcode]:
        for line in loop.text.splitlines():
            assert line.strip() in section
