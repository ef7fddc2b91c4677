"""A cache of libraries: what is damaged or another user's is built again or refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pynq_train.errors import BadInput
from pynq_train.files.cache import kept


class Builder:
    """Builds a library of known bytes, and counts how often."""

    count = 0

    def __call__(self, work: Path) -> Path:
        self.count += 1
        (work / "made.so").write_bytes(b"library")
        return work / "made.so"


@pytest.fixture
def built(tmp_path: Path) -> Path:
    return kept(tmp_path / "cache" / "a.so", Builder())


@pytest.mark.parametrize("content", [b"", b"hello", b"librarz", b"library, longer"])
def test_a_damaged_library_is_built_again(built: Path, content: bytes) -> None:
    build = Builder()
    assert kept(built, build).read_bytes() == b"library" and build.count == 0
    built.write_bytes(content)
    assert kept(built, build).read_bytes() == b"library" and build.count == 1


@pytest.mark.parametrize("content", [None, b"", b"\xff", b"0" * 64])
def test_a_library_without_its_checksum_is_built_again(built: Path, content: bytes | None) -> None:
    beside, build = built.with_suffix(".sha256"), Builder()
    beside.unlink() if content is None else beside.write_bytes(content)
    kept(built, build)
    assert build.count == 1 and kept(built, build) and build.count == 1


def test_what_others_may_write_is_not_run(built: Path) -> None:
    build = Builder()
    built.chmod(0o666)
    kept(built, build)
    assert build.count == 1
    built.parent.chmod(0o777)
    with pytest.raises(BadInput, match="expected a folder that you alone may write to, found"):
        kept(built, build)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_libraries_of_another_user_are_not_run(built: Path, monkeypatch: pytest.MonkeyPatch
                                               ) -> None:
    build = Builder()
    os.chown(built, 1234, 1234)
    kept(built, build)
    assert build.count == 1
    os.chown(built.parent, 1234, 1234)
    with pytest.raises(BadInput, match="found owner 1234"):
        kept(built, build)


def test_folders_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file" / "cache", tmp_path / "file", Path("/proc/nope")):
        with pytest.raises(BadInput, match=r"cannot be made \(.*set PYNQ_TRAIN_CACHE"):
            kept(folder / "a.so", Builder())
