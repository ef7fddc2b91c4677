"""Images of a training: what is measured on them counts all channels and all chunks."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.graph import Conv, Dense, Graph, Relu
from pynq_train.graph.image_format import ANY_IMAGES, ImageFormat
from pynq_train.images import images_together
from pynq_train.train.images import (
    ImageSource,
    check_outliers,
    measure_normalisation,
    trained_format,
)

CHUNK = 2048
"""Images that are prepared at once."""


def images(count: int, channels: int, rows: int = 2) -> np.ndarray:
    draw = np.random.default_rng(8)
    x = draw.standard_normal((count, channels, rows, 3))
    return (x * np.arange(1, channels + 1)[:, None, None]
            + 5 * np.arange(channels)[:, None, None]).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_normalisation_is_measured_by_channel(channels: int) -> None:
    x = images(40, channels)
    found = measure_normalisation(x, x.shape[1:], ANY_IMAGES)
    wide = x.astype(np.float64)
    assert np.allclose(found.mean, wide.mean(axis=(0, 2, 3)), rtol=1e-9)
    assert np.allclose(found.std, wide.std(axis=(0, 2, 3)), rtol=1e-9)
    source = ImageSource(x, x.shape[1:], ImageFormat(None, found))
    taken = source.take(slice(None)).astype(np.float64)
    assert np.allclose(taken.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    assert np.allclose(taken.std(axis=(0, 2, 3)), 1, atol=1e-5)


def test_a_constant_channel_is_not_divided() -> None:
    x = images(10, 3)
    x[:, 1] = 4
    found = measure_normalisation(x, x.shape[1:], ANY_IMAGES)
    assert found.mean[1] == 4 and found.std[1] == 1 and 1 not in (found.std[0], found.std[2])


def test_a_learner_normalises_three_channels() -> None:
    graph = Graph.build((3, 4, 4), [Conv(4, 3), Relu(), Dense(2)])
    x = np.random.default_rng(3).standard_normal((32, 3, 4, 4)).astype(np.float32)
    x = x * np.float32([1, 3, 9])[:, None, None] + 1
    learner = pt.Learner(graph, batch=8, normalise=True)
    learner.fit(x, np.arange(32) % 2, epochs=1, progress=False)
    assert learner.normalisation is not None
    assert np.allclose(learner.normalisation.std, x.std(axis=(0, 2, 3)), rtol=1e-4)


@pytest.mark.parametrize("at", [0, CHUNK - 1, CHUNK, CHUNK + 6])
def test_range_and_checksum_see_every_chunk(at: int) -> None:
    assert images_together(16) == CHUNK
    x = np.full((CHUNK + 7, 1, 2, 2), 0.5, np.float32)
    x[at, 0, 1, 0] = -3
    source = ImageSource(x, (1, 2, 2), ANY_IMAGES)
    assert source.largest == 3
    other = x.copy()
    other[at, 0, 1, 0] = 3
    assert source.fingerprint != ImageSource(other, (1, 2, 2), ANY_IMAGES).fingerprint
    assert source.fingerprint == ImageSource(x.copy(), (1, 2, 2), ANY_IMAGES).fingerprint


def test_the_exponent_of_the_images_holds_the_last_chunk() -> None:
    graph = Graph.build((1, 2, 2), [Dense(2)])
    draw = np.random.default_rng(1)
    x = draw.uniform(-1, 1, (CHUNK + 64, 1, 2, 2)).astype(np.float32)
    x[-1, 0, 0, 0] = 50
    learner = pt.Learner(graph, batch=512, optimizer=pt.SGD(0.001))
    learner.fit(x, np.arange(len(x)) % 2, epochs=1, progress=False)
    assert learner._policy.input_k >= 6 or learner._trainer.policy.input_k >= 6


def test_normalisation_counts_every_chunk() -> None:
    x = np.zeros((CHUNK + 1024, 1, 1, 1), np.float32)
    x[CHUNK:] = 3
    found = measure_normalisation(x, (1, 1, 1), ANY_IMAGES)
    assert found.mean == pytest.approx((1.0,)) and found.std == pytest.approx((np.sqrt(2),))


def trained(x: np.ndarray, input_range: tuple[float, float] | None = None, stated: bool = False
            ) -> ImageFormat:
    return trained_format(ImageSource(x, x.shape[1:], ImageFormat(input_range, None, stated)))


@pytest.mark.parametrize(("low", "high", "found"), [
    (0.0, 0.26, (0, 1)), (0.0, 1.0, (0, 1)), (0.0, 0.25, (0, 0.25)), (0.0, 1.01, (0, 1.01)),
    (0.0, 100.0, (0, 255)), (3.0, 255.0, (0, 255)), (0.0, 256.0, (0, 256)),
    (0.0, 63.75, (0, 63.75)), (-0.5, 0.5, (-0.5, 0.5)), (-1.0, 1.0, (-1, 1)),
    (-1.5, 1.0, (-1.5, 1)),
    (-0.1, 0.2, (-0.1, 0.2)), (0.5, 0.5, (-0.5, 1.5)), (7.0, 7.0, (6, 8))])
def test_ranges_of_what_was_trained(low: float, high: float, found: tuple[float, float]) -> None:
    """Pixels get a whole range, others their own; one value gets room."""
    x = np.full((2, 1, 2, 2), low, np.float32)
    x[1, 0, 1, 1] = high
    form = trained(x)
    assert form.input_range == pytest.approx(found) and not form.stated
    assert trained(x, (-2.0, 300.0)).input_range == (-2, 300), "what was seen before stays"
    assert trained(x, (-9.0, 290.0), stated=True).input_range == (-9, 290)


def test_the_range_of_bytes_is_that_of_bytes() -> None:
    x = np.full((2, 1, 2, 2), 9, np.uint8)
    whole = trained(x)
    assert whole.input_range == (0, 1) and not whole.stated
    assert trained(x, (0.0, 255.0)).input_range == (0, 255)


@pytest.mark.parametrize(("low", "high", "said"), [(-2.0, 3.0, "-2..3"), (0.0, 1.0, ""),
                                                   (0.0, 200.0, "")])
def test_bytes_for_a_network_of_floats_are_announced_once(low: float, high: float, said: str
                                                          ) -> None:
    graph = Graph.build((1, 4, 4), [Conv(4, 3), Relu(), Dense(2)])
    x = np.linspace(low, high, 256, dtype=np.float32).reshape(16, 1, 4, 4)
    learner = pt.Learner(graph, batch=8)
    learner.fit(x, np.arange(16) % 2, epochs=1, progress=False)
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 1, 4, 4)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        learner.predict(pixels)
        learner.predict(pixels)
    texts = [str(one.message) for one in caught if "uint8 images are" in str(one.message)]
    assert len(texts) == (1 if said else 0)
    assert all(f"images: the model was trained with floats of {said}: uint8 images are spread over "
               "that range" in text for text in texts)


@pytest.mark.parametrize("at", [3, CHUNK - 1, CHUNK, CHUNK + 5])
def test_where_the_largest_value_stands(at: int) -> None:
    """Image, channel, row and column, in whatever part of the images."""
    x = np.zeros((CHUNK + 9, 2, 3, 4), np.float32)
    x[at, 1, 2, 3] = -7.0
    source = ImageSource(x, (2, 3, 4), ImageFormat())
    assert source.largest == 7.0
    assert source.place_of_largest == f"image {at} at (1, 2, 3)"
    x[at] = 0
    assert source.place_of_largest == "an image", "the array has changed meanwhile"


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(("other", "warns"), [(None, True), (0, False), (2500, False)])
def test_equal_images_are_announced_once(dtype: Any, other: int | None, warns: bool) -> None:
    x = np.broadcast_to(np.arange(6, dtype=dtype).reshape(1, 2, 3), (2501, 1, 2, 3)).copy()
    if other is not None:
        x[other, 0, 1, 1] += 1
    source, warned = ImageSource(x, (1, 2, 3), ImageFormat()), set[str]()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_outliers(source, warned)
        check_outliers(source, warned)
    assert [str(one.message)[:62] for one in caught] == warns * [
        "images: expected images that differ, found 2501 equal ones: no"]


def test_one_image_equals_no_other() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_outliers(ImageSource(np.ones((1, 1, 2, 3)), (1, 2, 3), ImageFormat()), set())


def test_black_images_have_no_outliers() -> None:
    """None of the usual images says what is usual."""
    x = np.zeros((600, 1, 2, 2), np.float32)
    x[1] = 9.0  # not among the 256 that are looked at
    source, warned = ImageSource(x, (1, 2, 2), ImageFormat()), set[str]()
    check_outliers(source, warned)
    assert not warned


@pytest.mark.parametrize(("dtype", "known", "wanted"), [
    (np.float32, 8, 1), (np.uint8, 9, 9), (np.uint8, 8, 8), (np.uint8, 7, 7), (np.uint8, 2, 7)])
def test_the_range_of_a_mini_batch(dtype: Any, known: int, wanted: int) -> None:
    """What is known counts where all pixels are within; else those of the batch, and of floats."""
    x = np.full((3, 1, 2, 2), 1.5 if dtype == np.float32 else 127, dtype)
    source = ImageSource(x, (1, 2, 2), ImageFormat(input_range=(0, 255)))
    batch = source.batch(slice(0, 2))
    assert len(batch) == 2 and batch.range_k(known) == wanted
    assert source.table.largest_k == 8
