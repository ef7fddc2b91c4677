"""Blocks on the virtual board: the bits of golden, and cycles that no map costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train import fleet

pytestmark = [pytest.mark.rtl, pytest.mark.xdist_group("vboard")]


def network() -> pt.Graph:
    """Return a network with a normalisation, a dropout and a vector at the end."""
    return pt.Graph.build((1, 8, 8), [
        pt.Conv(6, 3, 1, 1, False, "conv1"), pt.BatchNorm(name="bn1"), pt.Relu("relu1"),
        pt.Dropout(0.25, "drop"), pt.Conv(8, 3, 1, 1, False, "conv2"), pt.Relu("relu2"),
        pt.Dense(7, name="dense1"), pt.Relu("relu3"), pt.Dense(4, name="dense2")], "small")


def test_blocks_of_real_cycles_have_the_bits_of_golden() -> None:
    """On a board of its own for some blocks, and in turn on one board."""
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(12, 8, 8)).astype(np.float32), rng.integers(0, 4, 12)
    blocks = fleet.blocks(network(), ["drop", "relu3"], head=["conv", "dense"])

    def trained(boards: Any) -> tuple[list[bytes], list[int], Any]:
        with fleet.train_blocks(blocks, x, y, 1, batch=4, progress=False, boards=boards,
                                ring=2) as found:
            exits = found.exits(x, 0.3)
            steps = [one.history.epochs[-1].cycles / 3 for one in found.learners]
            predicted = [one.predicted_step().cycles for one in found.learners]
            found.close()
            bits = [array.tobytes() for one in found.learners for own in one.masters.values()
                    for array in (own.weight, own.weight_momentum)]
        for one, other in zip(steps, predicted):
            assert one == 0 or one == pytest.approx(other, rel=0.02)
        return bits, [int(one) for one in steps], exits

    bits, cycles, exits = trained("golden")
    assert cycles == [0, 0, 0] and exits.cycles == 0
    virtual = "virtual:pynq-z2"
    for boards, wanted in ((virtual, [True, True, True]),
                           (["golden", virtual, "golden"], [False, True, False])):
        found, counted, answered = trained(boards)
        assert found == bits
        assert [bool(one) for one in counted] == wanted
        assert np.array_equal(answered.classes, exits.classes)
        assert np.array_equal(answered.block, exits.block)
        assert answered.cycles > 0
