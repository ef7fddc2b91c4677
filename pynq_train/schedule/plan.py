"""The plan of a network on a board: layers, tiles, memory and predicted cycles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from pynq_train.errors import BadInput, DoesNotFit
from pynq_train.graph.fuse import FusedLayer, wiring
from pynq_train.graph.gradient_flow import (
    GradientFlow,
    active_layers,
    gradient_flow,
    resting_norms,
)
from pynq_train.hw.boards import Board
from pynq_train.hw.commands import Pass
from pynq_train.quant.loss import PLAIN_LOSS, Loss
from pynq_train.schedule.dropout import evaluation_sources
from pynq_train.schedule.entries import (
    PARAM_BYTES,
    RECORD_BYTES,
    SOFTMAX_PARAM,
    Entry,
    Role,
    param_index,
)
from pynq_train.schedule.layer import LayerSpec, bias_spec, layer_specs
from pynq_train.schedule.layout import MapLayout
from pynq_train.schedule.learning import Learns, all_from, first_learning
from pynq_train.schedule.memory import MemoryMap, check_fits
from pynq_train.schedule.order import (
    MOMENTUM_RATE,
    PLAIN_RATE,
    Work,
    backward_order,
    slice_tiles,
)
from pynq_train.schedule.place import Tensors, place
from pynq_train.schedule.pool_lower import check_pools
from pynq_train.schedule.shape import (
    PassShape,
    backward_shapes,
    forward_shape,
    weight_gradient_shape,
)
from pynq_train.schedule.split import Split, split_of
from pynq_train.schedule.tiling import HEAVY_TRAFFIC, LIGHT_TRAFFIC, best_tile, check_buffers
from pynq_train.schedule.vector_order import forward_order, image_parts, interleave, step_entries

if TYPE_CHECKING:
    from pynq_train.schedule.timeline import Prediction

__all__ = ["PARAM_BYTES", "RECORD_BYTES", "SOFTMAX_PARAM", "Entry", "Plan", "Role", "all_from",
           "backward_half", "forward_half", "make_plan", "param_index", "passes_of",
           "step_block_entries"]


@dataclass(frozen=True)
class Plan:
    """A network with a mini-batch on a board; everything that its programs follow from.

    Attributes:
        board: the board.
        batch: images of a mini-batch.
        layers: the fused layers.
        specs: the layers as the engine sees them.
        train_from: first layer that learns; the ones before it are only evaluated.
        train: descriptors of a training step, in order.
        evaluate: descriptors of an evaluation.
        memory: the arena.
        momentum: the weight masters hold momentum.
        learns: what each layer learns.
        parts: most parts of the mini-batch in which the vector unit works beside the array.
        loss: what the softmax unit computes.
    """

    board: Board
    batch: int
    layers: tuple[FusedLayer, ...]
    specs: tuple[LayerSpec, ...]
    train_from: int
    train: tuple[Entry, ...]
    evaluate: tuple[Entry, ...]
    memory: MemoryMap
    momentum: bool = True
    learns: tuple[Learns, ...] = ()
    parts: int = 1
    loss: Loss = PLAIN_LOSS

    def __post_init__(self) -> None:
        """Without ``learns``, every layer from ``train_from`` learns all it has."""
        if not self.learns:
            object.__setattr__(self, "learns", all_from(self.layers, self.train_from))

    def __str__(self) -> str:
        """Tables for people: tiles, cycles, memory, and what frozen layers save."""
        from pynq_train.schedule.report import table  # it reads plans

        return table(self)

    def predict(self) -> Prediction:
        """Predicted cycles and traffic of a training step."""
        from pynq_train.schedule.timeline import predict  # it reads plans

        return predict(self, self.train)

    @property
    def classes(self) -> int:
        """Number of logits."""
        return self.specs[-1].m

    @property
    def input_layout(self) -> MapLayout:
        """Layout of the input images."""
        channels, rows, cols = self.layers[0].in_shape
        return MapLayout.feature(self.batch, channels, rows, cols)

    @cached_property
    def macs_per_step(self) -> int:
        """Multiply-adds of a training step, padding not counted."""
        return sum(entry.cost.macs for entry in self.train if entry.cost)

    @property
    def step_block_bytes(self) -> int:
        """Bytes of the step block."""
        return step_block_entries(self.specs, self.flow) * PARAM_BYTES

    @cached_property
    def active(self) -> tuple[bool, ...]:
        """Whether each layer's output has a gradient."""
        return active_layers(self.layers, [one.anything for one in self.learns])

    @cached_property
    def flow(self) -> GradientFlow:
        """The way of gradients."""
        return gradient_flow(self.layers, self.active)

    @cached_property
    def sources(self) -> tuple[tuple[int, ...], ...]:
        """Positions of the layers that each layer reads, -1 for the images."""
        return wiring(self.layers)

    @cached_property
    def evaluation_sources(self) -> tuple[tuple[int, ...], ...]:
        """The same where nothing is dropped."""
        return evaluation_sources(self.specs, self.sources)

    def param_of(self, entry: Entry) -> int:
        """Index of the step-block entry of a descriptor."""
        count = len(self.specs)
        if entry.role == Role.NORM:
            return 1 + 4 * count + entry.layer
        if entry.step >= 0:
            return 1 + 5 * count + 2 * entry.step + (entry.role == Role.STEP_NORM)
        return param_index(entry.role, entry.layer)


def step_block_entries(specs: Sequence[LayerSpec], flow: GradientFlow) -> int:
    """Entries of the step block: softmax, four a layer; with layers of the vector unit more."""
    if all(spec.on_array for spec in specs):
        return 1 + 4 * len(specs)
    return 1 + 5 * len(specs) + 2 * len(flow.steps)


def make_plan(layers: tuple[FusedLayer, ...], batch: int, board: Board,
              train_from: int = 0, momentum: bool = True,
              learns: tuple[Learns, ...] | None = None) -> Plan:
    """Plan a network: choose tiles, order descriptors, place everything in the arena.

    Args:
        layers: fused layers (``graph.fuse``).
        batch: images of a mini-batch.
        board: the board, with the configuration of its engine.
        train_from: position of the first layer that is trained, if ``learns`` is not given.
        momentum: keep momentum in the weight masters; without, the update moves 10 instead of 18
            bytes per weight.
        learns: what each layer learns (:func:`pynq_train.schedule.learning.select`).

    Raises:
        BadInput: ``batch``, ``train_from`` or ``learns`` is out of range.
        DoesNotFit: a layer, a sum or the arena is too large; the text says what would fit.
    """
    if not 1 <= batch <= 4096:
        raise BadInput("batch", expected="1..4096 images", found=batch)
    if not 0 <= train_from < len(layers):
        raise BadInput("train_from", expected=f"0..{len(layers) - 1}", found=train_from)
    if learns is None:
        learns = all_from(layers, train_from)
    if len(learns) != len(layers):
        raise BadInput("learns", expected=f"one for each of {len(layers)} layers",
                       found=len(learns))
    check_buffers(board.config)
    train_from = first_learning(learns)
    learning = [one.anything for one in learns]
    active = active_layers(layers, learning)
    specs = layer_specs(layers, batch, train_from, board.config.tm, active,
                        resting_norms(layers, learning, active))
    for spec, learn in zip(specs, learns):
        spec.check_products(weight_gradient=learn.anything)
    check_pools(specs, board.config)
    classes, most = specs[-1].m, board.config.max_classes
    if classes > most:
        raise DoesNotFit(f"layer {specs[-1].name!r}: classes", expected=f"at most {most}",
                         found=classes)
    flow, split = gradient_flow(layers, active), split_of(specs, wiring(layers), board)
    softmax = Entry(Role.SOFTMAX, len(specs) - 1)
    train = (*forward_half(specs, board, wiring(layers), split), softmax,
             *backward_half(specs, board, momentum, learns, flow, split))
    without = evaluation_sources(specs, wiring(layers))
    evaluate = (*forward_half(specs, board, without, split, statistics=False), softmax)
    memory = place(Tensors(layers, specs, learns, batch, momentum, active, flow, split.most),
                   {"train": (len(train), _taps(train)),
                    "evaluate": (len(evaluate), _taps(evaluate))},
                   step_block_entries(specs, flow))
    check_fits(memory, board.cma_bytes, board.name, batch)
    return Plan(board, batch, layers, specs, train_from, train, evaluate, memory, momentum, learns,
                split.most)


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


def _taps(entries: tuple[Entry, ...]) -> int:
    return sum(len(e.geometry.shape.taps) for e in entries if e.geometry)


def passes_of(plan: Plan, kind: Pass) -> tuple[Entry, ...]:
    """Return the convolution descriptors of one pass in a training step."""
    return tuple(e for e in plan.train if e.geometry and e.geometry.shape.kind == kind)
