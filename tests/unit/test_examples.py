"""The examples run on small data."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import pynq_train as pt

pytestmark = pytest.mark.medium

EXAMPLE = Path(__file__).parents[2] / "examples" / "personalise_speaker.py"
EVERYWHERE = EXAMPLE.with_name("adapt_everywhere.py")


def recordings(speakers: int, seed: int) -> dict[str, np.ndarray]:
    """Two digits of 12 recordings each; speakers differ in the height of their voice."""
    rng = np.random.RandomState(seed)
    user, y, index = (a.ravel() for a in np.indices((speakers, 2, 12)))
    x = rng.randint(0, 80, (len(y), 16, 16)).astype(np.uint8)
    for i, (speaker, digit) in enumerate(zip(user, y)):
        x[i, 2 + speaker : 5 + speaker, 8 * digit : 8 * digit + 8] += 120
    return {"x": x, "y": y, "user": user, "index": index}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(EXAMPLE), *arguments, "--models", str(folder)],
                          capture_output=True, text=True, check=False)


def test_speakers(tmp_path: Path) -> None:
    data, result = tmp_path / "data.npz", tmp_path / "result.json"
    np.savez(data, **recordings(2, 1))
    done = run(tmp_path, "--data", str(data), "--epochs", "4", "--json", str(result))
    assert done.returncode == 0, done.stderr
    values = json.loads(result.read_text())
    assert len(values["speakers"]) == 2 and values["mean"]["after"] >= 0.5
    assert values["speakers"][0]["steps"] == 4 and not values["speakers"][0]["counted"]
    assert done.stdout.count("\n") == 3


def test_a_voice_of_ones_own(tmp_path: Path) -> None:
    data, own = tmp_path / "data.npz", tmp_path / "own.npz"
    np.savez(data, **recordings(2, 1))
    mine = recordings(1, 2)
    np.savez(own, x=mine["x"], y=mine["y"])
    done = run(tmp_path, "--data", str(data), "--own", str(own), "--epochs", "2")
    assert done.returncode == 0, done.stderr
    assert "speaker 0" in done.stdout


@pytest.mark.parametrize(("arrays", "text"), [
    ({"y": np.zeros(3)}, "expected the arrays x and y, found ['y']"),
    ({"x": np.zeros((5, 4, 4)), "y": np.zeros(5, int)},
     "expected more than 5 recordings of a digit of each speaker, found fewer of speaker 0"),
])
def test_refusals(tmp_path: Path, arrays: dict[str, np.ndarray], text: str) -> None:
    data = tmp_path / "data.npz"
    np.savez(data, **arrays)
    done = run(tmp_path, "--data", str(data))
    assert done.returncode == 1 and text in done.stderr and "Traceback" not in done.stderr


@pytest.mark.needs("onnx")
def test_a_network_from_an_onnx_file(tmp_path: Path) -> None:
    rng = np.random.RandomState(0)
    y = np.arange(90) % 3
    x = rng.randint(0, 60, (90, 6, 6)).astype(np.uint8)
    for i, label in enumerate(y):
        x[i, 2 * label] += 150
    np.savez(tmp_path / "data.npz", x_train=x[:60], y_train=y[:60], x_test=x[60:], y_test=y[60:])
    net = pt.Sequential((1, 6, 6), "small").conv(4, 3).relu().dense(3).build()
    learner = pt.Learner(net, batch=10, input_range=(0, 255), mean=64, std=64)
    learner.fit(x[:60], y[:60], epochs=6, progress=False)
    wanted = learner.evaluate(x[60:], y[60:]).accuracy
    learner.export(tmp_path / "m.onnx")
    script = EXAMPLE.with_name("import_network.py")
    done = subprocess.run([sys.executable, str(script), "--model", str(tmp_path / "m.onnx"),
                           "--data", str(tmp_path / "data.npz"), "--epochs", "1",
                           "--out", str(tmp_path / "m.safetensors")],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "images of 0..255, mean 64, std 64, channels first>" in done.stdout
    assert f"accuracy as imported: {wanted:.4f} of 30 images, 0 of them" in done.stdout
    assert "accuracy behind 1 epochs: " in done.stdout
    assert pt.load(tmp_path / "m.safetensors").calibrated


def digits(path: Path) -> None:
    """Bars whose row is the digit, 0 to 2, as bytes, 8x8."""
    rng = np.random.RandomState(0)
    y = np.arange(1600) % 3
    x = rng.randint(0, 40, (1600, 8, 8)).astype(np.uint8)
    for i, label in enumerate(y):
        x[i, 2 * label + 1, 1:7] += 150
    np.savez(path, x_train=x[:1300], y_train=y[:1300], x_test=x[1300:], y_test=y[1300:])


def test_everywhere(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    digits(tmp_path / "digits.npz")
    np.savez(tmp_path / "speech.npz", **recordings(2, 1), users=np.array(["anna", "bert"]))
    done = subprocess.run(
        [sys.executable, str(EVERYWHERE), "--digits", "digits.npz", "--speech", "speech.npz",
         "--rungs", "last-layer", "--epochs", "4", "--base-epochs", "1",
         "--picture", "p.png", "--json", "r.json"],
        capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("no place was forgotten") == 2
    found = json.loads((tmp_path / "r.json").read_text())
    assert list(found) == ["three domains", "2 speakers"]
    for stays, places in zip(found.values(), (["pen", "inverted", "noise"], ["anna", "bert"])):
        before, *others = stays
        assert [list(stay["accuracy"]) for stay in stays] == [places] * 2
        assert [stay["rung"] for stay in others] == ["last-layer"]
        assert all(stay["nbytes"] > 10000 and stay["seconds"] > 0 for stay in others)
    before, rung = found["three domains"]
    assert rung["accuracy"]["inverted"] > before["accuracy"]["inverted"] + 0.2
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def everywhere() -> ModuleType:
    spec = importlib.util.spec_from_file_location("adapt_everywhere", EVERYWHERE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look there for their types
    spec.loader.exec_module(module)
    return module


def test_a_place_that_is_forgotten_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were ``domains.use`` to do nothing, the last place's weights would answer everywhere."""
    module = everywhere()
    rng = np.random.RandomState(0)
    x, y = rng.randint(0, 255, (20, 8, 8)).astype(np.uint8), np.arange(20) % 2
    model = module.trained((x, y), 1, 0)
    places = [module.Place(str(at), (x + at, y), (x, y)) for at in range(2)]
    settings = module.Settings(epochs=1, batch=10)
    assert module.travel(model, "last-layer", places, settings).nbytes > 0
    monkeypatch.setattr("pynq_train.train.domains.Domains.use", lambda self, name: None)
    with pytest.raises(SystemExit, match="last-layer: 0 was forgotten"):
        module.travel(model, "last-layer", places, settings)


@pytest.mark.parametrize(("option", "text"), [
    ("--digits", "expected x_train, y_train, x_test and y_test, found x"),
    ("--speech", "expected x, y, user and index, found x"),
])
def test_everywhere_refuses_other_files(tmp_path: Path, option: str, text: str) -> None:
    np.savez(tmp_path / "data.npz", x=np.zeros((5, 4, 4)))
    module = everywhere()
    read = module.digit_places if option == "--digits" else module.speech_places
    arguments = (tmp_path / "data.npz", 0) if option == "--digits" else (tmp_path / "data.npz",)
    with pytest.raises(SystemExit, match=text):
        read(*arguments)


def test_three_boards_of_which_one_dies() -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no program openssl on this machine")
    done = subprocess.run(
        [sys.executable, str(EXAMPLE.with_name("three_boards.py")), "--images", "64", "--kill"],
        capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].count("golden") == 3 and lines[1] == "killed the second member"
    assert lines[2].endswith("the bits of one board")
