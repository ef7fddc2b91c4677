"""Programs from a plan: descriptors with waits, taps, records, as bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pynq_train.hw.commands import (
    DESCRIPTOR_BYTES,
    RECORD_BYTES,
    Opcode,
    Pass,
    Semaphore,
    pack_descriptor,
    pack_tap,
)
from pynq_train.hw.words import CHANNELS_PER_WORD, WORD_BYTES
from pynq_train.layers import nodes
from pynq_train.layers.backward_graph import DLOGITS
from pynq_train.program.program import Fields
from pynq_train.schedule.lower.conv import LayerAddresses, Taps, lower
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


@dataclass(frozen=True)
class ProgramImage:
    """One program as bytes, and where they belong in the arena.

    Attributes:
        name: ``train`` or ``evaluate``.
        descriptors: what each descriptor does.
        fields: the fields of each descriptor.
        program: descriptors, at symbol ``<name>.program``.
        taps: tap tables, at symbol ``<name>.taps``.
    """

    name: str
    descriptors: tuple[Descriptor, ...]
    fields: tuple[Fields, ...]
    program: bytes
    taps: bytes

    @property
    def count(self) -> int:
        """Descriptors."""
        return len(self.program) // DESCRIPTOR_BYTES


class _Waits:
    """Counts what each semaphore will have signalled, and who produced which tensor.

    ``parts``: tensors that others stand for: the sources of a joined map, the whole of a part.
    """

    def __init__(self, parts: dict[str, tuple[str, ...]] | None = None) -> None:
        self._parts = parts or {}
        self.counts = dict.fromkeys(Semaphore, 0)
        self.producer: dict[str, tuple[Semaphore, int]] = {}

    def done(self, semaphore: Semaphore, *tensors: str, part: Descriptor | None = None) -> None:
        """One more descriptor that signals ``semaphore`` and has written ``tensors``.

        ``part``: an entry that has written its images of them alone.
        """
        self.counts[semaphore] += 1
        for tensor in tensors:
            self.producer[tensor] = (semaphore, self.counts[semaphore])
            if part is not None and part.images is not None:
                self.producer[f"{tensor}#{part.images}"] = self.producer[tensor]

    def made(self, *tensors: str) -> tuple[str, ...]:
        """The tensors that descriptors have written for ``tensors``."""
        found: list[str] = []
        for tensor in tensors:
            if tensor in self.producer:
                found.append(tensor)
            else:
                found += self.made(*self._parts.get(tensor, ()))
        return tuple(found)

    def put(self, fields: Fields, unit: str, *tensors: str, part: Descriptor | None = None) -> None:
        """Let ``unit`` wait for the last producer of ``tensors`` (all of one semaphore).

        The vector unit takes its descriptors one by one: it needs no wait for itself. ``part``: an
        entry that needs its images alone.
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
        fields[f"pre.wait_{unit}"] = max(count for _, count in found)


def input_symbol(plan: Plan, layer: int, which: int = 0, train: bool = True) -> str:
    """Symbol of the input of a layer, or of its second one; in evaluation past dropouts."""
    source = (plan.sources if train else plan.evaluation_sources)[layer][which]
    return "input" if source < 0 else output_symbol(plan, source)


def output_symbol(plan: Plan, layer: int) -> str:
    """Symbol of the output of a layer."""
    return "logits" if layer == len(plan.specs) - 1 else f"{plan.specs[layer].name}.y"


def gradient_symbol(plan: Plan, layer: int) -> str:
    """Symbol of the gradient of a layer's output; empty if it has none."""
    if layer == len(plan.specs) - 1:
        return DLOGITS
    own = plan.backward_graph.of_layer.get(layer)
    return own.tensor if own else ""


def target_symbol(plan: Plan, layer: int) -> str:
    """Symbol of the gradient that the backward pass of a layer writes; empty if there is none."""
    for step in plan.backward_graph.nodes:
        if step.layer == layer and step.kind.through:
            return step.target
    return ""


def layer_addresses(plan: Plan, layer: int, train: bool = True) -> LayerAddresses:
    """Byte offsets of the tensors of a layer in training or in evaluation."""
    name, at = plan.specs[layer].name, plan.memory.offset
    return LayerAddresses(
        x=at(input_symbol(plan, layer, 0, train)), y=at(output_symbol(plan, layer)),
        flags=at(f"{name}.flags"), dx=at(target_symbol(plan, layer)),
        dy=at(gradient_symbol(plan, layer)), w16=at(f"{name}.w16"), wv=at(f"{name}.wv"),
        bias=at(f"{name}.bias"), db=at(f"{name}.db"))


def scratch_addresses(plan: Plan, layer: int) -> LayerAddresses:
    """The same for the sums of a bias alone: input of zeros, masters without meaning."""
    at, name = plan.memory.offset, plan.specs[layer].name
    return replace(layer_addresses(plan, layer), x=at(ZEROS), w16=0, wv=at(f"{name}.scratch"))


def build_training(plan: Plan) -> ProgramImage:
    """Return the program of one training step."""
    return _build(plan, "train", plan.train)


def build_evaluation(plan: Plan) -> ProgramImage:
    """Return the program of one evaluation: no flags, no gradients."""
    return _build(plan, "evaluate", plan.evaluate)


def _build(plan: Plan, name: str, descriptors: tuple[Descriptor, ...]) -> ProgramImage:
    waits = _Waits(_parts(plan))
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
        })
        if taps:
            fields["pre.taps_off"] = taps_at + len(tap_bytes)
            tap_bytes += b"".join(pack_tap(tap) for tap in taps)
        all_fields.append(fields)
    program = b"".join(pack_descriptor(fields) for fields in all_fields)
    tap_bytes = tap_bytes or bytes(WORD_BYTES)
    return ProgramImage(name, descriptors, tuple(all_fields), program, tap_bytes)


def _parts(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Joined maps by their sources, parts of gradients by the gradients."""
    found = {output_symbol(plan, at): tuple(output_symbol(plan, place) for place in sources)
             for at, (spec, sources) in enumerate(zip(plan.specs, plan.sources))
             if spec.kind.joins}
    return {**found, **{step.target: (step.reads[0].tensor,) for step in plan.backward_graph.nodes
                        if step.kind == nodes.VIEW}}


def _fields(plan: Plan, name: str, descriptor: Descriptor, waits: _Waits) -> tuple[Fields, Taps]:
    if descriptor.role == Role.SOFTMAX:
        return _softmax(plan, name == "train", waits), ()
    if descriptor.role in (Role.UPDATE_BIAS, Role.UPDATE_GAMMA):
        return _update_bias(plan, descriptor, waits), ()
    if descriptor.role.opcode == Opcode.POOL:
        return _pool(plan, name == "train", descriptor, waits), ()
    if descriptor.role.opcode in (Opcode.VECTOR, Opcode.NORM):
        return _vector(plan, name == "train", descriptor, waits), ()
    return _conv(plan, name == "train", descriptor, waits)


def _conv(plan: Plan, train: bool, descriptor: Descriptor, waits: _Waits) -> tuple[Fields, Taps]:
    assert descriptor.tiled is not None
    layer, kind = descriptor.layer, descriptor.tiled.shape.kind
    label = plan.specs[layer].name
    flags = train and plan.active[layer]
    sums = descriptor.role == Role.BIAS_SUMS
    at = scratch_addresses(plan, layer) if sums else layer_addresses(plan, layer, train)
    if descriptor.images is not None:
        at = _of_part(plan, layer, at, descriptor.images[0])
    fields, taps = lower(descriptor.tiled, at, flags, plan.momentum and not sums)
    if sums:
        fields["u.u_copy"] = 0  # the scratch weights are nobody's operand
    x = ZEROS if sums else input_symbol(plan, layer, 0, train)
    dy = gradient_symbol(plan, layer)
    if not waits.made(dy):
        # Nobody writes the gradient (a layer list has no loss); the flags must be there.
        dy = f"{label}.flags"
    if kind == Pass.FORWARD:
        waits.put(fields, "x", x, part=descriptor)
        waits.done(Semaphore.CONV, output_symbol(plan, layer), f"{label}.flags", part=descriptor)
    elif kind == Pass.BACKWARD:
        waits.put(fields, "x", dy, part=descriptor)
        waits.done(Semaphore.CONV, target_symbol(plan, layer), part=descriptor)
    else:
        waits.put(fields, "x", x)
        waits.put(fields, "s", dy)
        waits.done(Semaphore.UPDATE, f"{label}.db")
    return fields, taps


def _of_part(plan: Plan, layer: int, at: LayerAddresses, first: int) -> LayerAddresses:
    """Addresses of the maps of a layer from image ``first`` on."""
    spec = plan.specs[layer]
    flags = first * spec.flags.image_stride if spec.flags is not None else 0
    x, y = first * spec.x.image_stride, first * spec.y.image_stride
    return replace(at, x=at.x + x, dx=at.dx + x, y=at.y + y, dy=at.dy + y, flags=at.flags + flags)


def _vector(plan: Plan, train: bool, descriptor: Descriptor, waits: _Waits) -> Fields:
    """A descriptor of the vector unit."""
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
        parts = max(1, sum(e.role == Role.NORM_SUMS and e.layer == layer for e in plan.train))
        fields = unit.norm(fused.norm, not train, parts)
    elif role == Role.FORWARD_VECTOR:
        flags = train and plan.active[layer]
        waits.put(fields := unit.point(part, flags, train), "v", unit.x, second, part=descriptor)
        written = (unit.y, f"{spec.name}.flags")
    elif role == Role.BACKWARD_NORM:
        assert fused.norm is not None
        parts = sum(e.role == Role.BACKWARD_SUMS and e.node == descriptor.node for e in plan.train)
        fields = unit.step_norm(fused.norm, parts)
        written = (f"{spec.name}.db",)
    else:
        step = plan.backward_graph.nodes[descriptor.node]
        masks = tuple("" if ref.mask is None else f"{plan.specs[ref.mask].name}.flags"
                      for ref in step.reads)
        tensors = [ref.tensor for ref in step.reads]
        if role == Role.BACKWARD_SUMS:
            fields = unit.step_sums(step, masks[0], part)
        else:
            own = layer if step.kind.of_output else plan.sources[layer][0]
            layout = plan.specs[own].y
            first, count = descriptor.images or (0, layout.images)
            fields = unit.step(step, masks, layout, BatchPart(first, count, descriptor.part))
            written = (step.target,)
        waits.put(fields, "v", *tensors, part=descriptor)
    waits.done(Semaphore.VECTOR, *written, part=descriptor)
    return fields


def _pool(plan: Plan, train: bool, descriptor: Descriptor, waits: _Waits) -> Fields:
    """A pooling pass."""
    layer, spec, at = descriptor.layer, plan.specs[descriptor.layer], plan.memory.offset
    first, count = descriptor.images or (0, spec.x.images)
    unit = PoolLowering(spec, first, count)
    argmax = f"{spec.name}.flags"
    if descriptor.role == Role.POOL:
        keep = train and plan.active[layer]
        x, y = input_symbol(plan, layer), output_symbol(plan, layer)
        fields = unit.forward(at(x), at(y), at(argmax), keep)
        waits.put(fields, "v", x, part=descriptor)
        waits.done(Semaphore.VECTOR, y, argmax, part=descriptor)
        return fields
    step = plan.backward_graph.nodes[descriptor.node]
    gradient = step.reads[0].tensor
    fields = unit.backward(at(gradient), at(step.target), at(argmax))
    waits.put(fields, "v", gradient, part=descriptor)
    waits.done(Semaphore.VECTOR, step.target, part=descriptor)
    return fields


def _softmax(plan: Plan, gradient: bool, waits: _Waits) -> Fields:
    fields: Fields = {
        "f.logit_off": plan.memory["logits"].offset, "f.label_off": plan.memory["labels"].offset,
        "f.dlogit_off": plan.memory["dlogits"].offset, "f.f_batch": plan.batch,
        "f.f_classes": plan.classes, "f.f_grad": int(gradient), "f.f_mse": int(plan.loss.mse),
    }
    waits.put(fields, "x", "logits")
    waits.done(Semaphore.SOFTMAX, "dlogits")
    return fields


def _update_bias(plan: Plan, descriptor: Descriptor, waits: _Waits) -> Fields:
    """SGD of the biases: starts when the sums of all slices of the layer are in memory."""
    spec, memory = plan.specs[descriptor.layer], plan.memory
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
