"""One build of the accelerator: lanes and buffers on a chip."""

from __future__ import annotations

from dataclasses import dataclass

from pynq_train.eftrain.chips import Chip, DataType
from pynq_train.eftrain.latency import ConvShape, EfPass, EfTile, Timing, source_words
from pynq_train.errors import BadInput

BRAM36_BITS = 32 * 1024
"""Bits of a block memory without its parity: 1024 x 32 or 2048 x 16."""


@dataclass(frozen=True)
class Design:
    """Lanes and buffers. Every buffer exists twice: one half works while the other is filled.

    Attributes:
        chip: the chip.
        dtype: type of all numbers.
        lanes: ``Tm = Tn``; the array has ``lanes ** 2`` multipliers with adders.
        ifm_words: depth of each of the ``lanes`` banks of the input buffer.
        ofm_words: depth of each of the ``lanes`` banks of the output buffer.
        wei_words: depth of each of the ``lanes ** 2`` banks of the weight buffer.
        slot_kernel: None: kernels lie behind each other in a bank. A number: a bank is cut into
            slots for one kernel of this size, which hold whole blocks of smaller kernels only, as
            the paper's builds for several kernel sizes do.
    """

    chip: Chip
    dtype: DataType
    lanes: int
    ifm_words: int
    ofm_words: int
    wei_words: int
    slot_kernel: int | None = None

    def __post_init__(self) -> None:
        """Refuse buffers and lanes that are none.

        Raises:
            BadInput: one of them is below 1.
        """
        for what in ("lanes", "ifm_words", "ofm_words", "wei_words"):
            if getattr(self, what) < 1:
                raise BadInput(f"EF-Train design: {what}", expected="1 or more",
                               found=getattr(self, what))

    @property
    def multipliers(self) -> int:
        """Number of multipliers of the array."""
        return self.lanes**2

    @property
    def timing(self) -> Timing:
        """Speed of the chip's streams for this data type."""
        return Timing(max(self.chip.stream_bits // self.dtype.bits, 1))

    def on_chip(self, shape: ConvShape, kind: EfPass) -> int:
        """Return ``M_on``: output channels whose weights the buffers hold; 0 if not even a tile's.

        ``kind``: the pass; backward makes n channels from m.
        """
        made, reduced = (shape.n, shape.m) if kind == EfPass.BP else (shape.m, shape.n)
        if self.slot_kernel is None:
            tiles = self.wei_words // (_depth(reduced, self.lanes) * shape.kernel**2)
            return halved(made, self.lanes, tiles)
        # A slot holds whole kernels of its size, of smaller ones as many blocks of channels as fit
        # beside each other in both directions.
        slots = self.wei_words // self.slot_kernel**2
        per_slot = (self.slot_kernel // shape.kernel) ** 2
        tiles = slots // -(-_depth(reduced, self.lanes) // per_slot) if per_slot else 0
        return min(made, tiles * self.lanes)

    def holds(self, shape: ConvShape, kind: EfPass, tile: EfTile) -> bool:
        """Return whether the input and output buffers hold a tile of a pass."""
        return (source_words(shape, kind, tile) <= self.ifm_words
                and tile.rows * tile.cols <= self.ofm_words)


def halved(made: int, lanes: int, tiles: int) -> int:
    """Return the largest share of ``made`` channels of at most ``tiles`` tiles (Algorithm 1).

    The shares are all channels, then the smallest multiple of the lanes that covers a half, a
    third, and so on; 0 if there is no room for a tile.
    """
    if tiles < 1:
        return 0
    share, parts = made, 1
    while -(-share // lanes) > tiles:
        parts += 1
        share = -(-made // (parts * lanes)) * lanes
    return share


def weight_words(shape: ConvShape, kind: EfPass, lanes: int, held: int) -> int:
    """Return the words of a weight bank that ``held`` output channels take (equation 31)."""
    reduced = shape.m if kind == EfPass.BP else shape.n
    return _depth(reduced, lanes) * -(-held // lanes) * shape.kernel**2


def _depth(reduced: int, lanes: int) -> int:
    """Return the kernels per output tile in one of the two halves of a bank."""
    return -(-reduced // (2 * lanes))


def bram36(words: int, bits: int) -> float:
    """Return the block memories of one bank of ``words`` numbers of ``bits`` bits.

    A half, or as many wholes as it takes: a block memory can be used as two of half the size.
    """
    return 0.5 if words * bits <= BRAM36_BITS // 2 else float(-(-words * bits // BRAM36_BITS))
