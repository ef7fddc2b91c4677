"""The command select: table, files, picture, and refusals in one sentence."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest

from pynq_train.cli.main import main

Capture = pytest.CaptureFixture[str]
FEW = ("--models", "digits", "--boards", "pynq-z2", "--rungs", "last-layer,bias,all",
       "--devices", 8, "--rounds", 120)


def run(*arguments: object) -> int:
    return main(["select", "simulate", *map(str, arguments)])


def test_table_json_and_picture(tmp_path: Path, capsys: Capture) -> None:
    file, picture = tmp_path / "select.json", tmp_path / "select.png"
    assert run(*FEW, "--seeds", 2, "--seed", 3, "--json", file, "--picture", picture) == 0
    text = capsys.readouterr().out
    for words in ("8 devices, 120 rounds, 2 seeds from 3, 3 arms; simulated users (noise 0.1)",
                  "linucb (alpha 0.35)", "ucb1 (factor 2)", "epsilon-greedy (decay 5)",
                  "linear-epsilon (decay 2)", "% of the oracle's", "exponent of regret: 0.",
                  "no linear model has 0.01"):
        assert words in text
    values = json.loads(file.read_text())
    assert values["arms"] == ["digits/last-layer", "digits/bias", "digits/all"]
    assert len(values["rows"]) == 7 and len(values["rows"][0]["regret"]) == 2
    assert values["points"][-1] == 120 and len(values["bars"]) == 4
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("arguments", "text"), [
    (["--devices", "0"], "expected an integer of 1 or more, found '0'"),
    (["--devices", "10001"], "devices: expected an integer of 1 to 10000, found 10001"),
    (["--rounds", "50"], "rounds: expected an integer of 100 to 1000000, found 50"),
    (["--seeds", "1000"], "seeds: expected an integer of 1 to 100, found 1000"),
    (["--seed", "-1"], "seed: expected an integer of 0 to"),
    (["--noise", "nan"], "noise: expected a number of 0 to 1, found nan"),
    (["--misfit", "-1"], "misfit: expected a number of 0 to 1, found -1.0"),
    (["--models", "digit"], "unknown network 'digit'"),
    (["--models", ","], "--models: expected one or more, each named once, found none"),
    (["--models", "digits,digits"], "--models: expected one or more, each named once"),
    (["--rungs", ","], "--rungs: expected one or more, each named once, found none"),
    (["--boards", "golden"], "unknown board 'golden'"),
    (["--models", "digits", "--rungs", "norm"], "expected a network with normalisation layers"),
    (["--models", "digits", "--batch", "5000"], "batch: expected 1..4096 images, found 5000"),
    (["--json", "none/x.json"], "folder 'none' does not exist"),
    (["--picture", "none/x.png"], "folder 'none' does not exist"),
])
def test_refusals(arguments: list[str], text: str, capsys: Capture) -> None:
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("pynq-train: ") and text in lines[0]
    assert captured.out == ""


def test_an_action_is_needed(capsys: Capture) -> None:
    assert main(["select"]) == 2
    assert "ACTION; see 'pynq-train select --help'" in capsys.readouterr().err


def test_picture_without_matplotlib(tmp_path: Path, capsys: Capture,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def no_matplotlib(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", no_matplotlib)
    assert run(*FEW, "--picture", tmp_path / "x.png") == 8
    captured = capsys.readouterr()
    assert "selections are drawn by matplotlib" in captured.err and captured.out == ""
