"""Vector unit: element by element over one or two feature maps (``docs/numerics.md`` 6)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pynq_train.arrays import Array
from pynq_train.backends.golden import post
from pynq_train.backends.golden.activation import Activation, Gradient
from pynq_train.backends.golden.curve import Segments
from pynq_train.backends.golden.memory import ArenaViews
from pynq_train.backends.golden.workers import Workers
from pynq_train.fixed import keep_words, rne_shift, saturate, wrap
from pynq_train.hw.curves import Factor
from pynq_train.hw.layouts import COEFFICIENT
from pynq_train.hw.words import (
    CHANNELS_PER_WORD,
    FLAG_MASK_PIXELS,
    WORD_BYTES,
    ceil_div,
    round_up,
)
from pynq_train.program.program import Fields

SUM_BITS, CODE_BITS = 48, 16
_EXACT = 1 << 22
"""Products of 16-bit codes whose sum float64 holds."""
_GROUP_ELEMENTS = 1 << 16
"""Elements of the channel blocks that are computed at once: many small blocks cost more calls than
arithmetic, a large one leaves the cache."""


@dataclass(frozen=True)
class _ChannelPart:
    """What a group of channel blocks adds to record and sums.

    Attributes:
        measure: OR of (total XOR sign).
        saturations: how many elements saturated.
        sums: int64 ``[block, 2, 4]``: S1 and S2 of each channel.
    """

    measure: int
    saturations: int
    sums: Array


@dataclass(frozen=True)
class _Site:
    """Sizes of the maps of a VECTOR descriptor.

    Attributes:
        fields: fields of the descriptor.
        images: images of the maps; of dense maps 1, whose words are the images.
        blocks: channel blocks.
        words: words of a channel block of an image.
        first: first image of the descriptor in the mini-batch.
        dense: the maps are dense.
        grouped: sums and coefficients are those of an image and a group of channels: then
            ``blocks`` counts these pairs and ``images`` the channel blocks of one. (Where a block
            holds several groups, it counts as one.)
    """

    fields: Fields
    images: int
    blocks: int
    words: int
    first: int
    dense: bool
    grouped: bool = False

    @classmethod
    def of(cls, d: Fields) -> _Site:
        """Return the sizes of sections ``gc`` and ``gv``.

        Raises:
            ValueError: a size is below 1.
        """
        count, pixels, dense = d["gc.count"], d["gv.pixels"], bool(d["gv.dense"])
        for name in ("gc.count", "gv.blocks", "gv.pixels"):
            if d[name] < 1:
                raise ValueError(f"{name}: expected 1 or more, found {d[name]}")
        if d["gv.group"]:
            together = max(d["gv.group"] // CHANNELS_PER_WORD, 1)
            return cls(d, together, count * d["gv.blocks"] // together, pixels, d["gc.first"],
                       False, True)
        images, words = (1, count * pixels) if dense else (count, pixels)
        return cls(d, images, d["gv.blocks"], words, d["gc.first"], dense)

    def map_of(self, memory: ArenaViews, what: str, name: str, one: bool = False) -> Array:
        """Return the images of a map: int16 ``[image, block, word, lane]``.

        Args:
            memory: the arena.
            what: name of the map, for errors.
            name: its field.
            one: it has one word for all pixels: ``[block, image, lane]``.
        """
        d = self.fields
        image, block = d[f"gv.{name}_image"], d[f"gv.{name}_block"]
        offset = d[f"gv.{name}"] + self.first * image
        if self.grouped:
            image, block = self._by_group(name)
        shape: tuple[int, ...] = (self.images, self.blocks, self.words)
        # The words of a dense map are images.
        steps: tuple[int, ...] = (image, block, image if self.dense else WORD_BYTES)
        if one:
            shape, steps = (self.blocks, self.images), (block, image)
        words = memory.words(what, offset, shape, steps)
        return np.ndarray((*shape, CHANNELS_PER_WORD), np.int16, memory.arena.data, offset,
                          (*words.strides, 2))

    def flags(self, memory: ArenaViews) -> Array:
        """Return the flags: uint64 ``[image, block, flag word]``."""
        d = self.fields
        image, block = d["gv.m_image"], d["gv.m_block"]
        shape = (self.images, self.blocks, ceil_div(self.words, FLAG_MASK_PIXELS))
        # Those of dense maps stand in the order of their words, from image 0 on.
        offset = d["gv.m"] + (0 if self.dense else self.first * image)
        if self.grouped:
            image, block = self._by_group("m")
        return memory.view("the flags", offset, shape, np.uint64, (image, block, WORD_BYTES))

    def _by_group(self, name: str) -> tuple[int, int]:
        """Return the bytes from a channel block of a group to the next, and from group to group.

        Raises:
            ValueError: there are gaps between the images: then the groups are not equally far
                apart.
        """
        d = self.fields
        image, block = d[f"gv.{name}_image"], d[f"gv.{name}_block"]
        if image != block * d["gv.blocks"]:
            raise ValueError(f"gv.{name}_image: expected {block * d['gv.blocks']}, images without "
                             f"gaps, found {image}")
        return block, block * self.images

    def by_block(self, name: str) -> int:
        """Return where the descriptor's own sums, or coefficients (``name``), begin."""
        d = self.fields
        if not self.grouped:
            return d[f"gv.{name}"] + (d["gc.part"] * d["gv.part_bytes"] if name == "sums" else 0)
        # Each image has its own; two words for each channel of a word.
        of_image = d["gv.blocks"] // self.images
        return d[f"gv.{name}"] + self.first * of_image * 2 * CHANNELS_PER_WORD * WORD_BYTES


def vector(memory: ArenaViews, d: Fields, p: Fields,
           workers: Workers) -> tuple[int, int]:
    """Run the vector unit on a VECTOR descriptor.

    Maps are int16 ``[image, block, word, lane]``; coefficients int64 ``[block, lane, {A|B, C}]``.

    Args:
        memory: the arena.
        d: fields of the descriptor.
        p: fields of the step-block entry.
        workers: the threads; each takes channel blocks.

    Returns:
        Its record: measure, saturations.
    """
    site = _Site.of(d)
    lanes = CHANNELS_PER_WORD
    a = site.map_of(memory, "map a", "a")
    b = flags = table = out = None
    if d["gv.has_b"]:
        b = site.map_of(memory, "map b", "b", bool(d["gv.spread"]))
    if d["gv.flags"] or d["gv.mask_a"] or d["gv.mask_b"]:
        flags = site.flags(memory)
    if d["gv.a_table"] or d["gv.b_table"]:
        table = memory.view("the coefficients", site.by_block("coefs"), (site.blocks, lanes, 2),
                            np.int64)
    if d["gv.write"]:
        out = site.map_of(memory, "the result", "y", bool(d["gv.reduce"]))
    segments = None
    if d["gv.factor"] in (Factor.CURVE, Factor.SLOPE):
        segments = Segments.read(memory, d["gv.coefs"], d["gv.segments"], p["limit"])

    def run(group: slice) -> _ChannelPart:
        """Do a group of channel blocks."""
        return _blocks(d, p, _by_block(a, group),
                       None if b is None else b[group] if d["gv.spread"] else _by_block(b, group),
                       None if flags is None else _by_block(flags, group),
                       None if table is None else table[group],
                       None if out is None else out[group] if d["gv.reduce"]
                       else _by_block(out, group),
                       _kept(site, p, group) if d["gv.drop"] else None,
                       segments, _live_lanes(d, site.blocks)[group])

    size = max(1, _GROUP_ELEMENTS // (site.images * site.words * lanes))
    parts = workers.map(run, [slice(k, k + size) for k in range(0, site.blocks, size)])
    if d["gv.has_sums"]:
        sums = memory.view("the sums", site.by_block("sums"), (site.blocks, 2, lanes), np.int64)
        sums[...] = np.concatenate([part.sums for part in parts])
    measure = 0
    for part in parts:
        measure |= part.measure
    return measure, sum(part.saturations for part in parts)


def _by_block(array: Array, group: slice) -> Array:
    """Return some channel blocks of ``[image, block, ...]`` as a view ``[block, image, ...]``."""
    return array[:, group].swapaxes(0, 1)


def _live_lanes(d: Fields, blocks: int) -> Array:
    """Return which lanes of each channel block hold channels: bool ``[block, lane]``."""
    live: Array = np.ones((blocks, CHANNELS_PER_WORD), bool)
    live[-1, d["gv.lanes"] or CHANNELS_PER_WORD:] = False
    return live


def _kept(site: _Site, p: Fields, group: slice) -> Array:
    """Return what a dropout keeps of some channel blocks: bool ``[block, image, word, lane]``.

    Words count in the order (image, channel block, pixel), from image 0 of the mini-batch on.
    """
    d = site.fields
    block, image, word = np.ogrid[:site.blocks, :site.images, :site.words]
    block = block[group]
    if site.dense:  # a word is an image of one pixel
        numbers = (site.first + word) * site.blocks + block + 0 * image
    else:
        numbers = ((site.first + image) * site.blocks + block) * site.words + word
    return keep_words(d["gv.least"], p["drop_seed"], p["drop_step"], d["gv.tensor"], numbers)


def _blocks(d: Fields, p: Fields, a16: Array, b16: Array | None,
            flags: Array | None, table: Array | None, out: Array | None,
            kept: Array | None, segments: Segments | None, live_lanes: Array) -> _ChannelPart:
    """Compute a group of channel blocks.

    Everything is below 2**53 and so exact in float64, or done in int64.

    Args:
        d: fields of the descriptor.
        p: fields of the step-block entry.
        a16: map a, int16 ``[block, image, word, lane]``.
        b16: map b likewise, or one word per plane with spread; None without.
        flags: uint64 ``[block, image, flag word]``, read or written; None without.
        table: coefficients int64 ``[block, lane, 2]``; None without.
        out: result, int16, written; None without.
        kept: what the dropout keeps, bool of the shape of map a; None without.
        segments: the curve's table of this step; None without.
        live_lanes: which lanes hold channels, bool ``[block, lane]``.
    """
    live = None if flags is None or d["gv.flags"] else _unpack(flags, a16.shape[2])
    a = _floats(Gradient.of_vector(d, "a").through(a16, live))
    b = None
    if b16 is not None:
        whole = np.broadcast_to(b16[:, :, None], a16.shape) if d["gv.spread"] else b16
        b = _floats(Gradient.of_vector(d, "b").through(whole, live))
    if kept is not None:
        a *= kept
        b = b if b is None else b * kept
    blocks = len(a)
    sums: Array = np.zeros((blocks, 2, CHANNELS_PER_WORD), np.int64)
    if d["gv.has_sums"]:
        sums = _sums(a, a if d["gv.square"] else b)
    if not d["gv.write"]:
        return _ChannelPart(0, 0, sums)
    scale: Array = np.empty((2, blocks, CHANNELS_PER_WORD), np.int64)
    offset: Array = np.zeros((blocks, CHANNELS_PER_WORD), np.int64)
    scale[0], scale[1] = p["a_scale"], p["b_scale"]
    if table is not None and d["gv.a_table"]:
        scale[0], offset = (place.extract(table[..., place.word])
                            for place in (COEFFICIENT.at("a"), COEFFICIENT.at("c")))
    if table is not None and d["gv.b_table"]:
        place = COEFFICIENT.at("b")
        scale[1] = place.extract(table[..., place.word])
    terms = a.shape[2] if d["gv.reduce"] else 1
    # Bound of any total: below 2**47 it never wraps, and float64 holds it. Only larger ones take
    # the slower way in int64.
    most = (np.abs(scale).sum(0) << 15) * terms + np.abs(offset)
    line = (blocks, 1, CHANNELS_PER_WORD) if d["gv.reduce"] else (blocks, 1, 1, CHANNELS_PER_WORD)
    scale, offset = scale.reshape(2, *line), offset.reshape(line)
    assert out is not None
    if d["gv.factor"] != Factor.COEFFICIENT:
        factor, constant = _factors(d["gv.factor"], a, b, segments, live_lanes)
        total = a.astype(np.int64) * factor
        if d["gv.reduce"]:
            total = total.sum(2)
        if b is not None:
            other = b.astype(np.int64)
            total += (other.sum(2) if d["gv.reduce"] else other) * scale[1]
        return _round(d, p, wrap(total + constant, SUM_BITS), out, flags, kept, sums)
    if most.max() < 1 << SUM_BITS - 1:
        return _round(d, p, _total(a, b, scale, offset, d["gv.reduce"]), out, flags, kept, sums)
    return _round(d, p, _total_int(a, b, scale, offset, d["gv.reduce"]), out, flags, kept, sums)


def _factors(kind: int, a: Array, b: Array | None, segments: Segments | None,
             live_lanes: Array) -> tuple[Array, Array | int]:
    """Return what each element of map a is multiplied by, and what is added, as int64.

    Args:
        kind: Factor.
        a: map a ``[block, image, word, lane]``.
        b: map b likewise; None without.
        segments: of the curve; None without.
        live_lanes: lanes that hold channels: others get no offset.
    """
    if kind == Factor.CURVE:
        assert segments is not None
        slope, offset = segments.at(a.astype(np.int64))
        return slope, offset * live_lanes[:, None, None, :]
    assert b is not None
    codes = b.astype(np.int64)
    if kind == Factor.PRODUCT:
        return codes, 0
    assert segments is not None
    return segments.at(codes)[0], 0


def _floats(codes: Array) -> Array:
    """Return codes as float64, contiguous."""
    values: Array = np.empty(codes.shape)
    np.copyto(values, codes)
    return values


def _sums(a: Array, b: Array | None) -> Array:
    """Return the sums of ``a`` and of the products ``a * b``, int64 ``[block, 2, lane]``.

    Parts of ``_EXACT`` products are below 2**53.
    """
    blocks, lanes = len(a), CHANNELS_PER_WORD
    flat = a.reshape(blocks, -1, lanes)
    other = flat if b is a else None if b is None else b.reshape(blocks, -1, lanes)
    result: Array = np.zeros((blocks, 2, lanes), np.int64)
    for first in range(0, flat.shape[1], _EXACT):
        part = flat[:, first:first + _EXACT]
        result[:, 0] += np.matmul(np.ones((1, part.shape[1])), part)[:, 0].astype(np.int64)
        if other is not None:
            # All 4 x 4 products of lanes by one matrix product are faster than only the four on the
            # diagonal, which are wanted, element by element.
            products = np.matmul(part.swapaxes(1, 2), other[:, first:first + _EXACT])
            result[:, 1] += np.diagonal(products, axis1=1, axis2=2).astype(np.int64)
    return wrap(result, SUM_BITS)


def _total(a: Array, b: Array | None, scale: Array, offset: Array, reduce: int) -> Array:
    """Return the scaled sum of the maps in float64; ``a`` is overwritten."""
    if reduce:
        total: Array = a.sum(2) * scale[0]
        if b is not None:
            total += b.sum(2) * scale[1]
        return total + offset
    total = np.multiply(a, scale[0], out=None if b is a else a)
    if b is not None:
        total += b * scale[1]
    total += offset
    return total


def _total_int(a: Array, b: Array | None, scale: Array, offset: Array, reduce: int) -> Array:
    """Return the same in int64 modulo 2**48, for sums that float64 does not hold."""
    def codes(map16: Array) -> Array:
        whole: Array = map16.astype(np.int64)
        return whole.sum(2) if reduce else whole

    total = codes(a) * scale[0]
    if b is not None:
        total += codes(b) * scale[1]
    return wrap(total + offset, SUM_BITS)


def _round(d: Fields, p: Fields, total: Array, out: Array, flags: Array | None,
           kept: Array | None, sums: Array) -> _ChannelPart:
    """Requantise ``total`` into ``out``, write flags if wanted, and return what the group adds.

    Args:
        d: fields of the descriptor.
        p: fields of the step-block entry.
        total: integers, in float64 (below 2**53; overwritten) or int64.
        out: codes, int16.
        flags: uint64, written with ``flags``.
        kept: what the dropout keeps, or None.
        sums: sums of the group, handed on.
    """
    if total.dtype == np.float64:
        whole = total.astype(np.int64)
        total *= 2.0**-p["shift"]
        exact = np.rint(total, out=total)  # ties to even, as a shift with RNE
    else:
        whole, exact = total, rne_shift(total, p["shift"])
    codes = saturate(exact, CODE_BITS)
    saturations = int(np.count_nonzero(codes != exact))
    activation = Activation.of_vector(d).at(p)
    activation.apply(codes)
    out[...] = codes
    if d["gv.flags"] and flags is not None:
        live = activation.live(codes)
        # The gradient passes where the value was kept, too.
        flags[...] = _pack(live if kept is None else live & kept)
    whole ^= whole >> 63
    return _ChannelPart(int(np.bitwise_or.reduce(whole, axis=None)), saturations, sums)


def _unpack(flags: Array, words: int) -> Array:
    """Return the flags of ``words`` elements: int16 ``[block, image, word, lane]``.

    All ones where a flag is set, else zero.
    """
    live = post.live_lanes(np.ascontiguousarray(flags).view(np.uint8)).view(np.int16)
    return live.reshape(*flags.shape[:2], -1, CHANNELS_PER_WORD)[:, :, :words]


def _pack(live: Array) -> Array:
    """Return flags as whole words, uint64 ``[block, image, flag word]``; the rest is zero."""
    blocks, images, words, lanes = live.shape
    bits = np.zeros((blocks, images, round_up(words, FLAG_MASK_PIXELS), lanes), bool)
    bits[:, :, :words] = live
    return np.packbits(bits.reshape(blocks, images, -1), axis=-1, bitorder="little").view(np.uint64)
