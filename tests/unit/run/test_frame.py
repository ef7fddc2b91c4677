"""What the host writes for a run: where it goes, and that nothing of an earlier run is left."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest

from pynq_train.graph import Sequential
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.words import LINE_WORDS, WORD_BYTES
from pynq_train.layers import fuse
from pynq_train.run.frame import Frame
from pynq_train.schedule.plan import Plan, make_plan

SYMBOLS = ("step_block", "labels", "input")


def planned(batch: int, channels: int = 3, layers: int = 1) -> Plan:
    net = Sequential((channels, 5, 6))
    for _ in range(layers):
        net = net.conv(4, 3, padding=1).relu()
    return make_plan(fuse(net.dense(3).build()), batch, BOARDS["pynq-z2"])


def moved(plan: Plan, symbol: str, by: int) -> Plan:
    """The plan with a region elsewhere."""
    regions = dict(plan.memory.regions)
    regions[symbol] = replace(regions[symbol], offset=regions[symbol].offset + by)
    return replace(plan, memory=replace(plan.memory, regions=MappingProxyType(regions)))


@pytest.mark.parametrize("batch", [1, 2, 7, 8, 9, 16, 17])
@pytest.mark.parametrize("apart", ["", *SYMBOLS])
def test_each_part_goes_to_its_region(batch: int, apart: str) -> None:
    """In one piece where the regions follow each other, whole cache lines in any case."""
    plan = planned(batch, 1 + batch % 6, 2 - batch % 2)
    if apart:
        plan = moved(plan, apart, 1 << 20)
    frame = Frame(plan)
    draw = np.random.default_rng(batch)
    frame.block[:] = draw.integers(1, 99, len(frame.block))
    frame.set_labels(draw.integers(1, 99, batch))
    frame.codes[:] = draw.integers(1, 99, frame.codes.shape)
    arena = np.zeros(plan.memory.nbytes + (1 << 21), np.uint8)
    for symbol, data in frame.written:
        at = plan.memory[symbol].offset
        assert data.dtype == np.uint8 and not arena[at : at + len(data)].any()
        arena[at : at + len(data)] = data
    for symbol, part in zip(SYMBOLS, (frame.block, frame.labels, frame.codes)):
        region = plan.memory[symbol]
        assert arena[region.offset :][: part.nbytes].tobytes() == part.tobytes()
        assert symbol == "input" or (len(part) % LINE_WORDS == 0 and
                                     0 <= part.nbytes - region.nbytes < LINE_WORDS * WORD_BYTES)
        arena[region.offset :][: part.nbytes] = 0
    assert not arena.any(), "nothing goes anywhere else"
    assert frame.codes.nbytes == plan.memory["input"].nbytes
    assert [symbol for symbol, _ in frame.written] in (["step_block"], list(SYMBOLS))
    assert not apart or len(frame.written) == 3


@pytest.mark.parametrize(("batch", "layers", "writes"), [
    (16, 2, 1), (32, 4, 1), (16, 1, 3), (17, 2, 3), (8, 2, 3)])
def test_regions_that_follow_each_other_take_one_write(batch: int, layers: int, writes: int
                                                       ) -> None:
    """Step block and labels of whole bursts, with their last cache lines."""
    assert len(Frame(planned(batch, 3, layers)).written) == writes


@pytest.mark.parametrize("batch", [1, 5, 8])
def test_labels_of_an_earlier_run_are_gone(batch: int) -> None:
    frame = Frame(planned(batch))
    assert not frame.labels.any() and not frame.block.any()
    for count in (batch, batch // 2, batch, None, 0):
        frame.labels[:batch] = 77
        labels = None if count is None else np.arange(1, count + 1)
        frame.set_labels(labels)
        wanted = [*range(1, (count or 0) + 1)]
        assert frame.labels.tolist() == wanted + [0] * (len(frame.labels) - len(wanted))
