"""The counter hash: published vectors, uniform and independent bits, reproducible masks."""

from __future__ import annotations

import numpy as np
import pytest

from pynq_train.fixed import counter_hash, drop_threshold, element_bits, keep_map, keep_words
from pynq_train.fixed.counter_hash import STEP_BITS, block_int, blocks

PI = (0x13198A2E, 0x03707344, 0x85A308D3, 0x243F6A88)
ONES = (0xFFFFFFFF,) * 4


@pytest.mark.parametrize(("words", "rounds", "expected"), [
    ((0, 0, 0, 0), 20, (0x6B200159, 0x99BA4EFE)),
    (ONES, 20, (0x1CB996FC, 0xBB002BE7)),
    (PI, 20, (0xC4923A9C, 0x483DF7A0)),
    ((0, 0, 0, 0), 13, (0x9D1C5EC6, 0x8BD50731)),
    (ONES, 13, (0xFD36D048, 0x2D17272C)),
    (PI, 13, (0xBA3E4725, 0xF27D669E)),
])
def test_published_vectors(words: tuple[int, int, int, int], rounds: int,
                           expected: tuple[int, int]) -> None:
    """Known answers of the Random123 library for threefry2x32."""
    assert block_int(*words, rounds=rounds) == expected


def test_arrays_equal_the_definition(rng: np.random.Generator) -> None:
    for _ in range(20):
        seed, step, tensor, *index = (int(v) for v in rng.integers(0, 2**32, 8))
        got = blocks(seed, step, tensor, np.array(index))
        for at, value in zip(index, got.tolist()):
            assert (value & 0xFFFFFFFF, value >> 32) == block_int(seed, step, tensor, at)


def test_elements_take_their_block_lowest_bits_first() -> None:
    low, high = block_int(7, 8, 9, 5)
    assert element_bits(7, 8, 9, 20, 4).tolist() == [low & 0xFFFF, low >> 16, high & 0xFFFF,
                                                     high >> 16]


def test_a_part_equals_the_whole() -> None:
    whole = element_bits(1, 2, 3, 0, 1000)
    assert whole.dtype == np.uint16 and whole.shape == (1000,)
    for first, count in ((0, 0), (1, 1), (3, 6), (17, 801), (998, 2)):
        assert np.array_equal(element_bits(1, 2, 3, first, count), whole[first : first + count])


def test_bits_are_uniform() -> None:
    """Chi-square of 256 bins, bias of each bit, correlation of neighbours: all within 5 sigma."""
    bits = element_bits(11, 0, 0, 0, 1 << 20)
    counts = np.bincount(bits >> 8, minlength=256)
    expected = len(bits) / 256
    chi = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi - 255) < 5 * np.sqrt(2 * 255)
    sigma = 0.5 / np.sqrt(len(bits))
    for bit in range(16):
        assert abs(((bits >> bit) & 1).mean() - 0.5) < 5 * sigma
    centred = bits.astype(np.float64) - bits.mean()
    for lag in (1, 2, 3, 4, 64):
        correlation = (centred[lag:] * centred[:-lag]).mean() / centred.var()
        assert abs(correlation) < 5 / np.sqrt(len(bits))


@pytest.mark.parametrize("other", [(1, 5, 9), (0, 6, 9), (0, 5, 10), (1 << 31, 5, 9)])
def test_any_word_changes_half_of_the_bits(other: tuple[int, int, int]) -> None:
    a, b = element_bits(0, 5, 9, 0, 1 << 14), element_bits(*other, 0, 1 << 14)
    flipped = np.unpackbits((a ^ b).view(np.uint8)).mean()
    assert abs(flipped - 0.5) < 5 * 0.5 / np.sqrt(16 << 14)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_keep_map_has_the_rate(rate: float) -> None:
    kept = keep_map(rate, 3, 4, 5, (10, 20, 10, 100))
    assert abs(kept.mean() - (1 - rate)) <= 5 * np.sqrt(rate * (1 - rate) / kept.size)
    assert drop_threshold(0.5) == 32768 and drop_threshold(0.999999) == 65535


def test_known_mask() -> None:
    """The same on every machine and version."""
    kept = keep_map(0.5, 1, 2, 3, (1, 4, 1, 8))
    assert np.packbits(kept.transpose(0, 2, 3, 1)).tobytes().hex() == "9a0f539b"


def test_words_of_a_map_count_by_image_block_row_and_column() -> None:
    kept = keep_map(0.3, 5, 6, 7, (3, 10, 2, 5))
    for image, channel, row, col in ((0, 0, 0, 0), (1, 5, 1, 4), (2, 9, 0, 3)):
        number = ((image * 3 + channel // 4) * 2 + row) * 5 + col
        own = keep_words(drop_threshold(0.3), 5, 6, 7, np.array([number]))
        assert kept[image, channel, row, col] == own[0, channel % 4]


def test_masks_repeat_after_two_to_the_24_steps() -> None:
    one, same, other = (keep_map(0.5, 1, step, 3, (1, 4, 8, 8))
                        for step in (9, 9 + (1 << STEP_BITS), 10))
    assert np.array_equal(one, same) and not np.array_equal(one, other)


def test_elements_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"elements: expected 0 .. 2\*\*34 - 1, found -1 .. 0"):
        element_bits(0, 0, 0, -1, 2)
    assert counter_hash.ELEMENTS_PER_BLOCK << 32 == 2**34
