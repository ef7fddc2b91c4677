"""Limits and memory accesses of pooling descriptors."""

from __future__ import annotations

import numpy as np

from pynq_train.errors import IllegalProgram
from pynq_train.hw.config import HwConfig
from pynq_train.hw.limits import MAX_POOL_KERNEL, MAX_POOL_STRIDE
from pynq_train.hw.pool import ARGMAX_PIXELS, most_columns, passes
from pynq_train.hw.words import WORD_BYTES, ceil_div
from pynq_train.program.program import Fields
from pynq_train.program.spans import Spans


def check_pool(label: str, f: Fields, config: HwConfig) -> None:
    """Check windows, sizes and steps of a POOL descriptor.

    Feature maps stand as ``[image][block][row][column]``, images ``i_step`` and ``o_step`` apart.
    Every window holds a pixel of the map.

    Args:
        label: name of the descriptor for messages.
        f: its fields.
        config: the engine.

    Raises:
        IllegalProgram: the first rule that it breaks.
    """
    def require(good: bool, what: str, expected: object, found: object) -> None:
        if not good:
            raise IllegalProgram(f"{label}: {what}", expected=expected, found=found)

    for name in ("p_images", "p_blocks", "p_rows", "p_cols", "q_rows", "q_cols"):
        require(f[f"p.{name}"] >= 1, name, "1 or more", f[f"p.{name}"])
    for name, largest in (("p_kernel", MAX_POOL_KERNEL), ("p_stride", MAX_POOL_STRIDE)):
        for axis in (name, f"{name}_cols"):
            require(1 <= f[f"p.{axis}"] <= largest, axis, f"1..{largest}", f[f"p.{axis}"])
    most = most_columns(config.line_columns, f["p.p_kernel"])
    require(f["p.p_cols"] <= most, "p_cols", f"at most {most}, a line of the unit", f["p.p_cols"])
    back = bool(f["p.p_back"])
    for name, side, axis in (("rows", "top", ""), ("cols", "left", "_cols")):
        kernel, stride, pad = f[f"p.p_kernel{axis}"], f[f"p.p_stride{axis}"], f[f"p.p_{side}"]
        require(pad < kernel, f"p_{side}", f"below p_kernel{axis}, {kernel}: the first window "
                "holds a pixel of the map", pad)
        size, pooled = f[f"p.p_{name}"], f[f"p.q_{name}"]
        # Windows that begin at a pixel of the map or above it: one that lies in padding alone would
        # have no maximum.
        windows = (size - 1 + pad) // stride + 1
        require(pooled <= windows, f"q_{name}", f"at most {windows}, windows that begin in the map",
                pooled)
        steps = passes(back, size, pooled, kernel, stride, pad)
        require(f[f"p.t_{name}"] == steps, f"t_{name}", steps, f[f"p.t_{name}"])
    pixels = f["p.q_rows"] * f["p.q_cols"]
    whole = f["p.p_rows"] * f["p.p_cols"]
    planes = {"i": pixels if back else whole, "o": whole if back else pixels,
              "w": ceil_div(pixels, ARGMAX_PIXELS)}
    for name, plane in planes.items():
        words = f["p.p_blocks"] * plane
        require(f[f"p.{name}_words"] == words, f"{name}_words", f"{words}, an image",
                f[f"p.{name}_words"])
        step = f[f"p.{name}_step"]
        require(step >= WORD_BYTES * words and step % WORD_BYTES == 0, f"{name}_step",
                f"{WORD_BYTES * words} or more, a multiple of {WORD_BYTES}", step)
    require(not (back and f["p.p_argmax"]), "p_argmax", "0 with p_back", 1)


def pool_spans(f: Fields) -> list[tuple[bool, str, Spans]]:
    """Return what a POOL descriptor touches: (written, what it is, its bytes) of each tensor."""
    result = [(False, "map that it reads", _images(f, "i")),
              (True, "map that it writes", _images(f, "o"))]
    if f["p.p_back"] or f["p.p_argmax"]:
        result.append((not f["p.p_back"], "argmax indices", _images(f, "w")))
    return result


def _images(f: Fields, name: str) -> Spans:
    """Return the bytes of all images of one tensor; ``name``: i, o or w."""
    starts = f[f"p.{name}_off"] + f[f"p.{name}_step"] * np.arange(f["p.p_images"], dtype=np.int64)
    return Spans.of(starts, starts + WORD_BYTES * f[f"p.{name}_words"])
