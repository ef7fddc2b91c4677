"""Order of a training step: the descriptors of the forward half and of the backward half.

The forward half keeps the order of the layers. In the backward half a weight gradient may run at
any time behind its gradient; ``gradient_order`` chooses when, so that the update unit does not hold
up the array.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pynq_train.hw.boards import Board
from pynq_train.layers.backward_graph import BackwardGraph
from pynq_train.schedule.passes.batch_split import BatchSplit
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
        return [replace(_conv(Role.FORWARD, forward_shape(own), board, traffic, between),
                        images=images, part=part) for own in some.sections()]

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
    # The vector unit fills the memory beside the array. Without it tiles are chosen as if words
    # were cheap; only if the whole half then asks for more bytes than the memory gives, once more
    # with words dear.
    shared = any(node.kind != "backward" for node in backward_graph.nodes)
    for traffic in (HEAVY_TRAFFIC,) if shared else (LIGHT_TRAFFIC, HEAVY_TRAFFIC):
        ordered = _ordered(specs, board, momentum, traffic, trainable, backward_graph, split)
        moved = sum(e.cost.bytes_read + e.cost.bytes_written for e in ordered if e.cost)
        # The update unit's bytes per weight: masters read and written, 16-bit copy written.
        moved += sum(s.weight_elements for s in specs
                     if trainable[s.index].weights) * (18 if momentum else 10)
        array = sum(e.cost.array for e in ordered if e.cost)
        if moved <= board.dram_bytes_per_cycle * array:
            break
    return ordered


def _ordered(specs: tuple[LayerSpec, ...], board: Board, momentum: bool, traffic: float,
             trainable: Sequence[Trainable], backward_graph: BackwardGraph,
             split: BatchSplit) -> tuple[Descriptor, ...]:
    rate, room = (MOMENTUM_RATE if momentum else PLAIN_RATE), board.config.grad_words
    descriptors: list[Descriptor] = []

    def work(descriptor: Descriptor, sums: int = 0) -> Work:
        descriptors.append(descriptor)
        cycles = descriptor.cost.cycles if descriptor.cost is not None else 0
        return Work(len(descriptors) - 1, cycles, sums)

    layers: list[tuple[list[Work], list[Work]]] = []
    on_vector = step_entries(specs, backward_graph, split.arriving, split.leaving)
    gammas: dict[int, list[Descriptor]] = {}
    passes: list[list[Descriptor]] = []
    steps: list[list[Descriptor]] = []

    def close() -> None:
        """Put the steps of the vector unit between the parts of the last backward pass."""
        if passes or steps:
            layers[-1][0].extend(work(descriptor) for descriptor in interleave(passes, steps))
        passes.clear()
        steps.clear()
    for spec in reversed(specs):
        learn = trainable[spec.index]
        # In front of the gradients that are still to come, beside which the vector unit works.
        steps += on_vector.get(spec.index, [])
        if not spec.on_array:
            gammas[spec.index] = [Descriptor(role, spec.index)
                                  for role, learned in ((Role.UPDATE_GAMMA, learn.weights),
                                                        (Role.UPDATE_BIAS, learn.bias)) if learned]
            continue
        close()
        backward: list[Work] = []
        gradients: list[Work] = []
        sums: list[Descriptor] = []
        if learn.weights:
            # A frozen bias of a layer whose weights learn: no sums are asked for.
            for own in replace(spec, bias=learn.bias).sections():
                tile_sums = own.weight_elements // own.m_tiles
                whole = _conv(Role.WEIGHT_GRADIENT, weight_gradient_shape(own), board, traffic)
                assert whole.cost is not None
                step = slice_tiles(own.m_tiles, tile_sums, whole.cost.cycles, room, rate)
                for first in range(0, own.m_tiles, step):
                    count = min(step, own.m_tiles - first)
                    shape = weight_gradient_shape(own, first, count)
                    gradients.append(work(_conv(Role.WEIGHT_GRADIENT, shape, board, traffic),
                                          count * tile_sums))
        elif learn.bias:
            # In the chain at once: the gradient map is not kept until there is room.
            sums = [_conv(Role.BIAS_SUMS, weight_gradient_shape(bias_spec(own)), board, traffic)
                    for own in spec.sections()]
        layers.append((backward, gradients))
        if spec.backward:
            passes += _backward(spec, board, traffic, split.leaving[spec.index])
        if sums:
            passes.append(sums)
    close()
    left = {spec.index: spec.m_tiles for spec in specs}
    ordered: list[Descriptor] = []
    ready: list[Descriptor] = []
    late: list[Descriptor] = []
    for key in backward_order(layers, room, rate):
        descriptor = descriptors[key]
        if descriptor.role == Role.WEIGHT_GRADIENT:
            # One weight gradient later: what waits in front of one holds up the array.
            ordered += ready
            ready, late = late, []
        ordered.append(descriptor)
        if descriptor.role == Role.BACKWARD_NORM:
            late += gammas[descriptor.layer]
        if descriptor.role in (Role.WEIGHT_GRADIENT, Role.BIAS_SUMS) and descriptor.tiled:
            left[descriptor.layer] -= descriptor.tiled.shape.outer
            if left[descriptor.layer] == 0 and descriptor.tiled.shape.spec.bias:
                ordered.append(Descriptor(Role.UPDATE_BIAS, descriptor.layer))
    return (*ordered, *ready, *late)


def _backward(spec: LayerSpec, board: Board, traffic: float, parts: int) -> list[list[Descriptor]]:
    """Return the backward pass of a layer by parts, each with all sections and row phases.

    ``parts``: how many parts of the mini-batch; images stand in the descriptors only where there is
    more than one.
    """
    def shapes(some: LayerSpec) -> list[PassShape]:
        return [shape for own in some.sections() for shape in backward_shapes(own)]

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
