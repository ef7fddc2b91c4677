"""Pooling descriptors of random programs: over maps that other descriptors read and write."""

from __future__ import annotations

import random
from collections.abc import Callable

from reference_models.pool_cases import geometry, random_pooled, random_window

from pynq_train.hw.config import ZYNQ7020

MOST_COLUMNS = ZYNQ7020.line_columns - 2
Take = Callable[[str, int], int]
"""Byte offset of a new region of a name and a size."""


class Pools:
    """Chooses pooling passes; most backward ones go back through argmax indices of forward ones.

    Args:
        rng: random choices.
        images, blocks, words: sizes of the maps.
        take: gives new regions.
    """

    def __init__(self, rng: random.Random, images: int, blocks: int, words: int,
                 take: Take) -> None:
        self._rng, self._planes, self._take = rng, (images, blocks), take
        self._rows = [r for r in range(1, words + 1)
                      if words % r == 0 and words // r <= MOST_COLUMNS]
        self._words = words
        self._done: list[tuple[dict[str, int], int, int]] = []

    def fields(self, number: int, maps: list[int]) -> dict[str, int]:
        """Fields of the next descriptor; ``maps``: regions that it may read or write."""
        rng = self._rng
        if not self._done or rng.random() < 0.5:
            rows = rng.choice(self._rows)
            size, window = (rows, self._words // rows), random_window(rng)
            pooled = random_pooled(rng, size, window)
            found = geometry(*self._planes, size, pooled, window, back=False)
            line = found["p.o_words"] * 8 * self._planes[0]
            flags = found["p.w_words"] * 8 * self._planes[0]
            at = self._take(f"pooled{number}", line), self._take(f"argmax{number}", flags)
            self._done.append((geometry(*self._planes, size, pooled, window, back=True), *at))
            if rng.random() < 0.7:
                return {**found, "p.i_off": rng.choice(maps), "p.o_off": at[0], "p.w_off": at[1],
                        "p.p_argmax": int(rng.random() < 0.8)}
        back, gradient, argmax = rng.choice(self._done)
        return {**back, "p.i_off": gradient, "p.o_off": rng.choice(maps), "p.w_off": argmax}
