"""Random layers for the EF-Train kernel, and what its passes must give, in float64."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pynq_train.eftrain import FIXED16, FP32, ConvShape, DataType, Design, EfPass, EfTile
from pynq_train.eftrain.chips import XC7Z020
from pynq_train.eftrain.csim import Kernel
from pynq_train.eftrain.csim.kernel import Work
from pynq_train.eftrain.csim.layout import pack_map, pack_weights, unpack_map, unpack_weights

Float = NDArray[np.float64]
SMALL = Design(XC7Z020, FP32, 4, 256, 128, 200)
"""Few lanes and small buffers: many tiles."""
FIXED = replace(SMALL, dtype=FIXED16)
FIXED_STEP = 2.0**-10


@dataclass(frozen=True)
class Case:
    """One layer with data: ``x[b,n,h,w]``, ``w[m,n,k,k]``, ``bias[m]``, ``loss[b,m,r,c]``."""

    work: Work
    x: Float
    weight: Float
    bias: Float
    loss: Float
    rate: float


def build_for(dtype: DataType) -> Design:
    return SMALL if dtype == FP32 else FIXED


def draw(rng: np.random.Generator, kernel: int | None = None, stride: int | None = None) -> Case:
    """Draw a layer; its numbers are multiples of 2^-10, which both data types hold."""
    k = int(kernel or rng.integers(1, 6))
    s = int(stride or rng.integers(1, 4))
    m, n = (int(v) for v in rng.integers(1, 12, 2))
    top, left = (int(v) for v in rng.integers(0, k, 2))
    rows, cols = (int(v) for v in rng.integers(1, 7, 2))
    # Up to s - 1 rows and columns that no window reaches, and the padding at the far sides.
    below, right = (int(v) for v in rng.integers(0, k, 2))
    spare = rng.integers(0, s, 2)
    height = max((rows - 1) * s + k - top - below + int(spare[0]), 1)
    width = max((cols - 1) * s + k - left - right + int(spare[1]), 1)
    work = Work("layer", ConvShape(m, n, rows, cols, height, width, k, s), top, left,
                bool(rng.integers(2)), bool(rng.integers(2)))
    batch = int(rng.integers(1, 4))

    def numbers(most: int, *shape: int) -> Float:
        return np.asarray(rng.integers(-most, most + 1, shape) / 1024.0)

    return Case(work, numbers(1024, batch, n, height, width), numbers(256, m, n, k, k),
                numbers(1024, m), numbers(256, batch, m, rows, cols), 1 / 16)


def windows(case: Case, x: Float) -> Float:
    """All windows of padded maps: ``(b, n, rows, cols, k, k)``, a view into a padded copy."""
    shape, work = case.work.shape, case.work
    full = np.zeros((*x.shape[:2], (shape.rows - 1) * shape.stride + shape.kernel + 1 + work.pad_top
                     + x.shape[2], (shape.cols - 1) * shape.stride + shape.kernel + 1
                     + work.pad_left + x.shape[3]))
    full[:, :, work.pad_top : work.pad_top + x.shape[2],
         work.pad_left : work.pad_left + x.shape[3]] = x
    view = np.lib.stride_tricks.sliding_window_view(full, (shape.kernel, shape.kernel), (2, 3))
    return view[:, :, : (shape.rows - 1) * shape.stride + 1 : shape.stride,
                : (shape.cols - 1) * shape.stride + 1 : shape.stride]


def forward(case: Case) -> Float:
    y = np.einsum("bnrckl,mnkl->bmrc", windows(case, case.x), case.weight)
    if case.work.bias:
        y = y + case.bias[:, None, None]
    return np.maximum(y, 0) if case.work.relu else y


def backward(case: Case, masked: bool) -> Float:
    """The adjoint, built from its definition: where each product of the forward pass came from."""
    shape, work = case.work.shape, case.work
    full = np.zeros((len(case.x), shape.n, shape.in_rows + 2 * shape.kernel + shape.stride * 7,
                     shape.in_cols + 2 * shape.kernel + shape.stride * 7))
    for r in range(shape.rows):
        for c in range(shape.cols):
            at = r * shape.stride, c * shape.stride
            full[:, :, at[0] : at[0] + shape.kernel, at[1] : at[1] + shape.kernel] += np.einsum(
                "bm,mnkl->bnkl", case.loss[:, :, r, c], case.weight)
    dx = full[:, :, work.pad_top : work.pad_top + shape.in_rows,
              work.pad_left : work.pad_left + shape.in_cols]
    return np.where(case.x > 0, dx, 0) if masked else dx


def update(case: Case) -> tuple[Float, Float]:
    """New weights and biases."""
    gradient = np.einsum("bnrckl,bmrc->mnkl", windows(case, case.x), case.loss)
    bias = case.loss.sum(axis=(0, 2, 3)) if case.work.bias else np.zeros(len(case.bias))
    return case.weight - case.rate * gradient, case.bias - case.rate * bias


def tile_of(case: Case, kind: EfPass, design: Design, rng: np.random.Generator) -> EfTile:
    """A random tile that the buffers hold."""
    shape = case.work.shape
    rows, cols = shape.produced(kind)
    made = shape.n if kind == EfPass.BP else shape.m
    held = -(-design.on_chip(shape, kind) // design.lanes)
    fitting = [count for count in range(1, rows + 1)
               if design.holds(shape, kind, EfTile(design.lanes, count, cols, made))]
    return EfTile(design.lanes, int(rng.choice(fitting)), cols,
                min(int(rng.integers(1, held + 1)) * design.lanes, made))


def errors(kernel: Kernel, case: Case, rng: np.random.Generator) -> dict[EfPass, float]:
    """Largest difference between the kernel and the references, by pass."""
    design, work = kernel.design, case.work
    x, loss = pack_map(design, case.x), pack_map(design, case.loss)  # type: ignore[arg-type]
    weights = pack_weights(design, case.weight, case.bias)  # type: ignore[arg-type]
    y = kernel.forward(work, x, weights, tile_of(case, EfPass.FP, design, rng))
    masked = bool(rng.integers(2))
    dx = kernel.backward(work, loss, weights, x if masked else None,
                         tile_of(case, EfPass.BP, design, rng))
    new = kernel.update(work, x, loss, weights, case.rate, tile_of(case, EfPass.WU, design, rng))
    shape = work.shape
    weight, bias = unpack_weights(design, new, (shape.m, shape.n, shape.kernel, shape.kernel))
    wanted_weight, wanted_bias = update(case)
    return {
        EfPass.FP: _off(unpack_map(design, y, shape.m), forward(case)),
        EfPass.BP: _off(unpack_map(design, dx, shape.n), backward(case, masked)),
        EfPass.WU: max(_off(weight, wanted_weight), _off(bias, wanted_bias))}


def _off(found: NDArray[np.float32], wanted: Float) -> float:
    return float(np.abs(found - wanted).max())
