"""The examples run on small data."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pynq_train as pt

pytestmark = pytest.mark.medium

EXAMPLE = Path(__file__).parents[2] / "examples" / "personalise_speaker.py"


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
