"""A learner whose network is cut: training, checkpoints, evaluation as on one board."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import BadInput, DoesNotFit, UnknownName
from pynq_train.fleet.boards import SplitLearner
from pynq_train.fleet.cut import legal_edges
from pynq_train.hw.boards import BOARDS


def network() -> pt.Graph:
    """Return a small network with a skip, normalisations and a dropout."""
    return pt.Graph.build((1, 8, 8), [
        pt.Conv(8, 3, 1, 1, False, "conv1"), pt.BatchNorm(name="bn1"), pt.Relu("relu1"),
        pt.Conv(8, 3, 1, 1, False, "conv2"), pt.BatchNorm(name="bn2"),
        pt.Add("add", ("bn2", "relu1")), pt.Relu("relu2"), pt.Dropout(0.25, "drop"),
        pt.GlobalAvgPool("mean"), pt.Dense(4, name="dense")], "small")


def data(images: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Return images that can be told apart, and their labels."""
    rng = np.random.default_rng(3)
    y = rng.integers(0, 4, images)
    x = rng.normal(size=(images, 8, 8)).astype(np.float32) * 0.2
    x[np.arange(images), y] += 1
    return x, y


OPTIONS: dict[str, Any] = {"batch": 8, "seed": 5, "optimizer": pt.SGD(
    lr=0.05, momentum=0.9, schedule="cosine", warmup_steps=2)}
AFTER = ["conv2", "drop"]


def files(learner: pt.Learner, path: Path) -> dict[str, bytes]:
    """Return what a learner saves, but for the names of its boards."""
    learner.save(path)
    saved = pt.load(path, board="golden")
    assert saved.masters.keys() == learner.masters.keys()
    state = {**saved._state(), "board": ""}
    masters = {f"{name}.{part}": getattr(one, part) for name, one in saved.masters.items()
               for part in ("weight", "weight_momentum", "bias", "bias_momentum", "mean",
                            "variance")}
    for epoch in state["history"]:
        epoch["seconds"] = 0
    return {"state": repr(state).encode(),
            **{name: b"" if one is None else one.tobytes() for name, one in masters.items()}}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_training_and_evaluation_have_the_bits_of_one_board(accumulate: int, tmp_path: Path
                                                            ) -> None:
    """Also the history with its saturations, and the whole training state."""
    x, y = data()
    whole = pt.Learner(network(), accumulate=accumulate, **OPTIONS)
    parts = pt.split(network(), AFTER, accumulate=accumulate, **OPTIONS)
    for learner in (whole, parts):
        learner.fit(x, y, 3, validation_data=(x[:12], y[:12]), progress=False)
    assert files(whole, tmp_path / "a") == files(parts, tmp_path / "b")
    assert whole.evaluate(3 * x, y) == parts.evaluate(3 * x, y)
    assert np.array_equal(whole.logits(x), parts.logits(x))
    assert parts.history.epochs[-1].loss < parts.history.epochs[0].loss


def test_a_checkpoint_goes_on_cut_or_whole(tmp_path: Path) -> None:
    """Stopped after 7 steps; the file goes on in other segments, or on one board."""
    x, y = data()
    whole = pt.Learner(network(), **OPTIONS)
    whole.fit(x, y, 3, progress=False)

    class Stop(pt.callbacks.Callback):
        """Ends the training in its seventh step."""

        def on_step(self, learner: Any, outcome: Any) -> None:
            """End it."""
            if learner.steps == 7:
                raise KeyboardInterrupt

    parts = pt.split(network(), AFTER, **OPTIONS)
    with pytest.raises(KeyboardInterrupt):
        parts.fit(x, y, 3, progress=False, callbacks=[Stop()])
    parts.save(tmp_path / "on the way")
    boards: list[Any] = ["golden", pt.Boards(("relu1",)), pt.Boards(("relu1", "relu2"))]
    for number, board in enumerate(boards):
        again = pt.load(tmp_path / "on the way", board=board)
        assert again.steps == 7
        again.fit(x, y, 3, progress=False, resume=True, callbacks=[pt.callbacks.Callback()])
        assert files(again, tmp_path / str(number)) == files(whole, tmp_path / "whole")


def test_a_copy_goes_on_by_itself(tmp_path: Path) -> None:
    """Copies open segments of their own."""
    x, y = data()
    first = pt.split(network(), AFTER, **OPTIONS)
    first.fit(x, y, 1, progress=False)
    other = copy.deepcopy(first)
    for learner in (first, other):
        learner.fit(x, y, 1, progress=False)
    assert files(first, tmp_path / "a") == files(other, tmp_path / "b")
    assert isinstance(other, SplitLearner)
    assert len(other.segments) == 3
    other.close()
    assert other.cut.after == ("conv2", "drop")


def test_a_network_that_no_board_holds_is_trained_by_two(monkeypatch: pytest.MonkeyPatch,
                                                          tmp_path: Path) -> None:
    """Memory is that of each segment alone."""
    net = pt.Sequential((1, 8, 8), "wide").conv(16, 3, padding=1).relu().dense(60).relu().dense(
        4).build()
    x, y = data(16)
    whole = pt.Learner(net, batch=8)
    whole.fit(x, y, 1, progress=False)
    need = whole.plan.memory.nbytes
    small = replace(BOARDS["pynq-z2"], cma_bytes=need - 1)
    monkeypatch.setitem(BOARDS, "pynq-z2", small)
    with pytest.raises(DoesNotFit, match=f"found {need} bytes"):
        pt.Learner(net, batch=8)
    parts = pt.split(net, ["relu1"], batch=8)
    parts.fit(x, y, 1, progress=False)
    parts.save(tmp_path / "parts")
    monkeypatch.undo()
    assert files(pt.load(tmp_path / "parts", board="golden"), tmp_path / "a") == files(
        whole, tmp_path / "b")
    monkeypatch.setitem(BOARDS, "pynq-z2", replace(small, cma_bytes=20_000))
    with pytest.raises(DoesNotFit, match="device memory of pynq-z2"):
        pt.split(net, ["relu1"], batch=8)


def test_a_summary_says_what_each_segment_needs() -> None:
    """Memory, predicted cycles of both halves, and what is given to others."""
    parts = pt.split(network(), ["relu1", "drop"], boards=["golden", "golden", "virtual:pynq-z2"],
                     batch=8)
    head, first, second, third, *rest = parts.summary().splitlines()
    assert head.split() == ("segment board layers bytes of memory cycles forward backward bytes "
                            "given forward backward").split()
    memory = [one.plan.memory.nbytes for one in parts._cut_plan.segments.parts]
    given = 8 * 2 * 8 * 8 * 8  # images, channel blocks, pixels, bytes of a word
    for line, start, nbytes, gives in (
            (first, "0 golden conv1 .. bn1", memory[0], (given, 0)),
            (second, "1 golden conv2 .. drop", memory[1], (given, given)),
            (third, "2 virtual:pynq-z2 mean .. dense", memory[2], (0, given))):
        fields = line.split()
        assert " ".join(fields[:5]) == start
        assert fields[5] == f"{nbytes:,}"
        assert all(int(cycles.replace(",", "")) > 1000 for cycles in fields[6:8])
        assert fields[8:] == [f"{one:,}" for one in gives]
    assert rest[1].startswith("board pynq-z2, mini-batch 8")
    assert parts.board == "golden+golden+virtual:pynq-z2"
    assert pt.Boards(("relu1",), ("golden", "golden")).name == "golden"


def test_what_cannot_be_is_refused_by_name() -> None:
    """One sentence each."""
    net = network()
    with pytest.raises(UnknownName, match=r"unknown edge 'relu9'.*one of .*relu1.*did you mean"):
        pt.split(net, ["relu9"])
    with pytest.raises(BadInput, match=r"after 'bn1'.*runs together with 'relu1'; cut after"):
        pt.split(net, ["bn1"])
    with pytest.raises(BadInput, match=r"after 'dense'.*none behind it"):
        pt.split(net, ["dense"])
    with pytest.raises(BadInput, match=r"also after 'conv2'"):
        pt.split(net, ["conv2", "conv2"])
    with pytest.raises(BadInput, match=r"boards of 2 segments: expected 2.*found 1: golden"):
        pt.split(net, ["conv2"], boards=["golden"])
    with pytest.raises(UnknownName, match="unknown board 'gold'"):
        pt.split(net, ["conv2"], boards=["golden", "gold"])
    with pytest.raises(BadInput, match=r"use after=\['conv2'\]"):
        pt.split(net, "conv2")
    with pytest.raises(BadInput, match=r"segments.*each segment is planned"):
        pt.split(net, ["conv2"]).compile()
    joined = pt.Graph.build((1, 8, 8), [
        pt.Conv(4, 3, 1, 1, name="left"), pt.Conv(4, 3, 1, 1, name="right", inputs=("input",)),
        pt.Concat("cat", ("left", "right")), pt.Dense(4, name="dense")], "joined")
    with pytest.raises(BadInput, match=r"no concatenation across it.*sources of 'cat' on both"):
        pt.split(joined, ["left"])
    summed = pt.Graph.build((1, 8, 8), [
        pt.Conv(4, 3, 1, 1, name="conv"), pt.Dense(4, name="wide"),
        pt.GlobalAvgPool("mean", ("conv",)), pt.Dense(4, name="narrow"),
        pt.Add("logits", ("wide", "narrow"))], "summed")
    assert legal_edges(summed) == ("conv",)  # the dense layer runs in front of the mean
    with pytest.raises(BadInput, match=r"whose sum the logits are.*found 'wide' in front"):
        pt.split(summed, ["wide"])
