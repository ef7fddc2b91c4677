"""Random pooling descriptors: windows, sizes and contents of memory."""

from __future__ import annotations

import random
from collections.abc import Mapping

from reference_models.vector_cases import random_word
from reference_models.vector_model import Memory

from pynq_train.hw.commands import Opcode
from pynq_train.hw.pool import passes

Pair = tuple[int, int]
Window = tuple[int | Pair, int | Pair, int, int]
"""Rows and columns of the kernel and of the stride, one number if they are equal; top, left."""


def random_window(rng: random.Random) -> Window:
    """Any legal window; every second one is square."""
    if rng.random() < 0.5:
        return rng.choice((2, 3)), rng.randint(1, 3), rng.randrange(2), rng.randrange(2)
    kernel = rng.choice((1, 2, 3, 3)), rng.choice((1, 2, 3, 3))
    top, left = (rng.randrange(min(side, 2)) for side in kernel)
    return kernel, (rng.randint(1, 3), rng.randint(1, 3)), top, left


def sides(value: int | Pair) -> Pair:
    """Rows and columns."""
    return value if isinstance(value, tuple) else (value, value)


def pooled_sizes(size: int, kernel: int, stride: int, pad: int) -> range:
    """Numbers of windows along an axis: each holds a pixel of the map."""
    return range(1, (size - 1 + pad) // stride + 2)


def geometry(images: int, blocks: int, size: tuple[int, int], pooled: tuple[int, int],
             window: Window, back: bool) -> dict[str, int]:
    """Fields of a descriptor but its offsets and ``p_argmax``; images one behind the other."""
    kernel, stride, pads = sides(window[0]), sides(window[1]), window[2:]
    words = {"w": blocks * -(-pooled[0] * pooled[1] // 4)}
    words["o" if back else "i"] = blocks * size[0] * size[1]
    words["i" if back else "o"] = blocks * pooled[0] * pooled[1]
    fields = {"pre.opcode": int(Opcode.POOL), "p.p_images": images, "p.p_blocks": blocks,
              "p.p_rows": size[0], "p.p_cols": size[1], "p.q_rows": pooled[0],
              "p.q_cols": pooled[1], "p.p_kernel": kernel[0], "p.p_stride": stride[0],
              "p.p_kernel_cols": kernel[1], "p.p_stride_cols": stride[1],
              "p.p_top": pads[0], "p.p_left": pads[1], "p.p_back": int(back)}
    for name, count in words.items():
        fields[f"p.{name}_words"], fields[f"p.{name}_step"] = count, 8 * count
    for name, axis in (("rows", 0), ("cols", 1)):
        fields[f"p.t_{name}"] = passes(back, size[axis], pooled[axis], kernel[axis],
                                      stride[axis], pads[axis])
    return fields


def random_pooled(rng: random.Random, size: tuple[int, int], window: Window) -> tuple[int, int]:
    """A size of the pooled map, in most cases the largest whose windows end inside the map."""
    found = []
    for length, pad, side, step in zip(size, window[2:], sides(window[0]), sides(window[1])):
        legal = pooled_sizes(length, side, step, pad)
        usual = max(1, (length + 2 * pad - side) // step + 1)
        found.append(min(usual, legal[-1]) if rng.random() < 0.7 else rng.choice(legal))
    return found[0], found[1]


def contents(rng: random.Random, fields: Mapping[str, int]) -> Memory:
    """What a descriptor may read: codes with many ties, argmax indices that are mostly places."""
    memory: Memory = {}
    few = rng.randrange(2)
    for image in range(fields["p.p_images"]):
        for k in range(fields["p.i_words"]):
            word = random_word(rng)
            if few:  # many equal ones
                word &= 0x0003000300030003
            memory[fields["p.i_off"] + image * fields["p.i_step"] + 8 * k] = word
        for k in range(fields["p.w_words"]):
            word = sum(rng.randrange(9) << 4 * n for n in range(16))
            if rng.random() < 0.2:
                word = rng.getrandbits(64)
            memory[fields["p.w_off"] + image * fields["p.w_step"] + 8 * k] = word
    return memory
