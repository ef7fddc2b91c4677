"""One training step as the board sees it: every register access, flush and invalidate, in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pynq")

from fake_engine import CLEAR, START, FakeEngine, fake_board

from pynq_train.backends import open_backend
from pynq_train.backends.run_registers import WRITABLE
from pynq_train.backends.vboard.device import VirtualDevice
from pynq_train.graph import zoo
from pynq_train.hw import registers
from pynq_train.hw.boards import BOARDS
from pynq_train.layers import fuse, init_params
from pynq_train.quant import SgdStep
from pynq_train.quant.policy import INPUT_START
from pynq_train.run.masters import Masters
from pynq_train.run.session import Session, new_policy
from pynq_train.schedule.plan import Plan, make_plan

LINE = 64
BASE = 0x1000_0000
BATCH = 4
Call = tuple[Any, ...]


def transactions(plan: Plan) -> list[Call]:
    """A step whose program has ended when STATUS is read for the first time."""
    written = sorted(lines(plan, symbol) for symbol in ("input", "labels", "step_block"))
    spans = written[:1]
    for low, high in written[1:]:
        spans[-1:] = [(spans[-1][0], high)] if low == spans[-1][1] else [spans[-1], (low, high)]
    return [
        # Input, labels, step block: whole cache lines; those that touch are one span. Of each some
        # lines are read again, to see that memory holds them.
        *(call for span in spans for call in (("flush", *span), ("witness",))),
        # The engine rests, and its registers hold what the step before has written.
        ("read STATUS",),
        ("write PROGRAM_COUNT", len(plan.train)),  # which arms START
        *((f"read {name}",) for name in WRITABLE),
        ("write CTRL", START),
        ("read STATUS",),
        ("read RETIRED",),
        ("read CYCLES",),
        ("read CYCLES_HI",),
        ("write CTRL", CLEAR),
        ("invalidate", *lines(plan, "train.records")),
    ]


def lines(plan: Plan, symbol: str) -> tuple[int, int]:
    """Whole cache lines of a region: first byte, and the one behind the last."""
    region = plan.memory[symbol]
    return region.offset // LINE * LINE, -(-region.end // LINE) * LINE


def test_a_training_step_is_exactly_these_transactions(tmp_path: Path) -> None:
    """Three steps: the first one also flushes programs and weights, the others are alike."""
    plan = make_plan(fuse(zoo.get("digits")), BATCH, BOARDS["pynq-z2"])
    nbytes = plan.memory.nbytes
    masters = {name: Masters.of(one) for name, one in init_params(plan.layers, 0).items()}
    images = np.random.RandomState(1).standard_normal((BATCH, *plan.layers[0].in_shape)).astype(
        np.float32)
    sgd = SgdStep(0.01, 0.9)

    def compute(engine: FakeEngine) -> None:
        """What the engine does: run the program on the memory that it sees."""
        arena = board._device.dram.view(BASE, nbytes)
        golden.write(0, arena)
        golden.run(session.request(session.training))
        arena[:] = golden.read(0, nbytes)

    with open_backend("golden", nbytes) as golden, open_backend("golden", nbytes) as alone, \
            fake_board(FakeEngine(compute), tmp_path, nbytes) as board:
        log = record(board._device)
        session, reference = (Session(plan, backend, masters,
                                      new_policy(plan, masters, INPUT_START), fill_seed=1)
                              for backend in (board, alone))
        for step in range(3):
            log.clear()
            work = np.roll(images, step, axis=0), np.arange(step, step + BATCH), sgd
            said, wanted = session.train_step(*work), reference.train_step(*work)
            assert (said.loss_sum, said.correct) == (wanted.loss_sum, wanted.correct)
            if step:
                assert witnessed(log) == transactions(plan), f"step {step}"
        log.clear()
        own = session.read_masters()
        # Nothing but reading; each region once.
        assert log == [("invalidate", *lines(plan, symbol)) for spec in plan.specs
                              for symbol in (f"{spec.name}.wv", f"{spec.name}.bias")]
        assert all(own[name].same_bits(one) for name, one in reference.read_masters().items())


def witnessed(log: list[Call]) -> list[Call]:
    """The log, with ``witness`` for the line that is read again behind a flush of it."""
    found: list[Call] = []
    for call in log:
        before = found[-1] if found else ("",)
        if call[0] == "invalidate" and before[0] == "flush" and before[1] <= call[1] \
                and call[2] <= before[2] and call[2] - call[1] <= 64 * LINE:
            call = ("witness",)
        found.append(call)
    return found


def record(device: VirtualDevice) -> list[Call]:
    """The accesses of the bus and of the caches from now on."""
    log: list[Call] = []
    names = {device.board.core_address + r.offset: r.name for r in registers.REGISTERS}
    read, write, flush, invalidate = (device.read_registers, device.write_registers, device.flush,
                                      device.invalidate)

    def read_registers(address: int, length: int) -> bytes:
        assert length == 4
        log.append((f"read {names[address]}",))
        return read(address, length)

    def write_registers(address: int, data: bytes) -> None:
        assert len(data) == 4
        log.append((f"write {names[address]}", int.from_bytes(data, "little")))
        write(address, data)

    def flush_span(bo: int, offset: int, vaddr: int, nbytes: int) -> None:
        log.append(("flush", offset, offset + nbytes))
        flush(bo, offset, vaddr, nbytes)

    def invalidate_span(bo: int, offset: int, vaddr: int, nbytes: int) -> None:
        log.append(("invalidate", offset, offset + nbytes))
        invalidate(bo, offset, vaddr, nbytes)

    device.read_registers, device.write_registers = read_registers, write_registers
    device.flush, device.invalidate = flush_span, invalidate_span
    return log
