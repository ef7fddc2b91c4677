"""Losses, Nesterov, accumulation and ONNX files on the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.cli.commands import parse_trainable
from pynq_train.cli.main import main
from pynq_train.layers import init_params

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def net() -> pt.Graph:
    return pt.Sequential((1, 6, 6), "small").conv(4, 3, padding=1).relu().pool().dense(3).build()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.RandomState(5)
    y = rng.randint(0, 3, 60)
    x = rng.standard_normal((60, 1, 6, 6)).astype(np.float32) * 0.3
    for i, label in enumerate(y):
        x[i, 0, 2 * label] += 1
    path = tmp_path / "data.npz"
    np.savez(path, x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    return path


@pytest.fixture
def model(net: pt.Graph, tmp_path: Path) -> Path:
    pytest.importorskip("onnx")
    path = tmp_path / "small.onnx"
    pt.export_onnx(net, init_params(net, 3), path)
    return path


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def test_options_reach_the_learner(net: pt.Graph, data: Path, tmp_path: Path) -> None:
    saved, out = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    pt.Learner(net, batch=8).save(saved)
    assert run("train", "--model", saved, "--data", data, "--epochs", 1, "--out", out, "--loss",
               "mse", "--accumulate", 2, "--no-progress") == 0
    learner = pt.Learner.load(out)
    assert (learner.loss, learner.accumulate, learner.steps) == ("mse", 2, 4)
    assert run("finetune", "--model", saved, "--data", data, "--epochs", 1, "--out", out,
               "--label-smoothing", 0.2, "--nesterov", "--no-progress") == 0
    learner = pt.Learner.load(out)
    assert learner.label_smoothing == 0.2 and learner.optimizer.nesterov
    assert run("train", "--model", out, "--data", data, "--epochs", 1, "--no-progress") == 0
    learner = pt.Learner.load(out)
    assert learner.label_smoothing == 0.2 and learner.optimizer.nesterov


def test_refused_in_one_sentence(net: pt.Graph, data: Path, tmp_path: Path,
                                 capsys: Capture) -> None:
    saved = tmp_path / "a.safetensors"
    pt.Learner(net, batch=8).save(saved)
    assert run("train", "--model", saved, "--data", data, "--nesterov", "--accumulate", 2) == 2
    error = capsys.readouterr().err
    assert error.startswith("pynq-train: nesterov with accumulation: ") and error.count("\n") == 1


def test_onnx_files_train_and_evaluate(model: Path, data: Path, tmp_path: Path,
                                       capsys: Capture) -> None:
    result = tmp_path / "r.json"
    assert run("evaluate", "--model", model, "--data", data, "--json", result) == 0
    before = json.loads(result.read_text())["accuracy"]
    assert run("train", "--model", model, "--data", data, "--epochs", 6, "--batch", 8, "--lr", 0.1,
               "--no-progress") == 0
    learner = pt.Learner.load(tmp_path / "small.safetensors")
    assert learner.steps == 30 and learner.normalisation is None
    assert learner.history.epochs[-1].val_accuracy > max(before, 0.8)  # type: ignore[type-var]
    assert run("finetune", "--model", model, "--data", data, "--epochs", 1, "--trainable",
               "last-layer", "--no-progress") == 0
    tuned = pt.Learner.load(tmp_path / "small-tuned.safetensors")
    start = pt.Learner(pt.from_onnx(model))
    assert tuned.masters["conv1"].same_bits(start.masters["conv1"])
    assert run("plan", model, "--batch", 4) == 0
    assert "conv1" in capsys.readouterr().out


@pytest.mark.parametrize("command", [("train", "--model"), ("finetune", "--model"),
                                     ("evaluate", "--model"), ("plan",)])
def test_onnx_without_its_package(command: tuple[str, ...], data: Path, tmp_path: Path,
                                  capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    more = () if command == ("plan",) else ("--data", data)
    (tmp_path / "a.onnx").write_bytes(b"\x08\x08")
    assert run(*command, tmp_path / "a.onnx", *more) != 0
    assert capsys.readouterr().err == (
        "pynq-train: reading ONNX files needs the package 'onnx': expected onnx, found none; "
        "run: pip install onnx\n")


def test_onnx_files_that_do_not_exist(data: Path, capsys: Capture) -> None:
    pytest.importorskip("onnx")
    assert run("train", "--model", "none.onnx", "--data", data) == 2
    assert capsys.readouterr().err == (
        "pynq-train: model file 'none.onnx' does not exist; check the path\n")


@pytest.mark.parametrize("command", [
    ("train", "--model", "lenet5", "--data"), ("finetune", "--model", "MODEL", "--data")])
def test_nothing_is_not_everything(command: tuple[str, ...], net: pt.Graph, data: Path,
                                   tmp_path: Path, capsys: Capture) -> None:
    """``--trainable ""``, for example of an empty shell variable, is refused, not ignored."""
    pt.Learner(net).save(tmp_path / "m.safetensors")
    words = [str(tmp_path / "m.safetensors") if word == "MODEL" else word for word in command]
    out = ("--out", str(tmp_path / "out.safetensors"))
    assert main([*words, str(data), "--trainable", "", "--no-progress", *out]) == 2
    assert "trainable: nothing is called ''" in capsys.readouterr().err


def test_spaces_and_commas_around_names() -> None:
    assert parse_trainable("conv1, dense1") == ("conv1", "dense1")
    assert parse_trainable("conv1,") == parse_trainable(" conv1 ") == "conv1"
    assert parse_trainable("") == ""


def test_finetune_of_a_folder(data: Path, capsys: Capture) -> None:
    assert main(["finetune", "--model", ".", "--data", str(data)]) == 2
    assert "model file '.' cannot be read (Is a directory)" in capsys.readouterr().err
