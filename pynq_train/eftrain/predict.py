"""Predicted training step of a build: tiles and cycles of every layer and pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pynq_train.eftrain.design import Design
from pynq_train.eftrain.latency import PASSES, ConvShape, EfPass, EfTile, latency
from pynq_train.eftrain.resources import resources
from pynq_train.errors import DoesNotFit, UnsupportedModel
from pynq_train.layers.fuse import FusedLayer


@dataclass(frozen=True)
class EfLayer:
    """Prediction of one layer.

    Attributes:
        name: name of the layer.
        shape: its convolution.
        tiles: tiles of each pass; the first layer has no backward pass.
        cycles: predicted cycles of each pass over the mini-batch.
    """

    name: str
    shape: ConvShape
    tiles: Mapping[EfPass, EfTile]
    cycles: Mapping[EfPass, int]

    @property
    def total(self) -> int:
        """Cycles of all passes."""
        return sum(self.cycles.values())


@dataclass(frozen=True)
class EfPrediction:
    """Prediction of a training step's convolutions.

    Pooling, loss and the processor's work are not in the paper's model, and so not here.

    Attributes:
        design: the build.
        batch: images of the mini-batch.
        layers: the layers.
        clock_mhz: clock for times.
    """

    design: Design
    batch: int
    layers: tuple[EfLayer, ...]
    clock_mhz: float

    @property
    def cycles(self) -> int:
        """Cycles of the mini-batch."""
        return sum(layer.total for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-adds of the mini-batch."""
        return self.batch * sum(len(layer.cycles) * layer.shape.macs for layer in self.layers)

    @property
    def ms_per_image(self) -> float:
        """Milliseconds per image."""
        return self.cycles / (1e3 * self.clock_mhz * self.batch)

    @property
    def gops(self) -> float:
        """Thousand million operations per second; a multiply-add counts as two."""
        return 2e-3 * self.macs * self.clock_mhz / self.cycles

    @property
    def use(self) -> float:
        """Multiply-adds per multiplier and cycle: 1 is a busy array."""
        return self.macs / (self.design.multipliers * self.cycles)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        design, taken = self.design, resources(self.design)
        return {
            "kind": "model", "chip": design.chip.name, "type": design.dtype.name,
            "clock_mhz": self.clock_mhz, "batch": self.batch, "cycles": self.cycles,
            "macs": self.macs, "ms_per_image": round(self.ms_per_image, 6),
            "gops": round(self.gops, 4), "array_use": round(self.use, 5),
            "multipliers": design.multipliers, "lanes": design.lanes,
            "words_per_cycle": design.timing.words_per_cycle,
            "buffer_words": {"ifm": design.ifm_words, "ofm": design.ofm_words,
                             "wei": design.wei_words},
            "dsp": taken.dsp, "bram36": taken.bram36,
            "per_layer": [{
                "layer": layer.name, "cycles": {kind.value: layer.cycles.get(kind, 0)
                                                for kind in PASSES},
                "tiles": {kind.value: [tile.rows, tile.cols, tile.on_chip]
                          for kind, tile in layer.tiles.items()}} for layer in self.layers]}


def conv_shape(layer: FusedLayer) -> ConvShape:
    """Return a layer as a convolution; a fully connected one has as many channels as features.

    Raises:
        UnsupportedModel: not every output channel reads every input channel, or rows and columns
            of kernel or stride differ.
    """
    if layer.kind.fully_connected:
        return ConvShape(layer.out_channels, layer.in_features, 1, 1, 1, 1, 1)
    for what, sides in (("kernel", layer.kernel), ("stride", layer.stride)):
        if sides.rows != sides.cols:
            raise UnsupportedModel(f"{layer.name}: {what} on the EF-Train kernel",
                                   expected="as many rows as columns", found=sides,
                                   fix="use another board")
    _, rows, cols = layer.out_shape_before_pool
    shape = ConvShape(layer.out_channels, layer.in_shape[0], rows, cols, layer.in_shape[1],
                      layer.in_shape[2], layer.kernel.rows, layer.stride.rows)
    if shape.macs != layer.macs_per_image:
        raise UnsupportedModel(f"{layer.name}: EF-Train's products", expected=shape.macs,
                               found=layer.macs_per_image,
                               fix="leave grouped and depthwise convolutions out")
    return shape


def predict_layers(layers: Sequence[FusedLayer], design: Design, batch: int,
                   clock_mhz: float | None = None, dense: bool = False) -> EfPrediction:
    """Predict a training step, each pass with the rows per tile that take the fewest cycles.

    Args:
        layers: fused layers in order; the first one has no backward pass.
        design: the build.
        batch: images of the mini-batch.
        clock_mhz: another clock than the chip's.
        dense: predict fully connected layers too, as convolutions of kernel 1. The paper's figures
            have none, and with its start of a transfer for every tile they come out slower than
            the paper's board.

    Raises:
        DoesNotFit: a row of a map, or the weights of one tile, are larger than the buffers.
    """
    found = []
    for index, layer in enumerate(layers):
        if layer.kind.fully_connected and not dense:
            continue
        shape = conv_shape(layer)
        kinds = [kind for kind in PASSES if index or kind != EfPass.BP]
        tiles = {kind: best_ef_tile(layer.name, shape, kind, design, batch) for kind in kinds}
        cycles = {kind: latency(shape, kind, tile, batch, design.timing)
                  for kind, tile in tiles.items()}
        found.append(EfLayer(layer.name, shape, tiles, cycles))
    return EfPrediction(design, batch, tuple(found), clock_mhz or design.chip.clock_mhz)


def best_ef_tile(name: str, shape: ConvShape, kind: EfPass, design: Design, batch: int) -> EfTile:
    """Return the tile of whole rows with the fewest cycles; of equals, the one with more rows.

    Args:
        name: name of the layer, for the error.
        shape: its convolution.
        kind: the pass.
        design: the build.
        batch: images of the mini-batch.

    Raises:
        DoesNotFit: a row of a map, or the weights of one tile, are larger than the buffers.
    """
    held = design.on_chip(shape, kind)
    if not held:
        raise DoesNotFit(f"{name} {kind.value}: EF-Train's weight banks",
                         expected="room for the weights of one tile",
                         found=f"{design.wei_words} words", fix="use more weight words")
    rows, cols = shape.produced(kind)
    best: tuple[int, EfTile] | None = None
    for count in range(1, rows + 1):
        tile = EfTile(design.lanes, count, cols, held)
        # More rows need more words: no larger tile fits either.
        if not design.holds(shape, kind, tile):
            break
        cycles = latency(shape, kind, tile, batch, design.timing)
        if best is None or cycles <= best[0]:
            best = cycles, tile
    if best is None:
        raise DoesNotFit(f"{name} {kind.value}: EF-Train's map buffers",
                         expected="room for one row of a tile",
                         found=f"{design.ifm_words} and {design.ofm_words} words",
                         fix="use larger buffers")
    return best[1]
