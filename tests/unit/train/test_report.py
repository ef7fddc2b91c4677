"""The report: one file, nothing loaded from elsewhere, with and without matplotlib."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import BadInput
from pynq_train.graph import Graph

Data = tuple[np.ndarray, np.ndarray]


class Balance(HTMLParser):
    """Checks that tags are closed in their order, and collects what would be loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        self.loaded += [value for name, value in attrs
                        if name in ("src", "href", "xlink:href") and value and value[0] != "#"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def report(net: Graph, data: Data, path: Path, epochs: int = 2) -> str:
    learner = pt.Learner(net, optimizer=pt.SGD(lr=0.1), batch=8, trainable="last-layer")
    if epochs:
        learner.fit(*data, epochs=epochs, validation_data=data, progress=False)
    learner.report(path)
    text = path.read_text()
    checked = Balance()
    checked.feed(text)
    assert not checked.open and not checked.loaded
    return text


def test_report(net: Graph, data: Data, tmp_path: Path) -> None:
    text = report(net, data, tmp_path / "report.html")
    for wanted in ("<h1>small</h1>", "conv1.y", "dense1.w", "predicted cycles of a step",
                   "against trainable=&quot;all&quot;", "validation accuracy", "last-layer"):
        assert wanted in text
    assert len(re.findall("<svg", text)) == (importlib.util.find_spec("matplotlib") is not None)
    assert report(net, data, tmp_path / "untrained.html", 0).count("No epoch has ended yet.") == 1


def test_no_matplotlib(net: Graph, data: Data, tmp_path: Path,
                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    text = report(net, data, tmp_path / "report.html")
    assert "<svg" not in text and "matplotlib is not installed" in text
    assert "<td>2</td>" in text


def test_nowhere_to_write(net: Graph, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="choose an existing, writable folder"):
        pt.Learner(net).report(tmp_path / "none" / "report.html")


def rows(text: str) -> dict[str, str]:
    """First and second cell of the rows of two cells."""
    return dict(re.findall(r"<tr><td>([^<]*)</td><td>([^<]*)</td></tr>", text))


def test_numbers_of_the_summary(net: Graph, data: Data, tmp_path: Path,
                                monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all steps, at the clock of the board; counted cycles where an engine has counted."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # curves take a second
    learner = pt.Learner(net, optimizer=pt.SGD(lr=0.1), batch=8, trainable=["dense1", "*.bias"])
    learner.fit(*data, epochs=2, progress=False)
    learner.report(tmp_path / "a.html")
    found = rows((tmp_path / "a.html").read_text())
    step = learner.predicted_step()
    assert found["training steps"] == "12" and found["mini-batch"] == "8"
    assert found["trainable"] == "dense1, *.bias" and found["board"] == "golden"
    assert found["predicted cycles of a step"] == str(step.cycles)
    assert found["memory on the board"] == f"{learner.plan.memory.nbytes} bytes"
    seconds = 12 * step.cycles / (1e6 * step.clock_mhz)
    assert found["seconds of the engine"] == (f"{seconds:.3f} (all steps at {step.clock_mhz:.0f} "
                                              "MHz, predicted)")
    assert found["seconds on the board"] == (f"{learner.board_time(12).both:.3f} (engine and "
                                             "processor, estimated)")
    assert "cycles counted by the engine" not in found
    learner.history.epochs[:] = [replace(one, cycles=cycles) for one, cycles in zip(
        learner.history.epochs, (1000, 234))]
    learner.report(tmp_path / "b.html")
    assert rows((tmp_path / "b.html").read_text())["cycles counted by the engine"] == "1234"


def test_names_of_classes_are_shown_as_text(net: Graph, tmp_path: Path) -> None:
    names = ["<b>cat</b>", *(f"class {number}" for number in range(1, net.classes))]
    learner = pt.Learner(net, batch=8, class_names=names)
    learner.report(tmp_path / "named.html")
    text = (tmp_path / "named.html").read_text()
    assert "<td>classes</td><td>&lt;b&gt;cat&lt;/b&gt;, class 1" in text
    assert "<td>classes</td>" not in report(net, (np.empty(0), np.empty(0)),
                                            tmp_path / "unnamed.html", 0)
