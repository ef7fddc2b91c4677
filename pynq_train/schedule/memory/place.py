"""Placement: which tensors of a plan stay in the arena, and which share a place.

With everything trained every tensor has a region of its own. What does not learn needs less:

* A layer below the lowest one that learns has no flags and no gradient; masters and momentum of
  frozen weights stay with the host.
* A feature map that no weight gradient reads, and a gradient map from which no weight gradient is
  made, is dead when the next layer has read it. All of these take turns in two regions. That needs
  no waits: a store comes after all loads of earlier convolutions (``program.hazards``).

The sources of a concatenation are parts of the joined map, and so are their gradients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pynq_train.hw.commands import (
    DESCRIPTOR_BYTES,
    PARAM_BYTES,
    RECORD_BYTES,
)
from pynq_train.hw.words import CHANNELS_PER_WORD, WORD_BYTES
from pynq_train.layers.backward_graph import THROUGH, BackwardGraph, BackwardNode
from pynq_train.layers.fuse import FusedLayer, wiring
from pynq_train.schedule.memory.arena import Allocator, MemoryMap
from pynq_train.schedule.memory.strided_regions import StridedRegions
from pynq_train.schedule.specs.concat_buffer import (
    JOIN,
    ConcatView,
    barriers_of,
    block_offset,
    concat_views,
)
from pynq_train.schedule.specs.evaluation import evaluation_sources
from pynq_train.schedule.specs.layout import MapLayout
from pynq_train.schedule.specs.spec import LayerSpec, bias_spec
from pynq_train.schedule.specs.trainable import Trainable

ZEROS = "zeros"
"""Input of the scratch convolutions behind which the sums of biases are taken; stays zero."""
_PAIR = 2


@dataclass(frozen=True)
class Tensors:
    """What a network with a mini-batch keeps in memory.

    Attributes:
        layers: the fused layers.
        specs: the same as the engine sees them.
        trainable: what each learns.
        batch: images of a mini-batch.
        momentum: the weight masters hold momentum.
        active: layers whose outputs have a gradient.
        backward_graph: the way of gradients.
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

    @property
    def chain(self) -> bool:
        """Whether each layer reads the one before it, and all run on the array."""
        return all(layer.on_array and layer.sources is None for layer in self.layers)

    @property
    def slots(self) -> dict[int, ConcatView]:
        """Places of the layers whose outputs stand in a joined map."""
        return concat_views(self.layers)

    @property
    def last(self) -> int:
        """Position of the last layer."""
        return len(self.specs) - 1

    def passing(self, layer: int) -> bool:
        """Whether a layer's output is dead when the next layer has read it."""
        return self.chain and layer < self.last and not self.trainable[layer + 1].weights

    def passing_gradient(self, layer: int) -> bool:
        """Whether the gradient of a layer's output is dead behind its backward pass."""
        return self.chain and layer < self.last and not self.trainable[layer].weights


def place(tensors: Tensors, programs: Mapping[str, tuple[int, int]],
          step_entries: int) -> MemoryMap:
    """Place programs and tensors in the arena.

    Args:
        tensors: the network.
        programs: descriptors and taps of each program, by name.
        step_entries: entries of the step block.
    """
    to = Allocator()
    for name, (descriptors, taps) in programs.items():
        to.add(f"{name}.program", descriptors * DESCRIPTOR_BYTES, "program")
        to.add(f"{name}.taps", max(taps, 1) * WORD_BYTES, "taps")
        to.add(f"{name}.records", descriptors * RECORD_BYTES, "records")
    to.add("step_block", step_entries * PARAM_BYTES, "step block")
    to.add("labels", tensors.batch * WORD_BYTES, "labels")
    channels, rows, cols = tensors.layers[0].in_shape
    to.add("input", MapLayout.feature(tensors.batch, channels, rows, cols).nbytes, "map")
    sizes = [0] * _PAIR
    frames = StridedRegions(to)
    for spec in tensors.specs:
        _place_maps(to, frames, tensors, spec, sizes)
        if spec.on_array:
            _place_weights(to, tensors, spec)
        elif spec.kind == "norm":
            _place_norm(to, tensors, spec)
    if not tensors.chain:
        _place_gradients(to, frames, tensors)
    frames.finish()
    wires, kinds = wiring(tensors.layers), [spec.kind for spec in tensors.specs]
    # Behind a dropout that vanishes in an evaluation the array may read a joined map then.
    if any(barriers_of(kinds, sources)
           for sources in (wires, evaluation_sources(tensors.specs, wires))):
        to.add(JOIN, 2 * CHANNELS_PER_WORD * WORD_BYTES, "channel sums")
    for number, nbytes in enumerate(sizes):
        if nbytes:
            to.add(_shared(number), nbytes, "map")
    zeros = [bias_spec(spec).x.cols for spec, learn in zip(tensors.specs, tensors.trainable)
             if learn.bias and not learn.weights]
    if zeros:
        to.add(ZEROS, max(zeros) * WORD_BYTES, "map")
    return to.finish()


def _place_maps(to: Allocator, frames: StridedRegions, tensors: Tensors, spec: LayerSpec,
                sizes: list[int]) -> None:
    """Output, flags and gradient of a layer; ``sizes`` of the shared regions grow."""
    slot, end = spec.index % _PAIR, spec.index == tensors.last

    def put(symbol: str, kind: str, passing: bool) -> None:
        if passing:
            to.share(symbol, _shared(slot))
            sizes[slot] = max(sizes[slot], spec.y.nbytes)
        else:
            frames.add(symbol, spec.y, kind)

    part = tensors.slots.get(spec.index)
    if part is None:
        put("logits" if end else f"{spec.name}.y", "map", tensors.passing(spec.index))
    else:
        whole = "logits" if part.holder == tensors.last else f"{tensors.specs[part.holder].name}.y"
        to.view(f"{spec.name}.y", whole, block_offset(spec.y, part), spec.y.extent)
    if not tensors.active[spec.index]:
        return
    if spec.flags is not None:
        to.add(f"{spec.name}.flags", spec.flags.nbytes, "flags")
    if end or tensors.chain:
        put("dlogits" if end else f"{spec.name}.dy", "gradient map",
            tensors.passing_gradient(spec.index))


def _place_gradients(to: Allocator, frames: StridedRegions, tensors: Tensors) -> None:
    """Gradient tensors of a network with branches."""
    wires = wiring(tensors.layers)
    parts = tensors.slots
    done: set[str] = set()
    for step in tensors.backward_graph.nodes:
        if not step.target or step.target in done:
            continue
        own = wires[step.layer][0] if step.kind in THROUGH else step.layer
        layout, name = tensors.specs[own].y, tensors.specs[own].name
        done.add(step.target)
        if step.kind == "view":
            to.view(step.target, step.reads[0].tensor, block_offset(layout, parts[own]),
                    layout.extent)
        elif step.kind == "sum" and own in parts:
            to.view(step.target, f"{name}.dv", 0, layout.extent)
        elif step.kind == "sum" and step.target != f"{name}.dy":
            to.view(step.target, f"{name}.dy", 0, layout.extent)
        elif tensors.slots and _last_reader(tensors, step):
            to.view(step.target, step.reads[0].tensor, 0, layout.extent)
        else:
            frames.add(step.target, layout, "gradient map")


def _last_reader(tensors: Tensors, step: BackwardNode) -> bool:
    """Whether a step on the vector unit can write over what it reads, which nobody else reads."""
    read = step.reads[0].tensor
    graph = tensors.backward_graph
    kept = {own.tensor for at, own in graph.of_layer.items() if tensors.specs[at].on_array}
    return (step.kind == "norm" and read not in kept
            and sum(ref.tensor == read for other in graph.nodes for ref in other.reads) == 1)


def _place_norm(to: Allocator, tensors: Tensors, spec: LayerSpec) -> None:
    """Masters, statistics and coefficients of a normalisation."""
    name, pair = spec.name, 2 * spec.m_blocks * CHANNELS_PER_WORD * WORD_BYTES
    to.add(f"{name}.bias", 2 * spec.bias_bytes, "masters")
    to.add(f"{name}.running", pair, "running statistics")
    to.add(f"{name}.kept", pair, "statistics")
    to.add(f"{name}.table", pair, "coefficients")
    to.add(f"{name}.sums", tensors.parts * pair, "channel sums")
    if tensors.active[spec.index]:
        to.add(f"{name}.gsums", tensors.parts * pair, "channel sums")
        to.add(f"{name}.db", 2 * spec.bias_bytes, "gradient sums")


def _place_weights(to: Allocator, tensors: Tensors, spec: LayerSpec) -> None:
    name, learn = spec.name, tensors.trainable[spec.index]
    to.add(f"{name}.w16", spec.weight_bytes, "weights")
    if learn.weights:
        to.add(f"{name}.wv", spec.master_bytes(tensors.momentum), "masters")
    elif learn.bias:
        scratch = sum(bias_spec(own).master_bytes(momentum=False) for own in spec.sections())
        to.add(f"{name}.scratch", scratch, "scratch")
    if spec.bias:
        to.add(f"{name}.bias", spec.bias_bytes, "masters")
    if learn.bias:
        to.add(f"{name}.db", spec.bias_bytes, "gradient sums")


def _shared(number: int) -> str:
    return f"shared{number}"
