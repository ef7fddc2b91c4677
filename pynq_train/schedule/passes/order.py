"""Order of a training step: the descriptors of the forward half and of the backward half.

The forward half keeps the order of the layers. In the backward half a weight gradient may run at
any time behind its gradient; ``gradient_order`` chooses when, so that the update unit does not hold
up the array.
"""

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
    input_gradient_shapes,
    output_shapes,
    weight_gradient_shape,
)
from pynq_train.schedule.passes.gradient_order import (
    MOMENTUM_RATE,
    PLAIN_RATE,
    Job,
    backward_order,
    slice_tiles,
)
from pynq_train.schedule.passes.tiling import HEAVY_TRAFFIC, LIGHT_TRAFFIC, best_tile
from pynq_train.schedule.passes.vector_order import (
    forward_order,
    image_parts,
    interleave,
    node_operations,
)
from pynq_train.schedule.specs.derived import bias_spec
from pynq_train.schedule.specs.spec import LayerSpec
from pynq_train.schedule.specs.trainable import Trainable


def forward_half(specs: tuple[LayerSpec, ...], board: Board, sources: Sequence[tuple[int, ...]],
                 split: BatchSplit, statistics: bool = True) -> tuple[Descriptor, ...]:
    """Return the descriptors of the forward passes in order.

    Args:
        specs: the layers.
        board: the board.
        sources: positions that each layer reads, -1 for the images.
        split: parts of the mini-batch for each layer.
        statistics: training: normalisations take the statistics of the batch, unless they are
            frozen, and dropouts drop.
    """
    def passes(spec: LayerSpec, images: tuple[int, int] | None, part: int,
               between: bool = False) -> list[Descriptor]:
        some = spec if images is None else spec.part(*images)
        # Nothing hides how the first part begins; the others fill the memory.
        traffic = LIGHT_TRAFFIC if part == 0 else HEAVY_TRAFFIC
        return [replace(_conv(Role.FORWARD, shape, board, traffic, between), images=images,
                        part=part) for own in some.sections() for shape in output_shapes(own)]

    return forward_order(specs, sources, split.forward, statistics, passes)


def backward_half(specs: tuple[LayerSpec, ...], board: Board, momentum: bool,
                  trainable: Sequence[Trainable], backward_graph: BackwardGraph,
                  split: BatchSplit) -> tuple[Descriptor, ...]:
    """Return the descriptors of backward passes, weight gradients and updates in their best order.

    The update of a bias stands behind all sums of its gradient.

    Args:
        specs: the layers.
        board: the board.
        momentum: the weight masters hold momentum.
        trainable: what is trained of each layer.
        backward_graph: says what the vector unit does between the passes.
        split: parts of the mini-batch for each layer.
    """
    # The vector unit fills the memory beside the array.
    shared = any(node.kind != nodes.BACKWARD for node in backward_graph.nodes)
    for traffic in (HEAVY_TRAFFIC,) if shared else (LIGHT_TRAFFIC, HEAVY_TRAFFIC):
        ordered = _BackwardHalf(specs, board, momentum, traffic, trainable, backward_graph,
                                split).ordered()
        moved = sum(one.cost.bytes_read + one.cost.bytes_written for one in ordered if one.cost)
        # The update unit's bytes per weight: masters read and written, 16-bit copy written.
        moved += sum(s.weight_elements for s in specs
                     if trainable[s.index].weights) * update_bytes(momentum)
        array = sum(one.cost.array for one in ordered if one.cost)
        if moved <= board.dram_bytes_per_cycle * array:
            break
    return ordered


class _BackwardHalf:
    """Collects what each layer does backward, last layer first, then puts it into one order.

    The array's backward passes follow each other, and between their parts the vector unit works;
    weight gradients may come later, when the update unit has room for their sums.

    Args:
        specs: the layers.
        board: the board.
        momentum: the weight masters hold momentum.
        traffic: the price of memory words for the choice of tiles, ``LIGHT_TRAFFIC`` or
            ``HEAVY_TRAFFIC``.
        trainable: what is trained of each layer.
        backward_graph: says what the vector unit does between the passes.
        split: parts of the mini-batch for each layer.
    """

    def __init__(self, specs: tuple[LayerSpec, ...], board: Board, momentum: bool, traffic: float,
                 trainable: Sequence[Trainable], backward_graph: BackwardGraph,
                 split: BatchSplit) -> None:
        self._specs, self._trainable, self._split = specs, trainable, split
        self._board, self._traffic = board, traffic
        self._rate = MOMENTUM_RATE if momentum else PLAIN_RATE
        self._room = board.config.grad_words
        self._on_vector = node_operations(specs, backward_graph, split.arriving, split.leaving)
        self._descriptors: list[Descriptor] = []
        # Of each layer on the array: its backward pass with what follows, its weight gradients.
        self._layers: list[tuple[list[Job], list[Job]]] = []

    def ordered(self) -> tuple[Descriptor, ...]:
        """Return the descriptors in their order, updates of vectors behind their sums."""
        self._collect()
        order = backward_order(self._layers, self._room, self._rate)
        return self._with_updates([self._descriptors[key] for key in order])

    def _collect(self) -> None:
        """Fill ``_layers``: for each layer of the array its backward pass and its weight gradients.
        """
        passes: list[list[Descriptor]] = []
        vector: list[list[Descriptor]] = []
        for spec in reversed(self._specs):
            # In front of the gradients that are still to come, beside which the vector unit works.
            vector += self._on_vector.get(spec.index, [])
            if not spec.on_array:
                continue
            self._close(passes, vector)
            trained = self._trainable[spec.index]
            self._layers.append(([], self._gradients(spec, trained) if trained.weights else []))
            passes = []
            vector = []
            if spec.backward:
                passes += _backward(spec, self._board, self._traffic,
                                    self._split.leaving[spec.index])
            if trained.bias and spec.sums_alone(trained.weights):
                # Straight behind the backward pass: the gradient map is not kept until there is
                # room.
                passes.append([_conv(Role.BIAS_SUMS, weight_gradient_shape(bias_spec(own)),
                                     self._board, self._traffic) for own in spec.sections()])
        self._close(passes, vector)

    def _close(self, passes: list[list[Descriptor]], vector: list[list[Descriptor]]) -> None:
        """Put the vector unit's work between the parts of the last layer's backward pass."""
        if passes or vector:
            if not self._layers:  # the end of the network runs on the vector unit
                self._layers.append(([], []))
            self._layers[-1][0].extend(self._job(one) for one in interleave(passes, vector))

    def _gradients(self, spec: LayerSpec, trained: Trainable) -> list[Job]:
        """Return the weight gradients of a layer, cut so that their sums fit the queue."""
        jobs: list[Job] = []
        # A frozen bias of a layer whose weights are trained: no sums are asked for.
        for own in replace(spec, bias=trained.bias).weighed().sections():
            tile_sums = own.weight_elements // own.m_tiles
            whole = _conv(Role.WEIGHT_GRADIENT, weight_gradient_shape(own), self._board,
                          self._traffic)
            assert whole.cost is not None
            tiles = slice_tiles(own.m_tiles, tile_sums, whole.cost.cycles, self._room, self._rate)
            for first in range(0, own.m_tiles, tiles):
                count = min(tiles, own.m_tiles - first)
                shape = weight_gradient_shape(own, first, count)
                jobs.append(self._job(_conv(Role.WEIGHT_GRADIENT, shape, self._board,
                                              self._traffic), count * tile_sums))
        return jobs

    def _job(self, descriptor: Descriptor, sums: int = 0) -> Job:
        """Keep a descriptor; return it as a job with its number, cycles and gradient sums."""
        self._descriptors.append(descriptor)
        cycles = descriptor.cost.cycles if descriptor.cost is not None else 0
        return Job(len(self._descriptors) - 1, cycles, sums)

    def _with_updates(self, order: Sequence[Descriptor]) -> tuple[Descriptor, ...]:
        """Add the updates of biases, gammas and betas, whose sums other descriptors leave."""
        # A bias is updated when the weight gradients of all m tiles have left their channel sums.
        tiles_left = {spec.index: spec.bias_tiles for spec in self._specs}
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
                trained = self._trainable[layer]
                updates = ((Role.UPDATE_GAMMA, trained.weights), (Role.UPDATE_BIAS, trained.bias))
                late += [Descriptor(role, layer) for role, wanted in updates if wanted]
            if tiled and tiled.shape.spec.bias and descriptor.role in (Role.WEIGHT_GRADIENT,
                                                                       Role.BIAS_SUMS):
                tiles_left[layer] -= tiled.shape.outer
                if tiles_left[layer] == 0:
                    ordered.append(Descriptor(Role.UPDATE_BIAS, layer))
        return (*ordered, *ready, *late)


def _backward(spec: LayerSpec, board: Board, traffic: float, parts: int) -> list[list[Descriptor]]:
    """Return the backward pass of a layer by parts, each with all sections and row phases.

    ``parts``: how many parts of the mini-batch; images stand in the descriptors only where there is
    more than one.
    """
    def shapes(some: LayerSpec) -> list[PassShape]:
        return [shape for own in some.sections() for shape in input_gradient_shapes(own)]

    if parts == 1 or spec.x.images == 1:
        return [[_conv(Role.BACKWARD, shape, board, traffic) for shape in shapes(spec)]]
    return [[replace(_conv(Role.BACKWARD, shape, board, traffic), images=images, part=part)
             for shape in shapes(spec.part(*images))]
            for part, images in enumerate(image_parts(spec.x.images, parts))]


def _conv(role: Role, shape: PassShape, board: Board, traffic: float = LIGHT_TRAFFIC,
          between: bool = False) -> Descriptor:
    """Return an array descriptor with the best tile for its shape."""
    tiled, cost = best_tile(shape, board, traffic, between)
    return Descriptor(role, shape.spec.index, tiled, cost)
