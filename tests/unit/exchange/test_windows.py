"""Poolings of other frameworks against sums over each window, and what is refused."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from pynq_train.exchange.windows import Pads, Refused, averaged, pair, pool_maxima
from pynq_train.graph.float_pool import PoolSite
from pynq_train.graph.ops import AvgPool, GlobalAvgPool, MaxPool, MaxPool2x2

NO_PADS = (0, 0, 0, 0)


def axis_windows(size: int, zeros: tuple[int, int], pads: tuple[int, int], kernel: int, stride: int,
                 ceil: bool) -> list[range]:
    """Windows as coordinates of the map, by walking: what PyTorch and ONNX say in words."""
    first, end = -zeros[0] - pads[0], size + zeros[1] + pads[1]
    found = []
    for begin in range(first, end, stride):
        inside = begin + kernel <= end
        # A last window may hang over, unless it begins in the padding behind.
        if inside or (ceil and begin < size + zeros[1] and (not found or found[-1][-1] + 1 < end)):
            found.append(range(begin, begin + kernel))
    return found


def reference(x: np.ndarray, zeros: Pads, pads: Pads, kernel: tuple[int, int],
              stride: tuple[int, int], ceil: bool, counted: bool, largest: bool) -> np.ndarray:
    """Each window by itself, of one map."""
    rows, cols = x.shape
    windows = [axis_windows(size, (zeros[at], zeros[at + 2]), (pads[at], pads[at + 2]),
                            kernel[at], stride[at], ceil) for at, size in ((0, rows), (1, cols))]
    out = np.zeros([len(axis) for axis in windows])
    for (i, own), (j, other) in itertools.product(*(enumerate(axis) for axis in windows)):
        taken = [(r, c) for r in own for c in other]
        values = [x[r, c] for r, c in taken if 0 <= r < rows and 0 <= c < cols]
        extra = pads if counted else NO_PADS
        count = sum(-zeros[0] - extra[0] <= r < rows + zeros[2] + extra[2]
                    and -zeros[1] - extra[1] <= c < cols + zeros[3] + extra[3] for r, c in taken)
        if largest:
            assert all(value >= 0 for value in values)
            out[i, j] = max(values, default=0)
        else:
            out[i, j] = sum(values) / max(count, 1)
    return out


def result(op: AvgPool | GlobalAvgPool | MaxPool | MaxPool2x2, x: np.ndarray) -> np.ndarray:
    if isinstance(op, GlobalAvgPool):
        return np.full((1, 1), x.mean())
    site = PoolSite.of(op, (1, *x.shape))
    images = x[None, :, :, None].astype(np.float32)
    maps = site.means(images) if isinstance(op, AvgPool) else site.maxima(images, False)[0]
    return np.asarray(maps[0, :, :, 0])


@pytest.mark.parametrize("largest", [False, True], ids=["mean", "max"])
def test_every_pooling_is_the_same_or_refused(largest: bool, rng: np.random.Generator) -> None:
    """Random windows: small maps, so that borders matter. Many are taken, many are refused."""
    taken = refused = 0
    for _ in range(1500):
        kernel, stride = (tuple(int(n) for n in rng.integers(1, 5, 2)) for _ in range(2))
        if rng.random() < 0.5:
            kernel, stride = (kernel[0],) * 2, (stride[0],) * 2
        rows, cols = (int(n) for n in rng.integers(1, 8, 2))
        pads = tuple(int(rng.integers(0, kernel[at % 2] // 2 + 1)) for at in range(4))
        pads = pads if rng.random() < 0.5 else (min(pads[:2]),) * 4
        zeros = tuple(int(n) for n in rng.integers(0, 2, 4)) if rng.random() < 0.3 else NO_PADS
        ceil, counted = bool(rng.random() < 0.4), bool(rng.random() < 0.5)
        x = rng.random((rows, cols))
        try:
            if largest:
                op = pool_maxima((1, rows, cols), zeros, kernel, stride, pads, ceil)
            else:
                op = averaged((1, rows, cols), zeros, kernel, stride, pads, ceil, counted)
        except Refused:
            refused += 1
            continue
        taken += 1
        want = reference(x, zeros, pads, kernel, stride, ceil, counted, largest)
        got = result(op, x)
        what = f"{op} for kernel {kernel}, stride {stride}, pads {pads}, zeros {zeros}, {ceil=}"
        assert got.shape == want.shape, what
        np.testing.assert_allclose(got, want, rtol=1e-5, err_msg=what)
    assert taken > 300 and refused > 100


def test_same_padding_leaves_its_zeros_out_of_a_mean() -> None:
    """3x3 with stride 2 on a 3x3 map: all four windows hold 2x2 pixels."""
    assert averaged((1, 3, 3), NO_PADS, 3, 2, "same", False, False) == AvgPool(2, 1)
    with pytest.raises(Refused, match="leaves its padding out of the mean"):
        averaged((1, 6, 6), NO_PADS, 3, 1, "same", False, False)


def test_a_window_of_the_maps_size_is_a_global_mean_only_without_padding() -> None:
    assert averaged((8, 4, 6), NO_PADS, [4, 6], [4, 6], 0, False, True) == GlobalAvgPool()
    assert averaged((8, 4, 4), NO_PADS, 4, 4, 1, False, True) == AvgPool(4, 4, 1)
    assert averaged((8, 3, 3), NO_PADS, 3, 1, 1, False, True) == AvgPool(3, 1, 1)
    assert averaged((8, 20, 20), NO_PADS, 20, 20, 0, False, True) == GlobalAvgPool()


def test_ceil_mode_of_maxima_is_same_padding() -> None:
    """SqueezeNet's pooling: 3x3, stride 2, rounded up, on an even map."""
    assert pool_maxima((1, 8, 8), NO_PADS, 3, 2, 0, True) == MaxPool(3, 2, "same")
    assert pool_maxima((1, 9, 9), NO_PADS, 3, 2, 0, True) == MaxPool(3, 2, 0)
    assert pool_maxima((1, 8, 7), NO_PADS, [3, 2], [3, 2], 0, True) == MaxPool(
        (3, 2), (3, 2), "same")
    assert pool_maxima((1, 8, 8), NO_PADS, [1, 3], [1, 2], (0, 1, 0, 0), True) == MaxPool(
        (1, 3), (1, 2), (0, (1, 0)))
    # A third window would begin in the padding behind: there is none.
    assert pool_maxima((1, 3, 3), NO_PADS, 2, 2, 1, True) == MaxPool(2, 2, 1)


@pytest.mark.parametrize(("kernel", "stride", "text"), [
    ([2, 5], [2, 2], "has kernel 2x5: use a kernel of 3 at most"),
    (5, 2, "has kernel 5: use a kernel of 3 at most"),
    (2, [2, 4], "has stride 2x4: use a stride of 3 at most"),
    ([], 1, r"has kernel \[\]: give the kernel as one or two integers"),
    (2, 0, "has stride 0: use a stride of 1 or more"),
    (40, 1, "has a window of 40 on 30 pixels"),
])
def test_refused_windows(kernel: object, stride: object, text: str) -> None:
    with pytest.raises(Refused) as caught:
        pool_maxima((1, 30, 30), NO_PADS, kernel, stride, 0, False)
    assert re.search(text, f"{caught.value.why}: {caught.value.instead}")


def test_pairs() -> None:
    assert pair(3, "kernel") == pair([3], "kernel") == pair((3, 3), "kernel") == (3, 3)
    for wrong in ([1, 2, 3], "ab", None, [1.5, 2]):
        with pytest.raises(Refused, match="has kernel"):
            pair(wrong, "kernel")


@pytest.mark.parametrize(("given", "stride"), [(1, 1), (2, 2), (3, 3), (9, 1)])
def test_a_single_window_keeps_its_stride_or_takes_the_least(given: int, stride: int) -> None:
    """Its stride changes no value, but what the engine does: one of 1 has one phase."""
    found = pool_maxima((1, 3, 3), NO_PADS, 3, given, NO_PADS, False)
    assert found == MaxPool(3, stride, 0)
