"""One descriptor on golden in a random memory image, compared as a whole with a model."""

from __future__ import annotations

import random
from collections.abc import Mapping

import numpy as np
from reference_models.described import described

from pynq_train.backends.golden import GoldenMachine
from pynq_train.hw.commands import (
    DESCRIPTOR_BYTES,
    PARAM_WORDS,
    Opcode,
    pack_descriptor,
    pack_params,
)

STEP, RECORD = 1024, 2048
"""Where the entry of the step block and the record stand, behind the descriptor."""


def load(arena: np.ndarray, values: Mapping[str, int], params: Mapping[str, int]) -> None:
    """Put a descriptor and its entry of the step block into ``arena``, uint8."""
    descriptor = pack_params(Opcode(values["pre.opcode"]), params)
    arena[:DESCRIPTOR_BYTES] = np.frombuffer(pack_descriptor(described(dict(values))), np.uint8)
    arena[STEP:STEP + 8 * PARAM_WORDS] = np.frombuffer(descriptor, np.uint8)


def run(arena: np.ndarray) -> None:
    """Run the descriptor that was put there."""
    machine = GoldenMachine(arena, threads=1)
    try:
        machine.run(0, 1, STEP)
    finally:
        machine.close()


def execute(arena: np.ndarray, values: Mapping[str, int], params: Mapping[str, int]) -> None:
    """Both."""
    load(arena, values, params)
    run(arena)


def check(rng: random.Random, nbytes: int, values: Mapping[str, int], params: Mapping[str, int],
          memory: Mapping[int, int], written: Mapping[int, int]) -> None:
    """Run a descriptor on random memory with the words ``memory``: only ``written`` changes.

    Args:
        rng: random choices.
        nbytes: size of the memory.
        values: fields of the descriptor; ``params``: those of its entry in the step block.
        memory: words by byte offset; ``written``: what the model writes.
    """
    arena = np.frombuffer(rng.randbytes(nbytes), np.uint8).copy()
    for at, word in memory.items():
        arena.view(np.uint64)[at // 8] = word
    load(arena, values, params)
    expected = arena.copy()
    for at, word in written.items():
        expected.view(np.uint64)[at // 8] = word
    run(arena)
    bad = np.flatnonzero(arena != expected)
    assert not bad.size, f"{bad.size} bytes differ, first at {bad[0]}: {values} {params}"
