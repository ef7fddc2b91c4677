"""The compiled kernel behind NumPy arrays, called pass by pass."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynq_train.eftrain.csim.build import BIAS_TILES, build, port_numbers
from pynq_train.eftrain.csim.layout import Packed
from pynq_train.eftrain.design import Design
from pynq_train.eftrain.latency import ConvShape, EfPass, EfTile
from pynq_train.eftrain.predict import best_ef_tile
from pynq_train.errors import BadInput

_PASS = {EfPass.FP: 0, EfPass.BP: 1, EfPass.WU: 2}
"""Number of each pass, as the kernel takes it."""
_RELU, _BIAS, _MASK = 1, 2, 4
MAX_KERNEL = 11
"""Largest kernel of the C++ code (``MaxKernel`` of ``ef_config.hpp``)."""


class _Layer(ctypes.Structure):
    """``EfLayer`` of ``ef_config.hpp``."""

    _fields_ = [(name, ctypes.c_int) for name in (
        "batch", "m", "n", "rows", "cols", "in_rows", "in_cols", "kernel", "stride", "pad_top",
        "pad_left", "tile_rows", "on_chip", "flags")] + [("rate", ctypes.c_float)]


@dataclass(frozen=True)
class Work:
    """One layer for the kernel.

    Attributes:
        name: name of the layer.
        shape: its convolution.
        pad_top: zero rows above the input.
        pad_left: zero columns left of it.
        relu: ReLU behind the forward pass.
        bias: biases are added, and trained.
    """

    name: str
    shape: ConvShape
    pad_top: int = 0
    pad_left: int = 0
    relu: bool = False
    bias: bool = True


class Kernel:
    """A build of the kernel. Maps and weights are packed (``layout``).

    Args:
        design: lanes, buffers and data type.
        source: folder of other sources than those of the package.
        library: a library that exists already.
    """

    def __init__(self, design: Design, source: Path | None = None,
                 library: Path | None = None) -> None:
        self.design = design
        self._library = ctypes.CDLL(str(library or build(design, source)))
        pointer = ctypes.c_void_p
        self._library.ef_train.argtypes = [ctypes.c_int, _Layer, *[pointer] * 4]
        self._library.ef_train.restype = None
        self._library.ef_pool.argtypes = [*[ctypes.c_int] * 4, *[pointer] * 3]
        self._library.ef_pool.restype = None
        self._dtype = np.float32 if design.dtype.bits == 32 else np.int16

    def forward(self, work: Work, x: Packed, weights: Packed, tile: EfTile | None = None) -> Packed:
        """Return the packed output map; ReLU and biases as ``work`` says.

        Args:
            work: the layer.
            x: packed input.
            weights: packed weights and biases.
            tile: other tiles than those that the model takes for the fastest.

        Raises:
            BadInput: an array or the tile does not fit the layer.
        """
        shape = work.shape
        self._check(work, "input", x, shape.n, shape.in_rows, shape.in_cols)
        out = self._map(len(x), shape.m, shape.rows, shape.cols)
        flags = _RELU * work.relu | _BIAS * work.bias
        self._train(EfPass.FP, work, len(x), tile, flags, 0.0, x, None, weights, out)
        return out

    def backward(self, work: Work, loss: Packed, weights: Packed, mask: Packed | None = None,
                 tile: EfTile | None = None) -> Packed:
        """Return the packed loss of the layer's input.

        Args:
            work: the layer.
            loss: packed loss of the output.
            weights: packed weights.
            mask: packed input of the layer, if it came out of a ReLU: where it is not positive, the
                loss is zero.
            tile: as in :meth:`forward`.

        Raises:
            BadInput: an array or the tile does not fit the layer.
        """
        shape = work.shape
        self._check(work, "loss", loss, shape.m, shape.rows, shape.cols)
        out = self._map(len(loss), shape.n, shape.in_rows, shape.in_cols)
        if mask is not None:
            self._check(work, "mask", mask, shape.n, shape.in_rows, shape.in_cols)
        flags = _MASK if mask is not None else 0
        self._train(EfPass.BP, work, len(loss), tile, flags, 0.0, loss, mask, weights, out)
        return out

    def update(self, work: Work, x: Packed, loss: Packed, weights: Packed, rate: float,
               tile: EfTile | None = None) -> Packed:
        """Return new packed weights: ``w - rate * gradient``, summed over the mini-batch.

        Args:
            work: the layer.
            x: packed input of the layer.
            loss: packed loss of its output.
            weights: packed weights; not changed.
            rate: learning rate.
            tile: as in :meth:`forward`.

        Raises:
            BadInput: an array or the tile does not fit the layer.
        """
        shape = work.shape
        self._check(work, "input", x, shape.n, shape.in_rows, shape.in_cols)
        self._check(work, "loss", loss, shape.m, shape.rows, shape.cols)
        out = weights.copy()
        flags = _BIAS * work.bias
        self._train(EfPass.WU, work, len(x), tile, flags, rate, x, loss, weights, out)
        return out

    def pool(self, x: Packed) -> tuple[Packed, NDArray[np.uint16]]:
        """Return the packed maxima of 2x2 windows, and which one each was, for :meth:`unpool`."""
        images, tiles, rows, cols, lanes = x.shape
        x = np.ascontiguousarray(x)
        out = np.zeros((images, tiles, rows // 2, cols // 2, lanes), self._dtype)
        index = np.zeros(out.size // port_numbers(self.design), np.uint16)
        self._library.ef_pool(0, images * tiles, rows, cols, _at(x), _at(index), _at(out))
        return out, index

    def unpool(self, loss: Packed, index: NDArray[np.uint16], rows: int, cols: int) -> Packed:
        """Return the packed loss of a map of ``rows`` x ``cols`` from that of its pooled map."""
        images, tiles, _, _, lanes = loss.shape
        loss = np.ascontiguousarray(loss)
        out = np.zeros((images, tiles, rows, cols, lanes), self._dtype)
        self._library.ef_pool(1, images * tiles, rows, cols, _at(loss), _at(index), _at(out))
        return out

    def _map(self, images: int, channels: int, rows: int, cols: int) -> Packed:
        """Return a packed map of zeros."""
        tiles = -(-channels // self.design.lanes)
        return np.zeros((images, tiles, rows, cols, self.design.lanes), self._dtype)

    def _check(self, work: Work, what: str, packed: Packed, channels: int, rows: int,
               cols: int) -> None:
        """Refuse a map of another shape or type, with BadInput.

        The kernel trusts its registers: whatever it could read or write outside is refused here.
        """
        wanted = (len(packed), -(-channels // self.design.lanes), rows, cols, self.design.lanes)
        if packed.shape != wanted or packed.dtype != self._dtype:
            raise BadInput(f"{work.name}: {what}",
                           expected=f"{np.dtype(self._dtype).name} of shape {wanted}",
                           found=f"{packed.dtype.name} of shape {packed.shape}",
                           fix="pack it with eftrain.csim.layout.pack_map")

    def _train(self, kind: EfPass, work: Work, batch: int, tile: EfTile | None, flags: int,
               rate: float, first: Packed, second: Packed | None, weights: Packed,
               out: Packed) -> None:
        """Check tile and weights, and run one pass in the compiled kernel."""
        shape, design = work.shape, self.design
        if shape.kernel > MAX_KERNEL:
            raise BadInput(f"{work.name}: kernel", expected=f"at most {MAX_KERNEL}",
                           found=shape.kernel)
        tile = tile or best_ef_tile(work.name, shape, kind, design, batch)
        held = design.on_chip(shape, kind)
        tiles = -(-tile.on_chip // design.lanes)
        # Groups of less than M_on channels may be cut to any number of whole tiles.
        most = min(-(-held // design.lanes), BIAS_TILES)
        whole_rows = tile.rows >= 1 and tile.cols == shape.produced(kind)[1]
        if not (whole_rows and design.holds(shape, kind, tile) and 1 <= tiles <= most):
            raise BadInput(f"{work.name}: tile {tile}", expected="whole rows that the buffers hold",
                           found=f"{design.ifm_words}, {design.ofm_words} and {design.wei_words} "
                           "words", fix="use fewer rows or channels on chip")
        m_tiles, n_tiles = -(-shape.m // design.lanes), -(-shape.n // design.lanes)
        numbers = m_tiles * design.lanes * (n_tiles * design.lanes * shape.kernel**2 + 1)
        if weights.shape != (numbers,) or weights.dtype != self._dtype:
            raise BadInput(f"{work.name}: weights",
                           expected=f"{numbers} numbers of {np.dtype(self._dtype).name}",
                           found=f"{weights.dtype.name} of shape {weights.shape}",
                           fix="pack them with eftrain.csim.layout.pack_weights")
        layer = _Layer(batch, shape.m, shape.n, shape.rows, shape.cols, shape.in_rows,
                       shape.in_cols, shape.kernel, shape.stride, work.pad_top, work.pad_left,
                       tile.rows, tile.on_chip, flags, rate)
        arrays = [np.ascontiguousarray(a) if a is not None else None
                  for a in (first, second, weights)]
        self._library.ef_train(_PASS[kind], layer, *(None if a is None else _at(a)
                                                     for a in arrays), _at(out))


def _at(array: NDArray[Any]) -> int:
    """Return the address of an array's first element."""
    return int(array.ctypes.data)
