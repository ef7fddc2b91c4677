"""One random layer in a random memory image, with the geometry section of its descriptors.

Tensors are placed with random strides (gaps between rows, blocks and images) and compared as
whole memory images, so that a byte written too much is found.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
from reference_models import naive
from reference_models.described import described

from pynq_train.backends.golden import GoldenMachine
from pynq_train.hw.commands import (
    DESCRIPTOR_BYTES,
    LoadMode,
    Opcode,
    Pass,
    pack_descriptor,
    pack_params,
)

Array = Any
PROGRAM, STEP, RECORD, FIRST = 0, 2048, 4096, 8192
LIMITS = (1, 6, 200, 5000, 30000, 32767, 32768, 65535)


def ceil(a: int, b: int) -> int:
    return -(-a // b)


@dataclass
class Case:
    """Shape of a random layer."""

    m: int
    n: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    top: int
    left: int
    rows: int
    cols: int
    out_rows: int
    out_cols: int
    images: int
    relu: bool
    pool: bool
    bias: bool
    extreme: bool = False

    @classmethod
    def random(cls, rng: random.Random, kernel: int | tuple[int, int]) -> Case:
        """A square kernel has a square stride."""
        step = rng.randint(1, 4)
        stride = (step, step) if isinstance(kernel, int) else (step, rng.randint(1, 4))
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        top, left = (rng.randint(0, side - 1) for side in kernel)
        size = [max(side - p, 1) + rng.randint(0, 6) for side, p in zip(kernel, (top, left))]
        out = []
        for length, pad, side, move in zip(size, (top, left), kernel, stride):
            behind = rng.randint(0, side - 1)
            out.append(max((length + pad + behind - side) // move + 1, 1))
        small = kernel[0] * kernel[1] > 16
        return cls(m=rng.choice([1, 3, 5] if small else [1, 4, 7, 16, 18]),
                   n=rng.choice([1, 3] if small else [1, 3, 4, 6]), kernel=kernel, stride=stride,
                   top=top, left=left, rows=size[0], cols=size[1], out_rows=out[0],
                   out_cols=out[1], images=rng.randint(1, 2 if small else 3),
                   relu=rng.random() < 0.5, pool=rng.random() < 0.4 and min(out) > 1,
                   bias=rng.random() < 0.6, extreme=rng.random() < 0.3)


class Bench:
    """Memory image of a case; every ``check_*`` runs golden and compares all bytes."""

    def __init__(self, case: Case, rng: np.random.Generator) -> None:
        self.case, self.rng, self.end = case, rng, FIRST
        c = case
        self.y_rows, self.y_cols = ((c.out_rows // 2, c.out_cols // 2) if c.pool
                                    else (c.out_rows, c.out_cols))
        self.nb = ceil(c.n, 4) + int(rng.integers(0, 3))
        self.x = self.codes((c.images, c.n, c.rows, c.cols))
        self.w = self.codes((c.m, c.n, *c.kernel))
        self.dy = self.codes((c.images, c.m, self.y_rows, self.y_cols))
        self.b = rng.integers(-2**31, 2**31, c.m) >> int(rng.integers(0, 16))
        self.at_x, self.x_strides = self.place_map(c.images, ceil(c.n, 4), c.rows, c.cols)
        self.at_y, self.y_strides = self.place_map(c.images, ceil(c.m, 4), self.y_rows, self.y_cols)
        row_words = ceil(self.y_cols, 4 if c.pool else 16)
        self.at_flag, strides = self.place_map(c.images, ceil(c.m, 4), self.y_rows, row_words)
        self.flag_strides = strides[:3]
        weights = ceil(c.m, 16) * self.nb * c.kernel[0] * c.kernel[1] * 64
        self.weights = weights
        self.at_w, self.at_wv = self.place(2 * weights), self.place(8 * weights)
        self.at_w16 = self.place(2 * weights)
        self.at_b, self.at_db = (self.place(8 * 16 * ceil(c.m, 16)) for _ in range(2))
        # Biases of a transposed layer, whose outputs are the channels of x.
        self.back = rng.integers(-2**31, 2**31, c.n) >> int(rng.integers(0, 16))
        self.at_back = self.place(8 * 16 * ceil(c.n, 16))
        self.memory = rng.integers(0, 256, self.end, dtype=np.uint8)

    def codes(self, shape: tuple[int, ...]) -> Array:
        if self.case.extreme:
            return self.rng.choice([-32767, 32767], shape)
        return self.rng.integers(-32767, 32768, shape) >> int(self.rng.integers(0, 8))

    def place(self, nbytes: int) -> int:
        start, self.end = self.end, self.end + ceil(nbytes, 128) * 128
        return start

    def place_map(self, images: int, blocks: int, rows: int,
                  cols: int) -> tuple[int, tuple[int, int, int, int]]:
        row = 8 * (cols + int(self.rng.integers(0, 3)))
        block = rows * row + 8 * int(self.rng.integers(0, 3))
        image = blocks * block + 8 * int(self.rng.integers(0, 3))
        return self.place(images * image), (image, block, row, 8)

    def put_map(self, memory: Array, at: int, strides: tuple[int, ...], values: Array,
                rows: list[int] | None = None) -> None:
        images, channels, height, width = values.shape
        for i, b, r, c in np.ndindex(images, ceil(channels, 4), height, width):
            if rows is None or r in rows:
                word = [int(values[i, 4 * b + k, r, c]) if 4 * b + k < channels else 0
                        for k in range(4)]
                offset = at + i * strides[0] + b * strides[1] + r * strides[2] + c * strides[3]
                memory[offset : offset + 8].view(np.int16)[:] = word

    def packed(self, values: Array, dtype: Any) -> Array:
        """Weights ``[m][n][kr][kc]`` in memory order, padding zero, flat."""
        m, _, *kernel = values.shape
        packed = np.zeros((ceil(m, 16), self.nb, *kernel, 16, 4), dtype)
        for i, j, r, c in np.ndindex(values.shape):
            packed[i // 16, j // 4, r, c, i % 16, j % 4] = values[i, j, r, c]
        return packed.reshape(-1)

    def put_weights(self, memory: Array, at: int, values: Array) -> None:
        packed = self.packed(values, np.int16)
        memory[at : at + packed.nbytes] = packed.view(np.uint8)

    def put_flags(self, memory: Array, mask: Array, index: Array | None) -> None:
        words = naive.flag_bits(mask, index, self.case.relu)
        for (i, b, r, w), value in words.items():
            image, block, row = self.flag_strides
            offset = self.at_flag + i * image + b * block + r * row + 8 * w
            memory[offset : offset + 8].view(np.uint64)[0] = value

    def fields(self, kind: Pass, **more: int) -> dict[str, int]:
        c = self.case
        values = {
            "g_pass": int(kind), "g_tile": 16, "g_kernel": c.kernel[0], "g_stride": c.stride[0],
            "g_kernel_wider": c.kernel[1] - c.kernel[0],
            "g_stride_wider": c.stride[1] - c.stride[0],
            "g_pad_top": c.top,
            "g_pad_left": c.left, "g_m": c.m, "g_n": c.n, "g_images": c.images, "g_nb": self.nb,
            "g_in_rows": c.rows, "g_in_cols": c.cols, "g_out_rows": c.out_rows,
            "g_out_cols": c.out_cols, "g_x": self.at_x, "g_y": self.at_y, "g_flag": self.at_flag,
            "g_w": self.at_w, "g_b": self.at_b, **more,
        }
        for name in ("x_strides", "y_strides", "flag_strides"):
            values.update({f"g_{name}{i}": v for i, v in enumerate(getattr(self, name))})
        return {"pre.opcode": int(Opcode.CONV), "pre.rec_off": RECORD, "pre.param": 3,
                **{f"g.{k}": v for k, v in values.items()}}

    def run(self, fields: dict[str, int], params: dict[str, int], expected: Array,
            record: tuple[int, int]) -> None:
        for memory in (self.memory, expected):
            memory[:DESCRIPTOR_BYTES] = np.frombuffer(pack_descriptor(described(fields)), np.uint8)
            descriptor = pack_params(Opcode(fields["pre.opcode"]), params)
            memory[STEP + 48 : STEP + 64] = np.frombuffer(descriptor, np.uint8)
        expected[RECORD : RECORD + 32].view(np.int64)[:] = (*record, 0, 0)
        GoldenMachine(self.memory, threads=int(self.rng.integers(1, 4))).run(PROGRAM, 1, STEP)
        bad = np.flatnonzero(self.memory != expected)
        assert not bad.size, f"{bad.size} bytes differ, first at {bad[0]}; {self.case}; {fields}"

    def check_all(self) -> None:
        """Forward, then all row phases of backward, then weight gradient and update."""
        c, rng = self.case, self.rng
        self.put_map(self.memory, self.at_x, self.x_strides, self.x)
        self.put_weights(self.memory, self.at_w, self.w)
        masters = np.zeros((16 * ceil(c.m, 16), 2), np.int32)
        masters[: c.m, 0] = self.b
        masters[:, 1] = 12345
        self.memory[self.at_b : self.at_b + masters.nbytes] = masters.reshape(-1).view(np.uint8)
        padded = self.memory[self.at_back :][: 8 * 16 * ceil(c.n, 16)].view(np.int32)
        padded[...] = 0
        padded[: 2 * c.n : 2] = self.back
        gradient, mask, index = self.dy, None, None
        if c.relu or c.pool:
            mask = rng.integers(0, 2, self.dy.shape)
            index = rng.integers(0, 4, self.dy.shape) if c.pool else None
            gradient = (naive.unpool(self.dy, mask, index, c.out_rows, c.out_cols)
                        if index is not None else self.dy * mask)
        shape = (c.images, c.m, c.out_rows, c.out_cols)
        y, dx, dw = naive.passes(self.x, self.w, gradient.reshape(shape), c.stride, c.top, c.left)
        self._forward(y)
        self.put_map(self.memory, self.at_y, self.y_strides, self.dy)
        if mask is not None:
            self.put_flags(self.memory, mask, index)
        mode = LoadMode.UNPOOL if c.pool else LoadMode.MASK if c.relu else LoadMode.PLAIN
        self._backward(dx, mode)
        self._gradient(dw, gradient, mode)

    def _gradient(self, dw: Array, gradient: Array, mode: LoadMode) -> None:
        """Weight gradient with the update of random masters, with or without momentum."""
        c, rng, count = self.case, self.rng, self.weights
        plain, copy = (int(rng.integers(0, 2)) for _ in range(2))
        largest = max(abs(int(v)) for v in dw.reshape(-1)).bit_length()
        params = {"g_shift": min(63, max(0, largest - 12 + int(rng.integers(-2, 8)))),
                  "w_shift": int(rng.integers(12, 20)), "lr_shift": int(rng.integers(0, 20)),
                  "lr": int(rng.integers(0, 1 << 16)), "momentum": int(rng.integers(0, 65537)),
                  "decay": int(rng.integers(0, 1 << 16)), "nesterov": int(rng.integers(0, 2))}
        expected = self.memory.copy()
        if c.bias:
            db = np.zeros(16 * ceil(c.m, 16), np.int64)
            db[: c.m] = gradient.sum((0, 2, 3))
            expected[self.at_db : self.at_db + db.nbytes] = db.view(np.uint8)
        wv = expected[self.at_wv : self.at_wv + (4 if plain else 8) * count].view(np.int32)
        masters = wv.reshape(count, -1)
        codes = expected[self.at_w16 : self.at_w16 + 2 * count].view(np.int16)
        measure = saturations = 0
        rows = int(rng.integers(min(c.m, 16), 17))
        for i, g in enumerate(self.packed(dw, object)):
            if i // 4 % 16 >= rows:  # an output channel that pads its tile
                continue
            v = 0 if plain else int(masters[i, 1])
            v, w, code, clipped = naive.update(int(g), v, int(masters[i, 0]), params)
            masters[i] = w if plain else (w, v)
            measure |= w if w >= 0 else ~w
            if copy:
                codes[i] = code
                saturations += clipped
        fields = self.fields(Pass.WEIGHT_GRADIENT, g_w=0, g_b=self.at_db, g_mode=int(mode),
                             g_bias=int(c.bias))
        fields.update({"pre.opcode": int(Opcode.GRADIENT), "u.wv_off": self.at_wv,
                       "u.w16_off": self.at_w16, "u.u_count": count, "u.u_copy": copy,
                       "u.u_plain": plain, "u.u_rows": rows})
        self.run(fields, params, expected, (measure, saturations))

    def _shift(self, total: Array) -> int:
        largest = max(abs(int(v)) for v in total.reshape(-1))
        return min(47, max(0, largest.bit_length() - 15 + int(self.rng.integers(-2, 3))))

    def _forward(self, total: Array) -> None:
        c = self.case
        if c.pool:
            total = total[:, :, : self.y_rows * 2, : self.y_cols * 2]
        params = {"shift": self._shift(total), "bias_shift": int(self.rng.integers(-20, 15))}
        bias = self.b if c.bias else np.zeros(c.m, np.int64)
        y, measure, saturations = naive.post(total, bias, params["bias_shift"], params["shift"])
        clip = c.relu and bool(self.rng.integers(0, 2))
        params["limit"] = LIMITS[int(self.rng.integers(0, len(LIMITS)))]
        limit = params["limit"] if clip else 1 << 15
        y = np.minimum(np.maximum(y, 0), limit) if c.relu else y
        mask, index = (y > 0) & (y < limit) if c.relu else np.ones(y.shape), None
        if c.pool:
            y, mask, index = naive.pool(y, c.relu, limit)
        flags = bool(self.rng.integers(0, 2)) and (c.relu or c.pool)
        expected = self.memory.copy()
        self.put_map(expected, self.at_y, self.y_strides, y)
        if flags:
            self.put_flags(expected, mask, index)
        fields = self.fields(Pass.FORWARD, g_relu=int(c.relu), g_pool=int(c.pool),
                             g_flags=int(flags), g_bias=int(c.bias), g_clip=int(clip))
        self.run(fields, params, expected, (measure, saturations))

    def _backward(self, total: Array, mode: LoadMode) -> None:
        c = self.case
        # As of a transposed layer, whose output a backward pass computes: with a bias, or without.
        biased = int(self.rng.integers(0, 2))
        params = {"shift": self._shift(total), "bias_shift": int(self.rng.integers(-20, 15))}
        bias = self.back if biased else np.zeros(c.n, np.int64)
        for phase in range(c.stride[0]):
            rows = [r for r in range(c.rows) if (r + c.top) % c.stride[0] == phase]
            part = total[:, :, rows]
            values, measure, saturations = naive.post(part, bias, params["bias_shift"],
                                                      params["shift"])
            dx = np.zeros(total.shape, np.int64)
            dx[:, :, rows] = values
            expected = self.memory.copy()
            self.put_map(expected, self.at_x, self.x_strides, dx, rows)
            fields = self.fields(Pass.BACKWARD, g_phase=phase, g_mode=int(mode), g_bias=biased,
                                 g_b=self.at_back)
            self.run(fields, params, expected, (measure, saturations))
        self.put_map(self.memory, self.at_x, self.x_strides, self.x)
