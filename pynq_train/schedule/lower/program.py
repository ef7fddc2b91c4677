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
    pack_descriptor,
    pack_tap,
)
from pynq_train.hw.words import CHANNELS_PER_WORD, WORD_BYTES
from pynq_train.program.program import Fields
from pynq_train.schedule.lower.conv import LayerAddresses, Taps, lower
from pynq_train.schedule.lower.meaning import EVALUATION, TRAINING, Meanings
from pynq_train.schedule.lower.pool import PoolLowering
from pynq_train.schedule.lower.vector import BatchPart, VectorLowering
from pynq_train.schedule.passes.cached import CACHED
from pynq_train.schedule.passes.curves import curve_symbol, table_bytes
from pynq_train.schedule.passes.descriptors import Descriptor, Role
from pynq_train.schedule.passes.symbols import (
    gradient_symbol,
    input_symbol,
    output_symbol,
    sums_products,
    target_symbol,
)
from pynq_train.schedule.passes.usage import ZEROS, Waits, usage
from pynq_train.schedule.plan import Plan
from pynq_train.schedule.specs.concat_buffer import JOIN


@dataclass(frozen=True)
class ProgramImage:
    """One program as bytes; symbols say where in the arena they belong.

    Attributes:
        name: :data:`TRAINING`, :data:`EVALUATION`, or that of a part of a training step.
        descriptors: what each descriptor does.
        fields: the fields of each descriptor.
        program: bytes of the descriptors, at symbol ``<name>.program``.
        taps: bytes of the tap tables and of the tables of curves, at symbol ``<name>.taps``.
        halt: descriptors of the first of two runs, between which the host computes the loss; each
            is a program of its own. 0: there is one run.
    """

    name: str
    descriptors: tuple[Descriptor, ...]
    fields: tuple[Fields, ...]
    program: bytes
    taps: bytes
    halt: int = 0

    @property
    def count(self) -> int:
        """Number of descriptors."""
        return len(self.program) // DESCRIPTOR_BYTES

    @property
    def runs(self) -> tuple[range, ...]:
        """Numbers of the descriptors of each run."""
        cuts = (0, self.halt, self.count) if self.halt else (0, self.count)
        return tuple(map(range, cuts, cuts[1:]))

    def bytes_of(self, run: range) -> bytes:
        """Return the descriptors of a run."""
        return self.program[run.start * DESCRIPTOR_BYTES : run.stop * DESCRIPTOR_BYTES]


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


def build_cached(plan: Plan) -> ProgramImage:
    """Return the program of a training step of a plan that begins with the frozen layers' maps."""
    return build_program(plan, CACHED, plan.cached)


def build_program(plan: Plan, name: str, descriptors: tuple[Descriptor, ...]) -> ProgramImage:
    """Return the program of some descriptors of a plan.

    Args:
        plan: the plan; its arena has regions for a program of this name.
        name: :data:`EVALUATION`, or any other for a training step or a part of one.
        descriptors: in program order.
    """
    waits, meanings = Waits(plan), Meanings(plan, name)
    taps_at = plan.memory[f"{name}.taps"].offset
    records_at = plan.memory[f"{name}.records"].offset
    all_fields: list[Fields] = []
    tap_bytes = b""
    halt = plan.halt(descriptors)
    for number, descriptor in enumerate(descriptors):
        if number == halt:  # the semaphores are zero at the start of each run
            waits = Waits(plan)
        fields, taps = _fields(plan, name, descriptor)
        fields.update({
            **waits.next(descriptor, usage(plan, descriptor, name != EVALUATION)),
            "pre.number": number - (halt if number >= halt else 0),
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
    tap_bytes = (tap_bytes or bytes(WORD_BYTES)) + table_bytes(plan.layers, descriptors)
    return ProgramImage(name, descriptors, tuple(all_fields), program, tap_bytes, halt)


def _fields(plan: Plan, name: str, descriptor: Descriptor) -> tuple[Fields, Taps]:
    """Return fields and taps of a descriptor of program ``name``, waits left out."""
    train = name != EVALUATION
    if descriptor.role == Role.SOFTMAX:
        return _softmax(plan, train), ()
    if descriptor.role in (Role.UPDATE_BIAS, Role.UPDATE_GAMMA):
        return _update_bias(plan, descriptor), ()
    if descriptor.role.opcode == Opcode.POOL:
        return _pool(plan, train, descriptor), ()
    if descriptor.role.opcode in (Opcode.VECTOR, Opcode.NORM):
        return _vector(plan, name, descriptor), ()
    return _conv(plan, train, descriptor)


def _conv(plan: Plan, train: bool, descriptor: Descriptor) -> tuple[Fields, Taps]:
    """Return fields and taps of a CONV or GRADIENT descriptor."""
    assert descriptor.tiled is not None
    layer = descriptor.layer
    flags = train and plan.active[layer]
    sums = descriptor.role == Role.BIAS_SUMS
    at = scratch_addresses(plan, layer) if sums else layer_addresses(plan, layer, train)
    if descriptor.images is not None:
        # The descriptor was tiled for the part alone; where it stands, only addresses say.
        at = _of_part(plan, layer, at, descriptor.images[0])
    if descriptor.tiled.shape.spec.kind.transposed:
        at = at.mirrored()
    fields, taps = lower(descriptor.tiled, at, flags, plan.momentum and not sums)
    if sums:
        fields["u.u_copy"] = 0  # the scratch weights are nobody's operand
    return fields, taps


def _of_part(plan: Plan, layer: int, at: LayerAddresses, first: int) -> LayerAddresses:
    """Return addresses with those of the feature maps moved on to image ``first`` of a layer."""
    spec = plan.specs[layer]
    flags = first * spec.flags.image_stride if spec.flags is not None else 0
    x, y = first * spec.x.image_stride, first * spec.y.image_stride
    return replace(at, x=at.x + x, dx=at.dx + x, y=at.y + y, dy=at.dy + y, flags=at.flags + flags)


def _vector(plan: Plan, name: str, descriptor: Descriptor) -> Fields:
    """Return the fields of a VECTOR or NORM descriptor of program ``name``."""
    train = name != EVALUATION
    layer, role = descriptor.layer, descriptor.role
    spec, fused = plan.specs[layer], plan.layers[layer]
    second = input_symbol(plan, layer, 1, train) if len(plan.sources[layer]) > 1 else ""
    unit = VectorLowering(spec, lambda symbol: plan.memory[symbol].offset if symbol in plan.memory
                          else 0, input_symbol(plan, layer, 0, train), second,
                          output_symbol(plan, layer), curve_symbol(name, spec.name))
    first, count = descriptor.images or (0, spec.x.images)
    part = BatchPart(first, count, descriptor.part)
    if role == Role.CONCAT_BARRIER:
        return unit.join(JOIN)
    if role == Role.NORM_SUMS:
        return unit.sums(part)
    if role == Role.NORM_COEFFICIENTS:
        assert fused.norm is not None
        # Those of the training step; an evaluation uses no sums.
        parts = max(1, sum(one.role == Role.NORM_SUMS and one.layer == layer for one in plan.train))
        if spec.kind.by_image:
            parts = 1
        return unit.norm(fused.norm, not train, parts)
    if role == Role.FORWARD_VECTOR:
        return unit.point(part, train and plan.active[layer], train)
    if role == Role.BACKWARD_NORM:
        assert fused.norm is not None
        parts = sum(one.role == Role.BACKWARD_SUMS and one.node == descriptor.node
                    for one in plan.train)
        if spec.kind.by_image:
            parts = 1
        return unit.node_norm(fused.norm, parts)
    node = plan.backward_graph.nodes[descriptor.node]
    masks = tuple(None if ref.mask is None else plan.specs[ref.mask] for ref in node.reads)
    if role == Role.BACKWARD_SUMS:
        return unit.node_sums(node, masks[0], part, sums_products(plan, layer))
    own = layer if node.kind.of_output else plan.sources[layer][node.input]
    layout = plan.specs[own].y
    first, count = descriptor.images or (0, layout.images)
    return unit.node(node, masks, layout, BatchPart(first, count, descriptor.part))


def _pool(plan: Plan, train: bool, descriptor: Descriptor) -> Fields:
    """Return the fields of a POOL descriptor."""
    layer, spec, at = descriptor.layer, plan.specs[descriptor.layer], plan.memory.offset
    first, count = descriptor.images or (0, spec.x.images)
    unit = PoolLowering(spec, first, count)
    argmax = f"{spec.name}.flags"
    if descriptor.role == Role.POOL:
        keep = train and plan.active[layer]
        x, y = input_symbol(plan, layer, 0, train), output_symbol(plan, layer)
        return unit.forward(at(x), at(y), at(argmax), keep)
    node = plan.backward_graph.nodes[descriptor.node]
    return unit.backward(at(node.reads[0].tensor), at(node.target), at(argmax))


def _softmax(plan: Plan, gradient: bool) -> Fields:
    """Return the fields of the SOFTMAX descriptor; ``gradient``: it writes logit gradients too."""
    return {
        "f.logit_off": plan.memory["logits"].offset, "f.label_off": plan.memory["labels"].offset,
        "f.dlogit_off": plan.memory["dlogits"].offset, "f.f_batch": plan.batch,
        "f.f_classes": plan.classes, "f.f_grad": int(gradient), "f.f_mse": int(plan.loss.mse),
    }


def _update_bias(plan: Plan, descriptor: Descriptor) -> Fields:
    """Return the fields of an UPDATE of biases, or of gamma or beta of a normalisation.

    It starts when the sums of all slices of the layer are in memory.
    """
    spec, memory = plan.specs[descriptor.layer], plan.memory
    # Gamma comes first in a normalisation's regions, beta ``bias_bytes`` behind it.
    beta = spec.kind.normalises and descriptor.role == Role.UPDATE_BIAS
    skip = spec.bias_bytes if beta else 0
    return {
        "u.g_off": memory[f"{spec.name}.db"].offset + skip,
        "u.wv_off": memory[f"{spec.name}.bias"].offset + skip,
        # A normalisation writes gradients for whole channel blocks, not for whole tiles.
        "u.u_count": (CHANNELS_PER_WORD * spec.m_blocks if spec.kind.normalises
                      else spec.bias_bytes // WORD_BYTES),
    }
