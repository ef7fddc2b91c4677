"""The schedule of random layers, executed by the literal engine model, equals direct sums."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from reference_models import direct
from reference_models.engine_model import run_conv

from pynq_train.errors import PynqTrainError
from pynq_train.graph.activation import Activation, Relu
from pynq_train.graph.graph import Graph
from pynq_train.graph.ops import Conv, Dense, MaxPool2x2
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import Opcode, Pass, pack_descriptor, pack_params, pack_tap
from pynq_train.hw.config import ZYNQ7020, HwConfig
from pynq_train.layers.fuse import FusedLayer, fuse
from pynq_train.schedule.lower.conv import LayerAddresses, lower
from pynq_train.schedule.passes.cost import pass_cost, update_cost
from pynq_train.schedule.passes.geometry import (
    PassShape,
    Tile,
    TiledPass,
    backward_shapes,
    forward_shape,
    weight_gradient_shape,
)
from pynq_train.schedule.specs.layout import MapLayout, pack_dense, pack_maps
from pynq_train.schedule.specs.spec import LayerSpec, layer_specs

SMALL = replace(ZYNQ7020, x_bank_words=256, s_ring_words=512, acc_groups=64, stage_words=2048,
                flag_words=512)
BASE = 1 << 16
SPACE = 1 << 20
STEP, TAPS, RECORD = 0x1000, 0x2000, 0x3000
TOP = 2**31 - 1
W_SHIFT = 14


class Bench:
    """One layer with random tensors in an arena, and the expected arena."""

    def __init__(self, spec: LayerSpec, rng: np.random.Generator) -> None:
        self.spec, self.rng = spec, rng
        names = tuple(LayerAddresses.__dataclass_fields__)
        self.at = LayerAddresses(**{n: BASE + i * SPACE for i, n in enumerate(names)})
        self.arena = rng.integers(0, 256, BASE + len(names) * SPACE, dtype=np.uint8)
        channels = spec.flat_shape[0] if spec.flat_shape else spec.n
        if spec.flat_shape:
            _, rows, cols = spec.flat_shape
            self.images = spec.x.cols
        elif spec.dense:
            rows = cols = 1
            self.images = spec.x.cols
        else:
            rows, cols, self.images = spec.x.rows, spec.x.cols, spec.images
        self.map_shape = (self.images, channels, rows, cols)
        if spec.dense:
            features = channels * rows * cols
            self.w = self.values((spec.m, features))
            self.out = (1, 1)
        else:
            self.w = self.values((spec.m, channels, *spec.kernel))
            self.out = (spec.out_rows, spec.out_cols)
        self.x = self.values(self.map_shape)
        self.b = rng.integers(-2**24, 2**24, spec.m)
        self.put(self.arena, self.at.x, self.pack_x(self.x))
        self.put(self.arena, self.at.w16, spec.pack_weights(self.w).astype(np.int16))
        self.put(self.arena, self.at.bias,
                 spec.pack_bias(self.b & 0xFFFFFFFF | 0x1234567 << 32).astype(np.int64))

    def values(self, shape: tuple[int, ...]) -> np.ndarray:
        return self.rng.integers(-32767, 32768, shape)

    @staticmethod
    def put(arena: np.ndarray, at: int, values: np.ndarray) -> None:
        raw = np.frombuffer(values.tobytes(), np.uint8)
        assert raw.size <= SPACE
        arena[at:at + raw.size] = raw

    def pack_x(self, x: np.ndarray) -> np.ndarray:
        spec = self.spec
        x = x.astype(np.int16)
        if spec.flat_shape is None and (spec.dense or spec.x.image_stride == 8):
            return pack_dense(x[:, :, 0, 0])
        return pack_maps(x)

    def pack_y(self, y: np.ndarray) -> np.ndarray:
        y = y.astype(np.int16)
        if self.spec.dense or self.spec.y.image_stride == 8:
            return pack_dense(y[:, :, 0, 0])
        return pack_maps(y)

    def w4(self) -> np.ndarray:
        return self.w[:, :, None, None] if self.spec.dense else self.w

    def flat(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(self.images, -1, 1, 1) if self.spec.dense else x

    def sums(self) -> np.ndarray:
        spec = self.spec
        return direct.conv(self.flat(self.x), self.w4(), spec.stride, spec.pad_top,
                           spec.pad_left, self.out)

    def flags(self, mask: np.ndarray, index: np.ndarray | None) -> np.ndarray:
        if self.spec.dense:
            mask = mask[:, :, 0, 0].T[None, :, None, :]
        return direct.flag_words(mask, index)

    def gradient(self) -> np.ndarray:
        """Write a random output gradient with flags; return it masked and unpooled."""
        spec = self.spec
        size = (self.out[0] // 2, self.out[1] // 2) if spec.pool else self.out
        dy = self.values((self.images, spec.m, *size))
        self.put(self.arena, self.at.dy, self.pack_y(dy))
        mask = self.rng.integers(0, 2, dy.shape).astype(bool)
        if spec.pool:
            index = self.rng.integers(0, 4, dy.shape)
            self.put(self.arena, self.at.flags, self.flags(mask, index))
            return direct.unpool(dy, mask, index, self.out)
        if spec.activation.has_flags:
            self.put(self.arena, self.at.flags, self.flags(mask, None))
            return np.where(mask, dy, 0)
        return dy

    def run(self, geo: TiledPass, config: HwConfig, params: dict[str, int],
            flags: bool = True, momentum: bool = True) -> None:
        fields, taps = lower(geo, self.at, flags, momentum)
        opcode = Opcode(fields["pre.opcode"])
        fields.update({"pre.param": 3, "pre.taps_off": TAPS, "pre.rec_off": RECORD})
        for arena in (self.arena, self.expected):
            self.put(arena, 0, np.frombuffer(pack_descriptor(fields), np.uint8))
            self.put(arena, TAPS, np.frombuffer(b"".join(map(pack_tap, taps)), np.uint8))
            self.put(arena, STEP + 48,
                     np.frombuffer(pack_params(opcode, params), np.uint8))
        self.stats = run_conv(self.arena, 0, STEP, config)

    def check(self, what: str) -> None:
        names = list(LayerAddresses.__dataclass_fields__)
        bad = np.flatnonzero(self.arena != self.expected)
        if bad.size:
            at = int(bad[0])
            where = (names[(at - BASE) // SPACE], (at - BASE) % SPACE) if at >= BASE else at
            raise AssertionError(f"{what}: {bad.size} bytes differ, first {where}")

    def record(self, measure: int, saturations: int) -> None:
        self.put(self.expected, RECORD, np.array([measure, saturations, 0, 0], np.int64))


def forward(bench: Bench, geo: TiledPass, config: HwConfig, flags: bool = True) -> None:
    spec = bench.spec
    bench.expected = bench.arena.copy()
    params = {"shift": int(bench.rng.integers(14, 24)),
              "bias_shift": int(bench.rng.integers(-5, 8))}
    total = bench.sums()
    if spec.bias:
        shift = params["bias_shift"]
        b = bench.b << shift if shift >= 0 else direct.rne(bench.b, -shift)
        total = total + b[None, :, None, None]
    if spec.pool:
        total = total[:, :, :spec.out_rows // 2 * 2, :spec.out_cols // 2 * 2]
    y, measure, saturations = direct.requantise(total, params["shift"])
    if spec.activation.has_flags:
        y = np.maximum(y, 0)
    index = None
    if spec.pool:
        y, index = direct.pool(y)
    bench.put(bench.expected, bench.at.y, bench.pack_y(y))
    if flags and spec.flags is not None:
        mask = (y > 0) if spec.activation.has_flags else np.ones(y.shape, bool)
        padded = np.zeros((y.shape[0], -(-spec.m // 4) * 4, *y.shape[2:]), bool)
        padded[:, :spec.m] = mask
        if not spec.activation.has_flags:
            padded[:] = True
        if index is not None:
            wide = np.zeros(padded.shape, np.int64)
            wide[:, :spec.m] = index
            index = wide
        bench.put(bench.expected, bench.at.flags, bench.flags(padded, index))
    bench.record(measure, saturations)
    bench.run(geo, config, params, flags)
    bench.check("forward")


def backward(bench: Bench, geos: list[TiledPass], config: HwConfig) -> None:
    spec = bench.spec
    dy = bench.gradient()
    channels = bench.map_shape[1]
    bench.expected = bench.arena.copy()
    params = {"shift": int(bench.rng.integers(14, 24)), "bias_shift": 0}
    if spec.dense:
        total = np.einsum("im,mn->in", dy[:, :, 0, 0], bench.w).reshape(bench.map_shape)
    else:
        total = direct.conv_input_gradient(dy, bench.w, spec.stride, spec.pad_top, spec.pad_left,
                                           bench.map_shape[2:])
    dx = direct.requantise(total, params["shift"])[0]
    assert dx.shape[1] == channels
    bench.put(bench.expected, bench.at.dx, bench.pack_x(dx))
    for geo in geos:
        if spec.dense:
            part = total
        else:
            rows = np.arange(spec.x.rows)
            part = total[:, :, (rows + spec.pad_top) % spec.stride.rows == geo.shape.phase]
        bench.record(*direct.requantise(part, params["shift"])[1:])
        bench.run(geo, config, params)
    bench.check("backward")


def weight_gradient(bench: Bench, geos: list[TiledPass], config: HwConfig,
                    momentum: bool = True) -> None:
    """Slices of a weight gradient, with an update that shows the sums: v' = g or w' = w - g."""
    spec = bench.spec
    dy = bench.gradient()
    w = bench.rng.integers(-2**30, 2**30, bench.w.shape)
    v = bench.rng.integers(-2**30, 2**30, bench.w.shape)
    bench.put(bench.arena, bench.at.wv, masters(spec, w, v, momentum))
    bench.expected = bench.arena.copy()
    g = direct.conv_weight_gradient(bench.flat(bench.x), dy, spec.kernel, spec.stride,
                                    spec.pad_top, spec.pad_left)
    g = np.clip(direct.rne(g[:, :, 0, 0] if spec.dense else g, 10), -TOP, TOP)
    lr = 0 if momentum else 1
    w = np.clip(w - lr * g, -TOP, TOP)
    bench.put(bench.expected, bench.at.wv, masters(spec, w, g, momentum))
    copy = np.clip(direct.rne(w, W_SHIFT), -32767, 32767)
    bench.put(bench.expected, bench.at.w16, spec.pack_weights(copy).astype(np.int16))
    if spec.bias:
        bench.put(bench.expected, bench.at.db, spec.pack_bias(dy.sum((0, 2, 3))))
    exact = direct.rne(w, W_SHIFT)
    for geo in geos:
        part = slice(16 * geo.shape.m_first, 16 * (geo.shape.m_first + geo.shape.outer))
        bench.record(int(np.bitwise_or.reduce((w[part] ^ (w[part] >> 63)).ravel())),
                     int(np.count_nonzero(copy[part] != exact[part])))
        bench.run(geo, config, {"g_shift": 16 + 10, "lr": lr, "w_shift": W_SHIFT},
                  momentum=momentum)
    bench.check("weight gradient")


def masters(spec: LayerSpec, w: np.ndarray, v: np.ndarray, momentum: bool) -> np.ndarray:
    """Weight masters as they stand in memory."""
    if not momentum:
        return spec.pack_weights(w.astype(np.int32))
    return spec.pack_weights(v << 32 | w & 0xFFFF_FFFF)


def slices(spec: LayerSpec, config: HwConfig, rng: random.Random) -> list[TiledPass]:
    """Random tiles of random slices that cover all m tiles."""
    result, first = [], 0
    while first < spec.m_tiles:
        count = rng.randint(1, spec.m_tiles - first)
        result.append(random_tile(weight_gradient_shape(spec, first, count), config, rng))
        first += count
    return result


def random_tile(shape: PassShape, config: HwConfig, rng: random.Random) -> TiledPass:
    """A random legal tile, also ones that the search would not look at."""
    for _ in range(3000):
        images = rng.randint(1, shape.images)
        rows = rng.choice([shape.rows, rng.randint(1, shape.rows)])
        cols = rng.choice([shape.cols, rng.randint(1, shape.cols)])
        chunk = rng.choice([shape.reduce, rng.randint(1, shape.reduce)])
        if shape.even_rows and rows < shape.rows:
            rows = max(rows // 2 * 2, min(2, shape.rows))
        if shape.aligned_cols and cols < shape.cols:
            cols = min(-(-cols // 16) * 16, shape.cols)
        if shape.kind == Pass.WEIGHT_GRADIENT and chunk < shape.reduce and (
                chunk % 3 if shape.spec.kernel.area == 1 else shape.reduce % chunk):
            continue
        geo = TiledPass(shape, Tile(images, rows, cols, chunk))
        if geo.excess(config) is None:
            return geo
    raise AssertionError(f"no tile for {shape}")


def random_conv(rng: random.Random) -> tuple[tuple[FusedLayer, ...], int, int]:
    kernel = rng.choice([1, 1, 2, 3, 3, 3, 4, 5, 5, 6, 7, 9, 11])
    stride = rng.choice([1, 1, 2, 3, 4])
    padding: int | str = rng.choice([0, rng.randint(0, kernel - 1), "same"])
    pad = kernel if padding == "same" else int(padding)
    low = max(kernel - 2 * pad, 1) + 2 * stride
    size = [rng.randint(low, max(low, 8 if kernel < 7 else 12)) for _ in range(2)]
    if rng.random() < 0.25:
        size[1] += rng.choice([9, 20, 34])
    wide = [1, 3, 4, 7, 16, 18, 20, 33][:8 if kernel < 6 else 6]
    tail = rng.choice([[], [Relu()], [Relu(), MaxPool2x2()], [MaxPool2x2()]])
    try:
        graph = Graph.build((rng.randint(1, 9 if kernel < 6 else 4), *size),
                            [Conv(3, 1), Relu(),
                             Conv(rng.choice(wide), kernel, stride, padding,
                                  rng.random() < 0.7), *tail, Dense(3)])
        layers = fuse(graph)
    except PynqTrainError:
        return random_conv(rng)
    return layers, 1, rng.randint(1, 4 if kernel < 6 else 2)


def random_rectangle(rng: random.Random) -> tuple[tuple[FusedLayer, ...], int, int]:
    """Sides of kernel and stride, and all four paddings, drawn by themselves; often one row."""
    kernel = (rng.choice([1, 1, 2, 3, 4, 5, 10]), rng.choice([1, 1, 2, 3, 4, 5, 9, 11]))
    stride = (rng.choice([1, 1, 2, 3, 4]), rng.choice([1, 1, 2, 3, 4]))
    padding = tuple((rng.randint(0, side - 1), rng.randint(0, side - 1)) for side in kernel)
    line = kernel[0] == 1 and rng.random() < 0.5
    size = [max(side - sum(ends), 1) + rng.randint(0, 5) + step for side, ends, step
            in zip(kernel, padding, stride)]
    size[1] += rng.choice([0, 9, 20, 34]) * (rng.random() < 0.3)
    if line:
        size[0] = 1
    small = kernel[0] * kernel[1] < 20
    wide = [1, 3, 4, 7, 16, 18, 20, 33][:8 if small else 6]
    tail = rng.choice([[], [Relu()], [Relu(), MaxPool2x2()], [MaxPool2x2()]])
    try:
        channels = rng.randint(1, 9 if small else 4)
        conv = Conv(rng.choice(wide), kernel, stride, rng.choice([padding, padding, "same"]),  # type: ignore[arg-type]
                    rng.random() < 0.7)
        layers = fuse(Graph.build((2, *size), [Conv(channels, 1), Relu(), conv, *tail, Dense(3)]))
    except PynqTrainError:
        return random_rectangle(rng)
    return layers, 1, rng.randint(1, 4 if small else 2)


def random_dense(rng: random.Random) -> tuple[tuple[FusedLayer, ...], int, int]:
    kind = rng.randrange(3)
    tail = [Relu()] if rng.random() < 0.5 else []
    units = rng.choice([3, 10, 17, 33])
    if kind == 0:  # after a feature map
        ops = [Conv(rng.choice([2, 4, 6, 9]), 1), Relu(), Dense(units), *tail, Dense(4)]
        size = (2, rng.randint(1, 5), rng.randint(2, 4))
    elif kind == 1:  # after a dense map
        ops = [Dense(rng.choice([5, 16, 23, 70])), Relu(), Dense(units), *tail, Dense(4)]
        size = (2, 2, 2)
    else:  # a 1x1 convolution on a dense map
        ops = [Dense(rng.choice([5, 16, 23])), Relu(), Conv(units, 1), *tail, Dense(4)]
        size = (2, 2, 2)
    batch = rng.choice([1, 2, 5, 7, 18, 33])
    return fuse(Graph.build(size, ops)), 1, batch


CASES = [(kind, seed) for kind, count in (("conv", 30), ("rectangle", 40), ("dense", 14))
         for seed in range(count)]
DRAW = {"conv": random_conv, "rectangle": random_rectangle, "dense": random_dense}


@pytest.mark.parametrize("kind,seed", CASES)
def test_passes(kind: str, seed: int) -> None:
    rng = random.Random(f"{kind}{seed}")
    layers, index, batch = DRAW[kind](rng)
    spec = layer_specs(layers, batch)[index]
    config = rng.choice([SMALL, SMALL, ZYNQ7020])
    if max(spec.kernel) > 3:
        config = ZYNQ7020
    bench = Bench(spec, np.random.default_rng(seed))
    forward(bench, random_tile(forward_shape(spec), config, rng), config,
            flags=rng.random() < 0.8)
    backward(bench, [random_tile(s, config, rng) for s in backward_shapes(spec)], config)
    weight_gradient(bench, slices(spec, config, rng), config, momentum=seed % 2 == 0)


def test_first_and_last_layer() -> None:
    """The logits of a 1x1-output convolution stand as a dense map; the first layer has nb = 1."""
    graph = Graph.build((3, 5, 5), [Conv(4, 3), Relu(), Conv(10, 3)])
    specs = layer_specs(fuse(graph), 5)
    rng = random.Random(1)
    for spec in specs:
        bench = Bench(spec, np.random.default_rng(7))
        forward(bench, random_tile(forward_shape(spec), SMALL, rng), SMALL)
        if spec.backward:
            backward(bench, [random_tile(s, SMALL, rng) for s in backward_shapes(spec)], SMALL)
        weight_gradient(bench, slices(spec, SMALL, rng), SMALL)
    assert specs[0].nb == 1


@pytest.mark.parametrize(("channels", "groups", "m_tile", "filled"), [
    (6, 1, 16, 2), (6, 1, 32, 2), (16, 1, 32, 4), (17, 1, 16, 4), (40, 1, 32, 8),
    (8, 8, 16, 2), (24, 24, 16, 4), (24, 2, 16, 3),
])
def test_padding_to_a_tile_is_not_computed(channels: int, groups: int, m_tile: int,
                                           filled: int) -> None:
    """Weights, gradients and sweeps end with the channel blocks of the layer."""
    graph = Graph.build((4, 6, 6), [
        Conv(channels, 1), Relu(), Conv(channels, 3, 1, 1, groups=groups), Dense(2)])
    spec = layer_specs(fuse(graph), 2, m_tile=m_tile)[1]
    section = spec.sections()[0]
    assert spec.filled_blocks == section.filled_blocks == filled
    if groups == 1:
        assert spec.nb == spec.x.blocks
    tiled = TiledPass(backward_shapes(section)[0], Tile(1, 6, 6, 1))
    fields, _ = lower(tiled, LayerAddresses(*range(0, 9 * 4096, 4096)))
    assert fields["c.l1"] == fields["c.s_sets"] == filled
    assert tiled.x_blocks == filled


@pytest.mark.parametrize("seed", range(8))
def test_predicted_traffic_and_steps(seed: int) -> None:
    """Words and steps of the cycle model are those of the engine model (without flags)."""
    rng = random.Random(f"cost{seed}")
    layers, index, batch = (random_dense if seed % 4 == 3 else random_conv)(rng)
    spec = replace(layer_specs(layers, batch)[index], activation=Activation.NONE, pool=False,
                   flags=None)
    if layers[index].pool:
        out = spec.out_rows, spec.out_cols
        spec = replace(spec, y=MapLayout.feature(spec.images, spec.m, *out))
    board = BOARDS["pynq-z2"]
    bench = Bench(spec, np.random.default_rng(seed))
    for shape in (forward_shape(spec), weight_gradient_shape(spec)):
        geo = random_tile(shape, board.config, rng)
        cost = pass_cost(geo, board)
        if shape.kind == Pass.FORWARD:
            forward(bench, geo, board.config)
            written = 0
        else:
            weight_gradient(bench, [geo], board.config)
            live = spec.weight_elements * min(spec.m, spec.m_tile) // spec.m_tile
            _, _, written = update_cost(live, momentum=True)
        stats = bench.stats
        assert 8 * stats["words_read"] == cost.bytes_read
        assert 8 * stats["words_written"] == cost.bytes_written + written + 32
        assert stats["steps"] <= cost.array
