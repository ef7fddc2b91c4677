"""What the vector unit does in a step, and where it stands between the passes of the array.

The forward pass of a normalisation needs the statistics of the whole mini-batch, but its two walks
over the map do not: the mini-batch is cut into parts. While the array works on a part, the vector
unit adds up the part before it, or applies coefficients to the one behind it:

    vector   A0  A1      A2   S0  A3   S1       S2  S3  coefficients
    array        C0      C1       C2   C3
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pynq_train.graph.gradient_flow import GradientFlow
from pynq_train.schedule.dropout import vanishes
from pynq_train.schedule.entries import Entry, Role
from pynq_train.schedule.layer import LayerSpec

Part = tuple[int, int]
Pass = Callable[[LayerSpec, Part | None, int], Entry]


def image_parts(images: int, parts: int, edge: bool = False) -> tuple[Part, ...]:
    """First image and count of each part; fewer parts if there are fewer images.

    ``edge``: first and last part are half as large, because nothing runs beside them.
    """
    if not edge or parts < 3 or images < 3:
        step = -(-images // parts)
        return tuple((first, min(step, images - first)) for first in range(0, images, step))
    ends = max(1, images // (2 * parts - 2))
    inner = image_parts(images - 2 * ends, parts - 2)
    return ((0, ends), *((ends + first, count) for first, count in inner), (images - ends, ends))


class _Forward:
    """Entries in order; parts of the last layer of the vector unit that are still to come."""

    def __init__(self, specs: Sequence[LayerSpec], sources: Sequence[tuple[int, ...]], parts: int,
                 statistics: bool, array: Pass) -> None:
        self._specs, self._sources, self._parts = specs, sources, parts
        self._statistics, self._array = statistics, array
        self._pending: list[Entry] = []
        self._reader = {wires[0]: spec for spec, wires in zip(specs, sources)
                        if spec.kind == "norm"}
        self.entries: list[Entry] = []

    def layer(self, spec: LayerSpec) -> None:
        """Entries of the next layer."""
        if vanishes(spec) and not self._statistics:
            return
        if spec.on_array:
            self._convolution(spec)
            return
        self._flush()
        if spec.kind == "norm":
            self.entries.append(Entry(Role.NORM, spec.index))
        if spec.kind == "mean" or spec.x.images == 1:
            self.entries.append(Entry(Role.POINT, spec.index))
            return
        self._pending = [Entry(Role.POINT, spec.index, images=images, part=part)
                         for part, images in enumerate(self._images(spec))]

    def _convolution(self, spec: LayerSpec) -> None:
        reads = self._sources[spec.index][0]
        if self._pending and self._pending[0].layer != reads:
            self._flush()
        norm = self._reader.get(spec.index)
        own = self._statistics and norm is not None and not norm.frozen
        feature = spec.kind == "conv" and spec.x.images > 1
        if not feature or not (self._pending or own):
            self._flush()
            self.entries.append(self._array(spec, None, 0))
            if own and norm is not None:
                self.entries.append(Entry(Role.SUMS, norm.index))
            return
        before: Entry | None = None
        for part, images in enumerate(self._images(spec)):
            for _ in range(2 if part == 0 else 1):
                if self._pending and (part == 0 or self._pending[0].part <= part + 1):
                    self.entries.append(self._pending.pop(0))
            self.entries.append(self._array(spec, images, part))
            if before is not None:
                self.entries.append(before)
            if own and norm is not None:
                before = Entry(Role.SUMS, norm.index, images=images, part=part)
        self._flush()
        if before is not None:
            self.entries.append(before)

    def _images(self, spec: LayerSpec) -> tuple[Part, ...]:
        return image_parts(spec.x.images, self._parts, edge=True)

    def _flush(self) -> None:
        self.entries += self._pending
        self._pending = []

    def finish(self) -> tuple[Entry, ...]:
        """All entries."""
        self._flush()
        return tuple(self.entries)


def forward_order(specs: Sequence[LayerSpec], sources: Sequence[tuple[int, ...]], parts: int,
                  statistics: bool, array: Pass) -> tuple[Entry, ...]:
    """Return the forward pass.

    Args:
        specs: the layers; sources: what each reads, -1 for the images.
        parts: parts of the mini-batch.
        statistics: training: take the statistics of the batch, drop elements.
        array: returns the entry of a convolution for a part (None: all images) of a number.
    """
    order = _Forward(specs, sources, parts, statistics, array)
    for spec in specs:
        order.layer(spec)
    return order.finish()


def step_entries(specs: Sequence[LayerSpec], flow: GradientFlow, parts: int
                 ) -> dict[int, list[list[Entry]]]:
    """Return what the vector unit does in the backward half, by the layer that it is done for.

    Every step is a list: its parts, or one entry for the whole mini-batch.
    """
    found: dict[int, list[list[Entry]]] = {}
    for number, step in enumerate(flow.steps):
        if step.kind == "backward":
            continue
        steps = found.setdefault(step.layer, [])
        spec = specs[step.layer]
        images = spec.x.images if step.kind in ("norm", "spread") else spec.y.images

        def entries(role: Role, whole: bool, own: int = number, layer: int = step.layer,
                    count: int = images) -> list[Entry]:
            if whole or count == 1:
                return [Entry(role, layer, step=own)]
            return [Entry(role, layer, images=some, part=part, step=own)
                    for part, some in enumerate(image_parts(count, parts))]

        if step.kind == "norm":
            steps += [entries(Role.STEP_SUMS, False), entries(Role.STEP_NORM, True)]
        if step.target:
            steps.append(entries(Role.STEP, step.kind == "spread"))
    return found


def interleave(passes: Sequence[Sequence[Entry]], steps: Sequence[Sequence[Entry]]
               ) -> list[Entry]:
    """Put the steps behind a backward pass between its parts, up to the first coefficients.

    Args:
        passes: descriptors of the backward pass, by part.
        steps: what the vector unit does until the next backward pass, by step and part.
    """
    first = next((at for at, step in enumerate(steps) if step[0].role == Role.STEP_NORM),
                 len(steps))
    beside = [step for step in steps[:first] if len(step) == len(passes)]
    if len(passes) == 1 or len(beside) < first:
        return [entry for group in (*passes, *steps) for entry in group]
    order: list[Entry] = []
    for part, entries in enumerate(passes):
        order += entries
        if part:
            order += [step[part - 1] for step in beside]
    order += [step[-1] for step in beside]
    return order + [entry for step in steps[first:] for entry in step]
