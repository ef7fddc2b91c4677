"""What the host writes for a run: step block, labels and images.

They stand side by side in the arena, so that one array holds all three and one write takes it
there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pynq_train.arrays import Array
from pynq_train.hw.commands import PARAM_WORDS
from pynq_train.hw.words import CHANNELS_PER_WORD, LINE_WORDS, WORD_BYTES, round_up
from pynq_train.run.batch import PixelTable
from pynq_train.run.halves import Between
from pynq_train.schedule.plan import Plan

_SYMBOLS = "step_block", "labels", "input"


class Frame:
    """Words of a run's step block, labels and images, which are written again and again.

    Args:
        plan: the plan.

    Attributes:
        head: int64, all words but those of the images.
        block: int64, words of the step block; zeros behind it up to the end of a cache line.
        labels: int64, class numbers ``(batch,)``; zeros behind them as well.
        codes: int16 ``(batch, channel blocks, rows, cols, 4)``, images as they stand in the arena.
        written: symbols of the arena, and the bytes that go there.
        between: what the host needs between the halves of a step; None where it computes no loss.
    """

    def __init__(self, plan: Plan) -> None:
        layout = plan.input_layout
        shape = plan.batch, layout.blocks, layout.rows, layout.cols, CHANNELS_PER_WORD
        # Whole cache lines, behind which a region has nothing: the driver need not look at them.
        counts = (round_up(plan.step_block.entries * PARAM_WORDS, LINE_WORDS),
                  round_up(plan.batch, LINE_WORDS), int(np.prod(shape[:-1])))
        words = np.zeros(sum(counts), np.int64)
        self.block, self.labels, images = np.split(words, np.cumsum(counts[:-1]))
        self.head = words[: len(words) - len(images)]
        self.codes: NDArray[np.int16] = images.view(np.int16).reshape(shape)
        places = [plan.memory[symbol].offset for symbol in _SYMBOLS]
        ends = [at + WORD_BYTES * count for at, count in zip(places, counts)]
        parts = [("step_block", words)] if ends[:-1] == places[1:] else list(
            zip(_SYMBOLS, (self.block, self.labels, images)))
        self._whole: tuple[tuple[str, Array], ...] = tuple(
            (symbol, part.view(np.uint8)) for symbol, part in parts)
        self.written = self._whole
        self.between: Between | None = None

    def carry(self, maps: tuple[tuple[str, Array], ...] | None) -> None:
        """Carry feature maps, by their symbols, instead of the images; None: the images again."""
        self.written = self._whole if maps is None else (
            ("step_block", self.block.view(np.uint8)), ("labels", self.labels.view(np.uint8)),
            *maps)

    @property
    def nbytes(self) -> int:
        """Bytes of the images, the most of it."""
        return self.codes.nbytes

    def set_labels(self, labels: Array | None) -> None:
        """Set class numbers ``(n,)`` of at most a mini-batch, and zeros for those that lack."""
        count = 0
        if labels is not None:
            count = len(labels)
            self.labels[:count] = labels
        if count < len(self.labels):
            self.labels[count:] = 0


class Recipe:
    """What a frame has held, in less memory: its images are pixels, which become codes again.

    Args:
        frame: the frame.
        table: codes of the pixels.
        pixels: uint8 ``(n, channels or 1, rows, cols)``, which nobody changes.
        exponent: of the codes.
    """

    def __init__(self, frame: Frame, table: PixelTable, pixels: NDArray[np.uint8], exponent: int
                 ) -> None:
        self._head, self._between = frame.head.copy(), frame.between
        self._table, self._pixels, self._exponent = table, pixels, exponent

    @property
    def nbytes(self) -> int:
        """Bytes of the images, the most of it."""
        return self._pixels.nbytes

    def fill(self, frame: Frame) -> None:
        """Let a frame hold the same."""
        frame.head[:], frame.between = self._head, self._between
        count = len(self._pixels)
        self._table.fill(self._exponent, self._pixels, frame.codes[:count])
        frame.codes[count:] = 0
