"""Segments on the virtual board beside others on golden: equal bits, and the predicted cycles."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import pytest

from pynq_train.fleet.build import SegmentPlans
from pynq_train.fleet.cut import Cut
from pynq_train.fleet.proof import verify_cut
from pynq_train.fleet.segment_plan import BACKWARD, FORWARD
from pynq_train.graph import Add, BatchNorm, Conv, Dense, Dropout, GlobalAvgPool, Graph, Relu, zoo
from pynq_train.layers import init_params
from pynq_train.quant import SgdStep
from pynq_train.run.masters import Masters
from pynq_train.run.session import new_policy

pytestmark = [pytest.mark.rtl, pytest.mark.xdist_group("vboard")]

VIRTUAL = "virtual:pynq-z2"


def test_a_virtual_board_in_the_middle_has_the_bits_of_golden() -> None:
    """It takes both maps of a cut inside a block, and gives gradients with their flags."""
    net = Graph.build((2, 8, 8), [
        Conv(8, 3, 1, 1, False, "conv1"), BatchNorm(name="bn1"), Relu("relu1"),
        Conv(8, 3, 1, 1, False, "conv2"), BatchNorm(name="bn2"), Relu("relu2"),
        Conv(8, 3, 1, 1, False, "conv3"), BatchNorm(name="bn3"), Add("add", ("bn3", "relu1")),
        Relu("relu3"), Dropout(0.3, "drop"), GlobalAvgPool("mean"), Dense(5, name="dense")],
        "block")
    for seed, boards in ((0, ("golden", VIRTUAL, "golden")), (9, (VIRTUAL, "golden", VIRTUAL))):
        report = verify_cut(net, ["conv3", "relu1"], boards=boards, batch=4, steps=4, seed=seed)
        assert report.differences == []
        assert report.digests[0] == report.digests[1]
        assert report.cycles > 10_000


def test_cycles_of_segments_are_predicted_within_one_percent() -> None:
    """Both halves of a cut inside a block of ResNet-20."""
    net = zoo.get("resnet20")
    cut = Cut.of(net, ["b0.conv2"])
    plans = SegmentPlans.of(cut, VIRTUAL, 1)
    masters = {name: Masters.of(own) for name, own in init_params(net, 1).items()}
    with ExitStack() as stack:
        pipeline = plans.open(stack, masters, new_policy(plans.whole, masters, 3))
        step = pipeline.begin(np.zeros((1, 3, 32, 32), np.float32), np.zeros(1, np.int64),
                              SgdStep(0.01, 0.9)).run()
    halves = [(FORWARD, 0), (FORWARD, 1), (BACKWARD, 1), (BACKWARD, 0)]
    for (half, number), (_, answer) in zip(halves, step.answers):
        assert abs(plans.parts[number].predicted(half) / answer.cycles - 1) < 0.01
