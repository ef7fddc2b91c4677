"""One training step of the '1X' network: the golden backend against PyTorch float32 on the CPU.

Run: ``python benchmarks/golden_speed.py [--batch 128] [--repeats 7]``. PyTorch is optional; with it
the ratio is printed too. Both take turns, and the fastest of the repeats counts.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np

from pynq_train.backends.golden import GoldenMachine
from pynq_train.hw.commands import (
    DESCRIPTOR_BYTES,
    LoadMode,
    Opcode,
    Pass,
    pack_descriptor,
    pack_params,
)

LAYERS = ((3, 16, 32, False), (16, 16, 32, True), (16, 32, 16, False), (32, 32, 16, True),
          (32, 64, 8, False), (64, 64, 8, True))
"""Convolutions: input channels, output channels, size, pooled."""
FEATURES, CLASSES = 1024, 10
STEP_BYTES = 4096


class Arena:
    """Offsets of tensors, handed out one behind the other."""

    def __init__(self) -> None:
        self.end = STEP_BYTES

    def add(self, nbytes: int) -> int:
        """Offset of a new tensor."""
        start, self.end = self.end, self.end + -(-nbytes // 128) * 128
        return start


def _layer(arena: Arena, batch: int, n: int, m: int, size: int, pool: bool, x: int, dx: int,
           dense: bool = False) -> tuple[list[dict[str, int]], list[dict[str, int]], int, int]:
    """Descriptors of a layer (forward; the rest in order), offsets of its output and gradient."""
    nb, mb, tiles = -(-n // 4), -(-m // 4), -(-m // 16)
    nb_padded = -(-nb // 4) * 4 if dx else nb
    kernel, images, rows, cols = (1, 1, 1, batch) if dense else (3, batch, size, size)
    out = size // 2 if pool else size
    words = batch if dense else batch * out * out
    y, dy = arena.add(words * mb * 8), arena.add(words * mb * 8)
    flag_row = 0 if dense else 8 * (-(-out // 4) if pool else -(-size // 16))
    flags = arena.add(images * mb * out * max(flag_row, 8))
    blocks = tiles * nb_padded * kernel * kernel
    w16, wv = arena.add(blocks * 128), arena.add(blocks * 512)
    bias, db = arena.add(tiles * 128), arena.add(tiles * 128)
    common = {
        "pre.opcode": int(Opcode.CONV), "g.g_kernel": kernel, "g.g_stride": 1,
        "g.g_pad_top": 0 if dense else 1, "g.g_pad_left": 0 if dense else 1, "g.g_m": m,
        "g.g_n": n, "g.g_images": images, "g.g_nb": nb_padded, "g.g_in_rows": rows,
        "g.g_in_cols": cols, "g.g_out_rows": rows, "g.g_out_cols": cols, "g.g_flag": flags,
    }
    x_strides = (nb * 8 * batch, 8, 8, nb * 8) if dense else _strides(nb, size)
    y_strides = (0, 8 * batch, 8, 8) if dense else _strides(mb, out)
    flag_strides = (mb * out * flag_row, out * flag_row, flag_row)
    for name, values in (("x", x_strides), ("y", y_strides), ("flag", flag_strides)):
        common.update({f"g.g_{name}_strides{i}": v for i, v in enumerate(values)})
    mode = LoadMode.PLAIN if dense else LoadMode.UNPOOL if pool else LoadMode.MASK
    forward = {**common, "g.g_pass": int(Pass.FORWARD), "g.g_relu": int(not dense),
               "g.g_pool": int(pool), "g.g_flags": int(not dense), "g.g_bias": 1, "g.g_x": x,
               "g.g_y": y, "g.g_w": w16, "g.g_b": bias}
    common.update({"g.g_y": dy, "g.g_mode": int(mode)})
    update = {"pre.opcode": int(Opcode.UPDATE), "pre.param": 1}
    rest = [{**common, "pre.opcode": int(Opcode.GRADIENT), "pre.param": 1,
             "g.g_pass": int(Pass.WEIGHT_GRADIENT), "g.g_x": x, "g.g_b": db, "g.g_bias": 1,
             "u.wv_off": wv, "u.w16_off": w16, "u.u_count": blocks * 64, "u.u_copy": 1},
            {**update, "u.g_off": db, "u.wv_off": bias, "u.u_count": tiles * 16}]
    if dx:
        rest.insert(0, {**common, "g.g_pass": int(Pass.BACKWARD), "g.g_x": dx, "g.g_w": w16})
    return [forward], rest, y, dy


def _strides(blocks: int, size: int) -> tuple[int, int, int, int]:
    return blocks * size * size * 8, size * size * 8, size * 8, 8


def golden_step(batch: int, rng: np.random.Generator) -> Callable[[], None]:
    """Return a function that runs one training step on golden."""
    arena = Arena()
    x, dx = arena.add(batch * 1024 * 8), 0
    program: list[dict[str, int]] = []
    backward: list[dict[str, int]] = []
    for n, m, size, pool in LAYERS:
        forward, rest, x, dx = _layer(arena, batch, n, m, size, pool, x, dx)
        program += forward
        backward[:0] = rest
    forward, rest, logits, dlogits = _layer(arena, batch, FEATURES, CLASSES, 1, False, x, dx, True)
    labels = arena.add(batch * 8)
    softmax = {"pre.opcode": int(Opcode.SOFTMAX), "pre.param": 2, "f.logit_off": logits,
               "f.label_off": labels, "f.dlogit_off": dlogits, "f.f_batch": batch,
               "f.f_classes": CLASSES, "f.f_grad": 1}
    program += [*forward, softmax, *rest, *backward]
    record = arena.add(32)
    code = b"".join(pack_descriptor({**fields, "pre.rec_off": record}) for fields in program)
    at = arena.add(len(code))
    memory = np.zeros(arena.end // 8, np.int64).view(np.uint8)
    codes = rng.integers(-9000, 9000, arena.end // 2).astype(np.int16)
    memory[STEP_BYTES:at] = codes.view(np.uint8)[STEP_BYTES:at]
    memory[at : at + DESCRIPTOR_BYTES * len(program)] = np.frombuffer(code, np.uint8)
    update = {"g_shift": 40, "w_shift": 13, "lr_shift": 20, "lr": 40000, "momentum": 58982,
              "decay": 500}
    params = [pack_params(Opcode.CONV, {"shift": 18}), pack_params(Opcode.UPDATE, update),
              pack_params(Opcode.SOFTMAX, {"z_shift": 12, "valid": batch})]
    memory[:48] = np.frombuffer(b"".join(params), np.uint8)
    machine = GoldenMachine(memory)
    return lambda: machine.run(at, len(program), 0)


def torch_step(batch: int) -> Callable[[], None] | None:
    """Return a function that runs one training step in PyTorch; None if it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    from torch import nn

    layers: list[nn.Module] = []
    for n, m, _, pool in LAYERS:
        layers += [nn.Conv2d(n, m, 3, padding=1), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if pool else []
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(FEATURES, CLASSES))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    images, labels = torch.randn(batch, 3, 32, 32), torch.randint(0, CLASSES, (batch,))

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()

    return step


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    steps = {"golden": golden_step(args.batch, np.random.default_rng(1)),
             "torch": torch_step(args.batch)}
    best = {name: float("inf") for name, step in steps.items() if step}
    for repeat in range(args.repeats + 2):
        for name, step in steps.items():
            if step is None:
                continue
            start = time.perf_counter()
            step()
            if repeat >= 2:
                best[name] = min(best[name], time.perf_counter() - start)
    for name, seconds in best.items():
        sys.stdout.write(f"{name}: {seconds * 1e3:.1f} ms per step of {args.batch} images\n")
    if "torch" in best:
        sys.stdout.write(f"golden / torch: {best['golden'] / best['torch']:.2f} (bar: 6)\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
