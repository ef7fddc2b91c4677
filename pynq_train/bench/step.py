"""Benchmarks of whole networks: one training step, one program, all its cycles counted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pynq_train.backends import Backend
from pynq_train.bench.attribution import Charge, Share, Stamped, attribute
from pynq_train.bench.bounds import bound
from pynq_train.bench.layers import SHARE_OF
from pynq_train.bench.result import PASSES, STALLS, Result, Row, reached
from pynq_train.bench.rtl import DEFAULT_LATENCY, Counts, Rtl, predicted
from pynq_train.errors import HardwareFault
from pynq_train.graph import Graph
from pynq_train.hw.boards import Board
from pynq_train.hw.commands import RECORD_WORDS, Opcode
from pynq_train.layers import fuse, init_params
from pynq_train.layers.fuse import FusedLayer
from pynq_train.quant import SgdStep
from pynq_train.run.masters import Masters
from pynq_train.run.session import Session, new_policy
from pynq_train.schedule.board_time import board_time
from pynq_train.schedule.layer_list import layer_list_plan
from pynq_train.schedule.lower.step_block import plan_params
from pynq_train.schedule.passes.descriptors import Descriptor, Role
from pynq_train.schedule.plan import Plan, make_plan
from pynq_train.schedule.predict import Prediction

INPUT_RANGE = 2
"""Range ``k`` of the input images: they are drawn from a normal distribution."""
LEARNING_RATE = 0.01
"""Of the update; cycles do not depend on it."""
SOFTMAX_ROW = "softmax"
"""Name of the row of the softmax unit."""


def bench_step(graph: Graph, batch: int, board: Board, *, latency: int = DEFAULT_LATENCY,
               momentum: float = 0.9) -> Result:
    """Return the cycles of one training step of a network, counted by the RTL.

    Args:
        graph: the network.
        batch: images of the mini-batch.
        board: the board.
        latency: read latency of the memory in cycles.
        momentum: momentum of the update; masters are plain where it is 0.

    Raises:
        DoesNotFit: network, mini-batch and optimiser state are too large for the board.
        MissingTool: what a virtual board is built with is not installed.
    """
    plan = plan_step(graph, batch, board, momentum)
    with Rtl(board, latency) as rtl:
        backend = rtl.open(plan.memory.nbytes)
        began = time.process_time()
        counts, stamps = run_step(plan, backend, momentum)
        seconds = time.process_time() - began
    rows, whole = step_rows(plan, counts, stamps, predicted(plan, latency))
    return Result(graph.name, board, batch, whole, rows, True, latency, momentum, counts.cycles,
                  seconds, board_time(plan, counts.cycles))


def bench_layer_list(net: str, layers: tuple[FusedLayer, ...], batch: int, board: Board, *,
                latency: int = DEFAULT_LATENCY, momentum: float = 0.9) -> Result:
    """Return the cycles of a layer list's training step, all passes in one program.

    Args:
        net: name of the list.
        layers: the layers; the first one has no backward pass.
        batch: images of the mini-batch.
        board: the board.
        latency: read latency of the memory in cycles.
        momentum: momentum of the update; masters are plain where it is 0.

    Raises:
        DoesNotFit: a layer, or all of them together, are too large for the board.
        MissingTool: what a virtual board is built with is not installed.
    """
    plan = layer_list_plan(layers, batch, board, momentum > 0)
    began = time.process_time()
    with Rtl(board, latency) as rtl:
        counts = rtl.run(plan, profile=True)
        stamps = read_stamps(plan, rtl.open(plan.memory.nbytes))
    seconds = time.process_time() - began
    rows, whole = step_rows(plan, counts, stamps, predicted(plan, latency))
    return Result(net, board, batch, whole, rows, True, latency, momentum, counts.cycles, seconds)


def read_stamps(plan: Plan, backend: Backend) -> NDArray[np.int64]:
    """Return start and end stamp in cycles of each descriptor: int64 ``[descriptors, 2]``."""
    region = plan.memory["train.records"]
    records = backend.read(region.offset, region.nbytes).view("<i8").reshape(-1, RECORD_WORDS)
    return records[:, 2:].astype(np.int64)


def plan_step(graph: Graph, batch: int, board: Board, momentum: float) -> Plan:
    """Return the plan of a training step with the masters that ``momentum`` needs."""
    return make_plan(fuse(graph), batch, board, momentum=momentum > 0)


def run_step(plan: Plan, backend: Backend, momentum: float) -> tuple[Counts, NDArray[np.int64]]:
    """Run one training step on random images with profile records.

    Returns:
        Counters, and start and end stamp of each descriptor: int64 ``[descriptors, 2]``.
    """
    params = init_params(plan.layers, 0)
    masters = {name: Masters.of(one) for name, one in params.items()}
    session = Session(plan, backend, masters, new_policy(plan, masters, INPUT_RANGE))
    draw = np.random.RandomState(0)
    images = draw.standard_normal((plan.batch, *plan.layers[0].in_shape)).astype(np.float32)
    labels = draw.randint(0, plan.classes, plan.batch)
    used = session.policy.exponents(plan.batch)
    values = plan_params(plan, used, SgdStep(LEARNING_RATE, momentum))
    session.write_training(images, labels, values)
    result = backend.run(replace(session.request(session.training), profile=True,
                                 counters=True))
    return Counts(result.cycles, result.counters), read_stamps(plan, backend)


def step_rows(plan: Plan, counts: Counts, stamps: NDArray[np.int64], prediction: Prediction
              ) -> tuple[tuple[Row, ...], Row]:
    """Return the rows of layers and softmax, and the row of the whole step.

    Args:
        plan: the plan.
        counts: counters of its training program.
        stamps: start and end stamp of each descriptor, int64 ``[descriptors, 2]``.
        prediction: what the cycle model says of the program.

    Raises:
        HardwareFault: the records carry no stamps.
    """
    if not stamps[:, 1].any():
        raise HardwareFault("the records of a profiled run carry no cycle stamps",
                            expected="start and end cycles in words 2 and 3", found="zeros",
                            fix="rebuild the overlay with this package's RTL")
    both = ((_stamped(plan.train, stamps.tolist(), prediction), counts.cycles),
            (_stamped(plan.train, list(zip(prediction.starts, prediction.ends)), prediction),
             prediction.cycles))
    # Predicted cycles are attributed by the same rules, so that both can be compared row by row.
    counted, expected = (attribute(stamped, total) for stamped, total in both)
    waiting = [attribute(stamped, total, apart=False) for stamped, total in both]
    rows = []
    for place, spec in enumerate(plan.specs):
        own = [i for i, descriptor in enumerate(plan.train)
               if descriptor.layer == place and descriptor.role != Role.SOFTMAX]
        row = _row(plan, spec.name, own, counted, expected)
        if row.macs:
            whole = [sum(charge.cycles for charge in charges if charge.index in own)
                     for charges in waiting]
            row = replace(row, compared=(whole[0], whole[1]))
        rows.append(replace(row, notes=_bound_notes(plan, place, row)))
    own = [i for i, descriptor in enumerate(plan.train) if descriptor.role == Role.SOFTMAX]
    if own:
        rows.append(_row(plan, SOFTMAX_ROW, own, counted, expected))
    step = _row(plan, "step", [-1, *range(len(plan.train))], counted, expected)
    return tuple(rows), replace(
        step, stalls={name: counts.counters[name] for name in STALLS},
        bytes_read=counts.bytes_read, bytes_written=counts.bytes_written)


def _row(plan: Plan, name: str, own: Sequence[int], counted: Sequence[Charge],
         expected: Sequence[Charge]) -> Row:
    """Return the row of the descriptors at positions ``own``; -1 is what belongs to no descriptor.

    ``counted``, ``expected``: charges by counted and by predicted cycles.
    """
    cycles = dict.fromkeys(Share, 0)
    for charge in counted:
        if charge.index in own:
            cycles[charge.share] += charge.cycles
    macs: dict[Share, int] = {}
    for index in own:
        cost = plan.train[index].cost if index >= 0 else None
        if cost is not None:
            share = share_of(plan.train[index])
            macs[share] = macs.get(share, 0) + cost.macs
    predicted_cycles = sum(charge.cycles for charge in expected if charge.index in own)
    return Row(name, macs, cycles, predicted_cycles, None, None, None, plan.batch)


def _bound_notes(plan: Plan, place: int, row: Row) -> dict[str, object]:
    """Return, for a grouped layer, the least cycles of its passes and how near they are."""
    if plan.layers[place].groups == 1 or plan.layers[place].kind.transposed:
        return {}
    passes: dict[str, object] = {}
    whole = 0
    for kind, share in SHARE_OF.items():
        tiled_passes = [d.tiled for d in plan.train if d.layer == place
                      and d.tiled is not None and d.tiled.shape.kind == kind]
        if tiled_passes:
            least = bound(plan.specs[place], kind, tiled_passes, plan.board)
            whole += least.cycles
            passes[share.value] = {"cycles": least.cycles, "by": least.by,
                                   "reached": reached(least.cycles, row.cycles[share])}
    counted = sum(row.cycles[share] for share in PASSES)
    return {"bound": {**passes, "cycles": whole, "reached": reached(whole, counted)}}


def share_of(descriptor: Descriptor) -> Share:
    """Return what a descriptor's cycles count as."""
    if descriptor.tiled is not None:
        # By what it is for: an upsampling computes its output as a backward pass.
        return {Role.FORWARD: Share.FP, Role.BACKWARD: Share.BP}.get(descriptor.role, Share.WU)
    if descriptor.role.opcode in (Opcode.VECTOR, Opcode.NORM, Opcode.POOL):
        return Share.VECTOR
    return Share.OTHER if descriptor.role == Role.SOFTMAX else Share.UPDATE


def _stamped(descriptors: Sequence[Descriptor], stamps: Sequence[Sequence[int]],
             prediction: Prediction) -> list[Stamped]:
    """Return the descriptors with their stamps and the predicted figures that attribution needs."""
    result = []
    for index, (descriptor, stamp) in enumerate(zip(descriptors, stamps)):
        share, end = share_of(descriptor), prediction.ends[index]
        first, last, tail = prediction.starts[index], end, 0
        if descriptor.tiled is not None:
            first, last = prediction.arrays[index]
            # The record of a pass is written when all is stored; the array has gone on before that.
            if share != Share.WU:
                last, tail = end, end - last
        result.append(Stamped(share, stamp[0], stamp[1], last - first, max(tail, 0)))
    return result
