"""Lowering of the vector unit's work: the fields of VECTOR and NORM descriptors.

Section ``v`` holds offsets and byte steps of the maps (``a``, ``b``; written: ``v``), of flags
(``m``), sums (``s``) and coefficients (``k``); section ``n`` is that of NORM. The formulas are
those of docs/numerics.md 6 and 7.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from pynq_train.hw.curves import Factor
from pynq_train.hw.norm import NormProgram
from pynq_train.hw.words import CHANNELS_PER_WORD, FLAG_MASK_PIXELS, WORD_BYTES, ceil_div
from pynq_train.layers import nodes
from pynq_train.layers.backward_graph import BackwardNode
from pynq_train.layers.fuse import Norm
from pynq_train.program.program import Fields
from pynq_train.schedule.lower.activation import activation_fields, mask_fields
from pynq_train.schedule.specs.layout import MapLayout
from pynq_train.schedule.specs.spec import LayerSpec

_SIGNIFICAND = 31
"""Bits of the significand of a soft float."""
At = Callable[[str], int]
"""Byte offset in the arena of a symbol."""


@dataclass(frozen=True)
class BatchPart:
    """Images of a descriptor: the first one, their count, and the number of this part."""

    first: int
    images: int
    number: int = 0


def _by_group(x: MapLayout, part: BatchPart, together: int) -> Fields:
    """Return sizes and byte steps of maps whose images, and groups of channels, are told apart.

    Sums and coefficients belong to a channel block, and images are what they run over. So each
    image's group of ``together`` channel blocks, which follow each other, takes the place of a
    channel block, and its channel blocks those of images.
    """
    words = x.rows * x.cols
    row = ceil_div(words, FLAG_MASK_PIXELS)
    fields: Fields = {"v.v_images": together, "v.v_blocks": part.images * x.blocks // together,
                      "v.v_words": words, "v.m_words": row}
    for name, size in (("v", words), ("m", row)):
        fields[f"v.{name}_step"] = fields[f"v.{name}_jump"] = WORD_BYTES * size
    return fields


def _layout(x: MapLayout, part: BatchPart) -> Fields:
    """Return sizes and byte steps of maps ``[image][block][word]``, with gaps or not, and of flags.

    Flags have no gaps between images, since each layer's flags stand in a region of their own.
    ``jump`` takes the place of ``step`` behind the last image of a block: back to the first image,
    one block on.
    """
    words = x.rows * x.cols
    row = ceil_div(words, FLAG_MASK_PIXELS)
    fields: Fields = {"v.v_images": part.images, "v.v_blocks": x.blocks, "v.v_words": words,
                      "v.m_words": row}
    for name, size in (("v", words), ("m", row)):
        # The unit goes through the images inside and the blocks outside, so that the coefficients
        # of a channel block stay.
        step = x.image_stride if name == "v" else WORD_BYTES * x.blocks * size
        fields[f"v.{name}_step"] = step
        fields[f"v.{name}_jump"] = WORD_BYTES * size - (part.images - 1) * step
    return fields


@dataclass(frozen=True)
class VectorLowering:
    """Makes the descriptors of one layer of the vector unit.

    Attributes:
        spec: the layer.
        at: byte offsets of symbols.
        x: symbol of its input; ``second``: symbol of the second one, empty without.
        y: symbol of its output.
        tables: symbol of the tables of its curve.
    """

    spec: LayerSpec
    at: At
    x: str
    second: str
    y: str
    tables: str = ""

    def sums(self, part: BatchPart) -> Fields:
        """Return the fields that sum a normalisation's input, and its squares, per channel."""
        return {**self._sizes(self.spec.x, part), "v.a_off": self._image(self.x, part),
                "v.s_off": self._part_sums(part), "v.v_sums": 1, "v.v_square": 1}

    def join(self, scratch: str) -> Fields:
        """Return the fields of a barrier: it sums one word of the concat buffer for nobody.

        The work has no meaning; the descriptor is there for what it waits for and signals.
        ``scratch``: symbol of the region that takes the sums.
        """
        word = MapLayout.feature(1, CHANNELS_PER_WORD, 1, 1)
        return {**_layout(word, BatchPart(0, 1)), "v.a_off": self.at(self.y),
                "v.s_off": self.at(scratch), "v.v_sums": 1}

    def norm(self, norm: Norm, evaluate: bool, parts: int) -> Fields:
        """Return the fields that compute a normalisation's forward coefficients from its sums.

        Args:
            norm: constants of the normalisation.
            evaluate: use the running statistics, as frozen ones always do.
            parts: number of parts of the mini-batch, each of which has left sums of its own.
        """
        frozen = evaluate or self.spec.frozen
        program = NormProgram.FORWARD_FROZEN if frozen else NormProgram.FORWARD
        if self.spec.kind.by_image:
            program = NormProgram.FORWARD_GROUP
        return self._norm(program, norm, "sums", parts)

    def point(self, part: BatchPart, flags: bool, training: bool = True) -> Fields:
        """Return the fields of the forward pass over the map: read, scale and add, write.

        Args:
            part: images.
            flags: store the flags that the backward pass needs.
            training: a dropout drops elements.
        """
        spec = self.spec
        fields = {**self._sizes(spec.x, part), "v.a_off": self._image(self.x, part),
                  "v.v_write": 1, **activation_fields(spec.activation, "v.v_")}
        if spec.kind.reduces:
            fields.update({"v.v_reduce": 1, "v.v_off": self.at(self.y)})
        else:
            fields["v.v_off"] = self._image(self.y, part)
        if self.second:
            fields.update({"v.v_b": 1, "v.b_off": self._image(self.second, part)})
        if spec.kind.normalises:
            fields.update({"v.v_table": 1, "v.k_off": self._table(part)})
        if spec.kind.multiplies:
            fields.update({"v.v_factor": int(Factor.PRODUCT), "v.v_spread": int(spec.kind.scales)})
            if spec.kind.scales:
                fields["v.b_off"] = self.at(self.second)
        if spec.curve is not None:
            # What pads a channel block stays zero, also where the curve is not zero at 0.
            fields.update({**self._curve(Factor.CURVE), "v.v_lanes": spec.m % CHANNELS_PER_WORD})
        if spec.drop is not None and training:
            fields.update(drop_fields(spec, part.first, part.images))
        if flags and spec.flags is not None:
            fields.update({"v.v_flags": 1, "v.m_off": self.at(f"{spec.name}.flags")
                           + part.first * spec.flags.image_stride})
        return fields

    def node_sums(self, node: BackwardNode, mask: LayerSpec | None, part: BatchPart,
                  products: bool = True) -> Fields:
        """Return the fields that sum a normalisation's gradient, and its products with the input.

        Args:
            node: node of the backward graph.
            mask: layer whose flags mask the gradient, None without.
            part: images.
            products: False where nobody needs the products.
        """
        fields = {**self._sizes(self.spec.x, part),
                  "v.a_off": self._image(node.reads[0].tensor, part),
                  "v.v_sums": 1, "v.s_off": self._part_sums(part, "gsums")}
        if products:
            fields.update({"v.v_b": 1, "v.b_off": self._image(self.x, part)})
        return {**fields, **mask_fields("a", mask, self.at, part.first)}

    def node_norm(self, norm: Norm, parts: int) -> Fields:
        """Return the fields that compute a normalisation's backward coefficients from the sums.

        The same descriptor writes the gradients of gamma and beta. ``parts`` as in :meth:`norm`.
        """
        program = NormProgram.BACKWARD_FROZEN if self.spec.frozen else NormProgram.BACKWARD
        if self.spec.kind.by_image:
            program = NormProgram.BACKWARD_GROUP
        return self._norm(program, norm, "gsums", parts)

    def node(self, node: BackwardNode, masks: tuple[LayerSpec | None, ...], target: MapLayout,
             part: BatchPart) -> Fields:
        """Return the fields of one node of the backward graph.

        Args:
            node: the node.
            masks: layer whose flags mask each gradient that it reads, None without.
            target: layout of the gradient that it writes.
            part: images.
        """
        def place(symbol: str) -> int:
            """Return the offset of the part's first image in a gradient of the target's layout."""
            return self.at(symbol) + part.first * target.image_stride

        if node.kind == nodes.FACTOR:
            return self._factor(node, masks[0])
        sizes = self._sizes if node.kind == nodes.NORM else _layout
        fields: Fields = {**sizes(target, part), "v.v_write": 1, "v.v_off": place(node.target)}
        if node.kind == nodes.SPREAD:
            first = self.at(node.reads[0].tensor)
        else:
            first = place(node.reads[0].tensor)
        if node.kind == nodes.SPREAD:
            # The unit always reads map a. The layer's input stands in for it: its factor is 0.
            fields.update({"v.a_off": self.at(self.x), "v.v_b": 1, "v.v_spread": 1,
                           "v.b_off": first})
            return {**fields, **mask_fields("b", masks[0], self.at, part.first)}
        fields.update({"v.a_off": first, **mask_fields("a", masks[0], self.at, part.first)})
        if node.kind == nodes.SUM:
            fields.update({"v.v_b": 1, "v.b_off": place(node.reads[1].tensor),
                           **mask_fields("b", masks[1], self.at, part.first)})
        elif node.kind == nodes.PRODUCT:
            other = self.x if node.input else self.second
            spread = self.spec.kind.scales
            fields.update({"v.v_factor": int(Factor.PRODUCT), "v.v_b": 1,
                           "v.v_spread": int(spread),
                           "v.b_off": self.at(other) if spread else place(other)})
        elif node.kind == nodes.CURVE:
            fields.update({**self._curve(Factor.SLOPE), "v.v_b": 1, "v.b_off": place(self.x)})
        elif node.kind == nodes.NORM:
            fields.update({"v.v_table": 1, "v.k_off": self._table(part)})
            if not self.spec.frozen:
                fields.update({"v.v_b": 1, "v.b_off": place(self.x), "v.v_btable": 1})
        return fields

    def _factor(self, node: BackwardNode, mask: LayerSpec | None) -> Fields:
        """Return the fields of the gradient of a vector: gradient times map, summed over pixels."""
        part = BatchPart(0, self.spec.x.images)
        gradient = node.reads[0].tensor
        return {**_layout(self.spec.x, part), "v.v_write": 1, "v.v_reduce": 1,
                "v.v_off": self.at(node.target), "v.a_off": self._image(gradient, part),
                "v.v_b": 1, "v.b_off": self._image(self.x, part),
                "v.v_factor": int(Factor.PRODUCT), **mask_fields("a", mask, self.at, part.first)}

    def _curve(self, factor: Factor) -> Fields:
        """Return the fields of what is looked up in the tables of the layer's curve."""
        assert self.spec.curve is not None
        return {"v.v_factor": int(factor), "v.k_log": self.spec.curve.segment_bits,
                "v.k_off": self.at(self.tables)}
    def _sizes(self, x: MapLayout, part: BatchPart) -> Fields:
        """Return sizes and byte steps of maps of a layout for what the layer does with them."""
        if self.spec.kind.by_image:
            return _by_group(x, part, self.spec.norm_blocks)
        return _layout(x, part)

    def _of_images(self, images: int) -> int:
        """Return the bytes of sums, or coefficients, of some images; 0 where all share them."""
        if not self.spec.kind.by_image:
            return 0
        return images * (self._pair_bytes // self.spec.x.images)

    def _table(self, part: BatchPart) -> int:
        """Return the offset of the coefficients of a part."""
        return self.at(f"{self.spec.name}.table") + self._of_images(part.first)

    def _image(self, symbol: str, part: BatchPart) -> int:
        """Return the offset of a part's first image in a map of the input's layout."""
        return self.at(symbol) + part.first * self.spec.x.image_stride

    @property
    def _pair_bytes(self) -> int:
        """Bytes of two words for each channel: sums, statistics or coefficients."""
        return 2 * self.spec.table_blocks * CHANNELS_PER_WORD * WORD_BYTES

    def _part_sums(self, part: BatchPart, name: str = "sums") -> int:
        """Return the offset of a part's sums: each part has its own, which NORM adds up.

        Where each image has its own, nothing is added up.
        """
        first = self.at(f"{self.spec.name}.{name}")
        if self.spec.kind.by_image:
            return first + self._of_images(part.first)
        return first + part.number * self._pair_bytes

    def _norm(self, program: NormProgram, norm: Norm, sums: str, parts: int) -> Fields:
        """Return the fields of a NORM descriptor; ``sums`` ends the symbol of what it reads."""
        spec, name, at = self.spec, self.spec.name, self.at
        count = (spec.norm_group or spec.x.images) * spec.words
        fields: Fields = {
            "n.n_program": int(program), "n.s_off": at(f"{name}.{sums}"),
            "n.n_step": self._pair_bytes, "n.n_parts": parts, "n.n_blocks": spec.table_blocks,
            "n.q_off": at(f"{name}.kept"), "n.k_off": at(f"{name}.table")}
        if spec.kind.by_image:
            fields["n.n_join"] = min(spec.norm_group, CHANNELS_PER_WORD) - 1
        else:
            fields.update({"n.p_off": at(f"{name}.bias"), "n.p_step": spec.bias_bytes,
                           "n.r_off": at(f"{name}.running"), "n.d_off": at(f"{name}.db")})
        constants = {"mean": 1 / count, "eps": norm.eps,
                     "var": count / (count - 1) if count > 1 else 0.0}
        for key, value in constants.items():
            # As soft floats: the host divides, since the unit cannot.
            fraction, exponent = math.frexp(value)
            fields[f"n.n_{key}_m"] = int(fraction * (1 << _SIGNIFICAND))
            fields[f"n.n_{key}_e"] = exponent - _SIGNIFICAND if value else 0
        return fields


def drop_fields(spec: LayerSpec, first: int, images: int) -> Fields:
    """Return the fields with which a VECTOR descriptor drops elements of a layer's images.

    Words count in the order (image, channel block, row, column) whatever the layout in memory is,
    so that mini-batch, parts and flattening change no mask. ``d_step``, ``d_image`` and ``d_block``
    move that count from word to word, image to image and block to block, in the order in which the
    unit reads.

    Args:
        spec: the layer.
        first: first image of the descriptor.
        images: number of its images.
    """
    assert spec.drop is not None
    blocks, words = spec.x.blocks, spec.words
    whole = blocks * words
    fields = {"v.v_drop": 1, "v.d_least": spec.drop.least,
              "v.d_tensor": spec.drop.place}
    if spec.dense:  # [block][image]: a word for each image
        return {**fields, "v.d_step": blocks, "v.d_block": 1 - (words - 1) * blocks}
    return {**fields, "v.d_first": first * whole, "v.d_step": 1, "v.d_image": whole - words + 1,
            "v.d_block": 1 - (images - 1) * whole}
