"""Limits of vector and normalisation descriptors: sizes, steps and modes of the unit."""

from __future__ import annotations

from pynq_train.errors import IllegalProgram
from pynq_train.hw.curves import MAX_SEGMENT_BITS, MIN_SEGMENT_BITS, Factor
from pynq_train.hw.limits import MAX_PRODUCTS
from pynq_train.hw.norm import GROUPED, NormProgram
from pynq_train.hw.words import CHANNELS_PER_WORD, FLAG_MASK_PIXELS, WORD_BYTES, ceil_div
from pynq_train.program import activations
from pynq_train.program.program import Fields

_MOST_PLANES = (1 << 16) - 1
_TOP = 1 << 30
"""Top bit of the significand of a soft float."""


def check_vector(label: str, f: Fields) -> None:
    """Check sizes, steps and modes of a VECTOR descriptor.

    Feature maps stand as ``[image][block][word]``, with gaps between images or without; flags
    likewise with whole words per plane and no gaps.

    Args:
        label: name of the descriptor for messages.
        f: its fields.

    Raises:
        IllegalProgram: the first rule that it breaks.
    """
    def require(good: bool, what: str, expected: object, found: object) -> None:
        if not good:
            raise IllegalProgram(f"{label}: {what}", expected=expected, found=found)

    images, blocks, words = f["v.v_images"], f["v.v_blocks"], f["v.v_words"]
    for name in ("v_images", "v_blocks", "v_words"):
        require(f[f"v.{name}"] >= 1, name, "1 or more", f[f"v.{name}"])
    row = ceil_div(words, FLAG_MASK_PIXELS)
    require(row <= _MOST_PLANES, "v_words", f"at most {FLAG_MASK_PIXELS * _MOST_PLANES}", words)
    require(f["v.m_words"] == row, "m_words", f"{row}, whole words of {words} pixels",
            f["v.m_words"])
    for name, size in (("v", words), ("m", row)):
        step = WORD_BYTES * blocks * size
        found = f[f"v.{name}_step"]
        if f["gv.group"]:
            # The channel blocks of a group stand for images, and follow each other.
            step = WORD_BYTES * size
            require((found, f[f"v.{name}_jump"]) == (step, step), f"{name}_step and {name}_jump",
                    f"{step} both, from a channel block to the next", found)
            continue
        if name == "m":
            require(found == step, "m_step", f"{step}, an image", found)
        require(found >= step and found % WORD_BYTES == 0, f"{name}_step",
                f"{step} or more, a multiple of {WORD_BYTES}: images do not overlap", found)
        # The unit goes through the images of a block before the next block: from the last image's
        # plane it goes back over all images, and one plane on.
        jump = WORD_BYTES * size - (images - 1) * found
        require(f[f"v.{name}_jump"] == jump, f"{name}_jump", f"{jump}, to the next block",
                f[f"v.{name}_jump"])
    require(bool(f["v.v_write"] or f["v.v_sums"]), "v_write, v_sums", "one of them", "none")
    for name, needed in (("v_spread", "v_b"), ("v_mask_b", "v_b"), ("v_reduce", "v_write"),
                         ("v_flags", "v_write")):
        require(not f[f"v.{name}"] or bool(f[f"v.{needed}"]), name, f"{needed} with it", "none")
    if f["v.v_reduce"] and f["v.v_factor"]:
        require(words <= MAX_PRODUCTS, "v_words", f"at most {MAX_PRODUCTS} products in a sum",
                words)
    for name in ("reduce", "spread"):
        # The words of its planes are the images: their mean is none of an image's pixels.
        require(not (f["gv.dense"] and f[f"gv.{name}"]), f"gv.{name}", "a map whose words are "
                "pixels of an image", "a dense map, whose words are images")
    activations.check_vector(f, require)
    for name in ("v_reduce", "v_mask_a", "v_mask_b"):
        require(not (f["v.v_flags"] and f[f"v.{name}"]), "v_flags", f"no {name} with it", "both")
    _check_factor(f, require)
    if f["v.v_drop"]:
        _check_drop(label, f)
    if f["gv.group"]:
        _check_group(f, require)


def group_blocks(group: int, blocks: int) -> int | None:
    """Return the channel blocks that share statistics where ``group`` channels do.

    It is 1 where a block holds several groups; None if no groups of this size fill ``blocks``.
    """
    if group < CHANNELS_PER_WORD:
        return 1 if group in (1, 2) else None
    together, rest = divmod(group, CHANNELS_PER_WORD)
    return None if rest or blocks % together else together


def _check_group(f: Fields, require: activations.Require) -> None:
    """Check that statistics of an image's group of channels can be taken as those of a block."""
    blocks = f["gv.blocks"]
    require(group_blocks(f["gv.group"], blocks) is not None, "gv.group",
            f"1, 2, or channel blocks that divide {blocks}", f["gv.group"])
    used = {"a": True, "b": f["gv.has_b"], "y": f["gv.write"],
            "m": f["gv.flags"] or f["gv.mask_a"] or f["gv.mask_b"]}
    for name, there in used.items():
        size = blocks * f[f"gv.{name}_block"]
        require(not there or f[f"gv.{name}_image"] == size, f"gv.{name}_image",
                f"{size}: there are no gaps between images of groups", f[f"gv.{name}_image"])
    for name in ("reduce", "spread", "drop", "dense"):
        require(not f[f"gv.{name}"], f"gv.{name}", "0 with gv.group", 1)


def _check_factor(f: Fields, require: activations.Require) -> None:
    """Check what stands with a factor of map a that is no coefficient.

    Its results come later than others, so flags and dropouts, which count on the time, have none;
    a limit has the place of the table's number.

    Raises:
        IllegalProgram: the first rule that it breaks.
    """
    factor = f["v.v_factor"]
    curve = factor in (Factor.CURVE, Factor.SLOPE)
    log = f["v.k_log"]
    if curve:
        require(MIN_SEGMENT_BITS <= log <= MAX_SEGMENT_BITS, "k_log",
                f"{MIN_SEGMENT_BITS}..{MAX_SEGMENT_BITS}", log)
    else:
        require(log == 0, "k_log", "0 without a curve", log)
    require(factor == Factor.CURVE or f["v.v_lanes"] == 0, "v_lanes", "0 without a curve",
            f["v.v_lanes"])
    if factor == Factor.COEFFICIENT:
        return
    for name in ("v_table", "v_btable", "v_flags", "v_drop", "v_clip"):
        require(not f[f"v.{name}"], name, f"none with factor {Factor(factor).name}", 1)
    require(bool(f["v.v_write"]), "v_write", f"set with factor {Factor(factor).name}", 0)
    if factor == Factor.CURVE:
        require(not f["v.v_reduce"], "v_reduce", "none with factor CURVE", 1)
    else:
        require(bool(f["v.v_b"]), "v_b", f"set with factor {Factor(factor).name}", 0)


def _check_drop(label: str, f: Fields) -> None:
    """Check that every word of a dropped feature map has a number of its own, that of its place.

    Two words of one number would draw the same random bits (``docs/numerics.md`` 9).
    """
    images, blocks, words = f["v.v_images"], f["v.v_blocks"], f["v.v_words"]
    whole = blocks * words
    # Numbers count in the order (image, block, word), but the unit goes through (block, image,
    # word): these are the steps within a plane, from image to image and from block to block.
    orders = [(1, whole - words + 1, 1 - (images - 1) * whole)]
    if images == 1:
        # A dense map stands as [block][image], its words count as [image][block].
        orders.append((blocks, 0, 1 - (words - 1) * blocks))
    found = f["v.d_step"], f["v.d_image"], f["v.d_block"]
    if found not in orders:
        raise IllegalProgram(f"{label}: d_step, d_image, d_block", found=found,
                             expected=" or ".join(map(str, orders)))


def check_norm(label: str, f: Fields) -> None:
    """Check program, counts and constants of a NORM descriptor.

    Args:
        label: name of the descriptor for messages.
        f: its fields.

    Raises:
        IllegalProgram: the first rule that it breaks.
    """
    def require(good: bool, what: str, expected: object, found: object) -> None:
        if not good:
            raise IllegalProgram(f"{label}: {what}", expected=expected, found=found)

    require(f["n.n_program"] in list(NormProgram), "n_program", f"0..{max(NormProgram)}",
            f["n.n_program"])
    grouped = f["n.n_program"] in GROUPED
    require(f["n.n_join"] in ((0, 1, 3) if grouped else (0,)), "n_join",
            "0, 1 or 3" if grouped else "0: channels have statistics of their own", f["n.n_join"])
    require(bool(f["gn.group"]) == grouped, "gn.group",
            "channels of a group" if grouped else "0", f["gn.group"])
    if grouped:
        require(group_blocks(f["gn.group"], f["gn.blocks"]) is not None, "gn.group",
                f"1, 2, or channel blocks that divide {f['gn.blocks']}", f["gn.group"])
        require(not f["gn.frozen"], "gn.frozen", "0: groups have no running statistics", 1)
        require(f["n.n_parts"] == 1, "n_parts", "1: each image has sums of its own",
                f["n.n_parts"])
    for name in ("n_blocks", "n_parts"):
        require(f[f"n.{name}"] >= 1, name, "1 or more", f[f"n.{name}"])
    for name in ("n_mean", "n_var", "n_eps"):
        found = f[f"n.{name}_m"]
        require(found == 0 or _TOP <= found < 2 * _TOP, f"{name}_m",
                f"0, or {_TOP}..{2 * _TOP - 1}", found)
