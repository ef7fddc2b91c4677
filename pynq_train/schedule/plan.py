"""The plan of a network on a board: layers, tiles, memory and predicted cycles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING

from pynq_train.errors import BadInput, DoesNotFit
from pynq_train.graph.fuse import FusedLayer
from pynq_train.hw.boards import Board
from pynq_train.hw.commands import (
    PARAM_WORDS,
    RECORD_WORDS,
    Opcode,
    Pass,
)
from pynq_train.hw.config import WORD_BYTES
from pynq_train.schedule.cost import Cost
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
from pynq_train.schedule.shape import (
    Geometry,
    PassShape,
    backward_shapes,
    forward_shape,
    weight_gradient_shape,
)
from pynq_train.schedule.tiling import HEAVY_TRAFFIC, LIGHT_TRAFFIC, best_tile

if TYPE_CHECKING:
    from pynq_train.schedule.timeline import Prediction

PARAM_BYTES = PARAM_WORDS * WORD_BYTES
RECORD_BYTES = RECORD_WORDS * WORD_BYTES
SOFTMAX_PARAM = 0
"""Index of the softmax entry in the step block."""


class Role(Enum):
    """What a descriptor does."""

    FORWARD = "forward"
    SOFTMAX = "softmax"
    BACKWARD = "backward"
    GRADIENT = "weight gradient and update"
    UPDATE_BIAS = "update bias"
    BIAS_SUMS = "bias gradient"
    """Weight gradient of a scratch 1x1 convolution over zeros, for its channel sums: the weights
    of the layer stay as they are."""

    @property
    def opcode(self) -> Opcode:
        """Opcode of the descriptor."""
        if self == Role.SOFTMAX:
            return Opcode.SOFTMAX
        if self in (Role.GRADIENT, Role.BIAS_SUMS):
            return Opcode.GRADIENT
        return Opcode.UPDATE if self == Role.UPDATE_BIAS else Opcode.CONV


_PARAM_OF = {Role.FORWARD: 1, Role.BACKWARD: 2, Role.GRADIENT: 3, Role.BIAS_SUMS: 3,
             Role.UPDATE_BIAS: 4}


def param_index(role: Role, layer: int) -> int:
    """Index of the step-block entry of a descriptor."""
    return SOFTMAX_PARAM if role == Role.SOFTMAX else 4 * layer + _PARAM_OF[role]


@dataclass(frozen=True)
class Entry:
    """One descriptor of a program: what it does, and for convolutions how.

    ``layer`` is the position of its layer; ``geometry`` and ``cost`` are None unless it is a
    convolution.
    """

    role: Role
    layer: int
    geometry: Geometry | None = None
    cost: Cost | None = None


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

    def step_block_bytes(self) -> int:
        """Bytes of the step block."""
        return (1 + 4 * len(self.specs)) * PARAM_BYTES


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
    train_from = first_learning(learns)
    specs = layer_specs(layers, batch, train_from, board.config.tm)
    for spec, learn in zip(specs, learns):
        spec.check_products(weight_gradient=learn.anything)
    classes, most = specs[-1].m, board.config.max_classes
    if classes > most:
        raise DoesNotFit(f"layer {specs[-1].name!r}: classes", expected=f"at most {most}",
                         found=classes)
    forward = forward_half(specs, board)
    softmax = Entry(Role.SOFTMAX, len(specs) - 1)
    train = (*forward, softmax, *backward_half(specs[train_from:], board, momentum, learns))
    evaluate = (*forward, softmax)
    memory = place(Tensors(layers, specs, learns, batch, momentum),
                   {"train": (len(train), _taps(train)),
                    "evaluate": (len(evaluate), _taps(evaluate))})
    check_fits(memory, board.cma_bytes, board.name, batch)
    return Plan(board, batch, layers, specs, train_from, train, evaluate, memory, momentum, learns)


def forward_half(specs: tuple[LayerSpec, ...], board: Board) -> tuple[Entry, ...]:
    """Forward passes in their order."""
    return tuple(_conv(Role.FORWARD, forward_shape(spec), board) for spec in specs)


def backward_half(specs: tuple[LayerSpec, ...], board: Board, momentum: bool,
                  learns: tuple[Learns, ...] | None = None) -> tuple[Entry, ...]:
    """Backward passes and weight gradients in their best order; biases behind their sums.

    ``learns``: what each layer of the network learns, by ``spec.index`` (default: everything).
    """
    chosen = {s.index: Learns(bias=s.bias) if learns is None else learns[s.index] for s in specs}
    for traffic in (LIGHT_TRAFFIC, HEAVY_TRAFFIC):
        ordered = _ordered(specs, board, momentum, traffic, chosen)
        moved = sum(e.cost.bytes_read + e.cost.bytes_written for e in ordered if e.cost)
        moved += sum(s.weight_elements for s in specs
                     if chosen[s.index].weights) * (18 if momentum else 10)
        array = sum(e.cost.array for e in ordered if e.cost)
        if moved <= board.dram_bytes_per_cycle * array:
            break
    return ordered


def _ordered(specs: tuple[LayerSpec, ...], board: Board, momentum: bool, traffic: float,
             learns: dict[int, Learns]) -> tuple[Entry, ...]:
    rate, room = (MOMENTUM_RATE if momentum else PLAIN_RATE), board.config.grad_words
    entries: list[Entry] = []

    def work(entry: Entry, sums: int = 0) -> Work:
        assert entry.cost is not None
        entries.append(entry)
        return Work(len(entries) - 1, entry.cost.cycles, sums)

    layers: list[tuple[list[Work], list[Work]]] = []
    for spec in reversed(specs):
        learn = learns[spec.index]
        backward = [work(_conv(Role.BACKWARD, shape, board, traffic))
                    for shape in (backward_shapes(spec) if spec.backward else ())]
        gradients = []
        if learn.weights:
            # A frozen bias of a layer whose weights learn: no sums are asked for.
            own = replace(spec, bias=learn.bias)
            tile_sums = spec.weight_elements // spec.m_tiles
            whole = _conv(Role.GRADIENT, weight_gradient_shape(own), board, traffic)
            assert whole.cost is not None
            step = slice_tiles(spec.m_tiles, tile_sums, whole.cost.cycles, room, rate)
            for first in range(0, spec.m_tiles, step):
                count = min(step, spec.m_tiles - first)
                shape = weight_gradient_shape(own, first, count)
                gradients.append(work(_conv(Role.GRADIENT, shape, board, traffic),
                                      count * tile_sums))
        elif learn.bias:
            # In the chain at once: the gradient map is not kept until there is room.
            backward.append(work(_conv(Role.BIAS_SUMS, weight_gradient_shape(bias_spec(spec)),
                                       board, traffic)))
        layers.append((backward, gradients))
    left = {spec.index: spec.m_tiles for spec in specs}
    ordered: list[Entry] = []
    for key in backward_order(layers, room, rate):
        entry = entries[key]
        ordered.append(entry)
        if entry.role in (Role.GRADIENT, Role.BIAS_SUMS) and entry.geometry is not None:
            left[entry.layer] -= entry.geometry.shape.outer
            if left[entry.layer] == 0 and entry.geometry.shape.spec.bias:
                ordered.append(Entry(Role.UPDATE_BIAS, entry.layer))
    return tuple(ordered)


def _conv(role: Role, shape: PassShape, board: Board, traffic: float = LIGHT_TRAFFIC) -> Entry:
    geometry, cost = best_tile(shape, board, traffic)
    return Entry(role, shape.spec.index, geometry, cost)


def _taps(entries: tuple[Entry, ...]) -> int:
    return sum(len(e.geometry.shape.taps) for e in entries if e.geometry)


def passes_of(plan: Plan, kind: Pass) -> tuple[Entry, ...]:
    """Return the convolution descriptors of one pass in a training step."""
    return tuple(e for e in plan.train if e.geometry and e.geometry.shape.kind == kind)
