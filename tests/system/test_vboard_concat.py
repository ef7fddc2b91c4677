"""Networks whose branches are concatenated on the RTL: all bits are golden's."""

from __future__ import annotations

import pytest
from reference_models.concat_nets import NETWORKS

from pynq_train.check.verify import verify

pytestmark = [pytest.mark.rtl, pytest.mark.xdist_group("vboard")]


@pytest.mark.parametrize("number", range(len(NETWORKS)))
def test_concatenations(number: int) -> None:
    graph = list(NETWORKS.values())[number]
    report = verify(graph, batch=2 + 3 * (number % 2), steps=1, board="virtual:pynq-z2",
                    seed=number)
    assert report.mismatches == 0 and report.descriptors > 0, report.first
