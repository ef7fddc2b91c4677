"""One learner per board: a lock file with the process in it."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from typing import IO

from pynq_train.errors import BadInput, BoardBusy

_RUN_FOLDER = Path("/run/lock")
_TRIES = 100
"""So often a lock file that was removed meanwhile is opened again."""


def default_lock_file() -> Path:
    """Return the lock file of this machine's programmable logic: there is one."""
    writable = _RUN_FOLDER.is_dir() and os.access(_RUN_FOLDER, os.W_OK)
    return (_RUN_FOLDER if writable else Path(tempfile.gettempdir())) / "pynq_train-board.lock"


class BoardLock:
    """A lock that the kernel gives back when its process ends, however that ends.

    The file names the process that holds it; one that a killed process left behind is taken over.

    Args:
        path: the lock file; removed at release.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def acquire(self, board: str) -> None:
        """Take the lock.

        Args:
            board: the board's name, for the message.

        Raises:
            BoardBusy: somebody else has it; the text names the process.
            BadInput: the file cannot be written.
        """
        for _ in range(_TRIES):
            file = self._open()
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = file.read().strip()
                file.close()
                raise _busy(board, owner, self._path) from None
            # The holder before may have removed the file between open and flock: a lock on a file
            # that nobody else can open protects nothing.
            if self._is_current(file):
                file.seek(0)
                file.truncate()
                file.write(f"{os.getpid()}\n")
                file.flush()
                self._file = file
                return
            file.close()  # its last holder removed it in between: there is a new one, or none
        raise _busy(board, "", self._path)

    def release(self) -> None:
        """Give the lock back; may be called more than once."""
        file, self._file = self._file, None
        if file is not None:
            # Removed while it is still locked: who opens the path from now on makes a new file.
            if self._is_current(file):
                self._path.unlink(missing_ok=True)
            file.close()

    def _open(self) -> IO[str]:
        """Open the lock file, made if there is none; BadInput if that is not possible."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.fdopen(os.open(self._path, flags, 0o644), "r+", encoding="ascii",
                             errors="replace")
        except OSError as error:
            raise BadInput(f"the lock file {str(self._path)!r} cannot be opened",
                           expected="a file that this user can write", found=error.strerror,
                           fix="remove it, or run as the user that made it") from None

    def _is_current(self, file: IO[str]) -> bool:
        """Return whether the path still names the open file."""
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            return False
        mine = os.fstat(file.fileno())
        return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)


def _busy(board: str, owner: str, path: Path) -> BoardBusy:
    """Return the error for a board that ``owner`` (a process number, or empty) has locked."""
    own = owner == str(os.getpid())
    who = f"process {owner}" if owner else "another process"
    return BoardBusy(
        f"{board} is in use", expected="no other learner on this board",
        found=f"{who}{' (this one)' if own else ''}, which holds {path}",
        fix="close() the other learner" if own else "end that process, or restart its kernel")
