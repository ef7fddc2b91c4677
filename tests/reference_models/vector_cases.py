"""Random vector descriptors: modes, sizes, coefficients and contents of memory."""

from __future__ import annotations

import random

from reference_models.vector_model import Memory

from pynq_train.hw.commands import Opcode
from pynq_train.hw.curves import MAX_SEGMENT_BITS, MIN_SEGMENT_BITS, TABLES, Factor

SCALE_MAX = (1 << 23) - 1
SYMBOLS = "abvmks"
"""Maps a and b, result (v), flags (m), coefficients (k), sums (s)."""
MODES = ("v_b", "v_spread", "v_reduce", "v_write", "v_sums", "v_square", "v_table", "v_btable",
         "v_relu", "v_flags", "v_mask_a", "v_mask_b", "v_clip", "v_drop")


def random_modes(rng: random.Random, factors: bool = False) -> dict[str, int]:
    """Any legal combination of modes; at least one thing is written.

    ``factors``: each word has a factor of its own, a curve's slope or map b.
    """
    mode = {name: rng.randrange(2) for name in MODES}
    if not mode["v_write"]:
        mode.update(v_sums=1, v_reduce=0, v_flags=0, v_relu=0)
    mode["v_clip"] &= mode["v_relu"]
    if mode["v_reduce"]:
        mode["v_flags"] = 0
    if mode["v_flags"]:
        mode.update(v_mask_a=0, v_mask_b=0)
    mode["v_spread"] &= mode["v_b"]
    mode["v_mask_b"] &= mode["v_b"]
    if factors:
        mode.update(v_factor=rng.randint(1, 3), v_write=1, v_table=0, v_btable=0, v_clip=0,
                    v_flags=0, v_drop=0, v_mask_a=rng.randrange(2))
        if mode["v_factor"] != Factor.CURVE:
            mode["v_b"] = 1
        if mode["v_factor"] != Factor.PRODUCT:
            mode["k_log"] = rng.choice((MIN_SEGMENT_BITS, MAX_SEGMENT_BITS,
                                        rng.randint(MIN_SEGMENT_BITS, MAX_SEGMENT_BITS)))
        if mode["v_factor"] == Factor.CURVE:
            mode.update(v_lanes=rng.randrange(4), v_reduce=0)
    return {f"v.{name}": value for name, value in mode.items()}


def random_segments(rng: random.Random, values: dict[str, int], number: int) -> Memory:
    """Table ``number`` of the curve of a descriptor."""
    count, width = 1 << values["v.k_log"], rng.choice((0, 15, rng.randrange(16)))
    slopes = (1 << 19) - 1, (1 << 39) - 1
    table = values["v.k_off"] + 8 * count * number
    return {table + 8 * k: rng.choice((0, rng.randint(-slopes[0], slopes[0]))) & 0xFFFFF
            | (rng.choice((0, rng.randint(-slopes[1], slopes[1]))) & (1 << 40) - 1) << 20
            | width << 60 for k in range(count)}


def random_word(rng: random.Random) -> int:
    """Four channels: any, small, or at the limits."""
    kind = rng.randrange(3)
    if kind == 0:
        return rng.getrandbits(64)
    if kind == 1:
        return sum((rng.randint(-100, 100) & 0xFFFF) << 16 * n for n in range(4))
    return sum((rng.choice((-32767, 32767)) & 0xFFFF) << 16 * n for n in range(4))


def random_scale(rng: random.Random) -> int:
    """A coefficient of random magnitude, also the largest."""
    limit = min(SCALE_MAX, 1 << rng.randint(0, 24))
    return rng.choice((limit, -limit, rng.randint(-limit, limit)))


def random_limit(rng: random.Random) -> int:
    """Where results are clipped; also limits that clip nothing."""
    return rng.choice((0, 1, 6, 32766, 32767, 32768, 65535, 1 << rng.randint(0, 14),
                       rng.randint(1, 32767)))


def layout(images: int, blocks: int, words: int) -> dict[str, int]:
    """Sizes and steps of maps ``[image][block][word]`` and of their flags."""
    row = -(-words // 16)
    return {"v.v_images": images, "v.v_blocks": blocks, "v.v_words": words,
            "v.v_step": 8 * blocks * words,
            "v.v_jump": 8 * words - 8 * (images - 1) * blocks * words,
            "v.m_words": row, "v.m_step": 8 * blocks * row,
            "v.m_jump": 8 * row - 8 * (images - 1) * blocks * row}


def random_drop(rng: random.Random, images: int, blocks: int, words: int,
                image: int | None = None) -> dict[str, int]:
    """Numbers of the words of a dropout: of feature maps, of dense ones.

    They begin with those of an image of the mini-batch, or anywhere.
    """
    first = rng.choice((0, rng.getrandbits(20), rng.getrandbits(32)))
    whole = blocks * words
    step, jump = 1, whole - words + 1
    block = 1 - (images - 1) * whole
    if images == 1 and rng.randrange(2):
        step, jump, block = blocks, 0, 1 - (words - 1) * blocks
    if image is not None:
        first = image * (whole if jump or blocks == 1 else blocks)
    return {"v.d_first": first, "v.d_step": step, "v.d_image": jump, "v.d_block": block,
            "v.d_tensor": rng.choice((0, rng.randrange(40), rng.getrandbits(16))),
            "v.d_least": rng.choice((0, 65535, 1 << 15, rng.getrandbits(16)))}


def random_key(rng: random.Random) -> dict[str, int]:
    """Key of the random bits of a dropout."""
    return {"drop_seed": rng.choice((0, rng.getrandbits(32))),
            "drop_step": rng.choice((0, rng.getrandbits(24)))}


def random_case(rng: random.Random, images: int, blocks: int, words: int,
                offsets: dict[str, int], modes: dict[str, int] | None = None,
                image: int | None = None) -> tuple[dict[str, int], dict[str, int], Memory]:
    """Fields, step-block entry and memory of a descriptor whose tensors begin at ``offsets``.

    ``image``: first image of a dropout, as of :func:`random_drop`.
    """
    at = {f"v.{name}_off": offsets[name] for name in SYMBOLS}
    values = {"pre.opcode": int(Opcode.VECTOR), **(modes or random_modes(rng)),
              **layout(images, blocks, words),
              **random_drop(rng, images, blocks, words, image), **at}
    params = {"shift": rng.randint(0, 47), "a_scale": random_scale(rng),
              "b_scale": random_scale(rng), "limit": random_limit(rng), **random_key(rng)}
    memory: Memory = {}
    if values.get("v.k_log"):
        params["limit"] = rng.randrange(TABLES)
        memory.update(random_segments(rng, values, params["limit"]))
    for k in range(images * blocks * words):
        memory[at["v.a_off"] + 8 * k] = random_word(rng)
        memory[at["v.b_off"] + 8 * k] = random_word(rng)
    for k in range(images * blocks * -(-words // 16)):
        memory[at["v.m_off"] + 8 * k] = rng.getrandbits(64)
    for k in range(0 if values.get("v.k_log") else 4 * blocks):
        memory[at["v.k_off"] + 16 * k] = ((random_scale(rng) & 0xFFFFFFFF)
                                          | (random_scale(rng) & 0xFFFFFFFF) << 32)
        memory[at["v.k_off"] + 16 * k + 8] = rng.getrandbits(64) >> rng.randint(0, 40)
    return values, params, memory
