"""Arrays in files: forged headers, bombs, members that are none, and files larger than memory."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import BadInput
from pynq_train.files import arrays, read_npy, read_npz

X = np.arange(40 * 8 * 8, dtype=np.float32).reshape(40, 1, 8, 8)


def npy(shape: Any = (4,), descr: Any = "<f4", body: bytes = bytes(16), text: str | None = None,
        version: int = 1, order: Any = False) -> bytes:
    """An .npy file with any header."""
    line = text or repr({"descr": descr, "fortran_order": order, "shape": shape})
    head = line.encode() + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(head))
    return b"\x93NUMPY" + bytes([version, 0]) + length + head + body


def archive(path: Path, method: int = zipfile.ZIP_DEFLATED, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in members.items():
            file.writestr(f"{name}.npy", data)
    return path


SIZE = "expected [0-9]+ bytes, found .*16 bytes for an array"
BAD = {
    "shape larger than the file": (npy((10**9, 8, 8)), SIZE),
    "shape that no machine holds": (npy((2**62, 2**62)), "malformed header"),
    "shape smaller than the file": (npy((3,)), SIZE),
    "negative": (npy((-4,)), "malformed header"),
    "bool as length": (npy((True,)), "malformed header"),
    "list as shape": (npy([4]), "malformed header"),
    "33 axes": (npy((1,) * 33), "malformed header"),
    "objects": (npy(descr="|O"), "Python objects"),
    "records": (npy(descr=[("a", "<f4")]), "Python objects or records"),
    "pairs": (npy(descr="2f4"), "Python objects or records"),
    "nothing as type": (npy(descr="|V0"), "Python objects or records"),
    "no type": (npy(descr="nope"), "malformed header"),
    "number as type": (npy(descr=4), "Python objects"),
    "order": (npy(order=2), "malformed header"),
    "brackets": (npy(text="(" * 5000), "malformed header"),
    "signs": (npy(text="-" * 9000 + "1"), "malformed header"),
    "no dictionary": (npy(text="[1]"), "malformed header"),
    "code": (npy(text="__import__('os').abort()"), "malformed header"),
    "long": (npy(text=" " * 20_000), "header of 20001 bytes"),
    "cut": (npy()[:30], "malformed header"),
    "text": (b"hello", "no .npy array"),
    "empty": (b"", "no .npy array"),
    "version": (npy(version=9), "no .npy array"),
}


@pytest.mark.parametrize("name", BAD)
def test_forged_headers(name: str, tmp_path: Path) -> None:
    data, text = BAD[name]
    with pytest.raises(BadInput, match=rf"data file .* cannot be read: .*{text}"):
        read_npz(archive(tmp_path / "a.npz", x=data), ["x"])
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(BadInput, match=rf"data file .* cannot be read: .*{text}"):
        read_npy(tmp_path / "a.npy")


@pytest.mark.parametrize("array", [
    X, X.astype(np.uint8), np.asfortranarray(X[0, 0]), np.zeros((0, 3)), np.array(4), X > 9,
    np.array(["a", "bc"]), X.astype(">i2")], ids=lambda a: f"{a.dtype.str}{a.shape}")
@pytest.mark.parametrize("mapped", [False, True])
def test_arrays_come_back(array: np.ndarray, mapped: bool, tmp_path: Path,
                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "MAP_FROM", 1 if mapped else 1 << 40)
    np.savez(tmp_path / "a.npz", odd=np.zeros(3), x=array)
    np.savez_compressed(tmp_path / "c.npz", x=array)
    np.save(tmp_path / "a.npy", array)
    for found in (read_npz(tmp_path / "a.npz", ["x"])["x"],
                  read_npz(tmp_path / "c.npz", ["x"])["x"], read_npy(tmp_path / "a.npy")):
        assert found.dtype == array.dtype and np.array_equal(found, array)


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA,
                                    zipfile.ZIP_BZIP2])
def test_no_byte_may_be_wrong(method: int, mapped: bool, tmp_path: Path,
                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "MAP_FROM", 1 if mapped else 1 << 40)
    out = io.BytesIO()
    np.save(out, X)
    good = archive(tmp_path / "a.npz", method, x=out.getvalue()).read_bytes()
    draw, refused = np.random.default_rng(3), 0
    for _ in range(60):
        data = bytearray(good)
        data[int(draw.integers(len(data)))] ^= 1 << int(draw.integers(8))
        (tmp_path / "b.npz").write_bytes(data)
        try:
            found = read_npz(tmp_path / "b.npz", ["x"])
        except BadInput:
            refused += 1
        else:  # a date, a comment, the name of the array
            assert "x" not in found or np.array_equal(found["x"], X)
    assert refused > 20


def test_two_arrays_of_one_name(tmp_path: Path) -> None:
    with pytest.warns(UserWarning), zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("x.npy", npy())
        file.writestr("x.npy", npy())
    with pytest.raises(BadInput, match="two arrays named 'x'"):
        read_npz(tmp_path / "a.npz", ["x"])


def test_what_unpacks_to_more_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path / "a.npz", x=npy((1 << 20,), "|u1", bytes(1 << 20)))
    monkeypatch.setattr(arrays, "free_bytes", lambda: 1 << 19)
    with pytest.raises(BadInput, match=r"arrays that memory holds.*of 1048576 bytes, 524288 are"):
        read_npz(path, ["x"])


def test_memory_of_the_process_counts(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", x=npy((1 << 27,), "|u1", bytes(1 << 27)))
    code = ("import resource\nfrom pynq_train.errors import BadInput\n"
            "from pynq_train.files import read_npz\n"
            "pages = int(open('/proc/self/statm').read().split()[0])\n"
            "limit = pages * resource.getpagesize() + (64 << 20)\n"
            "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
            f"try: read_npz({str(path)!r}, ['x'])\nexcept BadInput as error: print(error)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "expected arrays that memory holds" in done.stdout, done.stderr[-2000:]


@pytest.mark.medium
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_training_on_more_images_than_memory_holds(kind: str, tmp_path: Path) -> None:
    """50 MB of images, as float32 200 MB, in a process that may take 128 MB more."""
    count, shape = 3072, (1, 128, 128)
    labels = np.zeros(count, np.int64)
    if kind == "npz":
        np.savez(tmp_path / "d.npz", x=np.zeros((count, *shape), np.uint8), y=labels)
        source: Path = tmp_path / "d.npz"
    else:
        np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.uint8, (count, *shape))
        np.save(tmp_path / "y.npy", labels)
        source = tmp_path
    code = ("import resource\nimport pynq_train as pt\n"
            "from pynq_train.files import arrays\n"
            "from pynq_train import images\n"
            "arrays.MAP_FROM = images._PART_BYTES = 1 << 20\n"
            f"net = pt.Sequential({shape}).conv(1, 4, stride=4).dense(2).build()\n"
            "learner = pt.Learner(net, batch=16, normalise=True)\n"
            "import tqdm, safetensors.numpy\n"
            "status = open('/proc/self/status').read().partition('VmData:')[2]\n"
            "limit = (int(status.split()[0]) << 10) + (128 << 20)\n"
            "resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))\n"
            f"data = pt.load_data({str(source)!r}).train\n"
            "learner.fit(data.x, data.y, progress=False)\n"
            "print(learner.steps, learner.evaluate(data.x, data.y).accuracy > 0.5,"
            " len(learner.predict(data.x)))")
    one_thread = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # each has buffers of its own
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env=one_thread)
    assert done.stdout.split() == ["192", "True", str(count)], done.stderr[-2000:]


@pytest.mark.parametrize("make", [
    lambda folder: folder, lambda folder: folder / "x_train.npy"], ids=["folder", "file"])
def test_npy_files(make: Callable[[Path], Path], tmp_path: Path) -> None:
    y = np.arange(40) % 3
    for name, array in (("x_train", X), ("y_train", y), ("x_test", X[:4]), ("other", y)):
        np.save(tmp_path / f"{name}.npy", array)
    data = pt.load_data(make(tmp_path))
    assert np.array_equal(data.train.x, X) and data.train.y is not None
    assert np.array_equal(data.train.y, y)
    assert data.test is not None and len(data.test) == 4 and data.test.y is None


def test_npy_files_of_other_names(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", X)
    with pytest.raises(BadInput, match=r"expected x\.npy or x_train\.npy, .* found images\.npy"):
        pt.load_npy(tmp_path / "images.npy")
    with pytest.raises(BadInput, match=r"expected an array 'x' .* found no arrays"):
        pt.load_npy(tmp_path)
    with pytest.raises(BadInput, match="does not exist"):
        pt.load_data(tmp_path / "x.npy")


@pytest.mark.parametrize("at", range(12))
@pytest.mark.parametrize("bit", [0, 3, 7])
def test_a_damaged_directory_loses_no_labels(at: int, bit: int, tmp_path: Path) -> None:
    """A name of a member that is not read is damaged, or the length of what stands before it."""
    np.savez(tmp_path / "a.npz", x=X, y=np.zeros(40, np.int64))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    first = data.rfind(b"PK\1\2")
    place = [*range(first + 46, first + 51), *(data.find(b"PK\1\2") + 28 + k for k in range(6)),
             data.rfind(b"PK\5\6") + 10][at]
    data[place] ^= 1 << bit
    (tmp_path / "b.npz").write_bytes(data)
    with pytest.raises(BadInput, match=r"data file '.*b\.npz' cannot be read: expected an \.npz"):
        pt.load_npz(tmp_path / "b.npz")


def test_names_of_other_members_may_be_of_any_kind(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{"x": X, "größe": X[:1], "名": X[:1]})
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as file:
        file.writestr("notes.txt", "text")
        file.comment = b"PK\1\2" * 100
    assert len(pt.load_npz(tmp_path / "a.npz").train) == 40


@pytest.mark.parametrize("name", ["\ud800.npz", "a\udc7f.npz"])
def test_a_path_that_no_file_system_holds(name: str) -> None:
    with pytest.raises(BadInput, match="its path: expected characters that a file name can hold"):
        pt.load_npz(name)
    with pytest.raises(BadInput, match="its path: expected characters that a file name can hold"):
        pt.Learner(pt.zoo.digits()).save(name)
