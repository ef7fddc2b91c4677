"""One descriptor of the vector unit in a cocotb bench: its words, and memory against the model."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from client_model import Bench

from pynq_train.hw.commands import PARAM_INDEX, SECTIONS, Opcode, pack_descriptor, pack_params


def config_words(section: str, values: Mapping[str, int], params: Mapping[str, int]
                 ) -> list[tuple[int, int]]:
    """What the sequencer sends for a descriptor: index on the bus and word."""
    desc = struct.unpack("<128Q", pack_descriptor(values))
    param = struct.unpack("<2Q", pack_params(Opcode(values["pre.opcode"]), params))
    indices = list(range(SECTIONS["pre"].words))
    indices += [SECTIONS[section].first + k for k in range(SECTIONS[section].words)]
    return [(k, desc[k]) for k in indices] + [(PARAM_INDEX + k, w) for k, w in enumerate(param)]


async def check_descriptor(bench: Bench, section: str, values: Mapping[str, int],
                           params: Mapping[str, int], written: Mapping[int, int],
                           limit: int) -> int:
    """Run a descriptor on the bench's memory, of which only ``written`` changes.

    Args:
        bench: the bench; its memory holds what the unit reads.
        section: section of the unit's fields.
        values: fields of the descriptor; ``params``: those of its entry in the step block.
        written: words by byte offset that the model writes.
        limit: cycles after which it must have ended.

    Returns:
        Its cycles.
    """
    memory = bench.memory
    image = {**memory, **written}
    await bench.configure(config_words(section, values, params))
    cycles = await bench.wait_done(limit)
    wrong = [at for at in sorted(image.keys() | memory.keys()) if image.get(at) != memory.get(at)]
    found = [f"{at:#x}: {image.get(at, 0):x} found {memory.get(at, 0):x}" for at in wrong[:4]]
    assert not wrong, f"{values} {params}: {len(wrong)} words differ, {found}"
    return cycles
