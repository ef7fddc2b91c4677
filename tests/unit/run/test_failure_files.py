"""Saved failures that were changed: each rule of a file by itself, with a right checksum."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pynq_train.backends import open_backend
from pynq_train.errors import BadInput
from pynq_train.graph import Sequential
from pynq_train.hw.boards import BOARDS
from pynq_train.layers import fuse, init_params
from pynq_train.run import Failure, Session
from pynq_train.run.failure import FORMAT_VERSION, _digest, advice, load, save
from pynq_train.run.masters import Masters
from pynq_train.run.session import new_policy
from pynq_train.schedule.plan import make_plan

Meta = dict[str, Any]


@pytest.fixture(scope="module")
def failure() -> Failure:
    """The first step of a small network."""
    layers = fuse(Sequential((1, 4, 4)).dense(3).build())
    plan = make_plan(layers, 2, BOARDS["pynq-z2"])
    masters = {name: Masters.of(one) for name, one in init_params(layers, 0).items()}
    with open_backend("golden", plan.memory.nbytes) as backend:
        session = Session(plan, backend, masters, new_policy(plan, masters, 2))
        return Failure.of(plan, "golden", session.request(session.training),
                          backend.read(0, plan.memory.nbytes), "planted")


def changed(failure: Failure, path: Path, change: Callable[[Meta], None] = lambda _: None,
            image: Any = None, dtype: Any = np.uint8, honest: bool = True) -> Path:
    """A file whose metadata or image are others; its checksum is right, unless it shall not be."""
    save(path, failure)
    with np.load(path) as file:
        whole, meta = file["image"], json.loads(file["meta"].tobytes())
    whole = whole if image is None else image
    change(meta)
    if honest and isinstance(meta, dict):
        meta["sha256"] = _digest(meta, whole)
    np.savez(path, image=whole, meta=np.frombuffer(json.dumps(meta).encode(), np.uint8).astype(
        dtype))
    return path


def test_an_unchanged_file_is_what_was_saved(failure: Failure, tmp_path: Path) -> None:
    found = load(changed(failure, tmp_path / "a.npz"))
    assert (found.backend, found.board, found.text, found.tensors) == (
        failure.backend, failure.board, failure.text, failure.tensors)
    assert replace(found.request, counters=False) == failure.request
    assert np.array_equal(found.image, failure.image)


@pytest.mark.parametrize("version", [FORMAT_VERSION - 1, FORMAT_VERSION + 1, None, "2"])
def test_files_of_other_releases(version: Any, failure: Failure, tmp_path: Path) -> None:
    path = changed(failure, tmp_path / "a.npz", lambda meta: meta.update(version=version))
    text = rf"expected version {FORMAT_VERSION}.*use the release that saved it"
    with pytest.raises(BadInput, match=text):
        load(path)


@pytest.mark.parametrize("name", ["pynq_train.other", "", None, 3])
def test_files_of_other_kinds(name: Any, failure: Failure, tmp_path: Path) -> None:
    path = changed(failure, tmp_path / "a.npz", lambda meta: meta.update(format=name))
    with pytest.raises(BadInput, match=r"is no saved failure: .*found another .npz file"):
        load(path)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.float32])
def test_metadata_are_bytes(dtype: Any, failure: Failure, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"found another .npz file"):
        load(changed(failure, tmp_path / "a.npz", dtype=dtype))


@pytest.mark.parametrize("meta", ["[]", "3", '"text"', "null", "{", ""])
def test_metadata_are_an_object(meta: str, failure: Failure, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, image=failure.image, meta=np.frombuffer(meta.encode(), np.uint8))
    with pytest.raises(BadInput, match="is damaged, or is no saved failure"):
        load(path)


@pytest.mark.parametrize("image", [np.zeros(0, np.uint8), np.zeros((8, 8), np.uint8),
                                   np.zeros(64, np.int8), np.zeros(64, np.float32)])
def test_images_are_bytes_in_a_row(image: np.ndarray, failure: Failure, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=f"found an image of {image.dtype} "):
        load(changed(failure, tmp_path / "a.npz", image=image))


def test_a_byte_that_has_changed(failure: Failure, tmp_path: Path) -> None:
    other = failure.image.copy()
    other[-1] ^= 1
    said = r"is damaged: its contents: expected checksum [0-9a-f]{12}"
    with pytest.raises(BadInput, match=said):
        load(changed(failure, tmp_path / "a.npz", image=other, honest=False))


@pytest.mark.parametrize(("offset", "nbytes", "dtype", "fits"), [
    (0, 0, "<i2", True), (0, 6, "<i2", True), (0, 7, "<i2", False), (0, 7, "u1", True),
    (1, None, "<i2", False), (0, None, "<i2", True), (0, 12, "<i8", False), (8, 16, "<i8", True)])
def test_tensors_are_whole_and_in_the_image(offset: int, nbytes: int | None, dtype: str, fits: bool,
                                            failure: Failure, tmp_path: Path) -> None:
    size = len(failure.image)

    def change(meta: Meta) -> None:
        meta["tensors"][0].update(offset=offset, nbytes=size if nbytes is None else nbytes,
                                  dtype=dtype, axes=[])

    path = changed(failure, tmp_path / "a.npz", change)
    if fits:
        assert load(path).tensors[0].offset == offset
        return
    with pytest.raises(BadInput, match=r"tensor|dtype"):
        load(path)


@pytest.mark.parametrize(("board", "known"), [("pynq-z9", "no such boar"), ("kv260", "[0-9a-f]")])
def test_programs_of_other_boards(board: str, known: str, failure: Failure, tmp_path: Path) -> None:
    path = changed(failure, tmp_path / "a.npz", lambda meta: meta.update(board=board))
    with pytest.raises(BadInput, match=f"another hardware contract: expected {known}"):
        load(path)


def test_advice_names_the_file() -> None:
    assert advice(None) == "" and advice(Path("x/y.npz")).endswith("pynq-train replay x/y.npz")
