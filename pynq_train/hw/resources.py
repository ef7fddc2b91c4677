"""DSPs and block memories of a configuration, by formula.

The formulas count what synthesis infers: ``tests/system/test_synth_resources.py`` holds them
against Yosys. LUTs and flip-flops follow from no formula; ``make synth`` reports them.
"""

from __future__ import annotations

from dataclasses import dataclass

from pynq_train.hw.commands import DESCRIPTOR_WORDS
from pynq_train.hw.config import HwConfig
from pynq_train.hw.curves import MAX_SEGMENT_BITS, OFFSET_BITS, SLOPE_BITS
from pynq_train.hw.limits import MAP_QUEUE_WORDS, READ_QUEUE_WORDS, UPDATE_QUEUE_WORDS
from pynq_train.hw.words import CHANNELS_PER_WORD

UPDATE_DSPS = 8
"""Multipliers of the update unit."""
SOFTMAX_DSPS = 2
"""Multipliers of the softmax unit."""
VECTOR_DSPS = 12
"""Multipliers of the vector unit: three products of four channels."""
NORM_DSPS = 4
"""Parts of the product of the normalisation's scalar unit."""
_SHAPES = ((512, 72), (1024, 36), (2048, 18), (4096, 9), (8192, 4), (16384, 2), (32768, 1))
"""Words and bits of one RAMB36."""
_PARTED_WORDS = 2048
"""Above these, a memory keeps the bits beyond its nines apart (``pt_ram_sdp``)."""
_HALF_BITS = 16384
"""Bits of one RAMB18, of words that have no nines."""
_SLOT_WORDS = 2 * DESCRIPTOR_WORDS
"""Words of one slot of the descriptor ring: descriptor, step-block entry and taps."""
_TABLE_BITS = 36
"""Bits of an entry of the softmax tables: value and slope."""
_POOL_BITS = 68
_LINE_BITS = 144
"""Four sums of 6 codes and four of 3, backward; two lines of maxima forward."""
_WORD_BITS = 64


@dataclass(frozen=True)
class BlockMemory:
    """One kind of memory of the engine.

    Attributes:
        name: what it holds.
        count: equal memories.
        words: words of each.
        bits: bits of a word.
    """

    name: str
    count: int
    words: int
    bits: int

    @property
    def bram36(self) -> float:
        """RAMB36 of all of them; halves are RAMB18."""
        return self.count * _bram36(self.words, self.bits)


@dataclass(frozen=True)
class Resources:
    """What a configuration takes of a part."""

    dsp: int
    memories: tuple[BlockMemory, ...]

    @property
    def bram36(self) -> float:
        """Block memories in RAMB36."""
        return sum(memory.bram36 for memory in self.memories)


def _bram36(words: int, bits: int) -> float:
    """RAMB36 of one memory of simple dual port, in the shape that takes the fewest."""
    if words <= 512:  # the last columns may be a half
        return -(-bits // 36) / 2
    if words <= 1024:
        return -(-bits // 18) / 2
    left, parted = bits % 9, 0.0
    if words > _PARTED_WORDS and bits > left > 0 and left * words <= _HALF_BITS:
        bits, parted = bits - left, 0.5
    return parted + min(-(-words // deep) * -(-bits // wide) for deep, wide in _SHAPES)


def resources(config: HwConfig) -> Resources:
    """Return DSPs and block memories of a configuration."""
    quarters = config.tm // CHANNELS_PER_WORD
    pair_bits = (config.x_bank_words - 1).bit_length() + 2
    memories = (
        BlockMemory("accumulators", config.tm, config.acc_groups, config.tp * config.acc_bits),
        BlockMemory("X banks", config.tp, config.x_bank_words, _WORD_BITS),
        BlockMemory("staging", 1, config.stage_words, _WORD_BITS),
        BlockMemory("gradient queue", quarters, config.grad_words // quarters, config.acc_bits),
        BlockMemory("S ring", 2, config.s_ring_words // 2, _WORD_BITS),
        BlockMemory("flag staging", 1, config.flag_words, _WORD_BITS),
        BlockMemory("AXI read queues", config.ports, READ_QUEUE_WORDS, _WORD_BITS),
        BlockMemory("descriptor ring", 1, config.slots * _SLOT_WORDS, _WORD_BITS),
        BlockMemory("pixel table", 1, 2 * config.table_rows, config.tp * pair_bits),
        BlockMemory("update queues", 3, UPDATE_QUEUE_WORDS, _WORD_BITS),
        BlockMemory("vector queue of map a", 1, MAP_QUEUE_WORDS, _WORD_BITS),
        BlockMemory("segments of a curve", CHANNELS_PER_WORD, 1 << MAX_SEGMENT_BITS,
                    SLOPE_BITS + OFFSET_BITS),
        BlockMemory("softmax logits", 1, 2 * config.max_classes // CHANNELS_PER_WORD, _WORD_BITS),
        BlockMemory("softmax tables", 1, 512, _TABLE_BITS),
        BlockMemory("pooling line", 1, 2 * config.pool_columns, _POOL_BITS),
        BlockMemory("line of the pooling pass", 1, config.line_columns, _LINE_BITS),
    )
    scalar = UPDATE_DSPS + SOFTMAX_DSPS + VECTOR_DSPS + NORM_DSPS
    return Resources(config.multipliers + scalar, memories)
