"""Writing: devices, FIFOs, links, modes, owners, and temporary files of others."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pynq_train.errors import BadInput
from pynq_train.files import write, write_atomic

ROOT = os.geteuid() == 0


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.write_bytes(b"old")
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_fifo_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_atomic(pipe, b"data")
    reader.join(20)
    assert got == [b"data"] and stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_is_written_to_and_stays(tmp_path: Path) -> None:
    null = tmp_path / "null"
    try:
        os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        write_atomic(null, b"data")
    except (PermissionError, BadInput):
        null.unlink(missing_ok=True)
        null.symlink_to("/dev/null")
        write_atomic(null, b"data")
    assert stat.S_ISCHR(null.stat().st_mode) and not list(tmp_path.glob(".*"))
    with pytest.raises(BadInput, match=r"cannot write '/dev/full' \(No space left on device\)"):
        write_atomic("/dev/full", b"data")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_an_open_file_is_written_to_behind_what_was_printed(name: str, tmp_path: Path) -> None:
    code = ("from pynq_train.files import write_atomic\n"
            f"print('before'); write_atomic({name!r}, b'data\\n'); print('behind')")
    with open(tmp_path / "out", "wb") as out:
        subprocess.run([sys.executable, "-c", code], check=True, stdout=out)
    assert (tmp_path / "out").read_text() == "before\ndata\nbehind\n"


@pytest.mark.parametrize("there", [True, False])
def test_links_stay_and_what_they_point_at_is_written(there: bool, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    real, link, far = tmp_path / "a" / "real", tmp_path / "link", tmp_path / "far"
    if there:
        real.write_bytes(b"old")
    link.symlink_to("a/real")
    far.symlink_to("link")
    write_atomic(far, b"new")
    assert far.is_symlink() and link.is_symlink() and real.read_bytes() == b"new"
    assert not list(tmp_path.glob(".*"))


def test_links_in_a_circle_and_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(BadInput, match="Too many levels of symbolic links"):
        write_atomic(tmp_path / "a", b"new")
    with pytest.raises(BadInput, match=r"\(Is a directory\); name a file in it"):
        write_atomic(tmp_path, b"new")


def test_all_names_of_a_file_keep_it(target: Path) -> None:
    other = target.with_name("other")
    os.link(target, other)
    write_atomic(target, b"longer than before")
    assert other.read_bytes() == b"longer than before" and target.samefile(other)
    write_atomic(target, b"short")
    assert other.read_bytes() == b"short" and len(list(target.parent.iterdir())) == 2


@pytest.mark.parametrize("umask", [0o077, 0o022, 0o002])
def test_new_files_follow_the_umask(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        write_atomic(tmp_path / "new", b"data")
    finally:
        os.umask(before)
    assert mode(tmp_path / "new") == 0o666 & ~umask


@pytest.mark.parametrize("wanted", [0o640, 0o600, 0o666, 0o755])
def test_files_keep_their_mode(wanted: int, target: Path) -> None:
    target.chmod(wanted)
    write_atomic(target, b"new")
    assert mode(target) == wanted and target.read_bytes() == b"new"


def test_files_keep_their_attributes(target: Path) -> None:
    try:
        os.setxattr(target, "user.note", b"mine")
    except OSError:
        pytest.skip("no attributes on this file system")
    write_atomic(target, b"new")
    assert os.getxattr(target, "user.note") == b"mine"


@pytest.mark.skipif(not ROOT, reason="only root gives files away")
def test_files_keep_owner_and_group(target: Path) -> None:
    os.chown(target, 1234, 2345)
    write_atomic(target, b"new")
    assert (target.stat().st_uid, target.stat().st_gid) == (1234, 2345)


def test_a_file_whose_owner_cannot_be_kept_is_written_in_place(
        target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "_make_alike", lambda *_: False)
    before = target.stat().st_ino
    write_atomic(target, b"new")
    assert target.stat().st_ino == before and target.read_bytes() == b"new"
    assert list(target.parent.iterdir()) == [target]


def test_a_file_that_may_not_be_written_is_refused(
        target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target.chmod(0o400)
    if ROOT:  # who may do everything
        monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(BadInput, match="Permission denied"):
        write_atomic(target, b"new")
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("path", [None, 5, "", "a\0b", 1.5])
def test_what_is_no_path_is_refused(path: object) -> None:
    with pytest.raises(BadInput, match="output file: its path: expected a"):
        write_atomic(path, b"")  # type: ignore[arg-type]


def test_names_as_long_as_they_may_be(tmp_path: Path) -> None:
    write_atomic(tmp_path / ("n" * 255), b"data")
    with pytest.raises(BadInput, match="File name too long"):
        write_atomic(tmp_path / ("n" * 256), b"data")


def test_files_of_others_stay(target: Path) -> None:
    own = write._new_name()
    _, host, pid, start, rest = re.split("[-]", own)
    others = [
        ".model.20240101.bak", ".model.99999999999999999999.x", f".model.{2**22 - 1}.abc",
        own,  # of a process that lives
        f".pynq_train-{'0' * 16}-{2**22 - 1}-{start}-{rest}",  # of another host
        f".pynq_train-{host}-{pid}-{start}-{rest}.bak", f"x.pynq_train-{host}-1-1-{rest}",
        f".pynq_train-{host}-{10**10}-{start}-{rest}", ".pynq_train-part"]
    for name in others:
        (target.parent / name).write_text("mine")
    write_atomic(target, b"new")
    assert {path.name for path in target.parent.iterdir()} == {*others, "model"}


def test_what_killed_processes_have_left_is_removed(target: Path) -> None:
    code = ("import os, signal; from pynq_train.files import write, write_atomic\n"
            "write.os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
            f"write_atomic({str(target)!r}, b'half')")
    done = subprocess.run([sys.executable, "-c", code])
    assert done.returncode == -signal.SIGKILL and target.read_bytes() == b"old"
    assert len(list(target.parent.iterdir())) == 2
    write_atomic(target.with_name("another"), b"new")
    assert {path.name for path in target.parent.iterdir()} == {"model", "another"}


def test_a_number_that_was_given_again_is_no_living_process(target: Path) -> None:
    _, host, pid, start, rest = write._new_name().split("-")
    (target.parent / f".pynq_train-{host}-{pid}-{int(start) - 1}-{rest}").touch()
    write_atomic(target, b"new")
    assert list(target.parent.iterdir()) == [target]
