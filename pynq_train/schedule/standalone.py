"""One pass of one layer as a program of its own, in an arena that holds only what it touches.

Benches and reports use it to measure or predict a pass without the rest of a network.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pynq_train.hw.boards import Board
from pynq_train.hw.commands import Pass
from pynq_train.layers import kinds
from pynq_train.layers.fuse import FusedLayer, in_series
from pynq_train.schedule.memory.arena import Allocator, MemoryMap, check_fits
from pynq_train.schedule.memory.place import place_programs
from pynq_train.schedule.passes.descriptors import (
    Descriptor,
    Role,
    StepBlockLayout,
)
from pynq_train.schedule.passes.geometry import (
    PassShape,
    TiledPass,
    input_gradient_shapes,
    output_shapes,
    weight_gradient_shape,
)
from pynq_train.schedule.passes.tiling import best_tile
from pynq_train.schedule.plan import Plan
from pynq_train.schedule.specs.fits import check_products
from pynq_train.schedule.specs.spec import LayerSpec, layer_specs

PLACE = 1
"""Position of the layer in its plan: a head layer yields its input, a tail layer follows."""
ROLE_OF = {Pass.FORWARD: Role.FORWARD, Pass.BACKWARD: Role.BACKWARD,
           Pass.WEIGHT_GRADIENT: Role.WEIGHT_GRADIENT}
"""Role of the descriptors of each pass."""
SHORT_NAME = {Pass.FORWARD: "fp", Pass.BACKWARD: "bp", Pass.WEIGHT_GRADIENT: "wu"}
"""Short names of the passes in tables: forward, backward, weight gradient and update."""


@dataclass(frozen=True)
class StandalonePass:
    """One pass of one layer.

    Attributes:
        layer: the layer.
        batch: images of the mini-batch.
        board: the board.
        kind: which pass.
        trained_input: the layer's input has a gradient (it is not the network's first layer).
        momentum: masters hold momentum.
        descriptors: one, or one per row phase of a backward pass; of a grouped layer as many for
            each section.
    """

    layer: FusedLayer
    batch: int
    board: Board
    kind: Pass
    trained_input: bool
    momentum: bool
    descriptors: tuple[Descriptor, ...]

    @property
    def name(self) -> str:
        """Name of the layer and short name of the pass."""
        return f"{self.layer.name} {SHORT_NAME[self.kind]}"

    @property
    def tiled_passes(self) -> tuple[TiledPass, ...]:
        """The tiled pass of each descriptor."""
        return tuple(one.tiled for one in self.descriptors if one.tiled is not None)

    @property
    def macs(self) -> int:
        """Multiply-adds of the pass; padding does not count."""
        # Row phases share a spec, which is the whole pass: it counts once.
        return sum(spec.macs for spec in {geo.shape.spec for geo in self.tiled_passes})

    @property
    def busiest_unit_cycles(self) -> int:
        """Predicted cycles of the slowest unit, summed over descriptors: no gaps, fill or tail."""
        return sum(one.cost.cycles for one in self.descriptors if one.cost is not None)


def standalone_specs(layer: FusedLayer, batch: int, trained_input: bool,
                 board: Board) -> tuple[LayerSpec, ...]:
    """Return the specs of a head, the layer and a tail, which give it the maps it has in a network.

    Args:
        layer: the layer.
        batch: images of the mini-batch.
        trained_input: the layer's input has a gradient.
        board: the board.
    """
    shape = layer.in_shape
    vector = layer.kind.fully_connected and shape[1:] == (1, 1)
    head = FusedLayer(kind=kinds.DENSE if vector else kinds.CONV, name="head", in_shape=shape,
                      out_shape_before_pool=shape, out_shape=shape)
    out = (1, 1, 1)
    tail = FusedLayer(kind=kinds.DENSE, name="tail", in_shape=layer.out_shape,
                      out_shape_before_pool=out, out_shape=out)
    return layer_specs(in_series((head, layer, tail)), batch, 0 if trained_input else PLACE,
                       board.config.tm)


def pass_shapes(spec: LayerSpec, kind: Pass) -> tuple[PassShape, ...]:
    """Return the work of each descriptor of one pass of a layer."""
    sections = spec.sections()
    if kind is Pass.FORWARD:
        return tuple(shape for own in sections for shape in output_shapes(own))
    if kind is Pass.BACKWARD:
        return tuple(shape for own in sections for shape in input_gradient_shapes(own))
    return tuple(weight_gradient_shape(own) for own in sections)


def kinds_of(trained_input: bool) -> tuple[Pass, ...]:
    """Return the passes of a trained layer: no backward pass without a gradient below it."""
    return tuple(Pass) if trained_input else (Pass.FORWARD, Pass.WEIGHT_GRADIENT)


def standalone_pass(layer: FusedLayer, kind: Pass, batch: int, board: Board,
                trained_input: bool = True, momentum: bool = True) -> StandalonePass:
    """Return one pass of a layer with the best tiles for the board.

    Args:
        layer: the layer.
        kind: which pass.
        batch: images of the mini-batch.
        board: the board.
        trained_input: the layer's input has a gradient.
        momentum: masters hold momentum.

    Raises:
        DoesNotFit: a sum would have too many products, or no tile fits the buffers.
    """
    spec = standalone_specs(layer, batch, trained_input, board)[PLACE]
    check_products(spec, backward=kind is Pass.BACKWARD,
                        weight_gradient=kind is Pass.WEIGHT_GRADIENT)
    descriptors = tuple(Descriptor(ROLE_OF[kind], PLACE, *best_tile(shape, board))
                    for shape in pass_shapes(spec, kind))
    return StandalonePass(layer, batch, board, kind, trained_input, momentum, descriptors)


def layer_passes(layers: tuple[FusedLayer, ...], batch: int, board: Board,
                 momentum: bool = True) -> tuple[tuple[StandalonePass, ...], ...]:
    """Return the standalone passes of each layer of a list; the first layer has no backward pass.

    Raises:
        DoesNotFit: a pass does not fit.
    """
    return tuple(
        tuple(standalone_pass(layer, kind, batch, board, index > 0, momentum)
              for kind in kinds_of(index > 0))
        for index, layer in enumerate(layers))


def standalone_plan(standalone: StandalonePass) -> Plan:
    """Return a plan whose training program is the pass.

    Raises:
        DoesNotFit: the tensors of the pass are larger than the board's memory.
    """
    layer, batch, board = standalone.layer, standalone.batch, standalone.board
    specs = standalone_specs(layer, batch, standalone.trained_input, board)
    memory = _place(standalone, specs)
    check_fits(memory, board.cma_bytes, board.name, batch)
    layers = in_series((replace(layer, name="head"), layer, layer))
    return Plan(board, batch, layers, specs, 0 if standalone.trained_input else PLACE,
                standalone.descriptors, standalone.descriptors, memory, standalone.momentum)


def _place(standalone: StandalonePass, specs: tuple[LayerSpec, ...]) -> MemoryMap:
    """Return the arena with the program and the tensors that the pass reads and writes."""
    spec, place = specs[PLACE], Allocator()
    place_programs(place, {"train": standalone.descriptors}, StepBlockLayout.of(specs, 0))
    tensors = {
        "x": ("head.y", specs[0].y.nbytes, "map"),
        "dx": ("head.dy", specs[0].y.nbytes, "gradient map"),
        "y": (f"{spec.name}.y", spec.y.nbytes, "map"),
        "dy": (f"{spec.name}.dy", spec.y.nbytes, "gradient map"),
        "flags": (f"{spec.name}.flags", spec.flags.nbytes if spec.flags else 0, "flags"),
        "w16": (f"{spec.name}.w16", spec.weight_bytes, "weights"),
        "bias": (f"{spec.name}.bias", spec.bias_bytes if spec.bias else 0, "masters"),
        "wv": (f"{spec.name}.wv", spec.master_bytes(standalone.momentum), "masters"),
        "db": (f"{spec.name}.db", spec.bias_bytes if spec.bias else 0, "gradient sums"),
    }
    used = {Pass.FORWARD: ("x", "y", "flags", "w16", "bias"),
            Pass.BACKWARD: ("dy", "flags", "dx", "w16"),
            Pass.WEIGHT_GRADIENT: ("x", "dy", "flags", "db", "wv", "w16")}[standalone.kind]
    for key in used:
        symbol, nbytes, kind = tensors[key]
        if nbytes:
            place.add(symbol, nbytes, kind)
    return place.finish()
