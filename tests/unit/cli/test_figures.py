"""The commands bench and plan: tables, files, pictures, and refusals in one sentence."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pynq_train.bench import Counts, PassCount, Rtl
from pynq_train.bench.reduce import choose
from pynq_train.cli.main import main
from pynq_train.layers import layer_lists
from pynq_train.schedule.predict import predict
from pynq_train.schedule.standalone import StandalonePass, standalone_plan

Capture = pytest.CaptureFixture[str]
COUNTERS = dict.fromkeys((f"{way}_beats{i}" for way in ("read", "write") for i in range(4)), 10)
STALLS = dict.fromkeys(("stall_x", "stall_s", "stall_acc", "stall_gap"), 3)


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


@pytest.fixture
def predicted_rtl(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """A virtual board that takes 2 % longer than predicted; returns the passes and latencies."""
    ran: list[tuple[str, int]] = []

    def count(rtl: Rtl, standalone: StandalonePass, most_cycles: int) -> PassCount:
        ran.append((standalone.name, rtl.latency))
        plan = standalone_plan(standalone)
        prediction = predict(plan, plan.train)
        cycles = prediction.cycles * 102 // 100
        return PassCount(standalone, Counts(cycles, {**COUNTERS, **STALLS}), prediction,
                         choose(standalone, most_cycles), (cycles,))

    monkeypatch.setattr(Rtl, "open", lambda rtl, nbytes: None)
    monkeypatch.setattr(Rtl, "count", count)
    return ran


MACS_OF_CONV1, MACS_OF_CONV13, MACS_OF_ALL = 86_704_128, 462_422_016, 15_346_630_656
"""Multiply-adds of one image in the forward pass of VGG-16."""


@pytest.mark.parametrize(("chosen", "layers", "macs"), [
    (("--layers", "conv1,conv13"), 2, 2 * MACS_OF_CONV1 + 3 * MACS_OF_CONV13),
    pytest.param((), 13, 3 * MACS_OF_ALL - MACS_OF_CONV1, marks=pytest.mark.slow)])
def test_bench_of_a_layer_list(chosen: tuple[str, ...], layers: int, macs: int,
                               predicted_rtl: list[tuple[str, int]], tmp_path: Path,
                               capsys: Capture) -> None:
    out = tmp_path / "b.json"
    assert run("bench", "vgg16-conv", "--board", "virtual:pynq-z2", "--json", out, "--latency",
               100, *chosen) == 0
    text = capsys.readouterr().out
    assert "memory latency 100 cycles" in text and f"written to {out}" in text
    assert "conv13" in text and "* simulated with fewer images" in text
    values = json.loads(out.read_text())
    assert (values["net"], values["board"], values["batch"]) == ("vgg16-conv", "pynq-z2", 2)
    assert values["latency_cycles"] == 100 and values["extrapolated"]
    assert len(values["per_layer"]) == layers and not values["whole_step"]
    assert values["macs"] == 2 * macs
    assert values["error_pct"] == pytest.approx(-1.96, abs=0.05)
    first, last = values["per_layer"][0], values["per_layer"][-1]
    assert [one["pass"] for one in first["passes"]] == ["fp", "wu"]
    assert last["cycles"] == {**last["cycles"], "total": sum(
        last["cycles"][k] for k in ("fp", "bp", "wu"))}
    reduced = last["passes"][0]["simulated"]
    assert reduced["along"] == "channel tiles" and reduced["of"] == 32
    assert first["passes"][0]["simulated"]["along"] == "row bands"
    assert {latency for _, latency in predicted_rtl} == {100}


def test_equal_layers_are_run_once(predicted_rtl: list[tuple[str, int]], capsys: Capture) -> None:
    assert run("bench", "resnet20-conv", "--by-pass") == 0
    names = [name for name, _ in predicted_rtl]
    assert len(names) == 2 + 8 * 3 - 3 and "a0 bp" in names and "a3 bp" not in names
    table = capsys.readouterr().out
    assert all(layer.name in table for layer in layer_lists.resnet20())


def test_chosen_layers_of_a_network(predicted_rtl: list[tuple[str, int]],
                                    capsys: Capture) -> None:
    assert run("bench", "1x", "--batch", 2, "--layers", "conv3,dense1") == 0
    assert [name for name, _ in predicted_rtl] == [
        f"{layer} {kind}" for layer in ("conv3", "dense1") for kind in ("fp", "bp", "wu")]
    assert "each pass by itself" in capsys.readouterr().out


@pytest.mark.parametrize(("net", "batch"), [
    pytest.param("resnet20-conv", 16, marks=pytest.mark.medium),
    pytest.param("alexnet-conv", 16, marks=pytest.mark.slow)])
def test_table_of_a_layer_list_at_its_own_batch(net: str, batch: int, capsys: Capture) -> None:
    assert run("plan", net) == 0
    text = capsys.readouterr().out
    assert f"{net} on board pynq-z2, mini-batch {batch}" in text
    assert "S loads" in text and "limit" in text
    assert "218 of 220 DSPs, 124.5 of 134 BRAM36" in text


def test_plan_of_a_layer_list(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "plan.json"
    assert run("plan", "alexnet-conv", "--batch", 2, "--json", out) == 0
    values = json.loads(out.read_text())
    assert len(values["rows"]) == 5 * 3 - 1
    assert set(values["rows"][0]) == {
        "layer", "pass", "tile", "groups", "s_loads", "bytes_read", "bytes_written", "macs",
        "predicted_cycles", "array_use", "limit"}
    assert {row["limit"] for row in values["rows"]} <= {"array", "bandwidth", "S reload",
                                                       "latency"}
    assert values["resources"]["dsp"] == 218
    assert values["cycles"] == sum(row["predicted_cycles"] for row in values["rows"])


def test_plan_of_a_network_names_every_limit(capsys: Capture) -> None:
    assert run("plan", "1x", "--batch", 1, "--json") == 0
    values = json.loads(capsys.readouterr().out)
    limits = {(row["layer"], row["pass"]): row["limit"] for row in values["rows"]}
    assert limits["conv4", "forward"] == "array"
    assert limits["dense1", "forward"] in ("S reload", "latency", "bandwidth")
    assert values["resources"]["bram36"] == 124.5


def test_roofline_of_predictions_and_of_a_benchmark(
        predicted_rtl: list[tuple[str, int]], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    bench, picture = tmp_path / "b.json", tmp_path / "r.png"
    assert run("bench", "digits", "--batch", 4, "--layers", "conv1,dense1", "--json", bench) == 0
    for extra in ((), ("--measured", bench)):
        picture.unlink(missing_ok=True)
        assert run("plan", "digits", "--batch", 4, "--roofline", picture, *extra) == 0
        assert picture.read_bytes()[1:4] == b"PNG"


@pytest.mark.parametrize(("arguments", "code", "text"), [
    (["bench", "1y"], 2,
     "unknown network '1y': expected one of 1x, alexnet-conv, autoencoder_640, "),
    (["bench", "1x", "--board", "golden"], 2, "unknown board 'golden': expected one of aup-zu3, "),
    (["bench", "1x", "--layers", "conv7"], 2, "unknown layer 'conv7': expected one of conv1, "),
    (["bench", "1x", "--momentum", "1"], 2,
     "momentum: expected a number of at least 0 and below 1, found 1.0"),
    (["bench", "1x", "--json", "/none/b.json"], 2, "folder '/none' does not exist; create it"),
    (["bench", "vgg16"], 3, "device memory of pynq-z2: expected at most 134217728 bytes, found"),
    (["bench", "vgg16-conv", "--batch", "16"], 3, "use a mini-batch of at most 2 images"),
    (["plan", "vgg16", "--batch", "1"], 3, "or a board with more memory"),
    (["plan", "vgg"], 2, "unknown network 'vgg': expected one of 1x, alexnet-conv"),
    (["plan", "1x", "--measured", "b.json"], 2, "add --roofline FILE.png"),
    (["plan", "digits", "--roofline", "r.png", "--measured", "/none.json"], 2,
     "file '/none.json' does not exist; check the path"),
    (["plan", "digits", "--roofline", "r.png", "--measured", "list.json"], 2,
     "'list.json': expected a JSON object, found list"),
    (["plan", "digits", "--roofline", "r.png", "--measured", "other.json"], 2,
     "expected digits on pynq-z2, batch 32, found lenet5 on pynq-z2, batch 32"),
    (["plan", "digits", "--roofline", "r.png", "--measured", "bad.json"], 2,
     "'bad.json' is not JSON"),
])
def test_refusals(arguments: list[str], code: int, text: str, tmp_path: Path, capsys: Capture,
                  monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "other.json").write_text(
        '{"net": "lenet5", "board": "pynq-z2", "batch": 32}')
    assert run(*arguments) == code
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("pynq-train: ") and text in error
    assert not (tmp_path / "r.png").exists()


def test_picture_without_matplotlib(tmp_path: Path, capsys: Capture,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run("plan", "digits", "--roofline", tmp_path / "r.png") == 8
    assert "run: pip install matplotlib" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_long_prediction_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    """On a terminal alone: nothing of it is in a log."""
    from pynq_train.cli import figures

    monkeypatch.setattr(figures, "_SOON", 0.0)
    assert main(["plan", "digits", "--batch", "4"]) == 0
    said = capsys.readouterr()
    assert "predicting" not in said.err and "training step: " in said.out
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert main(["plan", "digits", "--batch", "4"]) == 0
    said = capsys.readouterr()
    assert "predicting pynq-z2" in said.err and "100%" not in said.out
