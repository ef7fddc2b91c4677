"""The three passes of a convolution as matrix products in float64, which are exact.

A product of two 16-bit codes is below 2**30, so sums of up to 2**23 products are integers that
float64 holds. Larger sums are split and added as int64, modulo 2**48 as in the engine. Windows are
gathered into the rows of one matrix per chunk of pixels ("im2col"). ``docs/numerics.md`` 2 and 3
define the results, its section 8 says why float64 is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from pynq_train.arrays import Array
from pynq_train.backends.golden import post
from pynq_train.backends.golden.geometry import Chunk, Geometry, split
from pynq_train.backends.golden.memory import ArenaViews
from pynq_train.backends.golden.post import ACC_BITS, Requantiser
from pynq_train.backends.golden.workers import Workers
from pynq_train.fixed import align, wrap
from pynq_train.hw.commands import LoadMode
from pynq_train.hw.words import CHANNELS_PER_WORD
from pynq_train.program.program import Fields

CHUNK_BYTES = 3 << 21
"""Size of the gathered windows of a chunk: few enough calls that threads rarely wait for Python."""
CODE_LIMIT = 1 << 15
"""Magnitude that no 16-bit operand exceeds."""
EXACT = 1 << 53
"""float64 holds all integers up to here."""


@dataclass(frozen=True)
class PixelWindows:
    """Where the windows of pixels lie in a padded feature map.

    Attributes:
        row: first row of the window of pixel (0, 0).
        col: its first column.
        rows: rows of a window.
        cols: columns of a window.
        step: rows and columns from pixel to pixel.
    """

    row: int
    col: int
    rows: int
    cols: int
    step: tuple[int, int]


def gather(source: Array, window: PixelWindows, rows: int, cols: int, out: Array) -> None:
    """Copy the windows of ``rows`` x ``cols`` pixels into the rows of the matrix ``out``.

    Args:
        source: int16 ``[image, row, column, channel]``, contiguous.
        window: where the windows lie.
        rows: rows of pixels.
        cols: columns of pixels.
        out: float64 ``[image * rows * cols, window rows * window cols * channels]``.
    """
    images, _, _, channels = source.shape
    si, sr, sc, s1 = source.strides
    # Columns and channels of a window row stand one behind the other, so they are one axis: longer
    # runs to copy.
    view = as_strided(source[:, window.row :, window.col :],
                      (images, rows, cols, window.rows, window.cols * channels),
                      (si, window.step[0] * sr, window.step[1] * sc, sr, s1))
    np.copyto(out.reshape(view.shape), view)


class WindowProduct:
    """``windows @ weights``, exact.

    Args:
        weights: int16 ``[terms, outputs]``.
        scale: power of two that the result is multiplied with.
        offset: largest magnitude of what is added to the sums later.

    Attributes:
        wraps: results may leave 48 bits, and must be wrapped.
    """

    def __init__(self, weights: Array, scale: float, offset: int) -> None:
        exact = weights.astype(np.float64)
        # Largest magnitude that a sum of these weights can have with any inputs: tighter than terms
        # * 2**30, so that most layers need neither wrapping nor splitting.
        bound = int(np.abs(exact).sum(axis=0).max()) * CODE_LIMIT + offset
        self.wraps = bound >= 1 << (ACC_BITS - 1)
        self._scale = scale
        self._weights = exact * scale
        parts = -(-bound // (EXACT // 2))
        self._slices: list[slice] = []
        if parts > 1:
            # So few terms that no part can leave the exact range, whatever its weights; the parts
            # add up in int64, and the scale is applied behind the wrapping.
            size = max(1, EXACT // 2 // CODE_LIMIT**2)
            self._weights = exact
            self._slices = [slice(k, k + size) for k in range(0, len(exact), size)]

    def __call__(self, windows: Array, out: Array) -> None:
        """Multiply float64 ``windows [pixels, terms]``.

        ``out``: float64 ``[pixels, outputs]``, gets the products times ``scale``.
        """
        if not self._slices:
            np.matmul(windows, self._weights, out=out)
            return
        total = np.zeros(out.shape, np.int64)
        for part in self._slices:
            np.matmul(windows[:, part], self._weights[part], out=out)
            total += out.astype(np.int64)
        np.multiply(wrap(total, ACC_BITS), self._scale, out=out)


@dataclass(frozen=True)
class PassRecord:
    """Record of a pass.

    Attributes:
        measure: OR of (sum XOR sign) of all elements that count.
        saturations: how many of them saturated.
    """

    measure: int = 0
    saturations: int = 0


def _padded(shape: tuple[int, ...], workers: Workers) -> tuple[Array, Array]:
    """Return an empty map of words ``[image, row, column, block]``, and its int16 channels."""
    words = workers.scratch.get("map", shape, np.int64)
    return words, words.view(np.int16)


def _clear_frame(words: Array, rows: tuple[int, int], cols: tuple[int, int]) -> None:
    """Zero a map ``[image, row, column, block]`` but for ``rows`` x ``cols`` (start, stop)."""
    words[:, : rows[0]] = 0
    words[:, rows[1] :] = 0
    words[:, rows[0] : rows[1], : cols[0]] = 0
    words[:, rows[0] : rows[1], cols[1] :] = 0


def _span(first: int, count: int, limit: int) -> tuple[int, int]:
    """Return the part of ``first .. first + count - 1`` in ``0 .. limit - 1``: (start, stop)."""
    return max(first, 0), max(min(first + count, limit), max(first, 0))


def _input_windows(g: Geometry, words: Array, chunk: Chunk, cols: int,
                   workers: Workers) -> Array:
    """Return the windows of the layer's input for a chunk of output pixels, float64."""
    k, s, channels = g.kernel, g.stride, CHANNELS_PER_WORD * g.n_blocks
    first = chunk.row * s[0] - g.pad_top
    rows, width = (chunk.rows - 1) * s[0] + k[0], (cols - 1) * s[1] + k[1]
    padded, codes = _padded((chunk.images, rows, width, g.n_blocks), workers)
    # The chunk's rows of the input, cut at the map's borders; the frame that is left is padding.
    r0, r1 = _span(first, rows, g.in_rows)
    c0, c1 = _span(-g.pad_left, width, g.in_cols)
    part = words[chunk.image : chunk.image + chunk.images, :, r0:r1, c0:c1]
    lines, columns = (r0 - first, r1 - first), (c0 + g.pad_left, c1 + g.pad_left)
    _clear_frame(padded, lines, columns)
    padded[:, slice(*lines), slice(*columns)] = part.transpose(0, 2, 3, 1)
    pixels = chunk.images * chunk.rows * cols
    out = workers.scratch.get("windows", (pixels, prod(k) * channels), np.float64)
    gather(codes, PixelWindows(0, 0, *k, s), chunk.rows, cols, out)
    return out


def _chunks(images: int, rows: int, cols: int, terms: int, workers: Workers,
            even: bool = False) -> list[Chunk]:
    """Cut the pixels of a pass into chunks, each a task of a thread.

    Args:
        images: images of the pixel grid.
        rows: rows of the pixel grid.
        cols: columns of the pixel grid.
        terms: terms of a sum, columns of the matrix of windows.
        workers: the threads.
        even: chunks start at even rows.
    """
    row_bytes = max(8 * cols * terms, 1)
    # Small layers are cut into as many chunks as there are threads, large ones into chunks of
    # CHUNK_BYTES.
    target = min(CHUNK_BYTES, max(row_bytes, images * rows * row_bytes // workers.threads))
    return split(images, rows, row_bytes, target, even)


def _bias(memory: ArenaViews, g: Geometry, params: Fields, outputs: int
          ) -> tuple[Array | None, int]:
    """Return the aligned biases of a pass, None if it adds none, and their largest magnitude."""
    if not g.bias:
        return None, 0
    masters = g.biases(memory, np.int32, 2)[:outputs, 0]
    bias = align(masters.astype(np.int64), params["bias_shift"])
    return bias, int(np.abs(bias).max())


def forward(memory: ArenaViews, g: Geometry, params: Fields, workers: Workers) -> PassRecord:
    """Run the forward pass: y = post(conv(x, w) + bias), with activation, pooling and flags.

    Args:
        memory: the arena.
        g: the pass.
        params: fields of the step-block entry.
        workers: the threads.

    Returns:
        Its record; output and flags are in the arena.
    """
    rows, cols = g.out_rows, g.out_cols
    if g.pool:
        # What pooling drops is not computed: it counts neither in the measure nor in the
        # saturations.
        rows, cols = rows // 2 * 2, cols // 2 * 2
    if not rows or not cols:
        return PassRecord()
    x, y, outputs = g.x_words(memory), g.y_words(memory), CHANNELS_PER_WORD * g.m_blocks
    flags = g.flag_units(memory) if g.flags else None
    packed = g.weights(memory)[:, : g.n_blocks]
    # [m tile, n block, kr, kc, m, n] to [kr, kc, n block, n] x [m tile, m], the order in which a
    # window has its terms.
    weights = packed.transpose(2, 3, 1, 5, 0, 4).reshape(-1, g.m_tiles * g.m_tile)[:, :outputs]
    bias, offset = _bias(memory, g, params, outputs)
    shift = params["shift"]
    activation = g.activation.at(params)
    product = WindowProduct(weights, 2.0**-shift, offset)
    requantise = Requantiser(shift, bias, product.wraps)

    def run(chunk: Chunk) -> None:
        """Compute the output pixels of a chunk, from windows to flags."""
        windows = _input_windows(g, x, chunk, cols, workers)
        sums = workers.scratch.get("sums", (len(windows), outputs), np.float64)
        product(windows, sums)
        codes = workers.scratch.get("codes", (chunk.images, chunk.rows, cols, outputs), np.int16)
        requantise(sums, codes.reshape(sums.shape))
        at = slice(chunk.image, chunk.image + chunk.images)
        if g.pool:
            line = slice(chunk.row // 2, (chunk.row + chunk.rows) // 2)
            codes, bits = post.pool_2x2(codes, activation)
            post.store_words(y[at, :, line], codes)
            if flags is not None:
                post.store_pool_flags(flags[at, :, line], bits)
            return
        line = slice(chunk.row, chunk.row + chunk.rows)
        activation.apply(codes)
        post.store_words(y[at, :, line], codes)
        if flags is not None:
            post.store_mask_flags(flags[at, :, line], y[at, :, line], activation)

    workers.map(run, _chunks(g.images, rows, cols, weights.shape[0], workers, g.pool))
    return PassRecord(requantise.measure, requantise.saturations)


def _gradient(g: Geometry, memory: ArenaViews) -> tuple[Array, Array | None]:
    """Return the words of the output gradient, and its flags if it has some."""
    return g.y_words(memory), g.flag_units(memory) if g.gradient.masked else None


def _load_gradient(g: Geometry, y: Array, flags: Array | None, images: slice,
                   first: tuple[int, int], out: Array) -> None:
    """Fill ``out[i, row, col, block]`` with the gradient of the unpooled output.

    Args:
        g: the pass.
        y: words of the stored gradient.
        flags: its flags, None if it has none.
        images: images to load.
        first: row and column of ``out[:, 0, 0]``; what lies outside the map becomes zero.
        out: int64 words.
    """
    rows, cols = out.shape[1:3]
    unpool = flags is not None and g.mode == LoadMode.UNPOOL
    limits = (g.out_rows, g.out_cols)
    if unpool:
        # An odd last row or column was dropped by pooling: its gradient is zero.
        limits = (g.out_rows // 2 * 2, g.out_cols // 2 * 2)
    (r0, r1), (c0, c1) = _span(first[0], rows, limits[0]), _span(first[1], cols, limits[1])
    if r0 >= r1 or c0 >= c1:
        out[...] = 0
        return
    lines, columns = (r0 - first[0], r1 - first[0]), (c0 - first[1], c1 - first[1])
    _clear_frame(out, lines, columns)
    part = out[:, slice(*lines), slice(*columns)]
    if flags is None:
        part[...] = y[images, :, r0:r1, c0:c1].transpose(0, 2, 3, 1)
    elif unpool:
        pooled = slice(r0 // 2, -(-r1 // 2))
        post.load_unpooled(part, y[images, :, pooled], flags[images, :, pooled], g.gradient,
                           r0 % 2, c0)
    else:
        post.load_masked(part, y[images, :, r0:r1], flags[images, :, r0:r1], g.gradient, c0)


@dataclass(frozen=True)
class _Axis:
    """One axis of a backward phase.

    A strided convolution meets input rows of different remainders modulo the stride with different
    kernel rows. Each remainder is a phase: a convolution without a stride, with every stride-th
    kernel row. Input coordinate ``first + stride * j`` is grid index ``grid + j``; it reads output
    coordinates ``grid + j - t`` with kernel coordinate ``phase + stride * t``.

    Attributes:
        first: first input coordinate of the phase.
        count: how many there are.
        grid: grid index of the first.
        taps: kernel coordinates of the phase.
    """

    first: int
    count: int
    grid: int
    taps: int

    @classmethod
    def of(cls, phase: int, stride: int, pad: int, size: int, kernel: int) -> _Axis:
        """Return the axis of a phase for an input of ``size`` coordinates."""
        first = (phase - pad) % stride
        count = max(0, -(-(size - first) // stride))
        return cls(first, count, (first + pad - phase) // stride, len(range(phase, kernel, stride)))


def backward(memory: ArenaViews, g: Geometry, params: Fields, workers: Workers) -> PassRecord:
    """Run the backward pass: gradient of the input, rows with (row + pad_top) % stride == phase.

    That is also the forward pass of a transposed convolution, which may have a bias.

    Args:
        memory: the arena.
        g: the pass; its row phase is ``g.phase``.
        params: fields of the step-block entry.
        workers: the threads.

    Returns:
        Its record; the gradient is in the arena.
    """
    s, k = g.stride, g.kernel
    lines = _Axis.of(g.phase, s[0], g.pad_top, g.in_rows, k[0])
    if not lines.count:
        return PassRecord()
    x = g.x_words(memory)
    outputs, channels = CHANNELS_PER_WORD * g.n_blocks, CHANNELS_PER_WORD * g.m_blocks
    y, flags = _gradient(g, memory)
    packed = g.weights(memory)[:, : g.n_blocks]
    full = packed.transpose(2, 3, 0, 4, 1, 5).reshape(*k, -1, outputs)[:, :, :channels]
    shift = params["shift"]
    bias, offset = _bias(memory, g, params, outputs)
    phases: list[tuple[_Axis, WindowProduct | None]] = []
    for phase in range(s[1]):
        axis = _Axis.of(phase, s[1], g.pad_left, g.in_cols, k[1])
        # Kernel rows and columns of the phase, turned round: a later tap reads an earlier output
        # pixel, and windows are gathered with rising coordinates.
        weights = full[g.phase :: s[0], phase :: s[1]][::-1, ::-1].reshape(-1, outputs)
        product = WindowProduct(weights, 2.0**-shift, offset) if weights.size else None
        if axis.count:
            phases.append((axis, product))
    wraps = any(product is not None and product.wraps for _, product in phases)
    requantise = Requantiser(shift, bias, wraps)
    # One loaded map serves all column phases: from the first column that any of them reads to the
    # last.
    left = min(a.grid - max(a.taps - 1, 0) for a, _ in phases)
    right = max(a.grid + a.count for a, _ in phases)

    def run(chunk: Chunk) -> None:
        """Compute the input gradient of a chunk of rows, column phase by column phase."""
        # The first row that the chunk's first pixel reads: its last tap.
        top = lines.grid + chunk.row - (lines.taps - 1)
        shape = (chunk.images, chunk.rows + max(lines.taps - 1, 0), right - left, g.m_blocks)
        padded, codes = _padded(shape, workers)
        images = slice(chunk.image, chunk.image + chunk.images)
        _load_gradient(g, y, flags, images, (top, left), padded)
        start = lines.first + s[0] * chunk.row
        for axis, product in phases:
            size = (chunk.images, chunk.rows, axis.count, outputs)
            result = workers.scratch.get("codes", size, np.int16)
            # A phase without taps, where the kernel is smaller than the stride: no output reads
            # these columns, so their gradient is zero.
            if product is None:
                sums = workers.scratch.get("sums", (result.size // outputs, outputs), np.float64)
                sums[...] = 0
                requantise(sums, result.reshape(sums.shape))
            else:
                pixels, terms = chunk.images * chunk.rows * axis.count, lines.taps * axis.taps
                windows = workers.scratch.get("windows", (pixels, terms * channels), np.float64)
                column = axis.grid - (axis.taps - 1) - left
                gather(codes, PixelWindows(0, column, lines.taps, axis.taps, (1, 1)),
                       chunk.rows, axis.count, windows)
                sums = workers.scratch.get("sums", (pixels, outputs), np.float64)
                product(windows, sums)
                requantise(sums, result.reshape(sums.shape))
            stop = start + s[0] * (chunk.rows - 1) + 1
            post.store_words(x[images, :, start : stop : s[0], axis.first :: s[1]], result)

    taps = max(1, lines.taps * max(a.taps for a, _ in phases))
    cols = max(a.count for a, _ in phases)
    workers.map(run, _chunks(g.images, lines.count, cols, taps * channels, workers))
    return PassRecord(requantise.measure, requantise.saturations)


def weight_gradient(memory: ArenaViews, g: Geometry, workers: Workers) -> Array:
    """Return the sums of dY times X in the order of the weights in memory, exact modulo 2**48.

    The sums of dY alone (bias gradient) go to memory, those of the weights do not: they are given
    to the update unit.

    Args:
        memory: the arena.
        g: the pass.
        workers: the threads.

    Returns:
        int64 ``[m tile, n block, kr, kc, m of the tile, 4]``, good until the next call.
    """
    x, channels = g.x_words(memory), CHANNELS_PER_WORD * g.m_blocks
    y, flags = _gradient(g, memory)
    terms = prod(g.kernel) * CHANNELS_PER_WORD * g.n_blocks
    biases = g.biases(memory, np.int64, 1) if g.bias else None
    chunks = _chunks(g.images, g.out_rows, g.out_cols, terms, workers,
                     g.mode == LoadMode.UNPOOL)
    # Sums this small are exact in float64 over all chunks; else each chunk is, and int64 adds them.
    exact = g.images * g.out_rows * g.out_cols * CODE_LIMIT**2 < EXACT
    # A thread adds up its chunks in an array of its own. Integer sums are the same in any order, so
    # the number of threads changes no bit.
    groups = [chunks[i :: workers.threads] for i in range(min(workers.threads, len(chunks)))]

    def run(group: list[Chunk]) -> tuple[Array, Array]:
        """Sums of some chunks: of the weights ``[padded m, terms]``, of the biases ``[m]``."""
        dtype: Any = np.float64 if exact else np.int64
        padded_total: Array = np.zeros((g.m_tiles * g.m_tile, terms), dtype)
        total = padded_total[:channels]
        sums: Array = np.zeros(channels, np.int64)
        # A single exact chunk needs no second array.
        part = np.empty((channels, terms)) if len(group) > 1 or not exact else total
        for chunk in group:
            windows = _input_windows(g, x, chunk, g.out_cols, workers)
            shape = (chunk.images, chunk.rows, g.out_cols, g.m_blocks)
            padded, codes = _padded(shape, workers)
            images = slice(chunk.image, chunk.image + chunk.images)
            _load_gradient(g, y, flags, images, (chunk.row, 0), padded)
            gradient = workers.scratch.get("sums", (len(windows), channels), np.float64)
            np.copyto(gradient, codes.reshape(gradient.shape))
            np.matmul(gradient.T, windows, out=part)
            if part is not total:
                total += part if exact else part.astype(np.int64)
            if g.bias:
                sums += (np.ones(len(gradient)) @ gradient).astype(np.int64)
        return padded_total, sums

    results = workers.map(run, groups)
    total = results[0][0]
    for other, _ in results[1:]:
        total += other
    if biases is not None:
        # Wrapped to 48 bits, sign-extended, as the engine stores them.
        biases[:channels, 0] = wrap(sum((r[1] for r in results[1:]), results[0][1]), ACC_BITS)
        biases[channels:] = 0
    out = workers.scratch.get("weight sums", g.weight_shape, np.int64)
    out[:, g.n_blocks :] = 0
    shape = (g.m_tiles, g.m_tile, *g.kernel, g.n_blocks, CHANNELS_PER_WORD)
    np.copyto(out[:, : g.n_blocks], total.reshape(shape).transpose(0, 4, 2, 3, 1, 5),
              casting="unsafe")
    return out
