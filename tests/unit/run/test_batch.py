"""Images of a mini-batch: codes of pixels by a table are those of their floats; ranges."""

from __future__ import annotations

import numpy as np
import pytest

from pynq_train.hw.words import ceil_div
from pynq_train.run.batch import FloatBatch, PixelTable, as_batch, floats
from pynq_train.run.formats import range_of


def seen_of(channels: int) -> np.ndarray:
    """What a network sees of a pixel: a scale and an offset of each channel's own."""
    values = np.arange(256, dtype=np.float32)[:, None]
    at = np.arange(1, channels + 1, dtype=np.float32)
    return np.ascontiguousarray(values / (40 * at) - at)


def codes_of(batch: FloatBatch, exponent: int, shape: tuple[int, ...]) -> np.ndarray:
    out = np.full(shape, 77, np.int16)
    batch.fill(exponent, out)
    return out


@pytest.mark.parametrize(("images", "channels", "rows", "cols"), [
    (3, 1, 5, 4), (2, 3, 5, 4), (2, 4, 3, 3), (3, 5, 2, 7), (1, 9, 3, 2), (5, 6, 1, 1),
    (3, 3, 64, 128), (3, 2, 65, 127), (4, 3, 60, 60), (2, 5, 100, 90)])
@pytest.mark.parametrize("grey", [False, True])
def test_pixels_have_the_codes_of_their_floats(images: int, channels: int, rows: int, cols: int,
                                               grey: bool) -> None:
    """Whatever the size: more or fewer pixels than are looked up together."""
    draw = np.random.default_rng(images * 100 + channels)
    planes = draw.integers(0, 256, (images, 1 if grey else channels, rows, cols), np.uint8)
    seen = seen_of(channels)
    values = seen[planes.transpose(0, 2, 3, 1), np.arange(channels)].transpose(0, 3, 1, 2)
    batch, table = FloatBatch(np.ascontiguousarray(values)), PixelTable(seen)
    shape = (images, ceil_div(channels, 4), rows, cols, 4)
    for exponent in (-11, -12, -11):
        out = np.full(shape, 99, np.int16)
        table.fill(exponent, planes, out)
        assert np.array_equal(out, codes_of(batch, exponent, shape)), exponent


@pytest.mark.parametrize(("images", "rows", "cols", "together"), [
    (9000, 2, 1, 8192), (9000, 2, 3, 2730), (50, 20, 50, 16), (3, 100, 200, 1), (7, 4, 4, 7)])
def test_pixels_are_looked_up_in_parts_that_a_cache_holds(images: int, rows: int, cols: int,
                                                          together: int) -> None:
    """At most 256 KB of indices and words, or one image."""
    table = PixelTable(seen_of(1))
    planes = np.zeros((images, 1, rows, cols), np.uint8)
    table.fill(-9, planes, np.zeros((images, 1, rows, cols, 4), np.int16))
    assert table._at.shape == table._more.shape == (together, rows, cols)
    nbytes = table._at.nbytes + table._more.nbytes
    assert together == 1 or nbytes <= 256 << 10
    assert together == images or nbytes + 16 * rows * cols > 256 << 10


def test_codes_of_one_exponent_are_kept() -> None:
    """A training has one; the table of a few hundred words is made once for it."""
    table = PixelTable(seen_of(3))
    first = table._words(-11)
    assert table._words(-11) is first and list(table._codes) == [-11]
    assert table._words(-12) is not first and list(table._codes) == [-12]


@pytest.mark.parametrize("channels", [1, 3, 4, 6])
def test_codes_of_floats_stand_in_blocks_of_four(channels: int) -> None:
    draw = np.random.default_rng(channels)
    values = draw.integers(-9, 9, (2, channels, 3, 2)).astype(np.float32)
    blocks = ceil_div(channels, 4)
    out = codes_of(FloatBatch(values), -2, (2, blocks, 3, 2, 4))
    wanted = np.zeros((2, 4 * blocks, 3, 2))
    wanted[:, :channels] = 4 * values
    assert np.array_equal(out.transpose(0, 1, 4, 2, 3).reshape(wanted.shape), wanted)


@pytest.mark.parametrize(("low", "high"), [(0, 0), (0, 255), (100, 120), (255, 255), (30, 31)])
def test_a_range_of_pixels_is_that_of_their_floats(low: int, high: int) -> None:
    """Both ends count, in every channel by itself."""
    seen = seen_of(3)
    for channel in range(3):
        planes = np.full((2, 3, 2, 2), 50, np.uint8)
        planes[1, channel, 0, 1], planes[0, channel, 1, 0] = low, high
        values = seen[planes.transpose(0, 2, 3, 1), np.arange(3)]
        wanted = range_of(float(np.abs(values).max()))
        assert PixelTable(seen).range_k(planes) == wanted
        assert FloatBatch(values).range_k(99) == wanted, "floats are looked at in any case"
    grey = np.array([[[[low, high]]]], np.uint8)
    assert PixelTable(seen).range_k(grey) == range_of(float(np.abs(seen[[low, high]]).max()))
    assert PixelTable(seen).largest_k == range_of(float(np.abs(seen).max()))


def test_arrays_are_batches() -> None:
    values = np.ones((3, 1, 2, 2), np.float32)
    batch = as_batch(values)
    assert len(batch) == 3 and batch.values() is values and floats(values) is values
    assert as_batch(batch) is batch and floats(batch) is values
