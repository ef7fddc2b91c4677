"""Masters: constant weights of layers that average or pad."""

from __future__ import annotations

import numpy as np
import pytest

from pynq_train.graph import AvgPool, Conv, Dense, Graph, PadChannels
from pynq_train.layers import fuse
from pynq_train.run.masters import Masters


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
def test_averages(kernel: int) -> None:
    """2**28 / kernel**2, to nearest, for every channel by itself."""
    graph = Graph.build((6, 9, 9), [AvgPool(kernel, 1), Conv(4, 3), Dense(2)])
    masters = Masters.averaging(fuse(graph)[0])
    assert masters.weight.shape == (6, 1, kernel, kernel)
    assert np.all(masters.weight == round(2**28 / kernel**2))
    assert masters.bias is None and not masters.weight_momentum.any()


@pytest.mark.parametrize(("before", "after"), [(0, 3), (2, 0), (2, 3)])
def test_padding_with_channels(before: int, after: int) -> None:
    """1 from each channel to its place, nothing to those of zeros."""
    graph = Graph.build((4, 5, 5), [Conv(4, 3), PadChannels(before, after), Dense(2)])
    weight = Masters.averaging(fuse(graph)[1]).weight
    assert weight.shape == (4 + before + after, 4, 1, 1)
    wanted = np.zeros(weight.shape, np.int32)
    for channel in range(4):
        wanted[before + channel, channel] = 1 << 28
    assert np.array_equal(weight, wanted)
