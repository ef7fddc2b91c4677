"""Files that are written as a whole or not at all."""

from __future__ import annotations

import glob
import os
import tempfile
from pathlib import Path

from pynq_train.errors import BadInput


def write_atomic(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file so that a reader sees all of it or the one before, whatever happens.

    The data goes to a temporary file beside it, which then takes its name. Temporary files that
    killed processes have left there are removed.

    Args:
        path: the file.
        data: what it will hold.

    Raises:
        BadInput: the folder does not exist or is not writable, or there is no space left.
    """
    target = Path(path)
    try:
        _remove_stale(target)
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.{os.getpid()}.",
                                             dir=target.parent)
    except OSError as error:
        raise BadInput(f"cannot write {os.fspath(path)!r} ({error.strerror})",
                       fix="choose an existing, writable folder") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            # Before the renaming: else a loss of power could leave the name on an empty file.
            os.fsync(file.fileno())
        # Temporary files are made for their owner alone.
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
        _sync_folder(target.parent)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise BadInput(f"cannot write {os.fspath(path)!r} ({error.strerror})",
                           fix="check the free space and the name") from None
        raise


def _remove_stale(target: Path) -> None:
    """Remove temporary files of this name whose process is gone."""
    prefix = f".{target.name}."
    for other in target.parent.glob(f"{glob.escape(prefix)}*.*"):
        pid = other.name[len(prefix) :].split(".")[0]
        if pid.isdigit() and not _alive(int(pid)):
            other.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    """Return whether a process runs, whoever it belongs to."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it belongs to somebody else
    return True


def _sync_folder(folder: Path) -> None:
    """Make a renaming last over a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        pass  # some network file systems cannot; the file itself is safe
    finally:
        os.close(handle)
