"""What each descriptor reads and writes, and what it waits for, by the symbols of the tensors.

Nothing here depends on where tensors stand, so that their places can follow from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pynq_train.hw.commands import WAIT_OF, Opcode, Semaphore, Unit
from pynq_train.layers import nodes
from pynq_train.layers.backward_graph import GradientRef
from pynq_train.program.program import Fields
from pynq_train.schedule.passes.descriptors import Descriptor, Role
from pynq_train.schedule.passes.symbols import (
    Network,
    gradient_symbol,
    input_symbol,
    output_symbol,
    sums_products,
    target_symbol,
)

SEMAPHORE_OF = {Opcode.CONV: Semaphore.CONV, Opcode.UPDATE: Semaphore.UPDATE,
                Opcode.GRADIENT: Semaphore.UPDATE, Opcode.SOFTMAX: Semaphore.SOFTMAX,
                Opcode.VECTOR: Semaphore.VECTOR, Opcode.NORM: Semaphore.VECTOR,
                Opcode.POOL: Semaphore.VECTOR}
"""Semaphore that a descriptor signals, by opcode (what it promises: ``program.hazards``)."""
ZEROS = "zeros"
"""Symbol of the scratch convolutions' input, behind which biases are summed; it stays zero."""


@dataclass(frozen=True)
class Wait:
    """What a unit waits for before it starts a descriptor.

    Attributes:
        unit: the unit.
        tensors: it waits for the last producers of these.
        otherwise: tensors that it waits for where nobody produces those.
    """

    unit: Unit
    tensors: tuple[str, ...]
    otherwise: tuple[str, ...] = ()


@dataclass(frozen=True)
class Usage:
    """Tensors of one descriptor: feature maps, gradients, flags, sums of channels and of biases.

    Attributes:
        waits: what its units wait for.
        reads: by unit: what it reads.
        writes: what it writes.
        by_parts: whether it touches only its own images of them, if it has a part of the images;
            a weight gradient needs all.
    """

    waits: tuple[Wait, ...]
    reads: tuple[tuple[Unit, tuple[str, ...]], ...]
    writes: tuple[str, ...] = ()
    by_parts: bool = True


def usage(network: Network, descriptor: Descriptor, train: bool) -> Usage:
    """Return what a descriptor reads, writes and waits for.

    Args:
        network: the network.
        descriptor: the descriptor.
        train: it belongs to a training step, not to an evaluation.
    """
    opcode = descriptor.role.opcode
    if opcode in (Opcode.CONV, Opcode.GRADIENT):
        return _array(network, descriptor, train)
    if opcode == Opcode.SOFTMAX:
        return Usage((Wait(Unit.SOFTMAX, ("logits",)),), ((Unit.SOFTMAX, ("logits", "labels")),),
                     ("dlogits",))
    if opcode == Opcode.UPDATE:
        sums = (f"{network.specs[descriptor.layer].name}.db",)
        return Usage((Wait(Unit.UPDATE, sums),), ((Unit.UPDATE, sums),))
    return _vector(network, descriptor, train)


def _array(network: Network, descriptor: Descriptor, train: bool) -> Usage:
    """Return the usage of a CONV or GRADIENT descriptor."""
    layer, role = descriptor.layer, descriptor.role
    name = network.specs[layer].name
    flags = f"{name}.flags"
    x = ZEROS if role == Role.BIAS_SUMS else input_symbol(network, layer, 0, train)
    if role == Role.FORWARD:
        return Usage((Wait(Unit.X, (x,)),), ((Unit.X, (x,)),),
                     (output_symbol(network, layer), flags))
    gradient = gradient_symbol(network, layer)
    # A layer list has no loss, and nobody writes the last gradient; the flags must be there.
    if role == Role.BACKWARD:
        return Usage((Wait(Unit.X, (gradient,), (flags,)),), ((Unit.X, (gradient, flags)),),
                     (target_symbol(network, layer),))
    # X and S loader have a wait each, since input and gradient have producers of different kinds.
    # So the X loader may fill its tile before the gradient is there.
    # Of a transposed layer they change places.
    of_x, of_s = Unit.X, Unit.S
    if network.specs[layer].kind.transposed and role == Role.WEIGHT_GRADIENT:
        of_x, of_s = of_s, of_x
    return Usage((Wait(of_x, (x,)), Wait(of_s, (gradient,), (flags,))),
                 ((of_x, (x,)), (of_s, (gradient, flags))), (f"{name}.db",), by_parts=False)


def _vector(network: Network, descriptor: Descriptor, train: bool) -> Usage:
    """Return the usage of a VECTOR, NORM or POOL descriptor."""
    layer, role = descriptor.layer, descriptor.role
    name, y = network.specs[layer].name, output_symbol(network, layer)
    inputs = tuple(input_symbol(network, layer, which, train)
                   for which in range(len(network.sources[layer][:2])))

    def of(waits: Sequence[str], also: Sequence[str] = (), writes: tuple[str, ...] = ()) -> Usage:
        some = tuple(waits)
        return Usage((Wait(Unit.VECTOR, some),), ((Unit.VECTOR, (*some, *also)),),
                     writes)

    if role == Role.CONCAT_BARRIER:
        return of((y,), (), (y,))
    if role == Role.NORM_SUMS:
        return of(inputs[:1], (), (f"{name}.sums",))
    if role == Role.NORM_COEFFICIENTS:
        return of((), (f"{name}.sums",))
    if role in (Role.FORWARD_VECTOR, Role.POOL):
        return of(inputs, (), (y, f"{name}.flags"))
    if role == Role.BACKWARD_NORM:
        return of((), (f"{name}.gsums",), (f"{name}.db",))
    node = network.backward_graph.nodes[descriptor.node]
    gradients = [ref.tensor for ref in node.reads]
    flags = [f"{network.specs[mask].name}.flags" for mask in _masks(node.reads)]
    if role == Role.UNPOOL:
        return of(gradients, (f"{name}.flags",), (node.target,))
    if role == Role.BACKWARD_SUMS:
        return of(gradients, (*flags, *(inputs[:1] if sums_products(network, layer) else ())),
                  (f"{name}.gsums",))
    # The unit always reads map a; of a mean's input it takes no value.
    if node.kind in (nodes.PRODUCT, nodes.FACTOR):
        return of(gradients, (*flags, inputs[1 - node.input]), (node.target,))
    own = node.kind in (nodes.SPREAD, nodes.CURVE) or (node.kind == nodes.NORM
                                        and not network.specs[layer].frozen)
    return of(gradients, (*flags, *(inputs[:1] if own else ())), (node.target,))


def _masks(reads: Sequence[GradientRef]) -> tuple[int, ...]:
    """Return the layers whose flags mask gradients."""
    return tuple(ref.mask for ref in reads if ref.mask is not None)


class Waits:
    """Counts what each semaphore will have signalled, and knows who has produced which tensor.

    Args:
        network: the network. A concat buffer is complete with its sources, a tensor view with the
            tensor that holds it.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._parts = _parts(network)
        self._counts = dict.fromkeys(Semaphore, 0)
        # By tensor, its last producer: semaphore and count. ``<tensor>#<images>`` has the producer
        # of these images alone.
        self._producer: dict[str, tuple[Semaphore, int]] = {}

    def next(self, descriptor: Descriptor, use: Usage) -> Fields:
        """Return opcode, signal and waits of the next descriptor of a program, as fields.

        Raises:
            ValueError: what a unit waits for signals different semaphores, but it can wait for one
                only.
        """
        semaphore = SEMAPHORE_OF[descriptor.role.opcode]
        fields: Fields = {"pre.opcode": int(descriptor.role.opcode), "pre.signal": int(semaphore)}
        part = "" if descriptor.images is None or not use.by_parts else f"#{descriptor.images}"
        for wait in use.waits:
            made = self._made(wait.tensors) or self._made(wait.otherwise)
            self._put(fields, wait.unit, made, part)
        self._counts[semaphore] += 1
        for tensor in use.writes:
            self._producer[tensor] = (semaphore, self._counts[semaphore])
            if part:
                self._producer[f"{tensor}{part}"] = self._producer[tensor]
        return fields

    def _made(self, tensors: Sequence[str]) -> tuple[str, ...]:
        """Return the tensors with a producer that stand for ``tensors``, which may have none."""
        found: list[str] = []
        for tensor in tensors:
            if tensor in self._producer:
                found.append(tensor)
            else:
                found += self._made(self._parts.get(tensor, ()))
        return tuple(found)

    def _put(self, fields: Fields, unit: Unit, tensors: Sequence[str], part: str) -> None:
        """Write the wait of ``unit`` for the last producer of ``tensors`` into ``fields``.

        ``part``: behind the name of a tensor, the images that are read; empty if all are.
        """
        found = [self._producer.get(f"{tensor}{part}", self._producer[tensor])
                 for tensor in tensors]
        if unit is Unit.VECTOR:  # it takes its descriptors one by one: no wait for itself
            found = [one for one in found if one[0] != Semaphore.VECTOR]
        if not found:
            return
        semaphores = {semaphore for semaphore, _ in found}
        if len(semaphores) > 1:
            raise ValueError(f"tensors {tuple(tensors)} have producers of several kinds")
        name = f"pre.wait_{WAIT_OF[unit]}"
        fields[f"{name}_sem"] = int(semaphores.pop())
        # A count of n means that the first n of a semaphore are complete: the last stands for all.
        fields[name] = max(count for _, count in found)


def _parts(network: Network) -> dict[str, tuple[str, ...]]:
    """Return the sources of each concat buffer, and what holds each tensor view, by symbol."""
    found = {output_symbol(network, at): tuple(output_symbol(network, place) for place in sources)
             for at, (spec, sources) in enumerate(zip(network.specs, network.sources))
             if spec.kind.joins}
    return {**found, **{node.target: (node.reads[0].tensor,)
                        for node in network.backward_graph.nodes if node.kind == nodes.VIEW}}
