"""What is built on first use and kept: only what is whole and our own is taken from a cache."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from pynq_train.errors import BadInput
from pynq_train.files.write import write_atomic

VARIABLE = "PYNQ_TRAIN_CACHE"
"""Environment variable that names the folder."""


def cache_dir() -> Path:
    """Return the folder of what is built on first use (``PYNQ_TRAIN_CACHE`` overrides it)."""
    chosen = os.environ.get(VARIABLE)
    return Path(chosen) if chosen else Path.home() / ".cache" / "pynq_train"


def make_folder(folder: Path) -> Path:
    """Make a folder of the cache if it is missing, and return it.

    Raises:
        BadInput: it cannot be made, or others may write to it: what stands there would be run.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise BadInput(f"the cache folder {str(folder)!r} cannot be made ({error.strerror})",
                       fix=f"set {VARIABLE} to a folder of yours") from None
    if not _ours(found):
        raise BadInput(f"the cache folder {str(folder)!r}",
                       expected="a folder that you alone may write to",
                       found=f"owner {found.st_uid}, mode {stat.S_IMODE(found.st_mode):o}",
                       fix=f"chmod it to 755, or set {VARIABLE} to a folder of yours")
    return folder


def kept(library: Path, build: Callable[[Path], Path]) -> Path:
    """Return a library of the cache; it is built where it is missing, damaged or another user's.

    Its SHA-256 stands beside it: a library that was cut short would end the process that loads it.
    Several processes may call this at once: one builds, the others wait.

    Args:
        library: where it stands.
        build: makes it in the folder that it is given, and returns the file.

    Raises:
        BadInput: the folder cannot be made or written, or others may write to it.
    """
    folder = make_folder(library.parent)
    if _whole(library):
        return library
    try:
        with library.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Another process may have built it while this one waited for the lock.
            if not _whole(library):
                with tempfile.TemporaryDirectory(prefix="build-", dir=folder) as work:
                    made = build(Path(work))
                    _sum_file(library).unlink(missing_ok=True)
                    digest = _digest(made)
                    os.replace(made, library)
                    write_atomic(_sum_file(library), digest.encode())
    except OSError as error:
        raise BadInput(f"the cache folder {str(folder)!r} cannot be written ({error.strerror})",
                       fix=f"check the free space, or set {VARIABLE} to a folder of yours"
                       ) from None
    return library


def _sum_file(library: Path) -> Path:
    return library.with_suffix(".sha256")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _ours(found: os.stat_result) -> bool:
    """Return whether a file or folder is this user's or root's, and no others may write to it."""
    return found.st_uid in (0, os.geteuid()) and not found.st_mode & stat.S_IWOTH


def _whole(library: Path) -> bool:
    """Return whether a library is there, our own, and as it was built."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        own = all(_ours(path.stat()) and path.is_file() for path in (library, _sum_file(library)))
        return own and _sum_file(library).read_text(encoding="ascii") == _digest(library)
    return False
