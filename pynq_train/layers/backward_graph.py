"""The backward graph of fused layers: which gradient is computed from what, in which order.

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
"""Symbol of the gradient of the last layer's output, which the softmax unit writes."""


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
        target: tensor that is written; empty for a normalisation below which nothing is trainable.
        input: of a product: which of its inputs the gradient is of.
    """

    kind: NodeKind
    layer: int
    reads: tuple[GradientRef, ...]
    target: str
    input: int = 0


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


def active_layers(layers: Sequence[FusedLayer], trainable: Sequence[bool]) -> tuple[bool, ...]:
    """Return whether each layer's output has a gradient: it, or something it reads, is trained.

    Args:
        layers: fused layers.
        trainable: whether each is trained.
    """
    active: list[bool] = []
    for own, layer in zip(trainable, layers):
        active.append(own or any(active[place] for place in layer.sources if place >= 0))
    return tuple(active)


def inference_mode_norms(layers: Sequence[FusedLayer], trainable: Sequence[bool],
                  active: Sequence[bool]) -> tuple[bool, ...]:
    """Return which normalisations use and keep their running statistics in training.

    They are not trained, and nothing is from which their own map comes (not the second one, which
    they only add).

    Args:
        layers: fused layers.
        trainable: whether each is trained.
        active: whether each layer's output has a gradient (:func:`active_layers`).
    """
    # A normalisation stands behind some layer: it never reads the images.
    return tuple(layer.kind.has_running and not own and not active[layer.sources[0]]
                 for layer, own in zip(layers, trainable))


def build_backward_graph(layers: Sequence[FusedLayer], active: Sequence[bool]) -> BackwardGraph:
    """Return the backward graph of a training step.

    Args:
        layers: fused layers; the last one yields the logits.
        active: whether each layer's output has a gradient (:func:`active_layers`).
    """
    return _Builder(layers, active).run()


class _Builder:
    """Goes through the layers from the last one and hands gradients down to what each reads.

    ``_handed`` holds, by layer, the gradients that its readers have handed down so far. All readers
    of a layer stand behind it, so they are complete when its turn comes.
    """

    def __init__(self, layers: Sequence[FusedLayer], active: Sequence[bool]) -> None:
        self._layers, self._active = layers, active
        self._wires = [layer.sources for layer in layers]
        self._readers = [sum(wires.count(place) for wires in self._wires)
                         for place in range(len(layers))]
        self._handed: dict[int, list[GradientRef]] = {}
        self._nodes: list[BackwardNode] = []
        self._of_layer: dict[int, GradientRef] = {}

    def run(self) -> BackwardGraph:
        """Return the backward graph."""
        last = len(self._layers) - 1
        self._handed[last] = [GradientRef(DLOGITS)]
        for at in reversed(range(last + 1)):
            if self._active[at]:
                self._pass_on(at, self._total(at))
        return BackwardGraph(tuple(self._nodes), self._of_layer)

    def _node(self, kind: NodeKind, layer: int, reads: tuple[GradientRef, ...],
              target: str, which: int = 0) -> GradientRef:
        """Add a node; return its gradient as others read it. ``which``: input of a product."""
        self._nodes.append(BackwardNode(kind, layer, reads, target, which))
        return GradientRef(target)

    def _total(self, at: int) -> GradientRef:
        """Return the gradient of a layer's output; add the sums that it takes."""
        name = self._layers[at].name
        # The part of a concatenation's gradient comes first, and becomes the sum in place: it may
        # not be written over before it is read.
        parts = sorted(self._handed[at], key=lambda part: (part.mask is not None,
                                                           part.tensor != f"{name}.dv"))
        total = parts[0]
        for number, part in enumerate(parts[1:]):
            # A descriptor has one set of flags: of two gradients with different masks, one is
            # masked first.
            if len({ref.mask for ref in (total, part)} - {None}) > 1:
                part = self._node(nodes.MASK, at, (part,), f"{name}.d{number}")
            # Sums on the way have exponents, and so names, of their own.
            target = f"{name}.dy" if number == len(parts) - 2 else f"{name}.t{number}"
            total = self._node(nodes.SUM, at, (total, part), target)
        return total

    def _share_out(self, at: int, total: GradientRef) -> None:
        """Hand the parts of a concatenation's gradient down as tensor views of it.

        For that it must be a tensor of its own, with the buffer's strides and without a mask.
        """
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
        """Add the nodes through a layer and hand down what they make.

        ``total``: gradient of the layer's output.
        """
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
        if layer.kind.multiplies:
            self._multiply(at, total)
            return
        for place in sources if backward is None else sources[1:]:
            self._hand(place, total)
        if backward is None:
            return
        first = sources[0]
        target = ""
        if first >= 0 and self._active[first]:
            target = f"{self._layers[first].name}.dy"
            if self._readers[first] > 1:
                # Others hand down a gradient as well: this one needs a name, and exponent, of its
                # own.
                target = f"{layer.name}.dx"
        if target or layer.kind.has_running:
            handed = self._node(backward, at, (total,), target)
            if target:
                self._hand(first, handed)

    def _multiply(self, at: int, total: GradientRef) -> None:
        """Add the nodes through a product: to each input, times the other one."""
        layer = self._layers[at]
        for which, place in enumerate(layer.sources):
            if place < 0 or not self._active[place]:
                continue
            target = f"{self._layers[place].name}.dy"
            if self._readers[place] > 1:
                target = f"{layer.name}.{('dx', 'dz')[which]}"
            kind = nodes.FACTOR if which and layer.kind.scales else nodes.PRODUCT
            self._hand(place, self._node(kind, at, (total,), target, which))

    def _hand(self, place: int, part: GradientRef) -> None:
        """Hand a gradient down to a layer, if anything there needs it."""
        if place >= 0 and self._active[place]:
            self._handed.setdefault(place, []).append(part)
