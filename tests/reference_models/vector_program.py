"""Random programs of vector, normalisation and pooling descriptors that share their maps."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from reference_models import norm_cases
from reference_models.described import described
from reference_models.pool_program import Pools
from reference_models.vector_cases import (
    layout,
    random_drop,
    random_key,
    random_modes,
    random_scale,
)

from pynq_train.hw.commands import (
    DESCRIPTOR_BYTES,
    PARAM_WORDS,
    RECORD_WORDS,
    Opcode,
    Semaphore,
    pack_descriptor,
    pack_params,
)
from pynq_train.hw.config import HwConfig
from pynq_train.hw.norm import GROUPED, NormProgram
from pynq_train.hw.words import TENSOR_ALIGN_BYTES, WORD_BYTES
from pynq_train.program.program import Program, Region

PARAM_BYTES = PARAM_WORDS * WORD_BYTES
MAX_PARTS = 3


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


def random_program(rng: random.Random, config: HwConfig, count: int, norms: float = 0.5,
                   sizes: tuple[int, int, int] = (5, 4, 90),
                   pools: float = 0.0) -> tuple[Program, bytes]:
    """A legal program of ``count`` descriptors.

    Of them a part ``pools`` are pooling passes, of the others a part ``norms`` normalisations.

    Returns the program and the arena before its run; maps have up to ``sizes`` images, channel
    blocks, words in a plane.

    Coefficients that a normalisation writes scale maps, sums that a vector descriptor writes are
    normalised, statistics and maps pass from descriptor to descriptor.
    """
    images, blocks, words = (rng.randint(1, size) for size in sizes)
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
    statistics = {name: arena.take(name, 64 * blocks) for name in ("running", "kept")}
    pooling = Pools(rng, images, blocks, words, arena.take)
    sums: list[int] = []
    content: dict[int, int] = {}
    descriptors, params = b"", b""
    for number in range(count):
        head = {
            "pre.signal": int(Semaphore.VECTOR), "pre.number": number, "pre.param": number,
            "pre.wait_x_sem": int(Semaphore.VECTOR), "pre.wait_x": number,
            "pre.rec_off": places["records"] + number * RECORD_WORDS * WORD_BYTES}
        if pools and rng.random() < pools:
            descriptors += pack_descriptor(described({**pooling.fields(number, maps), **head}))
            params += pack_params(Opcode.POOL, {"shift": rng.choice((0, 1, rng.randint(0, 20)))})
            continue
        if rng.random() < norms:
            norm = NormProgram(rng.randrange(len(NormProgram)))
            # Groups have sums of their own for each image, which no other part adds to.
            parts = 1 if norm in GROUPED else rng.randint(1, MAX_PARTS)
            own = arena.take(f"parts{number}", MAX_PARTS * (64 * blocks + 64))
            if sums and rng.random() < 0.5:
                parts, own = 1, rng.choice(sums)
            at = {"sums": own, "table": table, **statistics,
                  **{name: arena.take(f"{name}{number}", 64 * blocks + 128)
                     for name in ("masters", "gradients")}}
            fields, descriptor, initial = norm_cases.random_case(
                rng, norm, blocks, parts, at)
            content.update(initial)
            descriptors += pack_descriptor(described({**fields, **head}))
            params += pack_params(Opcode.NORM, descriptor)
            continue
        modes = random_modes(rng)
        a, b, result = rng.choice(maps), rng.choice(maps), rng.choice(maps)
        sums.append(arena.take(f"sums{number}", 64 * blocks))
        first = rng.randint(0, min(*maps, spread, reduced, flags) // (line * words))
        descriptors += pack_descriptor(described({
            "pre.opcode": int(Opcode.VECTOR), **head, **modes, **layout(images, blocks, words),
            **(random_drop(rng, images, blocks, words, first) if modes["v.v_drop"] else {}),
            "v.a_off": a, "v.b_off": spread if modes["v.v_spread"] else b, "v.m_off": flags,
            "v.k_off": table, "v.v_off": reduced if modes["v.v_reduce"] else result,
            "v.s_off": sums[-1]}))
        params += pack_params(Opcode.VECTOR, {
            "shift": rng.randint(0, 30), "a_scale": random_scale(rng),
            "b_scale": random_scale(rng), **random_key(rng)})
    memory = np.frombuffer(rng.randbytes(-(-arena.end // WORD_BYTES) * WORD_BYTES), np.uint8).copy()
    for offset, word in content.items():
        memory.view(np.uint64)[offset // WORD_BYTES] = word
    for name, data in (("v.program", descriptors), ("step_block", params)):
        memory[places[name]:places[name] + len(data)] = np.frombuffer(data, np.uint8)
    return Program.make("v", descriptors, b"", arena.regions, arena.end, config), memory.tobytes()
