"""The plan of a network on a board: layers, tiles, order of descriptors, places in memory."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pynq_train.arrays import plain
from pynq_train.errors import BadInput, DoesNotFit
from pynq_train.hw.boards import Board
from pynq_train.layers.backward_graph import (
    BackwardGraph,
    active_layers,
    build_backward_graph,
    inference_mode_norms,
)
from pynq_train.layers.ends import (
    check_bare,
    check_classifier,
    is_bare,
    is_classifier,
    read_by_softmax,
)
from pynq_train.layers.fuse import FusedLayer
from pynq_train.quant import QuantLayer
from pynq_train.quant.loss import BINARY, CROSS_ENTROPY, MSE, PLAIN_LOSS, Loss
from pynq_train.schedule.memory.arena import MemoryMap, check_fits
from pynq_train.schedule.memory.place import Tensors, place
from pynq_train.schedule.memory.turns import take_turns
from pynq_train.schedule.passes.batch_split import choose_split
from pynq_train.schedule.passes.cached import CACHED, boundary_layers, cached_step
from pynq_train.schedule.passes.descriptors import (
    Descriptor,
    Role,
    StepBlockLayout,
)
from pynq_train.schedule.passes.order import backward_half, forward_half
from pynq_train.schedule.passes.symbols import output_symbol
from pynq_train.schedule.passes.tiling import check_buffers
from pynq_train.schedule.specs.evaluation import evaluation_sources
from pynq_train.schedule.specs.fits import check_products
from pynq_train.schedule.specs.layout import MapLayout
from pynq_train.schedule.specs.limits import check_pools
from pynq_train.schedule.specs.spec import LayerSpec, layer_specs
from pynq_train.schedule.specs.trainable import Trainable, all_from, first_trainable


@dataclass(frozen=True)
class Plan:
    """A network with a mini-batch on a board; everything that its programs follow from.

    Attributes:
        board: the board.
        batch: images of a mini-batch.
        layers: the fused layers.
        specs: the same layers as the engine sees them.
        train_from: position of the first trained layer; the ones before it only run forward.
        train: descriptors of a training step, in program order.
        evaluate: descriptors of an evaluation, in program order.
        memory: the arena.
        momentum: the weight masters hold momentum.
        trainable: what a training step updates, by layer.
        parts: largest number of parts of the mini-batch in which the vector unit works beside the
            array.
        loss: what is minimised; the softmax unit computes it, or the host between the halves of a
            step.
        cached: descriptors of a training step behind the frozen layers, whose maps the host
            writes (``passes.cached``); empty in a plan without.
    """

    board: Board
    batch: int
    layers: tuple[FusedLayer, ...]
    specs: tuple[LayerSpec, ...]
    train_from: int
    train: tuple[Descriptor, ...]
    evaluate: tuple[Descriptor, ...]
    memory: MemoryMap
    momentum: bool = True
    trainable: tuple[Trainable, ...] = ()
    parts: int = 1
    loss: Loss = PLAIN_LOSS
    cached: tuple[Descriptor, ...] = ()

    def __post_init__(self) -> None:
        """Fill ``trainable``: without it every layer from ``train_from`` on trains all it has."""
        if not self.trainable:
            object.__setattr__(self, "trainable", all_from(self.layers, self.train_from))

    def __repr__(self) -> str:
        """Return one line; :func:`pynq_train.schedule.report.table` makes tables."""
        return (f"Plan({self.board.name}, batch {self.batch}: {len(self.layers)} layers, "
                f"{len(self.train)} descriptors a training step, {self.memory.nbytes} bytes)")

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
    def kept(self) -> dict[Hashable, Any]:
        """What takes long to find out of this plan, under a key of whoever did: predictions."""
        return {}

    @cached_property
    def macs_per_step(self) -> int:
        """Multiply-adds of a training step on the array; padding does not count."""
        return sum(descriptor.cost.macs for descriptor in self.train if descriptor.cost)

    def halt(self, descriptors: Sequence[Descriptor]) -> int:
        """Return how many descriptors of a program run before the host computes the loss.

        0: all run at once: the softmax unit computes it, or the program is of one half alone.
        """
        if not self.loss.on_host:
            return 0
        forward = sum(one.role.forward for one in descriptors)
        return forward % len(descriptors)

    @property
    def step_block_bytes(self) -> int:
        """Bytes of the step block."""
        return self.step_block.nbytes

    @cached_property
    def quant_layers(self) -> tuple[QuantLayer, ...]:
        """What the exponents must know of each layer; the host asks for it in every step."""
        return tuple(QuantLayer(spec.name, layer.sources, active, spec.kind, spec.words,
                                layer.drop.rate if layer.drop else 0.0, spec.activation,
                                layer.scale)
                     for spec, layer, active in zip(self.specs, self.layers, self.active))

    @cached_property
    def step_block(self) -> StepBlockLayout:
        """Where each step-block entry stands."""
        return StepBlockLayout.of(self.specs, len(self.backward_graph.nodes))

    @cached_property
    def active(self) -> tuple[bool, ...]:
        """Whether each layer's output has a gradient."""
        return active_layers(self.layers, [one.anything for one in self.trainable])

    @cached_property
    def backward_graph(self) -> BackwardGraph:
        """The backward graph: which gradients are computed from which, and in which order."""
        return build_backward_graph(self.layers, self.active)

    @cached_property
    def sources(self) -> tuple[tuple[int, ...], ...]:
        """Positions of the layers that each layer reads, -1 for the images."""
        return tuple(layer.sources for layer in self.layers)

    @property
    def boundary(self) -> tuple[int, ...]:
        """Positions of the frozen layers whose maps a cached step reads; none in a plan without.
        """
        return boundary_layers(self.layers, self.active) if self.cached else ()

    @property
    def cache_bytes(self) -> int:
        """Bytes that a cache holds of an image: the maps of the frozen layers that others read."""
        return sum(self.specs[place].y.nbytes for place in self.boundary) // self.batch

    @cached_property
    def evaluation_sources(self) -> tuple[tuple[int, ...], ...]:
        """The same in an evaluation, which reads past dropouts."""
        return evaluation_sources(self.specs, self.sources)


def loss_at(layers: Sequence[FusedLayer], batch: int, kind: str | None = None, **options: Any
            ) -> Loss:
    """Return a loss at the end of a network.

    Args:
        layers: the network.
        batch: images of a mini-batch.
        kind: one of :data:`~pynq_train.quant.loss.LOSSES` (default: cross-entropy, the binary one
            where there is a single output, the squared error of numbers behind an activation).
        options: of the :class:`~pynq_train.quant.loss.Loss`.

    Raises:
        UnsupportedModel: the network ends with no classes, and the loss is one of classes.
    """
    channels, rows, cols = layers[-1].out_shape
    if kind is None:
        kind = (CROSS_ENTROPY if is_classifier(layers) else BINARY if is_bare(layers[-1])
                else MSE)
        options = {"values": True} if kind == MSE else options
    if kind == CROSS_ENTROPY:
        check_classifier(layers)
    elif kind == BINARY:
        check_bare(layers)
    found = Loss(kind, classes=channels, positions=rows * cols,
                 aside=not read_by_softmax(layers), **options)
    return found.start(batch)


def make_plan(layers: tuple[FusedLayer, ...], batch: int, board: Board,
              train_from: int = 0, momentum: bool = True,
              trainable: tuple[Trainable, ...] | None = None, fits: bool = True,
              turns: bool = True, cache: bool = False, loss: Loss | None = None) -> Plan:
    """Return the plan of a network: tiles, order of descriptors, places in the arena.

    Args:
        layers: fused layers (``layers.fuse``).
        batch: images of a mini-batch.
        board: the board, with the configuration of its engine.
        train_from: position of the first layer that is trained, if ``trainable`` is not given.
        momentum: keep momentum in the weight masters; without, the update moves 10 instead of 18
            bytes per weight.
        trainable: what is trained of each layer
            (:func:`pynq_train.schedule.specs.trainable.select`).
        fits: the arena must fit the board's memory; False where only parts of it will stand there.
        turns: feature maps and gradient maps share places where that lets nothing wait; False
            where maps are read behind a run, or the programs run in parts.
        cache: plan a training step that begins with the maps of the frozen layers, too.
        loss: what is minimised (default: cross-entropy, of each pixel where a map is the end).

    Raises:
        BadInput: ``batch``, ``train_from`` or ``trainable`` is out of range, or a cache is not
            possible.
        DoesNotFit: a layer, a sum or the arena is too large; the text says what would fit.
    """
    batch = plain(batch)  # NumPy's integers are none for JSON
    if type(batch) is not int or not 1 <= batch <= 4096:
        raise BadInput("batch", expected="1..4096 images", found=repr(batch)[:80])
    if not 0 <= train_from < len(layers):
        raise BadInput("train_from", expected=f"0..{len(layers) - 1}", found=train_from)
    if trainable is None:
        trainable = all_from(layers, train_from)
    if len(trainable) != len(layers):
        raise BadInput("trainable", expected=f"one for each of {len(layers)} layers",
                       found=len(trainable))
    check_buffers(board.config)
    train_from = first_trainable(trainable)
    wanted = [one.anything for one in trainable]
    active = active_layers(layers, wanted)
    # Specs know which layers have gradients, since flags, layouts and limits depend on it.
    specs = layer_specs(layers, batch, train_from, board.config.tm, active,
                        inference_mode_norms(layers, wanted, active))
    for spec, trained in zip(specs, trainable):
        check_products(spec, weight_gradient=trained.anything)
    check_pools(specs, board.config)
    loss = loss_at(layers, batch) if loss is None else loss
    classes, most = specs[-1].m, board.config.max_classes
    if classes > most and not loss.on_host:
        raise DoesNotFit(f"layer {specs[-1].name!r}: classes", expected=f"at most {most}",
                         found=classes)
    backward_graph = build_backward_graph(layers, active)
    sources = tuple(layer.sources for layer in layers)
    split = choose_split(specs, sources, board)
    # What the host computes has no descriptor: a step then runs in two halves.
    softmax = () if loss.on_host else (Descriptor(Role.SOFTMAX, len(specs) - 1),)
    train = (*forward_half(specs, board, sources, split), *softmax,
             *backward_half(specs, board, momentum, trainable, backward_graph, split))
    without = evaluation_sources(specs, sources)
    evaluate = (*forward_half(specs, board, without, split, statistics=False), *softmax)
    tensors = Tensors(layers, specs, trainable, batch, momentum, active, backward_graph,
                      split.most)
    programs = {"train": train, "evaluate": evaluate}
    kept: tuple[str, ...] = ()
    if cache:
        kept = tuple(output_symbol(tensors, place) for place in boundary_layers(layers, active))
        programs[CACHED] = cached_step(train, active)
    memory = place(tensors, programs)
    if turns:
        memory = take_turns(memory, tensors, [(some, name != "evaluate")
                                              for name, some in programs.items()], kept)
    if fits:
        check_fits(memory, board.cma_bytes, board.name, batch)
    return Plan(board, batch, layers, specs, train_from, train, evaluate, memory, momentum,
                trainable, split.most, loss, programs.get(CACHED, ()))
