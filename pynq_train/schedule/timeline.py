"""Predicted time line of a program: convolutions in order, updates beside them."""

from __future__ import annotations

from dataclasses import dataclass

from pynq_train.hw.boards import Board
from pynq_train.hw.config import WORD_BYTES
from pynq_train.schedule.cost import (
    DESCRIPTOR_CYCLES,
    SLOTS,
    Cost,
    bias_cost,
    softmax_cost,
    update_cost,
)
from pynq_train.schedule.layout import ceil_div
from pynq_train.schedule.plan import Entry, Plan, Role


@dataclass(frozen=True)
class Prediction:
    """Predicted run of one program.

    Attributes:
        cycles: cycles from start to end.
        starts: start of each descriptor.
        ends: end of each descriptor.
        bytes_read: bytes read from device memory.
        bytes_written: bytes written.
        macs: multiply-adds, padding not counted.
        multipliers: multipliers of the array.
        clock_mhz: clock for times.
        batch: images.
    """

    cycles: int
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    bytes_read: int
    bytes_written: int
    macs: int
    multipliers: int
    clock_mhz: float
    batch: int

    @property
    def utilisation(self) -> float:
        """Useful multiply-adds per multiplier and cycle."""
        return self.macs / (self.multipliers * max(self.cycles, 1))

    @property
    def ms_per_image(self) -> float:
        """Milliseconds per image at the board's clock."""
        return self.cycles / (1e3 * self.clock_mhz * self.batch)


def predict(plan: Plan, entries: tuple[Entry, ...]) -> Prediction:
    """Predict the run of a program of the plan."""
    return predict_entries(entries, plan.board, plan.batch, plan)


def predict_entries(entries: tuple[Entry, ...], board: Board, batch: int,
                    plan: Plan | None = None) -> Prediction:
    """List scheduling: one convolution at a time, updates in their own unit, four in flight.

    Gaps of a convolution: it fills the first tile only when its input is complete (forward pass,
    first backward pass); the store's tail of other descriptors hides behind the next one.
    """
    conv = update = 0
    starts: list[int] = []
    ends: list[int] = []
    retired: list[int] = []
    read = written = macs = 0
    pending: Cost | None = None
    fresh = True
    for entry in entries:
        slot = retired[-SLOTS] if len(retired) >= SLOTS else 0
        if entry.cost is not None:
            cost = entry.cost
            start = max(conv, slot)
            if fresh or entry.role == Role.FORWARD:
                start += cost.fill + (pending.tail if pending else 0)
            elif pending is not None:
                start += max(0, pending.tail - cost.cycles // 2)
            end = start + cost.cycles + DESCRIPTOR_CYCLES
            conv, pending, fresh = end, cost, False
            read, written, macs = (read + cost.bytes_read, written + cost.bytes_written,
                                   macs + cost.macs)
            if entry.role == Role.GRADIENT and entry.geometry is not None:
                shape = entry.geometry.shape
                elements = shape.spec.weight_elements // shape.spec.m_tiles * shape.outer
                cycles, more_read, more_written = update_cost(
                    elements, plan.momentum if plan else True)
                update = max(update, start) + cycles
                # A full queue holds the array back.
                conv = max(conv, update - board.config.grad_words)
                end = max(end, update)
                read, written = read + more_read, written + more_written
        elif entry.role == Role.SOFTMAX:
            classes = plan.classes if plan else 10
            start = conv + (pending.tail if pending else 0)
            end = start + softmax_cost(batch, classes)
            conv, pending, fresh = end, None, True
            read += batch * (classes + 1) * WORD_BYTES
            written += batch * ceil_div(classes, 4) * WORD_BYTES
        else:
            elements = _elements(entry, plan)
            cycles, more_read, more_written = bias_cost(elements)
            start = max(update, slot)
            end = start + cycles
            update = end
            read, written = read + more_read, written + more_written
        starts.append(start)
        ends.append(end)
        retired.append(max(end, retired[-1] if retired else 0))
    last = max(retired[-1], conv + (pending.tail if pending else 0))
    total = max(last, ceil_div(read + written, board.dram_bytes_per_cycle))
    return Prediction(total, tuple(starts), tuple(ends), read, written, macs,
                      board.config.multipliers, board.clock_mhz, batch)


def _elements(entry: Entry, plan: Plan | None) -> int:
    assert plan is not None
    return plan.specs[entry.layer].bias_bytes // WORD_BYTES
