"""What kind of file a model is in, by its content, and what to do with kinds of other tools.

A file of another tool is not damaged: whoever gives one is told which function takes its model.
"""

from __future__ import annotations

import json
import os
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path

from pynq_train.errors import BadInput
from pynq_train.files import path_text

ONNX, LEARNER = "an ONNX file", "a learner saved by pynq_train"
"""The two kinds that are read here."""
_HEAD_BYTES = 4096
_TORCH = ("build the module in Python, load the file into it (torch.load, load_state_dict) and use "
          "pynq_train.from_torch(module, example), or export it with torch.onnx.export")
_KERAS = ("use pynq_train.from_keras(keras.models.load_model(path)), or export it to ONNX "
          "(model.export(path, format='onnx'))")
_TENSORFLOW = ("use pynq_train.from_keras with the Keras model that it was made of, or convert it "
               "to ONNX with tf2onnx")
_OTHERS = "export the network to ONNX, or use pynq_train.from_torch or pynq_train.from_keras"
_ARRAYS = ("use pynq_train.load_npz for images and labels; a model is an ONNX file or a saved "
           "learner")


@dataclass(frozen=True)
class Kind:
    """A kind of file: what it is, in words, and what to do with it."""

    what: str
    fix: str


_BEGINS: tuple[tuple[bytes, Kind], ...] = (
    (b"\x89HDF\r\n\x1a\n", Kind("an HDF5 file, as Keras writes .h5", _KERAS)),
    (b"\x93NUMPY", Kind("a NumPy array", _ARRAYS)),
    (b"GGUF", Kind("a GGUF file of a language model", _OTHERS)),
    (b"\x1f\x8b", Kind("a gzip archive", "unpack it first")),
    (b"BZh", Kind("a bzip2 archive", "unpack it first")),
    (b"\xfd7zXZ\x00", Kind("an xz archive", "unpack it first")),
    (b"7z\xbc\xaf\x27\x1c", Kind("a 7z archive", "unpack it first")),
    (b"\x89PNG\r\n\x1a\n", Kind("a PNG image", "give the path of a model")),
    (b"\xff\xd8\xff", Kind("a JPEG image", "give the path of a model")),
    (b"\x7fELF", Kind("a program", "give the path of a model")),
    (b"version https://git-lfs", Kind("a pointer of Git LFS, not the file itself",
                                      "fetch it: git lfs pull")),
)
_TEXTS: tuple[tuple[str, Kind], ...] = (
    ("<!doctype html", Kind("a web page", "download the file itself")),
    ("<html", Kind("a web page", "download the file itself")),
    ("<?xml", Kind("an XML text, as OpenVINO writes", _OTHERS)),
    ("7767517", Kind("a text of ncnn", _OTHERS)),
)
_SUFFIXES: dict[str, Kind] = {
    **dict.fromkeys((".pt", ".pth", ".ckpt"), Kind("a PyTorch file", _TORCH)),
    **dict.fromkeys((".h5", ".hdf5", ".keras"), Kind("a Keras file", _KERAS)),
    ".tflite": Kind("a TensorFlow Lite file", _TENSORFLOW),
    ".pb": Kind("a TensorFlow graph", _TENSORFLOW),
    ".mlmodel": Kind("a Core ML file", _OTHERS),
    ".caffemodel": Kind("a Caffe file", _OTHERS),
}


def refuse_other_kinds(path: str | os.PathLike[str], wanted: str) -> None:
    """Refuse a file that is clearly of another kind than ``wanted``: ONNX or LEARNER.

    What is of no known kind passes: its reader says what is wrong with it. So does what cannot be
    read at all.

    Raises:
        BadInput: the kind that it is, and what to do with it.
    """
    name = path_text(path, "model file")
    try:
        mode = os.stat(name).st_mode
        kind = _folder(Path(name)) if stat.S_ISDIR(mode) else (
            _kind(name, wanted) if stat.S_ISREG(mode) else None)  # a FIFO would wait for a writer
    except OSError:
        return
    if kind is not None:
        raise BadInput(f"model file {name!r} is of another kind", expected=wanted, found=kind.what,
                       fix=kind.fix)


def _folder(path: Path) -> Kind | None:
    """Return what a folder is, None if it is unknown."""
    entries = {entry.name for entry in path.iterdir()}
    if entries & {"saved_model.pb", "saved_model.pbtxt", "keras_metadata.pb"}:
        return Kind("a folder with a TensorFlow SavedModel", _TENSORFLOW)
    if "data.pkl" in entries:
        return Kind("a folder with an unpacked PyTorch file", _TORCH)
    if any(entry.endswith(".mlmodel") for entry in entries):
        return Kind("a folder with a Core ML package", _OTHERS)
    return None


def _kind(name: str, wanted: str) -> Kind | None:
    """Return the kind of a file, None if it is unknown or the wanted one."""
    with open(name, "rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        return None
    suffix = Path(name).suffix.lower()
    for magic, kind in _BEGINS:
        if head.startswith(magic):
            return kind
    if head[4:8] == b"TFL3":
        return Kind("a TensorFlow Lite file", _TENSORFLOW)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip(name, suffix)
    if head[0] == 0x80 and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return Kind("a pickle, as PyTorch writes .pt and .pth", _TORCH)
    if wanted == LEARNER and _is_onnx(head):
        return Kind(ONNX, "give it a name that ends with .onnx, or use pynq_train.from_onnx")
    if head[:2] == b"\x08\x01" and head[2:3] == b"\x12":
        return Kind("a TensorFlow SavedModel (saved_model.pb)", _TENSORFLOW)
    safetensors = _safetensors(head)
    if safetensors is not None:
        return safetensors if wanted == ONNX or "pynq_train" not in safetensors.what else None
    return _text(head) or _SUFFIXES.get(suffix)


def _is_onnx(head: bytes) -> bool:
    """Return whether a file begins as ONNX files do: field 1, the version, of 3 to 20."""
    return head[0] == 0x08 and 3 <= head[1:2][0] <= 20 and head[2:3] in (
        b"\x12", b"\x1a", b"\x22", b"\x28", b"\x32", b"\x3a", b"\x42") if len(head) > 2 else False


def _zip(name: str, suffix: str) -> Kind:
    """Return what a zip archive holds; one that is cut off goes by its name."""
    try:
        with zipfile.ZipFile(name) as archive:
            entries = archive.namelist()[:100_000]
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError):
        entries = []
    if any(entry.endswith("constants.pkl") for entry in entries):
        return Kind("a TorchScript archive", _TORCH)
    if any(entry.endswith("data.pkl") for entry in entries):
        return Kind("a PyTorch file", _TORCH)
    if "config.json" in entries or "model.weights.h5" in entries:
        return Kind("a Keras file", _KERAS)
    if any(entry.endswith(".npy") for entry in entries):
        return Kind("a NumPy archive (.npz)", _ARRAYS)
    if any(entry.endswith("saved_model.pb") for entry in entries):
        return Kind("a zip archive with a TensorFlow SavedModel", _TENSORFLOW)
    if any(entry.endswith(".onnx") for entry in entries):
        return Kind("a zip archive with an ONNX file", "unpack it first")
    return _SUFFIXES.get(suffix) or Kind("a zip archive", f"unpack it first, or {_OTHERS}")


def _safetensors(head: bytes) -> Kind | None:
    """Return the kind of a file with a safetensors header, None if it has none."""
    length = int.from_bytes(head[:8], "little")
    if len(head) < 10 or not 2 <= length <= 1 << 27 or head[8:9] != b"{":
        return None
    begin = head[8 : 8 + length].decode("utf-8", "replace")
    if "pynq_train" in begin:
        return Kind(LEARNER, "use pynq_train.Learner.load, or give it a name that ends with "
                             ".safetensors")
    if len(head) < 8 + length:  # the metadata, which could be ours, may stand further on
        return None
    try:
        json.loads(begin)
    except (ValueError, RecursionError):
        return None
    return Kind("a .safetensors file of another tool, weights without a network",
                "load them into the module that they belong to (load_state_dict) and use "
                "pynq_train.from_torch(module, example)")


def _text(head: bytes) -> Kind | None:
    """Return the kind of a text, None if it is none."""
    try:
        text = head.decode("utf-8").lstrip("\ufeff \r\n\t")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else a letter is cut off
            return None
        text = head[: error.start].decode("utf-8").lstrip("\ufeff \r\n\t")
    if any(ord(letter) < 9 for letter in text) or len(text) < 3:
        return None
    for begin, kind in _TEXTS:
        if text.lower().startswith(begin):
            return kind
    if text.startswith(("{", "[")):
        return Kind("a JSON text, as TensorFlow.js and Keras write networks without weights",
                    _KERAS)
    if text.startswith(("import ", "from ", "#!", "class ", "def ")):
        return Kind("a program in Python", "import the module and use pynq_train.from_torch")
    return None
