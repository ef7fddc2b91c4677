"""Saved learners: damaged and foreign files, and writing as a whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import pynq_train as pt
from pynq_train.errors import BadInput
from pynq_train.files import write_atomic
from pynq_train.files.tensors import checksum
from pynq_train.graph import Graph


@pytest.fixture
def saved(net: Graph, tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    pt.Learner(net, batch=4).save(path)
    return path


def metadata(path: Path) -> dict[str, object]:
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    result: dict[str, object] = json.loads(header["__metadata__"]["pynq_train"])
    return result


def rewrite(path: Path, tensors: dict[str, np.ndarray], meta: dict[str, object]) -> None:
    """Write a file whose checksum is right."""
    meta = {**meta, "sha256": checksum(meta, tensors)}
    save_file(tensors, path, metadata={"pynq_train": json.dumps(meta)})


def test_tensors_are_plain(saved: Path) -> None:
    tensors = load_file(saved)
    assert tensors["conv1.weight"].shape == (4, 1, 3, 3)
    assert tensors["dense1.weight.momentum"].shape == (3, 36)
    assert all(t.dtype == np.int32 for t in tensors.values())


def test_missing_file() -> None:
    with pytest.raises(BadInput, match="model file '/no/such' does not exist; check the path"):
        pt.load("/no/such")


@pytest.mark.parametrize("keep", [0, 5, 40, 400])
def test_truncated_file(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(BadInput, match="is damaged or not a model"):
        pt.load(saved)


def test_foreign_files(saved: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": np.zeros(3)}, foreign)
    with pytest.raises(BadInput, match="expected a learner saved by pynq_train"):
        pt.load(foreign)
    foreign.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(BadInput, match=r"is of another kind: .*, found a zip archive; unpack"):
        pt.load(foreign)
    with pytest.raises(BadInput, match="cannot be read"):
        pt.load(tmp_path)


def test_wrong_contents(saved: Path) -> None:
    tensors, meta = load_file(saved), metadata(saved)
    rewrite(saved, {**tensors, "conv1.weight": np.zeros((4, 1, 5, 5), np.int32)}, meta)
    with pytest.raises(BadInput, match=r"expected int32 of shape \(4, 1, 3, 3\), found int32 of"):
        pt.load(saved)
    rewrite(saved, {k: v for k, v in tensors.items() if k != "conv1.bias"}, meta)
    with pytest.raises(BadInput, match=r"no tensor 'conv1\.bias'"):
        pt.load(saved)
    rewrite(saved, tensors, {**meta, "version": 99})
    with pytest.raises(BadInput, match="expected version 2 or 3, found 99"):
        pt.load(saved)
    rewrite(saved, tensors, {**meta, "state": {}})
    with pytest.raises(BadInput, match=r"training state: expected batch, .* found nothing of"):
        pt.load(saved)


def test_files_of_version_2_still_load(net: Graph, saved: Path, tmp_path: Path) -> None:
    pt.Learner(net, batch=4, trainable=["dense1"]).save(saved)
    tensors, meta = load_file(saved), metadata(saved)
    state = dict(meta["state"])  # type: ignore[call-overload]
    assert meta["version"] == 3 and "train" not in state
    state["train"] = state.pop("trainable")
    state["policy"] = {**state["policy"],
                       "layers": [[name, True, False] for name in state["policy"]["layers"]]}
    rewrite(saved, tensors, {**meta, "version": 2, "state": state})
    old = pt.load(saved)
    assert old.trainable == ("dense1",)
    old.save(tmp_path / "new.safetensors")
    assert pt.load(tmp_path / "new.safetensors", board="golden").trainable == ("dense1",)


@pytest.mark.parametrize("policy", [
    None, [], "x", {}, {"layers": [[]]}, {"extra": None}, {"extra": []}, {"version": 9}])
def test_a_malformed_exponent_state_is_refused(saved: Path, policy: Any) -> None:
    tensors, meta = load_file(saved), metadata(saved)
    state = dict(meta["state"])  # type: ignore[call-overload]
    damaged = isinstance(policy, dict) and policy
    state["policy"] = {**state["policy"], **policy} if damaged else policy
    rewrite(saved, tensors, {**meta, "state": state})
    with pytest.raises(BadInput, match="exponent state"):
        pt.load(saved)


@pytest.mark.parametrize("place", ["tensor", "state"])
def test_a_flipped_bit_is_noticed(saved: Path, place: str) -> None:
    data = bytearray(saved.read_bytes())
    at = len(data) - 5 if place == "tensor" else data.index(b'\\"seed\\": 0') + 10
    data[at] ^= 1
    saved.write_bytes(bytes(data))
    with pytest.raises(BadInput) as caught:
        pt.load(saved)
    assert "is damaged: its contents: expected checksum " in str(caught.value)
    assert str(caught.value).endswith("; use a copy, or an earlier checkpoint")


def test_a_failed_write_keeps_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(BadInput, match="No space left on device"):
        write_atomic(saved, b"new")
    assert saved.read_bytes() == before and list(saved.parent.iterdir()) == [saved]


def test_missing_folder(net: Graph, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="choose an existing, writable folder"):
        pt.Learner(net, batch=4).save(tmp_path / "none" / "model.safetensors")
