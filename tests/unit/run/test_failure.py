"""Failed runs are kept, and replays of them name the first difference."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.backends import Backend, RunRequest, RunResult, open_backend
from pynq_train.check import replay, verify
from pynq_train.check.difference import first_difference
from pynq_train.check.replay import record
from pynq_train.cli.main import main
from pynq_train.errors import BadInput, HardwareFault
from pynq_train.graph import Graph
from pynq_train.run import Failure, Session
from pynq_train.run.failure import KEEP, META, failure_folder, keep, load, save

replay_module = import_module("pynq_train.check.replay")
verify_module = import_module("pynq_train.check.verify")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    where = tmp_path / "failures"
    monkeypatch.setenv("PYNQ_TRAIN_FAILURES", str(where))
    return where


@pytest.fixture
def data(net: Graph) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(2)
    return (draw.standard_normal((24, *net.input_shape)).astype(np.float32),
            draw.integers(0, net.classes, 24))


class _Wrong:
    """Golden with one byte changed behind a descriptor; it may stop with a fault instead."""

    def __init__(self, inner: Backend, descriptor: int, offset: int | None,
                 free_only: bool = False) -> None:
        self.inner, self.descriptor, self.offset = inner, descriptor, offset
        self.free_only = free_only

    def __enter__(self) -> _Wrong:
        return self

    def __exit__(self, *_: object) -> None:
        self.inner.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def run(self, request: RunRequest) -> RunResult:
        result = self.inner.run(request)
        self.spoil()
        return result

    def run_step_mode(self, request: RunRequest) -> Iterator[int]:
        for index in self.inner.run_step_mode(request):
            if index == self.descriptor and not self.free_only:
                self.spoil()
            yield index

    def spoil(self) -> None:
        if self.offset is None:
            raise HardwareFault("planted: the memory went away")
        self.inner.write(self.offset, self.inner.read(self.offset, 1) ^ 1)


def plant(monkeypatch: pytest.MonkeyPatch, module: Any, descriptor: int, offset: int | None,
          free_only: bool = False) -> None:
    def opened(name: str, nbytes: int) -> Any:
        inner = open_backend("golden", nbytes)
        return inner if name == "golden" else _Wrong(inner, descriptor, offset, free_only)

    monkeypatch.setattr(module, "open_backend", opened)


def fail_once(net: Graph, data: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[pt.Learner, Any]:
    """A learner whose third step fails on the board when all is written."""
    learner = pt.Learner(net, batch=8)
    learner.fit(*data, epochs=1, progress=False)
    session = learner._trainer
    assert session is not None
    original, calls = session.backend.run, []

    def broken(request: RunRequest) -> RunResult:
        original(request)
        calls.append(request)
        if len(calls) == 3:
            raise HardwareFault("planted: a slave error")
        return original(request)

    with monkeypatch.context() as patch:
        patch.setattr(session.backend, "run", broken)
        with pytest.raises(HardwareFault) as caught:
            learner.fit(*data, epochs=2, progress=False)
    return learner, caught.value


def test_a_failed_step_is_kept_with_the_memory_in_front_of_it(
        net: Graph, data: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learner, error = fail_once(net, data, monkeypatch)
    (path,) = folder.iterdir()
    assert str(error) == ("planted: a slave error; program and memory are saved, see where it "
                          f"differs with: pynq-train replay {path}")
    failure = load(path)
    assert failure.text == "planted: a slave error" and failure.backend == "golden"
    # Replayed, it is the step that failed: the learner's next one.
    with open_backend("golden", failure.image.nbytes) as golden:
        golden.write(0, failure.image)
        golden.run(failure.request)
        after = golden.read(0, failure.image.nbytes)
    learner.fit(*data, resume=True, progress=False, callbacks=[_StopAfterOne(learner)])
    session = learner._trainer
    assert session is not None
    for region in session.plan.memory:
        if region.kind in ("weights", "masters"):
            now = session.backend.read(region.offset, region.nbytes)
            assert (after[region.offset : region.end] == now).all(), region.symbol


class _StopAfterOne(pt.callbacks.Callback):
    """Ends the training like Ctrl-C, behind one step."""

    def __init__(self, learner: pt.Learner) -> None:
        self._learner = learner

    def on_step(self, learner: pt.Learner, outcome: Any) -> None:
        import signal

        signal.raise_signal(signal.SIGINT)


def kept(net: Graph, data: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Failure:
    fail_once(net, data, monkeypatch)
    return load(next(folder.iterdir()))


def test_replay_names_descriptor_tensor_element_and_values(
        net: Graph, data: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failure = kept(net, data, folder, monkeypatch)
    same = replay(failure, "golden")
    assert not same.reproduced and same.descriptors == failure.request.descriptor_count
    assert "no difference between golden and golden" in same.text()
    tensor = next(t for t in failure.tensors if t.symbol == "conv1.y")
    plant(monkeypatch, replay_module, 3, tensor.offset + 10)
    seen: list[int] = []
    found = replay(failure, progress=seen.append)
    assert found.reproduced and found.index == 3 and len(seen) == found.descriptors == 3
    assert found.first is not None and found.board == "virtual:pynq-z2"
    what = failure.request.names[3]
    assert found.text().startswith(
        f"descriptor 3 ({what}): conv1.y[5] (image 0, channel 1, row 0, column 1) is ")
    assert abs(found.first.golden - found.first.board) == 1


def test_replay_of_what_only_a_free_run_shows(
        net: Graph, data: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failure = kept(net, data, folder, monkeypatch)
    plant(monkeypatch, replay_module, 0, failure.tensors[-1].offset, free_only=True)
    found = replay(failure)
    assert found.index is None and found.text().startswith("free-running, end: ")
    plant(monkeypatch, replay_module, 0, None, free_only=True)
    found = replay(failure)
    assert found.text() == "virtual:pynq-z2 stopped: planted: the memory went away"


def test_replay_of_a_fault(net: Graph, data: Any, folder: Path,
                           monkeypatch: pytest.MonkeyPatch) -> None:
    failure = kept(net, data, folder, monkeypatch)
    plant(monkeypatch, replay_module, 2, None)
    found = replay(failure)
    assert found.reproduced and found.index == 2
    assert found.to_dict()["errors"] == {"virtual:pynq-z2": "planted: the memory went away"}
    image = failure.image.copy()
    image[failure.request.program_offset + 1024] = 99
    both = replay(dataclasses.replace(failure, image=image), "golden")
    assert both.index == 1 and "golden: descriptor 1 is illegal" in both.text()


def test_verify_keeps_what_differs(net: Graph, folder: Path,
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, verify_module, 4, 1000)
    report = verify(net, batch=3, steps=2, board="virtual:pynq-z2", seed=1)
    assert report.first is not None and report.saved == next(folder.iterdir())
    assert report.to_dict()["saved"] == str(report.saved)
    failure = load(report.saved)
    assert failure.text == report.first.text() and failure.backend == "virtual:pynq-z2"
    plant(monkeypatch, replay_module, 4, 1000)
    again = replay(failure)
    assert again.first is not None and again.first.tensor == report.first.tensor
    assert (again.first.golden, again.first.board) == (report.first.golden, report.first.board)
    plant(monkeypatch, verify_module, 4, None)
    with pytest.raises(HardwareFault, match=r"went away; program and memory are saved, .*replay "):
        verify(net, batch=3, steps=2, board="virtual:pynq-z2", seed=1)
    assert len(list(folder.iterdir())) == 2


def test_command(net: Graph, data: Any, folder: Path, monkeypatch: pytest.MonkeyPatch,
                 capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    kept(net, data, folder, monkeypatch)
    path = next(folder.iterdir())
    out = tmp_path / "replay.json"
    assert main(["replay", str(path), "--board", "golden", "--json", str(out)]) == 0
    text = capsys.readouterr().out
    assert "planted: a slave error" in text and "no difference between golden" in text
    assert '"index": null' in out.read_text()
    plant(monkeypatch, replay_module, 1, 8)
    assert main(["replay", str(path)]) == 7
    assert capsys.readouterr().err.count("descriptor 1 (") == 1
    assert main(["replay", str(path), "--board", "golden", "--waves", str(tmp_path / "a")]) == 2
    assert "waveforms: expected a virtual board, found golden" in capsys.readouterr().err
    assert main(["replay", str(tmp_path / "missing.npz")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_the_newest_files_stay(net: Graph, data: Any, folder: Path,
                               monkeypatch: pytest.MonkeyPatch) -> None:
    failure = kept(net, data, folder, monkeypatch)
    first = next(folder.iterdir())
    (folder / "mine.npz").write_bytes(b"x")
    paths = [keep(failure) for _ in range(KEEP)]
    assert not first.exists() and all(path is not None and path.exists() for path in paths)
    assert (folder / "mine.npz").exists()


def test_a_folder_that_takes_nothing_hides_no_error(
        net: Graph, data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PYNQ_TRAIN_FAILURES", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        _, error = fail_once(net, data, monkeypatch)
    assert str(error) == "planted: a slave error"
    assert "are not saved" in caplog.text
    monkeypatch.setenv("PYNQ_TRAIN_FAILURES", "")
    assert failure_folder() is None
    monkeypatch.delenv("PYNQ_TRAIN_FAILURES")
    monkeypatch.setenv("PYNQ_TRAIN_CACHE", str(tmp_path))
    assert failure_folder() == tmp_path / "failures"


def test_damaged_files(net: Graph, data: Any, folder: Path, tmp_path: Path,
                       monkeypatch: pytest.MonkeyPatch) -> None:
    failure = kept(net, data, folder, monkeypatch)
    whole = next(folder.iterdir()).read_bytes()
    bad = tmp_path / "bad.npz"
    for content in (b"", b"text", whole[: len(whole) // 2], whole[:-30]):
        bad.write_bytes(content)
        with pytest.raises(BadInput, match="is damaged, or is no saved failure"):
            load(bad)
    np.savez(bad, x=np.zeros(3))
    with pytest.raises(BadInput, match="is damaged, or is no saved failure"):
        load(bad)
    save(bad, dataclasses.replace(failure, contract_hash="0" * 64))
    with pytest.raises(BadInput, match="for another hardware contract: expected "):
        load(bad)
    with pytest.raises(BadInput, match="waveforms: expected a virtual board, found golden"):
        record(failure, replay(failure, "golden"), tmp_path / "x.vcd")


def test_evaluations_are_kept_too(net: Graph, data: Any, folder: Path,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    learner = pt.Learner(net, batch=8)
    learner.evaluate(*data)
    session = learner._trainer
    assert isinstance(session, Session)

    def broken(request: RunRequest) -> RunResult:
        raise HardwareFault("planted")

    monkeypatch.setattr(session.backend, "run", broken)
    with pytest.raises(HardwareFault, match="planted; program and memory are saved"):
        learner.evaluate(*data)
    failure = load(next(folder.iterdir()))
    assert failure.request.descriptor_count == session.evaluation.count


def test_results_come_before_the_records_about_them(
        net: Graph, data: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failure = kept(net, data, folder, monkeypatch)
    by_name = {t.symbol: t for t in failure.tensors}
    other = failure.image.copy()
    other[by_name["train.records"].offset + 33] ^= 1
    first = first_difference("now", failure.image, other, failure.tensors)
    assert first is not None and first.tensor == "train.records"
    assert first.at == "descriptor 1, word 0"
    other[by_name["conv1.w16"].offset + 1] ^= 1
    first = first_difference("now", failure.image, other, failure.tensors)
    assert first is not None and first.tensor == "conv1.w16" and first.bytes_differing == 2
    assert first_difference("now", other, other.copy(), failure.tensors) is None


def test_a_difference_between_tensors_is_named_by_its_byte() -> None:
    golden, board = np.zeros(64, np.uint8), np.zeros(64, np.uint8)
    golden[37], board[37], board[40] = 5, 6, 1
    first = first_difference("after all", golden, board, ())
    assert first is not None
    assert first.text() == ("after all: byte 37 between tensors[0] is 5 on golden, 6 on the board "
                            "(2 bytes differ)")


@pytest.mark.parametrize("key", ["backend", "board", "contract", "text", "request", "tensors"])
def test_a_file_without_an_entry_is_refused(
        key: str, net: Graph, data: Any, folder: Path, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    kept(net, data, folder, monkeypatch)
    with np.load(next(folder.iterdir())) as file:
        image, meta = file["image"], json.loads(file["meta"].tobytes())
    del meta[key]
    del meta["sha256"]
    meta["sha256"] = hashlib.sha256(
        json.dumps(meta, sort_keys=True).encode() + image.tobytes()).hexdigest()
    bad = tmp_path / "bad.npz"
    np.savez(bad, image=image, meta=np.frombuffer(json.dumps(meta).encode(), np.uint8))
    with pytest.raises(BadInput, match=rf"bad\.npz'.*{key}"):
        load(bad)


class _Recorded:
    """Notes halts and where waveforms begin."""

    def __init__(self) -> None:
        self.model, self.seen = self, []

    def trace(self, path: Path) -> None:
        """Begin waveforms."""
        self.seen.append(str(path))

    def run_step_mode(self, request: object) -> Iterator[int]:
        """Halt behind five descriptors."""
        for index in range(5):
            self.seen.append(str(index))
            yield index


@pytest.mark.parametrize(("wanted", "seen"), [(0, "x 0"), (1, "0 x 1"), (4, "0 1 2 3 x 4")])
def test_waveforms_begin_in_front_of_the_descriptor(wanted: int, seen: str) -> None:
    backend = _Recorded()
    failure: Any = SimpleNamespace(request=None)
    replay_module._record_one(backend, failure, wanted, Path("x"))
    assert backend.seen == seen.split()


@pytest.mark.parametrize("found", [0, 2, None])
def test_a_halt_elsewhere_is_a_fault(found: int | None) -> None:
    """In front of the descriptor, behind it, or none."""
    runs = [iter([1]), iter([] if found is None else [found])]
    replay_module._advance(runs, 1, 0)
    with pytest.raises(HardwareFault, match=f"expected a halt after descriptor 1, found one after "
                                            f"{found}"):
        replay_module._advance(runs, 1, 1)


def test_a_changed_entry_is_noticed(net: Graph, data: Any, folder: Path, tmp_path: Path,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    kept(net, data, folder, monkeypatch)
    with np.load(next(folder.iterdir())) as file:
        image, meta = file["image"], json.loads(file["meta"].tobytes())
    bad = tmp_path / "bad.npz"
    for key in ("backend", "board", "contract", "text", "request", "tensors"):
        value = meta[key][:-1] if key != "request" else {**meta[key], "profile": True}
        changed = json.dumps({**meta, key: value}).encode()
        np.savez(bad, image=image, meta=np.frombuffer(changed, np.uint8))
        with pytest.raises(BadInput, match="expected checksum "):
            load(bad)


_AXIS = ["row", 2, 1, 1]
_TENSOR = {"symbol": "a", "offset": 0, "nbytes": 2, "dtype": "<i2", "axes": [_AXIS],
           "since": -1}
_REQUEST = {"program_offset": 0, "descriptor_count": 1, "step_block_offset": 0,
            "expected_cycles": 1, "profile": False, "names": ["a"]}
_META = {"backend": "golden", "board": "pynq-z2", "contract": "0", "text": "t",
         "request": _REQUEST, "tensors": [_TENSOR]}


def _with(changes: dict[str, Any], inside: str) -> dict[str, Any]:
    """Metadata with values changed: of themselves, the request, or the only tensor."""
    if inside == "tensors":
        return {**_META, "tensors": [{**_TENSOR, **changes}]}
    return {**_META, **({inside: {**_REQUEST, **changes}} if inside else changes)}


@pytest.mark.parametrize(("inside", "name", "largest", "beyond"), [
    ("", "text", "t" * (1 << 20), "t" * ((1 << 20) + 1)),
    ("request", "program_offset", 1 << 62, (1 << 62) + 1), ("request", "program_offset", 0, -1),
    ("request", "descriptor_count", 1 << 32, (1 << 32) + 1),
    ("request", "descriptor_count", 1, 0), ("request", "step_block_offset", 1 << 62, -1),
    ("request", "expected_cycles", 1 << 62, (1 << 62) + 1), ("request", "expected_cycles", 1, 0),
    ("request", "profile", True, 1), ("request", "names", [], [3]),
    ("tensors", "offset", 1 << 62, (1 << 62) + 1), ("tensors", "nbytes", 0, -1),
    ("tensors", "since", 1 << 32, -2), ("tensors", "dtype", "<i8", "<c8"),
    ("tensors", "axes", [_AXIS] * 32, [_AXIS] * 33),
    ("tensors", "axes", [["row", 1, 0, 0]], [["row", 2, 0, 0]]),
    ("tensors", "axes", [["row", 2, 1, 0]], [["row", 2, 1]]),
    ("tensors", "axes", [["row", 2, 1 << 62, 1 << 62]], [["row", 2, 1, 1, 1]]),
    ("tensors", "axes", [["", 2, 1, 1]], [[1, 2, 1, 1]]),
    ("tensors", "axes", [["row", 0, 0, 0]], [["row", -1, 1, 1]])])
def test_values_of_a_file_have_limits(inside: str, name: str, largest: Any, beyond: Any) -> None:
    META.check(_with({name: largest}, inside), "file")
    with pytest.raises(BadInput, match="file"):
        META.check(_with({name: beyond}, inside), "file")
