"""Cycles of one pass of one layer: equations 15 to 27 of the paper.

Three rules differ from the equations as they are printed. With them the model gives the paper's
own table of predicted cycles (Table 6), without them it does not: an image of at most four channels
is loaded with as few words as it has channels; the last group of output channels whose weights are
held on chip is charged as large as it is; the first load of an output tile does not wait for the
weights.

Two rules are ours: those for a stride in the backward pass (:func:`source_words`,
:func:`array_cycles`), where the paper's equation 2 is not the adjoint of the forward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class EfPass(Enum):
    """The three passes of the training step.

    FP: forward, BP: backward, WU: weight update.
    """

    FP = "fp"
    BP = "bp"
    WU = "wu"


PASSES = tuple(EfPass)
FEW_CHANNELS = 4
"""An image of at most so many channels is loaded without padding it to the lanes."""


@dataclass(frozen=True)
class ConvShape:
    """A convolution; a fully connected layer is one of kernel 1 on a map of 1 x 1.

    Attributes:
        m: output channels.
        n: input channels.
        rows: output rows.
        cols: output columns.
        in_rows: input rows (those of the map that the backward pass produces).
        in_cols: input columns.
        kernel: rows and columns of the kernel.
        stride: stride.
    """

    m: int
    n: int
    rows: int
    cols: int
    in_rows: int
    in_cols: int
    kernel: int
    stride: int = 1

    @property
    def macs(self) -> int:
        """Multiply-adds of one pass over one image."""
        return self.m * self.n * self.rows * self.cols * self.kernel**2

    def produced(self, kind: EfPass) -> tuple[int, int]:
        """Return rows and columns of the map that a pass works on tile by tile."""
        return (self.in_rows, self.in_cols) if kind == EfPass.BP else (self.rows, self.cols)


@dataclass(frozen=True)
class EfTile:
    """Tiles of a pass.

    Attributes:
        lanes: ``Tm = Tn``, channels of a tile.
        rows: ``Tr``, rows of a tile.
        cols: ``Tc``, columns of a tile; whole rows where maps are reshaped.
        on_chip: ``M_on``, output channels whose weights stay on chip for the mini-batch.
    """

    lanes: int
    rows: int
    cols: int
    on_chip: int


@dataclass(frozen=True)
class Timing:
    """What the cycles of a transfer depend on.

    Attributes:
        words_per_cycle: numbers that one stream carries in a cycle (``p``).
        start_cycles: cycles to start one DMA transfer; 400 were measured on both boards.
    """

    words_per_cycle: int
    start_cycles: int = 400


@dataclass(frozen=True)
class _Terms:
    """Cycles of what happens once per tile, and how often that is.

    Attributes:
        comp: cycles of the array for one tile of input channels.
        ifm: cycles to load a tile of the input map.
        wei: cycles to load a tile of weights (backward: all that are held).
        out: cycles to move a tile of the output map.
        n: tiles of the reduced channels.
        m: tiles of the produced channels.
        r: tiles of rows.
        start: cycles to start a transfer.
    """

    comp: int
    ifm: int
    wei: int
    out: int
    n: int
    m: int
    r: int
    start: int


def latency(shape: ConvShape, kind: EfPass, tile: EfTile, batch: int, timing: Timing) -> int:
    """Return the cycles of one pass over a mini-batch.

    Args:
        shape: the layer.
        kind: which pass; the backward pass produces ``n`` channels from ``m``.
        tile: its tiles.
        batch: images.
        timing: streams of the chip.
    """
    # Output channels go in groups of M_on, whose weights stay on chip while all images pass; the
    # last group may be smaller.
    whole, last = divmod(_channels(shape, kind)[0], tile.on_chip)
    cycles = 0
    if whole:
        cycles += whole * _group(shape, kind, tile, tile.on_chip, batch, timing)
    if last:
        cycles += _group(shape, kind, tile, last, batch, timing)
    return cycles


def source_words(shape: ConvShape, kind: EfPass, tile: EfTile) -> int:
    """Return the words of an IFM bank: the pixels that a tile reads of one channel."""
    rows, cols = tile.rows, tile.cols
    if kind == EfPass.BP:  # of the zeros between the loss's pixels none is kept
        return ((rows + shape.kernel - 2) // shape.stride + 1) * (
            (cols + shape.kernel - 2) // shape.stride + 1)
    return ((rows - 1) * shape.stride + shape.kernel) * ((cols - 1) * shape.stride + shape.kernel)


def array_cycles(shape: ConvShape, kind: EfPass, tile: EfTile) -> int:
    """Return the cycles of the array per tile: one position of one tap each.

    In a strided backward pass a tap meets every stride-th row and column only.
    """
    if kind != EfPass.BP or shape.stride == 1:
        return tile.rows * tile.cols * shape.kernel**2
    return -(-tile.rows // shape.stride) * -(-tile.cols // shape.stride) * shape.kernel**2


def _channels(shape: ConvShape, kind: EfPass) -> tuple[int, int]:
    """Return produced and reduced channels: the backward pass exchanges them."""
    return (shape.n, shape.m) if kind == EfPass.BP else (shape.m, shape.n)


def _terms(shape: ConvShape, kind: EfPass, tile: EfTile, held: int, timing: Timing) -> _Terms:
    """Return what one tile costs, for a group of ``held`` output channels on chip."""
    p, start, lanes, taps = (timing.words_per_cycle, timing.start_cycles, tile.lanes,
                             shape.kernel**2)
    reduced = _channels(shape, kind)[1]
    row_count = shape.produced(kind)[0]
    # An image of few channels would be padded to all lanes for nothing; the paper's figures for it
    # follow from its own channels.
    channels = min(reduced, lanes) if reduced <= FEW_CHANNELS else lanes
    wei = -(-lanes * lanes // p) * taps
    if kind == EfPass.BP:  # all weights that are held, in one transfer
        wei = -(-held * lanes // p) * taps + start
    return _Terms(
        comp=array_cycles(shape, kind, tile),
        ifm=start + -(-channels // p) * source_words(shape, kind, tile),
        wei=wei,
        out=-(-lanes // p) * tile.rows * tile.cols,
        n=-(-reduced // lanes), m=-(-held // lanes), r=-(-row_count // tile.rows), start=start)


def _group(shape: ConvShape, kind: EfPass, tile: EfTile, held: int, batch: int,
           timing: Timing) -> int:
    """Return the cycles of a mini-batch for ``held`` output channels whose weights are on chip."""
    terms = _terms(shape, kind, tile, held, timing)
    if kind == EfPass.WU:
        return _update_group(terms, batch)
    return _product_group(terms, batch, kind)


def _product_group(t: _Terms, batch: int, kind: EfPass) -> int:
    """Return the cycles of a group, forward and backward.

    Equations 15 to 21, and what section 5 of the paper says of the backward pass.
    """
    ready = max(t.ifm, t.comp)  # a tile of input comes in while the one before is computed
    filling = max(t.ifm, t.wei, t.comp)  # the same while weights come in
    store = max(t.comp, t.out)
    # An output tile takes n input tiles. Loading overlaps with computing, so each costs the slower
    # of both; the last one's computing overlaps with the store of the output tile before, if there
    # is one.
    first = (t.n - 1) * ready + t.ifm + t.comp  # nothing to store yet
    other = (t.n - 1) * ready + t.ifm + store
    drain = t.out + t.start
    image = (t.m * t.r - 1) * other + first + drain
    loading_first = (t.n - 1) * filling + t.ifm + t.comp
    if kind == EfPass.FP:  # weights come in by tiles of output channels
        loading_other = (t.n - 1) * filling + t.ifm + store
        first_image = (t.m * (t.r - 1) * other + (t.m - 1) * loading_other + loading_first
                       + drain)
    else:  # all of them during the first output tile
        first_image = (t.m * t.r - 1) * other + loading_first + drain
    # Weights come in with the first image and stay for the others.
    return (batch - 1) * image + first_image


def _update_group(t: _Terms, batch: int) -> int:
    """Return the cycles of a group of the weight update (equations 22 to 27).

    Both maps come in, gradients stay on chip until the last image.
    """
    # The loss has the size of an output tile; both streams run at once.
    loss = t.start + t.out
    load = max(t.ifm, loss)
    out = t.wei
    pairs = t.m * t.n
    # With several tiles of rows each pair of channel tiles passes all of them; with a single one
    # the loss tile stays while the input tiles change.
    if t.r > 1:
        both = max(load, t.comp)
        first = (t.r - 1) * both + load + t.comp
        last = (t.r - 1) * both + load + max(t.comp, out)
        return ((batch - 1) * pairs + 1) * first + (pairs - 1) * last + out
    ready = max(t.ifm, t.comp)
    image = (t.n - 1) * ready + load + t.comp
    last_image = (t.n - 1) * (ready + out) + load + t.comp + out
    return t.m * ((batch - 1) * image + last_image)
