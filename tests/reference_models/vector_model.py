"""The vector unit of ``docs/engine.md``, element by element, on plain integers."""

from __future__ import annotations

from reference_models.naive import rne, sat

from pynq_train.fixed.counter_hash import block_int
from pynq_train.hw.curves import Factor

LANES = 4
M48 = (1 << 48) - 1
M64 = (1 << 64) - 1
Memory = dict[int, int]
"""64-bit words by byte offset."""


def signed(value: int, bits: int) -> int:
    """Two's complement of the low ``bits``."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def lanes_of(word: int) -> list[int]:
    """Four signed channels of a word."""
    return [signed(word >> 16 * n & 0xFFFF, 16) for n in range(LANES)]


def drawn(d: dict[str, int], p: dict[str, int], number: int) -> list[bool]:
    """Which channels of word ``number`` the dropout keeps."""
    low, high = block_int(p["drop_seed"], p["drop_step"], d["v.d_tensor"], number)
    return [value >= d["v.d_least"] for value in (low & 0xFFFF, low >> 16, high & 0xFFFF,
                                                  high >> 16)]


def segment(memory: Memory, d: dict[str, int], p: dict[str, int], code: int) -> tuple[int, int]:
    """Slope and offset of a curve at a code."""
    count = 1 << d["v.k_log"]
    table = d["v.k_off"] + p["limit"] * 8 * count
    width = memory.get(table, 0) >> 60 & 15
    index = max(-count // 2, min(count // 2 - 1, code >> width)) % count
    word = memory.get(table + 8 * index, 0)
    return signed(word, 20), signed(word >> 20, 40)


def vector(memory: Memory, d: dict[str, int], p: dict[str, int]) -> Memory:
    """Return the words that a VECTOR descriptor writes, the record included.

    Args:
        memory: what it reads; missing words are 0.
        d: fields ``v.*`` and ``pre.rec_off``.
        p: fields of its step-block entry.
    """
    out: Memory = {}
    images, words = d["v.v_images"], d["v.v_words"]
    measure = saturations = 0
    number, factor = d["v.d_first"], d.get("v.v_factor", 0)
    for block in range(d["v.v_blocks"]):
        a_scale, b_scale, offset = [p["a_scale"]] * LANES, [p["b_scale"]] * LANES, [0] * LANES
        for n in range(LANES):
            at = d["v.k_off"] + 16 * (LANES * block + n)
            if d["v.v_table"]:
                a_scale[n] = signed(memory.get(at, 0) & 0xFFFFFF, 24)
                offset[n] = signed(memory.get(at + 8, 0) & M48, 48)
            if d["v.v_btable"]:
                b_scale[n] = signed(memory.get(at, 0) >> 32 & 0xFFFFFF, 24)
        first, second = [0] * LANES, [0] * LANES
        for image in range(images):
            # Each map jumps alike: a step from image to image, a jump from block to block.
            plane = block * ((images - 1) * d["v.v_step"] + d["v.v_jump"]) + image * d["v.v_step"]
            flags = d["v.m_off"] + block * ((images - 1) * d["v.m_step"] + d["v.m_jump"]) \
                + image * d["v.m_step"]
            line = 8 * (block * images + image)
            total = list(offset)
            for pixel in range(words):
                flag = flags + 8 * (pixel // 16)
                a = lanes_of(memory.get(d["v.a_off"] + plane + 8 * pixel, 0))
                b = [0] * LANES
                if d["v.v_b"]:
                    b = lanes_of(memory.get(
                        d["v.b_off"] + (line if d["v.v_spread"] else plane + 8 * pixel), 0))
                bits = memory.get(flag, 0) >> 4 * (pixel % 16) & 15
                kept = drawn(d, p, number) if d["v.v_drop"] else [True] * LANES
                number += d["v.d_step"] if pixel < words - 1 else \
                    d["v.d_image"] if image < images - 1 else d["v.d_block"]
                for n in range(LANES):
                    if not kept[n]:
                        a[n] = b[n] = 0
                    if not d["v.v_flags"] and not bits >> n & 1:
                        a[n] = 0 if d["v.v_mask_a"] else a[n]
                        b[n] = 0 if d["v.v_mask_b"] else b[n]
                    first[n] += a[n]
                    second[n] += a[n] * (a[n] if d["v.v_square"] else b[n])
                    total[n] += b[n] * b_scale[n]
                    if factor == Factor.COEFFICIENT:
                        total[n] += a[n] * a_scale[n]
                    elif factor == Factor.PRODUCT:
                        total[n] += a[n] * b[n]
                    else:
                        back = factor == Factor.SLOPE
                        slope, constant = segment(memory, d, p, b[n] if back else a[n])
                        total[n] += a[n] * slope
                        live = block < d["v.v_blocks"] - 1 or n < (d.get("v.v_lanes", 0) or LANES)
                        if not back and live:
                            total[n] += constant
                if not d["v.v_write"] or (d["v.v_reduce"] and pixel < words - 1):
                    continue
                word = 0
                for n in range(LANES):
                    value = signed(total[n] & M48, 48)
                    measure |= value ^ (value >> 63)
                    exact = rne(value, p["shift"])
                    code = sat(exact, 16)
                    saturations += code != exact
                    code = max(code, 0) if d["v.v_relu"] else code
                    live = code > 0
                    if d["v.v_clip"]:
                        code, live = min(code, p["limit"]), live and code < p["limit"]
                    word |= (code & 0xFFFF) << 16 * n
                    if d["v.v_drop"]:
                        live = kept[n] and (live or not d["v.v_relu"])
                    if d["v.v_flags"]:
                        out[flag] = out.get(flag, 0) | live << 4 * (pixel % 16) + n
                out[d["v.v_off"] + (line if d["v.v_reduce"] else plane + 8 * pixel)] = word
                total = list(offset)
        if d["v.v_sums"]:
            for n, value in enumerate(first + second):
                out[d["v.s_off"] + 8 * (2 * LANES * block + n)] = \
                    signed(value & M48, 48) & M64
    for k, value in enumerate((measure & M48, saturations, 0, 0)):
        out[d["pre.rec_off"] + 8 * k] = value
    return out
