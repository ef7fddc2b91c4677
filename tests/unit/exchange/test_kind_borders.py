"""Kinds of files one by one, and contents that nearly are of one."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from pynq_train.errors import BadInput
from pynq_train.exchange.file_kinds import LEARNER, ONNX, refuse_other_kinds


def kind(path: Path, wanted: str = ONNX) -> str:
    """What a file is said to be, empty where nothing is said."""
    try:
        refuse_other_kinds(path, wanted)
    except BadInput as error:
        text = str(error)
        assert text.startswith(f"model file {str(path)!r} is of another kind: expected {wanted}, ")
        return text.partition("found ")[2]
    return ""


@pytest.mark.parametrize(("content", "said"), [
    (b"GGUF\3\0", "a GGUF file of a language model; export"), (b"BZh9", "a bzip2 archive; unpack"),
    (b"\xfd7zXZ\0\0", "an xz archive; unpack"), (b"7z\xbc\xaf\x27\x1c\0", "a 7z archive; unpack"),
    (b"\x89PNG\r\n\x1a\n\0", "a PNG image; give the path"), (b"\xff\xd8\xff\xe0", "a JPEG image; "),
    (b"\x7fELF\2", "a program; give the path"), (b"<html lang='de'>", "a web page; download"),
    (b"<?xml version='1.0'?>", "an XML text, as OpenVINO writes; export"),
    (b"\xef\xbb\xbf<?xml", "an XML text"), (b"7767517\n3 3\n", "a text of ncnn; export"),
    (b"[1, 2]", "a JSON text"), (b"#!/usr/bin/python", "a program in Python"),
    (b"from a import b", "a program in Python"), (b"class A: 0", "a program in Python"),
    (b"def f(): 0", "a program in Python"), (b"\x80\x02\x8a", "a pickle"),
    (b"\x80\x03}", "a pickle"), (b"\x80\x04\x95", "a pickle"), (b"\x80\x05\x95", "a pickle"),
    (b"\x80\x01\x95", ""), (b"\x80\x06\x95", ""), (b"\x81\x04\x95", ""), (b"\x80", ""),
    (b"0000TFL", ""), (b"0TFL3000", ""), (b"\x08\x01\x12", "a TensorFlow SavedModel (saved_mod"),
    (b"\x08\x01\x13\x12", ""), (b"\x08\x02\x12", ""), (b"\x09\x01\x12", ""), (b"\x08\x01", ""),
    (b"[]", ""), (b"[ ]", "a JSON text"), (b"[a\x08", ""), (b"[a\x09", "a JSON text"),
    (b"other text", ""), (b"", ""),
])
def test_begins(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "m.bin"
    path.write_bytes(content)
    found = kind(path)
    assert found.startswith(said) if said else not found


def test_a_letter_may_be_cut_off_where_a_head_ends(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(b"[" + "ä".encode() * 5000)
    assert kind(path).startswith("a JSON text")
    for size in (4094, 4095):
        path.write_bytes(b"[" * size + "ä".encode() * 9)
        assert kind(path).startswith("a JSON text")
    path.write_bytes(b"[" * 4000 + b"\xff" + b"]" * 95)
    assert kind(path) == ""


@pytest.mark.parametrize(("suffix", "said"), [
    ("pt", "a PyTorch file; build"), ("pth", "a PyTorch file"), ("ckpt", "a PyTorch file"),
    ("h5", "a Keras file; use"), ("hdf5", "a Keras file"), ("keras", "a Keras file"),
    ("tflite", "a TensorFlow Lite file; use"), ("pb", "a TensorFlow graph; use"),
    ("mlmodel", "a Core ML file; export"), ("caffemodel", "a Caffe file; export"), ("dat", "")])
def test_names_decide_where_contents_say_nothing(tmp_path: Path, suffix: str, said: str) -> None:
    for name in (f"m.{suffix}", f"M.{suffix.upper()}"):
        (tmp_path / name).write_bytes(b"\xf3\xf4\xf5\xf6")
        found = kind(tmp_path / name)
        assert found.startswith(said) if said else not found


@pytest.mark.parametrize(("version", "field", "is_onnx"), [
    (3, 0x12, True), (20, 0x42, True), (8, 0x1a, True), (8, 0x22, True), (8, 0x28, True),
    (8, 0x32, True), (8, 0x3a, True), (2, 0x12, False), (21, 0x12, False), (8, 0x10, False)])
def test_onnx_files_by_their_first_fields(tmp_path: Path, version: int, field: int, is_onnx: bool
                                          ) -> None:
    path = tmp_path / "m"
    path.write_bytes(bytes([8, version, field]))
    assert kind(path) == ""
    assert kind(path, LEARNER).startswith("an ONNX file; give it a name") == is_onnx
    path.write_bytes(bytes([8, version]))
    assert kind(path, LEARNER) == ""


@pytest.mark.parametrize(("header", "said"), [
    (b'{"w":1}', "a .safetensors file of another tool"), (b"{}", "a .safetensors file of another"),
    (b'{"w":1', ""), (b"[1,2,3]", ""), (b'{"by":"pynq_train"}', "a learner saved by pynq_train")])
def test_headers_of_safetensors(tmp_path: Path, header: bytes, said: str) -> None:
    path = tmp_path / "m"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\xff\xff")
    found = kind(path)
    assert found.startswith(said) if said else not found
    if "pynq_train" in said:
        assert kind(path, LEARNER) == ""
    elif said:
        assert kind(path, LEARNER) == found
        # One that does not end in the head is left to its reader, and so is one of odd length.
        path.write_bytes((1 << 20).to_bytes(8, "little") + header)
        assert kind(path) == ""
        for length in (1, (1 << 27) + 1):
            path.write_bytes(length.to_bytes(8, "little") + header)
            assert kind(path) == ""


@pytest.mark.parametrize(("entries", "said"), [
    (["config.json"], "a Keras file; use"), (["model.weights.h5"], "a Keras file; use"),
    (["a/data.pkl"], "a PyTorch file"), (["a.npy"], "a NumPy archive"),
    (["a.txt"], "a zip archive; unpack"),
    (["a/constants.pkl", "config.json"], "a TorchScript archive"), ([], "a zip archive; unpack")])
def test_one_entry_of_an_archive_is_enough(tmp_path: Path, entries: list[str], said: str) -> None:
    path = tmp_path / "m"
    with zipfile.ZipFile(path, "w") as archive:
        for entry in entries:
            archive.writestr(entry, "")
    assert kind(path).startswith(said)


@pytest.mark.parametrize(("entry", "said"), [
    ("saved_model.pb", "a folder with a TensorFlow SavedModel; use"),
    ("saved_model.pbtxt", "a folder with a TensorFlow SavedModel"),
    ("keras_metadata.pb", "a folder with a TensorFlow SavedModel"),
    ("data.pkl", "a folder with an unpacked PyTorch file; build"),
    ("net.mlmodel", "a folder with a Core ML package; export"), ("other", "")])
def test_folders_by_an_entry(tmp_path: Path, entry: str, said: str) -> None:
    (tmp_path / entry).touch()
    found = kind(tmp_path)
    assert found.startswith(said) if said else not found


def test_what_is_no_file_is_left_to_its_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert kind(tmp_path / "fifo") == kind(tmp_path / "absent") == ""
