"""Random bits as a function of where they are used: (seed, step, tensor, element) -> 16 bits.

There is no state: PC, board and resumed runs draw the same bits in any order. The function is
Threefry-2x32 with 13 rounds of 32-bit add, rotate and exclusive-or, no multiplication (Salmon et
al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011; 13 rounds pass TestU01's BigCrush).
One block of 64 bits serves four neighbouring elements, lowest bits first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pynq_train.arrays import Array

ROUNDS = 13
ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
"""Left rotation of round r is entry r mod 8."""
ROUNDS_PER_KEY = 4
"""The key enters again after every fourth round."""
PARITY = 0x1BD11BDA
"""Constant of the third key word (Threefry, with 32-bit words)."""
ELEMENTS_PER_BLOCK = 4
BITS = 16
"""Random bits per element."""
STEP_BITS = 24
"""The masks of a dropout repeat after so many bits of training steps."""

_MASK = 0xFFFF_FFFF


def block_int(seed: int, step: int, tensor: int, block: int, rounds: int = ROUNDS
              ) -> tuple[int, int]:
    """Return the two 32-bit words of one block: counter (block, tensor) under key (seed, step).

    The definition in Python integers, one element at a time; :func:`blocks` is the fast form.
    Arguments are taken modulo 2**32.
    """
    key = (seed & _MASK, step & _MASK, (seed ^ step ^ PARITY) & _MASK)
    low, high = (block + key[0]) & _MASK, (tensor + key[1]) & _MASK
    for number in range(rounds):
        turn = ROTATIONS[number % len(ROTATIONS)]
        low = (low + high) & _MASK
        high = (high << turn | high >> (32 - turn)) & _MASK
        high ^= low
        if number % ROUNDS_PER_KEY == ROUNDS_PER_KEY - 1:
            entry = number // ROUNDS_PER_KEY + 1
            low = (low + key[entry % 3]) & _MASK
            high = (high + key[(entry + 1) % 3] + entry) & _MASK
    return low, high


def blocks(seed: int, step: int, tensor: int, index: Array) -> NDArray[np.uint64]:
    """Return blocks of random bits, each 64 bits with its first word in the low half.

    Args:
        seed: of the training.
        step: number of the training step.
        tensor: number of the tensor.
        index: numbers of the blocks, integers of any shape.

    Returns:
        uint64, of the shape of ``index`` (at least one dimension).
    """
    key = [np.uint32(word & _MASK) for word in (seed, step, seed ^ step ^ PARITY)]
    # Scalars of a fixed width warn when they wrap, arrays do not: keep everything in arrays.
    low = np.atleast_1d(index).astype(np.uint32) + key[0]
    high = np.full(low.shape, tensor & _MASK, np.uint32) + key[1]
    for number in range(ROUNDS):
        turn = np.uint32(ROTATIONS[number % len(ROTATIONS)])
        low += high
        high = (high << turn | high >> (np.uint32(32) - turn)) ^ low
        if number % ROUNDS_PER_KEY == ROUNDS_PER_KEY - 1:
            entry = number // ROUNDS_PER_KEY + 1
            low += key[entry % 3]
            high += key[(entry + 1) % 3]
            high += np.uint32(entry)
    return low.astype(np.uint64) | high.astype(np.uint64) << np.uint64(32)


def element_bits(seed: int, step: int, tensor: int, first: int, count: int) -> NDArray[np.uint16]:
    """Return the 16 random bits of elements ``first .. first + count - 1`` of a tensor.

    Args:
        seed: of the training.
        step: number of the training step.
        tensor: number of the tensor or of the operation that makes it.
        first: first element, 0 or more.
        count: number of elements.

    Returns:
        uint16 ``(count,)``.

    Raises:
        ValueError: ``first`` or ``count`` is negative, or an element is beyond 2**34.
    """
    if first < 0 or count < 0 or first + count > ELEMENTS_PER_BLOCK << 32:
        raise ValueError(f"elements: expected 0 .. 2**34 - 1, found {first} .. {first + count - 1}")
    begin, skip = divmod(first, ELEMENTS_PER_BLOCK)
    number = -(-(skip + count) // ELEMENTS_PER_BLOCK)
    words = blocks(seed, step, tensor, np.arange(begin, begin + number, dtype=np.int64))
    bits: NDArray[np.uint16] = words.astype("<u8").view("<u2")[skip : skip + count]
    return bits.astype(np.uint16)


def drop_threshold(rate: float) -> int:
    """Return the threshold of a dropout rate: an element drops if its 16 bits are below it.

    ``rate``: 0 or more, below 1.
    """
    # A rate near 1 would give 2**16, which 16 bits do not hold.
    return min(round(rate * (1 << BITS)), (1 << BITS) - 1)


def keep_words(least: int, seed: int, step: int, tensor: int,
               numbers: Array) -> NDArray[np.bool_]:
    """Return which of the four channels of words a dropout keeps: bool ``(*numbers.shape, 4)``.

    Args:
        least: smallest random bits of an element that is kept (:func:`drop_threshold`).
        seed: of the training.
        step: number of the training step; the engine takes it modulo ``2**STEP_BITS``.
        tensor: number of the tensor.
        numbers: numbers of the words in the tensor, each a block of random bits.
    """
    words = blocks(seed, step % (1 << STEP_BITS), tensor, np.ascontiguousarray(numbers))
    kept: NDArray[np.bool_] = words.astype("<u8")[..., None].view("<u2") >= np.uint16(least)
    return kept


def keep_map(rate: float, seed: int, step: int, tensor: int,
             shape: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """Return which elements of a feature map a dropout keeps: bool of ``shape``.

    A block serves four neighbouring channels of one pixel; blocks count in the order (image,
    channel block, row, column), whatever the layout in memory is.

    Args:
        rate: part of the elements that drop, 0 or more, below 1.
        seed: of the training.
        step: number of the training step.
        tensor: number of the tensor.
        shape: images, channels, rows, columns.
    """
    images, channels, rows, cols = shape
    groups = -(-channels // ELEMENTS_PER_BLOCK)
    numbers = np.arange(images * groups * rows * cols, dtype=np.int64)
    kept = keep_words(drop_threshold(rate), seed, step, tensor, numbers)
    lanes = kept.reshape(images, groups, rows, cols, ELEMENTS_PER_BLOCK).transpose(0, 1, 4, 2, 3)
    whole: NDArray[np.bool_] = lanes.reshape(images, -1, rows, cols)[:, :channels]
    return whole
