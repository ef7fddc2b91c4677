"""The emulated processor of a board: what is missing is said, with the reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sim import processor
from sim.processor import Processor, Unavailable, prepare


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Folder of programs, which come before those of the machine; nothing is unpacked yet."""
    monkeypatch.setattr(processor, "FOLDER", tmp_path / "arm")
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    for name in ("apt-get", "dpkg", "dpkg-deb"):
        program(programs, name, "exit 0")
    return programs


def program(folder: Path, name: str, text: str) -> None:
    """Write a shell script."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


def test_a_machine_without_debians_tools(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which one is missing."""
    monkeypatch.setenv("PATH", str(folder))
    (folder / "apt-get").unlink()
    with pytest.raises(Unavailable, match=r"expected Debian's .*, found no apt-get$"):
        prepare()


def test_packages_that_cannot_be_had(folder: Path) -> None:
    """What apt says of the package, and what it said of its lists before."""
    program(folder, "apt-get", 'case "$*" in *update*) echo "E: no lists" >&2;; '
                               '*) echo "E: no package" >&2;; esac; exit 100')
    with pytest.raises(Unavailable, match="E: no package; apt-get ended with 100: E: no lists"):
        prepare()
    assert not [path for path in processor.FOLDER.iterdir() if path.suffix == ""]


def test_lists_that_fail_are_no_end(folder: Path) -> None:
    """One source of several may be out of step; what does not come then is named."""
    program(folder, "apt-get", 'case "$*" in *update*) exit 100;; esac')
    with pytest.raises(Unavailable, match="brought no qemu-user-static, python3, python3-numpy"):
        prepare()


def test_the_environment_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's Python is found; BLAS and LAPACK are."""
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    for name in ("blas", "lapack"):
        (tmp_path / "root" / "usr" / "lib" / "arm-linux-gnueabihf" / name).mkdir(parents=True)
    (tmp_path / "usr" / "bin").mkdir(parents=True)
    program(tmp_path / "usr" / "bin", "qemu-arm-static", 'echo "$@"; env')
    text = Processor(tmp_path).python(["-m", "x"], tmp_path, path=[Path("/own")],
                                      env={"MORE": "1"}).stdout
    libraries = tmp_path / "root/usr/lib/arm-linux-gnueabihf"
    assert text.startswith(
        f"-cpu cortex-a9 -L {tmp_path}/root -E "
        f"LD_LIBRARY_PATH={libraries}/blas:{libraries}/lapack {tmp_path}/root/usr/bin/python3 -m x")
    lines = text.splitlines()
    assert f"PYTHONPATH=/own:{tmp_path}/wheels" in lines and "MORE=1" in lines
    assert "/elsewhere" not in text
