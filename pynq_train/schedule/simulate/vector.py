"""Cycles of the vector unit: one descriptor at a time, from its sizes and modes."""

from __future__ import annotations

from pynq_train.hw.commands import Opcode
from pynq_train.schedule.layout import ceil_div
from pynq_train.schedule.simulate.walk import Fields

START_CYCLES = 30
"""First addresses, last write and record, without the latency of the memory."""
BLOCK_CYCLES = 24
"""Between two channel blocks the arithmetic runs empty, sums leave, coefficients come."""
NORM_BLOCK_CYCLES = 520
DRAM_WORDS = 2
"""Words that the memory moves per cycle, both ways together."""


def vector_cycles(f: Fields, latency: int) -> int:
    """Cycles of a VECTOR or NORM descriptor that runs alone.

    Args:
        f: its fields.
        latency: read latency of the memory in cycles.
    """
    if f["pre.opcode"] == Opcode.NORM:
        return START_CYCLES + (NORM_BLOCK_CYCLES + latency) * f["n.n_blocks"]
    plane = f["v.v_images"] * f["v.v_words"]
    streams = 1 + (f.get("v.v_b", 0) and not f.get("v.v_spread", 0))
    streams += f.get("v.v_write", 0) and not f.get("v.v_reduce", 0)
    per_block = ceil_div(plane * max(streams, DRAM_WORDS), DRAM_WORDS) + plane // 16 * 2
    return START_CYCLES + 2 * latency + f["v.v_blocks"] * (per_block + BLOCK_CYCLES)


def vector_words(f: Fields) -> tuple[int, int]:
    """Words that a VECTOR or NORM descriptor reads and writes."""
    if f["pre.opcode"] == Opcode.NORM:
        return (8 * f["n.n_parts"] + 16) * f["n.n_blocks"], 24 * f["n.n_blocks"]
    whole = f["v.v_images"] * f["v.v_words"] * f["v.v_blocks"]
    read = whole * (1 + (f.get("v.v_b", 0) and not f.get("v.v_spread", 0)))
    write = whole * (f.get("v.v_write", 0) and not f.get("v.v_reduce", 0))
    return read, write
