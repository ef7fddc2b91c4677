"""Networks with branches and normalisation on the RTL: all bits are golden's."""

from __future__ import annotations

import pytest

from pynq_train.graph import zoo
from pynq_train.train.random_branches import random_branched_net
from pynq_train.train.verify import verify


@pytest.mark.parametrize("number", range(8))
def test_random_networks(number: int, seed: int) -> None:
    net = random_branched_net(8 * seed + number)
    report = verify(net.graph, net.batch, 2, "virtual:pynq-z2", number)
    assert report.mismatches == 0 and report.descriptors > 0, report.first


def test_random_networks_with_stalls() -> None:
    net = random_branched_net(3)
    assert verify(net.graph, net.batch, 1, "virtual:pynq-z2", 0, stalls=0.2).mismatches == 0


def test_a_step_of_resnet20() -> None:
    report = verify(zoo.resnet20(), 4, 1, "virtual:pynq-z2", 0)
    assert report.mismatches == 0 and report.descriptors > 600, report.first


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v1_025", "ds_cnn_s"])
def test_a_step_of_depthwise_networks(name: str) -> None:
    assert verify(zoo.get(name), 4, 1, "virtual:pynq-z2", 1).mismatches == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", range(40))
def test_more_random_networks(number: int) -> None:
    net = random_branched_net(100 + number)
    assert verify(net.graph, net.batch, 2, "virtual:pynq-z2", number).mismatches == 0
