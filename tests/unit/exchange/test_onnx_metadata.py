"""What ONNX files say of the images that their networks take."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import BadInput
from pynq_train.exchange.onnx_metadata import COLOURS, ENTRY, NAMES, RANGE
from pynq_train.graph.image_format import CHANNELS_FIRST, CHANNELS_LAST, ImageFormat
from pynq_train.graph.reference import FloatTrainer

onnx = pytest.importorskip("onnx")
pytestmark = pytest.mark.needs("onnx")

NET = pt.Sequential((3, 6, 6)).conv(4, 3).relu().dense(3).build()
X = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 3)).astype(np.uint8)


def written(path: Path, form: ImageFormat) -> Any:
    """Export a network with a format and return its proto."""
    pt.export_onnx(NET, pt.Learner(NET).params, path, input_format=form)
    return onnx.load(path)


def changed(path: Path, **entries: Any) -> str:
    """Write a file whose metadata are ``entries``."""
    proto = onnx.load(path)
    del proto.metadata_props[:]
    for key, value in entries.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(proto, path)
    return str(path)


FORMATS = [ImageFormat(), ImageFormat((0.0, 255.0)), ImageFormat((-1.0, 1.0), stated=False),
           ImageFormat.make(3, (0, 1), [0.1307, 0.2, 0.3], [0.3081, 0.1, 1.7]),
           ImageFormat.make(3, (-80, 0), -40, 20), ImageFormat((0.0, 1.0), gain=64.0),
           replace(ImageFormat.make(3, (0, 0.01), [0.001, 0.002, 0], 0.5), gain=8.0)]


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_a_format_comes_back_as_it_was(form: ImageFormat, tmp_path: Path) -> None:
    written(tmp_path / "a.onnx", form)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = pt.load(tmp_path / "a.onnx")
    assert isinstance(model, pt.Model) and model.input_format == form
    assert str(form) in repr(model)


def test_a_learner_and_its_file_answer_alike(tmp_path: Path) -> None:
    learner = pt.Learner(NET, batch=8, input_range=(0, 255), mean=[120, 110, 100], std=60)
    learner.export(tmp_path / "a.onnx")
    again = pt.Learner(pt.from_onnx(tmp_path / "a.onnx"), batch=8)
    assert again.input_format == learner.input_format
    for images in (X, X.astype(np.float32), X.astype(np.int64)):
        assert np.array_equal(again.logits(images), learner.logits(images))


def test_what_other_tools_know_of_it(tmp_path: Path) -> None:
    proto = written(tmp_path / "a.onnx", ImageFormat.make(3, (0, 255), 128, 64))
    said = {entry.key: entry.value for entry in proto.metadata_props}
    assert said[RANGE] == "NominalRange_0_255"
    own = json.loads(said[ENTRY])
    assert own == {"input_range": [0, 255], "stated": True, "in_graph": True,
                   "layout": CHANNELS_FIRST, "normalisation": {"mean": [128] * 3, "std": [64] * 3}}
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    assert [dim.denotation for dim in dims] == ["DATA_BATCH", "DATA_CHANNEL", "DATA_FEATURE",
                                                "DATA_FEATURE"]


@pytest.mark.parametrize(("name", "wanted"), [
    ("NominalRange_0_255", (0, 255)), ("Normalized_0_1", (0, 1)), ("Normalized_1_1", (-1, 1)),
    ("NominalRange_16_235", (16, 235)), ("Linear", None)])
def test_the_standards_range_is_read(name: str, wanted: Any, tmp_path: Path) -> None:
    written(tmp_path / "a.onnx", ImageFormat())
    path = changed(tmp_path / "a.onnx", **{RANGE: name})
    assert pt.from_onnx(path).input_format.input_range == wanted
    # What is said in the call counts.
    assert pt.from_onnx(path, input_range=(0, 2)).input_format.input_range == (0, 2)


def test_mean_and_deviation_that_the_nodes_leave_to_others_are_taken_here(tmp_path: Path) -> None:
    written(tmp_path / "a.onnx", ImageFormat())
    form = ImageFormat.make(3, (0, 255), 128, 64)
    path = changed(tmp_path / "a.onnx", **{ENTRY: json.dumps(form.to_dict())})
    model = pt.from_onnx(path)
    assert model.input_format == form
    floats = (X.astype(np.float32) - 128) / 64
    got = pt.Learner(model, batch=8).logits(X)
    np.testing.assert_array_equal(got, pt.Learner(NET, batch=8).logits(floats))


def test_metadata_that_contradict_the_nodes(tmp_path: Path) -> None:
    form = ImageFormat.make(3, None, 0.5, 0.25)
    entry = {**form.to_dict(), "in_graph": True}
    for nodes, said in ((ImageFormat(), entry), (form, {**entry, "normalisation": {
            "mean": [0.5] * 3, "std": [0.5] * 3}})):
        written(tmp_path / "a.onnx", nodes)
        path = changed(tmp_path / "a.onnx", **{ENTRY: json.dumps(said)})
        with pytest.warns(pt.ModelWarning, match="its nodes do not normalise so: the nodes count"):
            assert pt.from_onnx(path).input_format.normalisation == nodes.normalisation
    written(tmp_path / "a.onnx", form)
    path = changed(tmp_path / "a.onnx", **{ENTRY: json.dumps(form.to_dict())})
    with pytest.warns(pt.ModelWarning, match="nodes normalise them once more: the nodes alone"):
        assert pt.from_onnx(path).input_format.normalisation == form.normalisation
    path = changed(tmp_path / "a.onnx", **{COLOURS: "Bgr8"})
    with pytest.warns(pt.ModelWarning, match="channels are blue, green, red"):
        pt.from_onnx(path)


@pytest.mark.parametrize(("text", "error"), [
    ("[" * 100_000, "expected JSON"), ("{", "expected JSON"), ("[]", "is malformed"),
    ("3", "is malformed"), ('{"input_range": "x"}', "input_range: expected"),
    ('{"input_range": [1, 0]}', "the lower one first"), ('{"stated": 3}', "true or false"),
    ('{"normalisation": {"mean": [1]}}', "malformed"), ('{"layout": 7}', "layout: expected"),
    ('{"layout": ["channels last"]}', "layout: expected"), ('{"gain": 3}', "a power of two"),
    ('{"gain": 0.5}', "a power of two of 1 to"), ('{"gain": "x"}', "gain: expected finite"),
    ('{"normalisation": {"mean": [1, 2], "std": [1, 2]}}', "one finite number, or 3")])
def test_malformed_entries_are_refused(text: str, error: str, tmp_path: Path) -> None:
    written(tmp_path / "a.onnx", ImageFormat())
    path = changed(tmp_path / "a.onnx", **{ENTRY: text})
    with pytest.raises(BadInput, match=error) as caught:
        pt.from_onnx(path)
    assert ENTRY in str(caught.value) and "remove the entry" in str(caught.value)


def test_axes_that_say_channels_last(tmp_path: Path) -> None:
    proto = written(tmp_path / "a.onnx", ImageFormat())
    del proto.metadata_props[:]
    for dim, text in zip(proto.graph.input[0].type.tensor_type.shape.dim,
                         ("DATA_BATCH", "DATA_FEATURE", "DATA_FEATURE", "DATA_CHANNEL")):
        dim.denotation = text
    onnx.save(proto, tmp_path / "a.onnx")
    assert pt.from_onnx(tmp_path / "a.onnx").input_format.layout == CHANNELS_LAST


def test_numbers_per_channel_of_an_export_are_checked(tmp_path: Path) -> None:
    params = pt.Learner(NET).params
    pt.export_onnx(NET, params, tmp_path / "a.onnx", mean=0.5, std=0.5)
    assert str(pt.from_onnx(tmp_path / "a.onnx").input_format) == (
        "images of 0..1, mean 0.5, std 0.5, channels first")
    with pytest.raises(BadInput, match=r"mean: expected one finite number, or 3 \(one per cha"):
        pt.export_onnx(NET, params, tmp_path / "a.onnx", mean=[1, 2])


def test_large_weights_behind_the_images_are_left_to_the_images(tmp_path: Path) -> None:
    params = pt.Learner(NET).params
    params["conv1"] = replace(params["conv1"], weight=params["conv1"].weight * np.float32(50))
    x = X.astype(np.float32) / 255 * np.float32(0.01)
    pt.export_onnx(NET, params, tmp_path / "a.onnx")
    with pytest.warns(pt.ModelWarning, match="are divided by 8, and the images multiplied by it"):
        model = pt.from_onnx(tmp_path / "a.onnx", input_range=(0, 0.01))
    assert model.input_format.gain == 8
    want = FloatTrainer(NET, params).logits(x.transpose(0, 3, 1, 2))
    learner = pt.Learner(model, batch=8)
    for images in (x, X):
        np.testing.assert_allclose(learner.logits(images), want, atol=2e-3 * np.abs(want).max())
    learner.save(tmp_path / "a.safetensors")
    learner.export(tmp_path / "b.onnx")
    assert pt.load(tmp_path / "a.safetensors").input_format == learner.input_format
    again = pt.from_onnx(tmp_path / "b.onnx")
    assert again.input_format == learner.input_format
    np.testing.assert_array_equal(pt.Learner(again, batch=8).logits(X), learner.logits(X))
    params["conv1"] = replace(params["conv1"], weight=params["conv1"].weight * np.float32(1e4))
    pt.export_onnx(NET, params, tmp_path / "a.onnx")
    with pytest.raises(pt.PynqTrainError, match=r"conv1 \(weight\) holds"):
        pt.from_onnx(tmp_path / "a.onnx")


@pytest.mark.parametrize("names", [("cat", "dog", "Käse <1>"), ("cat",), ()])
def test_names_of_classes_come_back(names: tuple[str, ...], tmp_path: Path) -> None:
    pt.export_onnx(NET, pt.Learner(NET).params, tmp_path / "a.onnx", class_names=names)
    model = pt.load(tmp_path / "a.onnx")
    assert isinstance(model, pt.Model) and model.class_names == names
    learner = pt.Learner(model, batch=8)
    assert learner.class_names == names
    learner.export(tmp_path / "b.onnx")
    again = pt.load(tmp_path / "b.onnx")
    assert isinstance(again, pt.Model) and again.class_names == names
    other = pt.Learner(model, class_names=["a", "b", "c"])
    assert other.class_names == ("a", "b", "c")


def test_answers_and_labels_in_the_names_of_a_file(tmp_path: Path) -> None:
    pt.export_onnx(NET, pt.Learner(NET).params, tmp_path / "a.onnx", class_names=["x", "y", "z"],
                   input_format=ImageFormat((0.0, 255.0)))
    learner = pt.Learner(pt.from_onnx(tmp_path / "a.onnx"), batch=8)
    numbers = learner.predict(X)
    assert numbers.dtype == np.int64
    assert learner.predict(X, names=True).tolist() == ["xyz"[one] for one in numbers]
    assert learner.evaluate(X, ["xyz"[one] for one in numbers]).accuracy == 1


@pytest.mark.parametrize(("text", "error"), [
    ("{", "expected a JSON list of names"), ("3", "expected a JSON list of names"),
    ("[3]", "expected a JSON list of names"), ('["a", null]', "expected a JSON list of names"),
    ('["a", "b", "c", "d"]', "class names: expected at most 3, found 4; metadata"),
    ('["a", "a"]', "'a' twice; metadata 'pynq_train.class_names' of network 'a' holds it"),
    ('["\\u0000"]', "characters that can be printed"), ('[""]', "class name: expected 1 to 200")])
def test_malformed_names_are_refused(text: str, error: str, tmp_path: Path) -> None:
    written(tmp_path / "a.onnx", ImageFormat())
    with pytest.raises(BadInput, match=error):
        pt.load(changed(tmp_path / "a.onnx", **{NAMES: text}))


def test_odd_names_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="class names: expected at most 3, found 4"):
        pt.export_onnx(NET, pt.Learner(NET).params, tmp_path / "a.onnx", class_names=list("abcd"))
    assert not (tmp_path / "a.onnx").exists()
