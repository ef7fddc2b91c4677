"""Images as a contract: layouts, dtypes, ranges, and the format that belongs to a model."""

from __future__ import annotations

import copy
import itertools
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import BadInput, DataWarning, UnsupportedModel
from pynq_train.graph.image_format import CHANNELS_FIRST, CHANNELS_LAST, ImageFormat
from pynq_train.images import (
    REFUSED_TIMES,
    WARNED_TIMES,
    check_range,
    find_layout,
    pad_images,
    prepare_images,
)

COLOUR = (3, 5, 4)


def pixels(*shape: int) -> Any:
    return np.random.default_rng(len(shape)).integers(0, 256, shape).astype(np.uint8)


# ---- layouts ---------------------------------------------------------------------------------
def test_one_image_has_one_answer_in_every_layout() -> None:
    first = pixels(3, 5, 4)
    wanted = prepare_images(first[None], COLOUR)
    assert wanted.shape == (1, 3, 5, 4) and wanted.dtype == np.float32
    last = first.transpose(1, 2, 0)
    for same in (last, last[None]):
        assert np.array_equal(prepare_images(same, COLOUR), wanted)
    gray = pixels(5, 4)
    one = prepare_images(gray, COLOUR)
    for same in (gray[None], gray[None, None], gray[..., None], gray[None, ..., None]):
        assert np.array_equal(prepare_images(same, COLOUR), one)
    assert np.array_equal(one[0, 0], one[0, 2]) and one.max() <= 1


def test_an_array_that_may_be_two_things_is_refused() -> None:
    # Three gray images, or one of three channels.
    text = (r"images: expected images of 3x5x4 in one layout, found shape \(3, 5, 4\), which is "
            r"\(n, rows, cols\) or \(channels, rows, cols\); give a single image an axis more in "
            r"front: image\[None\]")
    with pytest.raises(BadInput, match=text):
        prepare_images(pixels(3, 5, 4), COLOUR)
    assert len(prepare_images(pixels(2, 5, 4), COLOUR)) == 2
    assert len(prepare_images(pixels(3, 5, 4)[:, None], COLOUR)) == 3


@pytest.mark.parametrize("shape", [(4,), (2, 6, 5), (2, 3, 4, 5), (2, 5, 4, 2), (2, 2, 5, 4),
                                   (2, 3, 6, 4), (1, 2, 3, 5, 4), (), (5, 4, 4)])
def test_other_sizes_are_refused_and_never_padded(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadInput, match=r"images: expected shape .* with 5x4 pixels and 1 or 3 "
                                       r"channels.*; resize, crop or pad"):
        prepare_images(np.zeros(shape, np.uint8), COLOUR)


def test_features_are_rows() -> None:
    x = np.arange(12.0).reshape(3, 4)
    assert np.array_equal(prepare_images(x, (4, 1, 1)), x[:, :, None, None])
    # One sample, or one sequence, without the axis of samples.
    assert np.array_equal(prepare_images(x[1], (4, 1, 1)), x[1:2, :, None, None])
    assert np.array_equal(prepare_images(x[1], (1, 1, 4)), x[1:2, None, None, :])
    for shape in ((3,), (1,)):
        with pytest.raises(BadInput, match=r"images: expected shape .*\(n, 4\), found"):
            prepare_images(np.zeros(shape), (4, 1, 1))


def test_every_layout_is_found_by_brute_force() -> None:
    """Whatever is recognised has each value where the axes of its layout say."""
    for shape in itertools.product((1, 2, 3, 4), repeat=3):
        for inputs in ((1, 2, 3), (3, 2, 3), (2, 4, 4), (4, 1, 1)):
            try:
                layout = find_layout(shape, inputs)
            except BadInput:
                continue
            array = np.arange(np.prod(shape)).reshape(shape)
            found = layout.apply(array)
            assert found.shape[2:] == inputs[1:] and found.shape[1] in (1, inputs[0])
            assert sorted(found.ravel()) == sorted(array.ravel())


def test_the_models_layout_decides_where_sizes_leave_a_choice() -> None:
    shape = (4, 4, 4)
    many = np.arange(2 * 64).reshape(2, 4, 4, 4)
    assert np.array_equal(find_layout(many.shape, shape).apply(many), many)
    last = find_layout(many.shape, shape, CHANNELS_LAST)
    assert np.array_equal(last.apply(many), many.transpose(0, 3, 1, 2))
    # Sizes that leave no choice are not overruled.
    for own in (CHANNELS_FIRST, CHANNELS_LAST):
        assert find_layout((2, 3, 5, 4), COLOUR, own).axes == (0, 1, 2)
        assert find_layout((2, 5, 4, 3), COLOUR, own).axes == (2, 0, 1)
    net = pt.Sequential(shape).conv(4, 3).dense(3).build()
    model = pt.Model(net, pt.Learner(net).params)
    x = many.astype(np.float32) / 128
    wanted = pt.Learner(model).logits(x.transpose(0, 3, 1, 2))
    assert np.array_equal(pt.Learner(model.with_images(layout="channels last")).logits(x), wanted)
    assert not np.array_equal(pt.Learner(model).logits(x), wanted)
    with pytest.raises(BadInput, match="layout: expected 'channels first' or 'channels last', fo"):
        model.with_images(layout="NHWC")


def test_the_layout_stays_through_training_and_files(net: pt.Graph, tmp_path: Path) -> None:
    x, y = data_of()
    model = pt.Model(net, pt.Learner(net).params).with_images(layout=CHANNELS_LAST)
    learner = pt.Learner(model, batch=8, normalise=True)
    learner.fit(x, y, progress=False)
    assert learner.input_format.layout == CHANNELS_LAST
    learner.save(tmp_path / "m.safetensors")
    assert pt.load(tmp_path / "m.safetensors").input_format == learner.input_format
    assert copy.deepcopy(learner).input_format == learner.input_format


@pytest.mark.parametrize(("mean", "std", "wanted"), [
    (0, 255, (0, 255)), (127.5, 127.5, (0, 255)), (33.3, 78.6, (0, 255)), (0.13, 0.3, (0, 1)),
    (0.5, 0.5, (0, 1)), (0, 1, (0, 1)), (-40, 20, None), (0.5, 2, None), (300, 80, None),
    (0, 0.01, (0, 1))])
def test_a_normalisation_says_which_pixels_it_is_for(mean: float, std: float, wanted: Any) -> None:
    form = ImageFormat.make(1, None, mean, std)
    assert form.implied().input_range == wanted
    assert form.with_given(1, (-1, 1), None, None).implied().input_range == (-1, 1)


def test_images_are_padded_where_that_is_asked_for() -> None:
    out = pad_images(pixels(2, 1, 5, 4).astype(np.float32), 7, 6)
    assert out.shape == (2, 1, 7, 6) and not out[:, :, 0].any() and out[:, :, 1, 1:5].any()
    with pytest.raises(BadInput, match="image size: expected at most 4x4 pixels, found 5x4"):
        pad_images(pixels(2, 1, 5, 4), 4, 4)


# ---- dtypes and ranges -----------------------------------------------------------------------
def test_uint8_is_spread_over_the_range() -> None:
    x = pixels(2, 5, 4)
    exact = x[:, None].astype(np.float64)
    for low, high in ((0, 1), (0, 255), (-1, 1), (10, 20)):
        out = prepare_images(x, (1, 5, 4), input_range=(low, high))
        assert np.allclose(out, low + exact * (high - low) / 255, atol=1e-4 * (high - low))
    assert np.array_equal(prepare_images(x, (1, 5, 4)), prepare_images(x, (1, 5, 4),
                                                                     input_range=(0, 1)))


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.int64, np.uint64, bool])
def test_other_integers_need_a_stated_range(dtype: Any) -> None:
    x = (pixels(2, 5, 4) // 2).astype(dtype)
    with pytest.raises(BadInput, match=rf"images: expected uint8 .* or floats, or a stated range, "
                       rf"found dtype {np.dtype(dtype)}"):
        prepare_images(x, (1, 5, 4))
    out = prepare_images(x, (1, 5, 4), input_range=(0, 255))
    assert np.array_equal(out, x[:, None].astype(np.float32))


def test_floats_are_used_as_they_are() -> None:
    for dtype in (np.float16, np.float32, np.float64):
        assert prepare_images(np.full((1, 4, 4), 200.0, dtype), (1, 4, 4)).max() == 200


def test_values_that_are_no_numbers() -> None:
    good = np.zeros((2, 1, 4, 4))
    for bad, text in ((good + np.inf, "expected finite float32 numbers, found inf"),
                      (good + np.nan, "found nan at"), (good.astype(complex), "dtype complex128"),
                      (good.astype(str), "found dtype <U"), (good.astype(object), "dtype object"),
                      (np.inf, r"found shape \(\)")):
        with pytest.raises(BadInput, match=text):
            prepare_images(bad, (1, 4, 4))


def test_mean_and_deviation() -> None:
    x = pixels(2, 5, 4)
    out = prepare_images(x, COLOUR, mean=0.5, std=[0.5, 0.25, 1.0])
    assert out[1, 1, 3, 0] == pytest.approx((x[1, 3, 0] / 255 - 0.5) / 0.25, abs=1e-5)
    for options, text in (({"std": 0}, "std: expected numbers above 0, found 0"),
                          ({"mean": [1, 2]}, r"mean: expected one finite number, or 3"),
                          ({"mean": "a"}, "mean: expected finite numbers"),
                          ({"std": [1, 1, np.nan]}, "std: expected finite numbers"),
                          ({"input_range": (1, 1)}, "input_range: expected two numbers, the lower"),
                          ({"input_range": (1, 1 + 1e-12)}, "that differ in float32"),
                          ({"input_range": (0, 1e-46)}, "that differ in float32"),
                          ({"input_range": (-3e38, 3e38)}, "that differ in float32"),
                          ({"input_range": (0, 1e39)}, "input_range: expected finite numbers"),
                          ({"mean": 1e39}, "mean: expected finite numbers"),
                          ({"mean": {0.1, 0.2, 0.3}}, "mean: expected finite numbers"),
                          ({"mean": {0: 1, 1: 2, 2: 3}}, "mean: expected finite numbers"),
                          ({"mean": np.bool_(True)}, "mean: expected finite numbers"),
                          ({"mean": np.ma.masked_less(np.ones(3), 2)}, "mean: expected finite"),
                          ({"mean": np.ones((3, 3, 1))}, "mean: expected finite numbers"),
                          ({"std": 1e-40}, r"std: expected numbers of at least 1\.18e-38"),
                          ({"input_range": 255}, "input_range: expected two numbers")):
        with pytest.raises(BadInput, match=text):
            prepare_images(x, COLOUR, **options)


@pytest.mark.parametrize("shape", [(3,), (3, 1, 1), (1, 3, 1, 1), (1, 3)])
def test_mean_and_deviation_as_they_are_saved(shape: tuple[int, ...]) -> None:
    x, mean, std = pixels(2, 5, 4), np.array([0.1, 0.2, 0.3]), np.array([0.5, 0.25, 1.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = prepare_images(x, COLOUR, mean=mean.reshape(shape), std=std.reshape(shape))
    np.testing.assert_array_equal(found, prepare_images(x, COLOUR, mean=[0.1, 0.2, 0.3],
                                                        std=[0.5, 0.25, 1.0]))


def test_values_that_overflow_behind_mean_and_deviation_are_refused(net: pt.Graph) -> None:
    learner = pt.Learner(net, batch=8, input_range=(0, 255), std=1e-37)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BadInput, match="expected finite float32 numbers behind mean and devia"):
            learner.predict(np.full((2, 1, 6, 6), 255, np.uint8))


def test_the_borders_of_what_is_warned_of_and_refused() -> None:
    form = ImageFormat((0.0, 1.0))
    middle, half = 0.5, 0.5
    quiet: set[str] = set()
    check_range(0.0, middle + WARNED_TIMES * half, form, np.float32, quiet)
    assert not quiet
    with pytest.warns(DataWarning, match=r"images: expected values of 0\.\.1, which the model"):
        check_range(0.0, middle + (WARNED_TIMES + 0.1) * half, form, np.float32, quiet)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_range(0.0, middle + (WARNED_TIMES + 0.1) * half, form, np.float32, quiet)  # once
    check_range(middle - REFUSED_TIMES * half, 1.0, form, np.float32, quiet)
    with pytest.raises(BadInput, match="scale the images, or say input_range"):
        check_range(middle - (REFUSED_TIMES + 0.1) * half, 1.0, form, np.float32, quiet)
    with pytest.raises(BadInput, match=r"found 0\.\.255; pass uint8 images, or divide by 255"):
        check_range(0.0, 255.0, form, np.float32, quiet)
    with pytest.warns(DataWarning, match=r"values of 0\.\.1, multiply them by 255"):
        check_range(0.0, 1.0, ImageFormat((0.0, 255.0)), np.float32, set())


class Picture:
    """What a picture of Pillow is to NumPy."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.__array_interface__ = pixels(5, 4).__array_interface__
        self._kept = pixels(5, 4)

    def getbands(self) -> tuple[str, ...]:
        return (self.mode,)


def test_what_an_array_would_not_hold_is_refused(net: pt.Graph) -> None:
    learner, good = pt.Learner(net, batch=8), np.ones((2, 1, 6, 6), np.float32)
    masked = np.ma.masked_greater(good, 0.5)
    for bad, text in (
            (masked, "without masked values, found a masked array; say what stands there"),
            ("cat.png", "expected an array of numbers, found str; read or collect the images"),
            (Path("cat.png"), "found PosixPath; read or"),
            ((one for one in good), "found generator"),
            (iter([good]), "found list_iterator"), (7.0, "expected an array, found float"),
            (Picture("P"), r"expected pictures of mode 1, L, RGB, .*found mode 'P'; convert them"),
            ([Picture("L"), Picture("CMYK")], "found mode 'CMYK'"), (object(), "found object"),
            ([good[0], masked[0]], "without masked values"),
            ([[good[0, 0]], (masked[0, 0],)], "without masked values"),
            ([good[0], np.zeros((1, 6, 6), np.uint8)], "parts of one type, whose values mean the "
             "same, found numbers of another type and uint8; convert all of them to one"),
            ([np.zeros((1, 6, 6), bool), np.zeros((1, 6, 6), np.uint8)], "found bool and uint8"),
            ([Picture("1"), Picture("L")], "found bool and uint8"),
            ([Picture("F"), np.zeros((5, 4), np.uint8)], "numbers of another type and uint8")):
        with pytest.raises(BadInput, match=text):
            learner.predict(bad)
    assert prepare_images([Picture("L")] * 2, (1, 5, 4)).shape == (2, 1, 5, 4)
    assert len(learner.predict(np.ma.array(good))) == 2  # nothing is masked
    for alike in ([good[0], good[1].astype(float)], good.tolist(), [np.ma.array(good[0])]):
        assert len(learner.predict(alike)) == len(alike)
    assert prepare_images([Picture("L"), pixels(5, 4)], (1, 5, 4)).shape == (2, 1, 5, 4)


def test_mean_and_deviation_in_the_units_of_another_range(net: pt.Graph) -> None:
    x, _ = data_of()
    params = pt.Learner(net).params
    said = {"mean": 123.0, "std": np.array(58.0)}  # of bytes: that is the range, too
    for learner in (pt.Learner(net, batch=8, **said),
                    pt.Learner(pt.Model(net, params).with_images(**said), batch=8)):
        assert learner.input_format.input_range == (0, 255)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            learner.predict(x)
        with pytest.warns(DataWarning, match=r"if these are values of 0\.\.1, multiply them"):
            learner.predict(x / 255)
    for span, mean, std, text in (((0, 255), 0.5, 0.25, "std 0.25; multiply them by 255, or say"),
                                  ((0, 1), 123, 58, "std 58; divide them by 255, or say another")):
        with pytest.warns(DataWarning, match=text):
            pt.Learner(net, input_range=span, mean=mean, std=std).predict(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for span, mean, std in (((0, 255), 104, 1), ((0, 255), 0, 1), ((0, 1), 0.5, 0.01),
                                ((-1, 1), 0, 1), ((0, 0.01), 0.005, 0.002)):
            pt.Learner(net, input_range=span, mean=mean, std=std).predict(x)


# ---- the format of a model -------------------------------------------------------------------
@pytest.fixture(name="net")
def _net() -> pt.Graph:
    return pt.Sequential((1, 6, 6), "small").conv(4, 3, padding=1).relu().dense(3).build()


def data_of(count: int = 24) -> tuple[Any, Any]:
    return pixels(count, 6, 6), np.arange(count) % 3


def test_a_training_gives_the_model_its_range(net: pt.Graph, tmp_path: Path) -> None:
    x, y = data_of()
    for images, wanted in ((x, (0.0, 1.0)), (x / 255, (0.0, 1.0)), (x.astype("f"), (0.0, 255.0)),
                           (x / 255 * 4 - 2, (-2.0, 2.0))):
        learner = pt.Learner(net, batch=8, optimizer=pt.SGD(0.001))
        assert learner.input_format.input_range is None
        learner.fit(images, y, progress=False)
        assert learner.input_format.input_range == pytest.approx(wanted, abs=0.05)
        assert not learner.input_format.stated
        learner.save(tmp_path / "m.safetensors")
        assert pt.load(tmp_path / "m.safetensors").input_format == learner.input_format


def test_images_of_another_range_are_refused_and_change_nothing(net: pt.Graph) -> None:
    x, y = data_of()
    learner = pt.Learner(net, batch=8, normalise=True)
    learner.fit(x, y, progress=False)
    form, steps = learner.input_format, learner.steps
    for call in (lambda: learner.fit(x.astype("f"), y, progress=False),
                 lambda: learner.predict(x.astype("f")), lambda: learner.predict(x.tolist()),
                 lambda: learner.evaluate(x.astype(np.int64), y)):
        with pytest.raises(BadInput, match="images: expected "):
            call()
    assert learner.input_format == form and learner.steps == steps
    assert np.array_equal(learner.predict(x), learner.predict(x / np.float32(255)))


def test_a_refused_first_training_leaves_no_format(net: pt.Graph) -> None:
    x, y = data_of()
    learner = pt.Learner(net, batch=8, normalise=True)
    with pytest.raises(BadInput, match="label of image 0"):
        learner.fit(x, y + 7, progress=False)
    assert learner.normalisation is None and learner.input_format.input_range is None


def test_a_stated_format_is_part_of_the_model(net: pt.Graph, tmp_path: Path) -> None:
    x, _ = data_of()
    learner = pt.Learner(net, batch=8, input_range=(0, 255), mean=128, std=64)
    assert str(learner.input_format) == "images of 0..255, mean 128, std 64, channels first"
    wanted = learner.logits(x.astype(np.float32))
    for same in (x, x.astype(np.int64), x.astype(np.float64), x[:, None], x[..., None]):
        assert np.array_equal(learner.logits(same), wanted)
    learner.save(tmp_path / "m.safetensors")
    loaded = pt.load(tmp_path / "m.safetensors")
    assert loaded.input_format == learner.input_format
    assert np.array_equal(loaded.logits(x), wanted)
    other = pt.load(tmp_path / "m.safetensors", input_range=(0, 1), mean=0.5, std=0.25)
    assert other.input_format.input_range == (0, 1) and other.normalisation is not None
    with pytest.raises(BadInput, match="normalise: expected False: mean and deviation"):
        pt.Learner(net, normalise=True, mean=0.5)


def test_uint8_for_weights_of_an_unknown_range_gets_one_warning(net: pt.Graph) -> None:
    x, _ = data_of()
    model = pt.Model(net, pt.Learner(net).params)
    learner = pt.Learner(model, batch=8)
    with pytest.warns(DataWarning, match="uint8 images are divided by 255; say input") as said:
        learner.predict(x)
        learner.predict(x)
    assert len(said) == 1
    assert "images of any range" in repr(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pt.Learner(model, batch=8, input_range=(0, 1)).predict(x)
        pt.Learner(net, batch=8).predict(x)


# ---- ranges of feature maps ------------------------------------------------------------------
@pytest.mark.parametrize("light", [0.0, 0.01, 0.25, 1.0])
def test_no_answer_depends_on_which_images_came_first(net: pt.Graph, light: float) -> None:
    x, y = data_of(40)
    x = x[:, None] / np.float32(255)
    model = pt.Model(net, pt.Learner(net, seed=3).params)
    wanted = pt.Learner(model, batch=8).logits(x)
    learner = pt.Learner(model, batch=8)
    learner.predict(x[:1] * np.float32(light))
    learner.evaluate(x[:8] * np.float32(light), y[:8])
    assert np.array_equal(learner.logits(x), wanted)


def test_an_evaluation_that_leaves_the_ranges_is_run_again(net: pt.Graph) -> None:
    x, y = data_of(40)
    x = x[:, None] / np.float32(255)
    learner = pt.Learner(net, batch=8, seed=3)
    exact = pt.Learner(net, batch=8, seed=3).logits(x)
    learner.calibrate(x * np.float32(0.02))
    assert np.abs(learner.logits(x) - exact).max() < 0.01 * np.abs(exact).max()
    found = learner.evaluate(x, y)
    assert found.again == 40 and found == (found.loss, found.accuracy)
    assert learner.evaluate(x[:8] * np.float32(0.02), y[:8]).again == 0
    learner.calibrate(x)
    assert learner.evaluate(x, y).again == 0


def test_a_models_sample_gives_it_its_ranges(net: pt.Graph, tmp_path: Path) -> None:
    x, _ = data_of(40)
    model = pt.Model(net, pt.Learner(net, seed=3).params).with_images(input_range=(0, 1))
    by_hand = pt.Learner(model, batch=8)
    assert not by_hand.calibrated
    by_hand.predict(x)
    assert not by_hand.calibrated
    by_hand.calibrate(x[:16])
    learner = pt.Learner(model.with_images(calibrate=x[:16]), batch=8)
    assert np.array_equal(learner.logits(x[16:]), by_hand.logits(x[16:]))
    assert by_hand.calibrated and learner.calibrated
    saved = pt.Learner(model.with_images(calibrate=x[:16]), batch=8)
    saved.save(tmp_path / "m.safetensors")
    loaded = pt.load(tmp_path / "m.safetensors", board="golden")
    assert loaded.calibrated
    assert np.array_equal(loaded.logits(x[16:]), by_hand.logits(x[16:]))
    with pytest.raises(BadInput, match="images: expected shape"):
        pt.Learner(model.with_images(calibrate=x[:, :3]), batch=8).predict(x)


def test_given_parameters_that_no_master_holds_are_refused(net: pt.Graph) -> None:
    learner = pt.Learner(net, batch=8)
    x, _ = data_of()
    params, before = learner.params, learner.logits(x)
    for part, value in (("weight", 8.5), ("bias", -9.0), ("weight", 1e38)):
        array = getattr(params["conv1"], part).copy()
        array.flat[-1] = value
        bad = {**params, "conv1": replace(params["conv1"], **{part: array})}
        text = f"that the engine does not hold: conv1 .{part}. holds {abs(value):.4g}"
        with pytest.raises(UnsupportedModel, match=re.escape(text).replace(r"\.", ".")):
            learner.set_params(bad)
        assert np.array_equal(learner.logits(x), before)
    learner.set_params(params)
    assert np.array_equal(learner.logits(x), before)


def test_values_that_no_exponent_holds_get_one_warning(net: pt.Graph) -> None:
    x = np.random.default_rng(0).standard_normal((8, 1, 6, 6)).astype(np.float32)
    learner = pt.Learner(net, batch=8)
    with pytest.warns(DataWarning, match="images: expected values of at most 32767 behind mean"):
        learner.logits(x * 1e5)
    with pytest.warns(DataWarning, match=r"larger than the engine holds \(32767\) saturate: "
                                         r"[1-9][0-9]* of conv1\.y"):
        pt.Learner(net, batch=8).logits(np.clip(x * 3e4, -32767, 32767))
    params = pt.Learner(net).params
    params["dense1"] = replace(params["dense1"], weight=params["dense1"].weight * 50)
    with pytest.warns(DataWarning, match=r"of dense1\.y \(up to [0-9]+\); .*; "
                      r"dense1\.y are the logits, so answers may be wrong: divide weights and"):
        pt.Learner(pt.Model(net, params), batch=8).logits(x * 4e3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pt.Learner(net, batch=8).logits(x)
