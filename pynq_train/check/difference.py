"""The first element in which two memory images of an arena differ, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pynq_train.arrays import Array
from pynq_train.schedule.memory.coordinates import TensorMap, find


@dataclass(frozen=True)
class Difference:
    """The first element in which two memory images differ.

    Attributes:
        when: what had just run: the descriptor's number, pass and layer, or the end of a step.
        tensor: symbol of the region.
        index: element in it, counted in the tensor's type.
        golden: golden's value.
        board: the other backend's value.
        bytes_differing: differing bytes in the whole image.
        at: coordinates of the element (image, channel, row, column), empty if it has none.
    """

    when: str
    tensor: str
    index: int
    golden: int
    board: int
    bytes_differing: int
    at: str = ""

    def text(self) -> str:
        """Return the difference as one sentence."""
        at = f" ({self.at})" if self.at else ""
        return (f"{self.when}: {self.tensor}[{self.index}]{at} is {self.golden} on golden, "
                f"{self.board} on the board ({self.bytes_differing} bytes differ)")


def first_difference(when: str, golden: Array, board: Array,
                     tensors: Sequence[TensorMap]) -> Difference | None:
    """Compare two images of an arena; None if they are equal.

    Args:
        when: what had just run.
        golden: uint8 ``[bytes]``, image of golden.
        board: uint8 ``[bytes]``, image of the other backend, of the same size.
        tensors: what the arena holds.
    """
    if np.array_equal(golden, board):
        return None
    different = np.flatnonzero(golden != board)
    count = len(different)
    # Results before the records about them: where both differ, they tell more.
    for tensor in tensors:
        if tensor.symbol.endswith(".records"):
            outside = different[(different < tensor.offset)
                                | (different >= tensor.offset + tensor.nbytes)]
            different = outside if len(outside) else different
    at = int(different[0])
    held = find(tensors, at)
    if held is None:
        return Difference(when, f"byte {at} between tensors", 0, int(golden[at]), int(board[at]),
                          count)
    dtype = np.dtype(held.dtype)
    index = (at - held.offset) // dtype.itemsize
    begin = held.offset + index * dtype.itemsize
    span = slice(begin, begin + dtype.itemsize)
    mine, theirs = (int(image[span].copy().view(dtype)[0]) for image in (golden, board))
    return Difference(when, held.symbol, index, mine, theirs, count, held.where(begin))
