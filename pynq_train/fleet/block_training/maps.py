"""Maps on their way from a block to the next one: codes of device memory, and their exponent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pynq_train.errors import BadInput
from pynq_train.fleet.segment import DeviceMap, elements
from pynq_train.quant.policy import FRACTION_BITS
from pynq_train.run.batch import Codes
from pynq_train.run.formats import quantise
from pynq_train.run.session import Session
from pynq_train.schedule.passes.symbols import output_symbol


def read_map(session: Session, layer: int, exponent: int) -> DeviceMap:
    """Return the map that a layer has made in the last run.

    It must have a place of its own in the arena (``make_plan`` without turns), so that it is still
    there at the end of a training step.

    Args:
        session: has run a program.
        layer: position of the layer.
        exponent: of its map in that run.

    Returns:
        Codes ``(images, channel blocks, rows, columns, 4)``, also of a vector.

    Raises:
        BadInput: other maps have stood there since.
    """
    plan = session.plan
    symbol = output_symbol(plan, layer)
    if symbol in plan.memory.shared:
        raise BadInput(f"map {symbol!r} behind a training step", expected="a place of its own",
                       found="one that it shares with other maps",
                       fix="plan the block with turns=False")
    layout = plan.specs[layer].y
    data = session.backend.read(plan.memory[symbol].offset, layout.extent)
    codes = elements(data, layout)
    if layout.images != plan.batch:  # a dense map: its columns are the images
        codes = codes.transpose(3, 1, 0, 2, 4)
    return DeviceMap(np.ascontiguousarray(codes), exponent)


class MapBatch:
    """Images of a mini-batch as another block has made them; a trainer takes it as its images.

    Args:
        made: codes ``(n, channel blocks, rows, columns, 4)`` and their exponent.
        channels: channels of the map; what pads a block of them is left out of values.
    """

    def __init__(self, made: DeviceMap, channels: int) -> None:
        self.made, self._channels = made, channels

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.made.codes)

    @property
    def exact_k(self) -> int:
        """Range with which an input has the exponent of the codes: nothing is rounded then."""
        return self.made.exponent + FRACTION_BITS

    def values(self) -> NDArray[np.float32]:
        """Return the map as float32 ``(n, channels, rows, columns)``."""
        count, blocks, rows, cols, lanes = self.made.codes.shape
        planes = self.made.values().transpose(0, 1, 4, 2, 3)
        found = planes.reshape(count, blocks * lanes, rows, cols)[:, : self._channels]
        return np.ascontiguousarray(found)

    def fill(self, exponent: int, out: Codes) -> None:
        """Write the codes of an exponent: as they are, or rounded where it is another one."""
        if exponent == self.made.exponent:
            out[...] = self.made.codes
        else:
            out[...] = quantise(self.made.values(), exponent)

    def range_k(self, known: int) -> int:
        """Return the range that the codes were made for, not that of the elements."""
        return self.exact_k

    def take(self, rows: NDArray[np.int64] | slice) -> MapBatch:
        """Return some of the images."""
        return MapBatch(DeviceMap(self.made.codes[rows], self.made.exponent), self._channels)
