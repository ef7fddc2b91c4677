"""Order of a training step: the forward half and the backward half as descriptors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pynq_train.hw.boards import Board
from pynq_train.layers import nodes
from pynq_train.layers.backward_graph import BackwardGraph
from pynq_train.schedule.passes.batch_split import BatchSplit
from pynq_train.schedule.passes.cost import update_bytes
from pynq_train.schedule.passes.descriptors import Descriptor, Role
from pynq_train.schedule.passes.geometry import (
    PassShape,
    backward_shapes,
    forward_shape,
    weight_gradient_shape,
)
from pynq_train.schedule.passes.gradient_order import (
    MOMENTUM_RATE,
    PLAIN_RATE,
    Work,
    backward_order,
    slice_tiles,
)
from pynq_train.schedule.passes.tiling import HEAVY_TRAFFIC, LIGHT_TRAFFIC, best_tile
from pynq_train.schedule.passes.vector_order import (
    forward_order,
    image_parts,
    interleave,
    step_entries,
)
from pynq_train.schedule.specs.spec import LayerSpec, bias_spec
from pynq_train.schedule.specs.trainable import Trainable


def forward_half(specs: tuple[LayerSpec, ...], board: Board, sources: Sequence[tuple[int, ...]],
                 split: BatchSplit, statistics: bool = True) -> tuple[Descriptor, ...]:
    """Forward passes in their order.

    Args:
        specs: the layers.
        board: the board.
        sources: positions that each layer reads, -1 for the images.
        split: parts of the mini-batch for each layer.
        statistics: training: normalisations take the statistics of the batch, unless they are
            frozen, dropouts drop.
    """
    def passes(spec: LayerSpec, images: tuple[int, int] | None, part: int,
               between: bool = False) -> list[Descriptor]:
        some = spec if images is None else spec.part(*images)
        # Nothing hides how the first part begins; the others fill the memory.
        traffic = LIGHT_TRAFFIC if part == 0 else HEAVY_TRAFFIC
        return [replace(_conv(Role.FORWARD, forward_shape(own), board, traffic, between),
                        images=images, part=part) for own in some.sections()]

    return forward_order(specs, sources, split.forward, statistics, passes)


def backward_half(specs: tuple[LayerSpec, ...], board: Board, momentum: bool,
                  trainable: Sequence[Trainable], backward_graph: BackwardGraph,
                  split: BatchSplit) -> tuple[Descriptor, ...]:
    """Backward passes and weight gradients in their best order; biases behind their sums.

    Args:
        specs: the layers.
        board: the board.
        momentum: the weight masters hold momentum.
        trainable: what each layer learns.
        backward_graph: says what the vector unit does between the passes.
        split: parts of the mini-batch for each layer.
    """
    # The vector unit fills the memory beside the array.
    shared = any(node.kind != nodes.BACKWARD for node in backward_graph.nodes)
    for traffic in (HEAVY_TRAFFIC,) if shared else (LIGHT_TRAFFIC, HEAVY_TRAFFIC):
        ordered = _BackwardHalf(specs, board, momentum, traffic, trainable, backward_graph,
                                split).ordered()
        moved = sum(e.cost.bytes_read + e.cost.bytes_written for e in ordered if e.cost)
        moved += sum(s.weight_elements for s in specs
                     if trainable[s.index].weights) * update_bytes(momentum)
        array = sum(e.cost.array for e in ordered if e.cost)
        if moved <= board.dram_bytes_per_cycle * array:
            break
    return ordered


class _BackwardHalf:
    """Collects what each layer does backward, last layer first, then puts it into one order.

    The array's backward passes are a chain, between whose parts the vector unit works; weight
    gradients may come later, when the update unit has room for their sums.
    """

    def __init__(self, specs: tuple[LayerSpec, ...], board: Board, momentum: bool, traffic: float,
                 trainable: Sequence[Trainable], backward_graph: BackwardGraph,
                 split: BatchSplit) -> None:
        self._specs, self._trainable, self._split = specs, trainable, split
        self._board, self._traffic = board, traffic
        self._rate = MOMENTUM_RATE if momentum else PLAIN_RATE
        self._room = board.config.grad_words
        self._on_vector = step_entries(specs, backward_graph, split.arriving, split.leaving)
        self._descriptors: list[Descriptor] = []
        # Of each layer on the array: its links of the chain, its weight gradients.
        self._layers: list[tuple[list[Work], list[Work]]] = []

    def ordered(self) -> tuple[Descriptor, ...]:
        """Return the descriptors in their order, updates of vectors behind their sums."""
        self._collect()
        order = backward_order(self._layers, self._room, self._rate)
        return self._with_updates([self._descriptors[key] for key in order])

    def _collect(self) -> None:
        passes: list[list[Descriptor]] = []
        vector: list[list[Descriptor]] = []
        for spec in reversed(self._specs):
            # In front of the gradients that are still to come, beside which the vector unit works.
            vector += self._on_vector.get(spec.index, [])
            if not spec.on_array:
                continue
            self._close(passes, vector)
            learn = self._trainable[spec.index]
            self._layers.append(([], self._gradients(spec, learn) if learn.weights else []))
            passes = []
            vector = []
            if spec.backward:
                passes += _backward(spec, self._board, self._traffic,
                                    self._split.leaving[spec.index])
            if learn.bias and not learn.weights:
                # In the chain at once: the gradient map is not kept until there is room.
                passes.append([_conv(Role.BIAS_SUMS, weight_gradient_shape(bias_spec(own)),
                                     self._board, self._traffic) for own in spec.sections()])
        self._close(passes, vector)

    def _close(self, passes: list[list[Descriptor]], vector: list[list[Descriptor]]) -> None:
        """Put the vector unit's work between the parts of the last layer's backward pass."""
        if passes or vector:
            self._layers[-1][0].extend(self._work(one) for one in interleave(passes, vector))

    def _gradients(self, spec: LayerSpec, learn: Trainable) -> list[Work]:
        """Weight gradients of a layer, cut so that their sums fit the queue."""
        works: list[Work] = []
        # A frozen bias of a layer whose weights learn: no sums are asked for.
        for own in replace(spec, bias=learn.bias).sections():
            tile_sums = own.weight_elements // own.m_tiles
            whole = _conv(Role.WEIGHT_GRADIENT, weight_gradient_shape(own), self._board,
                          self._traffic)
            assert whole.cost is not None
            tiles = slice_tiles(own.m_tiles, tile_sums, whole.cost.cycles, self._room, self._rate)
            for first in range(0, own.m_tiles, tiles):
                count = min(tiles, own.m_tiles - first)
                shape = weight_gradient_shape(own, first, count)
                works.append(self._work(_conv(Role.WEIGHT_GRADIENT, shape, self._board,
                                              self._traffic), count * tile_sums))
        return works

    def _work(self, descriptor: Descriptor, sums: int = 0) -> Work:
        self._descriptors.append(descriptor)
        cycles = descriptor.cost.cycles if descriptor.cost is not None else 0
        return Work(len(self._descriptors) - 1, cycles, sums)

    def _with_updates(self, order: Sequence[Descriptor]) -> tuple[Descriptor, ...]:
        """Add the updates of biases, gammas and betas, whose sums other descriptors leave."""
        tiles_left = {spec.index: spec.m_tiles for spec in self._specs}
        ordered: list[Descriptor] = []
        ready: list[Descriptor] = []
        late: list[Descriptor] = []
        for descriptor in order:
            layer, tiled = descriptor.layer, descriptor.tiled
            if descriptor.role == Role.WEIGHT_GRADIENT:
                # One weight gradient later: what waits in front of one holds up the array.
                ordered += ready
                ready, late = late, []
            ordered.append(descriptor)
            if descriptor.role == Role.BACKWARD_NORM:
                learn = self._trainable[layer]
                late += [Descriptor(role, layer) for role, learned in (
                    (Role.UPDATE_GAMMA, learn.weights), (Role.UPDATE_BIAS, learn.bias)) if learned]
            if descriptor.role in (Role.WEIGHT_GRADIENT, Role.BIAS_SUMS) and tiled:
                tiles_left[layer] -= tiled.shape.outer
                if tiles_left[layer] == 0 and tiled.shape.spec.bias:
                    ordered.append(Descriptor(Role.UPDATE_BIAS, layer))
        return (*ordered, *ready, *late)


def _backward(spec: LayerSpec, board: Board, traffic: float, parts: int) -> list[list[Descriptor]]:
    """The backward pass of a layer by parts of the mini-batch; of each sections, row phases."""
    def shapes(some: LayerSpec) -> list[PassShape]:
        return [shape for own in some.sections() for shape in backward_shapes(own)]

    if parts == 1 or spec.x.images == 1:
        return [[_conv(Role.BACKWARD, shape, board, traffic) for shape in shapes(spec)]]
    return [[replace(_conv(Role.BACKWARD, shape, board, traffic), images=images, part=part)
             for shape in shapes(spec.part(*images))]
            for part, images in enumerate(image_parts(spec.x.images, parts))]


def _conv(role: Role, shape: PassShape, board: Board, traffic: float = LIGHT_TRAFFIC,
          between: bool = False) -> Descriptor:
    tiled, cost = best_tile(shape, board, traffic, between)
    return Descriptor(role, shape.spec.index, tiled, cost)
