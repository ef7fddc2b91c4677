"""Networks with branches and normalisation on the RTL: all bits are golden's."""

from __future__ import annotations

import pytest

from pynq_train.check.random_branches import random_branched_net
from pynq_train.check.verify import verify
from pynq_train.graph import zoo
from pynq_train.graph.graph import Sequential
from pynq_train.hw.boards import BOARDS
from pynq_train.layers import fuse
from pynq_train.schedule.passes.descriptors import Role
from pynq_train.schedule.plan import make_plan

pytestmark = [pytest.mark.rtl, pytest.mark.xdist_group("vboard")]


@pytest.mark.parametrize("number", range(8))
def test_random_networks(number: int, seed: int) -> None:
    net = random_branched_net(8 * seed + number)
    report = verify(net.graph, batch=net.batch, steps=2, board="virtual:pynq-z2", seed=number)
    assert report.mismatches == 0 and report.descriptors > 0, report.first


def test_random_networks_with_stalls() -> None:
    net = random_branched_net(3)
    assert verify(net.graph, batch=net.batch, steps=1, board="virtual:pynq-z2", seed=0,
                  stalls=0.2).mismatches == 0


def test_a_step_of_resnet20() -> None:
    report = verify(zoo.resnet20(), batch=4, steps=1, board="virtual:pynq-z2", seed=0)
    assert report.mismatches == 0 and report.descriptors > 600, report.first


def test_chains_whose_layers_have_parts_of_their_own() -> None:
    net = Sequential((8, 20, 20), "parts").conv(16, 3, padding=1, bias=False).norm().relu()
    net = net.max_pool(3, 2, padding=1).conv(32, 3, stride=2, bias=False).norm().relu().dropout(0.3)
    net = net.conv(48, 3, stride=2, padding=1, bias=False).norm().relu6()
    graph = net.conv(48, 1, bias=False).norm().relu().global_pool().dense(7).build()
    plan = make_plan(fuse(graph), 9, BOARDS["pynq-z2"])
    forward = {len({e.images for e in plan.train if e.role == Role.FORWARD and e.layer == at})
               for at, spec in enumerate(plan.specs) if spec.on_array}
    assert len(forward) > 2
    assert verify(graph, batch=9, steps=2, board="virtual:pynq-z2", seed=2).mismatches == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v1_025", "ds_cnn_s"])
def test_a_step_of_depthwise_networks(name: str) -> None:
    assert verify(zoo.get(name), batch=4, steps=1, board="virtual:pynq-z2", seed=1).mismatches == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", range(40))
def test_more_random_networks(number: int) -> None:
    net = random_branched_net(100 + number)
    assert verify(net.graph, batch=net.batch, steps=2, board="virtual:pynq-z2",
                  seed=number).mismatches == 0
