"""What the vector unit does in a step, and where it stands between the passes of the array.

The forward pass of a normalisation needs the statistics of the whole mini-batch, but its two passes
over the map do not: the mini-batch is cut into parts. While the array works on a part (C), the
vector unit sums the part before it (S), or applies coefficients to the one behind it (A):

    vector   A0  A1      A2   S0  A3   S1       S2  S3  coefficients
    array        C0      C1       C2   C3
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pynq_train.layers import nodes
from pynq_train.layers.backward_graph import BackwardGraph
from pynq_train.schedule.passes.descriptors import Descriptor, Role
from pynq_train.schedule.specs.concat_buffer import barriers_of
from pynq_train.schedule.specs.evaluation import vanishes
from pynq_train.schedule.specs.spec import LayerSpec

ImageRange = tuple[int, int]
"""First image and number of images."""
MakeConv = Callable[[LayerSpec, ImageRange | None, int, bool], Sequence[Descriptor]]
"""Returns the descriptors of a convolution.

It takes the spec, the images of a part (None: all of them), the number of the part, and whether
they run between the parts of another convolution.
"""


def image_parts(images: int, parts: int, edge: bool = False) -> tuple[ImageRange, ...]:
    """Return first image and count of each part; fewer parts if there are fewer images.

    Args:
        images: images of the mini-batch.
        parts: how many parts are wished for.
        edge: first and last part are half as large, because nothing runs beside them.
    """
    if not edge or parts < 3 or images < 3:
        step = -(-images // parts)
        return tuple((first, min(step, images - first)) for first in range(0, images, step))
    # ``parts`` - 2 whole parts and two halves make ``parts`` - 1 whole ones.
    ends = max(1, images // (2 * parts - 2))
    inner = image_parts(images - 2 * ends, parts - 2)
    return ((0, ends), *((ends + first, count) for first, count in inner), (images - ends, ends))


Group = list[Descriptor]
"""What the vector unit does for one part of the mini-batch, in order."""


@dataclass
class _Side:
    """A convolution of a side branch, and what follows it on the vector unit.

    The array works on its parts between those of the convolution behind it, which belongs to the
    longer branch.

    Attributes:
        layer: position of the convolution.
        parts: for each part, its descriptors and the sums of its normalisation.
        norm_of: position of its normalisation, None while that has not come.
        norm: coefficients of the normalisation.
        groups: what the normalisation does over its map, by part.
    """

    layer: int
    parts: list[tuple[Sequence[Descriptor], Sequence[Descriptor]]]
    norm_of: int | None = None
    norm: list[Descriptor] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)


class _Forward:
    """Puts the layers of a forward pass in order, one after the other.

    ``_pending`` holds, by part, what the last layer of the vector unit (``_pending_of``) still has
    to do: the convolution that reads it takes each part when the part is wanted.
    """

    def __init__(self, specs: Sequence[LayerSpec], sources: Sequence[tuple[int, ...]],
                 parts: Sequence[int], statistics: bool, array: MakeConv) -> None:
        self._specs, self._sources, self._parts = specs, sources, parts
        self._statistics, self._array = statistics, array
        self._pending: list[Group] = []
        self._pending_of = -1
        self._side: _Side | None = None
        self._reader = {wires[0]: spec for spec, wires in zip(specs, sources)
                        if spec.kind.normalises}
        self._joins = barriers_of([spec.kind for spec in specs], sources)
        self._summed: set[int] = set()
        self.descriptors: list[Descriptor] = []

    def _measures(self, norm: LayerSpec) -> bool:
        """Return whether a normalisation takes statistics of the mini-batch, or of its images."""
        return norm.kind.by_image or (self._statistics and not norm.frozen)

    def layer(self, spec: LayerSpec) -> None:
        """Add the descriptors of the next layer, or keep them pending."""
        if vanishes(spec) and not self._statistics:
            return
        if spec.on_array:
            self._convolution(spec)
            return
        if spec.kind.joins:
            self._flush()
            if spec.index in self._joins:
                self.descriptors.append(Descriptor(Role.CONCAT_BARRIER, spec.index))
            return
        role = Role.POOL if spec.kind.windowed else Role.FORWARD_VECTOR
        side = self._side
        norm = [Descriptor(Role.NORM_COEFFICIENTS, spec.index)] if spec.kind.normalises else []
        groups: list[Group] = [[Descriptor(role, spec.index, images=images, part=part)]
                               for part, images in enumerate(self._images(spec))]
        # The normalisation of the side branch stays back with it, until the sum reads both.
        if (side is not None and self._reader.get(side.layer) is spec
                and self._sources[spec.index] == (side.layer,)):
            side.norm_of, side.norm, side.groups = spec.index, norm, groups
            return
        if side is not None and side.norm_of in self._sources[spec.index][1:] and not side.parts:
            # The sum reads the side branch part by part: both are walked at once.
            groups = [first + own for first, own in zip(side.groups, groups)]
            norm = side.norm + norm
            self._side = None
        if (spec.kind.windowed and side is None and self._pending
                and self._pending_of == self._sources[spec.index][0]):
            # Each part is pooled when it is there.
            groups = [first + own for first, own in zip(self._pending, groups)]
            self._pending = []
        self._flush()
        if (norm and self._measures(spec)
                and spec.index not in self._summed):
            # What it reads comes from no convolution, or from one that others normalise too.
            self.descriptors.append(Descriptor(Role.NORM_SUMS, spec.index))
        self.descriptors += norm
        if spec.kind.reduces or spec.kind.scales or spec.x.images == 1:
            self.descriptors += [descriptor for group in groups for descriptor in group[:-1]]
            self.descriptors.append(Descriptor(role, spec.index))
            return
        self._pending, self._pending_of = groups, spec.index

    def _convolution(self, spec: LayerSpec) -> None:
        """Add a convolution, by parts where the vector unit has work beside it."""
        reads = self._sources[spec.index][0]
        norm = self._reader.get(spec.index)
        own = norm is not None and self._measures(norm)
        if own and norm is not None:
            self._summed.add(norm.index)
        feature = spec.kind.convolves and spec.x.images > 1
        if self._pending and self._pending_of != reads:
            # It reads something older than what is pending: a side branch. What is pending waits
            # for the convolution that reads it, and the side branch runs between that one's parts.
            if feature and self._side is None and norm is not None:
                self._side = _Side(spec.index, [
                    (self._array(spec, images, part, True), self._sums(norm, images, part, own))
                    for part, images in enumerate(self._images(spec))])
                return
            self._flush()
        if not feature or not (self._pending or own):
            self._flush()
            self.descriptors += self._array(spec, None, 0, False)
            if own and norm is not None:
                self.descriptors.append(Descriptor(Role.NORM_SUMS, norm.index))
            return
        # One part ahead: what the array reads next is made while it works on the part before. Sums
        # come one part later, when their part is complete.
        before: list[Descriptor] = []
        for part, images in enumerate(self._images(spec)):
            for _ in range(2 if part == 0 else 1):
                if self._pending and (part == 0 or self._pending[0][-1].part <= part + 1):
                    self.descriptors += self._pending.pop(0)
            self.descriptors += self._array(spec, images, part, False)
            late, before = before, self._sums(norm, images, part, own)
            if self._side is not None and self._side.parts:
                beside, sums = self._side.parts.pop(0)
                self.descriptors += beside
                before += sums
            self.descriptors += late
        self._flush_pending()
        self.descriptors += before

    @staticmethod
    def _sums(norm: LayerSpec | None, images: ImageRange, part: int, own: bool) -> list[Descriptor]:
        """Return the sums of a part for a normalisation, if it takes the batch's statistics."""
        if norm is None or not own:
            return []
        return [Descriptor(Role.NORM_SUMS, norm.index, images=images, part=part)]

    def _images(self, spec: LayerSpec) -> tuple[ImageRange, ...]:
        """Return the parts of the mini-batch for a layer."""
        return image_parts(spec.x.images, self._parts[spec.index], edge=True)

    def _flush_pending(self) -> None:
        """Add all that is pending."""
        self.descriptors += [descriptor for group in self._pending for descriptor in group]
        self._pending = []

    def _flush(self) -> None:
        """Add everything that is still to come: what is pending, then the side branch."""
        self._flush_pending()
        if self._side is not None:
            side, self._side = self._side, None
            for beside, sums in side.parts:
                self.descriptors += (*beside, *sums)
            self.descriptors += side.norm
            self.descriptors += [descriptor for group in side.groups for descriptor in group]

    def finish(self) -> tuple[Descriptor, ...]:
        """Return all descriptors in order."""
        self._flush()
        return tuple(self.descriptors)


def forward_order(specs: Sequence[LayerSpec], sources: Sequence[tuple[int, ...]],
                  parts: Sequence[int], statistics: bool, array: MakeConv
                  ) -> tuple[Descriptor, ...]:
    """Return the descriptors of the forward pass in order.

    Args:
        specs: the layers.
        sources: positions that each layer reads, -1 for the images.
        parts: parts of the mini-batch, for each layer.
        statistics: training: batch normalisations take the statistics of the batch, dropouts drop.
        array: returns the descriptors of a convolution.
    """
    order = _Forward(specs, sources, parts, statistics, array)
    for spec in specs:
        order.layer(spec)
    return order.finish()


def node_operations(specs: Sequence[LayerSpec], backward_graph: BackwardGraph,
                    arriving: Sequence[int], leaving: Sequence[int]
                    ) -> dict[int, list[list[Descriptor]]]:
    """Return what the vector unit does in the backward half, by the layer that it is done for.

    The value is a list of operations; each is a list of descriptors: one for each part of the
    mini-batch, or one for all images.

    Args:
        specs: the layers.
        backward_graph: the nodes; those of the array and tensor views are left out.
        arriving: for each layer, parts of the pass that brings the gradient of its output.
        leaving: parts of the pass that reads the gradient which the layer makes.
    """
    found: dict[int, list[list[Descriptor]]] = {}
    for number, node in enumerate(backward_graph.nodes):
        if not node.kind.on_vector_unit:
            continue
        operations = found.setdefault(node.layer, [])
        spec = specs[node.layer]
        images = spec.x.images if node.kind.through else spec.y.images

        def descriptors(role: Role, whole: bool, parts: int = leaving[node.layer],
                        own: int = number,
                        layer: int = node.layer, count: int = images) -> list[Descriptor]:
            """Return the descriptors of one operation: one for each part, or one for ``whole``."""
            if whole or count == 1:
                return [Descriptor(role, layer, node=own)]
            return [Descriptor(role, layer, images=some, part=part, node=own)
                    for part, some in enumerate(image_parts(count, parts))]

        if node.kind == nodes.NORM:
            operations += [descriptors(Role.BACKWARD_SUMS, False, arriving[node.layer]),
                           descriptors(Role.BACKWARD_NORM, True)]
        if node.target:
            role = Role.UNPOOL if node.kind == nodes.UNPOOL else Role.BACKWARD_VECTOR
            # A word for each plane stands at [block][image]: all images are read at once.
            operations.append(descriptors(role, node.kind == nodes.SPREAD or spec.kind.scales))
    return found


def interleave(passes: Sequence[Sequence[Descriptor]], operations: Sequence[Sequence[Descriptor]]
               ) -> list[Descriptor]:
    """Return a backward pass with the vector operations that follow it put between its parts.

    That goes up to the first coefficients, which need the sums over all images.

    Args:
        passes: descriptors of the backward pass, by part.
        operations: what the vector unit does until the next backward pass, by operation and part.
    """
    first = next((at for at, operation in enumerate(operations)
                  if operation[0].role == Role.BACKWARD_NORM), len(operations))
    beside = [operation for operation in operations[:first] if len(operation) == len(passes)]
    # An operation that is cut otherwise cannot follow part by part: then all stays in order.
    if len(passes) == 1 or len(beside) < first:
        return [descriptor for group in (*passes, *operations) for descriptor in group]
    order: list[Descriptor] = []
    for part, descriptors in enumerate(passes):
        order += descriptors
        # One part late: what the vector unit reads must be complete.
        if part:
            order += [operation[part - 1] for operation in beside]
    order += [operation[-1] for operation in beside]
    return order + [descriptor for operation in operations[first:] for descriptor in operation]
