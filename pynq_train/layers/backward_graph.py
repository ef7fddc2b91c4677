"""The way of gradients back through fused layers: what is computed, from what, in which order.

The gradient of a layer's output is the sum of what the layers that read it hand down. A sum with
a residual hands its own gradient down as it is: no new tensor, only the mask of its activation. A
concatenation hands parts of its own gradient down, where they stand; what is added to such a part
is added in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pynq_train.layers import nodes
from pynq_train.layers.fuse import FusedLayer
from pynq_train.layers.nodes import NodeKind

DLOGITS = "dlogits"
"""Gradient of the last layer's output, written by the softmax unit."""


@dataclass(frozen=True)
class GradientRef:
    """A gradient tensor as somebody reads it: only where the flags of layer ``mask`` are set."""

    tensor: str
    mask: int | None = None


@dataclass(frozen=True)
class BackwardNode:
    """One computation of the backward half.

    Attributes:
        kind: what it computes.
        layer: position of the layer that it goes through, or whose output it belongs to.
        reads: one gradient, two for a sum.
        target: tensor that is written; empty for a normalisation below which nothing learns.
    """

    kind: NodeKind
    layer: int
    reads: tuple[GradientRef, ...]
    target: str


@dataclass(frozen=True)
class BackwardGraph:
    """All nodes, in an order in which they can run; what each layer's gradient is.

    Attributes:
        nodes: last layer first.
        of_layer: by position of an active layer: the gradient of its output (behind its own
            activation for a layer of the vector unit).
    """

    nodes: tuple[BackwardNode, ...]
    of_layer: dict[int, GradientRef] = field(default_factory=dict)


def active_layers(layers: Sequence[FusedLayer], learning: Sequence[bool]) -> tuple[bool, ...]:
    """Whether each layer's output has a gradient: it learns, or something that it reads does."""
    active: list[bool] = []
    for trainable, layer in zip(learning, layers):
        active.append(trainable or any(active[place] for place in layer.sources if place >= 0))
    return tuple(active)


def inference_mode_norms(layers: Sequence[FusedLayer], learning: Sequence[bool],
                  active: Sequence[bool]) -> tuple[bool, ...]:
    """Normalisations that use and keep their running statistics in training.

    They do not learn, and nothing does that their own map (not a second one that they add) comes
    from.
    """
    return tuple(layer.kind.normalises and not trainable
                 and not (layer.sources[0] >= 0 and active[layer.sources[0]])
                 for layer, trainable in zip(layers, learning))


def build_backward_graph(layers: Sequence[FusedLayer], active: Sequence[bool]) -> BackwardGraph:
    """Return the backward half of a training step.

    Args:
        layers: fused layers, the last one yields the logits.
        active: layers whose outputs have a gradient (:func:`active_layers`).
    """
    return _Builder(layers, active).run()


class _Builder:
    def __init__(self, layers: Sequence[FusedLayer], active: Sequence[bool]) -> None:
        self._layers, self._active = layers, active
        self._wires = [layer.sources for layer in layers]
        self._readers = [sum(wires.count(place) for wires in self._wires)
                         for place in range(len(layers))]
        self._handed: dict[int, list[GradientRef]] = {}
        self._nodes: list[BackwardNode] = []
        self._of_layer: dict[int, GradientRef] = {}

    def run(self) -> BackwardGraph:
        last = len(self._layers) - 1
        self._handed[last] = [GradientRef(DLOGITS)]
        for at in reversed(range(last + 1)):
            if self._active[at]:
                self._pass_on(at, self._total(at))
        return BackwardGraph(tuple(self._nodes), self._of_layer)

    def _node(self, kind: NodeKind, layer: int, reads: tuple[GradientRef, ...],
              target: str) -> GradientRef:
        self._nodes.append(BackwardNode(kind, layer, reads, target))
        return GradientRef(target)

    def _total(self, at: int) -> GradientRef:
        """The gradient of a layer's output."""
        name = self._layers[at].name
        # A part of a concatenation's gradient is the first: it becomes the sum, in place.
        parts = sorted(self._handed[at], key=lambda part: (part.mask is not None,
                                                           part.tensor != f"{name}.dv"))
        total = parts[0]
        for number, part in enumerate(parts[1:]):
            if len({ref.mask for ref in (total, part)} - {None}) > 1:
                part = self._node(nodes.MASK, at, (part,), f"{name}.d{number}")
            # Sums on the way have exponents, and so names, of their own.
            target = f"{name}.dy" if number == len(parts) - 2 else f"{name}.t{number}"
            total = self._node(nodes.SUM, at, (total, part), target)
        return total

    def _share_out(self, at: int, total: GradientRef) -> None:
        """Hand the parts of a concatenation's gradient down, from a tensor of its own."""
        name = self._layers[at].name
        own = DLOGITS if at == len(self._layers) - 1 else f"{name}.dy"
        if total.mask is not None or total.tensor not in (own, f"{name}.dv"):
            total = self._node(nodes.MASK, at, (total,), own)
        self._of_layer[at] = total
        for place in self._wires[at]:
            if self._active[place]:
                self._hand(place, self._node(nodes.VIEW, place, (total,),
                                             f"{self._layers[place].name}.dv"))

    def _pass_on(self, at: int, total: GradientRef) -> None:
        layer, sources = self._layers[at], self._wires[at]
        if layer.kind.joins:
            self._share_out(at, total)
            return
        masked = layer.kind.own_mask or (layer.activation.has_flags and not layer.on_array)
        if total.mask is not None and (masked or not layer.kind.reads_masked):
            total = self._node(nodes.MASK, at, (total,), f"{layer.name}.dy")
        if masked:
            total = GradientRef(total.tensor, at)
        self._of_layer[at] = total
        backward = layer.kind.backward
        for place in sources if backward is None else sources[1:]:
            self._hand(place, total)
        if backward is None:
            return
        first = sources[0]
        target = ""
        if first >= 0 and self._active[first]:
            target = f"{self._layers[first].name}.dy"
            if self._readers[first] > 1:
                target = f"{layer.name}.dx"
        if target or layer.kind.normalises:
            handed = self._node(backward, at, (total,), target)
            if target:
                self._hand(first, handed)

    def _hand(self, place: int, part: GradientRef) -> None:
        if place >= 0 and self._active[place]:
            self._handed.setdefault(place, []).append(part)
