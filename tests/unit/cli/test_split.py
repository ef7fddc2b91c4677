"""The command split: tables, files, picture, and refusals in one sentence."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest

from pynq_train.cli.main import main

Capture = pytest.CaptureFixture[str]


def run(*arguments: object) -> int:
    return main(["split", *map(str, arguments)])


def test_paper(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "paper.json"
    assert run("--paper", "--json", file) == 0
    text = capsys.readouterr().out
    for figure in ("3.402", "6.100", "8.145", "4.570", "4.971", "3.113", "2.862", "2.735"):
        assert f" {figure} " in text
    values = json.loads(file.read_text())
    assert [round(line["value"], 3) for line in values["lines"]][:3] == [3.402, 6.1, 8.145]


def test_table_json_and_picture(tmp_path: Path, capsys: Capture) -> None:
    file, picture = tmp_path / "split.json", tmp_path / "split.png"
    assert run("digits", "--ways", 2, "--devices", 3, "--link", "100mbit,0.1ms", "--host-ms", 0.01,
               "--power", "3,2", "--battery", 2, "--accuracy", 0.9, "--json", file,
               "--picture", picture) == 0
    text = capsys.readouterr().out
    for words in ("best 2 segments", "best 3 segments", "best 2 branches, 1 behind them",
                  "100 Mbit/s, 0.1 ms latency (given)", "battery of 7200 J", "<- best"):
        assert words in text
    values = json.loads(file.read_text())
    assert [row["boards"] for row in values["rows"]] == [1, 2, 3, 3]
    assert values["setting"]["host_s_per_message"] == pytest.approx(1e-5)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_given_cuts_and_boards(capsys: Capture) -> None:
    assert run("digits", "--after", "pool1,pool2", "--board", "pynq-z2,pynq-z2,kv260") == 0
    text = capsys.readouterr().out
    assert "conv1 .. pool1" in text and "dense1 .. dense1" in text
    assert "kv260 at 100 MHz" in text and "best 2" not in text


@pytest.mark.parametrize(("arguments", "code", "text"), [
    (["digits", "--ways", "3", "--devices", "4"], 2,
     "ways: layer 'conv1': expected a divisor of 16 channels, found 3"),
    (["digits", "--link", "0mbit"], 2, "link: expected more than 0 bytes a second, found 0"),
    (["digits", "--link=-5mbit"], 2, "link: expected more than 0 bytes a second"),
    (["digits", "--link", "wire"], 2, "link: expected a rate and perhaps a latency"),
    (["digits", "--power", "0,0"], 2, "power, compute: expected watts above 0"),
    (["digits", "--power=-3,-4"], 2, "power, compute: expected watts above 0"),
    (["digits", "--power", "1,2"], 2, "power: expected at most as much in idleness as at work"),
    (["digits", "--host-ms=-1"], 2, "host time per message: expected 0 seconds or more"),
    (["digits", "--battery", "0"], 2, "battery: expected more than 0 joules"),
    (["digits", "--accuracy", "91"], 2, "accuracy: expected a part of 0 to 1, found 91"),
    (["digits", "--after", "pool1,pool2"], 2,
     "segments and branches: expected 1 to 2, as there are boards, found 3"),
    (["digits", "--ways", "2"], 2, "2 branches: expected 3 boards or more"),
    (["digits", "--after", "conv9"], 2,
     "unknown edge 'conv9': expected one of flatten1, pool1, pool2"),
    (["digits", "--devices", "0"], 2, "expected an integer of 1 or more"),
    (["digits", "--devices", "3", "--board", "kv260,pynq-z2"], 2, "as many as --board names"),
    (["digits", "--board", "golden"], 2, "unknown board 'golden'"),
    (["digit"], 2, "unknown network 'digit'"),
    ([], 2, "split: expected a network, or --paper, found neither"),
    (["digits", "--paper"], 2, "--paper has measurements of its own"),
    (["digits", "--json", "none/x.json"], 2, "folder 'none' does not exist"),
    (["digits", "--picture", "none/x.png"], 2, "folder 'none' does not exist"),
])
def test_refusals(arguments: list[str], code: int, text: str, capsys: Capture) -> None:
    assert run(*arguments) == code
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("pynq-train: ") and text in lines[0]
    assert captured.out == ""


def test_picture_without_matplotlib(tmp_path: Path, capsys: Capture,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def no_matplotlib(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", no_matplotlib)
    assert run("digits", "--picture", tmp_path / "x.png") == 8
    captured = capsys.readouterr()
    assert "splits are drawn by matplotlib" in captured.err and captured.out == ""


@pytest.mark.needs("simpy")
def test_simulation(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "split.json"
    assert run("digits", "--after", "pool1", "--simulate", 50, "--fleet", 7, "--host-ms", 0.1,
               "--json", file) == 0
    text = capsys.readouterr().out
    assert "3 x 2 segments, 2 messages a connection, host 0.1 ms per message" in text
    values = json.loads(file.read_text())
    found, split = values["simulation"], values["rows"][1]
    assert found["boards"] == 6 and found["images"] == 150
    assert found["images_per_s"] == pytest.approx(3 * split["images_per_s"], rel=0.02)


@pytest.mark.needs("simpy")
def test_simulation_of_failures(capsys: Capture) -> None:
    assert run("digits", "--after", "pool1", "--simulate", 4000, "--mtbf", 0.05, "--repair", 1) == 0
    assert " failures, " in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "text"), [
    (["--fleet", "4"], "--fleet, --interval-ms and --mtbf are for simulations"),
    (["--after", "pool1", "--simulate", "3", "--fleet", "1"], "expected 2 boards or more"),
    (["--after", "pool1", "--simulate", "3", "--fleet", "1002"], "expected at most 1000"),
    (["--after", "pool1", "--simulate", "3", "--mtbf", "0"], "expected more than 0 seconds"),
    (["--simulate", "0"], "expected an integer of 1 or more"),
])
def test_refused_simulations(arguments: list[str], text: str, capsys: Capture) -> None:
    assert run("digits", *arguments) == 2
    assert text in capsys.readouterr().err.splitlines()[-1]
