"""A list of layers as the convolutions of one training step: one program, one arena.

A layer list has no skip connections and no loss: each layer reads the region that the one before it
writes, whatever their sizes are, so that order and waits are those of a network. What it computes
has no meaning; it is there to be measured.
"""

from __future__ import annotations

from dataclasses import replace

from pynq_train.hw.boards import Board
from pynq_train.layers.backward_graph import BackwardGraph
from pynq_train.layers.fuse import FusedLayer, in_series
from pynq_train.schedule.memory.arena import Allocator, MemoryMap, check_fits
from pynq_train.schedule.memory.place import place_programs
from pynq_train.schedule.passes.batch_split import BatchSplit
from pynq_train.schedule.passes.descriptors import (
    Descriptor,
    StepBlockLayout,
)
from pynq_train.schedule.passes.order import backward_half, forward_half
from pynq_train.schedule.plan import Plan
from pynq_train.schedule.specs.fits import check_products
from pynq_train.schedule.specs.spec import LayerSpec
from pynq_train.schedule.specs.trainable import Trainable
from pynq_train.schedule.standalone import PLACE, standalone_specs


def layer_list_plan(layers: tuple[FusedLayer, ...], batch: int, board: Board,
               momentum: bool = True) -> Plan:
    """Return the plan of the convolutions of one training step over a layer list.

    Args:
        layers: the layers; the first one has no backward pass.
        batch: images of the mini-batch.
        board: the board.
        momentum: keep momentum in the weight masters.

    Raises:
        DoesNotFit: a layer, a sum or the arena is too large.
    """
    specs = tuple(replace(standalone_specs(layer, batch, index > 0, board)[PLACE], index=index)
                  for index, layer in enumerate(layers))
    for spec in specs:
        check_products(spec, weight_gradient=True)
    layers, whole = in_series(layers), BatchSplit.whole(len(layers))
    trainable = [Trainable(bias=spec.bias) for spec in specs]
    train = (*forward_half(specs, board, [layer.sources for layer in layers], whole),
             *backward_half(specs, board, momentum, trainable, BackwardGraph(()), whole))
    memory = _place(specs, train, momentum)
    check_fits(memory, board.cma_bytes, board.name, batch)
    return Plan(board, batch, layers, specs, 0, train, train, memory, momentum)


def _place(specs: tuple[LayerSpec, ...], train: tuple[Descriptor, ...], momentum: bool
           ) -> MemoryMap:
    """Return the arena; the region between two layers has the size that the larger user needs."""
    place = Allocator()
    place_programs(place, {"train": train}, StepBlockLayout.of(specs, 0))
    place.add("input", specs[0].x.nbytes, "map")
    for spec, after in zip(specs, (*specs[1:], None)):
        name, nbytes = spec.name, max(spec.y.nbytes, after.x.nbytes if after else 0)
        place.add(f"{name}.y" if after else "logits", nbytes, "map")
        place.add(f"{name}.dy" if after else "dlogits", nbytes, "gradient map")
        if spec.flags is not None:
            place.add(f"{name}.flags", spec.flags.nbytes, "flags")
        place.add(f"{name}.w16", spec.weight_bytes, "weights")
        place.add(f"{name}.wv", spec.master_bytes(momentum), "masters")
        if spec.bias:
            place.add(f"{name}.bias", spec.bias_bytes, "masters")
            place.add(f"{name}.db", spec.bias_bytes, "gradient sums")
    return place.finish()
