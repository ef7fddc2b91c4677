"""Placement: which tensors of a plan stay in the arena.

Here every tensor has a region of its own; which of them share one, ``memory.turns`` says. What is
frozen needs less: a layer below the lowest trained one has no flags and no gradient; masters and
momentum of frozen weights stay with the host.

The sources of a concatenation are tensor views of the concat buffer, and so are their gradients of
its gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pynq_train.hw.commands import DESCRIPTOR_BYTES, RECORD_BYTES
from pynq_train.hw.words import CHANNELS_PER_WORD, WORD_BYTES
from pynq_train.layers import nodes
from pynq_train.layers.backward_graph import DLOGITS, BackwardGraph, BackwardNode
from pynq_train.layers.fuse import FusedLayer
from pynq_train.schedule.memory.arena import Allocator, MemoryMap
from pynq_train.schedule.memory.strided_regions import StridedRegions
from pynq_train.schedule.passes.curves import curve_symbol, curves_of, table_size
from pynq_train.schedule.passes.descriptors import Descriptor, StepBlockLayout
from pynq_train.schedule.passes.usage import ZEROS
from pynq_train.schedule.specs.concat_buffer import (
    JOIN,
    ConcatView,
    barriers_of,
    block_offset,
    concat_views,
)
from pynq_train.schedule.specs.derived import bias_spec
from pynq_train.schedule.specs.evaluation import evaluation_sources
from pynq_train.schedule.specs.layout import MapLayout
from pynq_train.schedule.specs.spec import LayerSpec
from pynq_train.schedule.specs.trainable import Trainable


@dataclass(frozen=True)
class Tensors:
    """What a network with a mini-batch keeps in memory.

    Attributes:
        layers: the fused layers.
        specs: the same layers as the engine sees them.
        trainable: what is trained of each.
        batch: images of the mini-batch.
        momentum: the weight masters hold momentum.
        active: layers whose outputs have a gradient.
        backward_graph: which gradients are computed from which.
        parts: parts of the mini-batch, each with sums of its own.
    """

    layers: tuple[FusedLayer, ...]
    specs: tuple[LayerSpec, ...]
    trainable: tuple[Trainable, ...]
    batch: int
    momentum: bool
    active: tuple[bool, ...]
    backward_graph: BackwardGraph
    parts: int = 1

    @cached_property
    def on_vector(self) -> bool:
        """Whether any layer runs on the vector unit; if not, each reads the one before it."""
        return not all(spec.on_array for spec in self.specs)

    def gradients(self) -> Iterator[tuple[BackwardNode, int]]:
        """Yield the nodes that make a gradient, each with the layer whose output it is the gradient
        of.

        Of several nodes that write one tensor the first is given.
        """
        done: set[str] = set()
        for node in self.backward_graph.nodes:
            if node.target and node.target not in done:
                done.add(node.target)
                yield node, (self.layers[node.layer].sources[node.input] if node.kind.through
                             else node.layer)

    @cached_property
    def sources(self) -> tuple[tuple[int, ...], ...]:
        """Positions of the layers that each layer reads, -1 for the images."""
        return tuple(layer.sources for layer in self.layers)

    @cached_property
    def evaluation_sources(self) -> tuple[tuple[int, ...], ...]:
        """The same in an evaluation, which reads past dropouts."""
        return evaluation_sources(self.specs, self.sources)

    @cached_property
    def views(self) -> dict[int, ConcatView]:
        """Places of the layers whose outputs stand in a concat buffer, by position."""
        return concat_views(self.layers)

    @property
    def last(self) -> int:
        """Position of the last layer."""
        return len(self.specs) - 1


def place_programs(to: Allocator, programs: Mapping[str, Sequence[Descriptor]],
                   step_block: StepBlockLayout, layers: Sequence[FusedLayer] = ()) -> None:
    """Place descriptors, taps and records of each program, and the step block that all share.

    Behind its taps stand the tables of a program's curves.

    Args:
        to: takes the regions.
        programs: descriptors of each program, by its name.
        step_block: the step block's layout.
        layers: the fused layers, for their curves.
    """
    for name, descriptors in programs.items():
        taps = sum(len(one.tiled.shape.taps) for one in descriptors if one.tiled)
        to.add(f"{name}.program", len(descriptors) * DESCRIPTOR_BYTES, "program")
        curves, size = curves_of(layers, descriptors), max(taps, 1) * WORD_BYTES
        for curve, readers in curves.items():
            for layer in readers:
                to.view(curve_symbol(name, layer), f"{name}.taps", size, table_size(curve))
            size += table_size(curve)
        to.add(f"{name}.taps", size, "taps")
        to.add(f"{name}.records", len(descriptors) * RECORD_BYTES, "records")
    to.add("step_block", step_block.nbytes, "step block")


def place(tensors: Tensors, programs: Mapping[str, Sequence[Descriptor]]) -> MemoryMap:
    """Return the arena with all programs and tensors placed.

    Args:
        tensors: the network.
        programs: descriptors of each program, by its name.
    """
    to = Allocator()
    place_programs(to, programs,
                   StepBlockLayout.of(tensors.specs, len(tensors.backward_graph.nodes)),
                   tensors.layers)
    to.add("labels", tensors.batch * WORD_BYTES, "labels")
    channels, rows, cols = tensors.layers[0].in_shape
    to.add("input", MapLayout.feature(tensors.batch, channels, rows, cols).nbytes, "map")
    regions = StridedRegions(to)
    gradients = list(tensors.gradients())
    for spec in tensors.specs:
        _place_maps(to, regions, tensors, spec)
        # Beside its map where the array alone makes gradients, else behind all maps.
        if not tensors.on_vector:
            for node, own in gradients:
                if own == spec.index:
                    _place_gradient(to, regions, tensors, node, own)
        if spec.on_array:
            _place_weights(to, tensors, spec)
        elif spec.kind.normalises:
            _place_norm(to, tensors, spec)
    if tensors.on_vector:
        for node, own in gradients:
            _place_gradient(to, regions, tensors, node, own)
    regions.finish()
    kinds = [spec.kind for spec in tensors.specs]
    # An evaluation reads past dropouts: the array may read a concat buffer there that it does not
    # read in training.
    if any(barriers_of(kinds, sources)
           for sources in (tensors.sources, tensors.evaluation_sources)):
        to.add(JOIN, 2 * CHANNELS_PER_WORD * WORD_BYTES, "channel sums")
    zeros = [bias_spec(spec).x.cols for spec, trained in zip(tensors.specs, tensors.trainable)
             if trained.bias and spec.sums_alone(trained.weights)]
    if zeros:
        to.add(ZEROS, max(zeros) * WORD_BYTES, "map")
    return to.finish()


def _place_maps(to: Allocator, regions: StridedRegions, tensors: Tensors, spec: LayerSpec
                ) -> None:
    """Place output and flags of a layer, and the gradient of the logits."""
    end, view = spec.index == tensors.last, tensors.views.get(spec.index)
    symbol = "logits" if end else f"{spec.name}.y"
    if view is not None:
        whole = "logits" if view.holder == tensors.last else f"{tensors.specs[view.holder].name}.y"
        to.view(f"{spec.name}.y", whole, block_offset(spec.y, view), spec.y.extent)
    else:
        regions.add(symbol, spec.y, "map")
    if tensors.active[spec.index]:
        if spec.flags is not None:
            to.add(f"{spec.name}.flags", spec.flags.nbytes, "flags")
        if end:
            regions.add(DLOGITS, spec.y, "gradient map")


def _place_gradient(to: Allocator, regions: StridedRegions, tensors: Tensors, node: BackwardNode,
                    own: int) -> None:
    """Place the gradient that a node makes, of the output of layer ``own``."""
    layout, name = tensors.specs[own].y, tensors.specs[own].name
    if node.kind == nodes.VIEW:
        to.view(node.target, node.reads[0].tensor, block_offset(layout, tensors.views[own]),
                layout.extent)
    elif node.kind == nodes.SUM and own in tensors.views:
        to.view(node.target, f"{name}.dv", 0, layout.extent)
    elif node.kind == nodes.SUM and node.target != f"{name}.dy":
        to.view(node.target, f"{name}.dy", 0, layout.extent)
    elif tensors.views and _last_reader(tensors, node):
        to.view(node.target, node.reads[0].tensor, 0, layout.extent)
    else:
        regions.add(node.target, layout, "gradient map")


def _last_reader(tensors: Tensors, node: BackwardNode) -> bool:
    """Return whether a node on the vector unit is the last reader of what it reads.

    Then it can write over that.
    """
    read = node.reads[0].tensor
    graph = tensors.backward_graph
    kept = {own.tensor for at, own in graph.of_layer.items() if tensors.specs[at].on_array}
    return (node.kind == nodes.NORM and read not in kept
            and sum(ref.tensor == read for other in graph.nodes for ref in other.reads) == 1)


def _place_norm(to: Allocator, tensors: Tensors, spec: LayerSpec) -> None:
    """Place masters, statistics and coefficients of a normalisation."""
    name, pair = spec.name, 2 * spec.table_blocks * CHANNELS_PER_WORD * WORD_BYTES
    if spec.kind.has_running:
        to.add(f"{name}.bias", 2 * spec.bias_bytes, "masters")
        to.add(f"{name}.running", pair, "running statistics")
    # The mini-batch's statistics are the sum of those of its parts; an image's stand by themselves.
    parts = 1 if spec.kind.by_image else tensors.parts
    to.add(f"{name}.kept", pair, "statistics")
    to.add(f"{name}.table", pair, "coefficients")
    if not spec.frozen:
        to.add(f"{name}.sums", parts * pair, "channel sums")
    if tensors.active[spec.index]:
        to.add(f"{name}.gsums", parts * pair, "channel sums")
    if tensors.active[spec.index] and spec.kind.has_running:
        to.add(f"{name}.db", 2 * spec.bias_bytes, "gradient sums")


def _place_weights(to: Allocator, tensors: Tensors, spec: LayerSpec) -> None:
    """Place operand copy, masters and gradient sums of a layer that the array runs."""
    name, trained = spec.name, tensors.trainable[spec.index]
    to.add(f"{name}.w16", spec.weight_bytes, "weights")
    if trained.weights:
        to.add(f"{name}.wv", spec.master_bytes(tensors.momentum), "masters")
    if trained.bias and spec.sums_alone(trained.weights):
        scratch = sum(bias_spec(own).master_bytes(momentum=False) for own in spec.sections())
        to.add(f"{name}.scratch", scratch, "scratch")
    if spec.bias:
        to.add(f"{name}.bias", spec.bias_bytes, "masters")
    if trained.bias:
        to.add(f"{name}.db", spec.bias_bytes, "gradient sums")
