"""``pynq-train bench --engine ef-train``: EF-Train's predicted figures beside ours."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pynq_train.bench import Rtl
from pynq_train.bench.versus import compare
from pynq_train.cli.main import main
from pynq_train.eftrain import FIXED16, FP32, predict_layers
from pynq_train.eftrain.published import ONE_X_PYNQ_BUILD
from pynq_train.graph import zoo
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.resources import resources
from pynq_train.layers import fuse, layer_lists
from pynq_train.schedule.plan import make_plan
from pynq_train.schedule.predict import predict

Capture = pytest.CaptureFixture[str]
EF = ("--engine", "ef-train")


@pytest.fixture(autouse=True)
def no_rtl(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is simulated."""
    def refuse(*_: object) -> None:
        raise AssertionError("the RTL was run")

    monkeypatch.setattr(Rtl, "open", refuse)


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def test_same_network_batch_chip_and_clock(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "v.json"
    assert run("bench", "1x", *EF, "--board", "pynq-z1", "--batch", 8, "--json", out) == 0
    text = capsys.readouterr().out
    assert "1x, batch 8, pynq-z1 (xc7z020), 100 MHz" in text
    assert "EF-Train on the paper's board: 14.32 ms per image with pooling and loss" in text
    assert "a whole training step, momentum 0" in text
    values = json.loads(out.read_text())
    theirs, ours = values["ef_train"], values["pynq_train"]
    assert theirs["cycles"] == predict_layers(fuse(zoo.get("1x")), ONE_X_PYNQ_BUILD, 8).cycles
    board = BOARDS["pynq-z1"]
    plan = make_plan(fuse(zoo.get("1x")), 8, board, momentum=False)
    assert ours["cycles"] == predict(plan, plan.train).cycles
    assert (theirs["dsp"], theirs["bram36"]) == (180, 108)
    taken = resources(board.config)
    assert (ours["dsp"], ours["bram36"]) == (taken.dsp, taken.bram36)
    assert theirs["macs"] == ours["macs"] - 8 * 3 * 10_240  # all but the dense layer
    assert theirs["kind"] == ours["kind"] == "model"
    assert values["ef_train_paper"]["kind"] == "board"
    assert values["ratio"] == pytest.approx(theirs["ms_per_image"] / ours["ms_per_image"], rel=1e-4)
    rows = {row["layer"]: row for row in values["per_layer"]}
    assert sum(sum(row["pynq_train"].values()) for row in rows.values()) == ours["cycles"]
    assert rows["conv1"]["ef_train"]["bp"] == 0 and rows["dense1"]["ef_train"] is None
    assert sum(sum(row["ef_train"].values()) for row in rows.values()
               if row["ef_train"]) == theirs["cycles"]
    assert theirs["cycles_of_shared_layers"] == theirs["cycles"]


def test_layer_list_with_strides(capsys: Capture) -> None:
    layers = layer_lists.get("resnet20-conv")[:9]
    found = compare("part", layers, 2, BOARDS["pynq-z2"])
    assert [row.name for row in found.rows] == [layer.name for layer in layers]
    assert found.cycles == sum(row.our_total for row in found.rows) and not found.whole_step
    assert found.paper is None and found.ef.design.dtype == FP32
    text = found.table()
    assert "backward passes with a stride are those of our kernel" in text
    assert "every pass by itself" in text and text.count("\n") > len(layers)
    assert found.shared == (found.cycles, found.ef.cycles)
    slower = compare("part", layers[:2], 2, BOARDS["pynq-z2"], momentum=0.9)
    plain = compare("part", layers[:2], 2, BOARDS["pynq-z2"])
    assert slower.cycles > plain.cycles and slower.ef.cycles == plain.ef.cycles


def test_figures_of_the_papers_board_are_those_of_its_data_type() -> None:
    for dtype in (FP32, FIXED16):
        found = compare("1x", zoo.get("1x"), 1, BOARDS["pynq-z1"], dtype=dtype)
        assert (found.paper is None) == (dtype == FIXED16)


def test_16_bit_and_momentum(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "v.json"
    assert run("bench", "digits", *EF, "--batch", 4, "--type", "fixed16", "--momentum", 0.5,
               "--json", out) == 0
    values = json.loads(out.read_text())
    assert values["ef_train"]["type"] == "fixed16" and values["ef_train"]["words_per_cycle"] == 2
    assert values["pynq_train"]["momentum"] == 0.5 and values["ef_train_paper"] is None
    assert run("bench", "digits", *EF, "--batch", 4, "--json", out) == 0
    assert json.loads(out.read_text())["pynq_train"]["cycles"] < values["pynq_train"]["cycles"]


def test_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.axes import Axes

    bars: list[float] = []
    original = Axes.bar

    def bar(axes: Axes, x: float, height: float, *more: object, **named: object) -> object:
        bars.append(height)
        return original(axes, x, height, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Axes, "bar", bar)
    path, out = tmp_path / "v.png", tmp_path / "v.json"
    assert run("bench", "digits", *EF, "--batch", 4, "--picture", path, "--json", out) == 0
    assert path.read_bytes()[1:4] == b"PNG" and f"drawn to {path}" in capsys.readouterr().out
    values = json.loads(out.read_text())
    both = values["ef_train"]["ms_per_image"] + values["pynq_train"]["ms_per_image"]
    assert sum(bars) == pytest.approx(both, rel=1e-4)


@pytest.mark.parametrize(("arguments", "code", "text"), [
    (["1x", *EF, "--layers", "conv1"], 2, "--layers is not for --engine ef-train; leave --layers"),
    (["1x", *EF, "--by-pass"], 2, "--by-pass is not for --engine ef-train"),
    (["1x", "--picture", "v.png"], 2, "--picture is not for --engine pynq-train; add --engine ef"),
    (["1x", "--type", "fp32"], 2, "--type is not for --engine pynq-train; add --engine ef-train"),
    (["1x", "--engine", "other"], 2, "invalid choice: 'other'"),
    (["1y", *EF], 2, "unknown network '1y'"),
    (["1x", *EF, "--picture", "none/v.png"], 2, "folder 'none' does not exist; create it"),
    (["vgg16-conv", *EF, "--batch", "16"], 3, "use a mini-batch of at most 2 images"),
])
def test_refusals(arguments: list[str], code: int, text: str, tmp_path: Path, capsys: Capture,
                  monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    assert run("bench", *arguments) == code
    assert text in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_picture_without_matplotlib(tmp_path: Path, capsys: Capture,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run("bench", "digits", *EF, "--picture", tmp_path / "v.png") == 8
    assert "run: pip install matplotlib" in capsys.readouterr().err
