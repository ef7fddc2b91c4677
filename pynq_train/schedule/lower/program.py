"""Programs from a plan: descriptors with waits, taps, records, as bytes.

Descriptors are lowered in program order, for two reasons: a wait counts the descriptors in front of
it, and a record stands at its descriptor's number.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pynq_train.hw.commands import (
    DESCRIPTOR_BYTES,
    RECORD_BYTES,
    Opcode,
    Semaphore,
    pack_descriptor,
    pack_tap,
)
from pynq_train.hw.words import CHANNELS_PER_WORD, WORD_BYTES
from pynq_train.layers import nodes
from pynq_train.layers.backward_graph import DLOGITS
from pynq_train.program.program import Fields
from pynq_train.schedule.lower.conv import LayerAddresses, Taps, lower
from pynq_train.schedule.lower.meaning import EVALUATION, TRAINING, Meanings
from pynq_train.schedule.lower.pool import PoolLowering
from pynq_train.schedule.lower.vector import BatchPart, VectorLowering
from pynq_train.schedule.memory.place import ZEROS
from pynq_train.schedule.passes.descriptors import Descriptor, Role
from pynq_train.schedule.plan import Plan
from pynq_train.schedule.specs.concat_buffer import JOIN

SEMAPHORE_OF = {Opcode.CONV: Semaphore.CONV, Opcode.UPDATE: Semaphore.UPDATE,
                Opcode.GRADIENT: Semaphore.UPDATE, Opcode.SOFTMAX: Semaphore.SOFTMAX,
                Opcode.VECTOR: Semaphore.VECTOR, Opcode.NORM: Semaphore.VECTOR,
                Opcode.POOL: Semaphore.VECTOR}
"""Semaphore that a descriptor signals, by opcode (what it promises: ``program.hazards``)."""


@dataclass(frozen=True)
class ProgramImage:
    """One program as bytes; symbols say where in the arena they belong.

    Attributes:
        name: :data:`TRAINING`, :data:`EVALUATION`, or that of a part of a training step.
        descriptors: what each descriptor does.
        fields: the fields of each descriptor.
        program: bytes of the descriptors, at symbol ``<name>.program``.
        taps: bytes of the tap tables, at symbol ``<name>.taps``.
    """

    name: str
    descriptors: tuple[Descriptor, ...]
    fields: tuple[Fields, ...]
    program: bytes
    taps: bytes

    @property
    def count(self) -> int:
        """Number of descriptors."""
        return len(self.program) // DESCRIPTOR_BYTES


class _Waits:
    """Counts what each semaphore will have signalled, and knows who has produced which tensor.

    Args:
        parts: tensors that others stand for: a concat buffer by its sources, a tensor view by the
            tensor that holds it.

    Attributes:
        counts: descriptors so far that signal each semaphore.
        producer: by tensor, its last producer: semaphore and count. ``<tensor>#<images>`` has the
            producer of these images alone.
    """

    def __init__(self, parts: dict[str, tuple[str, ...]] | None = None) -> None:
        self._parts = parts or {}
        self.counts = dict.fromkeys(Semaphore, 0)
        self.producer: dict[str, tuple[Semaphore, int]] = {}

    def done(self, semaphore: Semaphore, *tensors: str, part: Descriptor | None = None) -> None:
        """Count one more descriptor that signals ``semaphore`` and has written ``tensors``.

        ``part``: that descriptor, if it has written only its own images of them.
        """
        self.counts[semaphore] += 1
        for tensor in tensors:
            self.producer[tensor] = (semaphore, self.counts[semaphore])
            if part is not None and part.images is not None:
                self.producer[f"{tensor}#{part.images}"] = self.producer[tensor]

    def made(self, *tensors: str) -> tuple[str, ...]:
        """Return the tensors with a producer that stand for ``tensors``, which may have none."""
        found: list[str] = []
        for tensor in tensors:
            if tensor in self.producer:
                found.append(tensor)
            else:
                found += self.made(*self._parts.get(tensor, ()))
        return tuple(found)

    def put(self, fields: Fields, unit: str, *tensors: str, part: Descriptor | None = None) -> None:
        """Write the wait of ``unit`` for the last producer of ``tensors`` into ``fields``.

        Args:
            fields: takes ``pre.wait_<unit>`` and its semaphore; unchanged if there is nothing to
                wait for.
            unit: ``x``, ``s`` or ``y``; ``v`` for the vector unit, whose wait stands in that of
                ``x``. It takes its descriptors one by one and needs no wait for itself.
            tensors: what is read.
            part: the descriptor that waits, if it reads only its own images of them.

        Raises:
            ValueError: the producers signal different semaphores, but a unit can wait for one only.
        """
        tensors = self.made(*tensors)
        if part is not None and part.images is not None:
            tensors = tuple(own if (own := f"{t}#{part.images}") in self.producer else t
                            for t in tensors)
        found = [self.producer[t] for t in tensors]
        if unit == "v":
            unit, found = "x", [one for one in found if one[0] != Semaphore.VECTOR]
        if not found:
            return
        semaphores = {semaphore for semaphore, _ in found}
        if len(semaphores) > 1:
            raise ValueError(f"tensors {tensors} have producers of several kinds")
        fields[f"pre.wait_{unit}_sem"] = int(semaphores.pop())
        # A count of n means that the first n of a semaphore are complete: the last stands for all.
        fields[f"pre.wait_{unit}"] = max(count for _, count in found)


def input_symbol(plan: Plan, layer: int, which: int = 0, train: bool = True) -> str:
    """Return the symbol of a layer's input.

    Args:
        plan: the plan.
        layer: position of the layer.
        which: number of the input, 0 or 1.
        train: False in an evaluation, which reads past dropouts.
    """
    source = (plan.sources if train else plan.evaluation_sources)[layer][which]
    return "input" if source < 0 else output_symbol(plan, source)


def output_symbol(plan: Plan, layer: int) -> str:
    """Return the symbol of a layer's output."""
    return "logits" if layer == len(plan.specs) - 1 else f"{plan.specs[layer].name}.y"


def gradient_symbol(plan: Plan, layer: int) -> str:
    """Return the symbol of the gradient of a layer's output; empty if it has none."""
    if layer == len(plan.specs) - 1:
        return DLOGITS
    own = plan.backward_graph.of_layer.get(layer)
    return own.tensor if own else ""


def target_symbol(plan: Plan, layer: int) -> str:
    """Return the symbol of the gradient that a layer's backward pass writes; empty if there is
    none."""
    for node in plan.backward_graph.nodes:
        if node.layer == layer and node.kind.through:
            return node.target
    return ""


def layer_addresses(plan: Plan, layer: int, train: bool = True) -> LayerAddresses:
    """Return the byte offsets of the tensors of a layer in training or in evaluation."""
    name, at = plan.specs[layer].name, plan.memory.offset
    return LayerAddresses(
        x=at(input_symbol(plan, layer, 0, train)), y=at(output_symbol(plan, layer)),
        flags=at(f"{name}.flags"), dx=at(target_symbol(plan, layer)),
        dy=at(gradient_symbol(plan, layer)), w16=at(f"{name}.w16"), wv=at(f"{name}.wv"),
        bias=at(f"{name}.bias"), db=at(f"{name}.db"))


def scratch_addresses(plan: Plan, layer: int) -> LayerAddresses:
    """Return the offsets for the sums of a bias alone: input of zeros, masters without meaning."""
    at, name = plan.memory.offset, plan.specs[layer].name
    return replace(layer_addresses(plan, layer), x=at(ZEROS), w16=0, wv=at(f"{name}.scratch"))


def build_training(plan: Plan) -> ProgramImage:
    """Return the program of one training step of a plan."""
    return build_program(plan, TRAINING, plan.train)


def build_evaluation(plan: Plan) -> ProgramImage:
    """Return the program of one evaluation of a plan: no flags, no gradients."""
    return build_program(plan, EVALUATION, plan.evaluate)


def build_program(plan: Plan, name: str, descriptors: tuple[Descriptor, ...]) -> ProgramImage:
    """Return the program of some descriptors of a plan.

    Args:
        plan: the plan; its arena has regions for a program of this name.
        name: :data:`EVALUATION`, or any other for a training step or a part of one.
        descriptors: in program order.
    """
    waits, meanings = _Waits(_parts(plan)), Meanings(plan, name)
    taps_at = plan.memory[f"{name}.taps"].offset
    records_at = plan.memory[f"{name}.records"].offset
    all_fields: list[Fields] = []
    tap_bytes = b""
    for number, descriptor in enumerate(descriptors):
        fields, taps = _fields(plan, name, descriptor, waits)
        fields.update({
            "pre.opcode": int(descriptor.role.opcode), "pre.number": number,
            "pre.signal": int(SEMAPHORE_OF[descriptor.role.opcode]),
            "pre.param": plan.step_block.index(descriptor),
            "pre.rec_off": records_at + number * RECORD_BYTES,
            **meanings.of(number, descriptor),
        })
        if taps:
            fields["pre.taps_off"] = taps_at + len(tap_bytes)
            tap_bytes += b"".join(pack_tap(tap) for tap in taps)
        all_fields.append(fields)
    program = b"".join(pack_descriptor(fields) for fields in all_fields)
    # A region of the arena is never empty.
    tap_bytes = tap_bytes or bytes(WORD_BYTES)
    return ProgramImage(name, descriptors, tuple(all_fields), program, tap_bytes)


def _parts(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Return the sources of each concat buffer, and what holds each tensor view, by symbol."""
    found = {output_symbol(plan, at): tuple(output_symbol(plan, place) for place in sources)
             for at, (spec, sources) in enumerate(zip(plan.specs, plan.sources))
             if spec.kind.joins}
    return {**found, **{node.target: (node.reads[0].tensor,) for node in plan.backward_graph.nodes
                        if node.kind == nodes.VIEW}}


def _fields(plan: Plan, name: str, descriptor: Descriptor, waits: _Waits) -> tuple[Fields, Taps]:
    """Return fields and taps of a descriptor; ``waits`` is told what it waits for and produces."""
    if descriptor.role == Role.SOFTMAX:
        return _softmax(plan, name != EVALUATION, waits), ()
    if descriptor.role in (Role.UPDATE_BIAS, Role.UPDATE_GAMMA):
        return _update_bias(plan, descriptor, waits), ()
    if descriptor.role.opcode == Opcode.POOL:
        return _pool(plan, name != EVALUATION, descriptor, waits), ()
    if descriptor.role.opcode in (Opcode.VECTOR, Opcode.NORM):
        return _vector(plan, name != EVALUATION, descriptor, waits), ()
    return _conv(plan, name != EVALUATION, descriptor, waits)


def _conv(plan: Plan, train: bool, descriptor: Descriptor, waits: _Waits) -> tuple[Fields, Taps]:
    """Return fields and taps of a CONV or GRADIENT descriptor."""
    assert descriptor.tiled is not None
    layer, role = descriptor.layer, descriptor.role
    label = plan.specs[layer].name
    flags = train and plan.active[layer]
    sums = role == Role.BIAS_SUMS
    at = scratch_addresses(plan, layer) if sums else layer_addresses(plan, layer, train)
    if descriptor.images is not None:
        # The descriptor was tiled for the part alone; where it stands, only addresses say.
        at = _of_part(plan, layer, at, descriptor.images[0])
    if plan.specs[layer].kind.transposed:
        at = at.mirrored()
    fields, taps = lower(descriptor.tiled, at, flags, plan.momentum and not sums)
    if sums:
        fields["u.u_copy"] = 0  # the scratch weights are nobody's operand
    x = ZEROS if sums else input_symbol(plan, layer, 0, train)
    dy = gradient_symbol(plan, layer)
    if not waits.made(dy):
        # Nobody writes the gradient (a layer list has no loss); the flags must be there.
        dy = f"{label}.flags"
    if role == Role.FORWARD:
        waits.put(fields, "x", x, part=descriptor)
        waits.done(Semaphore.CONV, output_symbol(plan, layer), f"{label}.flags", part=descriptor)
    elif role == Role.BACKWARD:
        waits.put(fields, "x", dy, part=descriptor)
        waits.done(Semaphore.CONV, target_symbol(plan, layer), part=descriptor)
    else:
        # X and S loader have a wait each, since input and gradient have producers of different
        # kinds. So the X loader may fill its tile before the gradient is there.
        waits.put(fields, "x", x)
        waits.put(fields, "s", dy)
        waits.done(Semaphore.UPDATE, f"{label}.db")
    return fields, taps


def _of_part(plan: Plan, layer: int, at: LayerAddresses, first: int) -> LayerAddresses:
    """Return addresses with those of the feature maps moved on to image ``first`` of a layer."""
    spec = plan.specs[layer]
    flags = first * spec.flags.image_stride if spec.flags is not None else 0
    x, y = first * spec.x.image_stride, first * spec.y.image_stride
    return replace(at, x=at.x + x, dx=at.dx + x, y=at.y + y, dy=at.dy + y, flags=at.flags + flags)


def _vector(plan: Plan, train: bool, descriptor: Descriptor, waits: _Waits) -> Fields:
    """Return the fields of a VECTOR or NORM descriptor."""
    layer, role = descriptor.layer, descriptor.role
    spec, fused = plan.specs[layer], plan.layers[layer]
    second = input_symbol(plan, layer, 1, train) if len(plan.sources[layer]) > 1 else ""
    unit = VectorLowering(spec, lambda symbol: plan.memory[symbol].offset if symbol in plan.memory
                          else 0, input_symbol(plan, layer, 0, train), second,
                          output_symbol(plan, layer))
    first, count = descriptor.images or (0, spec.x.images)
    part = BatchPart(first, count, descriptor.part)
    written: tuple[str, ...] = ()
    if role == Role.CONCAT_BARRIER:
        waits.put(fields := unit.join(JOIN), "v", unit.y)
        written = (unit.y,)
    elif role == Role.NORM_SUMS:
        waits.put(fields := unit.sums(part), "v", unit.x, part=descriptor)
    elif role == Role.NORM_COEFFICIENTS:
        assert fused.norm is not None
        # Those of the training step; an evaluation uses no sums.
        parts = max(1, sum(one.role == Role.NORM_SUMS and one.layer == layer for one in plan.train))
        fields = unit.norm(fused.norm, not train, parts)
    elif role == Role.FORWARD_VECTOR:
        flags = train and plan.active[layer]
        waits.put(fields := unit.point(part, flags, train), "v", unit.x, second, part=descriptor)
        written = (unit.y, f"{spec.name}.flags")
    elif role == Role.BACKWARD_NORM:
        assert fused.norm is not None
        parts = sum(one.role == Role.BACKWARD_SUMS and one.node == descriptor.node
                    for one in plan.train)
        fields = unit.node_norm(fused.norm, parts)
        written = (f"{spec.name}.db",)
    else:
        node = plan.backward_graph.nodes[descriptor.node]
        masks = tuple(None if ref.mask is None else plan.specs[ref.mask] for ref in node.reads)
        tensors = [ref.tensor for ref in node.reads]
        if role == Role.BACKWARD_SUMS:
            fields = unit.node_sums(node, masks[0], part)
        else:
            own = layer if node.kind.of_output else plan.sources[layer][0]
            layout = plan.specs[own].y
            first, count = descriptor.images or (0, layout.images)
            fields = unit.node(node, masks, layout, BatchPart(first, count, descriptor.part))
            written = (node.target,)
        waits.put(fields, "v", *tensors, part=descriptor)
    waits.done(Semaphore.VECTOR, *written, part=descriptor)
    return fields


def _pool(plan: Plan, train: bool, descriptor: Descriptor, waits: _Waits) -> Fields:
    """Return the fields of a POOL descriptor."""
    layer, spec, at = descriptor.layer, plan.specs[descriptor.layer], plan.memory.offset
    first, count = descriptor.images or (0, spec.x.images)
    unit = PoolLowering(spec, first, count)
    argmax = f"{spec.name}.flags"
    if descriptor.role == Role.POOL:
        keep = train and plan.active[layer]
        x, y = input_symbol(plan, layer, 0, train), output_symbol(plan, layer)
        fields = unit.forward(at(x), at(y), at(argmax), keep)
        waits.put(fields, "v", x, part=descriptor)
        waits.done(Semaphore.VECTOR, y, argmax, part=descriptor)
        return fields
    node = plan.backward_graph.nodes[descriptor.node]
    gradient = node.reads[0].tensor
    fields = unit.backward(at(gradient), at(node.target), at(argmax))
    waits.put(fields, "v", gradient, part=descriptor)
    waits.done(Semaphore.VECTOR, node.target, part=descriptor)
    return fields


def _softmax(plan: Plan, gradient: bool, waits: _Waits) -> Fields:
    """Return the fields of the SOFTMAX descriptor; ``gradient``: it writes logit gradients too."""
    fields: Fields = {
        "f.logit_off": plan.memory["logits"].offset, "f.label_off": plan.memory["labels"].offset,
        "f.dlogit_off": plan.memory["dlogits"].offset, "f.f_batch": plan.batch,
        "f.f_classes": plan.classes, "f.f_grad": int(gradient), "f.f_mse": int(plan.loss.mse),
    }
    waits.put(fields, "x", "logits")
    waits.done(Semaphore.SOFTMAX, "dlogits")
    return fields


def _update_bias(plan: Plan, descriptor: Descriptor, waits: _Waits) -> Fields:
    """Return the fields of an UPDATE of biases, or of gamma or beta of a normalisation.

    It starts when the sums of all slices of the layer are in memory.
    """
    spec, memory = plan.specs[descriptor.layer], plan.memory
    # Gamma comes first in a normalisation's regions, beta ``bias_bytes`` behind it.
    beta = spec.kind.normalises and descriptor.role == Role.UPDATE_BIAS
    skip = spec.bias_bytes if beta else 0
    fields: Fields = {
        "u.g_off": memory[f"{spec.name}.db"].offset + skip,
        "u.wv_off": memory[f"{spec.name}.bias"].offset + skip,
        # A normalisation writes gradients for whole channel blocks, not for whole tiles.
        "u.u_count": (CHANNELS_PER_WORD * spec.m_blocks if spec.kind.normalises
                      else spec.bias_bytes // WORD_BYTES),
    }
    waits.put(fields, "x", f"{spec.name}.db")
    waits.done(Semaphore.UPDATE)
    return fields
