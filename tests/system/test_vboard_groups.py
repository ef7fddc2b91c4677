"""Grouped convolutions of any shape on the RTL: all bits are golden's."""

from __future__ import annotations

import pytest

from pynq_train.check.verify import verify
from pynq_train.graph import (
    BatchNorm,
    Conv,
    Dense,
    GlobalAvgPool,
    Graph,
    MaxPool,
    MaxPool2x2,
    Op,
    Relu,
    Relu6,
)

pytestmark = [pytest.mark.rtl, pytest.mark.xdist_group("vboard")]

NETS: dict[str, list[Op]] = {
    # Groups of whole channel blocks, with flags and pooling; four groups of three channels.
    "series": [Conv(12, 3, 1, 1), Relu(), Conv(24, 3, 2, 1, groups=2), Relu6(),
              Conv(18, 3, 1, 1, groups=6), Relu(), MaxPool2x2(), Dense(10)],
    # Behind a normalisation by parts of the mini-batch: depthwise with a multiplier, wide groups.
    "norm": [Conv(16, 3, 1, 1), Relu(), Conv(32, 3, 1, 1, False, groups=16), BatchNorm(), Relu(),
             Conv(64, 3, 1, 1, False, groups=2), BatchNorm(), Relu(), MaxPool(3, 2, 1),
             Conv(18, 1, groups=2), Relu(), GlobalAvgPool(), Dense(4)],
}


@pytest.mark.parametrize("name", NETS)
def test_two_steps(name: str) -> None:
    report = verify(Graph.build((3, 8, 8), NETS[name], name), batch=5, steps=2,
                    board="virtual:pynq-z2", seed=3)
    assert report.mismatches == 0 and report.descriptors > 30, report.first


def test_biases_of_sections_learn_alone() -> None:
    graph = Graph.build((3, 8, 8), NETS["series"])
    report = verify(graph, batch=3, steps=1, board="virtual:pynq-z2", seed=2, trainable="bias")
    assert report.mismatches == 0 and report.descriptors > 12, report.first
