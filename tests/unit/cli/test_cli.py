"""The command line: results, files, exit codes, and one clear sentence for every bad input."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.backends import open_backend
from pynq_train.cli.main import main, parser
from pynq_train.hw.boards import BOARDS
from pynq_train.run import Session
from pynq_train.rungs import RUNGS
from pynq_train.schedule.specs.trainable import KEYWORDS

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    net = pt.Sequential((1, 6, 6), "small").conv(4, 3, padding=1).relu().pool().dense(3).build()
    path = tmp_path / "small.safetensors"
    pt.Learner(net, batch=8, optimizer=pt.SGD(lr=0.1), normalise=True).save(path)
    return path


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


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def refused(capsys: Capture, *arguments: object) -> tuple[int, str]:
    """Exit code and message of a refused command: one line, no traceback."""
    code = run(*arguments)
    error = "".join(line for line in capsys.readouterr().err.splitlines(keepends=True)
                    if not line.startswith("pynq-train: warning: "))
    assert code != 0 and error.startswith("pynq-train: ") and error.count("\n") == 1
    return code, error.removeprefix("pynq-train: ").rstrip("\n")


def test_train_evaluate_and_go_on(model: Path, data: Path, tmp_path: Path,
                                  capsys: Capture) -> None:
    out = tmp_path / "out.safetensors"
    assert run("train", "--model", model, "--data", data, "--epochs", 4, "--out", out,
               "--no-progress") == 0
    text = capsys.readouterr().out
    assert "epoch 4: loss" in text and f"saved {out} after 20 steps" in text
    assert run("evaluate", "--model", out, "--data", data, "--json", tmp_path / "r.json") == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["images"] == 20 and result["accuracy"] > 0.9
    assert "20 images: loss" in capsys.readouterr().out
    assert run("train", "--model", out, "--data", data, "--lr", "0.01", "--epochs", 1,
               "--no-progress") == 0
    assert pt.load(out).steps == 25 and pt.load(out).optimizer.lr == 0.01


def test_train_a_zoo_network_on_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                       capsys: Capture) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    assert run("train", "--model", "digits", "--data", "digits", "--epochs", 1, "--batch", 48,
               "--no-progress") == 0
    assert "saved digits.safetensors after 29 steps" in capsys.readouterr().out


def test_interrupted_training_says_how_to_go_on(
        model: Path, data: Path, tmp_path: Path, capsys: Capture,
        monkeypatch: pytest.MonkeyPatch) -> None:
    original, out = Session.train_step, tmp_path / "part.safetensors"

    def once(session: Session, *arguments: object) -> object:
        import os
        import signal

        os.kill(os.getpid(), signal.SIGINT)
        return original(session, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Session, "train_step", once)
    assert run("train", "--model", model, "--data", data, "--out", out, "--no-progress") == 130
    assert "--resume" in capsys.readouterr().out
    monkeypatch.undo()
    assert run("train", "--model", out, "--data", data, "--resume", "--no-progress") == 0
    assert pt.load(out).steps == 25


def test_class_names(tmp_path: Path, capsys: Capture) -> None:
    rng = np.random.RandomState(5)
    numbers = rng.randint(0, 3, 60)
    x = rng.randint(0, 60, (60, 8, 8)).astype(np.uint8)
    x[np.arange(60), 2 * numbers] += 150
    names = np.array(["owl", "cat", "dog"])
    named, listed = tmp_path / "named.npz", tmp_path / "listed.npz"
    np.savez(named, x=x, y=names[numbers])
    np.savez(listed, x=x, y=numbers, classes=names)
    out, said = tmp_path / "out.safetensors", tmp_path / "said.json"
    for path, order in ((named, ("cat", "dog", "owl")), (listed, ("owl", "cat", "dog"))):
        assert run("train", "--model", "digits", "--data", path, "--epochs", 6, "--batch", 8,
                   "--out", out, "--no-progress") == 0
        assert pt.load(out, board="golden").class_names == order
        capsys.readouterr()
        for other in (named, listed):  # names count, not numbers
            assert run("evaluate", "--model", out, "--data", other, "--json", said) == 0
            text = capsys.readouterr().out
            found = json.loads(said.read_text())
            assert found["accuracy"] > 0.8 and set(found["classes"]) == set(names)
            for name, count in found["classes"].items():
                assert count["images"] == (names[numbers] == name).sum()
                assert f"{name}  {count['right']} of {count['images']} right" in text
    assert run("finetune", "--model", out, "--data", named, "--epochs", 1, "--out", out) == 0
    assert "owl  " in capsys.readouterr().out
    unnamed = tmp_path / "unnamed.safetensors"
    np.savez(tmp_path / "numbers.npz", x=x, y=numbers)
    run("train", "--model", "digits", "--data", tmp_path / "numbers.npz", "--epochs", 6, "--batch",
        8, "--out", unnamed, "--no-progress")
    capsys.readouterr()
    code, text = refused(capsys, "evaluate", "--model", unnamed, "--data", named)
    assert code == 2 and "nobody has said which output of this trained network" in text
    code, text = refused(capsys, "evaluate", "--model", unnamed, "--data", named, "--class-names",
                         "owl,cat")
    assert code == 2 and text.startswith("class_names: expected a list of 3 names")
    assert run("evaluate", "--model", unnamed, "--data", named, "--class-names", "owl, cat,dog",
               "--json", said) == 0
    assert json.loads(said.read_text())["accuracy"] > 0.8


def test_plan(capsys: Capture) -> None:
    assert run("plan", "1x", "--batch", 1) == 0
    text = capsys.readouterr().out
    assert "conv6" in text and "training step:" in text
    assert run("plan", "lenet5", "--board", "virtual:pynq-z1", "--batch", 4, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["board"] == "pynq-z1" and result["training_step"]["cycles"] > 0


def test_verify(tmp_path: Path, capsys: Capture) -> None:
    report = tmp_path / "verify.json"
    assert run("verify", "--net", "digits", "--batch", 2, "--steps", 1, "--board", "golden",
               "--json", report) == 0
    assert "mismatches: 0" in capsys.readouterr().out
    result = json.loads(report.read_text())
    assert result["descriptors_compared"] == 12 and result["mismatches"] == 0
    assert result["bytes_compared"] > 0


def test_verify_random_networks_prints_coverage(tmp_path: Path, capsys: Capture) -> None:
    assert run("verify", "--net", "random", "--seeds", 3, "--steps", 1, "--board", "golden") == 0
    text = capsys.readouterr().out
    assert "rows: kernel x stride" in text and "missing bins:" in text and "networks: 3" in text


def test_verify_fails_on_a_difference(monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                      capsys: Capture) -> None:
    count = 0

    def opened(name: str, nbytes: int) -> object:
        nonlocal count
        count += 1
        backend = open_backend("golden", nbytes)
        if count == 2:
            original = backend.read
            backend.read = lambda o, n: original(o, n) ^ 1  # type: ignore[method-assign]
        return backend

    monkeypatch.setattr(import_module("pynq_train.check.verify"), "open_backend", opened)
    report = tmp_path / "verify.json"
    code, text = refused_after_bar(capsys, "verify", "--net", "digits", "--board", "golden",
                                   "--json", report)
    assert code == 7
    assert ("digits (seed 0) step 1, descriptor 0 (forward of conv1): train.program[0] "
            "(descriptor 0, word 0) is") in text
    assert json.loads(report.read_text())["runs"][0]["first"]["tensor"] == "train.program"


def refused_after_bar(capsys: Capture, *arguments: object) -> tuple[int, str]:
    code = run(*arguments)
    lines = capsys.readouterr().err.splitlines()
    return code, lines[-1].removeprefix("pynq-train: ")


def test_demo_on_golden(tmp_path: Path, capsys: Capture) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    out = tmp_path / "demo"
    assert run("demo", "--board", "golden", "--epochs", 2, "--out", out) == 0
    result = json.loads((out / "result.json").read_text())
    for key in ("test_accuracy", "float_accuracy", "bit_equal", "train_images", "epochs",
                "cycles_per_image", "ms_per_image_100mhz", "seconds_total"):
        assert key in result
    assert result["bit_equal"] is True and result["epochs"] == 2
    assert (out / "learning_curve.png").read_bytes()[1:4] == b"PNG"
    assert pt.load(out / "model.safetensors").steps == 88
    assert "in float32" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "code", "text"), [
    (["train", "--model", "dgits", "--data", "DATA"], 2,
     "unknown network 'dgits': expected one of 1x, autoencoder_640, autoencoder_conv, "),
    (["train", "--model", "/none/x.safetensors", "--data", "DATA"], 2,
     "model file '/none/x.safetensors' does not exist; check the path"),
    (["train", "--model", "digits", "--data", "/none.npz"], 2,
     "data file '/none.npz' does not exist; check the path"),
    (["train", "--model", "MODEL", "--data", "DATA", "--board", "pynq-z9"], 2,
     "unknown board 'pynq-z9': expected one of aup-zu3, "),
    (["train", "--model", "MODEL", "--data", "DATA", "--lr", "abc"], 2,
     "argument --lr: expected a number, found 'abc'; see 'pynq-train train --help'"),
    (["train", "--model", "MODEL", "--data", "DATA", "--lr", "nan"], 2,
     "lr: expected a number of 0 to 8, found nan"),
    (["train", "--model", "MODEL", "--data", "DATA", "--epochs", "0"], 2,
     "argument --epochs: expected an integer of 1 or more, found '0'"),
    (["train", "--model", "MODEL", "--data", "DATA", "--out", "/none/m.safetensors"], 2,
     "folder '/none' does not exist; create it, or choose another --out"),
    (["train", "--model", "MODEL", "--data", "DATA", "--batch", "41"], 2,
     "training images: expected at least one mini-batch (41), found 40; use a smaller batch"),
    (["train", "--model", "MODEL", "--data", "DATA", "--resume"], 2,
     "nothing to resume: the last training ran to its end; call fit without resume"),
    (["evaluate", "--model", "DATA", "--data", "DATA"], 2, "found a NumPy archive (.npz); use"),
    (["evaluate", "--model", "MODEL", "--data", "MODEL"], 2, "cannot be read"),
    (["plan", "1x", "--batch", "4096"], 3,
     "use a mini-batch of at most 128 images"),
    (["plan", "vgg"], 2, "unknown network 'vgg'"),
    (["verify", "--net", "nothing"], 2,
     "unknown network 'nothing': expected one of 1x, autoencoder_640, "),
    (["fly"], 2, "invalid choice: 'fly'"),
    ([], 2, "the following arguments are required: COMMAND"),
])
def test_bad_input_is_one_sentence(arguments: list[str], code: int, text: str, model: Path,
                                   data: Path, capsys: Capture,
                                   monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    filled = [{"MODEL": str(model), "DATA": str(data)}.get(a, a) for a in arguments]
    found = refused_after_bar(capsys, *filled)
    assert found[0] == code and text in found[1]
    assert sorted(tmp_path.iterdir()) == before


def test_bad_arrays_are_refused(model: Path, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "bad.npz"
    x, y = np.zeros((40, 6, 6), np.float32), np.zeros(40, np.int64)
    cases = [
        ({"x": np.full_like(x, np.nan), "y": y}, "finite float32 numbers"),
        ({"x": x, "y": y + 5}, "label of image 0: expected 0..2 (3 classes), found 5"),
        ({"x": x, "y": y[:3]}, "one label per image"),
        ({"x": x.astype(complex), "y": y}, "expected integers or floats"),
        ({"x": np.zeros((40, 9, 9)), "y": y}, "with 6x6 pixels and 1 channel"),
        ({"x": x}, "expected labels 'y', found images only"),
        ({"z": x}, "expected an array 'x'"),
    ]
    for arrays, text in cases:
        np.savez(path, **arrays)
        code, found = refused(capsys, "train", "--model", model, "--data", path, "--no-progress")
        assert code == 2 and text in found, found


def test_no_compiler(model: Path, data: Path, capsys: Capture, tmp_path: Path,
                     monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pynq")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYNQ_TRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    code, found = refused(capsys, "train", "--model", model, "--data", data, "--board",
                          "virtual:pynq-z2", "--no-progress")
    assert code == 8 and "g++" in found


def test_python_m_is_the_command(tmp_path: Path) -> None:
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "pynq_train", *arguments], check=False,
                              capture_output=True, text=True)

    assert call("--version").stdout == f"pynq-train {pt.__version__}\n"
    assert call("plan", "--help").stdout.startswith("usage: pynq-train plan ")
    refused = call("evaluate", "--model", "none.safetensors", "--data", str(tmp_path / "x.npz"))
    assert refused.returncode == 2 and refused.stderr.startswith("pynq-train: data file ")


def subparsers() -> dict[str, argparse.ArgumentParser]:
    """All commands by name, those of a command of several (``fleet keys``) too."""
    found: dict[str, argparse.ArgumentParser] = {}

    def add(prefix: str, one: argparse.ArgumentParser) -> None:
        groups = [a for a in one._actions if isinstance(a, argparse._SubParsersAction)]
        if not groups:
            found[prefix] = one
        for name, below in (groups[0].choices.items() if groups else ()):
            add(f"{prefix} {name}".strip(), below)

    add("", parser())
    return found


@pytest.mark.parametrize("command", sorted(subparsers()))
def test_help_has_every_default_and_every_choice(command: str) -> None:
    one = subparsers()[command]
    text = " ".join(one.format_help().split())
    for action in one._actions:
        assert action.help, f"{command} {action.dest}: no help"
        if action.default not in (None, False, argparse.SUPPRESS):
            assert f"(default: {action.default})" in text or "default: that of" in action.help
        for choice in action.choices or ():
            assert str(choice) in text
        if action.dest == "trainable":
            assert f"what is trained: {', '.join((*KEYWORDS, *RUNGS))}, or names" in text
        if action.dest == "board" and command != "replay":
            assert all(name in text for name in BOARDS)


def test_trainable_is_an_option_of_every_command_that_plans() -> None:
    assert {name for name, one in subparsers().items()
            if any(a.dest == "trainable" for a in one._actions)} == {
                "train", "finetune", "plan", "verify"}


def test_version_and_help(capsys: Capture) -> None:
    for flag in ("--version", "--help"):
        with pytest.raises(SystemExit) as ended:
            run(flag)
        assert ended.value.code == 0
    assert pt.__version__ in capsys.readouterr().out
