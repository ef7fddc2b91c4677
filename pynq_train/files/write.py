"""Files that are written as a whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import re
import secrets
import socket
import stat
import sys
from pathlib import Path
from typing import Any

from pynq_train.errors import BadInput
from pynq_train.files.read import path_text

_TEMPORARY = re.compile(r"\.pynq_train-([0-9a-f]{16})-([0-9]{1,10})-([0-9]{1,20})-[0-9a-f]{8}"
                        r"\.part")
"""Name of a temporary file: host, process, start of the process, random digits."""
_MOST_LINKS = 40
_FOLDER_ERRORS = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EROFS, errno.EPERM)


def write_atomic(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file so that a reader sees all of it or the one before, whatever happens.

    The data goes to a temporary file beside it, which then takes its name. A file that exists
    keeps its mode, owner, group and attributes; a new one gets what the umask says. A symbolic
    link stays, and what it points at is written. A file with several names (hard links), or in a
    folder that cannot be written, is overwritten in place; so is one whose owner could not be
    kept. A device, a FIFO or an open file (``/dev/stdout``) is written to and stays what it is.

    Temporary files are hidden, and named after host, process and its start. Those of dead
    processes of this host since its start are removed; nobody else's are touched.

    Args:
        path: the file.
        data: what it will hold.

    Raises:
        BadInput: the folder does not exist or is not writable, or there is no space left.
    """
    name = path_text(path, "output file")
    try:
        target = _destination(name)
        if target is None:
            _write_through(name, data)
        else:
            _replace(target, data)
    except OSError as error:
        fix = "check the free space and the name"
        if error.errno in _FOLDER_ERRORS:
            fix = "choose an existing, writable folder"
        elif error.errno == errno.EISDIR:
            fix = "name a file in it"
        raise BadInput(f"cannot write {name!r} ({error.strerror})", fix=fix) from None


def _destination(name: str) -> str | None:
    """Return the file behind all links that is to be replaced; None if it is to be written to."""
    try:
        found = os.stat(name)
    except FileNotFoundError:
        return os.path.realpath(name)  # a link to nothing: what it points at is made
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(found.st_mode) or _in_proc(name) is not None:
        return None
    return os.path.realpath(name)


def _in_proc(name: str) -> str | None:
    """Return the place below /proc that a path leads through: an open file; None for others."""
    at = name
    for _ in range(_MOST_LINKS):
        folder, last = os.path.split(at)
        at = os.path.join(os.path.realpath(folder), last)
        if at.startswith("/proc/"):
            return at
        if not os.path.islink(at):
            break
        at = os.path.join(os.path.dirname(at), os.readlink(at))
    return None


def _write_through(name: str, data: bytes) -> None:
    """Write to a device, a FIFO or an open file."""
    own = re.fullmatch(rf"/proc/(?:self|{os.getpid()})/fd/([0-9]{{1,9}})", _in_proc(name) or "")
    if own:
        # The open file itself, so that what is printed goes on behind the data.
        sys.stdout.flush()
        sys.stderr.flush()
        handle = os.dup(int(own[1]))
    else:
        handle = os.open(name, os.O_WRONLY | os.O_TRUNC | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(handle, "wb") as file:
        file.write(data)


def _replace(target: str, data: bytes) -> None:
    """Let a regular file hold ``data``; ``target`` is no link."""
    folder = os.path.dirname(target)
    old = None
    with contextlib.suppress(FileNotFoundError):
        old = os.stat(target)
    if old is not None and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    _remove_dead(folder)
    temporary = os.path.join(folder, _new_name())
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        handle = os.open(temporary, flags, 0o666 if old is None else 0o600)
    except OSError as error:
        if old is None or error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        _overwrite(target, data)
        return
    try:
        with os.fdopen(handle, "wb") as file:
            alike = old is None or _make_alike(file.fileno(), target, old)
            file.write(data)
            file.flush()
            # Before the renaming: else a loss of power could leave the name on an empty file.
            os.fsync(file.fileno())
        if alike and (old is None or old.st_nlink == 1):
            os.replace(temporary, target)
        else:
            # The temporary file is whole and stays until this one is.
            _overwrite(target, data)
            os.unlink(temporary)
        _sync_folder(folder)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _make_alike(handle: int, target: str, old: os.stat_result) -> bool:
    """Give a new file owner, group, mode and attributes of ``target``; False if it cannot be."""
    mine = os.fstat(handle)
    if (mine.st_uid, mine.st_gid) != (old.st_uid, old.st_gid):
        try:
            os.fchown(handle, old.st_uid, old.st_gid)
        except OSError:
            return False
    os.fchmod(handle, stat.S_IMODE(old.st_mode))
    with contextlib.suppress(OSError):  # a file system without attributes has none to keep
        for attribute in os.listxattr(target):
            with contextlib.suppress(OSError):
                os.setxattr(handle, attribute, os.getxattr(target, attribute))
    return True


def _overwrite(target: str, data: bytes) -> None:
    """Write a file in place; what can fail for want of space does so before it is touched."""
    handle = os.open(target, os.O_WRONLY | os.O_CLOEXEC)
    with os.fdopen(handle, "wb") as file:
        if data:
            os.posix_fallocate(file.fileno(), 0, len(data))
        file.write(data)
        file.flush()
        file.truncate(len(data))
        os.fsync(file.fileno())


@functools.lru_cache(maxsize=1)
def _host() -> str:
    """Return 16 hex digits that name this host since its start, and its space of process ids."""
    parts = [socket.gethostname()]
    for path in ("/proc/sys/kernel/random/boot_id", "/etc/machine-id"):
        with contextlib.suppress(OSError):
            parts.append(Path(path).read_text(encoding="ascii"))
    with contextlib.suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _started(pid: int) -> int | None:
    """Return when a process began, in clock ticks since the host's start; None if unknown."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
        return int(text.rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def _new_name() -> str:
    """Return the name of a new temporary file of this process."""
    pid = os.getpid()
    return f".pynq_train-{_host()}-{pid}-{_started(pid) or 0}-{secrets.token_hex(4)}.part"


def _remove_dead(folder: str) -> None:
    """Remove temporary files that processes of this host have left which are surely gone."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _TEMPORARY.fullmatch(entry.name)
            if found and found[1] == _host() and _gone(int(found[2]), int(found[3])):
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)


def _gone(pid: int, began: int) -> bool:
    """Return whether the process that began then is dead, also if another has its number now."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False  # it belongs to somebody else
    now: Any = _started(pid)
    return bool(now is not None and began and now != began)


def _sync_folder(folder: str) -> None:
    """Make a renaming last over a loss of power."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return  # a folder that may be written but not read
    try:
        os.fsync(handle)
    except OSError:
        pass  # some network file systems cannot; the file itself is safe
    finally:
        os.close(handle)
