"""The commands finetune, and train and plan with ``--trainable``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.cli.main import main
from pynq_train.schedule.predict import predict

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.RandomState(5)
    y = rng.randint(0, 3, 60)
    x = rng.randint(0, 60, (60, 6, 6)).astype(np.uint8)
    for i, label in enumerate(y):
        x[i, 2 * label] += 150
    path = tmp_path / "data.npz"
    np.savez(path, x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    net = (pt.Sequential((1, 6, 6), "small").conv(4, 3, padding=1).relu().conv(4, 3).relu()
           .dense(3).build())
    path = tmp_path / "small.safetensors"
    pt.Learner(net, batch=8, normalise=True).save(path)
    return path


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def test_finetune(model: Path, data: Path, tmp_path: Path, capsys: Capture) -> None:
    report, result = tmp_path / "report.html", tmp_path / "result.json"
    assert run("finetune", "--model", model, "--data", data, "--epochs", 8, "--lr", 0.1,
               "--report", report, "--json", result, "--no-progress") == 0
    text = capsys.readouterr().out
    tuned = pt.load(tmp_path / "small-tuned.safetensors")
    assert tuned.trainable == "last-block" and tuned.steps == 32 and tuned.batch == 10
    before = pt.load(model).masters
    assert tuned.masters["conv1"].same_bits(before["conv1"])
    assert not tuned.masters["conv2"].same_bits(before["conv2"])
    values = json.loads(result.read_text())
    assert values["accuracy_after"] > 0.9 > values["accuracy_before"]
    assert 0.5 > values["board_seconds"] > 32 * 0.1 * 0.02 > values["engine_seconds"]
    assert values["engine_seconds"] == pytest.approx(32 * values["cycles_per_step"] / 1e8)
    assert f"{values['arena_bytes']} bytes of memory" in text and report.exists()
    assert "accuracy on 20 test images: " in text


def test_a_cache(model: Path, data: Path, tmp_path: Path, capsys: Capture) -> None:
    """The last block from a cache, in memory or in a file; where nothing is frozen it is refused.
    """
    maps, out, result = tmp_path / "maps", tmp_path / "a.safetensors", tmp_path / "result.json"
    common = ["--data", data, "--epochs", 2, "--no-progress", "--out", out]
    tuning = ["finetune", "--model", model, *common, "--json", result]
    assert run(*tuning, "--cache", maps) == 0
    text, values = capsys.readouterr().out, json.loads(result.read_text())
    plan = pt.load(out).plan_cache()
    assert values["cache_bytes"] == 40 * plan.cache_bytes == maps.stat().st_size
    assert values["cycles_per_step"] == predict(plan, plan.cached).cycles
    assert values["cache_evaluations"] == 4
    assert f"behind 4 evaluations of {values['cycles_per_evaluation']} that fill a cache of" in text
    assert values["engine_seconds"] == pytest.approx(
        (8 * values["cycles_per_step"] + 4 * predict(plan, plan.evaluate).cycles) / 1e8)
    in_file = pt.load(out).masters
    assert run(*tuning, "--cache") == 0
    assert all(own.same_bits(in_file[name]) for name, own in pt.load(out).masters.items())
    capsys.readouterr()
    assert run(*tuning, "--trainable", "all", "--cache") == 2
    assert "cache: expected frozen layers in front of what" in capsys.readouterr().err
    assert run("train", "--model", model, *common, "--trainable", "dense1", "--cache") == 0
    assert run("train", "--model", model, *common, "--trainable", "bias", "--cache") == 2


def test_a_killed_finetuning_goes_on(model: Path, data: Path, tmp_path: Path,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    whole, part = tmp_path / "whole.safetensors", tmp_path / "part.safetensors"
    arguments = ("--data", data, "--epochs", 3, "--checkpoint-every", 1, "--no-progress")
    assert run("finetune", "--model", model, "--out", whole, *arguments) == 0
    from pynq_train.run import Session
    original, count = Session.train_step, [0]

    def train_step(session: Session, *args: object) -> object:
        count[0] += 1
        if count[0] == 6:
            raise RuntimeError("the power went away")
        return original(session, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Session, "train_step", train_step)
    with pytest.raises(RuntimeError):
        run("finetune", "--model", model, "--out", part, *arguments)
    monkeypatch.undo()
    assert pt.load(part).steps == 5
    assert run("finetune", "--model", part, "--out", part, "--resume", *arguments) == 0
    found, wanted = pt.load(part), pt.load(whole)
    assert all(own.same_bits(found.masters[name]) for name, own in wanted.masters.items())


@pytest.mark.parametrize(("arguments", "text"), [
    (("--model", "digits", "--data", "D"), "model 'digits': expected a file that 'pynq-train "
     "train' saved, found a name; train the network first"),
    (("--model", "M", "--data", "D", "--trainable", "conv7"),
     "trainable: nothing is called 'conv7'"),
    (("--model", "M", "--data", "D", "--out", "/no/where/m.safetensors"),
     "folder '/no/where' does not exist; create it, or choose another --out"),
    (("--model", "M", "--data", "D", "--resume"), "nothing to resume"),
])
def test_refusals(model: Path, data: Path, capsys: Capture, arguments: tuple[str, ...],
                  text: str) -> None:
    places = {"M": str(model), "D": str(data)}
    assert run("finetune", *(places.get(a, a) for a in arguments)) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines()
                if not line.startswith("pynq-train: warning: ")]
    assert error.startswith(f"pynq-train: {text}")


def test_train_with_a_selection(model: Path, data: Path, tmp_path: Path,
                                capsys: Capture) -> None:
    out = tmp_path / "out.safetensors"
    assert run("train", "--model", model, "--data", data, "--epochs", 1, "--out", out,
               "--trainable", "dense1,conv2.bias", "--no-progress") == 0
    assert tuple(pt.load(out).trainable) == ("dense1", "conv2.bias")


def test_plan_shows_what_is_saved(capsys: Capture) -> None:
    assert run("plan", "digits", "--batch", 4, "--trainable", "last-layer") == 0
    text = capsys.readouterr().out
    assert "trainable: dense1 (1290 of 6090 parameters)" in text
    assert 'against trainable="all": ' in text and "% saved" in text
    assert run("plan", "digits", "--batch", 4, "--trainable", "last-layer", "--json") == 0
    saved = json.loads(capsys.readouterr().out)["freeze_report"]
    assert saved["trainable"] == "dense1" and saved["cycles"] < saved["all_cycles"]
    assert run("plan", "vgg16-conv", "--trainable", "bias") == 2
    assert "--trainable with the layer list 'vgg16-conv'" in capsys.readouterr().err


def test_rungs_on_the_command_line(model: Path, data: Path, tmp_path: Path, capsys: Capture
                                   ) -> None:
    """A saved network gets adapters, and its adapted self is a learner as any other."""
    out = tmp_path / "adapted.safetensors"
    arguments = ["finetune", "--data", data, "--epochs", 2, "--out", out, "--no-progress"]
    assert run(*arguments, "--model", model, "--trainable", "skip-lora") == 0
    adapted = pt.load(out)
    assert adapted.trainable == ("relu1.skip_a", "skip_b", "dense1")
    assert adapted.masters["conv2"].same_bits(pt.load(model).masters["conv2"])
    assert run(*arguments, "--model", out, "--trainable", "skip-lora") == 2
    assert "merge them first" in capsys.readouterr().err
    assert run("plan", "digits", "--trainable", "da3") == 0
    assert "pool2.da3_up" in capsys.readouterr().out
