"""Order of a training step: the forward half and the backward half as descriptors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pynq_train.hw.boards import Board
from pynq_train.layers.backward_graph import GradientFlow
from pynq_train.schedule.passes.batch_split import Split
from pynq_train.schedule.passes.descriptors import Entry, Role
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
from pynq_train.schedule.specs.trainable import Learns


def forward_half(specs: tuple[LayerSpec, ...], board: Board,
                 sources: Sequence[tuple[int, ...]] | None = None, split: Split | None = None,
                 statistics: bool = True) -> tuple[Entry, ...]:
    """Forward passes in their order.

    Args:
        specs: the layers.
        board: the board.
        sources: positions that each layer reads (default: a chain).
        split: parts of the mini-batch, if there are layers of the vector unit.
        statistics: training: normalisations take the statistics of the batch, unless they are
            frozen, dropouts drop.
    """
    if split is None or all(spec.on_array for spec in specs):
        return tuple(_conv(Role.FORWARD, forward_shape(own), board)
                     for spec in specs for own in spec.sections())

    def passes(spec: LayerSpec, images: tuple[int, int] | None, part: int,
               between: bool = False) -> list[Entry]:
        some = spec if images is None else spec.part(*images)
        # Nothing hides how the first part begins; the others fill the memory.
        traffic = LIGHT_TRAFFIC if part == 0 else HEAVY_TRAFFIC
        return [replace(_conv(Role.FORWARD, forward_shape(own), board, traffic, between),
                        images=images, part=part) for own in some.sections()]

    chain = [(index - 1,) for index in range(len(specs))]
    return forward_order(specs, chain if sources is None else sources, split.forward, statistics,
                         passes)


def backward_half(specs: tuple[LayerSpec, ...], board: Board, momentum: bool,
                  learns: tuple[Learns, ...] | None = None,
                  flow: GradientFlow | None = None,
                  split: Split | None = None) -> tuple[Entry, ...]:
    """Backward passes and weight gradients in their best order; biases behind their sums.

    ``learns``: what each layer of the network learns, by ``spec.index`` (default: everything).
    ``flow``: the way of gradients, for what the vector unit does in it. ``split``: parts of the
    mini-batch (default: none).
    """
    chosen = {s.index: Learns(bias=s.bias) if learns is None else learns[s.index] for s in specs}
    # The vector unit fills the memory beside the array.
    shared = flow is not None and any(step.kind != "backward" for step in flow.steps)
    for traffic in (HEAVY_TRAFFIC,) if shared else (LIGHT_TRAFFIC, HEAVY_TRAFFIC):
        ordered = _ordered(specs, board, momentum, traffic, chosen, flow, split)
        moved = sum(e.cost.bytes_read + e.cost.bytes_written for e in ordered if e.cost)
        moved += sum(s.weight_elements for s in specs
                     if chosen[s.index].weights) * (18 if momentum else 10)
        array = sum(e.cost.array for e in ordered if e.cost)
        if moved <= board.dram_bytes_per_cycle * array:
            break
    return ordered


def _ordered(specs: tuple[LayerSpec, ...], board: Board, momentum: bool, traffic: float,
             learns: dict[int, Learns], flow: GradientFlow | None,
             split: Split | None) -> tuple[Entry, ...]:
    rate, room = (MOMENTUM_RATE if momentum else PLAIN_RATE), board.config.grad_words
    entries: list[Entry] = []

    def work(entry: Entry, sums: int = 0) -> Work:
        entries.append(entry)
        return Work(len(entries) - 1, entry.cost.cycles if entry.cost is not None else 0, sums)

    layers: list[tuple[list[Work], list[Work]]] = []
    arriving, leaving = (split.arriving, split.leaving) if split else ((1,) * len(specs),) * 2
    on_vector = step_entries(specs, flow, arriving, leaving) if flow is not None else {}
    gammas: dict[int, list[Entry]] = {}
    passes: list[list[Entry]] = []
    steps: list[list[Entry]] = []

    def close() -> None:
        """Put the steps of the vector unit between the parts of the last backward pass."""
        if passes or steps:
            layers[-1][0].extend(work(entry) for entry in interleave(passes, steps))
        passes.clear()
        steps.clear()
    for spec in reversed(specs):
        learn = learns[spec.index]
        # In front of the gradients that are still to come, beside which the vector unit works.
        steps += on_vector.get(spec.index, [])
        if not spec.on_array:
            gammas[spec.index] = [Entry(role, spec.index)
                                  for role, learned in ((Role.UPDATE_GAMMA, learn.weights),
                                                        (Role.UPDATE_BIAS, learn.bias)) if learned]
            continue
        close()
        backward: list[Work] = []
        gradients: list[Work] = []
        sums: list[Entry] = []
        if learn.weights:
            # A frozen bias of a layer whose weights learn: no sums are asked for.
            for own in replace(spec, bias=learn.bias).sections():
                tile_sums = own.weight_elements // own.m_tiles
                whole = _conv(Role.GRADIENT, weight_gradient_shape(own), board, traffic)
                assert whole.cost is not None
                step = slice_tiles(own.m_tiles, tile_sums, whole.cost.cycles, room, rate)
                for first in range(0, own.m_tiles, step):
                    count = min(step, own.m_tiles - first)
                    shape = weight_gradient_shape(own, first, count)
                    gradients.append(work(_conv(Role.GRADIENT, shape, board, traffic),
                                          count * tile_sums))
        elif learn.bias:
            # In the chain at once: the gradient map is not kept until there is room.
            sums = [_conv(Role.BIAS_SUMS, weight_gradient_shape(bias_spec(own)), board, traffic)
                    for own in spec.sections()]
        layers.append((backward, gradients))
        if spec.backward:
            passes += _backward(spec, board, traffic, leaving[spec.index])
        if sums:
            passes.append(sums)
    close()
    left = {spec.index: spec.m_tiles for spec in specs}
    ordered: list[Entry] = []
    ready: list[Entry] = []
    late: list[Entry] = []
    for key in backward_order(layers, room, rate):
        entry = entries[key]
        if entry.role == Role.GRADIENT:
            # One weight gradient later: what waits in front of one holds up the array.
            ordered += ready
            ready, late = late, []
        ordered.append(entry)
        if entry.role == Role.STEP_NORM:
            late += gammas[entry.layer]
        if entry.role in (Role.GRADIENT, Role.BIAS_SUMS) and entry.geometry is not None:
            left[entry.layer] -= entry.geometry.shape.outer
            if left[entry.layer] == 0 and entry.geometry.shape.spec.bias:
                ordered.append(Entry(Role.UPDATE_BIAS, entry.layer))
    return (*ordered, *ready, *late)


def _backward(spec: LayerSpec, board: Board, traffic: float, parts: int) -> list[list[Entry]]:
    """The backward pass of a layer by parts of the mini-batch; of each sections, row phases."""
    def shapes(some: LayerSpec) -> list[PassShape]:
        return [shape for own in some.sections() for shape in backward_shapes(own)]

    if parts == 1 or spec.x.images == 1:
        return [[_conv(Role.BACKWARD, shape, board, traffic) for shape in shapes(spec)]]
    return [[replace(_conv(Role.BACKWARD, shape, board, traffic), images=images, part=part)
             for shape in shapes(spec.part(*images))]
            for part, images in enumerate(image_parts(spec.x.images, parts))]


def _conv(role: Role, shape: PassShape, board: Board, traffic: float = LIGHT_TRAFFIC,
          between: bool = False) -> Entry:
    geometry, cost = best_tile(shape, board, traffic, between)
    return Entry(role, shape.spec.index, geometry, cost)
