"""Geometry of descriptors: what each computes, said in terms of layers and the backward graph.

Golden computes from it, and the verifier compares it with the fields that the hardware obeys. So
it is written here a second time, from the plan, and shares no helper with the other modules of the
lowering (``conv``, ``vector``, ``pool``, ``program``): a mistake in one of both is seen, one in a
common helper would be made twice. Only regions of the arena and sizes of layers are common.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from pynq_train.hw.commands import RECORD_BYTES, Opcode
from pynq_train.hw.curves import Factor
from pynq_train.hw.geometry import Work
from pynq_train.hw.pool import ARGMAX_PIXELS
from pynq_train.hw.words import CHANNELS_PER_WORD, FLAG_MASK_PIXELS, WORD_BYTES, ceil_div
from pynq_train.layers import nodes
from pynq_train.layers.backward_graph import DLOGITS, BackwardNode, GradientRef
from pynq_train.program.program import Fields
from pynq_train.schedule.lower.conv_meaning import ConvTensors, convolution, piece_of, scratch_layer
from pynq_train.schedule.passes.curves import curve_symbol
from pynq_train.schedule.passes.descriptors import Descriptor, Role
from pynq_train.schedule.passes.usage import ZEROS
from pynq_train.schedule.plan import Plan
from pynq_train.schedule.specs.concat_buffer import JOIN

_WORKS = {
    Role.FORWARD: Work.FORWARD, Role.FORWARD_VECTOR: Work.FORWARD, Role.POOL: Work.FORWARD,
    Role.SOFTMAX: Work.LOSS, Role.BACKWARD: Work.BACKWARD,
    Role.WEIGHT_GRADIENT: Work.WEIGHT_GRADIENT, Role.BIAS_SUMS: Work.BIAS_GRADIENT,
    Role.UPDATE_BIAS: Work.UPDATE_BIAS, Role.UPDATE_GAMMA: Work.UPDATE_GAMMA,
    Role.NORM_SUMS: Work.STATISTICS, Role.NORM_COEFFICIENTS: Work.COEFFICIENTS,
    Role.BACKWARD_SUMS: Work.GRADIENT_SUMS, Role.BACKWARD_NORM: Work.GRADIENT_COEFFICIENTS,
    Role.BACKWARD_VECTOR: Work.NODE, Role.UNPOOL: Work.NODE, Role.CONCAT_BARRIER: Work.BARRIER}
TRAINING, EVALUATION = "train", "evaluate"
"""Names of the programs of a training step and of an evaluation."""
_OF_A_NODE = (Work.GRADIENT_SUMS, Work.GRADIENT_COEFFICIENTS, Work.NODE)
_SUMS_BYTES = 2 * CHANNELS_PER_WORD * WORD_BYTES
"""Bytes of two int64 sums for each channel of a channel block."""


@dataclass(frozen=True)
class _Map:
    """A whole feature map or gradient of the mini-batch.

    Attributes:
        at: byte offset of image 0.
        image: bytes from an image to the next.
        block: bytes from a channel block to the next.
    """

    at: int
    image: int
    block: int

    def fields(self, name: str) -> Fields:
        """Return it as fields of a geometry section; ``name``: section and tensor."""
        return {name: self.at, f"{name}_image": self.image, f"{name}_block": self.block}


@dataclass(frozen=True)
class Meanings:
    """Writes the geometry of the descriptors of one program of a plan.

    Attributes:
        plan: the plan.
        name: :data:`EVALUATION`, or any other for a training step or a part of one.
    """

    plan: Plan
    name: str

    def of(self, number: int, descriptor: Descriptor) -> Fields:
        """Return the geometry sections of a descriptor.

        Args:
            number: its position in the program.
            descriptor: what it does.
        """
        work, batch = _WORKS[descriptor.role], self.plan.batch
        first, count = descriptor.images or (0, 1 if work == Work.BARRIER else batch)
        common = {
            "gc.layer": descriptor.layer, "gc.work": int(work), "gc.part": descriptor.part,
            "gc.node": descriptor.node if work in _OF_A_NODE else 0, "gc.first": first,
            "gc.count": count, "gc.batch": batch, "gc.entry": self._entry(work, descriptor),
            "gc.record": self.plan.memory[f"{self.name}.records"].offset + number * RECORD_BYTES}
        opcode = descriptor.role.opcode
        if opcode in (Opcode.CONV, Opcode.GRADIENT):
            own = self._convolution(work, descriptor, count)
        elif opcode == Opcode.SOFTMAX:
            own = self._loss()
        elif opcode == Opcode.UPDATE:
            own = self._update(work, descriptor.layer)
        elif opcode == Opcode.NORM:
            own = self._norm(work, descriptor)
        elif opcode == Opcode.POOL:
            own = self._pool(work, descriptor)
        else:
            own = self._vector(work, descriptor)
        return {**common, **own}

    @property
    def _training(self) -> bool:
        return self.name != EVALUATION

    def _entry(self, work: Work, descriptor: Descriptor) -> int:
        """Return the index of the step-block entry.

        One for the loss; four for each layer: forward, backward, weights or gamma, bias or beta;
        one for the coefficients of each layer; two for each node: itself, its coefficients.
        """
        layers, layer = len(self.plan.layers), descriptor.layer
        if work == Work.LOSS:
            return 0
        if work == Work.COEFFICIENTS:
            return 1 + 4 * layers + layer
        if work in _OF_A_NODE:
            return 1 + 5 * layers + 2 * descriptor.node + (work == Work.GRADIENT_COEFFICIENTS)
        place = {Work.BACKWARD: 1, Work.WEIGHT_GRADIENT: 2, Work.BIAS_GRADIENT: 2,
                 Work.UPDATE_GAMMA: 2, Work.UPDATE_BIAS: 3}.get(work, 0)
        return 1 + 4 * layer + place

    def _at(self, symbol: str) -> int:
        """Return the byte offset of a symbol; 0 for one that has no place in this plan."""
        memory = self.plan.memory
        return memory[symbol].offset if symbol in memory else 0

    def _source(self, layer: int, which: int = 0) -> int:
        """Return the layer whose output is an input of ``layer``, -1 for the images.

        An evaluation drops nothing: it reads what a dropout without an activation has read.
        """
        layers = self.plan.layers
        place = layers[layer].sources[which]
        while (not self._training and place >= 0 and layers[place].drop is not None
               and not layers[place].activation.has_flags):
            place = layers[place].sources[0]
        return place

    def _vector_output(self, layer: int) -> bool:
        """Return whether a layer's output is a dense map: a vector for each image."""
        if layer < 0:
            return False
        one = self.plan.layers[layer]
        return one.kind.to_vector or (one.kind.wordwise and self._vector_output(one.sources[0]))

    def _symbol(self, layer: int) -> str:
        """Return the symbol of a layer's output, -1: of the images."""
        if layer < 0:
            return "input"
        last = layer == len(self.plan.layers) - 1
        return "logits" if last else f"{self.plan.layers[layer].name}.y"

    def _placed(self, symbol: str, layer: int) -> _Map:
        """Return a tensor that has the layout of a layer's output."""
        plan = self.plan
        layout = plan.input_layout if layer < 0 else plan.specs[layer].y
        # The images of a dense map are columns.
        image = layout.col_stride if self._vector_output(layer) else layout.image_stride
        return _Map(self._at(symbol), image, layout.block_stride)

    def _output(self, layer: int) -> _Map:
        """Return the output of a layer, -1: the images."""
        return self._placed(self._symbol(layer), layer)

    def _pixels(self, layer: int) -> int:
        """Return the pixels of an image of a layer's output."""
        plan = self.plan
        shape = plan.layers[0].in_shape if layer < 0 else plan.layers[layer].out_shape
        return 1 if self._vector_output(layer) else shape[1] * shape[2]

    def _blocks(self, layer: int) -> int:
        """Return the channel blocks of a layer's output."""
        plan = self.plan
        channels = plan.layers[0].in_shape[0] if layer < 0 else plan.layers[layer].out_channels
        return ceil_div(channels, CHANNELS_PER_WORD)

    def _flags(self, layer: int) -> _Map:
        """Return the flags of a layer of the vector unit: a bit for each channel and pixel."""
        dense = self._vector_output(layer)
        pixels = self.plan.batch if dense else self._pixels(layer)
        plane = WORD_BYTES * ceil_div(pixels, FLAG_MASK_PIXELS)
        return _Map(self._at(f"{self.plan.layers[layer].name}.flags"),
                    0 if dense else plane * self._blocks(layer), plane)

    def _group(self, layer: int) -> int:
        """Return the channels of an image that share the statistics of a normalisation, or 0."""
        norm = self.plan.layers[layer].norm
        return 0 if norm is None else norm.group

    def _frozen(self, layer: int) -> bool:
        """Return whether a normalisation uses its running statistics.

        It does in an evaluation, where it is frozen, and where nothing up to it is trained.
        """
        plan, one = self.plan, self.plan.layers[layer]
        assert one.norm is not None
        if one.norm.group:
            return False
        source = one.sources[0]
        moves = plan.trainable[layer].anything or (source >= 0 and plan.active[source])
        return not self._training or one.norm.frozen or not moves

    def _convolution(self, work: Work, descriptor: Descriptor, count: int) -> Fields:
        """Return the geometry of a convolution, and of the update of its weights."""
        plan, layer = self.plan, descriptor.layer
        spec, name = plan.specs[layer], plan.layers[layer].name
        assert descriptor.tiled is not None
        graph = plan.backward_graph
        below = [node.target for node in graph.nodes
                 if node.layer == layer and node.kind == nodes.BACKWARD]
        last = layer == len(plan.layers) - 1
        gradient = GradientRef(DLOGITS) if last else graph.of_layer.get(layer, GradientRef(""))
        tensors = ConvTensors(
            x=self._at(self._symbol(self._source(layer))), y=self._at(self._symbol(layer)),
            flags=self._at(f"{name}.flags"), dx=self._at(below[0]) if below else 0,
            dy=self._at(gradient.tensor), w16=self._at(f"{name}.w16"), wv=self._at(f"{name}.wv"),
            bias=self._at(f"{name}.bias"), db=self._at(f"{name}.db"))
        bias, momentum = spec.bias, plan.momentum
        piece = descriptor.tiled.shape.spec.offsets
        if piece is not None:
            spec, tensors = piece_of(spec, tensors, piece.number)
        if plan.layers[layer].kind.transposed and work != Work.BIAS_GRADIENT:
            # What is written stands for the gradient of a convolution's input, what is read for
            # that of its output.
            spec = replace(spec, x=spec.y, y=spec.x)
            tensors = replace(tensors, dx=tensors.y, dy=tensors.x, x=tensors.dy, y=tensors.dx)
        if work == Work.BIAS_GRADIENT:
            spec = scratch_layer(spec)
            tensors = replace(tensors, x=self._at(ZEROS), w16=0, wv=self._at(f"{name}.scratch"))
            momentum = False
        elif work == Work.WEIGHT_GRADIENT:
            bias = plan.layers[layer].bias and plan.trainable[layer].bias
        fields = convolution(
            replace(spec, bias=bias), descriptor.tiled.shape, tensors, momentum=momentum,
            flags=self._training and plan.active[layer],
            # The columns of a dense map are the images.
            images=count if spec.kind.convolves else 1)
        if work == Work.BIAS_GRADIENT:
            fields.update({"gu.copies": 0, "gu.copy": 0})
        return fields

    def _loss(self) -> Fields:
        """Return the geometry of the loss."""
        plan = self.plan
        return {"gf.logits": self._at("logits"), "gf.labels": self._at("labels"),
                "gf.gradient": self._at(DLOGITS), "gf.classes": plan.layers[-1].out_channels,
                "gf.grad": int(self._training), "gf.mse": int(plan.loss.mse)}

    def _update(self, work: Work, layer: int) -> Fields:
        """Return the geometry of an update of biases, or of gamma or beta."""
        memory, one = self.plan.memory, self.plan.layers[layer]
        sums, masters = memory[f"{one.name}.db"], memory[f"{one.name}.bias"]
        elements, beta = masters.nbytes // WORD_BYTES, 0
        if one.kind.has_running:
            # Gamma and beta stand in the two halves of a region.
            elements = CHANNELS_PER_WORD * self._blocks(layer)
            beta = masters.nbytes // 2 if work == Work.UPDATE_BIAS else 0
        return {"gu.sums": sums.offset + beta, "gu.masters": masters.offset + beta,
                "gu.elements": elements}

    def _norm(self, work: Work, descriptor: Descriptor) -> Fields:
        """Return the geometry of the coefficients of a normalisation."""
        plan, layer = self.plan, descriptor.layer
        one, blocks = plan.layers[layer], self._blocks(layer)
        assert one.norm is not None
        back = work == Work.GRADIENT_COEFFICIENTS
        summing = Role.BACKWARD_SUMS if back else Role.NORM_SUMS
        parts = sum(other.role == summing and other.layer == layer for other in plan.train)
        (eps,) = struct.unpack("<Q", struct.pack("<d", one.norm.eps))
        common: Fields = {
            "gn.sums": self._at(f"{one.name}.gsums" if back else f"{one.name}.sums"),
            "gn.part_bytes": blocks * _SUMS_BYTES, "gn.parts": max(1, parts),
            "gn.kept": self._at(f"{one.name}.kept"), "gn.coefs": self._at(f"{one.name}.table"),
            "gn.pixels": self._pixels(one.sources[0]), "gn.eps": eps, "gn.blocks": blocks,
            "gn.back": int(back), "gn.frozen": int(self._frozen(layer))}
        if one.norm.group:
            return {**common, "gn.group": one.norm.group, "gn.parts": 1}
        masters = plan.memory[f"{one.name}.bias"]
        gradient = self._at(f"{one.name}.db")
        half = masters.nbytes // 2
        return {
            **common,
            "gn.gamma": masters.offset, "gn.beta": masters.offset + half,
            "gn.d_gamma": gradient, "gn.d_beta": gradient + half if gradient else 0,
            "gn.running": self._at(f"{one.name}.running")}

    def _pool(self, work: Work, descriptor: Descriptor) -> Fields:
        """Return the geometry of maxima of windows, or of gradients back to them."""
        plan, layer = self.plan, descriptor.layer
        one, source = plan.layers[layer], self._source(layer)
        rows, cols = one.in_shape[1:]
        q_rows, q_cols = one.out_shape[1:]
        back = work == Work.NODE
        large, small = self._output(source), self._output(layer)
        if back:
            node = plan.backward_graph.nodes[descriptor.node]
            large = self._placed(node.target, one.sources[0])
            small = self._placed(node.reads[0].tensor, layer)
        plane = WORD_BYTES * ceil_div(q_rows * q_cols, ARGMAX_PIXELS)
        blocks = self._blocks(layer)
        argmax = _Map(self._at(f"{one.name}.flags"), plane * blocks, plane)
        return {**large.fields("gp.map"), **small.fields("gp.pooled"),
                **argmax.fields("gp.argmax"), "gp.rows": rows, "gp.cols": cols,
                "gp.q_rows": q_rows, "gp.q_cols": q_cols, "gp.blocks": blocks,
                "gp.kernel": one.kernel.rows, "gp.stride": one.stride.rows,
                "gp.kernel_wider": one.kernel.cols - one.kernel.rows,
                "gp.stride_wider": one.stride.cols - one.stride.rows, "gp.top": one.pad_top,
                "gp.left": one.pad_left, "gp.back": int(back),
                "gp.keep": int(not back and self._training and plan.active[layer])}

    def _vector(self, work: Work, descriptor: Descriptor) -> Fields:
        """Return the geometry of what the vector unit does over maps."""
        plan, layer = self.plan, descriptor.layer
        name = plan.layers[layer].name
        if work == Work.BARRIER:
            return {**self._output(layer).fields("gv.a"), "gv.pixels": 1, "gv.blocks": 1,
                    "gv.has_sums": 1, "gv.sums": self._at(JOIN)}
        if work == Work.STATISTICS:
            source = self._source(layer)
            return {**self._sizes(source), **self._output(source).fields("gv.a"),
                    **self._sums(layer, f"{name}.sums"), "gv.square": 1,
                    "gv.group": self._group(layer)}
        if work == Work.FORWARD:
            return self._forward(layer)
        node = plan.backward_graph.nodes[descriptor.node]
        if work == Work.GRADIENT_SUMS:
            source = plan.layers[layer].sources[0]
            fields = {**self._sizes(source), **self._gradient("a", node.reads[0], layer),
                      **self._sums(layer, f"{name}.gsums"), "gv.group": self._group(layer)}
            # At rest, with a gamma that stays, the sum of the gradient alone is wanted.
            if plan.trainable[layer].weights or not self._frozen(layer):
                fields.update({**self._output(source).fields("gv.b"), "gv.has_b": 1})
            return fields
        return self._node(node)

    def _sizes(self, layer: int) -> Fields:
        """Return the sizes of maps that have the layout of a layer's output."""
        return {"gv.pixels": self._pixels(layer), "gv.blocks": self._blocks(layer),
                "gv.dense": int(self._vector_output(layer))}

    def _sums(self, layer: int, symbol: str) -> Fields:
        """Return the sums of each channel, one set for each part of the mini-batch."""
        return {"gv.has_sums": 1, "gv.sums": self._at(symbol),
                "gv.part_bytes": self._blocks(layer) * _SUMS_BYTES}

    def _gradient(self, name: str, ref: GradientRef, layer: int) -> Fields:
        """Return map ``name``, a gradient of a layer's output, with the flags that mask it."""
        fields = self._placed(ref.tensor, layer).fields(f"gv.{name}")
        if ref.mask is None:
            return fields
        return {**fields, **self._flags(ref.mask).fields("gv.m"), f"gv.mask_{name}": 1}

    def _forward(self, layer: int) -> Fields:
        """Return the forward pass of a layer of the vector unit."""
        plan, one, source = self.plan, self.plan.layers[layer], self._source(layer)
        fields = {**self._sizes(source), **self._output(source).fields("gv.a"), "gv.write": 1,
                  **self._output(layer).fields("gv.y"), "gv.reduce": int(one.kind.reduces),
                  "gv.relu": int(one.activation.low is not None),
                  "gv.clip": int(one.activation.top is not None)}
        if len(one.sources) > 1:
            fields.update({**self._output(self._source(layer, 1)).fields("gv.b"), "gv.has_b": 1})
        if one.kind.normalises:
            fields.update({"gv.a_table": 1, "gv.coefs": self._at(f"{one.name}.table"),
                           "gv.group": self._group(layer)})
        if one.kind.multiplies:
            fields.update({"gv.factor": int(Factor.PRODUCT), "gv.spread": int(one.kind.scales)})
        if one.curve is not None:
            fields.update({**self._curve(layer, Factor.CURVE),
                           "gv.lanes": one.out_channels % CHANNELS_PER_WORD})
        if one.drop is not None and self._training:
            fields.update({"gv.drop": 1, "gv.least": one.drop.least, "gv.tensor": one.drop.place})
        own_flags = one.activation.has_flags or one.kind.own_mask
        if own_flags and self._training and plan.active[layer]:
            fields.update({**self._flags(layer).fields("gv.m"), "gv.flags": 1})
        return fields

    def _curve(self, layer: int, factor: Factor) -> Fields:
        """Return what is looked up in the tables of a layer's curve."""
        one = self.plan.layers[layer]
        assert one.curve is not None
        return {"gv.factor": int(factor), "gv.segments": one.curve.segment_bits,
                "gv.coefs": self._at(curve_symbol(self.name, one.name))}

    def _node(self, node: BackwardNode) -> Fields:
        """Return a node of the backward graph on the vector unit."""
        layer = node.layer
        one = self.plan.layers[layer]
        if node.kind in (nodes.SUM, nodes.MASK):  # of gradients of the layer's own output
            fields = {**self._sizes(layer), "gv.write": 1,
                      **self._placed(node.target, layer).fields("gv.y"),
                      **self._gradient("a", node.reads[0], layer)}
            if node.kind == nodes.SUM:
                fields.update({**self._gradient("b", node.reads[1], layer), "gv.has_b": 1})
            return fields
        if node.kind == nodes.FACTOR:
            # It has the size of the map, and writes a word for each channel block of an image.
            return {**self._sizes(layer), "gv.write": 1, "gv.reduce": 1,
                    **self._placed(node.target, one.sources[1]).fields("gv.y"),
                    **self._gradient("a", node.reads[0], layer), "gv.has_b": 1,
                    **self._output(one.sources[0]).fields("gv.b"),
                    "gv.factor": int(Factor.PRODUCT)}
        source = one.sources[node.input]
        fields = {**self._sizes(source), "gv.write": 1,
                  **self._placed(node.target, source).fields("gv.y")}
        if node.kind == nodes.SPREAD:
            # The unit reads a map a whatever it does: the layer's input, whose factor is 0.
            return {**fields, **self._output(source).fields("gv.a"), "gv.has_b": 1,
                    "gv.spread": 1, **self._gradient("b", node.reads[0], layer)}
        fields.update(self._gradient("a", node.reads[0], layer))
        if node.kind == nodes.PRODUCT:
            return {**fields, **self._output(one.sources[1 - node.input]).fields("gv.b"),
                    "gv.has_b": 1, "gv.spread": int(one.kind.scales),
                    "gv.factor": int(Factor.PRODUCT)}
        if node.kind == nodes.CURVE:
            return {**fields, **self._curve(layer, Factor.SLOPE), "gv.has_b": 1,
                    **self._output(source).fields("gv.b")}
        if node.kind == nodes.NORM:
            fields.update({"gv.a_table": 1, "gv.coefs": self._at(f"{one.name}.table"),
                           "gv.group": self._group(layer)})
            if not self._frozen(layer):
                fields.update({**self._output(source).fields("gv.b"), "gv.has_b": 1,
                               "gv.b_table": 1})
        return fields
