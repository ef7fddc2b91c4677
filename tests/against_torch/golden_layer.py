"""Single layers, softmax and SGD in golden: integers in, integers out, for comparison."""

from __future__ import annotations

import dataclasses
import random
import re
from dataclasses import dataclass

import numpy as np
from reference_models.described import described

from pynq_train.backends.golden import GoldenMachine
from pynq_train.errors import PynqTrainError
from pynq_train.graph.activation import Relu, Relu6
from pynq_train.graph.graph import Graph
from pynq_train.graph.ops import Conv, Dense, MaxPool2x2, Op
from pynq_train.graph.windows import Padding, Side
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import Opcode, pack_descriptor, pack_params, pack_tap
from pynq_train.layers.fuse import FusedLayer, fuse
from pynq_train.quant.loss import PLAIN_LOSS, Loss
from pynq_train.schedule.lower.conv import LayerAddresses, lower
from pynq_train.schedule.lower.conv_meaning import ConvTensors, convolution
from pynq_train.schedule.passes.geometry import (
    PassShape,
    backward_shapes,
    forward_shape,
    weight_gradient_shape,
)
from pynq_train.schedule.passes.tiling import best_tile
from pynq_train.schedule.specs.layout import pack_dense, pack_maps, unpack_dense, unpack_maps
from pynq_train.schedule.specs.spec import LayerSpec, layer_specs

Array = np.ndarray
BOARD = BOARDS["pynq-z2"]
STEP, TAPS, RECORD, BASE, SPACE = 0x1000, 0x2000, 0x3000, 1 << 16, 1 << 19
TENSORS = tuple(field.name for field in dataclasses.fields(LayerAddresses))
MASTERS = BASE + len(TENSORS) * SPACE
"""Where a GRADIENT finds {weight, momentum}; the tensors of :class:`LayerAddresses` stand below."""
SPLIT = 8
"""Bits of the low part of dY: the sums of both parts fit into a momentum."""


@dataclass(frozen=True)
class Case:
    """One layer with a mini-batch. ``kernel`` 0: fully connected on the (flattened) map.

    ``padding`` below 0 is "same". The shifts are those of the requantisations. ``limit`` above 0:
    ReLU ends there.
    """

    channels: int
    rows: int
    cols: int
    units: int
    kernel: Side
    stride: Side
    padding: Padding
    relu: bool
    pool: bool
    bias: bool
    images: int
    shift: int
    bias_shift: int
    back_shift: int
    seed: int
    groups: int = 1
    limit: int = 0

    def layer(self) -> tuple[FusedLayer, LayerSpec]:
        """The layer, second in a network so that it has a backward pass."""
        op: Op = Dense(self.units, bias=self.bias)
        if self.kernel:
            op = Conv(self.units, self.kernel, self.stride,
                      "same" if self.padding == -1 else self.padding, self.bias,
                      groups=self.groups)
        relu: Op = Relu6() if self.limit else Relu()
        tail: list[Op] = [relu] * self.relu + [MaxPool2x2()] * self.pool
        layers = fuse(Graph.build((1, self.rows, self.cols),
                                  [Conv(self.channels, 1), Relu(), op, *tail, Dense(2)]))
        return layers[1], layer_specs(layers, self.images)[1]

    def data(self) -> dict[str, Array]:
        """Random integers: x, w (16 bit), b (32-bit masters), dy (16 bit, stored size).

        Every third seed draws multiples of 128: many sums then lie half-way between two codes.
        """
        rng = np.random.default_rng(self.seed)
        layer, _ = self.layer()
        grain = 1 if self.seed % 3 else 128

        def codes(*shape: int) -> Array:
            return rng.integers(-32767 // grain + 1, 32767 // grain + 1, shape) * grain

        b = rng.integers(-2**24, 2**24, self.units) // grain**3 * grain**3
        return {"x": codes(self.images, *layer.in_shape), "w": codes(*layer.weight_shape),
                "b": b * self.bias,
                "dy": codes(self.images, *layer.out_shape)}


def random_case(kind: str, seed: int) -> Case:
    """A random layer of a kind: ``conv<kernel>``, ``dense``, ``grouped<kernel>`` whose groups keep
    a power of two of channels, ``groups<kernel>`` of any others; ``rectangle`` in place of the
    kernel draws both sides of kernel and stride, and all four paddings."""
    rng = random.Random(f"{kind}{seed}")
    dense, grouped = kind == "dense", kind.startswith("grouped")
    kernel = 0 if dense else int(re.sub("[a-z ]", "", kind) or 3)
    relu, pool = rng.random() < 0.6, not dense and rng.random() < 0.4
    while True:
        case = Case(
            channels=rng.randint(1, 6), rows=rng.randint(2, 5 if dense else 12),
            cols=rng.randint(2, 5 if dense else 12), units=rng.choice((1, 3, 7, 16, 18)),
            kernel=kernel, stride=rng.choice((1, 1, 2, 3, 4)),
            padding=rng.randint(-1, max(kernel - 1, 0)), relu=relu, pool=pool,
            bias=rng.random() < 0.8, images=rng.randint(1, 4), shift=rng.randint(14, 19),
            bias_shift=rng.randint(-4, 8), back_shift=rng.randint(14, 19), seed=seed)
        if grouped:
            size = rng.choice((1, 1, 2, 4, 8, 16))
            groups = rng.randint(2, 20 // size + 1)
            case = dataclasses.replace(
                case, channels=size * groups, units=size * groups, groups=groups,
                limit=rng.choice((0, 300, 9000, 32767, 40000)))
        if kind.startswith("groups"):
            n, m, groups = rng.randint(1, 9), rng.randint(1, 20), rng.randint(2, 9)
            case = dataclasses.replace(case, channels=n * groups, units=m * groups, groups=groups)
        if kind.endswith("rectangle"):
            sides = rng.randint(1, 6), rng.choice((1, 2, 3, 5, 9))
            ends = [(rng.randint(0, side - 1), rng.randint(0, side - 1)) for side in sides]
            case = dataclasses.replace(
                case, kernel=sides, stride=(case.stride, rng.randint(1, 4)),  # type: ignore[arg-type]
                padding=rng.choice((-1, (ends[0], ends[1]))))
        try:
            layer, spec = case.layer()
        except PynqTrainError:
            continue
        small = spec.master_bytes(True) <= SPACE
        if spec.backward and min(layer.out_shape) >= 1 and small:
            return case


class _Bench:
    def __init__(self, case: Case) -> None:
        self.case = case
        self.layer, self.spec = case.layer()
        assert self.spec.master_bytes(True) <= SPACE, "the masters need more space"
        # Old contents, here 37, may not matter.
        self.arena = np.full(MASTERS + SPACE, 37, np.uint8)
        self.at = LayerAddresses(**{n: BASE + k * SPACE for k, n in enumerate(TENSORS)})

    def put(self, at: int, values: Array) -> None:
        raw = np.frombuffer(values.tobytes(), np.uint8)
        assert raw.size <= SPACE
        self.arena[at:at + raw.size] = raw

    def get(self, at: int, dtype: type, count: int) -> Array:
        size = count * np.dtype(dtype).itemsize
        return np.frombuffer(self.arena[at:at + size].tobytes(), dtype).astype(np.int64)

    def _is_dense(self, which: str) -> bool:
        spec = self.spec
        if which == "x":
            return spec.flat_shape is None and (spec.dense or spec.x.image_stride == 8)
        return spec.dense or spec.y.image_stride == 8

    def put_map(self, which: str, at: int, values: Array) -> None:
        values = values.astype(np.int16)
        self.put(at, pack_dense(values[:, :, 0, 0]) if self._is_dense(which) else
                 pack_maps(values))

    def get_map(self, which: str, at: int, shape: tuple[int, ...]) -> Array:
        images, channels, rows, cols = shape
        blocks = -(-channels // 4)
        flat = self.get(at, np.int16, images * blocks * 4 * rows * cols)
        if self._is_dense(which):
            return unpack_dense(flat.reshape(blocks, images, 4), channels).reshape(shape)
        return unpack_maps(flat.reshape(images, blocks, rows, cols, 4), channels)

    def run(self, shape: PassShape, params: dict[str, int]) -> None:
        at = dataclasses.replace(self.at, wv=MASTERS)
        fields, taps = lower(best_tile(shape, BOARD)[0], at)
        fields.update(convolution(self.spec, shape, ConvTensors(**dataclasses.asdict(at)),
                                  images=self.spec.images))
        fields.update({"pre.taps_off": TAPS, "pre.rec_off": RECORD})
        opcode = Opcode(fields["pre.opcode"])
        if opcode == Opcode.GRADIENT:
            fields["u.u_copy"] = fields["gu.copies"] = 0
        self.put(0, np.frombuffer(pack_descriptor(described(fields)), np.uint8))
        self.put(TAPS, np.frombuffer(b"".join(map(pack_tap, taps)), np.uint8))
        self.put(STEP, np.frombuffer(pack_params(opcode, params), np.uint8))
        machine = GoldenMachine(self.arena, threads=1)
        machine.run(0, 1, STEP)
        machine.close()

    def gradients(self, dy: Array) -> tuple[Array, Array]:
        """Exact sums of weight and bias gradient, for a ``dy`` whose sums have 32 bits.

        With decay and momentum 0 and no shift the new momentum of a weight is its sum.
        """
        spec, count = self.spec, self.spec.weight_elements
        self.put_map("y", self.at.dy, dy)
        self.put(MASTERS, spec.pack_masters(np.zeros(self.layer.weight_shape, np.int64)))
        for own in spec.sections():
            self.run(weight_gradient_shape(own), {"g_shift": 16})
        sums = self.get(MASTERS, np.int32, 2 * count)[1::2]
        assert np.abs(sums).max() < 2**31 - 1, "a sum saturates: split dY into more parts"
        biases = self.get(self.at.db, np.int64, spec.m_tiles * spec.m_tile)
        return spec.unpack_weights(sums), spec.unpack_bias(biases)


def run_layer(case: Case, data: dict[str, Array]) -> dict[str, Array]:
    """Forward, backward and weight gradient of golden: y, dx (codes), dw, db (exact sums)."""
    bench = _Bench(case)
    spec, at = bench.spec, bench.at
    bench.put_map("x", at.x, data["x"])
    bench.put(at.w16, spec.pack_weights(data["w"]).astype(np.int16))
    bench.put(at.bias, spec.pack_bias(data["b"] & 0xFFFFFFFF).astype(np.int64))
    bench.put_map("y", at.dy, data["dy"])
    for own in spec.sections():
        bench.run(forward_shape(own), {"shift": case.shift, "bias_shift": case.bias_shift,
                                       "limit": case.limit})
        for shape in backward_shapes(own):
            bench.run(shape, {"shift": case.back_shift})
    high, low = data["dy"] >> SPLIT, data["dy"] & ((1 << SPLIT) - 1)
    sums = [(h << SPLIT) + one for h, one in zip(bench.gradients(high), bench.gradients(low))]
    result = {
        "y": bench.get_map("y", at.y, data["dy"].shape),
        "dx": bench.get_map("x", at.dx, data["x"].shape),
        "dw": sums[0],
    }
    if case.bias:
        result["db"] = sums[1]
    return result


def run_softmax(logits: Array, labels: Array, z_shift: int, loss_of: Loss = PLAIN_LOSS
                ) -> tuple[float, int, Array]:
    """Loss sum, correct predictions and logit gradients (codes) of golden."""
    images, classes = logits.shape
    logit_at, label_at, out_at = BASE, BASE + SPACE, BASE + 2 * SPACE
    bench_arena = np.zeros(BASE + 3 * SPACE, np.uint8)

    def put(at: int, values: Array) -> None:
        raw = np.frombuffer(values.tobytes(), np.uint8)
        bench_arena[at:at + raw.size] = raw

    put(0, np.frombuffer(pack_descriptor(described({
        "pre.opcode": Opcode.SOFTMAX, "pre.rec_off": RECORD, "f.logit_off": logit_at,
        "f.label_off": label_at, "f.dlogit_off": out_at, "f.f_batch": images,
        "f.f_classes": classes, "f.f_grad": 1, "f.f_mse": int(loss_of.mse)})), np.uint8))
    put(STEP, np.frombuffer(pack_params(
        Opcode.SOFTMAX, {**loss_of.fields(-z_shift), "valid": images}), np.uint8))
    put(logit_at, pack_dense(logits.astype(np.int16)))
    put(label_at, labels.astype(np.int64))
    machine = GoldenMachine(bench_arena, threads=1)
    machine.run(0, 1, STEP)
    machine.close()
    loss, correct = np.frombuffer(bench_arena[RECORD:RECORD + 16].tobytes(), np.int64)
    blocks = -(-classes // 4)
    size = blocks * images * 4 * 2
    gradient = np.frombuffer(bench_arena[out_at:out_at + size].tobytes(), np.int16)
    return (float(loss) * loss_of.unit(-z_shift), int(correct),
            unpack_dense(gradient.reshape(blocks, images, 4), classes).astype(np.int64))


def run_update(masters: Array, sums: Array, params: dict[str, int]) -> tuple[Array, Array]:
    """One step of the update unit: new ``{weight, momentum}`` masters and 16-bit copies."""
    count = len(masters)
    g_at, wv_at, w16_at = BASE, BASE + SPACE, BASE + 2 * SPACE
    arena = np.zeros(BASE + 3 * SPACE, np.uint8)
    for at, raw in ((0, pack_descriptor(described({
            "pre.opcode": Opcode.UPDATE, "pre.rec_off": RECORD, "u.g_off": g_at,
            "u.wv_off": wv_at, "u.w16_off": w16_at, "u.u_count": count, "u.u_copy": 1}))),
            (STEP, pack_params(Opcode.UPDATE, params)), (g_at, sums.astype(np.int64).tobytes()),
            (wv_at, masters.astype(np.int32).tobytes())):
        arena[at:at + len(raw)] = np.frombuffer(raw, np.uint8)
    machine = GoldenMachine(arena, threads=1)
    machine.run(0, 1, STEP)
    machine.close()
    new = np.frombuffer(arena[wv_at:wv_at + 8 * count].tobytes(), np.int32)
    copy = np.frombuffer(arena[w16_at:w16_at + 2 * count].tobytes(), np.int16)
    return new.reshape(count, 2).astype(np.int64), copy.astype(np.int64)
