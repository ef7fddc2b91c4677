"""Limits of the units that hold in every configuration; the others are attributes of it."""

from __future__ import annotations

from typing import Final

from pynq_train.hw.words import FLAG_MASK_PIXELS, FLAG_UNPOOL_COLUMNS

MAX_KERNEL, MAX_STRIDE = 11, 4
"""Largest kernel and stride of a convolution, rows and columns alike."""

MAX_PRODUCTS = 1 << 17
"""Products that one accumulator takes, so that 48 bits never overflow: 2**17 * 32767**2 < 2**47."""

MAX_POOL_KERNEL = 3
"""Most rows and columns of a window of the pooling pass."""

MAX_POOL_STRIDE = 3
"""Largest stride of the pooling pass, rows and columns alike."""

MAX_COORDINATE = (1 << 15) - 1
"""Largest coordinate, and size of a map, of an address generator: 16 bits with their sign."""

MAX_FEATURES = (1 << 16) - 1
"""Most input features of a dense layer."""

MAX_SIZE = 8192
"""Largest rows, columns and channels, so that coordinates with their tiles keep in 16 bits."""

FLAG_ROW_WORDS = 64
"""Longest flag row of a loader in words: its flag buffer."""

MAX_FLAG_COLUMNS = FLAG_MASK_PIXELS * FLAG_ROW_WORDS
"""Columns (dense layers: images) of a masked map whose flags fill that buffer."""

MAX_POOL_COLUMNS = FLAG_UNPOOL_COLUMNS * FLAG_ROW_WORDS
"""Columns of an unpooled map whose flags fill that buffer."""

FLAG_TILE_COLUMNS = FLAG_MASK_PIXELS
"""Column tiles of maps with flags start at multiples of this: at a flag word, of either kind."""

RING_MARGIN: Final = 8
"""Words of the S ring that the loader may have on its way: the ring is never filled up to them."""

CONFIG_RANGES = {
    "x_bank_words": (16, 1 << 14),
    "s_ring_words": (64, 1 << 13),
    "acc_groups": (32, 1 << 17),
    "stage_words": (512, 1 << 16),
    "flag_words": (16, 1 << 16),
    "pool_columns": (16, 1024),
    "line_columns": (16, 4096),
    "max_taps": (1, 126),
    "sweep_min_cycles": (12, 16),
}
"""Least and most of what a configuration asks for: widths of the RTL's counters and addresses, and
the reach of its pipelines. The RTL checks its parameters by the same table (``pt_abi_pkg``)."""

ARRAY_LANES = (16, 32)
"""Output lanes (``tm``) that the array is built with."""

GRAD_WORDS_PER_LANE = 16
"""Least sums of the gradient queue for each output lane: four segments of kept lanes."""

NO_LIMIT = (1 << 16) - 1
"""``limit`` of a clipped ReLU that clips nothing: no code reaches it."""

OUTSTANDING_BURSTS = 8
"""Most bursts of a master, reads and writes each, that have been issued and have no answer."""

READ_QUEUE_WORDS: Final = 256
"""Words that a read port holds for the units that asked for them."""

UPDATE_QUEUE_WORDS: Final = 128
"""Words of each queue of the update unit: gradient sums, masters, results."""

MAP_QUEUE_WORDS: Final = 256
"""Words of map a that the vector unit holds."""
