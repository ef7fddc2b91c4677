"""The arena as typed views. Every view is checked against the arena's end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pynq_train.arrays import Array
from pynq_train.errors import BadInput
from pynq_train.hw.commands import RECORD_WORDS
from pynq_train.hw.layouts import RECORD
from pynq_train.hw.words import WORD_BYTES


class OutsideArena(Exception):
    """A tensor does not lie inside the arena; the text says which."""


class ArenaViews:
    """Views of one arena; all of them share its memory.

    Args:
        arena: flat uint8 array, aligned to words.

    Raises:
        BadInput: it is not.
    """

    def __init__(self, arena: Array) -> None:
        if arena.dtype != np.uint8 or arena.ndim != 1 or not arena.flags.c_contiguous:
            raise BadInput("the arena", expected="a flat, contiguous uint8 array",
                           found=f"{arena.dtype} {arena.shape}")
        if arena.ctypes.data % WORD_BYTES:
            raise BadInput("the arena's address", expected=f"a multiple of {WORD_BYTES}",
                           found=hex(arena.ctypes.data))
        self.arena = arena

    def view(self, what: str, offset: int, shape: Sequence[int], dtype: Any,
             strides: Sequence[int] | None = None) -> Array:
        """Return an array over arena bytes from ``offset`` on.

        Args:
            what: name of the tensor, for the error.
            offset: byte offset, a multiple of 8.
            shape: its shape.
            dtype: its type.
            strides: strides in bytes (default: contiguous).

        Raises:
            OutsideArena: part of it lies behind the arena's end, or it is not aligned to words.
        """
        if offset % WORD_BYTES or any(s % WORD_BYTES for s in strides or ()):
            raise OutsideArena(f"{what} at offset {offset} is not aligned to {WORD_BYTES} bytes")
        # NumPy refuses an array that its buffer does not hold: no bounds to compute here.
        try:
            return np.ndarray(tuple(shape), dtype, self.arena.data, offset, strides)
        except (ValueError, TypeError):
            raise OutsideArena(
                f"{what} at offset {offset}, shape {tuple(shape)}, reaches outside the arena of "
                f"{self.arena.nbytes} bytes") from None

    def read(self, what: str, offset: int, nbytes: int) -> bytes:
        """Return a copy of ``nbytes`` bytes from ``offset`` on."""
        return self.view(what, offset, (nbytes,), np.uint8).tobytes()

    def words(self, what: str, offset: int, shape: Sequence[int],
              strides: Sequence[int]) -> Array:
        """Return the words of a feature map as int64 ``[image, block, row, column]``."""
        return self.view(what, offset, shape, np.int64, strides)

    def record(self, offset: int, first: int, second: int) -> None:
        """Write a result record: measure (loss), saturations (correct predictions), no cycles."""
        words = self.view("the record", offset, (RECORD_WORDS,), np.int64)
        words[:] = 0
        words[RECORD.at("measure").word] = first
        words[RECORD.at("saturations").word] = second
