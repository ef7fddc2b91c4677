"""Files of other tools are named by what they are, whatever they are called."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import BadInput


def zipped(path: Path, *entries: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for entry in entries:
            archive.writestr(entry, "{}")


def safetensors(metadata: object) -> bytes:
    header = json.dumps({"__metadata__": metadata, "w": {
        "dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4)


CONTENTS = {
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(500), "an HDF5 file, as Keras writes .h5", "from_keras"),
    "TFLite": (b"\x1c\0\0\0TFL3" + bytes(500), "a TensorFlow Lite file", "tf2onnx"),
    "pickle": (pickle.dumps({"w": [1.0]}), "a pickle, as PyTorch writes", "from_torch"),
    "old pickle": (pickle.dumps({"w": [1.0]}, 2), "a pickle, as PyTorch writes", "from_torch"),
    "weights": (safetensors({"format": "pt"}), "a .safetensors file of another tool", "from_torch"),
    "SavedModel": (b"\x08\x01\x12\x90\x01" + bytes(300), "a TensorFlow SavedModel", "from_keras"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS",
            "git lfs pull"),
    "web page": (b"\n<!DOCTYPE html><html>", "a web page", "download the file itself"),
    "JSON": (b'{"class_name": "Sequential"}', "a JSON text", "from_keras"),
    "Python": (b"import torch\n", "a program in Python", "from_torch"),
    "gzip": (b"\x1f\x8b\x08" + bytes(50), "a gzip archive", "unpack it first"),
    "NumPy": (b"\x93NUMPY\x01\0" + bytes(50), "a NumPy array", "load_npz"),
}
ZIPS = {
    "Keras": (("metadata.json", "config.json", "model.weights.h5"), "a Keras file", "from_keras"),
    "PyTorch": (("net/data.pkl", "net/data/0"), "a PyTorch file", "from_torch"),
    "TorchScript": (("net/data.pkl", "net/constants.pkl"), "a TorchScript archive", "from_torch"),
    "NumPy": (("x.npy", "y.npy"), "a NumPy archive (.npz)", "load_npz"),
    "ONNX": (("net.onnx",), "a zip archive with an ONNX file", "unpack it first"),
    "SavedModel": (("m/saved_model.pb",), "a zip archive with a TensorFlow SavedModel", "tf2onnx"),
}
NAMES = ("m.onnx", "m.safetensors", "m.bin", "m")


def refused(path: Path) -> str:
    with pytest.raises(BadInput) as caught:
        pt.load(path)
    text = str(caught.value)
    assert "damaged" not in text
    assert f"model file {str(path)!r} is of another kind: expected " in text
    return text


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", CONTENTS)
def test_contents(tmp_path: Path, kind: str, name: str) -> None:
    content, what, fix = CONTENTS[kind]
    (tmp_path / name).write_bytes(content)
    text = refused(tmp_path / name)
    assert f"found {what}" in text and fix in text


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ZIPS)
def test_archives(tmp_path: Path, kind: str, name: str) -> None:
    entries, what, fix = ZIPS[kind]
    zipped(tmp_path / name, *entries)
    text = refused(tmp_path / name)
    assert f"found {what}" in text and fix in text


def test_an_archive_goes_by_its_name_where_it_says_nothing(tmp_path: Path) -> None:
    for name, what in (("m.pt", "a PyTorch file"), ("m.keras", "a Keras file"),
                       ("m.bin", "a zip archive; unpack it first, or export the network to ONNX")):
        zipped(tmp_path / name, "metadata.json")
        assert f"found {what}" in refused(tmp_path / name)
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04" + bytes(40))
    assert "found a PyTorch file; build the module" in refused(tmp_path / "cut.pth")


def test_folders(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    assert "a folder with a TensorFlow SavedModel; use pynq_train.from_keras" in refused(tmp_path)


@pytest.mark.needs("onnx")
def test_own_kinds_under_the_name_of_the_other(tmp_path: Path) -> None:
    with pt.Learner("digits", batch=8) as learner:
        learner.save(tmp_path / "mine.onnx")
        learner.export(tmp_path / "mine.safetensors")
        learner.save(tmp_path / "right.safetensors")
    text = refused(tmp_path / "mine.onnx")
    assert "found a learner saved by pynq_train; use pynq_train.Learner.load" in text
    text = refused(tmp_path / "mine.safetensors")
    assert "found an ONNX file; give it a name that ends with .onnx" in text
    assert isinstance(pt.load(tmp_path / "right.safetensors"), pt.Learner)
    assert isinstance(pt.Learner.load(tmp_path / "mine.onnx"), pt.Learner)


def test_what_is_of_no_kind_is_damaged(tmp_path: Path, rng: np.random.Generator) -> None:
    for name in ("m.onnx", "m.safetensors"):
        if name.endswith(".onnx"):
            pytest.importorskip("onnx")
        (tmp_path / name).write_bytes(b"\xf3" + rng.bytes(300))
        with pytest.raises(BadInput, match="is damaged or not a model"):
            pt.load(tmp_path / name)
