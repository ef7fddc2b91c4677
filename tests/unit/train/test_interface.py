"""The public interface: options by name, what ``load`` returns, short texts, choices in help."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import BadInput
from pynq_train.graph import Graph
from pynq_train.layers import init_params
from pynq_train.schedule.specs.trainable import KEYWORDS

Data = tuple[np.ndarray, np.ndarray]
MAY_STAND_FIRST: dict[Callable[..., Any], str] = {
    pt.Learner.fit: "epochs", pt.SGD: "lr", pt.callbacks.EarlyStopping: "monitor",
    pt.Learner: "board", pt.Learner.load: "board", pt.load: "board"}
"""Options that may be given without their name: what a reader takes them for is clear."""
FUNCTIONS = [
    pt.Learner, pt.Learner.load, pt.Learner.fit, pt.Learner.evaluate, pt.Learner.save,
    pt.Learner.export, pt.load, pt.fit_float, pt.verify, pt.SGD, pt.export_onnx,
    pt.prepare_images, pt.callbacks.EarlyStopping, pt.callbacks.BestModel,
    pt.zoo.get, *(getattr(pt.zoo, name) for name in (
        "lenet5", "one_x", "digits", "vgg16", "resnet20", "mobilenet_v1_025", "ds_cnn_s")),
    *(getattr(pt.schedules, name) for name in (
        "Constant", "Linear", "Cosine", "Steps", "WarmUp", "Chain", "Product"))]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__qualname__)
def test_options_are_given_by_name(function: Callable[..., Any]) -> None:
    options = {name for name, one in inspect.signature(function).parameters.items()
               if one.default is not one.empty and one.kind is not one.KEYWORD_ONLY}
    assert options <= {MAY_STAND_FIRST.get(function, "")}


@pytest.mark.parametrize("function", [pt.Learner, pt.Learner.load, pt.load, pt.fit_float,
                                      pt.verify], ids=lambda f: f.__qualname__)
def test_what_is_trained_has_one_name(function: Callable[..., Any]) -> None:
    names = set(inspect.signature(function).parameters)
    assert "trainable" in names and "train" not in names


def test_the_learner_documents_every_choice() -> None:
    assert pt.TRAINABLE_CHOICES is KEYWORDS
    assert all(f"``{word}``" in str(pt.Learner.__doc__) for word in KEYWORDS)


def test_the_network_digits_and_the_data_have_names_of_their_own() -> None:
    assert "digits" in pt.zoo.names() and not hasattr(pt, "digits")
    assert pt.load_digits is pt.data.load_digits


def test_every_public_name_exists() -> None:
    assert all(hasattr(pt, name) for name in pt.__all__)
    assert len(set(pt.__all__)) == len(pt.__all__)


def test_load_returns_a_learner_or_a_model(net: Graph, tmp_path: Path) -> None:
    pt.Learner(net, batch=4).save(tmp_path / "net.safetensors")
    assert isinstance(pt.load(tmp_path / "net.safetensors"), pt.Learner)
    with pt.load(tmp_path / "net.safetensors", board="golden", batch=8) as learner:
        assert learner.batch == 8
    with pytest.raises(BadInput) as caught:
        pt.load("net.onnx", board="golden")
    assert str(caught.value) == (
        "load of an ONNX file with board='golden': expected the path, and what its images are: "
        "the file is a model, "
        "not a learner; use Learner(pynq_train.load(path), board=...)")


@pytest.mark.needs("onnx")
def test_load_of_an_onnx_file_is_a_model(net: Graph, tmp_path: Path) -> None:
    pt.export_onnx(net, init_params(net, 0), tmp_path / "net.onnx")
    model = pt.load(tmp_path / "net.onnx")
    assert isinstance(model, pt.Model) and "onnx" in str(pt.load.__doc__)


def test_load_of_both_kinds_takes_the_options_of_a_learner() -> None:
    wanted = set(inspect.signature(pt.Learner.load).parameters)
    assert set(inspect.signature(pt.load).parameters) == wanted


def test_texts_for_people_are_one_line(net: Graph, data: Data) -> None:
    learner = pt.Learner(net, batch=8, trainable=["dense1", "conv1.bias"])
    assert repr(learner) == ("<Learner small on golden: mini-batch 8, trainable dense1, "
                             "conv1.bias, 0 steps>")
    assert repr(learner.history) == "<History: 0 epochs>"
    history = learner.fit(*data, epochs=2, progress=False)
    assert repr(learner).endswith(", 12 steps>")
    assert repr(history) == f"<History: 2 epochs, {history.epochs[-1].text()}>"
    history.interrupted = True
    assert repr(history).endswith(" %, interrupted>")
    model = pt.Model(net, init_params(net, 0))
    assert repr(model) == ("<Model small: input 1x6x6, 5 operations, 151 parameters, "
                           "images of any range, channels first>")
    assert repr(pt.data.Dataset(*data)) == "<Dataset: 52 images (1, 6, 6) float32, labels>"
    assert repr(pt.data.Dataset(data[0], None)).endswith("float32, no labels>")


def test_functions_see_the_epochs_of_float32_training(net: Graph, data: Data) -> None:
    seen: list[int] = []

    def second(epoch: pt.EpochResult) -> bool:
        seen.append(epoch.epoch)
        return epoch.epoch == 2

    after: list[pt.EpochResult] = []
    history = pt.fit_float(net, *data, epochs=5, callbacks=[second, after.append])
    assert seen == [1, 2] and after == history.epochs and len(history.epochs) == 2
    with pytest.raises(BadInput, match="callback of fit_float: expected a function of the epoch's "
                       r"result, found .*EarlyStopping"):
        pt.fit_float(net, *data, callbacks=[pt.callbacks.EarlyStopping()])  # type: ignore[list-item]
    with pytest.raises(BadInput, match="epochs: expected an integer of 1 or more, found 0"):
        pt.fit_float(net, *data, epochs=0)


@pytest.mark.parametrize(("options", "text"), [
    ({"trainable": None}, "trainable: expected a keyword or a list of layer names, found None"),
    ({"trainable": 5}, "trainable: expected a keyword or a list of layer names, found 5"),
    ({"optimizer": 0.01}, r"optimizer: expected a pynq_train.SGD, found 0.01; use optimizer=pynq_"),
    ({"batch": "4"}, "batch: expected 1..4096 images, found '4'"),
    ({"batch": 2.5}, "batch: expected 1..4096 images, found 2.5"),
    ({"batch": True}, "batch: expected 1..4096 images, found True"),
])
def test_options_of_a_wrong_kind_are_named(net: Graph, tmp_path: Path, options: dict[str, Any],
                                           text: str) -> None:
    with pytest.raises(BadInput, match=text):
        pt.Learner(net, **options)
    saved = tmp_path / "net.safetensors"
    pt.Learner(net).save(saved)
    if options != {"trainable": None}:  # load's word for "as saved"
        with pytest.raises(BadInput, match=text):
            pt.load(saved, **options)


def test_an_optimizer_set_later_is_checked(net: Graph) -> None:
    with pytest.raises(BadInput, match=r"optimizer: expected a pynq_train\.SGD, found 0\.1"):
        pt.Learner(net).optimizer = 0.1  # type: ignore[assignment]


def test_a_mini_batch_may_be_counted_by_numpy(net: Graph, tmp_path: Path) -> None:
    learner = pt.Learner(net, batch=np.int64(4))  # type: ignore[arg-type]
    learner.save(tmp_path / "net.safetensors")
    assert pt.load(tmp_path / "net.safetensors", board="golden").batch == 4


def test_float32_training_refuses_what_a_learner_refuses(net: Graph, data: Data) -> None:
    for options, text in (
        ({"batch": 0}, "batch: expected an integer of 1 or more, found 0"),
        ({"batch": 64}, r"training images: expected at least one mini-batch \(64\), found 52; "),
        ({"optimizer": 0.1}, "optimizer: expected a pynq_train.SGD, found 0.1"),
        ({"trainable": None}, "trainable: expected a keyword or a list"),
    ):
        with pytest.raises(BadInput, match=text):
            pt.fit_float(net, *data, **options)  # type: ignore[arg-type]


def test_a_name_is_no_graph(data: Data) -> None:
    text = r"graph: expected a Graph, found 'lenet5'; use zoo.get\(NAME\)"
    with pytest.raises(BadInput, match=text):
        pt.fit_float("lenet5", *data)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=text):
        pt.verify("lenet5", board="golden")  # type: ignore[arg-type]


def test_load_of_a_folder(tmp_path: Path) -> None:
    for name in ("folder", "folder.onnx"):
        (tmp_path / name).mkdir()
        if name.endswith("onnx"):
            pytest.importorskip("onnx")
        with pytest.raises(BadInput, match=rf"{name}' cannot be read \(Is a directory\)"):
            pt.load(tmp_path / name)
