"""Random programs of vector descriptors that work on each other's results."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from oracles.vector_cases import layout, random_modes, random_scale

from pynq_train.hw.commands import (
    DESCRIPTOR_BYTES,
    PARAM_WORDS,
    RECORD_WORDS,
    Opcode,
    Semaphore,
    pack_descriptor,
    pack_params,
)
from pynq_train.hw.config import TENSOR_ALIGN_BYTES, WORD_BYTES, HwConfig
from pynq_train.program.program import Program, Region

PARAM_BYTES = PARAM_WORDS * WORD_BYTES


@dataclass
class Arena:
    """Regions in the order in which they are asked for."""

    regions: list[Region]
    end: int = 0

    def take(self, symbol: str, nbytes: int, kind: str = "tensor") -> int:
        """Byte offset of a new region."""
        self.regions.append(Region(symbol, self.end, nbytes, kind))
        offset = self.end
        self.end += -(-nbytes // TENSOR_ALIGN_BYTES) * TENSOR_ALIGN_BYTES
        return offset


def random_program(rng: random.Random, config: HwConfig, count: int) -> tuple[Program, bytes]:
    """A legal program of ``count`` vector descriptors, and the arena before its run."""
    images, blocks, words = rng.randint(1, 5), rng.randint(1, 4), rng.randint(1, 90)
    arena = Arena([])
    places = {name: arena.take(name, size, kind) for name, size, kind in (
        ("v.program", count * DESCRIPTOR_BYTES, "program"), ("v.taps", 128, "taps"),
        ("step_block", count * PARAM_BYTES, "step block"),
        ("records", count * RECORD_WORDS * WORD_BYTES, "records"))}
    line = WORD_BYTES * images * blocks
    maps = [arena.take(f"map{k}", line * words) for k in range(3)]
    spread = arena.take("spread", line)
    reduced = arena.take("reduced", line)
    flags = arena.take("flags", line * -(-words // 16))
    table = arena.take("table", 64 * blocks)
    descriptors, params = b"", b""
    for number in range(count):
        modes = random_modes(rng)
        a, b, result = rng.choice(maps), rng.choice(maps), rng.choice(maps)
        fields = {
            "pre.opcode": int(Opcode.VECTOR), "pre.signal": int(Semaphore.VECTOR),
            "pre.number": number, "pre.param": number, "pre.wait_x_sem": int(Semaphore.VECTOR),
            "pre.wait_x": number,
            "pre.rec_off": places["records"] + number * RECORD_WORDS * WORD_BYTES,
            **modes, **layout(images, blocks, words), "v.a_off": a,
            "v.b_off": spread if modes["v.v_spread"] else b, "v.m_off": flags, "v.k_off": table,
            "v.v_off": reduced if modes["v.v_reduce"] else result,
            "v.s_off": arena.take(f"sums{number}", 64 * blocks)}
        descriptors += pack_descriptor(fields)
        params += pack_params(Opcode.VECTOR, {
            "shift": rng.randint(0, 30), "a_scale": random_scale(rng),
            "b_scale": random_scale(rng)})
    memory = np.frombuffer(rng.randbytes(arena.end), np.uint8).copy()
    for name, data in (("v.program", descriptors), ("step_block", params)):
        memory[places[name]:places[name] + len(data)] = np.frombuffer(data, np.uint8)
    return Program.make("v", descriptors, b"", arena.regions, arena.end, config), memory.tobytes()
