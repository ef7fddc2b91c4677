"""Readable tables of a plan, and predictions for reference networks."""

from __future__ import annotations

from dataclasses import replace

from pynq_train.errors import DoesNotFit
from pynq_train.graph.fuse import FusedLayer
from pynq_train.hw.boards import Board
from pynq_train.hw.commands import Pass
from pynq_train.schedule.cost import Cost
from pynq_train.schedule.layer import LayerSpec, layer_specs
from pynq_train.schedule.plan import Entry, Plan, Role
from pynq_train.schedule.shape import (
    Geometry,
    PassShape,
    backward_shapes,
    forward_shape,
    weight_gradient_shape,
)
from pynq_train.schedule.tiling import best_tile
from pynq_train.schedule.timeline import predict, predict_entries


def table(plan: Plan) -> str:
    """Return the plan as text: layers, tiles, predicted cycles, memory."""
    step, evaluation = predict(plan, plan.train), predict(plan, plan.evaluate)
    lines = [f"board {plan.board.name}, mini-batch {plan.batch}, {len(plan.specs)} layers, "
             f"{plan.memory.nbytes / 1e6:.2f} MB of {plan.board.cma_bytes / 1e6:.0f} MB"]
    lines.append(f"{'layer':<10} {'pass':<18} {'tile (images x rows x cols, chunk)':<36}"
                 f"{'groups':>7} {'cycles':>11} {'array use':>10}  limit")
    for entry in plan.train:
        if entry.geometry is not None and entry.cost is not None:
            lines.append(_line(entry.geometry, entry.cost, plan.board))
    lines.append("memory: " + ", ".join(f"{kind} {size / 1e6:.3f} MB" for kind, size in
                                        sorted(plan.memory.bytes_by_kind().items())))
    for name, run in (("training step", step), ("evaluation", evaluation)):
        lines.append(
            f"{name}: {run.cycles} cycles predicted, {run.ms_per_image:.4f} ms per image at "
            f"{run.clock_mhz:.0f} MHz, array use {run.utilisation:.3f}, "
            f"{(run.bytes_read + run.bytes_written) / run.cycles:.2f} bytes per cycle")
    return "\n".join(lines)


def _line(geometry: Geometry, cost: Cost, board: Board) -> str:
    shape, tile = geometry.shape, geometry.tile
    size = f"{tile.images} x {tile.rows} x {tile.cols}, {tile.chunk} of {shape.reduce}"
    use = cost.macs / (board.config.multipliers * cost.cycles)
    return (f"{shape.spec.name:<10} {shape.label:<18} {size:<36}{geometry.acc_groups:>7} "
            f"{cost.cycles:>11} {use:>10.3f}  {cost.limit}")


def conv_layer(name: str, m: int, n: int, size: int, kernel: int = 3, stride: int = 1,
               out: int | None = None, pool: bool = False) -> FusedLayer:
    """Return a convolution with ReLU on square maps: 'same' padding unless ``out`` is given."""
    before = out if out is not None else -(-size // stride)
    pad = max((before - 1) * stride + kernel - size, 0) // 2
    after = before // 2 if pool else before
    return FusedLayer("conv", name, (n, size, size), (m, before, before), (m, after, after),
                      kernel, stride, pad, pad, True, pool, True)


def _dense(name: str, m: int, n: int, size: int) -> FusedLayer:
    return FusedLayer("dense", name, (n, size, size), (m, 1, 1), (m, 1, 1), 1, 1, 0, 0, False,
                      False, True)


def reference_layers(name: str) -> tuple[FusedLayer, ...]:
    """Return the layer shapes of a reference network, for predictions only."""
    if name == "1x":
        shapes = [(16, 3, 32, False), (16, 16, 32, True), (32, 16, 16, False),
                  (32, 32, 16, True), (64, 32, 8, False), (64, 64, 8, True)]
        convs = [conv_layer(f"conv{i + 1}", m, n, r, pool=p)
                 for i, (m, n, r, p) in enumerate(shapes)]
        return (*convs, _dense("dense1", 10, 64, 4))
    if name == "resnet20":
        layers = [conv_layer("conv1", 16, 3, 32)]
        layers += [conv_layer(f"a{i}", 16, 16, 32) for i in range(6)]
        for label, m, n, size in (("b", 32, 16, 32), ("c", 64, 32, 16)):
            layers.append(conv_layer(f"{label}0", m, n, size, 3, 2))
            layers += [conv_layer(f"{label}{i}", m, m, size // 2) for i in range(1, 6)]
            layers.append(conv_layer(f"{label}skip", m, n, size, 1, 2))
        return tuple(layers)
    if name == "vgg16":
        shapes = [(64, 3, 224, False), (64, 64, 224, True), (128, 64, 112, False),
                  (128, 128, 112, True), (256, 128, 56, False), (256, 256, 56, False),
                  (256, 256, 56, True), (512, 256, 28, False), (512, 512, 28, False),
                  (512, 512, 28, True), (512, 512, 14, False), (512, 512, 14, False),
                  (512, 512, 14, True)]
        return tuple(conv_layer(f"conv{i + 1}", m, n, r, pool=p)
                     for i, (m, n, r, p) in enumerate(shapes))
    if name == "alexnet":
        return (conv_layer("conv1", 64, 3, 224, 11, 4, 55), conv_layer("conv2", 192, 64, 27, 5),
                conv_layer("conv3", 384, 192, 13), conv_layer("conv4", 256, 384, 13),
                conv_layer("conv5", 256, 256, 13))
    raise ValueError(f"expected 1x, resnet20, vgg16 or alexnet, found {name!r}")


REFERENCES = (("1x", 128), ("1x", 1), ("resnet20", 16), ("vgg16", 1), ("alexnet", 16))
"""Networks and mini-batches of :func:`predict_table`."""


def reference_entries(layers: tuple[FusedLayer, ...], batch: int,
                      board: Board) -> tuple[list[Entry], list[str]]:
    """Return the convolution descriptors of layers taken one by one, and what was refused.

    Each layer stands for itself, so that layer lists with skip connections can be predicted;
    arena size and the bound on products do not stop a prediction.
    """
    entries: dict[Pass, list[Entry]] = {kind: [] for kind in Pass}
    notes: list[str] = []
    for index, layer in enumerate(layers):
        spec = _alone(layer, index, batch)
        try:
            spec.check_products()
        except DoesNotFit as error:
            notes.append(str(error))
        shapes: list[tuple[Role, PassShape]] = [(Role.FORWARD, forward_shape(spec)),
                                                (Role.GRADIENT,
                                                 weight_gradient_shape(spec))]
        if index:
            shapes[1:1] = [(Role.BACKWARD, shape) for shape in backward_shapes(spec)]
        for role, shape in shapes:
            try:
                geometry, cost = best_tile(shape, board)
            except DoesNotFit as error:
                notes.append(str(error))
                continue
            entries[shape.kind].append(Entry(role, index, geometry, cost))
    ordered = list(entries[Pass.FORWARD])
    for index in reversed(range(len(layers))):
        for kind in (Pass.BACKWARD, Pass.WEIGHT_GRADIENT):
            ordered += [e for e in entries[kind] if e.layer == index]
    return ordered, notes


def _alone(layer: FusedLayer, index: int, batch: int) -> LayerSpec:
    tail = _dense("logits", 2, *layer.out_shape[:2])
    spec = layer_specs((layer, tail), batch, 0 if index == 0 else -1)[0]
    return replace(spec, index=index)


def predict_table(board: Board, detail: bool = True) -> str:
    """Return predicted array use of the reference networks, layer by layer.

    Passes only: softmax and updates are not counted (see :func:`table` for whole programs).
    """
    lines = []
    for name, batch in REFERENCES:
        entries, notes = reference_entries(reference_layers(name), batch, board)
        if detail:
            lines += [_line(e.geometry, e.cost, board) for e in entries
                      if e.geometry is not None and e.cost is not None]
        run = predict_entries(tuple(entries), board, batch)
        passes = []
        for kind in Pass:
            costs = [e.cost for e in entries if e.cost and e.geometry
                     and e.geometry.shape.kind == kind]
            cycles = sum(c.cycles for c in costs) * board.config.multipliers
            passes.append(f"{kind.name.lower()} {sum(c.macs for c in costs) / cycles:.3f}")
        lines.append(f"{name} batch {batch}: array use {run.utilisation:.3f} "
                     f"({', '.join(passes)}), {run.ms_per_image:.3f} ms per image, "
                     f"{(run.bytes_read + run.bytes_written) / run.cycles:.2f} bytes per cycle")
        lines += [f"  refused in a program: {note}" for note in notes]
    return "\n".join(lines)

