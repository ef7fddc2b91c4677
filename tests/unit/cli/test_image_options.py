"""Options of the commands that say which images a model takes, and ranges of imported networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.cli import commands
from pynq_train.cli.main import main
from pynq_train.graph.image_format import ImageFormat

Capture = pytest.CaptureFixture[str]
NET = pt.Sequential((2, 6, 6), "small").conv(4, 3, padding=1).relu().dense(3).build()


@pytest.fixture(name="data")
def _data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(5)
    x = rng.integers(0, 256, (60, 6, 6, 2)).astype(np.uint8)
    np.savez(tmp_path / "data.npz", x_train=x[:40], y_train=np.arange(40) % 3, x_test=x[40:],
             y_test=np.arange(20) % 3)
    return tmp_path / "data.npz"


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


SAID = ("--input-range", -1, 1, "--mean", -0.25, 0.5, "--std", 0.5)
FORM = ImageFormat.make(2, (-1, 1), (-0.25, 0.5), 0.5)


def test_train_and_finetune_save_what_was_said(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    pt.Learner(NET, batch=8).save(out)
    assert run("train", "--model", out, "--data", data, "--epochs", 1, "--no-progress", *SAID) == 0
    assert pt.Learner.load(out).input_format == FORM
    # Without it the saved format counts.
    assert run("finetune", "--model", out, "--data", data, "--epochs", 1, "--no-progress") == 0
    assert pt.Learner.load(tmp_path / "m-tuned.safetensors").input_format == FORM
    assert run("finetune", "--model", out, "--data", data, "--epochs", 1, "--no-progress",
               "--input-range", 0, 255) == 0
    tuned = pt.Learner.load(tmp_path / "m-tuned.safetensors").input_format
    assert tuned.input_range == (0, 255) and tuned.normalisation == FORM.normalisation


def test_a_network_of_the_zoo_takes_the_mean_that_was_said(tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    assert run("train", "--model", "digits", "--data", "digits", "--epochs", 1, "--no-progress",
               "--out", out, "--mean", 0.25) == 0
    normalisation = pt.Learner.load(out).normalisation
    assert normalisation is not None and normalisation.mean == (0.25,)


@pytest.mark.needs("onnx")
def test_evaluation_of_an_onnx_file(data: Path, tmp_path: Path, capsys: Capture) -> None:
    model, result = tmp_path / "m.onnx", tmp_path / "r.json"
    learner = pt.Learner(NET, batch=8)
    pt.export_onnx(NET, learner.params, model)
    assert run("evaluate", "--model", model, "--data", data) == 0
    assert "pynq-train: warning: images: nobody has said which" in capsys.readouterr().err
    said = pt.Learner(pt.from_onnx(model), input_range=(-1, 1), mean=(-0.25, 0.5), std=0.5)
    with np.load(data) as arrays:
        said.calibrate(arrays["x_train"])
        wanted = said.evaluate(arrays["x_test"], arrays["y_test"])
    capsys.readouterr()
    assert run("evaluate", "--model", model, "--data", data, "--json", result, *SAID) == 0
    text = capsys.readouterr().out
    assert f"ranges of the feature maps from 40 of 40 images: {FORM}" in text
    values = json.loads(result.read_text())
    assert values["loss"] == wanted.loss and values["accuracy"] == wanted.accuracy
    assert values["again"] == 0 and values["input_format"] == str(FORM)


@pytest.mark.needs("onnx")
def test_images_that_were_run_again_are_counted(data: Path, tmp_path: Path, capsys: Capture,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "m.onnx"
    pt.export_onnx(NET, pt.Learner(NET).params, model, input_format=ImageFormat((0.0, 1.0)))
    with np.load(data) as arrays:
        dark = arrays["x_train"] // 128
        np.savez(data, **{**arrays, "x_train": dark})
    assert run("evaluate", "--model", model, "--data", data) == 0
    assert ", 20 images run again with wider ranges" in capsys.readouterr().out
    # A learner whose ranges are known keeps them.
    learner = pt.Learner(pt.from_onnx(model), batch=8)
    learner.calibrate(dark)
    monkeypatch.setattr(learner, "calibrate", None)
    commands.calibrate(learner, pt.load_data(data))


@pytest.mark.parametrize(("options", "text"), [
    (("--input-range", 1, 0), "input_range: expected two numbers, the lower one first"),
    (("--mean", 1, 2, 3), r"mean: expected one finite number, or 2"),
    (("--std", 0), "std: expected numbers above 0"), (("--std", "x"), "expected a number"),
    (("--mean", "nan"), "mean: expected finite numbers")])
def test_odd_numbers(options: Any, text: str, data: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "m.safetensors"
    pt.Learner(NET, batch=8).save(out)
    for command in ("train", "finetune", "evaluate"):
        assert run(command, "--model", out, "--data", data, *options) == 2
        assert text in capsys.readouterr().err


def test_another_format_ends_an_interrupted_training(data: Path, tmp_path: Path) -> None:
    with np.load(data) as arrays:
        x, y = arrays["x_train"], arrays["y_train"]
    learner, out = pt.Learner(NET, batch=8, input_range=(0, 1)), tmp_path / "m.safetensors"

    class Stop(pt.callbacks.Callback):
        """Ends a training in the middle."""

        def on_step(self, learner: Any, outcome: Any) -> None:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        learner.fit(x, y, epochs=2, progress=False, checkpoint=out, callbacks=[Stop()])
    assert pt.Learner.load(out).state.run is not None
    assert pt.Learner.load(out, input_range=(0, 1)).state.run is not None
    assert pt.Learner.load(out, input_range=(0, 255)).state.run is None
